"""Who may talk to the agent by whose decision, and how the person is asked for the sites that wait."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.config import ALL_RIGHTS, Loaded, Settings, Source
from agent.consent import Consent, Decided, Decisions
from agent.errors import AgentError, Code
from agent.model import Environment, Right
from agent.protocol.messages import NoParams, Site, SiteParams
from agent.protocol.methods import METHODS
from agent.tray.bridge import ConsentQuestion, SitesQuestion
from agent.workflows.sites import COMES_AND_GOES, CRASHES, Rules, Sites, listed

A, B, C = "https://a.example", "https://b.example", "https://c.example"
OURS = "https://notre.example"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Desk:
    """Sites, and hands on all that they talk to. Time passes only when somebody waits for it."""

    def __init__(self, *, decisions: Decisions | None = None, **origins: Any) -> None:
        self.configure(**origins)
        self.now, self.clock = NOW, 1000.0
        self.log: list[Any] = []  # in the order in which it happened
        self.kept: list[Decisions] = []
        self.keep_fails: AgentError | None = None
        self.looks: list[str | AgentError | None] = []  # what the person does with each list
        self.lists: list[SitesQuestion] = []
        self.answers: dict[str, asyncio.Future[Consent]] = {}
        self.organisation = False  # whether calls in its name are possible
        self.deaf: asyncio.Event | None = None  # until then a page does not take its close
        self.sites = Sites(
            decisions or Decisions(),
            settings=lambda: self.settings,
            rules=lambda: Rules.of(self.loaded),
            person=self,
            environment=Environment.TEST,
            organisation=lambda: self.organisation,
            keep=self._keep,
            settle=self._settle,
            now=lambda: self.now,
            monotonic=lambda: self.clock,
            sleep=self._sleep,
        )

    def configure(
        self,
        *,
        managed: bool = False,
        every: float = 60,
        profile: str = "repository",
        software: tuple[dict[str, Any], ...] = (),
        insi: dict[str, Any] | None = None,
        policy: bool = False,
        **origins: Any,
    ) -> None:
        settings = Settings.model_validate(
            {
                "managed": managed,
                "profile": profile,
                "software": software,
                "insi": insi or {},
                "origins": origins,
                "door": {"consent_every_s": every},
            }
        )
        self.loaded = Loaded(settings, {"origins.allowed": Source.MACHINE_POLICY if policy else Source.USER})

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    async def undisturbed(self) -> None:
        self.log.append("undisturbed")

    async def ask_consent(self, question: ConsentQuestion) -> Consent:
        self.log.append((question.origin, self.clock))
        self.question = question
        self.answers[question.origin] = asyncio.get_running_loop().create_future()
        try:
            return await self.answers[question.origin]
        except asyncio.CancelledError:
            self.log.append(f"withdrawn {question.origin}")
            raise

    async def show_sites(self, question: SitesQuestion) -> str | None:
        self.lists.append(question)
        await asyncio.sleep(0)
        look = self.looks.pop(0)
        if isinstance(look, AgentError):
            raise look
        return look

    async def answer(self, origin: str, answer: Consent | Code) -> None:
        await self.asked(origin)
        if isinstance(answer, Code):
            self.answers.pop(origin).set_exception(AgentError(answer))
        else:
            self.answers.pop(origin).set_result(answer)
        await settled()

    async def asked(self, origin: str) -> None:
        await settled()
        assert origin in self.answers, self.log

    @property
    def windows(self) -> list[tuple[str, float]]:
        return [entry for entry in self.log if isinstance(entry, tuple)]

    async def _keep(self, decisions: Decisions) -> None:
        if self.keep_fails:
            raise self.keep_fails
        self.kept.append(decisions)

    async def _settle(self, refused: str | None) -> None:
        self.log.append(f"settle {refused}" if refused else "settle")
        if self.deaf:
            await self.deaf.wait()

    async def _sleep(self, seconds: float) -> None:
        self.clock += seconds
        await asyncio.sleep(0)


async def settled() -> None:
    """Everything that can happen without anybody's doing has happened."""
    for _ in range(50):
        await asyncio.sleep(0)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def allowed(*origins: str) -> Decisions:
    decisions = Decisions()
    for origin in origins:
        decisions = decisions.answered(origin, Consent.ALLOW, NOW)
    return decisions


