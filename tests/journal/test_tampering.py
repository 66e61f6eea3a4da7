"""Whatever is done to a journal without its key is found by `journal verify`, which says what and where."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.errors import AgentError, Code
from agent.journal.chain import Entry, FaultKind, Head, canonical
from agent.journal.files import head_file, note_head, read_heads, write_head
from agent.journal.ports import CUT_SHORT, Conclusion, Step, Switch
from agent.journal.retention import Rule
from agent.journal_words import FAULTS
from agent.model import Environment, Profile
from agent.secrets import load_identity

from .installed import Installed, relinked
from .making import NOW, ORIGIN, REPLY, found, intent
from .version_1 import made_version_1, with_schema_of_version_1

PAGE = 4096


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three operations of three entries."""
    state = tmp_path_factory.mktemp("made") / "state"
    Installed(state).fill(3)
    return state


@pytest.fixture
def installed(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    shutil.copytree(made_once, tmp_path / "state")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Installed(tmp_path / "state")
    note_head(made.places.noted_head, made.journal, max(read_heads(made.journal), key=lambda head: head.seq))
    return made


def page_of(installed: Installed, entry: Entry) -> int:
    """The page of the file that holds this entry's row."""
    return installed.file.read_bytes().index((entry.previous + entry.link).encode()) // PAGE


def first_on(installed: Installed, page: int) -> int:
    """The first entry whose row is on this page."""
    return next(entry.seq for entry in installed.entries() if page_of(installed, entry) == page)


def corrupted_page(installed: Installed) -> int:
    installed.do("VACUUM")  # each row stands in the file once
    page = page_of(installed, installed.entries()[6])
    expected = first_on(installed, page)
    with installed.file.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xff" * PAGE)
    return expected


def truncated_file(installed: Installed) -> int:
    installed.do("VACUUM")
    pages = {page_of(installed, entry): entry.seq for entry in reversed(installed.entries())}
    cut = max(pages)
    with installed.file.open("r+b") as file:
        file.truncate(cut * PAGE)
    return pages[cut]


def no_database(installed: Installed) -> int:
    installed.file.write_bytes(b"anything else\n" * 1000)
    return 1


def rows_deleted_at_the_end(installed: Installed) -> int:
    installed.do("DELETE FROM entry WHERE seq > 6")
    return 7


def every_row_deleted(installed: Installed) -> int:
    installed.do("DELETE FROM entry")
    return 1


def file_deleted(installed: Installed) -> int:
    installed.file.unlink()
    return 1


def row_deleted_in_the_middle(installed: Installed) -> int:
    installed.do("DELETE FROM entry WHERE seq = 5")
    return 5


def first_rows_deleted(installed: Installed) -> int:
    installed.do("DELETE FROM entry WHERE seq <= 3")
    return 1


def rows_reordered(installed: Installed) -> int:
    """Two rows exchange their numbers."""
    for now, then in ((4, -1), (5, 4), (-1, 5)):
        installed.do("UPDATE entry SET seq = ? WHERE seq = ?", then, now)
    return 4


def rows_swapped_and_recomputed(installed: Installed) -> int:
    """What two rows say is exchanged; every digest and link behind them is made to hold."""

    def swapped(entries: list[Entry]) -> list[Entry]:
        one, other = entries[3], entries[6]
        entries[3] = replace(one, trace_id=other.trace_id, clear=other.clear, personal=other.personal)
        entries[6] = replace(other, trace_id=one.trace_id, clear=one.clear, personal=one.personal)
        return relinked(entries)

    installed.rewrite(swapped)
    return 4


def clear_part_changed(installed: Installed) -> int:
    installed.do("UPDATE entry SET clear = replace(CAST(clear AS TEXT), '\"00\"', '\"01\"') WHERE seq = 5")
    return 5


def personal_part_exchanged(installed: Installed) -> int:
    installed.do("UPDATE entry SET personal = (SELECT personal FROM entry WHERE seq = 2) WHERE seq = 5")
    return 5


def personal_part_taken_out(installed: Installed) -> int:
    installed.do("UPDATE entry SET personal = NULL WHERE seq = 5")
    return 5


def personal_part_erased_by_hand(installed: Installed) -> int:
    installed.do("UPDATE entry SET personal = NULL, erased_at = '2025-04-01T00:00:00.000Z' WHERE seq = 5")
    return 5


def moment_changed(installed: Installed) -> int:
    installed.do("UPDATE entry SET at = '2025-03-01T00:00:00.000Z' WHERE seq = 5")
    return 5


def heads_deleted(installed: Installed) -> int:
    for slot in (0, 1):
        head_file(installed.journal, slot).unlink()
    return 9


def heads_forged(installed: Installed) -> int:
    """After the last rows were deleted, heads that know no more than is left; nobody has signed them."""
    installed.places.noted_head.unlink()
    installed.do("DELETE FROM entry WHERE seq > 6")
    sixth = installed.entries()[5]
    for slot in (0, 1):
        head = json.loads(head_file(installed.journal, slot).read_bytes())
        head_file(installed.journal, slot).write_text(json.dumps({**head, "seq": 6, "link": sixth.link}))
    return 6


def heads_made_of_a_row(installed: Installed) -> int:
    """After the last rows were deleted, heads made of the last one left, which our key has signed."""
    installed.do("DELETE FROM entry WHERE seq > 6")
    sixth = installed.entries()[5]
    write_head(installed.journal, Head(6, sixth.link, sixth.at, sixth.signature))
    head_file(installed.journal, 1).write_bytes(head_file(installed.journal, 0).read_bytes())
    installed.places.noted_head.unlink()
    return 6


def heads_made_of_a_row_in_a_file_of_version_1(installed: Installed) -> int:
    """As before, and the file made one of the version in which heads had the words of entries."""
    expected = heads_made_of_a_row(installed)
    with_schema_of_version_1(installed.journal)
    return expected


def heads_beyond_all_numbers(installed: Installed) -> int:
    """Numbers that no file can hold."""
    for slot in (0, 1):
        head = json.loads(head_file(installed.journal, slot).read_bytes())
        head_file(installed.journal, slot).write_text(json.dumps({**head, "seq": 1 << 80}))
    return 9


def heads_of_another_journal(installed: Installed) -> int:
    other = other_installation(installed)
    for slot in (0, 1):
        shutil.copyfile(head_file(other.journal, slot), head_file(installed.journal, slot))
    return 9


def row_added(installed: Installed) -> int:
    def one_more(entries: list[Entry]) -> list[Entry]:
        return [*entries[:-1], *relinked([*entries, replace(entries[-1], seq=10, trace_id="trace-added")])[-2:]]

    installed.rewrite(one_more)
    return 10


def row_inserted(installed: Installed) -> int:
    def one_more(entries: list[Entry]) -> list[Entry]:
        behind = [replace(entry, seq=entry.seq + 1) for entry in entries[4:]]
        return relinked([*entries[:4], replace(entries[0], seq=5, trace_id="trace-added"), *behind])

    installed.rewrite(one_more)
    return 5


def history_rewritten_and_a_row_added(installed: Installed) -> int:
    """A code is another one, every digest and link behind it holds, and the last row is none that the heads know."""

    def rewritten(entries: list[Entry]) -> list[Entry]:
        entries[1] = replace(entries[1], clear=canonical({"code": "02", "label": "", "durationMs": 1}))
        return relinked([*entries, replace(entries[8], seq=10)])

    installed.rewrite(rewritten)
    return 2


def operation_cut_out_and_the_rest_renumbered(installed: Installed) -> int:
    def cut(entries: list[Entry]) -> list[Entry]:
        return relinked([*entries[:3], *(replace(entry, seq=entry.seq - 3) for entry in entries[6:])])

    installed.rewrite(cut)
    return 4


def member_of_another_kind(installed: Installed) -> int:
    """What a query compares is made bytes: it finds the entry no more, though it reads as before."""
    installed.do("UPDATE entry SET trace_id = CAST(trace_id AS BLOB) WHERE seq = 5")
    return 5


def number_as_a_text(installed: Installed) -> int:
    installed.do("UPDATE entry SET attempt = CAST(attempt AS BLOB) WHERE seq = 5")
    return 5


def trigger_that_keeps_what_is_erased(installed: Installed) -> int:
    installed.do("CREATE TABLE kept (personal BLOB)")
    installed.do("CREATE TRIGGER keep BEFORE UPDATE ON entry BEGIN INSERT INTO kept VALUES (old.personal); END")
    return 9


def trigger_that_prevents(installed: Installed) -> int:
    installed.do("CREATE TRIGGER prevent BEFORE DELETE ON entry BEGIN SELECT RAISE(IGNORE); END")
    return 9


def view_in_the_place_of_the_table(installed: Installed) -> int:
    installed.do("ALTER TABLE entry RENAME TO other")
    installed.do("CREATE VIEW entry AS SELECT * FROM other")
    return 9


def index_replaced_by_one_with_gaps(installed: Installed) -> int:
    installed.do("DROP INDEX entry_of_trace")
    installed.do("CREATE INDEX entry_of_trace ON entry (trace_id, seq) WHERE seq <> 5")
    return 9


def table_of_unfinished_attempts_without_its_key(installed: Installed) -> int:
    installed.do("DROP TABLE pending")
    installed.do("CREATE TABLE pending (seq)")
    installed.do("INSERT INTO pending VALUES (NULL)")
    return 9


def version_set_back(installed: Installed) -> int:
    installed.do("PRAGMA user_version = 0")
    return 9


def another_installations_journal(installed: Installed) -> int:
    other = other_installation(installed)
    shutil.rmtree(installed.journal)
    shutil.copytree(other.journal, installed.journal)
    return 1


def other_installation(installed: Installed) -> Installed:
    """Another workstation, with two operations."""
    other = Installed(installed.journal.parent / "elsewhere")
    other.fill(2)
    return other


def rows_and_heads_deleted_at_the_end(installed: Installed) -> int:
    heads_deleted(installed)
    return rows_deleted_at_the_end(installed)


def signatures_emptied(installed: Installed) -> int:
    """All but the last one."""
    installed.do("UPDATE entry SET signature = x'' WHERE seq < 9")
    return 1


def signature_of_another_entry(installed: Installed) -> int:
    installed.do("UPDATE entry SET signature = (SELECT signature FROM entry WHERE seq = 2) WHERE seq = 5")
    return 5


def scheme_changed(installed: Installed) -> int:
    """Said to be in clear, which it is not."""
    installed.do("UPDATE entry SET personal_scheme = 'none' WHERE seq = 5")
    return 5


def said_to_be_erased(installed: Installed) -> int:
    """Its personal part is still there."""
    installed.do("UPDATE entry SET erased_at = '2025-04-01T00:00:00.000Z' WHERE seq = 5")
    return 5


def index_that_leaves_out_outcomes(installed: Installed) -> int:
    """Its text in the schema says that it has all."""
    with installed.database() as database:
        (text,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'entry_of_trace'").fetchone()
        database.execute("DROP INDEX entry_of_trace")
        database.execute(f"{text} WHERE kind != 'outcome'")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'entry_of_trace'", (text,))
    return 2


def folder_deleted(installed: Installed) -> int:
    shutil.rmtree(installed.journal)
    return 1


def folder_deleted_and_begun_anew(installed: Installed) -> int:
    shutil.rmtree(installed.journal)
    installed.fill(1)
    return 1


def folder_put_back(installed: Installed) -> int:
    """As it was before the last operation, heads and all."""
    before = installed.journal.with_name("before")
    shutil.copytree(installed.journal, before)
    installed.fill(1)
    shutil.rmtree(installed.journal)
    before.rename(installed.journal)
    return 10


def folder_put_back_and_gone_on_with(installed: Installed) -> int:
    expected = folder_put_back(installed)
    installed.fill(2)
    return expected


def settled(installed: Installed) -> None:
    """What the agent does at its first call after a start."""
    with installed.agent() as own:
        for cut in own.unfinished():
            own.conclude(cut.intended, Conclusion(NOW, CUT_SHORT, "", 0))


def outcome_hidden_while_the_agent_goes_on_then_put_back(installed: Installed) -> int:
    """The agent signs another one, of a call that had its answer."""
    installed.do("UPDATE entry SET attempt = 9 WHERE seq = 2")
    installed.do("INSERT INTO pending VALUES (1)")
    settled(installed)
    installed.do("UPDATE entry SET attempt = 1 WHERE seq = 2")
    return 10


Tampering = Callable[[Installed], int]  # returns the entry at which it must be found
TAMPERINGS: list[tuple[Tampering, FaultKind]] = [
    (corrupted_page, FaultKind.UNREADABLE),
    (truncated_file, FaultKind.UNREADABLE),
    (no_database, FaultKind.UNREADABLE),
    (rows_deleted_at_the_end, FaultKind.SHORTENED),
    (every_row_deleted, FaultKind.SHORTENED),
    (file_deleted, FaultKind.SHORTENED),
    (row_deleted_in_the_middle, FaultKind.MISSING),
    (first_rows_deleted, FaultKind.MISSING),
    (rows_reordered, FaultKind.REORDERED),
    (rows_swapped_and_recomputed, FaultKind.FORGED),
    (clear_part_changed, FaultKind.PART_CHANGED),
    (personal_part_exchanged, FaultKind.PART_CHANGED),
    (personal_part_taken_out, FaultKind.PART_CHANGED),
    (personal_part_erased_by_hand, FaultKind.ERASED),
    (moment_changed, FaultKind.CHANGED),
    (heads_deleted, FaultKind.HEAD_MISSING),
    (heads_forged, FaultKind.HEAD_FORGED),
    (heads_made_of_a_row, FaultKind.HEAD_FORGED),
    (heads_made_of_a_row_in_a_file_of_version_1, FaultKind.HEAD_FORGED),
    (heads_beyond_all_numbers, FaultKind.HEAD_FORGED),
    (heads_of_another_journal, FaultKind.HEAD_FORGED),
    (row_added, FaultKind.FORGED),
    (row_inserted, FaultKind.FORGED),
    (another_installations_journal, FaultKind.FORGED),
    (rows_and_heads_deleted_at_the_end, FaultKind.SHORTENED),
    (signatures_emptied, FaultKind.FORGED),
    (signature_of_another_entry, FaultKind.FORGED),
    (scheme_changed, FaultKind.PART_CHANGED),
    (said_to_be_erased, FaultKind.PART_CHANGED),
    (index_that_leaves_out_outcomes, FaultKind.INDEX),
    (folder_deleted, FaultKind.SHORTENED),
    (folder_deleted_and_begun_anew, FaultKind.MISSING),
    (folder_put_back, FaultKind.SHORTENED),
    (folder_put_back_and_gone_on_with, FaultKind.MISSING),
    (history_rewritten_and_a_row_added, FaultKind.FORGED),
    (operation_cut_out_and_the_rest_renumbered, FaultKind.FORGED),
    (member_of_another_kind, FaultKind.CHANGED),
    (number_as_a_text, FaultKind.CHANGED),
    (trigger_that_keeps_what_is_erased, FaultKind.SCHEMA),
    (trigger_that_prevents, FaultKind.SCHEMA),
    (view_in_the_place_of_the_table, FaultKind.SCHEMA),
    (index_replaced_by_one_with_gaps, FaultKind.SCHEMA),
    (table_of_unfinished_attempts_without_its_key, FaultKind.SCHEMA),
    (version_set_back, FaultKind.SCHEMA),
    (outcome_hidden_while_the_agent_goes_on_then_put_back, FaultKind.TWICE),
]
# What the agent does not go on with; and where it did, at which entry it noted that it found no head of ours.
REFUSED: set[Tampering] = {corrupted_page, truncated_file, no_database}
REFUSED |= {tampering for tampering, kind in TAMPERINGS if kind is FaultKind.SCHEMA}
LOST_AT: dict[Tampering, int] = {
    heads_deleted: 10,
    heads_forged: 7,
    heads_made_of_a_row: 7,
    heads_made_of_a_row_in_a_file_of_version_1: 7,
    heads_beyond_all_numbers: 10,
    heads_of_another_journal: 10,
}


def test_a_whole_journal_is_0(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["journal", "verify", "--simulated"])

    assert "Journal entier : 9 écritures" in capsys.readouterr().out


@pytest.mark.parametrize(("tampering", "kind"), TAMPERINGS, ids=lambda it: getattr(it, "__name__", ""))
def test_each_tampering_is_3_with_its_kind_and_its_entry(
    installed: Installed, capsys: pytest.CaptureFixture[str], tampering: Tampering, kind: FaultKind
) -> None:
    expected = tampering(installed)

    assert 3 == main(["journal", "verify", "--simulated", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (kind, expected, False) == (found["fault"]["kind"], found["fault"]["entry"], found["whole"])
    assert 3 == main(["journal", "verify", "--simulated"])
    said = capsys.readouterr().out
    assert f"Journal ROMPU à l'écriture {expected}" in said
    assert FAULTS[kind] in said
    assert str(installed.journal) in said
    assert main(["journal", "list", "--simulated"]) in {0, 1}


@pytest.mark.parametrize(("tampering", "kind"), TAMPERINGS, ids=lambda it: getattr(it, "__name__", ""))
def test_each_tampering_is_found_after_the_agent_went_on_or_it_does_not(
    installed: Installed, capsys: pytest.CaptureFixture[str], tampering: Tampering, kind: FaultKind
) -> None:
    """What it signs behind a forgery covers nothing up."""
    expected = tampering(installed)
    refused: list[Code] = []

    try:
        installed.fill(1)
    except AgentError as error:
        refused.append(error.code)

    assert ([Code.JOURNAL_UNAVAILABLE] if tampering in REFUSED else []) == refused
    assert 3 == main(["journal", "verify", "--simulated", "--json"])
    fault = json.loads(capsys.readouterr().out)["fault"]
    if tampering in LOST_AT:
        kind, expected = FaultKind.HEAD_LOST, LOST_AT[tampering]
    elif kind is FaultKind.SHORTENED:  # what was cut off is a gap by now
        kind = FaultKind.MISSING
    assert (kind, expected) == (fault["kind"], fault["entry"])


def outcome_taken_out(installed: Installed) -> None:
    installed.do("DELETE FROM entry WHERE seq = 2")
    installed.do("INSERT INTO pending VALUES (1)")


def outcome_left_out_of_an_index(installed: Installed) -> None:
    index_that_leaves_out_outcomes(installed)
    installed.do("INSERT INTO pending VALUES (1)")


def dates_set_back(installed: Installed) -> None:
    installed.do("UPDATE entry SET at = '2001' || substr(at, 5) WHERE seq <= 8")


@pytest.mark.parametrize("tampering", [outcome_taken_out, outcome_left_out_of_an_index, dates_set_back])
def test_what_is_put_back_after_the_agent_went_on_has_made_it_sign_nothing(
    installed: Installed, capsys: pytest.CaptureFixture[str], tampering: Callable[[Installed], None]
) -> None:
    before = installed.entries()
    tampering(installed)

    settled(installed)
    with installed.agent() as own:
        assert not own.retain(Rule(1095, 3650), NOW + timedelta(days=2))
    installed.rewrite(lambda _: before)
    installed.do("REINDEX")

    assert 0 == main(["journal", "verify", "--simulated"])
    assert "Journal entier : 9 écritures" in capsys.readouterr().out


def test_the_first_outcome_of_an_attempt_is_what_came_of_it(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome_hidden_while_the_agent_goes_on_then_put_back(installed)

    with installed.agent() as own:
        trace = own.trace("trace-1", ORIGIN, Environment.SIMULATED)
        listed = own.traces(ORIGIN, Environment.SIMULATED).traces
        assert REPLY == own.image("trace-1", ORIGIN)
    assert trace
    assert ["00"] == [attempt.outcome and attempt.outcome["code"] for attempt in trace.attempts]
    assert ["00"] * 3 == [one.code for one in listed]
    assert 0 == main(["journal", "show", "trace-1", "--simulated", "--json"])
    assert ["00"] == json.loads(capsys.readouterr().out)["codes"]


def test_a_switch_that_is_not_as_it_was_written_makes_the_agent_note_no_other(installed: Installed) -> None:
    with installed.agent() as own:
        own.switched(
            Switch(NOW, Step(Environment.TEST, Profile.CONSUMER), Step(Environment.PRODUCTION, Profile.CONSUMER))
        )
    installed.do("UPDATE entry SET clear = replace(CAST(clear AS TEXT), 'production', 'test') WHERE seq = 10")

    with installed.agent() as own:
        for asked in (own.entered, own.switches):
            with pytest.raises(AgentError) as refused:
                asked()
            assert (Code.JOURNAL_UNAVAILABLE, {"entry": 10}) == (refused.value.code, refused.value.facts)


def test_a_result_is_not_signed_for_a_call_that_is_not_as_it_was_written(installed: Installed) -> None:
    with installed.agent() as own:
        own.conclude(own.intend(intent("trace-4")), found())
    installed.do("UPDATE entry SET origin = 'https://autre.example' WHERE seq = 10")

    with installed.agent() as own, pytest.raises(AgentError) as refused:
        own.finish("trace-4", NOW, lambda _seq, _previous: b"{}")
    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 10}) == (refused.value.code, refused.value.facts)
    assert 11 == len(installed.entries())


def test_a_pipe_in_the_place_of_what_is_remembered_keeps_nobody_waiting(installed: Installed) -> None:
    installed.places.noted_head.unlink()
    os.mkfifo(installed.places.noted_head)

    installed.fill(1)

    assert 0 == main(["journal", "verify", "--simulated"])


def test_with_a_pipe_in_the_place_of_a_head_the_agent_does_not_go_on(installed: Installed) -> None:
    head_file(installed.journal, 0).unlink()
    os.mkfifo(head_file(installed.journal, 0))

    with installed.agent() as own, pytest.raises(AgentError) as refused:
        own.intend(intent("trace-4"))
    assert Code.JOURNAL_UNAVAILABLE == refused.value.code


def test_an_object_that_is_not_ours_is_named_where_the_agent_does_not_go_on(installed: Installed) -> None:
    trigger_that_prevents(installed)

    with pytest.raises(AgentError) as refused:
        installed.fill(1)

    assert (Code.JOURNAL_UNAVAILABLE, "not as we make it: trigger 'prevent'") == (
        refused.value.code,
        refused.value.detail,
    )


def test_a_last_entry_that_was_not_ours_is_told_where_it_was_found(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    row_added(installed)
    installed.fill(1)

    assert 0 == main(["journal", "show", "11", "--simulated"])

    assert "la dernière écriture n'était pas de ce poste" in capsys.readouterr().out


def test_a_journal_of_version_1_is_whole_before_and_after_it_is_migrated(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    """There, entries and heads had the same words; the heads of the former words count once."""
    made_version_1(installed.journal, load_identity(installed.secrets, installed.places.data).sign_bytes)
    former = [head_file(installed.journal, slot).read_bytes() for slot in (0, 1)]
    installed.places.noted_head.unlink()

    assert 0 == main(["journal", "verify", "--simulated"])
    installed.fill(1)
    assert 0 == main(["journal", "verify", "--simulated"])
    assert "12 écritures" in capsys.readouterr().out
    for slot in (0, 1):
        head_file(installed.journal, slot).write_bytes(former[slot])
    installed.do("DELETE FROM entry WHERE seq > 9")
    installed.places.noted_head.unlink()
    assert 3 == main(["journal", "verify", "--simulated"])
    assert "headForged" in capsys.readouterr().out


def test_a_lost_head_is_told_for_ever(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent went on without it, and noted where."""
    heads_deleted(installed)
    with installed.agent() as own:
        own.verify()

    assert 3 == main(["journal", "verify", "--simulated", "--json"])
    assert {"kind": "headLost", "entry": 10} == {
        name: value for name, value in json.loads(capsys.readouterr().out)["fault"].items() if name != "at"
    }


def test_every_fault_has_its_sentence() -> None:
    assert set(FaultKind) == set(FAULTS)


def test_what_the_chain_alone_cannot_show_is_said(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Entries and all heads of before, put back together: they were true once."""
    shutil.copyfile(installed.places.noted_head, tmp_path / "before")
    folder_put_back(installed)
    shutil.copyfile(tmp_path / "before", installed.places.noted_head)

    assert 0 == main(["journal", "verify", "--simulated"])

    assert "à un état plus ancien avec ce que le poste en retient ailleurs" in capsys.readouterr().out


def test_a_journal_that_was_moved_or_whose_head_is_remembered_nowhere_is_whole(installed: Installed) -> None:
    """What is remembered of another folder tells nothing of this one, nor does what nobody signed."""
    noted, kept = installed.places.noted_head, installed.places.noted_head.read_bytes()
    moved = json.loads(kept) | {"folder": "0" * 64, "seq": 99}
    unsigned = json.loads(kept) | {"seq": 99}
    for there in (json.dumps(moved).encode(), json.dumps(unsigned).encode(), b"", b"[]", b"{", bytes(600)):
        noted.write_bytes(there)
        assert 0 == main(["journal", "verify", "--simulated"])
    noted.unlink()
    assert 0 == main(["journal", "verify", "--simulated"])

    installed.fill(1)

    assert 12 == json.loads(noted.read_bytes())["seq"]
    assert 0 == main(["journal", "verify", "--simulated"])


def test_without_a_journal_and_without_anything_remembered_there_is_none(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_deleted(installed)
    installed.places.noted_head.unlink()

    assert 1 == main(["journal", "verify", "--simulated"])
    assert "aucun journal" in capsys.readouterr().err


def test_nothing_is_told_otherwise_where_an_entry_names_another_key(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which key opens a part, its tag decides; what the entry says of it is a hint."""
    asked = (["verify", "--json"], ["list", "--json"], ["show", "trace-2", "--json"], ["show", "trace-2"])

    def told() -> list[str]:
        for words in asked:
            assert 0 == main(["journal", *words, "--simulated"])
        return [capsys.readouterr().out]

    before = told()
    installed.do("UPDATE entry SET personal_key = '0123456789abcdef'")

    assert before == told()


def test_what_an_index_leaves_out_is_shown(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    index_that_leaves_out_outcomes(installed)

    assert 0 == main(["journal", "show", "trace-2", "--simulated"])

    assert "code 00" in capsys.readouterr().out


def test_behind_a_damaged_page_the_journal_is_still_read(
    installed: Installed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    installed.fill(12)  # under the same names: what counts here is the numbers
    corrupted_page(installed)

    assert 1 == main(["journal", "list", "--simulated", "--json"])

    told = capsys.readouterr()
    listed = [json.loads(line)["traceId"] for line in told.out.splitlines()]
    assert {"trace-1", "trace-12"} <= set(listed)
    assert "ne se lisent pas : voir « insi-agent journal verify »" in told.err
    assert 0 == main(["journal", "show", "trace-12", "--simulated"])
    assert 1 == main(["journal", "export", "--simulated", "--output", str(tmp_path / "out.csv")])
    assert "trace-12" in (tmp_path / "out.csv").read_text(encoding="utf-8-sig")


def test_a_changed_entry_is_marked_where_it_is_shown(installed: Installed, capsys: pytest.CaptureFixture[str]) -> None:
    clear_part_changed(installed)

    main(["journal", "list", "--simulated"])
    marked = [line for line in capsys.readouterr().out.splitlines() if "(!)" in line]
    main(["journal", "show", "trace-2", "--simulated"])

    assert 1 == len(marked)
    assert "trace-2" in marked[0]
    assert "MODIFIÉE ou non signée" in capsys.readouterr().out


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40, deadline=None
)
@given(place=st.floats(0, 0.999), change=st.integers(1, 255), word=st.sampled_from(["list", "verify", "show trace-2"]))
def test_a_byte_changed_anywhere_gives_what_can_be_read_and_never_a_traceback(
    installed: Installed, place: float, change: int, word: str
) -> None:
    kept = installed.file.with_name("whole")
    if not kept.exists():
        installed.file.rename(kept)
    content = bytearray(kept.read_bytes())
    content[int(place * len(content))] ^= change
    installed.file.write_bytes(content)

    assert main(["journal", *word.split(), "--simulated"]) in {0, 1, 3}


def test_sqlite_itself_would_have_taken_most_of_these(installed: Installed) -> None:
    """The chain finds what a database does not."""
    personal_part_exchanged(installed)

    with sqlite3.connect(installed.file) as database:
        assert ("ok",) == database.execute("PRAGMA integrity_check").fetchone()
