"""How much one origin may ask in a while: sliding windows. No I/O of its own.

Defence list D13. What was counted is forgotten when the agent stops.
"""

from collections import deque
from datetime import datetime, timedelta
from enum import StrEnum

from agent.config import Limits
from agent.errors import AgentError, Code

ROWS_KEPT = 512  # an attacker with many origins costs no more; whoever asked longest ago is forgotten first


class Rated(StrEnum):
    """What is counted, for each origin by itself."""

    INSI_CALL = "insiCall"  # one person looked for, however many attempts INSi's rules make of it
    CODE_WINDOW = "codeWindow"
    ACTIVITY_WINDOW = "activityWindow"


_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_WINDOWS: dict[Rated, dict[str, timedelta]] = {  # by the name of the setting
    Rated.INSI_CALL: {"insi_per_minute": _MINUTE, "insi_per_day": _DAY},
    Rated.CODE_WINDOW: {"pin_windows_per_minute": _MINUTE},
    Rated.ACTIVITY_WINDOW: {"pin_windows_per_minute": _MINUTE},
}


class Rates:
    """When each origin last asked. Only what the longest window needs is kept."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, Rated], deque[datetime]] = {}  # the origin heard last is the last

    def check(self, what: Rated, origin: str, limits: Limits, now: datetime) -> None:
        """Raises rate.limited {retryAfterS, limit} while this origin has used up one of its limits."""
        counted = self._recent(what, origin, now)
        over = [
            (counted[-allowed] + period - now, setting)
            for setting, period in _WINDOWS[what].items()
            if len(counted) >= (allowed := getattr(limits, setting)) and now - counted[-allowed] < period
        ]
        if over:
            wait, setting = max(over)
            seconds = -(-wait // timedelta(seconds=1))  # rounded up: then it is allowed
            raise AgentError(Code.RATE_LIMITED, what.value, retryAfterS=seconds, limit=f"limits.{setting}")

    def count(self, what: Rated, origin: str, now: datetime) -> None:
        counted = self._recent(what, origin, now)
        self._counted.pop((origin, what), None)
        self._counted[origin, what] = counted
        counted.append(now)
        for row, moments in list(self._counted.items()):
            if len(self._counted) <= ROWS_KEPT and moments and now - moments[-1] < _DAY:
                break
            del self._counted[row]

    def take(self, what: Rated, origin: str, limits: Limits, now: datetime) -> None:
        """Count one, unless a limit is used up: then raises rate.limited as `check`."""
        self.check(what, origin, limits, now)
        self.count(what, origin, now)

    def _recent(self, what: Rated, origin: str, now: datetime) -> deque[datetime]:
        counted = self._counted.get((origin, what), deque())
        longest = max(_WINDOWS[what].values())
        while counted and now - counted[0] >= longest:
            counted.popleft()
        while counted and counted[-1] > now:  # the clock was set back: nobody waits for an hour that comes twice
            counted.pop()
        return counted
