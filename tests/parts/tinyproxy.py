"""A real proxy: tinyproxy, on a port of the loopback, with or without an account."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from tests.parts.desktop import until

_CONFIG = """
Listen 127.0.0.1
Port {port}
Timeout 60
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
MaxClients 20
Allow 127.0.0.1
"""


class Tinyproxy:
    """One that runs."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log
        self.address = f"http://127.0.0.1:{port}"

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def tunnels(self) -> list[str]:
        """The servers that it was asked to lead to, in order."""
        asked = [line.partition(": CONNECT ")[2] for line in self.said().splitlines() if ": CONNECT " in line]
        return [line.split()[0] for line in asked]


@contextmanager
def tinyproxy(folder: Path, account: tuple[str, str] | None = None) -> Iterator[Tinyproxy]:
    """`folder`: an empty one of its own. `account`: whom alone it serves, and their password."""
    program = which("tinyproxy")
    assert program, "tinyproxy is missing: apt-get install tinyproxy"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    only = f"BasicAuth {' '.join(account)}\n" if account else ""
    (folder / "tinyproxy.conf").write_text(_CONFIG.format(port=port, folder=folder) + only)
    (folder / "tinyproxy.log").touch()
    process = subprocess.Popen([program, "-d", "-c", str(folder / "tinyproxy.conf")], stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port) or process.poll() is not None, "tinyproxy listens")
        assert process.poll() is None, (folder / "tinyproxy.log").read_text()
        yield Tinyproxy(port, folder / "tinyproxy.log")
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
