import queue
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import CardKind, NirOf, ReaderSeen
from agent.nir import key_of
from agent.readers.desk import read_first_vitale
from agent.readers.kinds import kind_of
from agent.readers.transcript import (
    Exchange,
    Selected,
    SimulatedReaders,
    format_transcript,
    load_transcript,
    parse_transcript,
    shipped_cards,
)
from agent.readers.vitale import read_vitale
from tests.readers.scripted import desk, transcript_lines

SELECT_MF, READ = bytes.fromhex("00A40000023F00"), bytes.fromhex("00B0820000")
LINES = (
    "=> 00 A4 00 00 02 3F 00",
    "<= 90 00",
    "=> 00b0820000",
    "<= CAFE9000",
    "=> 00 A4 *",
    "<= 6A 82",
    "=> *",
    "<= 6E 00",
)

HOLDERS = {
    "durand-two-holders": [("DURAND", "HÉLÈNE", "1984-12-31"), ("DURAND", "LÉO", "2015-02-01")],
    "twins": [("DURAND", "LÉO", "2015-02-01"), ("DURAND", "ZOÉ", "2015-02-01")],
    "lunar-date": [("BENALI", "AMINA", "1954-00-00")],
    "corsican": [("EXEMPLE", "ORSU", "1984-12-01")],
    "d001": [("DURAND", "HÉLÈNE", "1984-12-31"), ("DURAND", "LÉO", "2015-02-01")],
    "pointers": [("DURAND", "HÉLÈNE", "1984-12-31"), ("DURAND", "LÉO", "2015-02-01")],
    "adrdeux": [("ADRDEUX", "LAURENT", "1981-01-01")],
    "adrun-family": [("ADRUN", "ZOE", "1975-12-31"), ("ADRUN", "NOÉ", "2012-03-04")],
}


