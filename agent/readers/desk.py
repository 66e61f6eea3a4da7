"""Find the carte Vitale among all the readers of a desk, and find it unchanged later. No I/O of its own.

A card is known by what it is, never by the reader's name: names change and cards are swapped between
readers. A CPx is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.errors import AgentError, Code
from agent.model import CardKind, ReaderSeen
from agent.readers.ports import Readers
from agent.readers.vitale import VitaleContent, read_vitale


@dataclass(frozen=True)
class DeskReading:
    """A carte Vitale and where it was read."""

    reader: str
    atr: bytes
    content: VitaleContent


# The card is no longer there, or another one is.
_GONE = (Code.CARD_REMOVED, Code.CARD_ABSENT, Code.READER_ABSENT, Code.CARD_UNKNOWN, Code.VITALE_EMPTY)


def read_first_vitale(
    readers: Readers, *, reader: str | None, prefer: Sequence[str], exclude: Sequence[str]
) -> DeskReading:
    """Read the first carte Vitale that can be read: in `reader` first, then in those that match `prefer`, then in any.

    `prefer` and `exclude` are fnmatch patterns in any case of letters; an excluded reader is never used.
    Raises reader.absent, vitale.absent (facts `readers`, and `seen` when a CPx is there), vitale.tooOld,
    card.unknown (fact `atr`), what reading the first Vitale met, pcsc.unavailable.
    """
    desk = _in_order(readers.seen(), reader, prefer, exclude)
    failure: AgentError | None = None
    for place in desk:
        if not _worth_reading(place):
            continue
        try:
            with readers.transaction(place.reader) as card:
                return DeskReading(place.reader, card.atr, read_vitale(card))
        except AgentError as error:
            if error.code is Code.PCSC_UNAVAILABLE:
                raise
            failure = failure or error
    raise failure or _nothing_to_read(desk)


def reread(readers: Readers, reading: DeskReading) -> None:
    """Read the same reader again: the same card with the same content, or vitale.changed.

    Raises also card.mute, card.inUse, card.unreadable, pcsc.unavailable.
    """
    try:
        with readers.transaction(reading.reader) as card:
            if card.atr == reading.atr and read_vitale(card).fingerprint == reading.content.fingerprint:
                return
    except AgentError as error:
        if error.code not in _GONE:
            raise
    raise AgentError(Code.VITALE_CHANGED)


def _in_order(
    seen: Sequence[ReaderSeen], reader: str | None, prefer: Sequence[str], exclude: Sequence[str]
) -> list[ReaderSeen]:
    def place(one: ReaderSeen) -> int:
        if one.reader == reader:
            return -1
        return next((rank for rank, pattern in enumerate(prefer) if _fits(one, pattern)), len(prefer))

    return sorted((one for one in seen if not any(_fits(one, pattern) for pattern in exclude)), key=place)


def _fits(one: ReaderSeen, pattern: str) -> bool:
    return fnmatchcase(one.reader.casefold(), pattern.casefold())


def _worth_reading(one: ReaderSeen) -> bool:
    """A Vitale 2, or a card without ATR: connecting will say why it is mute."""
    return one.card is not None and (one.card.kind is CardKind.VITALE_2 or not one.card.atr)


def _nothing_to_read(desk: Sequence[ReaderSeen]) -> AgentError:
    names = [one.reader for one in desk]
    cards = {one.card.kind: one.card.atr for one in reversed(desk) if one.card}
    if not desk:
        return AgentError(Code.READER_ABSENT)
    if CardKind.VITALE_1 in cards:
        return AgentError(Code.VITALE_TOO_OLD, readers=names)
    if CardKind.CPX in cards or CardKind.CPX_CONTACTLESS in cards:
        return AgentError(Code.VITALE_ABSENT, readers=names, seen="cpx")
    if CardKind.UNKNOWN in cards:
        return AgentError(
            Code.CARD_UNKNOWN, f"ATR {cards[CardKind.UNKNOWN]}", readers=names, atr=cards[CardKind.UNKNOWN]
        )
    return AgentError(Code.VITALE_ABSENT, readers=names)
