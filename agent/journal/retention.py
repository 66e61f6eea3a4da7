"""What retention takes, and when: what is due, from the oldest on, in steps. No I/O of its own.

First the personal parts, later whole entries; both in the order of the chain, so that "up to this entry" says it all.
Of a page's own reference a keyed digest stays with the entry, for its link covers it.
The clock may be wrong. One that is ahead must erase nothing before its time: it counts no further than a while after
INSi's last answer. That answer came over TLS, and so vouches for the date as far as the certificates' validity reaches:
a clock ahead of the end of INSi's certificate, or of one that was revoked since [guess: one to three years], gets none,
one that is ahead by less does, and is believed. And an entry dated in the future was written by such a
clock: it has the age of those that follow it, as has one that is not as it was written. One that was set
back makes entries look old: they wait for those before them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agent.model import rfc3339

STEP_ENTRIES = 500
VOUCHED = timedelta(days=60)  # [choice] after INSi's last answer; who does not call for longer keeps a little longer


@dataclass(frozen=True)
class Rule:
    """How long what is kept; None: for ever."""

    personal_days: int | None  # then what an entry holds of people is erased
    entry_days: int | None  # then the entry itself leaves
    shipped_to: str | None = None  # no entry leaves before it went there


@dataclass(frozen=True)
class Age:
    """When an entry is old enough: dated before `before`. Times as in an entry."""

    before: str
    now: str  # the clock's, as it is


@dataclass(frozen=True)
class Line:
    """What retention must know of an entry."""

    seq: int
    at: str
    size_bytes: int  # what taking it writes
    ends_seq: int = 0  # the last entry of its trace
    ends_at: str = ""


def age(days: int | None, now: datetime, vouched: str | None) -> Age | None:
    """The age of `days`. `vouched`: when the clock was surely right. None: nothing is ever, or surely, so old."""
    if days is None or vouched is None:
        return None
    try:
        surely = min(now, datetime.fromisoformat(vouched).astimezone(UTC) + VOUCHED)
        return Age(rfc3339(surely - timedelta(days=days)), rfc3339(now))
    except (ValueError, OverflowError):
        return None


def erased_through(lines: Iterable[Line], old: Age, *, most_bytes: int) -> int | None:
    """The last of the entries whose personal parts are erased in one step; None when none is due.

    `lines`: those that have one, from the first on.
    """
    through, size = None, 0
    for count, line in enumerate(lines, 1):
        size += line.size_bytes
        if _is_young(line.at, old) or (through and (count > STEP_ENTRIES or size > most_bytes)):
            break
        if line.at < old.before:
            through = line.seq
    return through


def left_through(lines: Iterable[Line], old: Age, *, stays: int, most_bytes: int) -> int | None:
    """The last of the entries that leave in one step; None when none is due. A trace leaves whole.

    `lines`: of all entries, from the first on. `stays`: the first that may not leave, whatever its age.
    """
    through, size, ends_seq = None, 0, 0
    for count, line in enumerate(lines, 1):
        size += line.size_bytes
        if through and (count > STEP_ENTRIES or size > most_bytes):
            break
        if line.ends_seq >= stays or _is_young(line.at, old) or _is_young(line.ends_at, old):
            break
        ends_seq = max(ends_seq, line.ends_seq)
        if line.seq == ends_seq and line.at < old.before:
            through = line.seq
    return through


def _is_young(at: str, old: Age) -> bool:
    return old.before <= at <= old.now
