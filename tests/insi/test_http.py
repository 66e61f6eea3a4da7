"""The real client against real TLS on the loopback: each failure has its code, and the next call works."""

import socket
import stat
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from agent.errors import AgentError, Code
from agent.insi.fake_insi import Misbehaviour, SimulatedInsi
from agent.insi.faults import may_repeat
from agent.insi.http import ClientMaterial, Endpoint, HttpTeleservice
from agent.insi.operations import TraitsQuery
from agent.model import AuthMode
from agent.simulator.pki import Issued, issue_organisation, issue_server, make_ca
from tests.insi.conftest import World, ask, audited, client

QUERY = TraitsQuery("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", None, ())
ORGANISATION = AuthMode.ORGANISATION


def code_of(network: HttpTeleservice, mode: AuthMode = ORGANISATION) -> str:
    """CodeCR, or our code."""
    try:
        return ask(network, mode, QUERY).code
    except AgentError as error:
        return str(error.code)


@pytest.mark.parametrize(
    ("what", "code", "repeat"),
    [
        (Misbehaviour.SLOW, Code.INSI_TIMEOUT, True),
        (Misbehaviour.DRIP, Code.INSI_TIMEOUT, True),  # each byte in time, the whole never
        (Misbehaviour.UNAVAILABLE, Code.INSI_FAULT_UNAVAILABLE, True),
        (Misbehaviour.HTML_503, Code.INSI_HTTP, True),
        (Misbehaviour.TRUNCATED, Code.INSI_UNREADABLE, False),
        (Misbehaviour.RESET, Code.INSI_UNREACHABLE, True),
        (Misbehaviour.REDIRECT, Code.INSI_HTTP, False),  # not followed: else "00", and one more message
    ],
)
def test_each_misbehaviour_has_its_code_and_the_next_call_works(
    world: World, insi: SimulatedInsi, what: Misbehaviour, code: Code, repeat: bool
) -> None:
    network = client(world, insi, total_timeout_s=1.5)
    assert code_of(network) == "00"
    insi.misbehave(what)

    with pytest.raises(AgentError) as error:
        ask(network, ORGANISATION, QUERY)

    assert error.value.code is code
    assert may_repeat(error.value) is repeat
    assert code_of(network) == "00"
    assert len(insi.requests) == 3  # nothing was retried behind our back
    network.close()


