"""A journal read by another process than its agent's, which is not disturbed: nothing is locked, nothing written. ★

All is read from a private copy of its files, which goes when the reading ends. Each raises journal.full without room
for that copy, and journal.unavailable.
"""

import os
import re
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code
from agent.journal.chain import (
    Authentic,
    Entry,
    Fault,
    FaultKind,
    Head,
    Kind,
    Verdict,
    best_head,
    head_bytes,
    is_ours,
    is_signed,
    of_version_1,
    signed_at,
    signed_bytes,
    unlooked,
)
from agent.journal.files import (
    FILE,
    SELECT,
    SIGNED,
    UNFINISHED,
    Reading,
    head_file,
    judged,
    migrate,
    noted_head,
    number,
    one,
    open_file,
    ours,
    read_heads,
    rows,
    stranger,
)
from agent.journal.parts import code_of
from agent.journal.ports import Survey
from agent.places import claim


class Copy:
    """A journal as it was at one instant. What cannot be read of a damaged one is left out, and `unread` says where."""

    def __init__(self, folder: Path, database: sqlite3.Connection | None, noted: Head | None) -> None:
        """`database`: None where the file is no journal any more. `noted`: the head as remembered elsewhere."""
        self._database = database
        self._is_former, self._strange = False, True
        if database:
            with suppress(sqlite3.DatabaseError, UnicodeDecodeError):  # a damaged one: what is in it cannot be told
                self._is_former, self._strange = number(database, "user_version") == 1, bool(stranger(database))
        self.heads: list[Head] = read_heads(folder)
        self._noted = noted
        self.unread: list[tuple[int, int]] = []  # first and last number of entries that `entries` could not give

    def verify(self, authentic: Authentic) -> Verdict:
        """The first fault of the chain, against the best of its heads and the one remembered elsewhere; then whether
        the file around its entries is whole, which costs little beside the signatures."""
        if self._database is None:
            return Verdict(0, Fault(FaultKind.UNREADABLE, 1))
        database = self._database
        authentic = of_version_1(authentic) if self._is_former else authentic
        verdict = judged(Reading(lambda: database), best_head(self.heads, authentic), authentic, self._noted)
        if self._strange and verdict.fault is None:
            return replace(verdict, fault=Fault(FaultKind.SCHEMA, self._last()))
        return verdict if verdict.fault else replace(verdict, fault=self._damage() or self._twice())

    def _damage(self) -> Fault | None:
        """What SQLite finds in a file whose entries all hold; quick_check would not look into its indexes."""
        says = str(self._value("PRAGMA integrity_check(1)"))
        if says == "ok":
            return None
        row = re.match(r"row (\d+) missing from index", says)  # counted from the first
        there = "SELECT seq FROM entry NOT INDEXED ORDER BY seq LIMIT 1 OFFSET ?"
        return Fault(FaultKind.INDEX, (row and self._value(there, int(row[1]) - 1)) or self._last())

    def _twice(self) -> Fault | None:
        """The first entry of an attempt that has one of its kind already, in a file whose indexes are whole."""
        seq = self._value("""
            SELECT seq FROM entry AS again WHERE kind IN ('intent', 'outcome') AND EXISTS (
                SELECT 1 FROM entry AS first WHERE first.trace_id = again.trace_id AND first.seq < again.seq
                    AND first.kind = again.kind AND first.attempt = again.attempt)
            ORDER BY seq LIMIT 1""")
        return Fault(FaultKind.TWICE, seq) if seq else None

    def entries(self, since: str | None = None, until: str | None = None) -> Iterator[Entry]:
        """Those of a period in order of seq, one at a time; `since` is in it, `until` not (RFC 3339 as in an entry)."""
        for entry in self._readable(1, self._last()):
            if (since is None or entry.at >= since) and (until is None or entry.at < until):
                yield entry

    def operations(self, since: str | None = None, until: str | None = None) -> Iterator[list[Entry]]:
        """The entries of each operation that began in this period, in the order of their first ones."""
        return (entries for entries in self.events(since, until) if entries[0].trace_id)

    def events(self, since: str | None = None, until: str | None = None) -> Iterator[list[Entry]]:
        """As `operations`, and in their place the entries that are of none, each alone."""
        # Read from a little before to a little behind: clocks are set back, and what begins in a period may end later.
        first = self._border("SELECT min(seq) FROM entry WHERE at >= ?", since, 1) - _APART
        last = self._border("SELECT max(seq) FROM entry WHERE at < ?", until, self._last()) + _APART
        for operation in _grouped(self._readable(first, last)):
            began = operation[0].at
            if (since is None or began >= since) and (until is None or began < until):
                yield operation

    def entries_of(self, trace_id: str) -> list[Entry]:
        """Those of one operation, in order of seq; none for an unknown one."""
        if self._database is None:
            return []
        # No index is believed: one may leave out what it likes.
        query = f"{SELECT} NOT INDEXED WHERE CAST(trace_id AS TEXT) = ? ORDER BY seq"
        try:
            return [Entry(*row) for row in self._database.execute(query, (trace_id,))]
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return [entry for entry in self.entries() if entry.trace_id == trace_id]

    def entries_with(self, seq: int) -> list[Entry]:
        """Those of the operation to which this entry belongs, or that one alone; none where it is not there."""
        found = list(self._readable(seq, seq))
        return self.entries_of(found[0].trace_id) if found and found[0].trace_id else found

    def moment_of(self, seq: int) -> str | None:
        """When this entry says it was written; None for one that cannot be read."""
        found: str | None = self._value("SELECT CAST(at AS TEXT) FROM entry WHERE seq = ?", seq)
        return found

    def period(self) -> tuple[str | None, str | None]:
        """When the first and the last entry say they were written."""
        return self.moment_of(self._value("SELECT min(seq) FROM entry") or 0), self.moment_of(self._last())

    def erased(self) -> int:
        """How many personal parts were erased."""
        return self._value("SELECT count(*) FROM entry WHERE personal IS NULL AND personal_sha256 IS NOT NULL") or 0

    def _last(self) -> int:
        """The number of the last entry, as far as it is known."""
        found = max((self._value("SELECT max(seq) FROM entry") or 0, *(head.seq for head in self.heads)))
        return min(found, sys.maxsize)

    def _border(self, query: str, moment: str | None, otherwise: int) -> int:
        found = None if moment is None else self._value(query, moment)
        return otherwise if found is None else int(found)

    def _value(self, query: str, *values: Any) -> Any:
        """One value; None where there is none, or where the file is damaged there."""
        if self._database is None:
            return None
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError, OverflowError):  # the last: a number that none has
            row = self._database.execute(query, values).fetchone()
            return row[0] if row else None
        return None

    def _readable(self, first: int, last: int) -> Iterator[Entry]:
        """The entries with these numbers that can be read: behind a damaged page the file goes on."""
        after, in_vain = max(first, 1) - 1, 0
        last = min(last, self._last())  # which SQLite can hold
        while self._database and after < last and in_vain < _IN_VAIN:
            try:
                for row in rows(self._database, after, last):
                    after, in_vain = max(after, row[0]), 0
                    yield Entry(*row)
                return
            except (sqlite3.DatabaseError, UnicodeDecodeError):
                after, in_vain = after + 1, in_vain + 1
                if self.unread and self.unread[-1][1] == after - 1:
                    self.unread[-1] = (self.unread[-1][0], after)
                else:
                    self.unread.append((after, after))


