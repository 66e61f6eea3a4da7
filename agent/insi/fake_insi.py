"""The simulated INSi on the loopback: two HTTPS doors, as in reality, in front of fake_service.py. ★ http.server, ssl

The door for CPx shows a server certificate; the door for organisations also wants a client certificate.
"""

import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.insi.fake_service import UNAVAILABLE, FakeService, Style
from agent.model import AuthMode
from agent.tls_key import load_key

_MAX_REQUEST = 1 << 20
_SOAP_TYPE = "application/soap+xml; charset=utf-8"
_DOWN = b"<html><body><h1>503 Service Unavailable</h1></body></html>"


class Misbehaviour(StrEnum):
    """What a real service does on a bad day."""

    SLOW = "slow"  # says nothing until the client leaves
    DRIP = "drip"  # sends its reply so slowly that it never ends
    UNAVAILABLE = "unavailable"  # fault siram_40 of the gateway
    HTML_503 = "html503"  # the page of some equipment in between
    TRUNCATED = "truncated"  # the reply is cut short
    RESET = "reset"  # the connection is torn down without a reply
    REDIRECT = "redirect"  # sends the client, with its message, to the same address once more


@dataclass(frozen=True)
class Request:
    """A message that came, for tests."""

    mode: AuthMode
    content_type: str
    body: bytes = field(repr=False)


class SimulatedInsi:
    """A service with its own state. `start()` before use, `stop()` after."""

    def __init__(
        self,
        server_certificate_pem: bytes,
        server_key_pem: bytes,
        ca_pem: bytes,
        *,
        authorisations: Collection[str] = ("SIMULATEUR-0001",),
        style: Style | None = None,
        latency_s: float = 0,
        record: bool = False,
    ) -> None:
        """`ca_pem` issues the cards and the organisations that are let in."""
        self.service = FakeService(
            authorisations=authorisations, ca=x509.load_pem_x509_certificates(ca_pem), style=style
        )
        self.latency_s = latency_s
        self.requests: list[Request] = []  # filled with `record` only, in memory only
        self.received = 0  # messages that came
        self._record = record
        self._material = server_certificate_pem, server_key_pem, ca_pem
        self._next: deque[Misbehaviour] = deque()
        self._always: Misbehaviour | None = None
        self._doors: dict[AuthMode, _Door] = {}
        self._busy = threading.Lock()  # one message at a time in the service
        self._stopping = threading.Event()

    def start(self) -> None:
        """Open both doors on free ports of 127.0.0.1."""
        self._stopping.clear()
        for mode in AuthMode:
            self._doors[mode] = _Door(self, mode, self._context(mode))

    def stop(self) -> None:
        """Close both doors; returns when their threads have ended."""
        self._stopping.set()
        for door in self._doors.values():
            door.stop()
        self._doors.clear()

    def url(self, mode: AuthMode) -> str:
        return f"https://127.0.0.1:{self._doors[mode].server_port}/lps"

    def misbehave(self, *what: Misbehaviour) -> None:
        """Do these to the next requests, one each."""
        self._next.extend(what)

    def always(self, what: Misbehaviour | None) -> None:
        """Do this to every request; None: behave."""
        self._always = what

    def handle(self, request: Request, client_name: str | None) -> tuple[int, str, bytes, Misbehaviour | None]:
        """Status, content type and body for a request, and how the door must spoil them."""
        with self._busy:
            self.received += 1
            if self._record:
                self.requests.append(request)
            spoil = self._next.popleft() if self._next else self._always
            if spoil is Misbehaviour.HTML_503:
                return 503, "text/html", _DOWN, spoil
            if spoil is Misbehaviour.REDIRECT:
                return 307, "text/html", b"", spoil  # 307: the same method and body (RFC 9110 §15.4.8)
            if spoil is Misbehaviour.UNAVAILABLE:
                return (*_typed(self.service.fault(UNAVAILABLE)), spoil)
            answer = self.service.answer(
                request.body, mode=request.mode, client_name=client_name, now=datetime.now(UTC)
            )
            return (*_typed(answer), spoil)

    def wait(self, seconds: float | None) -> None:
        """Wait as long, or until `stop`."""
        self._stopping.wait(seconds)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def _context(self, mode: AuthMode) -> ssl.SSLContext:
        certificate, key, ca = self._material
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_key(context, certificate, load_pem_private_key(key, None))
        if mode is AuthMode.ORGANISATION:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=ca.decode("ascii"))
        return context


