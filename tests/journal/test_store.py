"""The journal on a real disk: what was acknowledged is there, what was tampered with is found."""

import json
import logging
import shutil
import sqlite3
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.apart import opened
from agent.journal.chain import Entry, Fault, FaultKind, Head, Verdict, canonical, link_of, sha256, signed_bytes, tie_of
from agent.journal.files import FILE, GONE, head_file, note_head
from agent.journal.folder import mounted_in_memory, mounted_network, network_kind, passing_kind
from agent.journal.ports import Conclusion, Step, Switch, TracePage
from agent.journal.retention import Rule
from agent.journal.sealing import Keys
from agent.journal.store import Journal
from agent.model import Environment, Profile

from .making import (
    KEY,
    KEYS,
    MAX_REPLY,
    NEW_KEY,
    NOW,
    OLD_KEY,
    ORIGIN,
    REPLY,
    found,
    intent,
    journal,
    not_found,
    tampered,
    whole,
)

HERE = Environment.SIMULATED  # where what these tests write was asked


def ids(page: TracePage) -> list[str]:
    return [one.trace_id for one in page.traces]


def six_entries(folder: Path) -> None:
    own = journal(folder)
    whole(own, "trace-1")
    whole(own, "trace-2")
    own.close()


def judged(folder: Path) -> Verdict:
    own = journal(folder)
    verdict = own.verify()
    own.close()
    return verdict


def test_an_operation_is_given_back_as_it_was_told(tmp_path):
    own = journal(tmp_path)
    first = own.intend(intent(attempt=1, client_ref="ref-1"))
    own.conclude(first, not_found())
    second = own.intend(intent(attempt=2, client_ref="ref-1"))
    own.conclude(second, found())
    own.finish("trace-1", NOW, lambda _seq, _previous: b'{"outcome":"found"}')

    trace = own.trace("trace-1", ORIGIN, HERE)

    assert trace is not None
    assert [1, 2] == [attempt.attempt for attempt in trace.attempts]
    assert [first, second] == [attempt.intended for attempt in trace.attempts]
    assert ["uuid:trace-1-1", "uuid:trace-1-2"] == [attempt.clear["messageId"] for attempt in trace.attempts]
    assert ["01", "00"] == [attempt.outcome["code"] for attempt in trace.attempts if attempt.outcome]
    assert sha256(REPLY) == trace.attempts[0].outcome["responseSha256"]
    assert ("ref-1", "2025-03-04T05:06:07.089Z") == (trace.client_ref, trace.at)
    assert b'{"traits":{"birthName":"TESTEUSE"}}' == trace.params
    assert b'{"outcome":"found"}' == trace.result
    own.close()


def test_the_exact_reply_is_kept_for_a_00_and_for_nothing_else(tmp_path):
    """S077: the return and the image of the return."""
    own = journal(tmp_path)
    own.conclude(own.intend(intent("trace-1")), found())
    own.conclude(own.intend(intent("trace-2")), not_found())

    assert REPLY == own.image("trace-1", ORIGIN)
    assert own.image("trace-2", ORIGIN) is None
    own.close()


def test_the_digest_of_an_answer_is_told_with_the_key_alone_and_leaves_with_its_part(tmp_path):
    """An answer about a person can be guessed and tried: in clear, its digest would name them."""
    own = journal(tmp_path)
    for conclusion in (found(), not_found(), Conclusion(NOW, "insi.timeout", "", 5)):
        own.conclude(own.intend(intent(conclusion.code)), conclusion)
    own.close()

    own = journal(tmp_path)
    codes = ("00", "01", "insi.timeout")
    told = [own.trace(code, ORIGIN, HERE).attempts[0].outcome["responseSha256"] for code in codes]
    assert [sha256(REPLY), sha256(REPLY), None] == told
    own.close()
    assert not [file for file in tmp_path.iterdir() if sha256(REPLY).encode() in file.read_bytes()]
    tampered(tmp_path, "UPDATE entry SET personal = NULL, erased_at = '2035-01-01T00:00:00.000Z'")
    own = journal(tmp_path)
    assert own.trace("01", ORIGIN, HERE).attempts[0].outcome["responseSha256"] is None
    own.close()


def test_another_origin_s_trace_is_answered_as_an_unknown_one(tmp_path):
    own = journal(tmp_path)
    whole(own, "trace-1")

    assert own.trace("trace-1", "https://autre.example", HERE) is None
    assert own.image("trace-1", "https://autre.example") is None
    assert own.trace("nothing", ORIGIN, HERE) is None
    assert TracePage([], None) == own.traces("https://autre.example", HERE)
    own.close()


