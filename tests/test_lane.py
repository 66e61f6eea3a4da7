"""Lanes and turns: who waits, who is served, and what a deadline or a cancel leaves behind.

Nothing here is timed: every order is made by events, and a deadline is either already past or an hour away.
"""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator

import pytest

from agent.errors import AgentError, Code
from agent.lane import _BREAKS_WITHIN_S, Lane, Turn

NOW, NEVER = 0.001, 3600.0  # seconds: a deadline that passes, one that does not
SOON = 0.5  # one that passes after what comes next


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()


class Gate:
    """A call that says when it began and returns when it is let."""

    def __init__(self) -> None:
        self.began, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.opened.wait(30)
        return "through"

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.began.wait, 30)


async def raised_by(awaited) -> AgentError:
    with pytest.raises(AgentError) as error:
        await awaited
    return error.value


def test_a_call_runs_in_the_lane_s_own_thread_and_gives_its_value(lane):
    async def story():
        return await lane.run(lambda: threading.current_thread().name, timeout_s=NEVER)

    assert "lane-test" == asyncio.run(story())


def test_what_a_call_raises_is_raised_where_it_is_awaited(lane):
    def refuse():
        raise AgentError(Code.CARD_ABSENT)

    async def story():
        first = await raised_by(lane.run(refuse, timeout_s=NEVER))
        with pytest.raises(TimeoutError):  # its own, not the lane's
            await lane.run(lambda: (_ for _ in ()).throw(TimeoutError()), timeout_s=NEVER)
        return first.code, await lane.run(lambda: "next", timeout_s=NEVER)

    assert (Code.CARD_ABSENT, "next") == asyncio.run(story())


def test_calls_are_served_one_after_the_other_in_the_order_they_came(lane):
    seen: list[int] = []

    async def story():
        gate = Gate()
        first = asyncio.create_task(lane.run(gate, timeout_s=NEVER))
        await gate.has_begun()
        others = [
            asyncio.create_task(lane.run(lambda n=n: seen.append(n), timeout_s=NEVER, wait_s=NEVER)) for n in range(5)
        ]
        await asyncio.sleep(0)
        assert [] == seen
        gate.opened.set()
        await asyncio.gather(first, *others)

    asyncio.run(story())
    assert [0, 1, 2, 3, 4] == seen


def test_a_call_that_never_started_is_busy_and_never_will_start(lane):
    """device.busy is safe to repeat."""
    seen: list[str] = []

    async def story():
        gate = Gate()
        first = asyncio.create_task(lane.run(gate, timeout_s=NEVER))
        await gate.has_begun()
        error = await raised_by(lane.run(lambda: seen.append("late"), timeout_s=NEVER, wait_s=NOW))
        gate.opened.set()
        await first
        await lane.run(lambda: seen.append("after"), timeout_s=NEVER)
        return error.code

    assert Code.DEVICE_BUSY == asyncio.run(story())
    assert ["after"] == seen


def test_a_call_that_started_and_did_not_end_is_a_timeout_and_what_hangs_is_broken(lane):
    """device.timeout: it may have happened."""

    async def story():
        gate = Gate()
        error = await raised_by(lane.run(gate, timeout_s=NOW, wait_s=NEVER, abandoned=gate.opened.set))
        return error.code, gate.opened.is_set(), await lane.run(lambda: "free", timeout_s=NEVER)

    assert (Code.DEVICE_TIMEOUT, True, "free") == asyncio.run(story())


def test_a_call_that_nothing_breaks_keeps_its_thread_and_the_lane_goes_on_with_another(caplog):
    """A driver that never comes back from PC/SC; the calls behind it are served, still one after the other."""
    seen: list[str] = []

    async def story():
        lane, gate = Lane("leaving", leaves_behind=True), Gate()
        hung = asyncio.create_task(raised_by(lane.run(gate, timeout_s=NOW, wait_s=NEVER)))
        await gate.has_begun()
        behind = asyncio.create_task(lane.run(lambda: seen.append("behind"), timeout_s=NEVER, wait_s=NEVER))
        error, first = await hung, lane._thread
        await behind
        gate.opened.set()
        await asyncio.to_thread(first.join, 30)
        await lane.run(lambda: seen.append(threading.current_thread() is lane._thread), timeout_s=NEVER)
        lane.close()
        return error.code, first.is_alive(), lane._thread is first

    assert (Code.DEVICE_TIMEOUT, False, False) == asyncio.run(story())
    assert ["behind", True] == seen
    assert "lane leaving: a call hangs, its thread is left behind" in caplog.text


def test_a_call_that_is_broken_in_time_leaves_the_lane_its_thread():
    """A killed worker's call returns: whoever owns the next worker is the same thread."""

    async def story():
        lane, gate = Lane("keeping", leaves_behind=True), Gate()
        thread = lane._thread
        await raised_by(lane.run(gate, timeout_s=NOW, wait_s=NEVER, abandoned=gate.opened.set))
        await lane.run(lambda: None, timeout_s=NEVER)
        await asyncio.sleep(_BREAKS_WITHIN_S + 0.1)
        kept = lane._thread is thread
        lane.close()
        return kept

    assert asyncio.run(story())


