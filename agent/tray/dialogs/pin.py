"""The PIN window's process: one question in, one answer out. ★

Question: the frame of `agent.tray.bridge.PinQuestion`. Answers: {"answer": "pin"} with the code as raw
payload, "pinPad" (the code will be typed on the reader), "cancelled", "locked" (read and closed),
"expired", or "unavailable" with "why". The end of the input ends the process and its window at once:
the agent is gone, or the question is withdrawn.

With {"simulatedAnswer": true}, which only the simulator sends, there is no window: the person is played
by the environment variable INSI_AGENT_SIMULATED_PIN: a code (default "1234"), "cancel" (someone who gives
up) or "wait" (nobody there: the question expires). Without it the variable is not even read.
"""

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from agent.child import Pipe, pipe_to_parent
from agent.pin import wipe
from agent.tray.dialogs.words import page_of

Answer = tuple[dict[str, str], bytearray]


def child_main() -> int:
    """Serve one question, then end."""
    pipe = pipe_to_parent()
    frame = pipe.receive()
    if frame is None:
        return 0
    question = frame[0]
    threading.Thread(target=_end_with_the_question, args=(pipe,), daemon=True).start()
    answer, code = _simulated(question) if question["simulatedAnswer"] else _asked(question)
    with contextlib.suppress(OSError):  # nobody wants the answer any more
        pipe.send(answer, code)
    wipe(code)
    return 0


def _end_with_the_question(pipe: Pipe) -> None:
    try:
        while pipe.receive() is not None:
            pass
    finally:
        os._exit(0)  # Tk may only be called from the main thread, and there is nothing to save


def _asked(question: Mapping[str, Any]) -> Answer:
    try:
        import tkinter as tk

        from agent.tray.dialogs.window import PinWindow
    except ImportError:
        return {"answer": "unavailable", "why": "no tkinter"}, bytearray()
    try:
        window = PinWindow(page_of(question), expires_s=question["expiresInS"])
    except tk.TclError:
        return {"answer": "unavailable", "why": "no display"}, bytearray()
    answer, code = window.ask()
    return {"answer": answer}, code


def _simulated(question: Mapping[str, Any]) -> Answer:
    page = page_of(question)
    person = os.environ.get("INSI_AGENT_SIMULATED_PIN", "1234")
    if person == "wait":
        time.sleep(question["expiresInS"])
        return {"answer": "expired"}, bytearray()
    if person == "cancel" or not page.accept:
        return {"answer": page.refused}, bytearray()
    return {"answer": page.accepted}, bytearray(person.encode() if page.typed_here else b"")
