"""Carry SOAP messages to INSi over HTTPS. ★ urllib3

Only the configured anchors are trusted, the server's name is always checked, no proxy, anchor or key log comes from
the environment, nothing is retried or redirected. Revocation is looked at before the first byte of a message.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, TypeVar

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from urllib3 import exceptions

from agent.errors import AgentError, Code
from agent.insi.ports import HttpReply, Sender
from agent.insi.proxy import Route, ask_tunnel
from agent.insi.quoting import quoted
from agent.insi.revocation import MALFORMED, Revocation, Status
from agent.lane import run_alone
from agent.tls_key import load_key

log = logging.getLogger(__name__)
T = TypeVar("T")

_MAX_LIST_BYTES = 20 << 20  # of one revocation list
_WE = "insi-agent"  # without a version: it is nobody's business on the way


@dataclass(frozen=True)
class ClientMaterial:
    """The organisation's certificate, its issuers after it, and its key."""

    chain_pem: bytes = field(repr=False)
    key: PrivateKeyTypes = field(repr=False)


@dataclass(frozen=True)
class Endpoint:
    """Where one authentication mode is served, whom we believe there, and who we are."""

    url: str  # https
    anchors_pem: bytes = field(repr=False)
    client: ClientMaterial | None = None
    names: Literal["san", "sanOrCn"] = "san"  # where its certificate may name the server


@dataclass(frozen=True)
class Limits:
    """How long a call may take and a session live, how much may come back, what is asked of revocation."""

    connect_s: float = 20  # TCP, proxy and TLS, on each route
    total_s: float = 30
    max_reply_bytes: int = 1 << 20
    revocation: Literal["off", "soft", "hard"] = "off"
    revocation_s: float = 5  # for all the lists of one certificate
    kept_idle_s: float = 120  # a firewall forgets a silent connection without telling: a message would wait in vain
    kept_s: float = 3600  # then the server shows itself anew, and its revocation is looked at again


def _direct(_url: str) -> Sequence[Route]:
    return [Route(None)]


class HttpTeleservice:
    """The endpoints of one environment; one kept TLS session for each sender. One call at a time: the network lane."""

    def __init__(
        self,
        endpoint: Callable[[Sender], Endpoint],
        *,
        limits: Limits | None = None,
        routes: Callable[[str], Sequence[Route]] = _direct,
        private_folder: Path | None = None,
    ) -> None:
        """`endpoint` is asked when a session is opened; `routes`, in order, until one leads somewhere. Both may block.

        `private_folder`: where a key may lie, encrypted, while it is loaded; None: the temporary folder.
        """
        self._endpoint, self._routes, self._private_folder = endpoint, routes, private_folder
        self._limits = limits or Limits()
        self._revocation = Revocation()
        self._kept: dict[Sender, _Session] = {}

    def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
        """As `ports.Teleservice`; certificate.unreadable when our own certificate and key do not match."""
        started = time.monotonic()
        until = started + self._limits.total_s
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"', "User-Agent": _WE}
        unreached = AgentError(Code.INSI_UNREACHABLE, "no route")
        for session in self._sessions(sender, until):
            try:
                status, content_type, body = session.ask(headers, envelope, self._limits, until=until)
            except AgentError as error:
                session.close()
                if not session.way.led_nowhere(error):
                    raise
                unreached = error
            else:
                self._kept[sender] = session
                took_ms = round((time.monotonic() - started) * 1000)
                return HttpReply(status, body, took_ms, session.context.warnings, content_type)
        raise unreached

    def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            self._kept.popitem()[1].close()

    def _sessions(self, sender: Sender, until: float) -> Iterator["_Session"]:
        """The kept one, no longer kept until it has answered; then a new one for each route."""
        now = time.monotonic()
        for old in [one for one, session in self._kept.items() if not session.is_good(now, self._limits)]:
            self._kept.pop(old).close()  # also of a certificate that is no longer used
        if kept := self._kept.pop(sender, None):
            yield kept
        endpoint, routes, context = _in_time(partial(self._prepared, sender), until)
        for route in routes:
            yield _Session(endpoint.url, route, context)

    def _prepared(self, sender: Sender) -> tuple[Endpoint, Sequence[Route], "_Context"]:
        endpoint = self._endpoint(sender)
        routes = self._routes(endpoint.url)
        context = _context(endpoint, self._private_folder)
        context.judge = None if self._limits.revocation == "off" else self._judge
        return endpoint, routes, context

    def _judge(self, chain: Sequence[bytes], until: float) -> Sequence[str]:
        """Warnings about a server that showed this verified chain. Raises insi.revoked."""
        until = min(until, time.monotonic() + self._limits.revocation_s)
        status = self._revocation.status(chain, partial(self._list, until=until), datetime.now(UTC))
        if status is Status.REVOKED or (status is Status.UNKNOWN and self._limits.revocation == "hard"):
            raise AgentError(Code.INSI_REVOKED, status, state=status.value)
        return () if status is Status.GOOD else ("revocation.unchecked",)

    def _list(self, url: str, *, until: float) -> bytes | None:
        """A revocation list; None when it could not be had by then."""
        try:
            return _fetch(url, _in_time(partial(self._routes, url), until), until)
        except AgentError as error:
            log.warning("revocation list %r: %s", url, error)
            return None


