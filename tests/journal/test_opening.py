"""What an agent makes of the journal that it finds: a new one, an older one, one that somebody wrote into."""

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.journal.apart import newest, opened
from agent.journal.chain import Entry, Fault, FaultKind, Head, Kind, Verdict, signed_bytes
from agent.journal.files import FILE, INSERT, SELECT, head_file, write_head
from agent.journal.ports import Conclusion, Link
from agent.journal.retention import Rule
from agent.journal.store import Journal
from agent.lane import Lane
from agent.model import Environment

from .installed import relinked
from .making import KEY, KEYS, MAX_REPLY, NOW, ORIGIN, found, intent, journal, tampered, whole
from .version_1 import made_version_1, with_schema_of_version_1

HERE = Environment.SIMULATED
LATER = NOW + timedelta(days=50)
UNKNOWN = Conclusion(NOW, "unknown", "", 0)  # as after a stop


class Stopped(Exception):  # noqa: N818  (no error: the agent is killed)
    """In the middle."""


def entries(folder: Path) -> list[Entry]:
    with closing(sqlite3.connect(folder / FILE)) as database:
        return [Entry(*row) for row in database.execute(f"{SELECT} ORDER BY seq")]


def verdict(folder: Path) -> Verdict:
    own = journal(folder)
    try:
        return own.verify()
    finally:
        own.close()


def filled(folder: Path, operations: int = 2) -> None:
    own = journal(folder)
    for number in range(1, operations + 1):
        whole(own, f"trace-{number}")
    own.close()


# ---------------------------------------------------------------- a new one


class StoppedBehindTheEntry(Journal):
    def _appended(self, *_: Entry) -> Link:
        raise Stopped


def test_a_stop_between_the_very_first_entry_and_its_head_is_no_lost_head(tmp_path):
    stopped(StoppedBehindTheEntry, tmp_path)

    assert ["intent"] == [entry.kind for entry in entries(tmp_path)]
    with opened(tmp_path) as copy:
        assert Verdict(1) == copy.verify(KEY.verify_bytes)
    assert Verdict(1) == verdict(tmp_path)


def test_entries_without_any_head_are_not_taken_for_a_new_journal(tmp_path):
    stopped(StoppedBehindTheEntry, tmp_path)
    for slot in (0, 1):
        head_file(tmp_path, slot).unlink()

    assert Fault(FaultKind.HEAD_LOST, 2) == verdict(tmp_path).fault


def test_the_head_of_no_entry_hides_no_entries(tmp_path):
    """Whoever kept it from the first moment puts it back behind a tail that was cut."""
    stopped(StoppedBehindTheEntry, tmp_path)
    kept = head_file(tmp_path, 0).read_bytes()
    filled(tmp_path)
    for slot in (0, 1):
        head_file(tmp_path, slot).write_bytes(kept)
    tampered(tmp_path, "DELETE FROM entry WHERE seq > 4")

    assert Fault(FaultKind.HEAD_LOST, 5) == verdict(tmp_path).fault


def stopped(kind: type[Journal], folder: Path) -> None:
    keys = {"sign": KEY.sign_bytes, "verify": KEY.verify_bytes, "keys": lambda: KEYS}
    own = kind(folder, **keys, max_reply_bytes=MAX_REPLY)
    with pytest.raises(Stopped):
        own.intend(intent())
    own.close()


# ---------------------------------------------------------------- one that somebody wrote into


def test_a_last_entry_that_our_key_did_not_sign_is_noted_and_not_gone_on_from_in_silence(tmp_path, caplog):
    filled(tmp_path)
    there = entries(tmp_path)
    added = relinked([*there, replace(there[-1], seq=7, trace_id="trace-3")])[-1]
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute(INSERT, vars(added))
        database.commit()

    own = journal(tmp_path)
    with caplog.at_level(logging.ERROR):
        whole(own, "trace-4")

    assert Verdict(6, Fault(FaultKind.FORGED, 7)) == own.verify()
    own.close()
    assert (8, Kind.HEAD_LOST, b'{"heads":2,"last":"notOurs"}') == next(
        (entry.seq, entry.kind, entry.clear) for entry in entries(tmp_path) if entry.seq > 7
    )
    assert "found at entry 7: it is not as our key signed it" in caplog.text


def test_an_entry_of_the_last_number_there_is_leaves_none_to_go_on_with(tmp_path):
    filled(tmp_path)
    tampered(tmp_path, "UPDATE entry SET seq = 9223372036854775807 WHERE seq = 6")

    with pytest.raises(AgentError) as refused:
        journal(tmp_path).intend(intent())

    assert (Code.JOURNAL_UNAVAILABLE, "there is no number for another entry") == (
        refused.value.code,
        refused.value.detail,
    )


def test_an_attempt_that_has_its_outcome_is_not_concluded_again_whatever_is_noted_of_it(tmp_path, caplog):
    filled(tmp_path)
    tampered(tmp_path, "INSERT INTO pending VALUES (0), (1), (2), (77)")
    own = journal(tmp_path)
    cut = own.intend(intent("trace-3"))

    with caplog.at_level(logging.ERROR):
        assert [cut] == [one.intended for one in own.unfinished()]
    assert [cut] == [one.intended for one in own.unfinished()]

    assert ["journal: 4 attempts were noted as unfinished and are none"] == caplog.messages
    first = own.trace("trace-1", ORIGIN, HERE)
    with pytest.raises(ValueError, match="once"):
        own.conclude(first.attempts[0].intended, UNKNOWN)
    assert "00" == own.trace("trace-1", ORIGIN, HERE).attempts[0].outcome["code"]
    assert Verdict(7) == own.verify()
    own.close()


