"""The conversation, without a socket."""

import json
import re
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.ports import TracePage
from agent.model import Environment, Right
from agent.protocol.document import schema
from agent.protocol.messages import HelloParams, NoParams
from agent.protocol.methods import METHODS
from agent.protocol.origins import Caller
from agent.protocol.session import Call, Close, Output, Send, Session, parse
from tests.journal.making import journal

HELLO = {"apiLevels": [1], "client": {"name": "essai", "version": "1"}}


def session(*rights: Right) -> Session:
    return Session(Caller("https://dossier.example", frozenset(rights or Right)))


def greeted(*rights: Right) -> Session:
    made = session(*rights)
    (call,) = made.receive(request("agent.hello", HELLO, id=0))
    assert isinstance(call, Call)
    made.answer(call, NoParams())
    return made


def request(method: str, params: Any = None, **members: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}, **members})


def error(outputs: list[Output]) -> dict[str, Any]:
    assert isinstance(outputs[0], Send)
    reply = json.loads(outputs[0].text)
    return {**reply["error"], "id": reply["id"]}


def test_hello_becomes_a_call_with_its_params() -> None:
    (call,) = session().receive(request("agent.hello", HELLO))

    assert isinstance(call, Call)
    assert isinstance(call.params, HelloParams)
    assert call.params.client.name == "essai"


def test_every_other_method_before_hello_is_told_to_say_hello_first() -> None:
    for method in set(METHODS) - {"agent.hello"}:
        assert error(session().receive(request(method)))["data"]["reason"] == "session.helloFirst"


def test_no_common_level_closes_4003() -> None:
    (close,) = session().receive(request("agent.hello", {**HELLO, "apiLevels": [2]}))

    assert isinstance(close, Close)
    assert close.code == 4003


def test_an_unknown_method_is_said() -> None:
    assert error(greeted().receive(request("card.steal")))["code"] == -32601


def test_an_unknown_member_is_refused_by_name() -> None:
    refused = error(greeted().receive(request("vitale.read", {"readre": "x"})))

    assert refused["code"] == -32602
    assert refused["data"]["member"] == "readre"


@given(cursor=st.one_of(st.text(max_size=60), st.from_regex(r"[0-9TZ:.-]{20,26}_[0-9]{1,18}")))
def test_a_cursor_of_no_list_is_refused_by_name_and_any_other_is_a_place(tmp_path_factory: Any, cursor: str) -> None:
    (output,) = greeted().receive(request("trace.list", {"cursor": cursor}))

    if isinstance(output, Send):
        assert error([output])["code"] == -32602
        assert error([output])["data"]["member"] == "cursor"
    else:
        assert isinstance(output, Call)
        with closing(journal(tmp_path_factory.mktemp("journal"))) as own:
            assert own.traces("https://dossier.example", Environment.SIMULATED, cursor=cursor) == TracePage([], None)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("clientRef", "1 84 12 76 451 089 46"),
        ("operation", "WS_INS9"),
        ("endedWith", "0 0"),
        ("code", "00"),
        ("since", "2025-03-04"),
        ("until", "2025-03-04T00:00:00"),  # of which clock?
        ("limit", 0),
        ("limit", 501),
        ("origin", "https://autre.example"),
    ],
)
def test_a_filter_of_traces_that_is_none_is_refused_by_name(member: str, value: object) -> None:
    refused = error(greeted().receive(request("trace.list", {member: value})))

    assert (refused["code"], refused["data"]["member"]) == (-32602, member)


def test_traces_are_listed_for_whoever_has_that_right() -> None:
    refused = error(greeted(Right.RETRIEVE).receive(request("trace.list")))

    assert refused["data"]["reason"] == "right.missing"


def test_a_refusal_never_quotes_the_value_it_refuses() -> None:
    traits = {"birthName": "CANARI", "givenNames": ["SERIN"], "sex": "X", "birthDate": "1990-13-99x"}
    outputs = greeted().receive(request("insi.retrieveByTraits", {"traits": traits}))

    assert error(outputs)["code"] == -32602
    for value in ("CANARI", "SERIN", "1990"):
        assert value not in outputs[0].text  # type: ignore[union-attr]


def test_there_is_no_pin_in_any_message() -> None:
    """In no params, no result and no notification, however deep: only its state, and a refusal by name."""
    members = {
        name
        for definition in json.loads(schema())["$defs"].values()
        for name, about in definition.get("properties", {}).items()
        if re.search("pin|password|secret|puk", name, re.IGNORECASE) and "$ref" not in json.dumps(about)
    }
    assert members == set()
    for name in METHODS:
        for member in ("pin", "code", "password"):
            assert error(greeted().receive(request(name, {member: "1234"})))["code"] == -32602


def test_a_method_without_its_right_is_refused() -> None:
    refused = error(greeted(Right.VITALE).receive(request("trace.get", {"traceId": "t"})))

    assert refused["data"]["reason"] == "right.missing"
    assert refused["data"]["facts"] == {"right": "trace"}


def test_an_id_in_flight_is_not_accepted_twice_but_may_be_used_again_after_its_reply() -> None:
    talk = greeted()
    (call,) = talk.receive(request("agent.status"))
    assert isinstance(call, Call)

    assert error(talk.receive(request("agent.status")))["code"] == -32600
    talk.answer(call, NoParams())
    assert isinstance(talk.receive(request("agent.status"))[0], Call)


