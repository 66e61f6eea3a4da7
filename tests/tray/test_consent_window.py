"""The real consent window, on a real screen, under the hands of xdotool."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agent.config import ALL_RIGHTS
from agent.consent import Consent
from agent.errors import AgentError, Code
from agent.model import PinState
from agent.tray.bridge import ConsentQuestion, Person, PinQuestion
from tests.parts.desktop import Desktop, until
from tests.tray.asking import answer_of, key_until_gone, left_by_a_withdrawn_question, wait_until_armed

TITLE = "^INSi Agent .+ demande d'un site$"
# seen in the window itself: from its left and top edges, or from its right and bottom ones where negative
ALLOW_BOX, BLOCK_BOX, ACCEPT, NOT_NOW = (36, -177), (36, -150), (-72, -46), (-230, -46)
CODE_TITLE = "^INSi Agent .+ code de la carte CPS$"


def question(**more: Any) -> ConsentQuestion:
    facts: dict[str, Any] = {"origin": "https://dossier.exemple.fr", "rights": tuple(ALL_RIGHTS)}
    return ConsentQuestion(**{**facts, **more})


def told(desktop: Desktop, script: str) -> str:
    """What a program on this screen prints."""
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **desktop.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def answered(desktop: Desktop, hands: Callable[[], None], **more: Any) -> Consent:
    return answer_of(desktop, hands, lambda person: person.ask_consent(question(**more)), TITLE)


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["Tab", "space", "Tab", "Tab", "Tab", "space"], Consent.ALLOW),
        (["Tab", "space", "Tab", "Tab", "Tab", "Return"], Consent.ALLOW),
        (["Tab", "Down", "space", "Tab", "Tab", "space"], Consent.BLOCK),
        (["shift+Tab", "Return"], Consent.NOT_NOW),  # "Valider" is grey: this is "Pas maintenant"
    ],
)
def test_the_answer_given_by_the_keyboard_comes_back(desktop: Desktop, keys: list[str], answer: Consent):
    def hands() -> None:
        wait_until_armed(desktop, TITLE)
        desktop.key(*keys)

    assert answer == answered(desktop, hands)


@pytest.mark.parametrize("key", ["Escape", "alt+F4"])  # alt+F4: the window manager closes it
def test_leaving_the_window_is_not_now(desktop: Desktop, key: str):
    assert Consent.NOT_NOW == answered(desktop, lambda: key_until_gone(desktop, TITLE, key))


@pytest.mark.parametrize(("box", "answer"), [(ALLOW_BOX, Consent.ALLOW), (BLOCK_BOX, Consent.BLOCK)])
def test_the_answer_given_by_the_mouse_comes_back(desktop: Desktop, box: tuple[int, int], answer: Consent):
    def hands() -> None:
        wait_until_armed(desktop, TITLE)
        click(desktop, *box)
        click(desktop, *ACCEPT)

    assert answer == answered(desktop, hands)


def click(desktop: Desktop, x: int, y: int) -> None:
    window = desktop.window(TITLE)
    environment = {**os.environ, **desktop.environment}
    told = subprocess.run(
        ["xdotool", "getwindowgeometry", "--shell", window], env=environment, capture_output=True, text=True, check=True
    ).stdout
    size = dict(line.split("=") for line in told.splitlines())
    place = [str(x % int(size["WIDTH"])), str(y % int(size["HEIGHT"]))]
    subprocess.run(["xdotool", "mousemove", "--window", window, *place, "click", "1"], env=environment, check=True)


def test_nothing_is_chosen_at_first_and_no_key_but_on_a_button_answers(desktop: Desktop):
    """Who goes on typing, blanks and Returns included, has decided nothing; neither does a choice alone."""

    def hands() -> None:
        wait_until_armed(desktop, TITLE)
        desktop.type("dossier du patient 42")
        desktop.key("Return", "space", "KP_Enter", "Return")
        desktop.key("Tab", "space", "Return", "KP_Enter")  # allowed, but not said
        assert desktop.windows(TITLE)
        desktop.key("Escape")

    assert Consent.NOT_NOW == answered(desktop, hands)


def test_the_window_is_above_the_others_and_its_keyboard_is_on_nothing_that_accepts(desktop: Desktop):
    def hands() -> None:
        until(lambda: desktop.above_all(desktop.window(TITLE)), "the window is above the others")
        wait_until_armed(desktop, TITLE)
        desktop.key("Escape")

    assert Consent.NOT_NOW == answered(desktop, hands)


SHIELD = """
import sys
import tkinter
from agent.tray.bridge import ConsentQuestion
from agent.tray.dialogs import window as module
from agent.tray.dialogs.words import consent_page

