"""R8, R9: the agent that nobody asks anything, a page watching its cards."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.client import call, conversation
from benchmarks.figures import Effort, Measured
from benchmarks.parts import Parts

WINDOWS = 3


def memory(parts: Parts, effort: Effort) -> Measured:
    """MB of the agent and its worker, shared pages divided among who shares them."""
    return Measured(_idle(parts, effort, _pss, windows=1), "absolute: the peer comes with R2")


def wake_ups(parts: Parts, effort: Effort) -> Measured:
    """Voluntary context switches per second of every thread of the agent and its children."""

    def per_second(tree: list[int]) -> float:
        before, began = _switches(tree), time.monotonic()
        time.sleep(effort.window_s)
        return (_switches(tree) - before) / (time.monotonic() - began)

    return Measured(_idle(parts, effort, per_second, windows=WINDOWS))


def _idle(parts: Parts, effort: Effort, look: Callable[[list[int]], float], *, windows: int) -> list[float]:
    async def watched() -> list[float]:
        async with conversation(parts.agent.port) as page:
            assert (await call(page, "cards.watch"))["readers"], "no reader is seen"
            await call(page, "cpx.status")  # starts the worker
            await asyncio.sleep(effort.window_s * 3 / 8)
            tree = _tree(parts.agent.pid)
            return [await asyncio.to_thread(look, tree) for _ in range(windows)]  # the page answers pings meanwhile

    return asyncio.run(watched())


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(descendant for child in children for descendant in _tree(child))]


def _switches(tree: list[int]) -> int:
    statuses = (task / "status" for pid in tree for task in Path(f"/proc/{pid}/task").iterdir())
    rows = (row.split() for status in statuses for row in status.read_text(errors="replace").splitlines())
    return sum(int(row[1]) for row in rows if row[:1] == ["voluntary_ctxt_switches:"])


def _pss(tree: list[int]) -> float:
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in tree)
    rows = (row.split() for rollup in rollups for row in rollup.splitlines())
    return sum(int(row[1]) for row in rows if row[0] == "Pss:") / 1024
