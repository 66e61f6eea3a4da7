"""insi.retrieveWithVitale and insi.retrieveByTraits: from a page's request to a traced result.

The order is fixed: what can be refused without a card or a code is refused first; the card is read
again just before it is used; no intent row, no send; no outcome row, no result.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.config import Software, Vitale
from agent.errors import AgentError, Code
from agent.insi import compare, rules, search
from agent.insi.answers import Answer, read_answer
from agent.insi.faults import may_repeat, short_code
from agent.insi.operations import Operation, Query, TraitsQuery, VitaleQuery
from agent.insi.ports import HttpReply
from agent.journal.ports import Conclusion, Intent, Link
from agent.model import (
    AttemptTrace,
    AuthMode,
    Environment,
    NameKind,
    Profile,
    SoftwareName,
    Trace,
    TracedProfessional,
    TracedResult,
    VitaleHolder,
)
from agent.protocol.messages import InsiParams, RetrieveByTraitsParams, RetrieveWithVitaleParams
from agent.protocol.session import unexpected
from agent.workflows import vitale
from agent.workflows.credentials import Credentials, choose_mode, credentials
from agent.workflows.desk import Asker, Desk
from agent.workflows.rates import Rated
from agent.workflows.references import REPLAYED_FOR
from agent.workflows.searches import Search

if TYPE_CHECKING:
    from agent.insi.envelope import Envelope
    from agent.signing.vitale_assertion import VitaleAssertions

log = logging.getLogger(__name__)
T = TypeVar("T")

JOURNAL_TIMEOUT_S = 20
ASSERTION_TIMEOUT_S = 20
NETWORK_MARGIN_S = 10  # the transport has its own deadlines; the lane's is the net under them

CUT_SHORT = "unknown"  # code of an attempt whose outcome a stop took along

_USABLE_NIR = re.compile(r"\d{5}(\d{2}|2[AB])\d{6}", re.ASCII)


class Plan(Protocol):
    """What one operation asks, attempt after attempt."""

    operation: Operation
    rank_assumed: bool
    card_given_names: str | None
    warnings: list[str]

    async def prepare(self) -> None:
        """Called before each attempt, once the call is authenticated."""

    async def vitale_assertion(self, emitter: str) -> Any | None:
        """The second assertion of the next attempt, if it takes one."""

    def next(self, code_of_last: str | None) -> Query | None:
        """The next attempt after CodeCR `code_of_last` (None: the first); None when the search is over."""


async def with_vitale(desk: Desk, asker: Asker, params: RetrieveWithVitaleParams) -> TracedResult:
    """WS_INS1 for a holder of a reading of this origin.

    Raises vitale.assertionUnavailable/readingUnknown/stale/holderUnknown/rankNeeded/nirUnusable before any card
    or code, vitale.changed just before sending, and the codes of `_retrieve`.
    """
    _permitted(desk, params)
    _assertions(desk)
    return await _once(desk, asker, params, Operation.WITH_VITALE, lambda: _vitale_plan(desk, asker, params))


async def by_traits(desk: Desk, asker: Asker, params: RetrieveByTraitsParams) -> TracedResult:
    """WS_INS2, attempt by attempt; `continues` resumes an earlier search at its next step.

    Raises traits.refused, continues.refused before any card or code, and the codes of `_retrieve`.
    """
    _permitted(desk, params)
    result = await _once(desk, asker, params, Operation.BY_TRAITS, lambda: _traits_plan(desk, asker, params))
    if result.code in ("01", "02") and not result.replayed:
        last = result.trace.attempts[-1]
        kept = Search(asker.origin, params.traits, tuple(last.given), result.code, desk.now())
        desk.searches.keep(result.trace.id, kept)
    return result


def _vitale_plan(desk: Desk, asker: Asker, params: RetrieveWithVitaleParams) -> Plan:
    kept = desk.readings.find(params.read_id, asker.origin, desk.now())
    holders = kept.reading.content.holders
    if params.holder >= len(holders):
        raise AgentError(Code.VITALE_HOLDER_UNKNOWN)
    rank, assumed = vitale.rank_of(kept, params.holder, params.rank)
    return _WithVitale(
        query=_vitale_query(holders[params.holder], rank, desk.settings().vitale),
        prepare_card=lambda: vitale.read_again(desk, asker, kept),
        assert_card=partial(_vitale_assertion, desk, kept.reading.content.card.serial),
        card_given_names=holders[params.holder].given_names,
        rank_assumed=assumed,
        warnings=["vitale.environmentUnknown"] if kept.reading.content.card.environment == "unknown" else [],
    )


def _traits_plan(desk: Desk, asker: Asker, params: RetrieveByTraitsParams) -> Plan:
    ladder = search.steps(params.traits, desk.settings().insi.after_several)
    code = None
    if params.continues is not None:
        earlier = desk.searches.find(params.continues, asker.origin, params.traits, desk.now())
        ladder, code = ladder.resume(earlier.given), earlier.code
    first = ladder.next(code)
    if first is None:
        raise AgentError(Code.CONTINUES_REFUSED, "the search has no further step")
    return _ByTraits(ladder, first)


@dataclass
class _WithVitale:
    query: VitaleQuery
    prepare_card: Callable[[], Awaitable[None]]
    assert_card: Callable[[str], Awaitable[Any | None]]
    card_given_names: str | None
    rank_assumed: bool
    warnings: list[str]
    operation: Operation = Operation.WITH_VITALE

    async def prepare(self) -> None:
        await self.prepare_card()

    async def vitale_assertion(self, emitter: str) -> Any | None:
        return await self.assert_card(emitter)

    def next(self, code_of_last: str | None) -> Query | None:
        return self.query if code_of_last is None else None


@dataclass
class _ByTraits:
    ladder: search.Ladder
    first: TraitsQuery
    operation: Operation = Operation.BY_TRAITS
    rank_assumed: bool = False
    card_given_names: str | None = None
    warnings: list[str] = field(default_factory=list)

    async def prepare(self) -> None:
        return

    async def vitale_assertion(self, emitter: str) -> Any | None:  # noqa: ARG002  (WS_INS2 knows no card)
        return None

    def next(self, code_of_last: str | None) -> Query | None:
        return self.first if code_of_last is None else self.ladder.next(code_of_last)


@dataclass
class _Run:
    """One operation on its way."""

    trace_id: str
    operation: Operation
    started_at: datetime
    software: Software
    authorisation: str
    credentials: Credentials
    leaving: AttemptTrace | None = None  # the attempt on its way: nothing calls it back
    attempts: list[AttemptTrace] = field(default_factory=list)
    request_sha256: str = ""
    response_sha256: str | None = None

    def facts(self) -> dict[str, Any]:
        """What every error after the first byte carries."""
        return {"traceId": self.trace_id, "attempts": [*self.attempts, *([self.leaving] if self.leaving else [])]}


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


async def _once(
    desk: Desk, asker: Asker, params: InsiParams, operation: Operation, plan: Callable[[], Plan]
) -> TracedResult:
    """Run the operation, or replay the stored result of the same clientRef, whatever became of card and search.

    Cancelling ends it at once, but for an attempt that is on its way: that one keeps the turn and the clientRef
    until its outcome is journalled, and the page is told where to find it.
    """
    watched = _Watched()
    work = desk.finish(_referenced(desk, asker, params, operation, plan, watched))
    work.add_done_callback(_heard)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if watched.run is not None and watched.run.leaving is not None:
            watched.unwanted = True
            raise AgentError(Code.OPERATION_CANCELLED, **watched.run.facts()) from None
        work.cancel()
        await asyncio.wait([work])
        raise


@dataclass
class _Watched:
    """What whoever waits for an operation knows of it, and tells it."""

    run: "_Run | None" = None
    unwanted: bool = False  # cancelled while an attempt was on its way: no further one


def _heard(work: "asyncio.Task[TracedResult]") -> None:
    """Its end is in the journal, also when nobody waits for it any more."""
    if not work.cancelled():
        work.exception()


async def _referenced(
    desk: Desk, asker: Asker, params: InsiParams, operation: Operation, plan: Callable[[], Plan], watched: _Watched
) -> TracedResult:
    reference = params.client_ref
    if reference is None:
        return await _retrieve(desk, asker, params, plan(), watched)
    digest = hashlib.sha256(operation.encode() + _as_json(params)).hexdigest()
    stored = desk.references.begin(asker.origin, reference, digest, desk.now())
    if stored is not None:
        return stored.model_copy(update={"replayed": True})
    result = None
    try:
        if stored := await _from_before(desk, asker.origin, params, operation):
            return stored.model_copy(update={"replayed": True})
        result = await _retrieve(desk, asker, params, plan(), watched)
    finally:
        desk.references.end(asker.origin, reference, result, desk.now())
    return result


async def _from_before(desk: Desk, origin: str, params: InsiParams, operation: Operation) -> TracedResult | None:
    """The journal's result under this clientRef, from before the agent's last start. Raises clientRef.reused."""
    reference = params.client_ref or ""
    kept = await _journal(desk, lambda: desk.journal.by_client_ref(origin, reference, datetime.min.replace(tzinfo=UTC)))
    if kept is None or kept.result is None:
        return None
    same = kept.params == _as_json(params) and kept.attempts[0].clear["operation"] == operation
    if not same or desk.now() - datetime.fromisoformat(kept.at) > REPLAYED_FOR:
        raise AgentError(Code.CLIENT_REF_REUSED)
    return TracedResult.model_validate_json(kept.result)


def _as_json(params: InsiParams) -> bytes:
    """What the page asked, as the journal keeps it and as a clientRef is compared."""
    return params.model_dump_json(by_alias=True, exclude_none=True).encode()


async def _retrieve(desk: Desk, asker: Asker, params: InsiParams, plan: Plan, watched: _Watched) -> TracedResult:
    """One operation at a time, first come first served; every attempt traced.

    Raises software.notAuthorised, authMode.unavailable, user.required, insi.notConfigured, rate.limited before any
    card or code, the codes of `credentials` and of `_attempt`; from the first attempt on with the facts of `_Run`.
    """
    software, authorisation = desk.software_of(asker.origin)
    mode = choose_mode(desk, params)
    await desk.keys_at_hand()
    await asker.progress("insi.queued")
    async with desk.insi_turn.taken_by(asker.origin, wait_s=None):
        await _on_network(desk, lambda: _make_ready(desk, mode))
        desk.rates.check(Rated.INSI_CALL, asker.origin, desk.settings().limits, desk.now())
        async with credentials(desk, asker, params, mode) as who:
            desk.rates.count(Rated.INSI_CALL, asker.origin, desk.now())
            run = _Run(desk.new_id(), plan.operation, desk.now(), software, authorisation, who)
            watched.run = run
            try:
                with _shown(desk, asker, mode):
                    answer = await _climb(desk, asker, params, plan, watched)
                    return await _conclude(desk, asker, params, plan, run, answer)
            except AgentError as error:
                if run.attempts:
                    error.facts |= run.facts()
                raise


@contextmanager
def _shown(desk: Desk, asker: Asker, mode: AuthMode) -> Iterator[None]:
    """A call with the organisation's certificate shows in the tray: nobody types a code for it."""
    if mode is not AuthMode.ORGANISATION:
        yield
        return
    desk.organisation_calls = desk.organisation_calls.began(asker.origin, desk.now().astimezone())
    desk.show()
    try:
        yield
    finally:
        desk.organisation_calls = desk.organisation_calls.ended()
        desk.show()


