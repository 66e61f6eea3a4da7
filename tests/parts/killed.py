"""An agent that is killed: a script in a process of its own, whose worker must end with it."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDS_WITHIN_S = 20  # a bound for the failure only


@contextmanager
def killed_agent(script: str, *arguments: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The agent, killed at the end, and its worker's number; the worker must be gone then."""
    agent = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout and agent.stdin
    worker = int(agent.stdout.readline())
    watch = os.pidfd_open(worker)
    yield agent, worker
    agent.kill()
    agent.wait()
    ended, _, _ = select.select([watch], [], [], ENDS_WITHIN_S)
    for used in (agent.stdin, agent.stdout):
        used.close()
    os.close(watch)
    assert ended, "the worker outlived the agent"
