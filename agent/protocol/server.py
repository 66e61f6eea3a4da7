"""The localhost door: sockets, HTTP refusals, discovery, frames. ★ websockets

ws, and wss where it is asked for, on 127.0.0.1 and ::1, nothing else. How long and how many may be silent is
decided by `lobby.py`, which accounts by `peers.py`, who may enter by `origins.py`, what is said by `session.py`,
what is done by the workflows it is given. It stays while the agent behind it makes way for another.
"""

import asyncio
import contextlib
import errno
import json
import logging
import socket
import ssl
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from websockets.server import ServerProtocol
from websockets.typing import StatusLike, Subprotocol

from agent import peers as peers_of_this_system
from agent.config import Door, LocalProxy
from agent.errors import AgentError, Code
from agent.model import Right, TracedResult, Value
from agent.peers import Link
from agent.protocol.lobby import SILENT_S, Lobby, link_of
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
MAX_REQUEST_BYTES = 64 * 1024  # a browser's is under 1 KiB; the library alone would keep 1 MiB of each
PING_S = 20
AT_ONCE = 16 * 1024  # characters; half of what the socket takes without waiting
BACKLOG = 1 << 20  # characters; a page that reads nothing is closed once this much waits for it
CLOSE_PATIENCE_S = 2
SAY_AGAIN_S = 60

_LINE = "%s %s %s %s ms %s"  # of each request: method, origin, code, milliseconds, trace id

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

    def __init__(self, session: Session, connection: "_Connection") -> None:
        self.session = session
        self.watching = False
        self._connection = connection
        self._tasks: dict[int | str, asyncio.Task[None]] = {}
        self._committed: asyncio.Task[Any] | None = None
        self._outbox: deque[str] = deque()
        self._outbox_size = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def caller(self) -> Caller:
        return self.session.caller

    def runs_over(self, connection: ServerConnection) -> bool:
        return self._connection is connection

    async def notify(self, method: str, params: Value) -> None:
        """Push a notification; silently nothing when the socket has gone."""
        if self.session.greeted:
            await self.send(Session.notify(method, params))

    def admit(self, rights: frozenset[Right]) -> None:
        """The person has consented: who waited may use these rights from now on."""
        self.session.caller = self._connection.caller = Caller(self.caller.origin, rights)

    async def closed(self) -> None:
        """Return when the socket is gone, however it went."""
        await self._connection.wait_closed()

    async def revoke(self, denial: Value) -> None:
        """Take every right at once, end what runs, say so, close with 4001."""
        self.session.caller = Caller(self.caller.origin, frozenset())
        self.cancel()
        await self.notify("agent.changed", denial)
        await self.close(CLOSE_REVOKED, "rights changed")

    async def close_once_answered(self, code: int, reason: str) -> None:
        """Close when the calls that run have their answer."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self.close(code, reason)

    def commit(self, call: "asyncio.Task[Any]") -> None:
        """The page can no longer cancel this call."""
        self._committed = call

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
    """A connection that is known, and can be broken off, from the moment it is accepted on: before TLS too.

    asyncio's own TLS listener would show it only once its TLS handshake is complete.
    """

    def __init__(
        self, protocol: ServerProtocol, server: WebSocketServer, *, house: "Server", at: "_Listening", **options: Any
    ) -> None:
        super().__init__(protocol, server, **options)
        # what the library would say itself quotes the request, and lacks our headers
        protocol.reject = _rejected  # type: ignore[method-assign]  # the library has no other way
        self.caller: Caller | None = None  # once it was let in
        self.at = at
        self.wire: asyncio.Transport  # of the TCP connection
        self._house = house
        self._heard: int | None = 0  # bytes of the handshake, None once it is complete
        self._ready = False  # TLS, where there is any, is established
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.wire = transport
        self._house.accepted(self)
        if self.at.context is None:
            self._ready = True
            super().connection_made(transport)
        else:
            self._securing = asyncio.create_task(self._secure(self.at.context), name="tls")

    async def _secure(self, context: ssl.SSLContext) -> None:
        """TLS on top of the TCP connection. A browser may ask its person before or after it: it may take as long."""
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self.wire,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._house.lobby.silent_s,
                ssl_shutdown_timeout=CLOSE_PATIENCE_S,
            )
        except OSError:  # no TLS, another version, a certificate that is not trusted
            transport = None
        if transport is None or transport.is_closing():  # asyncio tells us of no end before TLS is established
            self.wire.abort()
            self._house.gone(self)
            return
        self._ready = True
        super().connection_made(transport)
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if not self._ready:
            self._early.append(data)  # came in one breath with the end of the TLS handshake
            return
        if self._heard is not None:
            if not self._heard:
                self._house.lobby.spoke(self.wire)
            self._heard += len(data)
            if self._heard > MAX_REQUEST_BYTES:
                self.wire.abort()
                return
        ended = self.protocol.eof_sent
        super().data_received(data)
        if self._heard is not None and self.request is not None and self.protocol.eof_sent and not ended:
            self.wire.abort()  # nonsense behind a request not answered yet: the library would answer after its end

    def entered(self) -> None:
        """The handshake is complete."""
        self._heard = None
        self._house.lobby.leave(self.wire)

    def eof_received(self) -> None:
        if self._ready:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.gone(self)
        if self._ready:
            super().connection_lost(exc)


@dataclass(frozen=True)
class _Listening:
    """One port on both loopback addresses."""

    port: int
    context: ssl.SSLContext | None


class _Tally:
    """Says a thing that pages can cause any number of times at most once a minute, and then how often it was."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, what: str) -> None:
        now = asyncio.get_running_loop().time()
        said, unsaid = self._said.get(what, (-SAY_AGAIN_S, 0))
        if now - said < SAY_AGAIN_S:
            self._said[what] = (said, unsaid + 1)
            return
        self._said[what] = (now, 0)
        log.info("%s%s", what, f", and {unsaid} times more since it was last said" if unsaid else "")


