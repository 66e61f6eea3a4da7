"""A site that nobody has allowed, from the first visit to the patient's identity: two questions on one real screen.

The reception page over https, as a page of the internet, in a real Chromium; a real simulated agent with its real
windows; a person who answers the browser, then the agent.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from agent.client import ask
from agent.places import Places, Running, find_running
from tests.browsers.conftest import SITE
from tests.parts.agent import Simulation
from tests.parts.chromium import Chromiums, opened
from tests.parts.desktop import Desktop, until
from tests.parts.program import Program
from tests.parts.prompts import CHROMIUM
from tests.parts.websites import Websites
from tests.tray.asking import wait_until_acceptable, wait_until_armed
from tests.web.test_page import expect_outcome, read_card, search

AGENT = [sys.executable, "-m", "agent"]
CHECKOUT = str(Path(__file__).parents[2])
CONSENT_WINDOW = "demande d'un site$"
CODE_WINDOW = "code de la carte CPS$"
SOFTWARE = """
[[software]]
name = "Dossier d'essai"
version = "1.0"
origins = ["{}"]
authorisation = {{ simulated = "SIMULATEUR-0001" }}
"""


@pytest.fixture
def running(tmp_path: Path, desktop: Desktop, https: Websites) -> Iterator[Running]:
    """`insi-agent run --simulate` on the test's screen: it knows the site's software, and has not allowed the site."""
    home = tmp_path / "agent-home"
    home.mkdir()
    (home / "config.toml").write_text(SOFTWARE.format(https.origin(SITE)), "utf-8")
    command = [*AGENT, "run", "--simulate", "--no-tray", "--port", "0", "--config", str(home / "config.toml")]
    places = Places.simulated(home / ".local/state/insi-agent")
    with Program(command, home, PYTHONPATH=CHECKOUT, **desktop.environment):
        until(lambda: find_running(places.runtime) is not None, "the agent listens", seconds=60)
        running = find_running(places.runtime)
        assert running is not None
        yield running


def status(page: Page) -> str:
    return page.locator("#agent").inner_text()


def test_a_first_visit_ends_with_the_patients_identity_after_two_answers(
    chromiums: Chromiums, desktop: Desktop, running: Running, https: Websites, tmp_path: Path
) -> None:
    https.put("/config.json", json.dumps({"ports": [running.port]}))
    https.trust_in(tmp_path / "home/.pki/nssdb")
    switches = (
        "--host-resolver-rules=MAP *.example 127.0.0.1",
        f"--ip-address-space-overrides=127.0.0.1:{https.port}=public",
    )
    with (
        chromiums.launched(*switches, screen=desktop.environment, home=tmp_path / "home") as browser,
        opened(browser) as page,
    ):
        page.goto(https.origin(SITE))
        expect(page.locator("#absence")).to_contain_text("Le navigateur demande si ce site peut joindre INSi Agent.")
        assert status(page) == "En attente de votre réponse au navigateur"
        CHROMIUM.click(desktop, "allow")

        expect(page.locator("#absence")).to_contain_text("Répondre à la question d'INSi Agent.")
        assert status(page) == "En attente de votre réponse à INSi Agent"
        desktop.focused(CONSENT_WINDOW)
        wait_until_armed(desktop, CONSENT_WINDOW)
        desktop.key("Tab", "space", "Tab", "Tab", "Tab", "Return")

        expect(page.locator("#agent")).to_contain_text("Agent présent")
        expect(page.locator("#absence")).to_be_hidden()
        read_card(page, "ADRUN ZOE")
        search(page)
        desktop.focused(CODE_WINDOW)
        desktop.type("1234")
        wait_until_acceptable(desktop, CODE_WINDOW)
        desktop.key("Return")
        expect_outcome(page, "INS trouvée")


def test_a_refused_site_is_told_how_to_be_asked_again_and_comes_back_when_unblocked(
    simulation: Callable[..., Simulation], https: Websites, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_CONSENT", "block")
    agent = simulation("[door]\nconsent_every_s = 0\n")
    https.put("/config.json", json.dumps({"ports": [agent.port]}))
    page.goto(https.origin(SITE))
    alert = page.get_by_role("alert").filter(has_text="INSi Agent n'a pas reçu votre accord pour ce site.")
    expect(alert).to_contain_text("« Sites autorisés… »")
    expect(page.locator("#work")).to_have_js_property("inert", True)

    page.reload()
    expect(page.locator("#absence")).to_contain_text("refuse ce site")
    monkeypatch.setenv("INSI_AGENT_SIMULATED_CONSENT", "allow")
    running = find_running(agent.places.runtime)
    assert running is not None
    ask(running, ("sites.unblock", {"origin": https.origin(SITE)}))
    page.get_by_role("button", name="Réessayer maintenant").click()

    expect(page.locator("#agent")).to_contain_text("Agent présent")


def test_a_site_that_waits_is_let_in_as_soon_as_the_configuration_allows_it(
    simulation: Callable[..., Simulation],
    https: Websites,
    page: Page,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSI_AGENT_SIMULATED_CONSENT", "wait")
    agent = simulation()
    https.put("/config.json", json.dumps({"ports": [agent.port]}))
    page.goto(https.origin(SITE))
    expect(page.locator("#agent")).to_have_text("En attente de votre réponse à INSi Agent")

    settings = tmp_path / "agent-0" / "config.toml"
    settings.write_text(f'[[origins.allowed]]\norigin = "{https.origin(SITE)}"\n', "utf-8")
    agent.reload()

    expect(page.locator("#agent")).to_contain_text("Agent présent")
