"""A writer that is killed loses nothing it acknowledged."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from .making import intent, journal

ROOT = Path(__file__).parents[2]


def killed_after(entries: int, folder: Path) -> list[str]:
    """Start a writer, kill -9 it somewhere after so many entries; the entries it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.journal.writer", str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert writer.stdout
    acknowledged = [writer.stdout.readline() for _ in range(entries)]
    writer.kill()
    acknowledged += writer.stdout.readlines()
    assert -signal.SIGKILL == writer.wait()
    writer.stdout.close()
    return [line.strip() for line in acknowledged if line.endswith("\n")]


def test_kill_9_at_any_instant_loses_nothing_acknowledged_and_the_chain_holds(tmp_path):
    acknowledged: list[str] = []
    for entries in (1, 2, 3, 4, 7, 20, 33, 50):
        acknowledged += killed_after(entries, tmp_path)

        own = journal(tmp_path)
        verdict = own.verify()
        own.close()

        assert verdict.fault is None
        assert len(acknowledged) <= verdict.entries

    database = sqlite3.connect(tmp_path / "journal.sqlite")
    kept = {f"{seq} {link}" for seq, link in database.execute("SELECT seq, link FROM entry")}
    orphans = database.execute(
        "SELECT count(*) FROM entry o WHERE kind = 'outcome' AND NOT EXISTS"
        " (SELECT 1 FROM entry i WHERE i.trace_id = o.trace_id AND i.kind = 'intent' AND i.seq < o.seq)"
    ).fetchone()[0]
    database.close()
    assert set(acknowledged) <= kept
    assert 0 == orphans


def test_after_a_kill_the_journal_is_free_and_goes_on(tmp_path):
    killed_after(2, tmp_path)

    own = journal(tmp_path)
    before = own.verify().entries
    link = own.intend(intent("after"))

    assert before + 1 == link.seq == own.verify().entries
    own.close()
