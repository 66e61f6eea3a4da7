"""Hours of a desk in minutes: random events on readers, cards and services while two web applications work.

`python -m tests.soak.cards [--events 2000] [--seed N]` prints one table and ends with 1 when anything failed.
The agent is a process of its own on real parts (see `tests.parts.desk`). The seed repeats the sequence of
events; their timing is the machine's.
"""

import argparse
import os
import re
import secrets
import signal
import sys
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.journal.store import Journal
from agent.workflows.attempts import JOURNAL_TIMEOUT_S, NETWORK_MARGIN_S
from agent.workflows.cpx import REMOVAL_SEEN_S
from agent.workflows.desk import CARD_QUEUE_S
from tests.parts.desk import CALL_TIMEOUT_S, CPS, SITES, Desk
from tests.parts.proof import Claims, prove
from tests.soak.page import Page, Tally
from tests.soak.storm import Event, Kind, storm

TRIES = 3
WEIGHINGS = 40
SIGNS_WITHIN_S = 1.5
SEEN_S = 60  # the watcher's longest pause is 30 s
_HOME = {"durand": "Vitale 00 00", CPS: "CPS 00 00", "adrdeux": "Bi-fente 00 00"}
_READING_S, _INSI_S = 20, 30  # the agent's own deadlines for a carte Vitale and an exchange

# The longest an operation may take, each step at its own deadline: its turn, the card looked at, opened and
# signed with, the Vitale read again, INSi, three journal rows. Times two: another page's call comes first.
_STEPS_S = (
    CARD_QUEUE_S,
    3 * (CARD_QUEUE_S + CALL_TIMEOUT_S) + REMOVAL_SEEN_S,
    CARD_QUEUE_S + _READING_S,
    _INSI_S + NETWORK_MARGIN_S,
    3 * JOURNAL_TIMEOUT_S,
)
HUNG_S = 2 * sum(_STEPS_S)
FLAT = 0.10  # of the first half's memory
FLAT_MB = 6  # and never less: what one more page of a heap is

# What the agent's log never holds: Python's own words, the frames of an unexpected exception, asyncio's complaints.
_BROKEN = re.compile(r"Traceback|incident |never retrieved|^  \w+\.py:\d+ |ERROR asyncio", re.MULTILINE)


@dataclass
class Figures:
    """What the agent holds of the machine."""

    threads: int
    files: int
    children: Counter[str]

    @classmethod
    def of(cls, desk: Desk) -> "Figures":
        proc = Path(f"/proc/{desk.agent_pid}")
        return cls(
            len(list((proc / "task").iterdir())),
            len(list((proc / "fd").iterdir())),
            Counter(desk.children().values()),
        )

    def within(self, other: "Figures") -> bool:
        return self.threads <= other.threads and self.files <= other.files and self.children <= other.children

    def __str__(self) -> str:
        children = ", ".join(f"{count} {role}" for role, count in self.children.items()) or "none"
        return f"{self.threads} threads, {self.files} files, children: {children}"


@dataclass
class Report(Claims):
    """Counts, and what went wrong."""

    seed: int
    tally: Tally
    done: Counter[Kind] = field(default_factory=Counter)
    in_vain: Counter[Kind] = field(default_factory=Counter)  # the other program found no card, or it was in use
    memory: dict[str, list[float]] = field(default_factory=lambda: {"agent": [], "worker": []})  # MB

    def lines(self) -> Iterator[str]:
        for kind in Kind:
            vain = f"  ({self.in_vain[kind]} more in vain)" if self.in_vain[kind] else ""
            yield f"  event      {kind:<24} {self.done[kind]:>6}{vain}"
        for method in sorted({method for method, _ in self.tally.outcomes}):
            outcomes = sorted(
                (row for row in self.tally.outcomes.items() if row[0][0] == method), key=lambda row: -row[1]
            )
            said = ", ".join(f"{outcome} {count}" for (_, outcome), count in outcomes)
            count, longest = sum(row[1] for row in outcomes), f"{self.tally.longest_s[method]:.1f}"
            yield f"  operation  {method:<24} {count:>6}  at most {longest:>4} s: {said}"
        yield from self.verdict(35)


