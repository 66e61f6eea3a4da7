"""A virtual card in a child process: PKCS#11 modules hold the interpreter's lock while they talk to the card."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[2]


class Obedient:
    """A child process that obeys orders, one line of JSON each; use as a context manager."""

    def __init__(self, module: str, *args: str, **environment: str) -> None:
        """`python -m module *args`, with `environment` added to ours."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()  # a card leaves its reader and ends
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, order: str, **arguments: Any) -> Any:
        """Give an order and return the answer."""
        self.tell(order, **arguments)
        return self.heard()

    def tell(self, order: str, **arguments: Any) -> None:
        """Give an order and do not wait; `heard` gives the answers in the order of the orders."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self._process.stdin.flush()

    def heard(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the process ended: {self._process.wait()}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]


class CardProcess(Obedient):
    """A card module of `tests/cards` on its way into a reader. It starts outside."""

    def __init__(self, module: str, port: int, *args: str) -> None:
        """`python -m module port *args`, whose main ends in `vpcd.serve`."""
        super().__init__(module, str(port), *args)

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
