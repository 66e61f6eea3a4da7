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

# Worth waiting for: on a desk with one reader the cards take turns in it.
_MAY_STILL_COME = {
    Code.VITALE_ABSENT,
    Code.VITALE_CPX_INSTEAD,
    Code.READER_ABSENT,
    Code.CARD_REMOVED,
    Code.CARD_MUTE,
}


async def read(desk: Desk, asker: Asker, params: VitaleReadParams) -> VitaleReadResult:
    """Read the first carte Vitale found in any reader; with `wait`, wait for one that many seconds.

    Raises the codes of `read_first_vitale`, vitale.environment, device.busy, device.timeout.
    """
    deadline = asyncio.get_running_loop().time() + (params.wait or 0)
    while True:
        mark = desk.seen
        try:
            reading = await _on_readers(desk, asker, partial(desk.vitale.read, params.reader))
            break
        except AgentError as error:
            left = deadline - asyncio.get_running_loop().time()
            if error.code not in _MAY_STILL_COME or left <= 0:
                raise
            await asker.progress("vitale.waiting", "card.vitale")
            if not await wait_for_change(desk, mark, left):
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
            await asyncio.wait_for(desk.seen_change.wait_for(lambda: desk.seen is not mark), seconds)
        except TimeoutError:
            return False
    return True


async def _on_readers(desk: Desk, asker: Asker, call: Callable[[], T]) -> T:
    async with desk.vitale_turn.taken_by(asker.origin, wait_s=desk.card_queue_s):
        return await desk.lanes.pcsc.run(
            call, timeout_s=desk.vitale.timeout_s, wait_s=CARD_QUEUE_S, abandoned=desk.vitale.kill
        )


def has_card(desk: Desk, *kinds: CardKind) -> bool:
    """Whether the watcher saw a card of one of these kinds."""
    return any(reader.card is not None and reader.card.kind in kinds for reader in desk.seen or [])
