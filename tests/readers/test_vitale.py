from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import CardKind, Environment, NameKind, NirOf, VitaleCard
from agent.readers.vitale import (
    WAYS,
    Files,
    VitaleContent,
    check_environment,
    parse_holders,
    parse_pointers,
    rank_candidates,
    read_vitale,
    warnings_of,
)
from tests.cards.vitale import CARDS, Card, Vitale, pointers
from tests.readers.scripted import PlayedCard, ScriptedCard, desk, tlv

# Two invented holders; the bytes were checked by computation.
IDENTITIES = bytes.fromhex(
    "651A80064455 52414E44810648C94CC84E458208 3139383431323331 651780064455 52414E4481034CC94F8208 3230313530323031"
)
NIRS = bytes.fromhex("6511930F323834313237363435313038393933")
LEO_AND_ZOE = bytes.fromhex(
    "651780064455 52414E4481034CC94F8208 3230313530323031 651780064455 52414E4481035A4FC98208 3230313530323031"
)
POINTERS = bytes.fromhex(
    "E043 A025 820F00010000D250000002564954414C45 821200020000D2500000024D465F564954414C45"
    "800C42454E4546202020 0002 D001 800C504F494E54455253 0001 2001"
)
SELECT_VITALE, SELECT_MF_VITALE = "00A404000BD250000002564954414C45", "00A404000ED2500000024D465F564954414C45"


def read(card: str) -> VitaleContent:
    with desk(Lecteur=card).transaction("Lecteur") as inserted:
        return read_vitale(inserted)


def holder(*, name: bytes = b"EXEMPLE", given: bytes = b"CLAUDE", birth: bytes = b"19700101") -> bytes:
    return tlv(0x65, tlv(0x80, name) + tlv(0x81, given) + tlv(0x82, birth))


def number(nir: bytes) -> bytes:
    return tlv(0x65, tlv(0x93, nir))


def played(name: str, **manners: bool) -> PlayedCard:
    return PlayedCard(Vitale(CARDS[name], **manners))


def refusal(card: PlayedCard | ScriptedCard) -> AgentError:
    with pytest.raises(AgentError) as error:
        read_vitale(card)
    return error.value


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


@pytest.mark.parametrize("most", [128, 240, 254, 2 * len(holder(given=b"ENFANT 0"))])
def test_a_file_that_the_card_gives_in_small_blocks_is_read_on(most: int) -> None:
    """6Cxx below 256: the whole file, or as much as the card or the reader carries; the last one cuts no template."""

    class Small(PlayedCard):
        def transmit(self, command: bytes) -> tuple[bytes, int]:
            if command[1] == 0xB0 and not 0 < command[4] <= most:
                return b"", 0x6C00 | most
            return super().transmit(command)

    children = b"".join(holder(given=b"ENFANT %d" % index) for index in range(9))
    content = read_vitale(Small(Vitale(Card({"MF/short 2": children, "VITALE/short 2": NIRS}), shorter=True)))

    assert [f"ENFANT {index}" for index in range(9)] == [one.given_names for one in content.holders]


@pytest.mark.parametrize(
    ("card", "way"),
    [("two-holders", "short"), ("d001", "d001"), ("pointers", "pointers")],
)
@pytest.mark.parametrize("manners", [{}, {"case4": True, "exact": True}, {"shorter": True}])
def test_each_way_leads_to_the_same_content(card: str, way: str, manners: dict[str, bool]) -> None:
    """Whatever the T=0 manners: 61xx to each SELECT and 6Cxx to each READ BINARY, or 6282."""
    content = read_vitale(played(card, **manners))

    assert way == content.way
    assert read("durand-two-holders").holders == content.holders
    assert read("durand-two-holders").fingerprint == content.fingerprint


def test_the_way_in_field_use_comes_first_and_the_others_cost_nothing() -> None:
    card = played("two-holders")
    read_vitale(card)

    assert ["short", "d001", "pointers"] == [way.name for way in WAYS]
    assert ["00A40000023F00", "00B0820000", "00B0003500", SELECT_VITALE, "00B0820000", "00B0001300"] == card.commands


@pytest.mark.parametrize("card", ["short-protected", "short-garbled"])
def test_a_way_that_ends_at_a_protected_or_garbled_file_is_left_for_the_next(card: str) -> None:
    content = read_vitale(played(card))

    assert "d001" == content.way
    assert ["HÉLÈNE", "LÉO"] == [one.given_names for one in content.holders]


