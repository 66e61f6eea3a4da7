"""The reception page in a real Chromium, against the real agent: `insi-agent demo`, and its simulated desk."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn, Protocol, cast

import pytest
from playwright.sync_api import Page, expect

from agent.client import ask
from agent.demo import PageServer
from agent.errors import CATALOGUE, AgentError, Code
from agent.model import Environment, Profile
from agent.options import Options
from agent.places import Places, find_running
from agent.readers.desk import VitaleSource
from agent.readers.transcript import SimulatedReaders
from agent.running import RunningAgent
from tests.web.doors import RIGHTS, Door, free_port, page_for

VITALE, CPS = "Simulateur Vitale 0", "Simulateur CPS 0"


class StartsDemo(Protocol):
    def __call__(self, *, pin: str = "1234") -> AbstractContextManager[str]: ...


@contextmanager
def demonstration(home: Path, pin: str) -> Iterator[str]:
    """`insi-agent demo --headless --json` with a home of its own; gives the page's address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "demo", "--headless", "--json"],
        env={**environment, "HOME": str(home), "INSI_AGENT_SIMULATED_PIN": pin},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the demonstration did not start: exit {process.wait()}")
        yield json.loads(line)["page"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture
def demo(tmp_path: Path) -> StartsDemo:
    """Starts a demonstration; `pin` is what the simulated person answers to the code question."""
    return lambda *, pin="1234": demonstration(tmp_path, pin)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a demonstration whose card may already be unlocked: for tests that do not mind."""
    with demonstration(tmp_path_factory.mktemp("home"), "1234") as page:
        yield page


class Desk:
    """An agent of this process with its page, whose simulated cards the test moves."""

    def __init__(self, folder: Path) -> None:
        self._page = PageServer()
        self._options = Options(simulate=True, port=0, demo_origins=(self._page.origin,), answers_itself=True)
        self._places = Places.simulated(folder).create()
        self.address = f"{self._page.origin}/"
        self.start()
        self._page.start(agent_ports=[self.port])

    def start(self) -> None:
        self._running = RunningAgent(self._options, self._places)
        self.port = self._running.agent.port
        self._options = Options(
            simulate=True, port=self.port, demo_origins=(self._page.origin,), answers_itself=True
        )  # the same port if started again

    def stop(self) -> None:
        self._running.stop()

    def end(self) -> None:
        self._page.stop()

    def become(self, profile: Profile) -> None:
        """The person chooses another profile."""
        native = find_running(self._places.runtime)
        assert native
        ask(native, ("agent.switch", {"profile": profile}))

    def insert(self, reader: str, card: str | None) -> None:
        cast(SimulatedReaders, self._running.agent.desk.readers).insert(reader, card)

    def read_by(self, vitale: VitaleSource) -> None:
        self._running.agent.desk.vitale = vitale


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    try:
        yield desk
    finally:
        desk.stop()
        desk.end()


# ---------------------------------------------------------------- what a receptionist does


def arrive(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#agent")).to_contain_text("Agent présent")


def read_card(page: Page, name: str) -> None:
    page.get_by_role("button", name="Lire la carte Vitale").click()
    page.get_by_label(name).check()


def type_traits(page: Page, birth_name: str, given_names: list[str], sex: str, birth_date: str) -> None:
    page.get_by_label("Traits d'identité", exact=True).check()
    page.get_by_label("Nom de naissance", exact=True).fill(birth_name)
    for rank, given_name in enumerate(given_names, start=1):
        if rank > 1:
            page.get_by_role("button", name="Ajouter un prénom").click()
        page.get_by_label(f"Prénom {rank}", exact=True).fill(given_name)
    page.get_by_role("radio", name=sex).check()
    page.get_by_role("textbox", name="Date de naissance", exact=False).fill(birth_date)


def search(page: Page) -> None:
    page.get_by_role("button", name="Rechercher l'INS").click()


def expect_outcome(page: Page, title: str) -> None:
    expect(page.locator("#progress")).to_be_hidden()
    assert "" == page.locator("#problem").inner_text()
    heading = page.locator("#outcome-title")
    expect(heading).to_have_text(title)
    expect(heading).to_be_focused()


def expect_problem(page: Page, code: Code) -> None:
    """The catalogue's own sentence and next step."""
    problem = page.get_by_role("alert").filter(has_text=CATALOGUE[code].title.fr)
    expect(problem).to_contain_text(CATALOGUE[code].action.fr)
    expect(page.locator(f"[data-reason='{code.value}']")).to_be_visible()


def attempts(page: Page) -> list[str]:
    """Code and members of each attempt, as the trace shows them."""
    page.locator("details.trace summary").click()
    rows = page.locator("details.trace tbody tr").all()
    return [" ".join(row.locator("td").all_inner_texts()[1:3]) for row in rows]


# ---------------------------------------------------------------- the whole journey


def test_with_the_cps_card_the_whole_journey_ends_with_a_verified_receipt(tab: Page, demo: StartsDemo) -> None:
    with demo() as address:
        arrive(tab, address)
        expect(tab.locator("#environment")).to_contain_text("SIMULATION")
        expect(tab.locator("#cpx")).to_contain_text("Verrouillée")
        read_card(tab, "ADRUN ZOE")
        tab.get_by_label("Carte CPS").check()
        search(tab)

        expect_outcome(tab, "INS trouvée")
        result = tab.locator("#result")
        expect(result).to_contain_text("2751263220749")
        expect(result).to_contain_text("clé 74")
        expect(result).to_contain_text("INS-NIR — OID 1.2.250.1.213.1.4.8")
        expect(result).to_contain_text("jamais dans un dossier réel")
        expect(result).to_contain_text("cette personne n'existe pas")
        expect(tab.locator("#receipt")).to_have_attribute("data-state", "valid")
        expect(tab.locator("#cpx")).to_contain_text("Déverrouillée")
        assert ["00 NIR, date, rang"] == attempts(tab)
        expect(result).to_contain_text("seul le serveur de l'application")


def test_with_the_organisations_certificate_no_code_is_asked(tab: Page, demo: StartsDemo) -> None:
    with demo(pin="0000") as address:
        arrive(tab, address)
        read_card(tab, "ADRUN ZOE")
        tab.get_by_label("Certificat de la structure").check()
        tab.get_by_label("Votre identifiant dans l'application").fill("accueil-1")
        search(tab)

        expect_outcome(tab, "INS trouvée")
        expect(tab.locator("#result")).to_contain_text("2751263220749")
        expect(tab.locator("#cpx")).to_contain_text("Verrouillée")
        tab.locator("details.trace summary").click()
        expect(tab.locator("details.trace")).to_contain_text("accueil-1")
        expect(tab.locator("details.trace")).to_contain_text("Certificat de la structure")


def test_the_cps_card_is_unlocked_and_locked_from_the_page(tab: Page, demo: StartsDemo) -> None:
    with demo() as address:
        arrive(tab, address)

        tab.get_by_role("button", name="Déverrouiller").click()
        expect(tab.locator("#cpx")).to_contain_text("Déverrouillée")
        expect(tab.get_by_role("combobox", name="Activité")).to_be_visible()
        tab.get_by_role("button", name="Verrouiller", exact=True).click()
        expect(tab.locator("#cpx")).to_contain_text("Verrouillée")


# ---------------------------------------------------------------- what goes wrong


def test_a_wrong_code_is_its_sentence_and_next_step_and_the_person_may_try_again(tab: Page, demo: StartsDemo) -> None:
    with demo(pin="0000") as address:
        arrive(tab, address)
        read_card(tab, "ADRUN ZOE")
        search(tab)

        expect_problem(tab, Code.PIN_WRONG)
        expect(tab.locator("#result")).to_be_empty()
        expect(tab.locator("#cpx")).to_contain_text("il reste peu d'essais")
        expect(tab.get_by_role("button", name="Rechercher l'INS")).to_be_enabled()
        expect(tab.get_by_role("button", name="Rechercher l'INS")).to_be_focused()


def test_giving_up_the_code_is_no_alarm(tab: Page, demo: StartsDemo) -> None:
    with demo(pin="cancel") as address:
        arrive(tab, address)
        tab.get_by_role("button", name="Déverrouiller").click()

        expect_problem(tab, Code.PIN_CANCELLED)
        expect(tab.locator("#problem .bad")).to_have_count(0)


def test_an_operation_is_cancelled_from_the_page_while_the_code_is_asked(tab: Page, demo: StartsDemo) -> None:
    with demo(pin="wait") as address:
        arrive(tab, address)
        read_card(tab, "ADRUN ZOE")
        search(tab)
        expect(tab.get_by_role("status").filter(has_text="Saisissez votre code")).to_be_visible()
        cancel = tab.get_by_role("button", name="Annuler")
        expect(cancel).to_be_focused()

        tab.keyboard.press("Enter")

        expect_problem(tab, Code.OPERATION_CANCELLED)
        expect(cancel).to_be_hidden()
        expect(tab.locator("#cpx")).to_contain_text("Verrouillée")


# ---------------------------------------------------------------- search by traits


def test_given_names_are_tried_one_by_one_and_differences_are_shown(tab: Page, address: str) -> None:
    """CNDA test 2.07-1: OLA is unknown, CATARINA is found."""
    arrive(tab, address)
    type_traits(tab, "Tchitchi", ["Ola", "Catarina", "Bella"], "Féminin", "1936-06-21")
    search(tab)

    expect_outcome(tab, "INS trouvée")
    comparison = tab.locator("#comparison tbody tr")
    expect(comparison.filter(has_text="Nom de naissance")).to_contain_text("Identique à l'écriture près")
    expect(comparison.filter(has_text="Prénoms")).to_contain_text("Différent")
    expect(comparison.filter(has_text="Date")).to_contain_text("21/06/1936")
    expect(tab.locator("#verdict")).to_contain_text("des traits diffèrent")
    assert ["01 nom, prénom 1, sexe, date", "00 nom, prénom 2, sexe, date"] == attempts(tab)


def test_several_identities_are_told_apart_by_the_birth_place_in_a_second_step(tab: Page, address: str) -> None:
    """CNDA test 2.06: the birth place is never in a first attempt."""
    arrive(tab, address)
    type_traits(tab, "DE VINCI", ["LEONARDO"], "Masculin", "01/02/2014")
    search(tab)
    expect_outcome(tab, "Plusieurs identités possibles")
    assert ["02 nom, prénom 1, sexe, date"] == attempts(tab)

    tab.get_by_label("Lieu de naissance, code INSEE").fill("63220")
    tab.get_by_role("button", name="Poursuivre avec le lieu de naissance").click()

    expect_outcome(tab, "INS trouvée")
    expect(tab.locator("#result")).to_contain_text("1140263220833")
    assert ["00 nom, prénom 1, sexe, date, lieu"] == attempts(tab)


def test_an_identity_without_sex_is_not_to_be_integrated(tab: Page, address: str) -> None:
    """S066."""
    arrive(tab, address)
    type_traits(tab, "INVENTEE", ["VIDESEXE"], "Féminin", "1980-05-07")
    search(tab)

    expect_outcome(tab, "INS trouvée")
    expect(tab.locator("#verdict")).to_contain_text("NE PAS INTÉGRER")
    expect(tab.locator("#verdict")).to_contain_text("INSi n'a pas renvoyé le sexe")


def test_a_name_that_insi_cannot_write_is_refused_at_its_field(tab: Page, address: str) -> None:
    arrive(tab, address)
    type_traits(tab, "ADRUN", ["ZOE", "李"], "Féminin", "1975-12-31")
    search(tab)

    expect_problem(tab, Code.TRAITS_REFUSED)
    expect(tab.get_by_role("alert").filter(has_text="Champ « prénom 2 »")).to_be_visible()
    expect(tab.get_by_label("Prénom 2", exact=True)).to_be_focused()


def test_the_form_starts_empty_and_never_takes_99999(tab: Page, address: str) -> None:
    """S068: nothing is filled in advance, and an unknown birth place stays empty."""
    arrive(tab, address)
    type_traits(tab, "ADRUN", ["ZOE"], "Féminin", "1975-00-00")
    tab.reload()
    expect(tab.locator("#agent")).to_contain_text("Agent présent")
    tab.get_by_label("Traits d'identité", exact=True).check()
    texts = tab.locator("#from-traits input:not([type=radio])").all()
    assert [""] * len(texts) == [text.input_value() for text in texts]
    expect(tab.locator("[name=sex]:checked")).to_have_count(0)

    type_traits(tab, "ADRUN", ["ZOE"], "Féminin", "1975-12-31")
    tab.get_by_label("Code INSEE du lieu de naissance").fill("99999")
    search(tab)

    assert "laisser vide" in tab.locator("[name=birthPlaceCode]").evaluate("(field) => field.validationMessage")
    expect(tab.locator("#outcome-title")).to_have_text("Résultat")


# ---------------------------------------------------------------- readers and cards


def test_cards_come_and_go_on_the_page_and_a_card_taken_out_takes_its_holders_along(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)
    vitale = tab.locator("#readers li").filter(has_text=VITALE)
    read_card(tab, "ADRUN ZOE")

    desk.insert(VITALE, None)
    expect(vitale).to_contain_text("Pas de carte")
    expect(tab.get_by_role("status").filter(has_text="Carte retirée")).to_be_attached()
    expect(tab.locator("#holders")).not_to_contain_text("ADRUN")
    expect(tab.get_by_role("button", name="Rechercher l'INS")).to_be_disabled()

    desk.insert(CPS, None)
    expect(tab.locator("#cpx")).to_contain_text("Pas de carte CPS")

    tab.get_by_role("button", name="Lire la carte Vitale").click()
    expect(tab.get_by_role("status").filter(has_text="Insérez la carte Vitale")).to_be_visible()
    desk.insert(VITALE, "adrdeux")
    expect(vitale).to_contain_text("Carte Vitale")
    expect(tab.locator("#holders")).to_contain_text("ADRDEUX")


class RefusingVitale:
    """A `VitaleSource` that reads nothing, and says why."""

    lane, gives_rank, timeout_s = None, False, 20.0

    def __init__(self, why: AgentError) -> None:
        self._why = why

    def read(self, *_: object) -> NoReturn:
        raise self._why

    read_again = read

    def kill(self) -> None:
        """Nothing hangs here."""


def test_the_programs_that_may_hold_the_card_are_named(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)
    read_card(tab, "ADRUN ZOE")
    desk.read_by(RefusingVitale(AgentError(Code.CARD_IN_USE, rivals=["Pyxvital", "GALSS"])))
    search(tab)

    expect_problem(tab, Code.CARD_IN_USE)
    expect(tab.locator("#problem")).to_contain_text("Peut-être utilisée par : Pyxvital, GALSS.")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(30, "30 secondes"), (119, "119 secondes"), (125, "3 minutes"), (7200, "2 heures"), (80_000, "23 heures")],
)
def test_who_asked_too_often_is_told_how_long_to_wait(tab: Page, desk: Desk, seconds: int, told: str) -> None:
    arrive(tab, desk.address)
    desk.read_by(RefusingVitale(AgentError(Code.RATE_LIMITED, retryAfterS=seconds)))
    tab.get_by_role("button", name="Lire la carte Vitale").click()

    expect_problem(tab, Code.RATE_LIMITED)
    expect(tab.locator("#problem")).to_contain_text(f"Délai : {told}.")