def test_the_number_1_and_the_text_1_are_two_ids() -> None:
    talk = greeted()

    assert isinstance(talk.receive(request("agent.status", id=1))[0], Call)
    assert isinstance(talk.receive(request("agent.status", id="1"))[0], Call)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"agent.status"}',
        '{"jsonrpc":"2.0","id":1,"method":"vitale.read","params":{"wait":NaN}}',
        '{"jsonrpc":"2.0","id":1,"method":"vitale.read","params":{"wait":Infinity}}',
        '{"jsonrpc":"2.0","id":1,"method":"vitale.read","params":{"wait":1e999}}',
        '{"jsonrpc":"2.0","id":99999999999999999999,"method":"agent.status"}',
        "[" * 100_000,
        '{"a":' * 20 + "1" + "}" * 20,
    ],
)
def test_what_is_no_json_for_us_is_answered_with_a_null_id(text: str) -> None:
    refused = error(greeted().receive(text))

    assert (refused["code"], refused["id"]) == (-32700, None)


@pytest.mark.parametrize(
    "message",
    [
        [],
        [{"jsonrpc": "2.0", "id": 1, "method": "agent.status"}],
        "text",
        {"jsonrpc": "2.0", "method": "agent.status"},
        {"jsonrpc": "2.0", "id": None, "method": "agent.status"},
        {"jsonrpc": "2.0", "id": True, "method": "agent.status"},
        {"jsonrpc": "2.0", "id": 1.5, "method": "agent.status"},
        {"jsonrpc": "2.0", "id": "x" * 65, "method": "agent.status"},
    ],
)
def test_what_is_no_request_is_answered_with_a_null_id(message: Any) -> None:
    refused = error(greeted().receive(json.dumps(message)))

    assert (refused["code"], refused["id"]) == (-32600, None)


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "1.0", "id": 7, "method": "agent.status"},
        {"jsonrpc": "2.0", "id": 7},
        {"jsonrpc": "2.0", "id": 7, "method": 3},
        {"jsonrpc": "2.0", "id": 7, "method": "agent.status", "params": []},
        {"jsonrpc": "2.0", "id": 7, "method": "agent.status", "extra": 1},
    ],
)
def test_a_wrong_envelope_with_an_id_is_answered_to_that_id(message: Any) -> None:
    refused = error(greeted().receive(json.dumps(message)))

    assert (refused["code"], refused["id"]) == (-32600, 7)


def test_twenty_malformed_messages_in_a_row_close_4004_and_a_good_one_in_between_forgives() -> None:
    talk = greeted()
    for _ in range(19):
        assert len(talk.receive("nonsense")) == 1
    talk.receive(request("agent.status"))
    for _ in range(19):
        assert len(talk.receive("nonsense")) == 1

    close = talk.receive("nonsense")[1]

    assert isinstance(close, Close)
    assert close.code == 4004


def test_a_client_ref_shaped_as_a_nir_is_refused() -> None:
    traits = {"birthName": "A", "givenNames": ["B"], "sex": "F", "birthDate": "1990-00-00"}
    for ref in (
        "255082B033042",
        "2-55-08-2B-033-042.83",
        "ref_184127645108946",
        "venue.1841276451089",
        "x184127645108946",
    ):
        refused = error(greeted().receive(request("insi.retrieveByTraits", {"traits": traits, "clientRef": ref})))
        assert refused["data"]["member"] == "clientRef"
    for ref in (
        "venue-2026.11.21",
        *(str(UUID(int=seed * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)) for seed in range(500)),
    ):
        kept = greeted().receive(request("insi.retrieveByTraits", {"traits": traits, "clientRef": ref}))
        assert isinstance(kept[0], Call), ref


def test_a_code_of_the_catalogue_travels_with_both_languages_and_its_facts() -> None:
    talk = greeted()
    (call,) = talk.receive(request("vitale.read"))
    assert isinstance(call, Call)

    reply = json.loads(talk.fail(call, AgentError(Code.PIN_WRONG, "a detail", pinState="low")).text)["error"]

    assert reply["code"] == -32000
    assert set(reply["data"]) == {"reason", "audience", "retryable", "message", "action", "facts"}
    assert reply["data"]["facts"] == {"pinState": "low"}
    assert "a detail" not in json.dumps(reply)


@given(st.text())
def test_any_text_gives_an_answer_or_a_call(text: str) -> None:
    for output in greeted().receive(text):
        assert isinstance(output, Send | Call | Close)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(METHODS)), st.dictionaries(st.text(), _json, max_size=5), _json)
def test_any_params_give_an_answer_that_can_be_sent(method: str, params: dict[str, Any], request_id: Any) -> None:
    for output in greeted().receive(request(method, params, id=request_id)):
        if isinstance(output, Send):
            output.text.encode()


@given(st.text())
def test_parse_gives_a_value_or_says_no_in_words_of_its_own(text: str) -> None:
    try:
        parse(text)
    except ValueError as refusal:
        assert str(refusal) in {"not JSON", "too deep", "duplicate member", "NaN or infinity", "number out of range"}
