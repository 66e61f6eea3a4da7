"""A page and a door for the module's own tests: both are the product's, only what is behind the door is plain."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from agent import config
from agent.demo import PageServer
from agent.errors import AgentError, Code
from agent.model import Environment, Profile, Right, Value
from agent.protocol.messages import AgentName, ChangedParams, HelloParams, HelloResult, WatchResult
from agent.protocol.origins import Doorkeeper
from agent.protocol.server import Conversation, Progress, Server, loopback_sockets
from agent.protocol.session import Call

T = TypeVar("T")

ABOUT = {"product": "insi-agent", "version": "0.0.0", "api": [1], "instanceId": "test"}
RIGHTS = frozenset({Right.VITALE})


class Door:
    """The agent's real server on its own thread; use as a context manager. Its methods are called from any thread."""

    def __init__(
        self,
        port: int,
        allowed: Mapping[str, frozenset[Right]],
        *,
        about: Mapping[str, object] = ABOUT,
        asks: bool = False,
    ) -> None:
        """`asks`: a site of no list waits for `consents` or `refuses`."""
        self._port, self._allowed, self._about, self._asks = port, dict(allowed), about, asks
        self._refused: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door")
        self._environment = Environment.SIMULATED
        self.heard: list[str] = []
        self.origins: list[str] = []  # of those who said hello
        self.challenges: list[str | None] = []
        self.waiting = threading.Event()  # somebody waits for the person
        self.trouble: AgentError | None = None  # instead of an answer to hello
        self.reading = threading.Event()  # a vitale.read has begun and waits for its cancellation

    def __enter__(self) -> "Door":
        self._thread.start()
        settings = config.Door()
        self._server = Server(
            doorkeeper=lambda: Doorkeeper(
                self._allowed, "token", asks=self._asks, turned_away=frozenset(self._refused)
            ),
            handler=self._do,
            identity=self._about,
            door=lambda: settings,
        )
        self.run(self._server.open([self._port]))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.run(self._server.shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for `work` on the door's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def conversations(self) -> int:
        """How many are open."""

        async def count() -> int:
            return len(list(self._server.conversations))

        return self.run(count())

    def consents(self) -> None:
        """The person lets the sites in that wait."""
        self.run(self._settle(self._admit))

    def refuses(self) -> None:
        """The person wants none of the sites that are here."""
        self.run(self._settle(self._deny))

    def become(self, environment: Environment) -> None:
        """As the agent behind the door makes way for another."""

        async def switch() -> None:
            await self._server.hold()
            self._environment = environment
            self._server.go_on()

        self.run(switch())

    def asks_again(self) -> None:
        """The person takes every refusal back."""
        self._refused.clear()

    async def _settle(self, settle: Callable[[Conversation], Awaitable[None]]) -> None:
        for conversation in list(self._server.conversations):
            await settle(conversation)

    async def _admit(self, conversation: Conversation) -> None:
        self._allowed[conversation.caller.origin] = RIGHTS
        conversation.admit(RIGHTS)
        await conversation.notify("agent.changed", ChangedParams(**_greeting("allowed"), warnings=[]))

    async def _deny(self, conversation: Conversation) -> None:
        self._allowed.pop(conversation.caller.origin, None)
        self._refused.add(conversation.caller.origin)
        await conversation.revoke(ChangedParams(**_greeting("denied"), warnings=[]))

    async def _do(self, conversation: Conversation, call: Call, progress: Progress) -> Value:
        self.heard.append(call.method.name)
        if isinstance(call.params, HelloParams):
            self.origins.append(conversation.caller.origin)
            self.challenges.append(call.params.challenge)
            if self.trouble:
                raise self.trouble
            if conversation.caller.pending:
                self.waiting.set()
            greeting = _greeting("pending" if conversation.caller.pending else "allowed")
            return HelloResult(**{**greeting, "environment": self._environment})
        if call.method.name == "vitale.read":
            await progress("vitale.waiting", "card.vitale")
            self.reading.set()
            await asyncio.Event().wait()
        if call.method.name == "cards.unwatch":
            raise AgentError(Code.PIN_WRONG, pinState="low")
        return WatchResult(readers=[])


def _greeting(origin_state: str) -> dict[str, Any]:
    return {
        "api": 1,
        "agent": AgentName(name="INSi Agent", version="0.0.0", instance_id="test"),
        "origin_state": origin_state,
        "environment": Environment.SIMULATED,
        "profile": Profile.REPOSITORY,
        "auth_modes": ["cpx"],
        "capabilities": ["vitale.read"],
        "receipt_key": {},
    }


@contextmanager
def page_for(port: int) -> Iterator[PageServer]:
    """The demonstration's page server, for an agent on this port."""
    server = PageServer()
    server.start(agent_ports=[port])
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port that nothing holds on either loopback address."""
    listeners = loopback_sockets(0)
    assert listeners
    port: int = listeners[0].getsockname()[1]
    for listener in listeners:
        listener.close()
    return port
