"""Whom the client believes to be INSi: anchors, names, revocation. Whoever it does not believe gets nothing."""

import socket
import ssl
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from agent.errors import AgentError, Code
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.fake_style import Misbehaviour
from agent.insi.faults import may_repeat
from agent.insi.http import Endpoint, HttpTeleservice, Limits
from agent.insi.operations import Operation
from agent.insi.ports import HttpReply, Sender
from agent.insi.proxy import Route, basic
from agent.insi.revocation import Status
from agent.model import AuthMode
from agent.simulator.pki import Issued, issue_ca, issue_server, make_ca, make_crl
from agent.tls_key import load_key
from tests.insi.conftest import audited
from tests.parts.lists import HANGS, ListHost, list_host
from tests.parts.odd_proxy import closes, odd_proxy
from tests.parts.tinyproxy import tinyproxy

CARD = Sender(AuthMode.CPX)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Igc:
    """A CA of organisations under its root, named as IGC-Santé names them."""

    root: Issued
    ca: Issued

    @property
    def anchors(self) -> bytes:
        return self.ca.pem + self.root.pem


def igc(prefix: str = "", **of_ca: Any) -> Igc:
    root = make_ca(f"{prefix}AC RACINE IGC-SANTE ELEMENTAIRE", path_length=1)
    return Igc(root, issue_ca(root, f"{prefix}AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", **of_ca))


@cache
def known() -> Igc:
    """Of production, as on the qualification service's own servers."""
    return igc()


@contextmanager
def insi_as(server: Issued, *, root: Issued | None = None, **how: Any) -> Iterator[SimulatedInsi]:
    """The service with this certificate; `root`: sent along."""
    shown = server.chain_pem + (root.pem if root else b"")
    service = SimulatedInsi(shown, server.key_pem, known().anchors, record=True, **how)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def ask(
    insi: SimulatedInsi,
    *,
    anchors: bytes | None = None,
    limits: Limits | None = None,
    routes: Callable[[str], Sequence[Route]] = lambda _url: [Route(None)],
    **how: Any,
) -> HttpReply:
    """One message, that the service refuses because it is none: but it came."""
    endpoint = Endpoint(insi.url(AuthMode.CPX), known().anchors if anchors is None else anchors, **how)
    network = HttpTeleservice(lambda _: endpoint, limits=limits, routes=routes)
    try:
        return network.post(CARD, "urn:an:action", b"<x/>")
    finally:
        network.close()


def refusal(insi: SimulatedInsi, **how: Any) -> AgentError:
    with pytest.raises(AgentError) as error:
        ask(insi, **how)
    assert insi.received == 0
    assert not may_repeat(error.value, Operation.BY_TRAITS)
    return error.value


# ---------------------------------------------------------------- the chain


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_whose_chain_leads_to_an_anchor_is_believed(version: ssl.TLSVersion) -> None:
    with insi_as(issue_server(known().ca), tls=(version, version)) as insi:
        assert ask(insi).status == 500
        assert insi.received == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # that is why it is refused
def test_an_older_tls_is_not_spoken() -> None:
    with insi_as(issue_server(known().ca), tls=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)) as insi:
        assert refusal(insi).code is Code.INSI_TLS


def test_a_server_of_another_authority_is_an_interception_and_the_authority_is_named() -> None:
    box = make_ca("Inspection TLS du CHU")

    with insi_as(issue_server(box)) as insi:
        refused = refusal(insi)

    assert refused.code is Code.INSI_INTERCEPTED
    assert refused.facts == {"issuer": "SIMULATEUR-INSI-AGENT, Inspection TLS du CHU"}


def test_the_name_of_an_inspection_is_told_in_one_short_printable_line() -> None:
    """It is a stranger's text, for a log and a page."""
    box = make_ca("Inspection\n\x1b[31m\u202egro.eciffo " + "x" * 34)

    with insi_as(issue_server(box)) as insi:
        refused = refusal(insi)

    assert refused.facts == {"issuer": "SIMULATEUR-INSI-AGENT, Inspection??[31m?gro.eciffo " + "x" * 34}


