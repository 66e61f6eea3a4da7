"""The way to a server: directly, or by a proxy that is asked for a tunnel. No I/O of its own, but on a socket given.

Sources: RFC 9110 sections 9.3.6 (CONNECT) and 11 (challenges), RFC 7617 (Basic). What a PAC script answers: MDN,
"Proxy Auto-Configuration (PAC) file", return value format.

The account is for the proxies that the administrator's settings or script name: it is sent with the first CONNECT, to
them alone. The settings let none be set with a script that anybody on the network may answer for. NTLM and Negotiate
are not spoken: they would need the person's Windows session, or a password kept for them; a local relay does it better.
"""

import base64
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import AgentError, Code
from agent.insi.quoting import quoted

if TYPE_CHECKING:
    import socket

    from agent.config import Proxy

PASSWORD = "proxy-password"  # noqa: S105  (the name of the secret in the keyring)
KEPT_S = 300  # what a script or the system said of one host
_MAX_ANSWER_BYTES = 1 << 14
_MAX_CHALLENGES = 1000  # letters of one line


@dataclass(frozen=True)
class Route:
    """One way to a server."""

    address: str | None  # http://name:port of the proxy; None: directly
    authorization: str | None = field(default=None, repr=False)  # value of Proxy-Authorization


Finder = Callable[[str, str], object]  # scheme and host of the server → what a PAC script would answer; may block


