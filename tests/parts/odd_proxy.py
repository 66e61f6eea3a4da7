"""A proxy that does what a real one hardly can be made to do: answers at will, hangs, or stands in INSi's place."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Behaviour = Callable[["OddProxy", socket.socket], None]


class OddProxy:
    """One that runs: what it was asked, and what came to it after that."""

    def __init__(self, listener: socket.socket) -> None:
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.heads: list[bytes] = []  # each CONNECT
        self.heard: list[bytes] = []  # what was said to whom it pretends to be, decrypted
        self.leaving = threading.Event()


def answers(head: bytes) -> Behaviour:
    """Says this, and no more."""
    return lambda _proxy, connection: connection.sendall(head)


def hangs(proxy: OddProxy, _connection: socket.socket) -> None:
    proxy.leaving.wait(60)


def closes(_proxy: OddProxy, _connection: socket.socket) -> None:
    """Without a word."""


def intercepts(certificate: ssl.SSLContext) -> Behaviour:
    """Opens the tunnel to itself, as equipment that looks into TLS does."""

    def behave(proxy: OddProxy, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with suppress(OSError), certificate.wrap_socket(connection, server_side=True) as inside:
            proxy.heard.append(inside.recv(1 << 16))

    return behave


@contextmanager
def odd_proxy(behaviour: Behaviour) -> Iterator[OddProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = OddProxy(listener)
        open_ones: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head and (part := connection.recv(4096)):
                    head += part
                proxy.heads.append(head)
                behaviour(proxy, connection)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    open_ones.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                    open_ones[-1].start()

        accepting = threading.Thread(target=accept, name="odd-proxy")
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.leaving.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in open_ones:
                thread.join()
