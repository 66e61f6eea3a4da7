import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import CardKind
from agent.readers.kinds import ATR_TABLE, AtrRow, kind_of
from agent.readers.transcript import SimulatedReaders, shipped_cards

KNOWN = [
    ("3B 75 13 00 00 43 09 EA 90 00", CardKind.VITALE_2),
    ("3B 75 13 00 00 44 09 EA 90 00", CardKind.VITALE_2),
    ("3B 75 13 00 00 45 09 EA 90 00", CardKind.VITALE_2),
    ("3B 75 13 00 00 45 09 FA 90 00", CardKind.VITALE_2),
    ("3B 75 13 00 00 46 09 EA 90 00", CardKind.VITALE_2),
    ("3B 75 13 00 00 49 09 EA 90 00", CardKind.VITALE_2),
    ("3F 65 25 00 22 09 69 90 00", CardKind.VITALE_1),
    ("3F 65 25 00 2C 09 F9 90 00", CardKind.VITALE_1),
    ("3F 65 25 00 52 09 6A 90 00", CardKind.VITALE_1),
    ("3F 65 25 00 A3 09 6A 90 00", CardKind.VITALE_1),
    ("3F 65 25 00 A4 09 6A 90 00", CardKind.VITALE_1),
    ("3B AC 00 40 2A 00 12 25 00 64 80 00 03 10 00 90 00", CardKind.CPX),
    ("3B 8F 80 01 00 31 B8 64 04 B0 EC C1 73 94 01 80 82 90 00 0E", CardKind.CPX_CONTACTLESS),
    ("3B 9B 18 80 01 00 12 25 00 64 80 04 01 00 00 90 44", CardKind.CPX),
    ("3B 9B 18 80 01 00 12 25 00 64 80 00 04 01 00 90 44", CardKind.CPX),
    ("3B DC 18 FF 00 00 12 25 00 64 80 00 04 01 00 90 00", CardKind.CPX),
    ("3B AC 00 40 2A 00 12 25 00 64 80 82 02 12 00 90 00", CardKind.CPX),
]


@pytest.mark.parametrize(("atr", "kind"), KNOWN)
def test_every_published_atr_is_known(atr: str, kind: CardKind) -> None:
    """pcsc-tools 1.6.2 smartcard_list.txt and Cryptolib CPS."""
    assert kind == kind_of(bytes.fromhex(atr))


@pytest.mark.parametrize(
    "atr",
    [
        "3B 75 13 00 00 9C 09 EA 90 00",  # "another card"
        "3F 65 25 00 22 09 69 90 01",  # the Vitale 1 family is shared with bank and parking cards
        "3F 65 25 00 24 09 69 90 00",
        "3B 75 13 00 00 44 09 EA 90 00 00",  # longer than a Vitale 2
        "3B A1 22 50 06 48 00",  # holds the digits of a CPx, half a byte off
        "",
    ],
)
def test_a_card_of_no_row_is_unknown(atr: str) -> None:
    assert CardKind.UNKNOWN == kind_of(bytes.fromhex(atr))


def test_a_cpx_of_a_later_model_is_a_cpx_by_its_historical_bytes() -> None:
    assert CardKind.CPX == kind_of(bytes.fromhex("3B AC 00 40 2A 00 12 25 00 64 80 00 05 99 00 90 00"))


def test_a_row_says_whether_it_is_a_published_atr_or_a_mask() -> None:
    masks = [row for row in ATR_TABLE if not row.exact]

    assert ["[guess]"] * len(masks) == [row.source[:7] for row in masks]
    assert all(row.fits(row.pattern) for row in ATR_TABLE if row.exact)
    assert len({row.pattern for row in ATR_TABLE}) == len(ATR_TABLE)


def test_a_row_of_the_settings_comes_before_the_table() -> None:
    table = (AtrRow("3B6500002063CB6800", CardKind.VITALE_2, "ours", "test"), *ATR_TABLE)
    other = (AtrRow("3B7513......09EA9000", CardKind.UNKNOWN, "ours", "test"), *ATR_TABLE)

    assert CardKind.VITALE_2 == kind_of(bytes.fromhex("3B6500002063CB6800"), table)
    assert CardKind.UNKNOWN == kind_of(bytes.fromhex("3B751300004409EA9000"), other)
    assert CardKind.CPX == kind_of(bytes.fromhex("3BAC00402A001225006480000310009000"), table)


def test_readers_tell_cards_by_the_table_they_are_given() -> None:
    readers = SimulatedReaders({"A": "cpx"}, shipped_cards(), lambda _: CardKind.VITALE_1)

    assert [CardKind.VITALE_1] == [one.card.kind for one in readers.seen() if one.card]


@given(st.binary(max_size=40))
def test_any_bytes_have_a_kind(atr: bytes) -> None:
    assert kind_of(atr) in CardKind
