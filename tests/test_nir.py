"""The key of a registration number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.insi.fake_people import PEOPLE
from agent.nir import key_of


@pytest.mark.parametrize(
    ("nir", "key"),
    [
        ("1841276451089", "46"),
        ("2841276451089", "93"),
        ("184122A004089", "57"),
        ("255082B033042", "83"),
        ("1810163220751", "40"),
        ("2751263220749", "74"),
        ("2770101154003", "29"),  # S053
        ("2600588154002", "33"),  # S054
        ("297022A020778", "78"),
        ("160012B020777", "13"),
        ("1090763220888", "35"),
    ],
)
def test_the_key_is_97_minus_the_remainder_with_corsica_replaced(nir: str, key: str) -> None:
    """GIE "Données API Lecture Vitale 6.xx" (second hand); values computed there."""
    assert key_of(nir) == key


@pytest.mark.parametrize(
    "nir",
    [
        "",
        "123",
        "12345",
        "28412764510899",
        "28412X6451089",
        "18101632207ZZ",
        "٢٨٤١٢٧٦٤٥١٠٨٩",
        "١٨١٠١٦٣٢٢٠٧٥١",
        "2 41276451089",
    ],
)
def test_what_is_no_number_has_no_key(nir: str) -> None:
    assert key_of(nir) is None


@given(st.text(max_size=16))
def test_any_text_has_a_key_or_none(text: str) -> None:
    key = key_of(text)

    assert key is None or 1 <= int(key) <= 97


def test_the_fake_people_have_right_keys_but_for_those_that_are_officially_wrong() -> None:
    numbers = {(person.matricule, person.key) for person in PEOPLE if person.key}
    numbers |= {(past.matricule, past.key) for person in PEOPLE for past in person.history}

    assert {pair for pair in numbers if key_of(pair[0]) != pair[1]} == {
        ("1810363220456", "60"),
        ("2810363220456", "10"),
    }
