"""Keeps the connections that said nothing complete yet within bounds: the clock and the look-ups of `silent.py`.

Looking up the programs of connections walks through every process (a few tens of milliseconds on a full
workstation), which must not be what a flood of connections makes us do all day: it happens only when more are
silent than one program may have, once for all that are not known yet, and then not again before LOOK_AGAIN_S, or
twenty times what it took. What comes meanwhile counts as of one program.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from agent.config import Door
from agent.peers import Link
from agent.protocol.silent import UNSEEN, Silent

SILENT_S = 120  # the browser's own permission question may be on screen
LOOK_AGAIN_S = 1
_REST = 20


class Lobby:
    """Where a connection waits from the moment it is accepted until its handshake is complete."""

    def __init__(
        self,
        *,
        door: Callable[[], Door],
        processes: Callable[[Iterable[Link]], Mapping[Link, int]],
        silent_s: float,
        dropped: Callable[[], None],
    ) -> None:
        """`dropped` is told of each connection that had to go."""
        self._door, self._processes, self._dropped = door, processes, dropped
        self.silent_s = silent_s
        self._silent: Silent[asyncio.Transport] = Silent()
        self._alarms: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._look_from = 0.0
        self._look_later: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._silent)

    def enter(self, transport: asyncio.Transport) -> None:
        """It was accepted. It may say nothing for `silent_s`; an older one goes when there are too many."""
        self._silent.enter(transport)
        self._set_alarm(transport, self.silent_s)
        self._thin_out()

    def spoke(self, transport: asyncio.Transport) -> None:
        """Its first byte came: the rest of the handshake must come soon."""
        if transport in self._alarms:
            self._set_alarm(transport, self._door().handshake_s)

    def leave(self, transport: asyncio.Transport) -> None:
        """Its handshake is complete, or it has gone."""
        self._silent.leave(transport)
        alarm = self._alarms.pop(transport, None)
        if alarm is not None:
            alarm.cancel()

    def close(self) -> None:
        """Forget everybody."""
        for transport in list(self._alarms):
            self.leave(transport)
        if self._look_later is not None:
            self._look_later.cancel()

    def _set_alarm(self, transport: asyncio.Transport, after_s: float) -> None:
        earlier = self._alarms.get(transport)
        if earlier is not None:
            earlier.cancel()
        self._alarms[transport] = asyncio.get_running_loop().call_later(after_s, self._drop, transport)

    def _drop(self, transport: asyncio.Transport) -> None:
        self.leave(transport)
        transport.abort()
        self._dropped()

    def _thin_out(self) -> None:
        door = self._door()
        unknown = self._silent.not_looked_up() if len(self._silent) > door.silent_per_process else []
        if unknown:
            self._look_up(unknown)
        for transport in self._silent.excess(at_once=door.silent, per_process=door.silent_per_process):
            self._drop(transport)

    def _look_up(self, unknown: Iterable[asyncio.Transport]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        if started < self._look_from:
            if self._look_later is None:
                self._look_later = loop.call_at(self._look_from, self._look_again)
            return
        links = {transport: link_of(transport) for transport in unknown}
        found = self._processes(link for link in links.values() if link is not None)
        self._silent.learn({one: found.get(link, UNSEEN) if link else UNSEEN for one, link in links.items()})
        ended = loop.time()
        self._look_from = ended + max(LOOK_AGAIN_S, _REST * (ended - started))

    def _look_again(self) -> None:
        self._look_later = None
        self._thin_out()


def link_of(transport: asyncio.BaseTransport) -> Link | None:
    """Both ends of a connection; None when it has already gone."""
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return Link(theirs[:2], ours[:2]) if theirs and ours else None
