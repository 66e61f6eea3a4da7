"""A window's process: one question in, one answer out. ★

Every window may answer "cancelled", "expired", or "unavailable" with "why"; a code or a choice goes out as
raw payload. The end of the input ends the process and its window at once: the agent is gone, or the
question is withdrawn.

With {"simulatedAnswer": true}, which only the simulator sends, there is no window: an environment variable
plays the person. Without it the variable is not even read.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent.child import Pipe, pipe_to_parent
from agent.pin import wipe
from agent.tray.dialogs.words import Page

Answer = tuple[dict[str, str], bytearray]


def serve(page_of: Callable[[Mapping[str, Any]], Page], simulated: Callable[[Page], bytearray | str]) -> int:
    """Ask the one question that comes in. `simulated`: what the simulated person types, or "wait" or "cancel"."""
    pipe = pipe_to_parent()
    frame = pipe.receive()
    if frame is None:
        return 0
    question = frame[0]
    threading.Thread(target=_end_with_the_question, args=(pipe,), daemon=True).start()
    page, expires_s = page_of(question), question["expiresInS"]
    if question["simulatedAnswer"]:
        answer, payload = _simulated(page, simulated(page), expires_s)
    else:
        answer, payload = _asked(page, expires_s)
    with contextlib.suppress(OSError):  # nobody wants the answer any more
        pipe.send(answer, payload)
    wipe(payload)
    return 0


def _end_with_the_question(pipe: Pipe) -> None:
    try:
        while pipe.receive() is not None:
            pass
    finally:
        os._exit(0)  # Tk may only be called from the main thread, and there is nothing to save


def _asked(page: Page, expires_s: float) -> Answer:
    try:
        import tkinter as tk

        from agent.tray.dialogs.window import Window
    except ImportError:
        return {"answer": "unavailable", "why": "no tkinter"}, bytearray()
    try:
        window = Window(page, expires_s=expires_s)
    except tk.TclError:
        return {"answer": "unavailable", "why": "no display"}, bytearray()
    answer, payload = window.ask()
    return {"answer": answer}, payload


def _simulated(page: Page, person: bytearray | str, expires_s: float) -> Answer:
    if person == "wait":
        time.sleep(expires_s)
        return {"answer": "expired"}, bytearray()
    if isinstance(person, str) or not page.accept:
        return {"answer": page.refused}, bytearray()
    return {"answer": page.accepted}, person
