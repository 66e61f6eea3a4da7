"""Tell when the person locks the screen. ★ jeepney (D-Bus) on Linux, ctypes on Windows; macOS is not covered.

Linux: `Lock` and `LockedHint` of a session of systemd-logind on the system bus (org.freedesktop.login1(5)),
`ActiveChanged` of the desktop's screen saver on the session bus (names of GNOME, KDE, Cinnamon, MATE and
Xfce). Each bus has one thread that blocks on its socket: no wake-up while nothing happens.

Windows: WTSRegisterSessionNotification and WM_WTSSESSION_CHANGE (Microsoft Learn, "Remote Desktop Services").
Written from the documents, untested.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jeepney import MatchRule, Message
    from jeepney.io.blocking import DBusConnection

log = logging.getLogger(__name__)

_REPLY_S = 2
_LOGIN1, _SESSION, _PROPERTIES = (
    "org.freedesktop.login1",
    "org.freedesktop.login1.Session",
    "org.freedesktop.DBus.Properties",
)
_SCREEN_SAVERS = (
    "org.freedesktop.ScreenSaver",
    "org.gnome.ScreenSaver",
    "org.cinnamon.ScreenSaver",
    "org.mate.ScreenSaver",
    "org.xfce.ScreenSaver",
)


class Watch(Protocol):
    """A running watcher."""

    sees: str  # what it listens to, for the doctor

    def close(self) -> None:
        """Stop watching; returns when its threads have ended."""
        ...


def watch_screen(locked: Callable[[], None]) -> Watch | None:
    """Call `locked` from a thread whenever the screen is locked, perhaps more than once, and when the desktop's
    bus ends: with it ends the session of the person. None where nobody tells; the log says so.

    Blocks while it connects, two seconds for each bus at most.
    """
    watch = _watch(locked)
    if watch is None:
        log.info("nobody tells here when the screen is locked: a locked screen ends no card session")
    return watch


if sys.platform == "win32":

    def _watch(locked: Callable[[], None]) -> Watch | None:
        return _WindowsWatch(locked)

    class _WindowsWatch:
        """A window that only receives messages, in a thread of its own. Written from the documents, untested."""

        sees = "Windows"

        def __init__(self, locked: Callable[[], None]) -> None:
            self._locked, self._window = locked, 0
            self._made = threading.Event()
            self._thread = threading.Thread(target=self._listen, name="screen-lock", daemon=True)
            self._thread.start()
            self._made.wait()

        def close(self) -> None:
            import ctypes

            wm_close = 0x0010
            ctypes.windll.user32.PostMessageW(self._window, wm_close, 0, 0)
            self._thread.join(2)  # a window that was never made gets no message

        def _listen(self) -> None:
            import ctypes
            from ctypes import wintypes

            user, wts = ctypes.windll.user32, ctypes.windll.wtsapi32
            wm_destroy, wm_wtssession_change, wts_session_lock = 0x0002, 0x02B1, 0x7
            hwnd_message, notify_for_this_session = -3, 0
            result = ctypes.c_ssize_t
            handler = ctypes.WINFUNCTYPE(result, wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
            user.DefWindowProcW.argtypes = (wintypes.HWND, wintypes.UINT, wintypes.WPARAM, wintypes.LPARAM)
            user.DefWindowProcW.restype = result
            user.CreateWindowExW.restype = wintypes.HWND

            def received(window: int, message: int, what: int, more: int) -> int:
                if message == wm_wtssession_change and what == wts_session_lock:
                    self._locked()
                if message == wm_destroy:
                    wts.WTSUnRegisterSessionNotification(wintypes.HWND(window))
                    user.PostQuitMessage(0)
                answer: int = user.DefWindowProcW(window, message, what, more)
                return answer

            class WindowClass(ctypes.Structure):
                """WNDCLASSW."""

                _fields_ = (
                    ("style", wintypes.UINT),
                    ("lpfnWndProc", handler),
                    ("cbClsExtra", ctypes.c_int),
                    ("cbWndExtra", ctypes.c_int),
                    ("hInstance", wintypes.HINSTANCE),
                    ("hIcon", wintypes.HANDLE),
                    ("hCursor", wintypes.HANDLE),
                    ("hbrBackground", wintypes.HANDLE),
                    ("lpszMenuName", wintypes.LPCWSTR),
                    ("lpszClassName", wintypes.LPCWSTR),
                )

            name = "InsiAgentScreenLock"
            kept = WindowClass(lpfnWndProc=handler(received), lpszClassName=name)
            user.RegisterClassW(ctypes.byref(kept))
            self._window = user.CreateWindowExW(
                0, name, name, 0, 0, 0, 0, 0, wintypes.HWND(hwnd_message), None, None, None
            )
            wts.WTSRegisterSessionNotification(wintypes.HWND(self._window), notify_for_this_session)
            self._made.set()
            message = wintypes.MSG()
            while user.GetMessageW(ctypes.byref(message), None, 0, 0) > 0:
                user.DispatchMessageW(ctypes.byref(message))

elif sys.platform == "darwin":

    def _watch(locked: Callable[[], None]) -> Watch | None:  # noqa: ARG001  (macOS tells nobody we listen to yet)
        return None

else:

    def _watch(locked: Callable[[], None]) -> Watch | None:
        buses = [
            bus
            for bus in (
                _Bus.connected("SYSTEM", "systemd-logind", _login_rules, _LoginLocks(), locked),
                _Bus.connected("SESSION", "bureau", _saver_rules, _is_saver_lock, locked),
            )
            if bus
        ]
        return _LinuxWatch(buses) if buses else None


class _LinuxWatch:
    def __init__(self, buses: "list[_Bus]") -> None:
        self._buses = buses
        self.sees = ", ".join(bus.sees for bus in buses)

    def close(self) -> None:
        for bus in self._buses:
            bus.close()


class _Bus:
    """One connection, listened to in a thread of its own."""

    def __init__(
        self,
        sees: str,
        connection: "DBusConnection",
        is_lock: "Callable[[DBusConnection, Message], bool]",
        locked: Callable[[], None],
    ) -> None:
        self.sees = sees
        self._connection, self._is_lock, self._locked = connection, is_lock, locked
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name=f"screen-lock-{sees}", daemon=True)
        self._thread.start()

    @classmethod
    def connected(
        cls,
        bus: str,
        sees: str,
        rules: "Callable[[], Iterator[MatchRule]]",
        is_lock: "Callable[[DBusConnection, Message], bool]",
        locked: Callable[[], None],
    ) -> "_Bus | None":
        """None where this bus is not there, or refuses us."""
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import Proxy, open_dbus_connection
        from jeepney.wrappers import DBusErrorResponse

        try:
            connection = open_dbus_connection(bus, auth_timeout=_REPLY_S)
        except (OSError, KeyError, ValueError, RuntimeError) as error:  # no address, nobody there, not let in
            log.info("screen lock: no %s bus (%s)", bus.lower(), type(error).__name__)
            return None
        try:
            for rule in rules():
                Proxy(message_bus, connection, timeout=_REPLY_S).AddMatch(rule)
        except (OSError, DBusErrorResponse) as error:
            log.info("screen lock: the %s bus refused (%s)", bus.lower(), type(error).__name__)
            connection.close()
            return None
        return cls(sees, connection, is_lock, locked)

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):  # the bus has ended before us
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _listen(self) -> None:
        try:
            while True:
                if self._is_lock(self._connection, self._connection.receive()):
                    self._locked()
        except (OSError, ValueError) as error:  # the bus ended, or is no bus
            if not self._closing:
                log.warning("screen lock: the bus of %s ended (%s)", self.sees, type(error).__name__)
                self._locked()
        finally:
            self._connection.close()


def _login_rules() -> "Iterator[MatchRule]":
    from jeepney import MatchRule

    yield MatchRule(type="signal", sender=_LOGIN1, interface=_SESSION, member="Lock")
    changed = MatchRule(type="signal", sender=_LOGIN1, interface=_PROPERTIES, member="PropertiesChanged")
    changed.add_arg_condition(0, _SESSION)
    yield changed


def _saver_rules() -> "Iterator[MatchRule]":
    from jeepney import MatchRule

    for name in _SCREEN_SAVERS:
        yield MatchRule(type="signal", interface=name, member="ActiveChanged")


class _LoginLocks:
    """A lock of a session of ours: with fast user switching, somebody else's is not our person's.

    Whose it is, is asked without waiting for the answer: what comes meanwhile is not lost.
    """

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def __call__(self, connection: "DBusConnection", message: "Message") -> bool:
        from jeepney import DBusAddress, HeaderFields, Properties

        answers = message.header.fields.get(HeaderFields.reply_serial)
        if answers in self._asked:
            self._asked.discard(answers)
            return _may_be_ours(message)
        if _locks_a_session(message):
            session = DBusAddress(_signal(message)[2], bus_name=_LOGIN1, interface=_SESSION)
            serial = next(connection.outgoing_serial)
            self._asked.add(serial)
            connection.send(Properties(session).get("User"), serial=serial)
        return False


def _locks_a_session(message: "Message") -> bool:
    interface, member, _path = _signal(message)
    if (interface, member) == (_PROPERTIES, "PropertiesChanged") and _signature(message) == "sa{sv}as":
        return bool(message.body[1].get("LockedHint") == ("b", True))
    return (interface, member) == (_SESSION, "Lock")


def _may_be_ours(answer: "Message") -> bool:
    """Whether the session's User is ours; when logind does not say, any session counts as ours."""
    from jeepney import MessageType

    if answer.header.message_type is not MessageType.method_return:
        return True
    try:
        return bool(answer.body[0][1][0] == os.getuid())
    except (LookupError, TypeError):
        return True


def _is_saver_lock(_connection: "DBusConnection", message: "Message") -> bool:
    interface, member, _path = _signal(message)
    return interface in _SCREEN_SAVERS and member == "ActiveChanged" and message.body == (True,)


def _signal(message: "Message") -> tuple[str, str, str]:
    from jeepney import HeaderFields, MessageType

    if message.header.message_type is not MessageType.signal:
        return "", "", ""
    fields = message.header.fields
    interface, member, path = (
        str(fields.get(field, "")) for field in (HeaderFields.interface, HeaderFields.member, HeaderFields.path)
    )
    return interface, member, path


def _signature(message: "Message") -> str:
    from jeepney import HeaderFields

    return str(message.header.fields.get(HeaderFields.signature, ""))
