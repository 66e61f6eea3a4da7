"""Make hostile handshakes on raw sockets and judge how each ends."""

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from tests.fuzz.handshakes import CANARY, CLOSED, OPEN, Attempt, Door, Then

HANDSHAKE_S = 1  # the agent's setting here
ENDS_WITHIN_S = 20  # a bound for the failure only
BETWEEN_S = 0.02  # the pieces of a slow one


@dataclass
class Knocks:
    """Counts, and what went wrong."""

    ended: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


async def knock(door: Door, attempt: Attempt, knocks: Knocks) -> None:
    """One attempt, from connect to its end."""
    knocks.kinds[attempt.name] += 1
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1 << 20)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for number, piece in enumerate(attempt.pieces):
            if number:
                await asyncio.sleep(BETWEEN_S)
            writer.write(piece)
        if attempt.then is Then.RESET:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            knocks.ended[CLOSED] += 1
            return
        half_closed = attempt.then is Then.HALF_CLOSE
        if half_closed:
            with suppress(OSError):  # it has broken off already
                writer.write_eof()
        answer = await asyncio.wait_for(_answer(reader, None if half_closed else writer), ENDS_WITHIN_S)
        _judge(attempt, answer, knocks)
    except TimeoutError:
        knocks.problems.append(f"{attempt.name}: no end within {ENDS_WITHIN_S} s: {attempt.pieces!r:.300}")
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> bytes:
    """All that comes until the agent closes; a conversation that opened is closed from here, if we may still speak."""
    answer = b""
    try:
        while chunk := await reader.read(1 << 16):
            if writer and not answer and chunk.startswith(b"HTTP/1.1 101 "):
                writer.write(b"\x88\x82\0\0\0\0\x03\xe8")
            answer += chunk
    except ConnectionError:
        pass  # it closed with bytes of ours unread
    return answer


def _judge(attempt: Attempt, answer: bytes, knocks: Knocks) -> None:
    status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else CLOSED
    knocks.ended[status] += 1
    said = f"{attempt.name}: {attempt.pieces!r:.1200} ended in {answer[:300]!r}"
    if (answer and status == CLOSED) or status not in attempt.may_end:
        knocks.problems.append(f"not {sorted(attempt.may_end)}: {said}")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    # no version of anything, nothing of what was sent, no compression
    if any(word in head for word in (b"\r\nserver:", b"\r\nsec-websocket-extensions:")) or CANARY.encode() in answer:
        knocks.problems.append(f"says too much: {said}")
    if status not in (CLOSED, OPEN) and b"\r\nconnection: close" not in head:
        knocks.problems.append(f"stays open: {said}")
