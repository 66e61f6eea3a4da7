"""Read the holders of a carte Vitale 2: what to ask, how to read the answers. No I/O of its own.

Nothing here has an official public document. Second hand: the short path is that of Rufus, in field
use; file D001 is the way of public Node.js readers; the pointer file and the tags are those of cardpeek
`vitale_2.lua`; the key's rule and lunar dates are those of the GIE text "Données API Lecture Vitale 6.xx".

[guess], all in this file: fewer NIRs than holders means the insured person's number, otherwise nobody
says whose it is; nor whether the name is the birth name; a file goes on behind its first answer with
plain READ BINARY; beside D001 the numbers are where the short path finds them; a file is selected with
P1 02, else 00; behind the pointers, identities and numbers are told by their tags.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from agent.errors import AgentError, Code
from agent.model import CardKind, Environment, NameKind, NirOf, VitaleCard, VitaleHolder
from agent.nir import key_of
from agent.readers.apdu import SW_END_OF_FILE, SW_NOT_FOUND, SW_OK, SW_PROTECTED, ask, objects
from agent.readers.ports import Card

SELECT_BY_NAME = bytes.fromhex("00A40400")
SELECT_MF = bytes.fromhex("00A40000023F00")
SELECT_VITALE = SELECT_BY_NAME + b"\x0b" + bytes.fromhex("D250000002") + b"VITALE"
SELECT_MF_VITALE = SELECT_BY_NAME + b"\x0e" + bytes.fromhex("D250000002") + b"MF_VITALE"
READ_SHORT_FILE_2 = bytes.fromhex("00B0820000")
READ_SELECTED_FILE = bytes.fromhex("00B0000000")
FILE_D001, FILE_POINTERS = bytes.fromhex("D001"), bytes.fromhex("2001")

TAG_HOLDER, TAG_NAME, TAG_GIVEN_NAMES, TAG_BIRTH_DATE, TAG_NIR = 0x65, 0x80, 0x81, 0x82, 0x93
TAG_POINTERS, TAG_APPLICATIONS, TAG_APPLICATION, TAG_FILE = 0xE0, 0xA0, 0x82, 0x80

_MAX_BYTES = 9 * 256
_NIR_LENGTH, _KEY_LENGTH = 13, 2
_PROVISIONAL = "555555"  # agricultural regime


@dataclass(frozen=True)
class VitaleContent:
    """Everything read from one card. The fingerprint tells this card, with this content, from any other.

    `way` is the name of the way that led to it; the fingerprint does not depend on it.
    """

    card: VitaleCard
    holders: tuple[VitaleHolder, ...]
    fingerprint: str = field(repr=False)
    way: str = ""


@dataclass(frozen=True)
class Files:
    """The raw files of a card, as they were read. One file may hold both."""

    identities: bytes = field(repr=False)
    nirs: bytes = field(repr=False)


@dataclass(frozen=True)
class Way:
    """A way to the data. `read` gives None where the card does not know this way.

    It raises vitale.protected, card.unreadable, and what `Card.transmit` raises.
    """

    name: str
    title: str
    read: Callable[[Card], Files | None]


def read_vitale(card: Card) -> VitaleContent:
    """Everyone listed on the card, in card order, by the first way that leads to them.

    Raises card.unknown if it is no carte Vitale 2 (fact atr); else the failure of the first way that the
    card knows: vitale.protected (fact status), card.unreadable if a file is not shaped as public readers
    find them, vitale.empty if nobody is on it; and what `Card.transmit` raises.
    """
    failure: AgentError | None = None
    for way in WAYS:
        try:
            files = way.read(card)
            if files is not None:
                return _content(card.atr, files, way.name)
        except AgentError as error:
            if error.code not in _NEXT_WAY:
                raise
            failure = failure or error
    if ask(card, SELECT_VITALE)[1] != SW_OK:  # the proof; every way that succeeds selects it too
        raise AgentError(Code.CARD_UNKNOWN, "no carte Vitale answers", atr=card.atr.hex().upper())
    raise failure or AgentError(Code.CARD_UNREADABLE, "no known way leads to its files")


def parse_holders(files: Files) -> tuple[VitaleHolder, ...]:
    """Pair identities and NIRs by their order. Raises card.unreadable."""
    nirs = [_text(nir) for nir in _numbers(files.nirs)]
    people = [dict(objects(template)) for template in _people(files.identities)]
    shared = len(nirs) < len(people)
    return tuple(
        _holder(index, person, (nirs[0 if shared else index] if nirs else ""), shared and bool(nirs))
        for index, person in enumerate(people)
    )


def warnings_of(nir: str, nir_key: str, birth_date: str) -> list[str]:
    """What is odd in these data of a card, by stable names; reported, never refused, never corrected.

    `nir` and `nir_key` as on the card, `birth_date` as YYYYMMDD.
    """
    whole = len(nir) == _NIR_LENGTH and len(nir_key) == _KEY_LENGTH
    eight_digits = len(birth_date) == 8 and birth_date.isascii() and birth_date.isdigit()
    said = {
        "nir.length": not whole,
        "nir.key": whole and nir_key != key_of(nir),
        "nir.provisional": nir.startswith(_PROVISIONAL),
        "birthDate.lunar": eight_digits and not _in_calendar(birth_date),
        "birthDate.unreadable": not eight_digits,
    }
    return [name for name, so in said.items() if so]


def rank_candidates(holders: Sequence[VitaleHolder], index: int) -> list[int]:
    """The holders that share the birth date of holder `index`, itself included; none when it is alone.

    The card does not give the birth rank, and these people differ by it only.
    """
    twins = [holder.index for holder in holders if holder.birth_date_raw == holders[index].birth_date_raw]
    return twins if len(twins) > 1 else []


def check_environment(card: VitaleCard, environment: Environment) -> None:
    """Raises vitale.environment for a test or demo card in production, or a real one elsewhere.

    A card of unknown nature passes: by plain PC/SC every card is one, and the result warns of it.
    """
    if card.environment != "unknown" and (card.environment == "real") != (environment is Environment.PRODUCTION):
        raise AgentError(Code.VITALE_ENVIRONMENT, f"a {card.environment} card in {environment}")


def short_path(card: Card) -> Files | None:
    """Short file 2 under the MF, then under the VITALE application."""
    return _with_numbers(card, _read(card, READ_SHORT_FILE_2)) if _select(card, SELECT_MF) else None


def file_d001(card: Card) -> Files | None:
    """File D001 of the MF_VITALE application, then the numbers of the short path."""
    if not (_select(card, SELECT_MF_VITALE) and _select_file(card, FILE_D001)):
        return None
    return _with_numbers(card, _read(card, READ_SELECTED_FILE))


def pointer_file(card: Card) -> Files | None:
    """Every file that file 2001 of the VITALE application points to, and the holder templates found there.

    A file that is refused or no TLV is passed over, unless it leaves the card without identities.
    """
    if not (_select(card, SELECT_VITALE) and _select_file(card, FILE_POINTERS)):
        return None
    pointers = _read(card, READ_SELECTED_FILE)
    if pointers is None:
        return None
    found, failure = b"", None
    for application, file_id in parse_pointers(pointers):
        try:
            known = _select(card, application) and _select_file(card, file_id)
            file = _read(card, READ_SELECTED_FILE) if known else None
            if file and any(_templates(file)):
                found += file
        except AgentError as error:
            if error.code not in _NEXT_WAY:
                raise
            failure = failure or error
    if failure and not any(_people(found)):
        raise failure
    return Files(found, found)


def parse_pointers(file: bytes) -> list[tuple[bytes, bytes]]:
    """The SELECT of an application and a file id in it, for each file pointed to, once. Raises card.unreadable.

    E0 { A0 { 82 number, 2 unknown bytes, AID … }, 80 name (8), number of the application, file id … }
    """
    applications: dict[bytes, bytes] = {}
    files: list[bytes] = []
    for tag, value in (inner for outer, body in objects(file) if outer == TAG_POINTERS for inner in objects(body)):
        if tag == TAG_APPLICATIONS:
            aids = [entry for tag, entry in objects(value) if tag == TAG_APPLICATION]
            applications |= {entry[:2]: entry[4:] for entry in aids if 4 < len(entry) <= 4 + 16}
        elif tag == TAG_FILE and len(value) == 12:
            files.append(value[8:])
    targets = [(applications[entry[:2]], entry[2:]) for entry in files if entry[:2] in applications]
    return list(dict.fromkeys((SELECT_BY_NAME + bytes([len(aid)]) + aid, file_id) for aid, file_id in targets))


# Tried in this order: the one in field use first.
WAYS = (
    Way("short", "short path: short file 2 under the MF and under VITALE", short_path),
    Way("d001", "file D001 under MF_VITALE, short file 2 under VITALE", file_d001),
    Way("pointers", "pointer file 2001 under VITALE, and the files it names", pointer_file),
)
_NEXT_WAY = (Code.CARD_UNREADABLE, Code.VITALE_PROTECTED, Code.VITALE_EMPTY)


def _with_numbers(card: Card, identities: bytes | None) -> Files | None:
    if identities is None or not _select(card, SELECT_VITALE):
        return None
    nirs = _read(card, READ_SHORT_FILE_2)
    return None if nirs is None else Files(identities, nirs)


def _select(card: Card, command: bytes) -> bool:
    """False if the card knows nothing of this name. Raises vitale.protected."""
    status = ask(card, command)[1]
    if status == SW_PROTECTED:
        raise _refused("SELECT", status)
    return status == SW_OK


def _select_file(card: Card, file_id: bytes) -> bool:
    return any(_select(card, bytes([0x00, 0xA4, p1, 0x00, len(file_id)]) + file_id) for p1 in (0x02, 0x00))


def _read(card: Card, first: bytes) -> bytes | None:
    """A file to its end, block after block; None where there is none. Raises vitale.protected, card.unreadable."""
    block, status = ask(card, first)
    if status == SW_NOT_FOUND:
        return None
    if status not in (SW_OK, SW_END_OF_FILE):
        raise _refused("READ BINARY", status)
    data = block
    # However short a block is, the card or the reader may have cut it: a holder behind it must not be lost.
    while block and status == SW_OK and len(data) < _MAX_BYTES:
        block, status = ask(card, bytes([0x00, 0xB0, len(data) >> 8, len(data) & 0xFF, 0x00]))
        if status not in (SW_OK, SW_END_OF_FILE):
            break  # the file ended with the block before; if not, a template is cut and will be said so
        data += block
    return data


def _refused(command: str, status: int) -> AgentError:
    code = Code.VITALE_PROTECTED if status == SW_PROTECTED else Code.CARD_UNREADABLE
    return AgentError(code, f"{command}: {status:04X}", status=f"{status:04X}")


def _content(atr: bytes, files: Files, way: str) -> VitaleContent:
    holders = parse_holders(files)
    if not holders:
        raise AgentError(Code.VITALE_EMPTY, "no holder template")
    return VitaleContent(VitaleCard(kind=CardKind.VITALE_2), holders, _fingerprint(atr, files), way)


def _templates(file: bytes) -> Iterator[bytes]:
    return (value for tag, value in objects(file) if tag == TAG_HOLDER)


def _people(file: bytes) -> Iterator[bytes]:
    """The templates that are about a person."""
    wanted = {TAG_NAME, TAG_GIVEN_NAMES, TAG_BIRTH_DATE}
    return (template for template in _templates(file) if wanted & {tag for tag, _ in objects(template)})


def _numbers(file: bytes) -> Iterator[bytes]:
    return (value for template in _templates(file) for tag, value in objects(template) if tag == TAG_NIR)


def _holder(index: int, person: dict[int, bytes], nir: str, shared: bool) -> VitaleHolder:
    name, birth_date = (_text(person.get(tag, b"")) for tag in (TAG_NAME, TAG_BIRTH_DATE))
    nir, nir_key = nir[:_NIR_LENGTH], nir[_NIR_LENGTH:]
    return VitaleHolder(
        index=index,
        name=name,
        name_kind=NameKind.UNKNOWN,
        given_names=_text(person.get(TAG_GIVEN_NAMES, b"")) or None,
        birth_date=_dashed(birth_date),
        birth_date_raw=birth_date,
        nir=nir,
        nir_key=nir_key,
        nir_of=NirOf.INSURED if shared else NirOf.UNKNOWN,
        warnings=[*([] if name else ["name.missing"]), *warnings_of(nir, nir_key, birth_date)],
    )


def _dashed(raw: str) -> str | None:
    """YYYY-MM-DD, zeroes kept; None for what has no such form, as a month of 13: the raw text stays beside it."""
    if len(raw) != 8 or not (raw.isascii() and raw.isdigit()) or raw[4:6] > "12" or raw[6:] > "31":
        return None
    return f"{raw[:4]}-{raw[4:6]}-{raw[6:]}"


def _in_calendar(raw: str) -> bool:
    try:
        date(int(raw[:4]), int(raw[4:6]), int(raw[6:]))
    except ValueError:
        return False
    return True


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _fingerprint(atr: bytes, files: Files) -> str:
    """Of the templates, not of the files: padding and the way that led to them are no content."""
    digest = hashlib.sha256()
    for part in (atr, *_people(files.identities), b"", *_numbers(files.nirs)):  # no person is empty
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()
