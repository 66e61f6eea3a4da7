"""The handshake on raw sockets, line by line of the defence list: D1 to D12, and D16 at the door itself."""

import contextlib
import json
import logging
import pwd
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agent import config
from agent.model import Right
from agent.peers import Link
from agent.protocol.origins import Caller, Doorkeeper
from agent.protocol.server import MAX_REQUEST_BYTES
from agent.simulator.pki import issue_server, make_ca
from tests.fuzz.silent import Holder
from tests.parts.desktop import until
from tests.parts.knocker import NOBODY, Knocker
from tests.protocol.door import (
    DISCOVERY,
    PATIENCE_S,
    RIGHTS,
    SITE,
    TOKEN,
    Door,
    answer,
    ended,
    eventually,
    frame,
    headers_of,
    heard,
    status_of,
    upgrade,
)

NATIVE_HEADERS = {"Origin": None, "Authorization": f"Bearer {TOKEN}"}
MARK = "zq-mark-zq"  # sent in every place a request has; nothing may come back


@pytest.fixture
def door() -> Iterator[Door]:
    with Door() as made:
        yield made


@pytest.fixture
def doors() -> Iterator[Callable[..., Door]]:
    """Doors of other settings; all are shut at the end."""
    with contextlib.ExitStack() as opened:

        def made(*, doorkeeper: Doorkeeper | None = None, silent_s: float = 120, **settings: object) -> Door:
            return opened.enter_context(
                Door(
                    settings=config.Door.model_validate(settings),
                    doorkeeper=(lambda: doorkeeper) if doorkeeper else None,
                    silent_s=silent_s,
                )
            )

        yield made


# ---------------------------------------------------------------- D1 to D4


def test_no_other_address_of_this_machine_answers(door: Door) -> None:
    """D1. 127.0.0.2 is always there; the others are those of its network cards."""
    found = [one.address for card in psutil.net_if_addrs().values() for one in card if one.family == socket.AF_INET]
    found += [one.address for card in psutil.net_if_addrs().values() for one in card if one.family == socket.AF_INET6]
    others = {"127.0.0.2", *found} - {"127.0.0.1", "::1"}

    for address in others:
        if not address.startswith("fe80"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, door.port), timeout=PATIENCE_S)
    assert door.status() == 101


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",  # a rebound name
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.1:{port}",
        "0.0.0.0:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "127.0.0.1:{port}@evil.example",
        "user@127.0.0.1:{port}",
        "",
    ],
)
def test_a_host_that_is_not_ours_is_421_for_pages_and_sockets_and_not_repeated(door: Door, host: str) -> None:
    """D2. A rebound page sends no Origin with a GET: only Host tells."""
    named = host.format(port=door.port)
    for path, origin in ((DISCOVERY, None), ("/", SITE), ("/", f"http://{named}")):
        plain = {"Upgrade": None, "Connection": None} if path == DISCOVERY else {}
        reply = door.ask(upgrade(door.port, path=path, headers={"Host": named, "Origin": origin, **plain}))
        assert status_of(reply) == 421
        assert b"evil" not in reply


@pytest.mark.parametrize(
    "origin",
    [
        None,  # missing
        "null",  # a sandboxed frame, a redirect, a file
        "",
        "file://",
        f"{SITE}.evil.com",
        "https://evil-ehr.example",
        "https://evilehr.example",
        "https://ehr.example@evil.com",
        "https://user@ehr.example",
        "https://ehr.example.",
        "https://ehr.example:8443",
        "https://ehr.example:443",
        "https://ehr.example:",
        "https://ehr.example/",
        "https://ehr.example/path",
        "http://ehr.example",
        "HTTPS://ehr.example",
        "https://EHR.example",
        "https://ehrxexample",  # the dot is no pattern
        "https://xn--hr-8ja.example",  # a look-alike, as a browser writes it
        "https://ehr%2eexample",
        "https://ehr.example https://evil.example",
        "https://ehr.example, https://evil.example",
        "https://ehr.example\x80",
        "https://" + "a" * 7000 + ".example",
        "ehr.example",
        "*",
        "native",  # our own word for the command line
        "chrome-extension://abcdefghijklmnop",
    ],
)
@pytest.mark.parametrize("asks", [False, True])
def test_only_exactly_an_allowed_origin_has_rights(doors: Callable[..., Door], origin: str | None, asks: bool) -> None:
    """D3, D4. Where the person may be asked, another https site may wait for the answer, and nothing else."""
    door = doors(doorkeeper=Doorkeeper({SITE: RIGHTS}, TOKEN, asks=asks))
    raw = None if origin is None else origin.encode("latin-1")
    with door.connect() as knocking:
        request = upgrade(door.port, headers={"Origin": None})
        knocking.sendall(request if raw is None else request[:-2] + b"Origin: " + raw + b"\r\n\r\n")
        status = status_of(answer(knocking))
        another_site = origin in {
            f"{SITE}.evil.com",
            "https://evil-ehr.example",
            "https://evilehr.example",
            "https://ehr.example:8443",
            "https://ehrxexample",
            "https://xn--hr-8ja.example",
        }

        assert status == (101 if asks and another_site else 403)
        assert door.callers() == ([Caller(str(origin), frozenset(), pending=True)] if status == 101 else [])


