"""The simulator's token, there only while its card is in the simulated reader."""

from pathlib import Path

from agent.errors import AgentError, Code
from agent.model import CardKind
from agent.pin import Pin
from agent.readers.ports import Readers
from agent.signing.ports import TokenSeen
from agent.signing.worker import TokenWorker


class SimulatedTokens(TokenWorker):
    """The worker process with the simulated token, and a card that may be taken out."""

    def __init__(self, folder: Path, readers: Readers) -> None:
        super().__init__(simulated=folder)
        self._readers = readers

    def look(self) -> list[TokenSeen]:
        if not self._inserted():
            self.logout()
            return []
        return super().look()

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        if not self._inserted():
            raise AgentError(Code.CPX_ABSENT)
        return super().login(serial, pin)

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        if not self._inserted():
            if pin:
                pin.wipe()
            self.logout()
            raise AgentError(Code.CARD_REMOVED)
        return super().sign(serial, cka_id, data, pin)

    def _inserted(self) -> bool:
        return any(seen.card is not None and seen.card.kind is CardKind.CPX for seen in self._readers.seen())