def test_a_service_that_is_always_down_stays_so_until_it_behaves(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    insi.always(Misbehaviour.HTML_503)
    assert [code_of(network), code_of(network)] == ["insi.http", "insi.http"]

    insi.always(None)

    assert code_of(network) == "00"


def test_the_message_travels_as_soap_12_with_its_action(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    reply = network.post(ORGANISATION, "urn:an:action", b"<x/>")

    assert reply.status == 500
    assert insi.requests[0].body == b"<x/>"
    assert insi.requests[0].content_type == 'application/soap+xml; charset=utf-8; action="urn:an:action"'


def test_the_connection_is_kept(network: HttpTeleservice) -> None:
    with audited("socket.connect") as connections:
        assert [code_of(network), code_of(network), code_of(network)] == ["00"] * 3

    assert len(connections) == 1


def test_a_reply_over_the_limit_is_not_read(world: World, insi: SimulatedInsi) -> None:
    network = client(world, insi, max_reply_bytes=100)

    assert code_of(network) == "insi.unreadable"


def test_a_server_of_another_authority_gets_nothing(world: World, insi: SimulatedInsi) -> None:
    assert code_of(client(world, insi, anchors=make_ca().pem)) == "insi.tls"
    assert insi.requests == []


def test_a_server_of_another_name_gets_nothing(world: World) -> None:
    server = issue_server(world.ca, names=["ailleurs.example"], addresses=["127.0.0.2"])
    insi = SimulatedInsi(server.pem, server.key_pem, world.ca.pem, record=True)
    insi.start()

    code = code_of(client(world, insi))

    insi.stop()
    assert code == "insi.tls"
    assert insi.requests == []


def test_an_expired_server_gets_nothing(world: World) -> None:
    server = issue_server(world.ca, not_after=datetime.now(UTC) - timedelta(days=1))
    insi = SimulatedInsi(server.pem, server.key_pem, world.ca.pem, record=True)
    insi.start()

    code = code_of(client(world, insi))

    insi.stop()
    assert code == "insi.tls"
    assert insi.requests == []


def test_the_environment_adds_no_anchor(
    world: World, insi: SimulatedInsi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUESTS_CA_BUNDLE and the like let a workstation's interception in: they are not read."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(world.ca.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))

    assert code_of(client(world, insi, anchors=make_ca().pem)) == "insi.tls"


def test_the_environment_adds_no_proxy(world: World, insi: SimulatedInsi, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            for spelled in (name, name.lower()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{trap.getsockname()[1]}")
        for spelled in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(spelled, "")  # this machine is no exception
        assert urllib.request.getproxies()["https"] == f"http://127.0.0.1:{trap.getsockname()[1]}"
        assert not urllib.request.proxy_bypass("127.0.0.1")

        assert code_of(client(world, insi)) == "00"

        with pytest.raises(BlockingIOError):
            trap.accept()


@pytest.mark.parametrize("kind", ["expired", "stranger"])
def test_a_client_certificate_that_the_server_refuses_is_said(world: World, insi: SimulatedInsi, kind: str) -> None:
    refused = (
        issue_organisation(world.ca, not_after=datetime.now(UTC) - timedelta(days=1))
        if kind == "expired"
        else issue_organisation(make_ca())
    )

    with pytest.raises(AgentError) as error:
        ask(client(world, insi, organisation=refused), ORGANISATION, QUERY)

    assert error.value.code is Code.INSI_CERTIFICATE_REFUSED
    assert not may_repeat(error.value)
    assert insi.requests == []


def test_no_client_certificate_is_refused(world: World, insi: SimulatedInsi) -> None:
    network = HttpTeleservice({ORGANISATION: Endpoint(insi.url(ORGANISATION), world.ca.pem)})

    assert code_of(network) == "insi.certificateRefused"


def test_a_mode_without_endpoint_or_anchors_is_not_configured(insi: SimulatedInsi) -> None:
    assert code_of(HttpTeleservice({})) == "insi.notConfigured"
    assert code_of(HttpTeleservice({ORGANISATION: Endpoint(insi.url(ORGANISATION), b"")})) == "insi.notConfigured"
    assert insi.requests == []


def test_nobody_at_the_address_is_unreachable(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"https://127.0.0.1:{taken.getsockname()[1]}/lps"

        assert code_of(HttpTeleservice({ORGANISATION: Endpoint(url, world.ca.pem)})) == "insi.unreachable"


@contextmanager
def plain_server(says: bytes) -> Iterator[str]:
    """Something that is no TLS server: sends `says` to the first caller and waits until it leaves."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            connection.sendall(says)
            while connection.recv(4096):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/lps"
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("says", "patience_s", "code"), [(b"", 0.3, "insi.timeout"), (b"HTTP/1.1 200 OK\r\n\r\n", 20, "insi.tls")]
)
def test_what_does_not_speak_tls_is_told_apart(world: World, says: bytes, patience_s: float, code: str) -> None:
    with plain_server(says) as url:
        network = HttpTeleservice({ORGANISATION: Endpoint(url, world.ca.pem)}, connect_timeout_s=patience_s)

        assert code_of(network) == code
        network.close()


def look_at_files(_: str, details: tuple[Any, ...]) -> list[tuple[int, bytes]]:
    """Mode and content of every file of a folder that is about to be removed."""
    folder = Path(str(details[0]))
    return [
        (stat.S_IMODE(path.stat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    ]


def whole_key(issued: Issued) -> list[bytes]:
    """The lines of a key in clear, in each form it could be written in."""
    forms = [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL]
    none = serialization.NoEncryption()
    return [
        line
        for form in forms
        for line in issued.key.private_bytes(serialization.Encoding.PEM, form, none).splitlines()[1:-1]
    ]


@pytest.mark.parametrize("fitting", [True, False])
def test_the_client_key_never_lies_in_clear_and_does_not_stay(world: World, tmp_path: Path, fitting: bool) -> None:
    """Also when the load fails: here, a key and a certificate that do not belong together."""
    own = world.organisation
    chain = own.pem if fitting else issue_organisation(world.ca).pem
    network = HttpTeleservice(
        {ORGANISATION: Endpoint("https://127.0.0.1:1/lps", world.ca.pem, ClientMaterial(chain, own.key))},
        private_folder=tmp_path,
    )

    with audited("shutil.rmtree", look_at_files) as folders:
        code = code_of(network)

    assert code == ("insi.unreachable" if fitting else "certificate.unreadable")
    [[(folder_mode, _), (file_mode, content)]] = folders
    assert (folder_mode, file_mode) == (0o700, 0o600)
    assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content
    assert not any(line in content for line in whole_key(own))
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_an_endpoint_holds_no_key(world: World) -> None:
    own = world.organisation

    assert "PRIVATE" not in repr(Endpoint("https://x/", b"", ClientMaterial(own.pem + own.key_pem, own.key)))
