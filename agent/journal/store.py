"""The journal on disk: one SQLite file, appended to, and the signed head beside it. ★

No intent row, no send; no outcome row, no result. Each attempt leaves an intent before it is sent and an
outcome after; each answer to a page leaves a result. An entry is on the disk when a method returns. What it
holds of people is sealed (sealing.py), and so is every digest of an answer, because an answer can be guessed:
whoever takes the file without the keyring reads which site asked when and how, with which code, how long the sealed
parts are, and which calls had the same reference of the page; never whom.

All calls come from one thread, which opens the file at its first call.
"""

import base64
import json
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code
from agent.journal import sealing
from agent.journal.chain import (
    GENESIS,
    Authentic,
    Entry,
    Fault,
    FaultKind,
    Head,
    Kind,
    Verdict,
    canonical,
    intact,
    link_of,
    sha256,
    signed_at,
    signed_bytes,
    tie_of,
    verify,
)
from agent.journal.ports import (
    Conclusion,
    Intent,
    Link,
    Step,
    StoredAttempt,
    StoredTrace,
    Survey,
    Switch,
    Unfinished,
)
from agent.journal.sealing import Keys, in_clear, is_sealed
from agent.model import Environment, Profile, rfc3339

log = logging.getLogger(__name__)


class Journal:
    """The journal of one folder, for one agent at a time.

    Every method raises journal.full when the disk is full, keyring.absent without the keys, identity.damaged where
    they are lost, and journal.unavailable for everything else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sign: Callable[[bytes], bytes],
        verify: Authentic,
        keys: Callable[[], Keys],
        max_reply_bytes: int,
    ) -> None:
        """`keys` of the personal parts; it may raise keyring.absent or identity.damaged: then nothing is written, and
        only clear parts are read."""
        self._folder = folder
        self._keys = keys
        self._sign = sign
        self._authentic = verify
        self._room_bytes = max_reply_bytes + _ROOM_FOR_PAGES
        self._wal_bytes = 0  # how much the write-ahead log can surely take without a new disk block
        self._sent: set[int] = set()  # intents of this run that have no outcome yet
        self._tail = (0, GENESIS)
        self._opened: sqlite3.Connection | None = None

    def check_key(self) -> None:
        """Know that personal parts can be sealed. From any thread: a keyring may ask the person."""
        self._keys()

    def intend(self, intent: Intent) -> Link:
        """Record that this attempt is about to be sent, with room for its largest reply."""
        clear = {
            "operation": intent.operation,
            "environment": intent.environment,
            "authMode": intent.auth_mode,
            "software": intent.software.model_dump(),
            "messageId": intent.message_id,
            "requestSha256": intent.request_sha256,
            "given": list(intent.given),
        }
        personal = {
            "professional": intent.professional,
            "structure": intent.structure,
            "certificate": intent.certificate,
            "user": intent.user.model_dump(exclude_none=True) if intent.user else None,
            "account": intent.account,
            "clientRef": intent.client_ref,
            "params": _text(intent.params),
            "request": _text(intent.request),
        }
        keys = self._keys()  # no key, no intent
        reference = None if intent.client_ref is None else keys.references(_about(intent.origin, intent.client_ref))[0]
        about = (intent.trace_id, intent.attempt, intent.origin, reference)
        with self._door() as database:
            self._make_room(database, attempts=len(self._sent) + 1)
            with _transaction(database):
                entry = self._insert(database, Kind.INTENT, intent.at, about, clear=clear, personal=canonical(personal))
                database.execute("INSERT INTO pending VALUES (?)", (entry.seq,))
            link = self._appended(entry)
            self._sent.add(link.seq)
            _checkpoint(database)  # the log starts again: the outcome needs no new disk block
            return link

    def conclude(self, intended: Link, conclusion: Conclusion) -> Link:
        """Record what came of the attempt, once. The exact reply is kept when the code is 00."""
        reply = conclusion.reply
        clear = {
            "code": conclusion.code,
            "label": conclusion.label,
            "durationMs": conclusion.duration_ms,
            "httpStatus": conclusion.http_status,
        }
        kept = reply if reply is None or conclusion.code == _FOUND else sha256(reply).encode()
        with self._door() as database:
            with _transaction(database):
                if not database.execute("DELETE FROM pending WHERE seq = ?", (intended.seq,)).rowcount:
                    raise ValueError("an attempt is concluded once")
                about = _one(
                    database, "SELECT trace_id, attempt, origin, client_ref FROM entry WHERE seq = ?", intended.seq
                )
                entry = self._insert(database, Kind.OUTCOME, conclusion.at, about, clear=clear, personal=kept)
            self._sent.discard(intended.seq)
            return self._appended(entry)

    def finish(self, trace_id: str, at: datetime, make: Callable[[int, str], bytes]) -> Link:
        """Record what the page gets: `make(seq, previous)`, which may tell and sign its own place in the chain."""
        with self._door() as database:
            origin, client_ref = _one(
                database, "SELECT origin, client_ref FROM entry WHERE trace_id = ? ORDER BY seq LIMIT 1", trace_id
            )
            result = make(self._tail[0] + 1, self._tail[1])
            with _transaction(database):
                about = (trace_id, 0, origin, client_ref)
                entry = self._insert(database, Kind.RESULT, at, about, clear={}, personal=result)
            return self._appended(entry)

    def switched(self, switch: Switch) -> Link:
        """Record that the agent leaves for another environment or profile, or has come from one."""
        clear = {"from": vars(switch.left), "to": vars(switch.entered), "why": switch.why}
        personal = canonical({"account": switch.account})
        with self._door() as database:
            with _transaction(database):
                about = ("", 0, "", None)
                entry = self._insert(database, Kind.SWITCH, switch.at, about, clear=clear, personal=personal)
            return self._appended(entry)

    def switches(self) -> list[Switch]:
        """Every switch noted here, oldest first. Raises what keeps a part unreadable."""
        return [self._switch(entry) for entry in self._entries("WHERE kind = ? ORDER BY seq", Kind.SWITCH)]

    def entered(self) -> Step | None:
        """Where the last switch that is noted here led to; None without one."""
        last = next(self._entries("WHERE kind = ? ORDER BY seq DESC LIMIT 1", Kind.SWITCH), None)
        return _step(_json(last, last.clear)["to"]) if last else None

    def _switch(self, entry: Entry) -> Switch:
        clear, personal = _json(entry, entry.clear), self._personal(entry)
        account = _json(entry, personal).get("account") if personal else None
        left, entered = _step(clear["from"]), _step(clear["to"])
        return Switch(datetime.fromisoformat(entry.at), left, entered, clear["why"], account)

    def trace(self, trace_id: str, origin: str, environment: Environment) -> StoredTrace | None:
        """This origin's operation in this environment; any other is None, as an unknown one.

        Test and production are in one journal. Raises what keeps a part unreadable.
        """
        found = self._trace(trace_id, origin)
        if found is None or found.attempts[0].clear.get("environment") != environment:
            return None
        if found.unreadable:
            raise found.unreadable
        return found

    def _trace(self, trace_id: str, origin: str) -> StoredTrace | None:
        entries = list(self._entries("WHERE trace_id = ? AND origin = ? ORDER BY seq", trace_id, origin))
        intents = [entry for entry in entries if entry.kind == Kind.INTENT]
        if not intents:
            return None
        answered = [entry for entry in entries if entry.kind == Kind.OUTCOME]
        outcomes = {entry.attempt: _json(entry, entry.clear) for entry in answered}
        asked: dict[str, Any] = {}
        result, unreadable = None, None
        try:
            if part := self._personal(intents[0]):
                asked = _json(intents[0], part)
            result = next((self._personal(entry) for entry in entries if entry.kind == Kind.RESULT), None)
            for entry in answered:
                outcomes[entry.attempt].setdefault("responseSha256", self._response_sha256(entry))
        except AgentError as error:
            unreadable = error
        return StoredTrace(
            trace_id=trace_id,
            origin=origin,
            client_ref=asked.get("clientRef"),
            at=intents[0].at,
            attempts=tuple(
                StoredAttempt(
                    Link(entry.seq, entry.previous, entry.link),
                    entry.attempt,
                    entry.at,
                    _json(entry, entry.clear),
                    outcomes.get(entry.attempt),
                )
                for entry in intents
            ),
            params=_bytes(asked["params"]) if "params" in asked else None,
            result=result,
            unreadable=unreadable,
        )

    def image(self, trace_id: str, origin: str) -> bytes | None:
        """The exact reply stored for a 00 of any environment; None without one, or once erased."""
        outcomes = self._entries(
            "WHERE trace_id = ? AND origin = ? AND kind = ? ORDER BY seq DESC", trace_id, origin, Kind.OUTCOME
        )
        return next((self._personal(entry) for entry in outcomes if _has_reply(entry)), None)

    def by_client_ref(self, origin: str, ref: str, since: datetime, environment: Environment) -> StoredTrace | None:
        """This origin's latest operation under its own reference in this environment, begun at `since` or later.

        Test and production are in one journal: an answer of one is none of the other.
        """
        intents = self._entries(
            "WHERE origin = ? AND client_ref IN (SELECT value FROM json_each(?)) AND at >= ? AND kind = ?"
            " ORDER BY seq DESC",
            origin,
            json.dumps(self._keys().references(_about(origin, ref))),
            rfc3339(since.astimezone(UTC)),
            Kind.INTENT,
        )
        here = (entry for entry in intents if _json(entry, entry.clear).get("environment") == environment)
        found = next(here, None)
        return self.trace(found.trace_id, origin, environment) if found else None

    def traces(self, origin: str, *, before: int | None = None, limit: int = 50) -> list[StoredTrace]:
        """This origin's operations, newest first; `before`: the seq of the last one's first intent.

        One whose personal parts cannot be read is listed with what is clear.
        """
        with self._door() as database:
            rows = database.execute(
                "SELECT trace_id FROM entry WHERE kind = 'intent' AND attempt = 1 AND origin = ? AND seq < ?"
                " ORDER BY seq DESC LIMIT ?",
                (origin, before if before is not None else sys.maxsize, limit),
            ).fetchall()
        return [found for (trace_id,) in rows if (found := self._trace(trace_id, origin))]

    def unfinished(self) -> list[Unfinished]:
        """Attempts without an outcome, oldest first: after a start, those that the last stop cut short."""
        pending = self._entries("WHERE seq IN (SELECT seq FROM pending) ORDER BY seq")
        return [
            Unfinished(
                Link(entry.seq, entry.previous, entry.link), entry.trace_id, entry.attempt, entry.at, entry.origin
            )
            for entry in pending
        ]

    def verify(self) -> Verdict:
        """Read the whole chain again and locate its first fault. Time and not memory grows with the journal."""
        reading = _Reading(self._connection)
        with self._door():
            heads = _read_heads(self._folder)
        return _judged(reading, max(heads, key=self._trust, default=None), self._authentic)

    def close(self) -> None:
        """Close the file and let another agent open it."""
        if self._opened:
            self._opened.close()
            self._opened = None

    # ---------------------------------------------------------------- opening

    @contextmanager
    def _door(self) -> Iterator[sqlite3.Connection]:
        """The open file; what goes wrong with it in here becomes ours."""
        with _ours():
            yield self._connection()

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            database = _open(self._folder)
            try:
                self._find_tail(database)
            except BaseException:
                database.close()
                raise
            self._opened = database
        return self._opened

    def _find_tail(self, database: sqlite3.Connection) -> None:
        """Where to go on: after the last entry or, when entries are missing, after what the head remembers.

        So a tail that was cut off stays visible for ever, as a gap in the numbers.
        """
        row = database.execute("SELECT seq, link FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        last = (int(row[0]), str(row[1])) if row else (0, GENESIS)
        heads = _read_heads(self._folder)
        head = max(heads, key=self._trust, default=None)
        trusted = head is not None and self._trust(head)[0]
        self._tail = (head.seq, head.link) if head and trusted and head.seq >= last[0] else last
        if not trusted and (row or heads):
            log.error("journal: no valid head at entry %s; a missing tail would not show", last[0])
            with _transaction(database):
                about = ("", 0, "", None)
                entry = self._insert(
                    database, Kind.HEAD_LOST, datetime.now(UTC), about, clear={"heads": len(heads)}, personal=None
                )
            self._appended(entry)

    def _trust(self, head: Head) -> tuple[bool, int]:
        return self._authentic(signed_bytes(head.seq, head.link, head.at), head.signature), head.seq

    # ---------------------------------------------------------------- appending

    def _insert(
        self,
        database: sqlite3.Connection,
        kind: Kind,
        at: datetime,
        about: tuple[str, int, str, str | None],
        *,
        clear: dict[str, Any],
        personal: bytes | None,
    ) -> Entry:
        trace_id, attempt, origin, client_ref = about
        clear_part = canonical(clear)
        bare = Entry(
            seq=self._tail[0] + 1,
            at=rfc3339(at.astimezone(UTC)),
            kind=kind,
            trace_id=trace_id,
            attempt=attempt,
            origin=origin,
            client_ref=client_ref,
            clear=clear_part,
            clear_sha256=sha256(clear_part),
            personal=None,
            personal_sha256=None,
            personal_scheme=None,
            personal_key=None,
            erased_at=None,
            previous=self._tail[1],
            link="",
            signature=b"",
        )
        unlinked = bare if personal is None else self._sealed(bare, personal)
        link = link_of(unlinked)
        entry = replace(unlinked, link=link, signature=self._sign(signed_bytes(bare.seq, link, bare.at)))
        database.execute(_INSERT, vars(entry))
        return entry

    def _sealed(self, bare: Entry, personal: bytes) -> Entry:
        keys = self._keys()
        stored = keys.seal(personal, tie_of(bare))
        return replace(
            bare, personal=stored, personal_sha256=sha256(stored), personal_scheme=sealing.SCHEME, personal_key=keys.id
        )

    def _appended(self, entry: Entry) -> Link:
        """The entry is committed: go on after it, and write the head."""
        self._tail = (entry.seq, entry.link)
        _write_head(self._folder, Head(entry.seq, entry.link, entry.at, entry.signature))
        return Link(entry.seq, entry.previous, entry.link)

    def _make_room(self, database: sqlite3.Connection, *, attempts: int) -> None:
        """See to it that the outcomes of so many attempts, and their results, need no new disk block.

        Blocks are taken by writing zeroes through the write-ahead log into the file, then giving the pages
        to the file's free list, from which the next entries come: written once in many calls.
        """
        needed = (attempts + 1) * self._room_bytes  # one more: what the pages get
        free = _number(database, "freelist_count") * _number(database, "page_size")
        if free >= needed and self._wal_bytes >= needed:
            return
        much = needed + self._room_bytes
        # Asked first, because a failure halfway would use up the room of the attempts under way.
        if shutil.disk_usage(self._folder).free < 2 * much:  # in the log and in the file
            raise AgentError(Code.JOURNAL_FULL, f"{2 * much} bytes are needed")
        with _transaction(database):
            database.execute("DELETE FROM room")  # of a growth that was cut short
            database.execute("INSERT INTO room VALUES (zeroblob(?))", (much,))
        _checkpoint(database)
        with _transaction(database):
            database.execute("DELETE FROM room")
        _checkpoint(database)
        self._wal_bytes = much

    # ---------------------------------------------------------------- reading

    def _entries(self, where: str, *values: Any) -> Iterator[Entry]:
        with self._door() as database:
            rows = database.execute(f"{_SELECT} {where}", values).fetchall()
        return (Entry(*row) for row in rows)

    def _response_sha256(self, outcome: Entry) -> str | None:
        """The digest of the answer; None without one, or once erased."""
        part = self._personal(outcome)
        if part is None:
            return None
        return sha256(part) if _has_reply(outcome) else part.decode()

    def _personal(self, entry: Entry) -> bytes | None:
        """The personal part in clear; None when there is none, or no more.

        Raises keyring.absent; journal.unavailable for one that is damaged, or not as it was written.
        """
        stored = entry.personal
        if stored is None:
            return None
        try:
            match entry.personal_scheme, is_sealed(stored), intact(entry, self._authentic):
                case (sealing.SCHEME, True, True):
                    return self._keys().open(stored, entry.personal_key, tie_of(entry))
                case (sealing.SCHEME_NONE, False, True):
                    return in_clear(stored)
            why = "not as it was written"
        except ValueError as error:
            why = str(error)
        raise AgentError(Code.JOURNAL_UNAVAILABLE, f"entry {entry.seq}: {why}", entry=entry.seq)


@contextmanager
def _ours() -> Iterator[None]:
    """What goes wrong with the files in here becomes a code of ours."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged name inside SQLite's own message is no text
        number = getattr(error, "sqlite_errorcode", None)
        code = Code.JOURNAL_FULL if number == sqlite3.SQLITE_FULL else Code.JOURNAL_UNAVAILABLE
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise AgentError(code, f"SQLite: {name}") from None
    except OSError as error:
        code = Code.JOURNAL_FULL if error.errno in _ERRNO_FULL else Code.JOURNAL_UNAVAILABLE
        raise AgentError(code, f"{type(error).__name__}: errno {error.errno}") from None


