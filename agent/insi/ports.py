"""What the agent needs of the network. Implemented by `http.py`; the simulator is a real server behind it.

The call blocks and belongs on the network lane.
"""

from dataclasses import dataclass, field
from typing import Protocol

from agent.model import AuthMode


@dataclass(frozen=True)
class HttpReply:
    """What came back, exactly."""

    status: int
    body: bytes = field(repr=False)
    duration_ms: int


class Teleservice(Protocol):
    """The INSi endpoints of one environment."""

    def check(self, mode: AuthMode) -> None:
        """Raises insi.notConfigured when nobody said where this mode is served; speaks to nobody."""
        ...

    def post(self, mode: AuthMode, action: str, envelope: bytes) -> HttpReply:
        """POST one SOAP envelope to the endpoint of this mode; never retries, never follows a redirect.

        Raises insi.notConfigured, insi.unreachable, insi.tls, insi.certificateRefused, insi.timeout,
        insi.unreadable (body cut short or over the size limit), certificate.unreadable.
        """
        ...

    def close(self) -> None:
        """Close the kept connections."""
        ...