def test_a_trace_of_another_environment_is_answered_as_an_unknown_one(tmp_path):
    """Test and production share this journal. It is so before any part is opened: one may be unreadable."""
    own = journal(tmp_path)
    own.intend(replace(intent("trace-1"), environment=Environment.TEST))
    own.close()

    own = journal(tmp_path, keys=None)
    assert own.trace("trace-1", ORIGIN, Environment.PRODUCTION) is None
    with pytest.raises(AgentError) as unreadable:
        own.trace("trace-1", ORIGIN, Environment.TEST)
    assert unreadable.value.code is Code.KEYRING_ABSENT
    own.close()


def test_traces_are_listed_newest_first_and_paged(tmp_path):
    own = journal(tmp_path)
    for number in range(5):
        whole(own, f"trace-{number}")

    page = own.traces(ORIGIN, HERE, limit=2)
    rest = own.traces(ORIGIN, HERE, cursor=page.next_cursor)

    assert ["trace-4", "trace-3"] == ids(page)
    assert ["trace-2", "trace-1", "trace-0"] == ids(rest)
    assert rest.next_cursor is None
    own.close()


def test_a_client_ref_finds_the_origin_s_own_operation_of_the_last_minutes(tmp_path):
    own = journal(tmp_path)
    own.intend(intent("trace-1", client_ref="ref-1"))
    own.intend(intent("trace-2", client_ref="ref-1", origin="https://autre.example"))

    hit = own.by_client_ref(ORIGIN, "ref-1", NOW - timedelta(minutes=10), Environment.SIMULATED)

    assert hit is not None and hit.trace_id == "trace-1"
    assert own.by_client_ref(ORIGIN, "ref-1", NOW + timedelta(milliseconds=1), Environment.SIMULATED) is None
    assert own.by_client_ref(ORIGIN, "ref-2", NOW - timedelta(minutes=10), Environment.SIMULATED) is None
    own.close()


def test_a_client_ref_of_another_environment_is_unknown_here(tmp_path):
    """Test and production share this journal: a page must never get an answer of the one in the other."""
    own = journal(tmp_path)
    own.intend(intent("here", client_ref="ref-1"))
    own.intend(replace(intent("there", client_ref="ref-1"), environment=Environment.TEST))

    hits = [own.by_client_ref(ORIGIN, "ref-1", NOW, environment) for environment in Environment]

    assert ["here", "there", None] == [hit and hit.trace_id for hit in hits]
    own.close()


def test_a_switch_is_noted_in_the_chain_and_who_made_it_is_sealed(tmp_path):
    test, simulated = (Step(one, Profile.CONSUMER) for one in (Environment.TEST, Environment.SIMULATED))
    wanted = Switch(NOW, test, simulated, account="compte-3")
    failed = Switch(NOW, simulated, test, why="ports.busy", account="compte-3")
    own = journal(tmp_path)
    whole(own, "trace-1")
    assert own.entered() is None
    own.switched(wanted)
    own.switched(failed)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    own.close()

    own = journal(tmp_path)
    assert [wanted, failed] == own.switches()
    assert test == own.entered()
    assert Verdict(5) == own.verify()
    assert ["trace-1"] == ids(own.traces(ORIGIN, HERE))
    assert b"compte-3" not in files
    own.close()


def test_a_client_ref_is_in_no_file_without_the_key_and_found_by_a_renewed_one(tmp_path):
    """A page may call its operations by a name, or by the number of a record."""
    own = journal(tmp_path)
    own.intend(intent("trace-1", client_ref="TESTEUSE-1984"))
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    own.close()
    assert "journal.sqlite-wal" in files
    assert not [name for name, content in files.items() if b"TESTEUSE-1984" in content]

    own = journal(tmp_path, keys=Keys([NEW_KEY, OLD_KEY]))
    hit = own.by_client_ref(ORIGIN, "TESTEUSE-1984", NOW, Environment.SIMULATED)
    assert ("trace-1", "TESTEUSE-1984") == (hit.trace_id, hit.client_ref)
    own.close()
    own = journal(tmp_path, keys=None)
    with pytest.raises(AgentError) as refused:
        own.by_client_ref(ORIGIN, "TESTEUSE-1984", NOW, Environment.SIMULATED)
    assert Code.KEYRING_ABSENT == refused.value.code
    with pytest.raises(AgentError) as refused:
        own.traces(ORIGIN, HERE, client_ref="TESTEUSE-1984")
    assert Code.KEYRING_ABSENT == refused.value.code
    assert [("trace-1", None)] == [(one.trace_id, one.client_ref) for one in own.traces(ORIGIN, HERE).traces]
    own.close()


