"""What is kept, how long, and what leaves: by rule, in steps, told in the chain, and in no file afterwards."""

import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.chain import Entry, Fault, FaultKind, Kind, Verdict
from agent.journal.files import SELECT
from agent.journal.ports import Conclusion, Step, Switch
from agent.journal.retention import Age, Line, Rule, age, erased_through, left_through
from agent.journal.store import Journal
from agent.model import Environment, Profile, rfc3339
from tests.parts.mounts import with_own_mounts

from .making import KEY, KEYS, MAX_REPLY, NOW, ORIGIN, intent, journal, tampered

ROOT = Path(__file__).parents[2]
RULE = Rule(personal_days=10, entry_days=100)
HERE = Environment.SIMULATED


def days(number: float) -> timedelta:
    return timedelta(days=number)


def answer(at: datetime, reply: bytes = b"<reply/>", code: str = "00") -> Conclusion:
    return Conclusion(at, code, "OK", 120, 200, reply)


def operate(own: Journal, trace_id: str, at: datetime, *, reply: bytes = b"<reply/>", request: bytes = b"<q/>") -> None:
    """One operation to its end: three entries."""
    own.conclude(own.intend(intent(trace_id, at=at, request=request)), answer(at, reply))
    own.finish(trace_id, at, lambda _seq, _previous: b"{}")


def retain(own: Journal, rule: Rule, now: datetime) -> int:
    """All that is due now; how many steps it took."""
    steps = 0
    while own.retain(rule, now):
        steps += 1
    return steps


def entries(folder: Path) -> list[Entry]:
    """As they are in the file of a closed journal."""
    database = sqlite3.connect(folder / "journal.sqlite")
    found = [Entry(*row) for row in database.execute(f"{SELECT} ORDER BY seq")]
    database.close()
    return found


def told(folder: Path, kind: Kind) -> list[dict[str, object]]:
    return [json.loads(entry.clear) for entry in entries(folder) if entry.kind == kind]


# ---------------------------------------------------------------- the rule


def test_an_age_counts_from_the_clock_but_no_further_than_a_while_after_the_last_answer():
    answered = rfc3339(NOW)

    assert Age(rfc3339(NOW - days(9)), rfc3339(NOW + days(1))) == age(10, NOW + days(1), answered)
    assert Age(rfc3339(NOW + days(50)), rfc3339(NOW + days(4000))) == age(10, NOW + days(4000), answered)
    assert Age(rfc3339(NOW - days(4010)), rfc3339(NOW - days(4000))) == age(10, NOW - days(4000), answered)


@pytest.mark.parametrize(
    ("number", "vouched"), [(None, rfc3339(NOW)), (10, None), (10, "no time"), (10, ""), (10**9, rfc3339(NOW))]
)
def test_nothing_is_ever_old_without_a_rule_or_a_date(number, vouched):
    assert age(number, NOW, vouched) is None


OLD = Age("2025-01-10", "2025-03-01")


def line(seq: int, at: str, size: int = 1, ends: int = 0, ends_at: str = "") -> Line:
    return Line(seq, at, size, ends or seq, ends_at or at)


def test_personal_parts_go_from_the_oldest_to_the_first_young_one():
    lines = [line(3, "2025-01-01"), line(5, "2025-01-09"), line(6, "2025-01-10"), line(7, "2025-01-01")]

    assert 5 == erased_through(lines, OLD, most_bytes=100)
    assert None is erased_through(lines[2:], OLD, most_bytes=100)
    assert None is erased_through([], OLD, most_bytes=100)


def test_an_entry_dated_in_the_future_is_as_old_as_those_that_follow_it():
    spike = [line(1, "2025-01-01"), line(2, "2080-01-01"), line(3, "2025-01-02"), line(4, "2080-01-01")]

    assert 3 == erased_through(spike, OLD, most_bytes=100)
    assert 3 == left_through(spike, OLD, stays=9, most_bytes=100)


