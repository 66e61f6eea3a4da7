"""The attempts of one operation, each traced, and the result of the last.

No intent row, no send; no outcome row, no result. What is asked, attempt after attempt, is the operation's plan.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.config import Software
from agent.errors import AgentError, Code
from agent.insi import compare
from agent.insi.answers import Answer, body_of, read_answer
from agent.insi.faults import may_repeat, means_nobody, short_code, short_label
from agent.insi.operations import Operation, Query
from agent.insi.ports import HttpReply
from agent.insi.rules import Judgement
from agent.journal.ports import CUT_SHORT, Conclusion, Intent, Link
from agent.model import (
    Asked,
    AttemptTrace,
    AuthMode,
    Environment,
    Outcome,
    SoftwareName,
    Trace,
    TracedProfessional,
    TracedResult,
)
from agent.protocol.messages import InsiParams
from agent.protocol.session import unexpected
from agent.workflows import switches
from agent.workflows.credentials import Credentials
from agent.workflows.desk import Asker, Desk

if TYPE_CHECKING:
    from agent.insi.contract import Contract
    from agent.insi.envelope import Envelope

log = logging.getLogger(__name__)
T = TypeVar("T")

JOURNAL_TIMEOUT_S = 20
NETWORK_MARGIN_S = 10  # the transport has its own deadlines; the lane's is the net under them

_NO_JOURNAL = {Code.JOURNAL_FULL, Code.JOURNAL_UNAVAILABLE}
_SEARCHES = {Operation.WITH_VITALE, Operation.BY_TRAITS}

# Told by environment.simulated already: nothing there is of the test or of the production environment.
_OF_NO_ENVIRONMENT = {"cpx.environmentUnknown", "vitale.environmentUnknown", "certificate.environmentUnknown"}


class Plan(Protocol):
    """What one operation asks, attempt after attempt, and what its answer is worth."""

    @property
    def warnings(self) -> list[str]:
        """Known before anything is sent."""
        return []

    @property
    def asked(self) -> Asked | None:
        """What the result must repeat, where INSi does not."""
        return None

    async def prepare(self) -> None:
        """Called before each attempt, once the call is authenticated."""
        return

    async def vitale_assertion(self, emitter: str) -> Any | None:  # noqa: ARG002  (WS_INS1's alone needs it)
        """The second assertion of the next attempt, if it takes one."""
        return None

    def next(self, last: Answer | None) -> Query | None:
        """The next attempt after this answer (None: the first); None when there is no further one."""
        ...

    def judge(self, answer: Answer) -> Judgement:
        """Whether what the last attempt gave may be integrated."""
        ...


@dataclass
class Call:
    """What a page asked, and what whoever waits for it knows of it and tells it."""

    desk: Desk
    asker: Asker
    params: InsiParams
    operation: Operation
    software: Software
    authorisation: str
    run: "Run | None" = None
    unwanted: bool = False  # cancelled while an attempt was on its way: no further one

    @property
    def software_name(self) -> SoftwareName:
        return SoftwareName(name=self.software.name, version=self.software.version)


@dataclass
class Run:
    """One operation on its way."""

    call: Call
    plan: Plan
    contract: "Contract"
    credentials: Credentials
    trace_id: str
    started_at: datetime
    leaving: AttemptTrace | None = None  # the attempt on its way: nothing calls it back
    attempts: list[AttemptTrace] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)  # of its attempts, each once
    request_sha256: str = ""  # of the last attempt, as the next one
    response_sha256: str | None = None

    def facts(self) -> dict[str, Any]:
        """What every error after the first byte carries."""
        left = [] if self.leaving in (None, *self.attempts) else [self.leaving]
        return {"traceId": self.trace_id, "attempts": [*self.attempts, *left]}

    async def climb(self) -> Answer:
        """Attempt after attempt, until one answers for good."""
        desk, answer = self.call.desk, None
        while query := self.plan.next(answer):
            if answer is not None:
                await desk.pause(desk.settings().insi.pause_s)
            answer = await self._with_repeats(query)
        assert answer is not None, "a plan has a first attempt"
        return answer

    async def _with_repeats(self, query: Query) -> Answer:
        """Repeat an attempt that INSi could not serve, a few times, with new identifiers each time, ever later."""
        desk = self.call.desk
        retries = desk.settings().insi.retries
        for repeats in range(retries + 1):
            try:
                return await self._attempt(query)
            except AgentError as error:
                if repeats == retries or not may_repeat(error, query.operation):
                    raise
            settings = desk.settings().insi
            await desk.pause(max(settings.retry_pause_s * 2**repeats, settings.pause_s))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _attempt(self, query: Query) -> Answer:
        """Sign if needed, write the message, trace the intent, send, trace the outcome."""
        asker, who = self.call.asker, self.credentials
        if self.call.unwanted:
            raise AgentError(Code.OPERATION_CANCELLED)
        await asker.progress("insi.signing" if who.mode is AuthMode.CPX else "insi.preparing")
        assertion = await who.assertion()
        await self.plan.prepare()  # after the signature, for which the person may be asked: nothing before the sending
        message = self._message(query, assertion, await self.plan.vitale_assertion(who.emitter))
        await asker.progress("insi.calling", "network")
        self.leaving = AttemptTrace(
            code=CUT_SHORT, message_id=message.message_id, duration_ms=0, given=list(message.given)
        )
        try:
            came, reply = await self._exchange(message)
        finally:
            self.leaving = None
        if isinstance(came, AgentError):
            return self._nobody(came)
        await self._check(reply)
        return came

    def _message(self, query: Query, assertion: Any | None, vitale_assertion: Any | None) -> "Envelope":
        from agent.insi import envelope

        desk, software = self.call.desk, self.call.software
        settings = desk.settings()
        return envelope.build(
            query,
            contract=self.contract,
            lps=envelope.Lps(
                authorisation=self.call.authorisation,
                name=software.name,
                version=software.version,
                instance=desk.instance_id,
                nom=settings.insi.lps_name.format(name=software.name, version=software.version),
            ),
            emitter=self.credentials.emitter,
            assertion=assertion,
            vitale_assertion=vitale_assertion,
            ids=envelope.Ids.fresh(),
            at=desk.now(),
            rank_format=settings.vitale.rank_format,
            send_key=settings.insi.send_key,
            bam_version=settings.insi.bam_version,
            lps_version=settings.insi.lps_version,
        )

    async def _exchange(self, message: "Envelope") -> tuple[Answer | AgentError, HttpReply | None]:
        """Intent row, send, outcome row."""
        desk, intent = self.call.desk, self._intent(message)
        intended = await journalled(desk, lambda: _intend(desk, intent))
        desk.journal_failed = None
        sent_at = desk.now()
        replies: list[HttpReply] = []  # one, where what came cannot be read either
        came: Answer | AgentError

        post = partial(desk.teleservice.post, self.credentials.sender, message.action, message.body)

        def ask() -> Answer:
            replies.append(post())
            return self._read(replies[0])

        try:
            came = await on_network(desk, ask)
        except AgentError as error:
            came = error
        except Exception:  # even what nobody foresaw leaves its outcome row, and its trace to the page
            came = unexpected()
            log.exception("incident %s", came.facts["incident"])
        reply = replies[0] if replies else None
        self.warnings |= dict.fromkeys(reply.warnings if reply else ())
        code = came.code if isinstance(came, Answer) else _failure_code(came)
        duration_ms = reply.duration_ms if reply else round((desk.now() - sent_at).total_seconds() * 1000)
        conclusion = Conclusion(
            at=desk.now(),
            code=code,
            label=short_label(code, came.label) if isinstance(came, Answer) else "",
            duration_ms=duration_ms,
            http_status=reply.status if reply else None,
            reply=reply.body if reply else None,
            exact=desk.exact_frames,
        )
        self.attempts.append(
            AttemptTrace(code=code, message_id=message.message_id, duration_ms=duration_ms, given=list(message.given))
        )
        self.leaving = self.attempts[-1]  # not yet in the journal
        self.request_sha256 = message.sha256
        self.response_sha256 = hashlib.sha256(reply.body).hexdigest() if reply else None
        await journalled(desk, lambda: desk.journal.conclude(intended, conclusion))
        unreached = code if reply is None else None
        answered = isinstance(came, Answer)
        desk.counts.attempt(
            self.call.operation.value, code, duration_ms, conclusion.at, answered=answered, failed=unreached
        )
        return came, reply

    def _intent(self, message: "Envelope") -> Intent:
        desk, asker, params, who = self.call.desk, self.call.asker, self.call.params, self.credentials
        return Intent(
            trace_id=self.trace_id,
            attempt=len(self.attempts) + 1,
            at=desk.now(),
            origin=asker.origin,
            client_ref=params.client_ref,
            operation=self.call.operation.value,
            environment=desk.environment,
            auth_mode=who.mode,
            software=self.call.software_name,
            message_id=message.message_id,
            request_sha256=message.sha256,
            given=message.given,
            params=as_json(params),
            request=message.body if desk.exact_frames else message.without_secrets(),
            professional=who.professional,
            structure=who.structure,
            certificate=who.certificate,
            user=params.user,
            account=desk.account,
            exact=desk.exact_frames,
        )

    def _read(self, reply: HttpReply) -> Answer:
        verifies = self.call.operation is Operation.VERIFY
        return read_answer(reply, self.contract.binding(Operation.VERIFY).answer if verifies else None)

    def _nobody(self, fault: AgentError) -> Answer:
        """The fault as the answer that nobody was found, where the settings say that it means that; else raised."""
        desk = self.call.desk
        meaning = desk.settings().insi.unknown_person_faults.get(desk.environment, "error")
        if self.call.operation not in _SEARCHES or not means_nobody(fault, meaning):
            raise fault
        self.warnings["notFound.asFault"] = None
        said = fault.facts["insi"]
        return Answer(said["code"], said["reason"], Outcome.NOT_FOUND)

    async def _check(self, reply: HttpReply | None) -> None:
        """Beside the contract's schema. Whatever comes of it, what INSi answered stays."""
        desk, operation = self.call.desk, self.call.operation
        if reply is None or not desk.settings().insi.check_answers:
            return
        try:
            faults = await on_network(desk, lambda: self.contract.faults_of_answer(operation, body_of(reply)))
        except Exception as error:  # noqa: BLE001  (the schema may be anybody's; INSi's answer must not be lost for it)
            log.warning("an answer of %s was not checked: %s", operation.value, type(error).__name__)
            return
        if faults:
            log.warning("an answer of %s differs from its schema at %s", operation.value, ", ".join(faults))
            self.warnings["answer.schema"] = None

    # ------------------------------------------------------------ its result

    async def conclude(self, answer: Answer) -> TracedResult:
        """Build the result at its own place in the chain, sign its receipt, keep it."""
        desk, params = self.call.desk, self.call.params
        ended_at = desk.now()
        judgement = self.plan.judge(answer)
        unsigned = partial(
            TracedResult,
            outcome=answer.outcome,
            code=answer.code,
            label=answer.label,
            identity=answer.identity,
            asked=self.plan.asked,
            integrable=judgement.integrable,
            reasons=judgement.reasons,
            warnings=[*judgement.warnings, *self._where(), *self.warnings],
            comparison=compare.compare(params.local, answer.identity) if params.local and answer.identity else None,
            receipt="",
        )
        built: list[TracedResult] = []

        def write(seq: int, previous: str) -> bytes:
            result = unsigned(trace=self._trace(ended_at, seq, previous))
            built.append(result.model_copy(update={"receipt": _receipt(desk, params, result)}))
            return built[0].model_dump_json(by_alias=True, exclude_none=True).encode()

        await journalled(desk, lambda: desk.journal.finish(self.trace_id, ended_at, write))
        return built[0]

    def _where(self) -> list[str]:
        """What must be known of the place where this was asked."""
        known = [*self.plan.warnings, *self.credentials.warnings]
        if self.call.desk.environment is not Environment.SIMULATED:
            return known
        return ["environment.simulated", *(warning for warning in known if warning not in _OF_NO_ENVIRONMENT)]

    def _trace(self, ended_at: datetime, seq: int, previous: str) -> Trace:
        desk, params, who = self.call.desk, self.call.params, self.credentials
        return Trace(
            id=self.trace_id,
            operation=self.call.operation.value,
            at=self.started_at,
            duration_ms=round((ended_at - self.started_at).total_seconds() * 1000),
            environment=desk.environment,
            auth_mode=who.mode,
            message_id=self.attempts[-1].message_id,
            attempts=self.attempts,
            request_sha256=self.request_sha256,
            response_sha256=self.response_sha256,
            origin=self.call.asker.origin,
            user=params.user,
            context=params.context,
            professional=TracedProfessional(national_id=who.professional) if who.professional else None,
            structure=who.structure,
            certificate=who.certificate,
            software=self.call.software_name,
            seq=seq,
            previous=previous,
        )


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