class _Session:
    """One connection, kept: on one route, as one sender."""

    def __init__(self, url: str, route: Route, context: "_Context") -> None:
        self.context, self.way = context, _Way(route)
        try:
            target = urllib3.util.parse_url(url)
            self._pool = _Pool(target.host or "", target.port, ssl_context=context, way=self.way)
        except exceptions.LocationValueError:
            raise AgentError(Code.INSI_NOT_CONFIGURED, "the address is none") from None
        self._path = target.request_uri
        self._opened = self._used = time.monotonic()

    def is_good(self, now: float, limits: Limits) -> bool:
        return now - self._used < limits.kept_idle_s and now - self._opened < limits.kept_s

    def ask(self, headers: dict[str, str], body: bytes, limits: Limits, *, until: float) -> tuple[int, str, bytes]:
        """Status, content type and body. A connection that is found closed before anything is sent is opened again."""
        self.context.until = until
        self.way.until = min(until, time.monotonic() + limits.connect_s)
        self.context.connected_until = self.way.until
        try:
            response = self._pool.urlopen(
                "POST",
                self._path,
                body=body,
                headers=headers,
                timeout=limits.total_s,  # see _Socket for the deadline
                retries=False,  # then urllib3 hands back a redirection too, as it is
                preload_content=False,
            )
        except _FAILURES as error:
            raise _failure(error) from None
        answer = _read(response, limits.max_reply_bytes)
        response.release_conn()
        self._used = time.monotonic()
        return response.status, response.headers.get("Content-Type", ""), answer

    def close(self) -> None:
        self._pool.close()


def _fetch(url: str, routes: Sequence[Route], until: float) -> bytes:
    """What is at an http address, by the first of these routes that leads somewhere."""
    unreached = AgentError(Code.INSI_UNREACHABLE, "no route")
    for way in (_Way(route, until) for route in routes):
        try:
            return _get(url, way)
        except AgentError as error:
            if not way.led_nowhere(error):
                raise
            unreached = error
    raise unreached


def _get(url: str, way: "_Way") -> bytes:
    headers = {"User-Agent": _WE}
    if way.route.authorization:
        headers["Proxy-Authorization"] = way.route.authorization
    try:
        target = urllib3.util.parse_url(url)
        connection = _Connection(target.host or "", target.port, way=way)
        with closing(connection):
            # A proxy is told the whole address: RFC 9112 section 3.2.2.
            path = url if way.route.address else target.request_uri
            connection.request("GET", path, headers=headers, preload_content=False)
            response = connection.getresponse()
            if response.status == 200:
                return _read(response, _MAX_LIST_BYTES)
    except (*_FAILURES, ValueError) as error:  # the address is the certificate's
        raise _failure(error) from None
    raise AgentError(Code.INSI_HTTP, f"HTTP {response.status}")


@dataclass
class _Way:
    """How a connection gets there, and until when."""

    route: Route
    until: float = 0.0  # time.monotonic()
    nobody_there: bool = False  # when it was gone last

    def led_nowhere(self, error: AgentError) -> bool:
        """Whether nothing of a message was sent: then, as browsers do, the next route is tried."""
        return self.nobody_there or error.code is Code.PROXY_UNREACHABLE