def test_what_does_not_know_the_vitale_application_is_no_vitale_and_is_only_asked_for_names() -> None:
    """For instance a CPS."""
    card = played("foreign")

    error = refusal(card)

    assert (Code.CARD_UNKNOWN, "3B751300004409EA9000") == (error.code, error.facts["atr"])
    assert ["00A40000023F00", SELECT_MF_VITALE, SELECT_VITALE, SELECT_VITALE] == card.commands


def test_the_vitale_application_is_the_proof_whatever_the_master_file_holds() -> None:
    assert Code.CARD_UNKNOWN == refusal(played("foreign-with-mf")).code
    assert Code.CARD_UNKNOWN == refusal(ScriptedCard("9000", IDENTITIES + b"\x90\x00", "6A82")).code
    for file in ("MF/short 2", "MF_VITALE/D001"):
        assert Code.CARD_UNKNOWN == refusal(PlayedCard(Vitale(Card({file: IDENTITIES})))).code


def test_a_card_protected_in_every_way_is_said_with_its_status() -> None:
    error = refusal(played("protected"))

    assert (Code.VITALE_PROTECTED, {"status": "6982"}) == (error.code, error.facts)


@pytest.mark.parametrize("step", ["00A4020002D001", "00A40200022001"])
def test_a_file_whose_selection_is_refused_is_protected_too(step: str) -> None:
    class Guarded(PlayedCard):
        def transmit(self, command: bytes) -> tuple[bytes, int]:
            answer = super().transmit(command)
            return (b"", 0x6982) if command == bytes.fromhex(step) else answer

    files = {"MF_VITALE/D001": IDENTITIES, "VITALE/2001": b""}

    assert Code.VITALE_PROTECTED == refusal(Guarded(Vitale(Card(files)))).code


def test_the_first_failure_is_the_one_that_is_said() -> None:
    assert "TLV of tag 65 is cut" == refusal(played("garbled")).detail
    garbled_then_protected = Card({"MF/short 2": b"\x65\x7f", "VITALE/short 2": NIRS, "MF_VITALE/D001": None})
    assert Code.CARD_UNREADABLE == refusal(PlayedCard(Vitale(garbled_then_protected))).code


def test_a_vitale_that_no_way_leads_into_is_unreadable() -> None:
    assert Code.CARD_UNREADABLE == refusal(played("no-way")).code


def test_a_status_of_no_row_is_kept() -> None:
    error = refusal(ScriptedCard("9000", "6F42", "6A82", "6A82", "9000"))

    assert (Code.CARD_UNREADABLE, {"status": "6F42"}) == (error.code, error.facts)


def test_a_template_that_is_cut_is_unreadable() -> None:
    cut = Card({"MF/short 2": IDENTITIES[:-3], "VITALE/short 2": NIRS})

    assert Code.CARD_UNREADABLE == refusal(PlayedCard(Vitale(cut))).code


def test_a_holder_without_a_name_is_said_and_the_family_is_read() -> None:
    template = tlv(0x65, tlv(0x81, b"LEO") + tlv(0x82, b"20150201"))

    mother, child, blank = parse_holders(Files(holder() + template + holder(name=b"  "), NIRS))

    assert ("EXEMPLE", []) == (mother.name, mother.warnings)
    assert ("", "LEO", "2015-02-01", ["name.missing"]) == (
        child.name,
        child.given_names,
        child.birth_date,
        child.warnings,
    )
    assert ("", ["name.missing"]) == (blank.name, blank.warnings)


def test_a_template_about_nobody_is_no_holder() -> None:
    assert 1 == len(parse_holders(Files(tlv(0x65, tlv(0x90, b"FRA")) + holder(), NIRS)))


def test_pointers_name_each_file_of_a_known_application_once() -> None:
    """The shape of cardpeek; numbers, unknown bytes and names of the sample are invented."""
    benef, own = (bytes.fromhex(SELECT_MF_VITALE), b"\xd0\x01"), (bytes.fromhex(SELECT_VITALE), b"\x20\x01")
    elsewhere = tlv(0x80, b"AILLEURS\x00\x09\xd0\x01")

    assert [benef, own] == parse_pointers(POINTERS)
    assert [benef, own] == parse_pointers(POINTERS + POINTERS + tlv(0xE0, elsewhere) + bytes(40))


@pytest.mark.parametrize(
    ("aid", "entry"),
    [
        (b"", b"BENEF   \0\1\xd0\x01"),  # an application without a name
        (b"longer than an AID", b"BENEF   \0\1\xd0\x01"),
        (b"VITALE", b"BENEF   \0\2\xd0\x01"),  # of no application
        (b"VITALE", b"BENEF   \0\1\xd0"),
        (b"VITALE", b"BENEF   \0\1\xd0\x01\0"),
    ],
)
def test_a_pointer_of_another_shape_is_passed_over(aid: bytes, entry: bytes) -> None:
    assert [] == parse_pointers(tlv(0xE0, tlv(0xA0, tlv(0x82, b"\0\1\0\0" + aid)) + tlv(0x80, entry)))