def test_a_step_takes_no_more_than_so_many_entries_and_bytes_but_one_at_least():
    many = [line(seq, "2025-01-01") for seq in range(1, 1200)]
    large = [line(seq, "2025-01-01", size=60) for seq in range(1, 5)]

    assert 500 == erased_through(many, OLD, most_bytes=1000)
    assert 500 == left_through(many, OLD, stays=2000, most_bytes=1000)
    assert 1 == erased_through(large, OLD, most_bytes=100)
    assert 1 == left_through(large, OLD, stays=9, most_bytes=100)
    assert 3 == left_through(large, OLD, stays=9, most_bytes=200)


def test_a_trace_leaves_whole_also_where_that_makes_a_larger_step():
    first = line(1, "2025-01-01", ends=700, ends_at="2025-01-01")
    many = [first, *(line(seq, "2025-01-01") for seq in range(2, 1200))]

    assert 700 == left_through(many, OLD, stays=2000, most_bytes=10_000)


@pytest.mark.parametrize(("ends", "ends_at"), [(3, "2025-02-01"), (9, "2025-01-01")])
def test_a_trace_of_which_a_later_entry_stays_keeps_what_follows_it_too(ends, ends_at):
    lines = [line(1, "2025-01-01"), line(2, "2025-01-01", ends=ends, ends_at=ends_at), line(3, ends_at)]

    assert 1 == left_through(lines, OLD, stays=9, most_bytes=100)


# ---------------------------------------------------------------- personal parts


def test_personal_parts_are_erased_in_time_and_everything_else_stays(tmp_path):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    operate(own, "young", NOW + days(8))
    before = own.trace("young", ORIGIN, HERE)

    assert 1 == retain(own, RULE, NOW + days(11))

    old = own.trace("old", ORIGIN, HERE)
    assert ("00", None, None, None) == (old.attempts[0].outcome["code"], old.params, old.result, old.client_ref)
    assert own.image("old", ORIGIN) is None
    assert before == own.trace("young", ORIGIN, HERE)
    assert Verdict(7) == own.verify()
    own.close()
    assert [{"through": 3, "personalDays": 10}] == told(tmp_path, Kind.ERASURE)
    kept = entries(tmp_path)
    assert [rfc3339(NOW + days(11))] * 3 + [None] * 4 == [entry.erased_at for entry in kept]
    assert all(entry.personal is None and entry.personal_sha256 and entry.personal_key for entry in kept[:3])


def test_nothing_is_written_when_nothing_is_due(tmp_path):
    own = journal(tmp_path)
    operate(own, "young", NOW)

    assert not own.due(RULE, NOW + days(9))
    assert not own.retain(RULE, NOW + days(9))
    assert not own.retain(Rule(None, None), NOW + days(4000))
    assert Verdict(3) == own.verify()


def test_a_journal_of_many_entries_is_erased_in_steps_of_which_each_is_told(tmp_path):
    own = journal(tmp_path)
    for number in range(400):
        operate(own, f"trace-{number}", NOW)
    operate(own, "young", NOW + days(10))

    assert 3 == retain(own, RULE, NOW + days(11))

    assert Verdict(1206) == own.verify()
    assert own.trace("young", ORIGIN, HERE).result
    own.close()
    assert [500, 1000, 1200] == [said["through"] for said in told(tmp_path, Kind.ERASURE)]


def test_a_step_takes_no_more_than_a_reply_may_have(tmp_path):
    own = journal(tmp_path)
    for number in range(8):
        operate(own, f"trace-{number}", NOW, reply=os.urandom(MAX_REPLY))
    operate(own, "young", NOW + days(10))

    assert 1 < retain(own, RULE, NOW + days(11)) < 8

    assert Verdict(27 + len(range(own.verify().entries - 27))) == own.verify()
    assert [own.image(f"trace-{number}", ORIGIN) for number in range(8)] == [None] * 8