def as_json(params: InsiParams) -> bytes:
    """What the page asked, as the journal keeps it and as a clientRef is compared."""
    return params.model_dump_json(by_alias=True, exclude_none=True).encode()


# ---------------------------------------------------------------- lanes


async def journalled(desk: Desk, call: Callable[[], T]) -> T:
    """Run on the journal's lane. A journal that fails is told to everybody until a call is in it again."""
    try:
        return await desk.lanes.journal.run(call, timeout_s=JOURNAL_TIMEOUT_S)
    except AgentError as error:
        if error.code in _NO_JOURNAL and "entry" not in error.facts:  # else it is about one entry
            desk.journal_failed = error.code
        raise


async def on_network(desk: Desk, call: Callable[[], T]) -> T:
    """Run on the network lane, after a call that nobody waits for any more if one is still there."""
    enough_s = desk.settings().insi.total_timeout_s + NETWORK_MARGIN_S
    return await desk.lanes.network.run(call, timeout_s=enough_s, wait_s=enough_s)


def _intend(desk: Desk, intent: Intent) -> Link:
    """On the journal's lane. The first intent comes after what the last stop cut short, be it a switch."""
    if not desk.journal_settled:
        for cut in desk.journal.unfinished():
            desk.journal.conclude(cut.intended, Conclusion(at=desk.now(), code=CUT_SHORT, label="", duration_ms=0))
        switches.note_position(desk, switches.position(desk))
        desk.journal_settled = True
    return desk.journal.intend(intent)


def _failure_code(failure: AgentError) -> str:
    """INSi's own code when a fault gave one, else our reason."""
    given = failure.facts.get("insi", {}).get("code")
    return short_code(given) if given else failure.code.value
