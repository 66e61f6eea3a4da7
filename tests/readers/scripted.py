"""Cards made for one test: plain objects that answer what they are told."""

from collections.abc import Iterator

from agent.errors import AgentError, Code
from agent.readers.transcript import SimulatedReaders, Transcript, shipped_cards
from tests.cards.vpcd import Pulled, VirtualCard

VITALE_2 = bytes.fromhex("3B751300004409EA9000")


class ScriptedCard:
    """Gives its answers one after the other, whatever it is asked; keeps the commands."""

    def __init__(self, *answers: str | bytes, atr: bytes = VITALE_2) -> None:
        self.atr = atr
        self.commands: list[str] = []
        self._answers: Iterator[bytes] = iter(
            [bytes.fromhex(answer) if isinstance(answer, str) else answer for answer in answers]
        )

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        self.commands.append(command.hex().upper())
        answer = next(self._answers, bytes.fromhex("6F00"))
        return answer[:-2], int.from_bytes(answer[-2:], "big")


class PlayedCard:
    """A virtual card of `tests/cards` without a reader; keeps the commands."""

    def __init__(self, card: VirtualCard) -> None:
        self._card = card
        self.atr = card.atr
        self.commands: list[str] = []

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        self.commands.append(command.hex().upper())
        try:
            answer = self._card.apdu(command)
        except Pulled:
            raise AgentError(Code.CARD_REMOVED) from None
        return answer[:-2], int.from_bytes(answer[-2:], "big")


def tlv(tag: int, value: bytes) -> bytes:
    """One object with a short, 81 or 82 length."""
    size = len(value)
    length = (
        bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + value


def desk(**cards: str | Transcript | None) -> SimulatedReaders:
    """Readers by name, each with a shipped card, a transcript of the test or nothing."""
    own = {f"own-{name}": card for name, card in cards.items() if isinstance(card, Transcript)}
    places = {name: f"own-{name}" if f"own-{name}" in own else card for name, card in cards.items()}
    return SimulatedReaders(places, {**shipped_cards(), **own})  # type: ignore[arg-type]  # only names are left


def transcript_lines(*lines: str) -> str:
    """The transcript of a Vitale 2 with these lines."""
    return "\n".join(["# test", f"ATR {VITALE_2.hex()}", *lines])
