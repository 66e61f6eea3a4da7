"""Retention in the running agent: when it comes, whom it makes wait, and what keeps it from coming."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from agent.config import Settings
from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.journal.ports import StoredTrace
from agent.journal.retention import Rule
from agent.journal.shipping import target_of
from agent.workflows.attempts import journalled
from agent.workflows.upkeep import DAY_S, FIRST_S, keep_up, retain, rule_of
from tests.journal.making import KEY, NOW, intent, whole
from tests.parts.agent import Simulation
from tests.workflows.making import Bench

DAYS = {"journal": {"personal_days": 30, "entry_days": 60}}


class Pauses:
    """Time that passes at once, so many times; then the agent stops."""

    def __init__(self, bench: Bench, times: int) -> None:
        self._bench, self._left = bench, times
        self.waited: list[float] = []

    async def __call__(self, seconds: float) -> None:
        if len(self.waited) == self._left:
            raise asyncio.CancelledError
        self.waited.append(seconds)
        self._bench.clock.forward(seconds=seconds)


def up(bench: Bench, times: int) -> list[float]:
    """Keep up through so many pauses; how long each was."""
    pauses = Pauses(bench, times)
    with pytest.raises(asyncio.CancelledError):
        bench.do(keep_up(bench.desk, pauses))
    return pauses.waited


def on_lane(bench: Bench, call: Callable[[], object]) -> object:
    return bench.do(journalled(bench.desk, call))


def stored(bench: Bench, trace_id: str) -> StoredTrace | None:
    found = partial(bench.desk.journal.trace, trace_id, intent().origin, bench.desk.environment)
    return bench.do(journalled(bench.desk, found))


def with_old_operation(bench: Bench, passed: float) -> Bench:
    """An operation of NOW in its journal, so many days ago."""
    bench.configure(**DAYS)
    bench.clock.at = NOW + timedelta(days=passed)
    on_lane(bench, lambda: whole(bench.desk.journal, "old"))
    return bench


def test_retention_comes_a_while_after_the_start_and_then_once_a_day(bench):
    with_old_operation(bench, 28.5)

    assert [FIRST_S, DAY_S] == up(bench, 2)
    assert stored(bench, "old").params
    assert [FIRST_S, DAY_S] == up(bench, 2)
    assert stored(bench, "old").params is None


def test_the_rule_is_of_the_settings_as_they_are_then(bench):
    bench.configure(**DAYS)
    assert Rule(30, 60) == rule_of(bench.settings)
    assert Rule(1095, 3650) == rule_of(Settings())

    bench.configure(journal={"ship": {"to": "folder", "folder": str(Path("/there"))}})

    target = target_of(bench.settings.journal.ship)
    assert target
    assert Rule(1095, 3650, target) == rule_of(bench.settings)


def test_a_journal_that_is_not_there_is_not_made_and_no_key_is_asked_for(bench):
    bench.desk.load_identity = keyring_absent

    bench.do(retain(bench.desk))

    assert not (bench.folder / "journal").exists()


def keyring_absent() -> Identity:
    raise AgentError(Code.KEYRING_ABSENT)


def test_a_keyring_is_asked_only_when_something_is_due(bench):
    asked: list[float] = []

    def load() -> Identity:
        asked.append((bench.clock() - NOW).days)
        return KEY

    with_old_operation(bench, 28.5)
    bench.desk.load_identity = load

    up(bench, 4)

    assert [30] == asked
    assert stored(bench, "old").params is None


def test_what_nobody_foresaw_is_in_the_log_and_it_comes_the_next_day(bench, caplog):
    failures: list[Exception] = [ZeroDivisionError()]

    def load() -> Identity:
        if failures:
            raise failures.pop()
        return KEY

    with_old_operation(bench, 31)
    bench.desk.load_identity = load

    assert [FIRST_S, DAY_S] == up(bench, 2)

    assert stored(bench, "old").params is None
    assert ["ERROR"] == [line.levelname for line in caplog.records if "retention" in line.message and line.exc_info]


@pytest.mark.parametrize("code", [Code.KEYRING_ABSENT, Code.JOURNAL_FULL, Code.JOURNAL_UNAVAILABLE])
def test_what_keeps_it_from_coming_is_one_line_and_it_comes_the_next_day(bench, caplog, code):
    refusals = [AgentError(code, "said once")]

    def load() -> Identity:
        if refusals:
            raise refusals.pop()
        return KEY

    with_old_operation(bench, 40)
    bench.desk.load_identity = load

    with caplog.at_level(logging.INFO, "agent.workflows.upkeep"):
        up(bench, 2)

    said, done = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"journal: retention waits a day: {code}")
    assert "journal: retention took what was due, in 1 steps" == done
    assert stored(bench, "old").params is None


class Interrupted:
    """A journal during whose first step of retention a call comes; it notes the order of both."""

    def __init__(self, bench: Bench, loop: asyncio.AbstractEventLoop) -> None:
        self._desk, self._whole, self._loop = bench.desk, bench.desk.journal, loop
        self.order: list[str] = []
        self.calls: list[asyncio.Task[None]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._whole, name)

    def retain(self, rule: Rule, now: datetime) -> bool:
        if not self.order:
            asyncio.run_coroutine_threadsafe(self._come(), self._loop).result(60)
        self.order.append("step")
        return self._whole.retain(rule, now)

    async def _come(self) -> None:
        self.calls.append(asyncio.create_task(journalled(self._desk, lambda: self.order.append("call"))))
        await asyncio.sleep(0)  # it is in the lane's queue


def test_between_two_steps_a_call_has_its_turn(bench):
    """Lanes are first come, first served: what comes during the first step is before the second."""
    bench.configure(**DAYS)
    bench.clock.at = NOW + timedelta(days=40)
    for number in range(170):  # more entries than one step takes
        on_lane(bench, partial(whole, bench.desk.journal, f"old-{number}"))

    async def interrupted() -> list[str]:
        bench.desk.journal = journal = Interrupted(bench, asyncio.get_running_loop())
        await retain(bench.desk)
        await asyncio.gather(*journal.calls)
        return journal.order

    assert ["step", "call", "step"] == bench.do(interrupted())[:3]


def tasks(simulation: Simulation) -> list[str]:
    """The names of what runs in this agent."""

    async def names() -> list[str]:
        return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]

    return asyncio.run_coroutine_threadsafe(names(), simulation.running._loop).result(60)


def test_a_running_agent_keeps_up_its_journal(agent):
    assert 1 == tasks(agent).count("keep_up")
