"""Who may stay in silence. The rules alone, then with their clock and look-ups."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Door
from agent.peers import Link
from agent.protocol.lobby import LOOK_AGAIN_S, Lobby
from agent.protocol.silent import UNSEEN, Silent


def silent(processes: Iterable[int | None]) -> Silent[int]:
    """Connections 0, 1, 2… of these processes, in this order."""
    made: Silent[int] = Silent()
    for number, process in enumerate(processes):
        made.enter(number)
        if process is not None:
            made.learn({number: process})
    return made


def test_as_many_as_allowed_stay() -> None:
    assert silent([1, 1, 2, None]).excess(at_once=4, per_process=2) == []


def test_the_oldest_of_a_program_that_has_too_many_leaves_and_nobody_elses() -> None:
    assert silent([2, 1, 1, 1, 2, 1]).excess(at_once=10, per_process=2) == [1, 2]


def test_the_oldest_of_all_leaves_when_there_are_too_many() -> None:
    assert silent([1, 2, 3, 4]).excess(at_once=3, per_process=3) == [0]


def test_those_not_looked_up_count_as_one_program_and_those_unseen_as_another() -> None:
    assert silent([None, UNSEEN, None, UNSEEN, None]).excess(at_once=10, per_process=2) == [0]
    assert silent([UNSEEN, UNSEEN, UNSEEN]).excess(at_once=10, per_process=2) == [0]


def test_what_left_is_neither_counted_nor_learnt() -> None:
    some = silent([None, None])
    some.leave(0)
    some.leave(0)
    some.learn({0: 7, 1: 7})

    assert (len(some), some.not_looked_up()) == (1, [])


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=60), st.integers(1, 40), st.integers(1, 40)
)
def test_both_bounds_hold_the_newest_stays_and_a_program_loses_its_oldest_first(
    processes: list[int | None], at_once: int, per_process: int
) -> None:
    some = silent(processes)
    leaving = some.excess(at_once=at_once, per_process=per_process)
    for key in leaving:
        some.leave(key)
    staying = [key for key in range(len(processes)) if key not in leaving]

    assert len(set(leaving)) == len(leaving)
    assert len(some) == len(staying) <= at_once
    assert all(count <= per_process for count in Counter(processes[key] for key in staying).values())
    assert staying[-1] == len(processes) - 1
    for key in leaving:  # nobody leaves in vain, and never the younger one of a program before the older one
        assert all(key < other for other in staying if processes[other] == processes[key])
    assert not leaving or len(staying) == at_once or per_process in Counter(processes[key] for key in staying).values()
    assert some.excess(at_once=at_once, per_process=per_process) == []


# ---------------------------------------------------------------- with the clock and the look-ups


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time passes only when it is told."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Wire(asyncio.Transport):
    """A connection of a program; its peer's port says which."""

    def __init__(self, port: int) -> None:
        super().__init__({"peername": ("127.0.0.1", port), "sockname": ("127.0.0.1", 1)})
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Waiting:
    """A lobby, and how often its programs were looked up. Ports below 100 are of one program, others of another."""

    def __init__(self, **settings: float) -> None:
        self.loop = Clock()
        self.looked_up: list[int] = []
        self.dropped = 0
        self.lobby = Lobby(
            door=lambda: Door.model_validate(settings), processes=self._processes, silent_s=120, dropped=self._drop
        )
        self.look_takes_s = 0.0

    def _processes(self, links: Iterable[Link]) -> Mapping[Link, int]:
        found = {link: 1 if link.theirs[1] < 100 else 2 for link in links}
        self.looked_up.append(len(found))
        self.loop.now += self.look_takes_s
        return found

    def _drop(self) -> None:
        self.dropped += 1

    def come(self, *ports: int) -> list[Wire]:
        wires = [Wire(port) for port in ports]

        async def enter() -> None:
            for wire in wires:
                self.lobby.enter(wire)

        self.loop.run_until_complete(enter())
        return wires

    def pass_s(self, seconds: float) -> None:
        self.loop.now += seconds
        self.loop.run_until_complete(asyncio.sleep(0))  # what is due runs


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting(silent_per_process=4, silent=12, handshake_s=10)
    yield made
    made.lobby.close()
    made.loop.close()


def test_programs_are_looked_up_only_when_it_matters(waiting: Waiting) -> None:
    waiting.come(1, 2, 3, 4)
    assert waiting.looked_up == []

    waiting.come(5)
    assert waiting.looked_up == [5]


def test_a_program_with_too_many_loses_its_oldest_and_another_program_none(waiting: Waiting) -> None:
    others = waiting.come(101, 102)
    mine = waiting.come(1, 2, 3, 4, 5)

    waiting.pass_s(LOOK_AGAIN_S)

    assert [wire.aborted for wire in mine] == [True, False, False, False, False]
    assert not any(wire.aborted for wire in others)


def test_a_flood_is_looked_up_once_a_second_and_costs_nobody_who_was_known_before(waiting: Waiting) -> None:
    known = waiting.come(101, 102, 103, 1, 2)  # the fifth has all of them looked up
    flood = waiting.come(*range(3, 53))

    assert waiting.looked_up == [5]
    assert not any(wire.aborted for wire in known[:3])
    assert [wire.aborted for wire in flood[-4:]] == [False] * 4
    waiting.pass_s(LOOK_AGAIN_S)
    assert waiting.looked_up == [5, 4]
    assert not any(wire.aborted for wire in known[:3])


def test_the_longer_a_look_up_takes_the_rarer_it_is(waiting: Waiting) -> None:
    waiting.look_takes_s = 1
    waiting.come(1, 2, 3, 4, 101)
    waiting.come(102)
    waiting.pass_s(19)
    assert len(waiting.looked_up) == 1

    waiting.pass_s(1)
    assert len(waiting.looked_up) == 2


def test_a_connection_may_say_nothing_for_120_s_and_then_has_10_for_the_rest(waiting: Waiting) -> None:
    quiet, spoke, late = waiting.come(1, 2, 3)

    async def first_byte(wire: Wire) -> None:
        waiting.lobby.spoke(wire)

    waiting.loop.run_until_complete(first_byte(spoke))
    waiting.pass_s(10)
    assert (quiet.aborted, spoke.aborted, late.aborted) == (False, True, False)
    waiting.pass_s(109)
    waiting.loop.run_until_complete(first_byte(late))  # the person answered the browser at the last moment
    waiting.pass_s(9)
    assert (quiet.aborted, late.aborted) == (True, False)
    waiting.pass_s(1)
    assert late.aborted
    assert (waiting.dropped, len(waiting.lobby)) == (3, 0)


def test_who_has_left_is_dropped_by_no_clock(waiting: Waiting) -> None:
    (gone,) = waiting.come(1)
    waiting.lobby.leave(gone)
    waiting.pass_s(200)

    assert not gone.aborted
