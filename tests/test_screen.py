"""The screen's lock, told by a real D-Bus daemon: a desktop and a logind that this test plays."""

import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection

from agent.screen import Watch, watch_screen
from tests.parts.agent import Simulation
from tests.parts.desktop import until

SAVERS = [
    ("org.gnome.ScreenSaver", "/org/gnome/ScreenSaver"),
    ("org.freedesktop.ScreenSaver", "/ScreenSaver"),
    ("org.cinnamon.ScreenSaver", "/org/cinnamon/ScreenSaver"),
    ("org.mate.ScreenSaver", "/org/mate/ScreenSaver"),
    ("org.xfce.ScreenSaver", "/org/xfce/ScreenSaver"),
]
LOGIN1, SESSION = "org.freedesktop.login1", "org.freedesktop.login1.Session"
NOBODY = 65534


class Bus:
    """A D-Bus daemon of the test's own."""

    def __init__(self) -> None:
        program = shutil.which("dbus-daemon")
        if program is None:
            pytest.fail("dbus-daemon is not installed (apt-get install dbus)")
        self._daemon = subprocess.Popen(
            [program, "--session", "--nofork", "--nopidfile", "--print-address"], stdout=subprocess.PIPE, text=True
        )
        assert self._daemon.stdout is not None
        self.address = self._daemon.stdout.readline().strip()
        self._members: list[DBusConnection] = []

    def member(self, name: str) -> DBusConnection:
        """Somebody on the bus who owns this name."""
        connection = open_dbus_connection(self.address)
        assert Proxy(message_bus, connection).RequestName(name) == (1,)
        self._members.append(connection)
        return connection

    def end(self) -> None:
        for connection in self._members:
            connection.close()
        self._members.clear()
        self._daemon.kill()
        self._daemon.wait()
        if self._daemon.stdout:
            self._daemon.stdout.close()


@pytest.fixture
def bus() -> Iterator[Callable[[], Bus]]:
    """Starts daemons; all are ended."""
    started: list[Bus] = []

    def start() -> Bus:
        started.append(Bus())
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A workstation without any bus."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    return monkeypatch


class Heard:
    """Counts the locks; the watch is closed at the end of the `with`."""

    def __init__(self) -> None:
        self.times = threading.Semaphore(0)
        self.watch: Watch | None = None

    def __enter__(self) -> "Heard":
        self.watch = watch_screen(self.times.release)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.watch is not None
        self.watch.close()
        assert threads() == []

    def again(self) -> bool:
        return self.times.acquire(timeout=20)

    def nothing_more(self) -> bool:
        return not self.times.acquire(blocking=False)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("screen-lock")]


def emit(connection: DBusConnection, path: str, interface: str, member: str, signature: str, *body: Any) -> None:
    connection.send(new_signal(DBusAddress(path, interface=interface), member, signature, body))


@pytest.mark.parametrize(("name", "path"), SAVERS)
def test_the_desktops_screen_saver_tells_of_a_lock_and_not_of_an_unlock(
    bus: Callable[[], Bus], nowhere: pytest.MonkeyPatch, name: str, path: str
) -> None:
    session = bus()
    nowhere.setenv("DBUS_SESSION_BUS_ADDRESS", session.address)
    saver = session.member(name)
    with Heard() as heard:
        assert heard.watch is not None
        assert heard.watch.sees == "bureau"
        emit(saver, path, name, "ActiveChanged", "b", False)
        emit(saver, path, name, "ActiveChanged", "s", "true")  # not as the documents say: no lock
        emit(saver, path, name, "ActiveChanged", "b", True)
        assert heard.again()
        assert heard.nothing_more()


