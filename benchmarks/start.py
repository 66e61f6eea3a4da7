"""R6: from nothing to the first answer, against a bare `websockets` server."""

import sys
import time
from collections.abc import Sequence

from benchmarks.figures import Effort, Measured
from benchmarks.parts import Parts, first_answer, free_port, running


def start(parts: Parts, effort: Effort) -> Measured:
    """Each round starts both, one after the other, in a home that has seen the agent before."""
    _agent(parts)
    return Measured([_agent(parts) / _bare() for _ in range(effort.rounds)])


def _agent(parts: Parts) -> float:
    port = free_port()
    return _seconds(port, *parts.start_alone(port))


def _bare() -> float:
    port = free_port()
    return _seconds(port, [sys.executable, "-m", "benchmarks.bare", str(port)])


def _seconds(port: int, command: Sequence[str], environment: dict[str, str] | None = None) -> float:
    began = time.perf_counter()
    with running(command, environment):
        first_answer(port)
        return time.perf_counter() - began