# ---------------------------------------------------------------- by whose decision


def test_a_consent_gives_the_rights_configured_at_the_moment_of_use_and_never_admin() -> None:
    desk = Desk(decisions=allowed(A), consent_rights=["vitale", "admin"])
    first = desk.sites.allowed
    desk.configure(consent_rights=["cpx"])

    assert first == {A: {Right.VITALE}}
    assert desk.sites.allowed == {A: {Right.CPX}}


@pytest.mark.parametrize("origins", [{"unknown": "refuse"}, {"managed": True}])
def test_a_policy_that_refuses_unknown_sites_wins_over_every_consent(origins: dict[str, Any]) -> None:
    """Defence list D20."""
    desk = Desk(decisions=allowed(A), **origins)

    assert desk.sites.allowed == {}
    (site,) = listed(Rules.of(desk.loaded), desk.sites.decisions, NOW).sites
    assert (site.origin, site.state, site.rights) == (A, "allowed", [])  # kept, and without effect


def test_a_managed_install_may_be_told_to_ask() -> None:
    assert Desk(decisions=allowed(A), managed=True, unknown="ask").sites.allowed.keys() == {A}


def test_the_configuration_wins_over_what_the_person_refused() -> None:
    decisions = Decisions().answered(OURS, Consent.BLOCK, NOW).answered(A, Consent.BLOCK, NOW)
    desk = Desk(decisions=decisions, allowed=[{"origin": OURS, "rights": ["vitale", "admin"]}])

    assert desk.sites.allowed == {OURS: {Right.VITALE}}
    assert desk.sites.turned_away == {A}


def test_blocked_and_quiet_sites_are_turned_away_as_long_as_that_holds() -> None:
    decisions = Decisions().answered(A, Consent.BLOCK, NOW).answered(B, Consent.NOT_NOW, NOW)
    desk = Desk(decisions=decisions)

    assert desk.sites.turned_away == {A, B}
    desk.now += timedelta(hours=1)
    assert desk.sites.turned_away == {A}


def test_the_list_says_of_each_site_what_holds_since_when_and_until_when() -> None:
    decisions = allowed(A).answered(B, Consent.BLOCK, NOW).answered(C, Consent.NOT_NOW, NOW)
    desk = Desk(decisions=decisions, allowed=[{"origin": OURS, "rights": ["trace", "vitale"]}], consent_rights=["cpx"])

    found = asyncio.run(desk.sites.listing(NoParams())).sites

    assert found == [
        Site(origin=OURS, state="allowed", by="configuration", rights=[Right.VITALE, Right.TRACE]),
        Site(origin=A, state="allowed", by="person", rights=[Right.CPX], since=NOW),
        Site(origin=B, state="blocked", by="person", rights=[], since=NOW),
        Site(origin=C, state="quiet", by="person", rights=[], since=NOW, until=NOW + timedelta(hours=1)),
    ]
    desk.now += timedelta(hours=1)
    assert [site.origin for site in asyncio.run(desk.sites.listing(NoParams())).sites] == [OURS, A, B]


def test_the_list_tells_a_site_of_the_policy_from_one_of_the_configuration() -> None:
    desk = Desk(allowed=[{"origin": OURS}], policy=True)

    (site,) = asyncio.run(desk.sites.listing(NoParams())).sites

    assert (site.origin, site.by) == (OURS, "policy")


# ---------------------------------------------------------------- taking a decision back


def test_a_revoked_site_is_closed_first_and_then_kept_as_never_asked() -> None:
    desk = Desk(decisions=allowed(A, B))

    left = asyncio.run(desk.sites.revoke(SiteParams(origin=A)))

    assert [site.origin for site in left.sites] == [B]
    assert desk.sites.allowed.keys() == {B}
    assert desk.log == ["settle"]
    assert [decisions.of(A) for decisions in desk.kept] == [None]


@pytest.mark.parametrize("answer", [Consent.BLOCK, Consent.NOT_NOW])
def test_an_unblocked_site_may_ask_again(answer: Consent) -> None:
    desk = Desk(decisions=Decisions().answered(A, answer, NOW))

    asyncio.run(desk.sites.unblock(SiteParams(origin=A)))

    assert desk.sites.turned_away == set()
    assert desk.kept == [Decisions()]


