"""Wait until the card service may be back, without polling. ★ inotify

On Linux something new in the folder of pcsc-lite's socket ends the wait. Elsewhere, and while there is no
such folder, only `wake` and the time do: Windows has an event for it, which pyscard does not give.
"""

import ctypes
import os
import selectors
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

_SOCKET = "/run/pcscd/pcscd.comm"  # unless PCSCLITE_CSOCK_NAME says otherwise
_IN_ATTRIB, _IN_MOVED_TO, _IN_CREATE = 0x4, 0x80, 0x100  # pcscd's last act on a new socket is a chmod


class Comeback:
    """One thread waits, any thread wakes it. Its end, as a context manager, is that of the thread that waits."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._ear, self._bell = map(self._open.enter_context, socket.socketpair())
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._events = self._open.enter_context(selectors.DefaultSelector())
        self._events.register(self._ear, selectors.EVENT_READ)
        self._folder = _folder_events()
        if self._folder is not None:
            self._open.callback(os.close, self._folder)
            self._events.register(self._folder, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def wake(self) -> None:
        """End the wait, or the next one."""
        with suppress(OSError):  # woken already, or nobody waits any more
            self._bell.send(b"\0")

    def forget(self) -> None:
        """What woke until now is no news; the folder is watched from now on."""
        with suppress(BlockingIOError):
            while self._ear.recv(4096):
                pass
        if self._folder is not None:
            with suppress(BlockingIOError):
                while os.read(self._folder, 4096):
                    pass
            _watch_folder(self._folder)

    def wait(self, timeout_s: float) -> bool:
        """Whether something woke us before the time was over."""
        return bool(self._events.select(timeout_s))


def _folder_events() -> int | None:
    """An inotify descriptor; None where the system has none."""
    if sys.platform != "linux":
        return None
    descriptor: int = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor if descriptor >= 0 else None


def _watch_folder(descriptor: int) -> None:
    """Each time again: the folder may be new. Once more for the same one changes nothing."""
    folder = Path(os.environ.get("PCSCLITE_CSOCK_NAME", _SOCKET)).parent
    mask = _IN_ATTRIB | _IN_MOVED_TO | _IN_CREATE
    ctypes.CDLL(None).inotify_add_watch(descriptor, os.fsencode(folder), mask)
