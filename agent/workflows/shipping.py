"""The journal's entries on their way to their second copy: when, how many at a time, what is told while it is late.

No I/O of its own. Sealed as they are, entries are read on the journal's lane, a batch at a time, and sent on a lane of
their own: a call waits for the reading of one batch at most, and never learns what became of it. What was sent is
marked only then: whatever ends us in between, the same entries are sent again. A journal that fails us makes the copy
late and no more: whether calls can be in it, calls find out.

Nothing wakes us but an entry, other settings, and the time while the copy is late. Where there is nothing to send,
nobody is asked for a keyring, and no journal is made.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

from agent.config import Settings, Ship
from agent.errors import AgentError, Code
from agent.journal.chain import Entry
from agent.journal.shipping import Carrier, target_of
from agent.lane import Lane
from agent.workflows.attempts import JOURNAL_TIMEOUT_S
from agent.workflows.desk import Desk, NotShipped

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH = 100  # entries, which a journal's lane reads in milliseconds
LINGER_S = 2  # a call leaves three entries within a second or two: they go together [choice]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1, 300  # between two tries, twice as long each time [choice]
SEND_TIMEOUT_S = 60  # a carrier over the network has a shorter deadline of its own
LAST_TRY_S = 3  # at the end of the agent

_NO_KEYS = {Code.KEYRING_ABSENT, Code.IDENTITY_DAMAGED}


class _KeyringAsksError(Exception):
    """A person has its question before them."""


def pauses(first_s: float) -> Iterator[float]:
    """Seconds between two tries, one after the other."""
    while True:
        yield first_s
        first_s = min(2 * first_s, LONGEST_PAUSE_S)


class Shipping:
    """Keeps the second copy up to date, from `start` to `stop`. On the event loop's thread."""

    def __init__(
        self,
        desk: Desk,
        carrier: Callable[[Settings], Carrier],
        changed: Callable[[], None],
        *,
        linger_s: float = LINGER_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        """`changed` is called when the copy begins to be late, and when it is no longer."""
        self._desk, self._make_carrier, self._changed = desk, carrier, changed
        self._linger_s, self._first_pause_s = linger_s, first_pause_s
        self._woken, self._hurried = asyncio.Event(), asyncio.Event()
        self._under_way = self._stopping = False
        self._carrier: tuple[Ship, Carrier] | None = None
        self._unmarked: tuple[str, int] | None = None  # the place where everything up to this entry is, told to nobody
        self._lane: Lane | None = None  # a thread only where something is shipped
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what the last stop left behind."""
        self._task = asyncio.create_task(self._run(), name="shipping")
        self._woken.set()

    def wake(self) -> None:
        """There is a new entry."""
        self._woken.set()

    def hurry(self) -> None:
        """The settings may be others: what waits to be tried again is tried now."""
        self._hurried.set()
        self._woken.set()

    async def stop(self) -> None:
        """A short last try for what is not there yet; what it does not manage, the next start does."""
        self._stopping = True
        if self._task and (self._under_way or self._woken.is_set()):
            self._hurried.set()
            await asyncio.wait([self._task], timeout=LAST_TRY_S)
        self.cancel()

    def cancel(self) -> None:
        """End at once. Nothing is lost."""
        if self._task:
            self._task.cancel()
        if self._lane:
            self._lane.close(0)

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._under_way = True
            if target_of(self._desk.settings().journal.ship) is not None:
                await self._pause(self._linger_s)
            self._woken.clear()
            await self._ship()
            self._under_way = False
            if self._stopping:
                return

    async def _ship(self) -> None:
        """Everything that is not there yet, tried again until it is.

        The settings of when a batch begins count to its end: where it goes is where it is marked.
        """
        waits = pauses(self._first_pause_s)
        while (target := target_of((settings := self._desk.settings()).journal.ship)) is not None:
            try:
                if not await self._send_batch(settings, target):
                    break
                waits = pauses(self._first_pause_s)
            except Exception as error:  # noqa: BLE001  (whatever it is, the copy is late, and who may mend it is told)
                if isinstance(error, AgentError) and error.code in _NO_KEYS:
                    return  # said elsewhere; the next entry comes with the keys
                if not isinstance(error, _KeyringAsksError):
                    await self._is_late(target, error)
                if self._stopping:
                    return
                await self._pause(next(waits))
        self._is_up_to_date()

    async def _send_batch(self, settings: Settings, target: str) -> bool:
        """Whether there was something to send. Raises journal.notShipped, device.timeout; as the journal does."""
        journal = self._desk.journal
        await self._mark()
        if not await self._on_journal(partial(journal.behind, target)):
            return False
        await self._keys_at_hand()

        def read() -> tuple[int | None, list[Entry]]:
            return journal.shipped_to(target), journal.unshipped(target, BATCH)

        reached, entries = await self._on_journal(read)
        if not entries:
            return False
        self._lane = self._lane or Lane("ship")
        send = partial(self._carrier_of(settings).send, entries, beginning=reached is None)
        await self._lane.run(send, timeout_s=SEND_TIMEOUT_S)
        self._unmarked = (target, entries[-1].seq)
        await self._mark()
        return True

    async def _mark(self) -> None:
        """What is there is in the journal too; where it could not be, it is tried again and not sent again."""
        if self._unmarked is not None:
            await self._on_journal(partial(self._desk.journal.mark_shipped, *self._unmarked))
            self._unmarked = None

    async def _keys_at_hand(self) -> None:
        """The journal opens with them, and nobody waits on its lane for a keyring. Raises keyring.absent,
        identity.damaged."""
        try:
            await self._desk.keys_at_hand()
        except AgentError as error:
            if error.code in _NO_KEYS:
                raise
            raise _KeyringAsksError from None

    async def _on_journal(self, call: Callable[[], T]) -> T:
        return await self._desk.lanes.journal.run(call, timeout_s=JOURNAL_TIMEOUT_S)

    def _carrier_of(self, settings: Settings) -> Carrier:
        ship = settings.journal.ship
        if self._carrier is None or self._carrier[0] != ship:
            self._carrier = (ship, self._make_carrier(settings))
        return self._carrier[1]

    async def _is_late(self, target: str, error: Exception) -> None:
        """One line in the log and one warning, however often it is tried."""
        desk, before = self._desk, self._desk.not_shipped
        if before is None:
            known = isinstance(error, AgentError)
            why = error if known else type(error).__name__
            log.warning("journal: its second copy is late: %s", why, exc_info=None if known else error)
        entries = before.entries if before else 0
        with suppress(AgentError):
            entries = await self._on_journal(partial(desk.journal.ship_backlog, target))
        desk.not_shipped = NotShipped(entries, before.since if before else desk.now())
        if before is None:
            self._changed()

    def _is_up_to_date(self) -> None:
        if self._desk.not_shipped is not None:
            self._desk.not_shipped = None
            log.info("journal: its second copy is no longer late")
            self._changed()

    async def _pause(self, seconds: float) -> None:
        """So long, unless it is in a hurry."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        self._hurried.clear()
