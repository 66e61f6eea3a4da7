"""`python -m tests.crash`: kill -9 so many times while a journal is written, and hold it against what was said.

Most rounds kill a process that writes the journal as the agent does, some the whole agent while a page asks INSi.
`--seed` repeats the writes and the kills; those at an instant are the machine's.
"""

import argparse
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.parts.proof import Claims, prove

from .agents import AgentRounds
from .rounds import StoreRounds, Tally
from .writer import BREAKS

ENOUGH = 200  # rounds


class Report(Claims):
    def lines(self) -> Iterator[str]:
        return self.verdict(30)


def run(folder: Path, rounds: int, seed: int, broken: str | None, every: int) -> Report:
    tally, report, done = Tally(), Report(), 0
    store = StoreRounds(folder, seed, tally, broken=broken)
    with ExitStack() as parts:
        agents = None if broken else parts.enter_context(AgentRounds(folder, seed, tally))
        for done in range(1, rounds + 1):
            (agents if agents and done % every == 0 else store).round(done)
            if tally.problems:
                break
    store.end()
    report.require("rounds", not tally.problems, "; ".join(tally.problems) or done)
    kills = ", ".join(f"{how} {count}" for how, count in tally.kills.most_common())
    report.require("kills", sum(tally.kills.values()) == done, kills)
    entries = f"{tally.acknowledged} in {tally.journals} journals, {tally.sent} of them attempts sent"
    report.require("entries acknowledged", tally.acknowledged > 0, entries)
    many = rounds >= ENOUGH  # by then there is something of everything
    taken = f"{tally.erased} personal parts, {tally.left} whole entries"
    report.require("taken by retention", not many or bool(tally.erased and tally.left), taken)
    if agents:
        results = f"{tally.answered}, {tally.replayed} of them replayed"
        report.require("results that a page got", not many or bool(tally.answered), results)
    return report


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=500)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="else one at random")
    arguments.add_argument("--break", dest="broken", choices=BREAKS, help="a writer with this fault: it must be found")
    arguments.add_argument("--agent-every", type=int, default=20, help="one round in so many kills the whole agent")
    given = arguments.parse_args()
    return prove(
        "crash",
        given.seed,
        lambda folder: run(folder, given.rounds, given.seed, given.broken, given.agent_every),
    )


if __name__ == "__main__":
    sys.exit(main())