class Logind:
    """The part of systemd-logind that we ask: to whom a session belongs. Answers while `Heard` listens."""

    def __init__(self, system: Bus, owners: dict[str, int]) -> None:
        self._bus = system.member(LOGIN1)
        self._owners = owners

    def lock(self, path: str) -> None:
        emit(self._bus, path, SESSION, "Lock", "")

    def hint(self, path: str, *, locked: bool) -> None:
        changed = {"LockedHint": ("b", locked)}
        emit(self._bus, path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", SESSION, changed, [])

    def answer(self) -> str:
        """Answer the next question; the session that was asked about."""
        while True:
            message = self._bus.receive(timeout=20)
            if message.header.message_type is MessageType.method_call:
                break
        path = message.header.fields[HeaderFields.path]
        assert message.body == (SESSION, "User")
        if path in self._owners:
            self._bus.send(new_method_return(message, "v", (("(uo)", (self._owners[path], "/user")),)))
        else:
            self._bus.send(new_error(message, "org.freedesktop.DBus.Error.UnknownObject"))
        return str(path)


MINE, OTHERS, GONE = (f"/org/freedesktop/login1/session/_3{n}" for n in (1, 2, 3))


@pytest.fixture
def logind(bus: Callable[[], Bus], nowhere: pytest.MonkeyPatch) -> Logind:
    """A session of ours and one of another user's, on the system bus."""
    system = bus()
    nowhere.setenv("DBUS_SYSTEM_BUS_ADDRESS", system.address)
    return Logind(system, {MINE: os.getuid(), OTHERS: NOBODY})


def test_logind_tells_of_a_lock_of_our_session_by_signal_and_by_hint(logind: Logind) -> None:
    with Heard() as heard:
        assert heard.watch is not None
        assert heard.watch.sees == "systemd-logind"
        logind.hint(MINE, locked=False)
        for tell in (lambda: logind.lock(MINE), lambda: logind.hint(MINE, locked=True)):
            tell()
            assert logind.answer() == MINE
            assert heard.again()
        assert heard.nothing_more()


def test_another_users_lock_is_not_ours_and_hides_none_of_ours(logind: Logind) -> None:
    """Fast user switching; both locks are told before the first answer."""
    with Heard() as heard:
        logind.lock(OTHERS)
        logind.lock(MINE)
        assert [logind.answer(), logind.answer()] == [OTHERS, MINE]
        assert heard.again()
        assert heard.nothing_more()


def test_a_session_of_which_logind_says_nothing_counts_as_ours(logind: Logind) -> None:
    with Heard() as heard:
        logind.lock(GONE)
        assert logind.answer() == GONE
        assert heard.again()


def test_a_name_that_anybody_took_tells_nothing_on_the_system_bus(logind: Logind, bus: Callable[[], Bus]) -> None:
    """The bus itself lets only the owner of logind's name through."""
    with Heard() as heard:
        stranger = open_dbus_connection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
        emit(stranger, MINE, SESSION, "Lock", "")
        Proxy(message_bus, stranger).GetId()  # the bus has taken it
        stranger.close()
        logind.lock(MINE)
        assert logind.answer() == MINE
        assert heard.again()
        assert heard.nothing_more()


def test_a_bus_that_dies_counts_as_a_lock_and_leaves_no_thread(
    bus: Callable[[], Bus], nowhere: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the desktop's bus ends the session of the person."""
    session = bus()
    nowhere.setenv("DBUS_SESSION_BUS_ADDRESS", session.address)
    with Heard() as heard:
        session.end()
        assert heard.again()
        until(lambda: threads() == [], "its thread has ended")
    assert heard.nothing_more()
    assert "the bus of bureau ended" in caplog.text


def test_without_any_bus_there_is_no_watch_and_the_log_says_what_that_means(
    nowhere: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    assert watch_screen(lambda: None) is None
    assert caplog.text.count("a locked screen ends no card session") == 1


def test_a_watch_that_waits_makes_no_wake_up(bus: Callable[[], Bus], nowhere: pytest.MonkeyPatch) -> None:
    """Its thread sleeps in one system call, without a time limit: the kernel counts no switch of it meanwhile."""
    session = bus()
    nowhere.setenv("DBUS_SESSION_BUS_ADDRESS", session.address)
    with Heard():
        (listening,) = [thread for thread in threading.enumerate() if thread.name in threads()]
        status = Path(f"/proc/self/task/{listening.native_id}/status")
        until(lambda: "State:\tS" in status.read_text(), "it sleeps")
        before = switches(status)
        threading.Event().wait(1)
        assert switches(status) == before


def switches(status: Path) -> int:
    return sum(int(line.split()[1]) for line in status.read_text().splitlines() if "ctxt_switches" in line)


# ---------------------------------------------------------------- the whole agent


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """The agent, stopped after the test, has ended its threads."""
    yield
    assert threads() == []


@pytest.mark.parametrize(("setting", "left"), [("", False), ("[cpx]\nlock_with_screen = false\n", True)])
def test_a_locked_screen_ends_the_card_session_of_a_running_agent(
    bus: Callable[[], Bus],
    nowhere: pytest.MonkeyPatch,
    no_thread_left: None,
    simulation: Callable[..., Simulation],
    caplog: pytest.LogCaptureFixture,
    setting: str,
    left: bool,
) -> None:
    caplog.set_level(logging.INFO)
    session = bus()
    nowhere.setenv("DBUS_SESSION_BUS_ADDRESS", session.address)
    saver = session.member("org.gnome.ScreenSaver")
    agent = simulation(setting)
    until(lambda: bool(threads()), "the agent listens to the screen")
    site = agent.site()
    site.call("cards.watch")
    site.call("cpx.unlock")
    assert site.notified("cpx.changed")["unlocked"] is True

    emit(saver, "/org/gnome/ScreenSaver", "org.gnome.ScreenSaver", "ActiveChanged", "b", True)

    until(lambda: "the screen was locked" in caplog.text, "the agent heard it")
    if not left:
        assert site.notified("cpx.changed") == {"present": True, "unlocked": False}
    assert site.call("cpx.status")["unlocked"] is left
    assert site.call("agent.status")["cpxSession"]["open"] is left
