"""One conversation with the agent under the oracle's eyes: every message gets what it must, or is a mismatch."""

import json
import os
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import permutations
from random import Random
from typing import Any

from tests.fuzz.grammar import Grammar
from tests.fuzz.oracle import Expected, Oracle, notification_fault, outcome_of
from tests.fuzz.wire import BINARY, CLOSE, PING, GoneError, Wire, frame

AT_ONCE = 64  # messages sent before their answers are waited for; the agent runs no more than 64 of a page
AT_ONCE_BYTES = 1 << 16  # what a socket takes in any case
TOO_LARGE = 256 * 1024 + 1
FLOOD_BYTES = 64 << 20  # a page that reads nothing is closed long before
_CONTINUATION = 0
Frames = Callable[[bytes], list[bytes]]


@dataclass
class Tally:
    """Counts of a whole run."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ended: int = 0  # answered by the close of their conversation alone
    flooded: int = 0  # by pages that read nothing: beside the others, only their close is judged
    left: int = 0  # their page went away without waiting
    closes: Counter[str] = field(default_factory=Counter)  # that had to come, and came
    notifications: int = 0
    conversations: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.outcomes.total()

    def problem(self, what: str) -> None:
        self.problems.append(what)


class Talk:
    """An open conversation."""

    def __init__(self, wire: Wire, oracle: Oracle, tally: Tally) -> None:
        self.wire, self._oracle, self.tally = wire, oracle, tally
        self._waiting: dict[int | str, list[tuple[Expected, str]]] = {}
        self._early: dict[int | str, list[dict[str, Any]]] = {}  # answers to an id that several have
        self._unnamed: deque[tuple[Expected, str]] = deque()

    @property
    def unanswered(self) -> int:
        answered = sum(map(len, self._early.values()))
        return len(self._unnamed) + sum(map(len, self._waiting.values())) - answered

    async def say(self, texts: Iterable[str], frames_of: Frames = lambda data: [frame(data)]) -> bool:
        """Send them and take what comes; False when one of them had to end the conversation, and did."""
        frames: list[bytes] = []
        for text in texts:
            expected = self._oracle.expects(text, set(self._waiting))
            self.tally.sent += 1
            if expected.close is not None:  # everything before is answered before it is sent
                await self.wire.send(*frames)
                await self.settle()
            if expected.outcomes:
                waiting = self._unnamed if expected.id is None else self._waiting.setdefault(expected.id, [])
                waiting.append((expected, text))
            else:
                self.tally.ended += 1
            if expected.close is not None:
                await self.wire.send(*frames_of(text.encode("utf-8", "surrogatepass")))
                await self.closes(expected.close, text)
                return False
            frames += frames_of(text.encode("utf-8", "surrogatepass"))
        await self.wire.send(*frames)
        await self.settle()
        return True

    async def settle(self) -> None:
        """Until nothing is waited for. Raises GoneError, TimeoutError with what is missing said."""
        try:
            while self.unanswered:
                self._take(await self.wire.receive())
        except (GoneError, TimeoutError) as error:
            waiting = [*self._unnamed, *(one for many in self._waiting.values() for one in many)]
            self.tally.problem(f"{error!r} and no answer to {waiting[0][1][:300]!r} ({len(waiting)} such)")
            raise

    async def closes(self, code: int, because: object, *, or_breaks: bool = False) -> None:
        """The conversation must end now, with this code, and everything be answered by then.

        `or_breaks`: while we still send much, the system may break the link before we read the code.
        """
        try:
            while True:
                self._take(await self.wire.receive())
        except GoneError as gone:
            if not self.unanswered and (gone.code == code or (or_breaks and gone.code == 0)):
                self.tally.closes[str(gone.code or "the link broke")] += 1
            else:
                said = (
                    f"closed with {gone.code} instead of {code}, {self.unanswered} unanswered, after {because!r:.300}"
                )
                self.tally.problem(said)
        except TimeoutError:
            self.tally.problem(f"not closed with {code} after {because!r:.300}")
        finally:
            self.wire.close()

    def leave_behind(self) -> None:
        """Go away without waiting."""
        self.tally.left += self.unanswered
        self.wire.abort()

    def _take(self, texts: list[bytes]) -> None:
        for text in texts:
            message = json.loads(text)
            if "id" not in message:
                self.tally.notifications += 1
                if fault := notification_fault(message):
                    self.tally.problem(f"{fault}: {text[:300]!r}")
                continue
            self._answered(message)

    def _answered(self, answer: dict[str, Any]) -> None:
        request_id = answer["id"]
        if request_id is None:
            waiting = [self._unnamed.popleft()] if self._unnamed else []
        else:
            waiting = self._waiting.get(request_id, [])
        if not waiting:
            self.tally.problem(f"an answer to nothing: {str(answer)[:300]}")
            return
        self.tally.outcomes[outcome_of(answer)] += 1
        answers = [*self._early.pop(request_id, []), answer]
        if len(answers) < len(waiting):
            self._early[request_id] = answers
            return
        self._waiting.pop(request_id, None)
        self._judge(answers, waiting)

    def _judge(self, answers: list[dict[str, Any]], asked: list[tuple[Expected, str]]) -> None:
        """Each answer is one message's; of several in flight under one id nobody says whose."""
        for order in permutations(asked):
            faults = [self._oracle.fault_of(one, expected) for one, (expected, _) in zip(answers, order, strict=True)]
            if not any(faults):
                return
        self.tally.problem(f"{faults}: {[text[:300] for _, text in asked]} got {str(answers)[:500]}")


