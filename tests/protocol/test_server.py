"""The door over real sockets: refusals, discovery, frames, ports."""

import contextlib
import http.client
import json
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from agent.client import ask
from agent.errors import AgentError, Code
from agent.places import find_running
from agent.protocol.server import MAX_FRAME_BYTES, loopback_sockets
from tests.parts.agent import HELLO, SITE, RefusedError, Simulation, Site


def answer(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a plain HTTP request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return found


def knock(port: int, **changed: object) -> int:
    """The HTTP status that refuses this handshake."""
    options: dict[str, object] = {"origin": Origin(SITE), "subprotocols": [Subprotocol("insi-agent.v1")]}
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(f"ws://127.0.0.1:{port}/", compression=None, proxy=None, **{**options, **changed}),  # type: ignore[arg-type]
    ):
        pass
    return refused.value.response.status_code


def test_discovery_names_the_product_and_lets_allowed_origins_read_it(agent: Simulation) -> None:
    status, headers, body = answer(agent.port, "/.well-known/insi-agent", Origin=SITE)

    assert status == 200
    assert set(json.loads(body)) == {"product", "version", "api", "instanceId"}
    assert headers["access-control-allow-origin"] == SITE
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_discovery_says_nothing_of_cards_and_reflects_nothing(agent: Simulation) -> None:
    status, headers, body = answer(agent.port, "/.well-known/insi-agent", Origin="https://evil.example")

    assert status == 200
    assert "access-control-allow-origin" not in headers
    assert b"evil" not in body
    assert b"Simulateur" not in body


def test_a_rebound_name_is_421_everywhere_and_not_reflected(agent: Simulation) -> None:
    for path in ("/", "/.well-known/insi-agent"):
        status, _, body = answer(agent.port, path, Host=f"evil.example:{agent.port}")
        assert status == 421
        assert b"evil" not in body


@pytest.mark.parametrize("path", ["/", "/index.html", "/.well-known/other", "/health"])
def test_no_other_get_has_content(agent: Simulation, path: str) -> None:
    status, _, body = answer(agent.port, path, Origin=SITE)

    assert status in (400, 404)
    assert len(body) < 40


def test_a_page_that_is_not_allowed_is_403(simulation: Callable[..., Simulation]) -> None:
    agent = simulation('[origins]\nunknown = "refuse"\n')

    assert knock(agent.port, origin=Origin("https://evil.example")) == 403
    assert knock(agent.port, origin=None) == 403


def test_no_subprotocol_is_400_and_another_path_404(agent: Simulation) -> None:
    assert knock(agent.port, subprotocols=None) == 400
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            f"ws://127.0.0.1:{agent.port}/other",
            origin=Origin(SITE),
            subprotocols=[Subprotocol("insi-agent.v1")],
            proxy=None,
        ),
    ):
        pass
    assert refused.value.response.status_code == 404


