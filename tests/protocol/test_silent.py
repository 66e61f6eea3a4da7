"""Who may stay in silence. The rules alone, then with their clock and look-ups."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Door
from agent.peers import Link
from agent.protocol.lobby import LOOK_AGAIN_S, TIME_TO_SPEAK_S, Lobby
from agent.protocol.silent import CEILING, FOREIGN, UNSEEN, Silent, ceiling

NOW = 100.0


def silent(processes: Iterable[int | None], *, since: float = NOW) -> Silent[int]:
    """Connections 0, 1, 2… of these processes, in this order."""
    made: Silent[int] = Silent()
    for number, process in enumerate(processes):
        made.enter(number, since, foreign=process == FOREIGN)
        if process not in (None, FOREIGN):
            made.learn({number: process})
    return made


def test_as_many_as_allowed_stay() -> None:
    assert silent([1, 1, 2, UNSEEN]).excess(at_once=4, per_process=2, before=NOW) == []


def test_the_oldest_of_a_program_that_has_too_many_leaves_and_nobody_elses() -> None:
    assert silent([2, 1, 1, 1, 2, 1]).excess(at_once=10, per_process=2, before=NOW) == [1, 2]


def test_the_oldest_of_all_leaves_when_there_are_too_many() -> None:
    assert silent([1, 2, 3, 4]).excess(at_once=3, per_process=3, before=NOW) == [0]


def test_those_unseen_count_as_one_program_and_those_of_other_accounts_as_another() -> None:
    assert silent([UNSEEN, FOREIGN] * 3).excess(at_once=10, per_process=2, before=NOW) == [0, 1]


def test_another_account_leaves_before_the_oldest_of_all() -> None:
    assert silent([1, FOREIGN, 2, FOREIGN]).excess(at_once=3, per_process=3, before=NOW) == [1]
    assert silent([1, FOREIGN, 2, 3]).excess(at_once=2, per_process=3, before=NOW) == [1, 0]


def test_who_had_no_time_to_speak_or_was_not_looked_up_neither_leaves_nor_makes_others_leave() -> None:
    some = silent([1, 1, None, None, None])
    for number in range(5, 15):
        some.enter(number, NOW + 1)
        some.learn({number: 1})

    assert some.excess(at_once=2, per_process=2, before=NOW) == []
    assert some.excess(at_once=2, per_process=2, before=NOW + 1) == [0, 1, *range(5, 13)]


def test_at_the_ceiling_another_account_goes_first_then_the_oldest_of_the_program_that_holds_most() -> None:
    assert silent([1, 2, 2, FOREIGN, None, FOREIGN]).least_welcome() == 3
    assert silent([1, 2, 2, None]).least_welcome() == 1
    assert silent([1, 2, 2, None, None, None]).least_welcome() == 3
    assert silent([1, 2, 3]).least_welcome() == 0


def test_the_ceiling_is_eight_times_the_bound_or_what_the_system_lets_us_open() -> None:
    usual = {"at_once": 256, "per_process": 64, "connections": 128}

    assert ceiling(**usual, files=None) == ceiling(**usual, files=20_000) == 2048
    assert ceiling(**usual, files=1024) == 384
    assert ceiling(**usual, files=256) == 64


def test_what_left_is_neither_counted_nor_learnt() -> None:
    some = silent([None, None])
    some.leave(0)
    some.leave(0)
    some.learn({0: 7, 1: 7})

    assert (len(some), some.not_looked_up()) == (1, [])


GUESTS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(FOREIGN, 4)), st.booleans()), min_size=1, max_size=60
)  # process, and whether it had its time to speak


@given(GUESTS, st.integers(1, 40), st.integers(1, 40))
def test_both_bounds_hold_the_newest_stays_and_a_program_loses_its_oldest_first(
    guests: list[tuple[int | None, bool]], at_once: int, per_process: int
) -> None:
    guests.sort(key=lambda guest: not guest[1])  # who had its time came before who had not
    processes = [process for process, _ in guests]
    some: Silent[int] = Silent()
    for number, (process, had_time) in enumerate(guests):
        some.enter(number, NOW if had_time else NOW + 1, foreign=process == FOREIGN)
        if process not in (None, FOREIGN):
            some.learn({number: process})
    settled = [number for number, (process, had_time) in enumerate(guests) if had_time and process is not None]

    leaving = some.excess(at_once=at_once, per_process=per_process, before=NOW)
    for key in leaving:
        some.leave(key)
    staying = [key for key in settled if key not in leaving]

    assert len(set(leaving)) == len(leaving)
    assert set(leaving) <= set(settled)
    assert len(some) == len(guests) - len(leaving)
    assert len(staying) <= at_once
    assert all(count <= per_process for count in Counter(processes[key] for key in staying).values())
    assert not staying or processes[settled[-1]] == FOREIGN or settled[-1] in staying
    for key in leaving:  # nobody leaves in vain, and never the younger one of a program before the older one
        assert all(key < other for other in staying if processes[other] == processes[key])
    assert not leaving or len(staying) == at_once or per_process in Counter(processes[key] for key in staying).values()
    assert some.excess(at_once=at_once, per_process=per_process, before=NOW) == []


@given(GUESTS)
def test_who_goes_at_the_ceiling_is_the_oldest_of_its_program_and_never_the_newest_of_several(
    guests: list[tuple[int | None, bool]],
) -> None:
    processes = [process for process, _ in guests]
    going = silent(processes).least_welcome()

    assert going == processes.index(processes[going])
    assert processes[going] == FOREIGN or going < len(processes) - 1 or len(processes) == 1
    assert (processes[going] == FOREIGN) == (FOREIGN in processes)


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


class AtOnce(ThreadPoolExecutor):
    """Instead of a thread."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(call(*args, **named))
        return done