class _Reading:
    """All entries in order, from the file, as often as asked; remembers the last one it could give."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        self._connection = connection
        self.last = 0

    def __iter__(self) -> Iterator[Entry]:
        for row in self._connection().execute(f"{_SELECT} ORDER BY seq"):
            entry = Entry(*row)
            self.last = entry.seq
            yield entry


def _judged(entries: _Reading, head: Head | None, authentic: Authentic) -> Verdict:
    try:
        return verify(entries, head, authentic)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return Verdict(entries.last, Fault(FaultKind.UNREADABLE, entries.last + 1))


def survey(folder: Path) -> Survey | None:
    """How much a journal holds, without its people; None where there is none. No key is needed.

    For another process than the agent's, which is not disturbed: nothing is locked and nothing is written here.
    Raises journal.full without room for a copy, journal.unavailable.
    """
    if not (folder / _FILE).exists():
        return None
    with _apart(folder) as (copy, database):
        reading = _Reading(lambda: database)
        kinds, codes = Counter[str](), Counter[str]()
        moments: list[str] = []
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError):  # the verdict says where
            for entry in reading:
                kinds[entry.kind] += 1
                moments = [*moments[:1], entry.at]
                if entry.kind == Kind.OUTCOME:
                    codes[_code_of(entry)] += 1
        return Survey(
            size_bytes=(copy / _FILE).stat().st_size,
            first_at=moments[0] if moments else None,
            last_at=moments[-1] if moments else None,
            entries=dict(kinds),
            codes=dict(codes),
            unfinished=_one(database, "SELECT count(*) FROM pending")[0],
            links=_judged(reading, max(_read_heads(copy), key=lambda head: head.seq, default=None), lambda *_: True),
        )


def newest(folder: Path, authentic: Authentic) -> datetime | None:
    """The latest moment that our key has signed into a journal: a clock may have been ahead. None where none was.

    As `survey`, for another process than the agent's. Raises the same.
    """
    if not (folder / _FILE).exists():
        return None
    with _apart(folder) as (copy, database):
        heads = [(signed_bytes(head.seq, head.link, head.at), head.signature) for head in _read_heads(copy)]
        rows = database.execute(f"SELECT {_SIGNED} FROM entry ORDER BY at DESC")  # noqa: S608  (our own columns)
        entries = ((signed_bytes(seq, link, at), signature) for seq, link, at, signature in rows)
        latest = next((data for data, signature in entries if authentic(data, signature)), b"")
        signed = [latest, *(data for data, signature in heads if authentic(data, signature))]
        return max((at for data in signed if (at := signed_at(data))), default=None)


@contextmanager
def _apart(folder: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A copy of this journal, and its file, open."""
    with _ours(), tempfile.TemporaryDirectory(prefix="insi-agent-") as name:
        copy = Path(name)
        _copy(folder, copy)
        database = _open(copy)
        try:
            yield copy, database
        finally:
            database.close()


