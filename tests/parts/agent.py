"""A whole simulated agent in this process, and a web application that talks to it over a real socket."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from agent.insi.fake_insi import SimulatedInsi
from agent.options import Options
from agent.places import Places
from agent.readers.transcript import SimulatedReaders
from agent.running import RunningAgent
from agent.simulator.pki import open_pki

SITE = "http://127.0.0.1:1"  # the demonstration page's origin, in these tests
HELLO = {"apiLevels": [1], "client": {"name": "essai", "version": "1"}}


class RefusedError(Exception):
    """An error reply."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(json.dumps(error, ensure_ascii=False))
        self.error = error
        self.reason: str = error.get("data", {}).get("reason", "")
        self.facts: dict[str, Any] = error.get("data", {}).get("facts", {})


class Site:
    """A web application with one open conversation."""

    def __init__(self, port: int, *, origin: str | None = SITE, hello: bool = True, token: str = "") -> None:
        """`token` instead of an origin: a program of this user, as the command line is."""
        self._ids = itertools.count(1)
        self.notifications: list[dict[str, Any]] = []
        self._early: dict[int, dict[str, Any]] = {}
        self._opened = ExitStack()
        self.socket: ClientConnection = self._opened.enter_context(
            connect(
                f"ws://127.0.0.1:{port}/",
                origin=Origin(origin) if origin and not token else None,
                additional_headers={"Authorization": f"Bearer {token}"} if token else None,
                subprotocols=[Subprotocol("insi-agent.v1")],
                compression=None,
                proxy=None,
            )
        )
        self.hello: dict[str, Any] = self.call("agent.hello", **HELLO) if hello else {}

    def send(self, method: str, **params: Any) -> int:
        """Send a request; its id."""
        number = next(self._ids)
        self.socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return number

    def reply(self, number: int) -> Any:
        """The result of the request of this id; notifications and other replies are kept. Raises RefusedError."""
        while number not in self._early:
            self._take()
        message = self._early.pop(number)
        if "error" in message:
            raise RefusedError(message["error"])
        return message["result"]

    def call(self, method: str, **params: Any) -> Any:
        return self.reply(self.send(method, **params))

    def refusal(self, method: str, **params: Any) -> RefusedError:
        """The error that this call must give."""
        with pytest.raises(RefusedError) as refused:
            self.call(method, **params)
        return refused.value

    def notified(self, method: str) -> dict[str, Any]:
        """The params of the next notification of this name."""
        while True:
            for message in self.notifications:
                if message["method"] == method:
                    self.notifications.remove(message)
                    params: dict[str, Any] = message["params"]
                    return params
            self._take()

    def _take(self) -> None:
        message = json.loads(self.socket.recv(timeout=60))
        if "id" in message:
            self._early[message["id"]] = message
        else:
            self.notifications.append(message)

    def close(self) -> None:
        self._opened.close()


class Simulation:
    """A running simulated agent, and the hands on its simulated world."""

    def __init__(self, folder: Path, config: str, port: int | None) -> None:
        file = folder / "config.toml"
        file.write_text(config, encoding="utf-8")
        self.places = Places.simulated(folder).create()
        options = Options(simulate=True, port=port, config_file=file, demo_origins=(SITE,), answers_itself=True)
        self._options = options
        self.running = RunningAgent(options, self.places)
        self._sites: list[Site] = []

    @property
    def port(self) -> int:
        return self.running.agent.port

    @property
    def readers(self) -> SimulatedReaders:
        readers = self.running.agent.desk.readers
        assert isinstance(readers, SimulatedReaders)
        return readers

    @property
    def insi(self) -> SimulatedInsi:
        insi = self.running.agent.simulated_insi
        assert insi is not None
        return insi

    def site(self, *, origin: str = SITE, hello: bool = True) -> Site:
        """A new conversation, closed at the end of the test."""
        self._sites.append(Site(self.port, origin=origin, hello=hello))
        return self._sites[-1]

    def reload(self) -> None:
        """Read the settings again and wait until it is done."""
        self.running.reload().result(20)

    def restart(self) -> None:
        """Stop, and start again on the same state."""
        self.stop()
        self.running = RunningAgent(self._options, self.places)

    def stop(self) -> None:
        while self._sites:
            self._sites.pop().close()
        self.running.stop()


@pytest.fixture(scope="session")
def simulator_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulator's state folder with its keys made once: five RSA keys are worth keeping."""
    folder = Places.simulated(tmp_path_factory.mktemp("pki")).create().data
    open_pki(folder)
    return folder


@contextmanager
def simulated_agents(place: Path, simulator_pki: Path) -> Iterator[Callable[..., Simulation]]:
    """Starts simulated agents, each in its own folder; all are stopped at the end."""
    started: list[Simulation] = []

    def start(config: str = "", port: int | None = 0) -> Simulation:
        folder = place / f"agent-{len(started)}"
        folder.mkdir()
        shutil.copytree(simulator_pki, Places.simulated(folder).data)
        started.append(Simulation(folder, config, port))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.stop()


@pytest.fixture
def simulation(tmp_path: Path, simulator_pki: Path) -> Iterator[Callable[..., Simulation]]:
    with simulated_agents(tmp_path, simulator_pki) as start:
        yield start


@pytest.fixture
def agent(simulation: Callable[..., Simulation]) -> Simulation:
    """A simulated agent with a family's Vitale and a CPS inserted."""
    return simulation()


@pytest.fixture
def site(agent: Simulation) -> Site:
    """A web application that said hello to `agent`."""
    return agent.site()