def test_a_duplicated_origin_is_400(agent: Simulation) -> None:
    with socket.create_connection(("127.0.0.1", agent.port)) as raw:
        raw.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{agent.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: insi-agent.v1\r\nOrigin: {SITE}\r\nOrigin: {SITE}\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_more_conversations_than_the_setting_are_429(simulation: Callable[..., Simulation]) -> None:
    agent = simulation("[door]\nconnections = 2\n")
    agent.site()
    agent.site()

    assert knock(agent.port) == 429


def test_disabled_by_policy_is_503(simulation: Callable[..., Simulation]) -> None:
    agent = simulation("disabled = true\n")

    assert knock(agent.port) == 503
    assert answer(agent.port, "/.well-known/insi-agent")[0] == 503


def test_an_oversized_frame_is_closed_1009_and_others_are_served(agent: Simulation, site: Site) -> None:
    other = agent.site()
    site.socket.send("x" * (MAX_FRAME_BYTES + 1))

    with pytest.raises(ConnectionClosedError) as closed:
        site.call("agent.status")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert other.call("agent.status")["environment"] == "simulated"


def test_a_binary_frame_is_closed_1003(site: Site) -> None:
    site.socket.send(b"\x00\x01")

    with pytest.raises(ConnectionClosedError) as closed:
        site.call("agent.status")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


def test_twenty_malformed_messages_close_4004(site: Site) -> None:
    for _ in range(20):
        site.socket.send("{")

    for _ in range(20):
        assert json.loads(site.socket.recv())["id"] is None
    with pytest.raises(ConnectionClosedError) as closed:
        site.socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4004


def test_unknown_method_and_unknown_member_leave_the_conversation_open(site: Site) -> None:
    assert site.refusal("card.steal").error["code"] == -32601
    assert site.refusal("vitale.read", raeder="x").error["data"] == {"member": "raeder"}
    assert site.call("agent.status")["cardService"] is True


def test_nothing_listens_beyond_loopback(agent: Simulation) -> None:
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1] for fields in listening if fields[3] == "0A"}
    port = f"{agent.port:04X}"

    assert {address.split(":")[0] for address in addresses if address.endswith(f":{port}")} == {"0100007F"}


def test_another_program_on_the_first_port_moves_us_to_the_next(simulation: Callable[..., Simulation]) -> None:
    """Held on one of the two loopback addresses only: that port is not ours to share."""
    family = socket.AF_INET6 if Path("/proc/net/if_inet6").exists() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as squatter:
        squatter.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        squatter.listen()
        held = squatter.getsockname()[1]
        free = _free_port()
        agent = simulation(f"ports = [{held}, {free}]\n", port=None)

        assert agent.port == free
        assert agent.site().call("agent.status")["cardService"] is True


def test_all_ports_held_says_so(simulation: Callable[..., Simulation]) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        with pytest.raises(AgentError) as refused:
            simulation(port=squatter.getsockname()[1])
    assert refused.value.code is Code.PORTS_BUSY


def _free_port() -> int:
    listeners = loopback_sockets(0)
    assert listeners
    port: int = listeners[0].getsockname()[1]
    for listener in listeners:
        listener.close()
    return port


def test_the_command_line_enters_with_the_token_of_a_private_file(agent: Simulation) -> None:
    running = find_running(agent.places.runtime)
    assert running is not None

    (status,) = ask(running, ("agent.status", {}))
    assert status["environment"] == "simulated"
    assert stat.S_IMODE((agent.places.runtime / "agent.json").stat().st_mode) == 0o600


def test_a_wrong_token_and_a_stopped_agent_are_not_running(agent: Simulation) -> None:
    running = find_running(agent.places.runtime)
    assert running is not None
    wrong = type(running)(running.port, "wrong", running.pid)

    with pytest.raises(AgentError) as refused:
        ask(wrong, ("agent.status", {}))
    assert refused.value.code is Code.AGENT_NOT_RUNNING


def test_revoked_rights_close_4001_and_new_ones_are_pushed(simulation: Callable[..., Simulation]) -> None:
    origin = "https://dossier.example"
    agent = simulation(f'[[origins.allowed]]\norigin = "{origin}"\n')
    site, other = agent.site(origin=origin), agent.site()
    config = agent.places.data.parent.parent / "config.toml"
    config.write_text('profile = "consumer"\n')
    agent.reload()

    denied = site.notified("agent.changed")
    assert (denied["originState"], denied["capabilities"]) == ("denied", [])
    with pytest.raises(ConnectionClosedError) as closed:
        site.call("agent.status")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    changed = other.notified("agent.changed")
    assert changed["profile"] == "consumer"
    assert {"api", "capabilities", "receiptKey", "warnings"} <= set(changed)


