"""What is told of a journal to people whom it does not concern: how much, which codes, and nobody."""

import shutil
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.chain import Fault, FaultKind, Verdict
from agent.journal.ports import Conclusion, Survey
from agent.journal.store import newest, survey

from .making import KEY, NOW, intent, journal, not_found, whole

ROOT = Path(__file__).parents[2]


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


# An agent: it has its journal open and alone, and goes on with it when it is told to.
AGENT = """
import sys
from pathlib import Path
from tests.journal.making import journal, whole
own = journal(Path(sys.argv[1]))
whole(own, "trace-1")
print("open", flush=True)
sys.stdin.readline()
whole(own, "trace-2")
print(own.verify())
own.close()
"""


def test_a_journal_that_an_agent_has_open_is_told_and_the_agent_goes_on(tmp_path):
    """It keeps everybody else out: who takes no lock is not kept out, and keeps nobody out."""
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as agent:
        assert agent.stdin and agent.stdout
        assert "open\n" == agent.stdout.readline()
        found = survey(tmp_path)
        agent.stdin.close()
        said = agent.stdout.read()

    assert ({"intent": 1, "outcome": 1, "result": 1}, Verdict(3)) == (found.entries, found.links)
    assert f"{Verdict(6)}\n" == said


def test_what_a_killed_agent_left_is_told_and_not_touched(tmp_path):
    """Its last entries are in the write-ahead log, which the next agent brings in, and nobody else."""
    own = journal(tmp_path / "living")
    whole(own, "trace-1")
    shutil.copytree(tmp_path / "living", tmp_path / "killed")
    own.close()
    left = {file.name: file.read_bytes() for file in (tmp_path / "killed").iterdir()}

    assert Verdict(3) == survey(tmp_path / "killed").links

    assert "journal.sqlite-wal" in left
    assert left == {file.name: file.read_bytes() for file in (tmp_path / "killed").iterdir()}


def test_a_journal_that_is_never_the_same_twice_is_said(tmp_path):
    """A copy of two instants would look damaged."""
    filled(tmp_path)
    copied = []

    def write(event, arguments):
        if event == "shutil.copyfile" and str(arguments[0]) == str(tmp_path / "journal.sqlite"):
            copied.append(event)
            Path(arguments[0]).write_bytes(Path(arguments[0]).read_bytes() + bytes(4096))

    sys.addaudithook(write)
    with pytest.raises(AgentError) as refused:
        survey(tmp_path)

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code
    assert 1 < len(copied)


def test_the_newest_moment_is_one_that_our_key_signed(tmp_path):
    """A clock may have been ahead at an earlier entry, and anybody may have written one that nobody signed."""
    ahead = NOW + timedelta(hours=1)
    assert newest(tmp_path, KEY.verify_bytes) is None
    own = journal(tmp_path)
    own.intend(intent("trace-1", at=ahead))
    own.intend(intent("trace-2"))
    own.close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    database.execute("UPDATE entry SET at = '9999-01-01T00:00:00.000Z' WHERE seq = 2")
    database.commit()
    database.close()

    assert ahead == newest(tmp_path, KEY.verify_bytes)
    assert newest(tmp_path, lambda *_: False) is None


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
