"""Handshakes that no browser makes, and how each must end. No I/O of its own.

Source: PROTOCOL.md (Find the agent), RFC 6455 section 4, RFC 9112. A request with several faults may be
refused for any of them; one that is no HTTP is answered 400, or the link is closed without a word.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

CLOSED = 0  # without a word
CANARY = "CANARIHOTE"  # what no answer may repeat
OPEN, NO_HTTP = 101, frozenset({400, CLOSED})
NO_BODY = NO_HTTP | {411, 413, 501}
UNKNOWN_ORIGIN = frozenset({OPEN, 403, 429})  # asked for while there is room, see `origins.unknown`
RIGHT_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
Headers = list[tuple[str, str]]


class Then(StrEnum):
    """What the other side does once it has sent its bytes."""

    WAIT = "wait"
    HALF_CLOSE = "half close"
    RESET = "reset"


@dataclass(frozen=True)
class Attempt:
    """Bytes for a new connection, and the statuses in which it may end; CLOSED: without a word."""

    name: str
    pieces: tuple[bytes, ...]
    may_end: frozenset[int]
    then: Then = Then.WAIT


class Door:
    """What a right handshake says at this door."""

    def __init__(self, port: int, origin: str) -> None:
        self.port, self.origin = port, origin
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}

    def headers(self) -> Headers:
        return [
            ("Host", f"127.0.0.1:{self.port}"),
            ("Origin", self.origin),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", RIGHT_KEY),
            ("Sec-WebSocket-Protocol", "insi-agent.v1"),
        ]

    def is_right(self, raw: bytes) -> bool:
        """Whether these bytes begin with a handshake that may end in 101: read to the letter."""
        head, found, _ = raw.partition(b"\r\n\r\n")
        line, *rest = head.split(b"\r\n")
        if not found or line != b"GET / HTTP/1.1":
            return False
        fields: dict[str, list[str]] = {}
        for one in rest:
            field = re.fullmatch(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*", one)
            if field is None:
                return False
            fields.setdefault(field[1].decode().lower(), []).append(field[2].decode("latin-1"))

        def single(name: str) -> str:
            return fields[name][0] if len(fields.get(name, [])) == 1 else ""

        def listed(name: str) -> list[str]:
            return [item.strip().lower() for line in fields.get(name, []) for item in line.split(",") if item.strip()]

        origin = single("origin")
        return (
            single("host").lower() in self._hosts
            and (origin == self.origin or re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]+)?", origin) is not None)
            and "upgrade" in listed("connection")
            and listed("upgrade") == ["websocket"]
            and single("sec-websocket-version") == "13"
            and re.fullmatch(r"[A-Za-z0-9+/]{22}==", single("sec-websocket-key")) is not None
            and "insi-agent.v1" in ",".join(fields.get("sec-websocket-protocol", [])).replace(" ", "").split(",")
            and "transfer-encoding" not in fields
            and set(fields.get("content-length", ["0"])) == {"0"}
        )


def request(headers: Headers, line: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


Change = Callable[[Headers], Headers]


def _set(name: str, *values: str | None) -> list[Change]:
    """The header `name` with another value each; None leaves it out."""

    def change(value: str | None) -> Change:
        return lambda headers: [
            (n, v if n != name else value or "") for n, v in headers if n != name or value is not None
        ]

    return [change(value) for value in values]


def _again(name: str, *values: str) -> list[Change]:
    """One header more."""

    def change(value: str) -> Change:
        return lambda headers: [*headers, (name, value)]

    return [change(value) for value in values]


def _token(headers: Headers) -> Headers:
    return [*(one for one in headers if one[0] != "Authorization"), ("Authorization", f"Bearer {CANARY}")]


def _token_alone(headers: Headers) -> Headers:
    return [one for one in _token(headers) if one[0] != "Origin"]


def _changes(door: Door) -> dict[str, tuple[list[Change], frozenset[int]]]:
    """What one change of a right request must end in."""
    port, site = door.port, door.origin
    bare, own = site.partition("//")[2], f"127.0.0.1:{port}"
    hosts = (
        f"evil.example:{port}", f"{CANARY}:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"{own}.evil.example",
        f"localhost.:{port}", f"0.0.0.0:{port}", f"127.1:{port}", f"2130706433:{port}", f"[::]:{port}",
        f"[::ffff:127.0.0.1]:{port}", f"a@{own}", f"{own}/", f"127.0.0.1:0{port}", f"127.0.0.1 :{port}", "",
        f"{own}, evil.example",
    )  # fmt: skip
    origins = (
        None, "null", "", "file://", CANARY, "http://evil.example", f"{site}.evil.example", f"{site}/", f"{site}.",
        f"{site}:443", f"http://evil-{bare}", f"http://a@{bare}", site.upper(), f"{site}\xa0", f"{site}, {site}",
        "https://", "https://*", "https://a@b.example", "https://b.example/", "https://B.example", "https://b.example.",
        "https://b.example:99999999", "https://[::1]", "chrome-extension://abc", "\xff", "https://" + "a" * 300,
    )  # fmt: skip
    no_keys = (None, "", "x", "A" * 24, "AAAA", "\xe9" * 12, "A" * 5000)
    no_upgrades = (None, "h2c", "websocket2", "", "TLS/1.0")
    no_connections = (None, "close", "keep-alive", "upgrades")
    versions = (None, "", "12", "14", "13.0", "x", "013", "13, 8")
    protocols = (None, "", "insi-agent.v2", "INSI-AGENT.V1", "insi-agent.v1.evil")
    bodies = ("5", "-1", "x", "99999999999999999999")
    rows: dict[str, tuple[list[Change], Iterable[int]]] = {
        "another host": (_set("Host", *hosts), {421}),
        "no single host": (_set("Host", None) + _again("Host", own, "evil.example"), {400}),
        "another origin": (_set("Origin", *origins), {403}),
        "an unknown origin": (
            _set("Origin", "https://nobody.example", "https://xn--hr-8ja.example:8443"),
            UNKNOWN_ORIGIN,
        ),
        "two origins": (_again("Origin", site, "https://nobody.example"), {400}),
        "a token that is none": ([_token_alone], {403}),
        "no upgrade": (_set("Upgrade", *no_upgrades) + _set("Connection", *no_connections), {426}),
        "another key": (_set("Sec-WebSocket-Key", *no_keys) + _again("Sec-WebSocket-Key", RIGHT_KEY), {400}),
        "another version": (
            _set("Sec-WebSocket-Version", *versions) + _again("Sec-WebSocket-Version", "13"),
            {400, 426},
        ),
        "another subprotocol": (_set("Sec-WebSocket-Protocol", *protocols), {400}),
        "a body": (_again("Content-Length", *bodies) + _again("Transfer-Encoding", "chunked", "identity"), NO_BODY),
        "extensions": (_again("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits", "x"), {OPEN}),
        "another cookie": (_again("Cookie", "a=b") + _again("X-Forwarded-Host", "evil.example"), {OPEN}),
        "a token beside an origin": ([_token], {OPEN}),
        "our other names": (_set("Host", f"LOCALHOST:{port}", f"[::1]:{port}"), {OPEN}),
        "an upgrade in other words": (
            _set("Connection", "keep-alive, Upgrade", "UPGRADE") + _set("Upgrade", "WebSocket"),
            {OPEN},
        ),
    }
    return {name: (changes, frozenset(may_end)) for name, (changes, may_end) in rows.items()}


_PATHS = (
    "/other", "//", "/?a=b", "/%2e", "/index.html", "*", "http://127.0.0.1/", f"/{CANARY}", "/" + "a" * 4000, "/..",
    "/#", "/health", "/.well-known",
)  # fmt: skip
_METHODS = ("POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "PRI", CANARY)
_VERSIONS = ("HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/11", "http/1.1", "", "HTTP/1.1 ")
_NO_LINES = (
    "", "GET", "GET /", " GET / HTTP/1.1", "GET  / HTTP/1.1", "GET\t/\tHTTP/1.1", "GET / / HTTP/1.1",
    "CONNECT 127.0.0.1:22 HTTP/1.1", "GET /\xe9 HTTP/1.1", "\x00",
)  # fmt: skip
_LINES: dict[str, frozenset[int]] = {
    **{f"GET {path} HTTP/1.1": frozenset({404}) for path in _PATHS},
    **{f"{method} / HTTP/1.1": frozenset({400, 405}) for method in _METHODS},
    **{f"GET / {version}": NO_HTTP | {505} for version in _VERSIONS},
    **{line: NO_HTTP | {404, 405} for line in _NO_LINES},
}

_BROKEN_HEADERS: list[bytes] = [
    b"no colon", b": no name", b"Space : x", b" folded: x", b"X: a\r\n folded", b"X: a\r\n\tfolded", b"X: \x00",
    b"X\x00: a", b"X: a\rY: b", b"X: a\nY: b", b"Or\xefgin: x", b"X: " + b"a" * 100_000, b"X: \x7f", b"X: \x1b[2J",
    b"\r\n".join(b"X%d: a" % number for number in range(1000)),
]  # fmt: skip

_NO_HTTP: dict[str, bytes] = {
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
    "HTTP/0.9": b"GET /\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "SMB": bytes.fromhex("000000b8fe534d42400000000000") + bytes(170),
    "SOCKS": b"\x05\x01\x00",
    "blank lines": b"\r\n" * 200,
    "zeroes": bytes(20_000),
    "one long line": b"A" * 1_000_000,
    "endless headers": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 100_000,
    "a frame": b"\x81\x80\0\0\0\0",
}

_AFTERWARDS: list[bytes] = [
    b"\xff" * 50, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(4000), b"\x81\x05hello", b"\x88\x80\0\0\0\0",
    b"\x81\xff" + b"\xff" * 8,
]  # fmt: skip


def attempts(random: Random, door: Door, count: int) -> Iterator[Attempt]:
    """`count` attempts, every kind in turn."""
    changes, right = _changes(door), request(door.headers())
    cuts = random.sample(range(1, len(right)), len(right) - 1)

    def changed() -> Attempt:
        """One change, or two."""
        names = random.sample(sorted(changes), random.choice((1, 1, 2)))
        headers = door.headers()
        for name in names:
            headers = random.choice(changes[name][0])(headers)
        raw = request(_shuffled(headers, random))
        undone = {OPEN} if door.is_right(raw) else set()  # one of two changes took the other back
        return Attempt(" + ".join(names), (raw,), _either([changes[name][1] for name in names]) | undone)

    def other_line() -> Attempt:
        line = random.choice(list(_LINES))
        return Attempt(f"line {line[:40]!r}", (request(door.headers(), line),), _LINES[line])

    def broken_header() -> Attempt:
        broken, at = random.choice(_BROKEN_HEADERS), random.choice((right.index(b"Host"), right.index(b"Upgrade:")))
        return Attempt("a broken header", (right[:at] + broken + b"\r\n" + right[at:],), NO_HTTP | {413, 431})

    def no_http() -> Attempt:
        name = random.choice(list(_NO_HTTP))
        return Attempt(name, (_NO_HTTP[name],), NO_HTTP | {405, 408, 413, 414, 431, 505}, random.choice(list(Then)))

    def truncated() -> Attempt:
        cut = cuts.pop() if cuts else random.randrange(1, len(right))
        then = random.choices(list(Then), (1, 6, 3))[0]
        return Attempt("truncated", (right[:cut],), NO_HTTP | {408}, then)

    def slow() -> Attempt:
        cuts = sorted(random.sample(range(1, len(right)), 4))
        pieces = tuple(right[a:b] for a, b in zip([0, *cuts], [*cuts, len(right)], strict=True))
        return Attempt("slow, and in time", pieces, frozenset({OPEN}))

    def afterwards() -> Attempt:
        return Attempt("garbage behind it", (right + random.choice(_AFTERWARDS),), frozenset({OPEN, CLOSED}))

    def discovery() -> Attempt:
        host = random.choice((f"127.0.0.1:{door.port}", f"{CANARY}:{door.port}"))
        raw = f"GET /.well-known/insi-agent HTTP/1.1\r\nHost: {host}\r\nOrigin: {CANARY}\r\n\r\n".encode()
        return Attempt("discovery", (raw,), frozenset({421 if CANARY in host else 200}))

    def mutated() -> Attempt:
        raw = bytearray(right)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(raw))
            raw[at : at + random.randrange(3)] = random.choice(
                (b"", b"\x00", b"\r", b"\n", b"\xff", b":", b" ", random.randbytes(2))
            )
        rest = NO_HTTP | {403, 404, 405, 408, 421, 426, 429, 431, 505}
        return Attempt("mutated", (bytes(raw),), rest | {OPEN} if door.is_right(bytes(raw)) else rest, Then.HALF_CLOSE)

    kinds = [
        changed,
        changed,
        changed,
        other_line,
        broken_header,
        no_http,
        truncated,
        truncated,
        slow,
        afterwards,
        discovery,
        mutated,
        mutated,
    ]
    for number in range(count):
        yield kinds[number % len(kinds)]()


def _either(every: list[frozenset[int]]) -> frozenset[int]:
    """Several faults: any of their refusals; what changes nothing adds nothing."""
    refusals = frozenset().union(*every) - {OPEN}
    return refusals | {OPEN} if all(OPEN in one for one in every) else refusals


def _shuffled(headers: Headers, random: Random) -> Headers:
    """In any order, named in any case; of two with one name the order stays."""
    random.shuffle(headers)
    return [(random.choice((name, name.lower(), name.upper())), value) for name, value in headers]
