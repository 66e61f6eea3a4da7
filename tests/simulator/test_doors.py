"""The two HTTPS doors of the simulated INSi, seen by an editor's own client."""

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.insi.fake_insi import Misbehaviour, SimulatedInsi
from agent.insi.fake_style import words
from agent.model import AuthMode
from agent.simulator.crl_server import CrlServer
from agent.simulator.pki import issue_organisation, issue_server, make_ca, make_crl
from tests.parts.assertion import assertion
from tests.simulator.conftest import World
from tests.simulator.editor import (
    NOBODY,
    SOAP_12,
    SOAP_TYPE,
    TOUSSAINT,
    Client,
    Shape,
    message,
    read,
    security,
    traits,
)

Open = Callable[..., Client]
CPX, ORGANISATION = AuthMode.CPX, AuthMode.ORGANISATION


@contextmanager
def running(insi: SimulatedInsi) -> Iterator[SimulatedInsi]:
    insi.start()
    try:
        yield insi
    finally:
        insi.stop()


def test_a_card_signs_at_one_door_and_an_organisation_shows_its_certificate_at_the_other(
    client: Open, world: World
) -> None:
    signed = message(TOUSSAINT, Shape(security=security(assertion(world.card))))

    at_cards, at_organisations = client(CPX).post(signed), client(ORGANISATION).post(message(TOUSSAINT))

    for status, headers, body in (at_cards, at_organisations):
        assert (status, headers["Content-Type"], read(body)) == (200, SOAP_TYPE, "00")
    assert read(client(CPX).post(message(TOUSSAINT))[2]) == "sim_assertion_missing"


def test_a_fault_comes_with_http_500(client: Open) -> None:
    status, headers, body = client().post(message(TOUSSAINT, Shape(idam="INCONNU")))

    assert (status, headers["Content-Type"], read(body)) == (500, SOAP_TYPE, "desir_550")


def test_the_door_of_organisations_wants_a_certificate_of_its_authority(world: World, insi: SimulatedInsi) -> None:
    for own in (None, issue_organisation(make_ca())):
        stranger = Client(insi.url(ORGANISATION), world.ca_pem, own)
        with pytest.raises((ssl.SSLError, http.client.RemoteDisconnected, ConnectionError)):
            stranger.post(message(TOUSSAINT))
        stranger.close()
    assert insi.received == 0


def test_a_certificate_of_another_use_has_no_right(client: Open, world: World) -> None:
    other = issue_organisation(world.organisation.issuers[0], common_name="DMP-AIR")

    assert read(client(own=other).post(message(TOUSSAINT))[2]) == "desir_560"


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/soap+xml; charset=utf-8", 200),
        ('application/soap+xml; charset=utf-8; action="urn:x"', 200),
        ("Application/SOAP+XML", 200),
        ("text/xml; charset=utf-8", 415),  # SOAP 1.1
        ("application/xml", 415),
        ("", 415),
    ],
)
def test_soap_12_only(client: Open, content_type: str, expected: int) -> None:
    assert client().post(message(TOUSSAINT), content_type=content_type)[0] == expected


def test_the_action_may_be_in_the_content_type_alone(client: Open) -> None:
    silent = message(TOUSSAINT, Shape(action=None))
    said = f'{SOAP_TYPE}; action="{Shape().action}"'

    assert read(client().post(silent)[2]) == "sim_action"
    assert read(client().post(silent, content_type=said)[2]) == "00"


def test_a_message_may_come_in_chunks(client: Open) -> None:
    whole = message(TOUSSAINT)
    connection = client().connection
    for pieces in ([whole], [whole[:1], whole[1:700], whole[700:]]):
        connection.request("POST", "/lps", iter(pieces), {"Content-Type": SOAP_TYPE}, encode_chunked=True)
        reply = connection.getresponse()
        assert (reply.status, read(reply.read())) == (200, "00")


@pytest.mark.parametrize("size", [b"zz", b"-1", b"", b"7fffffff"])
def test_chunks_of_no_size_or_of_too_great_a_one_are_refused(client: Open, size: bytes) -> None:
    connection = client().connection
    connection.putrequest("POST", "/lps")
    connection.putheader("Content-Type", SOAP_TYPE)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(size + b"\r\n")

    assert connection.getresponse().status == 413


