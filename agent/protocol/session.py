"""A conversation without a socket: feed it text, it gives calls to run and text to send. No I/O of its own.

JSON-RPC 2.0 without batch arrays. A message that is not even a request is answered with `id: null`;
twenty of those in a row close the conversation with 4004.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agent.errors import AgentError, Code
from agent.model import Value
from agent.protocol.messages import API_LEVEL, HelloParams, OperationCancelParams
from agent.protocol.methods import BEFORE_HELLO, METHODS, WHILE_PENDING, Method
from agent.protocol.origins import Caller

CLOSE_REVOKED = 4001
CLOSE_UNANSWERED_PINGS = 4002
CLOSE_NO_COMMON_LEVEL = 4003
CLOSE_MALFORMED = 4004
CLOSE_SLOW = 4008

MAX_MALFORMED = 20
MAX_DEPTH = 16
MAX_IN_FLIGHT = 64

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, AGENT_ERROR = -32700, -32600, -32601, -32602, -32000

RequestId = int | str


@dataclass(frozen=True)
class Call:
    """A request to run."""

    id: RequestId
    method: Method
    params: Value


@dataclass(frozen=True)
class Send:
    """A message to the page."""

    text: str
    refused: tuple[str, str] | None = None  # instead of running a request: its method, `?` for none of ours, and why


@dataclass(frozen=True)
class Close:
    code: int
    reason: str


Output = Call | Send | Close


class _MalformedError(ValueError):
    """Not a JSON text that we accept; the message says why, without quoting it."""


class Session:
    """The state of one conversation."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.greeted = False
        self._in_flight: set[RequestId] = set()
        self._malformed_in_a_row = 0

    def receive(self, text: str) -> list[Output]:
        """What to do with one text frame."""
        try:
            message = parse(text)
        except _MalformedError as error:
            return self._malformed(PARSE_ERROR, str(error))
        problem, request_id = _envelope_problem(message)
        if request_id is None:
            return self._malformed(INVALID_REQUEST, problem)
        self._malformed_in_a_row = 0
        if problem:
            return [_refusal(request_id, INVALID_REQUEST, problem)]
        return [self._request(request_id, message["method"], message.get("params", {}))]

    def answer(self, call: Call, result: Value) -> Send:
        """The reply to a call that went well."""
        self._in_flight.discard(call.id)
        if isinstance(call.params, HelloParams):
            self.greeted = True
        body = result.model_dump_json(by_alias=True, exclude_none=True)
        return Send(f'{{"jsonrpc":"2.0","id":{_ENCODER.encode(call.id)},"result":{body}}}')

    def fail(self, call: Call, error: AgentError) -> Send:
        """The reply to a call that ended with a code of the catalogue."""
        self._in_flight.discard(call.id)
        return Send(_dump({"jsonrpc": "2.0", "id": call.id, "error": error_object(error)}))

    @staticmethod
    def notify(method: str, params: Value) -> Send:
        """A notification."""
        body = params.model_dump(mode="json", by_alias=True, exclude_none=method != "operation.progress")
        return Send(_dump({"jsonrpc": "2.0", "method": method, "params": body}))

    def _request(self, request_id: RequestId, name: str, raw: dict[str, Any]) -> Output:
        if request_id in self._in_flight:
            return _refusal(request_id, INVALID_REQUEST, "id is already in flight")
        method = METHODS.get(name)
        if method is None:
            return _refusal(request_id, METHOD_NOT_FOUND, "unknown method", method=name[:100])
        if not self.greeted and name not in BEFORE_HELLO:
            return _refused(request_id, method, AgentError(Code.HELLO_FIRST))
        if self.caller.pending and name not in WHILE_PENDING:
            return _refused(request_id, method, AgentError(Code.ORIGIN_PENDING))
        try:
            params = method.params.model_validate_json(_ENCODER.encode(raw), strict=True)
        except ValidationError as error:
            return _invalid_params(request_id, method, error)
        if isinstance(params, HelloParams) and API_LEVEL not in params.api_levels:
            return Close(CLOSE_NO_COMMON_LEVEL, f"this agent speaks API level {API_LEVEL}")
        if method.right is not None and method.right not in self.caller.rights:
            return _refused(request_id, method, AgentError(Code.RIGHT_MISSING, right=method.right.value))
        if len(self._in_flight) >= MAX_IN_FLIGHT and not isinstance(params, OperationCancelParams):
            too_many = AgentError(Code.DEVICE_BUSY, "too many requests in flight", origin="own")
            return _refused(request_id, method, too_many)
        self._in_flight.add(request_id)
        return Call(request_id, method, params)

    def _malformed(self, code: int, why: str) -> list[Output]:
        self._malformed_in_a_row += 1
        reply = _refusal(None, code, why)
        if self._malformed_in_a_row >= MAX_MALFORMED:
            return [reply, Close(CLOSE_MALFORMED, f"{MAX_MALFORMED} malformed messages in a row")]
        return [reply]


