"""The localhost door: sockets, HTTP refusals, discovery, frames. ★ websockets

Plain ws on 127.0.0.1 and ::1, nothing else. Who may enter is decided by `origins.py`, what is said
by `session.py`, what is done by the workflows it is given.
"""

import asyncio
import contextlib
import errno
import json
import logging
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from agent.errors import AgentError, Code
from agent.model import Value
from agent.protocol.messages import SUBPROTOCOL, OperationCancelParams, OperationCancelResult, ProgressParams
from agent.protocol.methods import FROM_MEMORY
from agent.protocol.origins import DISCOVERY_PATH, NATIVE, Caller, Doorkeeper, Refusal, Request
from agent.protocol.session import (
    CLOSE_REVOKED,
    CLOSE_SLOW,
    CLOSE_UNANSWERED_PINGS,
    Call,
    Close,
    Send,
    Session,
    unexpected,
)

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 256 * 1024
SILENT_S = 120  # the browser's own permission question may be on screen
PING_S = 20
AT_ONCE = 16 * 1024  # characters; half of what the socket takes without waiting
BACKLOG = 1 << 20  # characters; a page that reads nothing is closed once this much waits for it
CLOSE_PATIENCE_S = 2

_SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Origin",
}


class Progress(Protocol):
    """Tells the page which step an operation is at, and what it needs of the person."""

    async def __call__(self, step: str, needs: str | None = None) -> None: ...


class Conversation:
    """An open conversation: what a workflow may know and do of it.

    Sending never waits for the page: what it does not read now is kept for it, up to a limit, so that one page
    that stops reading holds up nobody else.
    """

    def __init__(self, session: Session, connection: ServerConnection) -> None:
        self.session = session
        self.watching = False
        self._connection = connection
        self._tasks: dict[int | str, asyncio.Task[None]] = {}
        self._outbox: deque[str] = deque()
        self._outbox_size = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def caller(self) -> Caller:
        return self.session.caller

    async def notify(self, method: str, params: Value) -> None:
        """Push a notification; silently nothing when the socket has gone."""
        if self.session.greeted:
            await self.send(Session.notify(method, params))

    async def revoke(self, denial: Value) -> None:
        """Take every right at once, end what runs, say so, close with 4001."""
        self.session.caller = Caller(self.caller.origin, frozenset())
        self.cancel()
        await self.notify("agent.changed", denial)
        await self.close(CLOSE_REVOKED, "rights changed")

    def cancel(self) -> None:
        """Cancel every running call."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def close(self, code: int, reason: str) -> None:
        """Close, and break off a page that does not take it."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._connection.close(code, reason)
        except TimeoutError:
            self._connection.transport.abort()

    async def send(self, message: Send) -> None:
        """Send now what the socket takes at once; the rest waits in the outbox."""
        if self._connection.state is not State.OPEN:
            return
        written = not self._outbox and self._connection.transport.get_write_buffer_size() == 0
        if written and self._writer is None and len(message.text) <= AT_ONCE:
            with contextlib.suppress(ConnectionClosed):
                await self._connection.send(message.text)
            return
        self._outbox.append(message.text)
        self._outbox_size += len(message.text)
        if self._outbox_size > BACKLOG:
            self._outbox.clear()
            self._outbox_size = 0
            if self._writer is not None:
                self._writer.cancel()
            self._writer = asyncio.create_task(self.close(CLOSE_SLOW, "too slow"), name="too-slow")
        elif self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="writer")

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while self._outbox:
                text = self._outbox.popleft()
                self._outbox_size -= len(text)
                await self._connection.send(text)
        self._writer = None


