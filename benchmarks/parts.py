"""What is measured, and what it is measured with: started when a row first wants it, ended together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.insi.fake_insi import SimulatedInsi
from agent.journal.store import Journal
from agent.places import find_running
from agent.signing.fake_token import SimulatedCard, card_file, save_card
from agent.simulator.pki import Issued, Person, issue_card, issue_organisation, issue_server, make_ca
from benchmarks.bulk import made
from tests.cards.process import CardProcess
from tests.parts.pcscd import Pcscd
from tests.parts.session import in_a_session
from tests.parts.softhsm import SoftHsm
from tests.parts.workstation import write_config

SITE = "https://banc.example"
ROOT = Path(__file__).parent.parent
PATIENCE_S = 20


class Parts:
    """Real parts by name. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started = ExitStack()
        self._journals: dict[int, tuple[Journal, float]] = {}

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    # ------------------------------------------------------------ who exists

    @cached_property
    def ca(self) -> Issued:
        return make_ca()

    @cached_property
    def organisation(self) -> Issued:
        return issue_organisation(self.ca)

    @cached_property
    def card(self) -> SimulatedCard:
        return issue_card(self.ca, Person())

    # ------------------------------------------------------------ cards

    @cached_property
    def pcscd(self) -> Pcscd:
        """A card service of ours, three readers, a carte Vitale in one; this process and its children use it."""
        service = self._started.enter_context(Pcscd(self._made("pcscd"), ["Vitale", "CPS", "Bureau"]))
        os.environ.update(service.environment)
        vitale = self._started.enter_context(CardProcess("tests.cards.vitale", service.port_of("Vitale")))
        vitale.insert()
        return service

    @cached_property
    def cps(self) -> CardProcess:
        """A CPS3 in the other reader."""
        file = card_file(self._made("cps"))
        file.parent.mkdir()
        save_card(self.card, file)
        arguments = (self.pcscd.port_of("CPS"), "--card", str(file), "--relaxed")
        cps = self._started.enter_context(CardProcess("tests.cards.cps3", *arguments))
        cps.insert()
        return cps

    @cached_property
    def softhsm(self) -> SoftHsm:
        """The same card as a token in software; this process and its children use it."""
        token = SoftHsm(self._made("softhsm"), self.card)
        os.environ.update(token.environment)
        return token

    # ------------------------------------------------------------ INSi

    @cached_property
    def insi(self) -> SimulatedInsi:
        server = issue_server(self.ca)
        insi = SimulatedInsi(server.pem, server.key_pem, self.ca.pem)
        insi.start()
        self._started.callback(insi.stop)
        return insi

    # ------------------------------------------------------------ journals

    def journal(self, entries: int) -> tuple[Journal, float]:
        """One of so many entries, open, and the seconds it took to make."""
        if entries not in self._journals:
            began = time.perf_counter()
            journal = made(self.folder / f"journal-{entries}", entries)
            self._started.callback(journal.close)
            self._journals[entries] = journal, time.perf_counter() - began
        return self._journals[entries]

    # ------------------------------------------------------------ servers

    @cached_property
    def bare(self) -> "Served":
        """The bare server."""
        port = free_port()
        process = self._started.enter_context(running([sys.executable, "-m", "benchmarks.bare", str(port)]))
        first_answer(port)
        return Served(port, process.pid)

    @cached_property
    def agent(self) -> "Served":
        """The agent as it is shipped, in a session with a keyring, its card watch on."""
        assert self.pcscd
        home = self._made("agent")
        command = [sys.executable, "-m", "agent", "run", "--no-tray", "--port", "0", "--config", str(self.config(home))]
        self._started.enter_context(running(in_a_session(command), self._homes(home), ends_by_itself=True))
        runtime = home / "insi-agent"
        deadline = time.monotonic() + PATIENCE_S
        while (found := find_running(runtime)) is None:
            assert time.monotonic() < deadline, f"the agent does not listen; its log is in {home}"
            time.sleep(0.01)
        self._started.callback(os.kill, found.pid, signal.SIGTERM)
        return Served(found.port, found.pid)

    @cached_property
    def station(self) -> "Station":
        """The agent on real parts whose edges are timed; see station.py."""
        assert self.cps
        home = self._made("station")
        command = in_a_session([sys.executable, "-m", "benchmarks.station", str(self.config(home)), str(home)])
        process = self._started.enter_context(running(command, self._homes(home), ends_by_itself=True))
        station = Station(process)
        self._started.callback(station.close)
        return station

    def config(self, folder: Path) -> Path:
        """The settings of an agent with all the parts of this desk."""
        modules = sorted(Path("/usr/lib").glob("**/opensc-pkcs11.so"))
        assert modules, "OpenSC is missing: apt-get install opensc opensc-pkcs11"
        anchors, file = folder / "ca.pem", folder / "config.toml"
        anchors.write_bytes(self.ca.pem)
        unlimited = "[limits]\ninsi_per_minute = 100000\ninsi_per_day = 100000\npin_windows_per_minute = 100000\n"
        write_config(file, site=SITE, module=modules[0], insi=self.insi, anchors=anchors, more=unlimited)
        return file

    def start_alone(self, port: int) -> tuple[list[str], dict[str, str]]:
        """Command and environment of an agent that has nothing but a home."""
        home = self.folder / "alone"
        home.mkdir(exist_ok=True)
        return [sys.executable, "-m", "agent", "run", "--no-tray", "--port", str(port)], self._homes(home)

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    @staticmethod
    def _homes(folder: Path) -> dict[str, str]:
        names = ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
        folder.chmod(0o700)
        homes = {**os.environ, **dict.fromkeys(names, str(folder))}
        homes.pop("DBUS_SESSION_BUS_ADDRESS", None)
        return homes


class Served:
    """A server that is running."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid


class Station:
    """The other end of station.py."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        said = self._said()
        self.port: int = said["port"]
        self.pid: int = said["pid"]

    def spent(self) -> dict[str, float]:
        """Seconds spent so far in `card`, `signature`, `insi` and `journal`."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._said()

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the station ended"
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def running(
    command: Sequence[str], environment: dict[str, str] | None = None, *, ends_by_itself: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A program from the checkout; at the end it is terminated, or waited for, and killed when it stays."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if not ends_by_itself:
            process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def first_answer(port: int) -> None:
    """Return when the server on this port has answered an HTTP request: listening alone is the kernel's work."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
                client.sendall(f"GET /.well-known/insi-agent HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                assert client.recv(12).startswith(b"HTTP/1.1"), "another program answers"
                return
        except ConnectionError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.001)