def test_behind_the_pointers_files_are_told_by_what_they_hold() -> None:
    """An absent, a protected and a raw file are passed over; a file named twice is no second family."""
    content = read_vitale(played("pointers"))

    assert [("HÉLÈNE", "2841276451089"), ("LÉO", "2841276451089")] == [
        (one.given_names, one.nir) for one in content.holders
    ]


def test_identities_that_are_protected_behind_the_pointers_are_no_empty_card() -> None:
    pointing = pointers(("BENEF", 2, "D010"), ("NIR", 1, "D002"))
    files = {"VITALE/2001": pointing, "MF_VITALE/D010": None, "VITALE/D002": NIRS}

    assert Code.VITALE_PROTECTED == refusal(PlayedCard(Vitale(Card(files)))).code


def test_a_file_is_selected_below_the_application_or_by_its_number_alone() -> None:
    """Nobody wrote down which of the two forms file 2001 wants."""

    class ByNumber(PlayedCard):
        def transmit(self, command: bytes) -> tuple[bytes, int]:
            return (b"", 0x6A86) if command[1:3] == b"\xa4\x02" else super().transmit(command)

    for name in ("d001", "pointers"):
        assert name == read_vitale(ByNumber(Vitale(CARDS[name]))).way


def test_a_card_whose_files_never_end_is_left() -> None:
    class Endless(ScriptedCard):
        def transmit(self, command: bytes) -> tuple[bytes, int]:
            super().transmit(command)
            return bytes(256), 0x9000

    card = Endless()

    assert Code.VITALE_EMPTY == refusal(card).code
    assert len(card.commands) < 100


def test_a_file_behind_the_pointers_may_hold_both_identity_and_number() -> None:
    both = tlv(0x65, tlv(0x80, b"EXEMPLE") + tlv(0x82, b"19700101") + tlv(0x93, b"284127645108993"))
    card = Card({"VITALE/2001": POINTERS, "MF_VITALE/D001": both})

    (one,) = read_vitale(PlayedCard(Vitale(card))).holders

    assert ("EXEMPLE", "1970-01-01", "2841276451089") == (one.name, one.birth_date, one.nir)


def test_a_card_pulled_at_any_command_of_any_way_was_removed() -> None:
    for name in ("two-holders", "d001", "pointers"):
        whole = played(name)
        read_vitale(whole)
        for at in range(1, len(whole.commands) + 1):
            leaving = PlayedCard(Vitale(Card(CARDS[name].files, pull_at=at)))
            assert Code.CARD_REMOVED == refusal(leaving).code


@pytest.mark.parametrize(
    ("nir", "key", "birth_date", "warnings"),
    [
        ("2841276451089", "93", "19841231", []),
        ("184122A004089", "57", "19841231", []),  # Corsica
        ("255082B033042", "83", "20000229", []),
        ("2841276451089", "00", "19841231", ["nir.key"]),
        ("28412X6451089", "93", "19841231", ["nir.key"]),
        ("2841276451089", "", "19841231", ["nir.length"]),
        ("", "", "19841231", ["nir.length"]),
        ("2841276451089", "9312", "19841231", ["nir.length"]),
        ("5555551234567", "29", "19841231", ["nir.provisional"]),
        ("2841276451089", "93", "19540000", ["birthDate.lunar"]),
        ("2841276451089", "93", "19541300", ["birthDate.lunar"]),
        ("2841276451089", "93", "19230229", ["birthDate.lunar"]),
        ("2841276451089", "93", "841231", ["birthDate.unreadable"]),
        ("2841276451089", "93", "", ["birthDate.unreadable"]),
        ("2841276451089", "93", "1984123²", ["birthDate.unreadable"]),
    ],
)
def test_what_is_odd_on_the_card_is_reported(nir: str, key: str, birth_date: str, warnings: list[str]) -> None:
    """GIE text "Données API Lecture Vitale 6.xx": key, lunar date, provisional numbers."""
    assert warnings == warnings_of(nir, key, birth_date)


def test_a_holder_carries_what_is_odd() -> None:
    (one,) = parse_holders(Files(holder(birth=b"19540000"), number(b"284127645108900")))

    assert ["nir.key", "birthDate.lunar"] == one.warnings


