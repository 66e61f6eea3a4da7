"""Card readers through PC/SC. ★ pyscard

Only pyscard's low-level module: its connections power cards off under everybody else when they end, and
its monitors die with pcscd. Every call has a context of its own (0.3 ms): a context does not survive a
restart of the service, and one that is never kept never needs healing.

While another program holds a transaction, SCardConnect and SCardBeginTransaction block and nothing ends
them: SCardCancel does not reach them, and SCardReleaseContext waits for the first with the lock of the
whole library in its hand (seen with pcsc-lite 1.9.9; Windows blocks too, a release there is untried
[guess]). So a card is entered in a thread of its own, which is left behind when our patience ends: at
most one for each reader, and it closes what it still gets. Listing and watching never wait for anybody.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any

from smartcard import scard

from agent.errors import AgentError, Code
from agent.model import CardKind, CardSeen, ReaderSeen
from agent.readers.comeback import Comeback
from agent.readers.kinds import kind_of
from agent.readers.ports import Card, Watch
from agent.readers.rivals import likely_holders

log = logging.getLogger(__name__)

_PROTOCOLS = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
_PCI = {scard.SCARD_PROTOCOL_T0: scard.SCARD_PCI_T0, scard.SCARD_PROTOCOL_T1: scard.SCARD_PCI_T1}
_NEW_READER = "\\\\?PnP?\\Notification"

# What ends a wait without news: cancelled, over, or a reader was unplugged since we looked.
_LOOK_AGAIN = ("SCARD_E_CANCELLED", "SCARD_E_TIMEOUT", "SCARD_E_UNKNOWN_READER")
_NOTICED_MS = 1000  # by then the service has seen it too: pcscd looks every 400 ms

# Without the service: the first pause, doubled each time, and the longest.
BACK_OFF_S = (1.0, 30.0)
# Windows takes the card from a transaction that rests for 5 s; whoever holds one longer is no short reading.
PATIENCE_S = 5.0
_TRY_AGAIN_S = 0.1  # a connection that an exclusive one keeps out

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
    """The readers of this machine, by its card service. From any thread."""

    def __init__(
        self,
        kind_of: Callable[[bytes], CardKind] = kind_of,
        *,
        patience_s: float = PATIENCE_S,
        back_off_s: tuple[float, float] = BACK_OFF_S,
    ) -> None:
        """`patience_s`: how long another program's transaction or lock is waited for, then the card is in use."""
        self._kind_of, self._patience_s, self._back_off_s = kind_of, patience_s, back_off_s
        self._left_behind: dict[str, threading.Thread] = {}
        self._inside: set[str] = set()  # readers in which a transaction of ours is open
        self._watches: set[_PcscWatch] = set()

    def seen(self) -> list[ReaderSeen]:
        with self._answering(), _context() as context:
            return _readers(_look(context), self._kind_of)

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        try:
            with self._way_into(reader) as card:
                yield card
        except AgentError as error:
            if error.code is Code.CARD_REMOVED:
                for watch in tuple(self._watches):
                    watch.left(reader)
            raise

    def reset(self, reader: str) -> None:
        with self._way_into(reader) as card:
            card.reset()

    def watch(self, changed: Callable[[list[ReaderSeen] | None], None]) -> Watch:
        watch = _PcscWatch(changed, self._kind_of, back_off_s=self._back_off_s, closed=self._watches.discard)
        self._watches.add(watch)
        return watch

    @contextmanager
    def _way_into(self, reader: str) -> "Iterator[PcscCard]":
        """The card of this reader in a transaction of ours; when patience ends, `_no_way_into`: nothing was sent."""
        end = time.monotonic() + self._patience_s
        before = self._left_behind.get(reader)
        if before is not None:
            before.join(self._patience_s)
            if before.is_alive():
                raise self._no_way_into(reader)
        came: Future[tuple[PcscCard, ExitStack]] = Future()
        entrance = threading.Thread(target=_enter, args=(reader, came), name="enter-pcsc", daemon=True)
        entrance.start()
        try:
            with self._answering():
                card, way = came.result(end - time.monotonic())
        except TimeoutError:
            if came.cancel():
                self._left_behind[reader] = entrance
                raise self._no_way_into(reader) from None
            card, way = came.result()  # it came at the same instant
        with way:
            self._inside.add(reader)
            try:
                yield card
            finally:
                self._inside.discard(reader)

    def _no_way_into(self, reader: str) -> AgentError:
        """Who has the card: a command of ours that never came back, or another program."""
        if reader in self._inside:
            return _error(Code.CARD_MUTE, "a command of ours hangs")
        return _error(Code.CARD_IN_USE, f"held longer than {self._patience_s} s")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What succeeds proves that the service is up: a watcher that waits for it need not wait any longer."""
        yield
        for watch in tuple(self._watches):
            watch.wake()


def _enter(reader: str, came: "Future[tuple[PcscCard, ExitStack]]") -> None:
    """Hand over the card and the way out of it; take that way at once when nobody waits any more."""
    with ExitStack() as way:
        try:
            card = way.enter_context(_inside(reader, came.cancelled))
        except BaseException as error:  # noqa: BLE001  (carried to whoever waits)
            if came.set_running_or_notify_cancel():
                came.set_exception(error)
            return
        if came.set_running_or_notify_cancel():
            came.set_result((card, way.pop_all()))


@contextmanager
def _inside(reader: str, unwanted: Callable[[], bool]) -> "Iterator[PcscCard]":
    with _context() as context:
        handle, protocol = _connect(context, reader, unwanted)
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


def _connect(context: Any, reader: str, unwanted: Callable[[], bool]) -> tuple[Any, int]:
    """A shared connection. An exclusive one is tried again until it ends, or until nobody wants ours any more.

    A card that another program left without power is powered again: seen while a third program stays
    connected, a shared connection is refused then, a direct one gives power.
    """
    while True:
        hresult, handle, protocol = scard.SCardConnect(context, reader, scard.SCARD_SHARE_SHARED, _PROTOCOLS)
        if not _is(hresult, "SCARD_E_SHARING_VIOLATION"):
            break
        if unwanted():
            raise AgentError(Code.CARD_IN_USE)  # nobody hears it: without the search for who holds the card
        time.sleep(_TRY_AGAIN_S)
    if not _is(hresult, "SCARD_W_UNPOWERED_CARD"):
        _check("SCardConnect", hresult)
        return handle, protocol
    hresult, handle, _ = scard.SCardConnect(context, reader, scard.SCARD_SHARE_DIRECT, 0)
    _check("SCardConnect", hresult)
    hresult, protocol = scard.SCardReconnect(handle, scard.SCARD_SHARE_SHARED, _PROTOCOLS, scard.SCARD_LEAVE_CARD)
    if hresult != scard.SCARD_S_SUCCESS:
        scard.SCardDisconnect(handle, scard.SCARD_LEAVE_CARD)
        _check("SCardReconnect", hresult)
    return handle, protocol


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

    def reset(self) -> None:
        """Reset it, inside our transaction: nobody can come between, and a refusal is heard."""
        hresult, _ = scard.SCardReconnect(self._handle, scard.SCARD_SHARE_SHARED, _PROTOCOLS, scard.SCARD_RESET_CARD)
        _check("SCardReconnect", hresult)


class _PcscWatch:
    """One thread, one context, one blocking wait.

    Without the service it tries again after 1, 2, 4 … 30 s, so it wakes twice a minute at rest; and at once
    when a call of ours succeeds, or when something new is in the folder of the service's socket (Linux).
    """

    def __init__(
        self,
        changed: Callable[[list[ReaderSeen] | None], None],
        kind_of: Callable[[bytes], CardKind],
        *,
        back_off_s: tuple[float, float],
        closed: "Callable[[_PcscWatch], None]",
    ) -> None:
        self._changed, self._kind_of, self._back_off_s, self._closed = changed, kind_of, back_off_s, closed
        self._closing = threading.Event()
        self._comeback = Comeback()
        self._context: Any = None
        self._left: deque[str] = deque()
        self._seen: list[ReaderSeen] | None = None
        self._events: dict[str, int] = {}
        self._is_down = False
        self._pause_s = 0.0
        self._thread = threading.Thread(target=self._run, name="watch-pcsc", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed(self)
        self._closing.set()
        self._comeback.wake()
        while self._thread.is_alive():
            if self._context is not None:
                scard.SCardCancel(self._context)  # lost when it comes just before the wait: so again
            self._thread.join(0.05)

    def left(self, reader: str) -> None:
        """A command met no card any more: say so, even when another came before the service looked again."""
        self._left.append(reader)
        if self._context is not None:
            scard.SCardCancel(self._context)

    def wake(self) -> None:
        """The service answers: try at once."""
        if self._seen is None:
            self._comeback.wake()

    def _run(self) -> None:
        with self._comeback:
            self._follow_for_ever()

    def _follow_for_ever(self) -> None:
        while not self._closing.is_set():
            self._comeback.forget()
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
            gone = {self._left.popleft() for _ in range(len(self._left))}
            looked = _look(context)
            self._is_down, self._pause_s = False, 0.0
            self._tell(looked, gone)
            known = [(name, state & ~scard.SCARD_STATE_CHANGED) for name, state, _ in looked]
            patience_ms = _NOTICED_MS if gone else scard.INFINITE
            hresult, states = scard.SCardGetStatusChange(context, patience_ms, [*known, (_NEW_READER, new_reader)])
            if not any(_is(hresult, name) for name in _LOOK_AGAIN):
                _check("SCardGetStatusChange", hresult, otherwise=Code.PCSC_UNAVAILABLE)
                new_reader = states[-1][1] & ~scard.SCARD_STATE_CHANGED

    def _tell(self, looked: list[tuple[str, int, bytes]], gone: set[str]) -> None:
        """Say what changed; other programs that come and go change nothing. The cards in `gone` left, we know.

        The high word of a state counts comings and goings: a card that left and came back between two
        looks did leave, even when another with the same ATR came.
        """
        seen, events = _readers(looked, self._kind_of), {name: state >> 16 for name, state, _ in looked}
        seen = [ReaderSeen(reader=one.reader) if one.reader in gone else one for one in seen]
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
        if not self._is_down:
            log.warning("card service: %s", error.detail)
            self._is_down, self._seen = True, None
            self._changed(None)
        shortest, longest = self._back_off_s
        self._pause_s = min(max(shortest, 2 * self._pause_s), longest)
        if self._comeback.wait(self._pause_s):
            self._pause_s = 0.0


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


def _readers(looked: list[tuple[str, int, bytes]], kind_of: Callable[[bytes], CardKind]) -> list[ReaderSeen]:
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
    raise _error(code, f"{call}: {name} {number:#010x}", scard=f"{number:#010x}")


def _error(code: Code, detail: str, **facts: Any) -> AgentError:
    """With the programs that may hold the card, where somebody does."""
    if code is Code.CARD_IN_USE:
        facts["rivals"] = likely_holders()
    return AgentError(code, detail, **facts)