def test_numbers_on_the_card_are_masked_until_shown(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)
    read_card(tab, "ADRUN ZOE")
    number = tab.locator("#holders .shown").first
    expect(number).to_be_hidden()

    tab.get_by_role("button", name="Montrer les numéros").click()

    expect(number).to_be_visible()
    expect(number).to_contain_text("2751263220749")


def test_twins_are_told_apart_by_the_rank_that_the_person_gives(tab: Page, desk: Desk) -> None:
    desk.insert(VITALE, "twins")
    arrive(tab, desk.address)
    tab.get_by_role("button", name="Lire la carte Vitale").click()
    twin = tab.locator(".holder").filter(has_text="ZOÉ")
    twin.get_by_role("radio").check()
    search(tab)
    expect_problem(tab, Code.VITALE_RANK_NEEDED)
    rank = tab.get_by_label("Rang de naissance")
    expect(rank).to_be_focused()

    rank.fill("2")
    search(tab)

    expect_outcome(tab, "INS trouvée")
    expect(tab.locator("#result")).to_contain_text("2150276451002")


def test_another_persons_result_does_not_stay_beside_a_new_choice(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)
    read_card(tab, "ADRUN ZOE")
    search(tab)
    expect_outcome(tab, "INS trouvée")

    tab.get_by_label("ADRUN NOÉ").check()

    expect(tab.locator("#outcome-title")).to_have_text("Résultat")
    expect(tab.locator("#result")).to_be_empty()


