"""The card session: whose it is, how long it lives, and what ends it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Code
from agent.model import PinState, Trace
from agent.pin import Pin
from agent.protocol.messages import NoParams
from agent.signing.ports import TokenSeen
from agent.simulator.pki import CARD_AID
from agent.tray.bridge import PinQuestion
from agent.workflows import cpx, greeting
from tests.workflows.making import CPS, OTHER, SITE, Bench, Readers, Slot

ACT = "Rechercher l'INS d'un patient"


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
    assert bench.readers.resets == [CPS]


def test_kept_for_a_call_the_session_ends_with_it_and_unlock_says_so(bench: Bench) -> None:
    bench.configure(cpx={"keep": "call"})

    unlocked = bench.do(bench.unlock())
    bench.do(bench.by_traits())

    assert unlocked.unlocked is False
    assert [activity.id for activity in unlocked.activities] == ["01", "02"]
    assert len(bench.person.questions) == 2
    assert bench.desk.session is None
    assert bench.slot.calls[-1] == "logout"


def test_a_question_for_another_origin_that_is_refused_leaves_the_session_as_it_was(bench: Bench) -> None:
    """A site cannot end another's session by merely asking."""
    bench.do(bench.unlock())
    bench.person.answer = Code.PIN_CANCELLED

    assert bench.refused(bench.unlock(OTHER)).code is Code.PIN_CANCELLED
    assert [question.origin for question in bench.person.questions] == [SITE, OTHER]
    assert bench.do(bench.status(OTHER)).unlocked is False
    assert bench.do(bench.status()).unlocked is True
    assert "logout" not in bench.slot.calls


def test_the_code_for_another_origin_ends_the_session_before_it_opens_the_others(bench: Bench) -> None:
    bench.readers.calls = bench.slot.calls
    bench.do(bench.unlock())
    assert bench.do(bench.unlock(OTHER)).unlocked is True

    assert bench.slot.calls == ["look", "login", "look", "logout", "reset", "login"]
    assert bench.do(bench.status()).unlocked is False