# ---------------------------------------------------------------- kinds of conversation

Kind = Callable[["Talk", Grammar, Random, int], Awaitable[None]]


async def ordinary(talk: Talk, grammar: Grammar, random: Random, count: int) -> None:
    """Some messages too early, hello, then anything."""
    if not await talk.say(grammar.message() for _ in range(random.randrange(4))):
        return
    if not await talk.say([grammar.hello()]):
        return
    for start in range(0, count, AT_ONCE):
        if not await talk.say(grammar.message() for _ in range(min(AT_ONCE, count - start))):
            return
    code = await talk.wire.leave()
    if code != 1000:
        talk.tally.problem(f"a polite close was answered with {code}")


async def in_pieces(talk: Talk, grammar: Grammar, random: Random, count: int) -> None:
    """Each message in fragments, with pings between them, masked."""

    def pieces(data: bytes) -> list[bytes]:
        cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(4)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        frames = []
        for index, part in enumerate(parts):
            opcode = 1 if index == 0 else _CONTINUATION
            frames.append(frame(part, opcode, fin=index == len(parts) - 1, mask=random.randbytes(4)))
            if random.random() < 0.2:
                frames.append(frame(b"?", PING))
        return frames

    if await talk.say([grammar.hello(), *(grammar.message() for _ in range(min(count, AT_ONCE)))], pieces):
        talk.leave_behind()


async def twenty(talk: Talk, grammar: Grammar, _random: Random, _count: int) -> None:
    """Twenty malformed ones in a row."""
    await talk.say([grammar.hello(), *(grammar.malformed() for _ in range(25))])


async def no_level(talk: Talk, grammar: Grammar, random: Random, _count: int) -> None:
    await talk.say([grammar.hello(apiLevels=random.choice(([2], [0, 2], [-1])))])


# Frames that no browser makes, and the close code of RFC 6455 or of the protocol.
_BAD_FRAMES: list[tuple[list[bytes], int]] = [
    ([frame(b"binary", BINARY)], 1003),
    ([frame(b"", BINARY)], 1003),
    ([frame(b" " * TOO_LARGE)], 1009),
    ([frame(b"", fin=False), *[frame(b" " * 65536, _CONTINUATION, fin=False)] * 5], 1009),
    ([frame(b"[", fin=False), frame(b"", _CONTINUATION, fin=False) * 300_000], 1009),
    ([frame(b"\xff\xfe")], 1007),
    ([frame(b'"\xed\xa0\x80"')], 1007),
    ([frame(b"\xc3", fin=False), frame(b"(", _CONTINUATION)], 1007),
    ([frame(b"{}", mask=None)], 1002),
    *[([frame(b"{}", rsv=rsv)], 1002) for rsv in (1, 2, 4)],
    *[([frame(b"{}", opcode)], 1002) for opcode in (3, 7, 11, 15)],
    ([frame(b"{}", _CONTINUATION)], 1002),
    ([frame(b"{", fin=False), frame(b"}")], 1002),
    ([frame(b"x" * 126, PING)], 1002),
    ([frame(b"x", PING, fin=False)], 1002),
    ([frame(b"\x03", CLOSE)], 1002),
    ([frame(struct.pack("!H", 1005), CLOSE)], 1002),
    ([frame(struct.pack("!H", 1000) + b"\xff", CLOSE)], 1007),
]


async def bad_frame(talk: Talk, grammar: Grammar, random: Random, _count: int) -> None:
    if await talk.say([grammar.hello(), *(grammar.message() for _ in range(random.randrange(AT_ONCE)))]):
        frames, code = random.choice(_BAD_FRAMES)
        talk.tally.sent += 1
        talk.tally.ended += 1
        large = sum(map(len, frames)) > AT_ONCE_BYTES
        try:
            await talk.wire.send(*frames)
        except GoneError:
            if not large:
                raise
        await talk.closes(code, frames[0][:20], or_breaks=large)


async def gone(talk: Talk, grammar: Grammar, random: Random, count: int) -> None:
    """The page goes away in the middle of everything."""
    if await talk.say([grammar.hello()]):
        for _ in range(random.randrange(min(count, AT_ONCE))):
            text = grammar.message()
            talk.tally.sent += 1
            talk.tally.left += 1
            talk.wire.write(frame(text.encode("utf-8", "surrogatepass")))
        talk.leave_behind()


async def deaf(talk: Talk, grammar: Grammar, _random: Random, _count: int) -> None:
    """A page that asks and asks and reads nothing: it is closed, or the link breaks; our memory is no limit."""
    if not await talk.say([grammar.hello()]):
        return
    status = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "agent.status"}).encode()
    batch, sent = frame(status, mask=os.urandom(4)) * 200, 0
    try:
        while sent < FLOOD_BYTES:
            await talk.wire.send(batch)
            sent += len(batch)
            talk.tally.flooded += 200
        talk.tally.problem(f"a page that reads nothing was let go on for {sent} bytes")
    except GoneError:
        talk.tally.closes["4008, or the link broke"] += 1
    except TimeoutError:
        talk.tally.problem("a page that reads nothing was kept, and read no more")
    finally:
        talk.wire.abort()
