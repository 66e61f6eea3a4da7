"""Rounds with a writer that is killed, one journal after the other."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .kills import INSTANT, SAID, WAIT_S, Kill, aim
from .ledger import Ledger

ROOT = Path(__file__).parents[2]
WAYS = {
    "pwrite64": (8, 1500),
    "fdatasync": (3, 60),
    "fsync": (2, 40),
    "write": (3, 90),
    "openat": (2, 60),
    "ftruncate": (1, 3),
    "unlink": (1, 2),
    SAID: (8, 60),
    INSTANT: (12, 1000),
}
_REPEATABLE = {"pwrite64": (2, 1500), "fsync": (1, 40)}
_ENOUGH = 150  # lines, where the call did not come so often
_ROUNDS_OF_A_JOURNAL = 20
_LARGEST_REPLIES = (1 << 16, 1 << 16, 1 << 18, 1 << 20)


@dataclass
class Tally:
    """What was done."""

    kills: Counter[str] = field(default_factory=Counter)  # how → how often
    journals: int = 0
    acknowledged: int = 0  # entries
    sent: int = 0  # attempts
    erased: int = 0  # personal parts that retention took, of entries that stayed
    left: int = 0  # entries that it took
    answered: int = 0  # results that a page got
    replayed: int = 0  # of them
    problems: list[str] = field(default_factory=list)


class StoreRounds:
    """A process that writes as the agent does. Its kills and writes are repeated by the seed."""

    def __init__(self, folder: Path, seed: int, tally: Tally, *, broken: str | None = None) -> None:
        """`broken`: the writer does this in the wrong order; it dies in front of system calls only."""
        self._folder, self._seed, self._tally, self._broken = folder, seed, tally, broken
        self._chance = Random(f"{seed} store")  # noqa: S311  (to repeat, no secret)
        self._journal, self._ledger, self._max_reply_bytes = folder, Ledger(0), 0
        self._left = 0  # rounds of this journal
        self._number = 0  # of operations

    def round(self, number: int, kill: Kill | None = None) -> None:
        """Kill once, by chance if not in this way, and judge what it left."""
        if self._left == 0:
            self._begin(number)
        self._left -= 1
        kill = kill or Kill.at_random(self._chance, _REPEATABLE if self._broken else WAYS)
        self._run(kill, f"{self._seed}.{number}")
        self._tally.kills[kill.how] += 1
        for problem in self._ledger.judge(self._journal, self._folder / "copy"):
            self._tally.problems.append(f"round {number}, killed at {kill}: {problem}")
        if self._left == 0:
            self.end()

    def end(self) -> None:
        """Count what this journal saw."""
        self._tally.acknowledged += self._ledger.acknowledged
        self._tally.sent += self._ledger.sent
        self._tally.erased += self._ledger.erased
        self._tally.left += self._ledger.left
        self._ledger = Ledger(0)

    def _begin(self, number: int) -> None:
        self._left = self._chance.randint(1, _ROUNDS_OF_A_JOURNAL)
        self._max_reply_bytes = self._chance.choice(_LARGEST_REPLIES)
        self._journal, self._number = self._folder / f"journal-{number}", 0
        self._ledger = Ledger(self._max_reply_bytes)
        self._tally.journals += 1

    def _run(self, kill: Kill, run: str) -> None:
        command = [sys.executable, "-m", "tests.crash.writer", str(self._journal), "--run", run]
        command += ["--first", str(self._number), "--max-reply-bytes", str(self._max_reply_bytes)]
        command += ["--broken", self._broken] if self._broken else []
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as writer:
            assert writer.stdin
            assert writer.stdout
            try:
                self._hear(writer.stdout.readline())
                tracer = aim(writer.pid, kill) if kill.exact else None
                writer.stdin.write(b"go\n")
                if kill.how == INSTANT:
                    time.sleep(kill.number / 1000)
                else:
                    for _ in range(kill.number if kill.how == SAID else _ENOUGH):
                        if not self._hear(writer.stdout.readline()):
                            break
            finally:
                writer.kill()
            while self._hear(writer.stdout.readline()):
                pass
        if tracer:
            tracer.communicate(timeout=WAIT_S)
        if writer.returncode != -signal.SIGKILL:
            self._tally.problems.append(f"the writer ended by itself with {writer.returncode}")

    def _hear(self, line: bytes) -> bool:
        """Whether there was one; half of one was never said."""
        if not line.endswith(b"\n"):
            return False
        said = json.loads(line)
        self._number = max(self._number, said.get("number", 0))
        self._ledger.hear(said)
        return True
