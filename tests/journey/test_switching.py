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
from zipfile import ZipFile

import keyring
import pytest
from keyring.backends import SecretService
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.choice import keep_choice, read_choice
from agent.client import ask
from agent.config import Settings
from agent.errors import AgentError, Code
from agent.journal.chain import signed_at
from agent.journal.ports import Step, Switch
from agent.journal.store import Journal
from agent.model import Activity, AuthMode, Environment, Profile
from agent.options import Options
from agent.places import Places, Running, announce, claim, find_running
from agent.readers.transcript import SimulatedReaders
from agent.running import RunningAgent, until_told_to_stop
from agent.secrets import load_identity, load_journal_keys, secrets_of
from agent.switching import Choice
from agent.tray.bridge import ActivityQuestion
from agent.tray.state import TrayState
from agent.workflows.desk import UnresetCard
from tests.insi.official import package
from tests.parts.agent import RefusedError, Simulation, Site
from tests.parts.desktop import Desktop, until
from tests.parts.program import Program
from tests.parts.session import session
from tests.tray.asking import wait_until_armed

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


class HeldAtArrival(RunningAgent):
    """Its switches wait between the two agents until the test says."""

    def __init__(self, *given: Any) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        super().__init__(*given)

    async def _arrive(self, *given: Any) -> None:
        self.reached.set()
        assert await asyncio.to_thread(self.opened.wait, 60)
        await super()._arrive(*given)


class Workstation:
    """An agent of this process with the places of a person's own, in the test environment; its windows answer."""

    def __init__(self, home: Path, config: str = CONFIG, kind: type[RunningAgent] = RunningAgent) -> None:
        self._file, self._kind = home / "config.toml", kind
        self.configure(config)
        self._options = Options(port=0, config_file=self._file, answers_itself=True)
        self._opened = ExitStack()
        self._hands = self._opened.enter_context(ThreadPoolExecutor(1))
        self.running: RunningAgent
        self.start(Places.real())

    def configure(self, config: str) -> None:
        """What counts once it is read again."""
        self._file.write_text(config, encoding="utf-8")

    def start(self, places: Places) -> None:
        self.running = self._kind(self._options, places.create())
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

    def reload(self, config: str) -> None:
        """Configure it anew and have that read."""
        assert self._options.config_file
        self._options.config_file.write_text(config, encoding="utf-8")
        self.running.reload().result(20)

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


def held_call(here: "Workstation") -> tuple[Site, Gated, int]:
    """In the simulator: a page, a call of its that INSi has and does not answer yet, and what lets it answer."""
    here.switch(environment="simulated")
    site = here.site()
    gate = Gated(here.running.agent.desk.teleservice)
    here.running.agent.desk.teleservice = gate
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    assert gate.reached.wait(60)
    return site, gate, number


