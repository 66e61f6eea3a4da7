"""insi.retrieveWithVitale and insi.retrieveByTraits: from a page's request to a traced result.

The order is fixed: what can be refused without a card or a code is refused first; the card is read
again just before it is used; no intent row, no send; no outcome row, no result.
"""

import asyncio
import getpass
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from agent.config import Software
from agent.errors import AgentError, Code
from agent.insi import compare, rules, search
from agent.insi.answers import Answer, read_answer
from agent.insi.faults import may_repeat
from agent.insi.operations import Operation, Query, VitaleQuery
from agent.insi.ports import HttpReply
from agent.journal.ports import Conclusion, Intent
from agent.model import (
    AttemptTrace,
    AuthMode,
    Environment,
    Profile,
    SoftwareName,
    Trace,
    TracedProfessional,
    TracedResult,
    VitaleHolder,
)
from agent.protocol.messages import InsiParams, RetrieveByTraitsParams, RetrieveWithVitaleParams
from agent.workflows import vitale
from agent.workflows.credentials import Credentials, choose_mode, credentials
from agent.workflows.desk import Asker, Desk
from agent.workflows.searches import Search

if TYPE_CHECKING:
    from agent.insi.envelope import Envelope

T = TypeVar("T")

JOURNAL_TIMEOUT_S = 20
NETWORK_MARGIN_S = 10  # the transport has its own deadlines; the lane's is the net under them

_USABLE_NIR = re.compile(r"\d{5,6}[\dAB]\d{6}", re.ASCII)


class Plan(Protocol):
    """What one operation asks, attempt after attempt."""

    operation: Operation
    rank_assumed: bool
    card_given_names: str | None

    async def prepare(self) -> None:
        """Called once the call is authenticated, just before the first attempt."""

    def next(self, code_of_last: str | None) -> Query | None:
        """The next attempt after CodeCR `code_of_last` (None: the first); None when the search is over."""


async def with_vitale(desk: Desk, asker: Asker, params: RetrieveWithVitaleParams) -> TracedResult:
    """WS_INS1 for a holder of a reading of this origin.

    Raises vitale.readingUnknown/stale/holderUnknown/rankNeeded/nirUnusable before anything else,
    vitale.changed just before sending, and the codes of `_retrieve`.
    """
    _permitted(desk, params)
    kept = desk.readings.find(params.read_id, asker.origin, desk.now())
    holders = kept.reading.content.holders
    if params.holder >= len(holders):
        raise AgentError(Code.VITALE_HOLDER_UNKNOWN)
    rank, assumed = vitale.rank_of(kept, params.holder, params.rank)
    plan = _WithVitale(
        query=_vitale_query(holders[params.holder], rank, send_birth_name=desk.settings().vitale.send_birth_name),
        prepare_card=lambda: vitale.read_again(desk, kept),
        card_given_names=holders[params.holder].given_names,
        rank_assumed=assumed,
    )
    return await _once(desk, asker, params, plan)


async def by_traits(desk: Desk, asker: Asker, params: RetrieveByTraitsParams) -> TracedResult:
    """WS_INS2, attempt by attempt; `continues` resumes an earlier search at its next step.

    Raises traits.refused, continues.refused before anything else, and the codes of `_retrieve`.
    """
    _permitted(desk, params)
    ladder = search.steps(params.traits, desk.settings().insi.after_several)
    first_code = None
    if params.continues is not None:
        earlier = desk.searches.find(params.continues, asker.origin, params.traits, desk.now())
        ladder, first_code = ladder.resume(earlier.given), earlier.code
    result = await _once(desk, asker, params, _ByTraits(ladder, first_code))
    if result.code in ("01", "02"):
        last = result.trace.attempts[-1]
        kept = Search(asker.origin, params.traits, tuple(last.given), result.code, desk.now())
        desk.searches.keep(result.trace.id, kept)
    return result


@dataclass
class _WithVitale:
    query: VitaleQuery
    prepare_card: Callable[[], Awaitable[None]]
    card_given_names: str | None
    rank_assumed: bool
    operation: Operation = Operation.WITH_VITALE

    async def prepare(self) -> None:
        await self.prepare_card()

    def next(self, code_of_last: str | None) -> Query | None:
        return self.query if code_of_last is None else None


@dataclass
class _ByTraits:
    ladder: search.Ladder
    first_code: str | None  # of the search that is continued
    operation: Operation = Operation.BY_TRAITS
    rank_assumed: bool = False
    card_given_names: str | None = None

    async def prepare(self) -> None:
        return

    def next(self, code_of_last: str | None) -> Query | None:
        return self.ladder.next(code_of_last or self.first_code)


@dataclass
class _Run:
    """One operation on its way."""

    trace_id: str
    operation: Operation
    started_at: datetime
    software: Software
    authorisation: str
    credentials: Credentials
    attempts: list[AttemptTrace] = field(default_factory=list)
    request_sha256: str = ""
    response_sha256: str | None = None


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


async def _once(desk: Desk, asker: Asker, params: InsiParams, plan: Plan) -> TracedResult:
    """Run the operation, or replay the stored result of the same clientRef."""
    reference = params.client_ref
    if reference is None:
        return await _retrieve(desk, asker, params, plan)
    digest = hashlib.sha256(f"{plan.operation} {params.model_dump_json(by_alias=True)}".encode()).hexdigest()
    stored = desk.references.begin(asker.origin, reference, digest, desk.now())
    if stored is not None:
        return stored.model_copy(update={"replayed": True})
    result = None
    try:
        result = await _retrieve(desk, asker, params, plan)
    finally:
        desk.references.end(asker.origin, reference, result, desk.now())
    return result


