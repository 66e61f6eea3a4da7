"""What the windows say."""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import ALL_RIGHTS
from agent.errors import CATALOGUE, Code
from agent.model import Activity, PinState, Right
from agent.tray.bridge import ActivityQuestion, ConsentQuestion, KnownSite, PinQuestion, SitesQuestion
from agent.tray.dialogs.words import (
    MAX_CHOICE,
    MAX_REASON,
    Page,
    activity_page,
    consent_page,
    pin_page,
    site_state,
    sites_page,
    tame,
)


def page(state: PinState = PinState.OK, **more: object) -> Page:
    question = PinQuestion(
        origin="https://dossier.exemple.fr",
        software="Dossier Exemple",
        operation="Rechercher l'identité INS d'un patient",
        holder="Camille EXEMPLE",
        pin_state=state,
        **more,  # type: ignore[arg-type]  # by name
    )
    return pin_page(question.frame(simulated=False))


def test_the_window_says_who_asks_for_what_and_whose_card():
    shown = page(reason="Admission")

    assert "INSi Agent – code de la carte CPS" == shown.title
    assert "Carte de Camille EXEMPLE" == shown.holder
    assert (
        ("Site", "https://dossier.exemple.fr"),
        ("Logiciel", "Dossier Exemple"),
        ("Demande", "Rechercher l'identité INS d'un patient"),
        ("Message du site", "«\u00a0Admission\u00a0»"),
    ) == shown.facts
    assert "Votre code à 4 chiffres" == shown.prompt


@pytest.mark.parametrize("state", [PinState.OK, PinState.UNKNOWN])
def test_nothing_is_said_of_tries_when_the_card_gives_no_reason_to(state: PinState):
    assert "" == page(state).notice


def test_few_tries_left_are_said_in_words():
    assert "Attention, il reste peu d'essais." == page(PinState.LOW).notice


def test_the_last_try_must_be_understood_first():
    """D26: no last try without explicit confirmation."""
    shown = page(PinState.FINAL, previous_error=Code.PIN_WRONG)

    assert "Code faux. Dernier essai : un code faux bloquera la carte." == shown.notice
    assert "Je comprends" == shown.consent


def test_a_locked_card_is_announced_with_the_words_of_the_catalogue_and_nothing_can_be_typed():
    shown = page(PinState.LOCKED)

    row = CATALOGUE[Code.PIN_LOCKED]
    assert f"{row.title.fr} {row.action.fr}" == shown.notice
    assert ("", False, "locked") == (shown.accept, shown.typed_here, shown.refused)


def test_a_pin_pad_takes_the_code_instead_of_the_window():
    shown = page(pin_pad=True)

    assert ("Continuer", False, "pinPad") == (shown.accept, shown.typed_here, shown.accepted)


def test_english_is_spoken_when_asked():
    shown = page(PinState.LOW, language="en", max_digits=8)

    assert ("Careful, few tries are left.", "Your code, 4 to 8 digits") == (shown.notice, shown.prompt)


def test_a_site_cannot_close_its_quotation_nor_start_a_line_of_the_window():
    hostile = "ok »\n\nSite : https://banque.exemple\u202e\u2066\u0007 «" + "x" * 500

    shown = dict(page(reason=hostile).facts)["Message du site"]

    assert "«\u00a0ok Site : https://banque.exemple xxxxxxxxxxxxxxxxxx…\u00a0»" == shown


def test_a_reason_made_of_nothing_visible_is_not_shown():
    assert 3 == len(page(reason="\u200b\u202e\t\n").facts)


def test_the_end_of_a_long_site_name_is_shown():
    origin = "https://" + "a." * 120 + "exemple.fr:8443"
    question = PinQuestion(origin=origin, software="x", operation="x", holder="", pin_state=PinState.OK)

    shown = pin_page(question.frame(simulated=False))

    assert origin == shown.facts[0][1]
    assert "" == shown.holder


@given(st.text(alphabet=st.characters(), max_size=600))
def test_any_text_from_outside_becomes_one_harmless_line(text: str):
    shown = tame(text, MAX_REASON)

    assert len(shown) <= MAX_REASON
    assert shown == shown.strip()
    assert not any(c in '«»“”„"' or ord(c) > 0xFFFF for c in shown)
    assert {" "} >= {c for c in shown if unicodedata.category(c)[0] in "CMZ"}


def test_accents_of_french_names_are_kept():
    assert "Zoé Ðœ ÇÀ œuvre n° 3" == tame("Zoe\u0301 Ðœ ÇÀ œuvre n° 3", MAX_REASON)


