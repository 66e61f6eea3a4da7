"""Recording a test card: nobody who was on it is in the file, and the file still reads as the card did."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import CardKind, VitaleHolder
from agent.nir import key_of
from agent.readers.kinds import kind_of
from agent.readers.recording import Recording, Refusal, record, survives
from agent.readers.transcript import SimulatedReaders, parse_transcript
from agent.readers.vitale import WAYS, Files, VitaleContent, parse_holders, read_vitale
from tests.cards.vitale import CARDS, DURAND, NIRS, Card, Pulled, Vitale, identities, nirs, short_path, tlv
from tests.readers.scripted import ScriptedCard

READABLE = [name for name, card in CARDS.items() if not card.pull_at]
PEOPLE = re.compile("DURAND|HÉLÈNE|LÉO|ZOÉ|EXEMPLE|ENFANT|CLAUDE|BENALI|AMINA|ORSU|SAVERIA".encode("latin-1"))


class Played:
    """A card program without a reader; it hands out long answers in pieces when told so. Keeps the commands."""

    def __init__(self, card: Card, *, piece: int = 0, **manners: bool) -> None:
        self._vitale, self._piece, self._rest = Vitale(card, **manners), piece, b""
        self.atr = self._vitale.atr
        self.commands: list[str] = []

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        self.commands.append(command.hex().upper())
        if command[1] == 0xC0 and self._rest:
            data, self._rest = self._rest[: self._piece], self._rest[self._piece :]
            return data, 0x6100 | min(self._piece, len(self._rest)) if self._rest else 0x9000
        try:
            answer = self._vitale.apdu(command)
        except Pulled:
            raise AgentError(Code.CARD_REMOVED) from None
        if self._piece and len(answer) - 2 > self._piece and answer[-2:] == b"\x90\0":
            self._rest = answer[:-2]
            return b"", 0x6100 | self._piece
        return answer[:-2], int.from_bytes(answer[-2:], "big")


def recorded(card: Card, *, piece: int = 0, **manners: bool) -> Recording:
    return record(Played(card, piece=piece, **manners), kind_of(bytes.fromhex(card.atr)), test_card=True)


def refusal(card: Card) -> str:
    with pytest.raises(AgentError) as refused:
        recorded(card)
    assert Code.RECORDING_REFUSED == refused.value.code
    return str(refused.value.facts["reason"])


def replayed(recording: Recording) -> VitaleContent:
    with SimulatedReaders({"": "card"}, {"card": parse_transcript(recording.text)}).transaction("") as card:
        return read_vitale(card)


def read_by(card: Card) -> VitaleContent | Code:
    try:
        return read_vitale(Played(card))
    except AgentError as error:
        return error.code


def answers(recording: Recording) -> bytes:
    """All that the file says the card said, one after the other."""
    return answers_of(recording.text)


def answers_of(text: str) -> bytes:
    return b"".join(parse_transcript(text).answers.values())


def shape(holders: tuple[VitaleHolder, ...]) -> list[object]:
    return [
        (len(one.name), len(one.given_names or ""), one.birth_date is None, one.warnings, len(one.nir + one.nir_key))
        for one in holders
    ]


def twins(holders: tuple[VitaleHolder, ...]) -> list[tuple[bool, bool]]:
    """Who shares what with the first."""
    first = holders[0]
    return [(one.birth_date_raw == first.birth_date_raw, one.name == first.name) for one in holders]


# ---------------------------------------------------------------- a card and its recording


@pytest.mark.parametrize("manners", [{}, {"case4": True, "exact": True}, {"shorter": True}])
@pytest.mark.parametrize("name", READABLE)
def test_any_card_is_recorded_without_its_people_and_reads_the_same(name: str, manners: dict[str, bool]) -> None:
    card = CARDS[name]
    recording = recorded(card, **manners)
    everything = answers(recording)

    assert not PEOPLE.search(everything)
    for file in filter(None, card.files.values()):
        assert all(number not in everything for number in re.findall(rb"[0-9AB]{6,}", file) if number.strip(b"0"))
    was = read_by(card)
    if isinstance(was, VitaleContent):
        now = replayed(recording)
        assert (was.way, shape(was.holders), twins(was.holders)) == (now.way, shape(now.holders), twins(now.holders))
        assert was.way in recording.ways
        assert len(was.holders) == recording.holders


def test_a_person_met_on_two_ways_is_one_invented_person() -> None:
    card = Card({**short_path(), "MF_VITALE/D001": identities(DURAND)})

    recording = recorded(card)

    assert ("short", "d001") == recording.ways
    with SimulatedReaders({"": "card"}, {"card": parse_transcript(recording.text)}).transaction("") as replay:
        by_way = [parse_holders(files) for way in WAYS if (files := way.read(replay))]
    assert by_way[0] == by_way[1]
    assert "DURAND" not in answers(recording).decode("latin-1")


def test_accents_corsica_and_a_wrong_key_stay_what_they_were() -> None:
    person = replayed(recorded(CARDS["corsica-a"])).holders[0]
    wrong = replayed(recorded(CARDS["wrong-key"])).holders[0]

    assert "2A" == person.nir[5:7]
    assert person.nir_key == key_of(person.nir)
    assert wrong.nir_key != key_of(wrong.nir)
    assert not (wrong.given_names or "").isascii()


@pytest.mark.parametrize("piece", [4, 7, 32])
def test_a_name_cut_between_two_answers_is_replaced_too(piece: int) -> None:
    recording = recorded(CARDS["two-holders"], piece=piece)
    with SimulatedReaders({"": "card"}, {"card": parse_transcript(recording.text)}).transaction("") as card:
        files = WAYS[0].read(card)

    assert files is not None
    assert shape(parse_holders(files)) == shape(parse_holders(Files(identities(DURAND), nirs(NIRS))))
    assert b"DURAND" not in files.identities


def test_a_file_of_two_blocks_is_one_file() -> None:
    """The name of the eleventh holder lies across byte 256."""
    people = ";".join(f"EXEMPLE,ENFANT {letter},20150201" for letter in "ABCDEFGHIJKLM")
    file = identities(people)
    assert file[254:258] in file and not file[:256].endswith(b"0201")

    recording = recorded(Card(short_path(people)))

    assert 13 == recording.holders
    assert "EXEMPLE" not in answers(recording).decode("latin-1")


def test_what_nobody_documents_is_zeroes_of_the_same_length() -> None:
    certificate, photograph = tlv(0x10, b"\xca\xfe" * 20), b"\x04\x00DURAND 1 RUE DE LA PAIX"
    address = "1 rue de la Paix, DURAND".encode("utf-16-le")
    unknown = b"".join([tlv(0x65, tlv(0x80, b"DURAND") + tlv(0x94, b"rang 1")), b"\x7f\x21" + certificate[1:]])
    card = replace(
        CARDS["pointers"],
        files={**CARDS["pointers"].files, "VITALE/D020": photograph, "MF_VITALE/2F00": address, "VITALE/D002": unknown},
    )

    found = list(parse_transcript(recorded(card).text).answers.values())

    assert bytes(len(photograph)) + b"\x90\0" in found
    assert bytes(len(address)) + b"\x90\0" in found
    kept = next(answer for answer in found if b"\x7f\x21" in answer)
    assert tlv(0x94, bytes(6)) in kept
    assert kept.endswith(b"\x7f\x21" + bytes([len(certificate) - 2]) + bytes(len(certificate) - 2) + b"\x90\0")


def test_a_recording_can_be_recorded_again() -> None:
    first = recorded(CARDS["two-holders"])
    with SimulatedReaders({"": "card"}, {"card": parse_transcript(first.text)}).transaction("") as card:
        second = record(card, CardKind.VITALE_2, test_card=True)

    assert (first.ways, first.holders) == (second.ways, second.holders)
    assert first.text != second.text


# ---------------------------------------------------------------- what is not recorded


@pytest.mark.parametrize("kind", [CardKind.CPX, CardKind.CPX_CONTACTLESS])
def test_a_professionals_card_is_only_asked_to_select_and_gives_status_words(kind: CardKind) -> None:
    card = ScriptedCard("6F0D8401AA9000", "6A86", "9000", "6A82", "6A82", atr=bytes.fromhex(CARDS["cps"].atr))

    recording = record(card, kind, test_card=True)

    assert {"00A4"} == {command[:4] for command in card.commands}
    assert {bytes.fromhex(status) for status in ("9000", "6A86", "6A82")} == set(
        parse_transcript(recording.text).answers.values()
    )
    assert ((), 0) == (recording.ways, recording.holders)


def test_without_the_word_of_a_person_no_card_is_touched() -> None:
    card = ScriptedCard()

    with pytest.raises(AgentError) as refused:
        record(card, CardKind.VITALE_2, test_card=False)

    assert (Code.RECORDING_REFUSED, Refusal.NOT_A_TEST) == (refused.value.code, refused.value.facts["reason"])
    assert [] == card.commands


def test_a_card_that_leaves_is_no_recording() -> None:
    with pytest.raises(AgentError) as gone:
        recorded(CARDS["pulled"])

    assert Code.CARD_REMOVED == gone.value.code


class Named(Played):
    """Its VITALE application says this of itself when selected."""

    def __init__(self, information: bytes) -> None:
        super().__init__(CARDS["two-holders"])
        self._information = information

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        data, status = super().transmit(command)
        return (self._information, status) if b"VITALE" in command and status == 0x9000 else (data, status)


@pytest.mark.parametrize(
    "name",
    [
        b"284127645108993",  # the card's own
        b"1 84 12 76 451 089",  # anybody's
        b"184122A004089",
        bytes.fromhex("0184127645108946"),
        bytes.fromhex("2841276451089FFF"),  # the card's own, packed, without its key
        b"DURAND",
        "durand".encode("utf-16-be"),
        bytes.fromhex("20150201"),
    ],
)
def test_a_person_in_the_structure_of_the_card_is_refused(name: bytes) -> None:
    """The name of an application is kept as it is, so nobody may be in it."""
    with pytest.raises(AgentError) as refused:
        record(Named(tlv(0x6F, tlv(0x84, name))), CardKind.VITALE_2, test_card=True)

    assert Refusal.SURVIVES == refused.value.facts["reason"]
    assert "284" not in str(refused.value)


def test_a_harmless_name_is_kept() -> None:
    name = tlv(0x6F, tlv(0x84, bytes.fromhex("E828BD080FD2500000044164E86C65")))

    recording = record(Named(name), CardKind.VITALE_2, test_card=True)

    assert name.hex(" ").upper() in recording.text


def test_a_name_too_long_for_an_application_is_zeroes() -> None:
    name = tlv(0x6F, tlv(0x84, b"12 rue de la Paix, Paris"))

    recording = record(Named(name), CardKind.VITALE_2, test_card=True)

    assert tlv(0x6F, tlv(0x84, bytes(24))) in answers(recording)


def test_more_people_than_invented_ones_is_refused() -> None:
    everybody = ";".join(f"{letter},EXEMPLE,19700101" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    assert refusal(Card(short_path(everybody))) == Refusal.NO_REPLACEMENT


def test_a_recording_that_would_read_otherwise_is_refused() -> None:
    """A short number of the agricultural regime loses what it is known by."""
    assert refusal(Card(short_path(numbers="55555512"))) == Refusal.READS_OTHERWISE


def test_a_card_that_changes_its_answer_is_refused() -> None:
    class Fickle(Played):
        def transmit(self, command: bytes) -> tuple[bytes, int]:
            data, status = super().transmit(command)
            return (data[:-1] + bytes([len(self.commands)]), status) if data else (data, status)

    with pytest.raises(AgentError) as refused:
        record(Fickle(CARDS["two-holders"], case4=True), CardKind.VITALE_2, test_card=True)

    assert Refusal.CONTRADICTS == refused.value.facts["reason"]


# ---------------------------------------------------------------- the judgement alone


@pytest.mark.parametrize(
    ("text", "so"),
    [
        (b"184127645108946", True),
        (b"xx1-84-12-76-451-089xx", True),
        (b"255 08 2B 033 042", True),
        ("1841276451089".encode("utf-16-be"), True),
        (b"100019900000001", False),  # invented
        (b"19840101 20150201", False),  # dates, invented below
        (b"D2500000024D465F", False),
        (b"9841276451089", False),  # no such sex
    ],
)
def test_what_looks_like_a_number_is_seen(text: bytes, so: bool) -> None:
    assert so == survives([text], [], [], ["100019900000001", "19840101", "20150201"])


def test_a_number_cut_between_two_answers_is_seen_when_they_are_put_together() -> None:
    assert not survives([b"1841276", b"451089"], [], [], [])
    assert survives([b"1841276" + b"451089"], [], [], [])


@pytest.mark.parametrize(("value", "so"), [("0184127645108946", True), ("0184127645108947", False), ("18", False)])
def test_packed_digits_are_a_number_when_the_key_is_right(value: str, so: bool) -> None:
    assert so == survives([], [bytes.fromhex(value)], [], [])


def test_a_date_of_nobody_is_nobodys() -> None:
    assert not survives([bytes(20), b"00000000"], [], ["00000000"], [])


# ---------------------------------------------------------------- anybody

names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdeÉÈÀÇÏéèàüß '-.", min_size=1, max_size=30).filter(str.strip)
STRUCTURE = "MF_VITALE ADÈLE BENEF POINTERS PHOTO ELSEWHERE"
dates = st.one_of(
    st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0")),
    st.sampled_from(["19540000", "19541300", "19700230", "00000000", "19700100", "700101", ""]),
)
bodies = st.builds(
    "{}{:02d}{:02d}{}{:06d}".format,
    st.integers(1, 8),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(["75", "2A", "2B", "99", "01"]),
    st.integers(0, 999999),
)
numbers = bodies.flatmap(
    lambda body: st.sampled_from([key_of(body) or "", "00", ""]).map(lambda key: body + key)
) | st.integers(0, 9999999).map("555555{:07d}00".format)
people = st.lists(st.tuples(names, names, dates), max_size=6)


def holder(name: str, given_names: str, birth_date: str, blanks: int) -> bytes:
    values = [name.encode("latin-1") + b" " * blanks, given_names.encode("latin-1"), birth_date.encode()]
    return tlv(0x65, b"".join(tlv(0x80 + index, value) for index, value in enumerate(values)))


@given(
    people=people,
    numbers=st.lists(numbers, max_size=6),
    padding=st.integers(0, 300),
    blanks=st.integers(0, 5),
    piece=st.sampled_from([0, 0, 60, 255]),
    raw=st.binary(max_size=40),
)
def test_nobody_survives_and_the_replay_has_the_same_shape(
    people: list[tuple[str, str, str]], numbers: list[str], padding: int, blanks: int, piece: int, raw: bytes
) -> None:
    file = b"".join(holder(*person, blanks) for person in people) + bytes(padding)
    card = Card({"MF/short 2": file, "VITALE/short 2": nirs(";".join(numbers)), **_pointed_to(file, raw)})
    was = read_by(card)

    try:
        recording = recorded(card, piece=piece)
    except AgentError as error:
        # somebody is called as a file or an application of the card is
        assert Refusal.SURVIVES == error.facts["reason"]
        assert any(word.strip().upper() in STRUCTURE for person in people for word in person if len(word.strip()) > 3)
        return

    everything = answers(recording)
    told = everything.replace(b"\0", b"").decode("latin-1").lower()
    for word in {word.strip() for person in people for word in person} | {number[:13] for number in numbers}:
        assert len(word) < 4 or not word.strip("0") or not any(map(str.isalnum, word)) or word.lower() not in told
    if isinstance(was, VitaleContent):
        now = replayed(recording)
        assert (shape(was.holders), twins(was.holders)) == (shape(now.holders), twins(now.holders))
        for one, other in zip(was.holders, now.holders, strict=True):
            assert one.nir != other.nir or not one.nir
            assert one.birth_date_raw != other.birth_date_raw or not one.birth_date_raw


def _pointed_to(file: bytes, raw: bytes) -> dict[str, bytes | None]:
    """The same people by the other two ways, and a file of anything."""
    return {
        **CARDS["pointers"].files,
        "MF_VITALE/D001": file,
        "VITALE/D020": raw,
        "VITALE/D002": b"",
    }


@given(st.lists(st.binary(min_size=2, max_size=80), max_size=40))
def test_a_card_that_answers_anything_is_recorded_or_refused(said: list[bytes]) -> None:
    try:
        parse_transcript(record(ScriptedCard(*said), CardKind.VITALE_2, test_card=True).text)
    except AgentError as error:
        assert error.code in (Code.RECORDING_REFUSED, Code.CARD_UNREADABLE)