def test_an_inspection_whose_certificate_is_of_no_version_is_still_told() -> None:
    shown = issue_server(make_ca("Inspection TLS du CHU"))
    version = bytes.fromhex("a003020102")
    odd = b64encode(shown.der.replace(version, version[:-1] + b"\x09", 1)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{odd}\n-----END CERTIFICATE-----\n".encode()

    insi = SimulatedInsi(pem, shown.key_pem, known().anchors, record=True)
    insi.start()
    try:
        refused = refusal(insi)
    finally:
        insi.stop()

    assert (refused.code, refused.facts) == (Code.INSI_INTERCEPTED, {})


def test_one_authority_for_each_endpoint_the_test_ca_is_none_of_production() -> None:
    with insi_as(issue_server(igc("TEST ").ca)) as insi:
        assert refusal(insi).code is Code.INSI_INTERCEPTED


def test_an_authority_that_only_has_the_name_of_ours_is_an_interception() -> None:
    with insi_as(issue_server(igc().ca)) as insi:
        assert refusal(insi).code is Code.INSI_INTERCEPTED


def test_an_authority_that_shows_itself_is_an_interception_too() -> None:
    """As inspections do that send their root along."""
    server = issue_server(box := make_ca("Inspection TLS du CHU"))
    with insi_as(server, root=box) as insi:
        assert refusal(insi).code is Code.INSI_INTERCEPTED


def test_a_signature_that_is_not_our_authoritys_is_an_interception() -> None:
    """Where the certificate does not even say which key signed it."""
    ours = known().ca
    server = issue_server(ours)
    forged = (
        x509.CertificateBuilder()
        .subject_name(server.certificate.subject)
        .issuer_name(ours.certificate.subject)
        .public_key(server.certificate.public_key())
        .serial_number(7)
        .not_valid_before(server.certificate.not_valid_before_utc)
        .not_valid_after(server.certificate.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(server.key, SHA256())
    )
    with insi_as(Issued(forged, server.key)) as insi:
        assert refusal(insi).code is Code.INSI_INTERCEPTED


def test_a_certificate_signed_by_itself_is_an_interception() -> None:
    with insi_as(make_ca("localhost")) as insi:
        assert refusal(insi).code is Code.INSI_INTERCEPTED


def test_an_anchor_whose_own_issuer_is_missing_is_no_interception() -> None:
    with insi_as(issue_server(known().ca)) as insi:
        assert refusal(insi, anchors=known().ca.pem).code is Code.INSI_TLS


@pytest.mark.parametrize("dates", [{"not_after": datetime.now(UTC) - DAY}, {"not_before": datetime.now(UTC) + DAY}])
def test_a_server_out_of_its_dates_gets_nothing(dates: dict[str, datetime]) -> None:
    with insi_as(issue_server(known().ca, **dates)) as insi:
        refused = refusal(insi)

    assert refused.code is Code.INSI_TLS
    assert refused.detail.endswith(
        "certificate has expired" if "not_after" in dates else "certificate is not yet valid"
    )


# ---------------------------------------------------------------- the environment


def test_the_environment_adds_no_anchor_no_proxy_and_no_key_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_ca("Inspection TLS du CHU")
    bundle, keys = tmp_path / "bundle.pem", tmp_path / "keys.log"
    bundle.write_bytes(box.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            for spelled in (name, name.lower()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{trap.getsockname()[1]}")
        for spelled in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(spelled, "")  # this machine is no exception
        assert urllib.request.getproxies()["https"] == f"http://127.0.0.1:{trap.getsockname()[1]}"
        assert not urllib.request.proxy_bypass("127.0.0.1")
        assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 1  # what others would trust now
        assert ssl.create_default_context().keylog_filename == str(keys)

        with insi_as(issue_server(box)) as insi:
            assert refusal(insi).code is Code.INSI_INTERCEPTED
        keys.unlink()
        with insi_as(issue_server(known().ca)) as insi:
            assert ask(insi).status == 500

        with pytest.raises(BlockingIOError):
            trap.accept()
    assert not keys.exists()


# ---------------------------------------------------------------- the name


@pytest.mark.parametrize(
    ("certificate", "host", "rule", "believed"),
    [
        ({"names": ["localhost"]}, "localhost", "san", True),
        ({"names": ["localhost"]}, "localhost", "sanOrCn", True),
        ({"names": ["LOCALHOST"]}, "localhost", "san", True),
        ({"names": [], "common_name": "localhost"}, "localhost", "san", False),
        ({"names": [], "common_name": "localhost"}, "localhost", "sanOrCn", True),
        ({"names": [], "common_name": "ailleurs.example"}, "localhost", "sanOrCn", False),
        # a certificate that names hosts is judged by these names alone
        ({"names": ["ailleurs.example"], "common_name": "localhost"}, "localhost", "sanOrCn", False),
        ({"names": ["localhost.example"]}, "localhost", "san", False),
        # an address is never looked for in the CN
        ({"names": [], "common_name": "127.0.0.1"}, "127.0.0.1", "sanOrCn", False),
        ({"names": ["127.0.0.1"]}, "127.0.0.1", "sanOrCn", False),
        ({"names": [], "addresses": ["127.0.0.1"]}, "127.0.0.1", "san", True),
        ({"names": ["localhost"], "addresses": ["127.0.0.2"]}, "127.0.0.1", "san", False),
    ],
)
def test_a_server_is_believed_by_its_name(certificate: dict[str, Any], host: str, rule: str, believed: bool) -> None:
    server = issue_server(known().ca, key=known().ca.key, **{"addresses": [], **certificate})

    with insi_as(server, host=host) as insi:
        if believed:
            assert ask(insi, names=rule).status == 500
        else:
            refused = refusal(insi, names=rule)
            assert refused.code is Code.INSI_TLS
            assert "mismatch" in refused.detail


def test_a_server_is_believed_by_its_ipv6_address() -> None:
    server = issue_server(known().ca, names=[], addresses=["::1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key(context, server.chain_pem, server.key)

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            while b"<x/>" not in connection.recv(4096):
                pass
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        endpoint = Endpoint(f"https://[::1]:{listener.getsockname()[1]}/lps", known().anchors)
        network = HttpTeleservice(lambda _: endpoint)
        assert network.post(CARD, "urn:an:action", b"<x/>").status == 204
        network.close()
        thread.join()


# ---------------------------------------------------------------- revocation


@pytest.fixture(scope="module")
def published() -> Iterator[tuple[ListHost, Igc, Issued]]:
    """The host of the lists, and a chain that says where they are."""
    with list_host() as host:
        found = igc(crl=host.url("/acr-el.crl"))
        yield host, found, issue_server(found.ca, crl=host.url("/aci-el-org.crl"))


@pytest.fixture
def lists(published: tuple[ListHost, Igc, Issued]) -> ListHost:
    """The lists, with nobody on them."""
    host, found, _ = published
    host.asked.clear()
    host.when_asked = lambda: None
    host.at = {"/acr-el.crl": make_crl(found.root), "/aci-el-org.crl": make_crl(found.ca)}
    return host


@pytest.fixture
def chain(published: tuple[ListHost, Igc, Issued]) -> Igc:
    return published[1]


@pytest.fixture
def insi(published: tuple[ListHost, Igc, Issued]) -> Iterator[SimulatedInsi]:
    with insi_as(published[2]) as service:
        yield service


SOFT, HARD, OFF = (Limits(revocation=rule, revocation_s=0.5) for rule in ("soft", "hard", "off"))
UNCHECKED = ("revocation.unchecked",)


@pytest.mark.parametrize("limits", [SOFT, HARD])
def test_the_lists_are_read_before_the_message_goes(
    lists: ListHost, chain: Igc, insi: SimulatedInsi, limits: Limits
) -> None:
    received: list[int] = []
    lists.when_asked = lambda: received.append(insi.received)

    reply = ask(insi, anchors=chain.anchors, limits=limits)

    assert reply.warnings == ()
    assert sorted(lists.asked) == ["/aci-el-org.crl", "/acr-el.crl"]
    assert received == [0, 0]
    assert insi.received == 1


@pytest.mark.parametrize("limits", [SOFT, HARD])
@pytest.mark.parametrize("who", ["server", "ca"])
def test_a_revoked_server_gets_nothing(
    lists: ListHost, published: tuple[ListHost, Igc, Issued], insi: SimulatedInsi, limits: Limits, who: str
) -> None:
    _, chain, server = published
    if who == "server":
        lists.at["/aci-el-org.crl"] = make_crl(chain.ca, [server])
    else:
        lists.at["/acr-el.crl"] = make_crl(chain.root, [chain.ca])

    refused = refusal(insi, anchors=chain.anchors, limits=limits)

    assert refused.code is Code.INSI_REVOKED
    assert refused.facts == {"state": Status.REVOKED}


def test_lists_that_are_not_wanted_are_not_asked_for(
    lists: ListHost, published: tuple[ListHost, Igc, Issued], insi: SimulatedInsi
) -> None:
    _, chain, server = published
    lists.at["/aci-el-org.crl"] = make_crl(chain.ca, [server])

    assert ask(insi, anchors=chain.anchors, limits=OFF).warnings == ()
    assert lists.asked == []


def bad_day(host: ListHost, chain: Igc) -> dict[str, Any]:
    return {
        "absent": HTTPStatus.NOT_FOUND,
        "down": HTTPStatus.SERVICE_UNAVAILABLE,
        "elsewhere": host.url("/acr-el.crl"),  # not followed
        "hangs": HANGS,
        "garbage": b"<html>",
        "empty": b"",
        "old": make_crl(chain.ca, at=datetime.now(UTC) - 8 * DAY),
        "forged": make_crl(make_ca("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS")),
    }


@pytest.mark.parametrize("day", ["absent", "down", "elsewhere", "hangs", "garbage", "empty", "old", "forged"])
def test_an_unknown_state_is_a_refusal_or_a_warning_as_configured(
    lists: ListHost, chain: Igc, insi: SimulatedInsi, day: str
) -> None:
    lists.at["/aci-el-org.crl"] = bad_day(lists, chain)[day]

    refused = refusal(insi, anchors=chain.anchors, limits=HARD)
    reply = ask(insi, anchors=chain.anchors, limits=SOFT)

    assert refused.code is Code.INSI_REVOKED
    assert refused.facts == {"state": Status.UNKNOWN}
    assert (reply.status, reply.warnings) == (500, UNCHECKED)
    assert insi.received == 1


def test_a_certificate_that_says_nothing_of_lists_is_unknown() -> None:
    with insi_as(issue_server(known().ca)) as insi:
        assert refusal(insi, limits=HARD).code is Code.INSI_REVOKED
        assert ask(insi, limits=SOFT).warnings == UNCHECKED


def test_a_host_of_lists_that_hangs_is_waited_for_once(lists: ListHost, chain: Igc, insi: SimulatedInsi) -> None:
    """Whatever the number of connections, and of lists behind the one that hangs; and the call has time left."""
    lists.at = {"/acr-el.crl": HANGS, "/aci-el-org.crl": HANGS}
    network = again_and_again(insi, chain, total_s=3)

    warnings = [network.post(CARD, "urn:an:action", b"<x/>").warnings for _ in range(4)]

    network.close()
    assert warnings == [UNCHECKED] * 4
    assert len(lists.asked) == 1


def test_lists_are_read_once_for_many_connections(lists: ListHost, chain: Igc, insi: SimulatedInsi) -> None:
    network = again_and_again(insi, chain)

    with audited("socket.connect", lambda _, details: details[1][1]) as ports:
        warnings = [network.post(CARD, "urn:an:action", b"<x/>").warnings for _ in range(3)]

    network.close()
    assert warnings == [()] * 3
    assert len(lists.asked) == 2
    assert len(ports) == 3 + 2


def again_and_again(insi: SimulatedInsi, chain: Igc, *, total_s: float = 30) -> HttpTeleservice:
    """A client that keeps no connection."""
    endpoint = Endpoint(insi.url(AuthMode.CPX), chain.anchors)
    limits = Limits(revocation="soft", revocation_s=0.3, kept_idle_s=0, total_s=total_s)
    return HttpTeleservice(lambda _: endpoint, limits=limits)


def test_a_call_whose_time_the_lists_took_sends_nothing(lists: ListHost, chain: Igc, insi: SimulatedInsi) -> None:
    lists.at["/aci-el-org.crl"] = HANGS

    with pytest.raises(AgentError) as error:
        ask(insi, anchors=chain.anchors, limits=Limits(revocation="soft", total_s=0.4))

    assert error.value.code is Code.INSI_TIMEOUT
    assert insi.received == 0


def test_what_is_known_of_a_kept_connection_is_told_with_each_reply(
    lists: ListHost, chain: Igc, insi: SimulatedInsi
) -> None:
    lists.at["/aci-el-org.crl"] = HTTPStatus.NOT_FOUND
    network = HttpTeleservice(lambda _: Endpoint(insi.url(AuthMode.CPX), chain.anchors), limits=SOFT)

    with audited("socket.connect") as connections:
        warnings = [network.post(CARD, "urn:an:action", b"<x/>").warnings for _ in range(2)]

    network.close()
    assert warnings == [UNCHECKED] * 2
    assert len(connections) == 1 + 2


# ---------------------------------------------------------------- through a proxy


@contextmanager
def scripted_proxy(serve: Callable[[socket.socket], None]) -> Iterator[Route]:
    """Somebody who does this with one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def once() -> None:
            with listener.accept()[0] as connection:
                connection.settimeout(20)
                serve(connection)

        thread = threading.Thread(target=once)
        thread.start()
        yield Route(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def nobody() -> Route:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Route(f"http://127.0.0.1:{listener.getsockname()[1]}")


def by(insi: SimulatedInsi, *routes: Route, **limits: Any) -> HttpTeleservice:
    endpoint = Endpoint(insi.url(AuthMode.CPX), known().anchors)
    return HttpTeleservice(lambda _: endpoint, routes=lambda _url: routes, limits=Limits(**limits))


def test_a_proxy_that_never_ends_its_answer_has_until_the_connections_deadline() -> None:
    """Each byte in time, the whole never."""

    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        leaving = threading.Event()
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000:
                connection.sendall(bytes([byte]))
                leaving.wait(0.02)
        except OSError:
            pass

    with insi_as(issue_server(known().ca)) as insi, scripted_proxy(drip) as slow:
        network = by(insi, slow, Route(None), connect_s=0.5)

        assert network.post(CARD, "urn:an:action", b"<x/>").status == 500
        network.close()


def served(server: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key(context, server.chain_pem, server.key)
    return context


def test_where_the_direct_way_leads_nowhere_the_proxy_behind_it_is_tried() -> None:
    """As browsers do with a script's « DIRECT; PROXY a »: nothing was sent."""
    at_insi = served(issue_server(known().ca, names=["insi.invalid"]))
    heard: list[bytes] = []

    def lead_on(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with at_insi.wrap_socket(connection, server_side=True) as inside:
            while b"<x/>" not in inside.recv(4096):
                pass
            inside.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with scripted_proxy(lead_on) as proxy:
        endpoint = Endpoint("https://insi.invalid/lps", known().anchors)
        network = HttpTeleservice(lambda _: endpoint, routes=lambda _url: [Route(None), proxy])
        assert network.post(CARD, "urn:an:action", b"<x/>").status == 204
        network.close()

    assert heard[0].startswith(b"CONNECT insi.invalid:443 ")


@pytest.mark.parametrize("what", [Misbehaviour.RESET, Misbehaviour.TRUNCATED])
def test_a_message_that_may_have_arrived_goes_no_other_way(what: Misbehaviour) -> None:
    with odd_proxy(closes) as proxy, insi_as(issue_server(known().ca)) as insi:
        network = by(insi, Route(None), Route(proxy.address))
        for _ in range(2):  # on a new connection, then on a kept one
            insi.misbehave(what)
            with pytest.raises(AgentError):
                network.post(CARD, "urn:an:action", b"<x/>")
            assert network.post(CARD, "urn:an:action", b"<x/>").status == 500
        network.close()

        assert insi.received == 4
        assert proxy.heads == []


def test_a_server_that_is_not_believed_is_sought_by_no_other_way() -> None:
    with odd_proxy(closes) as proxy, insi_as(issue_server(make_ca("Inspection TLS du CHU"))) as insi:
        with pytest.raises(AgentError) as error:
            by(insi, Route(None), Route(proxy.address)).post(CARD, "urn:an:action", b"<x/>")

        assert error.value.code is Code.INSI_INTERCEPTED
        assert proxy.heads == []


def test_a_list_whose_host_the_direct_way_does_not_reach_comes_by_the_proxy_behind_it() -> None:
    with list_host() as proxy:
        chain = igc(crl="http://listes.invalid/acr-el.crl")
        proxy.at = {
            "http://listes.invalid/acr-el.crl": make_crl(chain.root),
            "http://listes.invalid/aci-el-org.crl": make_crl(chain.ca),
        }
        with insi_as(issue_server(chain.ca, crl="http://listes.invalid/aci-el-org.crl")) as insi:
            reply = ask(
                insi,
                anchors=chain.anchors,
                routes=lambda _url: [Route(None), Route(proxy.url("").rstrip("/"))],
                limits=Limits(revocation="hard"),
            )
            assert reply.warnings == ()


def test_the_lists_are_read_through_a_real_proxy_as_the_messages_are(
    lists: ListHost, chain: Igc, insi: SimulatedInsi, tmp_path: Path
) -> None:
    """With its account, and past one that is down."""
    with tinyproxy(tmp_path, ("poste", "secret")) as proxy:
        with audited("socket.connect", lambda _, details: details[1][1]) as ports:
            reply = ask(
                insi,
                anchors=chain.anchors,
                routes=lambda _url: [nobody(), Route(proxy.address, basic("poste", "secret"))],
                limits=HARD,
            )
        said = proxy.said()

    assert reply.warnings == ()
    assert sorted(lists.asked) == ["/aci-el-org.crl", "/acr-el.crl"]
    assert len([port for port in ports if port == proxy.port]) == 3
    assert [said.count(f"GET {lists.url(path)} ") for path in lists.asked] == [1, 1]


def test_a_way_to_the_lists_that_is_not_found_in_time_costs_no_more_than_they_may(
    lists: ListHost, chain: Igc, insi: SimulatedInsi
) -> None:
    """A script that hangs for their host alone."""
    found, returned = threading.Event(), list[bool]()

    def routes(url: str) -> list[Route]:
        if url.startswith("http:"):
            returned.append(found.wait(10))
        return [Route(None)]

    endpoint = Endpoint(insi.url(AuthMode.CPX), chain.anchors)
    network = HttpTeleservice(lambda _: endpoint, routes=routes, limits=SOFT)

    assert network.post(CARD, "urn:an:action", b"<x/>").warnings == UNCHECKED
    assert returned == []
    found.set()
    network.close()
    assert lists.asked == []


def test_a_proxy_that_does_not_know_us_gives_no_list(
    lists: ListHost, chain: Igc, insi: SimulatedInsi, tmp_path: Path
) -> None:
    with tinyproxy(tmp_path, ("poste", "secret")) as proxy:
        reply = ask(
            insi,
            anchors=chain.anchors,
            routes=lambda url: [Route(proxy.address if url.startswith("http:") else None)],
            limits=SOFT,
        )

    assert reply.warnings == UNCHECKED
    assert lists.asked == []
