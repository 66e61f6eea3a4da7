"""insi.retrieveWithVitale and insi.retrieveByTraits: what WS_INS1 and WS_INS2 are asked, attempt after attempt.

For an identity repository alone (S003). The card is read again just before each WS_INS1.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.config import Vitale
from agent.errors import AgentError, Code
from agent.insi import rules, search
from agent.insi.answers import Answer
from agent.insi.operations import Operation, Query, TraitsQuery, VitaleQuery
from agent.model import NameKind, Outcome, Profile, TracedResult, VitaleHolder
from agent.protocol.messages import InsiParams, RetrieveByTraitsParams, RetrieveWithVitaleParams
from agent.workflows import operation, vitale
from agent.workflows.attempts import Plan
from agent.workflows.desk import Asker, Desk
from agent.workflows.searches import Search

if TYPE_CHECKING:
    from agent.signing.vitale_assertion import VitaleAssertions

ASSERTION_TIMEOUT_S = 20

_USABLE_NIR = re.compile(r"\d{5}(\d{2}|2[AB])\d{6}", re.ASCII)

# The ladder climbs by CodeCR, also after a fault that means the same as 01 here.
_CODE_OF = {Outcome.FOUND: "00", Outcome.NOT_FOUND: "01", Outcome.SEVERAL: "02"}


async def with_vitale(desk: Desk, asker: Asker, params: RetrieveWithVitaleParams) -> TracedResult:
    """WS_INS1 for a holder of a reading of this origin.

    Raises vitale.assertionUnavailable/readingUnknown/stale/holderUnknown/rankNeeded/nirUnusable before any card
    or code, vitale.changed just before sending, and the codes of `_permitted` and `operation.run`.
    """
    _permitted(desk, params)
    return await operation.run(desk, asker, params, Operation.WITH_VITALE, lambda: _vitale_plan(desk, asker, params))


async def by_traits(desk: Desk, asker: Asker, params: RetrieveByTraitsParams) -> TracedResult:
    """WS_INS2, attempt by attempt; `continues` resumes an earlier search at its next step.

    Raises traits.refused, continues.refused before any card or code, and the codes of `_permitted` and
    `operation.run`.
    """
    _permitted(desk, params)
    result = await operation.run(desk, asker, params, Operation.BY_TRAITS, lambda: _traits_plan(desk, asker, params))
    if result.outcome is not Outcome.FOUND and not result.replayed:
        last = result.trace.attempts[-1]
        kept = Search(asker.origin, params.traits, tuple(last.given), _CODE_OF[result.outcome], desk.now())
        desk.searches.keep(result.trace.id, kept)
    return result


def _permitted(desk: Desk, params: InsiParams) -> None:
    """Raises insi.notPermitted, identity.doubtful, identity.provisional: before any card or code."""
    if desk.settings().profile is Profile.CONSUMER:
        raise AgentError(Code.INSI_NOT_PERMITTED)
    if params.identity is None:
        return
    if {"DOUT", "FICT"} & set(params.identity.attributes):
        raise AgentError(Code.IDENTITY_DOUBTFUL)
    if params.identity.status == "PROV" and desk.settings().insi.provisional == "forbid":
        raise AgentError(Code.IDENTITY_PROVISIONAL)


# ---------------------------------------------------------------- WS_INS1


def _vitale_plan(desk: Desk, asker: Asker, params: RetrieveWithVitaleParams) -> Plan:
    _assertions(desk)
    kept = desk.readings.find(params.read_id, asker.origin, desk.now())
    content = kept.reading.content
    if params.holder >= len(content.holders):
        raise AgentError(Code.VITALE_HOLDER_UNKNOWN)
    holder = content.holders[params.holder]
    rank, assumed = vitale.rank_of(kept, params.holder, params.rank)
    return _WithVitale(
        query=_vitale_query(holder, rank, desk.settings().vitale),
        read_again=partial(vitale.read_again, desk, asker, kept),
        assert_card=partial(_vitale_assertion, desk, content.card.serial),
        card_given_names=holder.given_names,
        rank_assumed=assumed,
        environment_known=content.card.environment != "unknown",
    )


@dataclass(frozen=True)
class _WithVitale(Plan):
    """One attempt, for the card that lies there."""

    query: VitaleQuery
    read_again: Callable[[], Awaitable[None]]
    assert_card: Callable[[str], Awaitable[Any | None]]
    card_given_names: str | None
    rank_assumed: bool
    environment_known: bool

    @property
    def warnings(self) -> list[str]:
        return [] if self.environment_known else ["vitale.environmentUnknown"]

    async def prepare(self) -> None:
        await self.read_again()

    async def vitale_assertion(self, emitter: str) -> Any | None:
        return await self.assert_card(emitter)

    def next(self, last: Answer | None) -> Query | None:
        return self.query if last is None else None

    def judge(self, answer: Answer) -> rules.Judgement:
        return rules.judge(
            answer.outcome,
            answer.identity,
            rank_assumed=self.rank_assumed,
            card_given_names=self.card_given_names,
        )


def _assertions(desk: Desk) -> "VitaleAssertions | None":
    """Who makes the second assertion of WS_INS1; None where it takes none. Raises vitale.assertionUnavailable."""
    if desk.settings().vitale.assertion == "off":
        return None
    if desk.vitale_assertions is None:
        raise AgentError(Code.VITALE_ASSERTION_UNAVAILABLE)
    return desk.vitale_assertions


async def _vitale_assertion(desk: Desk, serial: str | None, emitter: str) -> Any | None:
    """Asked again for each attempt: we keep none, so a card that left takes nothing along."""
    provider = _assertions(desk)
    if provider is None:
        return None
    provide = partial(provider.provide, serial=serial, emitter=emitter)
    made = await desk.lanes.pcsc.run(provide, timeout_s=ASSERTION_TIMEOUT_S)
    return made.element(desk.now())


def _vitale_query(holder: VitaleHolder, rank: int, settings: Vitale) -> VitaleQuery:
    """What WS_INS1 is asked for this holder: a birth name, and a name that may be one if the settings say so.

    What is optional there and not written as INSi takes it is left out. Raises vitale.nirUnusable.
    """
    if not _USABLE_NIR.fullmatch(holder.nir) or holder.birth_date is None:
        raise AgentError(Code.VITALE_NIR_UNUSABLE)
    if settings.lunar_dates == "refuse" and "birthDate.lunar" in holder.warnings:
        raise AgentError(Code.VITALE_NIR_UNUSABLE, "the birth date is no day of the calendar")
    send = {NameKind.BIRTH: True, NameKind.UNKNOWN: settings.send_birth_name, NameKind.USED: False}[holder.name_kind]
    certified = holder.certified_nir or ""
    return VitaleQuery(
        nir_of_insured=holder.nir,
        birth_date=holder.birth_date,
        rank=rank,
        birth_name=_as_insi_takes_it(holder.name) if send else None,
        key_of_insured=holder.nir_key or None,
        certified_nir=certified if _USABLE_NIR.fullmatch(certified) else None,
    )


def _as_insi_takes_it(name: str) -> str | None:
    from agent.insi import names

    try:
        return names.birth_name(name)
    except AgentError:
        return None


# ---------------------------------------------------------------- WS_INS2


def _traits_plan(desk: Desk, asker: Asker, params: RetrieveByTraitsParams) -> Plan:
    insi = desk.settings().insi
    ladder = search.steps(params.traits, insi.after_several, lunar_dates=insi.lunar_dates)
    code = None
    if params.continues is not None:
        earlier = desk.searches.find(params.continues, asker.origin, params.traits, desk.now())
        ladder, code = ladder.resume(earlier.given), earlier.code
    first = ladder.next(code)
    if first is None:
        raise AgentError(Code.CONTINUES_REFUSED, "the search has no further step")
    return _ByTraits(ladder, first)


@dataclass(frozen=True)
class _ByTraits(Plan):
    """The steps of the ladder from here on."""

    ladder: search.Ladder
    first: TraitsQuery

    def next(self, last: Answer | None) -> Query | None:
        return self.first if last is None else self.ladder.next(_CODE_OF[last.outcome])

    def judge(self, answer: Answer) -> rules.Judgement:
        return rules.judge(answer.outcome, answer.identity)
