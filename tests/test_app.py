"""The running agent as one: its start and its end, its settings, and what a page gets when a part of it fails."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from agent.errors import AgentError, Code
from agent.insi.fake_style import Style
from agent.insi.ports import HttpReply
from agent.model import AuthMode, Environment
from agent.options import Options, load_settings
from agent.places import Places, find_running
from agent.running import RunningAgent
from agent.signing.worker import TokenWorker
from tests.journal.making import intent, journal
from tests.parts.agent import SITE, RefusedError, Simulation, Site
from tests.parts.desktop import until

OTHER = "https://autre.example"
DOCTOR = "899900000017"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}

Start = Callable[..., Simulation]


def simulated_options(folder: Path, config: str) -> Options:
    (folder / "config.toml").write_text(config, encoding="utf-8")
    return Options(simulate=True, port=0, config_file=folder / "config.toml", demo_origins=(SITE,), answers_itself=True)


def reconfigure(agent: Simulation, config: str) -> None:
    """Write the configuration anew and have it read."""
    file = agent.running.agent.options.config_file
    assert file
    file.write_text(config, encoding="utf-8")
    agent.reload()


# ---------------------------------------------------------------- settings


def test_outside_the_simulator_there_is_no_page_of_a_demonstration() -> None:
    with pytest.raises(AgentError) as refused:
        Options(demo_origins=(SITE,))

    assert refused.value.code is Code.CONFIG_INVALID


def test_the_simulator_names_its_doctors_activity_and_billing_identifier_unless_the_configuration_does(
    tmp_path: Path,
) -> None:
    bare = load_settings(simulated_options(tmp_path, "")).settings
    own = load_settings(
        simulated_options(
            tmp_path, '[cpx]\nactivities = {"1" = "02"}\n[[cpx.billing_ids]]\nprofessional = "1"\nvalue = "2"\n'
        )
    ).settings

    assert bare.environment is own.environment is Environment.SIMULATED
    assert bare.cpx.activities == {DOCTOR: "01"}
    assert [row.professional for row in bare.cpx.billing_ids] == [DOCTOR]
    assert own.cpx.activities == {"1": "02"}
    assert [row.professional for row in own.cpx.billing_ids] == ["1"]


def test_the_demonstrations_pages_have_their_own_software_whatever_the_configuration_says_of_them(
    tmp_path: Path,
) -> None:
    """And the simulator's certificate is of its own structure."""
    row = '[[software]]\nname = "Dossier"\nversion = "1"\nstructure = "10B0990001"\n'
    origins = f'origins = ["{SITE}", "{OTHER}"]\nauthorisation = {{ test = "1" }}\n'
    settings = load_settings(simulated_options(tmp_path, row + origins)).settings

    named = {origin: settings.software_of(origin) for origin in (SITE, OTHER)}
    assert {origin: software and software.name for origin, software in named.items()} == {
        SITE: "Accueil de démonstration",
        OTHER: "Dossier",
    }
    assert [software.structure for software in settings.software] == [None, None]


def test_a_wrong_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as refused:
        load_settings(simulated_options(tmp_path, "[insi]\nretries = 99\n"))

    assert (refused.value.code, refused.value.facts["setting"]) == (Code.CONFIG_INVALID, "insi.retries")


def test_a_wrong_file_at_a_reload_keeps_the_settings_that_were(agent: Simulation, site: Site) -> None:
    reconfigure(agent, "[insi]\nretries = 99\n")

    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_an_origin_that_loses_its_rights_is_closed_with_4001_and_another_stays(simulation: Start) -> None:
    agent = simulation(f'[[origins.allowed]]\norigin = "{OTHER}"\n')
    stays, leaves = agent.site(), agent.site(origin=OTHER)
    reconfigure(agent, "")

    with pytest.raises(ConnectionClosed) as closed:
        leaves.notified("nothing more")
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4001
    assert stays.call("agent.status")["environment"] == "simulated"


def test_a_profile_that_changes_is_told_and_what_may_be_called_with_it(agent: Simulation, site: Site) -> None:
    assert "insi.retrieveByTraits" in site.hello["capabilities"]
    site.call("agent.status")
    reconfigure(agent, 'profile = "consumer"\n')

    changed = site.notified("agent.changed")
    assert changed["profile"] == "consumer"
    assert "insi.retrieveByTraits" not in changed["capabilities"]
    assert "vitale.read" in changed["capabilities"]


