"""The ways to INSi: what the settings and scripts make of them, and real proxies on the loopback."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Proxy, Source, load
from agent.errors import AgentError, Code
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.faults import may_repeat
from agent.insi.http import ClientMaterial, Endpoint, HttpTeleservice, Limits
from agent.insi.ports import Sender
from agent.insi.proxy import KEPT_S, Route, Routes, basic, judge_answer, parse_answer
from agent.model import AuthMode
from agent.simulator.pki import issue_server, make_ca
from tests.insi.conftest import World, ask
from tests.insi.test_http import QUERY
from tests.parts.odd_proxy import Behaviour, answers, closes, hangs, intercepts, odd_proxy
from tests.parts.tinyproxy import tinyproxy

INSI = "https://insi.example/lps"
USER, PASSWORD = "compte-du-proxy", "mot-de-passe-du-proxy"


def fixed(**settings: Any) -> Proxy:
    return Proxy.model_validate(settings)


def explicit(address: str, password: str | None = None) -> Routes:
    account = {} if password is None else {"user": USER}
    return Routes(fixed(use="explicit", address=address, **account), lambda: password)


@contextmanager
def through(routes: Routes, world: World, insi: SimulatedInsi, **limits: Any) -> Iterator[HttpTeleservice]:
    """The real client, by these routes."""

    def endpoint(sender: Sender) -> Endpoint:
        own = ClientMaterial(world.organisation.chain_pem, world.organisation.key)
        return Endpoint(insi.url(sender.mode), world.ca.pem, client=own)

    network = HttpTeleservice(endpoint, limits=Limits(**limits), routes=routes.to)
    try:
        yield network
    finally:
        network.close()


def refusal(routes: Routes, world: World, insi: SimulatedInsi, **limits: Any) -> AgentError:
    """Why a message did not go; INSi got none."""
    with through(routes, world, insi, **limits) as network, pytest.raises(AgentError) as refused:
        ask(network, AuthMode.ORGANISATION, QUERY)
    assert insi.requests == []
    return refused.value


# ---------------------------------------------------------------- settings


def test_without_a_proxy_the_way_is_direct_and_no_password_is_asked_for() -> None:
    def nobody() -> str | None:
        raise AssertionError

    assert Routes(fixed(user=USER), nobody).to(INSI) == [Route(None)]


def test_the_account_goes_with_the_proxy_and_does_not_print() -> None:
    (route,) = explicit("http://proxy.example:3128", PASSWORD).to(INSI)

    assert route == Route("http://proxy.example:3128", basic(USER, PASSWORD))
    assert repr(route) == "Route(address='http://proxy.example:3128')"


def test_an_account_without_a_password_in_the_keyring_is_said_before_anything_is_sent() -> None:
    routes = Routes(fixed(use="explicit", address="http://proxy.example", user=USER), lambda: None)

    with pytest.raises(AgentError) as refused:
        routes.to(INSI)

    assert refused.value.code is Code.PROXY_AUTHENTICATION


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"use": "explicit"}, "proxy"),
        ({"use": "script"}, "proxy"),
        ({"use": "script", "script": "proxy.pac"}, "proxy"),
        ({"use": "script", "script": "ftp://host/proxy.pac"}, "proxy"),
        ({"use": "script", "script": "http://user:word@host/proxy.pac"}, "proxy"),
        ({"use": "explicit", "address": "http://proxy", "user": "a:b"}, "proxy"),
        ({"use": "explicit", "address": "https://proxy"}, "proxy.address"),
        ({"use": "explicit", "address": "http://user:word@proxy"}, "proxy.address"),
        ({"use": "explicit", "address": "http://proxy/"}, "proxy.address"),
        ({"use": "explicit", "address": "http://proxy:0"}, "proxy.address"),
        ({"use": "explicit", "address": "http://proxy:99999"}, "proxy.address"),
        ({"use": "explicit", "address": "http://[1:2]:3128"}, "proxy.address"),
        ({"use": "system"}, "proxy"),  # on Windows alone
    ],
)
def test_a_way_that_lacks_what_it_needs_is_refused_by_name(wrong: dict[str, str], setting: str) -> None:
    with pytest.raises(AgentError) as refused:
        load([(Source.MACHINE, {"proxy": wrong})])

    assert (refused.value.code, refused.value.facts["setting"]) == (Code.CONFIG_INVALID, setting)
    assert "word" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://proxy", "http://proxy.example:65535", "http://[2001:db8::1]:3128"])
def test_a_proxy_has_a_name_or_an_address_and_perhaps_a_port(address: str) -> None:
    assert fixed(use="explicit", address=address).address == address


@pytest.mark.parametrize("found", [{"use": "script", "script": "http://wpad/wpad.dat"}, {"use": "system"}])
def test_no_account_is_set_where_whoever_answers_on_the_network_names_the_proxy(found: dict[str, str]) -> None:
    """Basic would be sent to it unasked."""
    with pytest.raises(AgentError) as refused:
        load([(Source.MACHINE, {"proxy": {**found, "user": USER}})])

    assert "proxy.user" in refused.value.detail
    assert USER not in str(refused.value)


@pytest.mark.parametrize("script", ["https://intranet.example/proxy.pac", "/etc/insi-agent/proxy.pac"])
def test_an_account_goes_with_a_script_that_nobody_else_writes(script: str) -> None:
    assert fixed(use="script", script=script, user=USER).user == USER


# ---------------------------------------------------------------- scripts


class Script:
    """A script's answers, one after the other, and what it was asked; an error is raised."""

    def __init__(self, *said: str | AgentError) -> None:
        self.said, self.asked = list(said), list[tuple[str, str]]()

    def __call__(self, scheme: str, host: str) -> str:
        self.asked.append((scheme, host))
        answer = self.said.pop(0)
        if isinstance(answer, AgentError):
            raise answer
        return answer


