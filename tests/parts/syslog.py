"""The socket of a syslog daemon, and a machine for one process whose /dev/log it is."""

import socket
from pathlib import Path

# A /dev of its own, with its usual nodes, for this process and its children alone.
_ELSEWHERE = """
set -e
mount -t tmpfs tmpfs "$1"
for node in null zero full random urandom tty; do touch "$1/$node"; mount --bind "/dev/$node" "$1/$node"; done
mkdir "$1/shm"
ln -s /proc/self/fd "$1/fd"
ln -s "$2" "$1/log"
mount --rbind "$1" /dev
shift 2
exec "$@"
"""


class Syslog:
    """Its receiving end, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "syslog"
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.place))
        self._socket.setblocking(False)

    def received(self) -> list[bytes]:
        """The messages that came since it was asked last."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(1 << 16))
            except BlockingIOError:
                return found

    def heard_by(self, command: list[str]) -> list[str]:
        """The command line that runs `command`, in its own process, where this is /dev/log. Asks for root."""
        dev = self._folder / "dev"
        dev.mkdir(exist_ok=True)
        return ["unshare", "--mount", "bash", "-c", _ELSEWHERE, "_", str(dev), str(self.place), *command]

    def close(self) -> None:
        self._socket.close()
        self.place.unlink()
