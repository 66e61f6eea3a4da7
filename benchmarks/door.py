"""R1, R10, R11: what a page meets at the door, against a bare `websockets` server."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from benchmarks.client import conversation, opened, turn
from benchmarks.figures import Effort, Measured, spread
from benchmarks.parts import Parts

CLIENTS = 50
FRAME_BYTES = 64 << 20
TOO_BIG = 1009


def round_trip(parts: Parts, effort: Effort) -> Measured:
    """agent.status against the echo of the same request, turn by turn."""
    servers = (parts.agent.pid, parts.bare.pid)
    unpinned = asyncio.run(_turns(parts, effort))
    with _on_one_core(os.getpid(), *servers):
        pinned = asyncio.run(_turns(parts, effort))
    return Measured(pinned, f"on any core {spread(unpinned)}")


async def _turns(parts: Parts, effort: Effort) -> list[float]:
    async with conversation(parts.agent.port) as ours, conversation(parts.bare.port, hello=False) as bare:
        for socket in (ours, bare):
            await turn(socket, effort.warm_up)
        return [await turn(ours, effort.requests) / await turn(bare, effort.requests) for _ in range(effort.turns)]


def crowd(parts: Parts, effort: Effort) -> Measured:
    """Fifty clients at once: connect, say hello, hear the answer. The 99th percentile of fifty is the slowest."""
    ratios = [_slowest(parts.agent.port, ours=True) / _slowest(parts.bare.port) for _ in range(effort.rounds)]
    return Measured(ratios, f"{CLIENTS} of {CLIENTS} served in every round")


def _slowest(port: int, *, ours: bool = False) -> float:
    async def client() -> float:
        began = time.perf_counter()
        async with conversation(port, hello=ours) as socket:
            if not ours:
                await socket.send('{"id":0,"result":0}')
                await socket.recv()
            return time.perf_counter() - began

    async def crowded() -> list[float]:
        return await asyncio.gather(*(client() for _ in range(CLIENTS)))

    return max(asyncio.run(crowded()))


def large_frame(parts: Parts, effort: Effort) -> Measured:
    """MB by which the agent's largest resident size exceeds its size before a frame of 64 MiB."""
    grown = []
    for _ in range(effort.rounds):
        before = _kilobytes(parts.agent.pid, "VmRSS")
        code = asyncio.run(_send_too_much(parts.agent.port))
        assert code == TOO_BIG, f"closed with {code}"
        grown.append(max(0, _kilobytes(parts.agent.pid, "VmHWM") - before) / 1024)
    return Measured(grown, f"closed with {TOO_BIG} every time")


async def _send_too_much(port: int) -> int | None:
    """The code of the close. The agent leaves in the middle of the frame, so there is nothing to close here."""
    socket = await opened(port)
    try:
        await socket.send("x" * FRAME_BYTES)
        await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    return None


@contextmanager
def _on_one_core(*pids: int) -> Iterator[None]:
    """Every thread of these processes on the same core."""
    threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    everywhere = os.sched_getaffinity(0)
    try:
        for thread in threads:
            os.sched_setaffinity(thread, {max(everywhere)})
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, everywhere)


def _kilobytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith(f"{name}:"))
