"""The agent's real door on its own thread, with nothing but hello behind it, and raw sockets to knock on it."""

import asyncio
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, TypeVar

from agent import config, peers
from agent.model import Environment, Profile, Right, Value
from agent.protocol.messages import AgentName, HelloResult
from agent.protocol.origins import Caller, Doorkeeper
from agent.protocol.server import Conversation, Peers, Progress, Server
from agent.protocol.session import Call

T = TypeVar("T")

SITE = "https://ehr.example"
TOKEN = "a-long-secret"
RIGHTS = frozenset({Right.VITALE})
DISCOVERY = "/.well-known/insi-agent"
PATIENCE_S = 20


class Door:
    """Use as a context manager; its methods are called from the test's thread."""

    def __init__(
        self,
        *,
        settings: config.Door | None = None,
        doorkeeper: Callable[[], Doorkeeper] | None = None,
        peers: Peers = peers,
        silent_s: float = 120,
    ) -> None:
        self.settings = settings or config.Door()
        self.doorkeeper = doorkeeper or (lambda: Doorkeeper({SITE: RIGHTS}, TOKEN))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door")
        self.server = Server(
            doorkeeper=self._rules,
            handler=self._do,
            identity={"product": "insi-agent", "version": "0.0.0", "api": [1], "instanceId": "test"},
            door=lambda: self.settings,
            peers=peers,
            silent_s=silent_s,
        )

    def __enter__(self) -> "Door":
        self._thread.start()
        self.run(self.server.open([0]))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.run(self.server.shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def port(self) -> int:
        return self.server.port

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work` on the door's own loop."""
        return self.begin(work).result(PATIENCE_S)

    def begin(self, work: Coroutine[Any, Any, T]) -> "Any":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def open_secure(self, context: ssl.SSLContext) -> int:
        return self.run(self.server.open_secure([0], context))

    def callers(self) -> list[Caller]:
        """Of every conversation there is."""

        async def found() -> list[Caller]:
            return [one.caller for one in self.server.conversations]

        return self.run(found())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def ask(self, request: bytes) -> bytes:
        """The whole answer to these bytes on a connection of their own; of a 101, its head."""
        with self.connect() as raw:
            raw.sendall(request)
            return answer(raw)

    def status(self, **changed: Any) -> int:
        """What an upgrade request with these changes gets; 0 when it is closed without an answer."""
        return status_of(self.ask(upgrade(self.port, **changed)))

    def enter(self, **changed: Any) -> socket.socket:
        """An open conversation."""
        raw = self.connect()
        raw.sendall(upgrade(self.port, **changed))
        assert status_of(answer(raw)) == 101
        return raw

    def _rules(self) -> Doorkeeper:
        return self.doorkeeper()

    @staticmethod
    async def _do(_conversation: Conversation, _call: Call, _progress: Progress) -> Value:
        return HelloResult(
            api=1,
            agent=AgentName(name="INSi Agent", version="0.0.0", instance_id="test"),
            origin_state="allowed",
            environment=Environment.SIMULATED,
            profile=Profile.REPOSITORY,
            auth_modes=["cpx"],
            capabilities=[],
            receipt_key={},
        )


def upgrade(
    port: int,
    *,
    method: str = "GET",
    path: str = "/",
    version: str = "HTTP/1.1",
    headers: Mapping[str, str | list[str] | None] | None = None,
) -> bytes:
    """A good upgrade request of SITE, with these headers instead: a list is sent several times, None is left out."""
    every: dict[str, str | list[str] | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "insi-agent.v1",
        "Origin": SITE,
        **(headers or {}),
    }
    lines = [f"{method} {path} {version}"]
    for name, value in every.items():
        lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [] if value is None else [value])]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(raw: socket.socket) -> bytes:
    """Everything until the end, or the head of a 101."""
    heard = b""
    try:
        while not (heard.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in heard) and (more := raw.recv(65536)):
            heard += more
    except ConnectionResetError:
        pass
    return heard


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/") else 0


def headers_of(reply: bytes) -> dict[str, str]:
    lines = reply.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def ended(raw: socket.socket, wait_s: float = PATIENCE_S) -> bool:
    """Whether the other side has closed, or does within `wait_s`."""
    if not select.select([raw], [], [], wait_s)[0]:
        return False
    try:
        return raw.recv(65536) == b""
    except ConnectionResetError:
        return True


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold: asked again and again, not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def heard(raw: socket.socket) -> tuple[int, bytes]:
    """Opcode and payload of the next short frame that is no ping: the door pings who has just entered."""
    while True:
        head = _exactly(raw, 2)
        payload = _exactly(raw, head[1])
        if head[0] & 15 != 9:
            return head[0] & 15, payload


def _exactly(raw: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = raw.recv(count - len(read))
        assert more, "closed without a frame"
        read += more
    return read


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    """One masked frame of less than 126 bytes; the mask is all zeroes."""
    assert len(payload) < 126
    return bytes([fin << 7 | rsv1 << 6 | opcode, 0x80 | len(payload)]) + bytes(4) + payload
