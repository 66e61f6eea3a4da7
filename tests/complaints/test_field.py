"""What people in the field complain of with programs like ours: each complaint has its test, or says who holds it.

The complaints are public: support pages, release notes, forums and homologation cases of card software for
French health professionals. Those that a desk can show are shown here on a whole desk: a real agent process,
card service, PKCS#11 module and keyring, with virtual cards.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from agent.readers.desk import PcscVitale
from agent.readers.pcsc import PcscReaders
from tests.cards.process import CardProcess
from tests.parts.agent import RefusedError, Simulation, Site
from tests.parts.desk import CPS, DOCTOR, SITES, Desk
from tests.parts.desktop import until
from tests.parts.pcscd import Pcscd

_ROOT = Path(__file__).parents[2]
USER = {"id": "accueil-2"}
BY_CERTIFICATE = {"authMode": "organisation", "user": USER}
BY_CARD = {"authMode": "cpx", "user": USER}
TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
HOME: dict[str, str | None] = {"durand": "Vitale 00 00", CPS: "CPS 00 00", "adrdeux": None}


@dataclass(frozen=True)
class Complaint:
    """Who complains of what; why nothing is here, and which tests elsewhere hold what we can hold."""

    says: str
    why_not: str = ""
    held_by: tuple[str, ...] = ()


COMPLAINTS = {
    "R1": Complaint(
        "Support pages: the browser asks before a site may reach this computer, and blocks it in silence.",
        "No card is concerned; a real browser shows it.",
        (
            "tests/web/test_sdk.py::test_a_forbidden_site_is_told_so_and_connects_as_soon_as_it_is_allowed",
            "tests/web/test_sdk.py::test_while_the_browser_asks_the_person_the_agent_is_not_said_to_be_absent",
        ),
    ),
    "R2": Complaint(
        "Support pages: another editor's program has the port, and the page only sees a time-out.",
        "No card is concerned.",
        (
            "tests/protocol/test_server.py::test_another_program_on_the_first_port_moves_us_to_the_next",
            "tests/protocol/test_server.py::test_all_ports_held_says_so",
            "tests/web/test_sdk.py::test_an_agent_that_allows_the_site_is_found_among_dead_ports",
        ),
    ),
    "R3": Complaint("Support pages: billing programs keep the reader for themselves, and the card cannot be read."),
    "R4": Complaint(
        "Support pages: CPS and Vitale are in each other's slot, readers change their names after a start."
    ),
    "R5": Complaint("Doctors' unions: configured channels of bi-slot readers are wrong, or are no readers at all."),
    "R6": Complaint(
        "An editor of billing software: older readers lose their link or their power in the middle of the work.",
        held_by=(
            "tests/readers/test_pcsc.py::test_a_card_pulled_at_any_command_was_removed",
            "tests/journey/test_real_parts.py::test_a_vitale_pulled_while_it_is_read_is_said_and_the_next_reading_works",
        ),
    ),
    "R7": Complaint(
        "Support pages: several Cryptolib on one computer, or one of 32 bits in a process of 64.",
        "The module's file decides, no desk is needed.",
        (
            "tests/signing/test_modules.py::test_a_module_of_another_bitness_is_passed_over_for_one_that_fits",
            "tests/signing/test_modules.py::test_a_module_of_the_cps2_era_is_too_old",
        ),
    ),
    "R8": Complaint(
        "A pharmacists' and doctors' forum: macOS forbids, translates or hides components after each update.",
        "There is no macOS here to try it on.",
    ),
    "R9": Complaint("Support pages: the system's own diagnostics ask for the code, or hang with the reader."),
    "R10": Complaint(
        "Support pages: installers that want rights at run time, unpack themselves, or are stopped by an antivirus.",
        "No card is concerned; packaging holds what can be held without Windows.",
        ("tests/packaging/test_onedir.py::test_it_carries_its_data_and_nothing_that_must_be_the_systems",),
    ),
    "R11": Complaint(
        "Support pages: the local program dies, and a scheduled task has to start it again every ten minutes.",
        "What dies in the field is native card code, here in a process that is started anew (see R17).",
        (
            "tests/signing/test_worker.py::test_a_worker_that_dies_in_a_call_is_said_and_the_next_call_has_another",
            "tests/test_cli.py::test_an_agent_that_died_and_left_its_file_is_not_running",
        ),
    ),
    "R12": Complaint(
        "A vendor's own change log: the card's code was in the log, in base64.",
        held_by=("tests/journey/test_real_parts.py::test_the_code_and_the_nir_are_in_no_log",),
    ),
    "R13": Complaint(
        "Release notes of the Cryptolib, editors' help: on remote desktops the card service stops or shows no reader.",
        "There is no remote desktop here; a card service that stops is one, however it was stopped.",
        (
            "tests/journey/test_real_parts.py::test_a_card_service_that_dies_and_comes_back_is_survived",
            "tests/protocol/test_server.py::test_another_program_on_the_first_port_moves_us_to_the_next",
        ),
    ),
    "R14": Complaint(
        "The trade press: an editor waits weeks for certificates and authorisation before the first call.",
        "The simulator is the answer: the whole journey without any of them.",
        ("tests/journey/test_outside.py::test_each_mode_gives_a_traced_result_with_a_receipt_over_all_of_it",),
    ),
    "R15": Complaint(
        "An open-source client's notes: INSi refuses a certificate of another name with a bare number.",
        "No card is concerned.",
        ("tests/signing/test_organisation.py::test_another_name_is_refused_before_insi_does",),
    ),
    "R16": Complaint(
        "Homologation cases: the card is swapped between the choice and the call, or read long ago.",
        held_by=(
            "tests/readers/test_pcsc_field.py::test_two_cards_that_change_places_within_50_ms_are_both_seen_to_move",
        ),
    ),
    "R17": Complaint("A vendor's page: the reading component takes the program along when the CPS was not read first."),
    "R18": Complaint(
        "Public interfaces of peers: the web page asks for the card's code and passes it on.",
        held_by=(
            "tests/protocol/test_session.py::test_there_is_no_pin_in_any_message",
            "tests/tray/test_pin_window.py::test_the_code_typed_arrives_as_bytes",
        ),
    ),
}


def test_each_complaint_has_a_test_of_its_number_or_says_why_not_and_every_test_named_exists() -> None:
    assert list(COMPLAINTS) == [f"R{number}" for number in range(1, 19)]
    here = names_in("tests/complaints/test_field.py")
    for number, complaint in COMPLAINTS.items():
        own = [name for name in here if name.startswith(f"test_r{int(number[1:]):02}_")]
        assert own or complaint.why_not or complaint.held_by, number
        for held_by in complaint.held_by:
            file, _, name = held_by.partition("::")
            assert name in names_in(file), held_by


def names_in(file: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", (_ROOT / file).read_text(encoding="utf-8"), re.MULTILINE))


# ---------------------------------------------------------------- the desk


@pytest.fixture(scope="module")
def whole_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Desk(tmp_path_factory.mktemp("desk"), record=True) as desk:
        yield desk


@pytest.fixture
def site(whole_desk: Desk) -> Iterator[Site]:
    """A page; at the end nobody holds anything and no card session is open."""
    page = Site(whole_desk.port, origin=SITES[0])
    yield page
    whole_desk.other.let_go()
    page.call("cpx.lock")
    page.close()


@pytest.fixture
def desk(whole_desk: Desk, site: Site) -> Desk:
    """Each card put in where it belongs, and seen there: nothing that a test did to a card outlives it."""
    put(whole_desk, site, HOME)
    return whole_desk


def put(desk: Desk, site: Site, places: dict[str, str | None]) -> None:
    """Move these cards, and wait until the agent sees every card where it is, and none elsewhere."""
    desk.put(places)
    wanted = {reader: "cpx" if card == CPS else "vitale2" for card, reader in desk.where.items() if reader}

    def seen() -> bool:
        readers = site.call("cards.watch")["readers"]
        return {one["reader"]: one["card"]["kind"] for one in readers if "card" in one} == wanted

    until(seen, f"{wanted}", seconds=40)


def tries(desk: Desk) -> tuple[int, int]:
    """Tries left, and codes given so far."""
    state = desk.cards[CPS].ask("state")
    return state["left"], state["asked"]


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


# ---------------------------------------------------------------- the complaints


def test_r03_a_card_that_another_program_keeps_is_said_and_read_when_it_lets_go(desk: Desk, site: Site) -> None:
    assert desk.other.lock("Vitale 00 00", 60)
    refused = site.refusal("vitale.read")
    desk.other.let_go()

    assert refused.reason == "card.inUse"
    assert len(site.call("vitale.read")["holders"]) == 2


def test_r03_another_programs_transaction_is_waited_for_and_nobody_else_waits(desk: Desk, site: Site) -> None:
    assert desk.other.hold("Vitale 00 00", 60)
    waiting = site.send("vitale.read")
    for _ in range(20):
        assert site.call("agent.status")["cardService"] is True
    desk.other.let_go()

    assert len(site.reply(waiting)["holders"]) == 2


def test_r04_swapped_slots_and_other_names_are_the_same_cards(desk: Desk, site: Site) -> None:
    put(desk, site, {"durand": "CPS 00 00", CPS: "Vitale 00 00"})
    swapped = site.call("vitale.read")
    result = site.call("insi.retrieveWithVitale", readId=swapped["readId"], holder=0, **BY_CARD)
    put(desk, site, {"durand": "Bi-fente 00 01", CPS: "CPS 00 00"})
    renamed = site.call("vitale.read")

    assert (result["code"], result["trace"]["professional"]["nationalId"]) == ("00", DOCTOR)
    assert renamed["holders"] == swapped["holders"]
    assert site.call("insi.retrieveByTraits", traits=TRAITS, **BY_CARD)["code"] == "00"


def test_r05_the_two_slots_of_one_reader_are_two_readers(desk: Desk, site: Site) -> None:
    put(desk, site, {"durand": "Bi-fente 00 00", CPS: "Bi-fente 00 01"})
    read = site.call("vitale.read")

    assert site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CARD)["code"] == "00"
    names = [reader["reader"] for reader in site.call("cards.watch")["readers"]]
    assert {"Bi-fente 00 00", "Bi-fente 00 01"} <= set(names)


def test_r06_a_reader_that_loses_its_power_costs_no_try_and_no_stored_code_is_used(desk: Desk, site: Site) -> None:
    assert site.call("insi.retrieveByTraits", traits=TRAITS, **BY_CARD)["code"] == "00"
    left, asked = tries(desk)
    assert desk.other.unpower("CPS 00 00")
    assert desk.other.unpower("Vitale 00 00")

    read = site.call("vitale.read")
    assert site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CARD)["code"] == "00"
    assert tries(desk) == (left, asked + 1)  # the person was asked again, once

    assert desk.other.unpower("CPS 00 00")  # while our module stays connected: only a direct connection powers it
    site.call("cpx.lock")
    assert desk.cards[CPS].ask("state")["verified"] is False


def test_r09_diagnostics_ask_no_code_and_disturb_no_session(desk: Desk, site: Site) -> None:
    """Also while another program holds the card: a module looks at it as soon as it is loaded."""
    site.call("cpx.unlock")
    before = desk.cards[CPS].ask("state")
    assert desk.other.hold("CPS 00 00", 2)
    command = [sys.executable, "-m", "agent", "doctor", "--json", "--config", str(desk.folder / "config.toml")]
    done = subprocess.run(command, check=False, cwd=_ROOT, env=desk.environment, capture_output=True, timeout=60)
    desk.other.let_go()

    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert "CPS 00 00 (cpx)" in findings["Lecteurs"]["says"]
    assert "OpenSC" in findings["Module PKCS#11"]["says"]
    assert desk.cards[CPS].ask("state") == before
    assert site.call("cpx.status")["unlocked"] is True


def test_r12_the_code_is_in_no_log_in_any_writing(desk: Desk, site: Site) -> None:
    _, asked = tries(desk)
    read = site.call("vitale.read")
    site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CARD)
    assert tries(desk)[1] > asked
    logs = [desk.folder / "agent.err", *desk.folder.rglob("*.log")]
    text = "\n".join(file.read_text(errors="replace") for file in logs)

    assert "insi.retrieveWithVitale" in text
    for secret in (read["holders"][0]["nir"], "DURAND", "HÉLÈNE", DOCTOR, "EXEMPLE", "CAMILLE"):
        for writing in (secret, b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()):
            assert writing not in text
    for code in (r"(?<![\w:.-])1234(?![\w:.-])", "MTIzNA", "31323334"):  # alone, in base64, in hexadecimal
        assert not re.search(code, text)


def test_r16_cnda_1_03_a_card_swapped_between_choice_and_call_sends_nothing(desk: Desk, site: Site) -> None:
    """The homologation's case: choose a person on one card, put another one in, launch."""
    read = site.call("vitale.read")
    put(desk, site, {"durand": None, "adrdeux": "Vitale 00 00"})
    received = desk.insi.received
    refused = site.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CERTIFICATE)

    assert (refused.reason, desk.insi.received) == ("vitale.changed", received)
    other = site.call("vitale.read")
    result = site.call("insi.retrieveWithVitale", readId=other["readId"], holder=0, **BY_CERTIFICATE)
    assert (result["identity"]["birthName"], result["identity"]["ins"]["matricule"]) == ("ADRDEUX", "1810163220751")