def scripted(script: Script, now: Callable[[], float] = lambda: 0.0, **more: str) -> Routes:
    return Routes(fixed(use="script", script="/proxy.pac", **more), lambda: PASSWORD, script=script, now=now)


def test_a_scripts_proxies_come_in_its_order_and_each_gets_the_account_but_the_direct_way() -> None:
    routes = scripted(Script("PROXY a.example:3128; PROXY b.example; DIRECT"), user=USER).to(INSI)

    proof = basic(USER, PASSWORD)
    assert routes == [Route("http://a.example:3128", proof), Route("http://b.example:80", proof), Route(None)]


def test_a_script_is_told_scheme_and_host_alone_and_asked_once_in_five_minutes_for_each_host() -> None:
    clock = [0.0]
    script = Script("DIRECT", "PROXY a:1", "PROXY a:2")
    routes = scripted(script, now=lambda: clock[0])

    first = [routes.to(f"https://insi.example:8443/lps?{number}") for number in range(3)]
    other = routes.to("https://other.example/")
    clock[0] = KEPT_S
    later = routes.to(INSI)

    assert first == [[Route(None)]] * 3
    assert (other, later) == ([Route("http://a:1")], [Route("http://a:2")])
    assert script.asked == [("https", "insi.example"), ("https", "other.example"), ("https", "insi.example")]


def test_a_script_that_failed_is_asked_again() -> None:
    routes = scripted(Script(AgentError(Code.PROXY_SCRIPT, "too long"), "DIRECT"))

    with pytest.raises(AgentError):
        routes.to(INSI)

    assert routes.to(INSI) == [Route(None)]


@pytest.mark.parametrize(
    ("said", "ways"),
    [
        (None, [None]),
        ("", [None]),
        ("DIRECT", [None]),
        (" direct ;", [None]),
        ("PROXY [2001:db8::1]:3128", ["http://[2001:db8::1]:3128"]),
        ("PROXY p:65535", ["http://p:65535"]),
        ("proxy\tp.example:8080;PROXY p.example:8080", ["http://p.example:8080"]),
        ("HTTP p:1; DIRECT", ["http://p:1", None]),
        ("SOCKS s:1080; PROXY p:1", ["http://p:1"]),  # as a proxy that is down
        ("SOCKS5 s:1080; DIRECT", [None]),
    ],
)
def test_what_a_script_answers_is_read_as_browsers_read_it(said: str | None, ways: list[str | None]) -> None:
    assert parse_answer(said) == ways


@pytest.mark.parametrize(
    "said",
    [
        "SOCKS s:1080",
        "SOCKS5 s:1; SOCKS s:1",
        "HTTPS p:443",
        "PROXY p:65536",
        "PROXY p:0",
        "PROXY [1::2::3]:1",
        "PROXY p:1/x",
        "PROXY u@p:1",
        "p:1",
        ";",
        3,
    ],
)
def test_a_script_that_gives_no_way_of_ours_is_refused_with_its_answer(said: object) -> None:
    with pytest.raises(AgentError) as refused:
        parse_answer(said)

    assert refused.value.code is Code.PROXY_SCRIPT
    assert refused.value.facts["answer"] == (said if isinstance(said, str) else "int")


