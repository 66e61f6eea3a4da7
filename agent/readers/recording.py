"""Record what a test card answers, with every person on it replaced by an invented one. No I/O of its own.

What nobody has documented is written as zeroes: only the objects of `_RULES` keep tag and length, and
only structure (application names, file ids) keeps its value. Sources as in `vitale.py`; what follows a
SELECT (6F, 62) is ISO/IEC 7816-4, file control information.

Lengths, the places of blanks and accents, Corsica, odd dates and wrong keys stay: they are what makes a
card read as it does. The result is then judged as a stranger would: nothing of the original people,
nothing that looks like a registration number, and a replay that answers and reads back as the card did.
Else it is refused.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from agent import __version__
from agent.errors import AgentError, Code
from agent.model import CardKind, VitaleHolder
from agent.nir import key_of
from agent.readers.apdu import ask, spans
from agent.readers.ports import Card
from agent.readers.transcript import (
    GET_RESPONSE,
    READ_BINARY,
    SELECT,
    Exchange,
    Selected,
    SimulatedReaders,
    format_transcript,
    parse_transcript,
)
from agent.readers.vitale import WAYS, parse_holders


class Refusal(StrEnum):
    """Why nothing was written; the sentence is for the person who records."""

    NOT_A_TEST = "seule une carte de test s'enregistre ; le confirmer par --test-card."
    CONTRADICTS = "la carte n'a pas répondu deux fois de même à la même commande."
    NO_REPLACEMENT = "aucune valeur inventée ne convient à la place d'une donnée de la carte."
    SURVIVES = "une donnée personnelle, ou ce qui ressemble à un NIR, resterait dans l'enregistrement."
    READS_OTHERWISE = "l'enregistrement ne se relirait pas comme la carte."


@dataclass(frozen=True)
class Recording:
    """A transcript fit to be shown, and what was read while it was made."""

    text: str = field(repr=False)
    ways: tuple[str, ...]  # those that gave holders
    holders: int


def record(card: Card, kind: CardKind, *, test_card: bool) -> Recording:
    """The transcript of a card, tried by every known way and asked for every known application.

    Of a professional's card only the ATR and the status words of its SELECTs are kept: it is never read.
    Raises recording.refused (fact `reason`, a `Refusal`) and what `Card.transmit` raises.
    """
    if not test_card:
        raise _refused(Refusal.NOT_A_TEST)
    if kind in (CardKind.CPX, CardKind.CPX_CONTACTLESS):
        session = {"SELECT, status words only": _statuses(card, _CPX_PROBES)}
        return _judged(_text(kind, card.atr, session), session, {})
    recorder = _Recorder(card)
    outcomes = _read_all_ways(recorder, recorder.begin)
    recorder.begin("SELECT of the known applications")
    for command in _VITALE_PROBES:
        ask(recorder, command)
    session = _without_people(recorder.parts)
    return _judged(_text(kind, card.atr, session), session, outcomes)


# ---------------------------------------------------------------- asking


def _select(names: Iterable[str], p2: int) -> tuple[bytes, ...]:
    found = [bytes.fromhex(name) for name in names]
    return tuple(bytes([0x00, SELECT, 0x04, p2, len(name)]) + name for name in found)


# The names are those published by cardpeek, Rufus and the Cryptolib CPS: VITALE, MF_VITALE, ADELE, IAS-ECC.
_VITALE_PROBES = (
    bytes.fromhex("00A40000023F00"),
    bytes.fromhex("BCA40000023F00"),  # the class of a Vitale 1
    *_select(
        [
            "D250000002564954414C45",
            "D2500000024D465F564954414C45",
            "D2500000044164E86C650101",
            "E828BD080FD2500000044164E86C65",
        ],
        0x00,
    ),
)
# P2 = 0C: nothing but a status word is asked for.
_CPX_PROBES = (
    bytes.fromhex("00A4000C023F00"),
    *_select(
        ["E828BD080F8025000001FF0010", "E828BD080F8025000001FF0020", "8025000001FF0100", "8025000001FF0002"], 0x0C
    ),
)

# The card, its reader or its service is gone: no answer of the card.
_NOT_OF_THE_CARD = (Code.CARD_REMOVED, Code.CARD_MUTE, Code.CARD_IN_USE, Code.PCSC_UNAVAILABLE)


class _Recorder:
    """A card that keeps every exchange, under the name of the part that it belongs to."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self.parts: dict[str, list[Exchange]] = {}

    def begin(self, part: str) -> None:
        self._exchanges = self.parts.setdefault(part, [])

    @property
    def atr(self) -> bytes:
        return self._card.atr

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        data, status = self._card.transmit(command)
        self._exchanges.append(Exchange(command, data + status.to_bytes(2, "big")))
        return data, status


