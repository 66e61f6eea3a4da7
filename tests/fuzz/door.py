"""The door under fire: hostile messages, hostile handshakes, silent connections, against a real simulated agent.

`python -m tests.fuzz.door [--messages 1000000] [--handshakes 2000] [--silent 500] [--seconds 30] [--seed N]`
prints one table and ends with 1 when anything failed. The seed repeats what is sent; the timing is the
machine's. What must come back is the word of `tests.fuzz.oracle` and `tests.fuzz.handshakes`.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

from agent.places import Places, find_running
from tests.fuzz import talk as kinds
from tests.fuzz.grammar import CANARY_NAME, CANARY_NIR, HELLO, Grammar
from tests.fuzz.handshakes import Door, attempts
from tests.fuzz.knock import HANDSHAKE_S, Knocks, knock
from tests.fuzz.oracle import Oracle
from tests.fuzz.silent import Holder
from tests.fuzz.talk import Talk, Tally
from tests.fuzz.wire import GoneError, Refused, Wire, text_frame
from tests.parts.knocker import NOBODY
from tests.parts.program import Program, port_of
from tests.parts.proof import Claims, prove

ROOT = Path(__file__).parents[2]
FEW = "https://dossier.example"  # may read cartes Vitale and nothing else
TALKS_AT_ONCE, KNOCKS_AT_ONCE = 8, 24
EACH = 500  # messages of an ordinary conversation
PENDING = 4  # conversations that may wait for the person's consent
PER_PROCESS, PROGRAM_CAP = 60, 64  # silent connections of one program: ours, and at which the agent drops some
SETTLES_WITHIN_S = 15
FLAT_MB = 12  # and a tenth
RARE = 4
ALLOWED = f'[[origins.allowed]]\norigin = "{FEW}"\nrights = ["vitale"]\n'
SETTINGS = f"[door]\nhandshake_s = {HANDSHAKE_S}\nconsent_every_s = 3600\nsilent = {{}}\n"
EVERYTHING = {"vitale", "cpx", "insi.retrieve", "insi.verify", "insi.batch", "trace"}

# What the log never holds: Python's own words, the frames of an unexpected exception, asyncio's complaints.
_BROKEN = re.compile(r"Traceback|incident |never retrieved|^  \w+\.py:\d+ |ERROR asyncio", re.MULTILINE)


class Agent(Program):
    """The demonstration's agent, without a screen, in a home of its own."""

    def __init__(self, home: Path, *, silent: int) -> None:
        """It keeps so many silent connections."""
        self._config = home / ".config/insi-agent/config.toml"
        self._config.parent.mkdir(parents=True)
        self._settings = SETTINGS.format(silent)
        self._config.write_text(self._settings + ALLOWED)
        self.places = Places.simulated(home / ".local/state/insi-agent")
        super().__init__([sys.executable, "-m", "agent", "demo", "--headless", "--json"], home, PYTHONPATH=str(ROOT))

    def __enter__(self) -> Self:
        return self

    def forbid_the_site(self) -> None:
        """Take FEW out of the configuration."""
        self._config.write_text(self._settings)
        os.kill(self.pid, signal.SIGHUP)

    def log(self) -> str:
        """Everything it said, on stderr and in its files."""
        files = [file.read_text(errors="replace") for file in sorted(self.places.log.iterdir())]
        size = os.fstat(self._errors.fileno()).st_size
        return "\n".join([os.pread(self._errors.fileno(), size, 0).decode(errors="replace"), *files])


@dataclass
class Figures:
    """What the agent holds of the machine."""

    memory_mb: float
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> "Figures":
        proc = Path(f"/proc/{pid}")
        resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        return cls(resident / 2**20, len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir())))

    def within(self, other: "Figures") -> bool:
        """But for the few that a rare call opens for good."""
        return self.threads <= other.threads + RARE and self.files <= other.files + RARE

    def __str__(self) -> str:
        return f"{self.memory_mb:.1f} MB, {self.threads} threads, {self.files} files"


@dataclass
class Report(Claims):
    """Counts, and what went wrong."""

    seed: int
    tally: Tally = field(default_factory=Tally)
    knocks: Knocks = field(default_factory=Knocks)

    def lines(self) -> Iterator[str]:
        counts: dict[str, Counter[Any]] = {
            "conversation": self.tally.conversations,
            "answered": self.tally.outcomes,
            "ended by close": self.tally.closes,
            "handshake ended": self.knocks.ended,
        }
        for what, counter in counts.items():
            yield from (f"  {what:<16} {name!s:<28} {count:>8}" for name, count in counter.most_common())
        yield from self.verdict(45)


