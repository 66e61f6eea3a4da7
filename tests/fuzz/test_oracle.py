"""The agent's session and the oracle read any text alike, without a socket; and the oracle can say no."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.alike import RIGHTS, both, compare
from tests.fuzz.grammar import Grammar
from tests.fuzz.oracle import Expected, Oracle, notification_fault, outcome_of, read_json


@given(st.integers(), st.booleans())
def test_the_agent_and_the_oracle_read_any_message_alike(seed: int, pending: bool) -> None:
    session, oracle = both(pending=pending)
    grammar = Grammar(Random(seed))  # noqa: S311  (repeatable)

    for _ in range(40):
        if not compare(session, oracle, grammar.message()):
            break


def nested(depth: int, leaf: str, beside: str) -> str:
    """A right request whose params are `depth` objects deep, itself included, and a string beside them."""
    params = '{"a":' * (depth - 1) + leaf + "}" * (depth - 1)
    return f'{{"jsonrpc":"2.0","id":"{beside}","method":"agent.status","params":{params}}}'


@given(st.integers(1, 20), st.sampled_from(["1", "{}", "[]", '"x"']), st.text("[{", max_size=9))
@example(16, "1", "[")  # sixteen deep, and a bracket in a string
def test_how_deep_a_message_is_does_not_depend_on_its_texts(depth: int, leaf: str, beside: str) -> None:
    compare(*both(), nested(depth, leaf, f"x{beside}"))


def test_only_messages_that_cannot_be_answered_by_id_count_towards_the_twenty() -> None:
    """Twenty in a row: one that was a message, if a wrong one, begins the row again."""
    session, oracle = both()
    for text in (*["x"] * 19, '{"id":1}', *["x"] * 19, '{"jsonrpc":"2.0","id":1,"method":"none"}', *["x"] * 20):
        compare(session, oracle, text)


@given(st.text())
def test_the_oracle_s_json_is_the_standard_s(text: str) -> None:
    """Python's own reader accepts a little more, and whatever both accept they read alike."""
    try:
        found = read_json(text)
    except ValueError:
        return
    assert found == json.loads(text)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=9,
)


@given(_json)
def test_the_oracle_reads_every_json_text_that_is_within_bounds(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


OK = {"jsonrpc": "2.0", "id": 1, "result": {"cancelled": True}}
INTERNAL = {"code": -32000, "data": {"reason": "internal"}}
SHORT = {"code": -32000, "data": {"reason": "card.absent"}}
REFUSED = {"code": -32602, "message": "", "data": {"member": "b"}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, Expected(1, ("-32601",))),
        ({**OK, "extra": 1}, Expected(1, ("ok",), method="operation.cancel")),
        ({**OK, "result": {"cancelled": "yes"}}, Expected(1, ("ok",), method="operation.cancel")),
        ({**OK, "result": {"cancelled": True, "more": 1}}, Expected(1, ("ok",), method="operation.cancel")),
        ({"jsonrpc": "2.0", "id": 1, "error": REFUSED}, Expected(1, ("-32602",), members=("a",))),
        ({"jsonrpc": "2.0", "id": 1, "error": INTERNAL}, Expected(1, ("ok",))),
        ({"jsonrpc": "2.0", "id": 1, "error": SHORT}, Expected(1, ("card.",))),
    ],
)  # fmt: skip
def test_the_oracle_says_what_is_wrong_with_an_answer(answer: dict[str, Any], expected: Expected) -> None:
    assert Oracle(RIGHTS).fault_of(answer, expected) is not None


def test_the_oracle_knows_who_cancelled() -> None:
    oracle = both()[1]
    status = '{"jsonrpc":"2.0","id":7,"method":"vitale.read"}'
    shape = dict.fromkeys(("audience", "retryable", "message", "action", "facts"), "")
    answer = {"jsonrpc": "2.0", "id": 7, "error": {"code": -32000, "data": {"reason": "operation.cancelled", **shape}}}

    expected = oracle.expects(status, set())
    assert outcome_of(answer) == "operation.cancelled"
    assert oracle.fault_of(answer, expected) == "nobody cancelled it"
    oracle.expects('{"jsonrpc":"2.0","id":8,"method":"operation.cancel","params":{"id":7}}', {7})

    assert oracle.fault_of(answer, expected) is None


def test_the_oracle_says_what_is_wrong_with_a_notification() -> None:
    good = {"jsonrpc": "2.0", "method": "cpx.changed", "params": {"present": True, "unlocked": False}}

    assert notification_fault(good) is None
    assert notification_fault({**good, "params": {"present": True}}) is not None
    assert notification_fault({**good, "method": "card.stolen"}) is not None


def test_a_seed_repeats_its_messages() -> None:
    def some(seed: int) -> list[str]:
        grammar = Grammar(Random(seed))  # noqa: S311  (repeatable)
        return [grammar.message() for _ in range(200)]

    assert some(1) == some(1) != some(2)
