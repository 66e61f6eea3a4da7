"""What an operation leaves in a journal, from its name alone: who reads it back knows what must be there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

from agent.journal.chain import canonical, sha256
from agent.journal.parts import to_text
from agent.journal.ports import Conclusion, Intent
from agent.journal.store import Journal
from agent.workflows.attempts import CUT_SHORT
from tests.journal.making import KEY, KEYS, ORIGIN
from tests.journal.making import intent as usual

J = TypeVar("J", bound=Journal)

ORIGINS = (ORIGIN, "https://accueil.example", "https://agenda.example:8443")
PERSONAL_DAYS, ENTRY_DAYS = 20, 40
TARGET = "0123456789abcdef"  # of the second copy
_FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_EVERY = timedelta(hours=40)  # between two operations: retention has work after a dozen of them


def moment(number: int) -> datetime:
    """When the operation of this number happens."""
    return _FIRST + number * _EVERY


def journal(folder: Path, max_reply_bytes: int, kind: type[J]) -> J:
    """One of ours, with the keys of the tests."""
    keys = {"sign": KEY.sign_bytes, "verify": KEY.verify_bytes, "keys": lambda: KEYS}
    return kind(folder, **keys, max_reply_bytes=max_reply_bytes)


def cut_short(at: datetime) -> Conclusion:
    """As an agent concludes, at its next start, what its end took along."""
    return Conclusion(at, CUT_SHORT, "", 0)


@dataclass(frozen=True)
class Attempt:
    code: str
    reply: bytes | None
    request: bytes


@dataclass(frozen=True)
class Operation:
    """One call of a page: its attempts, and what the page gets when the last one answers."""

    trace_id: str
    origin: str
    client_ref: str | None
    attempts: tuple[Attempt, ...]
    result: bytes | None

    @classmethod
    def of(cls, trace_id: str, max_reply_bytes: int) -> "Operation":
        """The one of this name; its number stands behind the dash."""
        chance = Random(trace_id)  # noqa: S311  (to repeat, no secret)

        def some(most: int) -> bytes:
            size = chance.choice((0, 1, most, chance.randrange(most), chance.randrange(1 + most // 16)))
            return chance.randbytes(size)

        last = chance.choice(("00", "00", "00", "01", "02", "insi.unreachable"))
        codes = ["01"] * chance.choice((0, 0, 1, 2, 4)) + [last]
        return cls(
            trace_id=trace_id,
            origin=chance.choice(ORIGINS),
            client_ref=chance.choice((None, trace_id, "dossier 12 é")),
            attempts=tuple(
                Attempt(code, some(max_reply_bytes) if len(code) == 2 else None, some(20_000)) for code in codes
            ),
            result=some(30_000) if len(last) == 2 else None,
        )

    @property
    def at(self) -> datetime:
        return moment(int(self.trace_id.rpartition("-")[2]))

    def intent(self, attempt: int) -> Intent:
        return usual(
            self.trace_id,
            attempt=attempt,
            origin=self.origin,
            client_ref=self.client_ref,
            at=self.at,
            request=self.attempts[attempt - 1].request,
        )

    def conclusion(self, attempt: int) -> Conclusion:
        one = self.attempts[attempt - 1]
        return Conclusion(self.at, one.code, "", 12, None if one.reply is None else 200, one.reply)

    def asked(self, attempt: int) -> bytes:
        """The personal part of an intent."""
        intent = self.intent(attempt)
        return canonical(
            {
                "professional": intent.professional,
                "structure": intent.structure,
                "certificate": intent.certificate,
                "user": intent.user.model_dump(exclude_none=True) if intent.user else None,
                "account": intent.account,
                "clientRef": intent.client_ref,
                "params": to_text(intent.params),
                "request": to_text(intent.request),
            }
        )

    def answered(self, attempt: int) -> bytes | None:
        """The personal part of an outcome: the exact reply of a 00, the digest of any other."""
        one = self.attempts[attempt - 1]
        return one.reply if one.reply is None or one.code == "00" else sha256(one.reply).encode()
