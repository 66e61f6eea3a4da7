"""The real client against real TLS on the loopback: each failure has its code, and the next call works."""

import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from agent.errors import AgentError, Code
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.fake_style import Misbehaviour
from agent.insi.faults import may_repeat
from agent.insi.http import ClientMaterial, Endpoint, HttpTeleservice, Limits
from agent.insi.operations import TraitsQuery
from agent.insi.ports import Sender
from agent.insi.proxy import Route
from agent.model import AuthMode
from agent.places import one_at_a_time
from agent.simulator.pki import Issued, issue_organisation, make_ca
from agent.tls_key import load_key
from tests.insi.conftest import World, ask, audited, client

QUERY = TraitsQuery("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", None, ())
ORGANISATION = AuthMode.ORGANISATION
CARD = Sender(AuthMode.CPX)


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
    network = client(world, insi, total_s=1.5)
    assert code_of(network) == "00"
    insi.misbehave(what)

    with pytest.raises(AgentError) as error:
        ask(network, ORGANISATION, QUERY)

    assert error.value.code is code
    assert may_repeat(error.value, QUERY.operation) is repeat
    assert code_of(network) == "00"
    assert len(insi.requests) == 3  # nothing was retried behind our back
    network.close()


def test_a_service_that_is_always_down_stays_so_until_it_behaves(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    insi.always(Misbehaviour.HTML_503)
    assert [code_of(network), code_of(network)] == ["insi.http", "insi.http"]

    insi.always(None)

    assert code_of(network) == "00"


def test_the_message_travels_as_soap_12_with_its_action(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    reply = network.post(Sender(ORGANISATION), "urn:an:action", b"<x/>")

    assert reply.status == 500
    assert insi.requests[0].body == b"<x/>"
    assert insi.requests[0].content_type == 'application/soap+xml; charset=utf-8; action="urn:an:action"'


def test_the_reply_comes_with_its_content_type(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    """It may be all that tells how the reply is encoded."""
    insi.misbehave(Misbehaviour.HTML_503)

    replies = [network.post(Sender(ORGANISATION), "urn:an:action", b"<x/>") for _ in range(2)]

    assert [reply.content_type for reply in replies] == ["text/html", "application/soap+xml; charset=utf-8"]


# ---------------------------------------------------------------- kept sessions


def test_each_sender_has_its_one_connection_and_keeps_it(world: World, insi: SimulatedInsi) -> None:
    """A session proves one identity: another one's message never goes through it."""
    other = issue_organisation(world.ca, common_name="INSI-AUTO", key=world.organisation.key)
    materials = {name: ClientMaterial(one.pem, one.key) for name, one in [("a", world.organisation), ("b", other)]}
    network = HttpTeleservice(
        lambda sender: Endpoint(insi.url(sender.mode), world.ca.pem, materials.get(sender.certificate or ""))
    )
    senders = [Sender(ORGANISATION, "a"), Sender(ORGANISATION, "b"), Sender(AuthMode.CPX)]

    with audited("socket.connect") as connections:
        for _ in range(3):
            for sender in senders:
                network.post(sender, "urn:an:action", b"<x/>")

    network.close()
    assert len(connections) == 3
    assert len(insi.requests) == 9


@pytest.mark.parametrize("limits", [{"kept_idle_s": 0}, {"kept_s": 0}])
def test_a_session_that_was_silent_or_open_for_long_is_opened_anew(
    world: World, insi: SimulatedInsi, limits: dict[str, float]
) -> None:
    """A firewall forgets a silent connection without telling; a server shows itself again, and its revocation."""
    network = client(world, insi, **limits)

    with audited("socket.connect") as connections:
        assert [code_of(network), code_of(network)] == ["00"] * 2

    network.close()
    assert len(connections) == 2


def test_a_silent_session_is_closed_whoever_calls_next(world: World) -> None:
    """That of a certificate that was renewed is never asked for again."""
    former: list[ssl.SSLSocket] = []
    heard: list[bytes] = []

    def answer_and_stay(server: Scripted, connection: ssl.SSLSocket) -> None:
        answer(server, connection)
        former.append(connection)

    def answer_and_look(server: Scripted, connection: ssl.SSLSocket) -> None:
        answer(server, connection)
        heard.append(former[0].recv(1))

    with scripted(world, [answer_and_stay, answer_and_look]) as server:
        network = HttpTeleservice(lambda _: Endpoint(server.url, world.ca.pem), limits=Limits(kept_idle_s=0))
        for name in ("former", "present"):
            network.post(Sender(ORGANISATION, name), "urn:an:action", b"<x/>")

    former[0].close()
    assert heard == [b""]  # before the client itself was closed
    network.close()


def test_closing_ends_the_connections_and_the_next_call_opens_its_own(
    network: HttpTeleservice,
) -> None:
    with audited("socket.connect") as connections:
        assert code_of(network) == "00"
        network.close()
        assert code_of(network) == "00"

    assert len(connections) == 2


def test_a_kept_connection_that_the_server_closed_meanwhile_is_opened_again(world: World) -> None:
    with scripted(world, [answer_and_leave, answer_and_leave]) as server:
        network = HttpTeleservice(lambda _: Endpoint(server.url, world.ca.pem))
        replies = [network.post(CARD, "urn:an:action", b"<x/>") for _ in range(2)]
        network.close()

    assert [reply.body for reply in replies] == [b"<y/>"] * 2
    assert (server.connections, server.messages) == (2, 2)


def test_a_message_that_may_have_arrived_is_not_sent_again(world: World) -> None:
    """The server closes just when the second message comes: nobody knows what it did with it."""
    with scripted(world, [answer_then_leave_at_the_next, answer_and_leave]) as server:
        network = HttpTeleservice(lambda _: Endpoint(server.url, world.ca.pem))
        network.post(CARD, "urn:an:action", b"<x/>")

        with pytest.raises(AgentError) as error:
            network.post(CARD, "urn:an:action", b"<x/>")

        assert error.value.code is Code.INSI_UNREACHABLE
        assert (server.connections, server.messages) == (1, 2)
        assert network.post(CARD, "urn:an:action", b"<x/>").status == 200
        network.close()

    assert (server.connections, server.messages) == (2, 3)


class Scripted:
    """A TLS server that does with each connection what it is told."""

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}/lps"
        self.connections = self.messages = 0

    def read(self, connection: ssl.SSLSocket) -> None:
        message = b""
        while not message.endswith(b"<x/>"):
            message += connection.recv(4096)
        self.messages += 1


def answer(server: Scripted, connection: ssl.SSLSocket) -> None:
    server.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<y/>")


def answer_and_leave(server: Scripted, connection: ssl.SSLSocket) -> None:
    """As keep-alive ends: without a word about it."""
    answer(server, connection)
    connection.close()


def answer_then_leave_at_the_next(server: Scripted, connection: ssl.SSLSocket) -> None:
    answer(server, connection)
    server.read(connection)
    connection.close()


@contextmanager
def scripted(world: World, steps: list[Callable[[Scripted, ssl.SSLSocket], None]]) -> Iterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key(context, world.server.pem, world.server.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        server = Scripted(listener)

        def serve() -> None:
            for step in steps:
                plain, _ = listener.accept()
                plain.settimeout(20)
                server.connections += 1
                step(server, context.wrap_socket(plain, server_side=True))

        thread = threading.Thread(target=serve)
        thread.start()
        yield server
        thread.join()


# ---------------------------------------------------------------- what goes wrong


def test_a_reply_over_the_limit_is_not_read(world: World, insi: SimulatedInsi) -> None:
    network = client(world, insi, max_reply_bytes=100)

    assert code_of(network) == "insi.unreadable"


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
    assert not may_repeat(error.value, QUERY.operation)
    assert insi.requests == []


def test_no_client_certificate_is_refused(world: World, insi: SimulatedInsi) -> None:
    network = HttpTeleservice(lambda _: Endpoint(insi.url(ORGANISATION), world.ca.pem))

    assert code_of(network) == "insi.certificateRefused"


@pytest.mark.parametrize("anchors", [b"", b"no PEM", b"\xff"])
def test_an_endpoint_without_anchors_is_not_configured(insi: SimulatedInsi, anchors: bytes) -> None:
    assert code_of(HttpTeleservice(lambda _: Endpoint(insi.url(ORGANISATION), anchors))) == "insi.notConfigured"
    assert insi.requests == []


def test_nobody_at_the_address_is_unreachable(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        url = f"https://127.0.0.1:{taken.getsockname()[1]}/lps"

        assert code_of(HttpTeleservice(lambda _: Endpoint(url, world.ca.pem))) == "insi.unreachable"


@pytest.mark.parametrize("url", ["https://", "https://:8443/lps", "https://localhost:99999/lps", "https://[::1/lps"])
def test_an_address_that_is_none_is_not_configured(world: World, url: str) -> None:
    assert code_of(HttpTeleservice(lambda _: Endpoint(url, world.ca.pem))) == "insi.notConfigured"


@pytest.mark.parametrize("name", ["personne.invalid", "a" * 64 + ".invalid", "a..b"])
def test_a_name_that_nobody_has_is_unreachable(world: World, name: str) -> None:
    assert code_of(HttpTeleservice(lambda _: Endpoint(f"https://{name}/lps", world.ca.pem))) == "insi.unreachable"


# ---------------------------------------------------------------- what hangs


def test_a_name_server_that_hangs_costs_a_call_its_time_and_sends_nothing(world: World, insi: SimulatedInsi) -> None:
    network, answers = client(world, insi, total_s=0.3), threading.Event()

    with audited("socket.getaddrinfo", lambda *_: answers.wait(10)) as answered:
        assert code_of(network) == "insi.timeout"
        assert answered == []  # it still hangs
        answers.set()

    assert insi.requests == []
    assert code_of(client(world, insi)) == "00"


def test_a_way_that_is_not_found_in_time_costs_a_call_its_time_and_sends_nothing(
    world: World, insi: SimulatedInsi
) -> None:
    found, returned = threading.Event(), list[bool]()

    def routes(_url: str) -> list[Route]:
        returned.append(found.wait(10))
        return [Route(None)]

    network = HttpTeleservice(
        lambda _: Endpoint(insi.url(AuthMode.CPX), world.ca.pem), routes=routes, limits=Limits(total_s=0.3)
    )
    assert code_of(network, AuthMode.CPX) == "insi.timeout"
    assert returned == []
    found.set()

    with pytest.raises(AgentError) as error:
        ask(network, AuthMode.CPX, QUERY)
    assert error.value.code is not Code.INSI_TIMEOUT  # the message came: it has no assertion
    assert len(insi.requests) == 1
    network.close()


def test_a_key_whose_folder_another_program_keeps_costs_a_call_its_time(
    world: World, insi: SimulatedInsi, tmp_path: Path
) -> None:
    own = ClientMaterial(world.organisation.chain_pem, world.organisation.key)
    endpoint = Endpoint(insi.url(ORGANISATION), world.ca.pem, own)
    network = HttpTeleservice(lambda _: endpoint, private_folder=tmp_path, limits=Limits(total_s=0.5))

    with one_at_a_time(tmp_path / "tls.lock"):
        assert code_of(network) == "insi.timeout"

    assert insi.requests == []
    patient = HttpTeleservice(lambda _: endpoint, private_folder=tmp_path)
    assert code_of(patient) == "00"
    patient.close()


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
        network = HttpTeleservice(lambda _: Endpoint(url, world.ca.pem), limits=Limits(connect_s=patience_s))

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
        lambda _: Endpoint("https://127.0.0.1:1/lps", world.ca.pem, ClientMaterial(chain, own.key)),
        private_folder=tmp_path,
    )

    with audited("shutil.rmtree", look_at_files) as folders:
        code = code_of(network)

    assert code == ("insi.unreachable" if fitting else "certificate.unreadable")
    [[(folder_mode, _), (file_mode, content)]] = folders
    assert (folder_mode, file_mode) == (0o700, 0o600)
    assert b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content
    assert not any(line in content for line in whole_key(own))
    assert [left.name for left in tmp_path.iterdir()] == ["tls.lock"]


def test_what_is_said_of_an_endpoint_holds_no_key(world: World) -> None:
    own = world.organisation

    assert "PRIVATE" not in repr(Endpoint("https://x/", b"", ClientMaterial(own.pem + own.key_pem, own.key)))
