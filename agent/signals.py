"""Signals heard whichever thread they meet. ★ (signal.set_wakeup_fd)

Python runs a handler in the main thread, once that one wakes; what wakes it is the signal itself. A signal that meets
another thread wakes nobody: on Linux, the thread that starts a child at this very moment (vfork). The wake-up
descriptor is written wherever the signal arrives.
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

_BY_PYTHON = 0x80  # beside a signal's number, which is 64 at most


@contextlib.contextmanager
def hearing(acts: Mapping[str, Callable[[str], None]]) -> Iterator[None]:
    """Call the act of each signal ("SIGTERM"), with its name, in a thread of its own. From the main thread.

    A signal that this system does not have is left out. Afterwards they do nothing any more: whoever was told to stop
    is not hurried by being told again.
    """
    numbers = {int(getattr(signal, name)): name for name in acts if hasattr(signal, name)}
    heard, told = socket.socketpair()
    told.setblocking(False)

    def listen() -> None:
        unconfirmed: set[int] = set()
        while came := heard.recv(64):
            for byte in came:
                number, by_python = byte & ~_BY_PYTHON, bool(byte & _BY_PYTHON)
                if by_python and number in unconfirmed:
                    unconfirmed.discard(number)
                elif number in numbers:
                    acts[numbers[number]](numbers[number])
                if not by_python:
                    unconfirmed.add(number)

    def handle(number: int, _frame: object) -> None:
        """What GTK's loop leaves to us: it takes the wake-up descriptor for itself, and wakes the main thread."""
        with contextlib.suppress(BlockingIOError):
            told.send(bytes([number | _BY_PYTHON]))

    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    former = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _do_nothing)
        signal.set_wakeup_fd(former)
        told.close()
        listener.join()
        heard.close()


def _do_nothing(*_: object) -> None:
    """Not SIG_IGN, which children would inherit."""
