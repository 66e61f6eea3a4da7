"""Lanes for blocking calls, and turns for what only one may do at a time.

A lane is one named thread in front of one device: calls queue, each has a deadline. A call that
never started is `device.busy` (safe to repeat); one that passed its deadline is `device.timeout`
(it may have happened). What hangs is broken by whoever knows how; where nobody does (a driver that never
comes back from PC/SC) the lane leaves its thread to it and goes on with another.
"""

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from agent.errors import AgentError, Code
from agent.model import rfc3339

log = logging.getLogger(__name__)
T = TypeVar("T")


_BREAKS_WITHIN_S = 1  # a killed worker's call returns in milliseconds


class Lane:
    """One thread that runs blocking calls one after the other."""

    def __init__(self, name: str, *, leaves_behind: bool = False) -> None:
        """`leaves_behind`: go on with another thread when a call hangs that `abandoned` does not break.

        Not for a device whose calls must all come from one thread, or never two at a time.
        """
        self.name = name
        self._leaves_behind = leaves_behind
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._running: Future[Any] | None = None
        self._changing = threading.Lock()
        self._thread = self._another_thread()

    def _another_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._work, name=f"lane-{self.name}", daemon=True)
        thread.start()
        return thread

    async def run(
        self,
        call: Callable[[], T],
        *,
        timeout_s: float,
        wait_s: float = 10,
        abandoned: Callable[[], None] | None = None,
    ) -> T:
        """Run `call` in the lane's thread and return its value.

        Raises device.busy if it did not start within `wait_s`, device.timeout if it started and did not
        end within `timeout_s`; then `abandoned` is called, to break what hangs, also when who asked has gone.
        """
        loop = asyncio.get_running_loop()
        started, overdue = asyncio.Event(), loop.create_future()
        future: Future[T] = Future()
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_heard)

        def begun() -> None:
            started.set()
            alarm = loop.call_later(timeout_s, too_late)
            answer.add_done_callback(lambda _: alarm.cancel())

        def too_late() -> None:
            """On the loop, whether anybody still waits or not: who cancels must not leave the lane to what hangs."""
            if future.done():
                return  # it ended this instant
            overdue.set_result(None)
            if self._leaves_behind:
                loop.call_later(_BREAKS_WITHIN_S, self._leave, future)
            if abandoned:
                abandoned()

        def job() -> T:
            loop.call_soon_threadsafe(begun)
            return call()

        self._jobs.put((future, job))
        try:
            # asyncio.timeout, because wait_for of Python 3.11 swallows a cancel that comes with the answer.
            try:
                async with asyncio.timeout(wait_s):
                    await started.wait()
            except TimeoutError:
                if future.cancel():
                    raise AgentError(Code.DEVICE_BUSY, f"lane {self.name}") from None
            await asyncio.wait((answer, overdue), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not future.cancel():
                log.info("lane %s: the result of a cancelled call is forgotten", self.name)
            raise
        if overdue.done():  # whatever came since: breaking it made it end
            raise AgentError(Code.DEVICE_TIMEOUT, f"lane {self.name} after {timeout_s} s")
        return answer.result()

    def close(self, patience_s: float = 1) -> None:
        """Drop what waits; end the thread once its running call returns; wait a little for it."""
        with suppress(queue.Empty):
            while True:
                if item := self._jobs.get_nowait():
                    item[0].cancel()
        self._jobs.put(None)
        self._thread.join(patience_s)

    def _leave(self, hanging: Future[Any]) -> None:
        with self._changing:
            if self._running is hanging:
                log.error("lane %s: a call hangs, its thread is left behind", self.name)
                self._running = None
                self._thread = self._another_thread()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            self._running = item[0]
            self._do(*item)
            with self._changing:
                if self._running is not item[0]:
                    return  # left behind: another thread has the lane
                self._running = None
            del item  # an idle lane keeps nothing of its last call alive

    @staticmethod
    def _do(future: Future[Any], job: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001  (carried to whoever waits)
            future.set_exception(error)


def _heard(answer: asyncio.Future[Any]) -> None:
    """A call that fails after everybody left is no news: without this, asyncio prints it when memory is freed."""
    if not answer.cancelled():
        answer.exception()


def run_alone(name: str, call: Callable[[], T], *, timeout_s: float, abandoned: Callable[[], None] | None = None) -> T:
    """Run one blocking call that may hang, for whoever has no event loop. Raises device.timeout as `Lane.run`.

    What hangs, and nothing breaks, is left behind.
    """
    lane = Lane(name)
    try:
        return asyncio.run(lane.run(call, timeout_s=timeout_s, abandoned=abandoned))
    finally:
        lane.close(_BREAKS_WITHIN_S if abandoned else 0)


class Turn:
    """First come, first served: who holds it, and since when."""

    def __init__(self) -> None:
        self._holder: str | None = None
        self._since: datetime | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def taken_by(self, holder: str, *, wait_s: float | None) -> AsyncIterator[None]:
        """Hold the turn. Raises device.busy {origin: own/other, since} after `wait_s`; None waits for ever."""
        await self._take(holder, wait_s)
        try:
            yield
        finally:
            self._give()

    async def _take(self, holder: str, wait_s: float | None) -> None:
        if self._holder is not None:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                async with asyncio.timeout(wait_s):
                    await place
            except TimeoutError:
                if not place.done() or place.cancelled():  # else the turn came at the same instant: take it
                    raise AgentError(
                        Code.DEVICE_BUSY,
                        origin="own" if holder == self._holder else "other",
                        since=rfc3339(self._since or datetime.now(UTC)),
                    ) from None
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._give()  # the turn came at the same instant: pass it on
                raise
            finally:
                if place in self._waiting:
                    self._waiting.remove(place)
        self._holder, self._since = holder, datetime.now(UTC)

    def _give(self) -> None:
        self._holder = self._since = None
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                self._holder = "…"  # nobody may step in before the next one wakes
                place.set_result(None)
                return