def test_a_site_that_loses_its_authorisation_number_is_told_what_it_may_still_call(simulation: Start) -> None:
    row = f'[[origins.allowed]]\norigin = "{OTHER}"\n[[software]]\nname = "D"\nversion = "1"\norigins = ["{OTHER}"]\n'
    agent = simulation(f'{row}authorisation = {{ simulated = "SIMULATEUR-0001" }}\n')
    site = agent.site(origin=OTHER)
    assert {"insi.retrieveByTraits", "insi.verify"} <= set(site.hello["capabilities"])

    reconfigure(agent, f'{row}authorisation = {{ test = "1234" }}\n')

    announced = site.notified("agent.changed")["capabilities"]
    assert not [one for one in announced if one.startswith("insi.")]
    assert "vitale.read" in announced


# ---------------------------------------------------------------- start and end


def test_a_start_that_fails_leaves_nothing_running_and_may_be_tried_again(tmp_path: Path) -> None:
    places = Places.simulated(tmp_path).create()
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        options = Options(simulate=True, port=occupied.getsockname()[1])
        with pytest.raises(AgentError) as refused:
            RunningAgent(options, places)

    assert refused.value.code is Code.PORTS_BUSY
    assert set(threading.enumerate()) == before
    assert find_running(places.runtime) is None
    RunningAgent(Options(simulate=True, port=0), places).stop()
    assert set(threading.enumerate()) == before


def test_a_second_agent_of_the_same_places_is_refused_and_the_first_serves_on(agent: Simulation, site: Site) -> None:
    running = find_running(agent.places.runtime)
    with pytest.raises(AgentError) as refused:
        RunningAgent(Options(simulate=True, port=0), agent.places)

    assert refused.value.code is Code.AGENT_RUNNING
    assert find_running(agent.places.runtime) == running
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


# ---------------------------------------------------------------- whose session it is


TWO_SITES = f"""
[[origins.allowed]]
origin = "{OTHER}"
"""


def test_a_card_session_shows_to_its_origin_alone(simulation: Start) -> None:
    agent = simulation(TWO_SITES)
    first, second = agent.site(), agent.site(origin=OTHER)
    for site in (first, second):
        site.call("cards.watch")
    first.call("cpx.unlock")

    assert first.notified("cpx.changed") == {"present": True, "unlocked": True}
    assert second.notified("cpx.changed") == {"present": True, "unlocked": False}
    assert first.call("agent.status")["cpxSession"] == {"open": True, "own": True}
    assert second.call("agent.status")["cpxSession"] == {"open": False, "own": False}


def test_a_list_of_traces_is_the_origins_own_page_by_page(simulation: Start) -> None:
    agent = simulation(
        TWO_SITES
        + f"""
        [[software]]
        name = "Autre"
        version = "1"
        origins = ["{OTHER}"]
        authorisation = {{ simulated = "SIMULATEUR-0001" }}
        """
    )
    first, second = agent.site(), agent.site(origin=OTHER)
    mine = [first.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef=f"venue-{one}") for one in (1, 2, 3)]
    second.call("insi.retrieveByTraits", traits=TOUSSAINT, clientRef="venue-1")

    page = first.call("trace.list", limit=2)
    rest = first.call("trace.list", limit=2, cursor=page["nextCursor"])

    assert [one["traceId"] for one in (*page["traces"], *rest["traces"])] == [one["trace"]["id"] for one in mine[::-1]]
    assert rest.keys() == {"traces"}
    assert [one["clientRef"] for one in first.call("trace.list", clientRef="venue-1")["traces"]] == ["venue-1"]
    assert page["traces"][0]["at"] >= mine[2]["trace"]["at"]
    assert len(second.call("trace.list")["traces"]) == 1
    refused = first.refusal("trace.list", cursor="2")
    assert (refused.error["code"], refused.error["data"]) == (-32602, {"member": "cursor"})


# ---------------------------------------------------------------- a part fails


class Broken:
    """A network part with a bug."""

    def check(self, _mode: AuthMode) -> None:
        """Configured."""

    def post(self, _mode: AuthMode, _action: str, _envelope: bytes) -> HttpReply:
        raise RuntimeError("un secret du dedans")

    def close(self) -> None:
        """Nothing is open."""