def test_a_queued_call_that_is_cancelled_is_dropped(lane):
    seen: list[str] = []

    async def story():
        gate = Gate()
        first = asyncio.create_task(lane.run(gate, timeout_s=NEVER))
        await gate.has_begun()
        queued = asyncio.create_task(lane.run(lambda: seen.append("cancelled"), timeout_s=NEVER, wait_s=NEVER))
        await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        gate.opened.set()
        await first
        await lane.run(lambda: seen.append("after"), timeout_s=NEVER)

    asyncio.run(story())
    assert ["after"] == seen


def test_a_running_call_that_is_cancelled_goes_on_and_its_result_is_forgotten_and_said_so(lane, caplog):
    """architecture: a running one finishes and its result is forgotten and said so in the log."""
    ended: list[str] = []

    async def story():
        gate = Gate()
        running = asyncio.create_task(lane.run(lambda: ended.append(gate()), timeout_s=NEVER))
        await gate.has_begun()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.opened.set()
        await lane.run(lambda: None, timeout_s=NEVER)

    with caplog.at_level(logging.INFO, "agent.lane"):
        asyncio.run(story())
    assert ["through"] == ended
    assert ["lane test: the result of a cancelled call is forgotten"] == [
        record.getMessage() for record in caplog.records if record.name == "agent.lane"
    ]


async def cancelled_while_it_hangs(lane: Lane, gate: Gate, **how) -> None:
    running = asyncio.create_task(lane.run(gate, timeout_s=SOON, **how))
    await gate.has_begun()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_call_that_hangs_is_broken_at_its_deadline_also_when_who_asked_has_gone(lane):
    """A closed tab must not cost the lane."""

    async def story():
        gate = Gate()
        await cancelled_while_it_hangs(lane, gate, abandoned=gate.opened.set)
        return await lane.run(gate.opened.is_set, timeout_s=NEVER, wait_s=30)

    assert asyncio.run(story())


def test_a_call_that_nothing_breaks_is_left_behind_also_when_who_asked_has_gone():
    async def story():
        lane, gate = Lane("leaving", leaves_behind=True), Gate()
        first = lane._thread
        await cancelled_while_it_hangs(lane, gate)
        served_by = await lane.run(threading.current_thread, timeout_s=NEVER, wait_s=30)
        gate.opened.set()
        lane.close()
        return served_by is first

    assert not asyncio.run(story())


def test_a_call_that_ended_is_not_broken_at_its_deadline(lane):
    broken: list[str] = []

    async def story():
        await lane.run(lambda: None, timeout_s=SOON, abandoned=lambda: broken.append("broken"))
        gate = Gate()
        running = asyncio.create_task(lane.run(gate, timeout_s=SOON, abandoned=lambda: broken.append("broken")))
        await gate.has_begun()
        running.cancel()
        gate.opened.set()
        await lane.run(lambda: None, timeout_s=NEVER)
        await asyncio.sleep(2 * SOON)

    asyncio.run(story())
    assert [] == broken


@pytest.mark.parametrize("passes", range(5))
def test_a_cancel_that_comes_with_the_answer_is_not_lost(lane, passes):
    """wait_for of Python 3.11 returned the answer and swallowed the cancel."""

    async def story():
        gate, idle = Gate(), threading.Event()
        running = asyncio.create_task(lane.run(gate, timeout_s=NEVER))
        await gate.has_begun()
        for _ in range(5):  # until it waits for the answer
            await asyncio.sleep(0)
        after = asyncio.create_task(lane.run(idle.set, timeout_s=NEVER))
        await asyncio.sleep(0)
        gate.opened.set()
        assert idle.wait(30)  # the loop stands still until the answer is there
        for _ in range(passes):  # how far the answer has come up
            await asyncio.sleep(0)
        if not running.done():
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await after

    asyncio.run(story())


def test_an_idle_lane_keeps_nothing_of_its_last_call(lane):
    class Held:
        pass

    async def story():
        held = Held()
        gone = weakref.ref(held)
        await lane.run(lambda held=held: held, timeout_s=NEVER)
        del held
        for _ in range(5000):  # until its thread waits again
            if gc.collect() is not None and gone() is None:
                return True
            await asyncio.sleep(NOW)
        return False

    assert asyncio.run(story())


def test_a_closed_lane_drops_what_waits_and_ends_its_thread():
    seen: list[str] = []

    async def story():
        lane, gate = Lane("closing"), Gate()
        first = asyncio.create_task(lane.run(gate, timeout_s=NEVER))
        await gate.has_begun()
        waiting = asyncio.create_task(lane.run(lambda: seen.append("late"), timeout_s=NEVER, wait_s=NEVER))
        await asyncio.sleep(0)
        lane.close(patience_s=0)
        gate.opened.set()
        await first
        lane._thread.join(30)
        waiting.cancel()
        return lane._thread.is_alive()

    assert not asyncio.run(story())
    assert [] == seen