def test_a_result_can_tell_its_own_place_and_commits_to_all_before_it(tmp_path):
    own = journal(tmp_path)
    outcome = own.conclude(own.intend(intent()), found())

    link = own.finish("trace-1", NOW, lambda seq, previous: json.dumps([seq, previous]).encode())

    assert [link.seq, outcome.link] == json.loads(own.trace("trace-1", ORIGIN, HERE).result)
    own.close()


def test_an_attempt_is_concluded_once(tmp_path):
    own = journal(tmp_path)
    intended = own.intend(intent())
    own.conclude(intended, found())

    with pytest.raises(ValueError, match="once"):
        own.conclude(intended, not_found())

    assert Verdict(2) == own.verify()
    own.close()


def test_an_attempt_cut_short_is_known_after_the_next_start_and_can_be_concluded(tmp_path):
    own = journal(tmp_path)
    intended = own.intend(intent())
    own.close()

    own = journal(tmp_path)
    (cut,) = own.unfinished()
    assert (intended, "trace-1", 1, ORIGIN) == (cut.intended, cut.trace_id, cut.attempt, cut.origin)
    own.conclude(cut.intended, not_found())

    assert [] == own.unfinished()
    assert Verdict(2) == own.verify()
    own.close()


def test_what_was_written_is_read_by_the_next_agent_and_continued(tmp_path):
    six_entries(tmp_path)
    own = journal(tmp_path)
    whole(own, "trace-3")

    assert Verdict(9) == own.verify()
    assert own.trace("trace-1", ORIGIN, HERE).result == b'{"outcome":"found"}'
    own.close()


def entries_of(folder: Path) -> list[Entry]:
    database = sqlite3.connect(folder / "journal.sqlite")
    entries = [Entry(*row) for row in database.execute("SELECT * FROM entry ORDER BY seq")]
    database.close()
    return entries


def store(folder: Path, entry: Entry) -> None:
    """Put the entry in the place of the one of its number, as it is."""
    database = sqlite3.connect(folder / "journal.sqlite")
    database.execute("DELETE FROM entry WHERE seq = ?", (entry.seq,))
    database.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", tuple(vars(entry).values()))
    database.commit()
    database.close()


def test_names_and_numbers_are_in_no_file_without_the_key(tmp_path):
    own = journal(tmp_path)
    whole(own, "trace-1")
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}  # the write-ahead log too
    own.close()
    files["closed"] = (tmp_path / "journal.sqlite").read_bytes()
    sealed = [entry for entry in entries_of(tmp_path) if entry.personal]
    opened = b"".join(KEYS.open(entry.personal, entry.personal_key, tie_of(entry)) for entry in sealed)

    assert 3 == len(sealed) and {("aes-256-gcm", KEYS.id)} == {(e.personal_scheme, e.personal_key) for e in sealed}
    for told in (b"TESTEUSE", b"899700000001", b"1invente", b"accueil-3", b"poste", REPLY):
        assert told in opened
        assert not [name for name, content in files.items() if told in content]


def test_what_was_stored_before_there_was_a_key_stays_readable(tmp_path):
    """Scheme "none": sixteen bytes of salt, then the part."""
    six_entries(tmp_path)
    previous = None
    for entry in entries_of(tmp_path):
        clear = entry.personal and bytes(16) + KEYS.open(entry.personal, KEYS.id, tie_of(entry))
        old = replace(entry, personal=clear, personal_scheme=clear and "none", personal_key=None)
        old = replace(old, personal_sha256=clear and sha256(clear), previous=previous or entry.previous)
        previous = link_of(old)
        signed = KEY.sign_bytes(signed_bytes(old.seq, previous, old.at))
        store(tmp_path, replace(old, link=previous, signature=signed))
    for slot in (0, 1):
        (tmp_path / f"head-{slot}.json").unlink()

    own = journal(tmp_path)
    assert b'{"outcome":"found"}' == own.trace("trace-2", ORIGIN, HERE).result
    assert REPLY == own.image("trace-1", ORIGIN)
    whole(own, "trace-3")
    assert REPLY == own.image("trace-3", ORIGIN)
    own.close()


