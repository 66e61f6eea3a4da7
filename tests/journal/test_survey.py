"""What is told of a journal to people whom it does not concern: how much, which codes, and nobody."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.apart import newest, opened, survey
from agent.journal.chain import Fault, FaultKind, Verdict
from agent.journal.ports import Conclusion, Survey
from agent.model import rfc3339

from .making import KEY, NOW, found, intent, journal, not_found, tampered, whole

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
    read = written_when_it_is_read(tmp_path / "journal.sqlite", times=sys.maxsize)

    with pytest.raises(AgentError) as refused:
        survey(tmp_path)

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code
    assert "l'agent y écrit sans cesse" in refused.value.facts["reason"]
    assert 1 < len(read)


def test_a_journal_that_is_written_to_is_copied_again_until_it_holds_still(tmp_path):
    filled(tmp_path)
    whole_file = (tmp_path / "journal.sqlite").read_bytes()
    read = written_when_it_is_read(tmp_path / "journal.sqlite", times=2)

    with opened(tmp_path) as copy:
        assert Verdict(8) == copy.verify(KEY.verify_bytes)

    assert 3 == len(read)
    assert len(whole_file) + 2 * 4096 == (tmp_path / "journal.sqlite").stat().st_size


def test_an_agent_that_ends_meanwhile_takes_a_file_along_and_is_no_obstacle(tmp_path):
    """Its write-ahead log goes when it closes; here a head goes, which is the same to who copies."""
    filled(tmp_path)
    gone = tmp_path / "head-1.json"

    def take(event, arguments):
        if event == "open" and str(arguments[0]) == str(gone):
            gone.unlink(missing_ok=True)

    sys.addaudithook(take)
    with opened(tmp_path) as copy:
        assert [8] == [head.seq for head in copy.heads]
        assert Verdict(8) == copy.verify(KEY.verify_bytes)


def written_when_it_is_read(file, times):
    """From now on a page is put behind the file whenever somebody opens it to read it, so many times."""
    read = []

    def write(event, arguments):
        if event == "open" and str(arguments[0]) == str(file) and arguments[1] in ("rb", "r"):
            read.append(event)
            if len(read) <= times:
                with file.open("ab") as more:
                    more.write(bytes(4096))

    sys.addaudithook(write)
    return read


def test_a_copy_is_private_and_goes_whatever_ends_the_reading(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    filled(tmp_path / "journal")

    def read():
        with opened(tmp_path / "journal"):
            made.extend((tmp_path / "temporary").rglob("*"))
            rights.update(stat.S_IMODE(one.stat().st_mode) & 0o077 for one in made)
            raise KeyboardInterrupt

    made, rights = [], set()
    with pytest.raises(KeyboardInterrupt):
        read()

    assert 4 <= len(made)
    assert {0} == rights
    assert [] == list((tmp_path / "temporary").iterdir())


def test_a_copy_of_no_journal_is_refused_and_one_of_its_heads_alone_is_empty(tmp_path):
    filled(tmp_path / "journal")
    (tmp_path / "journal" / "journal.sqlite").unlink()

    with pytest.raises(AgentError) as refused, opened(tmp_path / "nowhere"):
        pass
    with opened(tmp_path / "journal") as copy:
        found = (copy.verify(KEY.verify_bytes), list(copy.entries()), copy.period(), copy.entries_of("trace-1"))

    assert Code.JOURNAL_UNAVAILABLE == refused.value.code
    assert not (tmp_path / "nowhere").exists()
    assert (Verdict(0, Fault(FaultKind.SHORTENED, 1)), [], (None, None), []) == found


def test_operations_come_together_in_their_order_also_where_they_ran_at_once(tmp_path):
    """One that failed has no result; one that was cut short has no outcome."""
    own = journal(tmp_path)
    first, second = own.intend(intent("trace-1")), own.intend(intent("trace-2"))
    own.conclude(second, not_found())
    own.intend(intent("trace-3"))
    own.conclude(first, not_found())
    own.finish("trace-1", NOW, lambda *_: b"{}")
    own.close()

    with opened(tmp_path) as copy:
        operations = [[entry.seq for entry in entries] for entries in copy.operations()]
        together = [entry.seq for entry in copy.entries_of("trace-1")]

    assert [[1, 5, 6], [2, 3], [4]] == operations
    assert [1, 5, 6] == together


def test_a_period_has_the_operations_that_began_in_it_whole(tmp_path):
    """Also when the clock was set back in between, and when one ended after it."""
    days = [NOW + timedelta(days=shift) for shift in (0, 1, -3, 2)]
    own = journal(tmp_path)
    for number, at in enumerate(days):
        intended = own.intend(intent(f"trace-{number}", at=at))
        own.conclude(intended, replace(not_found(), at=at + timedelta(days=5)))
    own.close()

    def of(since, until):
        moments = [rfc3339(at) if at else None for at in (since, until)]
        with opened(tmp_path) as copy:
            return [(entries[0].trace_id, len(entries)) for entries in copy.operations(*moments)]

    assert [("trace-0", 2), ("trace-1", 2), ("trace-3", 2)] == of(NOW, None)
    assert [("trace-0", 2), ("trace-2", 2)] == of(None, days[1])
    assert [("trace-1", 2)] == of(days[1], days[3])
    assert [] == of(NOW + timedelta(days=30), None)


def test_a_journal_of_any_size_is_read_with_little_memory(tmp_path):
    own = journal(tmp_path, max_reply_bytes=1 << 20)
    for number in range(16):
        own.conclude(own.intend(intent(f"trace-{number}")), found(os.urandom(1 << 20)))
        own.finish(f"trace-{number}", NOW, lambda *_: b"{}")
    own.close()

    with opened(tmp_path) as copy:
        tracemalloc.start()
        try:
            read = sum(len(entries) for entries in copy.operations())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert 48 == read
    assert peak < 8 << 20


def test_the_newest_moment_is_one_that_our_key_signed(tmp_path):
    """A clock may have been ahead at an earlier entry, and anybody may have written one that nobody signed."""
    ahead = NOW + timedelta(hours=1)
    assert newest(tmp_path, KEY.verify_bytes) is None
    own = journal(tmp_path)
    own.intend(intent("trace-1", at=ahead))
    own.intend(intent("trace-2"))
    own.close()
    tampered(tmp_path, "UPDATE entry SET at = '9999-01-01T00:00:00.000Z' WHERE seq = 2")

    assert ahead == newest(tmp_path, KEY.verify_bytes)
    assert newest(tmp_path, lambda *_: False) is None


def test_a_break_in_the_chain_is_told(tmp_path):
    filled(tmp_path)
    tampered(tmp_path, "DELETE FROM entry WHERE seq = 4")

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


HOLDS = """
import sys
from pathlib import Path
from agent.journal.apart import opened
with opened(Path(sys.argv[1])) as copy:
    print(len(list(copy.entries())), flush=True)
    sys.stdin.readline()
