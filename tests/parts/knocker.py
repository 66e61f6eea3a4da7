"""Another program that connects to a port of ours, as another user where asked: a real process of its own."""

import json
import os
import select
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any

NOBODY = 65534


class Knocker:
    """`count` connections of another process that say nothing yet. Use as a context manager."""

    def __init__(self, port: int, *, count: int = 1, uid: int | None = None, host: str = "127.0.0.1") -> None:
        assert uid is None or os.geteuid() == 0, "a second user needs root: run these tests as root"
        uids = [] if uid is None else [str(uid)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, host, str(port), str(count), *uids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Knocker":
        assert self._told() == "connected"
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def addresses(self) -> list[tuple[str, int]]:
        """Its own end of each connection."""
        return [(host, port) for host, port, *_ in self._do("addresses")]

    def say(self, text: str) -> str:
        """Send this on its last connection; the first line of the answer, empty when it was only closed."""
        return str(self._do("say", text))

    def closed(self, count: int) -> list[int]:
        """Wait until this many were closed by the other side; which, in the order in which they were opened."""
        return list(self._do("closed", count))

    def _do(self, *command: object) -> Any:
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._told()

    def _told(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline() or '"ended"')


def _is_closed(one: socket.socket) -> bool:
    if not select.select([one], [], [], 0)[0]:
        return False
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def main(host: str, port: str, count: str, uid: str | None = None) -> None:
    host.encode("idna")  # loads what another user could not read where Python is root's own
    if uid is not None:
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    opened = [socket.create_connection((host, int(port)), timeout=20) for _ in range(int(count))]
    print(json.dumps("connected"), flush=True)
    for line in sys.stdin:
        answer: object
        match json.loads(line):
            case ["addresses"]:
                answer = [one.getsockname() for one in opened]
            case ["say", text]:
                opened[-1].sendall(text.encode())
                answer = opened[-1].recv(4096).partition(b"\r\n")[0].decode()
            case ["closed", wanted]:
                gone: set[int] = set()
                while len(gone) < wanted:
                    select.select([one for index, one in enumerate(opened) if index not in gone], [], [])
                    gone |= {index for index, one in enumerate(opened) if index not in gone and _is_closed(one)}
                answer = sorted(gone)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