def test_an_attempt_behind_which_an_entry_is_gone_gets_no_outcome_of_ours(tmp_path):
    """It may have been the outcome."""
    own = journal(tmp_path)
    cut = own.intend(intent())
    own.conclude(cut, found())
    own.finish("trace-1", NOW, lambda _seq, _previous: b"{}")
    own.close()
    tampered(tmp_path, "DELETE FROM entry WHERE seq = 2", "INSERT INTO pending VALUES (1)")

    own = journal(tmp_path)
    with pytest.raises(AgentError) as refused:
        own.conclude(cut, UNKNOWN)
    assert [] == own.unfinished()

    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 1}) == (refused.value.code, refused.value.facts)
    own.close()
    assert [1, 3] == [entry.seq for entry in entries(tmp_path)]


def test_an_attempt_is_concluded_even_where_it_is_not_noted_any_more(tmp_path):
    own = journal(tmp_path)
    cut = own.intend(intent())
    own.close()
    tampered(tmp_path, "DELETE FROM pending")

    own = journal(tmp_path)
    own.conclude(cut, found())

    assert Verdict(2) == own.verify()
    own.close()


@pytest.mark.parametrize(
    "change", ["origin = 'https://autre.example'", "trace_id = CAST(trace_id AS BLOB)", "client_ref = x'ff'"]
)
def test_an_intent_that_is_not_as_it_was_written_gets_no_outcome_of_ours(tmp_path, change):
    own = journal(tmp_path)
    cut = own.intend(intent())
    own.close()
    tampered(tmp_path, f"UPDATE entry SET {change}")  # noqa: S608  (the words above)

    own = journal(tmp_path)
    assert [] == own.unfinished()
    with pytest.raises(AgentError) as refused:
        own.conclude(cut, UNKNOWN)

    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 1}) == (refused.value.code, refused.value.facts)
    assert Fault(FaultKind.CHANGED, 1) == own.verify().fault
    own.close()


def test_what_is_noted_as_unfinished_and_is_not_keeps_nothing_from_retention(tmp_path):
    filled(tmp_path)
    tampered(tmp_path, "INSERT INTO pending VALUES (0), (1)")
    own = journal(tmp_path)
    rule = Rule(personal_days=10, entry_days=20)

    assert own.due(rule, LATER)
    while own.retain(rule, LATER):
        pass

    assert Verdict(2, left=6) == own.verify()
    own.close()
    assert ["erasure", "checkpoint"] == [entry.kind for entry in entries(tmp_path)]


# ---------------------------------------------------------------- one of version 1


def test_a_journal_of_version_1_is_whole_and_goes_on(tmp_path):
    filled(tmp_path)
    made_version_1(tmp_path, KEY.sign_bytes)

    with opened(tmp_path) as copy:
        assert Verdict(6) == copy.verify(KEY.verify_bytes)
    assert NOW == newest(tmp_path, KEY.verify_bytes)
    own = journal(tmp_path)
    assert own.due(Rule(None, None), NOW)  # to be migrated: with the key, which is not asked for here
    whole(own, "trace-3")
    assert Verdict(9) == own.verify()
    assert not own.due(Rule(None, None), NOW)
    own.close()


class StoppedBeforeItsSchema(Journal):
    def _sign_head_anew(self) -> None:
        super()._sign_head_anew()
        raise Stopped


def test_a_stop_between_the_new_head_and_the_new_schema_is_no_lost_head(tmp_path):
    filled(tmp_path)
    made_version_1(tmp_path, KEY.sign_bytes)

    stopped(StoppedBeforeItsSchema, tmp_path)

    assert Verdict(6) == verdict(tmp_path)


def test_a_file_that_was_made_one_of_version_1_again_gives_no_row_the_worth_of_a_head(tmp_path):
    filled(tmp_path)
    fourth = entries(tmp_path)[3]
    tampered(tmp_path, "DELETE FROM entry WHERE seq > 4")
    with_schema_of_version_1(tmp_path)
    for slot in (0, 1):
        head_file(tmp_path, slot).unlink()
    write_head(tmp_path, Head(4, fourth.link, fourth.at, fourth.signature))

    assert KEY.verify_bytes(signed_bytes(4, fourth.link, fourth.at), fourth.signature)
    assert Fault(FaultKind.HEAD_LOST, 5) == verdict(tmp_path).fault


def test_a_migration_that_nobody_waits_for_any_more_ends_and_the_next_call_goes_on(tmp_path):
    """A large file of version 1 takes longer than a call may."""
    filled(tmp_path)
    made_version_1(tmp_path, KEY.sign_bytes)
    given_up = threading.Event()

    def sign(data: bytes) -> bytes:
        given_up.wait()
        return KEY.sign_bytes(data)

    own = Journal(tmp_path, sign=sign, verify=KEY.verify_bytes, keys=lambda: KEYS, max_reply_bytes=MAX_REPLY)
    lane = Lane("journal")

    async def story() -> Verdict:
        with pytest.raises(AgentError) as late:
            await lane.run(own.unfinished, timeout_s=0)
        assert Code.DEVICE_TIMEOUT == late.value.code
        given_up.set()
        return await lane.run(own.verify, timeout_s=60)

    try:
        assert Verdict(6) == asyncio.run(story())
        asyncio.run(lane.run(own.close, timeout_s=60))
    finally:
        lane.close()
    assert Verdict(6) == verdict(tmp_path)
