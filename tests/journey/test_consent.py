"""A site that nobody knows: it asks, the person answers, and windows die with the pages that wanted them."""

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.client import ask
from agent.model import Environment, Right
from agent.places import Places, find_running
from agent.tray.state import TrayState, view_of
from agent.workflows.desk import CardSession
from tests.parts.agent import HELLO, Simulation, Site
from tests.parts.desktop import Desktop, until
from tests.parts.program import Program
from tests.tray.asking import return_until_gone, wait_until_acceptable, wait_until_armed

NEW, OTHER, OURS = "https://nouveau.example", "https://autre.example", "https://notre.example"
CHALLENGE = "A" * 43
PENDING = ["agent.hello", "operation.cancel"]
CONSENT_TITLE, SITES_TITLE = "^INSi Agent .+ demande d'un site$", "^INSi Agent .+ sites autoris"
ALLOW = ("Tab", "space", "Tab", "Tab", "Tab", "space")
CHECKOUT = str(Path(__file__).parents[2])
EVERY = "[door]\nconsent_every_s = 0\n"
ACTIVITY = '[cpx]\nactivity_question = "window"\nactivities = {"1" = "02"}\n'  # none of the simulated doctor's
CONFIG = f"""
{EVERY}
{ACTIVITY}
[[origins.allowed]]
origin = "{OURS}"
[[software]]
name = "Dossier d'essai"
version = "1"
origins = ["{OURS}"]
[software.authorisation]
simulated = "SIMULATEUR-0001"
"""

Start = Callable[..., Simulation]


def closed_with(page: Site) -> int:
    """The code with which the conversation is closed, whatever is said before."""
    with pytest.raises(ConnectionClosed) as closed:
        page.notified("nothing more")
    assert closed.value.rcvd
    return closed.value.rcvd.code


def is_turned_away(page: Site) -> bool:
    """Told so, and then closed."""
    changed = page.notified("agent.changed")
    return (changed["originState"], changed["capabilities"]) == ("denied", []) and closed_with(page) == 4001


def refused(port: int, origin: str) -> int:
    """The HTTP status that refuses a handshake."""
    with pytest.raises(InvalidStatus) as status:
        Site(port, origin=origin)
    return status.value.response.status_code