module._ARMED_AFTER_MS = 10**9
question = ConsentQuestion(origin="https://dossier.exemple.fr", rights=())
window = module.Window(consent_page(question.frame(simulated=False)), expires_s=60)

def arm(*_):
    sys.stdin.readline()
    print("chosen before", repr(window._chosen.get()), flush=True)
    window._arm()

window._root.createfilehandler(sys.stdin, tkinter.READABLE, arm)
answer, chosen = window.ask()
print(answer, chosen.decode(), flush=True)
"""


def test_in_its_first_moments_keys_and_clicks_change_nothing_at_all(desktop: Desktop):
    """No choice, no end: an Escape or a click meant for another window does not silence a site.

    The moments last here until the test has done its worst.
    """
    program = subprocess.Popen(
        [sys.executable, "-c", SHIELD],
        env={**os.environ, **desktop.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin
    assert program.stdout
    try:
        desktop.focused(TITLE)
        desktop.key("Escape", "Return", "space", "Tab", "space", "Tab", "space", "Tab", "Return", "alt+F4")
        for place in (ALLOW_BOX, BLOCK_BOX, ACCEPT, NOT_NOW):
            click(desktop, *place)
        assert desktop.windows(TITLE)
        program.stdin.write("\n")
        program.stdin.flush()
        assert "chosen before ''\n" == program.stdout.readline()

        click(desktop, *NOT_NOW)
        assert "notNow \n" == program.stdout.readline()
    finally:
        program.kill()
        program.communicate()


def test_the_first_moments_begin_when_the_window_is_on_screen(desktop: Desktop):
    """Tk says of the parts that they are there long before the whole is."""
    script = """
from agent.tray.bridge import ConsentQuestion
from agent.tray.dialogs import window as module
from agent.tray.dialogs.words import consent_page

module._ARMED_AFTER_MS = 0
question = ConsentQuestion(origin="https://dossier.exemple.fr", rights=())
window = module.Window(consent_page(question.frame(simulated=False)), expires_s=60)
arm = window._arm
window._arm = lambda: (arm(), window._end("armed"))
window._root.update()
print("before", window._armed)
window.ask()
print("after", window._armed)
"""
    assert "before False\nafter True\n" == told(desktop, script)


def test_half_a_second_is_what_it_is_shielded_for():
    from agent.tray.dialogs.window import _ARMED_AFTER_MS

    assert 500 == _ARMED_AFTER_MS


@pytest.mark.parametrize(
    "origin", ["https://" + "tres-long." * 20 + "exemple.fr:8443", "https://xn--80ak6aa92e.com", "https://xn--zz--z.fr"]
)
def test_any_site_name_opens_an_ordinary_window_that_fits(desktop: Desktop, origin: str):
    bottoms: list[int] = []

    def hands() -> None:
        bottoms.append(desktop.bottom_of(desktop.window(TITLE)))
        wait_until_armed(desktop, TITLE)
        desktop.key("Escape")

    assert Consent.NOT_NOW == answered(desktop, hands, origin=origin)
    assert bottoms[0] <= 768


def test_a_question_nobody_answers_expires(desktop: Desktop):
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment=desktop.environment).ask_consent(question(expires_s=0.3)))

    assert Code.QUESTION_EXPIRED == refused.value.code


def test_a_withdrawn_question_leaves_no_window_and_no_process(desktop: Desktop):
    """D23."""
    left = left_by_a_withdrawn_question(desktop, lambda person: person.ask_consent(question()), TITLE)

    assert [] == left
    until(lambda: not desktop.windows(TITLE), "the window is gone")


def test_without_a_display_the_caller_is_told():
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment={"DISPLAY": ""}).ask_consent(question()))

    assert (Code.PROMPT_UNAVAILABLE, "no display") == (refused.value.code, refused.value.detail)


def test_a_window_about_a_site_holds_up_no_code_and_waits_itself_for_the_end_of_one(desktop: Desktop):
    """The code's window comes while the other is open; the other way round, it would take the keyboard away."""

    async def both() -> bool:
        person = Person(environment=desktop.environment)
        pin = PinQuestion(origin="", software="", operation="", holder="", pin_state=PinState.OK)
        site = asyncio.create_task(person.ask_consent(question()))
        await asyncio.to_thread(desktop.window, TITLE)
        code = asyncio.create_task(person.ask_pin(pin))
        await asyncio.to_thread(desktop.window, CODE_TITLE)
        quiet = asyncio.create_task(person.undisturbed())
        await asyncio.sleep(0)
        held = not quiet.done()
        code.cancel()
        site.cancel()
        await asyncio.gather(code, site, return_exceptions=True)
        await quiet
        return held

    assert asyncio.run(both())


