"""What a conversation under the oracle's eyes notices, against a door that says what it is told to."""

import asyncio
import json
import struct

import pytest

from tests.fuzz.oracle import Oracle
from tests.fuzz.talk import Talk, Tally
from tests.fuzz.wire import CLOSE, GoneError, Wire, frame

UNKNOWN = '{"jsonrpc":"2.0","id":7,"method":"none"}'


def said(code: int, request_id: object = 7) -> bytes:
    error = {"code": code, "message": ""}
    return frame(json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode(), mask=None)


def closed(code: int) -> bytes:
    return frame(struct.pack("!H", code), CLOSE, mask=None)


def asked(answers: list[bytes], *texts: str) -> Tally:
    """Say these texts to a door that answers so whenever it has heard something, and then hears no more."""
    tally = Tally()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        for one in answers:
            await reader.read(1 << 16)
            writer.write(one)
        writer.close()

    async def converse() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            wire = await Wire.open(server.sockets[0].getsockname()[1])
            assert isinstance(wire, Wire)
            try:
                await Talk(wire, Oracle(set()), tally).say(texts)
            except GoneError:
                pass
            finally:
                wire.close()

    asyncio.run(converse())
    return tally


def test_a_right_answer_is_counted_and_no_problem() -> None:
    tally = asked([said(-32601)], UNKNOWN)

    assert tally.problems == []
    assert dict(tally.outcomes) == {"-32601": 1}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (said(-32602), "-32602 instead of -32601"),
        (said(-32601, 8) + closed(1000), "an answer to nothing"),
        (said(-32700, None) + closed(1000), "an answer to nothing"),
        (closed(1011), "no answer to"),
        (frame(b'{"jsonrpc":"2.0","method":"x","params":{}}', mask=None) + said(-32601), "not a notification"),
    ],
)
def test_another_answer_none_and_one_to_nothing_are_said(answers: bytes, problem: str) -> None:
    assert problem in asked([answers], UNKNOWN).problems[0]


def test_a_close_that_must_come_must_have_its_code() -> None:
    answers, malformed = said(-32700, None) * 19, ["x"] * 20

    assert asked([answers, said(-32700, None) + closed(4004)], *malformed).problems == []
    assert (
        "closed with 1011 instead of 4004"
        in asked([answers, said(-32700, None) + closed(1011)], *malformed).problems[0]
    )
    assert "closed with 4004 instead of 4004, 1 unanswered" in asked([answers, closed(4004)], *malformed).problems[0]


def test_of_two_messages_under_one_id_each_has_its_own_answer() -> None:
    """One may be refused because the other is in flight, never both."""
    assert asked([said(-32600) + said(-32601)], UNKNOWN, UNKNOWN).problems == []
    assert asked([said(-32601) + said(-32601)], UNKNOWN, UNKNOWN).problems == []
    assert asked([said(-32600) + said(-32600)], UNKNOWN, UNKNOWN).problems != []
