"""What must come back for each message: a second opinion, written from the protocol's text. No I/O of its own.

Source: PROTOCOL.md (Talk, Close codes, Errors), the published schema of params, results and notifications,
RFC 8259 for JSON. It knows nothing of how the agent reads a message. A message with several faults may be
answered for any of them, unless the text says which comes first.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from agent.protocol.document import schema

MALFORMED, NOT_A_REQUEST, UNKNOWN_METHOD, WRONG_PARAMS = "-32700", "-32600", "-32601", "-32602"
OK = "ok"
CLOSE_NO_LEVEL, CLOSE_MALFORMED = 4003, 4004
IN_A_ROW = 20
DEEPEST = 16  # objects and lists inside one another
LARGEST = 2**53
LONGEST_NUMBER = 40

_PENDING_MAY = {"agent.hello", "operation.cancel"}
_CARD = ("card.", "device.", "reader.", "pcsc.")
_CPX = (*_CARD, "cpx.", "pin.", "prompt.", "question.", "module.", "token.", "activity.", "rate.limited")
_INSI = (
    *_CPX,
    "vitale.",
    "insi.",
    "software.",
    "traits.",
    "identity.",
    "authMode.",
    "continues.",
    "clientRef.",
    "certificate.",
)
# What a call whose params are right may come to, beside its result. `internal` is in no row.
_MAY_COME_TO: Mapping[str, tuple[str, ...]] = {
    "agent.hello": (),
    "agent.status": (),
    "cards.watch": (),
    "cards.unwatch": (),
    "operation.cancel": (),
    "vitale.read": (*_CARD, "vitale."),
    "cpx.status": _CPX,
    "cpx.unlock": _CPX,
    "cpx.lock": _CPX,
    "insi.retrieveWithVitale": _INSI,
    "insi.retrieveByTraits": _INSI,
    "trace.list": (),
    "trace.get": ("trace.unknown",),
    "sites.list": (),
    "sites.revoke": ("site.",),
    "sites.unblock": ("site.",),
}
# Answered from memory, at once: neither cancelled nor too many.
_AT_ONCE = {"agent.status", "cards.watch", "cards.unwatch", "operation.cancel"}
_NIR = re.compile(r"(?<![0-9A-F])[1-478][0-9]{4}([0-9]{2}|2[AB])[0-9]{6}([0-9]{2})?(?![0-9A-F])", re.ASCII)
_TOKEN = re.compile(
    r'[ \t\n\r]*(?:([{}\[\],:])|("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(true|false|null))",
    re.ASCII,
)
_WORDS = {"true": True, "false": False, "null": None}
_ENVELOPE = {"jsonrpc", "id", "method", "params"}


@dataclass(frozen=True)
class Expected:
    """The answer to one message, and the close that must follow it."""

    id: int | str | None
    outcomes: tuple[str, ...]  # each exact, or the beginning of a reason; none: no answer, only the close
    close: int | None = None
    method: str = ""  # whose result's shape is checked
    members: tuple[str, ...] | None = None  # with WRONG_PARAMS: the top-level members that are wrong


class Oracle:
    """One conversation, as its page knows it."""

    def __init__(self, rights: set[str], *, pending: bool = False) -> None:
        self.rights, self.pending = rights, pending
        self._hello_asked = self._greeted = False
        self._row = 0
        self._cancel_asked: set[int | str] = set()

    def expects(self, text: str, in_flight: set[int | str]) -> Expected:
        """What must come back for this text frame, when these ids have no answer yet."""
        try:
            message = read_json(text)
        except ValueError:
            return self._malformed(MALFORMED)
        request_id = message.get("id") if isinstance(message, dict) else None
        if not (type(request_id) is int or (isinstance(request_id, str) and 1 <= len(request_id) <= 64)):
            return self._malformed(NOT_A_REQUEST)
        self._row = 0
        if (
            not message.keys() <= _ENVELOPE
            or message.get("jsonrpc") != "2.0"
            or not isinstance(message.get("method"), str)
            or not isinstance(message.get("params", {}), dict)
        ):
            return Expected(request_id, (NOT_A_REQUEST,))
        expected = self._request(request_id, message["method"], message.get("params", {}))
        if any(type(request_id) is type(other) and request_id == other for other in in_flight):
            return Expected(request_id, (NOT_A_REQUEST, *expected.outcomes), None, expected.method, expected.members)
        return expected

    def fault_of(self, answer: Mapping[str, Any], expected: Expected) -> str | None:
        """What is wrong with this answer, or None; hello counts once it is answered."""
        fault = _fault_of(answer, expected)
        if fault is None and outcome_of(answer) == "operation.cancelled" and expected.id not in self._cancel_asked:
            return "nobody cancelled it"
        if fault is None and expected.method == "agent.hello" and "result" in answer:
            self._greeted = True
        return fault

    def _malformed(self, outcome: str) -> Expected:
        self._row += 1
        return Expected(None, (outcome,), CLOSE_MALFORMED if self._row == IN_A_ROW else None)

    def _request(self, request_id: int | str, method: str, params: dict[str, Any]) -> Expected:
        known, hello = method in _methods(), method == "agent.hello"
        early = [] if hello or self._greeted else ["session.helloFirst"]
        if early and not self._hello_asked:
            return Expected(request_id, tuple(early) if known else (UNKNOWN_METHOD, *early))
        if self.pending and method not in _PENDING_MAY:
            return Expected(request_id, (*early, "origin.pending") if known else (UNKNOWN_METHOD, *early))
        if not known:
            return Expected(request_id, (UNKNOWN_METHOD, *early))
        wrong = _wrong_members(method, params)
        right = _methods()[method]["right"]
        refused = [*early] + (["right.missing"] if right is not None and right not in self.rights else [])
        if wrong:
            return Expected(request_id, (WRONG_PARAMS, *refused), members=tuple(wrong))
        if hello and 1 not in params["apiLevels"]:
            return Expected(request_id, (), CLOSE_NO_LEVEL)
        if hello:
            self._hello_asked = True
        if "right.missing" in refused:
            return Expected(request_id, tuple(refused))
        if method == "operation.cancel":
            self._cancel_asked.add(params["id"])
        ended = () if method in _AT_ONCE else ("device.busy", "operation.cancelled")
        return Expected(request_id, (OK, *ended, *early, *_MAY_COME_TO[method]), method=method)


def _fault_of(answer: Mapping[str, Any], expected: Expected) -> str | None:
    """What is wrong with this answer, or None."""
    if answer.keys() not in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}) or answer["jsonrpc"] != "2.0":
        return "not an answer"
    outcome = outcome_of(answer)
    if not any(outcome == one or (one.endswith(".") and outcome.startswith(one)) for one in expected.outcomes):
        return f"{outcome} instead of {', '.join(expected.outcomes) or 'a close'}"
    if outcome == OK:
        wrong = next(_faults(_methods()[expected.method]["result"], answer["result"]), None)
        return None if wrong is None else f"the result's {wrong} is not of the schema"
    error = answer["error"]
    if error["code"] == -32000:
        shape = {"reason", "audience", "retryable", "message", "action", "facts"}
        return None if error["data"].keys() == shape and outcome in _schema()["reasons"] else "not an error's shape"
    if outcome == WRONG_PARAMS and expected.members:
        named = f"{error['data']['member']}."
        return None if any(named.startswith(f"{one}."[:200]) for one in expected.members) else f"names {named!r}"
    return None


def notification_fault(message: Mapping[str, Any]) -> str | None:
    """What is wrong with this notification, or None."""
    known = _schema()["notifications"].get(message.get("method"))
    if known is None or message.keys() != {"jsonrpc", "method", "params"}:
        return "not a notification"
    wrong = next(_faults(known["params"], message["params"]), None)
    return None if wrong is None else f"the {message['method']}'s {wrong} is not of the schema"


def outcome_of(answer: Mapping[str, Any]) -> str:
    """`ok`, a reason, or JSON-RPC's number."""
    if "result" in answer:
        return OK
    error = answer["error"]
    return str(error["data"]["reason"] if error["code"] == -32000 else error["code"])