def test_a_part_whose_date_was_changed_is_as_old_as_those_that_follow_it(tmp_path):
    own, rule = journal(tmp_path), Rule(personal_days=10, entry_days=None)
    operate(own, "trace-1", NOW)
    operate(own, "trace-2", NOW + days(1))
    own.close()
    tampered(tmp_path, "UPDATE entry SET at = '2001' || substr(at, 5) WHERE seq <= 5")
    own = journal(tmp_path)

    assert not own.due(rule, NOW + days(10.5))
    assert 0 == retain(own, rule, NOW + days(10.5))
    assert own.due(rule, NOW + days(11.5))
    assert 1 == retain(own, rule, NOW + days(11.5))

    own.close()
    assert [True] * 6 == [entry.personal is None for entry in entries(tmp_path)[:6]]


def test_an_intent_without_outcome_keeps_its_part_until_it_has_one(tmp_path):
    own = journal(tmp_path)
    own.intend(intent("cut-short", at=NOW))
    operate(own, "old", NOW)
    own.close()  # the agent stops before the outcome
    own = journal(tmp_path)
    operate(own, "young", NOW + days(9))

    retain(own, RULE, NOW + days(11))
    assert (own.trace("cut-short", ORIGIN, HERE).params, own.trace("old", ORIGIN, HERE).params) != (None, None)
    assert own.trace("old", ORIGIN, HERE).params is None
    own.conclude(own.unfinished()[0].intended, Conclusion(NOW + days(11), "unknown", "", 0))
    retain(own, RULE, NOW + days(12))

    assert own.trace("cut-short", ORIGIN, HERE).params is None
    assert own.verify().fault is None
    own.close()
    assert [4, 4] == [said["through"] for said in told(tmp_path, Kind.ERASURE)]


def test_who_left_and_came_is_erased_too_and_the_switch_stays(tmp_path):
    own = journal(tmp_path)
    left, entered = Step(Environment.TEST, Profile.CONSUMER), Step(Environment.PRODUCTION, Profile.CONSUMER)
    own.switched(Switch(NOW, left, entered, account="poste"))
    operate(own, "young", NOW + days(10))

    retain(own, RULE, NOW + days(11))

    assert [Switch(NOW, left, entered)] == own.switches()


# ---------------------------------------------------------------- whole entries


def test_entries_leave_behind_a_checkpoint_that_tells_of_all_that_ever_left(tmp_path):
    own = journal(tmp_path)
    for number, at in enumerate((NOW, NOW + days(1), NOW + days(50), NOW + days(99))):
        operate(own, f"trace-{number}", at)

    retain(own, RULE, NOW + days(101.5))
    assert Verdict(6 + 2, left=6) == own.verify()
    retain(own, RULE, NOW + days(151))

    assert Verdict(3 + 4, left=9) == own.verify()
    assert own.trace("trace-1", ORIGIN, HERE) is None
    assert own.trace("trace-3", ORIGIN, HERE) is not None
    own.close()
    first, second = told(tmp_path, Kind.CHECKPOINT)
    assert entries(tmp_path)[0].previous == second.pop("link")
    assert {
        "through": 9,
        "entries": 9,
        "from": rfc3339(NOW),
        "until": rfc3339(NOW + days(50)),
        "headLost": None,
    } == second
    assert (6, 6, rfc3339(NOW + days(1))) == (first["through"], first["entries"], first["until"])


def test_the_last_entry_never_leaves(tmp_path):
    own = journal(tmp_path)
    operate(own, "only", NOW)
    own.switched(Switch(NOW, Step(Environment.TEST, Profile.CONSUMER), Step(Environment.TEST, Profile.CONSUMER)))

    assert own.retain(Rule(None, 1), NOW + days(50))
    assert Verdict(2, left=3) == own.verify()
    retain(own, Rule(None, 1), NOW + days(50))
    assert Verdict(2, left=4) == own.verify()  # both checkpoints
    own.close()
    own = journal(tmp_path)
    operate(own, "next", NOW + days(50))
    assert Verdict(5, left=4) == own.verify()