def test_an_agent_that_stops_is_said_and_the_page_comes_back_with_it(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)

    desk.stop()
    expect(tab.get_by_role("alert").filter(has_text="L'agent n'a pas été trouvé")).to_be_visible()
    expect(tab.locator("#work")).to_have_js_property("inert", True)
    desk.start()
    tab.get_by_role("button", name="Réessayer maintenant").click()

    expect(tab.locator("#agent")).to_contain_text("Agent présent")
    expect(tab.locator("#readers")).to_contain_text(VITALE)


def test_another_environment_is_said_and_nothing_of_the_former_one_stays_on_the_page(tab: Page) -> None:
    port = free_port()
    with page_for(port) as site, Door(port, {site.origin: RIGHTS}) as door:
        arrive(tab, f"{site.origin}/")
        expect(tab.locator("#environment")).to_contain_text("SIMULATION")
        tab.evaluate("document.getElementById('result').textContent = 'TOUSSAINT'")

        door.become(Environment.TEST)
        expect(tab.locator("#environment")).to_contain_text("ENVIRONNEMENT DE TEST")
        expect(tab.locator("#agent")).to_contain_text("Agent présent")
        expect(tab.locator("#result")).to_be_empty()

        door.become(Environment.PRODUCTION)
        expect(tab.locator("#environment")).to_be_hidden()


