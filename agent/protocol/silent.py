"""Which silent connections may stay: how many at once, how many of one program. No I/O of its own.

Source: defence list D11. A browser that waits for the person's permission holds a connection that says nothing,
so that silence is no offence; too many of them are. Whoever came last may always stay, the oldest leaves: a new
good client never finds the door held shut. Which program a connection belongs to costs much to find out: until
it is looked up, all such connections count as of one program, and so do those whose program cannot be seen.
"""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

UNSEEN = 0  # looked up, and not found: perhaps another account's

K = TypeVar("K", bound=Hashable)


class Silent(Generic[K]):
    """The silent connections, in the order in which they came."""

    def __init__(self) -> None:
        self._process: dict[K, int | None] = {}  # None: not looked up yet

    def __len__(self) -> int:
        return len(self._process)

    def enter(self, key: K) -> None:
        self._process[key] = None

    def leave(self, key: K) -> None:
        """It completed its handshake, or went; nothing if it is not here."""
        self._process.pop(key, None)

    def not_looked_up(self) -> list[K]:
        return [key for key, process in self._process.items() if process is None]

    def learn(self, processes: Mapping[K, int]) -> None:
        """The process of each connection, or UNSEEN; those that left meanwhile are ignored."""
        self._process.update({key: process for key, process in processes.items() if key in self._process})

    def excess(self, *, at_once: int, per_process: int) -> list[K]:
        """Who must leave so that the rest is within both bounds: the oldest of a program, then the oldest of all.

        Bounds are at least 1, so that the newest one is never among them.
        """
        if len(self._process) <= min(at_once, per_process):
            return []
        left = Counter(self._process.values())
        leaving = []
        for key, process in self._process.items():
            if left[process] > per_process:
                left[process] -= 1
                leaving.append(key)
        gone = set(leaving)
        staying = [key for key in self._process if key not in gone]
        return leaving + staying[: max(0, len(staying) - at_once)]
