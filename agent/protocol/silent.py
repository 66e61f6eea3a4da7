"""Which silent connections may stay: how many at once, how many of one program. No I/O of its own.

Source: defence list D11. A browser that waits for the person's permission holds a connection that says nothing,
so that silence is no offence; too many of them are: the oldest leaves, never the new one.

Nobody is judged before it had its time to speak and its program was looked for: only such a connection is settled,
and the bounds are for the settled ones. Else a burst would push out who has only just come and is about to speak.
What has not settled yet is bounded by a ceiling, the one bound that judges on half knowledge. Programs of another
account, where that is seen at once, count as one program; they will never get in, so they go first.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

UNSEEN = 0  # looked up, and not found: perhaps another account's
FOREIGN = -1  # another account's
CEILING = 8  # times as many as may settle
OTHER_FILES = 512  # cards, logs, windows; connections accepted in one breath, or dropped and not closed yet

K = TypeVar("K", bound=Hashable)


def ceiling(*, at_once: int, per_process: int, connections: int, files: int | None) -> int:
    """How many may be silent in all, settled or not, by a process that may hold `files` open (None: any number).

    Without files to spare the system would accept nobody at all. One program's bound is always granted.
    """
    wanted = CEILING * at_once
    return wanted if files is None else max(per_process, min(wanted, files - connections - OTHER_FILES))


@dataclass
class _Guest:
    since: float
    process: int | None = None  # None: not looked up yet


class Silent(Generic[K]):
    """The silent connections, in the order in which they came."""

    def __init__(self) -> None:
        self._guests: dict[K, _Guest] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, key: K, now: float, *, foreign: bool = False) -> None:
        self._guests[key] = _Guest(now, FOREIGN if foreign else None)

    def leave(self, key: K) -> None:
        """It completed its handshake, or went; nothing if it is not here."""
        self._guests.pop(key, None)

    def not_looked_up(self) -> list[K]:
        return [key for key, guest in self._guests.items() if guest.process is None]

    def learn(self, processes: Mapping[K, int]) -> None:
        """The process of each connection, or UNSEEN; those that left meanwhile are ignored."""
        for key, process in processes.items():
            if key in self._guests:
                self._guests[key].process = process

    def excess(self, *, at_once: int, per_process: int, before: float) -> list[K]:
        """Who must leave so that those who settled by `before` are within both bounds.

        The oldest of a program that has too many, then another account's, then the oldest of all.
        """
        settled = {
            key: guest.process
            for key, guest in self._guests.items()
            if guest.process is not None and guest.since <= before
        }
        left = Counter(settled.values())
        leaving = []
        for key, process in settled.items():
            if left[process] > per_process:
                left[process] -= 1
                leaving.append(key)
        gone = set(leaving)
        staying = sorted((key for key in settled if key not in gone), key=lambda key: settled[key] != FOREIGN)
        return leaving + staying[: max(0, len(staying) - at_once)]

    def least_welcome(self) -> K:
        """Who goes at the ceiling: another account's oldest, else the oldest of the program that holds most.

        Those not looked up yet count as one program.
        """
        held = Counter(guest.process for guest in self._guests.values())
        most = FOREIGN if FOREIGN in held else max(held, key=held.__getitem__)
        return next(key for key, guest in self._guests.items() if guest.process == most)
