"""A page and a door for the module's own tests: both are the product's, only what is behind the door is plain."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from agent.demo import PageServer
from agent.errors import AgentError, Code
from agent.model import Environment, Profile, Right, Value
from agent.protocol.messages import AgentName, HelloResult, WatchResult
from agent.protocol.origins import Doorkeeper
from agent.protocol.server import Conversation, Progress, Server, loopback_sockets
from agent.protocol.session import Call

T = TypeVar("T")

ABOUT = {"product": "insi-agent", "version": "0.0.0", "api": [1], "instanceId": "test"}
RIGHTS = frozenset({Right.VITALE})


class Door:
    """The agent's real server on its own thread; use as a context manager. Its methods are called from any thread."""

    def __init__(self, port: int, allowed: Mapping[str, frozenset[Right]], *, about: Mapping[str, object] = ABOUT):
        self._port, self._allowed, self._about = port, allowed, about
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door")
        self.heard: list[str] = []
        self.reading = threading.Event()  # a vitale.read has begun and waits for its cancellation

    def __enter__(self) -> "Door":
        self._thread.start()
        self._server = Server(
            doorkeeper=lambda: Doorkeeper(self._allowed, "token"), handler=self._do, identity=self._about
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

    async def _do(self, _conversation: Conversation, call: Call, progress: Progress) -> Value:
        self.heard.append(call.method.name)
        if call.method.name == "agent.hello":
            return HelloResult(
                api=1,
                agent=AgentName(name="INSi Agent", version="0.0.0", instance_id="test"),
                origin_state="allowed",
                environment=Environment.SIMULATED,
                profile=Profile.REPOSITORY,
                auth_modes=["cpx"],
                capabilities=["vitale.read"],
                receipt_key={},
            )
        if call.method.name == "vitale.read":
            await progress("vitale.waiting", "card.vitale")
            self.reading.set()
            await asyncio.Event().wait()
        if call.method.name == "cards.unwatch":
            raise AgentError(Code.PIN_WRONG, pinState="low")
        return WatchResult(readers=[])


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