def test_a_head_that_is_one_entry_late_knows_an_entry_that_is_still_there(tmp_path):
    """A kill between a checkpoint and its head."""
    own = journal(tmp_path)
    operate(own, "old", NOW)
    operate(own, "last", NOW)
    heads = {slot: (tmp_path / f"head-{slot}.json").read_bytes() for slot in (0, 1)}
    own.retain(Rule(None, 1), NOW + days(50))
    own.close()
    for slot, head in heads.items():
        (tmp_path / f"head-{slot}.json").write_bytes(head)

    assert Verdict(4, left=3) == journal(tmp_path).verify()


def test_an_intent_without_outcome_does_not_leave_nor_does_what_follows(tmp_path):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    own.intend(intent("cut-short", at=NOW))
    operate(own, "old-too", NOW)
    operate(own, "young", NOW + days(90))

    retain(own, RULE, NOW + days(101))

    assert 3 == own.verify().left
    assert own.trace("cut-short", ORIGIN, HERE) is not None
    assert own.trace("old-too", ORIGIN, HERE) is not None


def test_what_was_not_shipped_does_not_leave_but_its_personal_parts_are_erased(tmp_path):
    own = journal(tmp_path)
    for number in range(3):
        operate(own, f"trace-{number}", NOW)
    operate(own, "young", NOW + days(99))
    rule = Rule(personal_days=10, entry_days=100, shipped_to="there")

    retain(own, rule, NOW + days(101))
    assert (0, None) == (own.verify().left, own.trace("trace-0", ORIGIN, HERE).params)

    own.mark_shipped("elsewhere", 9)
    own.mark_shipped("there", 5)
    retain(own, rule, NOW + days(101))
    assert 3 == own.verify().left  # the second trace leaves whole
    own.mark_shipped("there", 9)
    retain(own, rule, NOW + days(101))
    assert 9 == own.verify().left


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE entry SET origin = 'https://autre.example' WHERE seq = 2",
        "UPDATE entry SET clear = x'7b7d' WHERE seq = 2",
        "UPDATE entry SET personal = NULL, erased_at = '2025-03-05T00:00:00.000Z' WHERE seq = 5",
        "DELETE FROM entry WHERE seq = 1",
        "DELETE FROM entry WHERE seq = 2",
        "UPDATE entry SET signature = x'00' WHERE seq = 2",
    ],
)
def test_where_what_should_leave_is_at_fault_nothing_leaves_and_the_log_says_so(tmp_path, caplog, tampering):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    operate(own, "old-too", NOW)
    operate(own, "young", NOW + days(90))
    own.close()
    tampered(tmp_path, tampering)
    own = journal(tmp_path)
    fault = own.verify().fault or Fault(FaultKind.FORGED, 2)  # a signature is looked at when it leaves, for good

    with caplog.at_level(logging.ERROR):
        assert not own.retain(Rule(None, 100), NOW + days(101))
        retain(own, RULE, NOW + days(101))

    assert 2 <= caplog.text.count(f"entry {fault.seq} is at fault ({fault.kind}): no entry leaves")
    assert own.trace("old-too", ORIGIN, HERE).params is None  # people's data is erased all the same
    assert own.verify().left == 0


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("UPDATE entry SET personal = NULL, erased_at = at WHERE seq = 5", Fault(FaultKind.ERASED, 5)),
        ("UPDATE entry SET personal = NULL WHERE seq = 5", Fault(FaultKind.PART_CHANGED, 5)),
        ("UPDATE entry SET personal = x'00' || personal WHERE seq = 5", Fault(FaultKind.PART_CHANGED, 5)),
    ],
)
def test_a_part_that_somebody_changed_or_erased_before_is_told_for_ever(tmp_path, tampering, fault):
    """Once it is erased by rule nothing shows it any more, but the erasure that found it."""
    own = journal(tmp_path)
    for number in range(3):
        operate(own, f"trace-{number}", NOW + days(number))
    own.close()
    tampered(tmp_path, tampering)
    own = journal(tmp_path)
    assert fault == own.verify().fault

    assert 2 == retain(own, RULE, NOW + days(11.5)) + retain(own, RULE, NOW + days(13))

    assert fault == own.verify().fault
    assert not own.retain(Rule(None, 1), NOW + days(13))


