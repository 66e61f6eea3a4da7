"""How much one origin may ask: the sliding window by itself, then each path that it guards."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Limits, Source, load
from agent.errors import AgentError, Code
from agent.model import PinState
from agent.pin import Pin
from agent.protocol.origins import NATIVE
from agent.simulator.pki import CARD_AID
from agent.tray.bridge import PinQuestion
from agent.tray.state import TrayState, view_of
from agent.workflows.rates import ROWS_KEPT, Rated, Rates
from tests.parts.agent import SITE as PAGE
from tests.parts.agent import Simulation
from tests.workflows.making import LEONARDO, OTHER, SITE, TOUSSAINT, Bench

START = datetime(2025, 3, 4, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def refusal(rates: Rates, what: Rated, origin: str, limits: Limits, now: datetime) -> AgentError | None:
    try:
        rates.take(what, origin, limits, now)
    except AgentError as error:
        assert error.code is Code.RATE_LIMITED
        return error
    return None


# ---------------------------------------------------------------- the window


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 999, 1000, 20_000, 59_999, 60_000, 60_001, 3_600_000, 86_340_000, 86_400_000]),  # ms
        st.sampled_from(Rated),
        st.sampled_from([SITE, OTHER, NATIVE]),
    ),
    max_size=60,
)
LIMITS = st.builds(
    Limits,
    insi_per_minute=st.integers(1, 4),
    insi_per_day=st.integers(1, 6),
    pin_windows_per_minute=st.integers(1, 3),
)


@given(STEPS, LIMITS)
def test_what_is_allowed_and_the_wait_told_are_those_of_a_list_that_forgets_nothing(
    steps: list[tuple[int, Rated, str]], limits: Limits
) -> None:
    windows = {
        Rated.INSI_CALL: [("insi_per_minute", MINUTE), ("insi_per_day", DAY)],
        Rated.CODE_WINDOW: [("pin_windows_per_minute", MINUTE)],
        Rated.ACTIVITY_WINDOW: [("pin_windows_per_minute", MINUTE)],
    }
    rates, now, taken = Rates(), START, []

    def used_up(what: Rated, origin: str, at: datetime) -> list[str]:
        """The limits that a full list of all that was taken says are reached."""
        return [
            f"limits.{name}"
            for name, period in windows[what]
            if sum(w is what and o == origin and t > at - period for w, o, t in taken) >= getattr(limits, name)
        ]

    for after_ms, what, origin in steps:
        now += timedelta(milliseconds=after_ms)
        refused, reached = refusal(rates, what, origin, limits, now), used_up(what, origin, now)
        assert (refused is not None) == bool(reached)
        if refused is None:
            taken.append((what, origin, now))
            continue
        wait = refused.facts["retryAfterS"]
        assert isinstance(wait, int)
        assert wait >= 1
        assert refused.facts["limit"] in reached
        assert not used_up(what, origin, now + timedelta(seconds=wait))  # then it is allowed,
        assert used_up(what, origin, now + timedelta(seconds=wait - 1))  # and no second before


def test_a_clock_that_is_set_back_makes_nobody_wait_for_an_hour_that_comes_twice() -> None:
    rates, limits = Rates(), Limits(insi_per_minute=2)
    for _ in range(2):
        rates.take(Rated.INSI_CALL, SITE, limits, START)

    earlier = START - timedelta(hours=1)

    assert refusal(rates, Rated.INSI_CALL, SITE, limits, earlier) is None
    assert refusal(rates, Rated.INSI_CALL, SITE, limits, earlier) is None
    assert refusal(rates, Rated.INSI_CALL, SITE, limits, earlier) is not None


def test_a_limit_that_is_lowered_or_raised_counts_at_once() -> None:
    rates = Rates()
    for second in range(4):
        rates.take(Rated.INSI_CALL, SITE, Limits(), START + timedelta(seconds=second))

    now = START + timedelta(seconds=10)
    lowered = refusal(rates, Rated.INSI_CALL, SITE, Limits(insi_per_minute=2), now)

    assert lowered is not None
    assert lowered.facts == {"retryAfterS": 52, "limit": "limits.insi_per_minute"}  # the third of the four is 60 s old
    assert refusal(rates, Rated.INSI_CALL, SITE, Limits(insi_per_minute=5), now) is None


def test_an_origin_that_was_silent_for_a_day_is_forgotten_and_never_more_than_the_window_is_kept() -> None:
    rates, limits, now = Rates(), Limits(insi_per_minute=10, insi_per_day=20), START
    for _ in range(100):
        refusal(rates, Rated.INSI_CALL, SITE, limits, now)
        now += timedelta(minutes=20)
    assert kept(rates) <= 20

    rates.take(Rated.CODE_WINDOW, OTHER, limits, now + DAY)

    assert kept(rates) == 1


def test_many_origins_do_not_grow_it_and_whoever_asks_most_often_is_not_the_one_forgotten() -> None:
    rates, limits = Rates(), Limits(insi_per_minute=1)
    for number in range(3 * ROWS_KEPT):
        now = START + timedelta(milliseconds=number)
        rates.count(Rated.INSI_CALL, SITE, now)
        rates.take(Rated.INSI_CALL, f"https://{number}.example", limits, now)
        rates.check(Rated.CODE_WINDOW, f"https://{number}.example", limits, now)

    assert len(rates._counted) == ROWS_KEPT
    assert refusal(rates, Rated.INSI_CALL, SITE, limits, now) is not None


def kept(rates: Rates) -> int:
    return sum(map(len, rates._counted.values()))


# ---------------------------------------------------------------- INSi calls


def limited(bench: Bench, **limits: int) -> None:
    bench.configure(limits={"insi_per_minute": 100, "pin_windows_per_minute": 100, **limits})


@pytest.mark.parametrize("mode", ["cpx", "organisation"])
def test_an_insi_call_too_many_is_refused_before_any_card_or_code_and_says_when_to_come_back(
    bench: Bench, mode: str
) -> None:
    limited(bench, insi_per_minute=2)
    bench.do(bench.by_traits(authMode=mode))
    bench.clock.forward(seconds=20.5)
    bench.do(bench.by_traits(authMode=mode))
    bench.do(bench.lock())
    before = len(bench.person.questions), len(bench.slot.calls), len(bench.insi.received)

    refused = bench.refused(bench.by_traits(authMode=mode))

    assert refused.code is Code.RATE_LIMITED
    assert refused.facts == {"retryAfterS": 40, "limit": "limits.insi_per_minute"}
    assert (len(bench.person.questions), len(bench.slot.calls), len(bench.insi.received)) == before
    bench.clock.forward(seconds=40)
    assert bench.do(bench.by_traits(authMode=mode)).code == "00"


def test_a_days_limit_slides_over_24_hours(bench: Bench) -> None:
    limited(bench, insi_per_day=2)
    bench.do(bench.by_traits())
    bench.clock.forward(hours=12)
    bench.do(bench.by_traits())

    refused = bench.refused(bench.by_traits())

    assert refused.facts == {"retryAfterS": 12 * 3600, "limit": "limits.insi_per_day"}
    bench.clock.forward(hours=12)
    assert bench.do(bench.by_traits()).code == "00"
    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED


def test_by_carte_vitale_or_by_traits_it_is_the_same_limit(bench: Bench) -> None:
    limited(bench, insi_per_minute=1)
    read = bench.do(bench.read())
    bench.do(bench.with_vitale(read.read_id))

    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED
    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.RATE_LIMITED


def test_a_person_looked_for_is_one_call_whatever_the_attempts(bench: Bench) -> None:
    limited(bench, insi_per_minute=2)
    several = bench.do(bench.by_traits(traits=LEONARDO | {"givenNames": ["LEONARDO", "PAUL"]}))

    assert len(several.trace.attempts) > 1
    assert bench.do(bench.by_traits()).code == "00"
    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED


def test_each_origin_has_its_own_limit_and_local_programs_have_one_too(bench: Bench) -> None:
    limited(bench, insi_per_minute=1)
    bench.settings = bench.settings.model_copy(
        update={"software": [bench.settings.software[0].model_copy(update={"origins": [SITE, OTHER, NATIVE]})]}
    )
    for origin in (SITE, OTHER, NATIVE):
        bench.do(bench.by_traits(origin))

    for origin in (SITE, OTHER, NATIVE):
        assert bench.refused(bench.by_traits(origin)).code is Code.RATE_LIMITED


def test_a_stored_result_that_is_replayed_is_no_call(bench: Bench) -> None:
    limited(bench, insi_per_minute=1)
    bench.do(bench.by_traits(clientRef="venue-1"))

    for _ in range(3):
        assert bench.do(bench.by_traits(clientRef="venue-1")).replayed
    refused = bench.refused(bench.by_traits(clientRef="venue-2"))

    assert refused.code is Code.RATE_LIMITED
    bench.clock.forward(minutes=1)
    assert bench.do(bench.by_traits(clientRef="venue-2")).code == "00"  # the reference is free again


def nobody_authorised(bench: Bench) -> None:
    bench.configure(limits={"insi_per_minute": 1}, software=[])


def a_consumer(bench: Bench) -> None:
    bench.configure(limits={"insi_per_minute": 1}, profile="consumer")


def no_card(bench: Bench) -> None:
    bench.slot.copies = 0


def a_card_pulled_at_the_first_look(bench: Bench) -> None:
    bench.slot.fails["look"] = AgentError(Code.CARD_REMOVED)


def a_person_who_closes_the_window(bench: Bench) -> None:
    bench.person.answer = Code.PIN_CANCELLED


def a_person_who_errs(bench: Bench) -> None:
    bench.person.answer = "0000"


def no_address(bench: Bench) -> None:
    bench.insi.configured.clear()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (nobody_authorised, Code.SOFTWARE_NOT_AUTHORISED),
        (a_consumer, Code.INSI_NOT_PERMITTED),
        (no_card, Code.CPX_ABSENT),
        (a_card_pulled_at_the_first_look, Code.CARD_REMOVED),
        (a_person_who_closes_the_window, Code.PIN_CANCELLED),
        (a_person_who_errs, Code.PIN_WRONG),
        (no_address, Code.INSI_NOT_CONFIGURED),
    ],
)
def test_a_call_refused_before_its_first_attempt_is_none(
    bench: Bench, spoil: Callable[[Bench], None], code: Code
) -> None:
    limited(bench, insi_per_minute=1)
    spoil(bench)

    assert bench.refused(bench.by_traits()).code is code

    bench.desk.rates.check(Rated.INSI_CALL, SITE, Limits(insi_per_minute=1), bench.clock())  # or it raises


def test_an_attempt_that_insi_did_not_answer_is_a_call(bench: Bench) -> None:
    limited(bench, insi_per_minute=1)
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE)]

    assert bench.refused(bench.by_traits()).code is Code.INSI_UNREACHABLE
    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED


def test_calls_that_wait_for_their_turn_count_one_after_the_other(bench: Bench) -> None:
    limited(bench, insi_per_minute=3)

    async def at_once() -> list[object]:
        return await asyncio.gather(*(bench.by_traits() for _ in range(5)), return_exceptions=True)

    came = bench.do(at_once())

    assert [getattr(one, "code", None) for one in came] == ["00", "00", "00", Code.RATE_LIMITED, Code.RATE_LIMITED]
    assert len(bench.insi.received) == 3


def test_on_a_managed_install_the_limits_are_the_administrators() -> None:
    chosen = {"limits": {"insi_per_minute": 1000, "insi_per_day": 9000, "pin_windows_per_minute": 60}}

    assert load([(Source.MACHINE_POLICY, {"disabled": False}), (Source.USER, chosen)]).settings.limits == Limits()
    assert load([(Source.USER, chosen)]).settings.limits == Limits(**chosen["limits"])


# ---------------------------------------------------------------- windows


def test_a_code_window_too_many_does_not_appear(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=2)
    bench.person.answer = Code.PIN_CANCELLED
    for ask in (bench.unlock, bench.by_traits):  # both ways to the window
        assert bench.refused(ask()).code is Code.PIN_CANCELLED

    for ask in (bench.unlock, bench.by_traits):
        refused = bench.refused(ask())
        assert refused.code is Code.RATE_LIMITED
        assert refused.facts == {"retryAfterS": 60, "limit": "limits.pin_windows_per_minute"}
    assert len(bench.person.questions) == 2
    assert "cpx.pin" in bench.reached
    bench.clock.forward(minutes=1)
    bench.person.answer = "1234"
    assert bench.do(bench.unlock()).unlocked


def test_a_code_typed_on_the_reader_counts_as_much(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=1)
    bench.slot.shows = {"pin_pad": True}
    bench.person.answer = Code.PIN_CANCELLED
    bench.refused(bench.unlock())

    assert bench.refused(bench.unlock()).code is Code.RATE_LIMITED


def test_a_key_that_asks_each_time_meets_the_limit_too(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=2)
    bench.slot.shows = {"asks_each_time": (CARD_AID + b"\x01",)}
    bench.do(bench.by_traits())  # one window to open the card, one to sign

    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED
    assert len(bench.person.questions) == 2
    assert len(bench.insi.received) == 1


def test_a_locked_card_shows_no_window_and_counts_none(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=1)
    bench.slot.shows = {"pin_state": PinState.LOCKED}

    assert [bench.refused(bench.unlock()).code for _ in range(3)] == [Code.PIN_LOCKED] * 3


def test_one_origins_windows_are_not_anothers(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=1)
    bench.person.answer = Code.PIN_CANCELLED
    bench.refused(bench.unlock())

    assert bench.refused(bench.unlock(OTHER)).code is Code.PIN_CANCELLED
    assert [question.origin for question in bench.person.questions] == [SITE, OTHER]


def test_a_window_that_asks_for_the_activity_has_the_same_limit(bench: Bench) -> None:
    limited(bench, pin_windows_per_minute=2)
    bench.configure(
        limits={"pin_windows_per_minute": 2}, cpx={"activities": {}, "activity_question": "window", "keep": "card"}
    )
    bench.person.chooses = Code.ACTIVITY_NEEDED
    for _ in range(2):
        assert bench.refused(bench.by_traits()).code is Code.ACTIVITY_NEEDED

    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED
    assert len(bench.person.choices) == 2


def test_one_code_window_at_a_time_is_on_screen_whoever_asks(bench: Bench) -> None:
    class Desk:
        """A person who takes a while; counts the windows before them."""

        on_screen = most = 0

        async def ask_pin(self, _question: PinQuestion) -> Pin:
            self.on_screen += 1
            self.most = max(self.most, self.on_screen)
            for _ in range(100):
                await asyncio.sleep(0)  # everybody else has had their turn meanwhile
            self.on_screen -= 1
            return Pin(bytearray(b"1234"))

    bench.desk.person = person = Desk()  # type: ignore[assignment]  # nobody asks for an activity
    bench.desk.card_queue_s = 60

    async def at_once() -> list[object]:
        asked = [ask(origin) for _ in range(3) for origin in (SITE, OTHER) for ask in (bench.unlock, bench.by_traits)]
        return await asyncio.gather(*asked, return_exceptions=True)

    came = bench.do(at_once())

    assert person.most == 1
    assert not [one for one in came if isinstance(one, Exception) and not isinstance(one, AgentError)]


# ---------------------------------------------------------------- what the tray is told


def test_a_call_with_the_organisations_certificate_shows_from_its_beginning_to_its_end(bench: Bench) -> None:
    bench.do(bench.by_traits(authMode="organisation"))
    bench.do(bench.by_traits(OTHER, authMode="organisation"))

    assert [(shown.calls, shown.site, shown.under_way) for shown in bench.shown] == [
        (1, SITE, True),
        (1, SITE, False),
        (2, OTHER, True),
        (2, OTHER, False),
    ]
    assert bench.shown[-1].at == bench.clock.at


def test_it_ends_in_the_tray_however_it_ends(bench: Bench) -> None:
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE)]

    bench.refused(bench.by_traits(authMode="organisation"))

    assert [shown.under_way for shown in bench.shown] == [True, False]


def test_a_call_with_the_professionals_card_is_not_one_of_them(bench: Bench) -> None:
    bench.do(bench.by_traits(authMode="cpx"))

    assert bench.shown == []


# ---------------------------------------------------------------- through the whole agent


def test_a_page_that_asks_too_often_is_told_when_to_come_back_and_another_conversation_of_it_is_no_way_out(
    simulation: Callable[..., Simulation],
) -> None:
    agent = simulation("[limits]\ninsi_per_minute = 1\n")
    page = agent.site()
    page.call("insi.retrieveByTraits", traits=TOUSSAINT)

    for again in (page, agent.site()):
        refused = again.refusal("insi.retrieveByTraits", traits=TOUSSAINT)
        assert refused.reason == "rate.limited"
        assert refused.error["data"]["retryable"] is True
        assert refused.facts.keys() == {"retryAfterS", "limit"}
        assert 1 <= refused.facts["retryAfterS"] <= 60


def test_the_tray_of_the_running_agent_shows_the_organisations_calls(simulation: Callable[..., Simulation]) -> None:
    agent = simulation()
    page = agent.site()
    shown: list[TrayState] = []
    agent.running.show_state_in(shown.append)

    page.call("insi.retrieveByTraits", traits=TOUSSAINT, authMode="organisation")

    lines = [line.text for state in shown for line in view_of(state).menu if line.text.startswith("Certificat")]
    under_way, ended = dict.fromkeys(lines)
    assert under_way == f"Certificat de la structure : appel en cours pour {PAGE}"
    assert ended.startswith(f"Certificat de la structure : 1 appel depuis le démarrage, le dernier pour {PAGE} à ")
