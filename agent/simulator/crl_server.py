"""Serves revocation lists on the loopback, in plain HTTP as certificates point to them. ★ http.server"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class CrlServer:
    """Open from construction to `stop`; what is not published yet is 404."""

    def __init__(self) -> None:
        self.lists: dict[str, bytes] = {}  # path → DER
        self.asked: list[str] = []  # paths, in order
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.lists, self._server.asked = self.lists, self.asked
        self._thread = threading.Thread(target=self._server.serve_forever, name="simulated-crl")
        self._thread.start()

    def url(self, name: str) -> str:
        """Where the list of this name is, or will be."""
        return f"http://127.0.0.1:{self._server.server_port}/{name}.crl"

    def publish(self, name: str, crl: bytes) -> None:
        self.lists[f"/{name}.crl"] = crl

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    lists: dict[str, bytes]
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = self.server.lists.get(self.path)
        if found is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/pkix-crl")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_: Any) -> None:
        """http.server prints each request: not here."""
