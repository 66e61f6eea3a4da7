"""The files of a journal: one SQLite file, and the signed head in two files beside it. ★

What goes wrong with them becomes journal.full, or journal.unavailable.
"""

import base64
import errno
import json
import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code
from agent.journal.chain import Authentic, Entry, Fault, FaultKind, Head, Verdict, canonical, sha256, verify
from agent.journal.folder import network_kind
from agent.places import DISK_FULL

FILE = "journal.sqlite"
FEW = "kind NOT IN ('intent', 'outcome', 'result')"  # in these words a query uses the index of such entries
_STEPS = (  # what makes version 1, then what makes each version of the one before
    """
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL,
    trace_id TEXT NOT NULL, attempt INTEGER NOT NULL, origin TEXT NOT NULL, client_ref TEXT,
    clear BLOB NOT NULL, clear_sha256 TEXT NOT NULL,
    personal BLOB, personal_sha256 TEXT, personal_scheme TEXT, personal_key TEXT, erased_at TEXT,
    previous TEXT NOT NULL, link TEXT NOT NULL, signature BLOB NOT NULL);
CREATE INDEX entry_of_trace ON entry (trace_id, seq);
CREATE INDEX entry_of_ref ON entry (origin, client_ref, seq) WHERE client_ref IS NOT NULL;
CREATE INDEX entry_of_origin ON entry (origin, seq) WHERE kind = 'intent' AND attempt = 1;
CREATE TABLE pending (seq INTEGER PRIMARY KEY);
CREATE TABLE room (zeroes BLOB);
""",
    """
DROP INDEX entry_of_origin;
CREATE INDEX entry_of_origin ON entry (origin, at, seq) WHERE kind = 'intent' AND attempt = 1;
CREATE INDEX entry_of_few ON entry (kind, seq) WHERE kind NOT IN ('intent', 'outcome', 'result');
CREATE INDEX entry_with_person ON entry (seq) WHERE personal IS NOT NULL;
CREATE TABLE shipped (target TEXT PRIMARY KEY, seq INTEGER NOT NULL);
""",
)
VERSION = len(_STEPS)
# The table `pending` says where to look for them; whether it is one, what follows it says,
# in the order of the numbers: an index may leave out what it likes. For a query of the table `entry`.
WITHOUT_OUTCOME = """entry.kind = 'intent' AND NOT EXISTS (
    SELECT 1 FROM entry AS outcome NOT INDEXED
    WHERE outcome.trace_id = entry.trace_id AND outcome.seq > entry.seq
        AND outcome.kind = 'outcome' AND outcome.attempt = entry.attempt)"""
UNFINISHED = f"SELECT seq FROM entry WHERE seq IN (SELECT seq FROM pending) AND {WITHOUT_OUTCOME}"  # noqa: S608  (ours)
_NAMES = list(Entry.__dataclass_fields__)
_KINDS = {  # of what queries compare; a part and a signature are bytes, whatever they were made into
    "'integer'": ("attempt",),
    "'text'": ("at", "kind", "trace_id", "origin", "clear_sha256", "previous", "link"),
    "'text', 'null'": ("client_ref", "personal_sha256", "personal_scheme", "personal_key", "erased_at"),
}
_AS_MADE = " AND ".join(f"typeof({name}) IN ({kinds})" for kinds, names in _KINDS.items() for name in names)
_TYPES = {  # whatever a row was made into; one whose members are not of the kinds that we write has no link: changed
    **dict.fromkeys(("seq", "attempt"), "CAST({0} AS INTEGER)"),
    **dict.fromkeys(("clear", "signature"), "IFNULL(CAST({0} AS BLOB), x'')"),
    "personal": "CAST({0} AS BLOB)",
    "link": f"iif({_AS_MADE}, CAST(link AS TEXT), '')",
}
_READ = ", ".join(_TYPES.get(name, "CAST({0} AS TEXT)").format(name) for name in _NAMES)
SIGNED = "CAST(seq AS INTEGER), CAST(link AS TEXT), CAST(at AS TEXT), IFNULL(CAST(signature AS BLOB), x'')"
SELECT = f"SELECT {_READ} FROM entry"  # noqa: S608  (names of our own columns)
INSERT = f"INSERT INTO entry VALUES ({', '.join(f':{name}' for name in _NAMES)})"  # noqa: S608  (the same)
_LOG_HEADER_BYTES = 32
_O_BINARY, _O_NONBLOCK = getattr(os, "O_BINARY", 0), getattr(os, "O_NONBLOCK", 0)


