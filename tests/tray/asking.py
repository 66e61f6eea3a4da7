"""Ask a question in its window, and act on it with xdotool's hands."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.tray.bridge import Person
from tests.parts.desktop import Desktop, until

T = TypeVar("T")


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


def wait_until_armed() -> None:
    """A window that has the keyboard takes no answer for half a second: what is refused later is refused for good."""
    time.sleep(1)


def return_until_gone(desktop: Desktop, title: str) -> None:
    """Return, again until the window is gone: it means nothing while "Valider" is grey."""

    def gone() -> bool:
        desktop.key("Return")
        return not desktop.windows(title)

    until(gone, "the window took the answer")