def test_a_wrong_file_keeps_the_settings_that_were_good(simulation: Callable[..., Simulation]) -> None:
    origin = "https://dossier.example"
    agent = simulation(f'[[origins.allowed]]\norigin = "{origin}"\n')
    site = agent.site(origin=origin)
    (agent.places.data.parent.parent / "config.toml").write_text("profile = 3\n")
    agent.reload()

    assert site.call("agent.status")["profile"] == "repository"


def test_the_simulator_can_be_forbidden(simulation: Callable[..., Simulation]) -> None:
    with pytest.raises(AgentError) as refused:
        simulation('simulate = "forbid"\n')
    assert refused.value.code is Code.SIMULATOR_FORBIDDEN


def frame(method: str, number: int | str, **params: object) -> bytes:
    """A request as one masked text frame; the mask is all zeroes."""
    text = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
    return b"\x81" + bytes([0x80 | 126]) + len(text).to_bytes(2, "big") + bytes(4) + text


class Deaf:
    """A page that says hello and watches the cards, then never reads again."""

    def __init__(self, port: int, origin: str = SITE) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: insi-agent.v1\r\nOrigin: {origin}\r\n\r\n".encode()
        )
        assert self.socket.recv(12) == b"HTTP/1.1 101"
        self.send("agent.hello", HELLO)
        self.send("cards.watch", {})

    def send(self, method: str, params: dict[str, object], number: int = 1) -> None:
        self.socket.sendall(frame(method, f"{method}-{number}", **params))

    def flood(self) -> None:
        """Ask until the agent has closed: what it would answer is far more than anybody keeps for us."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.send("agent.status", {})
            except OSError:
                return
        pytest.fail("never closed")

    def close(self) -> None:
        self.socket.close()


def test_a_page_that_stops_reading_is_closed_and_holds_up_nobody(agent: Simulation) -> None:
    deaf, watching = Deaf(agent.port), agent.site()
    watching.call("cards.watch")
    deaf.flood()
    agent.readers.insert("Simulateur CPS 0", None)

    assert watching.notified("card.removed")["reader"] == "Simulateur CPS 0"
    assert watching.call("agent.status")["cpxSession"]["open"] is False
    deaf.close()


def test_deaf_pages_hold_up_neither_revocation_nor_the_end(simulation: Callable[..., Simulation]) -> None:
    origin = "https://dossier.example"
    agent = simulation(f'[[origins.allowed]]\norigin = "{origin}"\n')
    deaf = [Deaf(agent.port, origin) for _ in range(3)]
    for page in deaf:
        for number in range(300):
            page.send("agent.status", {}, number)
    hearing = agent.site(origin=origin)
    (agent.places.data.parent.parent / "config.toml").write_text("")
    agent.reload()

    with pytest.raises(ConnectionClosedError) as closed:
        hearing.call("agent.status")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4001
    for page in deaf:
        page.close()


def test_a_call_cancelled_in_the_same_breath_is_answered_and_its_id_free_again(site: Site) -> None:
    for number in range(1000, 1070):  # more than may be in flight
        both = frame("vitale.read", number, wait=100) + frame("operation.cancel", f"c{number}", id=number)
        site.socket.socket.sendall(both)
        with contextlib.suppress(RefusedError):
            site.reply(number)
    assert site.call("vitale.read")["holders"]


def test_the_command_line_gets_in_when_pages_hold_every_place(simulation: Callable[..., Simulation]) -> None:
    agent = simulation("[door]\nconnections = 1\n")
    agent.site()
    running = find_running(agent.places.runtime)
    assert running is not None

    assert ask(running, ("agent.status", {}))[0]["environment"] == "simulated"


def test_silent_connections_end_with_the_agent(agent: Simulation) -> None:
    """A browser that waits for the person's permission holds a connection that says nothing."""
    silent = [socket.create_connection(("127.0.0.1", agent.port), timeout=10) for _ in range(3)]
    silent[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    agent.site().call("agent.status")  # they are accepted by now
    agent.restart()

    for one in silent:
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
        one.close()
