"""trace.get: one operation of this origin in this environment, as the journal holds it."""

from base64 import b64encode

from agent.errors import AgentError, Code
from agent.journal.ports import StoredAttempt, StoredTrace
from agent.model import AttemptTrace, TracedResult
from agent.protocol.messages import TraceGetParams, TraceGetResult
from agent.workflows.attempts import CUT_SHORT, journalled
from agent.workflows.desk import Asker, Desk


async def get(desk: Desk, asker: Asker, params: TraceGetParams) -> TraceGetResult:
    """Raises trace.unknown, also for a trace of another origin or environment."""

    def read() -> tuple[StoredTrace | None, bytes | None]:
        found = desk.journal.trace(params.trace_id, asker.origin, desk.environment)
        image = desk.journal.image(params.trace_id, asker.origin) if found and params.image else None
        return found, image

    stored, image = await journalled(desk, read)
    if stored is None:
        raise AgentError(Code.TRACE_UNKNOWN)
    return TraceGetResult(
        trace_id=stored.trace_id,
        at=stored.at,
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
