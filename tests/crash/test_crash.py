"""`make crash` in small: a few rounds hold, and a writer that does things in the wrong order is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .kills import Kill
from .rounds import StoreRounds, Tally

ROOT = Path(__file__).parents[2]


def crash(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Below this folder, where what it keeps after a failure goes with the test."""
    command = [sys.executable, "-m", "tests.crash", *options]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_kill_9_at_any_instant_loses_nothing_acknowledged_and_nothing_sent_is_without_its_intent(
    tmp_path: Path,
) -> None:
    """Ten times the process that writes, twice the whole agent while a page asks; `make crash` does it 500 times."""
    done = crash(tmp_path, "--rounds", "12", "--agent-every", "6")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "rounds                         ok   12" in done.stdout


@pytest.mark.parametrize("number", range(1, 7))
def test_a_kill_around_the_very_first_entry_leaves_a_whole_journal(tmp_path: Path, number: int) -> None:
    """Its first writes: what it says, then each of its heads."""
    tally = Tally()

    StoreRounds(tmp_path, 1, tally).round(1, Kill("write", number))

    assert ([], 1) == (tally.problems, tally.kills["write"])


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        ("intent", "is not in the journal"),
        ("outcome", "is not in the journal"),
        ("head", "the chain has a fault"),
    ],
)
def test_a_writer_that_does_it_in_the_wrong_order_is_found(broken: str, found: str, tmp_path: Path) -> None:
    """It sends before the intent is on the disk, acknowledges before the outcome is, writes the head too early.

    Its kills are in front of system calls only: the seed repeats them.
    """
    done = crash(tmp_path, "--break", broken, "--rounds", "40", "--seed", "14")

    assert 1 == done.returncode, done.stdout + done.stderr
    assert found in done.stdout
    assert "seed 14" in done.stdout
