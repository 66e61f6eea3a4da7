"""clientRef: a page that asks twice gets one call. No I/O of its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.errors import AgentError, Code
from agent.model import TracedResult, rfc3339

REPLAYED_FOR = timedelta(minutes=10)
KEPT = 500


@dataclass
class _Use:
    digest: str
    result: TracedResult | None  # None: still running
    at: datetime


class References:
    """The clientRefs used since the agent started, by origin."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], _Use] = {}

    def begin(self, origin: str, reference: str, digest: str, now: datetime) -> TracedResult | None:
        """Mark as running, or give the stored result to replay.

        Raises clientRef.reused (other params, or older than ten minutes), device.busy while it still runs.
        """
        use = self._uses.get((origin, reference))
        if use is None:
            self._uses[origin, reference] = _Use(digest, None, now)
            while len(self._uses) > KEPT:
                del self._uses[next(iter(self._uses))]
            return None
        if use.digest != digest or now - use.at > REPLAYED_FOR:
            raise AgentError(Code.CLIENT_REF_REUSED)
        if use.result is None:
            raise AgentError(Code.DEVICE_BUSY, "clientRef still running", origin="own", since=rfc3339(use.at))
        return use.result

    def end(self, origin: str, reference: str, result: TracedResult | None, now: datetime) -> None:
        """Keep the result for replays; None forgets the reference, so that a failed call may be made again."""
        use = self._uses.get((origin, reference))
        if use is None:
            return
        if result is None:
            del self._uses[origin, reference]
        else:
            use.result, use.at = result, now
