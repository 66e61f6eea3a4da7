"""The real window of environment and profile, on a real screen, under the hands of xdotool."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.errors import CATALOGUE, AgentError, Code
from agent.model import Environment, Profile
from agent.tray.bridge import Person, SwitchQuestion
from agent.tray.dialogs.words import Page, switch_page
from tests.parts.desktop import Desktop, until
from tests.tray.asking import (
    answer_of,
    answer_once_armed,
    key_until_gone,
    left_by_a_withdrawn_question,
    return_until_gone,
    wait_until_armed,
)

TITLE = "^INSi Agent .+ environnement et profil$"
TEST = SwitchQuestion(
    environment=Environment.TEST,
    profile=Profile.REPOSITORY,
    locked=(),
    offered=(("environment", "simulated"), ("environment", "production"), ("profile", "consumer")),
)
LOCKED = replace(
    TEST,
    locked=(("environment", "machine policy"), ("profile", "machine policy")),
    offered=(),
)


def chosen(desktop: Desktop, hands: Callable[[], None], question: SwitchQuestion = TEST) -> tuple[str, str] | None:
    return answer_of(desktop, hands, lambda person: person.ask_switch(question), TITLE)


def page(question: SwitchQuestion) -> Page:
    return switch_page(question.frame(simulated=False))


# ---------------------------------------------------------------- what it says


def test_it_says_what_counts_and_offers_the_rest():
    shown = page(TEST)

    assert shown.facts == (
        ("Environnement", "test, avec des cartes de test"),
        ("Profil", "référentiel d'identités, recherche et vérifie"),
    )
    assert shown.choices == (
        ("environment=simulated", "Environnement : simulation, rien n'est réel"),
        ("environment=production", "Environnement : production, avec de vrais patients"),
        ("profile=consumer", "Profil : autre logiciel, vérifie seulement"),
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("machine policy", "la règle du poste"),
        ("user policy", "la règle de votre compte"),
        ("command line", "la commande qui a démarré l'agent"),
        ("machine configuration", "la configuration du poste"),
    ],
)
def test_what_is_locked_is_said_with_who_decided_it(source: str, words: str):
    shown = page(replace(TEST, locked=(("environment", source),)))

    assert shown.facts[0] == ("Environnement", f"test, avec des cartes de test (fixé par {words})")


def test_what_counts_from_the_next_start_on_is_said_with_who_decided_it():
    by_policy = (("environment", "machine policy"),)
    shown = page(replace(TEST, next_start=(("environment", "production"),), locked=by_policy))

    assert shown.facts[0][1] == (
        "test, avec des cartes de test\n"
        "au prochain démarrage : production, avec de vrais patients (fixé par la règle du poste)"
    )


def test_with_nothing_to_change_there_is_nothing_to_accept():
    shown = page(LOCKED)

    assert (shown.choices, shown.accept, shown.footnote) == ((), "", "")
    assert shown.prompt == "Rien ne peut être changé ici."


def test_a_change_that_failed_is_told_in_the_words_of_the_catalogue():
    row = CATALOGUE[Code.AGENT_RUNNING]

    assert page(replace(TEST, failed=Code.AGENT_RUNNING)).notice == (f"Rien n'a changé. {row.title.fr} {row.action.fr}")


def test_it_speaks_english_too():
    shown = page(replace(LOCKED, language="en", failed=Code.AGENT_RUNNING))

    assert shown.facts[1][1] == "identity repository, retrieves and verifies (set by the workstation's policy)"
    assert shown.notice.startswith("Nothing was changed. ")


# ---------------------------------------------------------------- on the screen


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["Tab", "space", "Tab", "Tab", "Tab", "Tab"], ("environment", "simulated")),
        (["Tab", "Down", "space", "Tab", "Tab", "Tab"], ("environment", "production")),
        (["Tab", "Tab", "Tab", "space", "Tab", "Tab"], ("profile", "consumer")),
    ],
)
def test_what_was_chosen_comes_back(desktop: Desktop, keys: list[str], answer: tuple[str, str]):
    def hands() -> None:
        wait_until_armed(desktop, TITLE)
        desktop.key(*keys)
        return_until_gone(desktop, TITLE)

    assert answer == chosen(desktop, hands)


def test_nothing_is_changed_by_looking(desktop: Desktop):
    def hands() -> None:
        desktop.key("space", "Return", "Down", "space", "Return")
        assert desktop.windows(TITLE)
        desktop.key("Escape")

    assert "cancelled" == answer_once_armed(desktop, hands, "switch_page", TEST.frame(simulated=False), TITLE)


def test_where_nothing_can_be_changed_the_window_is_closed(desktop: Desktop):
    assert chosen(desktop, lambda: return_until_gone(desktop, TITLE), LOCKED) is None


def test_everything_it_may_say_fits_on_a_small_screen(desktop: Desktop):
    bottoms: list[int] = []

    def hands() -> None:
        bottoms.append(desktop.bottom_of(desktop.focused(TITLE)))
        key_until_gone(desktop, TITLE, "Escape")

    long = replace(TEST, failed=Code.IDENTITY_DAMAGED, locked=(("profile", "command line"),))
    long = replace(long, next_start=(("environment", "production"),))
    assert chosen(desktop, hands, long) is None
    assert bottoms[0] <= 768


def test_a_window_left_on_screen_closes_by_itself_and_changes_nothing(desktop: Desktop):
    question = replace(TEST, expires_s=0.3)

    assert asyncio.run(Person(environment=desktop.environment).ask_switch(question)) is None


def test_a_withdrawn_window_leaves_no_process(desktop: Desktop):
    assert [] == left_by_a_withdrawn_question(desktop, lambda person: person.ask_switch(TEST), TITLE)
    until(lambda: not desktop.windows(TITLE), "the window is gone")


def test_without_a_display_the_caller_is_told():
    with pytest.raises(AgentError) as refused:
        asyncio.run(Person(environment={"DISPLAY": ""}).ask_switch(TEST))

    assert (Code.PROMPT_UNAVAILABLE, "no display") == (refused.value.code, refused.value.detail)


def test_the_simulated_person_only_looks():
    assert asyncio.run(Person(simulated=True).ask_switch(TEST)) is None
