"""One operation of INSi, whichever it is: what may be refused is refused first, then it has its turn.

The order is fixed: what costs nothing to know comes before the card, the code and the network. What is asked is the
operation's plan; its attempts and what comes of them: attempts.py.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.insi.operations import Operation
from agent.model import AuthMode, Environment, TracedResult
from agent.protocol.messages import InsiParams
from agent.workflows.attempts import Call, Plan, Run, as_json, journalled, on_network
from agent.workflows.credentials import choose_mode, credentials
from agent.workflows.desk import Asker, Desk
from agent.workflows.rates import Rated
from agent.workflows.references import REPLAYED_FOR

if TYPE_CHECKING:
    from agent.insi.contract import Contract


async def run(
    desk: Desk, asker: Asker, params: InsiParams, operation: Operation, plan: Callable[[], Plan]
) -> TracedResult:
    """Run the operation, or replay the stored result of the same clientRef, whatever became of card and search.

    Cancelling ends it at once, but for an attempt that is on its way: that one keeps the turn and the clientRef
    until its outcome is journalled. Once there is an attempt, it is operation.cancelled and says where to find it.

    Raises software.notAuthorised; clientRef.reused and device.busy of a clientRef; authMode.*, user.required; what
    `plan` raises; contract.*, traits.refused {member, rule: required} for what the contract wants of this call,
    insi.notConfigured, certificate.*, rate.limited: all before any card or code. Then the codes of `credentials` and
    of an attempt; from the first attempt on with the facts traceId and attempts.
    """
    call = Call(desk, asker, params, operation, *desk.software_of(asker.origin))
    work = desk.finish(_referenced(call, plan))
    work.add_done_callback(_heard)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if call.run is not None and call.run.leaving is not None:
            call.unwanted = True
            raise AgentError(Code.OPERATION_CANCELLED, **call.run.facts()) from None
        work.cancel()
        await asyncio.wait([work])
        if call.run is not None and call.run.attempts:
            raise AgentError(Code.OPERATION_CANCELLED, **call.run.facts()) from None
        raise


def _heard(work: "asyncio.Task[TracedResult]") -> None:
    """Its end is in the journal, also when nobody waits for it any more."""
    if not work.cancelled():
        work.exception()


# ---------------------------------------------------------------- clientRef


async def _referenced(call: Call, plan: Callable[[], Plan]) -> TracedResult:
    reference, desk, origin = call.params.client_ref, call.desk, call.asker.origin
    if reference is None:
        return await _perform(call, plan)
    digest = hashlib.sha256(call.operation.encode() + as_json(call.params)).hexdigest()
    stored = desk.references.begin(origin, reference, digest, desk.now())
    if stored is not None:
        return stored.model_copy(update={"replayed": True})
    result = None
    try:
        if stored := await _from_before(call, reference):
            return stored.model_copy(update={"replayed": True})
        result = await _perform(call, plan)
    finally:
        desk.references.end(origin, reference, result, desk.now())
    return result


async def _from_before(call: Call, reference: str) -> TracedResult | None:
    """The journal's result under this clientRef, from before the agent's last start. Raises clientRef.reused."""
    desk, ever = call.desk, datetime.min.replace(tzinfo=UTC)
    kept = await journalled(
        desk, lambda: desk.journal.by_client_ref(call.asker.origin, reference, ever, desk.environment)
    )
    if kept is None or kept.result is None:
        return None
    same = kept.params == as_json(call.params) and kept.attempts[0].clear["operation"] == call.operation
    if not same or desk.now() - datetime.fromisoformat(kept.at) > REPLAYED_FOR:
        raise AgentError(Code.CLIENT_REF_REUSED)
    return TracedResult.model_validate_json(kept.result)


# ---------------------------------------------------------------- one operation at a time


async def _perform(call: Call, plan: Callable[[], Plan]) -> TracedResult:
    """First come, first served; every attempt traced."""
    desk, asker, params = call.desk, call.asker, call.params
    mode = choose_mode(desk, asker, params)
    planned = plan()
    await desk.keys_at_hand()
    await asker.progress("insi.queued")
    async with desk.insi_turn.taken_by(asker.origin, wait_s=None):
        if desk.leaving:  # what only waits for its turn ends too: nothing of it was asked
            raise AgentError(Code.AGENT_SWITCHING)
        contract = await on_network(desk, partial(_make_ready, desk, planned, call.operation, mode))
        await desk.proxy_at_hand()
        if mode is AuthMode.ORGANISATION:
            desk.choose_certificate(await desk.organisations(), asker.origin)  # one that does not do costs no call
        desk.rates.check(Rated.INSI_CALL, asker.origin, desk.settings().limits, desk.now())
        async with credentials(desk, asker, params, mode, call.operation) as who:
            desk.rates.count(Rated.INSI_CALL, asker.origin, desk.now())
            call.run = run = Run(call, planned, contract, who, desk.new_id(), desk.now())
            try:
                with _shown(desk, asker, mode):
                    return await run.conclude(await run.climb())
            except AgentError as error:
                if run.attempts:
                    error.facts |= run.facts()
                raise


def _make_ready(desk: Desk, plan: Plan, operation: Operation, mode: AuthMode) -> "Contract":
    """On the network lane, where the contract is loaded too: other pages do not wait for it."""
    from lxml import etree

    from agent.insi.envelope import write_body

    contract = desk.contract()
    contract.check(operation, simulated=desk.environment is Environment.SIMULATED)
    if first := plan.next(None):  # what it lacks for this contract is known before any code
        write_body(first, etree.Element("essai"), contract=contract, send_key=desk.settings().insi.send_key)
    desk.teleservice.check(mode)
    return contract


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
