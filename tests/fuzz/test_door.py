"""The door under fire, small: the same program with few messages."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.door import Report, besiege, parser
from tests.fuzz.handshakes import CLOSED, OPEN, Attempt, Door, attempts, request
from tests.fuzz.knock import Knocks, knock

SITE = "http://127.0.0.1:1"
DOOR = Door(19847, SITE)


SMALL = "--messages 3000 --handshakes 130 --silent 120 --cap 40 --seconds 3 --seed 20261"


def test_all_that_is_hostile_ends_as_specified_and_the_agent_is_whole_afterwards(tmp_path: Path) -> None:
    report = besiege(tmp_path, parser().parse_args(SMALL.split()))

    print("\n".join(report.lines()))
    assert report.failures == []
    assert report.tally.answered >= 3000
    assert report.knocks.ended.total() >= 130


def test_a_seed_repeats_its_handshakes() -> None:
    def some(seed: int) -> list[Attempt]:
        return list(attempts(Random(seed), DOOR, 200))  # noqa: S311  (repeatable)

    assert some(1) == some(1) != some(2)


def test_a_handshake_is_right_only_to_the_letter() -> None:
    right = request(DOOR.headers())

    assert DOOR.is_right(right)
    for end in range(len(right)):
        assert not DOOR.is_right(right[:end])
    for wrong in ("GET /x HTTP/1.1", "POST / HTTP/1.1", "GET / HTTP/1.0"):
        assert not DOOR.is_right(request(DOOR.headers(), wrong))
    for name, _ in DOOR.headers():
        assert not DOOR.is_right(request([one for one in DOOR.headers() if one[0] != name]))
        assert not DOOR.is_right(request([(n, "x" if n == name else v) for n, v in DOOR.headers()]))
    assert not DOOR.is_right(request([*DOOR.headers(), ("Origin", SITE)]))


def test_one_failure_fails_the_run() -> None:
    report = Report(1)
    report.require("memory is flat", True, "60 MB")
    assert list(report.lines())[-1] == "passed"

    report.require("nothing leaked", False, "12 threads")

    assert list(report.lines())[-1] == "FAILED"
    assert report.failures == ["nothing leaked: 12 threads"]


@pytest.mark.parametrize(
    ("says", "may_end", "wrong"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 403, "not [403]"),
        (b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nCANARIHOTE", 403, "says too much"),
        (b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nServer: x\r\n\r\n", 403, "says too much"),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Extensions: x\r\n\r\n", OPEN, "says too much"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "stays open"),
        (b"", 403, "not [403]"),
        (b"+PONG\r\n", CLOSED, "not [0]"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", OPEN, ""),
        (b"", CLOSED, ""),
    ],
)
def test_an_end_that_is_not_the_right_one_is_said(says: bytes, may_end: int, wrong: str) -> None:
    """Against a door that says what it is told to."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()

    async def tried() -> Knocks:
        knocks = Knocks()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            door = Door(server.sockets[0].getsockname()[1], SITE)
            await knock(door, Attempt("one", (request(door.headers()),), frozenset({may_end})), knocks)
        return knocks

    problems = asyncio.run(tried()).problems

    assert [wrong in problem for problem in problems] == ([True] if wrong else [])
