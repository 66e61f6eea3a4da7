"""A full disk: nothing is sent that cannot be traced, and what was sent is traced."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_was_intended_can_be_concluded_on_a_full_disk_and_nothing_more_is_intended(tmp_path):
    """On a real file system of 32 MB, mounted where only the child sees it."""
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    run = subprocess.run(
        [*apart, sys.executable, "-m", "tests.journal.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == run.returncode, f"needs a mount namespace: {run.stderr}"

    steps = json.loads(run.stdout)
    outcomes = [came for step, came in steps.items() if step.startswith("outcome")]
    assert ["done"] * len(outcomes) == outcomes
    assert 3 <= len(outcomes)
    assert {
        "an intent without room": "journal.full",
        "result": "done",
        "chain, still full": "None",
        "chain, opened again": "None",
        "replies": "{True}",
        "intent, opened again": "journal.full",
        "intent, with room": "done",
        "chain at last": "None",
    } == {step: came for step, came in steps.items() if not step.startswith("outcome")}