def _read_all_ways(card: Card, begin: Callable[[str], None] = lambda _: None) -> dict[str, object]:
    """What each way gives: None where the card does not know it, a code, or the shape of each holder."""
    outcomes: dict[str, object] = {}
    for way in WAYS:
        begin(way.title)
        try:
            files = way.read(card)
            outcomes[way.name] = files and [_shape(one) for one in parse_holders(files)]
        except AgentError as error:
            if error.code in _NOT_OF_THE_CARD:
                raise
            # a file that is no TLV is zeroes in the recording: it names nobody, here and there
            outcomes[way.name] = [] if error.code is Code.CARD_UNREADABLE else error.code
    return outcomes


def _shape(holder: VitaleHolder) -> object:
    """What an invented person must have in common with the real one."""
    lengths = [len(text or "") for text in (holder.name, holder.given_names, holder.birth_date, holder.nir)]
    return lengths, holder.warnings, holder.nir_of


def _statuses(card: Card, commands: Iterable[bytes]) -> list[Exchange]:
    return [Exchange(command, card.transmit(command)[1].to_bytes(2, "big")) for command in commands]


# ---------------------------------------------------------------- what a file is made of


class _Rule(StrEnum):
    """What becomes of an object."""

    INTO = "look at its objects"
    KEEP = "structure, not a person: kept"
    NAME = "a word of a person: another word"
    DATE = "another date"
    NIR = "another number"
    ZERO = "zeroes"


_FILE, _HOLDER, _VALIDITY, _POINTERS, _APPLICATIONS = 0, 0x65, 0x66, 0xE0, 0xA0
_FCI = (0x6F, 0x62)
_LONGEST_KEPT = 20  # an application's name is 16 bytes at most, with 4 before it in the pointer file
_SHORT_ID = 0x80  # in P1 of READ BINARY: a short file id, and the offset in P2

# (what it is in, tag). Of any other object in a file nothing stays; in an object, its tag and its length.
_RULES = {
    (_FILE, _HOLDER): _Rule.INTO,
    (_HOLDER, 0x80): _Rule.NAME,
    (_HOLDER, 0x81): _Rule.NAME,
    (_HOLDER, 0x82): _Rule.DATE,
    (_HOLDER, 0x90): _Rule.NAME,  # nationality
    (_HOLDER, 0x93): _Rule.NIR,
    (_FILE, _VALIDITY): _Rule.INTO,
    (_VALIDITY, 0x80): _Rule.DATE,
    (_FILE, _POINTERS): _Rule.INTO,
    (_POINTERS, _APPLICATIONS): _Rule.INTO,
    (_APPLICATIONS, 0x82): _Rule.KEEP,
    (_POINTERS, 0x80): _Rule.KEEP,
    (_FILE, 0x7F21): _Rule.ZERO,  # certificate, signature, rest of the public key
    (_FILE, 0x5F37): _Rule.ZERO,
    (_FILE, 0x5F38): _Rule.ZERO,
    **{(_FILE, template): _Rule.INTO for template in _FCI},
    # size, descriptor, file id, name of the application, short id, life cycle, access
    **{(template, tag): _Rule.KEEP for template in _FCI for tag in (0x80, 0x81, 0x82, 0x83, 0x84, 0x88, 0x8A, 0x8C)},
}
_REPLACED = (_Rule.NAME, _Rule.DATE, _Rule.NIR)