def test_another_profile_closes_the_page_s_conversation_and_the_page_comes_back_by_itself(
    tab: Page, desk: Desk
) -> None:
    arrive(tab, desk.address)
    expect(tab.get_by_label("Traits d'identité", exact=True)).to_be_visible()

    desk.become(Profile.CONSUMER)

    expect(tab.locator("#agent")).to_contain_text("Agent présent")
    expect(tab.get_by_label("Traits d'identité", exact=True)).to_be_hidden()
    expect(tab.locator("#environment")).to_contain_text("SIMULATION")
    desk.become(Profile.REPOSITORY)
    expect(tab.get_by_label("Traits d'identité", exact=True)).to_be_visible()


# ---------------------------------------------------------------- for everybody


def test_the_journey_needs_no_mouse_and_nothing_is_lost_at_twice_the_size(tab: Page, desk: Desk) -> None:
    tab.set_viewport_size({"width": 640, "height": 360})  # 1280 × 720 at 200 %
    arrive(tab, desk.address)
    expect(tab.get_by_role("button", name="Déverrouiller")).to_be_visible()
    for focused in ["Aller au résultat", "Déverrouiller", "vitale", "Lire la carte Vitale"]:
        tab.keyboard.press("Tab")
        assert focused == tab.evaluate("document.activeElement.value || document.activeElement.textContent")

    tab.keyboard.press("Enter")
    expect(tab.get_by_label("ADRUN ZOE")).to_be_focused()
    tab.keyboard.press("Space")
    tab.keyboard.press("Enter")

    expect_outcome(tab, "INS trouvée")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_field_and_button_has_a_name(tab: Page, desk: Desk) -> None:
    arrive(tab, desk.address)
    for source in ("Carte Vitale", "Traits d'identité"):
        tab.get_by_label(source, exact=True).check()
        tab.locator("#ask details").evaluate("(details) => { details.open = true; }")
        names = tab.evaluate(
            "[...document.querySelectorAll('input, select, button')].filter((one) => one.checkVisibility())"
            ".map((one) => one.ariaLabel || one.labels?.[0]?.textContent.trim() || one.textContent.trim())"
        )
        assert len(names) > 8 and all(names)
