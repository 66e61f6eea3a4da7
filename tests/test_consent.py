"""The person's decisions about sites: how long each holds, and what is kept of them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.consent import FORGOTTEN_AFTER, LONGEST_QUIET, Consent, Decided, Decisions

SITE, OTHER = "https://dossier.example", "https://autre.example:8443"
MORNING = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def after(*answers: Consent, every: timedelta = LONGEST_QUIET) -> Decisions:
    """The decisions once SITE was answered for so many times."""
    decisions, now = Decisions(), MORNING
    for answer in answers:
        decisions = decisions.answered(SITE, answer, now)
        now += every
    return decisions


def quiet_hours(decisions: Decisions) -> float:
    decision = decisions.of(SITE)
    assert decision
    assert decision.until
    return (decision.until - decision.since) / HOUR


def test_nothing_is_decided_of_a_site_that_never_asked() -> None:
    assert Decisions().of(SITE) is None


@pytest.mark.parametrize(("answer", "state"), [(Consent.ALLOW, Decided.ALLOWED), (Consent.BLOCK, Decided.BLOCKED)])
def test_an_answer_holds_for_years(answer: Consent, state: Decided) -> None:
    decisions = after(answer)

    assert decisions.in_state(state, MORNING + timedelta(days=3650)) == {SITE}
    assert decisions.in_state(Decided.QUIET, MORNING) == set()


def test_not_now_is_an_hour_then_two_then_four_and_never_more_than_a_week() -> None:
    """Defence list D20: closing the window is no answer that is kept for good."""
    told = [quiet_hours(after(*[Consent.NOT_NOW] * times)) for times in (1, 2, 3, 4, 7, 8, 9, 40)]

    assert told == [1, 2, 4, 8, 64, 128, 168, 168]


@pytest.mark.parametrize("answer", [Consent.ALLOW, Consent.BLOCK])
def test_a_real_answer_ends_the_count(answer: Consent) -> None:
    assert quiet_hours(after(Consent.NOT_NOW, Consent.NOT_NOW, answer, Consent.NOT_NOW)) == 1


def test_a_quiet_site_may_ask_again_when_its_time_is_over_and_its_count_is_not_forgotten() -> None:
    decisions = after(Consent.NOT_NOW)

    assert decisions.in_state(Decided.QUIET, MORNING + HOUR - timedelta(seconds=1)) == {SITE}
    assert decisions.in_state(Decided.QUIET, MORNING + HOUR) == set()
    assert quiet_hours(decisions.answered(SITE, Consent.NOT_NOW, MORNING + HOUR)) == 2


def test_a_question_that_nobody_answered_is_an_hour_and_neither_raises_nor_ends_the_count() -> None:
    """Nobody was at the desk: nobody refused."""
    put_off = after(Consent.NOT_NOW, Consent.NOT_NOW)
    alone = put_off
    for night in range(9):
        alone = alone.left_unanswered(SITE, MORNING + night * 24 * HOUR)

    assert (quiet_hours(alone), alone.in_state(Decided.QUIET, MORNING + 8 * 24 * HOUR)) == (1, {SITE})
    assert alone.in_state(Decided.QUIET, MORNING + (8 * 24 + 1) * HOUR) == set()
    assert quiet_hours(Decisions().left_unanswered(SITE, MORNING)) == 1
    assert quiet_hours(alone.answered(SITE, Consent.NOT_NOW, MORNING)) == 4


@pytest.mark.parametrize("times", [0, 1, 2, 6, 7, 8, 30])
def test_what_a_not_now_will_cost_is_known_before_it_is_said(times: int) -> None:
    decisions = after(*[Consent.NOT_NOW] * times)

    assert decisions.next_quiet(SITE) / HOUR == quiet_hours(decisions.answered(SITE, Consent.NOT_NOW, MORNING))
    assert decisions.next_quiet(OTHER) == HOUR


def test_a_decision_undone_leaves_no_count() -> None:
    decisions = after(Consent.NOT_NOW, Consent.NOT_NOW).without(SITE, MORNING)

    assert decisions.of(SITE) is None
    assert quiet_hours(decisions.answered(SITE, Consent.NOT_NOW, MORNING)) == 1


def test_one_site_has_one_decision_and_others_keep_theirs() -> None:
    decisions = after(Consent.ALLOW).answered(OTHER, Consent.BLOCK, MORNING).answered(SITE, Consent.BLOCK, MORNING)

    assert decisions.in_state(Decided.BLOCKED, MORNING) == {SITE, OTHER}
    assert decisions.in_state(Decided.ALLOWED, MORNING) == set()
    assert len(decisions.sites) == 2


def test_a_site_that_was_put_off_and_never_came_back_is_forgotten_in_the_end() -> None:
    """The file does not grow with every page that ever asked."""
    later = MORNING + HOUR + FORGOTTEN_AFTER + timedelta(seconds=1)

    assert after(Consent.NOT_NOW).answered(OTHER, Consent.ALLOW, later).of(SITE) is None
    assert after(Consent.BLOCK).answered(OTHER, Consent.ALLOW, later).of(SITE) is not None


def test_a_clock_that_was_years_ahead_silences_nobody_for_years() -> None:
    ahead = Decisions().answered(SITE, Consent.NOT_NOW, MORNING + timedelta(days=3650))

    assert ahead.in_state(Decided.QUIET, MORNING) == set()


@given(
    answers=st.lists(st.tuples(st.sampled_from(list(Consent)), st.integers(0, 400)), max_size=12),
    hours=st.integers(0, 10_000),
)
def test_a_site_is_never_allowed_but_by_its_last_answer_and_never_quiet_for_more_than_a_week(
    answers: list[tuple[Consent, int]], hours: int
) -> None:
    decisions, now = Decisions(), MORNING
    for answer, pause in answers:
        now += pause * HOUR
        decisions = decisions.answered(SITE, answer, now)
    last = answers[-1][0] if answers else None
    later = now + hours * HOUR

    assert (SITE in decisions.in_state(Decided.ALLOWED, later)) == (last is Consent.ALLOW)
    assert (SITE in decisions.in_state(Decided.BLOCKED, later)) == (last is Consent.BLOCK)
    assert not (SITE in decisions.in_state(Decided.QUIET, later) and hours >= 7 * 24)
    assert Decisions.model_validate_json(decisions.model_dump_json(by_alias=True)) == decisions
