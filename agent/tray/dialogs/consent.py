"""The consent window's process: its question, and the person of the simulator.

Question: the frame of `agent.tray.bridge.ConsentQuestion`. Answers: {"answer": "chosen"} with "allow" or "block" as
payload, "notNow", and those of `serve`.

The simulated person does as the environment variable INSI_AGENT_SIMULATED_CONSENT says: "allow", "block", "wait" or
"cancel" (not now; the default, and what any other word is taken for).
"""

import logging
import os

from agent.tray.dialogs.serve import serve
from agent.tray.dialogs.words import Page, consent_page

log = logging.getLogger(__name__)


def child_main() -> int:
    """Serve one question, then end."""
    return serve(consent_page, _simulated)


def _simulated(_page: Page) -> bytearray | str:
    person = os.environ.get("INSI_AGENT_SIMULATED_CONSENT", "cancel")
    if person in ("allow", "block"):
        return bytearray(person.encode())
    if person not in ("wait", "cancel"):
        log.warning("INSI_AGENT_SIMULATED_CONSENT is none of allow, block, cancel, wait: taken for cancel")
        return "cancel"
    return person
