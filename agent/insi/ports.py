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
    warnings: tuple[str, ...] = ()  # about the server: revocation.unchecked
    content_type: str = ""  # as the server says it


@dataclass(frozen=True)
class Sender:
    """As whom a message goes: each has a kept TLS session of its own."""

    mode: AuthMode
    certificate: str | None = None  # SHA-256 of the organisation's certificate, hexadecimal; None with a card


class Teleservice(Protocol):
    """The INSi endpoints of one environment."""

    def check(self, mode: AuthMode) -> None:
        """Raises insi.notConfigured when nobody said where this mode is served; speaks to nobody."""
        ...

    def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
        """POST one SOAP envelope to the endpoint of this sender's mode; never retries, never follows a redirect.

        Raises insi.notConfigured, insi.unreachable, insi.tls, insi.intercepted, insi.revoked,
        insi.certificateRefused, insi.timeout, insi.unreadable (body cut short or over the size limit),
        certificate.unreadable, certificate.missing, proxy.*, keyring.absent (the proxy's password), config.invalid (no
        folder to load a key through).
        """
        ...

    def close(self) -> None:
        """Close the kept connections."""
        ...
