"""What the agent needs of card readers. Implemented by `pcsc.py` (real) and `transcript.py` (simulated).

Every call blocks and belongs on the PC/SC lane.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from agent.model import ReaderSeen


class Card(Protocol):
    """A card in a transaction of ours."""

    @property
    def atr(self) -> bytes: ...

    def transmit(self, command: bytes) -> tuple[bytes, int]:
        """Send one APDU; the answer's data and its status word (SW1 << 8 | SW2), untouched.

        Raises card.removed, card.mute, card.inUse, pcsc.unavailable.
        """
        ...


class Watch(Protocol):
    """A running watcher."""

    def close(self) -> None:
        """Stop watching; returns when its thread has ended."""
        ...


class Readers(Protocol):
    """All the readers of this workstation."""

    def seen(self) -> list[ReaderSeen]:
        """Every reader and what is in it, in PC/SC order. Empty without readers. Raises pcsc.unavailable."""
        ...

    def transaction(self, reader: str) -> AbstractContextManager[Card]:
        """Connect SHARED and hold one transaction; leave the card as it is at the end (SCARD_LEAVE_CARD).

        Another program's transaction is waited for, some seconds. Raises reader.absent, card.absent,
        card.removed, card.mute, pcsc.unavailable, and card.inUse with the fact `rivals`: the known programs
        of the field that run here and may hold the card; before the first command nothing was sent.
        """
        ...

    def reset(self, reader: str) -> None:
        """Reset the card in this reader: a code that was verified on it is verified no more.

        Every other program's session with that card ends too. Raises as `transaction`.
        """
        ...

    def watch(self, changed: Callable[[list[ReaderSeen] | None], None]) -> Watch:
        """Call `changed` from a thread of its own with the new list at each change, and once at the start.

        None means that the card service is down. Survives its restart. Never polls while it is up.
        """
        ...