class Soak:
    """One run on one desk."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self._desk = desk
        tally = Tally(hung_s=HUNG_S)
        self._pages = [Page(desk.port, site, _repeatable(f"{seed} {site}"), tally) for site in SITES]
        self.report = Report(seed, tally)

    def run(self, events: int) -> None:
        """Calm, storm, calm again; then every check that needs the agent alive."""
        report, desk = self.report, self._desk
        self._calm()
        before = Figures.of(desk)
        for page in self._pages:
            page.start()
        began = time.monotonic()
        sequence = storm(
            _repeatable(report.seed), events, _HOME, list(desk.readers), signer=CPS, hang_s=CALL_TIMEOUT_S + 2
        )
        for number, event in enumerate(sequence, 1):
            report.tally.event = number
            self._note(number, event)
            (report.done if self._happens(event) else report.in_vain)[event.kind] += 1
            if number % max(1, events // WEIGHINGS) == 0:
                self._weigh()
            time.sleep(event.pause_s)
        for page in self._pages:
            page.stop()
        report.facts["the storm lasted"] = f"{time.monotonic() - began:.0f} s"
        desk.other.let_go()
        try:
            self._calm()
        except AssertionError as error:
            report.require("every operation succeeds after the storm", False, error)
        else:
            report.require("every operation succeeds after the storm", True, "each of them, by both pages")
        self._judge(before)

    def _calm(self) -> None:
        """Each card in its reader, and every operation of every page succeeds."""
        self._desk.put(_HOME)
        wanted = {reader: "cpx" if card == CPS else "vitale2" for card, reader in _HOME.items()}
        page, end = self._pages[0], time.monotonic() + SEEN_S
        while page.call("cards.watch") and page.readers != wanted:
            assert time.monotonic() < end, f"the agent sees {page.readers}, not {wanted}"
            time.sleep(0.1)
        for page in self._pages:
            page.work_through()

    # ------------------------------------------------------------ the storm

    def _happens(self, event: Event) -> bool:
        """Make it happen; False when there was nothing that it could happen to."""
        desk, moves = self._desk, dict(event.moves)
        match event.kind:
            case Kind.INSERT | Kind.PULL | Kind.SWAP:
                desk.put(moves)
            case Kind.PULL_SIGNING:
                return self._pulled_while_signing(moves)
            case Kind.RESET:
                return desk.other.reset(event.reader)
            case Kind.UNPOWER:
                return desk.other.unpower(event.reader)
            case Kind.LOCK:
                return desk.other.lock(event.reader, event.seconds)
            case Kind.HOLD:
                return desk.other.hold(event.reader, event.seconds)
            case Kind.KILL_SERVICE:
                desk.pcscd.kill()
                time.sleep(event.seconds)
                desk.pcscd.restart()
                desk.put(moves)
            case Kind.KILL_WORKER:
                return self._signalled(signal.SIGKILL)
            case Kind.HANG_WORKER:
                if not self._signalled(signal.SIGSTOP):
                    return False
                time.sleep(event.seconds)
                self._signalled(signal.SIGCONT)
        return True

    def _note(self, number: int, event: Event) -> None:
        """Beside the agent's log, in its time."""
        moves = ", ".join(f"{card} in {reader or 'no reader'}" for card, reader in event.moves)
        with (self._desk.folder / "events.log").open("a", encoding="utf-8") as log:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            log.write(f"{now} {number} {event.kind} {event.reader}{moves} {event.seconds:.1f} s\n")

    def _pulled_while_signing(self, moves: dict[str, str | None]) -> bool:
        """At the next signature, if there is one soon."""
        card = self._desk.cards[CPS]
        before = card.ask("state")["pulled"]
        card.ask("pull_at_signature", on=True)
        end = time.monotonic() + SIGNS_WITHIN_S
        while (pulled := card.ask("state")["pulled"] > before) is False and time.monotonic() < end:
            time.sleep(0.02)
        card.ask("pull_at_signature", on=False)
        self._desk.put(moves)
        return pulled

    def _signalled(self, number: signal.Signals) -> bool:
        """Send it to the worker; False without one."""
        workers = self._desk.workers()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(workers)

    def _weigh(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            self.report.memory["agent"].append(_pss(self._desk.agent_pid))
            for worker in self._desk.workers():
                self.report.memory["worker"].append(_pss(worker))

    # ------------------------------------------------------------ the judgement

    def _judge(self, before: Figures) -> None:
        report, desk, tally = self.report, self._desk, self.report.tally
        report.require("operations without a problem", not tally.problems, "; ".join(tally.problems[:5]) or tally.sent)
        exact = tally.sent == tally.answered + tally.left
        report.require(
            "answered exactly once", exact, f"{tally.sent} = {tally.answered} + {tally.left} left with their socket"
        )
        broken = _BROKEN.findall(desk.said())
        report.require("nothing unexpected in the log", not broken, broken[:3])
        alive = Path(f"/proc/{desk.agent_pid}/stat").exists()
        report.require("the agent is the same process", alive, desk.agent_pid)
        after = _settled(desk, before)
        report.require("nothing leaked", after.within(before), f"{after}; before the storm {before}")
        for who, weights in report.memory.items():
            middle = len(weights) // 2
            first, second = median(weights[:middle] or [0]), median(weights[middle:] or [0])
            flat = second <= first + max(FLAT * first, FLAT_MB)
            report.require(
                f"memory of the {who} is flat",
                flat,
                f"{first:.1f} then {second:.1f} MB PSS; {FLAT:.0%} or {FLAT_MB} MB more is too much",
            )
        card = desk.cards[CPS].ask("state")
        fact = f"{card['left']} left after {card['asked']} codes and {card['signed']} signatures"
        report.require("no try was lost", card["left"] == TRIES and card["asked"] > 0, fact)

    def judge_journal(self) -> None:
        """Once the agent has ended: the chain holds, every attempt has its outcome, every result its receipt."""
        key = self._pages[0].key
        assert key is not None
        public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))

        def authentic(data: bytes, signature: bytes) -> bool:
            try:
                public.verify(signature, data)
            except InvalidSignature:
                return False
            return True

        def none(*_: object) -> NoReturn:
            raise AssertionError("whoever verifies a journal signs nothing and opens no personal part")

        journal = Journal(self._desk.journal, sign=none, verify=authentic, keys=none, max_reply_bytes=1 << 20)
        try:
            verdict, unfinished = journal.verify(), journal.unfinished()
        finally:
            journal.close()
        tally = self.report.tally
        self.report.require(
            "the journal verifies", verdict.fault is None, f"{verdict.entries} entries {verdict.fault or ''}"
        )
        self.report.require("every attempt has its outcome", not unfinished, f"{len(unfinished)} without")
        results = sum(n for (_, outcome), n in tally.outcomes.items() if outcome.isdigit())
        self.report.require("every result has its receipt", tally.receipts == results, f"{tally.receipts} of {results}")


def _repeatable(seed: int | str) -> Random:
    return Random(seed)  # noqa: S311  (a sequence to repeat, no secret)


def _settled(desk: Desk, before: Figures) -> Figures:
    """Once the last page's end is digested."""
    end = time.monotonic() + 10
    while not (now := Figures.of(desk)).within(before) and time.monotonic() < end:
        time.sleep(0.1)
    return now


def _pss(pid: int) -> float:
    """MB, shared pages divided among who shares them."""
    rows = (row.split() for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return sum(int(row[1]) for row in rows if row[0] == "Pss:") / 1024


def soak(folder: Path, events: int, seed: int) -> Report:
    """One desk in `folder`, soaked."""
    with Desk(folder) as desk:
        run = Soak(desk, seed)
        run.run(events)
    run.judge_journal()
    return run.report


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="else one at random")
    options = arguments.parse_args()
    return prove(
        "soak",
        options.seed,
        lambda folder: soak(folder, options.events, options.seed),
        kept=("agent.err", "events.log"),
    )


if __name__ == "__main__":
    sys.exit(main())
