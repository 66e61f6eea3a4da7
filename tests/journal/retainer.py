"""A child that writes operations, three days each, and retains them until it is killed; says each step once done."""

import os
import sys
from datetime import timedelta
from pathlib import Path

from agent.journal.ports import Conclusion
from agent.journal.retention import Rule

from .making import NOW, intent, journal

RULE = Rule(personal_days=10, entry_days=20)


def main(folder: Path) -> None:
    own = journal(folder)
    verdict = own.verify()
    seq = verdict.left + verdict.entries
    os.write(1, b"ready\n")
    while True:
        at = NOW + timedelta(days=seq)
        trace_id = f"trace-{seq}"
        intended = own.intend(intent(trace_id, at=at, request=b"x" * (seq % 7) * 3000))
        own.conclude(intended, Conclusion(at, "00", "OK", 120, 200, b"y" * (seq % 5) * 9000))
        seq = own.finish(trace_id, at, lambda _seq, _previous: b"{}").seq
        while own.retain(RULE, at):
            os.write(1, b"step\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
