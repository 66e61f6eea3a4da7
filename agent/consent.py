"""What the person decided of sites, and for how long. No I/O of its own.

A site that the configuration does not name may ask once, and be allowed, refused for good, or put off: who closes
the window has not answered, and is left in peace for an hour, then two, then four (defence list D20).
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from agent.model import Moment, Value

FIRST_QUIET = timedelta(hours=1)
LONGEST_QUIET = timedelta(days=7)
FORGOTTEN_AFTER = timedelta(days=30)  # a site that was put off and never came back


class Consent(StrEnum):
    """What a person answers to a site that asks to come in."""

    ALLOW = "allow"
    BLOCK = "block"
    NOT_NOW = "notNow"  # also who closes the window, or lets it expire


class Decided(StrEnum):
    """What holds for a site."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    QUIET = "quiet"  # no question until its time


# what a calculation with times, or their display, bears everywhere
_When = Annotated[Moment, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
_STATES = {Consent.ALLOW: Decided.ALLOWED, Consent.BLOCK: Decided.BLOCKED, Consent.NOT_NOW: Decided.QUIET}


class Decision(Value):
    """One site's."""

    origin: Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]{1,253}(:[0-9]{1,5})?$")]
    state: Decided
    since: _When
    put_off: int = Field(default=0, ge=0)  # how many times in a row

    @property
    def until(self) -> datetime | None:
        """When a quiet site may ask again."""
        if self.state is not Decided.QUIET:
            return None
        doublings = min(max(self.put_off, 1) - 1, 10)  # past the longest long before
        quiet: timedelta = min(FIRST_QUIET * 2**doublings, LONGEST_QUIET)
        return self.since + quiet

    def holds(self, now: datetime) -> bool:
        """Whether it counts now. A clock that was far ahead when it was made silences nobody for longer."""
        return self.until is None or now < self.until <= now + LONGEST_QUIET


class Decisions(Value):
    """All of them, in the order in which they were made."""

    version: Literal[1] = 1
    sites: tuple[Decision, ...] = ()

    def of(self, origin: str) -> Decision | None:
        return next((one for one in self.sites if one.origin == origin), None)

    def answered(self, origin: str, answer: Consent, now: datetime) -> Self:
        """With this answer; it replaces the site's earlier one. An answer that is one ends the count of the others."""
        before = self.of(origin)
        put_off = (before.put_off if before else 0) + 1 if answer is Consent.NOT_NOW else 0
        made = Decision(origin=origin, state=_STATES[answer], since=now, put_off=put_off)
        return self.model_copy(update={"sites": (*self.without(origin, now).sites, made)})

    def without(self, origin: str, now: datetime) -> Self:
        """As if this site had never asked; without what has faded since, too."""
        kept = tuple(one for one in self.sites if one.origin != origin and not _faded(one, now))
        return self.model_copy(update={"sites": kept})

    def in_state(self, state: Decided, now: datetime) -> frozenset[str]:
        """The origins of which this holds now."""
        return frozenset(one.origin for one in self.sites if one.state is state and one.holds(now))


def _faded(decision: Decision, now: datetime) -> bool:
    return decision.until is not None and decision.until + FORGOTTEN_AFTER < now
