"""Simulated readers and cards: the readers of `--simulate`. A card is a transcript of what it answers.

A transcript is a text file: a title after `#`, the `ATR`, then commands `=>` and answers `<=`. What
follows a SELECT is what the card answers while that is selected; a GET RESPONSE belongs to the command
before it. A command that ends with `*` stands for every command that begins so; the exact one, then the
longest, wins.
"""

import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from agent.errors import AgentError, Code
from agent.model import CardKind, CardSeen, ReaderSeen
from agent.readers.kinds import kind_of
from agent.readers.ports import Card, Watch

SELECT, GET_RESPONSE, READ_BINARY = 0xA4, 0xC0, 0xB0
_BY_NAME = 0x04
_MF = bytes.fromhex("3F00")
_HEX = r"((?:[0-9A-Fa-f]{2} *)"  # bytes, with or without blanks between
_LINE = re.compile(rf"(#) ?(.*)|(ATR) +{_HEX}+)|(=>) *{_HEX}*\*?)|(<=) *{_HEX}{{2,}})|")
_VITALE_READER, _GIVEN = "Simulateur Vitale 0", "given"
_DEFAULT_DESK = {_VITALE_READER: "adrun-family", "Simulateur CPS 0": "cpx"}


@dataclass(frozen=True)
class Exchange:
    """One command and what the card answered, status word included."""

    command: bytes
    answer: bytes = field(repr=False)


@dataclass(frozen=True)
class Selected:
    """What a card's next answer depends on."""

    application: str = ""  # the SELECT that opened it, by its name or as the MF
    file: str = ""  # then the SELECT of a file in it
    pending: str = ""  # the command before: its GET RESPONSE is its own

    def place(self, command: bytes) -> str:
        """Under what the answer to this command is kept. An application answers its SELECT from anywhere."""
        if _is(command, GET_RESPONSE):
            return self.pending
        if _is(command, SELECT):
            return "" if _opens_application(command) else self.application
        return self.application + self.file

    def after(self, exchange: Exchange) -> "Selected":
        """What is selected once this was answered."""
        text = exchange.command.hex().upper()
        pending = self.place(exchange.command) + text
        if not _is(exchange.command, SELECT) or not _accepted(exchange.answer):
            return Selected(self.application, self.file, pending)
        if _opens_application(exchange.command):
            return Selected(text, "", pending)
        return Selected(self.application, text, pending)


@dataclass(frozen=True)
class Transcript:
    """A card as a table: (place, command) to answer, in hexadecimal. The place "" is anywhere."""

    title: str
    atr: bytes
    answers: Mapping[tuple[str, str], bytes] = field(repr=False)

    def answer(self, selected: Selected, command: bytes) -> bytes:
        """The recorded answer. A command of no line is refused as a card does: 6D00."""
        text = command.hex().upper()
        patterns = [text, *(f"{text[:end]}*" for end in range(len(text), -1, -1))]
        places = dict.fromkeys((selected.place(command), ""))
        found = (self.answers.get((place, pattern)) for pattern in patterns for place in places)
        return next((answer for answer in found if answer), bytes.fromhex("6D00"))


