"""A program of the tests in a mount namespace of its own: what it mounts is seen by nobody else, and goes with it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def with_own_mounts(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run this Python with these arguments to its end; what it said."""
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    return subprocess.run([*apart, sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