def _copy(folder: Path, to: Path) -> None:
    """The files of a journal, all of one instant. Raises journal.unavailable when they never hold still."""
    names = [_FILE, f"{_FILE}-wal", *(_head_file(folder, slot).name for slot in (0, 1))]

    def state() -> list[tuple[str, int, int]]:
        seen = {name: (folder / name).stat() for name in names if (folder / name).exists()}
        return [(name, one.st_size, one.st_mtime_ns) for name, one in seen.items()]

    for _ in range(_COPIES):
        before = state()
        for name in names:
            (to / name).unlink(missing_ok=True)
        for name, _, _ in before:
            shutil.copyfile(folder / name, to / name)
        if state() == before:
            return
    raise AgentError(Code.JOURNAL_UNAVAILABLE, "it is written to all the time")


def _has_reply(outcome: Entry) -> bool:
    """Whether its personal part is an answer, else it is the digest of one."""
    return outcome.personal_sha256 is not None and _json(outcome, outcome.clear).get("code") == _FOUND


def _about(origin: str, ref: str) -> bytes:
    return canonical([origin, ref])


def _code_of(entry: Entry) -> str:
    """CodeCR, a fault's code or our own reason; what is none of them stays out of what is told."""
    try:
        code = str(_json(entry, entry.clear).get("code"))
    except AgentError:
        code = ""
    return code if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", code) else "?"