class GatedJournal:
    """A journal that notes a switch when the test says."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.reached, self.opened = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def switched(self, switch: Switch) -> Any:
        self.reached.set()
        assert self.opened.wait(60)
        return self._whole.switched(switch)


def gated_journal(here: Workstation) -> GatedJournal:
    desk = here.running.agent.desk
    gate = GatedJournal(desk.journal)
    desk.journal = gate
    return gate


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


def test_test_and_production_share_folder_and_journal_and_nothing_that_one_remembers(here: Workstation):
    former = here.running.agent
    former.desk.counts.attempt("WS_INS1", "00", 5, former.desk.now(), answered=True, failed=None)
    former.desk.wrong_code = "a card's number"
    assert here.site().call("agent.status")["operations"]

    here.switch(environment="production")

    desk = here.running.agent.desk
    assert (here.running.agent.places, desk.instance_id) == (former.places, former.desk.instance_id)
    assert here.site().call("agent.status")["operations"] == {}
    assert (desk.wrong_code, desk.session, desk.card_not_after) == (None, None, None)
    for remembered in ("readings", "references", "searches", "counts", "insi_turn", "teleservice", "contract"):
        assert getattr(desk, remembered) is not getattr(former.desk, remembered)


def test_what_an_origin_may_still_ask_is_counted_on_after_a_switch_and_back(logged_in: Path, simulated_pki: Path):
    here = Workstation(logged_in, CONFIG + "[limits]\ninsi_per_minute = 1\n")
    try:
        here.switch(environment="simulated")
        assert here.site().call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
        here.switch(environment="test")
        here.switch(environment="simulated")
        assert here.site().refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "rate.limited"
    finally:
        here.stop()


def keep_card(here: Workstation) -> Callable[[], None]:
    """A card whose session has ended and that another program keeps; call what is returned to let it go."""
    readers = here.running.agent.desk.readers
    assert isinstance(readers, SimulatedReaders)
    reset = readers.reset

    def kept(_reader: str) -> None:
        raise AgentError(Code.CARD_IN_USE, "kept by the test")

    def let_go() -> None:
        readers.reset = reset

    site = here.site()
    site.call("cpx.unlock")
    readers.reset = kept
    site.call("cpx.lock")
    assert warned(site)
    return let_go


def warned(site: Site) -> bool:
    return "cpx.codeStillVerified" in [one["reason"] for one in site.call("agent.status")["warnings"]]


def test_a_card_that_could_not_be_reset_is_still_said_after_a_switch_and_reset_by_the_next_agent(here: Workstation):
    here.switch(environment="simulated")
    keep_card(here)

    here.switch(profile="consumer")

    site = here.site()
    assert warned(site)
    readers = here.running.agent.desk.readers
    assert here.running.agent.desk.unreset == UnresetCard(readers, "Simulateur CPS 0", simulated=True)
    until(lambda: not warned(site), "it is reset in the new agent's readers")


def test_a_card_of_the_environment_that_was_left_is_tried_again_from_the_other_one(here: Workstation):
    here.switch(environment="simulated")
    let_go = keep_card(here)

    here.switch(environment="test")
    here.switch(environment="production")

    site = here.site()
    assert warned(site)
    let_go()
    until(lambda: not warned(site), "it is reset where it was left")
    here.switch(environment="simulated")
    assert not warned(here.site())


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


# ---------------------------------------------------------------- other settings meanwhile


def test_a_change_of_profile_never_changes_the_environment(here: Workstation):
    """What was configured since counts from the next start on."""
    here.configure('environment = "production"\n' + CONFIG)
    assert here.switch(profile="consumer")["environment"] == "test"
    here.running.reload().result(20)

    told = here.switch(profile="repository")

    assert (told["environment"], told["nextStart"]) == ("test", {"environment": "production"})
    assert here.site().hello["environment"] == "test"
    assert read_choice(Places.real().data) == Choice(profile=Profile.REPOSITORY)
    here.running.stop()
    here.start(Places.real())
    assert here.switch()["environment"] == "production"


def test_a_switch_that_fails_comes_back_to_the_environment_that_ran_whatever_is_configured(here: Workstation):
    here.configure('environment = "simulated"\n' + CONFIG)
    here.running.reload().result(20)
    harmed = choice_not_kept(Places.simulated().data)

    assert refusal(here, environment="production").code is Code.CONFIG_INVALID

    assert here.site().hello["environment"] == "test"
    assert here.running.agent.places == Places.real()
    harmed.rmdir()


def test_settings_that_are_read_during_a_switch_count_for_the_agent_that_comes(here: Workstation):
    """Above all the one that shuts every door."""
    gate = gated_journal(here)
    switch = here.begin(profile="consumer")
    assert gate.reached.wait(60)
    here.configure("disabled = true\n" + CONFIG)
    reload = here.running.reload()
    gate.opened.set()
    reload.result(60)

    assert here.running.agent.settings.disabled
    assert here.running.agent.settings.profile is Profile.CONSUMER
    with pytest.raises(InvalidStatus):
        here.site()
    assert switch.exception(60) is None or isinstance(switch.exception(60), AgentError)  # its door may shut first


def test_a_journal_that_was_moved_since_gets_the_switch_and_what_follows(here: Workstation, tmp_path: Path):
    here.configure(f'[journal]\ndirectory = "{tmp_path / "elsewhere"}"\n' + CONFIG)
    here.running.reload().result(20)

    here.switch(profile="consumer")

    assert here.running.agent.places.journal == tmp_path / "elsewhere"
    assert [*(tmp_path / "elsewhere").glob("journal.sqlite")]


def test_a_person_is_simulated_only_while_the_cards_are(here: Workstation):
    """Whatever the options say, nobody but a person answers for a real card."""
    activities = (Activity(id="01", label="Cabinet", sector="SA07"), Activity(id="02", label="Autre", sector="SA08"))
    question = ActivityQuestion(origin=SITE, software="", operation="", holder="", activities=activities)

    def answered() -> str:
        asked = here.running.agent.person.ask_activity(question)
        return asyncio.run_coroutine_threadsafe(asked, here.running._loop).result(60)

    with pytest.raises(AgentError) as refused:
        answered()
    assert refused.value.code is Code.PROMPT_UNAVAILABLE
    here.switch(environment="simulated")
    assert answered() == "01"


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


# ---------------------------------------------------------------- what the contract lets verify


class Leisurely:
    """A contract that binds WS_INS3 and takes its time to be read."""

    def __init__(self) -> None:
        self.reached, self.read = threading.Event(), threading.Event()

    def __call__(self) -> "Leisurely":
        self.reached.set()
        assert self.read.wait(60)
        return self

    def check(self, _operation: object, *, simulated: bool) -> None:
        assert not simulated


def test_a_contract_is_looked_into_before_any_page_asks_and_each_page_told_when_it_goes(logged_in: Path):
    here = Workstation(logged_in, f'{CONFIG}[insi]\ncontract = "{package(logged_in / "paquet")}"\n')
    try:
        until(lambda: here.running.agent.desk.verifies, "the contract is known")
        site = here.site()
        assert "insi.verify" in site.hello["capabilities"]

        here.reload(CONFIG)

        assert "insi.verify" not in site.notified("agent.changed")["capabilities"]
    finally:
        here.stop()


def test_pages_that_come_while_the_contract_is_read_are_told_once_it_is(here: Workstation):
    here.running.agent.desk.contract = contract = Leisurely()  # type: ignore[assignment]  # as much of it as is asked
    here.reload(f'{CONFIG}[insi]\ncontract = "/paquet-officiel"\n')
    assert contract.reached.wait(20)
    with ThreadPoolExecutor(4) as hands:
        sites = list(hands.map(here.site, [SITE, OTHER, SITE, OTHER]))
    assert not [site for site in sites if "insi.verify" in site.hello["capabilities"]]

    contract.read.set()

    for site in sites:
        assert "insi.verify" in site.notified("agent.changed")["capabilities"]


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
    site, gate, number = held_call(here)
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
    site, gate, number = held_call(here)
    impatient = here.program()
    impatient.send("agent.switch", environment="test")
    until(lambda: here.waits, "the switch waits")
    impatient.close()
    until(lambda: not here.waits, "the switch is withdrawn")
    gate.opened.set()

    assert site.reply(number)["code"] == "00"
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
    assert here.switch()["environment"] == "simulated"


def test_a_switch_waits_for_the_call_that_runs_and_not_for_those_that_wait_for_their_turn(here: Workstation):
    here.switch(environment="simulated")
    site = here.site()
    gate = Gated(here.running.agent.desk.teleservice)
    here.running.agent.desk.teleservice = gate
    first, *queued = [site.send("insi.retrieveByTraits", traits=TOUSSAINT) for _ in range(5)]
    assert gate.reached.wait(60)
    while [one["params"]["step"] for one in site.notifications].count("insi.queued") < 5:
        site._take()
    switch = here.begin(environment="test")
    until(lambda: here.waits, "the switch waits")
    gate.opened.set()

    assert site.reply(first)["code"] == "00"
    for number in queued:
        with pytest.raises(RefusedError) as refused:
            site.reply(number)
        assert refused.value.reason == "agent.switching"
    assert switch.result(60)["environment"] == "test"


def test_a_switch_that_waits_is_withdrawn_in_the_menu(here: Workstation):
    site, gate, number = held_call(here)
    switch = here.begin(environment="test")
    until(lambda: here.waits, "the switch waits")

    here.running.withdraw_switch()

    withdrawn = switch.exception(60)
    assert isinstance(withdrawn, AgentError)
    assert withdrawn.code is Code.OPERATION_CANCELLED
    gate.opened.set()
    assert site.reply(number)["code"] == "00"
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_a_switch_that_has_begun_to_move_cannot_be_cancelled_and_is_answered(here: Workstation):
    gate = gated_journal(here)
    native = here.program()
    number = native.send("agent.switch", environment="simulated")
    assert gate.reached.wait(60)

    assert native.call("operation.cancel", id=number) == {"cancelled": False}
    here.running.withdraw_switch()
    gate.opened.set()

    assert native.reply(number)["environment"] == "simulated"
    assert here.site().hello["environment"] == "simulated"


def test_an_agent_that_is_told_to_stop_while_it_moves_arrives_first(here: Workstation):
    gate = gated_journal(here)
    switch = here.begin(environment="simulated")
    assert gate.reached.wait(60)
    stopping = threading.Thread(target=here.running.stop)
    stopping.start()
    gate.opened.set()
    stopping.join(60)

    assert not stopping.is_alive()
    assert switch.exception(60) is None or isinstance(switch.exception(60), AgentError)  # its door may shut first
    assert here.announced() == []
    assert read_choice(Places.real().data) == Choice(environment=Environment.SIMULATED)
    here.start(Places.simulated())
    assert here.site().hello["environment"] == "simulated"


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


def test_who_comes_during_the_switch_waits_and_meets_the_new_environment(logged_in: Path, simulated_pki: Path):
    """The port stays ours: it is never free for another program, and no page finds us absent."""
    here = Workstation(logged_in, kind=HeldAtArrival)
    running, server = here.running, here.running.agent.server
    assert isinstance(running, HeldAtArrival)
    with ThreadPoolExecutor(2) as hands:
        switch = here.begin(environment="simulated")
        assert running.reached.wait(60)
        come = [hands.submit(Site, here.port, origin=origin) for origin in (SITE, OTHER)]
        until(lambda: len(server.lobby) == 2, "both wait at the door")
        with socket.create_connection(("127.0.0.1", here.port)) as gone:
            gone.sendall(f"GET /.well-known/insi-agent HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\n\r\n".encode())
            until(lambda: len(server.lobby) == 3, "a third one waits")
        reload = here.running.reload()
        assert not any(one.done() for one in (switch, reload, *come))
        running.opened.set()
        for one in come:
            site = one.result(60)
            assert site.hello["environment"] == "simulated"
            site.close()
        reload.result(60)
    assert switch.result(60)["environment"] == "simulated"
    assert here.site().call("agent.status")["environment"] == "simulated"
    here.stop()


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
    secrets = secrets_of(places.data, simulated=simulated, settings=Settings)
    key, keys = load_identity(secrets, places.data), load_journal_keys(secrets, places.data)
    return Journal(
        places.journal,
        sign=key.sign_bytes,
        verify=lambda data, signature: key.verify_dated(data, signature, signed_at),
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


def noted(places: Places, *, simulated: bool = False) -> list[tuple[str, str, str | None]]:
    """The switches in the journal of these places, which verifies."""
    journal = journal_of(places, simulated=simulated)
    assert journal.verify().fault is None
    switches = journal.switches()
    journal.close()
    return [(one.left.environment.value, one.entered.environment.value, one.why) for one in switches]


def test_an_arrival_that_fails_after_its_note_is_taken_back_in_both_journals(here: Workstation, simulated_pki: Path):
    harmed = choice_not_kept(simulated_pki)
    refusal(here, environment="simulated")
    here.running.stop()

    there_and_back = [("test", "simulated", None), ("simulated", "test", "config.invalid")]
    assert noted(Places.real()) == there_and_back
    assert noted(Places.simulated(), simulated=True) == there_and_back
    harmed.rmdir()
    here.start(Places.real())


def test_an_agent_that_starts_elsewhere_than_its_journal_says_notes_that_before_anything_else(here: Workstation):
    """By other settings, or by the choice made while none ran: nobody asked an agent for it."""
    here.switch(environment="simulated")
    here.switch(environment="test")
    here.running.stop()
    keep_choice(Places.real().data, Choice(environment=Environment.SIMULATED))
    here.start(Places.simulated())

    trace = here.site().call("insi.retrieveByTraits", traits=TOUSSAINT)["trace"]["id"]
    here.running.stop()

    assert noted(Places.simulated(), simulated=True)[1:] == [
        ("simulated", "test", None),
        ("test", "simulated", "unknown"),
    ]
    journal = journal_of(Places.simulated(), simulated=True)
    listed = journal.traces(SITE, Environment.SIMULATED).traces
    assert [(one.trace_id, one.seq) for one in listed] == [(trace, 4)]  # after the three notes
    journal.close()
    here.start(Places.simulated())


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
        assert command(home, "status")[1].startswith("Environnement : simulated, ")
        assert "carte Vitale" in command(home, "cards")[1]
        assert command(home, "sites", "list")[0] == 0  # the person's own, which nobody else holds now
        assert json.loads(command(home, "environment", "--json")[1])["environment"] == "simulated"
        assert command(home, "profile", "consumer")[1].startswith("Profil : consumer ")
    status, logs = bundled(home, "support-bundle")
    assert (status, logs) == (None, {"logs/agent.log", "logs/simulated/agent.log"})
    assert "listening on port" in (Places.simulated().log / "agent.log").read_text()
    with program(home, *start):
        until(lambda: find_running(Places.simulated().runtime) is not None, "the agent listens")
        assert bundled(home, "support-bundle")[0]["environment"] == "simulated"
        found = find_running(Places.simulated().runtime)
        assert found
        with closing(Site(found.port, origin=SITE)) as site:
            assert (site.hello["environment"], site.hello["profile"]) == ("simulated", "consumer")
        assert announce(Places.real().runtime, 1).port == 1  # left by an agent that died: nobody listens there
        assert command(home, "status")[1].startswith("Environnement : simulated, ")
        assert command(home, "environment", "test")[0] == 0
        assert find_running(Places.simulated().runtime) is None


def bundled(home: Path, *words: str) -> tuple[Any, set[str]]:
    """The agent's state in a support bundle, and which logs are in it."""
    file = home / "bundle.zip"
    assert command(home, *words, "--output", str(file), "--force")[0] == 0
    with ZipFile(file) as bundle:
        return json.loads(bundle.read("status.json")), {name for name in bundle.namelist() if name.startswith("logs/")}