@pytest.mark.parametrize(
    ("method", "origin", "code"),
    [
        ("revoke", C, Code.SITE_UNKNOWN),
        ("revoke", B, Code.SITE_UNKNOWN),  # blocked: there is no access to take back
        ("revoke", OURS, Code.SITE_LOCKED),
        ("revoke", "", Code.SITE_UNKNOWN),
        ("unblock", C, Code.SITE_UNKNOWN),
        ("unblock", A, Code.SITE_UNKNOWN),  # allowed
        ("unblock", OURS, Code.SITE_LOCKED),
    ],
)
def test_what_the_person_did_not_decide_is_not_undone(method: str, origin: str, code: Code) -> None:
    desk = Desk(decisions=allowed(A).answered(B, Consent.BLOCK, NOW), allowed=[{"origin": OURS}])

    with pytest.raises(AgentError) as refused:
        asyncio.run(getattr(desk.sites, method)(SiteParams(origin=origin)))

    assert refused.value.code is code
    assert (desk.log, desk.kept) == ([], [])


def test_a_revocation_that_cannot_be_kept_is_said_and_holds_while_we_run() -> None:
    desk = Desk(decisions=allowed(A))
    desk.keep_fails = AgentError(Code.CONFIG_INVALID)

    with pytest.raises(AgentError) as refused:
        asyncio.run(desk.sites.revoke(SiteParams(origin=A)))

    assert refused.value.code is Code.CONFIG_INVALID
    assert (desk.sites.allowed, desk.log) == ({}, ["settle"])


# ---------------------------------------------------------------- the question


def test_the_answer_is_kept_and_the_conversations_settled() -> None:
    async def story() -> None:
        desk = Desk(consent_rights=["vitale", "trace"])
        desk.sites.wait(A, "page")
        await desk.asked(A)
        await desk.answer(A, Consent.ALLOW)

        assert desk.sites.allowed == {A: {Right.VITALE, Right.TRACE}}
        assert desk.kept == [desk.sites.decisions]
        assert desk.log[-1] == "settle"

    run(story)


AUTHORISED = {"name": "x", "version": "1", "origins": [A], "authorisation": {"test": "1234"}}
HERE = (Right.VITALE, Right.CPX, Right.RETRIEVE, Right.TRACE)  # rights of methods that this agent has
NO_INSI = (Right.VITALE, Right.CPX, Right.TRACE)
PACKAGE = {"contract": "/paquet-officiel"}  # which may know WS_INS3


@pytest.mark.parametrize(
    ("configuration", "rights"),
    [
        ({"software": (AUTHORISED,)}, HERE),
        ({"software": (AUTHORISED,), "consent_rights": ["trace", "insi.verify"]}, (Right.TRACE,)),
        ({}, NO_INSI),
        ({"software": ({**AUTHORISED, "origins": [B]},)}, NO_INSI),
        ({"software": ({**AUTHORISED, "authorisation": {"production": "1234"}},)}, NO_INSI),
        ({"software": (AUTHORISED,), "profile": "consumer"}, NO_INSI),
        ({"software": (AUTHORISED,), "insi": PACKAGE}, (*HERE[:-1], Right.VERIFY, Right.TRACE)),
        (
            {"software": (AUTHORISED,), "insi": PACKAGE, "profile": "consumer"},
            (*NO_INSI[:-1], Right.VERIFY, Right.TRACE),
        ),
        ({"insi": PACKAGE}, NO_INSI),
    ],
)
def test_the_window_promises_only_what_the_site_could_really_do(
    configuration: dict[str, Any], rights: tuple[Right, ...]
) -> None:
    async def story() -> None:
        desk = Desk(**{"consent_rights": [*ALL_RIGHTS, "admin"], **configuration})
        desk.sites.wait(A, "page")
        await desk.asked(A)

        assert desk.question.rights == rights

    run(story)


def test_a_consent_gives_every_right_of_a_method_and_none_of_a_method_that_is_not_built() -> None:
    """What its window cannot name, a consent of today does not cover."""
    of_methods = {method.right for method in METHODS.values() if method.right} - {Right.ADMIN}

    async def story() -> None:
        desk = Desk(software=(AUTHORISED,), insi=PACKAGE)
        desk.sites.wait(A, "page")
        await desk.asked(A)
        await desk.answer(A, Consent.ALLOW)

        assert set(desk.question.rights) == desk.sites.allowed[A] == of_methods

    run(story)


