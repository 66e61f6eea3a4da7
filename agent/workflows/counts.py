"""Counts, latency and reachability since the agent started (S034, S127). No I/O of its own."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median_low
from typing import Any

RECENT = 100  # attempts of which the median is taken


@dataclass
class OperationCount:
    by_code: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    faults: int = 0  # of `calls`, those that ended without an answer of INSi about the person
    total_ms: int = 0
    last_ms: int = 0
    max_ms: int = 0
    recent_ms: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def mean_ms(self) -> int:
        return round(self.total_ms / self.calls)

    @property
    def median_ms(self) -> int:
        return median_low(self.recent_ms)


@dataclass
class Counts:
    """One row per operation (WS_INS1 …), one count per code; nothing about people."""

    operations: dict[str, OperationCount] = field(default_factory=dict)
    last_at: datetime | None = None
    last_reason: str | None = None

    def attempt(
        self, operation: str, code: str, duration_ms: int, at: datetime, *, answered: bool, failed: str | None
    ) -> None:
        """`answered`: INSi gave a CodeCR, and no fault. `failed`: why nothing came back at all."""
        count = self.operations.setdefault(operation, OperationCount())
        count.by_code[code] += 1
        count.calls += 1
        count.faults += not answered
        count.total_ms += duration_ms
        count.last_ms = duration_ms
        count.max_ms = max(count.max_ms, duration_ms)
        count.recent_ms.append(duration_ms)
        self.last_at, self.last_reason = at, failed


def in_words(operation: str, counts: dict[str, Any]) -> str:
    """One row, as agent.status gives it, for a person."""
    codes = ", ".join(f"{code} × {count}" for code, count in sorted(counts["byCode"].items()))
    return (
        f"{operation} : {counts['calls']} appel(s) ({codes}), dont {counts['faults']} en échec ; "
        f"médiane {counts['medianMs']} ms, moyenne {counts['meanMs']} ms, le plus long {counts['maxMs']} ms"
    )
