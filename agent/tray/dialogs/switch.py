"""The window of environment and profile's process: its question. The simulator's person only looks.

Question: the frame of `agent.tray.bridge.SwitchQuestion`. Answers: {"answer": "chosen"} with what to change as
payload, as `environment=test`, and those of `serve`.
"""

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import switch_page


def child_main() -> int:
    """Serve one question, then end."""
    return serve(switch_page, lambda _page: "cancel")
