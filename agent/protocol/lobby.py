"""Keeps the connections that said nothing complete yet within bounds: the clock and the look-ups of `silent.py`.

Looking up the programs of connections walks through every process (a few tens of milliseconds on a full
workstation), which must not be what a flood of connections makes us do all day: it happens only while more are
silent than one program may have, in a thread, for all that are not known yet, and then not again before
LOOK_AGAIN_S, or twenty times what it took. After it, whoever is too many leaves.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from agent.config import Door
from agent.peers import Link
from agent.protocol.silent import UNSEEN, Silent, ceiling

SILENT_S = 120  # the browser's own permission question may be on screen
TIME_TO_SPEAK_S = 1  # a program's request follows its connection in milliseconds; on a busy machine it takes longer
LOOK_AGAIN_S = 1
FILES = 4096
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
        """`processes` is called in a thread, `dropped` is told of each connection that had to go."""
        self._door, self._processes, self._dropped = door, processes, dropped
        self._files = _files()
        self.silent_s = silent_s
        self._silent: Silent[asyncio.Transport] = Silent()
        self._alarms: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._thinning: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._silent)

    @property
    def ceiling(self) -> int:
        """As many are here at most, at any time."""
        door = self._door()
        return ceiling(
            at_once=door.silent, per_process=door.silent_per_process, connections=door.connections, files=self._files
        )

    def enter(self, transport: asyncio.Transport, *, foreign: bool = False) -> None:
        """It was accepted. It may say nothing for `silent_s`; an older one goes when there are too many.

        `foreign`: it is known already to be of another account.
        """
        self._silent.enter(transport, asyncio.get_running_loop().time(), foreign=foreign)
        self._set_alarm(transport, self.silent_s)
        if len(self._silent) > self.ceiling:
            self._drop(self._silent.least_welcome())
        if self._thinning is None and self._are_many():
            self._thinning = asyncio.create_task(self._thin_out(), name="silent")

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

    async def close(self) -> None:
        """Forget everybody."""
        for transport in list(self._alarms):
            self.leave(transport)
        if self._thinning is not None:
            self._thinning.cancel()
            with suppress(asyncio.CancelledError):
                await self._thinning

    def _set_alarm(self, transport: asyncio.Transport, after_s: float) -> None:
        earlier = self._alarms.get(transport)
        if earlier is not None:
            earlier.cancel()
        self._alarms[transport] = asyncio.get_running_loop().call_later(after_s, self._drop, transport)

    def _drop(self, transport: asyncio.Transport) -> None:
        self.leave(transport)
        transport.abort()
        self._dropped()

    def _are_many(self) -> bool:
        door = self._door()
        return len(self._silent) > min(door.silent, door.silent_per_process)

    async def _thin_out(self) -> None:
        """While there are many: learn whose they are, let go who is too many, rest."""
        loop = asyncio.get_running_loop()
        try:
            while self._are_many():
                started = loop.time()
                await self._look_up()
                ended, door = loop.time(), self._door()
                for transport in self._silent.excess(
                    at_once=door.silent, per_process=door.silent_per_process, before=ended - TIME_TO_SPEAK_S
                ):
                    self._drop(transport)
                await asyncio.sleep(max(LOOK_AGAIN_S, _REST * (ended - started)))
        finally:
            self._thinning = None

    async def _look_up(self) -> None:
        links = {transport: link_of(transport) for transport in self._silent.not_looked_up()}
        if links:
            found = await asyncio.to_thread(self._processes, [link for link in links.values() if link is not None])
            self._silent.learn({one: found.get(link, UNSEEN) if link else UNSEEN for one, link in links.items()})


def link_of(transport: asyncio.BaseTransport) -> Link | None:
    """Both ends of a connection; None when it has already gone."""
    theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
    return Link(theirs[:2], ours[:2]) if theirs and ours else None


def _files() -> int | None:
    """How many files, sockets included, this process may hold open; None where nothing limits them.

    Desktops grant 1024 (256 on macOS) and more to who asks: we ask, as a door that is out of files is shut.
    """
    if sys.platform == "win32":
        return None
    import resource

    granted, at_most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted == resource.RLIM_INFINITY:
        return None
    if granted < FILES:
        wanted = FILES if at_most == resource.RLIM_INFINITY else min(FILES, at_most)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, at_most))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