_FILE = "journal.sqlite"
_FOUND = "00"
_ROOM_FOR_PAGES = 128 << 10  # bytes; index pages, the clear part and the intent beside the largest reply
_COPIES = 5  # tries
_VERSION = 1
_SCHEMA = """
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
"""
_NAMES = list(Entry.__dataclass_fields__)
_TYPES = {
    **dict.fromkeys(("seq", "attempt"), "CAST({0} AS INTEGER)"),
    **dict.fromkeys(("clear", "signature"), "IFNULL(CAST({0} AS BLOB), x'')"),
    "personal": "CAST({0} AS BLOB)",
}
_READ = ", ".join(_TYPES.get(name, "CAST({0} AS TEXT)").format(name) for name in _NAMES)  # whatever a row was made into
_SIGNED = ", ".join(_TYPES.get(name, "CAST({0} AS TEXT)").format(name) for name in ("seq", "link", "at", "signature"))
_SELECT = f"SELECT {_READ} FROM entry"  # noqa: S608  (names of our own columns)
_INSERT = f"INSERT INTO entry VALUES ({', '.join(f':{name}' for name in _NAMES)})"  # noqa: S608  (the same)


def _open(folder: Path) -> sqlite3.Connection:
    """The file of this folder, ours alone until it is closed."""
    network = network_kind(folder)
    # SQLite's locks and flushes do not hold there (sqlite.org/howtocorrupt.html §2.1).
    _require(network is None, f"the folder is on a network: {network}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = folder / _FILE
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its log the rights of the file
    file.chmod(0o600)
    database = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a changed text is found, not a crash
        database.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second agent finds it locked; freed by any death
        # Write-ahead, because a rollback journal copies the pages it changes into new disk blocks: with it an
        # outcome could still meet a full disk. A log that starts again overwrites its own blocks.
        mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        _require(mode == "wal", f"journal_mode {mode}")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA wal_autocheckpoint = 0")  # intend() says when
        database.execute("PRAGMA temp_store = MEMORY")
        version = _number(database, "user_version")
        _require(version <= _VERSION, f"written by a newer agent: version {version}")
        # Nothing is written to a journal that is whole: it can be read on a full disk.
        if version == 0:
            with _transaction(database):
                for statement in _SCHEMA.split(";")[:-1]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite rolls some failures back itself
            database.execute("ROLLBACK")
        raise


def _checkpoint(database: sqlite3.Connection) -> None:
    """Bring the write-ahead log into the file, so that the next entry starts the log again."""
    busy, logged, moved = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    _require(not busy and logged == moved, "the write-ahead log could not be emptied")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AgentError(Code.JOURNAL_UNAVAILABLE, otherwise)


def _one(database: sqlite3.Connection, query: str, *values: Any) -> Any:
    row = database.execute(query, values).fetchone()
    _require(row is not None, "an entry is gone")
    return row


def _number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _step(side: dict[str, str]) -> Step:
    return Step(Environment(side["environment"]), Profile(side["profile"]))


def _json(entry: Entry, part: bytes) -> dict[str, Any]:
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise AgentError(Code.JOURNAL_UNAVAILABLE, f"entry {entry.seq}: unreadable", entry=entry.seq)
    return value


# ---------------------------------------------------------------- the head

_HEAD_BYTES = 512


def _head_file(folder: Path, slot: int) -> Path:
    return folder / f"head-{slot}.json"


def _write_head(folder: Path, head: Head) -> None:
    """Write the head over the older of two files of fixed size.

    Never both: whatever stops us, one head is whole. And never a new file: the disk may be full.
    """
    members = {
        "seq": head.seq,
        "link": head.link,
        "at": head.at,
        "signature": base64.b64encode(head.signature).decode(),
    }
    line = canonical(members).ljust(_HEAD_BYTES - 1) + b"\n"
    descriptor = os.open(_head_file(folder, head.seq % 2), os.O_WRONLY | os.O_CREAT | _O_BINARY, 0o600)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_heads(folder: Path) -> list[Head]:
    """The heads that can be read; whether they are ours is for whoever asked."""
    heads = []
    for slot in (0, 1):
        try:
            found = json.loads(_head_file(folder, slot).read_bytes()[:_HEAD_BYTES])
            signature = base64.b64decode(found["signature"])
            heads.append(Head(int(found["seq"]), str(found["link"]), str(found["at"]), signature))
        except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return heads


# ---------------------------------------------------------------- where the folder is

_ERRNO_FULL = frozenset({28, 122})  # ENOSPC, EDQUOT
_O_BINARY = getattr(os, "O_BINARY", 0)
_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "glusterfs", "lustre", "davfs", "ncp", "beegfs", "gpfs")
_NETWORK_FUSE = ("fuse.sshfs", "fuse.rclone", "fuse.gvfsd", "fuse.davfs", "fuse.gluster", "fuse.ceph", "fuse.s3fs")


def network_kind(folder: Path) -> str | None:
    """The kind of network file system this folder is, or will be, on; None when it is local."""
    if sys.platform == "win32":
        return _windows_network(folder)
    mounts = Path("/proc/mounts")
    return mounted_network(folder.resolve(), mounts.read_text(errors="replace")) if mounts.exists() else None


def mounted_network(folder: Path, mounts: str) -> str | None:
    """As `network_kind`, from the text of /proc/mounts (proc(5)): the deepest mount counts, the last one on it."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if kind.startswith(_NETWORK) or kind.startswith(_NETWORK_FUSE) else None


def _windows_network(folder: Path) -> str | None:
    """UNC path or mapped drive. Written from the documents, untested on real Windows."""
    if sys.platform != "win32":
        return None
    import ctypes

    drive = folder.absolute().drive
    if drive.startswith("\\\\"):
        return "UNC path"
    drive_remote = 4
    return "network drive" if ctypes.windll.kernel32.GetDriveTypeW(f"{drive}\\") == drive_remote else None
