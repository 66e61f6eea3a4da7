"""Find the carte Vitale among all the readers of a desk, and find it unchanged later. No I/O of its own.

A card is known by what it is, never by the reader's name: names change and cards are swapped between
readers. A CPx is left alone, and so is a card of no known kind.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from agent.errors import AgentError, Code
from agent.lane import Lane
from agent.model import CardKind, CardSeen, ReaderSeen
from agent.readers.apdu import SW_OK, ask
from agent.readers.ports import Readers
from agent.readers.vitale import SELECT_MF, VitaleContent, read_vitale


@dataclass(frozen=True)
class DeskReading:
    """A carte Vitale and where it was read."""

    reader: str
    atr: bytes
    content: VitaleContent


class VitaleSource(Protocol):
    """Where the holders of a carte Vitale are read. Every call blocks and belongs on its lane."""

    gives_rank: bool  # whether the birth rank comes with the holders
    timeout_s: float  # a reading that takes longer hangs

    @property
    def lane(self) -> Lane | None:
        """Its own, which ends with it; None: the PC/SC lane."""
        ...

    def read(self, reader: str | None) -> DeskReading:
        """Read the first carte Vitale found, in `reader` first."""
        ...

    def read_again(self, reading: DeskReading) -> None:
        """The very same card with the same content, or vitale.changed."""
        ...

    def kill(self) -> None:
        """Break a call that hangs, from any thread."""
        ...


class PcscVitale:
    """`VitaleSource` by plain PC/SC: free, without the birth rank."""

    lane = None
    gives_rank = False
    timeout_s: float = 20  # 0.2 to 1.5 s on a real card; more is a card or a reader that hangs

    def __init__(self, readers: Readers, preferences: Callable[[], tuple[Sequence[str], Sequence[str]]]) -> None:
        """`preferences`: reader name patterns to prefer, and to exclude."""
        self._readers, self._preferences = readers, preferences

    def read(self, reader: str | None) -> DeskReading:
        prefer, exclude = self._preferences()
        return read_first_vitale(self._readers, reader=reader, prefer=prefer, exclude=exclude)

    def read_again(self, reading: DeskReading) -> None:
        reread(self._readers, reading, exclude=self._preferences()[1])

    def kill(self) -> None:
        """PC/SC calls cannot be broken from here: the lane goes on without them."""


# pcsc-lite ends a name with the reader's and the slot's number ("X 01 00"), Windows with one ("X 0").
_NUMBERS = re.compile(r"( [0-9A-F]{2} [0-9A-F]{2}| \d+)$")

_CPX = (CardKind.CPX, CardKind.CPX_CONTACTLESS)

# The card is no longer there, or another one is: ours could be read.
_GONE = (
    Code.CARD_REMOVED,
    Code.CARD_ABSENT,
    Code.READER_ABSENT,
    Code.CARD_UNKNOWN,
    Code.VITALE_EMPTY,
    Code.VITALE_PROTECTED,
)


@dataclass(frozen=True)
class _Place:
    """A reader that may be used, and how early it is tried. Readers of one rank keep the card service's order."""

    rank: int
    seen: ReaderSeen


def read_first_vitale(
    readers: Readers, *, reader: str | None, prefer: Sequence[str], exclude: Sequence[str]
) -> DeskReading:
    """Read the first carte Vitale that can be read: in `reader` first, then in those that match `prefer`, then in any.

    `reader` may have been renumbered, or be the other slot of its case: the same stem comes next.
    `prefer` and `exclude` are fnmatch patterns in any case of letters; an excluded reader is never used.
    Raises what reading the first card that looks like a Vitale met (vitale.tooOld, vitale.protected,
    vitale.empty, card.unknown …); without one reader.absent, card.unknown (fact `atr`), vitale.cpxInstead,
    vitale.absent (facts `readers`, and `seen` when a CPx is there); pcsc.unavailable.
    """
    desk = _in_order(readers.seen(), reader, prefer, exclude)
    failure: AgentError | None = None
    for place in desk:
        card = place.seen.card
        if card is None or not _may_be_vitale(card):
            continue
        try:
            return _read_in(readers, place.seen.reader, card)
        except AgentError as error:
            if error.code is Code.PCSC_UNAVAILABLE:
                raise
            failure = failure or error
    raise failure or _nothing_to_read(desk)


