"""Card readers through PC/SC. ★ pyscard

Only pyscard's low-level module: its connections power cards off under everybody else when they end, and
its monitors die with pcscd. Every call has a context of its own (0.3 ms): a context does not survive a
restart of the service, and one that is never kept never needs healing.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from smartcard import scard

from agent.errors import AgentError, Code
from agent.model import CardSeen, ReaderSeen
from agent.readers.kinds import kind_of
from agent.readers.ports import Card, Watch

log = logging.getLogger(__name__)

_PROTOCOLS = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
_PCI = {scard.SCARD_PROTOCOL_T0: scard.SCARD_PCI_T0, scard.SCARD_PROTOCOL_T1: scard.SCARD_PCI_T1}
_NEW_READER = "\\\\?PnP?\\Notification"
_BACK_OFF_S = (1, 30)

# A code of no row keeps its number and becomes card.mute where a card was asked, else pcsc.unavailable.
_CODES = {
    "SCARD_E_NO_SERVICE": Code.PCSC_UNAVAILABLE,
    "SCARD_E_SERVICE_STOPPED": Code.PCSC_UNAVAILABLE,
    "SCARD_E_SYSTEM_CANCELLED": Code.PCSC_UNAVAILABLE,
    "SCARD_E_SERVER_TOO_BUSY": Code.PCSC_UNAVAILABLE,
    "SCARD_E_INVALID_HANDLE": Code.PCSC_UNAVAILABLE,
    "SCARD_F_COMM_ERROR": Code.PCSC_UNAVAILABLE,  # pcscd was killed during the call
    "SCARD_E_UNKNOWN_READER": Code.READER_ABSENT,
    "SCARD_E_READER_UNAVAILABLE": Code.READER_ABSENT,
    "SCARD_E_NO_READERS_AVAILABLE": Code.READER_ABSENT,
    "SCARD_E_NO_SMARTCARD": Code.CARD_ABSENT,
    "SCARD_W_REMOVED_CARD": Code.CARD_REMOVED,
    "SCARD_E_NOT_TRANSACTED": Code.CARD_REMOVED,  # what a driver says until it notices that the card left
    "SCARD_E_SHARING_VIOLATION": Code.CARD_IN_USE,
    "SCARD_W_RESET_CARD": Code.CARD_IN_USE,  # by another program, in the middle of our reading
    "SCARD_W_UNRESPONSIVE_CARD": Code.CARD_MUTE,
    "SCARD_W_UNPOWERED_CARD": Code.CARD_MUTE,
    "SCARD_W_UNSUPPORTED_CARD": Code.CARD_MUTE,
    "SCARD_E_PROTO_MISMATCH": Code.CARD_MUTE,
    "SCARD_E_TIMEOUT": Code.CARD_MUTE,
}
_OURS = {getattr(scard, name) & 0xFFFFFFFF: (name, code) for name, code in _CODES.items()}


class PcscReaders:
    """The readers of this machine, by its card service."""

    def seen(self) -> list[ReaderSeen]:
        with _context() as context:
            return _readers(_look(context))

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        with _context() as context:
            hresult, handle, protocol = scard.SCardConnect(context, reader, scard.SCARD_SHARE_SHARED, _PROTOCOLS)
            _check("SCardConnect", hresult)
            try:
                protocol = begin_transaction(handle, protocol)
                try:
                    hresult, _, _, _, atr = scard.SCardStatus(handle)
                    _check("SCardStatus", hresult)
                    yield PcscCard(handle, protocol, bytes(atr))
                finally:
                    scard.SCardEndTransaction(handle, scard.SCARD_LEAVE_CARD)
            finally:
                scard.SCardDisconnect(handle, scard.SCARD_LEAVE_CARD)

    def watch(self, changed: Callable[[list[ReaderSeen] | None], None]) -> Watch:
        return _PcscWatch(changed)


class PcscCard:
    """A connected card."""

    def __init__(self, handle: Any, protocol: int, atr: bytes) -> None:
        self._handle, self._pci, self._atr = handle, _PCI[protocol], atr

    @property
    def atr(self) -> bytes:
        return self._atr

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        hresult, answer = scard.SCardTransmit(self._handle, self._pci, list(command))
        _check("SCardTransmit", hresult)
        if len(answer) < 2:  # a driver's success without data: the card left during the command (vpcd)
            raise AgentError(Code.CARD_REMOVED, "SCardTransmit: success without an answer")
        return bytes(answer[:-2]), answer[-2] << 8 | answer[-1]


class _PcscWatch:
    """One thread, one context, one blocking wait."""

    def __init__(self, changed: Callable[[list[ReaderSeen] | None], None]) -> None:
        self._changed = changed
        self._closing = threading.Event()
        self._context: Any = None
        self._seen: list[ReaderSeen] | None = None
        self._events: dict[str, int] = {}
        self._pause_s = 0
        self._thread = threading.Thread(target=self._run, name="watch-pcsc", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        while self._thread.is_alive():
            if self._context is not None:
                scard.SCardCancel(self._context)  # lost when it comes just before the wait: so again
            self._thread.join(0.05)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with _context() as context:
                    self._context = context
                    self._follow(context)
            except AgentError as error:
                self._context = None
                if not self._closing.is_set():
                    self._down(error)

    def _follow(self, context: Any) -> None:
        """Tell and wait, for ever. Raises when the service is gone or the watch is closed."""
        new_reader = scard.SCARD_STATE_UNAWARE
        while not self._closing.is_set():
            looked = _look(context)
            self._pause_s = 0
            self._tell(looked)
            known = [(name, state & ~scard.SCARD_STATE_CHANGED) for name, state, _ in looked]
            hresult, states = scard.SCardGetStatusChange(context, scard.INFINITE, [*known, (_NEW_READER, new_reader)])
            if not _is(hresult, "SCARD_E_UNKNOWN_READER"):  # unplugged since we looked: look again
                _check("SCardGetStatusChange", hresult, otherwise=Code.PCSC_UNAVAILABLE)
                new_reader = states[-1][1] & ~scard.SCARD_STATE_CHANGED

    def _tell(self, looked: list[tuple[str, int, bytes]]) -> None:
        """Say what changed; other programs that come and go change nothing.

        The high word of a state counts comings and goings: a card that left and came back between two
        looks did leave, even when another with the same ATR came.
        """
        seen, events = _readers(looked), {name: state >> 16 for name, state, _ in looked}
        before = self._seen or []
        back = {
            one.reader for one in seen if one.card and one in before and events[one.reader] != self._events[one.reader]
        }
        first, self._seen, self._events = self._seen is None, seen, events
        if back:
            self._changed([ReaderSeen(reader=one.reader) if one.reader in back else one for one in seen])
        if first or back or seen != before:
            self._changed(seen)

    def _down(self, error: AgentError) -> None:
        if self._seen is not None or not self._pause_s:
            log.warning("card service: %s", error.detail)
            self._seen = None
            self._changed(None)
        shortest, longest = _BACK_OFF_S
        self._pause_s = min(max(shortest, 2 * self._pause_s), longest)
        self._closing.wait(self._pause_s)


@contextmanager
def _context() -> Iterator[Any]:
    hresult, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    _check("SCardEstablishContext", hresult, otherwise=Code.PCSC_UNAVAILABLE)
    try:
        yield context
    finally:
        scard.SCardReleaseContext(context)


def begin_transaction(handle: Any, protocol: int) -> int:
    """Begin a transaction; the protocol in force.

    A card that another program reset since we connected is connected again, once: we had selected nothing.
    """
    hresult = scard.SCardBeginTransaction(handle)
    if _is(hresult, "SCARD_W_RESET_CARD"):
        hresult, protocol = scard.SCardReconnect(handle, scard.SCARD_SHARE_SHARED, _PROTOCOLS, scard.SCARD_LEAVE_CARD)
        _check("SCardReconnect", hresult)
        hresult = scard.SCardBeginTransaction(handle)
    _check("SCardBeginTransaction", hresult)
    return protocol


def _look(context: Any) -> list[tuple[str, int, bytes]]:
    """Every reader, its state and the ATR in it, in PC/SC order."""
    hresult, names = scard.SCardListReaders(context, [])
    if _is(hresult, "SCARD_E_NO_READERS_AVAILABLE") or (not hresult and not names):
        return []
    _check("SCardListReaders", hresult, otherwise=Code.PCSC_UNAVAILABLE)
    hresult, states = scard.SCardGetStatusChange(context, 0, [(name, scard.SCARD_STATE_UNAWARE) for name in names])
    if _is(hresult, "SCARD_E_UNKNOWN_READER"):  # unplugged since it was listed
        return _look(context)
    _check("SCardGetStatusChange", hresult, otherwise=Code.PCSC_UNAVAILABLE)
    return [(name, state, bytes(atr)) for name, state, atr in states]


def _readers(looked: list[tuple[str, int, bytes]]) -> list[ReaderSeen]:
    return [
        ReaderSeen(
            reader=name,
            card=CardSeen(kind=kind_of(atr), atr=atr.hex().upper()) if state & scard.SCARD_STATE_PRESENT else None,
        )
        for name, state, atr in looked
    ]


def _is(hresult: int, name: str) -> bool:
    return bool(hresult & 0xFFFFFFFF == getattr(scard, name) & 0xFFFFFFFF)


def _check(call: str, hresult: int, *, otherwise: Code = Code.CARD_MUTE) -> None:
    """Foreign codes become ours here."""
    if hresult == scard.SCARD_S_SUCCESS:
        return
    number = hresult & 0xFFFFFFFF  # Windows gives it signed
    name, code = _OURS.get(number, ("unknown", otherwise))
    raise AgentError(code, f"{call}: {name} {number:#010x}", scard=f"{number:#010x}")