class _Connection(urllib3.connection.HTTPConnection):
    """Goes its way: to the server, or to the proxy in front of it."""

    def __init__(self, *args: Any, way: _Way, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.way = way

    def _new_conn(self) -> socket.socket:
        address, host, port = self.way.route.address, self.host, self.port
        if address is not None:
            proxy = urllib3.util.parse_url(address)
            host, port = proxy.host or "", proxy.port or 80
        self.way.nobody_there = True
        try:
            plain = _connected(host, port, self.way.until)
        except AgentError as error:
            if address is None:
                raise
            raise AgentError(Code.PROXY_UNREACHABLE, error.detail) from None
        self.way.nobody_there = False
        return plain


class _SecureConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same, through a tunnel where there is a proxy; then TLS."""

    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        if self.way.route.address is not None:
            try:
                ask_tunnel(plain, self.host, self.port, self.way.route.authorization)
            except AgentError:
                plain.close()
                raise
        return plain


class _Pool(urllib3.HTTPSConnectionPool):
    """One connection; urllib3 opens it again when it finds it closed before it sends."""

    ConnectionCls = _SecureConnection


def _connected(host: str, port: int, until: float) -> "_Plain":
    """Raises insi.timeout, insi.unreachable."""
    failure = OSError("no address")
    try:
        addresses = _in_time(partial(socket.getaddrinfo, host.strip("[]"), port, type=socket.SOCK_STREAM), until)
    except (OSError, UnicodeError) as error:  # a name that is not found, or is none
        raise AgentError(Code.INSI_UNREACHABLE, type(error).__name__) from None
    for tried, (family, kind, number, _, address) in enumerate(addresses):
        plain = _Plain(family, kind, number)
        plain.until = until
        try:
            plain.settimeout(_left_s(until) / (len(addresses) - tried))  # one that hangs leaves time to the others
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect(address)
        except OSError as error:
            plain.close()
            failure = error
        else:
            return plain
    code = Code.INSI_TIMEOUT if isinstance(failure, TimeoutError) else Code.INSI_UNREACHABLE
    raise AgentError(code, f"{type(failure).__name__} {failure.errno}")


class _Plain(socket.socket):
    """Waits until the connection's deadline, not for so long at each byte: a proxy's answer, a revocation list."""

    until = 0.0  # time.monotonic()

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s(self.until))
        return super().recv_into(*args, **kwargs)


class _Socket(ssl.SSLSocket):
    """As `_Plain`, for the call's deadline; and the server's revocation is looked at before anything is sent."""

    def do_handshake(self, block: bool = False) -> None:
        ours = self._ours()
        self.settimeout(_left_s(ours.connected_until))
        try:
            super().do_handshake(block)
            ours.warnings = tuple(ours.judge(self._chain("verified"), ours.until)) if ours.judge else ()
        except ssl.SSLCertVerificationError as error:
            shown = self._chain("unverified")
            self.close()
            raise _not_believed(error, shown) from None
        except AgentError:
            self.close()
            raise

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s(self._ours().until))
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s(self._ours().until))
        return super().send(*args, **kwargs)

    def _ours(self) -> "_Context":
        assert isinstance(self.context, _Context)
        return self.context

    def _chain(self, which: Literal["verified", "unverified"]) -> list[bytes]:
        """What the server showed, in DER. Python has methods for it since 3.10, public ones since 3.13."""
        tls = vars(self)["_sslobj"]
        return [link.public_bytes(_DER) for link in getattr(tls, f"get_{which}_chain")() or ()]


class _Context(ssl.SSLContext):
    """TLS 1.2 or later, host names checked; the deadlines of the call under way."""

    sslsocket_class = _Socket
    until = connected_until = 0.0  # time.monotonic()
    judge: Callable[[Sequence[bytes], float], Sequence[str]] | None = None  # of a server's verified chain
    warnings: tuple[str, ...] = ()  # what it said of the server to which we are connected


def _context(endpoint: Endpoint, private_folder: Path | None) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL's rule, and RFC 6125's: the CN counts only where the certificate names no host in its subjectAltName.
    context.hostname_checks_common_name = endpoint.names == "sanOrCn"
    try:
        context.load_verify_locations(cadata=endpoint.anchors_pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise AgentError(Code.INSI_NOT_CONFIGURED, "the anchors are not PEM certificates") from None
    if endpoint.client:
        try:
            load_key(context, endpoint.client.chain_pem, endpoint.client.key, private_folder)
        except (ssl.SSLError, OSError) as error:
            raise AgentError(Code.CERTIFICATE_UNREADABLE, f"client certificate: {type(error).__name__}") from None
    return context


def _in_time(call: Callable[[], T], until: float) -> T:
    """On a thread of its own: a name server, a script, another program's lock know no deadline of ours.

    Raises insi.timeout; what hangs is left behind.
    """
    try:
        return run_alone("connect", call, timeout_s=_left_s(until))
    except TimeoutError:
        raise AgentError(Code.INSI_TIMEOUT, "no time left to connect") from None
    except AgentError as error:
        if error.code is not Code.DEVICE_TIMEOUT:
            raise
        raise AgentError(Code.INSI_TIMEOUT, "nothing to connect with in time") from None


def _left_s(until: float) -> float:
    """For a wait, or for something to send. Raises TimeoutError: once it is too late nothing is sent any more."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    """The whole body. The connection is not kept when it is cut short or too large."""
    body = b""
    try:
        while chunk := response.read(max_bytes + 1 - len(body), decode_content=False):
            body += chunk
    except _FAILURES as error:
        response.close()
        code = Code.INSI_TIMEOUT if isinstance(error, exceptions.TimeoutError) else Code.INSI_UNREADABLE
        raise AgentError(code, f"reply cut: {type(error).__name__}") from None
    if len(body) > max_bytes:
        response.close()
        raise AgentError(Code.INSI_UNREADABLE, f"more than {max_bytes} bytes")
    return body


_FAILURES = (exceptions.HTTPError, HTTPException, OSError)

# TLS alerts of a server that does not want our certificate, as OpenSSL spells the end of their names.
_CERTIFICATE_ALERTS = {
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_REQUIRED",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
}


def _failure(error: Exception) -> AgentError:
    """Ours for what urllib3 raised once connected, before a reply came."""
    causes = _causes(error)
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return _tls_failure(tls)
    late = any(isinstance(cause, exceptions.TimeoutError | TimeoutError) for cause in causes)
    return AgentError(
        Code.INSI_TIMEOUT if late else Code.INSI_UNREACHABLE, type(error).__name__
    )  # closed or reset without a reply, or a reply that is no HTTP


def _tls_failure(error: ssl.SSLError) -> AgentError:
    reason = error.reason or type(error).__name__
    if reason.upper().replace(" ", "_").rpartition("ALERT_")[2] in _CERTIFICATE_ALERTS:
        return AgentError(Code.INSI_CERTIFICATE_REFUSED, reason)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return AgentError(Code.INSI_UNREACHABLE, reason)
    return AgentError(Code.INSI_TLS, reason)


_DER = 2  # _ssl.ENCODING_DER

# What OpenSSL says of a chain that leads to none of our anchors (openssl/x509_vfy.h). Not among them: 2, an anchor of
# ours whose own issuer is missing.
_ISSUED_ELSEWHERE = {
    7,  # signature that is not by the anchor of this name
    18,  # signed by itself
    19,  # root unknown
    20,  # issuer unknown
}


def _not_believed(error: ssl.SSLCertVerificationError, shown: Sequence[bytes]) -> AgentError:
    if error.verify_code in _ISSUED_ELSEWHERE:
        return AgentError(Code.INSI_INTERCEPTED, error.verify_message, **_issuer(shown))
    return AgentError(Code.INSI_TLS, f"{error.reason}: {error.verify_message}")


def _issuer(shown: Sequence[bytes]) -> dict[str, str]:
    """Who says that this is INSi: the fact that tells an administrator which equipment is in between."""
    try:
        name = x509.load_der_x509_certificate(shown[0]).issuer
        said = [
            str(one.value)
            for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
            for one in name.get_attributes_for_oid(oid)
        ]
    except (IndexError, *MALFORMED):
        return {}
    return {"issuer": quoted(", ".join(dict.fromkeys(said)), 100)} if said else {}


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what it was made from."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return chain