def test_an_unforeseen_failure_gives_an_incident_number_nothing_from_inside_and_the_agent_serves_on(
    agent: Simulation, site: Site
) -> None:
    desk = agent.running.agent.desk
    whole, desk.teleservice = desk.teleservice, Broken()
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)
    desk.teleservice = whole

    assert refused.reason == "internal"
    assert len(refused.facts["incident"]) == 12
    assert "secret" not in str(refused)
    stored = site.call("trace.get", traceId=refused.facts["traceId"])
    assert [attempt["code"] for attempt in stored["attempts"]] == ["internal"]
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_a_card_component_that_hangs_is_killed_in_time_and_the_next_call_gets_another(
    agent: Simulation, site: Site
) -> None:
    site.call("cpx.unlock")
    worker = agent.running.agent.desk.tokens()
    assert isinstance(worker, TokenWorker)
    hung = worker.pid
    assert hung
    reconfigure(agent, "[cpx]\ncall_timeout_s = 0.5\n")
    os.kill(hung, signal.SIGSTOP)

    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "device.timeout"
    until(lambda: worker.pid != hung, "the hung process is gone")
    reconfigure(agent, "")
    assert site.call("cpx.status")["unlocked"] is False
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
    assert worker.pid not in (None, hung)


def test_the_agent_ends_in_order_also_with_a_component_that_hangs(agent: Simulation, site: Site) -> None:
    """At the end of the day nobody waits for a module: the worker is killed, the journal and the rest are closed."""
    site.call("insi.retrieveByTraits", traits=TOUSSAINT)
    worker = agent.running.agent.desk.tokens()
    assert isinstance(worker, TokenWorker)
    hung = worker.pid
    assert hung
    os.kill(hung, signal.SIGSTOP)

    agent.restart()  # refused while anything of the first one is left in its folders

    assert not Path(f"/proc/{hung}").exists()
    assert agent.site().call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"


def test_a_full_disk_sends_nothing(simulation: Start) -> None:
    """No intent row, no send: room for the largest reply is asked for first."""
    agent = simulation(f"[insi]\nmax_reply_bytes = {1 << 60}\n")

    refused = agent.site().refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    assert (refused.reason, refused.facts) == ("journal.full", {})
    assert agent.insi.received == 0


def test_a_journal_that_another_program_holds_sends_nothing_until_it_lets_go(agent: Simulation, site: Site) -> None:
    holder = journal(agent.places.journal, key=agent.running.agent.desk.load_identity())
    holder.intend(intent())
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)
    assert (refused.reason, refused.facts) == ("journal.unavailable", {})
    assert agent.insi.received == 0
    holder.close()

    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"
    cut_short = site.refusal("trace.get", traceId="trace-1")
    assert cut_short.reason == "trace.unknown"  # another origin's


def test_several_activities_come_as_a_list_to_choose_from(simulation: Start) -> None:
    site = simulation('[cpx]\nactivities = {"0" = "01"}\n').site()

    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)

    assert refused.reason == "activity.needed"
    assert [(one["id"], one["structureId"]) for one in refused.facts["activities"]] == [
        ("01", "499900000017001"),
        ("02", "1990000017"),
    ]
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT, activity="02")["trace"]["structure"] == "1990000017"


def test_a_professional_without_billing_identifier_is_not_asked_for_the_code(
    simulation: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_PIN", "wait")
    site = simulation("[cpx]\nbilling_ids = []\n").site()

    assert site.refusal("insi.retrieveByTraits", traits=TOUSSAINT).reason == "billingId.missing"
    assert not any(message["params"].get("needs") == "pin" for message in site.notifications)


def test_a_call_given_up_on_its_way_says_where_its_trace_is(agent: Simulation, site: Site) -> None:
    agent.insi.service.style = Style(latency_ms=(60_000, 60_000))
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    until(lambda: agent.insi.received, "the message came")
    assert site.call("operation.cancel", id=number) == {"cancelled": True}
    with pytest.raises(RefusedError) as refused:
        site.reply(number)

    assert refused.value.reason == "operation.cancelled"
    assert site.call("trace.get", traceId=refused.value.facts["traceId"])["attempts"][0]["code"] == "unknown"
    agent.insi.stop()