def test_a_head_that_was_lost_is_told_for_ever(tmp_path):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    own.close()
    for slot in (0, 1):
        (tmp_path / f"head-{slot}.json").unlink()
    own = journal(tmp_path)
    operate(own, "old-too", NOW)
    own.close()
    lost = next(entry for entry in entries(tmp_path) if entry.kind == Kind.HEAD_LOST)
    moment = datetime.fromisoformat(lost.at)  # of this machine's clock
    own = journal(tmp_path)
    operate(own, "last", moment + days(99))
    operate(own, "very-last", moment + days(150))

    assert 4 == lost.seq
    for passed in (101, 200):
        retain(own, RULE, moment + days(passed))
        assert Fault(FaultKind.HEAD_LOST, 4) == own.verify().fault
    assert 10 == own.verify().left


# ---------------------------------------------------------------- the clock


def test_a_clock_that_is_years_ahead_erases_nothing(tmp_path):
    own = journal(tmp_path)
    operate(own, "young", NOW)

    assert not own.retain(Rule(90, 365), NOW + days(4000))
    own.conclude(
        own.intend(intent("unreachable", at=NOW + days(4000))), Conclusion(NOW + days(4000), "insi.tls", "", 9)
    )
    assert not own.retain(Rule(90, 365), NOW + days(4000))  # without an answer, an entry vouches for nothing

    assert own.trace("young", ORIGIN, HERE).params


def test_without_any_answer_the_last_entry_vouches_for_the_date(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent("unreachable", at=NOW)), Conclusion(NOW, "insi.unreachable", "", 9))

    assert not own.retain(Rule(90, None), NOW + days(4000))
    assert own.retain(Rule(50, None), NOW + days(4000))


def test_with_a_clock_that_was_set_back_entries_go_on_and_retention_waits(tmp_path):
    own = journal(tmp_path)
    operate(own, "before", NOW)
    operate(own, "after", NOW - days(4000))

    assert not own.retain(Rule(1, 1), NOW - days(4000))
    assert not own.retain(Rule(1, 1), NOW + days(3000))  # until an answer vouches for the date again
    operate(own, "right again", NOW + days(0.5))
    assert not own.retain(Rule(1, 1), NOW + days(0.5))
    assert Verdict(9, clock_back=(4,)) == own.verify()
    retain(own, Rule(1, None), NOW + days(1.1))
    assert (None, None) == tuple(own.trace(one, ORIGIN, HERE).params for one in ("before", "after"))
    assert own.trace("right again", ORIGIN, HERE).params


def test_an_answer_that_somebody_else_wrote_vouches_for_nothing(tmp_path):
    own = journal(tmp_path)
    operate(own, "young", NOW)
    operate(own, "young-too", NOW)
    own.close()
    tampered(tmp_path, "UPDATE entry SET at = '2031-01-01T00:00:00.000Z' WHERE seq = 5")

    assert not journal(tmp_path).retain(Rule(90, 90), NOW + days(4000))