@given(
    st.none()
    | st.text()
    | st.integers()
    | st.lists(st.sampled_from(["PROXY a:1", "DIRECT", ";", " ", "\n"])).map("".join)
)
def test_whatever_a_script_answers_it_is_ways_or_one_error(said: object) -> None:
    try:
        ways = parse_answer(said)
    except AgentError as error:
        assert error.code is Code.PROXY_SCRIPT
        assert str(error.facts["answer"]).isprintable()
    else:
        assert ways
        assert all(way is None or way.startswith("http://") for way in ways)


# ---------------------------------------------------------------- what a proxy answers


@pytest.mark.parametrize(
    ("fields", "code", "schemes"),
    [
        (b'Proxy-Authenticate: Basic realm="a, NTLM"', Code.PROXY_AUTHENTICATION, None),
        (b"proxy-authenticate: NTLM\r\nPROXY-AUTHENTICATE: basic realm=x", Code.PROXY_AUTHENTICATION, None),
        (b"X: y", Code.PROXY_AUTHENTICATION, None),
        (b"Proxy-Authenticate: NTLM", Code.PROXY_SCHEME, ["NTLM"]),
        (b"Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM", Code.PROXY_SCHEME, ["Negotiate", "NTLM"]),
        (
            b'Proxy-Authenticate: Negotiate, Digest realm="Basic", nonce = "Basic b"',
            Code.PROXY_SCHEME,
            ["Negotiate", "Digest"],
        ),
        (b"Proxy-Authenticate: NTLM TlRMTVNTUAAC==", Code.PROXY_SCHEME, ["NTLM"]),
    ],
)
def test_a_proxy_that_asks_who_we_are_is_told_apart_by_what_it_would_take(
    fields: bytes, code: Code, schemes: list[str] | None
) -> None:
    with pytest.raises(AgentError) as refused:
        judge_answer(b"HTTP/1.1 407 Proxy Authentication Required\r\n" + fields + b"\r\n\r\nbody")

    assert (refused.value.code, refused.value.facts.get("schemes")) == (code, schemes)


_HEADS = st.builds(
    lambda *parts: b"".join(parts),
    st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b""]),
    st.sampled_from([b"200", b"407", b"403", b"999", b"1"]),
    st.binary(max_size=20) | st.just(b" "),
    st.lists(st.sampled_from([b"\r\n", b"Proxy-Authenticate: ", b"NTLM", b",", b'"', b"=", b"a"])).map(b"".join),
)


@given(st.binary() | _HEADS)
def test_whatever_a_proxy_answers_it_is_a_tunnel_or_an_error_of_ours(answer: bytes) -> None:
    try:
        judge_answer(answer)
    except AgentError as error:
        assert error.code in (Code.PROXY_AUTHENTICATION, Code.PROXY_SCHEME, Code.PROXY_REFUSED)
    else:
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) and answer.endswith(b"\r\n\r\n")


# ---------------------------------------------------------------- a real proxy


def test_messages_go_through_a_real_proxy_in_one_tunnel(world: World, insi: SimulatedInsi, tmp_path: Path) -> None:
    with tinyproxy(tmp_path) as proxy, through(explicit(proxy.address), world, insi) as network:
        said = [ask(network, AuthMode.ORGANISATION, QUERY).code for _ in range(3)]

        assert said == ["00"] * 3
        assert proxy.tunnels() == [insi.url(AuthMode.ORGANISATION).split("/")[2]]


def test_a_real_proxy_lets_its_account_pass_and_nobody_else(world: World, insi: SimulatedInsi, tmp_path: Path) -> None:
    with tinyproxy(tmp_path, (USER, PASSWORD)) as proxy:
        wrong = refusal(explicit(proxy.address, "faux"), world, insi)
        without = refusal(explicit(proxy.address), world, insi)
        with through(explicit(proxy.address, PASSWORD), world, insi) as network:
            assert ask(network, AuthMode.ORGANISATION, QUERY).code == "00"

        assert [wrong.code, without.code] == [Code.PROXY_AUTHENTICATION] * 2
        assert "faux" not in f"{wrong} {wrong.facts}"
        assert len(insi.requests) == 1
        assert PASSWORD not in proxy.said()


