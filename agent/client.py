"""A native client of the running agent: the command line's way in. ★ websockets"""

import json
from typing import Any

from agent import __version__
from agent.errors import AgentError, Code
from agent.places import Running
from agent.protocol.messages import API_LEVEL, SUBPROTOCOL


def ask(running: Running, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Say hello with the token, make these calls in turn, give their results.

    Raises agent.notRunning, or the code that a call answered.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    hello = ("agent.hello", {"apiLevels": [API_LEVEL], "client": {"name": "insi-agent", "version": __version__}})
    results = []
    try:
        with connect(
            f"ws://127.0.0.1:{running.port}/",
            additional_headers={"Authorization": f"Bearer {running.token}"},
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            open_timeout=5,
        ) as socket:
            for number, (method, params) in enumerate([hello, *calls]):
                socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
                reply: dict[str, Any] = {}
                while reply.get("id") != number:  # notifications may come in between
                    reply = json.loads(socket.recv(timeout=150))
                if "error" in reply:
                    data = reply["error"].get("data", {})
                    raise AgentError(Code(data.get("reason", Code.INTERNAL)), **data.get("facts", {}))
                results.append(reply["result"])
    except (OSError, TimeoutError, WebSocketException):
        raise AgentError(Code.AGENT_NOT_RUNNING) from None
    return results[1:]
