"""What the tests of the journal write: invented, and always the same."""

from datetime import UTC, datetime
from pathlib import Path

from agent.errors import AgentError, Code
from agent.identity import Identity
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