def test_a_header_that_decides_and_is_there_twice_is_400(door: Door) -> None:
    """D3. Also when both say the same."""
    for name, value in (("Origin", SITE), ("Host", f"127.0.0.1:{door.port}"), ("Authorization", f"Bearer {TOKEN}")):
        assert door.status(headers={name: [value, value]}) == 400
    assert door.status(headers={"Host": None}) == 400


def test_without_origin_only_the_token_enters(door: Door) -> None:
    """D4."""
    assert door.status(headers=NATIVE_HEADERS) == 101
    for wrong in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"bearer {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        "Bearer \xe9",
    ):
        assert door.status(headers={"Origin": None, "Authorization": wrong}) == 403
    assert door.status(headers={"Origin": "https://evil.example", "Authorization": f"Bearer {TOKEN}"}) == 403


# ---------------------------------------------------------------- D5 to D7


def refusals(door: Door) -> dict[int, bytes]:
    """A request for each status that a request can get, MARK in every place it has."""
    marked = {"X-Mark": MARK, "Referer": f"https://{MARK}.example/", "User-Agent": MARK, "Cookie": MARK}
    plain = {"Upgrade": None, "Connection": None}
    return {
        200: upgrade(door.port, path=DISCOVERY, headers={**marked, **plain, "Origin": f"https://{MARK}.example"}),
        400: upgrade(door.port, headers={**marked, "Sec-WebSocket-Key": MARK}),
        403: upgrade(door.port, headers={**marked, "Origin": f"https://{MARK}.example"}),
        404: upgrade(door.port, path=f"/{MARK}", headers=marked),
        405: upgrade(door.port, method="OPTIONS", headers={**marked, "Access-Control-Request-Method": MARK}),
        414: f"GET /{MARK}{'a' * 9000} HTTP/1.1\r\n".encode(),
        421: upgrade(door.port, headers={**marked, "Host": f"{MARK}.example:{door.port}"}),
        426: upgrade(door.port, headers={**marked, "Upgrade": MARK}),
        431: upgrade(door.port, headers={f"X-{MARK}-{number}": MARK for number in range(200)}),
        505: upgrade(door.port, version="HTTP/1.0", headers=marked),
    }


def test_every_answer_is_short_private_unframeable_and_repeats_nothing(door: Door) -> None:
    """D5, D6."""
    for status, request in refusals(door).items():
        reply = door.ask(request)
        head, headers, body = reply.partition(b"\r\n\r\n")[0], headers_of(reply), reply.partition(b"\r\n\r\n")[2]

        assert (status_of(reply), len(body) < 90) == (status, True)
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["vary"] == "Origin"
        assert not {"server", "date", "access-control-allow-origin", "set-cookie", "location"} & set(headers)
        assert MARK.encode() not in reply.lower(), head
    assert door.callers() == []


