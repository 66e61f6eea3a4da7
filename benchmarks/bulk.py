"""A journal of any size, made by the product's own code: thousands of entries in one transaction, else as written.

So only their flushes are left out.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_hex
from sqlite3 import Connection
from typing import Any

from agent.identity import Identity
from agent.journal.chain import Entry, Kind
from agent.journal.files import checkpoint, transaction
from agent.journal.ports import Conclusion, Intent
from agent.journal.sealing import KEY_BYTES, Keys
from agent.journal.store import Journal
from agent.model import AuthMode, DeclaredUser, Environment, SoftwareName

ORIGIN = "https://banc.example"
EVERY = timedelta(minutes=15)  # an operation
ENTRIES = 3  # of one
_OTHERS = tuple(f"https://poste-{number}.example" for number in range(9))
_IN_ONE = 2_000  # operations in one transaction
_REQUEST, _REPLY, _RESULT = b"<request/>" * 40, b"<reply/>" * 60, b'{"result":1}' * 30


class BulkJournal(Journal):
    """A journal that can be given many operations at once, each as its first one was written."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pattern: list[tuple[Kind, int, dict[str, Any], bytes | None]] = []  # kind, attempt, clear, personal

    def _insert(
        self,
        database: Connection,
        kind: Kind,
        at: datetime,
        about: tuple[str, int, str, str | None],
        *,
        clear: dict[str, Any],
        personal: bytes | None,
    ) -> Entry:
        if len(self._pattern) < ENTRIES:
            self._pattern.append((kind, about[1], clear, personal))
        return super()._insert(database, kind, at, about, clear=clear, personal=personal)

    def fill(self, operations: int, origins: Sequence[str]) -> None:
        """Of these origins in turn, the last one about now."""
        began = datetime.now(UTC) - operations * EVERY
        operate(self, at=began)
        for first in range(1, operations, _IN_ONE):
            numbers = range(first, min(first + _IN_ONE, operations))
            with self._door() as database:
                with transaction(database):
                    for number in numbers:
                        entry = self._repeat(database, origins[number % len(origins)], began + number * EVERY)
                checkpoint(database)
                self._appended(entry)

    def _repeat(self, database: Connection, origin: str, at: datetime) -> Entry:
        trace_id, reference = token_hex(16), token_hex(32)
        for kind, attempt, clear, personal in self._pattern:
            about = trace_id, attempt, origin, reference
            entry = super()._insert(database, kind, at, about, clear=clear, personal=personal)
            self._tail = entry.seq, entry.link
        return entry


def operate(journal: Journal, *, at: datetime | None = None) -> None:
    """One operation of one attempt, to its end."""
    now, trace_id = at or datetime.now(UTC), token_hex(16)
    intent = Intent(
        trace_id=trace_id,
        attempt=1,
        at=now,
        origin=ORIGIN,
        client_ref=trace_id,
        operation="WS_INS2",
        environment=Environment.TEST,
        auth_mode=AuthMode.CPX,
        software=SoftwareName(name="Banc d'essai", version="1"),
        message_id=f"uuid:{trace_id}",
        request_sha256="ab" * 32,
        given=("birthName", "givenNames[0]", "sex", "birthDate"),
        params=b"{}",
        request=_REQUEST,
        professional="899700000001",
        user=DeclaredUser(id="accueil-2"),
    )
    journal.conclude(journal.intend(intent), Conclusion(now, "00", "OK", 120, 200, _REPLY))
    journal.finish(trace_id, now, lambda _seq, _previous: _RESULT)


def made(folder: Path, entries: int) -> BulkJournal:
    """A journal of so many entries, or two more; one of more than a hundred is of ten origins."""
    key, keys = Identity.create(), Keys([token_bytes(KEY_BYTES)])
    journal = BulkJournal(
        folder, sign=key.sign_bytes, verify=key.verify_bytes, keys=lambda: keys, max_reply_bytes=1 << 20
    )
    journal.fill(-(-entries // ENTRIES), (ORIGIN, *(_OTHERS if entries > 100 else ())))
    return journal
