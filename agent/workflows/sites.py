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

from agent.config import Settings
from agent.consent import Consent, Decided, Decisions
from agent.errors import AgentError, Code
from agent.model import Right
from agent.protocol.messages import NoParams, Site, SiteParams, SitesResult
from agent.tray.bridge import ConsentQuestion, KnownSite, SitesQuestion

log = logging.getLogger(__name__)

COMES_AND_GOES = 3  # windows that a site withdrew itself within an hour: it is then put off, as by the person


@dataclass(frozen=True)
class Rules:
    """What the configuration says of sites, at one moment."""

    configured: Mapping[str, frozenset[Right]]  # exact origin → rights
    consent: frozenset[Right] | None  # what the person's consent gives; None: the person is not asked

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        configured = {row.origin: frozenset(row.rights) - {Right.ADMIN} for row in settings.origins.allowed}
        rights = frozenset(settings.origins.consent_rights) - {Right.ADMIN}
        return cls(configured, rights if settings.asks_for_unknown_origins else None)


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
        Site(origin=origin, state="allowed", by="configuration", rights=_in_order(rights))
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


class Sites:
    """The decisions in force, and the sites that wait for one. Everything here happens on one event loop."""

    def __init__(
        self,
        decisions: Decisions,
        *,
        settings: Callable[[], Settings],
        rules: Callable[[], Rules],
        person: Person,
        keep: Callable[[Decisions], Awaitable[None]],
        settle: Callable[[str | None], Awaitable[None]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`keep` stores the decisions; `settle` lets in and turns away the open conversations as they say now, and
        turns away those that wait of the origin it is given."""
        self.decisions = decisions
        self._settings, self._rules, self._person = settings, rules, person
        self._keep, self._settle = keep, settle
        self._now, self._monotonic, self._sleep = now, monotonic, sleep
        self._waiting: dict[str, set[object]] = {}  # origin → its conversations, in the order of the origins
        self._asking: asyncio.Task[None] | None = None
        self._question: tuple[str, asyncio.Task[Consent]] | None = None  # what is on screen
        self._not_before = 0.0
        self._shown = False
        self._withdrawn: dict[str, list[float]] = {}  # origin → when it took its own window away

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
        """Holds at once, and while we run also when it cannot be kept."""
        self.decisions = decisions
        await self._settle(None)
        await self._keep(self.decisions)
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
        rights = _in_order(self._rules().consent or ())
        question = asyncio.create_task(
            self._person.ask_consent(
                ConsentQuestion(origin=origin, rights=tuple(rights), language=self._settings().language)
            )
        )
        self._question = origin, question
        try:
            await asyncio.wait([question])
        finally:
            self._question = None
            question.cancel()
            await asyncio.wait([question])  # until its window is gone
        if question.cancelled() or origin not in self._waiting:
            await self._withdrew(origin)  # nothing else is remembered, not even an answer of this very instant
            return
        del self._waiting[origin]
        try:
            answer = question.result()
        except AgentError as error:
            if error.code is not Code.QUESTION_EXPIRED:
                log.warning("a site could not be asked for: %s", error)
                await self._settle(origin)
                return
            answer = Consent.NOT_NOW
        if not self._may_ask(origin):  # the configuration has decided meanwhile (defence list D20)
            await self._settle(None)
            return
        log.info("the person decided of %s: %s", origin, answer)
        await self._answered(origin, answer)

    async def _withdrew(self, origin: str) -> None:
        """Its pages left while its window was on screen: harmless, unless they do it again and again."""
        hour_ago = self._monotonic() - 3600
        recent = {one: [at for at in times if at > hour_ago] for one, times in self._withdrawn.items()}
        self._withdrawn = {one: times for one, times in recent.items() if times}
        times = self._withdrawn.setdefault(origin, [])
        times.append(self._monotonic())
        if len(times) < COMES_AND_GOES or not self._may_ask(origin):
            return
        del self._withdrawn[origin]
        log.info("%s is put off: its windows come and go", origin)
        await self._answered(origin, Consent.NOT_NOW)

    async def _answered(self, origin: str, answer: Consent) -> None:
        try:
            await self._decide(self.decisions.answered(origin, answer, self._now()))
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
                    KnownSite(one.origin, one.state, one.by == "person", in_effect(one), one.since, one.until)
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