def test_a_window_about_a_site_waits_for_the_codes_that_were_asked_meanwhile_too():
    """The code's window that is next in turn is not met by another."""

    async def waiting() -> list[bool]:
        person = Person(simulated=True, environment={"INSI_AGENT_SIMULATED_PIN": "wait"})
        pin = PinQuestion(origin="", software="", operation="", holder="", pin_state=PinState.OK)
        held: list[bool] = []
        codes = [asyncio.create_task(person.ask_pin(pin))]
        await asyncio.sleep(0)
        quiet = asyncio.create_task(person.undisturbed())
        await asyncio.sleep(0)
        codes.append(asyncio.create_task(person.ask_pin(pin)))
        for code in codes:
            for _ in range(9):
                await asyncio.sleep(0)
            held.append(not quiet.done())
            code.cancel()
            await asyncio.wait([code])
        await quiet
        return held

    assert [True, True] == asyncio.run(waiting())


def test_the_first_moments_show_no_grey_block_behind_the_choices(desktop: Desktop):
    """A widget that takes nothing yet has the window's own background."""
    script = """
from tkinter import ttk
from agent.tray.bridge import ConsentQuestion
from agent.tray.dialogs import window as module
from agent.tray.dialogs.words import consent_page

question = ConsentQuestion(origin="https://dossier.exemple.fr", rights=())
window = module.Window(consent_page(question.frame(simulated=False)), expires_s=1)
print(ttk.Style(window._root).lookup("TRadiobutton", "background", ["disabled"]) == module._PAPER)
"""
    assert "True\n" == told(desktop, script)


@pytest.mark.parametrize(
    ("person", "outcome"),
    [
        ({}, Consent.NOT_NOW),
        ({"INSI_AGENT_SIMULATED_CONSENT": "allow"}, Consent.ALLOW),
        ({"INSI_AGENT_SIMULATED_CONSENT": "block"}, Consent.BLOCK),
        ({"INSI_AGENT_SIMULATED_CONSENT": "cancel"}, Consent.NOT_NOW),
        ({"INSI_AGENT_SIMULATED_CONSENT": "wait"}, Code.QUESTION_EXPIRED),
        ({"INSI_AGENT_SIMULATED_CONSENT": "allowed"}, Consent.NOT_NOW),  # never an "allow" by mistake
    ],
)
def test_the_simulated_person_answers_as_told(person: dict[str, str], outcome: Consent | Code):
    simulated = Person(simulated=True, environment={"DISPLAY": "", **person})

    async def ask() -> Consent | Code:
        try:
            return await simulated.ask_consent(question(expires_s=0.1))
        except AgentError as error:
            return error.code

    assert outcome == asyncio.run(ask())


def test_a_word_that_no_simulated_person_knows_is_said(capfd: pytest.CaptureFixture[str]):
    simulated = Person(simulated=True, environment={"INSI_AGENT_SIMULATED_CONSENT": "allowed"})

    assert Consent.NOT_NOW == asyncio.run(simulated.ask_consent(question()))

    assert "INSI_AGENT_SIMULATED_CONSENT is none of allow, block, cancel, wait" in capfd.readouterr().err


def test_outside_simulation_no_variable_answers_for_the_person(desktop: Desktop):
    desktop.environment["INSI_AGENT_SIMULATED_CONSENT"] = "allow"

    def hands() -> None:
        wait_until_armed(desktop, TITLE)
        desktop.key("Escape")

    assert Consent.NOT_NOW == answered(desktop, hands)