def reread(readers: Readers, reading: DeskReading, *, exclude: Sequence[str] = ()) -> None:
    """The same card with the same content, in whatever reader it is now, or vitale.changed.

    The place is no part of the card: between two looks a reader is renumbered, or the cards are put into
    the right slots. Raises also card.mute, card.inUse, card.unreadable, pcsc.unavailable.
    """
    atr, failure = reading.atr.hex().upper(), None
    for place in _in_order(readers.seen(), reading.reader, (), exclude):
        card = place.seen.card
        mute_where_it_was = card is not None and _is_mute(card) and place.rank < 0
        if card is None or not (card.atr == atr or mute_where_it_was):
            continue
        try:
            found = _read_in(readers, place.seen.reader, card)
            if (found.atr, found.content.fingerprint) == (reading.atr, reading.content.fingerprint):
                return
        except AgentError as error:
            if error.code not in _GONE:
                failure = failure or error
    raise failure or AgentError(Code.VITALE_CHANGED)


def stem_of(reader: str) -> str:
    """The name without the numbers at its end: the slots of one case, or one reader before and after a renumbering."""
    return _NUMBERS.sub("", reader)


def fits(reader: str, pattern: str) -> bool:
    """As fnmatch; a whole name fits too: many hold brackets, which fnmatch takes for a choice of letters."""
    name, pattern = reader.casefold(), pattern.casefold()
    return name == pattern or fnmatchcase(name, pattern)


def _in_order(
    seen: Sequence[ReaderSeen], reader: str | None, prefer: Sequence[str], exclude: Sequence[str]
) -> list[_Place]:
    def rank(one: ReaderSeen) -> int:
        if reader is not None and stem_of(one.reader) == stem_of(reader):
            return -2 if one.reader == reader else -1
        return next((rank for rank, pattern in enumerate(prefer) if fits(one.reader, pattern)), len(prefer))

    usable = (one for one in seen if not any(fits(one.reader, pattern) for pattern in exclude))
    return sorted((_Place(rank(one), one) for one in usable), key=lambda place: place.rank)


def _may_be_vitale(card: CardSeen) -> bool:
    """By its ATR; or a card without one: connecting will say why it is mute."""
    return card.kind in (CardKind.VITALE_2, CardKind.VITALE_1) or _is_mute(card)


def _is_mute(card: CardSeen) -> bool:
    """No ATR, or noise: each begins by 3B or 3F (ISO/IEC 7816-3, TS)."""
    return not card.atr.startswith(("3B", "3F"))


def _read_in(readers: Readers, reader: str, seen: CardSeen) -> DeskReading:
    with readers.transaction(reader) as card:
        if seen.atr and card.atr.hex().upper() != seen.atr:
            raise AgentError(Code.CARD_REMOVED, "another card since we looked")
        # Its ATRs are shared with bank and parking cards; a Vitale 1 refuses ISO commands, they do not.
        if seen.kind is CardKind.VITALE_1 and ask(card, SELECT_MF)[1] != SW_OK:
            raise AgentError(Code.VITALE_TOO_OLD)
        return DeskReading(reader, card.atr, read_vitale(card))


def _nothing_to_read(desk: Sequence[_Place]) -> AgentError:
    """What is in the Vitale's place: in the readers that come first, or in any when none is preferred."""
    if not desk:
        return AgentError(Code.READER_ABSENT)
    names = [place.seen.reader for place in desk]
    first = [place.seen.card for place in desk if place.rank == desk[0].rank]
    unknown = next((card.atr for card in first if card and card.kind is CardKind.UNKNOWN), None)
    if unknown is not None:
        return AgentError(Code.CARD_UNKNOWN, f"ATR {unknown}", readers=names, atr=unknown)
    if all(first):  # each holds a CPx
        return AgentError(Code.VITALE_CPX_INSTEAD, readers=names)
    if any(place.seen.card and place.seen.card.kind in _CPX for place in desk):
        return AgentError(Code.VITALE_ABSENT, readers=names, seen="cpx")
    return AgentError(Code.VITALE_ABSENT, readers=names)