# ---------------------------------------------------------------- the files


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def test_what_was_erased_or_left_is_in_no_file_of_the_journal(tmp_path):
    own = journal(tmp_path)
    for number in range(40):
        request, reply = os.urandom(number * 97), os.urandom(number * 331)
        operate(own, f"old-{number}", NOW + days(number / 4), request=request, reply=reply)
    own.close()
    parts = {entry.seq: entry.personal for entry in entries(tmp_path)}
    own = journal(tmp_path)
    intended = own.intend(intent("under way", at=NOW + days(11)))
    assert all(part[-40:] in bytes_of(tmp_path) for part in parts.values())

    for now, kept in ((11, 9), (15, 25), (20, 40)):
        retain(own, Rule(10, None), NOW + days(now))

        found = bytes_of(tmp_path)
        gone = {seq for seq, part in parts.items() if part[16:40] not in found and part[-40:] not in found}
        assert {3 * number + rest for number in range(40) for rest in (1, 2, 3) if number / 4 < now - 10} == gone, kept
    retain(own, Rule(10, 15), NOW + days(25))
    own.conclude(intended, answer(NOW + days(25)))
    assert 117 <= own.verify().left
    assert b"old-1-1" not in bytes_of(tmp_path)
    assert own.verify().fault is None


def test_the_outcome_of_an_attempt_under_way_needs_no_new_block_after_a_retention(tmp_path):
    own = journal(tmp_path)
    for number in range(300):
        operate(own, f"trace-{number}", NOW)
    intended = [own.intend(intent(f"under-way-{number}", at=NOW + days(9))) for number in range(3)]

    assert 4 == retain(own, Rule(5, 6), NOW + days(10))
    before = {file.name: file.stat().st_blocks for file in tmp_path.iterdir()}
    for number, link in enumerate(intended):
        own.conclude(link, answer(NOW + days(10), os.urandom(MAX_REPLY)))
        own.finish(f"under-way-{number}", NOW + days(10), lambda _seq, _previous: os.urandom(1 << 16))

    assert before == {file.name: file.stat().st_blocks for file in tmp_path.iterdir()}
    assert own.verify().fault is None


def test_the_pages_that_were_freed_are_used_again(tmp_path):
    own = journal(tmp_path)
    for number in range(60):
        operate(own, f"old-{number}", NOW, reply=os.urandom(20_000))
    retain(own, Rule(5, 5), NOW + days(10))
    size = (tmp_path / "journal.sqlite").stat().st_size

    for number in range(30):
        operate(own, f"new-{number}", NOW + days(10), reply=os.urandom(20_000))

    assert size == (tmp_path / "journal.sqlite").stat().st_size


def test_on_a_full_disk_a_step_has_the_room_there_is_or_waits_and_outcomes_under_way_keep_theirs(tmp_path):
    """On a real file system of 32 MB, mounted where only the child sees it."""
    run = with_own_mounts("-m", "tests.journal.full_disk_retained", str(tmp_path))
    assert 0 == run.returncode, f"needs a mount namespace: {run.stderr}"

    assert {
        "step in the room that there is": "True",
        "outcome 0": "done",
        "outcome 1": "done",
        "chain, still full": "None",
        "step without room": "journal.full",
        "chain, opened again": "None",
        "step with room": "True",
        "chain at last": "None",
    } == json.loads(run.stdout)


# ---------------------------------------------------------------- keys, and no journal


def no_key(*_: bytes) -> bytes:
    raise AgentError(Code.KEYRING_ABSENT)


def test_whether_something_is_due_is_known_without_any_key(tmp_path):
    def refused(*_: bytes) -> bool:
        raise AssertionError("a keyring was asked")

    own = journal(tmp_path)
    operate(own, "old", NOW)
    assert own.due(RULE, NOW + days(11))
    own.close()
    without = Journal(tmp_path, sign=no_key, verify=refused, keys=lambda: KEYS, max_reply_bytes=MAX_REPLY)

    assert without.due(RULE, NOW + days(11))
    assert not without.due(RULE, NOW + days(9))
    own = journal(tmp_path)  # free for whoever comes
    operate(own, "next", NOW)


