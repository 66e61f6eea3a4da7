"""The real PIN window, on a real screen, under the hands of xdotool."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Code
from agent.model import PinState
from agent.tray.bridge import Person, PinQuestion
from tests.parts.desktop import Desktop, until
from tests.tray.asking import (
    answer_of,
    answer_once_armed,
    children,
    key_until_gone,
    left_by_a_withdrawn_question,
    return_until_gone,
    wait_until_acceptable,
)

TITLE = "^INSi Agent .+ code de la carte CPS$"


def question(state: PinState = PinState.OK, **more: Any) -> PinQuestion:
    facts: dict[str, Any] = {
        "origin": "https://dossier.exemple.fr",
        "software": "Dossier Exemple",
        "operation": "Rechercher l'identité INS d'un patient",
        "holder": "Camille EXEMPLE",
    }
    return PinQuestion(pin_state=state, **{**facts, **more})


def answered(desktop: Desktop, hands: Callable[[], None], asked: PinQuestion) -> bytes | None:
    """The code that comes back when `hands` act on the window of `asked`."""
    pin = answer_of(desktop, hands, lambda person: person.ask_pin(asked), TITLE)
    return None if pin is None else bytes(pin.take())


def accept_as_soon_as_allowed(desktop: Desktop) -> None:
    return_until_gone(desktop, TITLE)


def test_the_code_typed_arrives_as_bytes(desktop: Desktop):
    def hands() -> None:
        desktop.type("4821")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question())


def test_the_window_is_above_the_others_and_has_the_keyboard(desktop: Desktop):
    """D26: never behind the browser."""

    def hands() -> None:
        until(lambda: desktop.above_all(desktop.window(TITLE)), "the window is above the others")
        desktop.key("Escape")

    with pytest.raises(AgentError) as refused:
        answered(desktop, hands, question())

    assert Code.PIN_CANCELLED == refused.value.code


@pytest.mark.parametrize("key", ["Escape", "alt+F4"])  # alt+F4: the window manager closes it
def test_leaving_the_window_is_giving_up(desktop: Desktop, key: str):
    def hands() -> None:
        desktop.type("4821")
        key_until_gone(desktop, TITLE, key)

    with pytest.raises(AgentError) as refused:
        answered(desktop, hands, question())

    assert Code.PIN_CANCELLED == refused.value.code


def test_return_on_annuler_is_giving_up(desktop: Desktop):
    def hands() -> None:
        desktop.type("482")
        desktop.key("Tab", "Return")  # "Valider" is grey, so Tab goes to "Annuler"

    with pytest.raises(AgentError) as refused:
        answered(desktop, hands, question())

    assert Code.PIN_CANCELLED == refused.value.code


def test_only_digits_are_taken_and_no_more_than_the_code_has(desktop: Desktop):
    def hands() -> None:
        desktop.type("a4é8-2b1 99")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question())


def test_valider_means_nothing_before_the_code_is_long_enough(desktop: Desktop):
    def hands() -> None:
        desktop.type("482")
        desktop.key("Return", "Return")
        desktop.type("1")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question())


def test_the_last_try_is_typed_only_after_the_tick(desktop: Desktop):
    """D26."""

    def hands() -> None:
        desktop.type("0000")  # the tick has the keyboard: these go nowhere
        desktop.key("Return")
        desktop.key("space")
        desktop.type("4821")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question(PinState.FINAL))


def test_the_last_try_cannot_be_sent_without_the_tick_by_any_key(desktop: Desktop):
    """Typed, pasted, ticked and unticked again, sent by both Returns and by the button: nothing leaves."""

    def hands() -> None:
        desktop.type("4821")
        desktop.key("Return", "KP_Enter", "ctrl+v", "Tab", "Tab", "ISO_Left_Tab", "ISO_Left_Tab")
        desktop.key("space")  # ticked: the entry takes the keyboard
        desktop.type("4821")
        desktop.key("shift+Tab", "space")  # and unticked again
        desktop.key("Return", "KP_Enter", "Tab")  # "Valider" and the entry are out of reach: this is "Annuler"
        desktop.type("4821")
        assert desktop.windows(TITLE)
        desktop.key("Return")

    asked = question(PinState.FINAL).frame(simulated=False)
    assert "cancelled" == answer_once_armed(desktop, hands, "pin_page", asked, TITLE)


def test_the_last_try_on_a_pin_pad_needs_the_tick_too(desktop: Desktop):
    def hands() -> None:
        desktop.key("Return", "KP_Enter", "space")
        wait_until_acceptable(desktop, TITLE)  # neither Return ended it
        desktop.key("Return")

    asked = question(PinState.FINAL, pin_pad=True).frame(simulated=False)
    assert "pinPad" == answer_once_armed(desktop, hands, "pin_page", asked, TITLE)


def test_a_locked_card_is_announced_and_no_code_is_taken(desktop: Desktop):
    def hands() -> None:
        desktop.type("4821")
        desktop.key("Return")

    with pytest.raises(AgentError) as refused:
        answered(desktop, hands, question(PinState.LOCKED))

    assert Code.PIN_LOCKED == refused.value.code


def test_a_pin_pad_is_acknowledged_without_a_code(desktop: Desktop):
    assert answered(desktop, lambda: accept_as_soon_as_allowed(desktop), question(pin_pad=True)) is None


def test_a_question_nobody_answers_expires(desktop: Desktop):
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment=desktop.environment).ask_pin(question(expires_s=0.3)))

    assert Code.QUESTION_EXPIRED == refused.value.code


def test_a_hostile_reason_opens_an_ordinary_window(desktop: Desktop):
    """Pictures crash some builds of Tk on X11; the others would rewrite the window."""
    hostile = "\u202e»\n" + "".join(map(chr, range(1, 0xD800, 7))) + "\U0001f4a3" * 9

    def hands() -> None:
        desktop.type("4821")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question(reason=hostile))


def test_a_return_meant_for_another_window_answers_nothing(desktop: Desktop):
    """D26, anti-clickjacking. The key is pressed in the very event that maps the window."""
    script = """