def _typed(answer: tuple[int, bytes]) -> tuple[int, str, bytes]:
    return answer[0], _SOAP_TYPE, answer[1]


class _Door(ThreadingHTTPServer):
    """One listener; each connection has its thread, and all are ended by `stop`."""

    daemon_threads = False  # so that server_close waits for them

    def __init__(self, insi: SimulatedInsi, mode: AuthMode, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.insi, self.mode, self.context = insi, mode, context
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, name=f"simulated-insi-{mode}")
        self._thread.start()

    def stop(self) -> None:
        """After `insi.stopping`."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_port)).close()  # wakes the thread that waits for a call
        self._thread.join()
        for connection in list(self._connections):
            _shut(connection)
        self.server_close()

    def _serve(self) -> None:
        """As serve_forever, without its wake-ups at idle."""
        while not self.insi.stopping:
            self.handle_request()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The handshake belongs to the connection's own thread, so that no client holds up the others."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        self._connections.add(secured)
        try:
            if not self.insi.stopping:
                secured.do_handshake()
                super().process_request_thread(secured, client_address)
        except OSError:  # refused by TLS, or gone
            _drain(secured)
        finally:
            self._connections.discard(secured)
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news; anything else is a bug of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


# The three below speak to the plain socket under TLS.


def _shut(connection: socket.socket) -> None:
    """End a connection from another thread than its own."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _drain(connection: socket.socket) -> None:
    """Let the TLS alert arrive: closing with unread data would tear the connection down before it."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        connection.settimeout(1)
        while socket.socket.recv(connection, 4096):
            pass


def _reset(connection: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close(connection.detach())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Door

    def do_POST(self) -> None:
        insi, length_text = self.server.insi, self.headers.get("Content-Length", "")
        length = int(length_text) if length_text.isdecimal() else 0
        if self.path != "/lps" or not 0 < length <= _MAX_REQUEST:
            self.send_error(404 if self.path != "/lps" else 413)
            return
        message = self.rfile.read(length)
        request = Request(self.server.mode, self.headers.get("Content-Type", ""), message)
        status, content_type, body, spoil = insi.handle(request, self._client_name())
        if insi.latency_s:
            insi.wait(insi.latency_s)
        if spoil is Misbehaviour.SLOW:
            self._until_gone()
        elif spoil is Misbehaviour.RESET:
            _reset(self.connection)
        else:
            self._reply(status, content_type, body, spoil)
        if spoil in (Misbehaviour.SLOW, Misbehaviour.DRIP, Misbehaviour.RESET, Misbehaviour.TRUNCATED):
            self.close_connection = True

    def _reply(self, status: int, content_type: str, body: bytes, spoil: Misbehaviour | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if spoil is Misbehaviour.REDIRECT:
            self.send_header("Location", self.path)
        self.end_headers()
        if spoil is Misbehaviour.TRUNCATED:
            body = body[: len(body) // 2]
        if spoil is Misbehaviour.DRIP:
            for byte in body:
                if self.server.insi.stopping:
                    return
                self.wfile.write(bytes([byte]))
                self.server.insi.wait(0.05)
            return
        self.wfile.write(body)

    def _until_gone(self) -> None:
        """Say nothing until the client closes, or we stop."""
        self.connection.recv(1)

    def _client_name(self) -> str | None:
        """The CN of the certificate that TLS checked."""
        certificate = self.connection.getpeercert() or {}
        names = dict(pair for group in certificate.get("subject", ()) for pair in group)
        return names.get("commonName")

    def log_message(self, *_: Any) -> None:
        """http.server prints each request: not here."""
