"""Counts, latency and reachability since the agent started (S034, S127). No I/O of its own."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class OperationCount:
    by_code: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    total_ms: int = 0
    last_ms: int = 0


@dataclass
class Counts:
    """One row per operation (WS_INS1 …), one count per code; nothing about people."""

    operations: dict[str, OperationCount] = field(default_factory=dict)
    last_at: datetime | None = None
    last_reason: str | None = None

    def attempt(self, operation: str, code: str, duration_ms: int, at: datetime, *, failed: str | None) -> None:
        count = self.operations.setdefault(operation, OperationCount())
        count.by_code[code] += 1
        count.calls += 1
        count.total_ms += duration_ms
        count.last_ms = duration_ms
        self.last_at, self.last_reason = at, failed