def test_the_icon_lives_on_and_names_the_environment(home: Path, simulated_pki: Path, desktop_with_tray: Desktop):
    (home / "config.toml").write_text(CONFIG, encoding="utf-8")
    start = ("run", "--port", "0", "--config", str(home / "config.toml"))
    with program(home, *start, **desktop_with_tray.environment):
        icon = desktop_with_tray.window("^INSi Agent .environnement de test.")
        assert command(home, "environment", "simulated")[0] == 0
        assert desktop_with_tray.window("^INSi Agent .simulation.") == icon
        assert command(home, "environment", "production")[0] == 0
        assert desktop_with_tray.window("^INSi Agent .production.") == icon


def test_an_agent_killed_in_the_middle_of_a_switch_starts_again_and_the_journal_says_that_it_did_not_leave(
    logged_in: Path, bus: str
):
    """The simulator's keys are made at its first use, which takes a while: that is the middle."""
    home, session_bus = logged_in, {"DBUS_SESSION_BUS_ADDRESS": bus}
    (home / "config.toml").write_text(CONFIG, encoding="utf-8")
    start = ("run", "--no-tray", "--port", "0", "--config", str(home / "config.toml"))
    with subprocess.Popen(
        [sys.executable, "-m", "agent", *start],
        env=environment(home) | session_bus,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: find_running(Places.real().runtime) is not None, "the agent listens")
        with ThreadPoolExecutor(1) as hands:
            native = find_running(Places.real().runtime)
            assert native
            asked = hands.submit(ask, native, ("agent.switch", {"environment": "simulated"}))
            assert running.stderr
            line = next(line for line in iter(running.stderr.readline, "") if "switching from" in line)
            running.kill()
            assert isinstance(asked.exception(60), AgentError)
    assert line.rstrip().endswith("switching from test/repository to simulated/repository")
    assert read_choice(Places.real().data) == Choice()
    assert noted(Places.real()) == [("test", "simulated", None)]

    with program(home, *start, **session_bus):
        until(lambda: command(home, "environment")[0] == 0 and agents(home), "the agent listens again")
        assert command(home, "environment", "simulated")[0] == 0
        assert agents(home) == ["simulated"]
    assert noted(Places.real()) == [
        ("test", "simulated", None),
        ("simulated", "test", "unknown"),
        ("test", "simulated", None),
    ]


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


