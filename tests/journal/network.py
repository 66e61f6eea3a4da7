"""A folder that the system says is on a network: mounted as sshfs would, served by a thread, empty."""

import ctypes
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

# The kernel's include/uapi/linux/fuse.h, version 7.31.
_LOOKUP, _FORGET, _GETATTR, _INIT, _DESTROY, _BATCH_FORGET = 1, 2, 3, 26, 38, 42
_ENOENT, _ENOSYS = 2, 38
_HEADER = struct.Struct("<IIQQIIII")
_DETACH = 2


class NetworkFolder:
    """Mounted from construction to `close`. `asked`: what was wanted of it, by the numbers of fuse.h."""

    KIND = "fuse.sshfs"
    READING = frozenset({_LOOKUP, _GETATTR, _FORGET, _BATCH_FORGET, _INIT, _DESTROY})

    def __init__(self, at: Path) -> None:
        self._at, self.asked = at, set[int]()
        self._device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"poste@serveur:/journal", bytes(at), self.KIND.encode(), 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        ctypes.CDLL(None).umount2(bytes(self._at), _DETACH)
        self._thread.join()
        os.close(self._device)

    def _serve(self) -> None:
        with suppress(OSError):  # ENODEV: unmounted
            while True:
                question = os.read(self._device, 1 << 17)
                _, asked, number, *_ = _HEADER.unpack_from(question)
                self.asked.add(asked)
                if asked not in (_FORGET, _BATCH_FORGET):
                    error, answer = _answer(asked)
                    os.write(self._device, struct.pack("<IiQ", 16 + len(answer), -error, number) + answer)


def _answer(asked: int) -> tuple[int, bytes]:
    match asked:
        case 26:
            return 0, struct.pack("<IIIIHHI", 7, 31, 0, 0, 0, 0, 1 << 16).ljust(64, b"\0")
        case 3:  # the folder itself; the only thing that is there
            return 0, bytes(16) + struct.pack("<QQQQQQ10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40700, 2, 0, 0, 0, 4096, 0)
        case 1:
            return _ENOENT, b""
    return _ENOSYS, b""
