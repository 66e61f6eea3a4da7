"""The operations of one origin in one environment, newest first, a page at a time. ★

Whatever a journal holds, a page costs the same: it follows an index of that origin's own operations, looks at a
bounded number of them, and opens the personal part of those alone that have a reference to show. Nobody sees by the
time it takes what others have. A clear part is told as it is: whether it is as it was written, `verify` says.
"""

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from typing import NamedTuple

from agent.journal.chain import Kind
from agent.journal.parts import code_in, told
from agent.journal.ports import CUT_SHORT, ListedTrace, TracePage
from agent.model import Environment

EXAMINED = 1_000  # operations that one page looks at

_BEGUN = """
SELECT seq, IFNULL(CAST(at AS TEXT), ''), CAST(trace_id AS TEXT), IFNULL(CAST(clear AS BLOB), x''),
    client_ref IS NOT NULL
FROM entry WHERE kind = 'intent' AND attempt = 1 AND origin = ?"""
_NEWEST = f"{_BEGUN} AND at >= ? AND (at, seq) < (?, ?) ORDER BY at DESC, seq DESC LIMIT ?"
_UNDER = f"{_BEGUN} AND client_ref = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
_LINES = """
SELECT CAST(kind AS TEXT), CAST(attempt AS INTEGER), IFNULL(CAST(clear AS BLOB), x'')
FROM entry WHERE trace_id = ? AND origin = ? ORDER BY seq"""
_EVER, _END = "", ("~", (1 << 63) - 1)  # before and after every place (at, seq)


class Begun(NamedTuple):
    """The first intent of an operation, without what is personal."""

    seq: int
    at: str
    trace_id: str
    clear: bytes
    named: int  # 1: the page gave it a reference


@dataclass(frozen=True)
class Wanted:
    """What is listed; all of it holds together."""

    origin: str
    environment: Environment
    operation: str | None
    code: str | None  # of the last attempt
    since: datetime | None
    until: datetime | None  # before it


def page(
    database: sqlite3.Connection,
    wanted: Wanted,
    *,
    references: Sequence[str] | None,
    client_ref_of: Callable[[int], str | None],
    cursor: str | None,
    limit: int,
) -> TracePage:
    """One page. `references`: what stands for the page's own reference, by each key; None: whatever it is.

    `client_ref_of`: the reference of the operation whose first intent is this one. By reference, the order is the one
    in which they were written. Raises ValueError for a cursor that is none.
    """
    since, until = instant(wanted.since) if wanted.since else _EVER, instant(wanted.until) if wanted.until else _END[0]
    before = _place(cursor) if cursor else _END
    if references is None:
        rows = _newest(database, wanted.origin, since, min(before, (until, 0)))
    else:
        rows = begun_under(database, wanted.origin, references, before=before[1], limit=EXAMINED + 1)
    clear = {"environment": wanted.environment, **({"operation": wanted.operation} if wanted.operation else {})}
    found: list[ListedTrace] = []
    last: Begun | None = None
    with closing(rows):
        for examined, begun in enumerate(rows):
            if last and (len(found) == limit or examined == EXAMINED):
                return TracePage(found, f"{last.at}_{last.seq}")
            last = begun
            if since <= begun.at < until and clear.items() <= told(begun.clear).items():
                codes, answered = _lines(database, wanted.origin, begun.trace_id)
                if wanted.code in (None, codes[-1]):
                    found.append(_listed(begun, codes, answered, client_ref_of(begun.seq) if begun.named else None))
    return TracePage(found, None)


def begun_under(
    database: sqlite3.Connection, origin: str, references: Sequence[str], *, before: int = _END[1], limit: int = -1
) -> Generator[Begun, None, None]:
    """This origin's operations under one of these references, the last written before that seq first."""
    by_key = [database.execute(_UNDER, (origin, reference, before, limit)).fetchall() for reference in references]
    yield from (Begun(*row) for row in merge(*by_key, reverse=True))


def instant(moment: datetime) -> str:
    """As text that compares with the `at` of entries, also on the first and the last day of the calendar."""
    with suppress(OverflowError):
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _newest(
    database: sqlite3.Connection, origin: str, since: str, before: tuple[str, int]
) -> Generator[Begun, None, None]:
    with closing(database.execute(_NEWEST, (origin, since, *before, EXAMINED + 1))) as rows:
        yield from (Begun(*row) for row in rows)


def _lines(database: sqlite3.Connection, origin: str, trace_id: str) -> tuple[list[str], bool]:
    """The code of each attempt, and whether there was a result."""
    rows = database.execute(_LINES, (trace_id, origin)).fetchall()
    codes = {1: CUT_SHORT} | {attempt: CUT_SHORT for kind, attempt, _ in rows if kind == Kind.INTENT}
    # backwards: the first outcome of an attempt is what came of it
    codes |= {attempt: code_in(clear) for kind, attempt, clear in reversed(rows) if kind == Kind.OUTCOME}
    return [codes[attempt] for attempt in sorted(codes)], any(kind == Kind.RESULT for kind, *_ in rows)


def _listed(begun: Begun, codes: list[str], answered: bool, client_ref: str | None) -> ListedTrace:
    clear = told(begun.clear)
    return ListedTrace(
        seq=begun.seq,
        trace_id=begun.trace_id,
        at=begun.at,
        operation=str(clear.get("operation")),
        auth_mode=str(clear.get("authMode")),
        client_ref=client_ref,
        code=codes[-1],
        attempts=len(codes),
        answered=answered,
    )


def _place(cursor: str) -> tuple[str, int]:
    at, _, seq = cursor.rpartition("_")
    return at, int(seq)
