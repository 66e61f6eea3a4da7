"""A child that writes operations until it is killed, and says each entry once it is acknowledged."""

import itertools
import os
import sys
from pathlib import Path

from agent.journal.ports import Link

from .making import NOW, found, intent, journal


def say(link: Link) -> None:
    os.write(1, f"{link.seq} {link.link}\n".encode())


def main(folder: Path) -> None:
    own = journal(folder)
    for number in itertools.count():
        trace_id = f"{os.getpid()}-{number}"
        intended = own.intend(intent(trace_id, request=b"x" * (number % 7) * 3000))
        say(intended)
        say(own.conclude(intended, found(b"y" * (number % 5) * 9000)))
        say(own.finish(trace_id, NOW, lambda _seq, _previous: b"{}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