async def _retrieve(desk: Desk, asker: Asker, params: InsiParams, plan: Plan) -> TracedResult:
    """One operation at a time, first come first served; every attempt traced.

    Raises software.notAuthorised, authMode.unavailable, user.required, the codes of `credentials` and of
    `_attempt`; from the first attempt on with the facts traceId and attempts.
    """
    software, authorisation = desk.software_of(asker.origin)
    mode = choose_mode(desk, params)
    await desk.identity()  # no key, no receipt: said before anything is sent
    await asker.progress("insi.queued")
    async with desk.insi_turn.taken_by(asker.origin, wait_s=None), credentials(desk, asker, params, mode) as who:
        await plan.prepare()
        run = _Run(desk.new_id(), plan.operation, desk.now(), software, authorisation, who)
        try:
            answer = await _climb(desk, asker, params, plan, run)
        except AgentError as error:
            if run.attempts:
                error.facts |= {"traceId": run.trace_id, "attempts": run.attempts}
            raise
        return await _conclude(desk, asker, params, plan, run, answer)


async def _climb(desk: Desk, asker: Asker, params: InsiParams, plan: Plan, run: _Run) -> Answer:
    """Attempt after attempt, until one answers for good."""
    answer: Answer | None = None
    while query := plan.next(answer.code if answer else None):
        answer = await _with_repeats(desk, partial(_attempt, desk, asker, params, run, query))
    if answer is None:
        raise AgentError(Code.CONTINUES_REFUSED, "the search has no further step")
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


async def _attempt(desk: Desk, asker: Asker, params: InsiParams, run: _Run, query: Query) -> Answer:
    """Sign if needed, write the message, trace the intent, send, trace the outcome."""
    from agent.insi import envelope

    await asker.progress("insi.signing" if run.credentials.mode is AuthMode.CPX else "insi.preparing")
    assertion = await run.credentials.assertion()
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
        ids=envelope.Ids.fresh(),
        at=desk.now(),
        rank_format=settings.vitale.rank_format,
    )
    await asker.progress("insi.calling", "network")
    return await desk.finish_even_if_cancelled(_exchange(desk, asker, params, run, query, message))


async def _exchange(
    desk: Desk, asker: Asker, params: InsiParams, run: _Run, query: Query, message: "Envelope"
) -> Answer:
    """Intent row, send, outcome row. Runs to its end even when nobody waits for it any more."""
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
        params=params.model_dump_json(by_alias=True, exclude_none=True).encode(),
        request=message.without_secrets(),
        professional=run.credentials.professional,
        structure=run.credentials.structure,
        user=params.user,
        account=getpass.getuser(),
    )
    intended = await _journal(desk, lambda: desk.journal.intend(intent))
    sent_at = desk.now()
    reply: HttpReply | None = None
    answer: Answer | None = None
    failure: Exception | None = None
    try:
        reply = await _send(desk, run, message)
        answer = read_answer(reply)
    except Exception as error:  # noqa: BLE001  (raised again below: even what nobody foresaw leaves its outcome row)
        failure = error
    code = answer.code if answer else _failure_code(failure)
    conclusion = Conclusion(
        at=desk.now(),
        code=code,
        label=answer.label if answer else "",
        duration_ms=reply.duration_ms if reply else round((desk.now() - sent_at).total_seconds() * 1000),
        http_status=reply.status if reply else None,
        reply=reply.body if reply else None,
    )
    await _journal(desk, lambda: desk.journal.conclude(intended, conclusion))
    run.attempts.append(
        AttemptTrace(
            code=code, message_id=message.message_id, duration_ms=conclusion.duration_ms, given=list(query.given)
        )
    )
    run.request_sha256 = message.sha256
    run.response_sha256 = hashlib.sha256(reply.body).hexdigest() if reply else None
    unreached = code if reply is None else None
    desk.counts.attempt(run.operation.value, code, conclusion.duration_ms, conclusion.at, failed=unreached)
    if answer is None:
        assert failure is not None
        raise failure
    return answer


async def _send(desk: Desk, run: _Run, message: "Envelope") -> HttpReply:
    mode = run.credentials.mode
    return await desk.lanes.network.run(
        lambda: desk.teleservice.post(mode, message.action, message.body),
        timeout_s=desk.settings().insi.total_timeout_s + NETWORK_MARGIN_S,
        wait_s=NETWORK_MARGIN_S,
    )


def _failure_code(failure: Exception | None) -> str:
    """INSi's own code when a fault gave one, else our reason."""
    if not isinstance(failure, AgentError):
        return Code.INTERNAL.value
    return str(failure.facts.get("insi", {}).get("code") or failure.code.value)


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
    simulated = ["environment.simulated"] if desk.environment is Environment.SIMULATED else []
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
            warnings=[*judgement.warnings, *simulated],
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


def _vitale_query(holder: VitaleHolder, rank: int, *, send_birth_name: bool) -> VitaleQuery:
    """What WS_INS1 is asked for this holder. Raises vitale.nirUnusable."""
    from agent.insi import names

    if not re.fullmatch(_USABLE_NIR, holder.nir) or len(holder.nir) != 13 or holder.birth_date is None:
        raise AgentError(Code.VITALE_NIR_UNUSABLE)
    return VitaleQuery(
        nir_of_insured=holder.nir,
        birth_date=holder.birth_date,
        rank=rank,
        birth_name=names.birth_name(holder.name) if send_birth_name else None,
        certified_nir=holder.certified_nir,
    )
