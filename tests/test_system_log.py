"""The system's own log hears of start, stop and faults, in the words of our log and with nobody in them.

Syslog's socket is a real one. The Application log of Windows was never met: its part is written from its documents.
"""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import AgentError, Code
from agent.log import Redacting
from agent.running import until_told_to_stop
from agent.system_log import Event, SystemLog
from tests.parts.agent import Simulation
from tests.parts.desktop import until
from tests.parts.syslog import Syslog

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[Syslog]:
    daemon = Syslog(tmp_path)
    yield daemon
    daemon.close()


def logger_to(place: Path) -> logging.Logger:
    """A logger that this system's log alone hears."""
    alone = logging.getLogger("agent.system.test")
    handler = SystemLog(str(place))
    handler.setFormatter(Redacting())
    alone.propagate, alone.handlers = False, [handler]
    alone.setLevel(logging.DEBUG)
    return alone


def test_start_stop_and_faults_are_told_and_nothing_else(syslog: Syslog) -> None:
    log = logger_to(syslog.place)
    log.info("listening on port 19847", extra={"event": Event.START})
    log.info("vitale.read https://dossier.example ok 12 ms -")
    log.warning("an answer differs from its schema")
    log.error("incident %s", "4f0c")
    log.critical("uncaught")
    log.info("stopping: SIGTERM", extra={"event": Event.STOP})

    ident = f"insi-agent[{os.getpid()}]: "
    assert [line.decode() for line in syslog.received()] == [
        f"<14>{ident}INFO agent.system.test: listening on port 19847",
        f"<11>{ident}ERROR agent.system.test: incident 4f0c",
        f"<11>{ident}CRITICAL agent.system.test: uncaught",
        f"<14>{ident}INFO agent.system.test: stopping: SIGTERM",
    ]


def test_what_looks_like_a_person_or_a_secret_does_not_go_there_either(syslog: Syslog) -> None:
    logger_to(syslog.place).error("holder %s pin=%s", "2 60 05 88 154 002 33", "1234")

    (line,) = syslog.received()
    assert line.endswith(b"holder [nir] pin=[secret]")


def test_of_an_exception_it_says_in_one_line_what_it_is_and_not_its_words(syslog: Syslog) -> None:
    log = logger_to(syslog.place)
    log.error("incident %s", "4f0c", exc_info=ValueError("TESTEUSE\nborn in 1960"))
    log.error("not started", exc_info=AgentError(Code.PORTS_BUSY, "all of them"))

    first, second = syslog.received()
    assert first.endswith(b"incident 4f0c (ValueError)")
    assert second.endswith(b"not started (AgentError: ports.busy: all of them)")


@pytest.mark.parametrize("character", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\0"], ids=ascii)
def test_whatever_is_in_a_text_it_is_one_line_to_its_end(syslog: Syslog, character: str) -> None:
    log = logger_to(syslog.place)
    log.error("one%stwo", character)
    log.error("not started", exc_info=AgentError(Code.PORTS_BUSY, f"one{character}two"))

    first, second = (line.decode() for line in syslog.received())
    assert re.search(r": one\\\w+two$", first)
    assert re.search(r"not started \(AgentError: ports\.busy: one\\\w+two\)$", second)


@pytest.mark.parametrize(
    "text", ["word " * 1000, "é" * 5000, "x" + "é" * 5000, "\N{GRINNING FACE}" * 5000, "\ud800" * 3000]
)
def test_a_long_line_is_cut_at_what_a_message_may_have_and_never_within_a_letter(syslog: Syslog, text: str) -> None:
    logger_to(syslog.place).error("%s", text)

    (line,) = syslog.received()
    assert 1020 < len(line) <= 1024
    assert line.decode().startswith("<11>")


def test_a_socket_that_nobody_empties_holds_up_nobody(syslog: Syslog) -> None:
    """The kernel keeps a few datagrams for it, then refuses."""
    log = logger_to(syslog.place)
    for number in range(5000):
        log.error("fault %s", number)

    kept = syslog.received()
    assert 0 < len(kept) < 5000
    assert kept[0].endswith(b"fault 0")
    log.error("and now there is room again")
    assert syslog.received()[0].endswith(b"there is room again")


def test_where_there_is_no_such_socket_our_own_files_say_so_once_and_nothing_else_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)  # as in production
    log = logger_to(tmp_path / "nobody")
    for number in range(3):
        log.error("fault %s", number)

    assert [record.getMessage() for record in caplog.records] == ["the system's log takes nothing: FileNotFoundError"]
    assert tuple(capfd.readouterr()) == ("", "")


