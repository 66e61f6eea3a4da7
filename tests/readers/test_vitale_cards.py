"""Every sample card through a real card service: pcscd, the vpcd driver, the agent's own PC/SC edge."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.errors import AgentError, Code
from agent.readers.desk import DeskReading, read_first_vitale, reread
from agent.readers.pcsc import PcscReaders
from tests.cards.process import CardProcess
from tests.cards.vitale import CARDS
from tests.parts.pcscd import Pcscd

HELENE = ("DURAND", "HÉLÈNE", "1984-12-31", "19841231", "284127645108993", [])
LEO = ("DURAND", "LÉO", "2015-02-01", "20150201", "284127645108993", [])
ZOE = ("DURAND", "ZOÉ", "2015-02-01", "20150201", "284127645108993", [])


def amina(raw: str, date: str | None) -> tuple[Any, ...]:
    return "BENALI", "AMINA", date, raw, "284127645108993", ["birthDate.lunar"]


def claude(
    *,
    nir: str = "284127645108993",
    date: str | None = "1970-01-01",
    raw: str = "19700101",
    warnings: tuple[str, ...] = (),
) -> tuple[Any, ...]:
    return "EXEMPLE", "CLAUDE", date, raw, nir, list(warnings)


def durands(nir: str, *warnings: str) -> list[tuple[Any, ...]]:
    return [(*one[:4], nir, list(warnings)) for one in (HELENE, LEO)]


# card → its way, and its holders: name, given names, birth date and as on the card, NIR with key, what is odd
READ: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "two-holders": ("short", [HELENE, LEO]),
    "twins": ("short", [LEO, ZOE]),
    "own-numbers": ("short", [HELENE, (*LEO[:4], "184122A00408957", [])]),
    "more-numbers-than-holders": ("short", [claude()]),
    "no-number": ("short", durands("", "nir.length")),
    "nine-children": (
        "short",
        [
            ("EXEMPLE", f"ENFANT {index}", f"2015-02-0{index}", f"2015020{index}", "284127645108993", [])
            for index in range(1, 10)
        ],
    ),
    "one-block": ("short", [HELENE, LEO]),
    "lunar": ("short", [amina("19540000", "1954-00-00")]),
    "month-13": ("short", [amina("19541300", None)]),
    "30-february": ("short", [claude(date="1970-02-30", raw="19700230", warnings=("birthDate.lunar",))]),
    "short-date": ("short", [claude(date=None, raw="700101", warnings=("birthDate.unreadable",))]),
    "no-date": ("short", [claude(date=None, raw="", warnings=("birthDate.unreadable",))]),
    "corsica-a": ("short", [("EXEMPLE", "ORSU", "1984-12-01", "19841201", "184122A00408957", [])]),
    "corsica-b": ("short", [("EXEMPLE", "SAVERIA", "1955-08-01", "19550801", "255082B03304283", [])]),
    "provisional": ("short", [claude(nir="555555123456729", warnings=("nir.provisional",))]),
    "wrong-key": ("short", durands("284127645108900", "nir.key")),
    "short-number": ("short", durands("28412764510", "nir.length")),
    "long-number": ("short", durands("28412764510899312", "nir.length")),
    "padding": ("short", [HELENE, LEO]),
    "long-lengths": ("short", [HELENE, LEO]),
    "d001": ("d001", [HELENE, LEO]),
    "short-protected": ("d001", [HELENE, LEO]),
    "short-garbled": ("d001", [HELENE, LEO]),
    "pointers": ("pointers", [HELENE, LEO]),
    "pointers-without-number": ("pointers", durands("", "nir.length")),
}
# card → the code and a fact that comes with it
REFUSED: dict[str, tuple[Code, dict[str, Any]]] = {
    "empty": (Code.VITALE_EMPTY, {}),
    "protected": (Code.VITALE_PROTECTED, {"status": "6982"}),
    "garbled": (Code.CARD_UNREADABLE, {}),
    "no-way": (Code.CARD_UNREADABLE, {}),
    "vitale-1": (Code.VITALE_TOO_OLD, {}),
    "parking": (Code.CARD_UNKNOWN, {"atr": "3F6525002209699000"}),
    "cps": (Code.VITALE_CPX_INSTEAD, {}),
    "foreign": (Code.CARD_UNKNOWN, {"atr": "3B751300004409EA9000"}),
    "foreign-with-mf": (Code.CARD_UNKNOWN, {"atr": "3B751300004409EA9000"}),
    "mute": (Code.CARD_MUTE, {}),
    "pulled": (Code.CARD_REMOVED, {}),
}


def card_in(reader: str) -> str | None:
    """The ATR that the card service sees in this reader; None without a card."""
    return next((one.card.atr if one.card else None for one in PcscReaders().seen() if one.reader == reader), None)


def until(reader: str, wanted: Callable[[str | None], bool]) -> None:
    deadline = time.monotonic() + 10
    while not wanted(card_in(reader)):
        assert time.monotonic() < deadline, f"{reader}: {card_in(reader)}"
        time.sleep(0.01)


def hand(port: int) -> Iterator[Callable[..., CardProcess]]:
    """Puts one card after the other into a reader; it is empty again at the end."""
    used: set[str] = set()
    inside: tuple[str, tuple[str, int]] | None = None
    with CardProcess("tests.cards.vitale", port) as player:

        def insert(card: str, into: tuple[str, int], **manners: bool) -> CardProcess:
            """A card of the same ATR takes the place of the one before without leaving the reader."""
            nonlocal inside
            reader, where = into
            atr = CARDS[card].atr
            player.ask("play", card=card, **manners)
            if inside != (atr, into):
                player.remove()
                until(reader, lambda seen: seen is None)
                assert player.ask("insert", into=where)
                until(reader, lambda seen: seen == atr)
            used.add(reader)
            inside = None if CARDS[card].pull_at else (atr, into)
            return player

        yield insert
    for reader in used:
        until(reader, lambda seen: seen is None)


@pytest.fixture(scope="module")
def vitale(pcscd: Pcscd) -> Iterator[Callable[..., CardProcess]]:
    yield from hand(pcscd.port_of("Vitale"))


@pytest.fixture
def second(pcscd: Pcscd) -> Iterator[Callable[..., CardProcess]]:
    yield from hand(pcscd.port_of("CPS"))


@pytest.fixture
def place(pcscd: Pcscd) -> tuple[str, int]:
    return pcscd.reader("Vitale"), pcscd.port_of("Vitale")


@pytest.fixture
def other_slot(pcscd: Pcscd) -> tuple[str, int]:
    """The second slot of the same case."""
    return "Vitale 00 01", pcscd.port_of("Vitale") + 1


@pytest.fixture
def other_reader(pcscd: Pcscd) -> tuple[str, int]:
    return pcscd.reader("CPS"), pcscd.port_of("CPS")


def read(reader: str | None) -> DeskReading:
    return read_first_vitale(PcscReaders(), reader=reader, prefer=(), exclude=())


def people(reading: DeskReading) -> list[tuple[Any, ...]]:
    return [
        (one.name, one.given_names, one.birth_date, one.birth_date_raw, one.nir + one.nir_key, one.warnings)
        for one in reading.content.holders
    ]


def test_every_sample_card_is_in_one_of_the_tables() -> None:
    assert set(CARDS) == {*READ, *REFUSED}


@pytest.mark.parametrize("card", READ)
def test_a_sample_card_gives_its_holders(vitale: Callable[..., CardProcess], place: tuple[str, int], card: str) -> None:
    vitale(card, place)

    reading = read(place[0])

    assert READ[card] == (reading.content.way, people(reading))
    reread(PcscReaders(), reading)


@pytest.mark.parametrize("card", REFUSED)
def test_a_sample_card_that_gives_none_is_said(
    vitale: Callable[..., CardProcess], place: tuple[str, int], card: str
) -> None:
    vitale(card, place)

    with pytest.raises(AgentError) as error:
        read(place[0])

    code, facts = REFUSED[card]
    assert code == error.value.code
    assert facts.items() <= error.value.facts.items()


@pytest.mark.parametrize("card", ["two-holders", "d001", "pointers", "nine-children", "one-block", "empty"])
def test_t0_manners_change_nothing_in_any_way(
    vitale: Callable[..., CardProcess], place: tuple[str, int], card: str
) -> None:
    vitale(card, place, case4=True, exact=True)

    if card in READ:
        reading = read(place[0])
        assert READ[card] == (reading.content.way, people(reading))
    else:
        with pytest.raises(AgentError) as error:
            read(place[0])
        assert REFUSED[card][0] == error.value.code


def test_a_card_in_the_other_slot_of_the_case_is_found(
    vitale: Callable[..., CardProcess], place: tuple[str, int], other_slot: tuple[str, int]
) -> None:
    """R5: a bi-slot reader is two readers with one stem."""
    vitale("twins", other_slot)

    assert other_slot[0] == read(place[0]).reader == read(None).reader


def test_a_card_moved_to_another_reader_is_still_the_card_that_was_read(
    vitale: Callable[..., CardProcess],
    place: tuple[str, int],
    other_slot: tuple[str, int],
    other_reader: tuple[str, int],
) -> None:
    """R4: the cards were in each other's reader."""
    vitale("two-holders", place)
    reading = read(place[0])

    vitale("two-holders", other_slot)
    reread(PcscReaders(), reading)
    vitale("two-holders", other_reader)
    reread(PcscReaders(), reading)


