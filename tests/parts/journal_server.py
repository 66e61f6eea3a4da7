"""A syslog server on the loopback, over TCP or TLS: RFC 6587 octet counting, whatever it read kept in memory."""

import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.simulator.pki import Issued

# RFC 5424 section 6, with the structured data that we send
MESSAGE = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<at>\S+) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128})"
    rb" (?P<id>[!-~]{1,32})"
    rb' \[entry@32473 seq="(?P<seq>\d+)" kind="(?P<kind>[A-Za-z?]*)" instance="(?P<instance>[\w-]+)"'
    rb' simulated="(?P<simulated>true|false)"\]'
    rb" (?P<message>.+)",
    re.DOTALL,
)
Keep = Callable[[bytes], None]


def messages_in(stream: bytes) -> list[bytes]:
    """The messages of a stream, without one that was cut off. Whatever is no frame is a failure."""
    found, rest = [], stream
    while rest:
        frame = re.match(rb"([1-9]\d*) ", rest)
        assert frame or re.fullmatch(rb"[1-9]\d*", rest), rest[:40]
        if frame is None or len(rest) < frame.end() + int(frame[1]):
            break
        found.append(rest[frame.end() :][: int(frame[1])])
        rest = rest[frame.end() + int(frame[1]) :]
    return found


def read_all(connection: socket.socket, keep: Keep) -> None:
    while came := connection.recv(1 << 16):
        keep(came)


@dataclass
class Receiver:
    """What came, connection by connection."""

    port: int
    streams: list[bytearray] = field(default_factory=list)
    ended: int = 0  # connections that were served to their end

    @property
    def messages(self) -> list[bytes]:
        return [message for stream in list(self.streams) for message in messages_in(bytes(stream))]


@contextmanager
def receiver(
    *,
    shows: Issued | None = None,
    serve: Callable[[socket.socket, Keep], object] = read_all,
    version: ssl.TLSVersion | None = None,
) -> Iterator[Receiver]:
    """`shows`: its certificate; None: TCP. `serve` gets each connection, which is closed after it."""
    listening = socket.create_server(("127.0.0.1", 0))
    here = Receiver(listening.getsockname()[1])
    context = _context(shows, version) if shows else None
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        stream = bytearray()
        here.streams.append(stream)
        with suppress(OSError):
            if context:
                connection = context.wrap_socket(connection, server_side=True)
                connections.append(connection)
            serve(connection, stream.extend)
        connection.close()
        here.ended += 1

    def listen() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=one, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=listen)
    accepting.start()
    try:
        yield here
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(20)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(20)


def _context(shows: Issued, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version:
        context.minimum_version = context.maximum_version = version
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(shows.chain_pem + shows.key_pem)
        context.load_cert_chain(file.name)
    return context