def test_other_paths_and_messages_too_long_have_nothing(client: Open) -> None:
    assert client().post(message(TOUSSAINT), path="/")[0] == 404
    connection = client().connection
    connection.putrequest("POST", "/lps")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413


# ------------------------------------------------------------ asked for by one call


def test_a_call_may_ask_for_a_style_for_itself_alone(client: Open) -> None:
    one = client()

    first = one.post(message(NOBODY), "not-found=insi_102; fault=2022")[2]
    second = one.post(message(NOBODY))[2]

    assert (read(first), b"xmlns:ns4" in first) == ("insi_102", True)
    assert read(second) == "01"


def test_unknown_words_are_answered_400_with_the_list(client: Open, insi: SimulatedInsi) -> None:
    status, headers, body = client().post(message(NOBODY), "not-found=insi_103")

    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert body.decode() == f"X-INSi-Simulator:\n{words()}\n"


def test_what_the_service_remarks_is_in_the_replys_header(client: Open) -> None:
    one = client()

    placed = traits("DE VINCI", "LEONARDO", "M", "2014-02-01", "63220")
    first, second = (one.post(message(placed))[1]["X-INSi-Simulator"] for _ in range(2))

    assert (first, second) == ("place-first", None)


class Hasty(SimulatedInsi):
    """Notes how long it was to wait, and does not."""

    def __init__(self, *arguments: Any, **how: Any) -> None:
        super().__init__(*arguments, **how)
        self.waited: list[float | None] = []

    def wait(self, seconds: float | None) -> None:
        self.waited.append(seconds)


def test_latency_is_what_was_asked_for(world: World) -> None:
    with running(Hasty(world.server.chain_pem, world.server.key_pem, world.ca_pem)) as insi:
        assert isinstance(insi, Hasty)
        one = Client(insi.url(ORGANISATION), world.ca_pem, world.organisation)
        for latency in ("", "latency=40", *["latency=150-850"] * 20):
            assert one.post(message(TOUSSAINT), latency)[0] == 200
        one.close()

    assert insi.waited[0] == 0.04
    assert all(0.15 <= (waited or 0) <= 0.85 for waited in insi.waited[1:])
    assert len(insi.waited) == 21
    assert len(set(insi.waited)) > 2


def test_each_bad_day_is_lived_by_the_call_that_asks_for_it(client: Open, insi: SimulatedInsi) -> None:
    for word, seen in {
        "html503": (503, b"<html>"),
        "unavailable": (500, b"desir_1020"),
        "redirect": (307, b""),
    }.items():
        status, headers, body = client().post(message(TOUSSAINT), f"misbehave={word}")
        assert (status, seen[1] in body, headers["Location"]) == (seen[0], True, "/lps" if status == 307 else None)
    for word, failure in {
        "reset": ConnectionResetError,
        "truncated": http.client.IncompleteRead,
    }.items():
        with pytest.raises(failure):
            client().post(message(TOUSSAINT), f"misbehave={word}")
    assert read(client().post(message(TOUSSAINT))[2]) == "00"
    assert insi.received == 6


def test_a_service_that_says_nothing_holds_up_nobody_else(client: Open) -> None:
    silent = client().connection
    headers = {"Content-Type": SOAP_TYPE, "X-INSi-Simulator": "misbehave=timeout"}
    silent.request("POST", "/lps", message(TOUSSAINT), headers)

    assert [client().post(message(TOUSSAINT))[0] for _ in range(3)] == [200] * 3

    assert silent.sock
    silent.sock.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        silent.sock.recv(1)


def test_a_reply_may_come_byte_by_byte(client: Open) -> None:
    dripping = client().connection
    headers = {"Content-Type": SOAP_TYPE, "X-INSi-Simulator": "misbehave=drip"}
    dripping.request("POST", "/lps", message(TOUSSAINT), headers)

    reply = dripping.getresponse()

    assert (reply.read(5), len(reply.read1())) == (b"<?xml", 1)


def test_every_bad_day_may_be_that_of_the_whole_run(client: Open, insi: SimulatedInsi) -> None:
    insi.always(Misbehaviour.HTML_503)
    insi.misbehave(Misbehaviour.UNAVAILABLE)

    seen = [client().post(message(TOUSSAINT))[0] for _ in range(3)]
    insi.always(None)

    assert [*seen, client().post(message(TOUSSAINT), "")[0]] == [500, 503, 503, 200]


