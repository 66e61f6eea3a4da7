"""What a journal holds, read past the product's own reading; and the rules that hold in every journal."""

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.journal.chain import Entry, Kind
from agent.journal.files import FILE, SELECT
from agent.journal.store import Journal


@dataclass
class Held:
    entries: dict[int, Entry]
    pending: set[int]
    unfinished: set[int]  # what the product says is pending
    left: int  # how many left behind a checkpoint
    fault: str  # empty without one

    @classmethod
    def of(cls, own: Journal, folder: Path) -> "Held":
        """`own` is the one in this folder. It is closed."""
        try:
            verdict = own.verify()
            unfinished = {one.intended.seq for one in own.unfinished()}
        finally:
            own.close()
        database = sqlite3.connect(folder / FILE)
        try:
            entries = (Entry(*row) for row in database.execute(f"{SELECT} ORDER BY seq"))
            held = cls(
                entries={entry.seq: entry for entry in entries},
                pending={seq for (seq,) in database.execute("SELECT seq FROM pending")},
                unfinished=unfinished,
                left=verdict.left,
                fault=f"{verdict.fault.kind} at {verdict.fault.seq}" if verdict.fault else "",
            )
        finally:
            database.close()
        if not held.fault and verdict.entries != len(held.entries):
            held.fault = f"{verdict.entries} of {len(held.entries)} entries verified"
        return held

    @property
    def tail(self) -> int:
        return max(self.entries, default=0)

    @property
    def erased(self) -> int:
        return sum(entry.erased_at is not None for entry in self.entries.values())

    def of_kind(self, kind: Kind) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.kind == kind]

    def problems(self) -> Iterator[str]:
        """The chain holds. Each attempt has one intent, then at most one outcome; without one it is pending."""
        if self.fault:
            yield f"the chain has a fault: {self.fault}"
        intents = {(entry.trace_id, entry.attempt): entry.seq for entry in self.of_kind(Kind.INTENT)}
        if len(intents) != len(self.of_kind(Kind.INTENT)):
            yield "an attempt was intended twice"
        concluded: set[int] = set()
        for entry in self.of_kind(Kind.OUTCOME):
            intended = intents.get((entry.trace_id, entry.attempt), entry.seq)
            if intended >= entry.seq or intended in concluded:
                yield f"outcome {entry.seq} has no intent of its own"
            concluded.add(intended)
        for entry in self.of_kind(Kind.RESULT):
            if (entry.trace_id, 1) not in intents:
                yield f"result {entry.seq} has no intent"
        without = set(intents.values()) - concluded
        if not without == self.pending == self.unfinished:
            yield f"without outcome {without}, pending {self.pending}, unfinished {self.unfinished}"


def copied(folder: Path, copy: Path) -> bool:
    """Take a copy, so that who goes on finds what a kill left; whether there is a journal at all."""
    shutil.rmtree(copy, ignore_errors=True)
    if folder.exists():
        shutil.copytree(folder, copy)
    return (copy / FILE).exists()
