"""Web sites of the test's own: real pages over https, under invented names, from an authority that nobody else trusts.

The names lead nowhere: a browser is told that they are this machine. Beside https the same pages are served over
http, as a site does that has forgotten its certificate.
"""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.demo import page_folder
from agent.simulator.pki import issue_server, make_ca

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
_Pages = dict[str, tuple[bytes, Mapping[str, str]]]  # path → body, headers


class Websites:
    """Use as a context manager. Every name serves the same: the reception page, the module, and what `put` adds."""

    def __init__(self, folder: Path, *names: str) -> None:
        self._pages: _Pages = {}
        for file in page_folder().rglob("*"):
            if file.suffix in _TYPES:
                self.put(f"/{file.relative_to(page_folder()).as_posix()}", file.read_text("utf-8"))
        self._pages["/"] = self._pages["/index.html"]
        self.put("/bare.html", "<!doctype html><title>Dossier d'essai</title>")
        ca = make_ca("AUTORITE DES SITES D'ESSAI")
        pair = issue_server(ca, names=names, addresses=())
        self.authority = folder / "sites-ca.pem"
        self.authority.write_bytes(ca.pem)
        (folder / "sites.pem").write_bytes(pair.pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "sites.pem")
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self._pages)) for _ in range(2)]
        self._servers[0].socket = context.wrap_socket(
            self._servers[0].socket, server_side=True, do_handshake_on_connect=False
        )
        self.port, self.plain_port = (server.server_address[1] for server in self._servers)

    def __enter__(self) -> "Websites":
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, name="sites", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def put(self, path: str, body: str, **headers: str) -> None:
        """Serve a page or file at this path; `headers` with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kind = f"{_TYPES[Path(path).suffix]}; charset=utf-8"
        self._pages[path] = body.encode(), {"Content-Type": kind, **named}

    def origin(self, name: str) -> str:
        return f"https://{name}:{self.port}"

    def trust_in(self, database: Path) -> None:
        """Make the browser whose NSS certificates are in this folder trust these sites."""
        if shutil.which("certutil") is None:
            pytest.fail("certutil is not installed (apt-get install libnss3-tools)")
        if not (database / "cert9.db").exists():
            database.mkdir(parents=True, exist_ok=True)
            _certutil(database, "-N", "--empty-password")
        _certutil(database, "-A", "-t", "C,,", "-n", "sites", "-i", str(self.authority))


def _certutil(database: Path, *arguments: str) -> None:
    subprocess.run(["certutil", "-d", f"sql:{database}", *arguments], check=True, capture_output=True, timeout=60)


class _Handler(BaseHTTPRequestHandler):
    timeout = 30

    def __init__(self, pages: _Pages, *arguments: object) -> None:
        self._pages = pages
        super().__init__(*arguments)  # type: ignore[arg-type]  # request, address and server, as http.server gives them

    def do_GET(self) -> None:
        body, headers = self._pages.get(self.path.partition("?")[0], (b"", {}))
        self.send_response(HTTPStatus.OK if headers else HTTPStatus.NOT_FOUND)
        for name, value in {**headers, "Content-Length": str(len(body)), "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing: the pages' requests say nothing of interest."""