def test_a_daemon_that_comes_later_or_again_is_found(tmp_path: Path) -> None:
    log = logger_to(tmp_path / "syslog")
    log.error("before")
    for time in ("first", "second"):
        daemon = Syslog(tmp_path)
        log.error("%s time", time)
        assert [line.rpartition(b": ")[2] for line in daemon.received()] == [f"{time} time".encode()]
        daemon.close()


def test_the_numbers_of_events_stay_because_alerts_go_by_them() -> None:
    assert {event.name: event.value for event in Event} == {"START": 1, "STOP": 2, "FAULT": 3}


# ---------------------------------------------------------------- whole agents, on a machine whose syslog we are


class Machine:
    """A home whose agents find our socket at /dev/log."""

    def __init__(self, home: Path, syslog: Syslog) -> None:
        assert os.geteuid() == 0, "run as root: another /dev/log needs a mount namespace"
        self.home, self.syslog = home, syslog
        self._env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)}

    def start(self, *arguments: str, config: str = "") -> subprocess.Popen[str]:
        (self.home / "config.toml").write_text(config, encoding="utf-8")
        agent = [sys.executable, "-m", "agent", "run", "--no-tray", "--config", str(self.home / "config.toml")]
        return subprocess.Popen(
            self.syslog.heard_by([*agent, *arguments]),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def switch(self, environment: str) -> None:
        """By the command, as a person does."""
        command = [sys.executable, "-m", "agent", "environment", environment]
        subprocess.run([*command, "--config", str(self.home / "config.toml")], env=self._env, check=True)

    def logged(self, text: str) -> bool:
        return any(text in file.read_text() for file in self.home.rglob("agent.log"))

    def told(self) -> list[str]:
        """What came, without the process's number."""
        return [re.sub(r"\[\d+\]", "", line.decode()) for line in self.syslog.received()]


@pytest.fixture
def machine(tmp_path: Path, syslog: Syslog) -> Machine:
    return Machine(tmp_path, syslog)


def until_it_listens(agent: "subprocess.Popen[str]") -> None:
    """It serves, and hears signals."""
    status = Path(f"/proc/{agent.pid}/status")
    caught = re.compile(r"^SigCgt:\s*([0-9a-f]+)$", re.MULTILINE)

    def hears() -> bool:
        found = caught.search(status.read_text())
        return bool(found and int(found[1], 16) >> (signal.SIGHUP - 1) & 1)

    until(hears, "the agent hears signals")


def ended(agent: "subprocess.Popen[str]") -> int:
    """Told to stop; its exit status."""
    agent.terminate()
    try:
        agent.communicate(timeout=40)
    finally:
        agent.kill()
    return agent.returncode


def test_an_agent_says_when_it_starts_as_what_and_when_and_why_it_stops(machine: Machine) -> None:
    agent = machine.start("--port", "0")
    until_it_listens(agent)
    assert ended(agent) == 0

    started, stopped = machine.told()
    assert re.fullmatch(
        r"<14>insi-agent: INFO agent\.app: listening on port \d+, test, profile repository, version \S+", started
    )
    assert stopped == "<14>insi-agent: INFO agent.running: stopping: SIGTERM"


def test_an_agent_that_cannot_start_says_why(machine: Machine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        agent = machine.start("--port", str(taken.getsockname()[1]))
        agent.communicate(timeout=40)

    assert agent.returncode == 1
    assert machine.told() == ["<11>insi-agent: ERROR agent.running: not started: ports.busy"]


def test_wrong_settings_which_let_no_agent_start_are_said_there(machine: Machine) -> None:
    agent = machine.start(config="[insi]\nretries = 99\n")
    agent.communicate(timeout=40)

    (line,) = machine.told()
    assert agent.returncode == 1
    assert line.startswith("<11>insi-agent: ERROR agent.cli: not started: config.invalid: insi.retries")


def test_what_nobody_catches_is_said_there_without_its_words(tmp_path: Path, syslog: Syslog) -> None:
    script = """
import threading
from agent.log import configure
configure("INFO", stderr=None, folder=None, system=True)
def fails():
    raise ValueError("TESTEUSE")
one = threading.Thread(target=fails, name="watcher")
one.start()
one.join()
fails()
"""
    run = subprocess.run(
        syslog.heard_by([sys.executable, "-c", script]), cwd=CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (run.returncode, run.stderr) == (1, "")
    assert [line.partition(b": ")[2] for line in syslog.received()] == [
        b"ERROR agent.log: uncaught in thread watcher (ValueError)",
        b"CRITICAL agent.log: uncaught (ValueError)",
    ]


def test_an_agent_that_can_serve_nobody_any_more_says_why_it_stops(
    agent: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    """A switch failed, and so did the way back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    agent.running.lost = AgentError(Code.PORTS_BUSY)
    agent.running.told.set()
    try:
        with caplog.at_level(logging.INFO), pytest.raises(AgentError):
            until_told_to_stop(agent.running, tray=False)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        agent.running.lost = None

    (stop,) = [record for record in caplog.records if getattr(record, "event", None) is Event.STOP]
    assert stop.getMessage() == "stopping: ports.busy"


def test_over_a_switch_each_real_agent_says_its_start_and_its_stop_and_a_simulated_one_nothing(
    machine: Machine, simulator_pki: Path
) -> None:
    """Else whoever watches syslog believes that the one before still serves."""
    shutil.copytree(simulator_pki, machine.home / ".local/state/insi-agent/simulator/data")
    agent = machine.start("--port", "0")
    until_it_listens(agent)
    for environment in ("production", "simulated", "test"):
        machine.switch(environment)
    assert ended(agent) == 0

    assert [re.sub(r"port \d+|version \S+", "", line.partition("agent.")[2]) for line in machine.told()] == [
        "app: listening on , test, profile repository, ",
        "running: switching from test/repository to production/repository",
        "app: listening on , production, profile repository, ",
        "running: switching from production/repository to simulated/repository",
        "app: listening on , test, profile repository, ",
        "running: stopping: SIGTERM",
    ]


@pytest.mark.parametrize("so", [("", ("--simulate",)), ("[log]\nsystem = false\n", ())])
def test_a_simulated_agent_and_one_that_is_told_to_say_nothing_there(
    machine: Machine, simulator_pki: Path, so: tuple[str, tuple[str, ...]]
) -> None:
    config, arguments = so
    shutil.copytree(simulator_pki, machine.home / ".local/state/insi-agent/simulator/data")
    agent = machine.start("--port", "0", *arguments, config=config)
    until_it_listens(agent)
    assert ended(agent) == 0

    assert machine.told() == []


def test_the_setting_counts_at_once_when_the_settings_are_read_again(machine: Machine) -> None:
    agent = machine.start("--port", "0", config="[log]\nsystem = false\n")
    until_it_listens(agent)
    for config, says in (
        ('environment = "production"\n', "another environment is configured"),
        ("[insi]\nretries = 99\n", "settings not reloaded"),
    ):
        (machine.home / "config.toml").write_text(config, encoding="utf-8")
        agent.send_signal(signal.SIGHUP)
        until(partial(machine.logged, says), "the settings are read")
    assert ended(agent) == 0

    assert [line.rpartition("agent.")[2] for line in machine.told()] == [
        "app: settings not reloaded: config.invalid: insi.retries (user file): Input should be less than or equal to 3",
        "running: stopping: SIGTERM",
    ]


def test_the_command_line_itself_tells_the_system_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--simulated"]) == 1

    assert not [one for one in logging.getLogger().handlers if isinstance(one, SystemLog)]