@pytest.mark.parametrize("organisation", [True, False])
def test_the_window_says_whether_calls_need_no_code(organisation: bool) -> None:
    async def story() -> None:
        desk = Desk()
        desk.organisation = organisation
        desk.sites.wait(A, "page")
        await desk.asked(A)

        assert desk.question.organisation is organisation

    run(story)


def test_the_window_says_how_long_a_not_now_will_hold() -> None:
    async def story() -> None:
        desk = Desk()
        told = []
        for visit in range(3):
            desk.sites.wait(A, visit)
            await desk.asked(A)
            told.append(desk.question.quiet / timedelta(hours=1))
            await desk.answer(A, Consent.NOT_NOW)
            desk.now += timedelta(days=1)

        assert told == [1, 2, 4]

    run(story)


def test_a_question_that_nobody_answered_puts_the_site_off_for_an_hour_each_time() -> None:
    async def story() -> None:
        desk = Desk()
        for visit in range(3):
            desk.sites.wait(A, visit)
            await desk.answer(A, Code.QUESTION_EXPIRED)
            assert desk.sites.turned_away == {A}
            desk.now += timedelta(hours=1)
            assert desk.sites.turned_away == set()

    run(story)


def test_an_answer_is_kept_while_a_page_does_not_take_its_close() -> None:
    """The agent may stop meanwhile: a refusal is not lost."""

    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, "page")
        await desk.asked(A)
        desk.deaf = asyncio.Event()

        await desk.answer(A, Consent.BLOCK)

        assert desk.sites.turned_away == {A}
        assert desk.kept == [desk.sites.decisions]
        await desk.sites.close()

    run(story)


def test_a_revocation_that_cannot_be_kept_is_said_once_the_conversations_are_closed() -> None:
    async def story() -> None:
        desk = Desk(decisions=allowed(A))
        desk.keep_fails, desk.deaf = AgentError(Code.CONFIG_INVALID), asyncio.Event()
        revoking = asyncio.create_task(desk.sites.revoke(SiteParams(origin=A)))
        await settled()
        assert (desk.sites.allowed, revoking.done()) == ({}, False)

        desk.deaf.set()

        with pytest.raises(AgentError) as refused:
            await revoking
        assert refused.value.code is Code.CONFIG_INVALID

    run(story)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Consent.BLOCK, Decided.BLOCKED),
        (Consent.NOT_NOW, Decided.QUIET),
        (Code.QUESTION_EXPIRED, Decided.QUIET),  # nobody there
    ],
)
def test_every_other_answer_turns_the_site_away(answer: Consent | Code, state: Decided) -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, "page")

        await desk.answer(A, answer)

        assert desk.sites.decisions.in_state(state, NOW) == desk.sites.turned_away == {A}
        assert desk.log[-1] == "settle"

    run(story)


@pytest.mark.parametrize("code", [Code.PROMPT_UNAVAILABLE, Code.DEVICE_CRASHED])
def test_a_window_that_nobody_saw_turns_its_pages_away_and_decides_nothing(
    code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, "page")

        await desk.answer(A, code)

        assert desk.sites.decisions == Decisions()
        assert desk.log[-1] == f"settle {A}"
        assert code.value in caplog.text

    run(story)


def test_a_site_whose_window_crashes_again_and_again_is_put_off_for_an_hour() -> None:
    async def story() -> None:
        desk = Desk()
        for visit in range(CRASHES):
            assert desk.sites.decisions == Decisions()
            desk.sites.wait(A, visit)
            await desk.answer(A, Code.DEVICE_CRASHED)

        assert desk.sites.turned_away == {A}
        assert desk.log[-1] == "settle"
        assert desk.sites.decisions.next_quiet(A) == timedelta(hours=1)

    run(story)


def test_a_window_that_crashes_now_and_then_puts_nobody_off() -> None:
    async def story() -> None:
        desk = Desk()
        for visit in range(2 * CRASHES):
            desk.sites.wait(A, visit)
            await desk.answer(A, Code.DEVICE_CRASHED)
            desk.clock += 1801

        assert desk.sites.decisions == Decisions()

    run(story)


