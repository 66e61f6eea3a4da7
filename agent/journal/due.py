"""What of a journal's file retention may take now, and what its own entries say of what it took. ★"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent.journal.chain import Authentic, Entry, Erased, Kind, erased_by, intact, said_by
from agent.journal.files import FEW, SELECT, UNFINISHED
from agent.journal.parts import told
from agent.journal.retention import Age, Line, Rule, age, erased_through, left_through

# The words put together here are ours (S608).
_WITH_PERSON = f"""
SELECT seq, CAST(at AS TEXT), length(personal) FROM entry
WHERE personal IS NOT NULL AND seq NOT IN ({UNFINISHED}) ORDER BY seq"""  # noqa: S608  (our own words)
_UNTIL = f"""
WHERE seq NOT IN ({UNFINISHED}) AND seq IN (
    SELECT seq FROM entry WHERE seq <= :through AND personal IS NOT NULL
    UNION SELECT seq FROM entry WHERE seq <= :through AND seq > :before)
ORDER BY seq"""  # noqa: S608  (our own words)
_WITH_END = """
SELECT one.seq, CAST(one.at AS TEXT), length(one.clear) + ifnull(length(one.personal), 0),
    last.seq, CAST(last.at AS TEXT)
FROM entry one JOIN entry last ON last.seq =
    CASE one.trace_id WHEN '' THEN one.seq ELSE (SELECT max(seq) FROM entry WHERE trace_id = one.trace_id) END
ORDER BY one.seq"""
_STAYS = f"""
SELECT min(seq) FROM (
    SELECT max(seq) AS seq FROM entry
    UNION ALL SELECT min(seq) FROM ({UNFINISHED})
    UNION ALL SELECT ifnull((SELECT seq FROM shipped WHERE target = :target), 0) + 1 WHERE :target IS NOT NULL)"""  # noqa: S608  (our own words)

_NEVER = "~"  # behind every date


def parts_due(
    database: sqlite3.Connection, rule: Rule, now: datetime, authentic: Authentic, *, most_bytes: int
) -> int | None:
    """The last entry whose personal part is erased in the next step, with all before it but unfinished intents'."""
    old = age(rule.personal_days, now, _vouched(database, authentic))
    if old is None:
        return None
    with closing(database.execute(_WITH_PERSON)) as rows:
        lines = (_believed(database, Line(*row), old, authentic) for row in rows)
        return erased_through(lines, old, most_bytes=most_bytes)


def _believed(database: sqlite3.Connection, line: Line, old: Age, authentic: Authentic) -> Line:
    """What says that it is old must be as it was written; else it has the age of those that follow it."""
    if line.at >= old.before:
        return line
    (entry,) = (Entry(*row) for row in database.execute(f"{SELECT} WHERE seq = ?", (line.seq,)))
    return line if intact(entry, authentic) else replace(line, at=_NEVER)


def parts_until(database: sqlite3.Connection, through: int, before: int) -> Iterator[Entry]:
    """The entries whose parts are erased next, and those after `before` that have none any more."""
    with closing(database.execute(f"{SELECT} {_UNTIL}", {"through": through, "before": before})) as rows:
        yield from (Entry(*row) for row in rows)


def entries_due(
    database: sqlite3.Connection, rule: Rule, now: datetime, authentic: Authentic, *, most_bytes: int
) -> int | None:
    """The last entry that leaves in the next step, with all before it.

    Unfinished intents stay, what was not shipped yet, and the last entry of all.
    """
    old = age(rule.entry_days, now, _vouched(database, authentic))
    if old is None:
        return None
    stays = database.execute(_STAYS, {"target": rule.shipped_to}).fetchone()[0]
    with closing(database.execute(_WITH_END)) as rows:
        return left_through((Line(*row) for row in rows), old, stays=stays, most_bytes=most_bytes)


def erased_so_far(database: sqlite3.Connection, authentic: Authentic) -> Erased:
    """What our last erasure says."""
    said = (erased_by(entry, authentic) for entry in _newest(database, Kind.ERASURE))
    return next(filter(None, said), Erased())


def checkpoint_before(database: sqlite3.Connection, first: Entry, authentic: Authentic) -> dict[str, Any]:
    """What the checkpoint says behind which the journal starts with `first`; nothing where none has left."""
    said = (said_by(entry, authentic) for entry in _newest(database, Kind.CHECKPOINT))
    return next((one for one in said if one.get("through") == first.seq - 1), {})


def _vouched(database: sqlite3.Connection, authentic: Authentic) -> str | None:
    """When the clock was right, as far as is known: at INSi's last answer, whose certificates were valid then; without
    any, at the last entry."""
    with closing(database.execute(f"{SELECT} WHERE kind = 'outcome' ORDER BY seq DESC")) as rows:
        outcomes = (Entry(*row) for row in rows)
        answers = (one.at for one in outcomes if told(one.clear).get("httpStatus") and intact(one, authentic))
        if at := next(answers, None):
            return at
    last = database.execute("SELECT CAST(at AS TEXT) FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
    return last[0] if last else None


def _newest(database: sqlite3.Connection, kind: Kind) -> Iterator[Entry]:
    with closing(database.execute(f"{SELECT} WHERE {FEW} AND kind = ? ORDER BY seq DESC", (kind,))) as rows:
        yield from (Entry(*row) for row in rows)
