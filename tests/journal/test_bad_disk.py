"""A disk that is full, read-only, gone, elsewhere or damaged: no trace, no call; once there is one, calls go on.

On real file systems, mounted where only the child sees them.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.doctor import examine
from agent.errors import CATALOGUE, Code
from agent.journal.apart import opened
from agent.journal.chain import Fault, FaultKind
from agent.journal.files import FILE, noted_head, read_heads
from agent.places import Places
from tests.parts.agent import RefusedError, Simulation
from tests.parts.mounts import with_own_mounts

from .disks import CONFIG, TRAITS
from .full_disk import came_of
from .making import intent, journal, whole

ROOT = Path(__file__).parents[2]
FOUND = ["00", 1, []]  # the code, the messages that INSi was sent, what the status warns of


def refused(code: Code) -> list[Any]:
    """Nothing was sent, and both the page and who asks for the status are told why."""
    return [[code.value, CATALOGUE[code].title.en], 0, [code.value]]


UNAVAILABLE, FULL = refused(Code.JOURNAL_UNAVAILABLE), refused(Code.JOURNAL_FULL)


@pytest.fixture
def on_a_disk(tmp_path: Path, simulator_pki: Path) -> Callable[[str], dict[str, Any]]:
    """Runs a scenario of disks.py; what was seen."""

    def run(scenario: str) -> dict[str, Any]:
        shutil.copytree(simulator_pki, Places.simulated(tmp_path).data)
        done = with_own_mounts("-m", "tests.journal.disks", scenario, str(tmp_path))
        assert done.returncode == 0, f"needs root, loop devices, e2fsprogs and mount: {done.stderr}"
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return run


Run = Callable[[str], dict[str, Any]]


def test_on_a_full_disk_no_call_is_sent_until_there_is_room_again(on_a_disk: Run) -> None:
    assert on_a_disk("full") == {
        "with room": FOUND,
        "on a full disk": FULL,
        "still": FULL,
        "after a start": FULL,
        "with room again": FOUND,
        "chain": "None",
    }


def test_what_was_intended_can_be_concluded_on_a_full_disk_and_nothing_more_is_intended(on_a_disk: Run) -> None:
    seen = on_a_disk("under_way")

    outcomes = [came for step, came in seen.items() if step.startswith("outcome")]
    assert ["done"] * len(outcomes) == outcomes
    assert 3 <= len(outcomes)
    assert {
        "an intent without room": "journal.full",
        "result": "done",
        "chain, still full": "None",
        "chain, opened again": "None",
        "replies": "{True}",
        "intent, opened again": "journal.full",
        "intent, with room": "done",
        "chain at last": "None",
    } == {step: came for step, came in seen.items() if not step.startswith("outcome")}


def test_a_disk_that_turns_read_only_stops_calls_and_once_it_is_back_they_go_on_without_a_start(on_a_disk: Run) -> None:
    assert on_a_disk("failing") == {
        "before": FOUND,
        "read-only": UNAVAILABLE,
        "gone": UNAVAILABLE,
        "back": FOUND,
        "chain": "None",
    }


def test_nothing_is_written_beside_a_disk_that_vanished(on_a_disk: Run) -> None:
    """Its files are open and could be written still: nobody would find them, and a new journal would hide the old."""
    assert on_a_disk("vanishing") == {
        "before": FOUND,
        "gone": UNAVAILABLE,
        "still": UNAVAILABLE,
        "left where the disk was": [],
        "back": FOUND,
        "chain": "None",
    }


def test_an_agent_does_not_start_on_a_read_only_journal_and_names_its_folder(on_a_disk: Run) -> None:
    assert on_a_disk("read_only") == {"before": FOUND, "start": ["config.invalid", True]}


def test_a_journal_folder_that_became_a_link_to_a_network_is_refused_and_nothing_is_written_there(
    on_a_disk: Run,
) -> None:
    assert on_a_disk("network") == {
        "a link to a network": UNAVAILABLE,
        "why": "journal.unavailable: the folder is on a network: fuse.sshfs",
        "a folder again": FOUND,
        "written on the network": [],
    }


def test_of_two_agents_on_one_journal_the_first_goes_on_undisturbed(on_a_disk: Run) -> None:
    assert on_a_disk("two_agents") == {
        "first": FOUND,
        "second": UNAVAILABLE,
        "first, undisturbed": FOUND,
        "second, once it is free": FOUND,
        "chain": "None",
    }


# ---------------------------------------------------------------- damaged files


@contextmanager
def running(folder: Path, config: str) -> Iterator[Simulation]:
    agent = Simulation(folder, config, 0)
    try:
        yield agent
    finally:
        agent.stop()


def overwritten(file: Path) -> None:
    file.write_bytes(b"no longer a database" + file.read_bytes()[20:])


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def corrupted(file: Path) -> None:
    """Every page but the first."""
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))


@pytest.mark.parametrize("damage", [overwritten, cut, corrupted])
def test_an_agent_with_a_damaged_journal_sends_nothing_and_says_so(
    damage: Callable[[Path], None], home: Path, simulator_pki: Path
) -> None:
    """In the answer, in agent.status and by `insi-agent doctor`; a good copy put back is used at once."""
    places = Places.simulated()
    shutil.copytree(simulator_pki, places.data)
    folder, config = places.data.parent.parent, 'environment = "simulated"\n' + CONFIG
    with running(folder, config) as agent:
        assert agent.site().call("insi.retrieveByTraits", traits=TRAITS)["code"] == "00"
    file = places.journal / FILE
    shutil.copy(file, home / "good")
    damage(file)

    with running(folder, config) as agent:
        page = agent.site()
        refusal = page.refusal("insi.retrieveByTraits", traits=TRAITS)
        status = page.call("agent.status")
        said = next(one for one in examine(folder / "config.toml") if one.what == "Journal")

        assert refusal.reason == "journal.unavailable"
        assert agent.insi.received == 0
        assert ["journal.unavailable"] == [one["reason"] for one in status["warnings"]]
        assert not said.well
        assert CATALOGUE[Code.JOURNAL_UNAVAILABLE].title.fr in said.says

        shutil.copy(home / "good", file)
        assert page.call("insi.retrieveByTraits", traits=TRAITS)["code"] == "00"
        assert page.call("agent.status")["warnings"] == []


# ---------------------------------------------------------------- files taken away


def test_a_file_taken_away_while_it_is_open_is_missed_before_anything_is_sent_and_none_takes_its_place(
    tmp_path: Path,
) -> None:
    own = journal(tmp_path)
    whole(own, "trace-1")
    (tmp_path / FILE).rename(tmp_path / "taken")

    assert ["journal.unavailable"] * 2 == [came_of(lambda: own.intend(intent("trace-2"))) for _ in range(2)]
    assert not (tmp_path / FILE).exists()

    (tmp_path / "taken").rename(tmp_path / FILE)
    assert 4 == own.intend(intent("trace-2")).seq
    assert own.verify().fault is None
    own.close()


def test_an_older_file_put_back_under_a_running_agent_leaves_a_gap_for_ever(tmp_path: Path) -> None:
    """What is open is not written to any more; what is there now goes on after what the head remembers."""
    own = journal(tmp_path)
    whole(own, "trace-1")
    own.close()
    shutil.copy(tmp_path / FILE, tmp_path / "older")
    whole(own, "trace-2")
    (tmp_path / f"{FILE}-wal").unlink()
    (tmp_path / "older").replace(tmp_path / FILE)

    assert "journal.unavailable" == came_of(lambda: own.intend(intent("trace-3")))
    assert 7 == own.intend(intent("trace-3")).seq
    assert Fault(FaultKind.MISSING, 4) == own.verify().fault
    own.close()


def test_an_agent_whose_journal_is_deleted_goes_on_after_what_it_remembers_outside_its_folder(
    tmp_path: Path,
) -> None:
    """A new journal, with a gap: `verify` names what is gone, for ever."""
    with running(tmp_path, CONFIG) as agent:
        places = agent.places
        agent.site().call("insi.retrieveByTraits", traits=TRAITS)
    remembered = noted_head(places.noted_head, places.journal)
    assert remembered and remembered == max(read_heads(places.journal), key=lambda head: head.seq)
    shutil.rmtree(places.journal)

    with running(tmp_path, CONFIG) as agent:
        agent.site().call("insi.retrieveByTraits", traits=TRAITS)

    with opened(places.journal) as copy:
        assert remembered.seq + 1 == next(copy.entries()).seq
        assert Fault(FaultKind.MISSING, 1) == copy.verify(lambda *_: True).fault


# ---------------------------------------------------------------- clocks


def test_a_clock_that_jumps_by_years_breaks_no_chain_and_hides_no_trace(agent: Simulation) -> None:
    """INSi refuses what is signed years ago or ahead. That is traced too, and told where it belongs."""
    page, desk = agent.site(), agent.running.agent.desk
    right = desk.now
    asked: dict[str, str] = {}
    for name, years, refusal in (
        ("first", 0, ""),
        ("behind", -2, "insi.fault.access"),
        ("ahead", 2, "insi.fault.access"),
    ):
        desk.now = lambda years=years: right() + timedelta(days=365 * years)
        try:
            asked[name] = page.call("insi.retrieveByTraits", traits=TRAITS, clientRef=name)["trace"]["id"]
        except RefusedError as error:
            assert refusal == error.reason
            asked[name] = error.facts["traceId"]
    desk.now = right
    asked["last"] = page.call("insi.retrieveByTraits", traits=TRAITS, clientRef="last")["trace"]["id"]

    listed = page.call("trace.list")["traces"]
    again = page.call("insi.retrieveByTraits", traits=TRAITS, clientRef="first")
    with opened(agent.places.journal) as copy:
        verdict = copy.verify(desk.load_identity().verify_bytes)

    assert [asked[name] for name in ("ahead", "last", "first", "behind")] == [one["traceId"] for one in listed]
    assert again["replayed"] is True
    assert asked["first"] == again["trace"]["id"]
    assert verdict.fault is None
    assert [4, 8] == list(verdict.clock_back)
