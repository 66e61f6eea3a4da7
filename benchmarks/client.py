"""A web application at its fastest: one conversation on the loop of a row."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from benchmarks.parts import SITE

HELLO = {"apiLevels": [1], "client": {"name": "banc", "version": "1"}}
STATUS = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "agent.status", "params": {}})


async def opened(port: int, *, hello: bool = True) -> ClientConnection:
    """A socket; with `hello`, one that the agent has greeted."""
    socket = await connect(
        f"ws://127.0.0.1:{port}/",
        origin=Origin(SITE),
        subprotocols=[Subprotocol("insi-agent.v1")] if hello else None,
        compression=None,
        proxy=None,
        ping_interval=None,
    )
    if hello:
        await call(socket, "agent.hello", **HELLO)
    return socket


@asynccontextmanager
async def conversation(port: int, *, hello: bool = True) -> AsyncIterator[ClientConnection]:
    """The same, closed at the end."""
    async with await opened(port, hello=hello) as socket:
        yield socket


async def call(socket: ClientConnection, method: str, **params: Any) -> Any:
    """One request and its result; what is pushed in between is dropped. Fails on an error."""
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}))
    while "id" not in (reply := json.loads(await socket.recv())):
        pass
    assert "result" in reply, reply
    return reply["result"]


async def turn(socket: ClientConnection, requests: int) -> float:
    """Seconds for so many round trips of agent.status, or of its text at the bare server."""
    began = time.perf_counter()
    for _ in range(requests):
        await socket.send(STATUS)
        await socket.recv()
    return time.perf_counter() - began