class Peers(Protocol):
    """Who is at the other end of a loopback connection, see `agent/peers.py`."""

    def is_welcome(self, link: Link, proxies: Sequence[LocalProxy], /) -> bool: ...

    def is_foreign(self, link: Link, proxies: Sequence[LocalProxy], /) -> bool: ...

    def processes(self, links: Iterable[Link], /) -> Mapping[Link, int]: ...


Handler = Callable[[Conversation, Call, Progress], Awaitable[Value]]


class Server:
    """The agent's door. Create it, `open()` it, `shut()` it."""

    def __init__(
        self,
        *,
        doorkeeper: Callable[[], Doorkeeper],
        handler: Handler,
        identity: Mapping[str, Any],
        door: Callable[[], Door],
        peers: Peers = peers_of_this_system,
        silent_s: float = SILENT_S,
    ) -> None:
        """`identity` is the discovery answer; `handler` runs one call and returns its result or raises AgentError.

        `doorkeeper` and `door` are asked each time: settings change while we listen.
        """
        self.serve_for(doorkeeper=doorkeeper, handler=handler, identity=identity, door=door)
        self._peers = peers
        self._tally = _Tally()
        self._open = asyncio.Event()  # whoever comes is answered
        self._open.set()
        self.lobby = Lobby(
            door=self._limits,
            processes=peers.processes,
            silent_s=silent_s,
            dropped=lambda: self._tally.say("a connection without a complete handshake was dropped"),
        )
        self._servers: list[WebSocketServer] = []
        self._secure_servers: list[WebSocketServer] = []
        self._connections: set[_Connection] = set()
        self._shut = False
        self.conversations: set[Conversation] = set()
        self.port = 0
        self.secure_port = 0

    def serve_for(
        self,
        *,
        doorkeeper: Callable[[], Doorkeeper],
        handler: Handler,
        identity: Mapping[str, Any],
        door: Callable[[], Door],
    ) -> None:
        """From now on this agent is behind the door; the arguments are as for the constructor."""
        self._doorkeeper, self._handler, self._door = doorkeeper, handler, door
        self._identity = json.dumps(dict(identity)).encode()

    def _limits(self) -> Door:
        return self._door()

    async def open(self, ports: Iterable[int]) -> int:
        """Listen on the first port that is free on both loopback addresses. Raises ports.busy."""
        self.port = await self._listen(ports, None)
        return self.port

    async def open_secure(self, ports: Iterable[int], context: ssl.SSLContext) -> int:
        """Listen for wss too, by the same rules. Raises ports.busy."""
        self.secure_port = await self._listen(ports, context)
        return self.secure_port

    async def _listen(self, ports: Iterable[int], context: ssl.SSLContext | None) -> int:
        tried = []
        for port in ports:
            sockets = loopback_sockets(port)
            if sockets is None:
                tried.append(port)
                log.warning("port %s is held by another program", port)
                continue
            at = _Listening(sockets[0].getsockname()[1], context)
            servers = self._servers if context is None else self._secure_servers
            for listener in sockets:
                servers.append(
                    await serve(
                        self._converse,
                        sock=listener,
                        create_connection=partial(_Connection, house=self, at=at),  # type: ignore[arg-type]  # called, never subclassed
                        process_request=self._process_request,
                        subprotocols=[Subprotocol(SUBPROTOCOL)],
                        compression=None,
                        server_header=None,
                        open_timeout=None,  # our own, in the lobby
                        ping_interval=None,  # our own, for close code 4002
                        close_timeout=CLOSE_PATIENCE_S,
                        max_size=MAX_FRAME_BYTES,
                        max_queue=32,
                        logger=logging.getLogger("websockets.server"),
                    )
                )
            if self._shut:  # we began to stop meanwhile
                for server in servers:
                    server.close(close_connections=False)
            return at.port
        raise AgentError(Code.PORTS_BUSY, ports=tried)

    async def hold(self, asking: Conversation | None = None) -> None:
        """Close every conversation with 4001, but the one that asked for it; whoever comes waits for `go_on`.

        The port stays ours, so nobody takes it and no page finds us absent. wss ends: its certificate is not that of
        the next agent here.
        """
        self._open.clear()
        for server in self._secure_servers:
            server.close(close_connections=False)
        self._secure_servers.clear()
        self.secure_port = 0
        others = self.conversations - {asking}
        await asyncio.gather(*(one.close(CLOSE_REVOKED, "switched") for one in others))
        for connection in list(self._connections):
            half_in = connection.caller is not None or connection.at.context is not None
            if half_in and not (asking and asking.runs_over(connection)):
                connection.wire.abort()

    def go_on(self) -> None:
        """Answer those that wait, and all that come."""
        self._open.set()

    async def shut(self) -> None:
        """Stop listening, close every conversation (1001), break off what never became one."""
        self._shut = True
        servers = self._servers + self._secure_servers
        for server in servers:
            server.close(close_connections=False)
        await asyncio.gather(*(one.close(1001, "the agent stops") for one in self.conversations))
        for connection in list(self._connections):
            connection.wire.abort()
        self.go_on()
        for server in servers:
            await server.wait_closed()
        self._servers.clear()
        self._secure_servers.clear()
        await self.lobby.close()

    def revoked(self) -> list[Conversation]:
        """The conversations whose origin has other rights by now, or none, or may no longer wait for them."""
        doorkeeper = self._doorkeeper()

        def lost(caller: Caller) -> bool:
            rights = doorkeeper.rights_of(caller.origin)
            if caller.pending:
                return rights is None and not doorkeeper.may_wait(caller.origin)
            return caller.origin != NATIVE and rights != caller.rights

        return [one for one in self.conversations if doorkeeper.disabled or lost(one.caller)]

    def admissible(self) -> list[tuple[Conversation, frozenset[Right]]]:
        """The conversations that wait for the person although their origin has rights by now, and these rights."""
        doorkeeper = self._doorkeeper()
        waiting = ((one, doorkeeper.rights_of(one.caller.origin)) for one in self.conversations if one.caller.pending)
        return [(one, rights) for one, rights in waiting if rights is not None]

    # ------------------------------------------------------------ before the conversation

    def accepted(self, connection: _Connection) -> None:
        """A TCP connection came."""
        self._connections.add(connection)
        door, link = self._door(), link_of(connection.wire)
        foreign = door.same_user and link is not None and self._peers.is_foreign(link, door.local_proxies)
        self.lobby.enter(connection.wire, foreign=foreign)
        if self._shut:  # accepted by the system just before we stopped to listen
            connection.wire.abort()

    def gone(self, connection: _Connection) -> None:
        """A TCP connection has ended."""
        self._connections.discard(connection)
        self.lobby.leave(connection.wire)

    async def _process_request(self, connection: ServerConnection, http: HttpRequest) -> Response | None:
        assert isinstance(connection, _Connection)
        await self._open.wait()
        try:
            answer = self._answer(connection, http)
        except Exception:  # a request's last resort, as for a call: nothing of the inside goes out
            log.exception("a request for a conversation failed")
            answer = _status(HTTPStatus.INTERNAL_SERVER_ERROR)
        if answer is not None and answer.status_code != HTTPStatus.OK:
            self._tally.say(f"refused {answer.status_code}")
        return answer

    def _answer(self, connection: _Connection, http: HttpRequest) -> Response | None:
        """What to answer instead of a conversation; None for a conversation."""
        request, port = _request(http), connection.at.port
        if request.malformed:
            return _status(HTTPStatus.BAD_REQUEST)
        if not self._is_welcome(connection):
            return _status(HTTPStatus.FORBIDDEN)
        if http.method != "GET":
            return _status(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET"})
        doorkeeper = self._doorkeeper()
        if request.path == DISCOVERY_PATH and not _names(http, "Connection", "upgrade"):
            found = doorkeeper.discovery(request, port)
            if isinstance(found, Refusal):
                return _status(found.status)
            cors = {"Access-Control-Allow-Origin": found} if found else {}
            return _response(HTTPStatus.OK, self._identity, {"Content-Type": "application/json", **cors})
        caller = doorkeeper.conversation(request, port)
        if isinstance(caller, Refusal):
            return _status(caller.status)
        if not _names(http, "Upgrade", "websocket"):
            return _status(HTTPStatus.UPGRADE_REQUIRED, {"Upgrade": "websocket", "Connection": "Upgrade"})
        if self._is_full_for(caller):
            return _status(HTTPStatus.TOO_MANY_REQUESTS)
        connection.caller = caller
        return None

    def _is_welcome(self, connection: _Connection) -> bool:
        """Whether the peer's account may talk to us.

        Asked on the loop: Linux answers in 0.02 ms. Windows and macOS list every connection for it, at every
        handshake: what that costs there was never measured.
        """
        door = self._door()
        if not door.same_user:
            return True
        link = link_of(connection.wire)
        if link is not None and self._peers.is_welcome(link, door.local_proxies):
            return True
        self._tally.say("refused a program of another account of this machine, or one that cannot be seen")
        return False

    def _is_full_for(self, caller: Caller) -> bool:
        """Whether there are too many conversations for another one of this caller; never for the command line."""
        if caller.origin == NATIVE:
            return False
        door = self._door()
        inside = [one.caller for one in self._connections if one.caller is not None and one.caller.origin != NATIVE]
        if len(inside) >= door.connections:
            return True
        same = [one for one in inside if one.origin == caller.origin]
        if not caller.pending:
            return len(same) >= door.connections_per_origin
        return len(same) >= door.pending_per_origin or sum(one.pending for one in inside) >= door.pending

    # ------------------------------------------------------------ the conversation

    async def _converse(self, connection: ServerConnection) -> None:
        assert isinstance(connection, _Connection)
        assert connection.caller is not None
        connection.entered()
        conversation = Conversation(Session(connection.caller), connection)
        self.conversations.add(conversation)
        keepalive = asyncio.create_task(_keep_alive(connection, conversation), name="keepalive")
        mute = asyncio.create_task(self._expect_hello(conversation), name="hello")
        try:
            async for frame in _text_frames(connection):
                for output in conversation.session.receive(frame):
                    if isinstance(output, Close):
                        log.info("%s is closed: %s", conversation.caller.origin, output.reason)
                        await conversation.close(output.code, output.reason)
                        return
                    if isinstance(output, Send):
                        self._say_refused(conversation.caller, output)
                        await conversation.send(output)
                    elif isinstance(output.params, OperationCancelParams):
                        await self._cancel(conversation, output, output.params)
                    elif output.method.name in FROM_MEMORY:
                        await self._run(conversation, output)
                    else:
                        self._start(conversation, output)
        finally:
            keepalive.cancel()
            mute.cancel()
            self.conversations.discard(conversation)
            conversation.cancel()

    async def _expect_hello(self, conversation: Conversation) -> None:
        """A site that waits for consent, and never asks for it by its hello, keeps no place of those that do."""
        if conversation.caller.pending:
            await asyncio.sleep(self._door().handshake_s)
            if conversation.caller.pending and not conversation.session.greeted:
                await conversation.close(CLOSE_REVOKED, "no hello")

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
        code, trace_id = "ok", "-"
        try:
            result = await self._handler(conversation, call, progress)
            reply = conversation.session.answer(call, result)
            if isinstance(result, TracedResult):
                code, trace_id = result.code, result.trace.id
        except AgentError as error:
            log.log(logging.getLevelNamesMapping()[error.row.level], "%s", error)
            reply, code = conversation.session.fail(call, error), error.code.value
            trace_id = error.facts.get("traceId", "-")
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
        log.log(level, _LINE, call.method.name, conversation.caller.origin, code, milliseconds, trace_id)
        conversation._tasks.pop(call.id, None)  # too late to cancel it
        await conversation.send(reply)

    def _say_refused(self, caller: Caller, refusal: Send) -> None:
        """One line, as for every request; of sites that the person has not let in, a few for however many."""
        if refusal.refused is None:
            return
        method, why = refusal.refused
        if caller.pending:
            self._tally.say(f"refused {method} of a site that waits: {why}")
        else:
            log.info(_LINE, method, caller.origin, why, 0, "-")

    @staticmethod
    async def _cancel(conversation: Conversation, call: Call, params: OperationCancelParams) -> None:
        task = conversation._tasks.get(params.id)
        cancelled = task not in (None, conversation._committed) and task.cancel()
        log.info(_LINE, call.method.name, conversation.caller.origin, "ok", 0, "-")
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


def _names(http: HttpRequest, header: str, word: str) -> bool:
    return any(word in line.lower() for line in http.headers.get_all(header))


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


def _rejected(status: StatusLike, text: str) -> Response:  # noqa: ARG001  (the library's own text, which quotes the request)
    return _status(HTTPStatus(status))


def _status(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    return _response(
        status, f"{status.value} {status.phrase}\n".encode(), {"Content-Type": "text/plain", **(headers or {})}
    )


def _response(status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> Response:
    every = {**_SECURITY, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    return Response(status.value, status.phrase, Headers(every), body)