@dataclass(frozen=True)
class _Leaf:
    """A stretch of a file and what becomes of it."""

    rule: _Rule
    start: int
    end: int


def _leaves(data: bytes, parent: int = _FILE, at: int = 0) -> Iterator[_Leaf]:
    """What stays or is replaced; the rest is zeroes, and all of it where this is no TLV."""
    try:
        found = list(spans(data))
    except AgentError:
        return
    before = 0
    for tag, start, end in found:
        rule = _RULES.get((parent, tag), None if parent == _FILE else _Rule.ZERO)
        if parent == _FILE and start == end:  # UTF-16 text looks like this: "e" and a zero are an empty holder
            rule = None
        if rule is _Rule.KEEP and end - start > _LONGEST_KEPT:
            rule = _Rule.ZERO
        if rule:
            yield _Leaf(_Rule.KEEP, at + before, at + start)  # padding, tag and length
        if rule is _Rule.INTO:
            yield from _leaves(data[start:end], tag, at + start)
        elif rule:
            yield _Leaf(rule, at + start, at + end)
        before = end
    yield _Leaf(_Rule.KEEP, at + before, at + len(data))


class _Files:
    """The answers of a session as the files they are pieces of: a name may be cut between two answers."""

    def __init__(self, session: Sequence[Exchange]) -> None:
        self.files: dict[str, bytearray] = {}
        self._session = session
        self._pieces: list[tuple[str, int]] = []
        selected, current, last = Selected(), "", ("", 0)
        for number, exchange in enumerate(session):
            command, data = exchange.command, exchange.answer[:-2]
            if command[1:2] == bytes([READ_BINARY]):
                current, last = self._read(command, selected, current)
            elif command[1:2] != bytes([GET_RESPONSE]):
                current, last = "", (f"answer {number}", 0)
            selected = selected.after(exchange)
            self._pieces.append(last)
            name, offset = last
            file = self.files.setdefault(name, bytearray())
            file.extend(bytes(max(0, offset + len(data) - len(file))))
            file[offset : offset + len(data)] = data
            last = (name, offset + len(data))

    @staticmethod
    def _read(command: bytes, selected: Selected, current: str) -> tuple[str, tuple[str, int]]:
        first, second = (*command[2:4], 0, 0)[:2]
        if first & _SHORT_ID:
            current = f"{selected.application} short {first}"
            return current, (current, second)
        current = current or f"{selected.application} {selected.file}"
        return current, (current, first << 8 | second)

    def session(self, files: dict[str, bytes]) -> list[Exchange]:
        """The same session with other files."""
        return [
            replace(exchange, answer=files[name][at : at + len(exchange.answer) - 2] + exchange.answer[-2:])
            for exchange, (name, at) in zip(self._session, self._pieces, strict=True)
        ]


# ---------------------------------------------------------------- other people


def _without_people(parts: dict[str, list[Exchange]]) -> dict[str, list[Exchange]]:
    """The same session about invented people. Raises recording.refused."""
    session = [exchange for part in parts.values() for exchange in part]
    pieces = _Files(session)
    real = {name: bytes(file) for name, file in pieces.files.items()}
    if pieces.session(real) != session:
        raise _refused(Refusal.CONTRADICTS)
    plans = {name: list(_leaves(file)) for name, file in real.items()}
    cast = _Cast(
        (leaf.rule, _word(real[name][leaf.start : leaf.end]))
        for name, plan in plans.items()
        for leaf in plan
        if leaf.rule in _REPLACED
    )
    invented = {name: _rewritten(file, plans[name], cast) for name, file in real.items()}
    kept = [
        real[name][leaf.start : leaf.end] for name, plan in plans.items() for leaf in plan if leaf.rule is _Rule.KEEP
    ]
    replayed = pieces.session(invented)
    shown = [*invented.values(), b"".join(exchange.answer[:-2] for exchange in replayed)]
    if survives([*shown, *(exchange.command for exchange in session)], kept, cast.originals, cast.invented):
        raise _refused(Refusal.SURVIVES)
    rest = iter(replayed)
    return {name: [next(rest) for _ in part] for name, part in parts.items()}


