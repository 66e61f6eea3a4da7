from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import CardKind, NameKind, NirOf
from agent.readers.vitale import Files, VitaleContent, parse_holders, rank_candidates, read_vitale
from tests.readers.scripted import ScriptedCard, desk, tlv

# Two invented holders; the bytes were checked by computation.
IDENTITIES = bytes.fromhex(
    "651A80064455 52414E44810648C94CC84E458208 3139383431323331 651780064455 52414E4481034CC94F8208 3230313530323031"
)
NIRS = bytes.fromhex("6511930F323834313237363435313038393933")
LEO_AND_ZOE = bytes.fromhex(
    "651780064455 52414E4481034CC94F8208 3230313530323031 651780064455 52414E4481035A4FC98208 3230313530323031"
)


def read(card: str) -> VitaleContent:
    with desk(Lecteur=card).transaction("Lecteur") as inserted:
        return read_vitale(inserted)


def holder(*, name: bytes = b"EXEMPLE", given: bytes = b"CLAUDE", birth: bytes = b"19700101") -> bytes:
    return tlv(0x65, tlv(0x80, name) + tlv(0x81, given) + tlv(0x82, birth))


def number(nir: bytes) -> bytes:
    return tlv(0x65, tlv(0x93, nir))


def code_of(*answers: str | bytes) -> Code:
    with pytest.raises(AgentError) as error:
        read_vitale(ScriptedCard(*answers))
    return error.value.code


def test_everyone_on_the_card_is_read_in_card_order() -> None:
    """With the T=0 answers 61xx and 6Cxx."""
    content = read("durand-two-holders")

    assert [("DURAND", "HÉLÈNE", "1984-12-31"), ("DURAND", "LÉO", "2015-02-01")] == [
        (one.name, one.given_names, one.birth_date) for one in content.holders
    ]
    assert [0, 1] == [one.index for one in content.holders]
    assert CardKind.VITALE_2 == content.card.kind


def test_the_rank_and_the_nature_of_the_name_are_never_claimed() -> None:
    """Nothing published says either."""
    for one in read("durand-two-holders").holders:
        assert (1, True, NameKind.UNKNOWN, None) == (one.rank, one.rank_assumed, one.name_kind, one.certified_nir)


def test_fewer_numbers_than_holders_means_the_first_is_the_insured_persons() -> None:
    """Rufus pairs them by their order."""
    holders = read("durand-two-holders").holders

    assert [("2841276451089", "93", NirOf.INSURED)] * 2 == [(one.nir, one.nir_key, one.nir_of) for one in holders]


def test_as_many_numbers_as_holders_are_paired_by_order_and_nobody_says_whose_they_are() -> None:
    nirs = number(b"284127645108993") + number(b"184122A00408957")

    holders = parse_holders(Files(IDENTITIES, nirs))

    assert ["2841276451089", "184122A004089"] == [one.nir for one in holders]
    assert {NirOf.UNKNOWN} == {one.nir_of for one in holders}


def test_a_card_without_numbers_still_names_its_holders() -> None:
    holders = parse_holders(Files(IDENTITIES, b""))

    assert [("", "", NirOf.UNKNOWN)] * 2 == [(one.nir, one.nir_key, one.nir_of) for one in holders]


@pytest.mark.parametrize(
    ("raw", "nir", "key"),
    [
        (b"284127645108900", "2841276451089", "00"),
        (b"184122A00408957", "184122A004089", "57"),
        (b"555555123456799", "5555551234567", "99"),
        (b"12345", "12345", ""),
        (b"28412764510899312", "2841276451089", "9312"),
    ],
)
def test_a_number_is_kept_as_on_the_card_even_with_a_wrong_key_or_length(raw: bytes, nir: str, key: str) -> None:
    (one,) = parse_holders(Files(holder(), number(raw)))

    assert (nir, key) == (one.nir, one.nir_key)


@pytest.mark.parametrize(
    ("raw", "date"),
    [
        (b"19841231", "1984-12-31"),
        (b"19540000", "1954-00-00"),  # lunar
        (b"19542000", None),  # a month outside the calendar
        (b"19540145", None),
        (b"841231", None),
        (b"1984123X", None),
        (b"        ", None),
        ("१९८४१२३१".encode()[:8], None),
    ],
)
def test_a_birth_date_is_never_taken_for_more_than_it_says(raw: bytes, date: str | None) -> None:
    """Lunar dates: keep the raw string, never a calendar type."""
    (one,) = parse_holders(Files(holder(birth=raw), NIRS))

    assert (date, raw.decode("latin-1").strip()) == (one.birth_date, one.birth_date_raw)


def test_texts_are_latin_1_and_trimmed() -> None:
    (one,) = parse_holders(Files(holder(name=b"NO\xcbL  \0", given=b" FRAN\xc7OIS "), NIRS))

    assert ("NOËL", "FRANÇOIS") == (one.name, one.given_names)


def test_padding_and_long_lengths_change_nothing() -> None:
    padded = parse_holders(Files(IDENTITIES + bytes(71), NIRS + bytes(100)))
    long = bytes([0x65, 0x81, len(IDENTITIES[2:28])]) + IDENTITIES[2:28] + IDENTITIES[28:]

    assert parse_holders(Files(IDENTITIES, NIRS)) == padded == parse_holders(Files(long, NIRS))


