"""The agent's session and the oracle, side by side on the same texts, without a socket. No I/O of its own."""

import json

from agent.errors import AgentError, Code
from agent.model import Right
from agent.protocol.messages import NoParams
from agent.protocol.origins import Caller
from agent.protocol.session import Call, Close, Send, Session
from tests.fuzz.grammar import HELLO
from tests.fuzz.oracle import Oracle

RIGHTS = {right.value for right in Right}
_GREETED = {
    "api": 1,
    "agent": {"name": "x", "version": "1", "instanceId": ""},
    "originState": "allowed",
    "environment": "simulated",
    "profile": "repository",
    "authModes": [],
    "capabilities": [],
    "receiptKey": {},
}


def both(*, pending: bool = False) -> tuple[Session, Oracle]:
    """A session that was greeted, and the oracle that heard it."""
    session = Session(Caller("https://dossier.example", frozenset(() if pending else Right), pending))
    oracle = Oracle(set() if pending else RIGHTS, pending=pending)
    hello = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "agent.hello", "params": HELLO})
    (call,) = session.receive(hello)
    expected = oracle.expects(hello, set())
    assert isinstance(call, Call)
    session.answer(call, NoParams())
    assert oracle.fault_of({"jsonrpc": "2.0", "id": 0, "result": _GREETED}, expected) is None
    return session, oracle


def compare(session: Session, oracle: Oracle, text: str) -> bool:
    """One text to both: the same answer, the same close, or a call of which the oracle expects a result.

    False once the conversation is closed.
    """
    expected = oracle.expects(text, set())
    closes: list[int] = []
    for output in session.receive(text):
        match output:
            case Send():
                output.text.encode()
                answer = json.loads(output.text)
                fault = oracle.fault_of(answer, expected)
                assert answer["id"] == expected.id, text
                assert fault is None, f"{fault}: {text!r}"
            case Close():
                closes.append(output.code)
            case Call():
                assert "ok" in expected.outcomes, f"{expected.outcomes}: {text!r}"
                assert output.id == expected.id, text
                session.fail(output, AgentError(Code.CARD_ABSENT))
    assert closes == ([expected.close] if expected.close else []), text
    return not closes
