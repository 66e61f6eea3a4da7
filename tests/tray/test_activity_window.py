"""The real activity window, on a real screen, under the hands of xdotool."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.errors import AgentError, Code
from agent.model import Activity
from agent.tray.bridge import ActivityQuestion, Person
from tests.parts.desktop import Desktop, until
from tests.tray.asking import (
    answer_of,
    answer_once_armed,
    key_until_gone,
    left_by_a_withdrawn_question,
    return_until_gone,
)

TITLE = "^INSi Agent .+ activit"
PLACES = (
    Activity(id="01", label="CABINET FICTIF DU PORT", structure_id="499900000017001", sector="SA07"),
    Activity(id="02", label="CENTRE DE SANTE FICTIF", structure_id="1990000017", sector="SA05"),
    Activity(id="05", label="CLINIQUE FICTIVE DES PINS", structure_id="1990000025", sector="SA04"),
)


def question(**more: Any) -> ActivityQuestion:
    facts: dict[str, Any] = {
        "origin": "https://dossier.exemple.fr",
        "software": "Dossier Exemple",
        "operation": "Rechercher l'identité INS d'un patient",
        "holder": "Camille EXEMPLE",
        "activities": PLACES,
    }
    return ActivityQuestion(**{**facts, **more})


def chosen(desktop: Desktop, hands: Callable[[], None], **more: Any) -> str:
    return answer_of(desktop, hands, lambda person: person.ask_activity(question(**more)), TITLE)


@pytest.mark.parametrize(
    ("keys", "activity"), [(["space"], "01"), (["Down", "space"], "02"), (["Tab", "Tab", "space"], "05")]
)
def test_the_activity_chosen_by_the_keyboard_comes_back(desktop: Desktop, keys: list[str], activity: str):
    def hands() -> None:
        desktop.key(*keys)
        return_until_gone(desktop, TITLE)

    assert activity == chosen(desktop, hands)


def test_no_activity_is_chosen_before_the_person_chooses(desktop: Desktop):
    """Never a default by accident: Return and a walk through the list answer nothing."""

    def hands() -> None:
        desktop.key("Return", "KP_Enter", "Down", "Return", "Up", "KP_Enter")
        assert desktop.windows(TITLE)
        desktop.key("Escape")

    asked = question().frame(simulated=False)
    assert "cancelled" == answer_once_armed(desktop, hands, "activity_page", asked, TITLE)


@pytest.mark.parametrize("keys", [["Escape"], ["alt+F4"], ["space", "Escape"]])
def test_leaving_the_window_chooses_nothing(desktop: Desktop, keys: list[str]):
    with pytest.raises(AgentError) as refused:
        chosen(desktop, lambda: key_until_gone(desktop, TITLE, *keys))

    assert Code.ACTIVITY_NEEDED == refused.value.code


def test_sixteen_activities_fit_on_a_small_screen_and_the_last_can_be_chosen(desktop: Desktop):
    """As many as a card can hold, with long names, on 1024 by 768."""
    many = tuple(
        Activity(id=f"{n:02d}", label=f"ETABLISSEMENT FICTIF AU NOM PLUTOT LONG NUMERO {n}", sector="SA01")
        for n in range(1, 17)
    )
    bottoms: list[int] = []

    def hands() -> None:
        bottoms.append(desktop.bottom_of(desktop.focused(TITLE)))
        desktop.key(*["Down"] * 15, "space")
        return_until_gone(desktop, TITLE)

    assert "16" == chosen(desktop, hands, activities=many, unknown="17")
    assert bottoms[0] <= 768


def test_a_question_nobody_answers_expires(desktop: Desktop):
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment=desktop.environment).ask_activity(question(expires_s=0.3)))

    assert Code.QUESTION_EXPIRED == refused.value.code


def test_a_withdrawn_question_leaves_no_window_and_no_process(desktop: Desktop):
    left = left_by_a_withdrawn_question(desktop, lambda person: person.ask_activity(question()), TITLE)

    assert [] == left
    until(lambda: not desktop.windows(TITLE), "the window is gone")


def test_without_a_display_the_caller_is_told():
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment={"DISPLAY": ""}).ask_activity(question()))

    assert (Code.PROMPT_UNAVAILABLE, "no display") == (refused.value.code, refused.value.detail)


@pytest.mark.parametrize(
    ("person", "outcome"),
    [
        ({}, "01"),
        ({"INSI_AGENT_SIMULATED_ACTIVITY": "05"}, "05"),
        ({"INSI_AGENT_SIMULATED_ACTIVITY": "cancel"}, Code.ACTIVITY_NEEDED),
        ({"INSI_AGENT_SIMULATED_ACTIVITY": "wait"}, Code.QUESTION_EXPIRED),
        ({"INSI_AGENT_SIMULATED_ACTIVITY": "07"}, Code.DEVICE_CRASHED),  # the card has no such activity
    ],
)
def test_the_simulated_person_chooses_as_told(person: dict[str, str], outcome: str | Code):
    simulated = Person(simulated=True, environment={"DISPLAY": "", **person})

    async def ask() -> str | Code:
        try:
            return await simulated.ask_activity(question(expires_s=0.1))
        except AgentError as error:
            return error.code

    assert outcome == asyncio.run(ask())


def test_a_question_does_not_print():
    assert "ActivityQuestion(…)" == repr(question())