def test_a_lock_is_a_lock_whatever_can_be_said_of_the_card_afterwards(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.fails["look"] = AgentError(Code.TOKEN_UNKNOWN)

    locked = bench.do(bench.lock())

    assert (locked.present, locked.unlocked, bench.desk.session) == (True, False, None)


def test_a_card_pulled_during_the_login_was_removed_and_is_no_mystery(bench: Bench) -> None:
    bench.desk.seen = None
    bench.slot.fails["login"] = AgentError(Code.TOKEN_UNKNOWN, "0x00000005")

    assert bench.refused(bench.unlock()).code is Code.CARD_REMOVED


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
        await asyncio.wait(bench.desk.exchanges)

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

    bench.desk.person = person = Thinking()  # type: ignore[assignment]  # nobody asks for an activity

    async def two() -> list[AgentError]:
        first = asyncio.create_task(bench.unlock())
        await person.asked.wait()
        refusals = [await refusal(bench.unlock(origin)) for origin in (SITE, OTHER)]
        first.cancel()
        await asyncio.wait([first])
        return refusals

    told_as_own_and_as_other(bench.do(two()))


# ---------------------------------------------------------------- whose it is


class Witness(Slot):
    """Notes for whom the person had typed the code when a signature was made."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        super().__init__(folder)
        self._bench = bench
        self.signed_for: list[str] = []

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        self.signed_for.append(self._bench.person.questions[-1].origin)
        return super().sign(serial, cka_id, data, pin)


@pytest.mark.parametrize("order", [[SITE, OTHER, SITE], [OTHER, SITE, OTHER], [SITE, SITE, OTHER, OTHER]])
@pytest.mark.parametrize("at_once", [False, True])
def test_no_origin_gets_a_signature_from_the_session_of_another(
    bench: Bench, simulator_pki: Path, order: list[str], at_once: bool
) -> None:
    """Each signature follows a window that named its origin; the same origin's next one needs none."""
    bench.slot = witness = Witness(bench, simulator_pki)
    bench.desk.card_queue_s = 60

    async def calls() -> list[Trace]:
        if at_once:
            return [result.trace for result in await asyncio.gather(*map(bench.by_traits, order))]
        return [(await bench.by_traits(origin)).trace for origin in order]

    traces = sorted(bench.do(calls()), key=lambda trace: trace.seq)
    served = [trace.origin for trace in traces]
    assert sorted(served) == sorted(order)
    assert witness.signed_for == served
    changes_of_hands = [one for one, before in zip(served, ["", *served], strict=False) if one != before]
    assert [question.origin for question in bench.person.questions] == changes_of_hands


def test_an_unlock_and_a_call_of_another_origin_at_once_ask_for_both(bench: Bench, simulator_pki: Path) -> None:
    bench.slot = witness = Witness(bench, simulator_pki)
    bench.desk.card_queue_s = 60

    async def both() -> None:
        await asyncio.gather(bench.unlock(SITE), bench.by_traits(OTHER), bench.unlock(SITE))

    bench.do(both())

    assert {question.origin for question in bench.person.questions} == {SITE, OTHER}
    assert witness.signed_for == [OTHER]


def test_the_session_ends_on_the_card_before_the_next_origin_meets_it(bench: Bench) -> None:
    """Logout, then reset, then the other's look: a reset never falls into somebody's login."""
    bench.configure(cpx={"keep": "call"})
    bench.desk.card_queue_s = 60
    bench.readers.calls = bench.slot.calls

    async def both() -> None:
        await asyncio.gather(bench.unlock(SITE), bench.unlock(OTHER))

    bench.do(both())

    assert bench.slot.calls == ["look", "login", "logout", "reset"] * 2


# ---------------------------------------------------------------- what becomes of the card


@pytest.mark.parametrize(
    "end",
    [
        lambda bench: bench.do(bench.lock(OTHER)),
        lambda bench: bench.do(cpx.end_session(bench.desk)),  # quit, and a locked screen
        lambda bench: (bench.clock.forward(minutes=30), bench.do(cpx.end_expired_session(bench.desk))),
        lambda bench: (bench.slot.fails.update(look=AgentError(Code.DEVICE_CRASHED)), bench.refused(bench.status())),
        lambda bench: (bench.slot.kill(), bench.do(bench.status())),
    ],
    ids=["lock", "quit", "expiry", "crash", "restart"],
)
def test_the_card_is_reset_once_when_our_session_ends(bench: Bench, end: Callable[[Bench], object]) -> None:
    """A logout leaves the code verified on the card, for every program."""
    bench.do(bench.unlock())
    assert bench.readers.resets == []

    end(bench)

    assert bench.readers.resets == [CPS]
    assert bench.desk.session is None
    assert bench.changes == 2  # opened, closed: whoever watches is told
    bench.do(cpx.end_session(bench.desk))
    assert bench.readers.resets == [CPS]


def test_where_the_settings_say_so_the_card_is_left_alone(bench: Bench) -> None:
    bench.configure(cpx={"reset_card": False})
    bench.do(bench.unlock())

    bench.do(bench.lock())

    assert bench.readers.resets == []
    assert bench.slot.calls[-2:] == ["logout", "look"]


def test_a_card_that_never_had_our_code_is_left_alone(bench: Bench) -> None:
    bench.do(bench.status())
    bench.do(bench.lock())
    bench.person.answer = "0000"
    assert bench.refused(bench.unlock()).code is Code.PIN_WRONG

    assert bench.readers.resets == []


@pytest.mark.parametrize("instead", [None, "cpx"])
def test_a_card_that_has_left_is_not_reset_nor_the_one_in_its_place(bench: Bench, instead: str | None) -> None:
    bench.do(bench.unlock())
    session = bench.desk.session
    bench.insert(CPS, instead)

    bench.do(cpx.end_session(bench.desk, session, card_left=True))

    assert (bench.readers.resets, bench.desk.session) == ([], None)


def test_what_is_told_of_an_earlier_session_does_not_end_the_present_one(bench: Bench) -> None:
    bench.do(bench.unlock())
    earlier = bench.desk.session
    bench.do(bench.unlock(OTHER))

    bench.do(cpx.end_session(bench.desk, earlier, card_left=True))

    assert bench.desk.session is not None
    assert bench.desk.session.owner == OTHER


def test_a_reset_that_fails_is_logged_and_nobody_is_refused(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.do(bench.unlock())
    bench.readers.reset_fails = AgentError(Code.CARD_IN_USE, "held by another program")

    assert bench.do(bench.lock()).unlocked is False
    assert "card not reset: card.inUse" in caplog.text


def test_a_card_that_another_program_keeps_is_reset_as_soon_as_it_lets_go_and_meanwhile_said(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.readers.reset_fails = AgentError(Code.CARD_IN_USE, "held by another program")
    assert bench.do(bench.lock()).unlocked is False
    waiting = bench.desk.resetting
    assert waiting is not None
    assert [notice.reason for notice in greeting.notices(bench.desk)] == ["cpx.codeStillVerified"]

    bench.do(asyncio.wait({waiting}))

    assert bench.readers.resets == [CPS, CPS]
    assert (bench.desk.unreset, greeting.notices(bench.desk)) == (None, [])


@pytest.mark.parametrize("instead", ["taken out", "opened anew"])
def test_a_card_that_left_or_was_opened_anew_is_not_reset_later(bench: Bench, instead: str) -> None:
    bench.do(bench.unlock())
    bench.readers.reset_fails = AgentError(Code.CARD_IN_USE, "held by another program")
    bench.do(bench.lock())
    waiting = bench.desk.resetting
    assert waiting is not None
    if instead == "taken out":
        bench.insert(CPS, None)
    else:
        bench.do(bench.unlock(OTHER))

    bench.do(asyncio.wait({waiting}))

    assert bench.readers.resets == [CPS]
    assert bench.desk.unreset is None


def test_a_reset_of_a_card_that_is_gone_is_done(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.readers.reset_fails = AgentError(Code.CARD_REMOVED)
    bench.do(bench.lock())

    assert bench.desk.unreset is None


LONG = "Lecteur de cartes au nom si long que PKCS11 le coupe apres 64 octets 00 00"


@pytest.mark.parametrize(
    ("slot", "readers", "reset"),
    [
        (LONG[:64], [LONG], [LONG]),
        (LONG[:64], [LONG, "Autre"], [LONG]),
        ("Lecteur A", ["Lecteur A", "Lecteur A 2"], ["Lecteur A"]),
        ("Virtual hotplug slot", ["Lecteur A"], ["Lecteur A"]),
        ("Virtual hotplug slot", ["Lecteur A", "Autre"], []),  # it may be either: none
    ],
)
def test_the_reader_of_the_session_is_found_by_the_modules_name_for_it(
    bench: Bench, slot: str, readers: list[str], reset: list[str]
) -> None:
    bench.readers = Readers(dict.fromkeys(readers, "cpx"), bench.readers.cards)
    bench.plug(bench.readers)
    bench.desk.seen = bench.readers.seen()
    bench.slot.shows = {"reader": slot}

    bench.do(bench.unlock())
    assert cpx.card_left(bench.desk) is False
    bench.do(bench.lock())

    assert bench.readers.resets == reset


def test_another_card_is_not_taken_for_the_one_whose_reader_was_unplugged(bench: Bench) -> None:
    bench.do(bench.unlock())
    other = Readers({"Autre": "cpx"}, bench.readers.cards)
    bench.plug(other)
    bench.desk.seen = other.seen()

    assert cpx.card_left(bench.desk) is True
    bench.do(cpx.end_session(bench.desk))
    assert other.resets == []


@pytest.mark.parametrize("code", [Code.DEVICE_CRASHED, Code.TOKEN_UNKNOWN, Code.CPX_SESSION_LOST])
def test_a_login_whose_end_nobody_knows_resets_the_card_too(bench: Bench, code: Code) -> None:
    bench.slot.fails["login"] = AgentError(code)

    assert bench.refused(bench.unlock()).code is code
    assert bench.readers.resets == [CPS]
    assert bench.do(bench.unlock()).unlocked is True


class SlowReset(Readers):
    """Resets when it is let go."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def reset(self, reader: str) -> None:
        self.begun.set()
        self.let_go.wait(20)
        super().reset(reader)


def test_the_end_of_a_session_goes_on_when_whoever_waits_for_it_gives_up(bench: Bench) -> None:
    bench.do(bench.unlock())
    slow = SlowReset({CPS: "cpx"}, bench.readers.cards)
    bench.plug(slow)

    async def give_up() -> AgentError:
        locking = asyncio.create_task(bench.lock())
        await asyncio.to_thread(slow.begun.wait, 20)
        locking.cancel()
        await asyncio.wait([locking])
        refused = await refusal(bench.unlock(OTHER))  # the reset must not fall into this login
        slow.let_go.set()
        await asyncio.wait(bench.desk.exchanges)
        return refused

    refused = bench.do(give_up())

    assert (refused.code, refused.facts["origin"]) == (Code.DEVICE_BUSY, "other")
    assert slow.resets == [CPS]
    assert bench.do(bench.unlock(OTHER)).unlocked is True


# ---------------------------------------------------------------- a pin-pad


class PadLogin(Slot):
    """A reader on which somebody is typing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.shows = {"pin_pad": True}
        self.typing, self.typed = threading.Event(), threading.Event()

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        assert pin is None
        self.typing.set()
        self.typed.wait(20)
        return super().login(serial, Pin(bytearray(b"1234")))


def test_while_somebody_types_on_the_reader_the_others_are_told_who_and_since_when(
    bench: Bench, simulator_pki: Path
) -> None:
    bench.slot = pad = PadLogin(simulator_pki)

    async def meanwhile() -> list[AgentError]:
        unlocking = asyncio.create_task(bench.unlock())
        await asyncio.to_thread(pad.typing.wait, 20)
        refusals = [await refusal(bench.status(origin)) for origin in (SITE, OTHER)]
        told = await greeting.status(bench.desk, bench.asker(), NoParams())
        assert (told.card_service, told.cpx_session.open) == (True, False)
        pad.typed.set()
        assert (await unlocking).unlocked is True
        return refusals

    told_as_own_and_as_other(bench.do(meanwhile()))
    assert [question.pin_pad for question in bench.person.questions] == [True]


def test_a_screen_locked_while_somebody_types_on_the_reader_leaves_no_session(
    bench: Bench, simulator_pki: Path
) -> None:
    bench.slot = pad = PadLogin(simulator_pki)

    async def locked() -> None:
        unlocking = asyncio.create_task(bench.unlock())
        await asyncio.to_thread(pad.typing.wait, 20)
        ending = asyncio.create_task(cpx.end_session(bench.desk))
        await asyncio.sleep(0)
        pad.typed.set()
        await asyncio.wait([unlocking, ending])

    bench.do(locked())

    assert bench.desk.session is None
    assert bench.readers.resets == [CPS]
    assert pad.look()[0].logged_in is False


# ---------------------------------------------------------------- a key that asks each time


SIGNATURE_KEY = CARD_AID + b"\x01"


def test_a_key_that_asks_each_time_asks_the_person_each_time(bench: Bench) -> None:
    bench.slot.shows = {"asks_each_time": (SIGNATURE_KEY,)}

    bench.do(bench.by_traits())
    bench.do(bench.by_traits())

    operations = [question.operation for question in bench.person.questions]
    assert operations == [ACT, f"Signature : {ACT}", f"Signature : {ACT}"]
    assert bench.slot.codes == [b"1234", b"1234"]
    assert bench.slot.calls.count("login") == 1


def test_another_key_that_asks_each_time_is_nothing_to_us(bench: Bench) -> None:
    bench.slot.shows = {"asks_each_time": (CARD_AID + b"\x02",)}

    bench.do(bench.by_traits())

    assert len(bench.person.questions) == 1
    assert bench.slot.codes == []


def test_a_wrong_code_at_a_signature_ends_the_session_and_the_card_is_not_asked_again(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.shows = {"asks_each_time": (SIGNATURE_KEY,)}
    bench.person.answer = "0000"

    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts["pinState"]) == (Code.PIN_WRONG, "low")
    assert bench.slot.calls.count("sign") == 1
    assert (bench.desk.session, bench.readers.resets) == (None, [CPS])
    assert bench.insi.received == []
    bench.person.answer = "1234"
    bench.do(bench.by_traits())
    assert [question.previous_error for question in bench.person.questions] == [None, None, Code.PIN_WRONG, None]


@pytest.mark.parametrize(("state", "code"), [(PinState.LOCKED, Code.PIN_LOCKED), (PinState.FINAL, None)])
def test_the_tries_left_are_looked_at_before_each_question(bench: Bench, state: PinState, code: Code | None) -> None:
    bench.do(bench.unlock())
    bench.slot.shows = {"asks_each_time": (SIGNATURE_KEY,), "pin_state": state}

    if code:
        assert bench.refused(bench.by_traits()).code is code
        assert len(bench.person.questions) == 1
    else:
        bench.do(bench.by_traits())
        assert bench.person.questions[-1].pin_state is state


def test_a_screen_locked_during_the_question_for_a_signature_leaves_no_session_to_sign_with(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.shows = {"asks_each_time": (SIGNATURE_KEY,)}
    typist = bench.person

    class Away:
        """Comes back to a screen that was locked meanwhile."""

        async def ask_pin(self, question: PinQuestion) -> Pin | None:
            await cpx.end_session(bench.desk)
            return await typist.ask_pin(question)

    bench.desk.person = Away()  # type: ignore[assignment]  # nobody asks for an activity

    assert bench.refused(bench.by_traits()).code is Code.CPX_SESSION_LOST
    assert "sign" not in bench.slot.calls


@pytest.mark.parametrize("shows", [{}, {"asks_each_time": (SIGNATURE_KEY,)}])
@pytest.mark.parametrize("fails", [None, "login", "sign"])
def test_no_code_outlives_its_one_use(bench: Bench, shows: dict[str, Any], fails: str | None) -> None:
    bench.slot.shows = shows
    if fails:
        bench.slot.fails[fails] = AgentError(Code.DEVICE_CRASHED)
        bench.refused(bench.by_traits())
    else:
        bench.do(bench.by_traits())

    assert bench.person.pins
    for pin in bench.person.pins:
        with pytest.raises(ValueError, match="taken once"):
            pin.take()


# ---------------------------------------------------------------- trouble in the middle


@pytest.mark.parametrize("step", ["look", "module", "login", "sign"])
@pytest.mark.parametrize("code", [Code.DEVICE_CRASHED, Code.CARD_REMOVED, Code.CPX_SESSION_LOST, Code.MODULE_FAILED])
def test_whatever_happens_to_the_worker_the_call_says_it_and_the_next_one_works(
    bench: Bench, step: str, code: Code
) -> None:
    bench.slot.fails[step] = AgentError(code)

    refused = bench.refused(bench.by_traits())

    assert (refused.code, bench.insi.received) == (code, [])
    assert bench.do(bench.by_traits()).code == "00"
    assert bench.desk.session is not None


def test_a_session_lost_to_another_program_asks_the_person_again_and_no_code_was_kept(bench: Bench) -> None:
    """Another program's reset ends the module's session; a stored code sent again would hide it."""
    bench.do(bench.unlock())
    bench.slot.fails["sign"] = AgentError(Code.CPX_SESSION_LOST)

    assert bench.refused(bench.by_traits()).code is Code.CPX_SESSION_LOST
    assert bench.slot.calls.count("login") == 1
    bench.do(bench.by_traits())

    assert len(bench.person.questions) == bench.slot.calls.count("login") == 2


def test_a_card_taken_out_and_put_back_asks_again(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.copies = 0
    bench.insert(CPS, None)
    assert bench.do(bench.status()).present is False
    assert bench.desk.session is None
    bench.slot.copies = 1
    bench.insert(CPS, "cpx")

    bench.do(bench.by_traits())

    assert len(bench.person.questions) == 2
    assert bench.readers.resets == []


def test_a_card_service_that_restarts_in_the_middle_ends_the_session_and_the_next_call_works(bench: Bench) -> None:
    bench.do(bench.unlock())
    readers, bench.desk.seen = bench.readers, None
    bench.slot.fails["sign"] = AgentError(Code.TOKEN_UNKNOWN, "0x00000030")

    assert bench.refused(bench.by_traits()).code is Code.CARD_REMOVED
    assert bench.desk.session is None
    bench.desk.seen = readers.seen()
    assert bench.do(bench.by_traits()).code == "00"


class Hung(Slot):
    """Hangs in this call until its process is killed."""

    def __init__(self, folder: Path, where: str) -> None:
        super().__init__(folder)
        self._where, self._killed = where, threading.Event()

    def kill(self) -> None:
        super().kill()
        self._killed.set()

    def _note(self, call: str) -> None:
        super()._note(call)
        if call == self._where and not self._killed.is_set():
            self._killed.wait(20)
            raise AgentError(Code.DEVICE_CRASHED)


@pytest.mark.parametrize("where", ["look", "login", "sign", "logout"])
def test_a_worker_that_hangs_is_killed_at_its_deadline_and_leaves_nothing_open(
    bench: Bench, simulator_pki: Path, where: str
) -> None:
    bench.configure(cpx={"call_timeout_s": 0.5})
    bench.slot = Hung(simulator_pki, where)

    if where == "logout":
        bench.do(bench.unlock())
        bench.do(cpx.end_session(bench.desk))
    else:
        assert bench.refused(bench.by_traits()).code is Code.DEVICE_TIMEOUT

    assert "kill" in bench.slot.calls
    assert bench.desk.session is None
    assert bench.readers.resets == ([] if where == "look" else [CPS])
    bench.configure()
    assert bench.do(bench.by_traits()).code == "00"


def test_a_module_that_cannot_log_out_is_ended_with_its_session(bench: Bench) -> None:
    bench.do(bench.unlock())
    bench.slot.fails["logout"] = AgentError(Code.TOKEN_UNKNOWN, "0x00000005")

    bench.do(bench.lock())

    assert "kill" in bench.slot.calls
    assert bench.slot.look()[0].logged_in is False
    assert bench.readers.resets == [CPS]


# ---------------------------------------------------------------- helpers


async def refusal(work: Coroutine[Any, Any, Any]) -> AgentError:
    """The error that this must end with."""
    with pytest.raises(AgentError) as refused:
        await work
    return refused.value


def told_as_own_and_as_other(refusals: list[AgentError]) -> None:
    """Who is in the way, and since when: the same moment for both."""
    own, other = refusals
    assert own.code is other.code is Code.DEVICE_BUSY
    assert (own.facts["origin"], other.facts["origin"]) == ("own", "other")
    assert own.facts["since"] == other.facts["since"]
    assert own.facts["since"].endswith("Z")
