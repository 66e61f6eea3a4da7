"""The threads of a running agent: the event loop in its own, the tray or a signal in the main one."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from agent.app import Agent, Options, load_settings
from agent.places import Places
from agent.tray.icon import open_tray
from agent.tray.state import Action, TrayState, view_of

log = logging.getLogger(__name__)
T = TypeVar("T")

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60  # more than the deadlines of Agent.stop together


class RunningAgent:
    """An agent whose loop runs in a thread of its own, from construction to `stop`."""

    def __init__(self, options: Options, places: Places) -> None:
        """Start it. Raises the codes of `Agent.start`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent", daemon=True)
        self._thread.start()
        self.agent = Agent(options, load_settings(options), places)
        try:
            self._await(self.agent.start(), START_TIMEOUT_S)
        except BaseException:
            self._end()
            raise

    def reload(self) -> Future[None]:
        """Begin to read the settings again, from any thread."""
        return asyncio.run_coroutine_threadsafe(self.agent.reload(), self._loop)

    def stop(self) -> None:
        """Stop everything that was started, in reverse order."""
        try:
            self._await(self.agent.stop(), STOP_TIMEOUT_S)
        except TimeoutError:
            log.error("something did not stop in %s s", STOP_TIMEOUT_S)  # noqa: TRY400  (the trace says nothing)
        self._end()

    def _await(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def until_told_to_stop(
    running: RunningAgent,
    *,
    tray: bool,
    open_demo: Callable[[], None] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Show the tray, or wait, until a signal or the person says stop. SIGHUP reads the settings again.

    `ready` is called once signals are heard: who learns then that the agent runs may stop it at once.
    """
    told = threading.Event()

    def stop(*_signal: object) -> None:
        told.set()

    def reload(*_signal: object) -> None:
        running.reload()

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, reload)
    ready()
    icon = None
    if tray:
        actions: dict[Action, Callable[[], None]] = {Action.QUIT: told.set, Action.SITES: running.agent.show_sites}
        if open_demo:
            actions[Action.OPEN_DEMO] = open_demo
        state = TrayState(environment=running.agent.desk.environment, demo=open_demo is not None)
        icon = open_tray(view_of(state), actions)

    if icon is None:
        told.wait()
        return
    handle = icon

    def stop_tray() -> None:
        told.wait()
        handle.stop()

    running.agent.show_state_in(lambda state: handle.update(view_of(state)))
    threading.Thread(target=stop_tray, name="tray-stop", daemon=True).start()
    handle.run()
    told.wait()  # the desktop may have gone before the person said stop