class Fire:
    """Everything that is thrown at one agent."""

    KINDS = (
        (kinds.ordinary, 60),
        (kinds.in_pieces, 8),
        (kinds.twenty, 4),
        (kinds.no_level, 4),
        (kinds.bad_frame, 20),
        (kinds.gone, 10),
        (kinds.deaf, 0.3),
    )

    def __init__(self, agent: Agent, report: Report) -> None:
        address, running = agent.address(), find_running(agent.places.runtime)
        assert running is not None
        self._agent, self._report, self._tally = agent, report, report.tally
        self._port, self._page = port_of(address), address["origin"]
        self._random = Random(report.seed)  # noqa: S311  (a sequence to repeat, no secret)
        self._callers = {
            f"Origin: {self._page}": EVERYTHING,
            f"Origin: {FEW}": {"vitale"},
            f"Authorization: Bearer {running.token}": {*EVERYTHING, "admin"},
        }
        self._pending = 0

    # ------------------------------------------------------------ messages

    async def messages(self, count: int) -> None:
        """Until so many have been sent."""
        end = self._tally.sent + count
        await _all(self._converse(end) for _ in range(TALKS_AT_ONCE))

    async def _converse(self, end: int) -> None:
        while self._tally.sent < end:
            random = Random(self._random.random())  # noqa: S311  (as above)
            (kind,) = random.choices([kind for kind, _ in self.KINDS], [weight for _, weight in self.KINDS])
            pending = self._pending < PENDING and random.random() < 0.2
            header, rights = random.choice(list(self._callers.items()))
            if pending:
                header, rights = f"Origin: https://n{random.randrange(10**9)}.example", set()
            self._pending += pending
            try:
                await self._one(kind, header, Oracle(rights, pending=pending), random)
            finally:
                self._pending -= pending

    async def _one(self, kind: kinds.Kind, header: str, oracle: Oracle, random: Random) -> None:
        wire = await Wire.open(self._port, header, receive_buffer=4096 if kind is kinds.deaf else None)
        if isinstance(wire, Refused):
            # the place of a conversation that has just ended is free once the agent knows of it
            if not (oracle.pending and wire.status == 429):
                self._tally.problem(f"a right handshake got {wire.status}")
            return
        self._tally.conversations[f"{kind.__name__}{', pending' if oracle.pending else ''}"] += 1
        try:
            await kind(Talk(wire, oracle, self._tally), Grammar(random), random, EACH)
        except (GoneError, TimeoutError):
            wire.close()  # the talk has said what is missing

    async def use_up_the_question(self) -> None:
        """The person is asked for one site, and no other for an hour: whoever comes now waits."""
        wire = await self._opened("Origin: https://first.example")
        await wire.send(text_frame({"jsonrpc": "2.0", "id": 1, "method": "agent.hello", "params": HELLO}))
        try:
            while b"agent.changed" not in (await wire.receive())[-1]:
                pass
        except GoneError:
            return  # refused, without a screen to ask on
        wire.close()

    # ------------------------------------------------------------ handshakes

    async def handshakes(self, count: int) -> None:
        door, random = Door(self._port, self._page), Random(self._report.seed)  # noqa: S311  (as above)
        waiting = attempts(random, door, count)

        async def some() -> None:
            for attempt in waiting:
                await knock(door, attempt, self._report.knocks)

        await _all(some() for _ in range(KNOCKS_AT_ONCE))

    # ------------------------------------------------------------ silence

    async def while_silent(self, count: int, seconds: int, cap: int) -> None:
        """So many silent connections that come back at once; in each second one new good conversation."""
        several = [min(PER_PROCESS, count - start) for start in range(0, count, PER_PROCESS)]
        await self._while_held("several programs", several, seconds, dropped=count > cap)
        await self._while_held("one program", [count], seconds, dropped=count > min(cap, PROGRAM_CAP))
        if os.geteuid() == 0:
            await self._while_held(
                "another account", [count], seconds, dropped=count > min(cap, PROGRAM_CAP), uid=NOBODY
            )

    async def _while_held(
        self, whose: str, sizes: Sequence[int], seconds: int, *, dropped: bool, uid: int | None = None
    ) -> None:
        """`dropped`: whether some of them must be."""
        with ExitStack() as stack:
            holders = [stack.enter_context(Holder(self._port, size, uid=uid)) for size in sizes]
            good = 0
            for _ in range(seconds):
                good += await self._good()
                await asyncio.sleep(1)
            often = sum(holder.dropped() for holder in holders)
            for _ in range(SETTLES_WITHIN_S if dropped else 0):
                if often:
                    break
                await asyncio.sleep(1)
                often = sum(holder.dropped() for holder in holders)
        self._report.require(
            f"a good one a second gets in past {whose}",
            good == seconds and (often > 0) == dropped,
            f"{good} of {seconds} while {sum(sizes)} silent ones were held; {often} times one was dropped",
        )

    async def _good(self) -> bool:
        """Whether a page gets in and is answered."""
        wire = await Wire.open(self._port, f"Origin: {self._page}")
        if isinstance(wire, Refused):
            return False
        await wire.send(text_frame({"jsonrpc": "2.0", "id": 1, "method": "agent.hello", "params": HELLO}))
        (answer,) = map(json.loads, await wire.receive())
        return "result" in answer and await wire.leave() == 1000

    async def _opened(self, header: str) -> Wire:
        wire = await Wire.open(self._port, header)
        assert isinstance(wire, Wire), f"refused with {wire.status}"
        return wire

    # ------------------------------------------------------------ the end

    async def revocation(self) -> None:
        """A site that is taken out of the configuration hears it and is closed, at once."""
        talk = Talk(await self._opened(f"Origin: {FEW}"), Oracle({"vitale"}), self._tally)
        await talk.say([Grammar(self._random).hello()])
        heard = self._tally.notifications
        self._agent.forbid_the_site()
        await talk.closes(4001, "a revocation")
        self._report.require("a revoked site hears it before 4001", self._tally.notifications > heard, "agent.changed")