def discovered(port: int, origin: str) -> str | None:
    """The origin to which the discovery answer may be read, by its CORS header."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/.well-known/insi-agent", headers={"Origin": origin})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.getheader("Access-Control-Allow-Origin")


# ---------------------------------------------------------------- with a person who answers by themselves


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda answer: monkeypatch.setenv("INSI_AGENT_SIMULATED_CONSENT", answer)


def test_who_waits_learns_nothing_by_which_it_could_know_this_workstation_again(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("wait")
    page = simulation().site(origin=NEW, hello=False)

    hello = page.call("agent.hello", **HELLO, challenge=CHALLENGE)

    assert (hello["originState"], hello["capabilities"]) == ("pending", PENDING)
    assert (hello["receiptKey"], hello["agent"]["instanceId"], hello["authModes"]) == ({}, "", [])
    assert "proof" not in hello
    assert page.refusal("vitale.read").reason == "origin.pending"
    assert page.call("operation.cancel", id=99) == {"cancelled": False}


def test_a_site_that_the_person_allows_goes_on_in_the_same_conversation(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("allow")
    agent = simulation("[origins]\nconsent_rights = ['vitale', 'admin']\n")
    page = agent.site(origin=NEW)

    changed = page.notified("agent.changed")

    assert changed["originState"] == "allowed"
    assert "vitale.read" in changed["capabilities"]
    assert page.call("vitale.read")["holders"]
    assert page.refusal("cpx.status").reason == page.refusal("sites.list").reason == "right.missing"
    again = page.call("agent.hello", **HELLO, challenge=CHALLENGE)
    assert (again["originState"], again["receiptKey"]) == ("allowed", changed["receiptKey"])
    assert again["proof"]
    assert discovered(agent.port, NEW) == NEW


@pytest.mark.parametrize("answer", ["block", "cancel"])
def test_a_site_that_the_person_turns_away_is_told_closed_and_then_refused(
    simulation: Start, person: Callable[[str], None], answer: str
) -> None:
    person(answer)
    agent = simulation(EVERY)
    pages = [agent.site(origin=NEW) for _ in range(2)]

    assert all(is_turned_away(page) for page in pages)
    assert refused(agent.port, NEW) == 403
    assert discovered(agent.port, NEW) is None
    agent.restart()
    assert refused(agent.port, NEW) == 403


def test_a_denial_says_no_more_of_this_workstation_than_the_waiting_did(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("block")
    changed = simulation().site(origin=NEW).notified("agent.changed")

    assert (changed["receiptKey"], changed["agent"]["instanceId"], changed["warnings"]) == ({}, "", [])


def test_a_consent_outlives_the_agent_and_stays_in_the_simulators_own_folder(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("allow")
    agent = simulation()
    agent.site(origin=NEW).notified("agent.changed")
    agent.restart()
    person("wait")

    assert agent.site(origin=NEW).hello["originState"] == "allowed"
    assert NEW in (agent.places.data / "sites.json").read_text()


def test_a_page_that_waits_hears_nothing_of_cards_nor_of_changes(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("wait")
    agent = simulation()
    waiting, known = agent.site(origin=NEW), agent.site()
    known.call("cards.watch")
    reconfigure(agent, 'profile = "consumer"\n')
    agent.readers.insert("Simulateur Vitale 0", None)
    known.notified("card.removed")
    known.notified("agent.changed")

    assert waiting.call("operation.cancel", id=99) == {"cancelled": False}
    assert waiting.notifications == []


@pytest.mark.parametrize(
    "config", ['[origins]\nunknown = "refuse"\n', "managed = true\n", f'[[origins.allowed]]\norigin = "{OTHER}"\n']
)
def test_loopback_pages_and_where_it_is_configured_all_unknown_sites_are_refused_without_a_question(
    simulation: Start, person: Callable[[str], None], config: str
) -> None:
    person("allow")
    agent = simulation(config)

    assert refused(agent.port, "http://127.0.0.1:5555") == 403
    if "allowed" not in config and "managed" not in config:
        assert refused(agent.port, NEW) == 403
    assert not (agent.places.data / "sites.json").exists()


def reconfigure(agent: Simulation, config: str) -> None:
    file = agent.running.agent.options.config_file
    assert file
    file.write_text(config, encoding="utf-8")
    agent.reload()


def test_settings_that_now_allow_a_site_let_its_waiting_pages_in_and_withdraw_the_question(
    simulation: Start, person: Callable[[str], None]
) -> None:
    person("wait")
    agent = simulation()
    page = agent.site(origin=NEW)
    until(lambda: bool(windows(os.getpid(), "consent")), "the question")

    reconfigure(agent, f'[[origins.allowed]]\norigin = "{NEW}"\nrights = ["vitale"]\n')

    assert page.notified("agent.changed")["originState"] == "allowed"
    assert page.call("vitale.read")["holders"]
    until(lambda: not windows(os.getpid(), "consent"), "the question is withdrawn")
    assert not (agent.places.data / "sites.json").exists()


def test_settings_that_now_refuse_unknown_sites_close_those_that_wait_and_those_the_person_allowed(
    simulation: Start, person: Callable[[str], None]
) -> None:
    """Defence list D20: a policy that says no wins, whatever was consented to."""
    agent = simulation(EVERY)
    person("allow")
    allowed = agent.site(origin=OTHER)
    assert allowed.notified("agent.changed")["originState"] == "allowed"
    person("wait")
    waiting = agent.site(origin=NEW)
    until(lambda: bool(windows(os.getpid(), "consent")), "the question")

    reconfigure(agent, EVERY + '[origins]\nunknown = "refuse"\n')

    assert is_turned_away(waiting)
    assert is_turned_away(allowed)
    until(lambda: not windows(os.getpid(), "consent"), "the question is withdrawn")
    assert refused(agent.port, OTHER) == 403

    reconfigure(agent, EVERY)
    assert agent.site(origin=OTHER).hello["originState"] == "allowed"  # the person's answer was not lost
    assert agent.site(origin=NEW).hello["originState"] == "pending"


# ---------------------------------------------------------------- the card session of a site


@pytest.mark.parametrize(
    "settings",
    [
        None,  # the person takes the access back
        '[origins]\nunknown = "refuse"\n',
        "[origins]\nconsent_rights = ['vitale', 'insi.retrieve', 'trace']\n",
        f'[[origins.allowed]]\norigin = "{NEW}"\nrights = ["vitale"]\n',
    ],
)
def test_a_site_that_loses_rights_loses_its_card_session(
    simulation: Start, person: Callable[[str], None], settings: str | None
) -> None:
    """Defence list D21. Let in again, it must ask for the code again."""
    person("allow")
    agent = simulation(EVERY)
    page = agent.site(origin=NEW)
    page.notified("agent.changed")
    assert page.call("cpx.unlock")["unlocked"]

    if settings is None:
        revoke(agent, NEW)
    else:
        reconfigure(agent, EVERY + settings)

    assert is_turned_away(page)
    until(lambda: agent.running.agent.desk.session is None, "the session is over")
    reconfigure(agent, EVERY)
    again = agent.site(origin=NEW)
    if settings is None:
        again.notified("agent.changed")
    assert not again.call("cpx.status")["unlocked"]


def test_rights_that_another_site_loses_end_no_card_session(simulation: Start, person: Callable[[str], None]) -> None:
    person("allow")
    agent = simulation(CONFIG.replace(ACTIVITY, ""))
    page, other = agent.site(origin=OURS), agent.site(origin=NEW)
    other.notified("agent.changed")
    assert page.call("cpx.unlock")["unlocked"]

    revoke(agent, NEW)

    assert is_turned_away(other)
    assert page.call("cpx.status")["unlocked"]


def test_settings_that_take_nothing_leave_the_session_of_a_site_that_may_only_search(simulation: Start) -> None:
    """It signs with the card, and may not unlock it for itself."""
    config = CONFIG.replace(ACTIVITY, "").replace(f'"{OURS}"\n[[', f'"{OURS}"\nrights = ["insi.retrieve"]\n[[')
    agent = simulation(config)
    page = agent.site(origin=OURS)
    traits = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
    assert page.call("insi.retrieveByTraits", traits=traits)["code"] == "00"
    session = agent.running.agent.desk.session
    assert session
    assert page.refusal("cpx.status").reason == "right.missing"

    agent.reload()

    assert agent.running.agent.desk.session is session


def test_a_session_opened_in_the_instant_in_which_its_site_loses_its_rights_ends_too(simulation: Start) -> None:
    running = simulation().running.agent
    desk, now = running.desk, running.desk.now()
    desk.session = CardSession(NEW, "serial", None, now, now, frozenset({Right.CPX}))

    running._loop.call_soon_threadsafe(desk.changed)

    until(lambda: desk.session is None, "the session is over")


def revoke(agent: Simulation, origin: str) -> None:
    """As `insi-agent sites revoke` does."""
    running = find_running(agent.places.runtime)
    assert running
    ask(running, ("sites.revoke", {"origin": origin}))


def windows(pid: int, role: str) -> list[int]:
    """The window processes of this role that a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[:-1]
                found += [int(child)] if command[-2:] == [b"_child", role.encode()] else []
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