def test_r16_cnda_1_02_a_reading_of_more_than_twenty_minutes_sends_nothing(
    simulation: Callable[..., Simulation], pcscd: Pcscd
) -> None:
    """The homologation's case: read, wait, choose another holder without pulling the card. The clock is the test's."""
    agent = simulation()
    running = agent.running.agent.desk
    running.vitale = PcscVitale(PcscReaders(), lambda: ((), ()))
    began, late = running.now(), timedelta()
    running.now = lambda: began + late
    page, by_structure = agent.site(), {"authMode": "organisation"}
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as card:
        card.insert()
        read = page.call("vitale.read")
        late = timedelta(minutes=19, seconds=59)
        assert page.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **by_structure)["code"] == "00"
        late = timedelta(minutes=20)
        refused = page.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=1, **by_structure)
        again = page.call("vitale.read")
        result = page.call("insi.retrieveWithVitale", readId=again["readId"], holder=1, **by_structure)

    assert (refused.reason, agent.insi.received) == ("vitale.stale", 2)
    assert (result["code"], result["identity"]["birthName"]) == ("00", "DURAND")


def test_cnda_1_01_a_search_with_the_vitale_gives_the_frames_that_the_homologation_asks_for(
    desk: Desk, site: Site
) -> None:
    """The case wants a Vitale assertion too; nobody provides one: see tests/workflows/test_vitale_assertion.py."""
    read = site.call("vitale.read")
    result = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CARD)
    kept = site.call("trace.get", traceId=result["trace"]["id"], image=True)
    sent = desk.insi.requests[-1].body

    assert result["trace"]["requestSha256"] == hashlib.sha256(sent).hexdigest()
    assert result["trace"]["responseSha256"] == hashlib.sha256(b64decode(kept["image"])).hexdigest()
    assert b"<NumIdentifiant>2841276451089</" in b64decode(kept["image"])


def test_r17_a_vitale_is_read_where_no_professional_card_ever_was(desk: Desk, site: Site) -> None:
    put(desk, site, {CPS: None})
    for worker in desk.workers():
        kill(worker)
    read = site.call("vitale.read")

    assert len(read["holders"]) == 2
    assert desk.workers() == []
    assert site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **BY_CERTIFICATE)["code"] == "00"


def test_r17_a_module_that_crashes_while_it_signs_takes_nothing_along(desk: Desk, site: Site) -> None:
    desk.cards[CPS].ask("hold_at_signature", on=True)
    number = site.send("insi.retrieveByTraits", traits=TRAITS, **BY_CARD)
    assert desk.cards[CPS].ask("asked_to_sign")
    (worker,) = desk.workers()
    kill(worker)
    desk.cards[CPS].ask("hold_at_signature", on=False)
    with pytest.raises(RefusedError) as refused:
        site.reply(number)

    assert refused.value.reason == "device.crashed"
    assert site.call("insi.retrieveByTraits", traits=TRAITS, **BY_CARD)["code"] == "00"
    assert tries(desk)[0] == 3
