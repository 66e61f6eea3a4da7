"""Another environment or profile while the agent runs: real sockets, the command line's way in, the real journal."""

import asyncio
import getpass
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import keyring
import pytest
from keyring.backends import SecretService
from websockets.exceptions import ConnectionClosed

from agent.app import Options
from agent.choice import read_choice
from agent.client import ask
from agent.errors import AgentError, Code
from agent.journal.chain import signed_at
from agent.journal.ports import Step
from agent.journal.store import Journal
from agent.model import AuthMode, Environment, Profile
from agent.places import Places, Running, claim, find_running
from agent.running import RunningAgent, until_told_to_stop
from agent.secrets import load_identity, load_journal_keys, secrets_of
from agent.switching import Choice
from agent.tray.state import TrayState
from tests.parts.agent import RefusedError, Simulation, Site
from tests.parts.desktop import Desktop, until
from tests.parts.program import Program
from tests.parts.session import session

SITE, OTHER = "https://dossier.example", "https://autre.example"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
LEONARDO = {"birthName": "DE VINCI", "givenNames": ["LEONARDO"], "sex": "M", "birthDate": "2014-02-01"}
ROW = """
[[origins.allowed]]
origin = "{0}"
[[software]]
name = "Dossier d'essai"
version = "3.2"
origins = ["{0}"]
[software.authorisation]
simulated = "SIMULATEUR-0001"
test = "SIMULATEUR-0001"
"""
CONFIG = ROW.format(SITE) + ROW.format(OTHER)


class Workstation:
    """An agent of this process with the places of a person's own, in the test environment; its windows answer."""

    def __init__(self, home: Path, config: str = CONFIG) -> None:
        file = home / "config.toml"
        file.write_text(config, encoding="utf-8")
        self._options = Options(port=0, config_file=file, answers_itself=True)
        self._opened = ExitStack()
        self._hands = self._opened.enter_context(ThreadPoolExecutor(1))
        self.running: RunningAgent
        self.start(Places.real())

    def start(self, places: Places) -> None:
        self.running = RunningAgent(self._options, places.create())
        self._shown: list[TrayState] = []
        self.running.show_state_in(self._shown.append)

    @property
    def waits(self) -> bool:
        """Whether the tray says that a switch waits."""
        return bool(self._shown) and self._shown[-1].switching

    @property
    def port(self) -> int:
        return self.running.agent.port

    def site(self, origin: str = SITE) -> Site:
        site = Site(self.port, origin=origin)
        self._opened.callback(site.close)
        return site

    def program(self) -> Site:
        """A local program with the token."""
        site = Site(self.port, token=self.native().token)
        self._opened.callback(site.close)
        return site

    def announced(self) -> list[str]:
        """Where agent.json is."""
        places = {"real": Places.real(), "simulated": Places.simulated()}
        return [name for name, one in places.items() if find_running(one.runtime) is not None]

    def native(self) -> Running:
        found = find_running(self.running.agent.places.runtime)
        assert found
        return found

    def switch(self, **wanted: str) -> dict[str, Any]:
        """As the command line does."""
        return ask(self.native(), ("agent.switch", wanted))[0]

    def begin(self, **wanted: str) -> "Future[dict[str, Any]]":
        """The same, by somebody else while the test goes on."""
        return self._hands.submit(self.switch, **wanted)

    def stop(self) -> None:
        self.running.stop()
        self._opened.close()