async def _all(work: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


async def _settled(pid: int) -> Figures:
    """Once the last conversation's end is digested: nothing more is given back for a second."""
    end, quiet, last = time.monotonic() + SETTLES_WITHIN_S, 0, Figures.of(pid)
    while quiet < 10 and time.monotonic() < end:
        await asyncio.sleep(0.1)
        now = Figures.of(pid)
        quiet = quiet + 1 if (now.threads, now.files) == (last.threads, last.files) else 0
        last = now
    return last


async def _under_fire(agent: Agent, report: Report, options: argparse.Namespace) -> None:
    fire, tally, knocks = Fire(agent, report), report.tally, report.knocks
    await fire.use_up_the_question()
    await fire.messages(max(2000, options.messages // 20))  # warm: every path was taken, every package is loaded
    await fire.handshakes(max(100, options.handshakes // 20))
    before = await _settled(agent.pid)
    began = time.monotonic()
    await fire.messages(options.messages)
    report.facts["messages a second"] = f"     {options.messages / (time.monotonic() - began):.0f}"
    await fire.handshakes(options.handshakes)
    after = await _settled(agent.pid)
    problems = "; ".join(knocks.problems[:5]) or f"{knocks.ended.total()} of {len(knocks.kinds)} kinds"
    report.require("each handshake ended as specified", not knocks.problems, problems)
    flat = after.memory_mb <= before.memory_mb + FLAT_MB + before.memory_mb / 10
    report.require("memory is flat", flat, f"{after}; before {before}; a tenth and {FLAT_MB} MB more is too much")
    report.require("nothing leaked", after.within(before), f"{after}; before {before}")
    await fire.while_silent(options.silent, options.seconds, options.cap)
    await fire.revocation()
    accounted = f"{tally.sent} = {tally.answered} answered + {tally.ended} closed + {tally.left} left by their page"
    exact = tally.sent == tally.answered + tally.ended + tally.left
    report.require("each message was answered or closed as specified", exact and not tally.problems, accounted)
    report.facts["and of pages that read nothing"] = f"     {tally.flooded} messages"
    report.require("mismatches", not tally.problems, "; ".join(tally.problems[:5]) or 0)
    log = agent.log()
    broken = _BROKEN.findall(log)
    report.require("nothing unexpected in the log", not broken, broken[:3] or f"{len(log)} characters")
    found = [name for name in (CANARY_NAME, CANARY_NIR) if name in log]
    report.require("no canary in the log", not found, found or "neither name nor number")


def besiege(folder: Path, options: argparse.Namespace) -> Report:
    """One agent in `folder`, under fire."""
    report = Report(options.seed)
    with Agent(folder, silent=options.cap) as agent:
        asyncio.run(_under_fire(agent, report, options))
    report.require("the agent ended well", True, "status 0, no process left")
    return report


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--messages", type=int, default=1_000_000)
    arguments.add_argument("--handshakes", type=int, default=2000)
    arguments.add_argument("--silent", type=int, default=500, help="connections")
    arguments.add_argument("--cap", type=int, default=256, help="of them, at which the agent drops the oldest")
    arguments.add_argument("--seconds", type=int, default=30, help="with a good conversation in each meanwhile")
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="else one at random")
    return arguments


def main() -> int:
    options = parser().parse_args()
    return prove("fuzz", options.seed, lambda folder: besiege(folder, options))


if __name__ == "__main__":
    sys.exit(main())
