"""The demonstration's own page server, on loopback, for as long as the demo runs. ★ (http.server)

It serves the reception page of web-demo/ and nothing else. The agent's door never serves a page.
"""

import json
import threading
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self' ws://127.0.0.1:* http://127.0.0.1:*; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page_folder() -> Path:
    """Where the page's files are: in the installed package, else beside it in a checkout."""
    inside = Path(__file__).parent / "web_demo"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "web-demo"


class PageServer:
    """Serves the reception page. Its origin is known at once, its files are served from `start` on."""

    def __init__(self) -> None:
        self._files = {
            f"/{file.relative_to(page_folder()).as_posix()}": (file.read_bytes(), _TYPES[file.suffix])
            for file in page_folder().rglob("*")
            if file.suffix in _TYPES
        }
        self._files["/"] = self._files["/index.html"]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self._files))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-page", daemon=True)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self, *, agent_ports: Sequence[int]) -> None:
        """Serve; the page reads in /config.json on which ports to look for the agent."""
        self._files["/config.json"] = (json.dumps({"ports": list(agent_ports)}).encode(), _TYPES[".json"])
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "insi-agent-demo", ""
    timeout = 30

    def __init__(self, files: dict[str, tuple[bytes, str]], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]  # request, address and server, as http.server gives them

    def do_GET(self) -> None:
        port = self.server.server_address[1]  # type: ignore[index]  # always an IPv4 pair here
        found = self._files.get(self.path.partition("?")[0])
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"", "text/plain")
        elif found is None:
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")
        else:
            self._answer(HTTPStatus.OK, *found)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": content_type, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the page's requests say nothing of interest."""