def test_an_error_of_our_own_is_500_and_tells_nothing(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """D5. The reason is for the log."""

    def broken() -> Doorkeeper:
        raise RuntimeError(MARK)

    door.doorkeeper = broken
    reply = door.ask(upgrade(door.port))

    assert status_of(reply) == 500
    assert reply.endswith(b"\r\n\r\n500 Internal Server Error\n")
    assert headers_of(reply)["cache-control"] == "no-store"
    assert any(record.exc_info for record in caplog.records)


def test_the_answer_of_discovery_is_for_allowed_origins_alone_and_wraps_itself_in_nothing(door: Door) -> None:
    """D5, D6. No star, no callback."""

    def discover(path: str, origin: str | None) -> bytes:
        return door.ask(
            upgrade(door.port, path=path, headers={"Origin": origin, "Upgrade": None, "Connection": "keep-alive"})
        )

    allowed, other, none = (discover(DISCOVERY, origin) for origin in (SITE, "https://evil.example", None))
    assert headers_of(allowed)["access-control-allow-origin"] == SITE
    assert "access-control-allow-credentials" not in headers_of(allowed)
    for reply in (other, none):
        assert "access-control-allow-origin" not in headers_of(reply)
    assert {reply.partition(b"\r\n\r\n")[2] for reply in (allowed, other, none)} == {
        json.dumps({"product": "insi-agent", "version": "0.0.0", "api": [1], "instanceId": "test"}).encode()
    }
    assert status_of(discover(f"{DISCOVERY}?callback=steal", SITE)) == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get"])
@pytest.mark.parametrize("path", ["/", DISCOVERY])
def test_no_method_but_get_is_answered(door: Door, method: str, path: str) -> None:
    """D7. No preflight is needed, so none is served."""
    reply = door.ask(upgrade(door.port, method=method, path=path))

    assert status_of(reply) == 405
    assert headers_of(reply)["allow"] == "GET"
    assert door.callers() == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"path": "/other"}, 404),
        ({"path": "//"}, 404),
        ({"path": "/?x=1"}, 404),
        ({"path": "http://evil.example/"}, 404),
        ({"path": "/../"}, 404),
        ({"path": DISCOVERY}, 404),
        ({"headers": {"Sec-WebSocket-Protocol": None}}, 400),
        ({"headers": {"Sec-WebSocket-Protocol": "other"}}, 400),
        ({"headers": {"Sec-WebSocket-Protocol": "INSI-AGENT.V1"}}, 400),
        ({"headers": {"Sec-WebSocket-Protocol": "insi-agent.v1;x"}}, 400),
        ({"headers": {"Upgrade": None}}, 426),
        ({"headers": {"Upgrade": "h2c"}}, 426),
        ({"headers": {"Upgrade": "websocket, h2c"}}, 426),
        ({"headers": {"Upgrade": ["websocket", "websocket"]}}, 426),
        ({"headers": {"Connection": "keep-alive"}}, 426),
        ({"headers": {"Connection": None}}, 426),
        ({"headers": {"Sec-WebSocket-Version": "8"}}, 400),
        ({"headers": {"Sec-WebSocket-Version": None}}, 400),
        ({"headers": {"Sec-WebSocket-Key": None}}, 400),
        ({"headers": {"Sec-WebSocket-Key": "AAAA"}}, 400),
        ({"version": "HTTP/1.0"}, 505),
        ({"version": "HTTP/2.0"}, 0),
        ({"headers": {"Content-Length": "4"}}, 0),
        ({"headers": {"Transfer-Encoding": "chunked"}}, 0),
    ],
)
def test_what_is_no_handshake_of_ours_allocates_no_conversation(
    door: Door, changed: dict[str, object], status: int
) -> None:
    """D7. 0: no HTTP that we understand, closed without a word."""
    with door.connect() as knocking:
        knocking.sendall(upgrade(door.port, **changed))  # type: ignore[arg-type]  # the table's rows
        assert status_of(answer(knocking)) == status
        assert door.callers() == []
    assert door.status() == 101