# ---------------------------------------------------------------- turns


async def held(turn: Turn, holder: str, seen: list[str], leave: asyncio.Event | None = None) -> None:
    async with turn.taken_by(holder, wait_s=None):
        seen.append(holder)
        if leave:
            await leave.wait()


def test_turns_are_given_in_the_order_they_were_asked_for():
    seen: list[str] = []

    async def story():
        turn, leave = Turn(), asyncio.Event()
        tasks = [asyncio.create_task(held(turn, "first", seen, leave))]
        for name in "abcde":
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(held(turn, name, seen)))
        await asyncio.sleep(0)
        assert ["first"] == seen
        leave.set()
        await asyncio.gather(*tasks)

    asyncio.run(story())
    assert ["first", *"abcde"] == seen


def test_nobody_steps_in_between_one_turn_and_the_next():
    """The turn is free for an instant, and somebody waits for it: a newcomer stands behind."""
    seen: list[str] = []

    async def story():
        turn = Turn()
        async with turn.taken_by("first", wait_s=None):
            waiting = asyncio.create_task(held(turn, "waiting", seen))
            await asyncio.sleep(0)
        await held(turn, "newcomer", seen)
        await waiting

    asyncio.run(story())
    assert ["waiting", "newcomer"] == seen


@pytest.mark.parametrize(("asking", "whose"), [("https://a.example", "own"), ("https://b.example", "other")])
def test_who_waits_too_long_is_told_whether_it_waits_for_itself(asking, whose):
    async def story():
        turn = Turn()
        async with turn.taken_by("https://a.example", wait_s=None):
            with pytest.raises(AgentError) as error:
                async with turn.taken_by(asking, wait_s=NOW):
                    pass
        async with turn.taken_by("after", wait_s=NOW):  # the one that gave up left no place behind
            return error.value

    error = asyncio.run(story())
    assert (Code.DEVICE_BUSY, whose) == (error.code, error.facts["origin"])
    assert error.facts["since"].endswith("Z")


def test_a_failed_holder_gives_its_turn_back():
    async def story():
        turn = Turn()
        with pytest.raises(KeyError):
            async with turn.taken_by("first", wait_s=None):
                raise KeyError
        async with turn.taken_by("second", wait_s=NOW):
            return "taken"

    assert "taken" == asyncio.run(story())


def test_one_that_was_cancelled_while_waiting_is_passed_over():
    seen: list[str] = []

    async def story():
        turn, leave = Turn(), asyncio.Event()
        first = asyncio.create_task(held(turn, "first", seen, leave))
        await asyncio.sleep(0)
        cancelled = asyncio.create_task(held(turn, "cancelled", seen))
        last = asyncio.create_task(held(turn, "last", seen))
        await asyncio.sleep(0)
        cancelled.cancel()
        leave.set()
        await asyncio.gather(first, last)
        assert cancelled.cancelled()

    asyncio.run(story())
    assert ["first", "last"] == seen


def test_one_that_is_cancelled_as_its_turn_comes_passes_it_on():
    """Turn and cancel in the same pass of the loop: neither is lost."""
    seen: list[str] = []

    async def story():
        turn = Turn()
        async with turn.taken_by("first", wait_s=None):
            unlucky = asyncio.create_task(held(turn, "unlucky", seen))
            last = asyncio.create_task(held(turn, "last", seen))
            await asyncio.sleep(0)
        unlucky.cancel()  # its turn has come; it has not run since
        await last
        assert unlucky.cancelled()

    asyncio.run(story())
    assert ["last"] == seen


def test_one_whose_patience_ends_as_its_turn_comes_takes_it():
    seen: list[str] = []

    async def story():
        loop, turn = asyncio.get_running_loop(), Turn()

        async def impatient() -> None:
            async with turn.taken_by("impatient", wait_s=NOW):
                seen.append("impatient")

        async with turn.taken_by("first", wait_s=None):
            waiting = asyncio.create_task(impatient())
            await asyncio.sleep(0)
            deadline = loop.time() + 2 * NOW
            while loop.time() < deadline:  # the loop stands still past the deadline
                pass
        await waiting
        async with turn.taken_by("after", wait_s=NOW):
            seen.append("after")

    asyncio.run(story())
    assert ["impatient", "after"] == seen


def test_a_call_that_fails_after_its_deadline_is_not_reported_by_asyncio(lane, caplog):
    """Its own report would come whenever memory is freed, in the middle of anything."""

    async def story():
        gate = Gate()

        def fail():
            gate()
            raise AgentError(Code.DEVICE_CRASHED)

        late = await raised_by(lane.run(fail, timeout_s=NOW))
        gate.opened.set()
        await lane.run(lambda: None, timeout_s=NEVER)  # the failed one has ended before this
        await asyncio.sleep(0)
        return late.code

    assert Code.DEVICE_TIMEOUT == asyncio.run(story())
    gc.collect()
    assert [] == [record.getMessage() for record in caplog.records if record.name == "asyncio"]