# ---------------------------------------------------------------- JSON


def read_json(text: str) -> Any:
    """A JSON text. Raises ValueError for what the protocol calls malformed."""
    value, at = _value(text, *_next(text, 0), depth=0)
    if text[at:].strip(" \t\n\r"):
        raise ValueError("more than one value")
    return value


def _next(text: str, at: int) -> tuple[re.Match[str], int]:
    found = _TOKEN.match(text, at)
    if found is None:
        raise ValueError("no token")
    return found, found.end()


def _value(text: str, token: re.Match[str], at: int, depth: int) -> tuple[Any, int]:
    mark, string, number, word = token.groups()
    if string:
        return json.loads(string), at
    if number:
        return _number(number), at
    if word:
        return _WORDS[word], at
    if mark not in ("{", "[") or depth == DEEPEST:
        raise ValueError("not a value, or too deep")
    return _members(text, at, depth + 1) if mark == "{" else _items(text, at, depth + 1)


def _members(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    token, at = _next(text, at)
    if token[1] == "}":
        return found, at
    while True:
        if not token[2]:
            raise ValueError("no name")
        name = json.loads(token[2])
        colon, at = _next(text, at)
        if colon[1] != ":" or name in found:
            raise ValueError("no colon, or a duplicate")
        found[name], at = _value(text, *_next(text, at), depth)
        token, at = _next(text, at)
        if token[1] == "}":
            return found, at
        if token[1] != ",":
            raise ValueError("no comma")
        token, at = _next(text, at)


def _items(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    token, at = _next(text, at)
    if token[1] == "]":
        return found, at
    while True:
        item, at = _value(text, token, at, depth)
        found.append(item)
        token, at = _next(text, at)
        if token[1] == "]":
            return found, at
        if token[1] != ",":
            raise ValueError("no comma")
        token, at = _next(text, at)


def _number(digits: str) -> int | float:
    whole = digits.lstrip("-").isdigit()
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("out of range")
    number = int(digits) if whole else float(digits)
    if number in (float("inf"), float("-inf")) or (whole and abs(number) > LARGEST):
        raise ValueError("out of range")
    return number


# ---------------------------------------------------------------- the published schema


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(schema())
    return found


def _methods() -> dict[str, Any]:
    found: dict[str, Any] = _schema()["methods"]
    return found


def _wrong_members(method: str, params: dict[str, Any]) -> list[str]:
    """The top-level members that the schema, or the rule on references, refuses; `""` for all of it."""
    if not _text_is_whole(params):
        return [""]
    wrong = list(dict.fromkeys(_faults(_methods()[method]["params"], params)))
    reference = params.get("clientRef")
    if method.startswith("insi.") and isinstance(reference, str) and _nir_shaped(reference):
        wrong.append("clientRef")
    return wrong


def _nir_shaped(reference: str) -> bool:
    text = reference.upper()
    return bool(_NIR.search(text) or _NIR.search(re.sub("[._-]", "", text)))


def _text_is_whole(value: Any) -> bool:
    """Half a surrogate pair is no character."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(map(_text_is_whole, [*value, *value.values()]))
    return not isinstance(value, list) or all(map(_text_is_whole, value))


def _faults(shape: Mapping[str, Any], value: Any) -> Iterator[str]:
    """The top-level members of `value` that are not of this shape; `""` for itself."""
    while "$ref" in shape:
        shape = _schema()["$defs"][shape["$ref"].rpartition("/")[2]]
    if "anyOf" in shape:
        if not any(next(_faults(one, value), None) is None for one in shape["anyOf"]):
            yield ""
        return
    if not _fits(shape, value):
        yield ""
        return
    if isinstance(value, dict):
        properties, other = shape.get("properties", {}), shape.get("additionalProperties", True)
        yield from (name for name in shape.get("required", []) if name not in value)
        for name, item in value.items():
            inner = properties.get(name, other)
            if inner is False or (isinstance(inner, dict) and next(_faults(inner, item), None) is not None):
                yield name
    elif isinstance(value, list) and any(next(_faults(shape.get("items", {}), one), None) is not None for one in value):
        yield ""


_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _fits(shape: Mapping[str, Any], value: Any) -> bool:
    """Everything but what is inside."""
    kind = shape.get("type")
    if kind is not None and (type(value) not in _TYPES[kind]):
        return False
    if "enum" in shape and value not in shape["enum"]:
        return False
    if "const" in shape and value != shape["const"]:
        return False
    if isinstance(value, str):
        fits = shape.get("minLength", 0) <= len(value) <= shape.get("maxLength", len(value))
        return fits and ("pattern" not in shape or _whole(shape["pattern"]).fullmatch(value) is not None)
    if isinstance(value, list):
        return bool(shape.get("minItems", 0) <= len(value) <= shape.get("maxItems", len(value)))
    if type(value) in (int, float):
        return bool(shape.get("minimum", value) <= value <= shape.get("maximum", value))
    return True


@cache
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)
