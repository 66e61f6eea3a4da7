"""Ask a question in its window, and act on it with xdotool's hands."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.tray.bridge import Person
from tests.parts.desktop import Desktop, until

T = TypeVar("T")
_READY, _GREY = "#EEF1F5", "#DCDAD5"  # a button that may be pressed, and one that may not
_TELLS_WHEN_ARMED = """
import json, sys
from agent.tray.dialogs import words
from agent.tray.dialogs.window import Window

class Telling(Window):
    def _arm(self):
        super()._arm()
        print("armed", flush=True)

page = getattr(words, sys.argv[1])(json.loads(sys.argv[2]))
answer, payload = Telling(page, expires_s=120).ask()
print(answer, payload.decode(), flush=True)
"""


def children(of: int | str = "self") -> list[int]:
    """The processes that this one, or another, started and that still exist."""
    pids: list[int] = []
    for task in Path(f"/proc/{of}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ends while we look
            pids += map(int, (task / "children").read_text().split())
    return pids


def answer_of(
    desktop: Desktop, hands: Callable[[], None], asked: Callable[[Person], Coroutine[Any, Any, T]], title: str
) -> T:
    """What `asked` gives when `hands` act on its window; the window's process is then gone."""

    async def ask() -> T:
        task = asyncio.create_task(asked(Person(environment=desktop.environment)))
        await asyncio.to_thread(desktop.focused, title)
        await asyncio.to_thread(hands)
        return await task

    before = children()
    try:
        return asyncio.run(ask())
    finally:
        assert before == children()
        assert [] == desktop.windows(title)


def left_by_a_withdrawn_question(
    desktop: Desktop, asked: Callable[[Person], Coroutine[Any, Any, object]], title: str
) -> list[int]:
    """The processes that are still there once `asked` was cancelled with its window on screen."""

    async def withdraw() -> list[int]:
        before = children()
        task = asyncio.create_task(asked(Person(environment=desktop.environment)))
        await asyncio.to_thread(desktop.window, title)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [pid for pid in children() if pid not in before]

    return asyncio.run(withdraw())


def wait_until_armed(desktop: Desktop, title: str) -> None:
    """A shielded window ignores for good what is pressed in its first moments; all its buttons are grey till then."""
    until(lambda: _READY in desktop.colours(desktop.window(title)), "a button that may be pressed")


def wait_until_acceptable(desktop: Desktop, title: str) -> None:
    """No button is grey: the window is armed, and what it asks for is there."""

    def acceptable() -> bool:
        colours = desktop.colours(desktop.window(title))
        return _READY in colours and _GREY not in colours

    until(acceptable, "buttons that may all be pressed")


def answer_once_armed(
    desktop: Desktop, hands: Callable[[], None], page: str, question: Mapping[str, Any], title: str
) -> str:
    """What the window of this page answers when `hands` act on it once it is armed.

    For a page that looks the same before: the window itself tells.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _TELLS_WHEN_ARMED, page, json.dumps(question)],
        env={**os.environ, **desktop.environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        try:
            assert "armed\n" == program.stdout.readline()
            desktop.focused(title)
            hands()
            return program.stdout.readline().strip()
        finally:
            program.kill()


def key_until_gone(desktop: Desktop, title: str, *keys: str) -> None:
    """Press keys, again until the window is gone. Only for keys that do no harm when pressed once more.

    A window manager loses its own key at times: it takes its keys anew when the hands first touch the keyboard.
    """

    def gone() -> bool:
        desktop.key(*keys)
        return not desktop.windows(title)

    until(gone, "the window took the answer")


def return_until_gone(desktop: Desktop, title: str) -> None:
    """Return, again until the window is gone: it means nothing while "Valider" is grey."""
    key_until_gone(desktop, title, "Return")
