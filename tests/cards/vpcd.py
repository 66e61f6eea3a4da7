"""A virtual card at the other end of vpcd: the frame loop, and the orders that its test gives.

vpcd: connecting to the reader's port inserts the card, closing removes it. A frame is a two-byte
big-endian length and a body; one byte is power off (0), power on (1), reset (2) or "your ATR?" (4,
also the presence poll every 400 ms), anything else is an APDU.
"""

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

_POWER = {0: "off", 1: "on", 2: "reset"}
_ATR = 4
_SEEN_S = 1.5
_TRIES = 5
_NOTICED_S = 0.5  # pcscd polls every 400 ms: a card that is back sooner was never away


class VirtualCard(Protocol):
    """What a card is to vpcd."""

    @property
    def atr(self) -> bytes: ...

    def reset(self) -> None:
        """Powered off, powered on or reset: forget what was selected and verified."""
        ...

    def apdu(self, command: bytes) -> bytes:
        """Answer one command, status word included. Raises Pulled to leave in the middle of it."""
        ...


class Pulled(Exception):  # noqa: N818  (an event, not an error)
    """The card leaves the reader without an answer."""


class Insertion:
    """A card in its reader: one connection, served by one thread."""

    def __init__(self, card: VirtualCard, port: int, counts: dict[str, int]) -> None:
        self._card, self._counts = card, counts
        self._seen = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def seen(self) -> bool:
        """Wait until pcscd has powered the card and asked its ATR."""
        return self._seen.wait(_SEEN_S)

    def remove(self) -> None:
        with contextlib.suppress(OSError):  # pulled already, or pcscd ended
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self) -> None:
        powered = False
        try:
            while True:
                body = self._read(int.from_bytes(self._read(2), "big"))
                if len(body) > 1:
                    self._counts["apdus"] += 1
                    self._write(self._card.apdu(body))
                elif body[0] == _ATR:
                    self._write(self._card.atr)
                    if powered:
                        self._seen.set()
                else:
                    self._counts[_POWER[body[0]]] += 1
                    powered = True
                    self._card.reset()
        except (OSError, EOFError, Pulled):
            pass
        finally:
            self._socket.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            # vpcd writes length and body apart: without this, Nagle and delayed ACK cost 44 ms a command.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            more = self._socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def _write(self, body: bytes) -> None:
        self._socket.sendall(len(body).to_bytes(2, "big") + body)


def serve(card: VirtualCard, port: int, orders: Mapping[str, Callable[..., Any]] | None = None) -> None:
    """Obey `{"order": name, …arguments}` lines on stdin, answer `{"value": …}` or `{"error": …}` on stdout.

    `insert` (`into` another reader than `port`), `remove` and `counts` (APDUs, and how often the card was
    powered on, off and reset) are known to every card; `orders` are the card's own. Ends with its input.
    """
    counts = {"apdus": 0, "on": 0, "off": 0, "reset": 0}
    inserted: list[Insertion] = []
    left_at = -_NOTICED_S
    last = port

    def remove() -> None:
        nonlocal left_at
        if inserted:
            inserted.pop().remove()
            left_at = time.monotonic()

    def insert(into: int = port) -> bool:
        nonlocal last
        for _ in range(_TRIES):
            remove()
            if into == last:
                time.sleep(max(0, left_at + _NOTICED_S - time.monotonic()))
            last = into
            inserted.append(Insertion(card, into, counts))
            if inserted[-1].seen():
                return True
        return False

    known: dict[str, Callable[..., Any]] = {"insert": insert, "remove": remove, "counts": lambda: counts}
    known.update(orders or {})
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            answer = {"value": known[arguments.pop("order")](**arguments)}
        except Exception as error:  # noqa: BLE001  (said to the test, which fails with it)
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
    remove()
