from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind, CardSeen, ReaderSeen
from agent.readers.desk import DeskReading, PcscVitale, read_first_vitale, reread, stem_of
from agent.readers.ports import Card, Readers
from agent.readers.transcript import SimulatedReaders, Transcript, parse_transcript
from tests.readers.scripted import VITALE_2, desk, transcript_lines

PROTECTED = parse_transcript(transcript_lines("=> 00A4*", "<= 9000", "=> *", "<= 6982"))
BANK = Transcript("bank card", bytes.fromhex("3B6500002063CB6800"), {})
PARKING = parse_transcript("ATR 3F 65 25 00 22 09 69 90 00\n=> 00A40000023F00\n<= 9000\n=> *\n<= 6A82")
SLOTS = ("Lecteur X 00 00", "Lecteur X 00 01")


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


class SwappedReaders(SimulatedReaders):
    """Shows one card and holds another: they were swapped just after the look."""

    def __init__(self, shown: SimulatedReaders, held: SimulatedReaders) -> None:
        super().__init__({}, {})
        self._shown, self._held = shown, held

    def seen(self) -> list[ReaderSeen]:
        return self._shown.seen()

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        with self._held.transaction(reader) as card:
            yield card


def read(
    readers: Readers, *, reader: str | None = None, prefer: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> DeskReading:
    return read_first_vitale(readers, reader=reader, prefer=prefer, exclude=exclude)


def refusal(readers: Readers, **options: str | tuple[str, ...]) -> AgentError:
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


def test_a_reader_that_was_renumbered_still_comes_first() -> None:
    """R4: names change, "X 00 00" becomes "X 01 00" when it is plugged in again."""
    readers = desk(**{"Lecteur A 00 00": "corsican", "Lecteur X 01 00": "adrdeux", "Lecteur Y 02 00": "twins"})

    assert "Lecteur X 01 00" == read(readers, reader="Lecteur X 00 00", prefer=("*Y*",)).reader


def test_the_exact_name_comes_before_its_stem() -> None:
    readers = desk(**dict.fromkeys(SLOTS, "adrdeux"))

    assert SLOTS[1] == read(readers, reader=SLOTS[1]).reader


@pytest.mark.parametrize("slot", SLOTS)
def test_a_reader_with_two_slots_is_two_readers_with_one_stem(slot: str) -> None:
    """R5: the Vitale and the CPS may be in either."""
    (other,) = set(SLOTS) - {slot}
    readers = desk(**{slot: "adrdeux", other: "cpx"})

    assert (
        slot == read(readers).reader == read(readers, reader=SLOTS[0]).reader == read(readers, reader=SLOTS[1]).reader
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Lecteur X 00 00", "Lecteur X"),
        ("Lecteur X 0A 01", "Lecteur X"),
        ("Gemalto USB SmartCard Reader 0", "Gemalto USB SmartCard Reader"),
        ("SCR 3310 [CCID Interface] (123) 00 00", "SCR 3310 [CCID Interface] (123)"),
        ("SCR 3310 12", "SCR 3310"),
        ("Lecteur", "Lecteur"),
        ("", ""),
    ],
)
def test_a_stem_is_the_name_without_the_numbers_at_its_end(name: str, stem: str) -> None:
    assert stem == stem_of(name)


def test_a_whole_name_with_brackets_is_a_pattern_of_itself() -> None:
    """fnmatch takes brackets for a choice of letters; many readers' names hold them."""
    name = "Broadcom 58200 [Contactless SmartCard] 00 01"
    readers = desk(**{name: "corsican", "Autre 01 00": "adrdeux"})

    assert "Autre 01 00" == read(readers, exclude=(name,)).reader
    assert name == read(readers, prefer=("autre*", name), exclude=("Autre*",)).reader


def test_of_two_good_vitales_the_first_in_the_order_of_preference_is_read_each_time() -> None:
    readers = desk(A="corsican", B="adrdeux")

    assert {"A"} == {read(readers).reader for _ in range(5)}
    assert {"B"} == {read(readers, prefer=("B", "A")).reader for _ in range(5)}


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


@pytest.mark.parametrize(
    ("cards", "options"),
    [
        ({"A": "cpx"}, {}),
        ({"A": "cpx", "B": "cpx"}, {}),  # no reader is empty
        ({"A": None, "B": "cpx"}, {"reader": "B"}),  # the one asked for
        ({"A": None, "B": "cpx"}, {"prefer": ("B",)}),  # the preferred one
        ({"A": None, "B": "cpx", "C": "cpx"}, {"prefer": ("B", "C")}),
    ],
)
def test_a_cpx_where_the_vitale_was_expected_is_in_its_place(
    cards: dict[str, str | None], options: dict[str, str | tuple[str, ...]]
) -> None:
    error = refusal(desk(**cards), **options)

    assert (Code.VITALE_CPX_INSTEAD, set(cards)) == (error.code, set(error.facts["readers"]))


@pytest.mark.parametrize(
    ("cards", "options"),
    [
        ({"A": "cpx", "B": None}, {}),
        ({"A": "cpx", "B": None}, {"reader": "B"}),
        ({"A": "cpx", "B": None}, {"prefer": ("B",)}),
        ({"A": "cpx", "B": None}, {"reader": "gone", "prefer": ("gone",)}),
        ({SLOTS[0]: "cpx", SLOTS[1]: None}, {"prefer": ("Lecteur X*",)}),
    ],
)
def test_a_cpx_in_its_own_reader_is_not(
    cards: dict[str, str | None], options: dict[str, str | tuple[str, ...]]
) -> None:
    error = refusal(desk(**cards), **options)

    assert (Code.VITALE_ABSENT, "cpx") == (error.code, error.facts["seen"])


