"""Run calls in the thread of pystray's X11 loop. ★ python-xlib

pystray 0.19.5 lets any thread use the loop's own connection, and python-xlib 0.33 then loses requests
or locks up: seen in one `stop` out of six, and in one start out of a hundred. So nothing but the loop
touches that connection; a second one only wakes it, by a message to the icon's window.
"""

import queue
from collections.abc import Callable
from typing import Any


class Loop:
    """The loop of one `pystray._xorg.Icon`. `call` from one thread at a time."""

    def __init__(self, icon: Any) -> None:
        from Xlib import X, display  # type: ignore[import-untyped]  # it ships no types

        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._connection = display.Display()
        self._window = self._connection.create_resource_object("window", icon._window.id)
        self._wake_up = self._connection.intern_atom("_INSI_AGENT_WAKE_UP")
        icon._message_handlers[X.ClientMessage] = self._woken
        # It waits for clicks without asking the screen for any; it has no menu, so a click is all a person has.
        mask = X.ExposureMask | X.StructureNotifyMask | X.ButtonPressMask
        icon._window.change_attributes(event_mask=mask)
        icon._display.flush()
        # It also asks for its place in the tray again at each change, and trayer 1.1.8 loses, one time
        # in four, an icon that asks twice.
        dock = icon._dock_window
        icon._dock_window = lambda: None if icon._systray_manager else dock()

    def call(self, call: Callable[[], None]) -> None:
        """Have it called in the loop, some time after this returns."""
        from Xlib.protocol import event  # type: ignore[import-untyped]  # it ships no types

        self._calls.put(call)
        message = event.ClientMessage(window=self._window, client_type=self._wake_up, data=(32, [0] * 5))
        self._window.send_event(message)
        self._connection.flush()

    def _woken(self, message: Any) -> None:
        if message.client_type == self._wake_up:
            self._calls.get()()