@pytest.fixture
def simulated_pki(home: Path, simulator_pki: Path) -> Path:
    """The simulator's keys at their place: five RSA keys are worth keeping."""
    folder = Places.simulated().create().data
    shutil.copytree(simulator_pki, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session of a person who is logged in: with a keyring."""
    with session(tmp_path_factory.mktemp("session")) as address:
        yield address


@pytest.fixture
def logged_in(home: Path, bus: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a person with a keyring."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
    before = keyring.get_keyring()
    keyring.set_keyring(SecretService.Keyring())
    yield home
    keyring.set_keyring(before)


@pytest.fixture
def here(logged_in: Path, simulated_pki: Path) -> Iterator[Workstation]:
    workstation = Workstation(logged_in)
    yield workstation
    workstation.stop()


def closed(site: Site) -> tuple[int, str]:
    """How the agent ended this conversation; what it still said is kept."""
    with pytest.raises(ConnectionClosed) as end:
        site.notified("nothing more")
    assert end.value.rcvd
    return end.value.rcvd.code, end.value.rcvd.reason


def refusal(workstation: Workstation, **wanted: str) -> AgentError:
    with pytest.raises(AgentError) as error:
        workstation.switch(**wanted)
    return error.value


class Gated:
    """A way to INSi that opens when the test says."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.reached, self.opened = threading.Event(), threading.Event()

    def check(self, mode: AuthMode) -> None:
        self._whole.check(mode)

    def post(self, *message: Any) -> Any:
        self.reached.set()
        assert self.opened.wait(60)
        return self._whole.post(*message)

    def close(self) -> None:
        self._whole.close()


# ---------------------------------------------------------------- there and back


def test_two_clients_are_closed_with_4001_and_find_the_other_environment_on_the_same_port(here: Workstation):
    first, second, port = here.site(), here.site(OTHER), here.port

    told = here.switch(environment="simulated")

    assert [closed(first), closed(second)] == [(4001, "switched")] * 2
    again = here.site()
    assert (told["environment"], again.hello["environment"], here.port) == ("simulated", "simulated", port)
    assert again.call("agent.status")["environment"] == "simulated"
    assert again.call("vitale.read")["holders"]


def test_there_and_back_each_environment_is_its_own_installation(here: Workstation):
    test, token = here.running.agent.desk.instance_id, here.native().token
    here.switch(environment="simulated")
    simulated = here.site().hello

    assert here.announced() == ["simulated"]
    assert simulated["agent"]["instanceId"] == Places.simulated().data.joinpath("instance-id").read_text().strip()
    here.switch(environment="test")
    assert here.announced() == ["real"]
    assert here.running.agent.desk.instance_id == test != simulated["agent"]["instanceId"]
    assert here.native().token != token
    assert here.running.agent.simulated_insi is None


def own_threads() -> list[str]:
    """The agent names each of its threads; the clients of this test do not."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("Thread-"))


def test_nothing_of_an_environment_that_was_left_goes_on(here: Workstation):
    """Its lanes, its watcher, its INSi: each was a thread."""
    here.switch(environment="test", profile="consumer")
    until(lambda: not here.running.agent.desk.exchanges, "the screen is watched")
    before = own_threads()

    here.switch(environment="simulated")
    here.site().call("vitale.read")
    here.switch(environment="test")

    until(lambda: not here.running.agent.desk.exchanges, "the screen is watched")
    assert own_threads() == before


def test_discovery_names_the_installation_that_answers_now(here: Workstation):
    def named() -> str:
        with urlopen(f"http://127.0.0.1:{here.port}/.well-known/insi-agent", timeout=20) as answer:
            return str(json.load(answer)["instanceId"])

    before = named()
    here.switch(environment="simulated")

    assert named() == here.running.agent.desk.instance_id != before


def test_nothing_that_one_environment_remembers_is_known_in_the_other_nor_after_the_return(here: Workstation):
    here.switch(environment="simulated")
    site = here.site()
    read = site.call("vitale.read")["readId"]
    several = site.call("insi.retrieveByTraits", traits=LEONARDO)
    assert several["outcome"] == "several"
    assert site.call("cpx.status")["unlocked"] is True

    here.switch(environment="test")
    site = here.site()
    assert site.refusal("insi.retrieveWithVitale", readId=read, holder=0).reason == "vitale.readingUnknown"
    status = site.call("agent.status")
    assert (status["operations"], status["cpxSession"]) == ({}, {"open": False, "own": False})

    here.switch(environment="simulated")
    site = here.site()
    assert site.refusal("insi.retrieveWithVitale", readId=read, holder=0).reason == "vitale.readingUnknown"
    continued = {"traits": {**LEONARDO, "birthPlaceCode": "63220"}, "continues": several["trace"]["id"]}
    assert site.refusal("insi.retrieveByTraits", **continued).reason == "continues.refused"
    assert site.call("cpx.status")["unlocked"] is False


def test_the_card_session_is_ended_on_the_card_before_the_switch(here: Workstation):
    here.switch(environment="simulated")
    here.site().call("cpx.unlock")
    desk = here.running.agent.desk
    assert desk.session is not None
    worker = desk.tokens()

    here.switch(environment="test")

    assert desk.session is None
    assert worker.pid is None  # type: ignore[attr-defined]  # the simulator's is a worker too


def test_what_was_chosen_counts_after_a_restart_of_the_agent(here: Workstation):
    here.switch(environment="simulated")
    here.switch(profile="consumer")
    here.running.stop()

    here.start(Places.simulated())

    assert here.site().hello["environment"] == "simulated"
    assert here.site().hello["profile"] == "consumer"


def test_the_same_again_closes_nobody_and_is_kept_as_a_choice(here: Workstation):
    site = here.site()

    assert here.switch(environment="test")["environment"] == "test"

    assert site.call("agent.status")["environment"] == "test"
    assert read_choice(Places.real().data) == Choice(environment=Environment.TEST)


# ---------------------------------------------------------------- profiles


def test_a_consumer_may_not_retrieve_from_the_moment_of_the_switch(here: Workstation):
    here.switch(environment="simulated")
    site = here.site()
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"

    told = here.switch(profile="consumer")

    assert closed(site) == (4001, "switched")
    assert (told["environment"], told["profile"]) == ("simulated", "consumer")
    site = here.site()
    assert "insi.retrieveByTraits" not in site.hello["capabilities"]
    assert "insi.verify" in site.hello["capabilities"]
    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "insi.notPermitted"


def test_a_run_of_the_simulator_changes_its_profile_and_not_its_environment(agent: Simulation, site: Site):
    native = find_running(agent.places.runtime)
    assert native

    now = ask(native, ("agent.switch", {}))[0]
    assert (now["locked"], now["sources"]) == (["environment"], {"environment": "command line"})
    with pytest.raises(AgentError) as refused:
        ask(native, ("agent.switch", {"environment": "test"}))
    assert refused.value.facts == {"setting": "environment", "source": "command line"}
    assert site.call("agent.status")["environment"] == "simulated"

    assert ask(native, ("agent.switch", {"profile": "consumer"}))[0]["profile"] == "consumer"
    assert closed(site) == (4001, "switched")
    agent.restart()
    assert agent.site().hello["profile"] == "consumer"


# ---------------------------------------------------------------- who may


def test_no_page_may_switch(here: Workstation):
    refused = here.site().refusal("agent.switch", environment="production")

    assert (refused.reason, refused.facts) == ("right.missing", {"right": "admin"})
    assert here.switch()["environment"] == "test"


def test_a_forbidden_simulator_is_refused_and_nobody_is_disturbed(logged_in: Path):
    here = Workstation(logged_in, 'simulate = "forbid"\n' + CONFIG)
    site = here.site()

    assert refusal(here, environment="simulated").code is Code.SIMULATOR_FORBIDDEN
    assert site.call("agent.status")["environment"] == "test"
    here.stop()


# ---------------------------------------------------------------- what is under way ends first


def test_a_call_under_way_gets_its_answer_before_the_close_and_new_ones_are_told_to_wait(here: Workstation):
    here.switch(environment="simulated")
    first, second = here.site(), here.site(OTHER)
    gate = Gated(here.running.agent.desk.teleservice)
    here.running.agent.desk.teleservice = gate
    number = first.send("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-1")
    assert gate.reached.wait(60)
    switch = here.begin(environment="test")

    until(lambda: here.waits, "the switch waits")
    for method, params in (("insi.retrieveByTraits", {"traits": TOUSSAINT}), ("vitale.read", {}), ("cpx.status", {})):
        refused = second.refusal(method, **params)
        assert (refused.reason, refused.error["data"]["retryable"]) == ("agent.switching", True)
    assert second.call("agent.status")["environment"] == "simulated"
    assert not switch.done()
    assert refusal(here, profile="consumer").code is Code.AGENT_SWITCHING

    gate.opened.set()
    result = first.reply(number)
    assert (result["code"], result["trace"]["environment"]) == ("00", "simulated")
    assert [closed(first), closed(second)] == [(4001, "switched")] * 2
    assert switch.result(60)["environment"] == "test"
    assert here.site().hello["environment"] == "test"


def test_a_question_on_screen_belongs_to_its_operation_and_is_waited_for(
    here: Workstation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    here.switch(environment="simulated")
    site = here.site()
    number = site.send("cpx.unlock")
    while site.notified("operation.progress")["needs"] != "pin":
        pass
    switch = here.begin(environment="test")
    until(lambda: here.waits, "the switch waits")
    assert not switch.done()

    assert site.call("operation.cancel", id=number) == {"cancelled": True}

    with pytest.raises(RefusedError) as refused:
        site.reply(number)
    assert refused.value.reason == "operation.cancelled"
    assert closed(site) == (4001, "switched")
    assert switch.result(60)["environment"] == "test"


def test_an_attempt_given_up_on_its_way_is_waited_for_and_journalled_before_the_switch(here: Workstation):
    here.switch(environment="simulated")
    site = here.site()
    gate = Gated(here.running.agent.desk.teleservice)
    here.running.agent.desk.teleservice = gate
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    assert gate.reached.wait(60)
    site.call("operation.cancel", id=number)
    with pytest.raises(RefusedError) as given_up:
        site.reply(number)
    switch = here.begin(environment="test")
    until(lambda: here.waits, "the switch waits")
    assert not switch.done()
    gate.opened.set()
    switch.result(60)

    here.switch(environment="simulated")
    trace = here.site().call("trace.get", traceId=given_up.value.facts["traceId"])
    assert [attempt["code"] for attempt in trace["attempts"]] == ["00"]


def test_who_gives_up_before_the_end_of_what_is_under_way_changes_nothing(here: Workstation):
    here.switch(environment="simulated")
    site = here.site()
    gate = Gated(here.running.agent.desk.teleservice)
    here.running.agent.desk.teleservice = gate
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    assert gate.reached.wait(60)
    impatient = here.program()
    impatient.send("agent.switch", environment="test")
    until(lambda: here.waits, "the switch waits")
    impatient.close()
    until(lambda: not here.waits, "the switch is withdrawn")
    gate.opened.set()

    assert site.reply(number)["code"] == "00"
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
    assert here.switch()["environment"] == "simulated"


def test_an_agent_that_is_told_to_stop_does_not_wait_for_a_switch(here: Workstation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    here.switch(environment="simulated")
    site = here.site()
    site.send("cpx.unlock")
    while site.notified("operation.progress")["needs"] != "pin":
        pass
    switch = here.begin(environment="test")
    until(lambda: here.waits, "the switch waits")

    here.running.stop()

    assert isinstance(switch.exception(60), AgentError)
    assert read_choice(Places.real().data) == Choice(environment=Environment.SIMULATED)
    here.start(Places.simulated())
    assert here.site().hello["environment"] == "simulated"


def test_the_switch_that_was_asked_for_is_answered_before_its_own_conversation_is_closed(here: Workstation):
    native = here.program()

    assert native.call("agent.switch", environment="simulated")["environment"] == "simulated"

    assert closed(native) == (4001, "switched")


def test_who_comes_during_the_switch_waits_and_meets_the_new_environment(here: Workstation):
    """The port stays ours: it is never free for another program, and no page finds us absent."""
    server = here.running.agent.server
    loop = here.running._loop
    asyncio.run_coroutine_threadsafe(server.hold(), loop).result(20)
    with ThreadPoolExecutor(2) as hands:
        come = [hands.submit(Site, here.port, origin=origin) for origin in (SITE, OTHER)]
        until(lambda: len(server.lobby) == 2, "both wait at the door")
        with socket.create_connection(("127.0.0.1", here.port)) as gone:
            gone.sendall(f"GET /.well-known/insi-agent HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\n\r\n".encode())
            until(lambda: len(server.lobby) == 3, "a third one waits")
        here.running.reload().result(20)
        assert not any(one.done() for one in come)
        loop.call_soon_threadsafe(server.go_on)
        for one in come:
            site = one.result(60)
            assert site.hello["environment"] == "test"
            site.close()
    assert here.site().call("agent.status")["environment"] == "test"


# ---------------------------------------------------------------- a switch that fails


def test_a_simulator_that_runs_already_is_said_and_nobody_is_disturbed(here: Workstation):
    site = here.site()
    demo = RunningAgent(Options(simulate=True, port=0), Places.simulated())
    try:
        assert refusal(here, environment="simulated").code is Code.AGENT_RUNNING
    finally:
        demo.stop()

    assert site.call("agent.status")["environment"] == "test"
    assert site.refusal("trace.get", traceId="inconnue").reason == "trace.unknown"
    assert here.switch(environment="simulated")["environment"] == "simulated"


def damaged_identity(pki: Path) -> Path:
    (pki / "identity.secret").write_bytes(b"rien")
    return pki / "identity.secret"


def unreadable_sites(pki: Path) -> Path:
    (pki / "sites.json").mkdir()
    return pki / "sites.json"


def journal_elsewhere(_pki: Path) -> Path:
    (Places.simulated().journal / "journal.sqlite").mkdir(parents=True)
    return Places.simulated().journal / "journal.sqlite"


def choice_not_kept(_pki: Path) -> Path:
    (Places.real().data / "choice.json.new").mkdir()
    return Places.real().data / "choice.json.new"


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (damaged_identity, Code.IDENTITY_DAMAGED),
        (unreadable_sites, Code.CONFIG_INVALID),
        (journal_elsewhere, Code.JOURNAL_UNAVAILABLE),
        (choice_not_kept, Code.CONFIG_INVALID),
    ],
)
def test_a_switch_that_fails_puts_everything_back_and_says_why(
    here: Workstation, simulated_pki: Path, harm: Callable[[Path], Path], code: Code
):
    site, port = here.site(), here.port
    instance = here.running.agent.desk.instance_id
    harmed = harm(simulated_pki)

    assert refusal(here, environment="simulated").code is code

    assert closed(site) == (4001, "switched")
    again = here.site()
    assert (again.hello["environment"], here.port) == ("test", port)
    assert here.running.agent.desk.instance_id == instance
    assert here.announced() == ["real"]
    assert read_choice(Places.real().data) == Choice()
    claim(Places.simulated().data)()  # nobody holds it
    shutil.rmtree(harmed) if harmed.is_dir() else harmed.unlink()
    assert here.switch(profile="consumer")["profile"] == "consumer"


def test_an_agent_that_can_neither_go_on_nor_back_ends_and_says_why(here: Workstation):
    """Both installations are damaged while it runs: nobody is served half."""
    for places in (Places.real(), Places.simulated()):
        (places.create().data / "sites.json").mkdir()

    assert refusal(here, environment="simulated").code in (Code.CONFIG_INVALID, Code.AGENT_NOT_RUNNING)

    assert here.running.told.wait(20)
    assert here.running.lost is not None
    assert here.running.lost.code is Code.CONFIG_INVALID
    assert here.announced() == []
    with pytest.raises(AgentError) as error:
        until_told_to_stop(here.running, tray=False)
    assert error.value is here.running.lost


# ---------------------------------------------------------------- the trace of it


def journal_of(places: Places, *, simulated: bool) -> Journal:
    """The journal of these places, with its own keys."""
    secrets = secrets_of(places.data, simulated=simulated)
    key, keys = load_identity(secrets, places.data), load_journal_keys(secrets, places.data)
    return Journal(
        places.journal,
        sign=key.sign_bytes,
        verify=lambda data, signature: key.verify_dated(data, signature, signed_at(data)),
        keys=lambda: keys,
        max_reply_bytes=1 << 20,
    )


def test_each_switch_is_in_the_journal_that_is_left_and_in_the_one_that_is_entered(here: Workstation):
    """With a real keyring; both journals verify afterwards."""
    here.switch(environment="simulated")
    here.site().call("insi.retrieveByTraits", traits=TOUSSAINT)
    here.switch(profile="consumer")
    here.switch(environment="test")
    here.switch(environment="production")
    (Places.real().data / "choice.json.new").mkdir()
    refusal(here, profile="repository")
    here.running.stop()

    def step(one: Step) -> str:
        return f"{one.environment} {one.profile}"

    told = []
    for simulated, places in ((False, Places.real()), (True, Places.simulated())):
        journal = journal_of(places, simulated=simulated)
        assert journal.verify().fault is None
        switches = journal.switches()
        told.append([(step(one.left), step(one.entered), one.why) for one in switches])
        assert {one.account for one in switches} == {getpass.getuser()}
        journal.close()
    there = ("test repository", "simulated repository", None)
    back = ("simulated consumer", "test consumer", None)
    assert told[0] == [
        there,
        back,
        ("test consumer", "production consumer", None),
        ("production consumer", "production repository", None),
        ("production repository", "production consumer", "config.invalid"),
    ]
    assert told[1] == [there, ("simulated repository", "simulated consumer", None), back]
    here.start(Places.real())


def test_without_a_keyring_there_is_no_journal_and_the_simulator_can_be_reached_all_the_same(
    home: Path, simulated_pki: Path, caplog: pytest.LogCaptureFixture
):
    here = Workstation(home)
    try:
        assert here.switch(environment="simulated")["environment"] == "simulated"
        assert here.site().call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
        assert here.switch(environment="test")["environment"] == "test"
    finally:
        here.stop()

    assert [line.message[:47] for line in caplog.records if "not in the journal" in line.message] == [
        "a switch is not in the journal: keyring.absent:"
    ] * 2


# ---------------------------------------------------------------- as a program


CHECKOUT = str(Path(__file__).parents[2])


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": CHECKOUT}


def program(home: Path, *arguments: str, **more: str) -> Program:
    return Program([sys.executable, "-m", "agent", *arguments], home, PYTHONPATH=CHECKOUT, **more)


def command(home: Path, *words: str) -> tuple[int, str, str]:
    """A command of the program's own: its status, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "agent", *words],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_finds_the_agent_wherever_it_is_and_a_restart_finds_the_choice(home: Path, simulated_pki: Path):
    (home / "config.toml").write_text(CONFIG, encoding="utf-8")
    start = ("run", "--no-tray", "--port", "0", "--config", str(home / "config.toml"))
    with program(home, *start):
        until(lambda: find_running(Places.real().runtime) is not None, "the agent listens")
        assert command(home, "environment")[1].startswith("Environnement : test ")
        assert command(home, "environment", "simulated")[1].startswith("Environnement : simulated ")
        assert json.loads(command(home, "environment", "--json")[1])["environment"] == "simulated"
        assert command(home, "profile", "consumer")[1].startswith("Profil : consumer ")
    with program(home, *start):
        until(lambda: find_running(Places.simulated().runtime) is not None, "the agent listens")
        found = find_running(Places.simulated().runtime)
        assert found
        with closing(Site(found.port, origin=SITE)) as site:
            assert (site.hello["environment"], site.hello["profile"]) == ("simulated", "consumer")
        assert command(home, "environment", "test")[0] == 0
        assert find_running(Places.simulated().runtime) is None


def test_the_icon_lives_on_and_names_the_environment(home: Path, simulated_pki: Path, desktop_with_tray: Desktop):
    (home / "config.toml").write_text(CONFIG, encoding="utf-8")
    start = ("run", "--port", "0", "--config", str(home / "config.toml"))
    with program(home, *start, **desktop_with_tray.environment):
        icon = desktop_with_tray.window("^INSi Agent .environnement de test.")
        assert command(home, "environment", "simulated")[0] == 0
        assert desktop_with_tray.window("^INSi Agent .simulation.") == icon
        assert command(home, "environment", "production")[0] == 0
        assert desktop_with_tray.window("^INSi Agent .production.") == icon


def test_an_agent_killed_in_the_middle_of_a_switch_starts_again(home: Path):
    """The simulator's keys are made at its first use, which takes a while: that is the middle."""
    (home / "config.toml").write_text(CONFIG, encoding="utf-8")
    start = ("run", "--no-tray", "--port", "0", "--config", str(home / "config.toml"))
    with subprocess.Popen(
        [sys.executable, "-m", "agent", *start], env=environment(home), stderr=subprocess.PIPE, text=True
    ) as running:
        until(lambda: find_running(Places.real().runtime) is not None, "the agent listens")
        with ThreadPoolExecutor(1) as hands:
            native = find_running(Places.real().runtime)
            assert native
            asked = hands.submit(ask, native, ("agent.switch", {"environment": "simulated"}))
            assert running.stderr
            assert any("switching from" in line for line in iter(running.stderr.readline, ""))
            running.kill()
            assert isinstance(asked.exception(60), AgentError)
    assert read_choice(Places.real().data) == Choice()

    with program(home, *start):
        until(lambda: command(home, "environment")[0] == 0 and agents(home), "the agent listens again")
        assert command(home, "environment", "simulated")[0] == 0
        assert agents(home) == ["simulated"]


def agents(home: Path) -> list[str]:
    """In which environments an agent answers."""
    found = []
    for places in (Places.real(), Places.simulated()):
        running = find_running(places.runtime)
        with suppress(AgentError):
            if running is not None:
                found.append(ask(running, ("agent.switch", {}))[0]["environment"])
    return found


# ---------------------------------------------------------------- by the person's hands

TITLE = "^INSi Agent .+ environnement et profil$"


def test_the_person_changes_the_environment_in_the_window(
    logged_in: Path, simulated_pki: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
):
    for name, value in desktop.environment.items():
        monkeypatch.setenv(name, value)
    file = logged_in / "config.toml"
    file.write_text(CONFIG, encoding="utf-8")
    running = RunningAgent(Options(port=0, config_file=file), Places.real().create())
    shown: list[Environment] = []
    running.show_state_in(lambda state: shown.append(state.environment))
    try:
        site = Site(running.agent.port, origin=SITE)
        running.show_switch()
        running.show_switch()  # one window at a time
        desktop.focused(TITLE)
        desktop.key("space")  # the first choice: simulation
        until(lambda: not desktop.key("Return") and not desktop.windows(TITLE), "the window took the answer")

        assert closed(site) == (4001, "switched")
        site.close()
        until(lambda: shown[-1] is Environment.SIMULATED, "the tray shows the new environment")
        assert running.agent.settings.profile is Profile.REPOSITORY
        with closing(Site(running.agent.port, origin=SITE)) as again:
            assert again.hello["environment"] == "simulated"
    finally:
        running.stop()


def test_a_change_that_fails_is_told_in_the_window_which_comes_back(
    logged_in: Path, simulated_pki: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
):
    for name, value in desktop.environment.items():
        monkeypatch.setenv(name, value)
    file = logged_in / "config.toml"
    file.write_text(CONFIG, encoding="utf-8")
    running = RunningAgent(Options(port=0, config_file=file), Places.real().create())
    release = claim(Places.simulated().data)
    try:
        running.show_switch()
        first = desktop.focused(TITLE)
        desktop.key("space")
        until(lambda: not desktop.key("Return") and first not in desktop.windows(TITLE), "the window took the answer")
        second = desktop.focused(TITLE)
        assert desktop.bottom_of(second) > 0
        until(lambda: not desktop.key("Escape") and not desktop.windows(TITLE), "the window is closed")
        assert running.agent.desk.environment is Environment.TEST
    finally:
        release()
        running.stop()
