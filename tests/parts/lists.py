"""Where a CA publishes its revocation lists: an http server on the loopback that can also be on a bad day."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANGS = None


class ListHost:
    """What is at each path: a list, a status to answer, HANGS, or a path to send the client to."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.at: dict[str, bytes | HTTPStatus | str | None] = {}
        self.asked: list[str] = []  # paths, in order
        self.when_asked: Callable[[], None] = lambda: None
        self.leaving = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"


@contextmanager
def list_host() -> Iterator[ListHost]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = False  # so that server_close waits for them
    host = _Answers.hosts[server.server_port] = ListHost(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="list-host")
    thread.start()
    try:
        yield host
    finally:
        host.leaving.set()
        server.shutdown()
        server.server_close()
        thread.join()
        del _Answers.hosts[server.server_port]


class _Answers(BaseHTTPRequestHandler):
    hosts: dict[int, ListHost] = {}  # noqa: RUF012  (http.server makes its handlers itself)

    def do_GET(self) -> None:
        host = self.hosts[self.connection.getsockname()[1]]
        host.asked.append(self.path)
        host.when_asked()
        found = host.at.get(self.path, HTTPStatus.NOT_FOUND)
        if found is HANGS:
            host.leaving.wait(60)
            return
        content = found if isinstance(found, bytes) else b""
        status = (
            found if isinstance(found, HTTPStatus) else HTTPStatus.FOUND if isinstance(found, str) else HTTPStatus.OK
        )
        with suppress(ConnectionError):  # who waited for too long is gone
            self.send_response(status)
            if isinstance(found, str):
                self.send_header("Location", found)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Nothing: what was asked is kept."""