def test_an_outcome_of_before_whose_digest_is_in_clear_stays_readable(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent()), replace(not_found(), reply=None))
    own.close()
    outcome = entries_of(tmp_path)[1]
    clear = canonical(json.loads(outcome.clear) | {"responseSha256": "ab" * 32})
    old = replace(outcome, client_ref="ref-1", clear=clear, clear_sha256=sha256(clear))
    link = link_of(old)
    store(tmp_path, replace(old, link=link, signature=KEY.sign_bytes(signed_bytes(old.seq, link, old.at))))

    own = journal(tmp_path)
    trace = own.trace("trace-1", ORIGIN, HERE)
    assert ("ab" * 32, None) == (trace.attempts[0].outcome["responseSha256"], trace.client_ref)
    assert own.by_client_ref(ORIGIN, "ref-1", NOW, Environment.SIMULATED) is None
    own.close()


def test_without_the_key_nothing_is_intended_and_what_is_clear_is_still_read(tmp_path):
    six_entries(tmp_path)
    own = journal(tmp_path, keys=None)

    for call in (
        own.check_key,
        lambda: own.intend(intent("trace-3")),
        lambda: own.trace("trace-1", ORIGIN, HERE),
        lambda: own.image("trace-1", ORIGIN),
    ):
        with pytest.raises(AgentError) as refused:
            call()
        assert Code.KEYRING_ABSENT == refused.value.code
    listed = own.traces(ORIGIN, HERE).traces
    assert [("trace-2", "00", True), ("trace-1", "00", True)] == [(t.trace_id, t.code, t.answered) for t in listed]
    assert Verdict(6) == own.verify()
    assert [] == own.unfinished()
    own.close()


def test_a_renewed_key_seals_what_comes_and_the_old_one_opens_what_was(tmp_path):
    six_entries(tmp_path)
    own = journal(tmp_path, keys=Keys([NEW_KEY, OLD_KEY]))
    whole(own, "trace-3")

    results = [own.trace(trace_id, ORIGIN, HERE).result for trace_id in ("trace-1", "trace-3")]
    assert [b'{"outcome":"found"}'] * 2 == results
    assert Verdict(9) == own.verify()
    own.close()
    own = journal(tmp_path)  # the new key is lost
    assert b'{"outcome":"found"}' == own.trace("trace-1", ORIGIN, HERE).result
    with pytest.raises(AgentError) as refused:
        own.trace("trace-3", ORIGIN, HERE)
    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 7}) == (refused.value.code, refused.value.facts)
    own.close()


@pytest.mark.parametrize(
    "change",
    [
        # damaged, cut, relabelled (sealed bytes that would be read as clear ones)
        "UPDATE entry SET personal = personal || x'00' WHERE seq = 6",
        "UPDATE entry SET personal = substr(personal, 1, 20) WHERE seq = 6",
        "UPDATE entry SET personal_scheme = 'none' WHERE seq = 6",
        "UPDATE entry SET personal_scheme = 'other' WHERE seq = 6",
        # written by somebody without our keys, and well sealed for another trace
        "UPDATE entry SET personal = zeroblob(16) || x'7b7d', personal_scheme = 'none' WHERE seq = 6",
        "UPDATE entry SET personal = (SELECT personal FROM entry WHERE seq = 3) WHERE seq = 6",
    ],
)
def test_a_part_that_is_not_as_it_was_written_is_said_with_its_entry_and_hides_no_other(tmp_path, change):
    six_entries(tmp_path)
    tampered(tmp_path, change)
    own = journal(tmp_path)

    with pytest.raises(AgentError) as refused:
        own.trace("trace-2", ORIGIN, HERE)

    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 6}) == (refused.value.code, refused.value.facts)
    assert b'{"outcome":"found"}' == own.trace("trace-1", ORIGIN, HERE).result
    assert ["trace-2", "trace-1"] == ids(own.traces(ORIGIN, HERE))
    assert REPLY == own.image("trace-2", ORIGIN)
    own.close()


