"""What was heard of one journal, held against what it holds after a kill."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.journal.chain import Entry, Kind
from agent.journal.parts import clear_of, personal_of
from agent.journal.store import Journal
from agent.model import Environment
from agent.workflows.attempts import CUT_SHORT
from tests.journal.making import KEY, KEYS

from .held import Held, copied
from .operations import ENTRY_DAYS, PERSONAL_DAYS, TARGET, Operation, journal

_KINDS = {"sent": Kind.INTENT, "outcome": Kind.OUTCOME, "result": Kind.RESULT, "switch": Kind.SWITCH}
_BY_RULE = (Kind.ERASURE, Kind.CHECKPOINT)


@dataclass(frozen=True)
class Said:
    """An entry that was acknowledged, or an attempt that was sent."""

    kind: Kind
    trace_id: str
    attempt: int
    seq: int | None  # None: a broken writer said it too early
    link: str | None


class Ledger:
    """Of one journal, from its first start on."""

    def __init__(self, max_reply_bytes: int) -> None:
        self._max_reply_bytes = max_reply_bytes
        self._said: list[Said] = []
        self._tail = 0  # after the last round
        self._judged = 0  # how many of `_said` were there then
        self._retained_at = datetime.min.replace(tzinfo=UTC)
        self._marking, self._marked = 0, 0  # of shipping
        self.erased, self.left = 0, 0  # by retention, as last judged

    @property
    def acknowledged(self) -> int:
        return len(self._said)

    @property
    def sent(self) -> int:
        return sum(one.kind is Kind.INTENT for one in self._said)

    def hear(self, line: dict[str, Any]) -> None:
        """One line of the writer."""
        match line["step"]:
            case "retaining":
                self._retained_at = max(self._retained_at, datetime.fromisoformat(line["now"]))
            case "marking":
                self._marking = line["upTo"]
            case "marked":
                self._marked = self._marking
            case step if step in _KINDS:
                about = line.get("trace", ""), line.get("attempt", 0)
                self._said.append(Said(_KINDS[step], *about, line.get("seq"), line.get("link")))

    def judge(self, folder: Path, copy: Path) -> Iterator[str]:
        """What does not hold."""
        if not copied(folder, copy):
            if self._said:
                yield "the journal is gone"
            return
        own = journal(copy, self._max_reply_bytes, Journal)
        yield from self._read_back(own)
        shipped = own.shipped_to(TARGET) or 0
        held = Held.of(own, copy)
        yield from held.problems()
        yield from self._missing(held)
        yield from self._not_said(held)
        yield from self._changed(held)
        if not self._marked <= shipped <= self._marking:
            yield f"shipped up to {shipped}, acknowledged {self._marked}"
        self._tail, self._judged = held.tail, len(self._said)
        self.erased, self.left = held.erased, held.left

    def _read_back(self, own: Journal) -> Iterator[str]:
        """As the product gives it to the page."""
        for one in self._said[self._judged :]:
            if one.kind is Kind.RESULT:
                operation = self._of(one.trace_id)
                found = own.trace(one.trace_id, operation.origin, Environment.SIMULATED)
                if (found is None or found.result != operation.result) and not self._past(operation, PERSONAL_DAYS):
                    yield f"the result of {one.trace_id} is not what was acknowledged"

    def _missing(self, held: Held) -> Iterator[str]:
        """What was acknowledged is there, with its link; what was sent has its intent."""
        named = {(entry.kind, entry.trace_id, entry.attempt): entry for entry in held.entries.values()}
        for number, one in enumerate(self._said):
            entry = named.get((one.kind, one.trace_id, one.attempt)) if one.seq is None else held.entries.get(one.seq)
            if entry is None:
                if not (one.seq and one.seq <= held.left and self._may_leave(one)):
                    yield f"{one.kind} of {one.trace_id}, attempt {one.attempt}, is not in the journal"
            elif one.link not in (None, entry.link) or (entry.kind, entry.trace_id) != (one.kind, one.trace_id):
                yield f"entry {one.seq} is another one"
            if number >= self._judged and one.seq is not None and one.seq <= self._tail:
                yield f"entry {one.seq} came after {self._tail}"

    def _not_said(self, held: Held) -> Iterator[str]:
        """One entry may be on the disk without having been acknowledged: that which the kill cut short."""
        said = {one.seq for one in self._said}
        new = [entry for seq, entry in held.entries.items() if seq > self._tail and seq not in said]
        if sum(entry.kind not in _BY_RULE for entry in new) > 1:
            yield f"{len(new)} entries that nobody acknowledged"

    def _changed(self, held: Held) -> Iterator[str]:
        """Each personal part opens to the very bytes, or was erased by rule."""
        for entry in held.entries.values():
            if entry.kind not in (Kind.INTENT, Kind.OUTCOME, Kind.RESULT):
                continue
            operation = self._of(entry.trace_id)
            if entry.erased_at and self._past(operation, PERSONAL_DAYS):
                continue
            try:
                part = personal_of(entry, lambda: KEYS, KEY.verify_bytes)
            except AgentError as error:
                yield f"entry {entry.seq}: {error}"
                continue
            if part != _written(entry, operation):
                yield f"entry {entry.seq} does not open to what was written"

    def _may_leave(self, one: Said) -> bool:
        return one.kind is Kind.SWITCH or self._past(self._of(one.trace_id), ENTRY_DAYS)

    def _of(self, trace_id: str) -> Operation:
        return Operation.of(trace_id, self._max_reply_bytes)

    def _past(self, operation: Operation, days: int) -> bool:
        return operation.at < self._retained_at - timedelta(days=days)


def _written(entry: Entry, operation: Operation) -> bytes | None:
    match entry.kind:
        case Kind.INTENT:
            return operation.asked(entry.attempt)
        case Kind.RESULT:
            return operation.result
    return None if clear_of(entry)["code"] == CUT_SHORT else operation.answered(entry.attempt)