def test_a_card_swapped_between_choice_and_call_is_noticed_and_the_first_one_back_is_accepted(
    vitale: Callable[..., CardProcess], place: tuple[str, int]
) -> None:
    """R16, CNDA test 1.03: never card 1's person with card 4. Same reader, same ATR, other people."""
    vitale("two-holders", place)
    reading = read(place[0])

    vitale("cps", place)  # another ATR: the card before is taken out
    vitale("twins", place)
    with pytest.raises(AgentError) as error:
        reread(PcscReaders(), reading)
    vitale("cps", place)
    vitale("two-holders", place)
    reread(PcscReaders(), reading)

    assert Code.VITALE_CHANGED == error.value.code


@pytest.mark.parametrize("first", ["protected", "empty", "vitale-1", "foreign", "mute", "cps"])
def test_a_card_that_cannot_be_read_does_not_hide_a_good_one(
    vitale: Callable[..., CardProcess],
    second: Callable[..., CardProcess],
    place: tuple[str, int],
    other_reader: tuple[str, int],
    first: str,
) -> None:
    """R4: CPS and Vitale swapped, or any wrong card in the Vitale's reader."""
    vitale(first, place)
    second("corsica-a", other_reader)

    assert other_reader[0] == read(place[0]).reader


def test_of_two_good_cards_the_one_in_the_reader_asked_for_is_read(
    vitale: Callable[..., CardProcess],
    second: Callable[..., CardProcess],
    place: tuple[str, int],
    other_reader: tuple[str, int],
) -> None:
    vitale("corsica-a", place)
    second("corsica-b", other_reader)

    assert ["ORSU"] == [one.given_names for one in read(place[0]).content.holders]
    assert ["SAVERIA"] == [one.given_names for one in read(other_reader[0]).content.holders]