def test_without_the_key_that_signs_nothing_is_erased(tmp_path):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    own.close()
    without = Journal(tmp_path, sign=no_key, verify=KEY.verify_bytes, keys=lambda: KEYS, max_reply_bytes=MAX_REPLY)

    with pytest.raises(AgentError) as refusal:
        without.retain(RULE, NOW + days(11))

    assert Code.KEYRING_ABSENT == refusal.value.code
    assert without.trace("old", ORIGIN, HERE).params
    assert Verdict(3) == without.verify()


def test_erasing_needs_no_key_of_personal_parts(tmp_path):
    own = journal(tmp_path)
    operate(own, "old", NOW)
    own.close()

    assert journal(tmp_path, keys=None).retain(RULE, NOW + days(11))


def test_no_journal_is_made_where_there_is_none(tmp_path):
    own = journal(tmp_path / "none")

    assert not own.due(RULE, NOW)
    assert not own.retain(RULE, NOW)
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- whatever happens


def test_kill_9_in_mid_retention_leaves_a_step_done_or_not_begun(tmp_path):
    for steps in (0, 1, 2, 3, 5, 8):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.retainer", str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout
        assert "ready\n" == child.stdout.readline()
        for _ in range(steps):
            assert "step\n" == child.stdout.readline()
        child.kill()
        child.stdout.close()
        assert -signal.SIGKILL == child.wait()

        own = journal(tmp_path)
        assert own.verify().fault is None
        own.close()
        kept = entries(tmp_path)
        young = rfc3339(datetime.fromisoformat(kept[-1].at) - days(10)) if kept else ""
        assert all(entry.personal for entry in kept if entry.at > young and entry.personal_sha256)
    assert told(tmp_path, Kind.ERASURE)
    assert told(tmp_path, Kind.CHECKPOINT)


@dataclass
class Model:
    """What a journal should hold."""

    begun: dict[str, datetime] = field(default_factory=dict)
    under_way: dict[str, object] = field(default_factory=dict)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["whole", "begin", "end", "retain", "retain", "kill", "reopen", "switch"]),
        st.integers(0, 9_000),
        st.integers(1, 6),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(OPERATIONS)
def test_whatever_is_written_erased_left_and_killed_the_chain_holds_and_the_rest_is_untouched(
    tmp_path_factory, operations
):
    folder = tmp_path_factory.mktemp("journal")
    own, now, model, abandoned = journal(folder), NOW, Model(), []
    rule = Rule(personal_days=10, entry_days=20)
    for number, (action, size, passed) in enumerate(operations):
        now += days(passed)
        trace_id = f"trace-{number}"
        if action == "whole":
            operate(own, trace_id, now, reply=bytes(size))
            model.begun[trace_id] = now
        elif action == "begin":
            model.under_way[trace_id] = own.intend(intent(trace_id, at=now, request=bytes(size)))
            model.begun[trace_id] = now
        elif action == "end" and model.under_way:
            ended = min(model.under_way)
            own.conclude(model.under_way.pop(ended), answer(now, bytes(size)))
        elif action == "switch":
            own.switched(Switch(now, Step(HERE, Profile.CONSUMER), Step(HERE, Profile.REPOSITORY)))
        elif action == "retain":
            before = {trace_id: own.trace(trace_id, ORIGIN, HERE) for trace_id in model.begun}
            retain(own, rule, now)
            for one, begun in model.begun.items():
                if begun > now - days(10) or one in model.under_way:
                    assert before[one] == own.trace(one, ORIGIN, HERE)
        elif action == "kill":  # what a kill leaves: the files as they are
            abandoned.append(own)
            copy = tmp_path_factory.mktemp("journal")
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            folder, own = copy, journal(copy)
        else:
            own.close()
            own = journal(folder)
        assert own.verify().fault is None
    for journal_ in (own, *abandoned):
        journal_.close()