def on_screen(logged_in: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch) -> RunningAgent:
    """An agent whose windows are on this desktop; stop it."""
    for name, value in desktop.environment.items():
        monkeypatch.setenv(name, value)
    file = logged_in / "config.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return RunningAgent(Options(port=0, config_file=file), Places.real().create())


def test_the_person_changes_the_environment_in_the_window(
    logged_in: Path, simulated_pki: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
):
    running = on_screen(logged_in, desktop, monkeypatch)
    shown: list[Environment] = []
    running.show_state_in(lambda state: shown.append(state.environment))
    try:
        site = Site(running.agent.port, origin=SITE)
        running.show_switch()
        running.show_switch()  # one window at a time
        desktop.focused(TITLE)
        wait_until_armed(desktop, TITLE)
        desktop.key("Tab", "space", "Tab", "Tab", "Tab", "Tab")  # the first choice, simulation, then the button
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
    running = on_screen(logged_in, desktop, monkeypatch)
    release = claim(Places.simulated().data)
    try:
        running.show_switch()
        first = desktop.focused(TITLE)
        wait_until_armed(desktop, TITLE)
        desktop.key("Tab", "space", "Tab", "Tab", "Tab", "Tab")
        until(lambda: not desktop.key("Return") and first not in desktop.windows(TITLE), "the window took the answer")
        second = desktop.focused(TITLE)
        assert desktop.bottom_of(second) > 0
        until(lambda: not desktop.key("Escape") and not desktop.windows(TITLE), "the window is closed")
        assert running.agent.desk.environment is Environment.TEST
    finally:
        release()
        running.stop()
