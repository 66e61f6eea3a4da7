"""Read the holders of a carte Vitale 2: what to ask, how to read the answers. No I/O of its own.

Nothing here has an official public document. Second hand: the short path is that of Rufus, in field
use; the tags are those of cardpeek `vitale_2.lua` and Rufus; the key's rule is the
GIE text "Données API Lecture Vitale 6.xx" (§2.7).

[guess], all in this file: fewer NIRs than holders means the insured person's number, otherwise nobody
says whose it is; nor whether the name is the birth name; a file longer than one answer goes on with
plain READ BINARY.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.errors import AgentError, Code
from agent.model import CardKind, NameKind, NirOf, VitaleCard, VitaleHolder
from agent.readers.apdu import SW_END_OF_FILE, SW_OK, ask, objects
from agent.readers.ports import Card

SELECT_MF = bytes.fromhex("00A40000023F00")
SELECT_VITALE = bytes.fromhex("00A404000BD250000002") + b"VITALE"
READ_SHORT_FILE_2 = bytes.fromhex("00B0820000")

TAG_HOLDER, TAG_NAME, TAG_GIVEN_NAMES, TAG_BIRTH_DATE, TAG_NIR = 0x65, 0x80, 0x81, 0x82, 0x93

_BLOCK = 256
_MAX_BLOCKS = 8
_NIR_LENGTH = 13


@dataclass(frozen=True)
class VitaleContent:
    """Everything read from one card. The fingerprint tells this card, with this content, from any other."""

    card: VitaleCard
    holders: tuple[VitaleHolder, ...]
    fingerprint: str = field(repr=False)


@dataclass(frozen=True)
class Files:
    """The raw files of a card, as they were read."""

    identities: bytes = field(repr=False)
    nirs: bytes = field(repr=False)


def read_vitale(card: Card) -> VitaleContent:
    """Everyone listed on the card, in card order.

    Raises card.unknown if it is no carte Vitale 2, card.unreadable if a file is protected or not shaped
    as public readers find them, vitale.empty if nobody is on it, and what `Card.transmit` raises.
    """
    files = next((files for way in WAYS if (files := way(card))), None)
    if files is None:
        raise AgentError(Code.CARD_UNKNOWN, "no carte Vitale answers", atr=card.atr.hex().upper())
    holders = parse_holders(files)
    if not holders:
        raise AgentError(Code.VITALE_EMPTY, "no holder template")
    return VitaleContent(VitaleCard(kind=CardKind.VITALE_2), holders, _fingerprint(card.atr, files))


def parse_holders(files: Files) -> tuple[VitaleHolder, ...]:
    """Pair identities and NIRs by their order. Raises card.unreadable."""
    nirs = [_text(value) for template in _templates(files.nirs) for tag, value in objects(template) if tag == TAG_NIR]
    people = [dict(objects(template)) for template in _templates(files.identities)]
    shared = len(nirs) < len(people)
    return tuple(
        _holder(index, person, (nirs[0 if shared else index] if nirs else ""), shared and bool(nirs))
        for index, person in enumerate(people)
    )


def rank_candidates(holders: Sequence[VitaleHolder], index: int) -> list[int]:
    """The holders that share the birth date of holder `index`, itself included; none when it is alone.

    The card does not give the birth rank, and these people differ by it only.
    """
    twins = [holder.index for holder in holders if holder.birth_date_raw == holders[index].birth_date_raw]
    return twins if len(twins) > 1 else []


def short_path(card: Card) -> Files | None:
    """Way 2: short file 2 under the MF, then under the VITALE application, whose selection is the proof."""
    if ask(card, SELECT_MF)[1] != SW_OK:
        return None
    identities = _read_short_file_2(card)
    if ask(card, SELECT_VITALE)[1] != SW_OK:
        return None
    return Files(identities, _read_short_file_2(card))


# Tried in this order. None means that the card does not know this way.
WAYS: tuple[Callable[[Card], Files | None], ...] = (short_path,)


def _read_short_file_2(card: Card) -> bytes:
    data, status = ask(card, READ_SHORT_FILE_2)
    if status not in (SW_OK, SW_END_OF_FILE):
        raise AgentError(Code.CARD_UNREADABLE, f"READ BINARY: {status:04X}", status=f"{status:04X}")
    for _ in range(_MAX_BLOCKS):
        if not data or len(data) % _BLOCK:
            break
        more, status = ask(card, bytes([0x00, 0xB0, len(data) >> 8, len(data) & 0xFF, 0x00]))
        if status not in (SW_OK, SW_END_OF_FILE) or not more:
            break  # the file ended with the block; if not, a template is cut and will be said so
        data += more
    return data


def _templates(file: bytes) -> list[bytes]:
    return [value for tag, value in objects(file) if tag == TAG_HOLDER]


def _holder(index: int, person: dict[int, bytes], nir: str, shared: bool) -> VitaleHolder:
    if TAG_NAME not in person:
        raise AgentError(Code.CARD_UNREADABLE, f"holder {index} has no name")
    birth_date = _text(person.get(TAG_BIRTH_DATE, b""))
    return VitaleHolder(
        index=index,
        name=_text(person[TAG_NAME]),
        name_kind=NameKind.UNKNOWN,
        given_names=_text(person.get(TAG_GIVEN_NAMES, b"")) or None,
        birth_date=_dashed(birth_date),
        birth_date_raw=birth_date,
        nir=nir[:_NIR_LENGTH],
        nir_key=nir[_NIR_LENGTH:],
        nir_of=NirOf.INSURED if shared else NirOf.UNKNOWN,
    )


def _dashed(raw: str) -> str | None:
    """YYYY-MM-DD, zeroes kept; None for what has no such form, as a month of 13: the raw text stays beside it."""
    if len(raw) != 8 or not (raw.isascii() and raw.isdigit()) or raw[4:6] > "12" or raw[6:] > "31":
        return None
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:]}"


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _fingerprint(atr: bytes, files: Files) -> str:
    digest = hashlib.sha256()
    for part in (atr, files.identities, files.nirs):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()
