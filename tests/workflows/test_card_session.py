"""The card session: whose it is, how long it lives, and what ends it."""

import asyncio
import threading
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.pin import Pin
from agent.signing.ports import TokenSeen
from agent.tray.bridge import PinQuestion
from agent.workflows import cpx
from tests.workflows.making import CPS, OTHER, SITE, Bench, Slot


def test_the_code_is_asked_once_while_the_session_lives(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.do(bench.by_traits())
    bench.do(bench.by_traits())

    assert len(bench.person.questions) == 1
    assert bench.slot.calls.count("login") == 1


@pytest.mark.parametrize(
    ("settings", "used_every_minutes", "asked_after_minutes"),
    [
        ({"idle_minutes": 30}, 29, 240),  # used all the time: at most four hours
        ({"idle_minutes": 30}, 30, 30),  # left alone: half an hour
        ({"keep": "minutes:5"}, 1, 5),  # used or not
        ({"idle_minutes": 2, "keep": "minutes:5"}, 2, 2),  # the shortest counts
    ],
)
def test_a_session_ends_when_it_is_not_used_and_at_the_latest_at_its_maximum(
    bench: Bench, settings: dict[str, object], used_every_minutes: int, asked_after_minutes: int
) -> None:
    bench.configure(cpx=settings)
    begun = bench.clock()
    bench.do(bench.unlock())
    while len(bench.person.questions) == 1:
        bench.clock.forward(minutes=used_every_minutes)
        bench.do(bench.unlock())

    minutes = (bench.clock() - begun).total_seconds() / 60
    assert asked_after_minutes <= minutes < asked_after_minutes + used_every_minutes


def test_the_timer_says_how_long_is_left_and_closes_the_session_on_the_card_too(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.clock.forward(minutes=10)
    assert bench.do(cpx.end_expired_session(bench.desk)) == 20 * 60
    bench.do(bench.unlock())
    bench.clock.forward(minutes=29)
    assert bench.do(cpx.end_expired_session(bench.desk)) == 60
    bench.clock.forward(minutes=1)

    assert bench.do(cpx.end_expired_session(bench.desk)) is None
    assert bench.desk.session is None
    assert bench.slot.calls[-1] == "logout"


def test_kept_for_a_call_the_session_ends_with_it_and_unlock_says_so(bench: Bench) -> None:
    bench.configure(cpx={"keep": "call"})

    unlocked = bench.do(bench.unlock())
    bench.do(bench.by_traits())

    assert unlocked.unlocked is False
    assert [activity.id for activity in unlocked.activities] == ["01", "02"]
    assert len(bench.person.questions) == 2
    assert bench.desk.session is None
    assert bench.slot.calls[-1] == "logout"


def test_another_origin_ends_the_session_before_the_person_is_asked_for_it(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.person.answer = Code.PIN_CANCELLED

    assert bench.refused(bench.unlock(OTHER)).code is Code.PIN_CANCELLED
    assert [question.origin for question in bench.person.questions] == [SITE, OTHER]
    assert bench.slot.calls[-1] == "logout"
    assert bench.do(bench.status()).unlocked is False


def test_another_origin_sees_a_card_whose_session_is_closed(bench: Bench) -> None:
    bench.do(bench.unlock())

    seen = bench.do(bench.status(OTHER))

    assert (seen.present, seen.unlocked, seen.activities) == (True, False, None)


def test_any_origin_may_lock(bench: Bench) -> None:
    bench.do(bench.unlock())

    assert bench.do(bench.lock(OTHER)).unlocked is False
    assert bench.desk.session is None


def test_a_worker_that_lost_its_session_makes_the_person_be_asked_again(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.logout()  # as after a restart of its process

    bench.do(bench.by_traits())

    assert len(bench.person.questions) == 2


def test_a_crash_of_the_worker_forgets_the_session(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.fails["look"] = AgentError(Code.DEVICE_CRASHED)

    assert bench.refused(bench.unlock()).code is Code.DEVICE_CRASHED
    assert bench.desk.session is None
    assert bench.changes == 2  # opened, closed


def test_the_session_leaves_with_its_card_also_when_another_card_takes_the_place(bench: Bench) -> None:
    bench.do(bench.unlock())
    assert cpx.card_left(bench.desk) is False
    for instead in (None, "corsican"):
        bench.readers.insert(CPS, instead)
        bench.desk.seen = bench.readers.seen()
        assert cpx.card_left(bench.desk) is True
    bench.desk.seen = None  # the card service stopped

    assert cpx.card_left(bench.desk) is True


class SlowLogin(Slot):
    """Accepts the code, and says so after the page has given up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.accepted, self.given_up = threading.Event(), threading.Event()

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        opened = super().login(serial, pin)
        self.accepted.set()
        self.given_up.wait(20)
        return opened


def test_a_login_that_nobody_waits_for_any_more_leaves_no_open_card(bench: Bench, simulator_pki: Path) -> None:
    bench.slot = slow = SlowLogin(simulator_pki)

    async def give_up() -> None:
        unlocking = asyncio.create_task(bench.unlock())
        await asyncio.to_thread(slow.accepted.wait, 20)
        unlocking.cancel()
        await asyncio.wait([unlocking])
        assert unlocking.cancelled()
        slow.given_up.set()
        await asyncio.gather(*bench.desk.exchanges)

    bench.do(give_up())

    assert slow.calls == ["look", "login", "logout"]
    assert slow.look()[0].logged_in is False
    assert bench.desk.session is None
    assert bench.do(bench.status()).unlocked is False


def test_while_one_origin_asks_for_the_code_the_other_is_told_who_is_in_the_way(bench: Bench) -> None:
    """The protocol contract: device.busy {origin: own/other, since}; clientRef and cards alike."""

    class Thinking:
        """A person who is still looking for the code."""

        asked = asyncio.Event()

        async def ask_pin(self, _question: PinQuestion) -> Pin:
            self.asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    bench.desk.person = person = Thinking()

    async def two() -> list[AgentError]:
        first = asyncio.create_task(bench.unlock())
        await person.asked.wait()
        refusals = []
        for origin in (SITE, OTHER):
            with pytest.raises(AgentError) as refused:
                await bench.unlock(origin)
            refusals.append(refused.value)
        first.cancel()
        await asyncio.wait([first])
        return refusals

    own, other = bench.do(two())

    assert own.code is other.code is Code.DEVICE_BUSY
    assert (own.facts["origin"], other.facts["origin"]) == ("own", "other")
    assert own.facts["since"] == other.facts["since"]
    assert own.facts["since"].endswith("Z")