import sys
from agent.tray.bridge import PinQuestion
from agent.model import PinState
from agent.tray.dialogs.window import Window
from agent.tray.dialogs.words import pin_page

question = PinQuestion(origin="", software="", operation="", holder="", pin_state=PinState.OK)
window = Window(pin_page(question.frame(simulated=False)), expires_s=60)

def early(event):
    window._entry.insert(0, "4821")
    window._entry.event_generate("<Return>")
    window._button.invoke()
    print("still there" if window._payload == b"" else "taken", flush=True)

window._entry.bind("<Map>", early)
answer, code = window.ask()
print(answer, code.decode())
"""
    program = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **desktop.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert "still there\n" == program.stdout.readline()
        desktop.focused(TITLE)
        accept_as_soon_as_allowed(desktop)
        assert "pin 4821\n" == program.stdout.readline()
    finally:
        program.kill()
        program.wait()


def test_a_withdrawn_question_leaves_no_window_and_no_process(desktop: Desktop):
    """D23."""
    left = left_by_a_withdrawn_question(desktop, lambda person: person.ask_pin(question()), TITLE)

    assert [] == left
    until(lambda: not desktop.windows(TITLE), "the window is gone")


def test_the_window_ends_with_an_agent_that_is_killed(desktop: Desktop):
    script = """
import asyncio, os
from agent.model import PinState
from agent.tray.bridge import Person, PinQuestion