@pytest.mark.parametrize(
    "headers",
    [
        {"Connection": "keep-alive, Upgrade"},  # Firefox
        {"Upgrade": "WebSocket"},
        {"Sec-WebSocket-Protocol": "other, insi-agent.v1"},
        {"Host": "LOCALHOST:{port}"},
        {"Host": "[::1]:{port}"},
        {f"X-Header-{number}": "x" * 100 for number in range(100)},
    ],
)
def test_what_browsers_vary_enters(door: Door, headers: dict[str, str]) -> None:
    named = {name: value.format(port=door.port) for name, value in headers.items()}
    reply = door.ask(upgrade(door.port, headers=named))

    assert status_of(reply) == 101
    assert headers_of(reply)["sec-websocket-protocol"] == "insi-agent.v1"


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01", b"\x00" * 10_000, b"GET / HTTP/1.1\n\n", b"\r\n\r\n", b"x\r\n"]
)
def test_bytes_that_are_no_request_end_the_connection(doors: Callable[..., Door], junk: bytes) -> None:
    """D7."""
    door = doors(handshake_s=0.3)
    with door.connect() as knocking:
        knocking.sendall(junk)
        assert status_of(answer(knocking)) in (0, 400, 414)
    assert door.status() == 101


def test_a_request_that_never_ends_is_not_kept(doors: Callable[..., Door]) -> None:
    """D11. Each line is short enough, and there are few; their sum is what counts, whatever the clock."""
    door = doors(handshake_s=120)
    with door.connect() as knocking, contextlib.suppress(ConnectionError):
        knocking.sendall(b"GET / HTTP/1.1\r\n")
        for number in range(MAX_REQUEST_BYTES // 8000 + 1):
            knocking.sendall(f"X-{number}: {'a' * 8000}\r\n".encode())
        assert ended(knocking)
    assert door.status() == 101


# ---------------------------------------------------------------- D8 to D10


def close_code(talking: socket.socket) -> int:
    """The code of the close frame that must come next."""
    opcode, payload = heard(talking)
    assert opcode == 8
    return int.from_bytes(payload[:2], "big")


def test_an_oversized_message_is_1009_in_one_frame_or_in_many(door: Door) -> None:
    """D8. The length alone is enough: nothing of it needs to arrive."""
    with door.enter() as announcing:
        announcing.sendall(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + bytes(4))
        assert close_code(announcing) == 1009
    with door.enter() as talking:
        piece = b"\x80\xfe" + (60_000).to_bytes(2, "big") + bytes(4) + b"a" * 60_000
        talking.sendall(b"\x01" + piece[1:])
        with contextlib.suppress(ConnectionError):
            for _ in range(5):
                talking.sendall(b"\x00" + piece[1:])
        assert close_code(talking) == 1009


def test_a_flood_of_empty_fragments_is_closed_and_kept_nowhere(door: Door) -> None:
    """D9."""
    with door.enter() as talking:
        before = psutil.Process().memory_info().rss
        talking.sendall(frame(1, fin=False))
        with contextlib.suppress(ConnectionError):
            for _ in range(300):
                talking.sendall(frame(0, fin=False) * 1000)
        assert close_code(talking) == 1009
        assert psutil.Process().memory_info().rss - before < 16_000_000
    assert door.status() == 101


def test_compression_is_not_negotiated_and_a_compressed_frame_closes(door: Door) -> None:
    """D10."""
    with door.connect() as talking:
        talking.sendall(
            upgrade(door.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
        )
        reply = answer(talking)
        assert status_of(reply) == 101
        assert "sec-websocket-extensions" not in headers_of(reply)
        talking.sendall(frame(1, b"\xaa\x56\x4a\x04\x00", rsv1=True))
        assert close_code(talking) == 1002


@pytest.mark.parametrize("sent", [b"\x81\x01a", frame(3), frame(0), frame(9, fin=False), frame(8, b"\x03")])
def test_a_frame_against_the_rules_closes_1002(door: Door, sent: bytes) -> None:
    """D14. Unmasked, unknown, nothing to continue, a fragmented ping, half a close code."""
    with door.enter() as talking:
        talking.sendall(sent)
        assert close_code(talking) == 1002


def test_text_that_is_no_utf8_closes_1007(door: Door) -> None:
    """D14."""
    with door.enter() as talking:
        talking.sendall(frame(1, b"\xff\xfe"))
        assert close_code(talking) == 1007


# ---------------------------------------------------------------- D11


def test_a_handshake_byte_by_byte_is_cut_and_silence_is_not(doors: Callable[..., Door]) -> None:
    """D11. Who says nothing waits for the person's answer to the browser, and enters when it comes."""
    door = doors(handshake_s=0.3)
    with door.connect() as silent, door.connect() as slow:
        sent = 0
        for byte in upgrade(door.port):
            with contextlib.suppress(ConnectionError):
                slow.sendall(bytes([byte]))
            sent += 1
            if ended(slow, 0.02):
                break
        assert sent < len(upgrade(door.port))
        silent.sendall(upgrade(door.port))
        assert status_of(answer(silent)) == 101


def test_silence_has_its_end_too(doors: Callable[..., Door]) -> None:
    """D11. 120 s, here less."""
    door = doors(silent_s=0.2)
    with door.connect() as silent:
        assert ended(silent)
    assert door.status() == 101


def test_a_conversation_that_is_open_may_be_silent(doors: Callable[..., Door]) -> None:
    """D11. Its handshake is complete: neither clock is for it."""
    door = doors(handshake_s=0.1, silent_s=0.2)
    with door.enter() as talking:
        with door.connect() as silent:
            assert ended(silent)
        talking.sendall(frame(9, b"still here"))
        assert heard(talking) == (10, b"still here")


def test_with_300_silent_ones_a_new_good_one_enters_and_the_oldest_are_gone(doors: Callable[..., Door]) -> None:
    """D11."""
    door = doors(silent_per_process=4096)
    silent = [door.connect() for _ in range(300)]
    good = door.enter()

    assert [ended(one) for one in silent[:44]] == [True] * 44
    assert not any(ended(one, 0) for one in silent[46:])
    silent[-1].sendall(upgrade(door.port))
    assert status_of(answer(silent[-1])) == 101
    for one in (*silent, good):
        one.close()


def test_while_500_silent_ones_come_each_new_good_one_enters(door: Door) -> None:
    """D11. With the defaults, from one program: it may keep 64."""
    silent = []
    for _ in range(10):
        silent += [door.connect() for _ in range(50)]
        assert door.status() == 101
    assert eventually(lambda: sum(not ended(one, 0) for one in silent) <= 64)
    assert not ended(silent[-1], 0)
    for one in silent:
        one.close()


@pytest.mark.parametrize("uid", [None, NOBODY])
def test_while_500_silent_ones_that_come_back_at_once_are_held_each_new_good_one_enters(
    door: Door, uid: int | None
) -> None:
    """D11, D16. Another program, of ours or of another account; who came before it and says nothing yet stays."""
    waiting = door.connect()
    entered = []
    with Holder(door.port, 500, uid=uid) as holder:
        while holder.dropped() < 1000:  # each of them twice
            entered.append(door.status())
        waiting.sendall(upgrade(door.port))

        assert status_of(answer(waiting)) == 101
        assert (holder.held, len(entered) > 10, set(entered)) == (500, True, {101})
    waiting.close()


def test_no_flood_fills_the_door_above_its_ceiling(doors: Callable[..., Door]) -> None:
    """D11. Eight times the bound, whoever comes and however fast."""
    door = doors(silent=8, silent_per_process=4)
    lobby = door.server.lobby

    async def here() -> int:  # between two events of the door's loop
        return len(lobby)

    with Holder(door.port, 300) as holder:
        while holder.dropped() < 1000:
            assert door.run(here()) <= lobby.ceiling == 8 * 8


def test_another_account_gets_its_403_while_it_floods_us(door: Door) -> None:
    """D16. Nobody is dropped before he had his time to speak, he neither."""
    with Holder(door.port, 100, uid=NOBODY) as holder, Knocker(door.port, uid=NOBODY) as other:
        assert other.say(upgrade(door.port).decode()) == "HTTP/1.1 403 Forbidden"
        assert holder.held == 100


def test_70_silent_ones_of_another_program_cost_only_itself(door: Door) -> None:
    """D11."""
    waiting = [door.connect() for _ in range(3)]
    with Knocker(door.port, count=70) as other:
        assert other.closed(6) == [0, 1, 2, 3, 4, 5]
        for one in waiting:
            one.sendall(upgrade(door.port))
            assert status_of(answer(one)) == 101
            one.close()
        assert other.say(upgrade(door.port).decode()) == "HTTP/1.1 101 Switching Protocols"


# ---------------------------------------------------------------- D12


def test_more_conversations_of_one_origin_than_the_setting_are_429(doors: Callable[..., Door]) -> None:
    """D12. Another origin still gets in, and a place is free again as soon as its conversation ends."""
    other = "https://other.example"
    door = doors(connections_per_origin=2, doorkeeper=Doorkeeper({SITE: RIGHTS, other: RIGHTS}, TOKEN))
    first, second = door.enter(), door.enter()

    assert door.status() == 429
    assert len(door.callers()) == 2
    assert door.status(headers={"Origin": other}) == 101
    first.close()
    assert eventually(lambda: door.status() == 101)
    second.close()


def test_more_conversations_than_the_setting_are_429_but_for_the_command_line(doors: Callable[..., Door]) -> None:
    """D7, D12."""
    door = doors(connections=2)
    pages = [door.enter(), door.enter()]

    assert door.status() == 429
    assert door.status(headers=NATIVE_HEADERS) == 101
    for page in pages:
        page.close()


def test_four_sites_may_wait_for_the_person_and_a_fifth_is_429(doors: Callable[..., Door]) -> None:
    """D12. An allowed site is not held up by them; whoever is admitted makes room."""
    door = doors(doorkeeper=Doorkeeper({SITE: RIGHTS}, TOKEN, asks=True))
    waiting = [door.enter(headers={"Origin": f"https://site-{number}.example"}) for number in range(4)]

    assert door.status(headers={"Origin": "https://site-5.example"}) == 429
    assert door.status() == 101

    async def admit() -> None:
        next(one for one in door.server.conversations if one.caller.pending).admit(RIGHTS)

    door.run(admit())
    assert door.status(headers={"Origin": "https://site-5.example"}) == 101
    for one in waiting:
        one.close()


def test_one_site_holds_two_places_of_those_who_wait_and_others_find_room(doors: Callable[..., Door]) -> None:
    """D12."""
    door = doors(doorkeeper=Doorkeeper({SITE: RIGHTS}, TOKEN, asks=True))
    one, two = {"Origin": "https://one.example"}, {"Origin": "https://two.example"}
    waiting = [door.enter(headers=one) for _ in range(2)]

    assert door.status(headers=one) == 429
    waiting += [door.enter(headers=two), door.enter(headers={"Origin": "https://three.example"})]
    assert door.status(headers=two) == 429  # four wait
    waiting[0].close()
    assert eventually(lambda: door.status(headers=two) == 101)
    for one_of_them in waiting:
        one_of_them.close()


def test_a_site_that_waits_and_never_says_hello_keeps_no_place(doors: Callable[..., Door]) -> None:
    """D12. Without a hello nobody asks the person for it."""
    door = doors(doorkeeper=Doorkeeper({SITE: RIGHTS}, TOKEN, asks=True), handshake_s=0.3)
    mute = [door.enter(headers={"Origin": f"https://site-{number}.example"}) for number in range(4)]
    allowed = door.enter()

    assert [close_code(one) for one in mute] == [4001] * 4
    for one in mute:
        one.close()
    until(lambda: not any(caller.pending for caller in door.callers()), "their places are free")
    assert door.status(headers={"Origin": "https://site-5.example"}) == 101
    assert SITE in {caller.origin for caller in door.callers()}
    allowed.close()


def test_a_place_is_taken_by_the_handshake_not_by_what_comes_after(doors: Callable[..., Door]) -> None:
    """D12. Twenty requests in one breath find as many places as there are."""
    door = doors(connections_per_origin=3)
    knocking = [door.connect() for _ in range(20)]
    for one in knocking:
        one.sendall(upgrade(door.port))

    assert sorted(status_of(answer(one)) for one in knocking) == [101] * 3 + [429] * 17
    for one in knocking:
        one.close()


@pytest.mark.parametrize("early", [b"\xff\xff", frame(8), b"\x81\x05plain", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("origin", [SITE, "https://evil.example"])
def test_who_says_nonsense_before_it_is_answered_is_cut_and_breaks_nothing(
    door: Door, caplog: pytest.LogCaptureFixture, origin: str, early: bytes
) -> None:
    """RFC 6455 4.1: a client waits for the answer before it sends frames."""
    assert door.ask(upgrade(door.port, headers={"Origin": origin}) + early) == b""
    assert door.status() == 101
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


# ---------------------------------------------------------------- who waits, who loses


def test_who_waits_is_lost_only_when_the_site_is_turned_away_and_is_admitted_when_it_is_allowed(
    doors: Callable[..., Door],
) -> None:
    blocked, later, now = ("https://blocked.example", "https://later.example", "https://now.example")
    asks = Doorkeeper({SITE: RIGHTS}, TOKEN, asks=True)
    door = doors(doorkeeper=asks)
    talking = [door.enter(headers={"Origin": origin}) for origin in (SITE, blocked, later, now)]
    door.doorkeeper = lambda: Doorkeeper(
        {SITE: RIGHTS, now: frozenset(Right)},
        TOKEN,
        asks=True,
        turned_away=frozenset({blocked, now}),  # the configuration is stronger
    )

    async def judged() -> tuple[list[str], list[tuple[str, frozenset[Right]]]]:
        server = door.server
        return (
            [one.caller.origin for one in server.revoked()],
            [(one.caller.origin, rights) for one, rights in server.admissible()],
        )

    assert door.run(judged()) == ([blocked], [(now, frozenset(Right))])

    async def admit() -> None:
        for one, rights in door.server.admissible():
            one.admit(rights)

    door.run(admit())
    assert door.run(judged()) == ([blocked], [])
    door.doorkeeper = lambda: asks
    assert sorted(door.run(judged())[0]) == [now]  # its rights are gone again
    for one in talking:
        one.close()


# ---------------------------------------------------------------- D16


def test_another_users_program_is_403_everywhere_and_ours_enters(door: Door) -> None:
    """D16. A right Origin, the token, a question who we are: nothing helps."""
    for request in (
        upgrade(door.port),
        upgrade(door.port, headers=NATIVE_HEADERS),
        upgrade(door.port, path=DISCOVERY, headers={"Upgrade": None, "Connection": None}),
    ):
        with Knocker(door.port, uid=NOBODY) as other:
            assert other.say(request.decode()) == "HTTP/1.1 403 Forbidden"
        with Knocker(door.port) as own:
            assert own.say(request.decode()) in ("HTTP/1.1 101 Switching Protocols", "HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "settings",
    [{"local_proxies": [config.LocalProxy(account=pwd.getpwuid(NOBODY).pw_name)]}, {"same_user": False}],
)
def test_another_users_program_enters_where_the_administrator_says_so(
    doors: Callable[..., Door], settings: dict[str, object]
) -> None:
    """D16. An antivirus that passes the browser's connections on."""
    door = doors(**settings)
    with Knocker(door.port, uid=NOBODY) as other:
        assert other.say(upgrade(door.port).decode()) == "HTTP/1.1 101 Switching Protocols"
    assert door.status(headers={"Origin": "https://evil.example"}) == 403


class Blind:
    """A system that does not tell who is at the other end."""

    def is_welcome(self, _link: Link, _proxies: object, /) -> bool:
        return False

    def is_foreign(self, _link: Link, _proxies: object, /) -> bool:
        return True

    def processes(self, _links: object, /) -> dict[Link, int]:
        return {}


def test_a_peer_that_cannot_be_seen_is_403_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """D16 fails closed; a page can cause any number of refusals, and none of them writes its address."""
    caplog.set_level(logging.INFO, "agent")
    with Door(peers=Blind()) as door:
        assert {door.status(headers={"Origin": f"https://{MARK}-{number}.example"}) for number in range(30)} == {403}

    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(said) == 2  # what, and why
    assert MARK not in caplog.text


# ---------------------------------------------------------------- stopping


def test_a_request_that_comes_while_we_stop_is_503_and_nothing_listens_any_more(door: Door) -> None:
    """A page that does not answer our close holds the end up for two seconds."""
    late, silent = door.connect(), door.connect()
    deaf = door.enter()
    stopping = door.begin(door.server.shut())

    def closed() -> bool:
        try:
            door.connect().close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # accepted by the kernel, and not by us any more
            return False
        return False

    assert eventually(closed)
    late.sendall(upgrade(door.port))

    assert status_of(answer(late)) == 503
    stopping.result(PATIENCE_S)
    assert ended(silent)
    assert door.callers() == []
    for one in (deaf, late, silent):
        one.close()


# ---------------------------------------------------------------- wss


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A throw-away authority, and a certificate with its key for the loopback addresses."""
    folder = tmp_path_factory.mktemp("wss")
    ca = make_ca("AUTORITE D'ESSAI")
    leaf = issue_server(ca)
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "leaf.pem").write_bytes(leaf.pem + leaf.key_pem)
    return folder / "ca.pem", folder / "leaf.pem"


@pytest.fixture
def server_context(authority: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority[1])
    return context


@pytest.fixture
def client_context(authority: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority[0]))


def secured(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection((host, port), timeout=PATIENCE_S), server_hostname=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_wss_obeys_the_same_rules_under_its_own_port(
    door: Door, server_context: ssl.SSLContext, client_context: ssl.SSLContext, host: str
) -> None:
    port = door.open_secure(server_context)
    statuses = {
        101: upgrade(port),
        421: upgrade(door.port),  # the Host of the other listener
        403: upgrade(port, headers={"Origin": "https://evil.example"}),
    }

    assert port == door.server.secure_port != door.port
    for status, request in statuses.items():
        with secured(port, client_context, host) as raw:
            raw.sendall(request)
            assert status_of(answer(raw)) == status
    assert door.status() == 101


def test_over_wss_a_conversation_talks_and_ends_with_the_agent(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    with Door() as door:
        port = door.open_secure(server_context)
        raw, handshaking, silent = (
            secured(port, client_context),
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S),
            secured(port, client_context),
        )
        raw.sendall(upgrade(port))
        assert status_of(answer(raw)) == 101
        raw.sendall(frame(9, b"ping"))
        assert heard(raw) == (10, b"ping")
        raw.sendall(frame(8, (1000).to_bytes(2, "big")))
        assert close_code(raw) == 1000
    assert ended(handshaking)
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        assert silent.recv(1) == b""
    for one in (raw, handshaking, silent):
        one.close()


def test_a_request_in_one_breath_with_the_end_of_the_tls_handshake_is_not_lost(
    door: Door, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    port = door.open_secure(server_context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        tls.write(upgrade(port))
        raw.sendall(outgoing.read())  # Finished and the request
        reply = b""
        while b"\r\n\r\n" not in reply:
            incoming.write(raw.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                reply += tls.read(65536)
    assert status_of(reply) == 101


def test_plain_http_on_the_wss_port_is_cut(door: Door, server_context: ssl.SSLContext) -> None:
    port = door.open_secure(server_context)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        raw.sendall(upgrade(port))
        assert b"HTTP" not in answer(raw)
    assert door.status() == 101


def test_what_never_ends_its_tls_handshake_is_silent_like_any_other(
    doors: Callable[..., Door], server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """D11. Both listeners share the bounds, and both clocks hold."""
    door = doors(silent=8, silent_per_process=4096)
    port = door.open_secure(server_context)
    hanging = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in range(12)]
    for one in hanging:
        with contextlib.suppress(ConnectionError):
            one.sendall(b"\x16\x03\x01\x02\x00\x01")
    with secured(port, client_context) as good:
        good.sendall(upgrade(port))
        assert status_of(answer(good)) == 101

    assert all(ended(one) for one in hanging[:4])
    assert not select.select(hanging[6:], [], [], 0)[0]
    for one in hanging:
        one.close()
    brief = doors(silent_s=0.2)
    with socket.create_connection(("127.0.0.1", brief.open_secure(server_context)), timeout=PATIENCE_S) as one:
        one.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert ended(one)


def test_nothing_of_a_connection_is_kept_after_its_end(
    door: Door, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """However it ended."""
    port = door.open_secure(server_context)
    for _ in range(3):
        door.status()
        door.status(path="/other")
        door.ask(b"nonsense\r\n\r\n")
        with secured(port, client_context) as raw:
            raw.sendall(upgrade(port))
            answer(raw)
        for there in (door.port, port):
            with socket.create_connection(("127.0.0.1", there)) as raw:
                raw.sendall(b"\x16\x03")

    async def kept() -> int:
        server = door.server
        return len(server.conversations) + len(server._connections) + len(server.lobby) + len(server.lobby._alarms)

    assert eventually(lambda: door.run(kept()) == 0)