def test_a_server_that_a_real_proxy_cannot_reach_is_the_proxys_refusal(world: World, tmp_path: Path) -> None:
    nobody = Endpoint("https://127.0.0.1:1/lps", world.ca.pem)
    with tinyproxy(tmp_path) as proxy:
        network = HttpTeleservice(lambda _sender: nobody, routes=explicit(proxy.address).to)
        with pytest.raises(AgentError) as refused:
            network.post(Sender(AuthMode.CPX), "urn:an:action", b"<x/>")

    assert refused.value.code is Code.PROXY_REFUSED
    assert refused.value.facts["status"] >= 500
    assert refused.value.row.retryable is may_repeat(refused.value, QUERY.operation) is False


def test_a_proxy_that_is_down_gives_way_to_the_next_one(world: World, insi: SimulatedInsi, tmp_path: Path) -> None:
    with odd_proxy(closes) as gone:
        pass
    with tinyproxy(tmp_path) as proxy:
        script = Script(f"PROXY {gone.address[7:]}; PROXY {proxy.address[7:]}")
        with through(scripted(script), world, insi) as network:
            assert ask(network, AuthMode.ORGANISATION, QUERY).code == "00"

        assert len(proxy.tunnels()) == 1


# ---------------------------------------------------------------- proxies on a bad day


@pytest.mark.parametrize(
    ("behaviour", "code", "facts"),
    [
        (answers(b"HTTP/1.1 403 Forbidden\r\n\r\n"), Code.PROXY_REFUSED, {"status": 403}),
        (answers(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nbody"), Code.PROXY_REFUSED, {"status": 502}),
        (answers(b"HTTP/1.0 503\r\n\r\n"), Code.PROXY_REFUSED, {"status": 503}),
        (answers(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n"), Code.PROXY_REFUSED, {"status": 504}),
        (
            answers(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n"),
            Code.PROXY_REFUSED,
            {"status": 302},
        ),
        (answers(b"HTTP/1.1 200 OK\r\n\r\n<html>"), Code.PROXY_REFUSED, {"status": 200}),
        (answers(b"SSH-2.0-OpenSSH_9.6\r\n"), Code.PROXY_REFUSED, {}),
        (answers(b"x" * 100_000), Code.PROXY_REFUSED, {}),
        (answers(b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n"), Code.PROXY_SCHEME, {"schemes": ["NTLM"]}),
        (answers(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"), Code.PROXY_AUTHENTICATION, {}),
        (closes, Code.PROXY_UNREACHABLE, {}),
        (hangs, Code.PROXY_UNREACHABLE, {}),
    ],
)
def test_each_refusal_of_a_proxy_has_its_code_and_nothing_reaches_insi(
    world: World, insi: SimulatedInsi, behaviour: Behaviour, code: Code, facts: dict[str, Any]
) -> None:
    with odd_proxy(behaviour) as proxy:
        refused = refusal(explicit(proxy.address), world, insi, connect_s=1.0)

        assert (refused.code, refused.facts) == (code, facts)
        assert len(proxy.heads) == 1


def test_a_proxy_whose_name_is_unknown_is_unreachable(world: World, insi: SimulatedInsi) -> None:
    assert refusal(explicit("http://proxy.invalid:3128"), world, insi).code is Code.PROXY_UNREACHABLE


def test_a_proxy_is_told_the_servers_name_and_nothing_of_the_message(world: World, insi: SimulatedInsi) -> None:
    with odd_proxy(closes) as proxy:
        refusal(explicit(proxy.address, PASSWORD), world, insi)

        target = insi.url(AuthMode.ORGANISATION).split("/")[2]
        assert proxy.heads[0].decode().splitlines() == [
            f"CONNECT {target} HTTP/1.1",
            f"Host: {target}",
            "User-Agent: insi-agent",
            f"Proxy-Authorization: {basic(USER, PASSWORD)}",
            "",
        ]


def test_equipment_that_looks_into_tls_is_told_from_insi_and_hears_nothing(
    world: World, insi: SimulatedInsi, tmp_path: Path
) -> None:
    shown = issue_server(make_ca("AC de l'inspection du réseau"))
    (tmp_path / "shown.pem").write_bytes(shown.chain_pem + shown.key_pem)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "shown.pem")
    with odd_proxy(intercepts(served)) as proxy:
        refused = refusal(explicit(proxy.address), world, insi)

    assert refused.code is Code.INSI_INTERCEPTED
    assert len(proxy.heads) == 1
    assert b"".join(proxy.heard) == b""
