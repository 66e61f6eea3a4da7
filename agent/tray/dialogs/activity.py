"""The activity window's process: its question, and the person of the simulator.

Question: the frame of `agent.tray.bridge.ActivityQuestion`. Answers: {"answer": "chosen"} with the activity's
id as payload, and those of `serve`.

The simulated person does as the environment variable INSI_AGENT_SIMULATED_ACTIVITY says: an id (default: the
first one), "cancel" or "wait".
"""

import os

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import Page, activity_page


def child_main() -> int:
    """Serve one question, then end."""
    return serve(activity_page, _simulated)


def _simulated(page: Page) -> bytearray | str:
    person = os.environ.get("INSI_AGENT_SIMULATED_ACTIVITY", page.choices[0][0])
    return person if person in ("wait", "cancel") else bytearray(person.encode())
