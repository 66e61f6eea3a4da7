"""The journal on disk: one SQLite file, appended to, and the signed head beside it. ★

No intent row, no send; no outcome row, no result. Each attempt leaves an intent before it is sent and an
outcome after; each answer to a page leaves a result. An entry is on the disk when a method returns. What it
holds of people is sealed (sealing.py), and so is every digest of an answer, because an answer can be guessed:
whoever takes the file without the keyring reads which site asked when and how, with which code, how long the sealed
parts are, and which calls had the same reference of the page; never whom.

Nothing is signed out of a row that is not intact: who may write to the file while the agent is stopped would have it
attest what they please, and put the row back.

All calls come from one thread, which opens the file at its first call.
"""

import logging
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    Head,
    Kind,
    Start,
    Verdict,
    best_head,
    canonical,
    fault_among,
    fault_of_parts,
    head_bytes,
    intact,
    is_ours,
    link_of,
    of_version_1,
    sha256,
    signed_bytes,
    tie_of,
    unlooked,
)
from agent.journal.due import checkpoint_before, entries_due, erased_so_far, parts_due, parts_until
from agent.journal.files import (
    FEW,
    FILE,
    GONE,
    INSERT,
    SELECT,
    UNFINISHED,
    WITHOUT_OUTCOME,
    Reading,
    checkpoint,
    has_left,
    is_older,
    judged,
    migrate,
    note_head,
    noted_head,
    number,
    one,
    open_file,
    ours,
    place,
    read_heads,
    require,
    transaction,
    wipe_log,
    write_head,
)
from agent.journal.listing import Wanted, begun_under, instant, page
from agent.journal.parts import (
    FOUND,
    by_attempt,
    check,
    clear_of,
    has_reply,
    json_of,
    personal_of,
    response_sha256,
    to_bytes,
    to_text,
    told,
)
from agent.journal.ports import (
    Conclusion,
    Intent,
    Link,
    Step,
    StoredAttempt,
    StoredTrace,
    Switch,
    TracePage,
    Unfinished,
)
from agent.journal.retention import Rule
from agent.journal.sealing import Keys
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
        noted: Path | None = None,
        appended: Callable[[], None] = lambda: None,
    ) -> None:
        """`keys` of the personal parts; it may raise keyring.absent or identity.damaged: then nothing is written, and
        only clear parts are read. `noted`: a file of another folder that remembers the head. `appended` is called
        after each entry, in the journal's thread."""
        self._folder = folder
        self._noted = noted
        self._keys = keys
        self._sign = sign
        self._authentic = verify
        self._told_appended = appended
        self._room_bytes = max_reply_bytes + _ROOM_FOR_PAGES
        self._wal_bytes = 0  # how much the write-ahead log can surely take without a new disk block
        self._sent: set[int] = set()  # intents of this run that have no outcome yet
        self._tail = (0, GENESIS)
        self._opened: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None  # of the file that was opened last

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
        } | _marked(intent.exact)
        personal = {
            "professional": intent.professional,
            "structure": intent.structure,
            "certificate": intent.certificate,
            "user": intent.user.model_dump(exclude_none=True) if intent.user else None,
            "account": intent.account,
            "clientRef": intent.client_ref,
            "params": to_text(intent.params),
            "request": to_text(intent.request),
        }
        keys = self._keys()  # no key, no intent
        reference = None if intent.client_ref is None else keys.references(_about(intent.origin, intent.client_ref))[0]
        about = (intent.trace_id, intent.attempt, intent.origin, reference)
        part = canonical(personal)
        with self._door() as database:
            # Else nobody would find what is written: a file that is open may be taken out of its folder.
            require(place(self._folder) == self._place, "the open file is not the one in the folder")
            self._make_room(database, attempts=len(self._sent) + 1, beside=len(part))
            with transaction(database):
                entry = self._insert(database, Kind.INTENT, intent.at, about, clear=clear, personal=part)
                database.execute("INSERT INTO pending VALUES (?)", (entry.seq,))
            link = self._appended(entry)
            self._sent.add(link.seq)
            checkpoint(database)  # the log starts again: the outcome needs no new disk block
            return link

    def conclude(self, intended: Link, conclusion: Conclusion) -> Link:
        """Record what came of the attempt, once. The exact reply is kept when the code is 00, or all are.

        Raises journal.unavailable {entry} where the intent is not as it was written, or an entry behind it is gone.
        """
        reply = conclusion.reply
        clear = {
            "code": conclusion.code,
            "label": conclusion.label,
            "durationMs": conclusion.duration_ms,
            "httpStatus": conclusion.http_status,
        } | _marked(conclusion.exact)
        whole = conclusion.exact or conclusion.code == FOUND
        kept = reply if reply is None or whole else sha256(reply).encode()
        asked = next(self._entries(f"WHERE seq = ? AND {WITHOUT_OUTCOME}", intended.seq), None)
        if asked is None:
            raise ValueError("an attempt is concluded once")
        check(asked, self._authentic)
        if self._is_gap_behind(asked):
            detail = f"entry {asked.seq}: what follows is not all there"
            raise AgentError(Code.JOURNAL_UNAVAILABLE, detail, entry=asked.seq)
        about = (asked.trace_id, asked.attempt, asked.origin, asked.client_ref)
        with self._door() as database:
            with transaction(database):
                database.execute("DELETE FROM pending WHERE seq = ?", (intended.seq,))
                entry = self._insert(database, Kind.OUTCOME, conclusion.at, about, clear=clear, personal=kept)
            self._sent.discard(intended.seq)
            return self._appended(entry)

    def finish(self, trace_id: str, at: datetime, make: Callable[[int, str], bytes]) -> Link:
        """Record what the page gets: `make(seq, previous)`, which may tell and sign its own place in the chain.

        Raises journal.unavailable {entry} where the first entry of the trace is not as it was written.
        """
        with self._door() as database:
            first = Entry(*one(database, f"{SELECT} WHERE trace_id = ? ORDER BY seq LIMIT 1", trace_id))
            check(first, self._authentic)
            result = make(self._tail[0] + 1, self._tail[1])
            with transaction(database):
                about = (trace_id, 0, first.origin, first.client_ref)
                entry = self._insert(database, Kind.RESULT, at, about, clear={}, personal=result)
            return self._appended(entry)

    def switched(self, switch: Switch) -> Link:
        """Record that the agent leaves for another environment or profile, or has come from one."""
        clear = {"from": vars(switch.left), "to": vars(switch.entered), "why": switch.why}
        personal = canonical({"account": switch.account})
        with self._door() as database:
            with transaction(database):
                about = ("", 0, "", None)
                entry = self._insert(database, Kind.SWITCH, switch.at, about, clear=clear, personal=personal)
            return self._appended(entry)

    def switches(self) -> list[Switch]:
        """Every switch noted here, oldest first. Raises what keeps a part unreadable, and as `entered`."""
        return [self._switch(entry) for entry in self._entries(f"WHERE {FEW} AND kind = ? ORDER BY seq", Kind.SWITCH)]

    def entered(self) -> Step | None:
        """Where the last switch that is noted here led to; None without one.

        Raises journal.unavailable {entry} where it is not as it was written.
        """
        last = next(self._entries(f"WHERE {FEW} AND kind = ? ORDER BY seq DESC LIMIT 1", Kind.SWITCH), None)
        if last is None:
            return None
        check(last, self._authentic)
        return _step(clear_of(last)["to"])

    def _switch(self, entry: Entry) -> Switch:
        check(entry, self._authentic)
        clear, personal = clear_of(entry), self._personal(entry)
        account = json_of(entry, personal).get("account") if personal else None
        left, entered = _step(clear["from"]), _step(clear["to"])
        return Switch(datetime.fromisoformat(entry.at), left, entered, clear["why"], account)

    def trace(self, trace_id: str, origin: str, environment: Environment) -> StoredTrace | None:
        """This origin's operation in this environment; any other is None, as an unknown one.

        Test and production are in one journal. Raises what keeps a part unreadable, and journal.unavailable {entry}
        for one that is not as it was written: it may be told to be of another environment, or with another code.
        """
        entries = list(self._entries("WHERE trace_id = ? AND origin = ? ORDER BY seq", trace_id, origin))
        intents = list(by_attempt(entries, Kind.INTENT).values())
        if not intents or clear_of(intents[0]).get("environment") != environment:
            return None
        for entry in entries:
            check(entry, self._authentic)
        part = self._personal(intents[0])
        asked = json_of(intents[0], part) if part else {}
        outcomes = {number: self._outcome(entry) for number, entry in by_attempt(entries, Kind.OUTCOME).items()}
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
                    clear_of(entry),
                    outcomes.get(entry.attempt),
                )
                for entry in intents
            ),
            params=to_bytes(asked["params"]) if "params" in asked else None,
            result=next((self._personal(entry) for entry in entries if entry.kind == Kind.RESULT), None),
        )

    def _outcome(self, entry: Entry) -> dict[str, Any]:
        """Its clear part, with the digest of the answer."""
        return {"responseSha256": response_sha256(entry, self._personal(entry)), **clear_of(entry)}

    def image(self, trace_id: str, origin: str) -> bytes | None:
        """The exact reply stored for a 00 of any environment; None without one, or once erased."""
        entries = self._entries("WHERE trace_id = ? AND origin = ? ORDER BY seq", trace_id, origin)
        outcomes = by_attempt(entries, Kind.OUTCOME).values()
        found = (entry for entry in reversed(outcomes) if has_reply(entry) and clear_of(entry).get("code") == FOUND)
        return next((self._personal(entry) for entry in found), None)

    def by_client_ref(self, origin: str, ref: str, since: datetime, environment: Environment) -> StoredTrace | None:
        """This origin's latest operation under its own reference in this environment, begun at `since` or later.

        Test and production are in one journal: an answer of one is none of the other.
        """
        references = self._keys().references(_about(origin, ref))
        with self._door() as database:
            here = (
                begun
                for begun in begun_under(database, origin, references)
                if begun.at >= instant(since) and told(begun.clear).get("environment") == environment
            )
            found = next(here, None)
        return self.trace(found.trace_id, origin, environment) if found else None

    def traces(
        self,
        origin: str,
        environment: Environment,
        *,
        client_ref: str | None = None,
        operation: str | None = None,
        code: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> TracePage:
        """This origin's operations of this environment, newest first: begun at `since` or later, before `until`.

        `code`: of the last attempt. `cursor`: the `next_cursor` of the page before; ValueError for what is none.
        """
        references = None if client_ref is None else self._keys().references(_about(origin, client_ref))
        with self._door() as database:
            return page(
                database,
                Wanted(origin, environment, operation, code, since, until),
                references=references,
                client_ref_of=self._client_ref,
                cursor=cursor,
                limit=limit,
            )

    def _client_ref(self, seq: int) -> str | None:
        """The page's own reference; None once erased, and where the personal part cannot be read."""
        (entry,) = self._entries("WHERE seq = ?", seq)
        try:
            part = self._personal(entry)
            return json_of(entry, part).get("clientRef") if part else None
        except AgentError:
            return None

    def unfinished(self) -> list[Unfinished]:
        """Attempts without an outcome, oldest first: after a start, those that the last stop cut short.

        Whatever else the table of them names was written there by somebody else, or may have had its outcome, which is
        gone: it is taken out.
        """
        found = [
            entry
            for entry in self._entries(f"WHERE seq IN ({UNFINISHED}) ORDER BY seq")
            if intact(entry, self._authentic) and not self._is_gap_behind(entry)
        ]
        with self._door() as database:
            (noted,) = one(database, "SELECT count(*) FROM pending")
            if noted > len(found):
                log.error("journal: %s attempts were noted as unfinished and are none", noted - len(found))
                with transaction(database):
                    database.execute("DELETE FROM pending")
                    database.executemany("INSERT INTO pending VALUES (?)", [(entry.seq,) for entry in found])
        return [
            Unfinished(
                Link(entry.seq, entry.previous, entry.link), entry.trace_id, entry.attempt, entry.at, entry.origin
            )
            for entry in found
        ]

    def _is_gap_behind(self, intent: Entry) -> bool:
        """Whether an entry is missing from this one to the end: it may have been the outcome."""
        with self._door() as database:
            (there,) = one(database, "SELECT count(*) FROM entry NOT INDEXED WHERE seq >= ?", intent.seq)
        return bool(there != self._tail[0] - intent.seq + 1)

    # ---------------------------------------------------------------- the second copy

    def shipped_to(self, target: str) -> int | None:
        """Up to which entry the copy at `target` is; None: none was ever sent there."""
        with self._door() as database:
            query = "SELECT CAST(seq AS INTEGER) FROM shipped WHERE target = ?"
            row = database.execute(query, (target,)).fetchone()
        # a mark beyond the end is not ours: who may write here would have later entries left out
        return int(row[0]) if row and row[0] <= self._tail[0] else None

    def unshipped(self, target: str, limit: int) -> list[Entry]:
        """Entries that are not there yet, oldest first: so many at most, fewer where they are large, one at least."""
        after, much = self.shipped_to(target) or 0, 0
        found: list[Entry] = []
        with self._door() as database:
            for row in database.execute(f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)):
                entry = Entry(*row)
                much += len(entry.clear) + len(entry.personal or b"")
                if found and much > _BATCH_BYTES:
                    break
                found.append(entry)
        return found

    def mark_shipped(self, target: str, seq: int) -> None:
        """Remember that everything up to this entry is there. It takes no disk block on which an outcome counts."""
        with self._door() as database:
            checkpoint(database)  # the log starts again: what is written now needs no new disk block
            with transaction(database):
                database.execute(
                    "INSERT INTO shipped VALUES (?, ?) ON CONFLICT (target) DO UPDATE SET seq = excluded.seq",
                    (target, seq),
                )
            checkpoint(database)  # nor does the outcome of an attempt under way

    def behind(self, target: str) -> bool:
        """Whether `unshipped` has something. No key is asked for, and no journal made where there is none."""
        if self._place is None and not (self._folder / FILE).exists():
            return False
        with self._glance() as database:
            if is_older(database):
                return True
            (last,) = database.execute("SELECT max(seq) FROM entry").fetchone()
            mark = database.execute("SELECT seq FROM shipped WHERE target = ?", (target,)).fetchone()
        return last is not None and (last,) != mark  # a mark beyond the end is none, as in `shipped_to`

    def ship_backlog(self, target: str) -> int:
        """How many entries are not there yet."""
        after = self.shipped_to(target) or 0
        with self._door() as database:
            (first,) = database.execute("SELECT min(seq) FROM entry").fetchone()
        return 0 if first is None else max(0, self._tail[0] - max(after, first - 1))

    def verify(self) -> Verdict:
        """Read the whole chain again and locate its first fault. Time and not memory grows with the journal."""
        reading = Reading(self._connection)
        with self._door():
            heads, noted = read_heads(self._folder), noted_head(self._noted, self._folder)
        return judged(reading, best_head(heads, self._authentic), self._authentic, noted)

    def close(self) -> None:
        """Close the file and let another agent open it."""
        if self._opened:
            self._opened.close()
            self._opened, self._wal_bytes, self._sent = None, 0, set()  # the log, and so its room, is gone

    # ---------------------------------------------------------------- retention

    def due(self, rule: Rule, now: datetime) -> bool:
        """Whether `retain` has something to do. No key is asked for, and no journal made where there is none."""
        if not (self._folder / FILE).exists():
            return False
        with self._glance() as database:
            asked = (database, rule, now, unlooked)
            return is_older(database) or any(
                due(*asked, most_bytes=self._room_bytes) for due in (parts_due, entries_due)
            )

    def retain(self, rule: Rule, now: datetime) -> bool:
        """Take one step of what is due: personal parts first, then whole entries. False: nothing more is, now.

        A step is all or nothing, with the entry that tells of it. What it takes is in no file of the journal any more.
        Where what should leave is at fault, nothing leaves, and an error in the log says so.
        """
        if not (self._folder / FILE).exists():
            return False
        with self._door() as database:
            asked = (database, rule, now, self._authentic)
            if through := parts_due(*asked, most_bytes=self._room_bytes):
                self._erase(database, through, rule, now)
                return True
            through = entries_due(*asked, most_bytes=self._room_bytes)
            return through is not None and self._leave(database, through, now)

    def _erase(self, database: sqlite3.Connection, through: int, rule: Rule, now: datetime) -> None:
        before = erased_so_far(database, self._authentic)
        found = before.found or fault_of_parts(parts_until(database, through, before.through), before)
        clear: dict[str, Any] = {"through": max(through, before.through), "personalDays": rule.personal_days}
        if found:
            log.error("journal: the personal part of entry %s was erased as it was found: %s", found.seq, found.kind)
            clear["found"] = {"seq": found.seq, "kind": found.kind}
        self._prepare_step(database)
        with transaction(database):
            erased = database.execute(
                f"UPDATE entry SET personal = NULL, erased_at = ? WHERE {_ERASABLE}",  # noqa: S608  (our own words)
                (rfc3339(now), through),
            ).rowcount
            require(erased > 0, "no personal part could be erased")
            entry = self._insert(database, Kind.ERASURE, now, ("", 0, "", None), clear=clear, personal=None)
        self._appended(entry)
        checkpoint(database)  # into the file, over what it held; and the outcomes under way have the log again

    def _leave(self, database: sqlite3.Connection, through: int, now: datetime) -> bool:
        rows = database.execute(f"{SELECT} WHERE seq <= ? ORDER BY seq", (through,)).fetchall()
        leaving = [Entry(*row) for row in rows]
        former = checkpoint_before(database, leaving[0], self._authentic)
        start = Start(former["through"], former["link"]) if former else Start()
        if fault := fault_among(leaving, start, erased_so_far(database, self._authentic), self._authentic):
            log.error("journal: entry %s is at fault (%s): no entry leaves", fault.seq, fault.kind)
            return False
        lost = next((entry.seq for entry in leaving if entry.kind == Kind.HEAD_LOST), None)
        clear = {
            "through": through,
            "link": leaving[-1].link,
            "entries": former.get("entries", 0) + len(leaving),
            "from": former.get("from", leaving[0].at),
            "until": leaving[-1].at,
            "headLost": former.get("headLost") or lost,
        }
        self._prepare_step(database)
        with transaction(database):
            left = database.execute("DELETE FROM entry WHERE seq <= ?", (through,)).rowcount
            require(left == len(leaving), "entries could not leave")
            entry = self._insert(database, Kind.CHECKPOINT, now, ("", 0, "", None), clear=clear, personal=None)
        self._appended(entry)
        checkpoint(database)
        return True

    def _prepare_step(self, database: sqlite3.Connection) -> None:
        """Room as before an intent, and a log that holds no former entry: what a step takes is in the file alone."""
        self._make_room(database, attempts=len(self._sent), beside=self._room_bytes)
        checkpoint(database)
        wipe_log(self._folder)

    # ---------------------------------------------------------------- opening

    @contextmanager
    def _door(self) -> Iterator[sqlite3.Connection]:
        """The open file; what goes wrong with it in here becomes ours. It is opened anew after that.

        So a disk that failed is let go, and may come back.
        """
        try:
            with ours():
                yield self._connection()
        except AgentError as error:
            if error.code is Code.JOURNAL_UNAVAILABLE:
                self.close()
            raise

    @contextmanager
    def _glance(self) -> Iterator[sqlite3.Connection]:
        """The file for a look that needs no key, open only meanwhile unless it was; of an older agent, as it is."""
        with ours():
            database = self._opened or self._file()
            try:
                yield database
            finally:
                if database is not self._opened:
                    database.close()

    def _file(self) -> sqlite3.Connection:
        # One that was there is not begun anew behind its back: its disk may have left.
        require(self._place is None or (self._folder / FILE).exists(), "the file is gone")
        left = has_left(self._noted, self._folder)
        require(not left or not self._is_ours(left), GONE)
        return open_file(self._folder)

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            database = self._file()
            try:
                if number(database, "user_version") == 1:
                    self._sign_head_anew()
                migrate(database)
                self._find_tail(database)
            except BaseException:
                database.close()
                raise
            self._opened, self._place = database, place(self._folder)
        return self._opened

    def _sign_head_anew(self) -> None:
        """Of a file of version 1, whose heads have other words. Before it is migrated: then those count no more."""
        former = of_version_1(self._authentic)
        newest = best_head(read_heads(self._folder), former)
        if newest and is_ours(newest, former):
            write_head(self._folder, self._head(newest.seq, newest.link, newest.at))

    def _find_tail(self, database: sqlite3.Connection) -> None:
        """Where to go on: after the last entry or, when entries are missing, after what a head remembers.

        So a tail that was cut off stays visible for ever, as a gap in the numbers. Where no head is ours, or the last
        entry is not, the chain says so from here on.
        """
        row = database.execute(f"{SELECT} ORDER BY seq DESC LIMIT 1").fetchone()
        last = Entry(*row) if row else None
        end = last.seq if last else 0
        heads = read_heads(self._folder)
        head = best_head(heads, self._authentic)
        if head and (not self._is_ours(head) or (head.seq == 0 and end > 1)):  # that of no entry is behind one at most
            head = None
        strange = last is not None and not intact(last, self._authentic)
        self._tail = (head.seq, head.link) if head and head.seq >= end else (end, last.link if last else GENESIS)
        noted = noted_head(self._noted, self._folder)
        if noted and noted.seq > self._tail[0] and self._is_ours(noted):
            log.error("journal: entries %s to %s are gone, as is remembered elsewhere", end + 1, noted.seq)
            self._tail = (noted.seq, noted.link)
        require(self._tail[0] < sys.maxsize, "there is no number for another entry")
        if strange or (head is None and (last or heads)):
            why = "it is not as our key signed it" if strange else "there is no valid head"
            log.error("journal: found at entry %s: %s; a missing tail would not show", end, why)
            with transaction(database):
                about = ("", 0, "", None)
                clear = {"heads": len(heads)} | ({"last": "notOurs"} if strange else {})
                entry = self._insert(database, Kind.HEAD_LOST, datetime.now(UTC), about, clear=clear, personal=None)
            self._appended(entry)

    def _is_ours(self, head: Head) -> bool:
        return is_ours(head, self._authentic)

    def _head(self, seq: int, link: str, at: str) -> Head:
        return Head(seq, link, at, self._sign(head_bytes(seq, link, at)))

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
        if bare.seq == 1 and kind is not Kind.HEAD_LOST:  # else a kill behind the first entry leaves it without a head
            write_head(self._folder, self._head(0, GENESIS, bare.at))
        database.execute(INSERT, vars(entry))
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
        head = self._head(entry.seq, entry.link, entry.at)
        write_head(self._folder, head)
        if self._noted:
            note_head(self._noted, self._folder, head)
        self._told_appended()
        return Link(entry.seq, entry.previous, entry.link)

    def _make_room(self, database: sqlite3.Connection, *, attempts: int, beside: int) -> None:
        """See to it that the outcomes of so many attempts, and their results, need no new disk block, whatever
        the one that is about to be written takes (`beside`, bytes).

        Blocks are taken by writing zeroes through the write-ahead log into the file, then giving the pages
        to the file's free list, from which the next entries come: written once in many calls.
        """
        needed = (attempts + 1) * self._room_bytes + beside  # one more: what the pages get
        free = number(database, "freelist_count") * number(database, "page_size")
        if free >= needed and self._wal_bytes >= needed:
            return
        much = needed + self._room_bytes
        # Asked first, because a failure halfway would use up the room of the attempts under way.
        if shutil.disk_usage(self._folder).free < 2 * much:  # in the log and in the file
            raise AgentError(Code.JOURNAL_FULL, f"{2 * much} bytes are needed")
        with transaction(database):
            database.execute("DELETE FROM room")  # of a growth that was cut short
            database.execute("INSERT INTO room VALUES (zeroblob(?))", (much,))
        checkpoint(database)
        with transaction(database):
            database.execute("DELETE FROM room")
        checkpoint(database)
        self._wal_bytes = much

    # ---------------------------------------------------------------- reading

    def _entries(self, where: str, *values: Any) -> Iterator[Entry]:
        with self._door() as database:
            rows = database.execute(f"{SELECT} {where}", values).fetchall()
        return (Entry(*row) for row in rows)

    def _personal(self, entry: Entry) -> bytes | None:
        """The personal part in clear; None when there is none, or no more. Raises as `personal_of`."""
        return personal_of(entry, self._keys, self._authentic)


def room_for_a_call(max_reply_bytes: int) -> int:
    """So many bytes must be free on the disk before the first call; a later one mostly needs none."""
    return 2 * 3 * (max_reply_bytes + _ROOM_FOR_PAGES)  # in the log and in the file: a reply, a result, one to spare


def _about(origin: str, ref: str) -> bytes:
    return canonical([origin, ref])


def _step(side: dict[str, str]) -> Step:
    return Step(Environment(side["environment"]), Profile(side["profile"]))


def _marked(exact: bool) -> dict[str, Any]:
    """What the clear part says of a part that holds the frame as it travelled."""
    return {"exact": True} if exact else {}


_ERASABLE = f"personal IS NOT NULL AND seq <= ? AND seq NOT IN ({UNFINISHED})"
_ROOM_FOR_PAGES = 128 << 10  # bytes; index pages and clear parts beside the largest reply
_BATCH_BYTES = 4 << 20  # of the entries that are shipped together [choice]
