"""The simulated INSi on the loopback: two HTTPS doors, as in reality, in front of fake_service.py. ★ http.server, ssl

The door for CPx shows a server certificate; the door for organisations also wants a client certificate.
A request may ask for another style, for itself alone, by the words of fake_style.py in the header `X-INSi-Simulator`.
"""

import re
import secrets
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.insi.fake_answers import UNAVAILABLE
from agent.insi.fake_batch import USUAL_BATCHES, BatchRules
from agent.insi.fake_service import FakeService
from agent.insi.fake_style import Misbehaviour, Style, WordError, restyled
from agent.model import AuthMode
from agent.tls_key import load_key

HEADER = "X-INSi-Simulator"  # of a request: its style; of a reply: what the service had to remark
_MAX_REQUEST = 1 << 20
_SOAP_TYPE, _PLAIN_TYPE = "application/soap+xml; charset=utf-8", "text/plain; charset=utf-8"
_DOWN = b"<html><body><h1>503 Service Unavailable</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """A message that came."""

    mode: AuthMode
    content_type: str
    body: bytes = field(repr=False)
    words: str = ""  # of the header


@dataclass(frozen=True)
class Reply:
    """What goes back, and how the door must spoil it."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    style: Style
    remarks: str = ""


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
        assertion_max_age: timedelta = timedelta(hours=1),
        batches: BatchRules | None = USUAL_BATCHES,
        tls: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        ports: Mapping[AuthMode, int] | None = None,
        host: str = "127.0.0.1",
        record: bool = False,
    ) -> None:
        """`ca_pem` issues the cards and the organisations that are let in.

        `batches`: None for no placeholder contract. `tls`: the oldest and the newest version spoken. `ports`: 0 or
        none for any. `host`: how `url` names this machine, as the server's certificate does.
        """
        self.service = FakeService(
            authorisations=authorisations,
            ca=x509.load_pem_x509_certificates(ca_pem),
            style=style,
            assertion_max_age=assertion_max_age,
            batches=batches,
        )
        self.requests: list[Request] = []  # filled with `record` only, in memory only
        self.received = 0  # messages that came
        self._record = record
        self._material = server_certificate_pem, server_key_pem, ca_pem
        self._tls, self._ports, self._host = tls, ports or {}, host
        self._next: deque[Misbehaviour] = deque()
        self._doors: dict[AuthMode, _Door] = {}
        self._busy = threading.Lock()  # one message at a time in the service
        self._stopping = threading.Event()

    def start(self) -> None:
        """Open both doors on 127.0.0.1. Raises OSError or OverflowError when one cannot be; none is open then."""
        self._stopping.clear()
        try:
            for mode in AuthMode:
                self._doors[mode] = _Door(self, mode, self._context(mode), self._ports.get(mode, 0))
        except (OSError, OverflowError):  # the second: a port that is none
            self.stop()
            raise

    def stop(self) -> None:
        """Close both doors; returns when their threads have ended."""
        self._stopping.set()
        for door in self._doors.values():
            door.stop()
        self._doors.clear()

    def url(self, mode: AuthMode) -> str:
        return f"https://{self._host}:{self._doors[mode].server_port}/lps"

    def misbehave(self, *what: Misbehaviour) -> None:
        """Do these to the next requests, one each."""
        self._next.extend(what)

    def always(self, what: Misbehaviour | None) -> None:
        """Do this to every request; None: behave."""
        self.service.style = replace(self.service.style, misbehave=what)

    def handle(self, request: Request, client_name: str | None) -> Reply:
        """What to reply to a request."""
        with self._busy:
            self.received += 1
            if self._record:
                self.requests.append(request)
            style = self.service.style
            if self._next:
                style = replace(style, misbehave=self._next.popleft())
            try:
                style = restyled(style, request.words)
            except WordError as error:
                return Reply(400, _PLAIN_TYPE, f"{HEADER}:\n{error}\n".encode(), Style())
            content_type = Message()
            content_type["Content-Type"] = request.content_type
            if content_type.get_content_type() != "application/soap+xml":
                return Reply(415, _PLAIN_TYPE, b"SOAP 1.2: application/soap+xml\n", Style())
            match style.misbehave:
                case Misbehaviour.HTML_503:
                    return Reply(503, "text/html", _DOWN, style)
                case Misbehaviour.REDIRECT:
                    return Reply(307, "text/html", b"", style)  # the same method and body (RFC 9110 §15.4.8)
                case Misbehaviour.UNAVAILABLE:
                    return Reply(*_typed(self.service.fault(UNAVAILABLE, style=style)), style)
            answer = self.service.answer(
                request.body,
                mode=request.mode,
                client_name=client_name,
                now=datetime.now(UTC),
                action=str(content_type.get_param("action") or ""),
                style=style,
            )
            return Reply(*_typed(answer), style, ", ".join(self.service.remarks))

    def wait(self, seconds: float | None) -> None:
        """Wait as long, or until `stop`."""
        self._stopping.wait(seconds)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def _context(self, mode: AuthMode) -> ssl.SSLContext:
        certificate, key, ca = self._material
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self._tls
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

    def __init__(self, insi: SimulatedInsi, mode: AuthMode, context: ssl.SSLContext, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
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


def _chunk_size(line: bytes) -> int | None:
    """RFC 9112 §7.1; None for what is no size."""
    digits = line.partition(b";")[0].strip()
    return int(digits, 16) if re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits) else None


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
    server_version, sys_version = "INSi-simulateur", ""
    server: _Door

    def do_POST(self) -> None:
        insi = self.server.insi
        if self.path != "/lps":
            self.send_error(404)
            return
        message = self._message()
        if not message:
            self.send_error(413)
            return
        request = Request(
            self.server.mode,
            self.headers.get("Content-Type", ""),
            message,
            self.headers.get(HEADER, ""),
        )
        reply = insi.handle(request, self._client_name())
        fastest, slowest = reply.style.latency_ms
        if slowest:
            insi.wait((fastest + secrets.randbelow(slowest - fastest + 1)) / 1000)
        spoil = reply.style.misbehave
        if spoil is Misbehaviour.SLOW:
            self._until_gone()
        elif spoil is Misbehaviour.RESET:
            _reset(self.connection)
        else:
            self._reply(reply)
        if spoil in (Misbehaviour.SLOW, Misbehaviour.DRIP, Misbehaviour.RESET, Misbehaviour.TRUNCATED):
            self.close_connection = True

    def _message(self) -> bytes | None:
        """What the client sends, whole or in chunks; None for one that is too long or has no length."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        said = self.headers.get("Content-Length", "")
        length = int(said) if said.isdecimal() else 0
        return self.rfile.read(length) if length <= _MAX_REQUEST else None

    def _chunks(self) -> bytes | None:
        body = b""
        while (size := _chunk_size(self.rfile.readline(100))) != 0:
            if size is None or len(body) + size > _MAX_REQUEST:
                return None
            body += self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(1000).strip():
            """Trailers are of no interest."""
        return body

    def _reply(self, reply: Reply) -> None:
        body, spoil = reply.body, reply.style.misbehave
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        if reply.remarks:
            self.send_header(HEADER, reply.remarks)
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