def test_where_no_window_can_be_shown_nobody_is_ever_put_off() -> None:
    """The next start may be on a desktop."""

    async def story() -> None:
        desk = Desk()
        for visit in range(2 * CRASHES):
            desk.sites.wait(A, visit)
            await desk.answer(A, Code.PROMPT_UNAVAILABLE)

        assert desk.sites.decisions == Decisions()

    run(story)


def test_one_question_for_all_the_pages_of_a_site() -> None:
    async def story() -> None:
        desk = Desk()
        assert [desk.sites.wait(A, page) for page in (1, 2, 1)] == [True, True, False]

        await desk.answer(A, Consent.ALLOW)

        assert [origin for origin, _ in desk.windows] == [A]

    run(story)


def test_sites_are_asked_for_one_after_the_other_in_the_order_in_which_they_came() -> None:
    async def story() -> None:
        desk = Desk()
        for origin in (B, A, C, B):
            desk.sites.wait(origin, object())
        await settled()
        assert [origin for origin, _ in desk.windows] == [B]

        for origin in (B, A, C):
            await desk.answer(origin, Consent.NOT_NOW)

        assert [origin for origin, _ in desk.windows] == [B, A, C]

    run(story)


def test_no_two_windows_within_a_minute_counted_from_the_appearance_of_the_first() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        await desk.asked(A)
        desk.clock += 10  # the person thinks
        await desk.answer(A, Consent.BLOCK)
        desk.sites.wait(B, 1)
        await desk.asked(B)
        desk.clock += 110
        desk.sites.wait(C, 1)
        await desk.answer(B, Consent.BLOCK)
        await desk.asked(C)

        assert desk.windows == [(A, 1000), (B, 1060), (C, 1170)]

    run(story)


def test_a_withdrawn_window_counts_for_the_minute_too() -> None:
    """A page that comes and goes makes no storm of windows."""

    async def story() -> None:
        desk = Desk()
        for _ in range(3):
            desk.sites.wait(A, "page")
            await desk.asked(A)
            desk.sites.leave(A, "page")
            await settled()

        assert desk.windows == [(A, 1000), (A, 1060), (A, 1120)]

    run(story)


def test_a_window_waits_until_no_code_is_being_typed() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, "page")
        await desk.asked(A)

        assert desk.log == ["undisturbed", (A, 1000)]

    run(story)


def test_the_question_is_withdrawn_with_the_last_of_its_pages_and_nothing_is_remembered() -> None:
    """Defence list D23."""

    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        desk.sites.wait(A, 2)
        await desk.asked(A)
        desk.sites.leave(A, 1)
        await settled()
        assert "withdrawn" not in str(desk.log)

        desk.sites.leave(A, 2)
        await settled()

        assert desk.log[-1] == f"withdrawn {A}"
        assert desk.sites.decisions == Decisions()
        assert desk.kept == []

    run(story)


def test_a_site_whose_windows_come_and_go_is_put_off_for_an_hour() -> None:
    async def story() -> None:
        desk = Desk()
        for visit in range(COMES_AND_GOES):
            assert desk.sites.decisions == Decisions()
            desk.sites.wait(A, visit)
            await desk.asked(A)
            desk.sites.leave(A, visit)
            await settled()
            del desk.answers[A]

        assert desk.sites.turned_away == {A}
        assert desk.kept == [desk.sites.decisions]
        assert desk.sites.decisions.next_quiet(A) == timedelta(hours=1)  # the person put nothing off

    run(story)


def test_a_page_that_was_reloaded_a_few_times_in_an_hour_is_no_nuisance() -> None:
    async def story() -> None:
        desk = Desk()
        for visit in range(2 * COMES_AND_GOES):
            desk.sites.wait(A, visit)
            await desk.asked(A)
            desk.sites.leave(A, visit)
            await settled()
            del desk.answers[A]
            desk.clock += 901

        assert desk.sites.decisions == Decisions()

    run(story)


def test_an_answer_of_the_instant_in_which_the_last_page_left_is_not_remembered() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        await desk.asked(A)
        desk.answers[A].set_result(Consent.ALLOW)
        desk.sites.leave(A, 1)
        await settled()

        assert desk.sites.decisions == Decisions()

    run(story)