async def _climb(desk: Desk, asker: Asker, params: InsiParams, plan: Plan, watched: _Watched) -> Answer:
    """Attempt after attempt, until one answers for good."""
    answer: Answer | None = None
    while query := plan.next(answer.code if answer else None):
        answer = await _with_repeats(desk, partial(_attempt, desk, asker, params, plan, watched, query))
    assert answer is not None, "a plan has a first attempt"
    return answer


async def _with_repeats(desk: Desk, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    """Repeat an attempt that INSi could not serve, a few times, with new identifiers each time."""
    for left in range(desk.settings().insi.retries, -1, -1):
        try:
            return await attempt()
        except AgentError as error:
            if not left or not may_repeat(error):
                raise
        await asyncio.sleep(desk.settings().insi.retry_pause_s)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _attempt(desk: Desk, asker: Asker, params: InsiParams, plan: Plan, watched: _Watched, query: Query) -> Answer:
    """Sign if needed, write the message, trace the intent, send, trace the outcome."""
    from agent.insi import envelope

    run = watched.run
    assert run is not None
    if watched.unwanted:
        raise AgentError(Code.OPERATION_CANCELLED)
    await asker.progress("insi.signing" if run.credentials.mode is AuthMode.CPX else "insi.preparing")
    assertion = await run.credentials.assertion()
    await plan.prepare()  # after the signature, for which the person may be asked: nothing stands before the sending
    settings = desk.settings()
    message = envelope.build(
        query,
        lps=envelope.Lps(
            authorisation=run.authorisation,
            name=run.software.name,
            version=run.software.version,
            instance=desk.instance_id,
            nom=settings.insi.lps_name.format(name=run.software.name, version=run.software.version),
        ),
        emitter=run.credentials.emitter,
        assertion=assertion,
        vitale_assertion=await plan.vitale_assertion(run.credentials.emitter),
        ids=envelope.Ids.fresh(),
        at=desk.now(),
        rank_format=settings.vitale.rank_format,
    )
    await asker.progress("insi.calling", "network")
    run.leaving = AttemptTrace(code=CUT_SHORT, message_id=message.message_id, duration_ms=0, given=list(query.given))
    try:
        return await _exchange(desk, asker, params, run, query, message)
    finally:
        run.leaving = None


async def _exchange(
    desk: Desk, asker: Asker, params: InsiParams, run: _Run, query: Query, message: "Envelope"
) -> Answer:
    """Intent row, send, outcome row."""
    intent = Intent(
        trace_id=run.trace_id,
        attempt=len(run.attempts) + 1,
        at=desk.now(),
        origin=asker.origin,
        client_ref=params.client_ref,
        operation=run.operation.value,
        environment=desk.environment,
        auth_mode=run.credentials.mode,
        software=_software_name(run),
        message_id=message.message_id,
        request_sha256=message.sha256,
        given=query.given,
        params=_as_json(params),
        request=message.without_secrets(),
        professional=run.credentials.professional,
        structure=run.credentials.structure,
        user=params.user,
        account=desk.account,
    )
    intended = await _journal(desk, lambda: _intend(desk, intent))
    sent_at = desk.now()
    reply: HttpReply | None = None
    came: Answer | AgentError
    try:
        mode = run.credentials.mode
        reply = await _on_network(desk, lambda: desk.teleservice.post(mode, message.action, message.body))
        came = read_answer(reply)
    except AgentError as error:
        came = error
    except Exception:  # even what nobody foresaw leaves its outcome row, and its trace to the page
        came = unexpected()
        log.exception("incident %s", came.facts["incident"])
    code = came.code if isinstance(came, Answer) else _failure_code(came)
    conclusion = Conclusion(
        at=desk.now(),
        code=code,
        label=came.label if isinstance(came, Answer) else "",
        duration_ms=reply.duration_ms if reply else round((desk.now() - sent_at).total_seconds() * 1000),
        http_status=reply.status if reply else None,
        reply=reply.body if reply else None,
    )
    run.attempts.append(
        AttemptTrace(
            code=code, message_id=message.message_id, duration_ms=conclusion.duration_ms, given=list(query.given)
        )
    )
    run.request_sha256 = message.sha256
    run.response_sha256 = hashlib.sha256(reply.body).hexdigest() if reply else None
    await _journal(desk, lambda: desk.journal.conclude(intended, conclusion))
    unreached = code if reply is None else None
    desk.counts.attempt(run.operation.value, code, conclusion.duration_ms, conclusion.at, failed=unreached)
    if isinstance(came, AgentError):
        raise came
    return came


def _intend(desk: Desk, intent: Intent) -> Link:
    """On the journal's lane. The first intent comes after the outcomes of what the last stop cut short."""
    if not desk.journal_settled:
        for cut in desk.journal.unfinished():
            desk.journal.conclude(cut.intended, Conclusion(at=desk.now(), code=CUT_SHORT, label="", duration_ms=0))
        desk.journal_settled = True
    return desk.journal.intend(intent)


def _make_ready(desk: Desk, mode: AuthMode) -> None:
    """On the network lane, where the contract is loaded too: other pages do not wait for it."""
    from agent.insi import envelope

    envelope.load()
    desk.teleservice.check(mode)


async def _on_network(desk: Desk, call: Callable[[], T]) -> T:
    """Run on the network lane, after a call that nobody waits for any more if one is still there."""
    enough_s = desk.settings().insi.total_timeout_s + NETWORK_MARGIN_S
    return await desk.lanes.network.run(call, timeout_s=enough_s, wait_s=enough_s)


def _failure_code(failure: AgentError) -> str:
    """INSi's own code when a fault gave one, else our reason."""
    given = failure.facts.get("insi", {}).get("code")
    return short_code(given) if given else failure.code.value


async def _journal(desk: Desk, write: Callable[[], T]) -> T:
    return await desk.lanes.journal.run(write, timeout_s=JOURNAL_TIMEOUT_S)


async def _conclude(
    desk: Desk, asker: Asker, params: InsiParams, plan: Plan, run: _Run, answer: Answer
) -> TracedResult:
    """Build the result at its own place in the chain, sign its receipt, keep it."""
    ended_at = desk.now()
    judgement = rules.judge(
        answer.outcome, answer.identity, rank_assumed=plan.rank_assumed, card_given_names=plan.card_given_names
    )
    simulated = desk.environment is Environment.SIMULATED
    where = ["environment.simulated"] if simulated else [*plan.warnings, *run.credentials.warnings]
    professional = run.credentials.professional
    comparison = compare.compare(params.local, answer.identity) if params.local and answer.identity else None

    def build(seq: int, previous: str) -> TracedResult:
        trace = Trace(
            id=run.trace_id,
            operation=run.operation.value,
            at=run.started_at,
            duration_ms=round((ended_at - run.started_at).total_seconds() * 1000),
            environment=desk.environment,
            auth_mode=run.credentials.mode,
            message_id=run.attempts[-1].message_id,
            attempts=run.attempts,
            request_sha256=run.request_sha256,
            response_sha256=run.response_sha256,
            origin=asker.origin,
            user=params.user,
            context=params.context,
            professional=TracedProfessional(national_id=professional) if professional else None,
            structure=run.credentials.structure,
            software=_software_name(run),
            seq=seq,
            previous=previous,
        )
        unsigned = TracedResult(
            outcome=answer.outcome,
            code=answer.code,
            label=answer.label,
            identity=answer.identity,
            integrable=judgement.integrable,
            reasons=judgement.reasons,
            warnings=[*judgement.warnings, *where],
            comparison=comparison,
            trace=trace,
            receipt="",
        )
        return unsigned.model_copy(update={"receipt": _receipt(desk, params, unsigned)})

    built: list[TracedResult] = []

    def write(seq: int, previous: str) -> bytes:
        built.append(build(seq, previous))
        return built[0].model_dump_json(by_alias=True, exclude_none=True).encode()

    await _journal(desk, lambda: desk.journal.finish(run.trace_id, ended_at, write))
    return built[0]


def _receipt(desk: Desk, params: InsiParams, result: TracedResult) -> str:
    """A JWS over the result without comparison, with what ties it to this call and this installation."""
    payload = result.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"receipt", "comparison"})
    tied = {
        "challenge": params.challenge,
        "clientRef": params.client_ref,
        "instanceId": desk.instance_id,
        "iat": int(desk.now().timestamp()),
    }
    return desk.load_identity().receipt(payload | {name: value for name, value in tied.items() if value is not None})


def _software_name(run: _Run) -> SoftwareName:
    return SoftwareName(name=run.software.name, version=run.software.version)


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
        certified_nir=certified if _USABLE_NIR.fullmatch(certified) else None,
    )


def _as_insi_takes_it(name: str) -> str | None:
    from agent.insi import names

    try:
        return names.birth_name(name)
    except AgentError:
        return None
