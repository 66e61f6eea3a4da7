"""`insi-agent` as a program: a home of its own, nothing of our environment, nobody left behind."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class Program:
    """A running `insi-agent`; use as a context manager. It ends by SIGTERM, with status 0 and without a trace."""

    def __init__(self, command: list[str], home: Path, **environment: str) -> None:
        """`home` is its HOME and where it starts; `environment` is all it gets beside HOME and PATH."""
        self.home = home
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the program)
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # its number marks whatever it starts
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            try:
                self.stop()
            finally:
                self._process.kill()
                self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> dict[str, str]:
        """The line that `demo --json` says when it is ready."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"it ended with {self._process.wait(30)}: {self.said()}")
        found: dict[str, str] = json.loads(line)
        return found

    def others(self, role: str = "") -> dict[int, list[str]]:
        """Its children and theirs now: number to command line. `role`: only those started as `_child role`."""
        found = {pid: command for pid, session, command in _processes() if session == self.pid != pid}
        return {pid: command for pid, command in found.items() if not role or command[-2:] == ["_child", role]}

    def stop(self) -> None:
        """SIGTERM; it must end well and leave no process."""
        self._process.terminate()
        self.ended()

    def ended(self) -> None:
        """Wait for its end, which must be a good one, and leave no process."""
        assert self._process.wait(40) == 0, self.said()
        left = self.others()
        assert left == {}, f"left behind: {left}"

    def said(self) -> str:
        # not by seek and read: the program writes where we would stand
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode(errors="replace")[-2000:]


def port_of(address: dict[str, str]) -> int:
    return int(address["ws"].rpartition(":")[2])


def _processes() -> Iterator[tuple[int, int, list[str]]]:
    """Number, session and command line of every living process. The agent hides the rest of /proc from its user."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, _parent, _group, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if state != "Z":
            yield int(folder.name), int(session), command
