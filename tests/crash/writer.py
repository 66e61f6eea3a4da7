"""A child that writes as the agent does until it is killed: `python -m tests.crash.writer FOLDER …`.

It says each step on its output, a JSON line each. `sent` stands for the teleservice: whoever reads it has received the
attempt. Every other line says what a method has returned: what was acknowledged.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from agent.journal.chain import Entry
from agent.journal.files import write_head
from agent.journal.ports import Link, Step, Switch
from agent.journal.retention import Rule
from agent.journal.store import Journal
from agent.model import Environment, Profile

from .operations import ENTRY_DAYS, PERSONAL_DAYS, TARGET, Operation, cut_short, journal, moment

UNDER_WAY = 3  # operations at once, at most
BREAKS = ("intent", "outcome", "head")


class HeadFirst(Journal):
    """Broken on purpose: the head is written before the entry is on the disk."""

    def _insert(self, *arguments: Any, **named: Any) -> Entry:
        entry = super()._insert(*arguments, **named)
        write_head(self._folder, self._head(entry.seq, entry.link, entry.at))
        return entry


class Writer:
    """One run of an agent, without its end. `broken`: what it does in the wrong order, to see that it is found."""

    def __init__(self, folder: Path, *, run: str, first: int, max_reply_bytes: int, broken: str | None) -> None:
        self._own = journal(folder, max_reply_bytes, HeadFirst if broken == "head" else Journal)
        self._run, self._number, self._max_reply, self._broken = run, first, max_reply_bytes, broken
        self._chance = Random(run)  # noqa: S311  (to repeat, no secret)
        self._under_way: list[Iterator[None]] = []

    def write(self) -> None:
        """For ever."""
        for cut in self._own.unfinished():
            link = self._own.conclude(cut.intended, cut_short(moment(self._number)))
            say("outcome", link, trace=cut.trace_id, attempt=cut.attempt, cut=True)
        steps = {self._go_on: 90, self._switch: 4, self._retain: 8, self._ship: 4, self._start_anew: 1}
        while True:
            self._chance.choices(list(steps), list(steps.values()))[0]()

    def _go_on(self) -> None:
        """One more step of an operation under way, or of a new one."""
        if len(self._under_way) < self._chance.choice((1, 1, UNDER_WAY)):
            self._number += 1
            say("begun", number=self._number)
            self._under_way.append(self._perform(Operation.of(f"{self._run}-{self._number}", self._max_reply)))
        operation = self._chance.choice(self._under_way)
        if next(operation, "ended") == "ended":
            self._under_way.remove(operation)

    def _perform(self, operation: Operation) -> Iterator[None]:
        trace = operation.trace_id
        for attempt in range(1, 1 + len(operation.attempts)):
            if self._broken == "intent":
                say("sent", trace=trace, attempt=attempt)
            intended = self._own.intend(operation.intent(attempt))
            say("sent", intended, trace=trace, attempt=attempt)
            if self._broken == "outcome":
                say("outcome", trace=trace, attempt=attempt)
            yield
            link = self._own.conclude(intended, operation.conclusion(attempt))
            say("outcome", link, trace=trace, attempt=attempt)
            yield
        if (result := operation.result) is not None:
            say("result", self._own.finish(trace, operation.at, lambda _seq, _previous: result), trace=trace)

    def _switch(self) -> None:
        sides = [Step(environment, Profile.REPOSITORY) for environment in (Environment.TEST, Environment.SIMULATED)]
        say("switch", self._own.switched(Switch(moment(self._number), *sides, account="poste")))

    def _retain(self) -> None:
        now = moment(self._number)
        say("retaining", now=now.isoformat())
        self._own.retain(Rule(PERSONAL_DAYS, ENTRY_DAYS, shipped_to=TARGET), now)

    def _ship(self) -> None:
        """The copy itself is not written: that its cursor is kept, and holds entries back, is what counts here."""
        if entries := self._own.unshipped(TARGET, 50):
            say("marking", upTo=entries[-1].seq)
            self._own.mark_shipped(TARGET, entries[-1].seq)
            say("marked")

    def _start_anew(self) -> None:
        """Stopped well and started again."""
        if not self._under_way:
            self._own.close()


def say(step: str, link: Link | None = None, **facts: Any) -> None:
    """In one write: a line is there, or it is not."""
    place = {"seq": link.seq, "link": link.link} if link else {}
    os.write(1, json.dumps({"step": step, **place, **facts}).encode() + b"\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--run", required=True)
    arguments.add_argument("--first", type=int, required=True)
    arguments.add_argument("--max-reply-bytes", type=int, required=True)
    arguments.add_argument("--broken", choices=BREAKS)
    writer = Writer(**vars(arguments.parse_args()))
    say("ready")
    sys.stdin.readline()
    writer.write()


if __name__ == "__main__":
    main()
