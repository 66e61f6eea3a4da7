"""J1, J2, J3: what a journal of a million entries costs more than a small one: to write, to list, to verify."""

import shutil
import time
from datetime import UTC, datetime
from typing import Any

from agent.journal.store import Journal
from agent.model import Environment
from benchmarks.bulk import EVERY, ORIGIN, made, operate
from benchmarks.figures import Effort, Measured
from benchmarks.parts import Parts

FEW, SOME = 10, 10_000  # entries of the small journals
PAGE = 3  # operations: a journal of ten entries has four
_OPERATIONS = 4  # in a turn of writing
_SMALL = 3  # verifications of the small journal, before and after that of the large one


def append(parts: Parts, effort: Effort) -> Measured:
    """Intent, outcome and result into a large journal, against one of ten entries that is new in each turn."""
    large, seconds = parts.journal(effort.entries)
    few = parts.folder / "few"
    _writing(large)

    def ratio() -> float:
        small = made(few, FEW)
        _writing(small)
        ours, floor = _writing(large), _writing(small)
        small.close()
        shutil.rmtree(few)
        return ours / floor

    ratios = [ratio() for _ in range(effort.turns)]
    return Measured(ratios, f"{effort.entries:,} entries made in {seconds:.0f} s")


def _writing(journal: Journal) -> float:
    began = time.perf_counter()
    for _ in range(_OPERATIONS):
        operate(journal)
    return time.perf_counter() - began


def listing(parts: Parts, effort: Effort) -> Measured:
    """The newest operations of an origin out of a large journal, against one of ten entries."""
    large, _ = parts.journal(effort.entries)
    small, _ = parts.journal(FEW)
    middle = datetime.now(UTC) - effort.entries // 6 * EVERY

    def reading(journal: Journal, **wanted: Any) -> float:
        began = time.perf_counter()
        for _ in range(effort.requests):
            journal.traces(ORIGIN, Environment.TEST, **wanted)
        return (time.perf_counter() - began) / effort.requests

    assert len(large.traces(ORIGIN, Environment.TEST, limit=PAGE).traces) == PAGE
    assert len(small.traces(ORIGIN, Environment.TEST, limit=PAGE).traces) == PAGE
    ratios = [reading(large, limit=PAGE) / reading(small, limit=PAGE) for _ in range(effort.turns)]
    page, old = 1000 * reading(large, limit=50), 1000 * reading(large, limit=50, until=middle)
    return Measured(ratios, f"a page of 50 takes {page:.1f} ms, one from the middle {old:.1f}")


def verifying(parts: Parts, effort: Effort) -> Measured:
    """The whole chain of a large journal, once, against one of 10,000 entries; processor seconds per entry.

    Not the clock's: a verification lasts so long that the two sides meet different neighbours on the machine.
    """
    large, _ = parts.journal(effort.entries)
    some, _ = parts.journal(SOME)

    def per_entry(journal: Journal) -> float:
        began = time.process_time()
        verdict = journal.verify()
        assert verdict.fault is None
        return (time.process_time() - began) / verdict.entries

    before = [per_entry(some) for _ in range(_SMALL)]
    ours = per_entry(large)
    floors = [*before, *(per_entry(some) for _ in range(_SMALL))]
    return Measured([ours / floor for floor in floors], f"{1e6 * ours:.0f} µs an entry")
