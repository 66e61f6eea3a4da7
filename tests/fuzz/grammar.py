"""Messages to throw at the agent: right ones, half right ones, hostile ones; a seed repeats them. No I/O of its own."""

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

# Invented, and never to be met again: not in a log, not in a file.
CANARY_NAME, CANARY_NIR = "CANARISEREINE", "184127645108946"

HELLO: dict[str, Any] = {"apiLevels": [1], "client": {"name": "essai", "version": "1"}}
_TRAITS = {"birthName": CANARY_NAME, "givenNames": ["SERINE"], "sex": "F", "birthDate": "1984-12-00"}
_STRINGS = ("", "x", "é" * 70, "\x00", "\x1b[2J", "\u202e", "\ud800", "😀", "a" * 300, CANARY_NAME, CANARY_NIR, "../..")
_ODD: tuple[Any, ...] = (None, True, False, 0, -1, 1.0, 0.5, -0.0, 2**53, 1e300, [], {}, [[]], {"a": 1}, *_STRINGS)
_RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9007199254740993", "9" * 400, "1." + "0" * 60, "01", "+1", ".5",
    "1.", "0x10", "'a'", "undefined", '"\\x"', '"\\ud800"', '"\t"', '"\x00"', '"', "tru", "//", "/**/1", "\ufeff1",
    "[" * 17 + "]" * 17, "[" * 15 + "]" * 15, "[" * 13 + "]" * 13, "[" * 5000, '{"a":' * 20 + "1" + "}" * 20, "[1,]",
    '{"a":1,}', '{"a":1,"a":2}',
)  # fmt: skip
_METHODS = (
    "agent.hello", "agent.status", "cards.watch", "cards.unwatch", "vitale.read", "cpx.status", "cpx.unlock",
    "cpx.lock", "insi.retrieveWithVitale", "insi.retrieveByTraits", "trace.list", "trace.get", "sites.list",
    "sites.revoke", "sites.unblock", "operation.cancel",
)  # fmt: skip
_NO_METHODS = (
    "", "card.steal", "agent.Hello", "agent.hello ", "rpc.discover", "insi.verify", "__class__", "é", "\ud800",
)  # fmt: skip
_PIECES = ('"', "{", "}", "[", "]", ",", ":", "\\", "1", " ", "null", "e9")
_MEMBERS = ("pin", "extra", "a.b", "", "é", "x" * 300, "__proto__", "clientRef", "wait")


