"""A native client of the running agent: the command line's way in. ★ websockets"""

import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import __version__
from agent.errors import AgentError, Code
from agent.places import Places, Running, find_running
from agent.protocol.messages import API_LEVEL, SUBPROTOCOL

_PATIENCE_S = 150
_LISTENS_S = 5
_ANSWER_BYTES = 4 << 20  # the lines of a log are many


def find_agent(*, simulated: bool, switched: bool = True) -> Running:
    """Where the user's agent, or their simulator, is. Raises agent.notRunning.

    `switched`: the agent too where it was switched to simulation.
    """
    places = [Places.simulated()] if simulated else [Places.real(), *([Places.simulated()] if switched else [])]
    found = [running for one in places if (running := find_running(one.runtime)) is not None]
    while len(found) > 1 and not _listens(found[0]):
        del found[0]
    if not found:
        raise AgentError(Code.AGENT_NOT_RUNNING)
    return found[0]


def _listens(running: Running) -> bool:
    """Its agent may have died and left its file."""
    try:
        socket.create_connection(("127.0.0.1", running.port), _LISTENS_S).close()
    except (OSError, OverflowError):
        return False
    return True


def ask(running: Running, *calls: tuple[str, dict[str, Any]], patience_s: float = _PATIENCE_S) -> list[dict[str, Any]]:
    """Say hello with the token, make these calls in turn, give their results.

    Raises agent.notRunning, or the code that a call answered.
    """
    with _conversation(running) as talk:
        return [talk.call(method, params, patience_s) for method, params in calls]


def follow(running: Running) -> Iterator[tuple[str, dict[str, Any]]]:
    """The readers now, each as a `reader.added`, then every notification as it comes: name and params.

    Ends by agent.notRunning when the agent stops; raises it also as `ask` does.
    """
    with _conversation(running) as talk:
        for reader in talk.call("cards.watch", {})["readers"]:
            yield "reader.added", reader
        while True:
            yield talk.notification()


class _Conversation:
    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self._early: deque[dict[str, Any]] = deque()  # notifications that came before the reply waited for

    def call(self, method: str, params: dict[str, Any], patience_s: float = _PATIENCE_S) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}))
        while (reply := json.loads(self._socket.recv(timeout=patience_s))).get("id") != self._number:
            self._early.append(reply)
        if "error" in reply:
            data = reply["error"].get("data", {})
            raise AgentError(Code(data.get("reason", Code.INTERNAL)), **data.get("facts", {}))
        result: dict[str, Any] = reply["result"]
        return result

    def notification(self) -> tuple[str, dict[str, Any]]:
        message = self._early.popleft() if self._early else json.loads(self._socket.recv())
        return message["method"], message["params"]


@contextmanager
def _conversation(running: Running) -> Iterator[_Conversation]:
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    try:
        with connect(
            f"ws://127.0.0.1:{running.port}/",
            additional_headers={"Authorization": f"Bearer {running.token}"},
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            open_timeout=5,
            max_size=_ANSWER_BYTES,
        ) as socket:
            talk = _Conversation(socket)
            talk.call(
                "agent.hello", {"apiLevels": [API_LEVEL], "client": {"name": "insi-agent", "version": __version__}}
            )
            yield talk
    except (OSError, TimeoutError, WebSocketException):
        raise AgentError(Code.AGENT_NOT_RUNNING) from None
