"""What the tests of the journal write: invented, and always the same."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.chain import Entry, Kind
from agent.journal.files import FILE, transaction
from agent.journal.ports import Conclusion, Intent
from agent.journal.sealing import Keys
from agent.journal.store import Journal
from agent.model import AuthMode, DeclaredUser, Environment, SoftwareName

NOW = datetime(2025, 3, 4, 5, 6, 7, 89_000, UTC)
ORIGIN = "https://dossier.example"
REPLY = b'<?xml version="1.0"?>\r\n<reply>\xe9 as it came</reply>\n'
MAX_REPLY = 1 << 16
KEY = Identity.from_private_bytes(bytes(range(32)))
OLD_KEY, NEW_KEY = bytes(range(32, 64)), bytes(range(64, 96))  # of personal parts
KEYS = Keys([OLD_KEY])


def journal(folder: Path, key: Identity = KEY, max_reply_bytes: int = MAX_REPLY, keys: Keys | None = KEYS) -> Journal:
    """`keys` None: a keyring that is absent."""

    def found() -> Keys:
        if keys is None:
            raise AgentError(Code.KEYRING_ABSENT)
        return keys

    return Journal(folder, sign=key.sign_bytes, verify=key.verify_bytes, keys=found, max_reply_bytes=max_reply_bytes)


def intent(
    trace_id: str = "trace-1",
    *,
    attempt: int = 1,
    origin: str = ORIGIN,
    client_ref: str | None = None,
    at: datetime = NOW,
    request: bytes = b"<request/>",
) -> Intent:
    return Intent(
        trace_id=trace_id,
        attempt=attempt,
        at=at,
        origin=origin,
        client_ref=client_ref,
        operation="WS_INS2",
        environment=Environment.SIMULATED,
        auth_mode=AuthMode.CPX,
        software=SoftwareName(name="Dossier", version="1.2"),
        message_id=f"uuid:{trace_id}-{attempt}",
        request_sha256="ab" * 32,
        given=("NomNaissance", "Prenom[0]"),
        params=b'{"traits":{"birthName":"TESTEUSE"}}',
        request=request,
        professional="899700000001",
        structure="1invente",
        user=DeclaredUser(id="accueil-3"),
        account="poste",
    )


def found(reply: bytes = REPLY) -> Conclusion:
    return Conclusion(NOW, "00", "OK", 120, 200, reply)


def not_found() -> Conclusion:
    return Conclusion(NOW, "01", "Aucune identite trouvee", 80, 200, REPLY)


def whole(journal: Journal, trace_id: str, result: bytes = b'{"outcome":"found"}') -> None:
    """One operation of one attempt, to its end: three entries."""
    journal.conclude(journal.intend(intent(trace_id)), found())
    journal.finish(trace_id, NOW, lambda _seq, _previous: result)


def tampered(folder: Path, *statements: str) -> None:
    """What somebody with access to the file, and without the key, can do."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def grown(folder: Path, operations: int, origin: str = ORIGIN) -> Journal:
    """A journal with so many operations more, each whole: the entries that its own methods write, in one transaction.

    Their moments are a second apart.
    """
    own = journal(folder)
    database = own._connection()  # its methods flush the disk at each entry, which takes minutes
    outcome = {"code": "01", "label": "", "durationMs": 80, "httpStatus": 200}
    entry: Entry | None = None
    with transaction(database):
        for number in range(operations):
            at = NOW + timedelta(seconds=number)
            asked = intent(f"{origin}-{number}")
            clear = {"operation": asked.operation, "environment": asked.environment, "authMode": asked.auth_mode}
            for kind, attempt, part, personal in (
                (Kind.INTENT, 1, clear, b'{"params":"{}"}'),
                (Kind.OUTCOME, 1, outcome, b"ab" * 32),
                (Kind.RESULT, 0, {}, b"{}"),
            ):
                about = (asked.trace_id, attempt, origin, None)
                entry = own._insert(database, kind, at, about, clear=part, personal=personal)
                own._tail = (entry.seq, entry.link)
    assert entry, "one operation at least"
    own._appended(entry)
    return own
