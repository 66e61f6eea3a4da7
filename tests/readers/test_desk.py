from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind, CardSeen, ReaderSeen
from agent.readers.desk import DeskReading, read_first_vitale, reread
from agent.readers.ports import Card, Readers
from agent.readers.transcript import SimulatedReaders, Transcript, parse_transcript
from tests.readers.scripted import VITALE_2, desk, transcript_lines

PROTECTED = parse_transcript(transcript_lines("=> 00A4*", "<= 9000", "=> *", "<= 6982"))
BANK = Transcript("bank card", bytes.fromhex("3B6500002063CB6800"), {})


class BrokenReaders(SimulatedReaders):
    """One reader whose card gives no ATR, or whose service dies, beside those of the desk."""

    def __init__(self, broken: str, code: Code, behind: SimulatedReaders) -> None:
        super().__init__({}, {})
        self._broken, self._code, self._behind = broken, code, behind

    def seen(self) -> list[ReaderSeen]:
        mute = ReaderSeen(reader=self._broken, card=CardSeen(kind=CardKind.UNKNOWN, atr=""))
        return [mute, *self._behind.seen()]

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        if reader == self._broken:
            raise AgentError(self._code)
        with self._behind.transaction(reader) as card:
            yield card


class WatchedReaders(SimulatedReaders):
    """Remembers in which readers a card was opened."""

    def __init__(self, behind: SimulatedReaders) -> None:
        super().__init__({}, {})
        self._behind = behind
        self.opened: list[str] = []

    def seen(self) -> list[ReaderSeen]:
        return self._behind.seen()

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        self.opened.append(reader)
        with self._behind.transaction(reader) as card:
            yield card


def read(
    readers: Readers, *, reader: str | None = None, prefer: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> DeskReading:
    return read_first_vitale(readers, reader=reader, prefer=prefer, exclude=exclude)


def refusal(readers: Readers, **options: tuple[str, ...]) -> AgentError:
    with pytest.raises(AgentError) as error:
        read(readers, **options)  # type: ignore[arg-type]  # keywords of `read`
    return error.value


def names(reading: DeskReading) -> list[str]:
    return [one.name for one in reading.content.holders]


def test_the_vitale_is_found_whatever_reader_it_is_in() -> None:
    reading = read(desk(A="cpx", B=None, C="corsican"))

    assert ("C", VITALE_2, ["EXEMPLE"]) == (reading.reader, reading.atr, names(reading))


def test_the_reader_asked_for_comes_first_then_the_preferred_ones_then_the_others() -> None:
    readers = desk(A="corsican", B="adrdeux", C="lunar-date")

    assert "A" == read(readers).reader
    assert "C" == read(readers, prefer=("zz*", "c*", "B")).reader
    assert "B" == read(readers, reader="B", prefer=("C",)).reader


def test_a_name_is_a_preference_never_a_key() -> None:
    """Reader names change: a name that is gone does not stop the reading."""
    readers = desk(A=None, B="adrdeux")

    assert "B" == read(readers, reader="Ancien lecteur 00 00", prefer=("Ancien*",)).reader
    assert "B" == read(readers, reader="A").reader


def test_an_excluded_reader_is_never_used_even_when_asked_for() -> None:
    readers = desk(A="corsican", B="adrdeux")

    assert "B" == read(readers, reader="A", exclude=("a",)).reader


def test_no_reader_is_said() -> None:
    assert Code.READER_ABSENT == refusal(desk()).code
    assert Code.READER_ABSENT == refusal(desk(A="corsican"), exclude=("*",)).code


def test_no_card_anywhere_is_said_with_the_readers() -> None:
    error = refusal(desk(A=None, B=None))

    assert (Code.VITALE_ABSENT, {"readers": ["A", "B"]}) == (error.code, error.facts)


def test_a_cpx_in_the_vitales_place_is_said_and_not_touched() -> None:
    readers = WatchedReaders(desk(A="cpx", B=None))

    error = refusal(readers)

    assert (Code.VITALE_ABSENT, {"readers": ["A", "B"], "seen": "cpx"}) == (error.code, error.facts)
    assert [] == readers.opened


def test_a_vitale_1_is_too_old() -> None:
    assert Code.VITALE_TOO_OLD == refusal(desk(A="cpx", B="vitale1")).code


def test_an_unknown_card_alone_is_said_with_its_atr_and_not_touched() -> None:
    readers = WatchedReaders(desk(A=BANK))

    error = refusal(readers)

    assert (Code.CARD_UNKNOWN, "3B6500002063CB6800") == (error.code, error.facts["atr"])
    assert [] == readers.opened


def test_an_unreadable_vitale_does_not_hide_a_readable_one() -> None:
    assert "B" == read(desk(A=PROTECTED, B="adrdeux")).reader


@pytest.mark.parametrize(("card", "code"), [(PROTECTED, Code.CARD_UNREADABLE), ("empty", Code.VITALE_EMPTY)])
def test_what_the_first_vitale_answered_is_said(card: str | Transcript, code: Code) -> None:
    assert code == refusal(desk(A="cpx", B=card)).code


def test_a_mute_card_is_said_unless_a_vitale_is_read_elsewhere() -> None:
    assert Code.CARD_MUTE == refusal(BrokenReaders("A", Code.CARD_MUTE, desk(B="cpx"))).code
    assert "B" == read(BrokenReaders("A", Code.CARD_MUTE, desk(B="adrdeux"))).reader


def test_a_card_service_that_dies_is_said_at_once() -> None:
    readers = BrokenReaders("A", Code.PCSC_UNAVAILABLE, desk(B="adrdeux"))

    assert Code.PCSC_UNAVAILABLE == refusal(readers).code


def test_the_same_card_is_found_again() -> None:
    readers = desk(A="durand-two-holders")

    reread(readers, read(readers))


def test_the_same_card_taken_out_and_put_back_is_found_again() -> None:
    readers = desk(A="durand-two-holders")
    reading = read(readers)
    readers.insert("A", None)
    readers.insert("A", "durand-two-holders")

    reread(readers, reading)


@pytest.mark.parametrize("other", [None, "twins", "empty", "cpx", "vitale1"])
def test_another_card_or_none_in_its_place_is_noticed(other: str | None) -> None:
    """CNDA test 1.03: an error, not a call."""
    readers = desk(A="durand-two-holders")
    reading = read(readers)
    readers.insert("A", other)

    with pytest.raises(AgentError) as error:
        reread(readers, reading)

    assert Code.VITALE_CHANGED == error.value.code


def test_a_reader_that_is_gone_took_the_card_with_it() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(desk(B="durand-two-holders"), reading)

    assert Code.VITALE_CHANGED == error.value.code


def test_a_card_that_cannot_be_read_now_is_not_called_another() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(BrokenReaders("A", Code.CARD_IN_USE, desk()), reading)

    assert Code.CARD_IN_USE == error.value.code
