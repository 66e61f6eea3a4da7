"""The icon beside the clock. ★ pystray, and Pillow to draw it

Without a desktop, or where no tray back-end loads, there is no icon and the agent works all the same.
"""

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from agent.tray.state import Action, Icon, MenuLine, TrayView

log = logging.getLogger(__name__)
_SIZE = 64


def open_tray(view: TrayView, actions: Mapping[Action, Callable[[], None]]) -> "TrayHandle | None":
    """Prepare the icon; None when this desktop, or this machine, has no place for one.

    `actions` run in the tray's thread and must not wait.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return None
    logging.getLogger("pystray").setLevel(logging.CRITICAL)  # its tracebacks say "no tray here", which is no failure
    try:
        import pystray

        return TrayHandle(pystray, view, actions)
    except Exception as error:  # noqa: BLE001  (each desktop's back-end fails to load in its own way)
        log.info("no tray icon: %s", type(error).__name__)
        return None


class TrayHandle:
    """The icon. `run` belongs to the main thread; `update` and `stop` may be called from any and never wait."""

    def __init__(self, pystray: Any, view: TrayView, actions: Mapping[Action, Callable[[], None]]) -> None:
        self._pystray = pystray
        self._actions = actions
        self._icon = pystray.Icon("insi-agent", _picture(view), self._title(view), self._menu(view))
        self._in_loop: Callable[[Callable[[], None]], None] = lambda call: call()
        if hasattr(self._icon, "_dock_window"):
            from agent.tray.x11 import Loop

            self._in_loop = Loop(self._icon).call
        self._running = threading.Event()
        self._wishes: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wishes.put(self._appear)

    def run(self) -> None:
        """Show the icon until `stop`, or until the desktop is gone."""
        follower = threading.Thread(target=self._follow, name="tray-updates", daemon=True)
        follower.start()
        try:
            self._icon.run(setup=lambda _icon: self._running.set())
        except Exception as error:  # noqa: BLE001  (GTK's raises GLib.Error at the end without a notification service)
            log.info("the tray icon ended: %s", type(error).__name__)
        self._running.set()
        self.stop()
        follower.join(1)

    def update(self, view: TrayView) -> None:
        """Show another state."""
        self._wishes.put(lambda: self._draw(view))

    def stop(self) -> None:
        """Take the icon away; `run` then returns."""
        self._wishes.put(None)

    def _follow(self) -> None:
        """Pass wishes on, one by one: some back-ends make their callers wait."""
        self._running.wait()
        try:
            while (wish := self._wishes.get()) is not None:
                self._in_loop(wish)
            self._in_loop(self._icon.stop)
        except Exception as error:  # noqa: BLE001  (as in run)
            log.info("the tray icon is out of reach: %s", type(error).__name__)

    def _appear(self) -> None:
        self._icon.visible = True

    def _draw(self, view: TrayView) -> None:
        self._icon.icon = _picture(view)
        self._icon.title = self._title(view)
        self._icon.menu = self._menu(view)

    def _title(self, view: TrayView) -> str:
        if self._pystray.Icon.HAS_MENU:
            return view.title
        return view.title.replace("–", "-").encode("latin-1", "replace").decode("latin-1")  # X11: nothing else

    def _menu(self, view: TrayView) -> Any:
        """Lines that only inform are greyed; the first that does something is what a click on the icon does."""
        offered = [line for line in view.menu if line.action in self._actions]
        first = next((line for line in offered if line.action is not Action.QUIT), None)
        return self._pystray.Menu(*(self._item(line, default=line is first) for line in view.menu))

    def _item(self, line: MenuLine, *, default: bool) -> Any:
        action = self._actions.get(line.action) if line.action else None

        def clicked(*_pystrays: Any) -> None:
            if action:
                action()

        return self._pystray.MenuItem(line.text, clicked, enabled=action is not None, default=default)


def _picture(view: TrayView) -> Any:
    """A card on a coloured square; full to the edges because X11 trays know no transparency."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_SIZE, _SIZE), view.colour)
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((7, 15, 56, 48), radius=6, outline="white", width=5)
    if view.icon is Icon.CARD:
        draw.rectangle((17, 25, 29, 37), fill="white")
    elif view.icon is Icon.ORGANISATION:
        draw.rectangle((17, 29, 31, 34), fill="white")
        draw.polygon(((31, 21), (31, 42), (48, 31)), fill="white")
    elif view.icon is Icon.QUESTION:
        for left in (17, 28, 39):
            draw.ellipse((left, 28, left + 7, 35), fill="white")
    elif view.icon is Icon.TROUBLE:
        draw.rectangle((24, 4, 39, 60), fill=view.colour)
        draw.rectangle((28, 6, 35, 40), fill="white")
        draw.rectangle((28, 48, 35, 57), fill="white")
    return image