@pytest.mark.parametrize(
    "change", ["UPDATE entry SET personal_key = NULL", "UPDATE entry SET personal_key = '0000000000000000'"]
)
def test_which_key_an_entry_names_changes_nothing(tmp_path, change):
    six_entries(tmp_path)
    tampered(tmp_path, change)
    own = journal(tmp_path, keys=Keys([NEW_KEY, OLD_KEY]))

    assert b'{"outcome":"found"}' == own.trace("trace-2", ORIGIN, HERE).result
    assert Verdict(6) == own.verify()
    own.close()


@pytest.mark.parametrize(
    "change",
    ["UPDATE entry SET signature = x'' WHERE seq = 3", "UPDATE entry SET personal_scheme = 'none' WHERE seq = 3"],
)
def test_what_verify_calls_whole_is_what_is_given_back(tmp_path, change):
    six_entries(tmp_path)
    tampered(tmp_path, change)
    own = journal(tmp_path)

    with pytest.raises(AgentError):
        own.trace("trace-1", ORIGIN, HERE)

    assert 3 == own.verify().fault.seq
    own.close()


def noting(tmp_path, noted=None):
    own = {"sign": KEY.sign_bytes, "verify": KEY.verify_bytes, "keys": lambda: KEYS, "max_reply_bytes": MAX_REPLY}
    return Journal(tmp_path / "journal", noted=noted or tmp_path / "noted", **own)


def test_a_journal_that_is_begun_anew_goes_on_after_what_is_remembered_elsewhere(tmp_path, caplog):
    own = noting(tmp_path)
    whole(own, "trace-1")
    own.close()
    shutil.rmtree(tmp_path / "journal")

    own = noting(tmp_path)
    assert Verdict(0, Fault(FaultKind.SHORTENED, 1)) == own.verify()
    assert 4 == own.intend(intent("trace-2")).seq
    assert Fault(FaultKind.MISSING, 1) == own.verify().fault
    own.close()
    (tmp_path / "noted").unlink()

    assert Fault(FaultKind.MISSING, 1) == noting(tmp_path).verify().fault  # for ever
    assert "entries 1 to 3 are gone" in caplog.text


def test_where_a_journals_disk_has_left_none_is_begun_anew_in_its_mount_point(tmp_path):
    """Neither in mid-run nor at a start; once it is there, or who knows it lost has said so, calls go on."""
    note = tmp_path / "data" / "agent" / "journal-head.json"
    note.parent.mkdir(parents=True)
    own = noting(tmp_path, note)
    whole(own, "trace-1")
    own.close()
    (tmp_path / "journal").rename(tmp_path / "disk")
    (tmp_path / "journal").mkdir()

    for _ in range(2):
        with pytest.raises(AgentError) as refused:
            noting(tmp_path, note).intend(intent("trace-2"))
        assert (Code.JOURNAL_UNAVAILABLE, GONE) == (refused.value.code, refused.value.detail)
    assert not list((tmp_path / "journal").iterdir())
    (tmp_path / "journal").rmdir()
    (tmp_path / "disk").rename(tmp_path / "journal")
    own = noting(tmp_path, note)
    assert 4 == own.intend(intent("trace-2")).seq
    assert Verdict(4) == own.verify()
    own.close()

    shutil.rmtree(tmp_path / "journal")
    (tmp_path / "journal").mkdir()
    note.unlink()
    assert 1 == noting(tmp_path, note).intend(intent("trace-3")).seq


def test_a_note_of_another_key_keeps_no_journal_from_being_begun(tmp_path):
    note = tmp_path / "data" / "agent" / "journal-head.json"
    note.parent.mkdir(parents=True)
    (tmp_path / "journal").mkdir()
    note_head(note, tmp_path / "journal", Head(3, "a" * 64, "2025-03-04T05:06:07.000Z", b"s" * 64))

    assert 1 == noting(tmp_path, note).intend(intent("trace-1")).seq


def test_what_is_remembered_is_older_after_a_power_cut_and_no_fault(tmp_path):
    own = noting(tmp_path)
    whole(own, "trace-1")
    before = (tmp_path / "noted").read_bytes()
    whole(own, "trace-2")
    own.close()
    (tmp_path / "noted").write_bytes(before)

    own = noting(tmp_path)

    assert Verdict(6) == own.verify()
    assert 7 == own.intend(intent("trace-3")).seq
    own.close()


