"""Searches by traits that found nobody or several, so that a page may continue them. No I/O of its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.errors import AgentError, Code
from agent.model import Traits

CONTINUES_FOR = timedelta(minutes=30)
KEPT = 200


@dataclass(frozen=True, repr=False)
class Search:
    """Where a search stopped: the members of its last attempt, and its CodeCR (01 or 02)."""

    owner: str
    traits: Traits
    given: tuple[str, ...]
    code: str
    ended_at: datetime


class Searches:
    """By traceId, for half an hour; forgotten when the agent stops."""

    def __init__(self) -> None:
        self._kept: dict[str, Search] = {}

    def keep(self, trace_id: str, search: Search) -> None:
        self._kept[trace_id] = search
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    def find(self, trace_id: str, origin: str, traits: Traits, now: datetime) -> Search:
        """Raises continues.refused unless it is this origin's, of the same other traits, and recent."""
        search = self._kept.get(trace_id)
        if (
            search is None
            or search.owner != origin
            or now - search.ended_at >= CONTINUES_FOR
            or _without_place(search.traits) != _without_place(traits)
        ):
            raise AgentError(Code.CONTINUES_REFUSED)
        return search


def _without_place(traits: Traits) -> Traits:
    return traits.model_copy(update={"birth_place_code": None})
