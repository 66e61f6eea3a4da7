"""The PIN window's process: its question, and the person of the simulator.

Question: the frame of `agent.tray.bridge.PinQuestion`. Answers: {"answer": "pin"} with the code as raw
payload, "pinPad" (the code will be typed on the reader), "locked" (read and closed), and those of `serve`.

The simulated person does as the environment variable INSI_AGENT_SIMULATED_PIN says: a code (default "1234"),
"cancel" (someone who gives up) or "wait" (nobody there: the question expires).
"""

import os

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import Page, pin_page


def child_main() -> int:
    """Serve one question, then end."""
    return serve(pin_page, _simulated)


def _simulated(page: Page) -> bytearray | str:
    person = os.environ.get("INSI_AGENT_SIMULATED_PIN", "1234")
    return person if person in ("wait", "cancel") else bytearray(person.encode() if page.typed_here else b"")
