"""A site of the test's own behind any TLS context: it shakes hands, and answers 204 to whoever then asks."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def tls_site(context: ssl.SSLContext) -> Iterator[int]:
    """Its port on 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name="tls-site", daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    timeout = 30

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # a client that does not believe us hangs up

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nothing: refused handshakes are what is tested."""
