"""The consent window's process: its question, and the person of the simulator.

Question: the frame of `agent.tray.bridge.ConsentQuestion`. Answers: {"answer": "chosen"} with "allow" or "block" as
payload, "notNow", and those of `serve`.

The simulated person does as the environment variable INSI_AGENT_SIMULATED_CONSENT says: "allow", "block", "cancel"
(not now; the default) or "wait".
"""

import os

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import Page, consent_page


def child_main() -> int:
    """Serve one question, then end."""
    return serve(consent_page, _simulated)


def _simulated(_page: Page) -> bytearray | str:
    person = os.environ.get("INSI_AGENT_SIMULATED_CONSENT", "cancel")
    return person if person in ("wait", "cancel") else bytearray(person.encode())