def error_object(error: AgentError) -> dict[str, Any]:
    """The `error` member for a code of the catalogue."""
    row = error.row
    return {
        "code": AGENT_ERROR,
        "message": row.title.en,
        "data": {
            "reason": error.code.value,
            "audience": row.audience.value,
            "retryable": row.retryable,
            "message": {"fr": row.title.fr, "en": row.title.en},
            "action": {"fr": row.action.fr, "en": row.action.en},
            "facts": {name: _plain(value) for name, value in error.facts.items()},
        },
    }


def unexpected() -> AgentError:
    """What a page learns of a failure nobody foresaw: a number to give to support, and nothing from inside."""
    return AgentError(Code.INTERNAL, incident=uuid.uuid4().hex[:12])


def parse(text: str) -> Any:
    """JSON, strictly: no duplicate member, no NaN or infinity, no number out of range, not too deep."""
    try:
        message = _DECODER.decode(text)
    except _MalformedError:
        raise
    except RecursionError:
        raise _MalformedError("too deep") from None
    except ValueError:
        raise _MalformedError("not JSON") from None
    opened = text.count("{") + text.count("[")  # most messages need no walk to know that they are shallow
    if opened > MAX_DEPTH and _depth(message) > MAX_DEPTH:
        raise _MalformedError("too deep")
    return message


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _MalformedError("duplicate member")
    return members


def _no_constant(_name: str) -> Any:
    raise _MalformedError("NaN or infinity")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(number := int(digits)) > 2**53:
        raise _MalformedError("number out of range")
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if len(digits) > 40 or number in (float("inf"), float("-inf")):
        raise _MalformedError("number out of range")
    return number


def _depth(value: Any) -> int:
    """How many objects and lists are inside one another."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, depth)
            waiting.extend((child, depth + 1) for child in (item.values() if isinstance(item, dict) else item))
    return deepest


def _envelope_problem(message: Any) -> tuple[str, RequestId | None]:
    """What is wrong with the envelope, or nothing, and the id to answer with."""
    if not isinstance(message, dict):
        return "a request is an object; batch arrays are not spoken", None
    raw_id = message.get("id")
    has_id = (type(raw_id) is int) or (isinstance(raw_id, str) and 1 <= len(raw_id) <= 64)
    request_id: RequestId | None = raw_id if has_id else None
    if not has_id:
        return "id must be an integer or a string of 1 to 64 characters", None
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"', request_id
    if not isinstance(message.get("method"), str):
        return "method must be a string", request_id
    if not isinstance(message.get("params", {}), dict):
        return "params must be an object", request_id
    if not message.keys() <= {"jsonrpc", "id", "method", "params"}:
        return "unknown member beside jsonrpc, id, method, params", request_id
    return "", request_id


def _invalid_params(request_id: RequestId, method: Method, error: ValidationError) -> Send:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    member = ".".join(str(part) for part in first["loc"])
    why = "unknown member" if first["type"] == "extra_forbidden" else first["msg"]
    return _refusal(request_id, INVALID_PARAMS, f"{member[:200]}: {why}", of=method.name, member=member[:200])


def _refused(request_id: RequestId, method: Method, error: AgentError) -> Send:
    reply = {"jsonrpc": "2.0", "id": request_id, "error": error_object(error)}
    return Send(_dump(reply), refused=(method.name, error.code.value))


def _refusal(request_id: RequestId | None, code: int, why: str, *, of: str = "?", **data: Any) -> Send:
    error: dict[str, Any] = {"code": code, "message": why}
    if data:
        error["data"] = data
    return Send(_dump({"jsonrpc": "2.0", "id": request_id, "error": error}), refused=(of, str(code)))


def _plain(value: Any) -> Any:
    """A fact as JSON."""
    if isinstance(value, Value):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _dump(message: dict[str, Any]) -> str:
    return _ENCODER.encode(message)


# made once: json.loads and json.dumps make a new one for each message
_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
