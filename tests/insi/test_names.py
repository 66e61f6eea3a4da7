"""Names in INSi's alphabet, and side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi import names


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("D’ÆION", "D'AEION"),  # CNDA 2.03-3
        ("Cœur", "COEUR"),
        ("D'ARTAGNAN DE L'HERAULT", "D'ARTAGNAN DE L'HERAULT"),
        ("pierre-alain gunther", "PIERRE-ALAIN GUNTHER"),
        ("Großmann", "GROSSMANN"),
        ("STRAẞE", "STRASSE"),
        ("Łukasz Ørsted", "LUKASZ ORSTED"),
        ("Đorđe Þór Ðorn ılgaz", "DORDE THOR DORN ILGAZ"),
        ("Saint‐Jean–Marie", "SAINT-JEAN-MARIE"),
        ("MARIE\u2011ANGE", "MARIE-ANGE"),  # as a word processor or a page writes it, so that no line breaks there
        ("DE\u00a0VINCI", "DE VINCI"),
        ("\u2018T HOEN D\u02bcOR", "'T HOEN D'OR"),
        ("Éloïse Ça", "ELOISE CA"),
        ("E\u0301loi\u0308se", "ELOISE"),  # the same letters, decomposed
        ("Ǽlle Ǿ", "AELLE O"),
        ("ÀÂÄÇÉÈÊËÎÏÔÖÙÛÜŸÑ", "AAACEEEEIIOOUUUYN"),
        ("œuf æther ßø łđ ðþ", "OEUF AETHER SSO LD DTH"),
        ("SARAH-LOU ANNA", "SARAH-LOU ANNA"),
    ],
)
def test_a_name_is_written_in_the_alphabet_of_insi(text: str, sent: str) -> None:
    """INSi guide §2 and §3.4.1, second hand."""
    assert names.birth_name(text) == sent
    assert names.given_name(text, 0) == sent


@pytest.mark.parametrize("text", ["'T HOEN", "DUPONT--DURAND", "DE VINCI", "GARCIA-HAMMADI", "AB-"])
def test_a_birth_name_may_begin_with_an_apostrophe_and_hold_a_double_hyphen(text: str) -> None:
    assert names.birth_name(text) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("'", "empty"),
        (" DUPONT", "start"),
        ("-DUPONT", "start"),
        ("DUPONT ", "end"),
        ("DE  VINCI", "spaceAndApostrophe"),
        ("D''ARTAGNAN", "spaceAndApostrophe"),
        ("D' ARTAGNAN", "spaceAndApostrophe"),
        ("A---B", "hyphens"),
    ],
)
def test_a_birth_name_of_a_forbidden_shape_is_refused_by_the_rule(text: str, rule: str) -> None:
    with pytest.raises(AgentError) as refused:
        names.birth_name(text)

    assert refused.value.code is Code.TRAITS_REFUSED
    assert refused.value.facts == {"member": "birthName", "rule": rule}


@pytest.mark.parametrize(("text", "rule"), [("JEAN--PAUL", "hyphens"), ("JEAN-", "end"), ("JEAN'", "end")])
def test_a_given_name_has_stricter_shapes(text: str, rule: str) -> None:
    with pytest.raises(AgentError) as refused:
        names.given_name(text, 1)

    assert refused.value.facts == {"member": "givenNames[1]", "rule": rule}


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("DUP0NT", "DIGIT ZERO"),
        ("A_B", "LOW LINE"),
        ("OUI!", "EXCLAMATION MARK"),
        ("A/B", "SOLIDUS"),
        ("Владимир", "CYRILLIC CAPITAL LETTER VE"),
        ("A\u202fB", "NARROW NO-BREAK SPACE"),
        ("A\u00adB", "SOFT HYPHEN"),  # not seen by whoever wrote it
        ("A\u200bB", "ZERO WIDTH SPACE"),
        ("A—B", "EM DASH"),  # a word processor's for two hyphens, which are no single one
        ("A\x00B", "U+0000"),
        ("ANNA²", "SUPERSCRIPT TWO"),
        ("D´OR", "ACUTE ACCENT"),
        ("D`OR", "GRAVE ACCENT"),
        ("ＡＮＮＡ", "FULLWIDTH LATIN CAPITAL LETTER A"),
    ],
)
def test_a_character_without_equivalent_is_refused_by_its_name_and_the_value_is_not_told(
    text: str, character: str
) -> None:
    """The value is refused, never shortened in silence."""
    with pytest.raises(AgentError) as refused:
        names.birth_name(text)

    assert refused.value.facts == {"member": "birthName", "character": character}
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("\u00a0DUPONT", "start"),
        ("DUPONT\u00a0", "end"),
        ("D\u02bc\u00a0OR", "spaceAndApostrophe"),
        ("A-\u2011-B", "hyphens"),
    ],
)
def test_what_stands_for_a_space_or_a_hyphen_keeps_their_rules(text: str, rule: str) -> None:
    with pytest.raises(AgentError) as refused:
        names.birth_name(text)

    assert refused.value.facts == {"member": "birthName", "rule": rule}


def test_a_list_of_given_names_is_written_name_by_name() -> None:
    assert names.given_names(["Éloïse Ann", "Marie–Ange"]) == ["ELOISE ANN", "MARIE-ANGE"]


@pytest.mark.parametrize(
    ("texts", "facts"),
    [
        (["ANNA", "LOU3"], {"member": "givenNames[1]", "character": "DIGIT THREE"}),
        (["ANNA", "LOU", "EVE'"], {"member": "givenNames[2]", "rule": "end"}),
        # joined by a space, its apostrophe would stand beside it (EF_INS10_01)
        (["'ANNA", "'LOU"], {"member": "givenNames[1]", "rule": "spaceAndApostrophe"}),
    ],
)
def test_a_list_of_given_names_that_cannot_be_joined_is_refused_by_its_member(
    texts: list[str], facts: dict[str, str]
) -> None:
    with pytest.raises(AgentError) as refused:
        names.given_names(texts)

    assert refused.value.facts == facts


def sent_as(text: str) -> str | Code:
    """The name as it would travel, or our code; any other exception is a bug."""
    try:
        return names.given_name(text, 0)
    except AgentError as refused:
        return refused.code


@given(st.text(max_size=40))
def test_any_text_gives_a_name_of_the_alphabet_or_a_refusal(text: str) -> None:
    sent = sent_as(text)

    assert sent is Code.TRAITS_REFUSED or set(sent) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ '-")
    assert sent is Code.TRAITS_REFUSED or sent_as(sent) == sent  # written once, it stays


@given(st.lists(st.text("ABÉŒß '-’ʼ\u00a0\u2011", max_size=4), min_size=1, max_size=4))
def test_a_list_that_may_be_sent_may_be_sent_joined(texts: list[str]) -> None:
    try:
        joined = " ".join(names.given_names(texts))
    except AgentError as refused:
        assert refused.code is Code.TRAITS_REFUSED
    else:
        assert names.given_name(joined, 0) == joined


@pytest.mark.parametrize(
    ("first", "starts"),
    [
        ("JEAN", True),
        ("Jean", True),
        ("JEAN CHRISTOPHE", True),
        ("JEAN-CHRISTOPHE", True),
        ("JEAN CHRISTOPHE-PIERRE", True),
        ("CHRISTOPHE", False),
        ("PIERRE", False),
        ("JEA", False),
        ("JEAN CHRISTOPHE PIERRE PAUL", False),
        ("", False),
    ],
)
def test_a_first_name_begins_the_list_on_whole_words(first: str, starts: bool) -> None:
    """Guide d'implémentation INS v3.0 [EXI ID 10], second hand."""
    assert names.starts_list(first, "JEAN CHRISTOPHE PIERRE") is starts