def test_what_is_remembered_of_another_entry_of_this_number_is_a_fault(tmp_path):
    """Put back while nothing could be remembered, then gone on with: both are of our key."""
    own = noting(tmp_path)
    whole(own, "trace-1")
    own.close()
    shutil.rmtree(tmp_path / "journal")
    own = noting(tmp_path, noted=tmp_path / "elsewhere")
    whole(own, "trace-2")
    whole(own, "trace-3")
    own.close()

    assert Verdict(6, Fault(FaultKind.CHANGED, 3)) == noting(tmp_path).verify()


@pytest.mark.parametrize("noted", ["/dev/full", "/", "/nowhere/at/all", "/dev/null/file"])
def test_a_head_that_cannot_be_remembered_costs_no_call(tmp_path, noted):
    own = noting(tmp_path, noted=Path(noted))

    whole(own, "trace-1")

    assert Verdict(3) == own.verify()
    own.close()
    assert Verdict(3) == noting(tmp_path, noted=Path(noted)).verify()


@given(content=st.binary(max_size=700))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_whatever_is_remembered_the_journal_opens_and_judges(tmp_path, content):
    if not (tmp_path / "journal").exists():
        six_entries(tmp_path / "journal")
    (tmp_path / "noted").write_bytes(content)

    own = noting(tmp_path)

    assert Verdict(6) == own.verify()
    own.close()


def test_a_part_sealed_for_another_entry_does_not_open_even_with_our_own_signature(tmp_path):
    six_entries(tmp_path)
    third, sixth = entries_of(tmp_path)[2::3]
    moved = replace(sixth, personal=third.personal, personal_sha256=third.personal_sha256)
    link = link_of(moved)
    store(tmp_path, replace(moved, link=link, signature=KEY.sign_bytes(signed_bytes(6, link, moved.at))))
    own = journal(tmp_path)

    with pytest.raises(AgentError) as refused:
        own.trace("trace-2", ORIGIN, HERE)

    assert "entry 6: damaged" == refused.value.detail
    own.close()


def test_erasing_a_personal_part_leaves_nothing_to_guess_it_from(tmp_path):
    """A digest of a name alone could be found by trying all names: the nonce leaves with the part."""
    own = journal(tmp_path)
    whole(own, "trace-1", b"the same")
    whole(own, "trace-2", b"the same")
    own.close()

    database = sqlite3.connect(tmp_path / "journal.sqlite")
    kept = [row[0] for row in database.execute("SELECT personal_sha256 FROM entry WHERE kind = 'result'")]
    database.close()

    own = journal(tmp_path)
    own.retain(Rule(personal_days=1, entry_days=None), NOW + timedelta(days=2))
    assert 2 == len(set(kept)) and sha256(b"the same") not in kept
    assert Verdict(7) == own.verify()
    assert (None, None) == (own.trace("trace-1", ORIGIN, HERE).result, own.image("trace-1", ORIGIN))
    assert "00" == own.trace("trace-1", ORIGIN, HERE).attempts[0].outcome["code"]
    own.close()


def test_any_bytes_of_a_request_come_through(tmp_path):
    own = journal(tmp_path)
    own.intend(intent(request=bytes(range(256))))

    assert Verdict(1) == own.verify()
    own.close()


def test_folder_and_files_are_this_user_s_alone(tmp_path):
    folder = tmp_path / "new" / "journal"
    own = journal(folder)
    whole(own, "trace-1")

    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {"journal.sqlite", "journal.sqlite-wal", "head-0.json", "head-1.json"} == {
        file.name for file in folder.iterdir()
    }
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    own.close()


def test_a_second_agent_on_the_same_journal_is_refused(tmp_path):
    own = journal(tmp_path)
    own.intend(intent())

    with pytest.raises(AgentError) as refused:
        journal(tmp_path).intend(intent("trace-2"))

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code
    own.close()
    assert Verdict(1) == judged(tmp_path)


def test_a_folder_that_cannot_be_is_said_and_nothing_is_intended(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(AgentError) as refused:
        journal(tmp_path / "file").intend(intent())

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code


def test_a_file_that_is_no_journal_is_said(tmp_path):
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)

    with pytest.raises(AgentError) as refused:
        journal(tmp_path).verify()

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code


def test_a_journal_of_a_newer_agent_is_left_alone(tmp_path):
    six_entries(tmp_path)
    tampered(tmp_path, "PRAGMA user_version = 99")

    with pytest.raises(AgentError) as refused:
        journal(tmp_path).intend(intent())

    assert "newer" in refused.value.detail


