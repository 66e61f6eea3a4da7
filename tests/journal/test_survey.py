"""What is told of a journal to people whom it does not concern: how much, which codes, and nobody."""

import sqlite3
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.chain import Fault, FaultKind, Verdict
from agent.journal.ports import Conclusion, Survey
from agent.journal.store import HELD, survey

from .making import NOW, intent, journal, not_found, whole


def filled(folder):
    own = journal(folder)
    whole(own, "trace-1")
    own.conclude(own.intend(intent("trace-2")), not_found())
    own.conclude(own.intend(intent("trace-3")), Conclusion(NOW, "TESTEUSE 2841276", "", 5))
    own.intend(intent("trace-4"))
    own.close()


def test_it_counts_entries_and_codes_and_follows_the_links_without_any_key(tmp_path):
    filled(tmp_path)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    found = survey(tmp_path)

    at = "2025-03-04T05:06:07.089Z"
    size = len(files["journal.sqlite"])
    kinds = {"intent": 4, "outcome": 3, "result": 1}
    # a code that nobody could have foreseen may be anything: it is counted and not told
    assert Survey(size, at, at, kinds, {"00": 1, "01": 1, "?": 1}, 1, Verdict(8)) == found
    assert not [told for told in ("TESTEUSE", "2841276", "trace-", "dossier.example") if told in str(asdict(found))]
    assert files == {file.name: file.read_bytes() for file in tmp_path.iterdir()}  # nothing was written


def test_no_journal_is_none_and_none_is_made(tmp_path):
    assert survey(tmp_path / "journal") is None
    assert not (tmp_path / "journal").exists()


def test_an_empty_journal_has_no_moments(tmp_path):
    own = journal(tmp_path)
    assert Verdict(0) == own.verify()
    own.close()

    found = survey(tmp_path)

    assert (None, None, {}, {}, 0, Verdict(0)) == (
        found.first_at, found.last_at, found.entries, found.codes, found.unfinished, found.links,
    )  # fmt: skip


def test_a_journal_that_an_agent_has_open_is_left_alone(tmp_path):
    own = journal(tmp_path)
    own.intend(intent())

    with pytest.raises(AgentError) as refused:
        survey(tmp_path)

    assert (Code.JOURNAL_UNAVAILABLE, HELD) == (refused.value.code, refused.value.detail)
    own.close()


def test_a_break_in_the_chain_is_told(tmp_path):
    filled(tmp_path)
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    database.execute("DELETE FROM entry WHERE seq = 4")
    database.commit()
    database.close()

    assert Verdict(3, Fault(FaultKind.MISSING, 4)) == survey(tmp_path).links


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(place=st.floats(0, 0.999), change=st.integers(1, 255))
def test_a_byte_changed_anywhere_gives_figures_or_a_code(tmp_path, place, change):
    file = tmp_path / "journal.sqlite"
    if not (tmp_path / "whole").exists():
        filled(tmp_path)
        file.rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    content[int(place * len(content))] ^= change
    file.write_bytes(content)

    try:
        found = survey(tmp_path)
    except AgentError as error:
        assert Code.JOURNAL_UNAVAILABLE == error.code
    else:
        assert isinstance(found, Survey)