# ---------------------------------------------------------------- the activity


def activities_page(*activities: Activity, **more: object) -> Page:
    question = ActivityQuestion(
        origin="https://dossier.exemple.fr",
        software="Dossier Exemple",
        operation="Rechercher l'identité INS d'un patient",
        holder="Camille EXEMPLE",
        activities=activities,
        **more,  # type: ignore[arg-type]  # by name
    )
    return activity_page(question.frame(simulated=False))


PORT = Activity(id="01", label="CABINET DU PORT", structure_id="499900000017001", sector="SA07")


def test_the_activity_window_says_who_asks_and_names_each_activity():
    shown = activities_page(PORT, Activity(id="03", label="MAISON", sector="SA04"))

    assert "INSi Agent – activité" == shown.title
    assert "Carte de Camille EXEMPLE" == shown.holder
    assert ("Site", "https://dossier.exemple.fr") == shown.facts[0]
    assert (
        ("01", "CABINET DU PORT – cabinet individuel"),
        ("03", "MAISON – SA04"),  # no label for this code of table R02
    ) == shown.choices
    assert ("", "Valider", "Annuler", "chosen", "cancelled") == (
        shown.notice,
        shown.accept,
        shown.refuse,
        shown.accepted,
        shown.refused,
    )


def test_an_activity_without_a_name_is_said_by_its_number_and_the_structures():
    """The card gives no name: the label is the structure's number, or the activity's."""
    unnamed = (
        Activity(id="01", label="499999999", structure_id="499999999", sector="SA07"),
        Activity(id="03", label="03", sector="SA05"),
    )

    assert (
        ("01", "Activité 01 – 499999999 – cabinet individuel"),
        ("03", "Activité 03 – centre de santé"),
    ) == activities_page(*unnamed).choices
    assert ("03", "Activity 03 – health centre") == activities_page(*unnamed, language="en").choices[1]


def test_two_activities_that_would_read_the_same_are_told_apart_by_the_structures_number():
    other = PORT.model_copy(update={"id": "02", "structure_id": "499900000017002"})

    assert (
        ("01", "CABINET DU PORT – 499900000017001 – cabinet individuel"),
        ("02", "CABINET DU PORT – 499900000017002 – cabinet individuel"),
    ) == activities_page(PORT, other).choices


def test_a_configured_activity_that_the_card_does_not_have_is_said():
    assert "L'activité prévue pour ce poste (n° 07) n'est pas sur cette carte." == (
        activities_page(PORT, unknown="07").notice
    )
    assert "The activity meant for this workstation (no. 07) is not on this card." == (
        activities_page(PORT, unknown="07", language="en").notice
    )


def test_the_cards_own_texts_are_tamed():
    hostile = Activity(id="01", label="»\n\u202eAnnuler" + "x" * 500, sector="SA\u2066")

    ((_, text),) = activities_page(hostile).choices

    assert text == f"Annuler{'x' * (MAX_CHOICE - 8)}… – SA"


# ---------------------------------------------------------------- sites


def asking(origin: str = "https://dossier.exemple.fr", *rights: Right, **more: Any) -> Page:
    return consent_page(ConsentQuestion(origin=origin, rights=rights, **more).frame(simulated=False))


def test_the_consent_window_names_the_site_and_what_it_could_do():
    shown = asking("https://dossier.exemple.fr:8443", Right.VITALE, Right.CPX)

    assert "Un site demande à utiliser ce poste" == shown.heading
    assert (
        ("Site", "https://dossier.exemple.fr:8443"),
        (
            "Il pourra",
            (
                "•\u00a0voir les lecteurs et si une carte est présente\n"
                "•\u00a0lire la carte Vitale\n"
                "•\u00a0utiliser la carte CPS, avec votre code"
            ),
        ),
    ) == shown.facts
    assert (("allow", "Autoriser ce site"), ("block", "Toujours refuser ce site")) == shown.choices
    assert ("Valider", "Pas maintenant", "chosen", "notNow") == (
        shown.accept,
        shown.refuse,
        shown.accepted,
        shown.refused,
    )
    assert (True, "") == (shown.shielded, shown.notice)


@pytest.mark.parametrize(
    ("hours", "language", "line"),
    [
        (1, "fr", "Pas maintenant : ce site ne redemandera pas avant 1 h."),
        (128, "fr", "Pas maintenant : ce site ne redemandera pas avant 128 h."),
        (168, "fr", "Pas maintenant : ce site ne redemandera pas avant 7 jours."),
        (1, "en", "Not now: this site will not ask again for 1 h."),
        (168, "en", "Not now: this site will not ask again for 7 days."),
    ],
)
def test_the_consent_window_says_what_a_not_now_costs_and_where_to_change_ones_mind(
    hours: int, language: str, line: str
) -> None:
    first, second = asking(quiet=timedelta(hours=hours), language=language).footnote.split("\n")

    assert line == first
    assert ("Allowed sites…" if language == "en" else "Sites autorisés…") in second


