"""The journal's retention: a while after the start, then once a day. No I/O of its own.

On the journal's lane, in steps, between which the calls of pages have their turn. Nobody is asked for a keyring
unless something is due.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from agent.config import Settings
from agent.errors import AgentError
from agent.journal.retention import Rule
from agent.journal.shipping import target_of
from agent.workflows.attempts import journalled
from agent.workflows.desk import Desk

log = logging.getLogger(__name__)

FIRST_S, DAY_S = 300, 86_400  # a session that begins has better things to do [choice]


async def keep_up(desk: Desk, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Until it is cancelled. What a day could not do, the next one does."""
    await pause(FIRST_S)
    while True:
        try:
            await retain(desk)
        except AgentError as error:
            log.log(logging.getLevelNamesMapping()[error.row.level], "journal: retention waits a day: %s", error)
        except Exception:  # whatever it is, it must not end retention until the next start, unsaid
            log.exception("journal: retention waits a day")
        await pause(DAY_S)


async def retain(desk: Desk) -> None:
    """All that is due by the settings. Raises as the journal and `Desk.identity`; device.busy, device.timeout."""
    rule = rule_of(desk.settings())
    if not await journalled(desk, partial(desk.journal.due, rule, desk.now())):
        return
    await desk.identity()  # which signs: asked for here, and nobody waits on the journal's lane for a keyring
    steps = 0
    while await journalled(desk, partial(desk.journal.retain, rule, desk.now())):
        steps += 1
    log.info("journal: retention took what was due, in %s steps", steps)


def rule_of(settings: Settings) -> Rule:
    journal = settings.journal
    return Rule(journal.personal_days, journal.entry_days, shipped_to=target_of(journal.ship))
