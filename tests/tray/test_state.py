"""What the tray shows."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.errors import CATALOGUE, Code
from agent.model import Environment
from agent.protocol.origins import NATIVE
from agent.tray.state import MAX_TITLE, Action, Icon, MenuLine, OrganisationCalls, TrayState, view_of


def test_waiting_is_said_with_the_environment():
    view = view_of(TrayState(Environment.TEST))

    assert "INSi Agent (environnement de test) – En attente." == view.title
    assert Icon.WAITING == view.icon
    assert (
        MenuLine("INSi Agent – environnement de test"),
        MenuLine("En attente."),
        MenuLine("Sites autorisés…", Action.SITES),
        MenuLine("Environnement et profil…", Action.SWITCH),
        MenuLine("Quitter", Action.QUIT),
    ) == view.menu


@pytest.mark.parametrize(
    ("state", "icon", "sentence"),
    [
        (TrayState(Environment.PRODUCTION, professional_card=True), Icon.CARD, "Carte de professionnel présente."),
        (
            TrayState(Environment.PRODUCTION, professional_card=True, unlocked=True),
            Icon.CARD,
            "Carte de professionnel présente, code accepté.",
        ),
        (
            TrayState(Environment.PRODUCTION, professional_card=True, question_open=True),
            Icon.QUESTION,
            "Une fenêtre attend votre réponse.",
        ),
    ],
)
def test_the_most_pressing_thing_is_shown(state: TrayState, icon: Icon, sentence: str):
    view = view_of(state)

    assert (icon, sentence) == (view.icon, view.menu[1].text)


def test_a_switch_that_waits_is_said_in_the_menu_and_can_be_withdrawn_there():
    menu = view_of(TrayState(Environment.TEST, switching=True)).menu

    assert MenuLine("Changement demandé : les demandes en cours se terminent d'abord.") in menu
    assert MenuLine("Ne plus changer d'environnement ni de profil", Action.STAY) in menu
    assert Action.SWITCH not in [line.action for line in menu]
    assert next(line.action for line in menu if line.action) is Action.SITES  # what a click on the icon does


def test_troubles_come_first_in_the_words_of_the_catalogue():
    troubles = (Code.PCSC_UNAVAILABLE, Code.INSI_UNREACHABLE)

    view = view_of(TrayState(Environment.PRODUCTION, troubles=troubles, professional_card=True))

    first, second = (CATALOGUE[code] for code in troubles)
    assert Icon.TROUBLE == view.icon
    assert [first.title.fr, first.action.fr, second.title.fr, second.action.fr] == [
        line.text for line in view.menu[1:5]
    ]


def test_the_demo_is_offered_only_while_it_runs():
    offered = [
        [line.action for line in view_of(TrayState(Environment.SIMULATED, demo=demo)).menu if line.action]
        for demo in (True, False)
    ]

    always = [Action.SITES, Action.SWITCH, Action.QUIT]
    assert [[Action.OPEN_DEMO, *always], always] == offered


AT = datetime(2025, 3, 4, 14, 5, tzinfo=UTC)
SITE = "https://dossier.example"


def organisation_lines(seen: OrganisationCalls) -> list[str]:
    view = view_of(TrayState(Environment.PRODUCTION, organisation=seen))
    return [line.text for line in view.menu if "structure" in line.text and line.action is None]


def test_calls_with_the_organisations_certificate_are_told_while_they_run_and_afterwards():
    first = OrganisationCalls().began(SITE, AT)
    second = first.ended().began("https://autre.example", AT)

    assert [] == organisation_lines(OrganisationCalls())
    assert [f"Certificat de la structure : appel en cours pour {SITE}"] == organisation_lines(first)
    assert [
        f"Certificat de la structure : 1 appel depuis le démarrage, le dernier pour {SITE} à 14:05"
    ] == organisation_lines(first.ended())
    assert [
        "Certificat de la structure : 2 appels depuis le démarrage, le dernier pour https://autre.example à 14:05"
    ] == organisation_lines(second.ended())


def test_a_certificate_that_ends_soon_is_a_line_of_the_menu_and_changes_no_icon():
    """S015. What is a trouble already is not said twice."""
    soon, trouble = "Le certificat de la carte CPS expire dans 6 jours.", Code.PCSC_UNAVAILABLE
    calm = TrayState(Environment.TEST, professional_card=True)
    warned = view_of(replace(calm, warnings=(soon,)))
    both = view_of(replace(calm, troubles=(trouble,), warnings=(CATALOGUE[trouble].title.fr, soon)))

    assert soon in [line.text for line in warned.menu]
    assert (warned.icon, warned.title) == (view_of(calm).icon, view_of(calm).title)
    assert [line.text for line in both.menu].count(CATALOGUE[trouble].title.fr) == 1


def test_a_call_with_the_organisations_certificate_is_seen_without_any_menu():
    """A plain X11 tray shows the icon and its title, and has no menu."""
    calling = OrganisationCalls().began(SITE, AT)
    unlocked = TrayState(Environment.PRODUCTION, professional_card=True, unlocked=True, organisation=calling)

    view = view_of(unlocked)

    assert f"INSi Agent (production) – Certificat de la structure : appel en cours pour {SITE}" == view.title
    assert (Icon.ORGANISATION, 1) == (view.icon, sum("appel en cours" in line.text for line in view.menu))
    assert Icon.CARD == view_of(replace(unlocked, organisation=calling.ended())).icon


def test_a_trouble_and_an_open_question_come_before_a_call_and_the_menu_still_tells_it():
    calling = OrganisationCalls().began(SITE, AT)
    trouble = TrayState(Environment.PRODUCTION, troubles=(Code.PCSC_UNAVAILABLE,), organisation=calling)
    question = TrayState(Environment.PRODUCTION, question_open=True, organisation=calling)

    assert [Icon.TROUBLE, Icon.QUESTION] == [view_of(state).icon for state in (trouble, question)]
    assert "Une fenêtre attend votre réponse." in view_of(question).title
    for state in (trouble, question):
        assert MenuLine(f"Certificat de la structure : appel en cours pour {SITE}") in view_of(state).menu


def test_a_local_program_that_calls_with_the_organisations_certificate_has_words_for_a_name():
    seen = OrganisationCalls().began(NATIVE, AT)

    assert ["Certificat de la structure : appel en cours pour un programme de ce poste"] == organisation_lines(seen)


@pytest.mark.parametrize("code", list(Code))
def test_every_trouble_fits_in_a_tooltip(code: Code):
    view = view_of(TrayState(Environment.TEST, troubles=(code,)))

    assert len(view.title) <= MAX_TITLE
    assert view.title.startswith("INSi Agent (environnement de test) – ")