# ---------------------------------------------------------------- tampering


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (["UPDATE entry SET origin = 'https://autre.example' WHERE seq = 2"], Fault(FaultKind.CHANGED, 2)),
        (["UPDATE entry SET at = '2024-01-01T00:00:00.000Z' WHERE seq = 6"], Fault(FaultKind.CHANGED, 6)),
        (["UPDATE entry SET clear = x'7b7d' WHERE seq = 4"], Fault(FaultKind.PART_CHANGED, 4)),
        (["UPDATE entry SET clear = x'ff' || clear WHERE seq = 4"], Fault(FaultKind.PART_CHANGED, 4)),
        (["UPDATE entry SET personal = substr(personal, 1, 20) WHERE seq = 5"], Fault(FaultKind.PART_CHANGED, 5)),
        (["UPDATE entry SET personal = NULL WHERE seq = 3"], Fault(FaultKind.PART_CHANGED, 3)),
        (["DELETE FROM entry WHERE seq = 3"], Fault(FaultKind.MISSING, 3)),
        (["DELETE FROM entry WHERE seq = 1"], Fault(FaultKind.MISSING, 1)),
        (["DELETE FROM entry WHERE seq > 4"], Fault(FaultKind.SHORTENED, 5)),
        (["DELETE FROM entry"], Fault(FaultKind.SHORTENED, 1)),
        (
            [
                "UPDATE entry SET seq = 99 WHERE seq = 2",
                "UPDATE entry SET seq = 2 WHERE seq = 5",
                "UPDATE entry SET seq = 5 WHERE seq = 99",
            ],
            Fault(FaultKind.REORDERED, 2),
        ),
    ],
)  # fmt: skip
def test_tampering_is_found_and_located(tmp_path, statements, fault):
    six_entries(tmp_path)
    tampered(tmp_path, *statements)

    assert fault == judged(tmp_path).fault


def test_a_tail_that_was_cut_stays_visible_however_long_the_journal_goes_on(tmp_path):
    six_entries(tmp_path)
    tampered(tmp_path, "DELETE FROM entry WHERE seq > 4")

    own = journal(tmp_path)
    whole(own, "trace-3")

    assert Verdict(4, Fault(FaultKind.MISSING, 5)) == own.verify()
    own.close()


def test_heads_taken_away_are_noted_in_the_chain_and_in_the_log(tmp_path, caplog):
    six_entries(tmp_path)
    tampered(tmp_path, "DELETE FROM entry WHERE seq > 4")
    for slot in (0, 1):
        (tmp_path / f"head-{slot}.json").unlink()

    with caplog.at_level(logging.ERROR):
        verdict = judged(tmp_path)

    assert Verdict(5, Fault(FaultKind.HEAD_LOST, 5)) == verdict
    assert "no valid head" in caplog.text


def test_another_key_does_not_pass_for_ours(tmp_path):
    six_entries(tmp_path)
    other = journal(tmp_path, key=Identity.create())

    assert Fault(FaultKind.FORGED, 1) == other.verify().fault
    other.close()


def test_entries_recomputed_without_the_key_are_located_even_with_the_heads_gone(tmp_path):
    six_entries(tmp_path)
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    entries = [Entry(*row) for row in database.execute("SELECT * FROM entry ORDER BY seq")]
    previous = entries[2].link
    for entry in entries[3:]:
        moved = replace(entry, at="2020-01-01T00:00:00.000Z", previous=previous)
        previous = link_of(moved)
        change = (moved.at, moved.previous, previous, moved.seq)
        database.execute("UPDATE entry SET at = ?, previous = ?, link = ? WHERE seq = ?", change)
    database.commit()
    database.close()

    for slot in (0, 1):
        (tmp_path / f"head-{slot}.json").unlink()

    assert Fault(FaultKind.FORGED, 4) == judged(tmp_path).fault


def test_a_head_half_written_leaves_the_one_before(tmp_path):
    six_entries(tmp_path)
    newest = tmp_path / "head-0.json"  # of entry 6
    newest.write_bytes(newest.read_bytes()[:40])

    assert Verdict(6) == judged(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.one_of(st.binary(max_size=200), st.sampled_from([b"[" * 5000, b'{"seq": Infinity}', b'{"seq": 1e999}'])))
def test_whatever_the_head_files_hold_the_journal_opens_and_judges(tmp_path, content):
    folder = tmp_path / "journal"
    six_entries(folder)
    for slot in (0, 1):
        (folder / f"head-{slot}.json").write_bytes(content)

    assert FaultKind.HEAD_LOST == judged(folder).fault.kind
    for file in folder.iterdir():
        file.unlink()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(place=st.floats(0, 0.999), change=st.integers(1, 255))