question = PinQuestion(origin="", software="", operation="", holder="", pin_state=PinState.OK)
asyncio.run(Person().ask_pin(question))
"""
    agent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **desktop.environment})
    try:
        desktop.window(TITLE)
        (window,) = children(of=agent.pid)
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()

    until(lambda: not desktop.windows(TITLE), "the window is gone")
    until(lambda: not _running(window), "its process is gone")


def test_questions_come_one_at_a_time_in_their_order(desktop: Desktop):
    async def two() -> tuple[list[str], list[int]]:
        person = Person(environment=desktop.environment)
        answers: list[str] = []
        on_screen: list[int] = []

        async def ask(name: str) -> None:
            pin = await person.ask_pin(question())
            assert pin is not None
            answers.append(f"{name} {pin.take().decode()}")

        tasks = [asyncio.create_task(ask(name)) for name in ("first", "second")]
        for code in ("1111", "2222"):
            await asyncio.to_thread(desktop.focused, TITLE)
            on_screen.append(len(desktop.windows(TITLE)))
            await asyncio.to_thread(desktop.type, code)
            window = desktop.windows(TITLE)[0]
            await asyncio.to_thread(_return_until_gone, desktop, window)
        await asyncio.gather(*tasks)
        return answers, on_screen

    assert (["first 1111", "second 2222"], [1, 1]) == asyncio.run(two())


def test_without_a_display_the_caller_is_told():
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment={"DISPLAY": ""}).ask_pin(question()))

    assert (Code.PROMPT_UNAVAILABLE, "no display") == (refused.value.code, refused.value.detail)


def test_a_window_that_crashes_is_a_crash(desktop: Desktop):
    before = children()

    def hands() -> None:
        (window,) = (pid for pid in children() if pid not in before)
        os.kill(window, signal.SIGKILL)

    with pytest.raises(AgentError) as refused:
        answered(desktop, hands, question())

    assert Code.DEVICE_CRASHED == refused.value.code


@pytest.mark.parametrize(("person", "code"), [({}, b"1234"), ({"INSI_AGENT_SIMULATED_PIN": "0000"}, b"0000")])
def test_the_simulated_person_types_the_code_it_was_given(person: dict[str, str], code: bytes):
    pin = asyncio.run(Person(simulated=True, environment={"DISPLAY": "", **person}).ask_pin(question()))

    assert pin is not None
    assert code == bytes(pin.take())


@pytest.mark.parametrize(("person", "code"), [("cancel", Code.PIN_CANCELLED), ("wait", Code.QUESTION_EXPIRED)])
def test_the_simulated_person_may_give_up_or_be_away(person: str, code: Code):
    simulated = Person(simulated=True, environment={"INSI_AGENT_SIMULATED_PIN": person})

    with pytest.raises(AgentError) as refused:
        asyncio.run(simulated.ask_pin(question(expires_s=0.1)))

    assert code == refused.value.code


def test_the_simulated_person_cannot_unlock_a_card_nor_type_for_a_pin_pad():
    async def both() -> tuple[object, Code]:
        person = Person(simulated=True)
        with pytest.raises(AgentError) as refused:
            await person.ask_pin(question(PinState.LOCKED))
        return await person.ask_pin(question(pin_pad=True)), refused.value.code

    assert (None, Code.PIN_LOCKED) == asyncio.run(both())


def test_a_question_to_an_absent_simulated_person_is_withdrawn_like_any_other():
    async def withdraw() -> list[int]:
        before = children()
        person = Person(simulated=True, environment={"INSI_AGENT_SIMULATED_PIN": "wait"})
        task = asyncio.create_task(person.ask_pin(question()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [pid for pid in children() if pid not in before]

    assert [] == asyncio.run(withdraw())


def test_outside_simulation_no_variable_answers_for_the_person(desktop: Desktop):
    desktop.environment["INSI_AGENT_SIMULATED_PIN"] = "0000"

    def hands() -> None:
        desktop.type("4821")
        accept_as_soon_as_allowed(desktop)

    assert b"4821" == answered(desktop, hands, question())


def test_a_question_does_not_print():
    assert "PinQuestion(…)" == repr(question())


def _return_until_gone(desktop: Desktop, window: str) -> None:
    until(lambda: not desktop.key("Return") and window not in desktop.windows(TITLE), "the window took the answer")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
