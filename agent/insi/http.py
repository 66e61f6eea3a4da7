"""Carry SOAP messages to INSi over HTTPS. ★ urllib3

Only the configured anchors are trusted, host names are checked, no proxy or certificate comes from
the environment, nothing is retried or redirected.
"""

import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from urllib3 import exceptions

from agent.errors import AgentError, Code
from agent.insi.ports import HttpReply
from agent.model import AuthMode
from agent.tls_key import load_key


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


class HttpTeleservice:
    """The endpoints of one environment; one kept connection each. One call at a time: the network lane."""

    def __init__(
        self,
        endpoints: dict[AuthMode, Endpoint],
        *,
        connect_timeout_s: float = 20,
        total_timeout_s: float = 30,
        max_reply_bytes: int = 1 << 20,
        private_folder: Path | None = None,
    ) -> None:
        """`private_folder`: where a key may lie, encrypted, while it is loaded; None: the temporary folder."""
        self._endpoints = endpoints
        self._timeout = urllib3.Timeout(connect=min(connect_timeout_s, total_timeout_s), read=total_timeout_s)
        self._total_timeout_s = total_timeout_s
        self._max_reply_bytes = max_reply_bytes
        self._private_folder = private_folder
        self._open: dict[AuthMode, tuple[_Context, urllib3.HTTPSConnectionPool]] = {}

    def check(self, mode: AuthMode) -> None:
        """As `ports.Teleservice`."""
        if mode not in self._endpoints:
            raise AgentError(Code.INSI_NOT_CONFIGURED, f"no endpoint for {mode}")

    def post(self, mode: AuthMode, action: str, envelope: bytes) -> HttpReply:
        """As `ports.Teleservice`; certificate.unreadable when our own certificate and key do not match."""
        self.check(mode)
        endpoint = self._endpoints[mode]
        url = urllib3.util.parse_url(endpoint.url)
        if mode not in self._open:
            context = _context(endpoint, self._private_folder)
            self._open[mode] = context, urllib3.HTTPSConnectionPool(url.host or "", url.port, ssl_context=context)
        context, pool = self._open[mode]
        started = time.monotonic()
        context.deadline = started + self._total_timeout_s
        headers = {
            "Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"',
            "User-Agent": "insi-agent",
        }
        try:
            response = pool.urlopen(
                "POST",
                url.request_uri,
                body=envelope,
                headers=headers,
                timeout=self._timeout,
                retries=False,  # then urllib3 hands back a redirection too, as it is
                preload_content=False,
            )
        except _FAILURES as error:
            raise _failure(error) from None
        body = _read(response, self._max_reply_bytes)
        response.release_conn()
        return HttpReply(response.status, body, round((time.monotonic() - started) * 1000))

    def close(self) -> None:
        """Close the kept connections."""
        for _, pool in self._open.values():
            pool.close()
        self._open.clear()


class _Socket(ssl.SSLSocket):
    """Waits for the server until the whole call's deadline, not for so long at each byte."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._until_deadline()
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._until_deadline()
        super().sendall(*args, **kwargs)

    def _until_deadline(self) -> None:
        assert isinstance(self.context, _Context)
        self.settimeout(max(self.context.deadline - time.monotonic(), 0.001))  # 0 would mean "do not block"


class _Context(ssl.SSLContext):
    """TLS 1.2 or later, host names checked, and the deadline of the call under way."""

    sslsocket_class = _Socket
    deadline = 0.0  # time.monotonic()


def _context(endpoint: Endpoint, private_folder: Path | None) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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


_FAILURES = (exceptions.HTTPError, OSError)

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

# What urllib3 says before a reply came.
_BEFORE_REPLY: list[tuple[type[Exception], Code]] = [
    (exceptions.NewConnectionError, Code.INSI_UNREACHABLE),  # refused, or a name that is not found
    (exceptions.TimeoutError, Code.INSI_TIMEOUT),
    (exceptions.ProtocolError, Code.INSI_UNREACHABLE),  # closed or reset without a reply
]


def _failure(error: Exception) -> AgentError:
    """Ours for what urllib3 raised before a reply came."""
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is not None:
        return _tls_failure(tls)
    for kind, code in _BEFORE_REPLY:
        if isinstance(error, kind):
            return AgentError(code, type(error).__name__)
    return AgentError(Code.INSI_UNREACHABLE, f"unknown failure {type(error).__name__}")


def _tls_failure(error: ssl.SSLError) -> AgentError:
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return AgentError(Code.INSI_TLS, f"{reason}: {error.verify_message}")
    if reason.upper().replace(" ", "_").rpartition("ALERT_")[2] in _CERTIFICATE_ALERTS:
        return AgentError(Code.INSI_CERTIFICATE_REFUSED, reason)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return AgentError(Code.INSI_UNREACHABLE, reason)
    return AgentError(Code.INSI_TLS, reason)


def _causes(error: BaseException | None) -> list[BaseException]:
    """The error and what it was made from."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return chain
