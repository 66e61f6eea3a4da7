"""R8, R9: the agent that nobody asks anything, its card watch on."""

import asyncio
import time
from pathlib import Path

from benchmarks.client import call, conversation
from benchmarks.figures import Effort, Measured, spread
from benchmarks.parts import Parts

WINDOWS = 3


def memory(parts: Parts, effort: Effort) -> Measured:
    """MB of the agent and its worker, shared pages divided among who shares them; a page watches the cards."""

    async def watched() -> float:
        async with conversation(parts.agent.port) as page:
            assert (await call(page, "cards.watch"))["readers"], "no reader is seen"
            await call(page, "cpx.status")  # starts the worker
            await asyncio.sleep(effort.window_s * 3 / 8)
            return await asyncio.to_thread(_pss, _tree(parts.agent.pid))  # the page answers pings meanwhile

    return Measured([asyncio.run(watched())], "absolute: the peer comes with R2")


def wake_ups(parts: Parts, effort: Effort) -> Measured:
    """Voluntary context switches per second of every thread of the agent and its children.

    Three readers, both cards in and a card session open, first while a page watches, then without any client.
    """

    def window() -> float:
        tree = _tree(parts.station.pid)
        assert len(tree) > 1, "no worker is alive"
        before, began = _switches(tree), time.monotonic()
        time.sleep(effort.window_s)
        return (_switches(tree) - before) / (time.monotonic() - began)

    async def watched() -> list[float]:
        async with conversation(parts.station.port) as page:
            assert len((await call(page, "cards.watch"))["readers"]) >= 3, "too few readers are seen"
            assert (await call(page, "cpx.unlock"))["unlocked"]
            await asyncio.sleep(effort.window_s * 3 / 8)
            return [await asyncio.to_thread(window) for _ in range(WINDOWS)]  # the page answers pings meanwhile

    with_page = asyncio.run(watched())
    time.sleep(effort.window_s * 3 / 8)
    return Measured([window() for _ in range(WINDOWS)], f"{spread(with_page)} with a page that watches")


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