class Waiting:
    """A lobby, and how often its programs were looked up. Ports below 100 are of one program, others of another."""

    def __init__(self, **settings: float) -> None:
        self.loop = Clock()
        self.loop.set_default_executor(AtOnce())
        self.looked_up: list[int] = []
        self.dropped = self.most = 0
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

    def come(self, *ports: int, foreign: bool = False) -> list[Wire]:
        """They come in one breath, and what there is to do about it is done."""
        wires = [Wire(port) for port in ports]

        async def enter() -> None:
            for wire in wires:
                self.lobby.enter(wire, foreign=foreign)
                self.most = max(self.most, len(self.lobby))

        self.loop.run_until_complete(enter())
        self._settle()
        return wires

    def pass_s(self, seconds: float) -> None:
        self.loop.now += seconds
        self._settle()

    def _settle(self) -> None:
        async def settled() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(settled())


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting(silent_per_process=4, silent=12, handshake_s=10)
    yield made
    made.loop.run_until_complete(made.lobby.close())
    assert len(made.lobby) == 0
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


def test_who_has_only_just_come_is_dropped_by_no_burst(waiting: Waiting) -> None:
    burst = waiting.come(*range(1, 41))
    (new,) = waiting.come(41)
    waiting.pass_s(TIME_TO_SPEAK_S / 2)
    assert waiting.dropped == 0

    waiting.lobby.leave(new)  # it spoke
    waiting.pass_s(LOOK_AGAIN_S)
    assert [wire.aborted for wire in burst] == [True] * 36 + [False] * 4
    assert not new.aborted


def test_a_flood_is_looked_up_once_a_second_and_costs_nobody_of_another_program(waiting: Waiting) -> None:
    known = waiting.come(101, 102, 103, 1, 2)  # the fifth has all of them looked up
    flood = waiting.come(*range(3, 53))
    assert waiting.looked_up == [5]

    waiting.pass_s(LOOK_AGAIN_S)
    assert waiting.looked_up == [5, 50]
    assert [wire.aborted for wire in known + flood] == [False] * 3 + [True] * 48 + [False] * 4
    waiting.come(*range(3, 53))
    assert waiting.looked_up == [5, 50]
    waiting.pass_s(LOOK_AGAIN_S)
    assert waiting.looked_up == [5, 50, 50]
    assert not any(wire.aborted for wire in known[:3])


def test_nobody_is_looked_up_any_more_once_few_are_silent(waiting: Waiting) -> None:
    waiting.come(1, 2, 3, 4, 5)
    waiting.pass_s(LOOK_AGAIN_S)
    waiting.pass_s(LOOK_AGAIN_S)
    assert len(waiting.lobby) == 4

    waiting.lobby.leave(waiting.come(101)[0])
    waiting.pass_s(LOOK_AGAIN_S)
    assert waiting.looked_up == [5, 1]
    waiting.come(102)
    assert waiting.looked_up == [5, 1, 1]


def test_never_more_than_the_ceiling_are_here_and_the_newest_is_among_them(waiting: Waiting) -> None:
    known = waiting.come(101, 102, 103, 104, 1)
    waiting.pass_s(LOOK_AGAIN_S)
    flood = waiting.come(*range(1, 100), *range(1, 100))

    assert waiting.most == len(waiting.lobby) == waiting.lobby.ceiling == CEILING * 12
    assert not any(wire.aborted for wire in known)
    assert [wire.aborted for wire in flood] == [True] * (198 - 91) + [False] * 91


def test_another_account_never_drops_ours_and_is_dropped_before_it_is_looked_up(waiting: Waiting) -> None:
    ours = waiting.come(*range(101, 105))
    theirs = waiting.come(*range(1, 200), foreign=True)
    assert (waiting.most, waiting.looked_up) == (waiting.lobby.ceiling, [4])
    assert not any(wire.aborted for wire in ours + theirs[-4:])

    waiting.pass_s(LOOK_AGAIN_S)
    assert [wire.aborted for wire in ours + theirs] == [False] * 4 + [True] * 195 + [False] * 4


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