class Grammar:
    """A stream of messages."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._number = 0
        self._used: list[Any] = [0]
        # right params and no work for cards or network; then what costs; weights per mille
        self._kinds: dict[Callable[[], str], int] = {
            self._cheap: 380,
            self._wrong_params: 190,
            self._wrong_envelope: 110,
            self._hostile_value: 110,
            self._mutated: 150,
            self._other_method: 40,
            self._no_json: 16,
            self._costly: 4,
        }

    def message(self) -> str:
        (kind,) = self._random.choices(list(self._kinds), list(self._kinds.values()))
        return kind()

    def hello(self, **changed: Any) -> str:
        return self._dump(self._envelope("agent.hello", {**HELLO, **changed}))

    def malformed(self) -> str:
        """One that has no id to answer to."""
        raw = self._pick(("NaN", "1e999", "[" * 40, '{"a":1,"a":2}', "", "{", "x", "[]", "[{}]", "{}", "7", "null"))
        return f'{{"jsonrpc":"2.0","id":1,"method":"agent.status","params":{{"a":{raw}}}' if len(raw) > 20 else raw

    # ------------------------------------------------------------ kinds

    def _cheap(self) -> str:
        method = self._pick(("agent.status", "agent.status", "cards.watch", "cards.unwatch", "operation.cancel",
                             "trace.list", "trace.get", "sites.list", "sites.unblock", "agent.hello"))  # fmt: skip
        return self._dump(self._envelope(method, self._params(method)))

    def _costly(self) -> str:
        method = self._pick(_METHODS)
        return self._dump(self._envelope(method, self._params(method)))

    def _wrong_params(self) -> str:
        method = self._pick(_METHODS)
        return self._dump(self._envelope(method, self._spoilt(self._params(method))))

    def _wrong_envelope(self) -> str:
        message: Any = self._envelope("agent.status", {})
        match self._random.randrange(7):
            case 0:
                del message[self._pick(tuple(message))]
            case 1:
                message[self._pick(tuple(message))] = deepcopy(self._pick(_ODD))
            case 2:
                message[self._pick(("extra", "Id", "\x00", "__proto__", "result"))] = deepcopy(self._pick(_ODD))
            case 3:
                message = [message] * self._random.randrange(3)
            case 4:
                message = deepcopy(self._pick(_ODD))
            case 5:
                message["id"] = self._pick((*_ODD, "x" * 64, "x" * 65, "1", 1, -(2**53), 2**53))
            case _:
                message["params"] = deepcopy(self._pick(_ODD))
        return self._dump(message)

    def _hostile_value(self) -> str:
        """JSON that is none, or none for us, somewhere in a right message."""
        method = self._pick(("agent.status", "agent.hello", "vitale.read", "operation.cancel"))
        text = json.dumps(self._envelope(method, self._params(method) or {"wait": 1}))
        at = self._random.choice([i for i, character in enumerate(text) if character == ":"])
        raw = self._pick(_RAW)
        return self._pick(
            (
                f"{text[: at + 1]}{raw},{text[at + 1 :]}",
                f'{text[:-1]},"a":{raw}}}',
                f"{text[: at + 1]}{raw}}}}}",
                f'{{"x":{raw},{text[1:]}',
                f'{{"id":1,{text[1:]}',
            )
        )

    def _mutated(self) -> str:
        """A right message with characters changed, cut, doubled or mixed with another."""
        method = self._pick(_METHODS[:4] + _METHODS[10:])
        text = self._dump(self._envelope(method, self._params(method)))
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(text) + 1)
            end = min(len(text), at + self._random.choice((1, 1, 1, 2, 5, 30)))
            match self._random.randrange(5):
                case 0:
                    text = text[:at] + text[end:]
                case 1:
                    text = text[:at] + self._character() + text[at:]
                case 2:
                    text = text[:at] + self._character() + text[end:]
                case 3:
                    text = text[:end] + text[at:]
                case _:
                    text = text[:at] + self._pick(_PIECES) + text[at:]
        return text

    def _other_method(self) -> str:
        name = self._pick((*_NO_METHODS, "x" * self._random.randrange(300), self._pick(_METHODS).upper()))
        return self._dump(self._envelope(name, self._pick(({}, {"a": self._pick(_ODD)}))))

    def _no_json(self) -> str:
        noise = "".join(self._character() for _ in range(self._random.randrange(200)))
        return self._pick(
            (noise, "", " ", "\x00" * 9, "GET / HTTP/1.1\r\n\r\n", "[" * 50_000, '"' * 99, "<xml/>", "{}" * 99)
        )

    # ------------------------------------------------------------ pieces

    def _envelope(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._id(), "method": method, "params": params}
        if not params and self._random.random() < 0.5:
            del message["params"]
        return message

    def _id(self) -> Any:
        if self._random.random() < 0.03:
            return self._random.choice(self._used)  # perhaps in flight
        self._number += 1
        made = self._number if self._random.random() < 0.8 else f"n{self._number}"
        self._used.append(made)
        del self._used[:-50]
        return made

    def _params(self, method: str) -> dict[str, Any]:
        """Right ones."""
        random = self._random
        match method:
            case "agent.hello":
                return {**HELLO, **random.choice(({}, {"lang": "fr"}, {"apiLevels": [3, 1]}, {"challenge": "A" * 43}))}
            case "vitale.read":
                return random.choice(({}, {"reader": "x"}, {"wait": 0}))
            case "cpx.status":
                return random.choice(({}, {"wait": 0.0}))
            case "cpx.unlock" | "cpx.lock":
                return random.choice(({}, {"reason": f"\u202e«{CANARY_NAME}»"}))
            case "insi.retrieveWithVitale":
                return {"readId": "none", "holder": 0}
            case "insi.retrieveByTraits":
                return {
                    "traits": _TRAITS,
                    **random.choice(({}, {"clientRef": "venue-1"}, {"user": {"id": CANARY_NAME}})),
                }
            case "trace.list":
                place = {"cursor": "2025-03-04T05:06:07.089Z_7", "limit": 1}
                return random.choice(({}, place, {"clientRef": "venue-1"}, {"operation": "WS_INS2", "endedWith": "00"}))
            case "trace.get":
                return {"traceId": random.choice(("none", "x" * 64))}
            case "sites.revoke" | "sites.unblock":
                return {"origin": random.choice(("https://nobody.example", "", "null", CANARY_NAME))}
            case "operation.cancel":
                return {"id": random.choice((*self._used[-3:], "", 0, 2**53))}
        return {}

    def _spoilt(self, params: dict[str, Any]) -> dict[str, Any]:
        """These params with one or two things wrong, or odd."""
        spoilt: dict[str, Any] = json.loads(json.dumps(params))
        for _ in range(self._random.randrange(1, 3)):
            inner = self._random.choice([spoilt, *(one for one in spoilt.values() if isinstance(one, dict))])
            names = [*inner]
            match self._random.randrange(3):
                case 0 if names:
                    inner[self._random.choice(names)] = deepcopy(self._pick(_ODD))
                case 1 if names:
                    del inner[self._random.choice(names)]
                case _:
                    inner[self._pick(("pin", "extra", "a.b", "", "é", "x" * 300, "__proto__", "clientRef", "wait"))] = (
                        deepcopy(self._pick(_ODD))
                    )
        return spoilt

    def _dump(self, message: Any) -> str:
        plain = json.dumps(message, separators=self._random.choice(((",", ":"), (", ", ": "))))
        if "\\ud800" in plain or self._random.random() < 0.7:
            return plain
        return json.dumps(message, ensure_ascii=False)

    def _character(self) -> str:
        return self._random.choice(
            ("\x00", "\n", "\x7f", "é", "\u2028", "\ufeff", "😀", chr(self._random.randrange(32, 127)))
        )

    def _pick(self, choices: tuple[T, ...]) -> T:
        return self._random.choice(choices)
