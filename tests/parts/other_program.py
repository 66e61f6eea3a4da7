"""Another program on this workstation that uses the card readers, with the manners of the field.

A child process: the card service knows it as a stranger, and it keeps what it holds until its time is over.
"""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from smartcard import scard

from tests.cards.process import Obedient

_ANY = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1


class OtherProgram(Obedient):
    """Use as a context manager. Each order answers whether it could be done: a card may be out, or in use."""

    def __init__(self, environment: dict[str, str]) -> None:
        """`environment` names the card service."""
        super().__init__(__name__, **environment)

    def reset(self, reader: str) -> bool:
        return bool(self.ask("reset", reader=reader))

    def unpower(self, reader: str) -> bool:
        """As a program does that closes its connection without thinking: the card is powered off under everybody."""
        return bool(self.ask("unpower", reader=reader))

    def lock(self, reader: str, seconds: float) -> bool:
        """Take the card exclusively, for so long or until `let_go`."""
        return bool(self.ask("lock", reader=reader, seconds=seconds))

    def hold(self, reader: str, seconds: float) -> bool:
        """Hold a transaction, for so long or until `let_go`."""
        return bool(self.ask("hold", reader=reader, seconds=seconds))

    def let_go(self) -> None:
        """It holds nothing any more."""
        self.ask("let_go")


def _connect(reader: str, share: int) -> tuple[Any, Any] | None:
    hresult, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if hresult:
        return None
    hresult, card, _ = scard.SCardConnect(context, reader, share, _ANY)
    if hresult:
        scard.SCardReleaseContext(context)
        return None
    return context, card


def _once(reader: str, disposition: int) -> bool:
    connected = _connect(reader, scard.SCARD_SHARE_SHARED)
    if connected is None:
        return False
    context, card = connected
    hresult = scard.SCardDisconnect(card, disposition)
    scard.SCardReleaseContext(context)
    return bool(hresult == scard.SCARD_S_SUCCESS)


_held: list[tuple[threading.Thread, threading.Event]] = []


def _keep(reader: str, seconds: float, share: int) -> bool:
    """Connect now, let go after `seconds`, in a thread of its own."""
    taken, enough = threading.Event(), threading.Event()
    done: list[bool] = []

    def run() -> None:
        connected = _connect(reader, share)
        shared = share == scard.SCARD_SHARE_SHARED
        if connected is None or (shared and scard.SCardBeginTransaction(connected[1])):
            taken.set()
            return
        context, card = connected
        done.append(True)
        taken.set()
        enough.wait(seconds)
        if shared:
            scard.SCardEndTransaction(card, scard.SCARD_LEAVE_CARD)
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(context)

    thread = threading.Thread(target=run, daemon=True)
    _held.append((thread, enough))
    thread.start()
    taken.wait()
    return bool(done)


def _let_go() -> None:
    while _held:
        thread, enough = _held.pop()
        enough.set()
        thread.join()


def main() -> None:
    orders: dict[str, Callable[..., Any]] = {
        "reset": lambda reader: _once(reader, scard.SCARD_RESET_CARD),
        "unpower": lambda reader: _once(reader, scard.SCARD_UNPOWER_CARD),
        "lock": lambda reader, seconds: _keep(reader, seconds, scard.SCARD_SHARE_EXCLUSIVE),
        "hold": lambda reader, seconds: _keep(reader, seconds, scard.SCARD_SHARE_SHARED),
        "let_go": _let_go,
    }
    for line in sys.stdin:
        arguments = json.loads(line)
        print(json.dumps({"value": orders[arguments.pop("order")](**arguments)}), flush=True)


if __name__ == "__main__":
    main()