# ---------------------------------------------------------------- the program, its real windows, and hands


class Workplace:
    """`insi-agent run --simulate` on a desktop, as a person starts it."""

    def __init__(self, home: Path, desktop: Desktop | None, pki: Path, config: str, *, tray: bool) -> None:
        self.home, self._environment = home, desktop.environment if desktop else {}
        state = home / ".local/state/insi-agent"
        shutil.copytree(pki, Places.simulated(state).data)
        self.runtime = Places.simulated(state).runtime
        (home / "config.toml").write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "agent", "run", "--simulate", "--port", "0", *([] if tray else ["--no-tray"])]
        self.program = Program(
            [*command, "--config", str(home / "config.toml")], home, PYTHONPATH=CHECKOUT, **self._environment
        )
        self._pages: list[Site] = []

    def __enter__(self) -> "Workplace":
        until(lambda: find_running(self.runtime) is not None, "the agent listens")
        return self

    def __exit__(self, *error: object) -> None:
        for page in self._pages:
            page.close()
        self.program.__exit__(*error)

    @property
    def port(self) -> int:
        running = find_running(self.runtime)
        assert running
        return running.port

    def page(self, origin: str) -> Site:
        self._pages.append(Site(self.port, origin=origin))
        return self._pages[-1]

    def sites(self, *words: str) -> str:
        """What `insi-agent sites` says."""
        return subprocess.run(
            [sys.executable, "-m", "agent", "sites", "--simulated", *words],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "PYTHONPATH": CHECKOUT, "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def answers_with(self, desktop: Desktop, *keys: str) -> None:
        desktop.focused(CONSENT_TITLE)
        wait_until_armed(desktop, CONSENT_TITLE)
        desktop.key(*keys)


@pytest.fixture
def start(tmp_path: Path, simulator_pki: Path) -> Iterator[Callable[..., Workplace]]:
    started: list[Workplace] = []

    def begin(desktop: Desktop | None, config: str = CONFIG, *, tray: bool = False) -> Workplace:
        started.append(Workplace(tmp_path, desktop, simulator_pki, config, tray=tray))
        return started[-1].__enter__()

    yield begin
    for one in started:
        one.__exit__()


def test_a_new_site_asks_works_once_allowed_loses_it_by_the_command_line_and_asks_again(
    start: Callable[..., Workplace], desktop: Desktop
) -> None:
    desk = start(desktop)
    page = desk.page(NEW)
    assert page.hello["originState"] == "pending"
    desk.answers_with(desktop, *ALLOW)
    assert page.notified("agent.changed")["originState"] == "allowed"
    assert page.call("vitale.read")["holders"]
    assert f"{NEW} : autorisé depuis le" in desk.sites()
    assert desk.page(NEW).hello["originState"] == "allowed"

    assert NEW not in desk.sites("revoke", NEW)

    assert is_turned_away(page)
    assert desk.page(NEW).hello["originState"] == "pending"
    desktop.focused(CONSENT_TITLE)


def test_the_tray_opens_the_list_of_sites_where_an_access_is_taken_back(
    start: Callable[..., Workplace], desktop_with_tray: Desktop
) -> None:
    """Defence list D21. The list stays open, without the site, until it is closed."""
    desktop = desktop_with_tray
    desk = start(desktop, tray=True)
    page = desk.page(NEW)
    desk.answers_with(desktop, *ALLOW)
    assert page.notified("agent.changed")["originState"] == "allowed"
    colour = view_of(TrayState(Environment.SIMULATED)).colour.upper()
    until(lambda: colour in desktop.colours(), "the icon")

    def clicked() -> bool:
        xdotool(desktop, "mousemove", "1008", "752", "click", "1")  # in the corner
        return bool(desktop.windows(SITES_TITLE))

    until(clicked, "the list")
    desktop.focused(SITES_TITLE)
    desktop.key("space")
    wait_until_acceptable(desktop, SITES_TITLE)
    assert len(desk.program.others("sites")) == 1  # however often the icon was clicked
    desktop.key("Return")

    assert is_turned_away(page)
    desktop.focused(SITES_TITLE)
    return_until_gone(desktop, SITES_TITLE)  # "Fermer": nothing is left to take back
    until(lambda: desk.program.others("sites") == {}, "the list is closed")
    assert NEW not in desk.sites()


def xdotool(desktop: Desktop, *words: str) -> None:
    subprocess.run(["xdotool", *words], env={**os.environ, **desktop.environment}, check=True)


def test_a_site_put_off_is_refused_until_it_is_unblocked(start: Callable[..., Workplace], desktop: Desktop) -> None:
    desk = start(desktop)
    page = desk.page(NEW)
    desk.answers_with(desktop, "Escape")
    assert is_turned_away(page)
    assert refused(desk.port, NEW) == 403
    assert f"{NEW} : plus de question jusqu'au" in desk.sites()

    assert NEW not in desk.sites("unblock", NEW)

    assert desk.page(NEW).hello["originState"] == "pending"


def test_without_a_display_the_page_is_turned_away_and_nothing_is_remembered(start: Callable[..., Workplace]) -> None:
    desk = start(None)

    assert is_turned_away(desk.page(NEW))
    assert NEW not in desk.sites()


def test_the_minute_between_two_windows_holds_in_the_program(start: Callable[..., Workplace], desktop: Desktop) -> None:
    """With its own default, which this test does not wait for: the next site waits without a window."""
    desk = start(desktop, "")
    first = desk.page(NEW)
    desk.answers_with(desktop, "Escape")
    assert is_turned_away(first)

    second = desk.page(OTHER)

    assert second.hello["originState"] == "pending"
    assert second.call("operation.cancel", id=99) == {"cancelled": False}
    assert desk.program.others("consent") == {}


def test_a_window_about_a_site_dies_with_the_last_page_that_asked_and_nothing_is_remembered(
    start: Callable[..., Workplace], desktop: Desktop
) -> None:
    """Defence list D23."""
    desk = start(desktop)
    first, second = desk.page(NEW), desk.page(NEW)
    desktop.window(CONSENT_TITLE)
    assert len(desk.program.others("consent")) == 1
    first.close()
    assert second.call("operation.cancel", id=99) == {"cancelled": False}
    assert len(desk.program.others("consent")) == 1

    kill(second)

    until(lambda: desk.program.others("consent") == {}, "the window's process is gone")
    assert not desktop.windows(CONSENT_TITLE)
    assert NEW not in desk.sites()


@pytest.mark.parametrize("politely", [True, False])
@pytest.mark.parametrize(
    ("role", "title", "call"),
    [
        ("pin", "^INSi Agent .+ code de la carte CPS$", ("cpx.unlock", {})),
        (
            "activity",
            "^INSi Agent .+ activit",
            (
                "insi.retrieveByTraits",
                {
                    "traits": {
                        "birthName": "ADRTROIS",
                        "givenNames": ["TOUSSAINT"],
                        "sex": "M",
                        "birthDate": "1960-01-01",
                    }
                },
            ),
        ),
    ],
)
def test_a_window_about_a_card_dies_with_the_page_that_asked(
    start: Callable[..., Workplace],
    desktop: Desktop,
    role: str,
    title: str,
    call: tuple[str, dict[str, Any]],
    politely: bool,
) -> None:
    """Defence list D23."""
    desk = start(desktop)
    page = desk.page(OURS)
    method, params = call
    page.send(method, **params)
    if role == "activity":
        desktop.focused("^INSi Agent .+ code de la carte CPS$")
        desktop.type("1234")
        until(lambda: not desktop.key("Return") and bool(desktop.windows(title)), "the code is taken")
    desktop.window(title)

    if politely:
        page.close()
    else:
        kill(page)

    until(lambda: desk.program.others(role) == {}, "the window's process is gone")
    assert not desktop.windows(title)


def kill(page: Site) -> None:
    """As when the browser is killed: a reset instead of a goodbye."""
    page.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    page.socket.socket.close()