def _rewritten(file: bytes, plan: Iterable[_Leaf], cast: "_Cast") -> bytes:
    written = bytearray(len(file))
    for leaf in plan:
        value = file[leaf.start : leaf.end]
        if leaf.rule in _REPLACED:
            word = _word(value)
            value = value.replace(word.encode("latin-1"), cast.of(leaf.rule, word).encode("latin-1"), 1)
        if leaf.rule is not _Rule.ZERO:
            written[leaf.start : leaf.end] = value
    return bytes(written)


def _word(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


class _Cast:
    """Who plays whom: one invented word for each word of the card, the same wherever it comes back."""

    def __init__(self, words: Iterable[tuple[_Rule, str]]) -> None:
        """Raises recording.refused where nothing fits."""
        roles = [role for role in dict.fromkeys(words) if any(map(str.isalnum, role[1]))]
        # a registration number is somebody's with any key
        self.originals = [word[:_NIR_LENGTH] if rule is _Rule.NIR else word for rule, word in roles]
        self.invented: list[str] = []
        self._roles: dict[tuple[_Rule, str], str] = {}
        for rule, word in roles:
            self._roles[rule, word] = self._found(rule, word)
            self.invented.append(self._roles[rule, word])

    def of(self, rule: _Rule, word: str) -> str:
        return self._roles.get((rule, word), word)

    def _found(self, rule: _Rule, word: str) -> str:
        start = len(self.invented)
        for number in range(start, start + _TRIES):
            made = _INVENTED[rule](word, number)
            if made not in self.originals and made not in self.invented and not _holds(made, self.originals):
                return made
        raise _refused(Refusal.NO_REPLACEMENT)


_TRIES = 120
_NIR_LENGTH = 13  # without its key
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ACCENTED = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚ"  # as many, all of Latin-1


def _invented_name(word: str, number: int) -> str:
    """One letter all along, visibly nobody's; accents, case and separators stay where they were."""

    def letter(old: str) -> str:
        if not old.isalpha():
            return str(number % 10) if old.isalnum() else old
        new = (_ACCENTED if old >= "À" else _PLAIN)[number % len(_PLAIN)]
        return new.lower() if old.islower() else new

    return "".join(map(letter, word))


def _invented_date(word: str, number: int) -> str:
    """Another year, the first of January; what was no day of the calendar stays none, in the same way."""
    if len(word) != 8 or not (word.isascii() and word.isdigit()):
        return _digits(word, f"{number:0{len(word)}d}")
    month, day = word[4:6], word[6:]
    try:
        date(int(word[:4]), int(month), int(day))
        month, day = "01", "01"
    except ValueError:
        if month > "12" or day > "31":
            month, day = "13", "01"
        else:
            month, day = ("00" if month == "00" else "02"), ("00" if day == "00" else "30")
    return f"{1901 + number}{month}{day}"


def _invented_nir(word: str, number: int) -> str:
    """The number of nobody, of the same kind: Corsican, provisional, short, with a right key or a wrong one."""
    old = "".join(filter(str.isalnum, word))
    if len(old) < _NIR_LENGTH:
        return _digits(word, f"{number:0{len(old)}d}")
    if old.startswith("555555"):
        new = f"555555{number:07d}"
    else:
        new = f"10001{old[5:7] if old[5:7] in ('2A', '2B') else '99'}{number:06d}"
    key = key_of(new) or ""
    if key_of(old[:_NIR_LENGTH]) != old[_NIR_LENGTH : _NIR_LENGTH + 2]:
        key = f"{int(key) % 97 + 1:02d}"
    return _digits(word, new + key)


def _digits(word: str, new: str) -> str:
    """The characters of `new` where `word` has letters and digits; zeroes when they are too few."""
    following = iter(new)
    return "".join(next(following, "0") if old.isalnum() else old for old in word)


_INVENTED: dict[_Rule, Callable[[str, int], str]] = {
    _Rule.NAME: _invented_name,
    _Rule.DATE: _invented_date,
    _Rule.NIR: _invented_nir,
}


# ---------------------------------------------------------------- the judgement

_TELLING = 4  # characters: fewer come by chance
# Thirteen characters of a registration number, with what people write between them.
_NIR_SHAPE = re.compile(r"[1-8](?:[ ._-]*\d){4}[ ._-]*(?:\d[ ._-]*\d|2[ ._-]*[ab])(?:[ ._-]*\d){6}")
# The same in packed digits, with its key: without one, plain structure looks like it too.
_PACKED_NIR = re.compile(r"(?=([1-8]\d{2}(?:0[1-9]|[1-9]\d)(?:\d{2}|2[ab])\d{6})(\d{2}))")


def survives(texts: Iterable[bytes], kept: Iterable[bytes], originals: Sequence[str], invented: Sequence[str]) -> bool:
    """Whether an original is left in `texts`, in one-byte, UTF-16 or packed form, or anything like a number.

    `invented` values are nobody's. `kept` values are looked at one by one for packed numbers.
    """
    for text in texts:
        plain = text.replace(b"\0", b"").decode("latin-1").lower()  # UTF-16 loses its zeroes
        if _holds(plain, originals) or any(number in text.hex() for number in _packed(originals)):
            return True
        for value in sorted(invented, key=len, reverse=True):
            plain = plain.replace(value.lower(), "\xff")
        if _NIR_SHAPE.search(plain):
            return True
    return any(key_of(number.upper()) == key for value in kept for number, key in _PACKED_NIR.findall(value.hex()))


def _holds(text: str, originals: Iterable[str]) -> bool:
    return any(len(word) >= _TELLING and word.strip("0") and word.lower() in text.lower() for word in originals)


def _packed(originals: Iterable[str]) -> Iterator[str]:
    """The numbers among these words, as hexadecimal shows them."""
    for word in originals:
        digits = "".join(filter(str.isalnum, word)).lower()
        if len(digits) >= 8 and digits[1:5].isdigit() and digits.strip("0"):
            yield digits


def _judged(text: str, session: dict[str, list[Exchange]], outcomes: dict[str, object]) -> Recording:
    """The text, once it answers this session and reads back with these outcomes. Raises recording.refused."""
    readers = SimulatedReaders({"": "card"}, {"card": parse_transcript(text)})
    with readers.transaction("") as card:
        for exchange in (exchange for part in session.values() for exchange in part):
            data, status = card.transmit(exchange.command)
            if data + status.to_bytes(2, "big") != exchange.answer:
                raise _refused(Refusal.CONTRADICTS)
        if outcomes and _read_all_ways(card) != outcomes:
            raise _refused(Refusal.READS_OTHERWISE)
    read = {way: holders for way, holders in outcomes.items() if isinstance(holders, list) and holders}
    return Recording(text, tuple(read), max(map(len, read.values()), default=0))


def _text(kind: CardKind, atr: bytes, session: dict[str, list[Exchange]]) -> str:
    title = f"A test card ({kind}), recorded by insi-agent {__version__}; every person in it is invented"
    return format_transcript(title, atr, session)


def _refused(reason: Refusal) -> AgentError:
    return AgentError(Code.RECORDING_REFUSED, reason.name, reason=str(reason))
