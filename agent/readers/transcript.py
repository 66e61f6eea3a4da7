"""Simulated readers and cards: the readers of `--simulate`. A card is a transcript of what it answers.

A transcript is a text file: a title after `#`, the `ATR`, then commands `=>` and answers `<=`. What
follows a SELECT is what the card answers while that is selected. A command that ends with `*` stands
for every command that begins so; the exact one, then the longest, wins.
"""

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources

from agent.errors import AgentError, Code
from agent.model import CardSeen, ReaderSeen
from agent.readers.kinds import kind_of
from agent.readers.ports import Card, Watch

_SELECT = 0xA4
_HEX = r"((?:[0-9A-Fa-f]{2} *)"  # bytes, with or without blanks between
_LINE = re.compile(rf"(#) ?(.*)|(ATR) +{_HEX}+)|(=>) *{_HEX}*\*?)|(<=) *{_HEX}{{2,}})|")
_DEFAULT_DESK = {"Simulateur Vitale 0": "adrun-family", "Simulateur CPS 0": "cpx"}


@dataclass(frozen=True)
class Transcript:
    """A card as a table: (what is selected, command) to answer, in hexadecimal."""

    title: str
    atr: bytes
    answers: Mapping[tuple[str, str], bytes] = field(repr=False)

    def answer(self, selected: str, command: bytes) -> bytes:
        """The recorded answer. A command of no line is refused as a card does: 6D00."""
        text = command.hex().upper()
        patterns = [text, *(f"{text[:end]}*" for end in range(len(text), -1, -1))]
        places = ("",) if command[1:2] == bytes([_SELECT]) else (selected, "")
        found = (self.answers.get((place, pattern)) for pattern in patterns for place in places)
        return next((answer for answer in found if answer), bytes.fromhex("6D00"))


def parse_transcript(text: str) -> Transcript:
    """Raises config.invalid with the number of the line that is not one of a transcript."""
    titles, atr, selected, command = [], b"", "", ""
    answers: dict[tuple[str, str], bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        mark, value = _line(line, number)
        if mark == "#":
            titles.append(value)
        elif mark == "ATR":
            atr = bytes.fromhex(value)
        elif mark == "=>":
            command = value
        elif mark == "<=":
            answer, is_select = bytes.fromhex(value), command[2:4] == f"{_SELECT:02X}"
            answers["" if is_select or command.endswith("*") else selected, command] = answer
            if is_select and _accepted(answer):
                selected = command
    if not atr:
        raise AgentError(Code.CONFIG_INVALID, "transcript without ATR")
    return Transcript(next(iter(titles), ""), atr, answers)


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

    def __init__(self, desk: Mapping[str, str | None], cards: Mapping[str, Transcript]) -> None:
        self.cards = dict(cards)
        self._lock = threading.Lock()
        self._slots = {reader: _Slot() for reader in desk}
        self._watches: list[_SimulatedWatch] = []
        for reader, card in desk.items():
            self.insert(reader, card)

    @classmethod
    def default(cls) -> "SimulatedReaders":
        """A family's Vitale in one reader, a CPS in the other."""
        return cls(_DEFAULT_DESK, shipped_cards())

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
            ReaderSeen(reader=name, card=slot.card.seen if slot.card else None) for name, slot in self._slots.items()
        ]


class _Slot:
    def __init__(self) -> None:
        self.card: _SimulatedCard | None = None
        self.transaction = threading.Lock()


class _SimulatedCard:
    """A transcript in a reader."""

    def __init__(self, transcript: Transcript, slot: _Slot) -> None:
        self._transcript, self._slot = transcript, slot
        self._selected = ""

    @property
    def atr(self) -> bytes:
        return self._transcript.atr

    @property
    def seen(self) -> CardSeen:
        return CardSeen(kind=kind_of(self.atr), atr=self.atr.hex().upper())

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        if self._slot.card is not self:
            raise AgentError(Code.CARD_REMOVED)
        answer = self._transcript.answer(self._selected, command)
        if command[1:2] == bytes([_SELECT]) and _accepted(answer):
            self._selected = command.hex().upper()
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


def _accepted(answer: bytes) -> bool:
    return answer[-2:] == bytes.fromhex("9000") or answer[-2:-1] == b"\x61"
