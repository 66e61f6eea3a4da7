"""The sites window's process: its question. The simulator's person only looks.

Question: the frame of `agent.tray.bridge.SitesQuestion`. Answers: {"answer": "chosen"} with the origin whose
decision is to be undone as payload, and those of `serve`.
"""

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import sites_page


def child_main() -> int:
    """Serve one question, then end."""
    return serve(sites_page, lambda _page: "cancel")