"""


def holder(folder, temporary):
    """A process that reads a copy in this folder for temporary files until it is told to stop."""
    command = [sys.executable, "-c", HOLDS, str(folder)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    assert "8\n" == process.stdout.readline()
    return process


def ended(process):
    process.communicate("\n")
    return process.returncode


def test_what_a_killed_reader_left_goes_with_the_next_copy_and_a_living_readers_stays(tmp_path):
    """Personal parts that are erased meanwhile would go on in it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    filled(tmp_path / "journal")
    killed = holder(tmp_path / "journal", temporary)
    killed.kill()
    killed.communicate()
    (left,) = temporary.iterdir()
    assert list(left.rglob("journal.sqlite"))

    living = holder(tmp_path / "journal", temporary)
    (its,) = temporary.iterdir()
    assert its != left
    assert 0 == ended(holder(tmp_path / "journal", temporary))
    assert [its] == list(temporary.iterdir())
    assert list(its.rglob("journal.sqlite"))
    assert 0 == ended(living)
    assert [] == list(temporary.iterdir())


def test_another_command_that_sweeps_while_a_copy_goes_is_no_obstacle(tmp_path, monkeypatch):
    """To see whether somebody still reads the copy it locks a file in it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    filled(tmp_path / "journal")
    locked = []

    def lock(event, arguments):
        if event == "os.rmdir" and Path(arguments[0]).parent == temporary:
            locked.append(Path(arguments[0]) / "agent.lock")
            locked[0].touch()

    sys.addaudithook(lock)
    with opened(tmp_path / "journal") as copy:
        assert Verdict(8) == copy.verify(KEY.verify_bytes)

    assert locked == [file for file in temporary.rglob("*") if file.is_file()]


def test_what_is_no_copy_of_ours_is_left_alone(tmp_path):
    temporary = tmp_path / "temporary"
    others = [temporary / name for name in ("insi-agent-else", "insi-agent-copy-made-just-now", "insi-agent-copy.txt")]
    for folder in others[:2]:
        folder.mkdir(parents=True)
    others[2].write_text("a file")
    (tmp_path / "elsewhere" / "journal").mkdir(parents=True)
    (temporary / "insi-agent-copy-link").symlink_to(tmp_path / "elsewhere")
    filled(tmp_path / "journal")

    assert 0 == ended(holder(tmp_path / "journal", temporary))

    assert sorted([*others, temporary / "insi-agent-copy-link"]) == sorted(temporary.iterdir())
    assert [tmp_path / "elsewhere" / "journal"] == list((tmp_path / "elsewhere").iterdir())