def _grouped(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """The entries of each operation together, each other one alone, in the order of their first ones.

    Few of them are in memory.
    """
    waiting: dict[str | int, list[Entry]] = {}
    for entry in entries:
        waiting.setdefault(entry.trace_id or entry.seq, []).append(entry)
        while waiting:
            which, oldest = next(iter(waiting.items()))
            ended = oldest[-1].kind == Kind.RESULT or not oldest[0].trace_id  # an operation that failed has no result
            if not ended and entry.seq - oldest[-1].seq < _APART:
                break
            yield waiting.pop(which)
    yield from waiting.values()


@contextmanager
def opened(folder: Path, noted: Path | None = None) -> Iterator[Copy]:
    """A copy of this journal, and what the file `noted` remembers of it.

    Raises journal.unavailable also where there is none, nor anything remembered.
    """
    known = noted_head(noted, folder)  # before the copy, which is never older then
    with ours(), _copied(folder) as copy:
        if not known and not any(copy.iterdir()):
            raise AgentError(Code.JOURNAL_UNAVAILABLE, "no journal", reason=f"aucun journal dans {folder}")
        database = _open(copy)
        try:
            yield Copy(copy, database, known)
        finally:
            if database:
                database.close()


def _open(copy: Path) -> sqlite3.Connection | None:
    """The file of a copy, as far as it can be read; None where it is no journal any more."""
    try:
        database = open_file(copy, whatever_it_holds=True)  # nothing is written to it: a trigger has nothing to do
        if not number(database, "user_version") and not stranger(database):
            migrate(database)  # there was no file, or one that was just begun
        return database
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
    database = sqlite3.connect(copy / FILE, isolation_level=None)
    try:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        database.execute("PRAGMA writable_schema = ON")  # as SQLite's own rescue: a file that was cut short opens
        database.execute(f"{SELECT} LIMIT 0")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        database.close()
        if not _is_damage(error):
            raise
        return None
    return database


def _is_damage(error: sqlite3.DatabaseError | UnicodeDecodeError) -> bool:
    number = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return number & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def survey(folder: Path, noted: Path | None = None) -> Survey | None:
    """How much a journal holds, without its people; None where there is none. No key is needed."""
    if not (folder / FILE).exists():
        return None
    known = noted_head(noted, folder)  # before the copy, as above
    with apart(folder) as (copy, database):
        reading = Reading(lambda: database)
        kinds, codes = Counter[str](), Counter[str]()
        moments: list[str] = []
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError):  # the verdict says where
            for entry in reading:
                kinds[entry.kind] += 1
                moments = [*moments[:1], entry.at]
                if entry.kind == Kind.OUTCOME:
                    codes[code_of(entry)] += 1
        return Survey(
            size_bytes=(copy / FILE).stat().st_size,
            first_at=moments[0] if moments else None,
            last_at=moments[-1] if moments else None,
            entries=dict(kinds),
            codes=dict(codes),
            unfinished=one(database, f"SELECT count(*) FROM ({UNFINISHED})")[0],  # noqa: S608  (our own words)
            links=judged(reading, best_head(read_heads(copy), unlooked), unlooked, known),
        )


