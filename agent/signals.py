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


@contextlib.contextmanager
def hearing(acts: Mapping[str, Callable[[str], None]]) -> Iterator[None]:
    """Call the act of each signal ("SIGTERM"), with its name, in a thread of its own. From the main thread.

    A signal that this system does not have is left out. One that comes several times may be heard as one, or twice.
    Afterwards, these signals do nothing any more: whoever was told to stop is not hurried by being told again.
    """
    numbers = {int(getattr(signal, name)): name for name in acts if hasattr(signal, name)}
    heard, told = socket.socketpair()
    told.setblocking(False)

    def listen() -> None:
        while came := set(heard.recv(64)):
            for number in came & numbers.keys():
                acts[numbers[number]](numbers[number])

    def handle(number: int, _frame: object) -> None:
        """Tell it again: GTK's loop keeps the wake-up descriptor to itself, and wakes the main thread instead."""
        with contextlib.suppress(BlockingIOError):
            told.send(bytes([number]))

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