def test_calls_in_the_organisations_name_are_said_to_need_no_code() -> None:
    def told(*rights: Right, organisation: bool) -> str:
        return asking("https://a.exemple", *rights, organisation=organisation).facts[1][1]

    assert told(Right.RETRIEVE, organisation=True).endswith("y compris au nom de la structure, sans code")
    assert "structure" not in told(Right.RETRIEVE, organisation=False)
    assert "structure" not in told(Right.VITALE, Right.CPX, organisation=True)


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_right_that_a_site_can_have_is_said_in_words(language: str):
    told = [asking("https://a.exemple", right, language=language).facts[1][1].split("\n")[1] for right in ALL_RIGHTS]

    assert len(set(told)) == len(ALL_RIGHTS)
    assert not any(right in line for right, line in zip(ALL_RIGHTS, told, strict=True) if "." in right)
    assert all(" " in line.removeprefix("•\u00a0") for line in told)


def test_an_international_name_is_shown_in_letters_and_as_it_is():
    shown = asking("https://xn--sant-epa.exemple.fr")

    assert (("Site", "https://santé.exemple.fr"), ("Adresse exacte", "https://xn--sant-epa.exemple.fr")) == (
        shown.facts[:2]
    )
    assert "" == shown.notice


def test_a_name_that_may_imitate_another_is_shown_as_it_is_first_and_said():
    shown = asking("https://xn--80ak6aa92e.com")

    assert (("Site", "https://xn--80ak6aa92e.com"), ("Se lit comme", "https://аррӏе.com")) == shown.facts[:2]
    assert "Attention : l'adresse de ce site peut en imiter une autre." == shown.notice


def test_the_end_of_a_long_site_name_is_shown_when_it_asks():
    origin = "https://" + "a." * 120 + "exemple.fr:8443"

    assert origin == asking(origin).facts[0][1]


NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TODAY = f"{NOON.astimezone():%d/%m/%Y}"


def sites(*known: KnownSite, language: str = "fr") -> Page:
    return sites_page(SitesQuestion(sites=known, language=language).frame(simulated=False))


def test_the_sites_window_says_what_holds_for_each_site_and_what_can_be_undone():
    until = NOON + timedelta(hours=2)
    shown = sites(
        KnownSite("https://notre.exemple", "allowed", by="configuration"),
        KnownSite("https://reseau.exemple", "allowed", by="policy"),
        KnownSite("https://a.exemple", "allowed", by="person", since=NOON),
        KnownSite("https://b.exemple", "blocked", by="person", since=NOON),
        KnownSite("https://c.exemple", "quiet", by="person", since=NOON, until=until),
        KnownSite("https://d.exemple", "allowed", by="person", in_effect=False, since=NOON),
    )

    assert (
        ("https://a.exemple", f"https://a.exemple\nautorisé depuis le {TODAY}"),
        ("https://b.exemple", f"https://b.exemple\ntoujours refusé depuis le {TODAY}"),
        (
            "https://c.exemple",
            f"https://c.exemple\nplus de question jusqu'au {until.astimezone():%d/%m/%Y à %H:%M}",
        ),
        (
            "https://d.exemple",
            f"https://d.exemple\nautorisé le {TODAY}, sans effet : la configuration passe avant",
        ),
    ) == shown.choices
    assert ("Retirer l'accès", "Débloquer", "Débloquer", "Retirer l'accès") == shown.accepts
    assert (
        "Autorisés par la configuration de ce poste",
        "https://notre.exemple",
        "https://reseau.exemple",
    ) == shown.others


def test_the_command_line_tells_a_policy_from_the_configuration():
    known = {"state": "allowed", "inEffect": True, "since": None, "until": None}

    told = [site_state({**known, "by": by}) for by in ("policy", "configuration")]

    assert ["autorisé par la règle de l'établissement", "autorisé par la configuration"] == told


def test_with_nothing_decided_there_is_nothing_to_undo():
    shown = sites()

    assert ("Vous n'avez encore répondu pour aucun site.", "", "Fermer") == (shown.prompt, shown.accept, shown.refuse)
    assert ((), ()) == (shown.choices, shown.others)
    assert "You have not answered for any site yet." == sites(language="en").prompt