class Told:
    """What a watcher was told, in order."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[list[ReaderSeen] | None] = queue.SimpleQueue()

    def next(self) -> list[tuple[str, CardKind | None]]:
        seen = self.news.get(timeout=10)
        assert seen is not None
        return [(one.reader, one.card.kind if one.card else None) for one in seen]


@pytest.mark.parametrize("name", HOLDERS)
def test_every_shipped_vitale_is_read_through_the_real_reader(name: str) -> None:
    with desk(Lecteur=name).transaction("Lecteur") as card:
        holders = read_vitale(card).holders

    assert HOLDERS[name] == [(one.name, one.given_names, one.birth_date) for one in holders]
    assert all(one.nir_key == key_of(one.nir) for one in holders)


def test_the_shipped_cards_are_of_every_kind_that_a_desk_meets() -> None:
    kinds = {name: kind_of(card.atr) for name, card in shipped_cards().items()}

    assert {
        **dict.fromkeys([*HOLDERS, "empty", "protected"], CardKind.VITALE_2),
        "vitale1": CardKind.VITALE_1,
        "cpx": CardKind.CPX,
    } == kinds
    assert all(card.title for card in shipped_cards().values())


def test_the_default_desk_holds_a_family_that_insi_knows_and_a_cps() -> None:
    """The first holder is the official fictitious ADRUN ZOE; two holders, so that a page must ask."""
    readers = SimulatedReaders.default()

    reading = read_first_vitale(readers, reader=None, prefer=(), exclude=())

    assert [CardKind.VITALE_2, CardKind.CPX] == [one.card.kind for one in readers.seen() if one.card]
    assert [("2751263220749", "74", NirOf.INSURED)] * 2 == [
        (one.nir, one.nir_key, one.nir_of) for one in reading.content.holders
    ]


def test_an_answer_depends_on_what_is_selected() -> None:
    with desk(Lecteur=parse_transcript(transcript_lines(*LINES))).transaction("Lecteur") as card:
        assert (b"", 0x6E00) == card.transmit(READ)
        assert (b"", 0x9000) == card.transmit(SELECT_MF)
        assert (b"\xca\xfe", 0x9000) == card.transmit(READ)
        assert (b"", 0x6A82) == card.transmit(bytes.fromhex("00A40000022F00"))
        assert (b"\xca\xfe", 0x9000) == card.transmit(READ)


def test_a_command_of_no_line_is_refused_as_a_card_does() -> None:
    with desk(Lecteur=parse_transcript(transcript_lines())).transaction("Lecteur") as card:
        assert (b"", 0x6D00) == card.transmit(READ)
        assert (b"", 0x6D00) == card.transmit(b"")


def test_a_card_left_in_its_reader_keeps_its_state_and_one_put_back_does_not() -> None:
    readers = desk(Lecteur=parse_transcript(transcript_lines(*LINES)))
    with readers.transaction("Lecteur") as card:
        card.transmit(SELECT_MF)
    with readers.transaction("Lecteur") as card:
        assert (b"\xca\xfe", 0x9000) == card.transmit(READ)

    readers.insert("Lecteur", None)
    readers.insert("Lecteur", "own-Lecteur")

    with readers.transaction("Lecteur") as card:
        assert (b"", 0x6E00) == card.transmit(READ)


def test_a_card_that_is_reset_forgets_what_was_selected() -> None:
    readers = desk(Lecteur=parse_transcript(transcript_lines(*LINES)))
    with readers.transaction("Lecteur") as card:
        card.transmit(SELECT_MF)

    readers.reset("Lecteur")

    with readers.transaction("Lecteur") as card:
        assert (b"", 0x6E00) == card.transmit(READ)


@pytest.mark.parametrize(("reader", "code"), [("Lecteur", Code.CARD_ABSENT), ("Autre", Code.READER_ABSENT)])
def test_only_a_card_that_is_there_is_reset(reader: str, code: Code) -> None:
    with pytest.raises(AgentError) as error:
        desk(Lecteur=None).reset(reader)

    assert code == error.value.code


def test_a_reset_waits_for_the_transaction_of_somebody_else() -> None:
    readers, order = desk(Lecteur="adrdeux"), []

    def reset() -> None:
        readers.reset("Lecteur")
        order.append("reset")

    thread = threading.Thread(target=reset)
    with readers.transaction("Lecteur") as card:
        thread.start()
        card.transmit(SELECT_MF)
        order.append("read")
    thread.join(10)

    assert ["read", "reset"] == order


APPLICATIONS = (
    "=> 00A4040001AA", "<= 6102",
    "=> 00C0000002", "<= 0A0A9000",
    "=> 00A40200022001", "<= 6101",
    "=> 00C0000001", "<= 0A9000",
    "=> 00B0000000", "<= 0B9000",
    "=> 00A4040001CC", "<= 9000",
    "=> 00A40200022001", "<= 9000",
    "=> 00B0000000", "<= 6101",
    "=> 00C0000001", "<= 0C9000",
)  # fmt: skip


def test_a_file_belongs_to_its_application_and_a_get_response_to_the_command_before() -> None:
    with desk(Lecteur=parse_transcript(transcript_lines(*APPLICATIONS))).transaction("Lecteur") as card:

        def say(command: str) -> str:
            data, status = card.transmit(bytes.fromhex(command))
            return f"{data.hex()} {status:04X}"

        assert " 6D00" == say("00A40200022001")  # in no application
        assert [" 6102", "0a0a 9000"] == [say("00A4040001AA"), say("00C0000002")]
        assert [" 6101", "0a 9000", "0b 9000"] == [say("00A40200022001"), say("00C0000001"), say("00B0000000")]
        assert [" 9000", " 9000"] == [say("00A4040001CC"), say("00A40200022001")]
        assert [" 6101", "0c 9000"] == [say("00B0000000"), say("00C0000001")]
        assert " 9000" == say("00A4040001CC")
        assert " 6D00" == say("00B0000000")


def test_a_card_taken_out_in_the_middle_is_said() -> None:
    readers = desk(Lecteur="adrdeux")
    with readers.transaction("Lecteur") as card:
        card.transmit(SELECT_MF)
        readers.insert("Lecteur", "corsican")

        with pytest.raises(AgentError) as error:
            card.transmit(READ)

    assert Code.CARD_REMOVED == error.value.code


@pytest.mark.parametrize(("reader", "code"), [("Lecteur", Code.CARD_ABSENT), ("Autre", Code.READER_ABSENT)])
def test_an_empty_reader_and_a_missing_one_are_said(reader: str, code: Code) -> None:
    with pytest.raises(AgentError) as error, desk(Lecteur=None).transaction(reader):
        pass

    assert code == error.value.code


def test_only_known_cards_go_into_known_readers() -> None:
    readers = desk(Lecteur=None)

    with pytest.raises(AgentError) as unknown_card:
        readers.insert("Lecteur", "carte-bleue")
    with pytest.raises(AgentError) as unknown_reader:
        readers.insert("Autre", "adrdeux")

    assert Code.CARD_UNKNOWN == unknown_card.value.code
    assert "adrdeux" in unknown_card.value.facts["cards"]
    assert Code.READER_ABSENT == unknown_reader.value.code
    assert [ReaderSeen(reader="Lecteur")] == readers.seen()


def test_a_second_transaction_waits_for_the_first() -> None:
    readers, order = desk(Lecteur="adrdeux"), []

    def second() -> None:
        with readers.transaction("Lecteur"):
            order.append("second")

    thread = threading.Thread(target=second)
    with readers.transaction("Lecteur") as card:
        thread.start()
        card.transmit(SELECT_MF)
        order.append("first")
    thread.join(10)

    assert ["first", "second"] == order


def test_a_watcher_is_told_the_start_and_each_change_until_it_is_closed() -> None:
    readers, told = desk(A="cpx", B=None), Told()
    watch = readers.watch(told.news.put)

    assert [("A", CardKind.CPX), ("B", None)] == told.next()
    readers.insert("B", "adrdeux")
    assert [("A", CardKind.CPX), ("B", CardKind.VITALE_2)] == told.next()
    readers.insert("B", None)
    assert [("A", CardKind.CPX), ("B", None)] == told.next()

    watch.close()
    watch.close()
    readers.insert("B", "adrdeux")
    assert told.news.empty()


def test_a_swapped_card_is_seen_to_leave_first() -> None:
    readers, told = desk(A="adrdeux"), Told()
    watch = readers.watch(told.news.put)
    readers.insert("A", "corsican")
    watch.close()

    assert [CardKind.VITALE_2, None, CardKind.VITALE_2] == [told.next()[0][1] for _ in range(3)]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (3, transcript_lines("90 00")),
        (3, transcript_lines("=> 0")),
        (3, transcript_lines("=> * 00")),
        (4, transcript_lines("=> 00", "<= 90")),
        (4, transcript_lines("=> 00", "<= 9000 *")),
        (1, "ATR"),
        (1, "ATR xy"),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number(line: int, text: str) -> None:
    with pytest.raises(AgentError) as error:
        parse_transcript(text)

    assert (Code.CONFIG_INVALID, f"transcript line {line}") == (error.value.code, error.value.detail)


def test_a_transcript_without_atr_is_refused() -> None:
    with pytest.raises(AgentError) as error:
        parse_transcript("# a card\n=> 00\n<= 9000")

    assert Code.CONFIG_INVALID == error.value.code


def test_a_file_that_is_no_transcript_is_named(tmp_path: Path) -> None:
    files = {"absent": None, "image": b"\xff\xd8\xff", "empty": b"", "words": b"ATR 3B\nune phrase"}
    for name, content in files.items():
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(AgentError) as error:
            load_transcript(file)
        assert (Code.CONFIG_INVALID, str(file)) == (error.value.code, error.value.facts["setting"])


def test_the_default_desk_takes_a_given_card_in_the_place_of_the_family() -> None:
    readers = SimulatedReaders.default(vitale=shipped_cards()["corsican"])

    reading = read_first_vitale(readers, reader=None, prefer=(), exclude=())

    assert ["ORSU"] == [one.given_names for one in reading.content.holders]
    assert "Simulateur Vitale 0" == reading.reader


commands = st.sampled_from(
    ["00A40000023F00", "00A4040001AA", "00A4040001BB", "00A40200022001", "00A40200022002", "00B0000000", "00B0820000"]
).map(bytes.fromhex) | st.binary(min_size=4, max_size=8)
answers = st.builds(
    lambda data, status: data + status, st.binary(max_size=30), st.sampled_from([b"\x90\0", b"\x6a\x82"])
)


@given(st.binary(min_size=1, max_size=33), st.dictionaries(st.tuples(commands, commands), answers, max_size=20))
def test_what_was_written_answers_as_it_was_said(atr: bytes, said: dict[tuple[bytes, bytes], bytes]) -> None:
    """Each part begins with a SELECT of its own application, so no two answers are of one place."""
    parts = {}
    for number, ((first, second), answer) in enumerate(said.items()):
        select = bytes.fromhex("00A4040002") + number.to_bytes(2, "big")
        others = [Exchange(command, answer) for command in dict.fromkeys((first, second)) if not _selects(command)]
        parts[f"part {number}"] = [Exchange(select, b"\x90\0"), *others]

    card = parse_transcript(format_transcript("a title", atr, parts))

    assert ("a title", atr) == (card.title, card.atr)
    with desk(Lecteur=card).transaction("Lecteur") as replay:
        for exchange in [exchange for part in parts.values() for exchange in part]:
            data, status = replay.transmit(exchange.command)
            assert exchange.answer == data + status.to_bytes(2, "big")


def _selects(command: bytes) -> bool:
    return command[1] in (0xA4, 0xC0)


@given(st.lists(st.tuples(st.sampled_from(["#", "ATR", "=>", "<=", ""]), st.text("0123456789AFaf *xé\n", max_size=20))))
def test_any_text_is_a_card_or_a_code(lines: list[tuple[str, str]]) -> None:
    try:
        card = parse_transcript("\n".join(f"{mark} {rest}" for mark, rest in lines))
        assert len(card.answer(Selected(), READ)) >= 2
    except AgentError as error:
        assert Code.CONFIG_INVALID == error.code
