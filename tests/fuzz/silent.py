"""A program that holds connections that say nothing, and opens again at once what the agent drops.

`python -m tests.fuzz.silent PORT COUNT [UID]`: opens them, says how many it holds, says for each line of its standard
input how often it was dropped by then, and ends with its input. With UID it is another account's program.
"""

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

_WATCHED = select.POLLIN | select.POLLHUP | select.POLLERR


class Holder:
    """That program as a child process. Use as a context manager: it holds all of them from then on."""

    def __init__(self, port: int, count: int, *, uid: int | None = None) -> None:
        assert uid is None or os.geteuid() == 0, "a second user needs root: run this as root"
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port), str(count), *([] if uid is None else [str(uid)])],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.held = 0

    def __enter__(self) -> "Holder":
        self.held = self._told()["held"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def dropped(self) -> int:
        """How often one of its connections was."""
        assert self._process.stdin
        self._process.stdin.write(b"?\n")
        self._process.stdin.flush()
        return self._told()["dropped"]

    def _told(self) -> dict[str, int]:
        assert self._process.stdout
        told: dict[str, int] = json.loads(self._process.stdout.readline())
        return told


def hold(port: int, count: int) -> None:
    """Until standard input ends."""
    held: dict[int, socket.socket] = {}
    watched = select.poll()
    dropped = 0

    def another() -> None:
        one = socket.socket()
        one.setblocking(False)  # never waits for its turn at the door: the others are to be watched meanwhile
        one.connect_ex(("127.0.0.1", port))
        held[one.fileno()] = one
        watched.register(one, _WATCHED)

    for _ in range(count):
        another()
    print(json.dumps({"held": len(held)}), flush=True)
    watched.register(sys.stdin, _WATCHED)
    while True:
        for number, _ in watched.poll():
            if number in held:
                watched.unregister(number)
                held.pop(number).close()
                dropped += 1
                another()
            elif os.read(number, 1024):
                print(json.dumps({"dropped": dropped}), flush=True)
            else:
                return


def main(port: str, count: str, uid: str | None = None) -> None:
    if uid is not None:
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    hold(int(port), int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
