"""Who may open a conversation: origin, Host, path, subprotocol, token. No I/O of its own.

Every check is an exact match and fails closed. Sources: the protocol contract, and the defence list
D2 to D7 (Host as well as Origin: a DNS-rebound page sends no Origin at all).
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from agent.model import Right, is_site
from agent.protocol.messages import SUBPROTOCOL

NATIVE = "native"  # the origin under which a local program with the token is known
DISCOVERY_PATH = "/.well-known/insi-agent"

_ORIGIN = re.compile(r"https?://[a-z0-9_.\-\[\]:]+")


@dataclass(frozen=True)
class Caller:
    """Whoever opened the conversation."""

    origin: str
    rights: frozenset[Right]
    pending: bool = False  # the person has not answered yet whether it may talk to us


@dataclass(frozen=True)
class Refusal:
    """An HTTP status instead of a conversation."""

    status: HTTPStatus


@dataclass(frozen=True)
class Request:
    """The parts of an HTTP request that decide."""

    path: str
    hosts: Sequence[str]
    origins: Sequence[str]
    authorizations: Sequence[str]
    subprotocols: Sequence[str]

    @property
    def malformed(self) -> bool:
        """A header that decides is there twice, or no Host."""
        return len(self.hosts) != 1 or len(self.origins) > 1 or len(self.authorizations) > 1


@dataclass(frozen=True)
class Doorkeeper:
    """The rules of one moment: settings may change, a new doorkeeper is then made."""

    allowed: Mapping[str, frozenset[Right]]  # exact origin → rights
    token: str  # of native clients
    disabled: bool = False
    asks: bool = False  # an origin of no list may wait for the person's answer
    turned_away: frozenset[str] = frozenset()  # the person blocked them, or does not want to be asked now

    def conversation(self, request: Request, port: int) -> Caller | Refusal:
        """Who asks for a WebSocket, or the status to refuse with."""
        refused = self._misdirected(request, port)
        if refused:
            return refused
        if request.path != "/":
            return Refusal(HTTPStatus.NOT_FOUND)
        caller = self._caller(request)
        if caller is None:
            return Refusal(HTTPStatus.FORBIDDEN)
        if SUBPROTOCOL not in request.subprotocols:
            return Refusal(HTTPStatus.BAD_REQUEST)
        return caller

    def discovery(self, request: Request, port: int) -> str | Refusal | None:
        """The origin to name in the CORS header of the discovery answer, None for none, or a refusal."""
        refused = self._misdirected(request, port)
        if refused:
            return refused
        if request.origins and self.rights_of(request.origins[0]) is not None:
            return request.origins[0]
        return None

    def rights_of(self, origin: str) -> frozenset[Right] | None:
        """The rights of an exact origin; None when it is not allowed."""
        return self.allowed.get(origin) if _ORIGIN.fullmatch(origin) else None

    def may_wait(self, origin: str) -> bool:
        """Whether the person may be asked for this origin."""
        return self.asks and origin not in self.turned_away and is_site(origin)

    def _misdirected(self, request: Request, port: int) -> Refusal | None:
        if request.malformed:
            return Refusal(HTTPStatus.BAD_REQUEST)
        if request.hosts[0].lower() not in {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}:
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST)
        if self.disabled:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        return None

    def _caller(self, request: Request) -> Caller | None:
        if request.origins:  # a token beside an Origin is ignored
            origin = request.origins[0]
            rights = self.rights_of(origin)
            if rights is not None:
                return Caller(origin, rights)
            return Caller(origin, frozenset(), pending=True) if self.may_wait(origin) else None
        expected = f"Bearer {self.token}"
        if request.authorizations and hmac.compare_digest(request.authorizations[0].encode(), expected.encode()):
            return Caller(NATIVE, frozenset(Right))
        return None