@pytest.mark.parametrize(
    ("card", "environment", "accepted"),
    [
        ("real", Environment.PRODUCTION, True),
        ("test", Environment.PRODUCTION, False),
        ("demo", Environment.PRODUCTION, False),
        ("real", Environment.TEST, False),
        ("real", Environment.SIMULATED, False),
        ("test", Environment.TEST, True),
        ("demo", Environment.SIMULATED, True),
        *(("unknown", environment, True) for environment in Environment),
    ],
)
def test_a_card_of_another_environment_is_refused_and_one_of_unknown_nature_is_not(
    card: Any, environment: Environment, accepted: bool
) -> None:
    """DMP rule EX_GEN-1430, second hand."""
    seen = VitaleCard(kind=CardKind.VITALE_2, environment=card)
    if accepted:
        check_environment(seen, environment)
        return
    with pytest.raises(AgentError) as error:
        check_environment(seen, environment)
    assert Code.VITALE_ENVIRONMENT == error.value.code


def test_a_card_that_names_nobody_is_empty() -> None:
    with pytest.raises(AgentError) as error:
        read("empty")

    assert Code.VITALE_EMPTY == error.value.code


def test_the_fingerprint_is_the_cards_and_its_contents() -> None:
    def fingerprint(identities: bytes, nirs: bytes, **options: Any) -> str:
        answers = ("9000", identities + b"\x62\x82", "9000", nirs + b"\x62\x82")
        return read_vitale(ScriptedCard(*answers, **options)).fingerprint

    one = fingerprint(IDENTITIES, NIRS)

    assert one == fingerprint(IDENTITIES, NIRS)
    others = {
        fingerprint(LEO_AND_ZOE, NIRS),
        fingerprint(IDENTITIES, number(b"184122A00408957")),
        fingerprint(IDENTITIES, NIRS, atr=bytes.fromhex("3B751300004509EA9000")),
        fingerprint(IDENTITIES[:28], IDENTITIES[28:] + NIRS),  # the same bytes, cut elsewhere
        fingerprint(IDENTITIES, b""),
        fingerprint(IDENTITIES[:28], number(IDENTITIES[30:])),  # a person is no number
    }
    assert 6 == len(others - {one})
    assert one == fingerprint(IDENTITIES + bytes(40), NIRS + bytes(2))  # padding is no content


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


REFUSALS = (Code.CARD_UNKNOWN, Code.CARD_UNREADABLE, Code.VITALE_EMPTY, Code.VITALE_PROTECTED)
ANSWERS = st.binary(min_size=2, max_size=260) | st.sampled_from([b"\x90\x00", b"\x69\x82", IDENTITIES + b"\x90\x00"])
FILES = st.none() | st.binary(max_size=600) | st.sampled_from([IDENTITIES, NIRS, POINTERS])
CONTENTS = st.dictionaries(
    st.sampled_from(["MF/short 2", "VITALE/short 2", "MF_VITALE/D001", "VITALE/2001", "VITALE/D001"]), FILES
)


@given(st.lists(ANSWERS, max_size=40))
def test_any_card_gives_a_content_or_a_code(answers: list[bytes]) -> None:
    try:
        assert read_vitale(ScriptedCard(*answers)).holders
    except AgentError as error:
        assert error.code in REFUSALS


@given(CONTENTS, st.booleans(), st.booleans())
@example({"VITALE/2001": POINTERS, "MF_VITALE/D001": None}, False, False)
def test_any_bytes_in_every_file_of_every_way_give_a_content_or_a_code(
    files: dict[str, bytes | None], case4: bool, exact: bool
) -> None:
    card = Vitale(Card(files), case4=case4, exact=exact)
    try:
        assert read_vitale(PlayedCard(card)).holders
    except AgentError as error:
        assert error.code in REFUSALS


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda body: tlv(0xE0, body)))
def test_any_pointer_file_gives_files_to_select_or_a_code(file: bytes) -> None:
    try:
        for application, file_id in parse_pointers(file):
            assert 2 == len(file_id) and len(application) == 5 + application[4] <= 21
    except AgentError as error:
        assert Code.CARD_UNREADABLE == error.code


@given(st.integers(0, len(POINTERS) - 1), st.integers(0, 255))
def test_one_byte_of_the_pointers_gone_wrong_gives_a_content_or_a_code(place: int, byte: int) -> None:
    wrong = POINTERS[:place] + bytes([byte]) + POINTERS[place + 1 :]
    try:
        read_vitale(PlayedCard(Vitale(Card({"VITALE/2001": wrong, "MF_VITALE/D001": IDENTITIES}))))
    except AgentError as error:
        assert error.code in REFUSALS
