"""A virtual card in a child process: PKCS#11 modules hold the interpreter's lock while they talk to the card."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


class CardProcess:
    """A card module of `tests/cards` on its way into a reader; use as a context manager. It starts outside."""

    def __init__(self, module: str, port: int, *args: str) -> None:
        """`python -m module port *args`, whose main ends in `vpcd.serve`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(port), *args],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "CardProcess":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()  # the card leaves its reader and ends
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def insert(self) -> None:
        """Into the reader; returns when pcscd has powered it."""
        assert self.ask("insert"), "pcscd did not power the card"

    def remove(self) -> None:
        """Out of the reader; pcscd notices within 400 ms."""
        self.ask("remove")

    def counts(self) -> dict[str, int]:
        """APDUs so far, and how often the card was powered `on`, `off` and `reset`."""
        counts = self.ask("counts")
        assert isinstance(counts, dict)
        return counts

    def ask(self, order: str, **arguments: Any) -> Any:
        """Give an order and return the card's answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the card process ended: {self._process.wait()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]
