"""A rotation of the agent's key as everybody else sees it: pages, servers with receipts, and the journal."""

import base64
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.identity import Identity, verify_receipt, verify_rotation
from agent.journal.chain import Fault, FaultKind, Verdict, signed_at, signed_bytes
from agent.journal.store import Journal
from agent.model import rfc3339
from agent.secrets import FileSecrets, load_identity, rotate_identity
from tests.journal import making
from tests.parts.agent import SITE, Simulation

INSTANCE = "00000000-0000-4000-8000-000000000001"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
CHALLENGE = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()


def rotate(folder: Path, at: datetime | None = None) -> Identity:
    return rotate_identity(FileSecrets(folder), folder, instance_id=INSTANCE, at=at or datetime.now(UTC))


def loaded(folder: Path) -> Identity:
    return load_identity(FileSecrets(folder), folder)


def test_after_a_rotation_pages_see_another_kid_and_a_server_that_enrolled_the_first_key_follows(
    simulation: Callable[..., Simulation],
) -> None:
    agent = simulation()
    before = agent.site()
    receipts = [before.call("insi.retrieveByTraits", traits=TOUSSAINT, challenge=CHALLENGE)["receipt"]]
    rotate(agent.places.data)
    agent.restart()
    after = agent.site()
    receipts.append(after.call("insi.retrieveByTraits", traits=TOUSSAINT, challenge=CHALLENGE)["receipt"])

    changed = {name for name in before.hello if before.hello[name] != after.hello[name]}
    assert changed == {"receiptKey"}
    enrolled = before.hello["receiptKey"]
    (former,) = loaded(agent.places.data).former
    followed = verify_rotation(
        former.statement, accepted_thumbprints={enrolled["kid"]}, public_jwks=[enrolled], instance_id=INSTANCE
    )
    assert followed["to"] == after.hello["receiptKey"]
    for receipt in receipts:
        payload = verify_receipt(
            receipt,
            accepted_thumbprints={enrolled["kid"], followed["to"]["kid"]},
            public_jwks=[enrolled, followed["to"]],
            challenge=CHALLENGE,
            origin=SITE,
            environment="simulated",
        )
        assert payload["outcome"] == "found"


def test_the_journal_goes_on_over_a_rotation_and_a_trace_of_before_is_still_found(
    simulation: Callable[..., Simulation],
) -> None:
    agent = simulation()
    trace_id = agent.site().call("insi.retrieveByTraits", traits=TOUSSAINT)["trace"]["id"]
    rotate(agent.places.data)
    agent.restart()
    site = agent.site()

    assert site.call("trace.get", traceId=trace_id)["result"]["trace"]["id"] == trace_id
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["trace"]["seq"] == 6
    agent.restart()  # which has not opened its journal yet
    assert verified(agent.places.journal, loaded(agent.places.data)) == Verdict(6)


# ---------------------------------------------------------------- what a former key can still do to the journal


FIRST = Identity.from_private_bytes(bytes(range(32)))
STATEMENT_AT = making.NOW + timedelta(minutes=1)


def rotated_to(second: Identity) -> Identity:
    """The second key, to which the first one led a minute after the entries of these tests."""
    statement = FIRST.rotation(second, instance_id=INSTANCE, at=STATEMENT_AT)
    return Identity.from_private_bytes(second.private_bytes(), [statement])


def journal_of(folder: Path, identity: Identity) -> Journal:
    """The journal as the agent with this identity opens it."""
    return Journal(
        folder,
        sign=identity.sign_bytes,
        verify=lambda data, signature: identity.verify_dated(data, signature, signed_at),
        keys=lambda: making.KEYS,
        max_reply_bytes=making.MAX_REPLY,
    )


def written(folder: Path, identity: Identity, trace_id: str, at: datetime = making.NOW) -> None:
    """One attempt and its outcome: two entries."""
    journal = journal_of(folder, identity)
    journal.conclude(journal.intend(making.intent(trace_id, at=at)), replace(making.found(), at=at))
    journal.close()


def verified(folder: Path, identity: Identity) -> Verdict:
    journal = journal_of(folder, identity)
    try:
        return journal.verify()
    finally:
        journal.close()


def test_entries_of_a_former_key_hold_with_and_without_later_ones(tmp_path: Path) -> None:
    written(tmp_path, FIRST, "before")
    second = rotated_to(Identity.create())

    assert verified(tmp_path, second) == Verdict(2)
    written(tmp_path, second, "after", STATEMENT_AT)
    assert verified(tmp_path, second) == Verdict(4)


def test_a_key_without_its_statement_is_no_former_key(tmp_path: Path) -> None:
    written(tmp_path, FIRST, "before")

    verdict = verified(tmp_path, Identity.create())

    assert verdict.fault == Fault(FaultKind.FORGED, 1)


def test_an_entry_added_with_a_former_key_after_its_end_is_forged(tmp_path: Path) -> None:
    second = rotated_to(Identity.create())
    written(tmp_path, FIRST, "before")
    written(tmp_path, FIRST, "stolen", STATEMENT_AT + timedelta(seconds=1))

    assert verified(tmp_path, second).fault == Fault(FaultKind.FORGED, 3)


def test_an_earlier_entry_rewritten_with_a_former_key_no_longer_fits_what_the_present_key_added(
    tmp_path: Path,
) -> None:
    second = rotated_to(Identity.create())
    written(tmp_path / "true", FIRST, "before")
    written(tmp_path / "true", second, "after", STATEMENT_AT)
    written(tmp_path / "stolen", FIRST, "rewritten")
    database = sqlite3.connect(tmp_path / "true" / "journal.sqlite")
    database.execute("ATTACH ? AS stolen", (str(tmp_path / "stolen" / "journal.sqlite"),))
    database.execute("DELETE FROM main.entry WHERE seq <= 2")
    database.execute("INSERT INTO main.entry SELECT * FROM stolen.entry")
    database.commit()
    database.close()

    assert verified(tmp_path / "true", second) == Verdict(2, Fault(FaultKind.CHANGED, 3))


@given(st.binary() | st.text().map(lambda at: signed_bytes(1, "", at)))
def test_signed_bytes_that_do_not_say_when_are_dated_nowhere(data: bytes) -> None:
    assert signed_at(data) is None


def test_signed_bytes_say_when_they_were_signed() -> None:
    assert signed_at(signed_bytes(1, "ab", rfc3339(making.NOW))) == making.NOW
