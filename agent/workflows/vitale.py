"""vitale.read: the holders of the carte Vitale, and the reading that later calls refer to."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from agent.errors import AgentError, Code
from agent.model import CardKind
from agent.protocol.messages import VitaleReadParams, VitaleReadResult
from agent.readers.vitale import check_environment, rank_candidates
from agent.workflows.desk import CARD_QUEUE_S, Asker, Desk
from agent.workflows.readings import Kept

T = TypeVar("T")

_LOOK_AGAIN_S = 1.0

# Worth waiting for: on a desk with one reader the cards take turns in it. The watcher hears a card come;
# what it hears late or never has the seconds after which we look by ourselves.
_MAY_STILL_COME: dict[Code, float | None] = {
    Code.VITALE_ABSENT: None,
    Code.VITALE_CPX_INSTEAD: None,
    Code.READER_ABSENT: None,
    Code.CARD_REMOVED: None,
    Code.CARD_MUTE: None,
    Code.CARD_IN_USE: _LOOK_AGAIN_S,  # the end of another program's work is no event
    Code.PCSC_UNAVAILABLE: _LOOK_AGAIN_S,  # its return is heard late on Windows and macOS
}


async def read(desk: Desk, asker: Asker, params: VitaleReadParams) -> VitaleReadResult:
    """Read the first carte Vitale found in any reader; with `wait`, wait for one that many seconds.

    Raises the codes of `read_first_vitale` (card.mute too where the reading hangs), vitale.environment, device.busy.
    """
    deadline = asyncio.get_running_loop().time() + (params.wait or 0)
    told: Code | None = None
    while True:
        mark = desk.seen
        try:
            reading = await _on_readers(desk, asker, partial(desk.vitale.read, params.reader))
            break
        except AgentError as error:
            left = deadline - asyncio.get_running_loop().time()
            if error.code not in _MAY_STILL_COME or left <= 0:
                raise
            look_again_s = _MAY_STILL_COME[error.code]
            if told != error.code:  # no news each second
                await asker.progress("vitale.waiting", "card.vitale" if look_again_s is None else None)
                told = error.code
            if not await wait_for_change(desk, mark, min(left, look_again_s or left)) and look_again_s is None:
                raise
    check_environment(reading.content.card, desk.environment)
    now = desk.now()
    expires_at = now + timedelta(seconds=desk.settings().vitale.max_age_s)
    read_id = desk.new_id()
    desk.readings.keep(read_id, Kept(asker.origin, reading, expires_at))
    return VitaleReadResult(
        read_id=read_id,
        card=reading.content.card,
        holders=list(reading.content.holders),
        read_at=now,
        expires_at=expires_at,
    )


async def read_again(desk: Desk, asker: Asker, kept: Kept) -> None:
    """The card must be the very same, just before WS_INS1. Raises vitale.changed, vitale.stale."""
    await _on_readers(desk, asker, partial(desk.vitale.read_again, kept.reading))
    if desk.now() >= kept.expires_at:
        raise AgentError(Code.VITALE_STALE)


def rank_of(kept: Kept, holder: int, rank: int | None) -> tuple[int, bool]:
    """The rank to send, and whether it is assumed. One that the card gives counts before a page's.

    Raises vitale.rankNeeded with the candidates when two holders have one birth date.
    """
    chosen = kept.reading.content.holders[holder]
    if not chosen.rank_assumed:
        return chosen.rank, False
    if rank is not None:
        return rank, False
    candidates = rank_candidates(kept.reading.content.holders, holder)
    if candidates:
        raise AgentError(Code.VITALE_RANK_NEEDED, candidates=candidates)
    return chosen.rank, True


async def wait_for_change(desk: Desk, mark: object, seconds: float) -> bool:
    """Wait until the watcher sees something else than `mark`; False when the time is over."""
    async with desk.seen_change:
        try:
            async with asyncio.timeout(seconds):  # wait_for of Python 3.11 swallows a cancel
                await desk.seen_change.wait_for(lambda: desk.seen is not mark)
        except TimeoutError:
            return False
    return True


async def _on_readers(desk: Desk, asker: Asker, call: Callable[[], T]) -> T:
    """A call of `desk.vitale`. One that hangs is a card that does not answer: a reading has no effect to fear."""
    lane = desk.vitale.lane or desk.lanes.pcsc
    async with desk.vitale_turn.taken_by(asker.origin, wait_s=desk.card_queue_s):
        try:
            return await lane.run(
                call, timeout_s=desk.vitale.timeout_s, wait_s=CARD_QUEUE_S, abandoned=desk.vitale.kill
            )
        except AgentError as error:
            if error.code is Code.DEVICE_TIMEOUT:
                raise AgentError(Code.CARD_MUTE, error.detail) from None
            raise


def has_card(desk: Desk, *kinds: CardKind) -> bool:
    """Whether the watcher saw a card of one of these kinds."""
    return any(reader.card is not None and reader.card.kind in kinds for reader in desk.seen or [])
