"""cpx.status, cpx.unlock, cpx.lock, and the card session behind them.

The session belongs to the origin for which the person typed the code: another origin's first use
asks the person again, naming that origin. The code itself is never kept.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from agent.errors import AgentError, Code
from agent.model import CardKind, CpxStatus, PinState
from agent.pin import Pin
from agent.protocol.messages import CpxStatusParams, CpxUnlockParams
from agent.signing import cpx
from agent.signing.cpx import CardFacts
from agent.signing.ports import CertificateObject, TokenSeen
from agent.tray.bridge import PinQuestion
from agent.workflows.desk import CARD_QUEUE_S, Asker, CardSession, Desk
from agent.workflows.vitale import wait_for_change

REMOVAL_SEEN_S = 2
T = TypeVar("T")

# after these nobody knows what the session still is
_GONE = {
    Code.CPX_SESSION_LOST,
    Code.CARD_REMOVED,
    Code.CPX_ABSENT,
    Code.DEVICE_CRASHED,
    Code.DEVICE_TIMEOUT,
    Code.TOKEN_UNKNOWN,
}


@dataclass(frozen=True)
class Unlocked:
    """A card ready to sign for one origin."""

    token: TokenSeen
    certificate: CertificateObject
    facts: CardFacts


async def status(desk: Desk, asker: Asker, params: CpxStatusParams) -> CpxStatus:
    """The professional card, without its code; with `wait`, wait for one that many seconds."""
    deadline = asyncio.get_running_loop().time() + (params.wait or 0)
    while True:
        mark = desk.seen
        token = await _token(desk)
        left = deadline - asyncio.get_running_loop().time()
        if token is not None or left <= 0:
            return _status(desk, asker, token)
        await asker.progress("cpx.waiting", "card.cpx")
        await wait_for_change(desk, mark, left)


async def unlock(desk: Desk, asker: Asker, params: CpxUnlockParams) -> CpxStatus:
    """Ask the person for the code and open the session for this origin, unless it has one already."""
    async with unlocked(desk, asker, purpose="Ouvrir la session de la carte", reason=params.reason) as card:
        found = _status(desk, asker, card.token)
    return found.model_copy(update={"unlocked": desk.session is not None})  # kept for this call only: closed again


async def lock(desk: Desk, asker: Asker, _params: CpxUnlockParams) -> CpxStatus:
    """End the session, whoever opened it: closing is always allowed."""
    async with desk.cpx_turn.taken_by(asker.origin, wait_s=desk.card_queue_s):
        await end_session(desk)
    return await status(desk, asker, CpxStatusParams())


@asynccontextmanager
async def unlocked(
    desk: Desk,
    asker: Asker,
    *,
    purpose: str,
    reason: str | None = None,
    check: Callable[[Desk, CardFacts], None] = lambda _desk, _facts: None,
) -> AsyncIterator[Unlocked]:
    """Hold the card with a session of this origin open; what the settings say is kept stays open afterwards.

    `check` may refuse the card before the code is asked.

    Raises cpx.absent, cpx.several, cpx.notNominative, cpx.environment, cpx.expired, cpx.noSignature (all
    before the question), pin.*, question.expired, prompt.unavailable, device.busy, module.*.
    """
    async with desk.cpx_turn.taken_by(asker.origin, wait_s=desk.card_queue_s):
        try:
            token = await _inserted(desk, asker)
            certificate = cpx.signature_certificate(token)
            facts = cpx.card_facts(certificate.der, token.data)
            desk.card_not_after = facts.not_after
            cpx.check_usable(facts, environment=desk.environment, now=desk.now())
            check(desk, facts)
            if not _is_own(desk, asker, token):
                token = await _open(desk, asker, token, facts, purpose, reason)
            assert desk.session is not None
            desk.session.used_at = desk.now()
            yield Unlocked(token, certificate, facts)
        except AgentError as error:
            if error.code in _GONE and desk.session is not None:
                await end_session(desk)
            raise
        finally:
            if desk.settings().cpx.keep == "call" and desk.session is not None:
                await end_session(desk)


async def end_session(desk: Desk, *, wait_s: float = CARD_QUEUE_S) -> None:
    """Log out and forget the session. Never fails."""
    had, desk.session = desk.session, None
    with contextlib.suppress(AgentError):
        await _on_token(desk, lambda: desk.tokens().logout(), wait_s=wait_s)
    if had is not None:
        desk.changed()


async def end_expired_session(desk: Desk) -> float | None:
    """End the session if its time is over; the seconds until it may be, or None without a session."""
    session = desk.session
    if session is None:
        return None
    ends_at = _ends_at(desk, session)
    left = (ends_at - desk.now()).total_seconds()
    if left > 0:
        return left
    async with desk.cpx_turn.taken_by(session.owner, wait_s=None):
        if desk.session is session and desk.now() >= _ends_at(desk, session):
            await end_session(desk)
    return None


async def _on_token(desk: Desk, call: Callable[[], T], *, wait_s: float = CARD_QUEUE_S) -> T:
    tokens = desk.tokens()
    return await desk.lanes.token.run(
        call,
        timeout_s=desk.settings().cpx.call_timeout_s,
        wait_s=wait_s,
        abandoned=tokens.kill,  # kill the worker: a hung module must not hold the lane
    )


async def sign(desk: Desk, card: Unlocked, make: Callable[[Callable[[bytes], bytes]], T]) -> T:
    """Run `make(rsa_sign)` on the token's lane: whatever it builds is signed by this card.

    A module says no more than "general error" when the card is pulled in mid-signature; then the readers
    are asked whether it is still there.
    """
    serial, key = card.token.serial, card.certificate.cka_id
    try:
        return await _on_token(desk, lambda: make(lambda data: desk.tokens().sign(serial, key, data)))
    except AgentError as error:
        if error.code is Code.TOKEN_UNKNOWN and await _left_within(desk, REMOVAL_SEEN_S):
            raise AgentError(Code.CARD_REMOVED, error.detail) from None
        raise


async def _left_within(desk: Desk, seconds: float) -> bool:
    """Whether the watcher sees the card of the session leave: a reader takes up to half a second to say so."""
    deadline = asyncio.get_running_loop().time() + seconds

    def gone() -> bool:
        return desk.session is None or card_left(desk)  # whoever saw it leave first ended the session

    while not gone() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        await wait_for_change(desk, desk.seen, left)
    return gone()


async def _token(desk: Desk) -> TokenSeen | None:
    """The one CPx inserted. Raises cpx.several."""
    tokens = [token for token in await _on_token(desk, lambda: _look(desk)) if token.certificates]
    if len(tokens) > 1:
        raise AgentError(Code.CPX_SEVERAL)
    return tokens[0] if tokens else None


async def _inserted(desk: Desk, asker: Asker) -> TokenSeen:
    """The one CPx inserted. Raises cpx.absent, cpx.several."""
    token = await _token(desk)
    if token is None:
        await asker.progress("cpx.absent", "card.cpx")
        raise AgentError(Code.CPX_ABSENT)
    return token


def _look(desk: Desk) -> list[TokenSeen]:
    """On the token's lane, where the certificates' library is loaded too: other pages do not wait for it."""
    import cryptography.x509  # noqa: F401

    return desk.tokens().look()


async def _open(
    desk: Desk, asker: Asker, token: TokenSeen, facts: CardFacts, purpose: str, reason: str | None
) -> TokenSeen:
    if desk.session is not None or token.logged_in:
        await end_session(desk)
    if token.pin_state is PinState.LOCKED:
        raise AgentError(Code.PIN_LOCKED, pinState=PinState.LOCKED.value)
    await asker.progress("cpx.pin", "pin")
    pin = await _ask_pin(desk, asker, token, facts, purpose, reason)
    try:
        await asker.progress("cpx.login")
        opened = await _on_token(desk, lambda: desk.tokens().login(token.serial, pin))
        desk.wrong_code = None
    except AgentError as error:
        if error.code is Code.PIN_WRONG:
            desk.wrong_code = token.serial
        raise
    except asyncio.CancelledError:
        # The card may still accept the code: a session that nobody owns is closed as soon as it is there.
        desk.finish(end_session(desk, wait_s=desk.settings().cpx.call_timeout_s))
        raise
    finally:
        if pin is not None:
            pin.wipe()
    now = desk.now()
    desk.session = CardSession(asker.origin, token.serial, token.reader, now, now)
    desk.changed()
    return opened


async def _ask_pin(
    desk: Desk, asker: Asker, token: TokenSeen, facts: CardFacts, purpose: str, reason: str | None
) -> Pin | None:
    """The code, of a form that costs no try for nothing; None when it is typed on the reader. Raises pin.format."""
    settings = desk.settings()
    software = settings.software_of(asker.origin)
    digits = settings.cpx.pin_min_digits, settings.cpx.pin_max_digits
    pin = await desk.person.ask_pin(
        PinQuestion(
            origin=asker.origin,
            software=software.name if software else "",
            operation=purpose,
            reason=reason,
            holder=facts.professional.name,
            pin_state=token.pin_state,
            min_digits=digits[0],
            max_digits=digits[1],
            language=settings.language,
            pin_pad=token.pin_pad,
            previous_error=Code.PIN_WRONG if desk.wrong_code == token.serial else None,
        )
    )
    if pin is not None and not pin.has_form(*digits):
        pin.wipe()
        raise AgentError(Code.PIN_FORMAT)
    return pin


def _is_own(desk: Desk, asker: Asker, token: TokenSeen) -> bool:
    session = desk.session
    return (
        session is not None
        and session.owner == asker.origin
        and session.serial == token.serial
        and token.logged_in
        and desk.now() < _ends_at(desk, session)
    )


def _ends_at(desk: Desk, session: CardSession) -> datetime:
    settings = desk.settings().cpx
    ends = [
        session.used_at + timedelta(minutes=settings.idle_minutes),
        session.opened_at + timedelta(minutes=settings.max_minutes),
    ]
    if settings.keep.startswith("minutes:"):
        ends.append(session.opened_at + timedelta(minutes=int(settings.keep.partition(":")[2])))
    return min(ends)


def _status(desk: Desk, asker: Asker, token: TokenSeen | None) -> CpxStatus:
    own = token is not None and _is_own(desk, asker, token)
    found = cpx.status(token, now=desk.now(), unlocked=own)
    desk.card_not_after = found.certificate.not_after if found.certificate else None
    return found


def card_left(desk: Desk) -> bool:
    """Whether the watcher no longer sees a CPx in the reader of the session."""
    if desk.session is None or desk.seen is None:
        return desk.session is not None and desk.seen is None
    reader = next((seen for seen in desk.seen if seen.reader == desk.session.reader), None)
    if reader is None:  # the module names its slots otherwise: any CPx will do
        return not any(seen.card and seen.card.kind is CardKind.CPX for seen in desk.seen)
    return reader.card is None or reader.card.kind is not CardKind.CPX
