"""Sites: who may talk to the agent by whose decision, and the question to the person for the one that may not yet.

Sites that wait are asked for one after the other, first come first served, one question each whatever its sockets,
and no two windows within a minute: a page that brings others along gets no storm of windows.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.config import Loaded, Settings, Source
from agent.consent import Consent, Decided, Decisions
from agent.errors import AgentError, Code
from agent.model import Environment, Profile, Right
from agent.protocol.messages import NoParams, Site, SiteParams, SitesResult
from agent.protocol.methods import METHODS
from agent.tray.bridge import ConsentQuestion, KnownSite, SitesQuestion
from agent.workflows.verify import may_be_known

log = logging.getLogger(__name__)

# Of one site within an hour: it is then left in peace for an hour, which nobody asked for.
COMES_AND_GOES = 5  # windows that the site withdrew itself
CRASHES = 3  # windows that ended by themselves


@dataclass(frozen=True)
class Rules:
    """What the configuration says of sites, at one moment."""

    configured: Mapping[str, frozenset[Right]]  # exact origin → rights
    consent: frozenset[Right] | None  # what the person's consent gives; None: the person is not asked
    policy: frozenset[str] = frozenset()  # the origins that are configured by a policy

    @classmethod
    def of(cls, loaded: Loaded) -> "Rules":
        settings, source = loaded.settings, loaded.sources.get("origins.allowed")
        configured = {row.origin: frozenset(row.rights) - {Right.ADMIN} for row in settings.origins.allowed}
        rights = frozenset(settings.origins.consent_rights) - {Right.ADMIN}
        policy = frozenset(configured if source in (Source.MACHINE_POLICY, Source.USER_POLICY) else ())
        return cls(configured, rights if settings.asks_for_unknown_origins else None, policy)


def useful(settings: Settings, environment: Environment, origin: str) -> frozenset[Right]:
    """The rights that would lead `origin` to something here and now."""
    rights = {method.right for method in METHODS.values() if method.right}
    software = settings.software_of(origin)
    authorised = software is not None and bool(software.authorisation.get(environment))
    if not authorised or settings.profile is Profile.CONSUMER:
        rights.discard(Right.RETRIEVE)
    if not authorised or not may_be_known(settings, environment):
        rights.discard(Right.VERIFY)
    return frozenset(rights)


def allowed(rules: Rules, decisions: Decisions, now: datetime) -> dict[str, frozenset[Right]]:
    """Every origin that may talk to us. The configuration wins over the person."""
    consented = decisions.in_state(Decided.ALLOWED, now) if rules.consent is not None else frozenset()
    return {**dict.fromkeys(consented, rules.consent or frozenset()), **rules.configured}


def turned_away(rules: Rules, decisions: Decisions, now: datetime) -> frozenset[str]:
    """Every origin for which the person must not be asked."""
    refused = decisions.in_state(Decided.BLOCKED, now) | decisions.in_state(Decided.QUIET, now)
    return refused - rules.configured.keys()


def listed(rules: Rules, decisions: Decisions, now: datetime) -> SitesResult:
    """Every site of which something is decided. A consent that the configuration overrules gives no right."""
    configured = [
        Site(
            origin=origin,
            state="allowed",
            by="policy" if origin in rules.policy else "configuration",
            rights=_in_order(rights),
        )
        for origin, rights in rules.configured.items()
    ]
    decided = [
        Site(
            origin=one.origin,
            state=one.state.value,
            by="person",
            rights=_in_order(rules.consent or ()) if one.state is Decided.ALLOWED else [],
            since=one.since,
            until=one.until,
        )
        for one in decisions.sites
        if one.holds(now) and one.origin not in rules.configured
    ]
    return SitesResult(sites=configured + decided)


def in_effect(site: Site) -> bool:
    """Whether what was decided of it counts: an allowed site without any right is overruled."""
    return site.state != "allowed" or bool(site.rights)


def revoked(rules: Rules, decisions: Decisions, origin: str, now: datetime) -> Decisions:
    """Without the person's consent to `origin`. Raises site.locked, site.unknown."""
    return _without(rules, decisions, origin, now, {Decided.ALLOWED})


def unblocked(rules: Rules, decisions: Decisions, origin: str, now: datetime) -> Decisions:
    """Without the person's refusal of `origin`. Raises site.locked, site.unknown."""
    return _without(rules, decisions, origin, now, {Decided.BLOCKED, Decided.QUIET})