class Routes:
    """The ways to a server, by the settings. For one thread at a time, and for what an overdue call left behind."""

    def __init__(
        self,
        settings: "Proxy",
        password: Callable[[], str | None],
        *,
        script: Finder | None = None,
        system: Finder | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`password`: of `proxy.user`, asked for at each need; None: none was enrolled. It may raise keyring.absent.

        `script`, `system`: instead of the child process, and of Windows.
        """
        self._settings, self._password, self._now = settings, password, now
        self._finders = {"script": script or self._ask_script, "system": system or self._ask_system}
        self._found: dict[tuple[str, str], tuple[float, list[str | None]]] = {}

    def to(self, url: str) -> list[Route]:
        """The ways to this server, in the order to try them; at least one. Blocks.

        Raises proxy.script, proxy.authentication (no password was enrolled), keyring.absent.
        """
        addresses = self._addresses(url)
        proof = self._proof() if any(addresses) else None
        return [Route(address, proof if address else None) for address in addresses]

    def _addresses(self, url: str) -> list[str | None]:
        settings = self._settings
        if settings.use in self._finders:
            return self._asked(url, self._finders[settings.use])
        return [settings.address if settings.use == "explicit" else None]

    def _asked(self, url: str, find: Finder) -> list[str | None]:
        """What is told of the whole address: its scheme and host, as browsers do."""
        parts = urlsplit(url)
        place = parts.scheme, parts.hostname or ""
        until, addresses = self._found.get(place, (0.0, []))
        if not addresses or self._now() >= until:
            addresses = parse_answer(find(*place))
            self._found[place] = self._now() + KEPT_S, addresses
        return addresses

    def _ask_script(self, scheme: str, host: str) -> object:
        from agent.insi.pac import ask

        return ask(self._settings.script or "", scheme, host, timeout_s=self._settings.script_timeout_s)

    def _ask_system(self, scheme: str, host: str) -> object:
        from agent.insi.winhttp import ask

        return ask(scheme, host, timeout_s=self._settings.script_timeout_s)

    def _proof(self) -> str | None:
        if self._settings.user is None:
            return None
        password = self._password()
        if password is None:
            raise AgentError(Code.PROXY_AUTHENTICATION, "no password was enrolled")
        return basic(self._settings.user, password)


def basic(user: str, password: str) -> str:
    """The value of Proxy-Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def parse_answer(answer: object) -> list[str | None]:
    """Addresses of proxies, None for no proxy, in the order of a PAC script's answer; nothing said means no proxy.

    Ways that we do not have (SOCKS, a proxy spoken to by TLS) are passed over like proxies that are down. Raises
    proxy.script (fact answer) where none is left.
    """
    if answer is None or answer == "":
        return [None]
    said = answer if isinstance(answer, str) else type(answer).__name__
    addresses = [_address(way) for one in said.split(";") if (way := _WAY.fullmatch(one.strip())) and _usable(way)]
    if not addresses:
        raise AgentError(Code.PROXY_SCRIPT, "no way of ours in its answer", answer=quoted(said))
    return list(dict.fromkeys(addresses))


_WAY = re.compile(
    r"DIRECT|(?:PROXY|HTTP)\s+(?P<name>[a-z0-9._-]{1,255}|\[(?P<v6>[0-9a-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)


def _address(way: re.Match[str]) -> str | None:
    return f"http://{way['name']}:{way['port'] or 80}" if way["name"] else None


def _usable(way: re.Match[str]) -> bool:
    try:
        return (way["v6"] is None or bool(IPv6Address(way["v6"]))) and int(way["port"] or 80) in range(1, 65536)
    except ValueError:
        return False


def ask_tunnel(connection: "socket.socket", host: str, port: int, authorization: str | None) -> None:
    """Have the proxy at the other end lead on to this server: what is said from now on goes there.

    The socket's own deadline holds. Raises proxy.unreachable (no answer), proxy.authentication, proxy.scheme (fact
    schemes: what it wants instead of Basic), proxy.refused (fact status, unless it speaks no HTTP).
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", "User-Agent: insi-agent"]
    if authorization:
        lines.append(f"Proxy-Authorization: {authorization}")
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = _read_head(connection)
    except OSError as error:
        raise AgentError(Code.PROXY_UNREACHABLE, f"no answer to CONNECT: {type(error).__name__}") from None
    judge_answer(answer)


def judge_answer(answer: bytes) -> None:
    """Return if this head of an answer to CONNECT opens the tunnel. Raises as `ask_tunnel`."""
    head, end, more = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    status = _STATUS.match(first)
    if not status or not end:
        raise AgentError(Code.PROXY_REFUSED, "it speaks no HTTP")
    number = int(status[1])
    if number == 401:  # for 407: tinyproxy does it to a wrong password; seen on 1.11.1
        raise AgentError(Code.PROXY_AUTHENTICATION, "401")
    if number == 407:
        schemes = _schemes(fields)
        if not schemes or "basic" in map(str.lower, schemes):
            raise AgentError(Code.PROXY_AUTHENTICATION, "407")
        raise AgentError(Code.PROXY_SCHEME, "407", schemes=schemes)
    if number // 100 != 2:
        raise AgentError(Code.PROXY_REFUSED, str(number), status=number)
    if more:  # a TLS server waits to be spoken to: this is somebody else
        raise AgentError(Code.PROXY_REFUSED, "it speaks instead of INSi", status=number)


_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")


def _read_head(connection: "socket.socket") -> bytes:
    """Until the blank line; what comes after it, in the same read, with it. Shorter if it ends or is too long."""
    answer, part = b"", bytearray(4096)
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES:
        count = connection.recv_into(part)
        if not count:
            if not answer:
                raise ConnectionResetError
            break
        answer += part[:count]
    return answer


def _schemes(fields: Sequence[str]) -> list[str]:
    """The names of the challenges in these header lines: RFC 9110 section 11.6.1 lets one line hold several."""
    challenges = [value for name, _, value in (line.partition(":") for line in fields) if name.lower() == _ASKS]
    parts = [part for value in challenges for part in _OUTSIDE_QUOTES.split(value[:_MAX_CHALLENGES])]
    return list(dict.fromkeys(found[1] for part in parts if (found := _SCHEME.match(part))))[:8]


_ASKS = "proxy-authenticate"
_OUTSIDE_QUOTES = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]{0,31})(?=\s+[^=\s]|\s*$)")