def test_a_byte_changed_anywhere_in_the_file_gives_a_verdict_or_a_code(tmp_path, place, change):
    file = tmp_path / "journal.sqlite"
    if not (tmp_path / "whole").exists():
        six_entries(tmp_path)
        file.rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    content[int(place * len(content))] ^= change
    file.write_bytes(content)

    own = journal(tmp_path)
    codes = []
    for call in (own.verify, lambda: own.trace("trace-1", ORIGIN, HERE), lambda: own.image("trace-2", ORIGIN)):
        try:
            call()
        except AgentError as error:
            codes.append(error.code)
    own.close()

    assert set(codes) <= {Code.JOURNAL_UNAVAILABLE}


def test_a_page_that_cannot_be_read_is_located(tmp_path):
    own = journal(tmp_path)
    for number in range(30):
        whole(own, f"trace-{number}")
    own.close()
    file = tmp_path / "journal.sqlite"
    content = bytearray(file.read_bytes())
    place = content.rindex(b"WS_INS2")  # a leaf of the entries
    page = place - place % 4096
    content[page : page + 4096] = b"\xff" * 4096
    file.write_bytes(content)

    verdict = judged(tmp_path)

    assert FaultKind.UNREADABLE == verdict.fault.kind
    assert verdict.entries + 1 == verdict.fault.seq


# ---------------------------------------------------------------- where it may be


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/a/.local/share", None),
        ("/home/net/b", "nfs4"),
        ("/home/net/local/b", None),
        ("/mnt/with space/x", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/sshother", None),
        ("/over", "nfs"),
    ],
)
def test_a_network_folder_is_known_by_its_mount(folder, kind):
    """proc(5): device, mount point with octal escapes, type, options; a later mount covers an earlier one."""
    mounts = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home/net nfs4 rw 0 0
/dev/sdb1 /home/net/local xfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
me@host: /mnt/ssh fuse.sshfs rw 0 0
/dev/sdc1 /over ext4 rw 0 0
server:/over /over nfs rw 0 0
garbage
"""
    assert kind == mounted_network(Path(folder), mounts)


def test_a_folder_in_memory_is_known_by_its_mount_and_a_disk_in_it_is_none():
    mounts = """\
overlay / overlay rw 0 0
tmpfs /run/user/1000 tmpfs rw 0 0
ramfs /mnt/ram ramfs rw 0 0
/dev/loop0 /mnt/ram/disk ext4 rw 0 0
"""
    folders = ("/home/a", "/run/user/1000/journal", "/mnt/ram", "/mnt/ram/disk/journal")

    kinds = [mounted_in_memory(Path(folder), mounts) for folder in folders]

    assert [None, "en mémoire (tmpfs)", "en mémoire (ramfs)", None] == kinds


def test_this_machine_says_what_is_in_memory(tmp_path):
    assert "en mémoire (tmpfs)" == passing_kind(Path("/dev/shm/insi-agent/journal"))  # noqa: S108  (not written)
    assert network_kind(tmp_path) is None


def test_a_kill_behind_the_very_first_entry_is_no_lost_head(tmp_path):
    """Found by `make crash`: the entry is on the disk, its head not yet."""
    own = journal(tmp_path)
    own.intend(intent())
    own.close()
    head_file(tmp_path, 1).unlink()

    own = journal(tmp_path)
    assert Verdict(1) == own.verify()
    assert 2 == own.intend(intent("next")).seq
    assert Verdict(2) == own.verify()
    own.close()


def test_the_head_before_the_first_entry_hides_no_tail_that_was_cut(tmp_path):
    own = journal(tmp_path)
    own.intend(intent())
    first = head_file(tmp_path, 0).read_bytes()
    for number in range(3):
        whole(own, f"trace-{number}")
    own.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("DELETE FROM entry WHERE seq > 2")
    database.close()
    head_file(tmp_path, 0).write_bytes(first)
    head_file(tmp_path, 1).unlink()

    with opened(tmp_path) as copy:
        assert Fault(FaultKind.HEAD_MISSING, 2) == copy.verify(KEY.verify_bytes).fault
    own = journal(tmp_path)
    assert Fault(FaultKind.HEAD_LOST, 3) == own.verify().fault
    own.close()
