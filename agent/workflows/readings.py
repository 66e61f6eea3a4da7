"""Readings of a carte Vitale that a page may refer to, for a while. No I/O of its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.errors import AgentError, Code
from agent.readers.desk import DeskReading

KEPT = 50  # readings per agent; the oldest leaves first
REMEMBERED = timedelta(hours=1)  # a stale reading is said to be stale for that long, then unknown


@dataclass(frozen=True)
class Kept:
    """A reading, whose it is, and until when it may be used."""

    owner: str
    reading: DeskReading
    expires_at: datetime


class Readings:
    """By readId. Another origin's reading is exactly as unknown as none."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def keep(self, read_id: str, kept: Kept) -> None:
        self._kept[read_id] = kept
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def find(self, read_id: str, origin: str, now: datetime) -> Kept:
        """Raises vitale.readingUnknown, vitale.stale."""
        kept = self._kept.get(read_id)
        if kept is None or kept.owner != origin or now > kept.expires_at + REMEMBERED:
            raise AgentError(Code.VITALE_READING_UNKNOWN)
        if now >= kept.expires_at:
            raise AgentError(Code.VITALE_STALE)
        return kept