# ------------------------------------------------------------ TLS


def test_a_run_may_speak_one_version_of_tls(world: World) -> None:
    newest, older = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2
    for spoken in (newest, older):
        with running(
            SimulatedInsi(world.server.chain_pem, world.server.key_pem, world.ca_pem, tls=(spoken, spoken))
        ) as insi:
            one = Client(insi.url(CPX), world.ca_pem)
            assert one.post(message(TOUSSAINT))[0] == 500
            sock = one.connection.sock
            assert isinstance(sock, ssl.SSLSocket)
            assert sock.version() == {newest: "TLSv1.3", older: "TLSv1.2"}[spoken]
            one.close()
            if spoken is older:
                with pytest.raises(ssl.SSLError):
                    Client(insi.url(CPX), world.ca_pem, tls=newest).post(message(TOUSSAINT))


def test_a_server_certificate_without_alternative_names_is_named_by_its_cn(world: World) -> None:
    plain = issue_server(world.server.issuers[0], names=(), addresses=(), common_name="localhost")
    with running(SimulatedInsi(plain.chain_pem, plain.key_pem, world.ca_pem, host="localhost")) as insi:
        context = ssl.create_default_context(cadata=world.ca_pem.decode())
        for by_cn, works in ((True, True), (False, False)):
            context.hostname_checks_common_name = by_cn
            port = int(insi.url(CPX).rpartition(":")[2].removesuffix("/lps"))
            with socket.create_connection(("127.0.0.1", port)) as raw:
                assert handshake(context, raw, "localhost") is works


def handshake(context: ssl.SSLContext, raw: socket.socket, name: str) -> bool:
    try:
        context.wrap_socket(raw, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_a_port_that_is_taken_leaves_no_door_open(world: World, insi: SimulatedInsi) -> None:
    taken = int(insi.url(ORGANISATION).rpartition(":")[2].removesuffix("/lps"))
    before = set(threading.enumerate())
    other = SimulatedInsi(
        world.server.chain_pem, world.server.key_pem, world.ca_pem, ports={CPX: 0, ORGANISATION: taken}
    )

    with pytest.raises(OSError, match="in use"):
        other.start()

    assert set(threading.enumerate()) <= before


# ------------------------------------------------------------ revocation


def test_a_revocation_list_is_served_and_openssl_believes_it(world: World, tmp_path: Path) -> None:
    ca, lists = world.server.issuers[0], CrlServer()
    try:
        server = issue_server(ca, crl=lists.url("organisations"))
        (tmp_path / "server.pem").write_bytes(server.pem)
        (tmp_path / "ca.pem").write_bytes(world.ca_pem)
        said = []
        for revoked in ([], [server], [world.server]):
            lists.publish("organisations", make_crl(ca, revoked))
            (tmp_path / "list.der").write_bytes(fetched(lists.url("organisations"))[1])
            said.append(openssl_verify(tmp_path))
    finally:
        lists.stop()

    assert said == ["OK", "certificate revoked", "OK"]
    assert lists.asked == ["/organisations.crl"] * 3


def fetched(url: str) -> tuple[int, bytes]:
    address, _, name = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", f"/{name}")
    reply = connection.getresponse()
    connection.close()
    return reply.status, reply.read()


def openssl_verify(folder: Path) -> str:
    command = ["openssl", "verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "list.der", "server.pem"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    return next((word for word in ("certificate revoked", "OK") if word in said), said)


def test_a_list_that_nobody_published_is_not_there() -> None:
    lists = CrlServer()
    try:
        assert fetched(lists.url("inconnue"))[0] == 404
    finally:
        lists.stop()


# ------------------------------------------------------------ its end


def test_nothing_runs_after_stop(world: World) -> None:
    before = set(threading.enumerate())
    with running(SimulatedInsi(world.server.chain_pem, world.server.key_pem, world.ca_pem)) as insi:
        one = Client(insi.url(CPX), world.ca_pem)
        assert one.post(message(TOUSSAINT))[0] == 500
        assert len(set(threading.enumerate()) - before) > 2  # two doors and a kept connection

    assert set(threading.enumerate()) - before == set()
    one.close()


def test_the_envelope_is_that_of_soap_12(client: Open) -> None:
    assert f'<soap:Envelope xmlns:soap="{SOAP_12}">'.encode() in client().post(message(TOUSSAINT))[2]