def test_an_excluded_reader_counts_neither_as_empty_nor_as_full() -> None:
    assert Code.VITALE_CPX_INSTEAD == refusal(desk(A="cpx", B=None), exclude=("B",)).code
    assert "seen" not in refusal(desk(A="cpx", B=None), exclude=("A",)).facts


def test_a_vitale_1_is_too_old() -> None:
    assert Code.VITALE_TOO_OLD == refusal(desk(A="cpx", B="vitale1")).code
    assert "C" == read(desk(A="cpx", B="vitale1", C="adrdeux")).reader


def test_the_atr_alone_never_proves_a_vitale_1() -> None:
    """pcsc-tools: bank and parking cards have the same; these know ISO commands, a Vitale 1 refuses them."""
    error = refusal(desk(A=PARKING))

    assert (Code.CARD_UNKNOWN, "3F6525002209699000") == (error.code, error.facts["atr"])


def test_an_unknown_card_is_said_rather_than_the_cpx_beside_it() -> None:
    assert Code.CARD_UNKNOWN == refusal(desk(A="cpx", B=BANK)).code
    assert Code.VITALE_ABSENT == refusal(desk(A=None, B=BANK), reader="A").code


@pytest.mark.parametrize("held", ["cpx", "vitale1"])
def test_a_card_swapped_since_the_look_is_not_taken_for_the_one_that_was_seen(held: str) -> None:
    held_readers = desk(A=held)

    assert Code.CARD_REMOVED == refusal(SwappedReaders(desk(A="adrdeux"), held_readers)).code
    assert Code.CARD_REMOVED == refusal(SwappedReaders(desk(A="vitale1"), desk(A="adrdeux"))).code


def test_an_unknown_card_alone_is_said_with_its_atr_and_not_touched() -> None:
    readers = WatchedReaders(desk(A=BANK))

    error = refusal(readers)

    assert (Code.CARD_UNKNOWN, "3B6500002063CB6800") == (error.code, error.facts["atr"])
    assert [] == readers.opened


def test_an_unreadable_vitale_does_not_hide_a_readable_one() -> None:
    assert "B" == read(desk(A=PROTECTED, B="adrdeux")).reader


@pytest.mark.parametrize(("card", "code"), [(PROTECTED, Code.VITALE_PROTECTED), ("empty", Code.VITALE_EMPTY)])
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


@pytest.mark.parametrize("other", [None, "twins", "empty", "protected", "cpx", "vitale1"])
def test_another_card_or_none_in_its_place_is_noticed(other: str | None) -> None:
    """CNDA test 1.03: an error, not a call."""
    readers = desk(A="durand-two-holders")
    reading = read(readers)
    readers.insert("A", other)

    with pytest.raises(AgentError) as error:
        reread(readers, reading)

    assert Code.VITALE_CHANGED == error.value.code


@pytest.mark.parametrize("beside", [None, "cpx", "adrdeux"])
def test_the_same_card_in_another_reader_is_the_same_card(beside: str | None) -> None:
    """R4: a reader was renumbered, or the cards were put into the right slots."""
    reading = read(desk(A="durand-two-holders"))

    reread(desk(A=beside, B="durand-two-holders"), reading)
    reread(desk(C=beside, D="durand-two-holders"), reading)


def test_the_same_people_by_another_way_are_the_same_card() -> None:
    reading = read(desk(A="durand-two-holders"))

    reread(desk(A="pointers"), reading)


def test_a_card_in_an_excluded_reader_is_not_there() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(desk(A=None, B="durand-two-holders"), reading, exclude=("B",))

    assert Code.VITALE_CHANGED == error.value.code


def test_a_reader_that_is_gone_took_the_card_with_it() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(desk(B="adrdeux"), reading)

    assert Code.VITALE_CHANGED == error.value.code


def test_swaps_between_two_looks_do_not_matter_when_the_card_is_back() -> None:
    readers = desk(A="durand-two-holders")
    reading = read(readers)
    for card in ("twins", "durand-two-holders"):
        readers.insert("A", card)

    reread(readers, reading)


def test_a_mute_card_elsewhere_does_not_hide_that_the_card_has_gone() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(BrokenReaders("B", Code.CARD_MUTE, desk(A=None)), reading)

    assert Code.VITALE_CHANGED == error.value.code


def test_the_readers_are_asked_with_the_settings_of_the_moment() -> None:
    readers, patterns = desk(A="corsican", B="adrdeux"), {"prefer": (), "exclude": ()}
    source = PcscVitale(readers, lambda: (patterns["prefer"], patterns["exclude"]))
    assert ("A", False) == (source.read(None).reader, source.gives_rank)

    patterns.update(prefer=("b",))
    reading = source.read(None)
    source.read_again(reading)
    patterns.update(exclude=("b",))

    assert "B" == reading.reader
    with pytest.raises(AgentError) as error:
        source.read_again(reading)
    assert Code.VITALE_CHANGED == error.value.code


def test_a_card_that_cannot_be_read_now_is_not_called_another() -> None:
    reading = read(desk(A="durand-two-holders"))

    with pytest.raises(AgentError) as error:
        reread(BrokenReaders("A", Code.CARD_IN_USE, desk()), reading)

    assert Code.CARD_IN_USE == error.value.code