@contextmanager
def ours() -> Iterator[None]:
    """What goes wrong with the files in here becomes a code of ours."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged name inside SQLite's own message is no text
        number = getattr(error, "sqlite_errorcode", None)
        code = Code.JOURNAL_FULL if number == sqlite3.SQLITE_FULL else Code.JOURNAL_UNAVAILABLE
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise AgentError(code, f"SQLite: {name}") from None
    except OSError as error:
        code = Code.JOURNAL_FULL if error.errno in DISK_FULL else Code.JOURNAL_UNAVAILABLE
        raise AgentError(code, f"{type(error).__name__}: errno {error.errno}") from None


def rows(database: sqlite3.Connection, after: int, last: int) -> Iterator[tuple[Any, ...]]:
    """The rows with these numbers in order, up to the first that cannot be read; then sqlite3.DatabaseError."""
    query = f"{SELECT} WHERE seq > ? AND seq <= ? ORDER BY seq"
    while True:
        try:
            for row in database.execute(query, (after, last)):
                after = max(after, row[0])
                yield row
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            # CPython 3.11 steps to the next row before it gives one: the row before the damage is lost with it.
            row = database.execute(f"{query} LIMIT 1", (after, last)).fetchone()
            if row is None or row[0] <= after:
                raise
            after = row[0]
            yield row
        else:
            return


class Reading:
    """All entries in order, from the file, as often as asked; remembers the last one it could give."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connection
        self.last = 0

    def __iter__(self) -> Iterator[Entry]:
        for row in rows(self._connection(), -1 << 63, sys.maxsize):
            entry = Entry(*row)
            self.last = entry.seq
            yield entry


def judged(entries: Reading, head: Head | None, authentic: Authentic, noted: Head | None = None) -> Verdict:
    try:
        return verify(entries, head, authentic, noted)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return Verdict(entries.last, Fault(FaultKind.UNREADABLE, entries.last + 1))