def newest(folder: Path, authentic: Authentic) -> datetime | None:
    """The latest moment that our key has signed into a journal: a clock may have been ahead. None where none was."""
    if not (folder / FILE).exists():
        return None
    with apart(folder) as (copy, database):
        heads = [head for head in read_heads(copy) if is_ours(head, of_version_1(authentic))]
        signed_ones = database.execute(f"SELECT {SIGNED} FROM entry ORDER BY at DESC")  # noqa: S608  (our own columns)
        entries = (
            signed_bytes(seq, link, at)
            for seq, link, at, signature in signed_ones
            if is_signed(seq, link, at, signature, authentic)
        )
        signed = [next(entries, b""), *(head_bytes(head.seq, head.link, head.at) for head in heads)]
        return max((at for data in signed if (at := signed_at(data))), default=None)


@contextmanager
def apart(folder: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A copy of this journal, and its file, open."""
    with ours(), _copied(folder) as copy:
        database = open_file(copy)
        try:
            migrate(database)
            yield copy, database
        finally:
            database.close()


# ---------------------------------------------------------------- the copy


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    """A private folder with the files of a journal, all of one instant."""
    files = [folder / name for name in (FILE, f"{FILE}-wal", *(head_file(folder, slot).name for slot in (0, 1)))]
    needed = 2 * sum(file.stat().st_size for file in files if file.exists())  # the copy's own log may grow as well
    _sweep()
    with tempfile.TemporaryDirectory(prefix=_COPY, dir=_roomy(needed), ignore_cleanup_errors=True) as name:
        leave = claim(Path(name))
        copy = Path(name, "journal")  # made once the folder is claimed: what has none is of no interest
        try:
            copy.mkdir(0o700)
            try:
                _copy(files, copy)
                yield copy
            finally:
                shutil.rmtree(copy)  # while it is claimed: another command may sweep what is not
        finally:
            leave()  # Windows removes no file that is open


def _sweep() -> None:
    """Remove the copies that killed processes of this user left: what was erased since would live on in them."""
    for left in (left for folder in _temporary() for left in Path(folder).glob(f"{_COPY}*")):
        with suppress(OSError, AgentError):  # agent.running: somebody reads it
            found = left.lstat()
            mine = sys.platform == "win32" or found.st_uid == os.getuid()
            if mine and stat.S_ISDIR(found.st_mode) and (left / "journal").is_dir():
                leave = claim(left)
                shutil.rmtree(left / "journal", ignore_errors=True)
                leave()
                shutil.rmtree(left, ignore_errors=True)


def _temporary() -> list[str]:
    """Where copies are made."""
    return [tempfile.gettempdir(), *(name for name in _ON_DISK if Path(name).is_dir())]


def _roomy(needed: int) -> str:
    """A folder for temporary files that has room: the first one may be in memory. Raises journal.full."""
    folders = _temporary()
    for folder in folders:
        if shutil.disk_usage(folder).free >= needed + _SPARE:
            return folder
    reason = f"il faut {needed + _SPARE >> 20} Mo pour en lire une copie, dans {' ou '.join(folders)}"
    raise AgentError(Code.JOURNAL_FULL, f"{needed + _SPARE} bytes are needed", reason=reason)


def _copy(files: list[Path], to: Path) -> None:
    """Copy until they hold still: each file again that has changed, and of it what has changed."""
    copied: dict[Path, tuple[int, int] | None] = dict.fromkeys(files)
    for _ in range(_TRIES):
        seen = {file: _state(file) for file in files}
        if seen == copied:
            return
        for file in files:
            if seen[file] is None:
                (to / file.name).unlink(missing_ok=True)
            elif seen[file] != copied[file]:
                with suppress(FileNotFoundError):  # an agent that ends takes its log along: seen at the next try
                    _copy_file(file, to / file.name)
        copied = seen
    reason = "l'agent y écrit sans cesse : recommencer dans un moment"
    raise AgentError(Code.JOURNAL_UNAVAILABLE, "it is written to all the time", reason=reason)


def _state(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None where there is none."""
    while True:
        try:
            found = file.stat()
        except FileNotFoundError:
            return None
        if not 0 <= time.time_ns() - found.st_mtime_ns < _TICK_NS:
            return found.st_size, found.st_mtime_ns
        time.sleep(_TICK_NS / 1e9)  # a second change within one tick of the system's clock would not show


def _copy_file(file: Path, to: Path) -> None:
    with file.open("rb") as source, open(to, "r+b" if to.exists() else "x+b", opener=_private) as target:
        while block := source.read(_BLOCK):
            at = target.tell()
            if target.read(len(block)) != block:
                target.seek(at)
                target.write(block)
            target.seek(at + len(block))
        target.truncate()


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


_COPY = "insi-agent-copy-"
_ON_DISK = ("/var/tmp",)  # noqa: S108  (what is made in it is private)
_APART = 200  # entries; the entries of one operation have no more of others between them [choice]
_IN_VAIN = 100_000  # entries one behind the other that cannot be read: then no more is tried [choice]
_TRIES = 30
_TICK_NS = 20_000_000  # Linux dates files by its timer, which goes 100 to 1000 times a second
_SPARE = 16 << 20  # bytes
_BLOCK = 1 << 20
