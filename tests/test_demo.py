"""The demonstration's page server gives its own files, to its own origin, and nothing else."""

import http.client
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.demo import PageServer, page_folder

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def page() -> Iterator[PageServer]:
    server = PageServer()
    server.start(agent_ports=[19847, 19848])
    yield server
    server.stop()


def ask(page: PageServer, path: str, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the path travels as it is."""
    authority = page.origin.removeprefix("http://")
    connection = http.client.HTTPConnection(authority, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        for value in [authority] if host is None else [host] if host else []:
            connection.putheader("Host", value)
        connection.endheaders()
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def test_every_file_of_the_page_is_served_as_it_is_with_its_type(page: PageServer) -> None:
    files = [file for file in page_folder().rglob("*") if file.suffix in TYPES]
    assert {"index.html", "demo.js", "demo.css", "insi-agent.js"} <= {file.name for file in files}
    for file in files:
        status, headers, body = ask(page, f"/{file.relative_to(page_folder()).as_posix()}")

        assert (status, body) == (200, file.read_bytes())
        assert headers["Content-Type"].partition(";")[0] == TYPES[file.suffix]


def test_the_root_is_the_page_and_its_configuration_names_the_agents_ports(page: PageServer) -> None:
    assert ask(page, "/")[2] == ask(page, "/index.html?essai=1")[2]
    assert json.loads(ask(page, "/config.json")[2]) == {"ports": [19847, 19848]}


@pytest.mark.parametrize("path", ["/", "/demo.js", "/absent"])
def test_every_answer_allows_the_page_its_own_scripts_and_the_agent_only(page: PageServer, path: str) -> None:
    headers = ask(page, path)[1]
    policy = {rule.split()[0]: rule.split()[1:] for rule in headers["Content-Security-Policy"].split(";")}

    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == ["'self'"]
    assert policy["connect-src"] == ["'self'", "ws://127.0.0.1:*", "http://127.0.0.1:*"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/absent",
        "/LICENSE",
        "/sdk/",
        "/../pyproject.toml",
        "/sdk/../../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/sdk/..%2f..%2fagent/demo.py",
        "/etc/passwd",
        "/.well-known/insi-agent",
    ],
)
def test_what_is_no_file_of_the_page_is_unknown(page: PageServer, path: str) -> None:
    assert ask(page, path)[::2] == (404, b"")


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_no_path_gives_anything_but_a_file_of_the_page(page: PageServer, path: str) -> None:
    known = {file.read_bytes() for file in page_folder().rglob("*") if file.is_file()}
    status, _, body = ask(page, f"/{path}")

    assert status in (200, 404)
    assert body in known or (body == b"") == (status == 404)


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1", "evil.example:80", "127.0.0.1:1"])
def test_another_host_is_misdirected(page: PageServer, host: str) -> None:
    """A rebound name must not make the page anybody's."""
    assert ask(page, "/", host=host)[::2] == (421, b"")


def test_localhost_is_ourselves(page: PageServer) -> None:
    assert ask(page, "/", host=page.origin.replace("http://127.0.0.1", "localhost"))[0] == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS", "DELETE"])
def test_the_page_is_only_got(page: PageServer, method: str) -> None:
    status, headers, _ = ask(page, "/", method=method)

    assert status == 501
    assert "Access-Control-Allow-Origin" not in headers


def test_a_server_that_never_started_stops_all_the_same() -> None:
    server = PageServer()
    server.stop()

    with pytest.raises(ConnectionRefusedError):
        ask(server, "/")