def test_a_file_longer_than_one_answer_is_read_on() -> None:
    file = b"".join(holder(given=b"ENFANT %d" % index) for index in range(12))
    card = ScriptedCard("9000", file[:256] + b"\x90\x00", file[256:] + b"\x62\x82", "9000", NIRS + b"\x90\x00")

    content = read_vitale(card)

    assert [f"ENFANT {index}" for index in range(12)] == [one.given_names for one in content.holders]
    assert "00B0010000" == card.commands[2]


def test_a_file_of_exactly_one_answer_ends_with_it() -> None:
    file = holder() + bytes(256 - len(holder()))
    card = ScriptedCard("9000", file + b"\x90\x00", "6B00", "9000", NIRS + b"\x90\x00")

    assert 1 == len(read_vitale(card).holders)


def test_what_refuses_the_master_file_is_no_vitale_and_is_left_alone() -> None:
    """For instance a CPS."""
    card = ScriptedCard("6A86")

    with pytest.raises(AgentError) as error:
        read_vitale(card)

    assert Code.CARD_UNKNOWN == error.value.code
    assert 1 == len(card.commands)


def test_what_refuses_the_vitale_application_is_no_vitale() -> None:
    assert Code.CARD_UNKNOWN == code_of("9000", IDENTITIES + b"\x90\x00", "6A82")


def test_a_protected_file_is_said() -> None:
    assert Code.CARD_UNREADABLE == code_of("9000", "6982")
    assert Code.CARD_UNREADABLE == code_of("9000", IDENTITIES + b"\x90\x00", "9000", "6982")


def test_a_template_that_is_cut_is_unreadable() -> None:
    assert Code.CARD_UNREADABLE == code_of("9000", IDENTITIES[:-3] + b"\x90\x00", "9000", NIRS + b"\x90\x00")


def test_a_holder_without_a_name_is_unreadable() -> None:
    assert Code.CARD_UNREADABLE == code_of(
        "9000", tlv(0x65, tlv(0x81, b"LEO")) + b"\x90\x00", "9000", NIRS + b"\x90\x00"
    )


def test_a_card_that_names_nobody_is_empty() -> None:
    with pytest.raises(AgentError) as error:
        read("empty")

    assert Code.VITALE_EMPTY == error.value.code


def test_the_fingerprint_is_the_cards_and_its_contents() -> None:
    def fingerprint(identities: bytes, nirs: bytes, **options: Any) -> str:
        answers = ("9000", identities + b"\x90\x00", "9000", nirs + b"\x90\x00")
        return read_vitale(ScriptedCard(*answers, **options)).fingerprint

    one = fingerprint(IDENTITIES, NIRS)

    assert one == fingerprint(IDENTITIES, NIRS)
    others = {
        fingerprint(LEO_AND_ZOE, NIRS),
        fingerprint(IDENTITIES, number(b"184122A00408957")),
        fingerprint(IDENTITIES, NIRS, atr=bytes.fromhex("3B751300004509EA9000")),
        fingerprint(IDENTITIES[:28], IDENTITIES[28:] + NIRS),  # the same bytes, cut elsewhere
    }
    assert 4 == len(others - {one})


def test_people_do_not_print() -> None:
    printed = repr(read("durand-two-holders")) + repr(Files(IDENTITIES, NIRS))

    assert not any(secret in printed for secret in ("DURAND", "2841276451089", "1984", b"DURAND".hex()))
    assert read("durand-two-holders").fingerprint not in printed


def test_two_holders_with_one_birth_date_need_a_rank() -> None:
    """Twins: the rank is not on the public side of the card."""
    twins = parse_holders(Files(holder() + LEO_AND_ZOE, NIRS))

    assert [1, 2] == rank_candidates(twins, 1) == rank_candidates(twins, 2)
    assert [] == rank_candidates(twins, 0)
    assert [0, 1] == rank_candidates(read("twins").holders, 0)


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_files_give_holders_or_a_code(identities: bytes, nirs: bytes) -> None:
    try:
        holders = parse_holders(Files(identities, nirs))
        assert list(range(len(holders))) == [one.index for one in holders]
    except AgentError as error:
        assert Code.CARD_UNREADABLE == error.code


@given(st.integers(0, len(IDENTITIES) - 1), st.integers(0, 255))
def test_one_byte_gone_wrong_gives_holders_or_a_code(place: int, byte: int) -> None:
    try:
        parse_holders(Files(IDENTITIES[:place] + bytes([byte]) + IDENTITIES[place + 1 :], NIRS))
    except AgentError as error:
        assert Code.CARD_UNREADABLE == error.code


@given(st.lists(st.binary(min_size=2, max_size=260), max_size=20))
def test_any_card_gives_a_content_or_a_code(answers: list[bytes]) -> None:
    try:
        assert read_vitale(ScriptedCard(*answers)).holders
    except AgentError as error:
        assert error.code in (Code.CARD_UNKNOWN, Code.CARD_UNREADABLE, Code.VITALE_EMPTY)
