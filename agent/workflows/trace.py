"""trace.list and trace.get: operations of this origin in this environment, as the journal holds them."""

from base64 import b64encode

from agent.errors import AgentError, Code
from agent.journal.ports import CUT_SHORT, StoredAttempt, StoredTrace, TracePage
from agent.model import AttemptTrace, TracedResult
from agent.protocol.messages import TraceGetParams, TraceGetResult, TraceLine, TraceListParams, TraceListResult
from agent.workflows.attempts import journalled
from agent.workflows.desk import Asker, Desk


async def listing(desk: Desk, asker: Asker, params: TraceListParams) -> TraceListResult:
    """One page, newest first. A `clientRef` needs the key: raises keyring.absent, identity.damaged."""
    wanted = dict(params)
    code = wanted.pop("ended_with")

    def read() -> TracePage:
        return desk.journal.traces(asker.origin, desk.environment, code=code, **wanted)

    async with desk.traces_turn.taken_by(asker.origin, wait_s=None):
        page = await journalled(desk, read)
    return TraceListResult(
        traces=[
            TraceLine(
                trace_id=one.trace_id,
                at=one.at,
                operation=one.operation,
                auth_mode=one.auth_mode,
                client_ref=one.client_ref,
                code=one.code,
                attempts=one.attempts,
                answered=one.answered,
            )
            for one in page.traces
        ],
        next_cursor=page.next_cursor,
    )


async def get(desk: Desk, asker: Asker, params: TraceGetParams) -> TraceGetResult:
    """Raises trace.unknown, also for a trace of another origin or environment."""

    def read() -> tuple[StoredTrace | None, bytes | None]:
        found = desk.journal.trace(params.trace_id, asker.origin, desk.environment)
        image = desk.journal.image(params.trace_id, asker.origin) if found and params.image else None
        return found, image

    async with desk.traces_turn.taken_by(asker.origin, wait_s=None):
        stored, image = await journalled(desk, read)
    if stored is None:
        raise AgentError(Code.TRACE_UNKNOWN)
    return TraceGetResult(
        trace_id=stored.trace_id,
        at=stored.at,
        operation=stored.attempts[0].clear["operation"],
        auth_mode=stored.attempts[0].clear["authMode"],
        client_ref=stored.client_ref,
        attempts=[_attempt(attempt) for attempt in stored.attempts],
        result=TracedResult.model_validate_json(stored.result) if stored.result else None,
        image=b64encode(image).decode() if image else None,
    )


def _attempt(stored: StoredAttempt) -> AttemptTrace:
    outcome = stored.outcome or {"code": CUT_SHORT, "durationMs": 0}  # the agent stopped before its outcome
    return AttemptTrace(
        code=outcome["code"],
        message_id=stored.clear["messageId"],
        duration_ms=outcome["durationMs"],
        given=stored.clear["given"],
    )