class _Connection(ServerConnection):
    """A connection whose transport is known from its first byte on: silent ones must end with us too."""

    transports: set[asyncio.BaseTransport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transports.discard(self.transport)
        super().connection_lost(exc)


Handler = Callable[[Conversation, Call, Progress], Awaitable[Value]]


class Server:
    """The agent's door. Create it, `open()` it, `shut()` it."""

    def __init__(
        self,
        *,
        doorkeeper: Callable[[], Doorkeeper],
        handler: Handler,
        identity: Mapping[str, Any],
        connections: int = 64,
    ) -> None:
        """`identity` is the discovery answer; `handler` runs one call and returns its result or raises AgentError."""
        self._doorkeeper, self._handler = doorkeeper, handler
        self._identity = json.dumps(dict(identity)).encode()
        self._limit = connections
        self._servers: list[WebSocketServer] = []
        self._transports: set[asyncio.BaseTransport] = set()
        self.conversations: set[Conversation] = set()
        self.port = 0

    async def open(self, ports: Iterable[int]) -> int:
        """Listen on the first port that is free on both loopback addresses. Raises ports.busy."""
        tried = []
        for port in ports:
            sockets = loopback_sockets(port)
            if sockets is None:
                tried.append(port)
                log.warning("port %s is held by another program", port)
                continue
            self.port = sockets[0].getsockname()[1]
            known = type("KnownConnection", (_Connection,), {"transports": self._transports})
            for listener in sockets:
                self._servers.append(
                    await serve(
                        self._converse,
                        sock=listener,
                        create_connection=known,
                        process_request=self._process_request,
                        subprotocols=[Subprotocol(SUBPROTOCOL)],
                        compression=None,
                        server_header=None,
                        open_timeout=SILENT_S,
                        ping_interval=None,  # our own, for close code 4002
                        close_timeout=CLOSE_PATIENCE_S,
                        max_size=MAX_FRAME_BYTES,
                        max_queue=32,
                        logger=logging.getLogger("websockets.server"),
                    )
                )
            return self.port
        raise AgentError(Code.PORTS_BUSY, ports=tried)

    async def shut(self) -> None:
        """Close every conversation (1001), break off what never became one, and stop listening."""
        await asyncio.gather(*(one.close(1001, "the agent stops") for one in self.conversations))
        for transport in list(self._transports):
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def revoked(self) -> list[Conversation]:
        """The conversations whose origin has other rights by now, or none."""
        doorkeeper = self._doorkeeper()

        def lost(caller: Caller) -> bool:
            return caller.origin != NATIVE and doorkeeper.allowed.get(caller.origin) != caller.rights

        return [one for one in self.conversations if doorkeeper.disabled or lost(one.caller)]

    # ------------------------------------------------------------ before the conversation

    async def _process_request(self, connection: ServerConnection, http: HttpRequest) -> Response | None:
        doorkeeper = self._doorkeeper()
        request = _request(http)
        if request.path == DISCOVERY_PATH and "upgrade" not in http.headers.get("Connection", "").lower():
            found = doorkeeper.discovery(request, self.port)
            if isinstance(found, Refusal):
                return _status(found.status)
            cors = {"Access-Control-Allow-Origin": found} if found else {}
            return _response(HTTPStatus.OK, self._identity, {"Content-Type": "application/json", **cors})
        caller = doorkeeper.conversation(request, self.port)
        if isinstance(caller, Refusal):
            log.info("refused %s", caller.status.value)
            return _status(caller.status)
        if "websocket" not in http.headers.get("Upgrade", "").lower():
            return _status(HTTPStatus.UPGRADE_REQUIRED, {"Upgrade": "websocket", "Connection": "Upgrade"})
        pages = sum(one.caller.origin != NATIVE for one in self.conversations)
        if caller.origin != NATIVE and pages >= self._limit:  # the command line always gets in
            return _status(HTTPStatus.TOO_MANY_REQUESTS)
        connection.insi_caller = caller  # type: ignore[attr-defined]  # websockets' documented way to hand a value on
        return None

    # ------------------------------------------------------------ the conversation

    async def _converse(self, connection: ServerConnection) -> None:
        conversation = Conversation(Session(connection.insi_caller), connection)  # type: ignore[attr-defined]
        self.conversations.add(conversation)
        keepalive = asyncio.create_task(_keep_alive(connection, conversation), name="keepalive")
        try:
            async for frame in _text_frames(connection):
                for output in conversation.session.receive(frame):
                    if isinstance(output, Close):
                        await conversation.close(output.code, output.reason)
                        return
                    if isinstance(output, Send):
                        await conversation.send(output)
                    elif isinstance(output.params, OperationCancelParams):
                        await self._cancel(conversation, output, output.params)
                    elif output.method.name in FROM_MEMORY:
                        await self._run(conversation, output)
                    else:
                        self._start(conversation, output)
        finally:
            keepalive.cancel()
            self.conversations.discard(conversation)
            conversation.cancel()

    def _start(self, conversation: Conversation, call: Call) -> None:
        task = asyncio.create_task(self._run(conversation, call), name=f"call-{call.method.name}")
        conversation._tasks[call.id] = task
        task.add_done_callback(partial(self._ended, conversation, call))

    @staticmethod
    def _ended(conversation: Conversation, call: Call, task: "asyncio.Task[None]") -> None:
        if conversation._tasks.get(call.id) is task:
            del conversation._tasks[call.id]
        if task.cancelled():  # before its first step: nobody answered for it
            reply = conversation.session.fail(call, AgentError(Code.OPERATION_CANCELLED))
            conversation._tasks[call.id] = late = asyncio.create_task(conversation.send(reply))
            late.add_done_callback(lambda _late: conversation._tasks.pop(call.id, None))

    async def _run(self, conversation: Conversation, call: Call) -> None:
        async def progress(step: str, needs: str | None = None) -> None:
            params = ProgressParams.model_validate({"id": call.id, "step": step, "needs": needs})
            await conversation.notify("operation.progress", params)

        started = asyncio.get_running_loop().time()
        code = "ok"
        try:
            reply = conversation.session.answer(call, await self._handler(conversation, call, progress))
        except AgentError as error:
            log.log(logging.getLevelNamesMapping()[error.row.level], "%s", error)
            reply, code = conversation.session.fail(call, error), error.code.value
        except asyncio.CancelledError:
            reply = conversation.session.fail(call, AgentError(Code.OPERATION_CANCELLED))
            code = Code.OPERATION_CANCELLED.value
        except Exception:  # the request's last resort: a number for the page, the rest for the log
            incident = unexpected()
            log.exception("incident %s", incident.facts["incident"])
            reply, code = conversation.session.fail(call, incident), incident.code.value
        milliseconds = round(1000 * (asyncio.get_running_loop().time() - started))
        # a page that asks every second how we are would drown the lines that matter, and pay for each
        level = logging.DEBUG if code == "ok" and call.method.name in FROM_MEMORY else logging.INFO
        log.log(level, "%s %s %s %s ms", call.method.name, conversation.caller.origin, code, milliseconds)
        conversation._tasks.pop(call.id, None)  # too late to cancel it
        await conversation.send(reply)

    @staticmethod
    async def _cancel(conversation: Conversation, call: Call, params: OperationCancelParams) -> None:
        task = conversation._tasks.get(params.id)
        cancelled = task is not None and task.cancel()
        await conversation.send(conversation.session.answer(call, OperationCancelResult(cancelled=cancelled)))


async def _keep_alive(connection: ServerConnection, conversation: Conversation) -> None:
    """Ping; two unanswered pings in a row end the conversation (sleeping tabs come back and say hello again)."""
    unanswered = 0
    with contextlib.suppress(ConnectionClosed):
        while unanswered < 2:
            try:
                async with asyncio.timeout(PING_S):  # sending waits too, for a page that reads nothing
                    await asyncio.shield(await connection.ping())
                unanswered = 0
            except TimeoutError:
                unanswered += 1
                continue
            await asyncio.sleep(PING_S)
        await conversation.close(CLOSE_UNANSWERED_PINGS, "two unanswered pings")


async def _text_frames(connection: ServerConnection) -> AsyncIterator[str]:
    with contextlib.suppress(ConnectionClosed):
        async for frame in connection:
            if isinstance(frame, bytes):
                await connection.close(1003, "text frames only")
                return
            yield frame


def loopback_sockets(port: int) -> list[socket.socket] | None:
    """Listening sockets on 127.0.0.1 and, where the machine has it, ::1: both on one port, or None when it is held."""
    listeners: list[socket.socket] = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no IPv6 here
        try:
            if sys.platform == "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT only: never shares
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, listeners[0].getsockname()[1] if listeners else port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            for other in listeners:
                other.close()
            return None
        listeners.append(listener)
    return listeners or None


def _request(http: HttpRequest) -> Request:
    headers = http.headers
    offered = [item.strip() for line in headers.get_all("Sec-WebSocket-Protocol") for item in line.split(",")]
    return Request(
        path=http.path,
        hosts=headers.get_all("Host"),
        origins=headers.get_all("Origin"),
        authorizations=headers.get_all("Authorization"),
        subprotocols=offered,
    )


def _status(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    return _response(
        status, f"{status.value} {status.phrase}\n".encode(), {"Content-Type": "text/plain", **(headers or {})}
    )


def _response(status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> Response:
    every = {**_SECURITY, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    return Response(status.value, status.phrase, Headers(every), body)