def open_file(folder: Path, *, whatever_it_holds: bool = False) -> sqlite3.Connection:
    """The file of this folder, ours alone until it is closed, as the agent left it that wrote it: see `migrate`.

    Triggers, views and other indexes would make it lie, or run at each of our writes: it has what we made, and no more.
    """
    network = network_kind(folder)
    # SQLite's locks and flushes do not hold there (sqlite.org/howtocorrupt.html §2.1).
    require(network is None, f"the folder is on a network: {network}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = folder / FILE
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its log the rights of the file
    file.chmod(0o600)
    database = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a changed text is found, not a crash
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second agent finds it locked; freed by any death
        # Write-ahead, because a rollback journal copies the pages it changes into new disk blocks: with it an
        # outcome could still meet a full disk. A log that starts again overwrites its own blocks.
        mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        require(mode == "wal", f"journal_mode {mode}")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # intend() says when
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("PRAGMA secure_delete = ON")  # what retention takes is overwritten
        version = number(database, "user_version")
        require(version <= VERSION, f"written by a newer agent: version {version}")
        strange = stranger(database)
        require(whatever_it_holds or not strange, f"not as we make it: {strange}")
    except BaseException:
        database.close()
        raise
    return database


def stranger(database: sqlite3.Connection) -> str:
    """An object of this file that is not as we make it, or is not there; empty without one."""
    version = max(0, number(database, "user_version"))
    different = _objects(database) ^ _made(version)
    return min((f"{kind} {name!r:.60}" for kind, name, *_ in different), default="")


@cache
def _made(version: int) -> frozenset[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as database:
        for statement in _statements(0, version):
            database.execute(statement)
        return _objects(database)


def _objects(database: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    return frozenset(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _statements(above: int, version: int) -> list[str]:
    """What makes this version of the one `above` which it is."""
    return "".join(_STEPS[above:version]).split(";")[:-1]


def is_older(database: sqlite3.Connection) -> bool:
    """Whether `migrate` has something to do: an older agent made this file, or nobody yet."""
    return number(database, "user_version") < VERSION


def migrate(database: sqlite3.Connection) -> None:
    """Make a new file, or one of an older agent, one of ours. A file that is whole is not written to.

    The step to version 2 reads the whole file: about a minute for a million entries on a disk that is not in memory.
    Where the caller stops waiting for it (device.timeout), it goes on to its end in its thread, and the call after it
    finds it done; a stop in the middle leaves the file as it was.
    """
    if not is_older(database):  # nothing is written: it can be read on a full disk
        return
    with transaction(database):
        for statement in _statements(max(0, number(database, "user_version")), VERSION):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")


def place(folder: Path) -> tuple[int, int]:
    """Which file this folder has now: its device and its number there."""
    found = (folder / FILE).stat()
    return found.st_dev, found.st_ino


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite rolls some failures back itself
            database.execute("ROLLBACK")
        raise


def checkpoint(database: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the file, so that the next entry starts the log again."""
    busy, logged, moved = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    require(not busy and logged == moved, "the write-ahead log could not be emptied")


def wipe_log(folder: Path) -> None:
    """Overwrite the write-ahead log, all of which `checkpoint` has just brought into the file. Its blocks stay: room.

    Its header comes first: without one there is nothing in a log (sqlite.org/fileformat2.html §4.1), while with one
    and half of its pages, a power cut would bring old ones back. SQLite writes another at the next entry.
    """
    descriptor = os.open(folder / f"{FILE}-wal", os.O_WRONLY | _O_BINARY)
    try:
        for size in (_LOG_HEADER_BYTES, os.fstat(descriptor).st_size):
            os.lseek(descriptor, 0, os.SEEK_SET)
            while size > 0:
                size -= os.write(descriptor, bytes(min(size, 1 << 20)))  # noqa: PLW2901  (counted down)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AgentError(Code.JOURNAL_UNAVAILABLE, otherwise)


def one(database: sqlite3.Connection, query: str, *values: Any) -> Any:
    row = database.execute(query, values).fetchone()
    require(row is not None, "an entry is gone")
    return row


def number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])


# ---------------------------------------------------------------- the head

GONE = "the journal that was here is gone: its disk is not mounted, or remove journal-head.json to begin anew"

_HEAD_BYTES = 512
_NO_HEAD = (ValueError, KeyError, TypeError, OverflowError, RecursionError)  # what a file that holds none raises


def head_file(folder: Path, slot: int) -> Path:
    return folder / f"head-{slot}.json"


def write_head(folder: Path, head: Head) -> None:
    """Write the head over the older of two files of fixed size.

    Never both: whatever stops us, one head is whole. And never a new file: the disk may be full. But for the head of
    a journal without entries, which makes both.
    """
    for slot in (head.seq % 2,) if head.seq else (0, 1):
        _write_over(head_file(folder, slot), _members(head), flush=True)


def note_head(note: Path, folder: Path, head: Head) -> None:
    """Remember the head of this journal elsewhere, where who takes the folder may forget to look.

    It shall not cost a call: what cannot be written is left, and after a power cut an older one may be there.
    """
    with suppress(OSError):
        _write_over(note, _members(head) | {"folder": _digest(folder)}, flush=False)


def noted_head(note: Path | None, folder: Path) -> Head | None:
    """What is remembered of the journal in this folder; whether it is ours is for whoever asked.

    None of a journal in another folder: it was moved, or another one is configured.
    """
    try:
        found = _read(note) if note else {}
        return _head(found) if found.get("folder") == _digest(folder) else None
    except (OSError, *_NO_HEAD):
        return None


def has_left(note: Path | None, folder: Path) -> Head | None:
    """What is remembered of a journal whose file is gone from this folder, where its disk may have left with it.

    None where the folder lies beside or below the note's, so on its disk as far as names tell: there it was deleted.
    """
    if not note or folder.resolve().is_relative_to(note.parent.parent.resolve()) or (folder / FILE).exists():
        return None
    head = noted_head(note, folder)
    return head if head and head.seq > 0 else None


def _members(head: Head) -> dict[str, Any]:
    return vars(head) | {"signature": base64.b64encode(head.signature).decode()}


def _head(found: dict[str, Any]) -> Head:
    return Head(int(found["seq"]), str(found["link"]), str(found["at"]), base64.b64decode(found["signature"]))


def _digest(folder: Path) -> str:
    return sha256(os.path.normcase(folder.resolve()).encode(errors="surrogateescape"))


def _write_over(file: Path, members: dict[str, Any], *, flush: bool) -> None:
    descriptor = _opened(file, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, canonical(members).ljust(_HEAD_BYTES - 1) + b"\n")
        if flush:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(file: Path, flags: int) -> int:
    """A regular file: a pipe in its place would keep the agent waiting for ever."""
    descriptor = os.open(file, flags | _O_BINARY | _O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file")
    return descriptor


def _read(file: Path) -> dict[str, Any]:
    with open(_opened(file, os.O_RDONLY), "rb") as stream:
        return dict(json.loads(stream.read(_HEAD_BYTES)))


def read_heads(folder: Path) -> list[Head]:
    """The heads that can be read; whether they are ours is for whoever asked."""
    heads = []
    for slot in (0, 1):
        try:
            heads.append(_head(_read(head_file(folder, slot))))
        except (FileNotFoundError, *_NO_HEAD):
            continue
    return heads