def test_a_page_that_comes_back_while_its_window_goes_is_asked_for_again() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        await desk.asked(A)
        desk.sites.leave(A, 1)
        desk.sites.wait(A, 2)

        await desk.answer(A, Consent.ALLOW)

        assert desk.windows == [(A, 1000), (A, 1060)]
        assert desk.sites.allowed.keys() == {A}

    run(story)


def test_a_site_that_left_before_its_turn_is_not_asked_for() -> None:
    async def story() -> None:
        desk = Desk()
        for origin in (A, B, C):
            desk.sites.wait(origin, 1)
        await desk.asked(A)
        desk.sites.leave(B, 1)

        await desk.answer(A, Consent.ALLOW)

        await desk.asked(C)
        assert [origin for origin, _ in desk.windows] == [A, C]

    run(story)


@pytest.mark.parametrize("origins", [{"unknown": "refuse"}, {"allowed": [{"origin": A}]}])
def test_a_consent_is_not_remembered_once_the_configuration_has_decided(origins: dict[str, Any]) -> None:
    """Defence list D20: the settings were read again while the window was open."""

    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        await desk.asked(A)
        desk.configure(**origins)

        await desk.answer(A, Consent.ALLOW)

        assert desk.sites.decisions == Decisions()
        assert desk.log[-1] == "settle"

    run(story)


def test_a_site_of_which_the_configuration_decides_before_its_turn_is_settled_without_a_window() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        desk.sites.wait(B, 1)
        await desk.asked(A)
        desk.configure(unknown="refuse")
        await desk.answer(A, Consent.ALLOW)

        assert [origin for origin, _ in desk.windows] == [A]

    run(story)


def test_an_answer_that_cannot_be_kept_holds_while_we_run_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        desk = Desk()
        desk.keep_fails = AgentError(Code.CONFIG_INVALID, "errno 28")
        desk.sites.wait(A, 1)

        with caplog.at_level(logging.ERROR):
            await desk.answer(A, Consent.BLOCK)

        assert desk.sites.turned_away == {A}
        assert "errno 28" in caplog.text
        desk.sites.wait(B, 1)
        await desk.asked(B)  # and others are asked for all the same

    run(story)


def test_the_end_of_the_agent_withdraws_the_question() -> None:
    async def story() -> None:
        desk = Desk()
        desk.sites.wait(A, 1)
        await desk.asked(A)

        await desk.sites.close()

        assert desk.log[-1] == f"withdrawn {A}"

    run(story)


# ---------------------------------------------------------------- the window of sites


def test_the_window_undoes_what_was_decided_and_shows_the_rest_until_it_is_closed() -> None:
    decisions = allowed(A).answered(B, Consent.BLOCK, NOW).answered(C, Consent.NOT_NOW, NOW)
    desk = Desk(decisions=decisions, allowed=[{"origin": OURS}])
    desk.looks = [A, B, C, None]

    asyncio.run(desk.sites.show())

    shown = [[(one.origin, one.by) for one in question.sites] for question in desk.lists]
    assert shown[0] == [(OURS, "configuration"), (A, "person"), (B, "person"), (C, "person")]
    assert [len(sites) for sites in shown] == [4, 3, 2, 1]
    assert desk.sites.decisions == Decisions()


def test_what_the_command_line_undid_meanwhile_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(decisions=allowed(A))
    desk.looks = [B, None]

    asyncio.run(desk.sites.show())

    assert desk.sites.allowed.keys() == {A}
    assert "site.unknown" in caplog.text


def test_the_window_is_opened_once_at_a_time() -> None:
    async def story() -> None:
        desk = Desk()
        desk.looks = [None, None]
        await asyncio.gather(desk.sites.show(), desk.sites.show())
        assert len(desk.lists) == 1

        await desk.sites.show()
        assert len(desk.lists) == 2

    run(story)


def test_a_window_that_cannot_be_shown_may_be_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.looks = [AgentError(Code.PROMPT_UNAVAILABLE), None]

    for _ in range(2):
        asyncio.run(desk.sites.show())

    assert len(desk.lists) == 2
    assert "prompt.unavailable" in caplog.text