def _without(rules: Rules, decisions: Decisions, origin: str, now: datetime, states: set[Decided]) -> Decisions:
    if origin in rules.configured:
        raise AgentError(Code.SITE_LOCKED)
    decision = decisions.of(origin)
    if decision is None or decision.state not in states or not decision.holds(now):
        raise AgentError(Code.SITE_UNKNOWN)
    return decisions.without(origin, now)


def _in_order(rights: "frozenset[Right] | tuple[()]") -> list[Right]:
    return [right for right in Right if right in rights]


class Person(Protocol):
    """Whoever sits at the desk."""

    async def undisturbed(self) -> None:
        """Return once no code and no choice is being asked."""
        ...

    async def ask_consent(self, question: ConsentQuestion) -> Consent:
        """Their answer. Cancelling withdraws the window.

        Raises question.expired, prompt.unavailable, device.crashed.
        """
        ...

    async def show_sites(self, question: SitesQuestion) -> str | None:
        """The origin for which they want the decision undone; None when they only looked. Raises as above,
        but for a window that nobody closed: it was left."""
        ...


class _LastHour:
    """How often something happened to each origin within an hour. Times in seconds of one clock."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def count(self, origin: str, now: float) -> int:
        """With this time."""
        recent = {one: [at for at in times if at > now - 3600] for one, times in self._times.items()}
        self._times = {one: times for one, times in recent.items() if times}
        times = self._times.setdefault(origin, [])
        times.append(now)
        return len(times)

    def forget(self, origin: str) -> None:
        self._times.pop(origin, None)


class Sites:
    """The decisions in force, and the sites that wait for one. Everything here happens on one event loop."""

    def __init__(
        self,
        decisions: Decisions,
        *,
        settings: Callable[[], Settings],
        rules: Callable[[], Rules],
        person: Person,
        environment: Environment,
        organisation: Callable[[], bool],
        keep: Callable[[Decisions], Awaitable[None]],
        settle: Callable[[str | None], Awaitable[None]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`organisation` says whether calls in its name are possible. `keep` stores the decisions; `settle` lets in
        and turns away the open conversations as they say now, and turns away those that wait of the origin it is
        given."""
        self.decisions = decisions
        self._settings, self._rules, self._person = settings, rules, person
        self._environment, self._organisation = environment, organisation
        self._keep, self._settle = keep, settle
        self._now, self._monotonic, self._sleep = now, monotonic, sleep
        self._waiting: dict[str, set[object]] = {}  # origin → its conversations, in the order of the origins
        self._asking: asyncio.Task[None] | None = None
        self._question: tuple[str, asyncio.Task[Consent]] | None = None  # what is on screen
        self._not_before = 0.0
        self._shown = False
        self._withdrawn = _LastHour()  # windows that the site took away itself
        self._crashed = _LastHour()

    # ------------------------------------------------------------ the decisions

    @property
    def allowed(self) -> dict[str, frozenset[Right]]:
        return allowed(self._rules(), self.decisions, self._now())

    @property
    def turned_away(self) -> frozenset[str]:
        return turned_away(self._rules(), self.decisions, self._now())

    async def listing(self, _params: NoParams) -> SitesResult:
        return listed(self._rules(), self.decisions, self._now())

    async def revoke(self, params: SiteParams) -> SitesResult:
        """Its conversations are closed before this returns. Raises site.locked, site.unknown, config.invalid."""
        return await self._decide(revoked(self._rules(), self.decisions, params.origin, self._now()))

    async def unblock(self, params: SiteParams) -> SitesResult:
        """Raises site.locked, site.unknown, config.invalid."""
        return await self._decide(unblocked(self._rules(), self.decisions, params.origin, self._now()))

    async def _decide(self, decisions: Decisions) -> SitesResult:
        """Holds at once, and while we run also when it cannot be kept. It is kept while slow pages are closed."""
        self.decisions = decisions
        outcomes = await asyncio.gather(self._keep(decisions), self._settle(None), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return await self.listing(NoParams())

    # ------------------------------------------------------------ the sites that wait

    def wait(self, origin: str, conversation: object) -> bool:
        """Have the person asked for `origin`, as long as one of its conversations waits. False: it waits already."""
        waiting = self._waiting.setdefault(origin, set())
        if conversation in waiting:
            return False
        waiting.add(conversation)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_in_turn(), name="consent")
        return True

    def leave(self, origin: str, conversation: object) -> None:
        """It waits no more; with the last one the question is withdrawn (defence list D23)."""
        left = self._waiting.get(origin, set())
        left.discard(conversation)
        if not left:
            self._waiting.pop(origin, None)
            if self._question and self._question[0] == origin:
                self._question[1].cancel()

    async def close(self) -> None:
        """Withdraw what is on screen and ask no more."""
        self._waiting.clear()
        if self._asking:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking

    async def _ask_in_turn(self) -> None:
        try:
            while self._waiting:
                await self._sleep(max(0, self._not_before - self._monotonic()))
                await self._person.undisturbed()
                if (origin := next(iter(self._waiting), None)) is not None:  # else all have left meanwhile
                    await self._ask(origin)
        finally:
            self._asking = None

    async def _ask(self, origin: str) -> None:
        if not self._may_ask(origin):
            del self._waiting[origin]
            await self._settle(None)
            return
        self._not_before = self._monotonic() + self._settings().door.consent_every_s
        question = asyncio.create_task(self._person.ask_consent(self._question_about(origin)))
        self._question = origin, question
        try:
            await asyncio.wait([question])
        finally:
            self._question = None
            question.cancel()
            await asyncio.wait([question])  # until its window is gone
        if question.cancelled() or origin not in self._waiting:
            # Nothing is remembered, not even an answer of this very instant; unless it does so again and again.
            if self._withdrawn.count(origin, self._monotonic()) >= COMES_AND_GOES and self._may_ask(origin):
                await self._leave_in_peace(origin, "its windows come and go")
            return
        del self._waiting[origin]
        try:
            answer = question.result()
        except AgentError as error:
            await self._not_answered(origin, error)
            return
        if not self._may_ask(origin):  # the configuration has decided meanwhile (defence list D20)
            await self._settle(None)
            return
        log.info("the person decided of %s: %s", origin, answer)
        await self._made(self.decisions.answered(origin, answer, self._now()))

    def _question_about(self, origin: str) -> ConsentQuestion:
        settings = self._settings()
        rights = (self._rules().consent or frozenset()) & useful(settings, self._environment, origin)
        return ConsentQuestion(
            origin=origin,
            rights=tuple(_in_order(rights)),
            organisation=self._organisation(),
            quiet=self.decisions.next_quiet(origin),
            language=settings.language,
        )

    async def _not_answered(self, origin: str, error: AgentError) -> None:
        """Nobody was there, or nobody could see the window."""
        crashed = error.code is Code.DEVICE_CRASHED and self._crashed.count(origin, self._monotonic()) >= CRASHES
        if not self._may_ask(origin):
            await self._settle(None)
        elif error.code is Code.QUESTION_EXPIRED or crashed:
            await self._leave_in_peace(origin, error.code)
        else:
            log.warning("a site could not be asked for: %s", error)
            await self._settle(origin)

    async def _leave_in_peace(self, origin: str, why: str) -> None:
        log.info("%s does not ask for an hour: %s", origin, why)
        self._withdrawn.forget(origin)
        self._crashed.forget(origin)
        await self._made(self.decisions.left_unanswered(origin, self._now()))

    async def _made(self, decisions: Decisions) -> None:
        try:
            await self._decide(decisions)
        except AgentError as error:
            log.error("a decision is not kept: %s", error)  # noqa: TRY400  (no traceback: the code says it all)

    def _may_ask(self, origin: str) -> bool:
        return self._rules().consent is not None and origin not in self.allowed.keys() | self.turned_away

    # ------------------------------------------------------------ the window

    async def show(self) -> None:
        """Show the sites, and again after each one that was undone, until the window is closed. One at a time."""
        if self._shown:
            return
        self._shown = True
        try:
            while True:
                sites = tuple(
                    KnownSite(one.origin, one.state, one.by, in_effect(one), one.since, one.until)
                    for one in (await self.listing(NoParams())).sites
                )
                origin = await self._person.show_sites(SitesQuestion(sites=sites, language=self._settings().language))
                if origin is None:
                    return
                await self._undo(origin)
        except AgentError as error:
            log.warning("the sites are not shown: %s", error)
        finally:
            self._shown = False

    async def _undo(self, origin: str) -> None:
        """Whatever the person decided of it. It may have been undone meanwhile, at the command line."""
        decision = self.decisions.of(origin)
        undo = self.revoke if decision and decision.state is Decided.ALLOWED else self.unblock
        try:
            await undo(SiteParams(origin=origin))
        except AgentError as error:
            log.warning("a site's decision was not undone: %s", error)