def parse_transcript(text: str) -> Transcript:
    """Raises config.invalid with the number of the line that is not one of a transcript."""
    titles, atr, command, selected = [], b"", "", Selected()
    answers: dict[tuple[str, str], bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        mark, value = _line(line, number)
        if mark == "#":
            titles.append(value)
        elif mark == "ATR":
            atr = bytes.fromhex(value)
        elif mark == "=>":
            command = value
        elif mark == "<=" and command.endswith("*"):
            answers["", command] = bytes.fromhex(value)
        elif mark == "<=":
            exchange = Exchange(bytes.fromhex(command), bytes.fromhex(value))
            answers[selected.place(exchange.command), command] = exchange.answer
            selected = selected.after(exchange)
    if not atr:
        raise AgentError(Code.CONFIG_INVALID, "transcript without ATR")
    return Transcript(next(iter(titles), ""), atr, answers)


def load_transcript(file: Path) -> Transcript:
    """The card in this file. Raises config.invalid (fact `setting`: the file)."""
    try:
        return parse_transcript(file.read_text(encoding="utf-8"))
    except AgentError as error:
        raise AgentError(error.code, error.detail, setting=str(file)) from None
    except (OSError, ValueError) as error:
        raise AgentError(Code.CONFIG_INVALID, f"transcript: {type(error).__name__}", setting=str(file)) from None


def format_transcript(title: str, atr: bytes, parts: Mapping[str, Iterable[Exchange]]) -> str:
    """The text of a transcript that answers as these exchanges did, each part under its name."""
    lines = [f"# {title}", f"ATR {_spaced(atr)}"]
    for name, exchanges in parts.items():
        lines += ["", f"# {name}"]
        for exchange in exchanges:
            lines += [f"=> {_spaced(exchange.command)}", f"<= {_spaced(exchange.answer)}"]
    return "\n".join(lines) + "\n"


def shipped_cards() -> dict[str, Transcript]:
    """The cards of the simulator, by name."""
    folder = resources.files("agent.simulator") / "cards"
    return {
        file.name.removesuffix(".txt"): parse_transcript(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".txt")
    }


def _line(line: str, number: int) -> tuple[str, str]:
    """The mark of a line and what follows; hexadecimal comes without blanks, in upper case."""
    found = _LINE.fullmatch(line.strip())
    if not found:
        raise AgentError(Code.CONFIG_INVALID, f"transcript line {number}")
    mark, value = [group for group in found.groups() if group is not None] or ("", "")
    return mark, value if mark == "#" else value.replace(" ", "").upper()


class SimulatedReaders:
    """Readers that hold transcripts. A card keeps its state until it is taken out, as a real one that is left alone."""

    def __init__(
        self,
        desk: Mapping[str, str | None],
        cards: Mapping[str, Transcript],
        kind_of: Callable[[bytes], CardKind] = kind_of,
    ) -> None:
        self.cards = dict(cards)
        self._kind_of = kind_of
        self._lock = threading.Lock()
        self._slots = {reader: _Slot() for reader in desk}
        self._watches: list[_SimulatedWatch] = []
        for reader, card in desk.items():
            self.insert(reader, card)

    @classmethod
    def default(
        cls, kind_of: Callable[[bytes], CardKind] = kind_of, vitale: Transcript | None = None
    ) -> "SimulatedReaders":
        """A family's Vitale, or the given card, in one reader, a CPS in the other."""
        own = {_VITALE_READER: _GIVEN} if vitale else {}
        return cls({**_DEFAULT_DESK, **own}, shipped_cards() | ({_GIVEN: vitale} if vitale else {}), kind_of)

    def insert(self, reader: str, card: str | None) -> None:
        """Put the named card into a reader, in place of what is there; None takes it out.

        Raises reader.absent, card.unknown (fact `cards`: the names known).
        """
        if card is not None and card not in self.cards:
            raise AgentError(Code.CARD_UNKNOWN, "no simulated card of this name", cards=list(self.cards))
        with self._lock:
            slot = self._slot(reader)
            changes = []
            if slot.card:
                slot.card = None
                changes.append(self._seen())
            if card is not None:
                slot.card = _SimulatedCard(self.cards[card], slot)
                changes.append(self._seen())
            for watch in self._watches:
                for seen in changes:
                    watch.put(seen)

    def seen(self) -> list[ReaderSeen]:
        with self._lock:
            return self._seen()

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        with self._lock:
            slot = self._slot(reader)
        with slot.transaction:
            card = slot.card
            if card is None:
                raise AgentError(Code.CARD_ABSENT)
            yield card

    def reset(self, reader: str) -> None:
        with self._lock:
            slot = self._slot(reader)
        with slot.transaction:
            if slot.card is None:
                raise AgentError(Code.CARD_ABSENT)
            slot.card.selected = Selected()

    def watch(self, changed: Callable[[list[ReaderSeen] | None], None]) -> Watch:
        with self._lock:
            watch = _SimulatedWatch(changed, self._forget)
            self._watches.append(watch)
            watch.put(self._seen())
        return watch

    def _forget(self, watch: "_SimulatedWatch") -> None:
        with self._lock:
            self._watches.remove(watch)

    def _slot(self, reader: str) -> "_Slot":
        if reader not in self._slots:
            raise AgentError(Code.READER_ABSENT, "no simulated reader of this name")
        return self._slots[reader]

    def _seen(self) -> list[ReaderSeen]:
        return [
            ReaderSeen(reader=name, card=self._card_seen(slot.card) if slot.card else None)
            for name, slot in self._slots.items()
        ]

    def _card_seen(self, card: "_SimulatedCard") -> CardSeen:
        return CardSeen(kind=self._kind_of(card.atr), atr=card.atr.hex().upper())


class _Slot:
    def __init__(self) -> None:
        self.card: _SimulatedCard | None = None
        self.transaction = threading.Lock()


class _SimulatedCard:
    """A transcript in a reader."""

    def __init__(self, transcript: Transcript, slot: _Slot) -> None:
        self._transcript, self._slot = transcript, slot
        self.selected = Selected()

    @property
    def atr(self) -> bytes:
        return self._transcript.atr

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        if self._slot.card is not self:
            raise AgentError(Code.CARD_REMOVED)
        answer = self._transcript.answer(self.selected, command)
        self.selected = self.selected.after(Exchange(command, answer))
        return answer[:-2], int.from_bytes(answer[-2:], "big")


class _SimulatedWatch:
    def __init__(
        self,
        changed: Callable[[list[ReaderSeen] | None], None],
        forget: Callable[["_SimulatedWatch"], None],
    ) -> None:
        self._changed, self._forget = changed, forget
        self._news: queue.SimpleQueue[list[ReaderSeen] | None] = queue.SimpleQueue()
        self.put = self._news.put
        self._thread = threading.Thread(target=self._tell, name="watch-simulated", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._forget(self)
            self._news.put(None)
            self._thread.join()

    def _tell(self) -> None:
        while (seen := self._news.get()) is not None:
            self._changed(seen)


def _is(command: bytes, instruction: int) -> bool:
    return command[1:2] == bytes([instruction])


def _opens_application(command: bytes) -> bool:
    return command[2:3] == bytes([_BY_NAME]) or command[5:7] == _MF


def _accepted(answer: bytes) -> bool:
    return answer[-2:] == bytes.fromhex("9000") or answer[-2:-1] == b"\x61"


def _spaced(data: bytes) -> str:
    return data.hex(" ").upper()
