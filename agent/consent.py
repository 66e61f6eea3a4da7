"""What the person decided of sites, and for how long. No I/O of its own.

A site that the configuration does not name may ask once, and be allowed, refused for good, or put off: who closes
the window has not answered, and is left in peace for an hour, then two, then four (defence list D20). A window that
nobody answered is an hour of peace each time.
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
    NOT_NOW = "notNow"  # also who closes the window


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

    origin: Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9_.-]{1,253}(:[0-9]{1,5})?$")]
    state: Decided
    since: _When
    put_off: int = Field(default=0, ge=0)  # how many times in a row the person did not want to answer
    unanswered: bool = False  # quiet because nobody answered at all

    @property
    def until(self) -> datetime | None:
        """When a quiet site may ask again."""
        if self.state is not Decided.QUIET:
            return None
        return self.since + (FIRST_QUIET if self.unanswered else _quiet(self.put_off))

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
        put_off = self._put_off(origin) + 1 if answer is Consent.NOT_NOW else 0
        return self._with(Decision(origin=origin, state=_STATES[answer], since=now, put_off=put_off))

    def left_unanswered(self, origin: str, now: datetime) -> Self:
        """With an hour of peace that nobody asked for: the count of the others stays as it is."""
        put_off = self._put_off(origin)
        return self._with(Decision(origin=origin, state=Decided.QUIET, since=now, put_off=put_off, unanswered=True))

    def next_quiet(self, origin: str) -> timedelta:
        """For how long the site would be quiet if it were put off now."""
        return _quiet(self._put_off(origin) + 1)

    def without(self, origin: str, now: datetime) -> Self:
        """As if this site had never asked; without what has faded since, too."""
        kept = tuple(one for one in self.sites if one.origin != origin and not _faded(one, now))
        return self.model_copy(update={"sites": kept})

    def in_state(self, state: Decided, now: datetime) -> frozenset[str]:
        """The origins of which this holds now."""
        return frozenset(one.origin for one in self.sites if one.state is state and one.holds(now))

    def _put_off(self, origin: str) -> int:
        before = self.of(origin)
        return before.put_off if before else 0

    def _with(self, made: Decision) -> Self:
        return self.model_copy(update={"sites": (*self.without(made.origin, made.since).sites, made)})


def _quiet(put_off: int) -> timedelta:
    """After so many times in a row."""
    doublings = min(max(put_off, 1) - 1, 10)  # past the longest long before
    return min(FIRST_QUIET * (1 << doublings), LONGEST_QUIET)


def _faded(decision: Decision, now: datetime) -> bool:
    return decision.until is not None and decision.until + FORGOTTEN_AFTER < now
