"""cpx.status, cpx.unlock, cpx.lock, and the card session behind them.

The session belongs to the origin for which the person typed the code: another origin's first use
asks the person again, naming that origin. The code itself is never kept.

Two turns. `cpx_turn` is an operation's, with all its questions and attempts. `token_turn` is held for
a look, a login, a signature or the end of a session: a logout and the reset that follows it never meet
somebody else's login.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import TypeVar

from agent.errors import AgentError, Code
from agent.model import CardKind, CpxStatus, Environment, PinState, ReaderSeen
from agent.pin import Pin
from agent.protocol.messages import CpxStatusParams, CpxUnlockParams
from agent.signing import cpx
from agent.signing.cpx import CardFacts
from agent.signing.ports import CertificateObject, ModuleFacts, TokenSeen
from agent.tray.bridge import PinQuestion
from agent.workflows.desk import CARD_QUEUE_S, Asker, CardSession, Desk, UnresetCard
from agent.workflows.rates import Rated
from agent.workflows.vitale import has_card, wait_for_change

log = logging.getLogger(__name__)
T = TypeVar("T")

REMOVAL_SEEN_S = 2
LOGOUT_S = 5  # a module that has not logged out by then is ended with its process
RESET_AGAIN_S = (1, 2, 4, 8, 16, 30)  # the last one again and again
RESET_S = 15  # a reader waits 5 s for another program's transaction, twice at most

# After these nobody knows what the session still is.
_UNSURE = {
    Code.CPX_SESSION_LOST,
    Code.CARD_REMOVED,
    Code.CPX_ABSENT,
    Code.DEVICE_CRASHED,
    Code.DEVICE_TIMEOUT,
    Code.TOKEN_UNKNOWN,
}
_NO_CARD = {Code.CARD_ABSENT, Code.CARD_REMOVED, Code.READER_ABSENT}  # nothing is left to reset
_ENDING = _UNSURE | {Code.PIN_WRONG, Code.PIN_LOCKED}  # a wrong code at a signature ends the session too


@dataclass(frozen=True)
class Unlocked:
    """A card ready to sign for one origin."""

    token: TokenSeen
    certificate: CertificateObject
    facts: CardFacts
    asker: Asker
    purpose: str


async def status(desk: Desk, asker: Asker, params: CpxStatusParams) -> CpxStatus:
    """The professional card, without its code; with `wait`, wait for one that many seconds.

    Raises cpx.several, device.busy {origin, since} behind a login on a pin-pad, module.*.
    """
    deadline = asyncio.get_running_loop().time() + (params.wait or 0)
    while True:
        mark = desk.seen
        token = await _token(desk, asker)
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
    try:
        return await status(desk, asker, CpxStatusParams())
    except AgentError as error:  # it is locked, whatever can be said of the card
        log.info("after the lock: %s", error)
        return CpxStatus(present=has_card(desk, CardKind.CPX))


# ---------------------------------------------------------------- the session


@asynccontextmanager
async def unlocked(
    desk: Desk,
    asker: Asker,
    *,
    purpose: str,
    reason: str | None = None,
    signs: bool = False,
    check: Callable[[CardFacts, TokenSeen], None] = lambda _facts, _token: None,
) -> AsyncIterator[Unlocked]:
    """Hold the card with a session of this origin open; what the settings say is kept stays open afterwards.

    `signs`: for a signature, which some modules cannot make. `check` may refuse the card before the code is asked.

    Raises cpx.absent, cpx.several, cpx.contactless, cpx.notNominative, cpx.environment, cpx.expired,
    cpx.noSignature, module.tooOld, module.cannotSign, pin.locked, rate.limited (all before the question), pin.*,
    question.expired, prompt.unavailable, cpx.sessionLost, device.busy, module.*.
    """
    async with desk.cpx_turn.taken_by(asker.origin, wait_s=desk.card_queue_s):
        try:
            token = await _inserted(desk, asker)
            certificate = _signature_certificate(desk, token)
            facts = cpx.card_facts(certificate.der, token.data, issuer_format=desk.settings().cpx.issuer_format)
            desk.card_not_after = facts.not_after
            cpx.check_usable(facts, environment=desk.environment, now=desk.now())
            check(facts, token)
            if signs:
                await _check_module(desk, asker)
            if not _is_own(desk, asker, token):
                token = await _open(desk, asker, token, facts, purpose, reason)
            if desk.session is None:
                raise AgentError(Code.CPX_SESSION_LOST, "ended as soon as it was opened")
            desk.session.used_at = desk.now()
            yield Unlocked(token, certificate, facts, asker, purpose)
        finally:
            if desk.settings().cpx.keep == "call" and desk.session is not None:
                await end_session(desk)


async def end_session(desk: Desk, only: CardSession | None = None, *, card_left: bool = False) -> None:
    """Log out, reset the card, forget the session; `only` that one if given. Never fails.

    Goes on to its end when whoever waits for it gives up. `card_left`: there is nothing to reset.
    """
    await asyncio.shield(desk.finish(_end(desk, only, reset=not card_left)))


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
            await end_session(desk, session)
    return None


async def _end(desk: Desk, only: CardSession | None, *, reset: bool) -> None:
    async with desk.token_turn.taken_by("", wait_s=None):
        if desk.session is not None and (only is None or only is desk.session):
            await _close(desk, desk.session.reader, reset=reset)


async def _close(desk: Desk, reader: str | None, *, reset: bool = True) -> None:
    """End what is open, or what a login may have left open, on the card in this reader. In the token's turn."""
    had, desk.session = desk.session, None
    try:
        await _on_token(desk, lambda: desk.tokens().logout(), timeout_s=LOGOUT_S)
    except AgentError as error:
        log.warning("the card's module did not log out, its process is ended: %s", error)
        desk.tokens().kill()
    if reset and desk.settings().cpx.reset_card:
        await _reset(desk, reader)
    if had is not None:
        desk.changed()


async def _reset(desk: Desk, reader: str | None) -> None:
    """Make the card forget the code: a logout leaves it verified, for every program (seen with two modules).

    A card that another program keeps is reset later.
    """
    card = UnresetCard(desk.readers, reader, simulated=desk.environment is Environment.SIMULATED)
    if not await _is_reset(desk, card):
        reset_later(desk, card)


def reset_later(desk: Desk, card: UnresetCard) -> None:
    """Try until the card has forgotten the code, has left, or is opened anew; meanwhile agent.status warns.

    One card at a time. Cancelled, `desk.unreset` still names it, for the agent that follows.
    """
    if desk.resetting is None:
        desk.unreset = card
        desk.resetting = asyncio.create_task(_reset_later(desk, card), name="card-reset")


async def _reset_later(desk: Desk, card: UnresetCard) -> None:
    for pause in chain(RESET_AGAIN_S, repeat(RESET_AGAIN_S[-1])):
        await asyncio.sleep(pause)
        if card.readers is not desk.readers:  # of the environment that was left: nobody opens it here
            done = await _is_reset(desk, card)
        else:
            async with desk.token_turn.taken_by("", wait_s=None):
                left = desk.session is not None or not _with_cpx(desk.seen, card.reader)
                done = left or await _is_reset(desk, card)
        if done:
            break
    desk.unreset = desk.resetting = None
    desk.changed()


async def _is_reset(desk: Desk, card: UnresetCard) -> bool:
    """Reset it now; False where another try may help."""

    def reset() -> None:
        places = _with_cpx(card.readers.seen(), card.reader)
        if len(places) == 1:
            card.readers.reset(places[0])
        elif places:
            log.warning("card not reset: it may be in %s readers", len(places))

    try:
        await desk.lanes.pcsc.run(reset, timeout_s=RESET_S, wait_s=desk.vitale.timeout_s)  # after a reading
    except AgentError as error:
        log.warning("card not reset: %s", error)
        return error.code in _NO_CARD
    return True


@asynccontextmanager
async def _token_turn(desk: Desk, asker: Asker, *, wait_s: float | None = None) -> AsyncIterator[None]:
    """The token for oneself. A failure that leaves the session in doubt ends it.

    Raises device.busy {origin, since} after `wait_s`, by default what a card operation waits.
    """
    session = desk.session
    try:
        async with desk.token_turn.taken_by(asker.origin, wait_s=desk.card_queue_s if wait_s is None else wait_s):
            session = desk.session
            yield
    except AgentError as error:
        if error.code in _ENDING and session is not None:
            await end_session(desk, session)
        raise


async def _on_token(desk: Desk, call: Callable[[], T], *, timeout_s: float | None = None) -> T:
    tokens = desk.tokens()
    return await desk.lanes.token.run(
        call,
        timeout_s=timeout_s or desk.settings().cpx.call_timeout_s,
        wait_s=CARD_QUEUE_S,
        abandoned=tokens.kill,  # kill the worker: a hung module must not hold the lane
    )


# ---------------------------------------------------------------- signing


async def sign(desk: Desk, card: Unlocked, make: Callable[[Callable[[bytes], bytes]], T]) -> T:
    """Run `make(rsa_sign)` on the token's lane: whatever it builds is signed by this card, once.

    A key that asks each time asks the person each time.
    Raises cpx.sessionLost, card.removed, module.cannotSign, rate.limited, and the codes of a question.
    """
    serial, key = card.token.serial, card.certificate.cka_id
    pin = await _ask_for_signature(desk, card) if key in card.token.asks_each_time else None
    try:
        async with _token_turn(desk, card.asker, wait_s=desk.settings().cpx.call_timeout_s):
            if desk.session is None:
                raise AgentError(Code.CPX_SESSION_LOST)
            try:
                signed = await _on_token(desk, lambda: make(lambda data: desk.tokens().sign(serial, key, data, pin)))
            except AgentError as error:
                _remember(desk, serial, error.code)
                # whoever saw it leave first ended the session
                raise await _or_removed(desk, error, lambda: desk.session is None or card_left(desk)) from None
    finally:
        if pin is not None:
            pin.wipe()
    desk.wrong_code = None
    return signed


async def _ask_for_signature(desk: Desk, card: Unlocked) -> Pin | None:
    """The code for one signature; what is left of its tries is looked at each time."""
    token = await _token(desk, card.asker)
    if token is None or token.serial != card.token.serial or desk.session is None:
        raise AgentError(Code.CPX_SESSION_LOST)
    return await _ask_pin(desk, card.asker, token, card.facts, f"Signature : {card.purpose}", None)


async def _or_removed(desk: Desk, error: AgentError, gone: Callable[[], bool]) -> AgentError:
    """The same error; card.removed for one that a module did not know, when the watcher sees the card leave.

    A module says no more than "general error" of a card pulled meanwhile; a reader takes up to half a second.
    """
    if error.code is not Code.TOKEN_UNKNOWN:
        return error
    deadline = asyncio.get_running_loop().time() + REMOVAL_SEEN_S
    while not gone() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        await wait_for_change(desk, desk.seen, left)
    return AgentError(Code.CARD_REMOVED, error.detail) if gone() else error


# ---------------------------------------------------------------- the card


async def _token(desk: Desk, asker: Asker) -> TokenSeen | None:
    """The one CPx inserted. A session that its token no longer has is ended. Raises cpx.several."""
    async with _token_turn(desk, asker):
        seen = await _on_token(desk, lambda: _look(desk))
        session = desk.session
    if session is not None:
        there = [token for token in seen if token.serial == session.serial]
        if not any(token.logged_in for token in there):  # a worker restarted, a foreign reset, another card
            await end_session(desk, session, card_left=not there)
    # a module shows a card that was moved in both slots for a while: by its serial it is one
    shown = sorted((token for token in seen if token.certificates), key=lambda token: token.logged_in)
    tokens = list({token.serial: token for token in shown}.values())
    if len(tokens) > 1:  # one that lies on the contactless part of a reader is not in the way
        tokens = [token for token in tokens if not _is_contactless(desk, token)]
    if len(tokens) > 1:
        raise AgentError(Code.CPX_SEVERAL)
    return tokens[0] if tokens else None


def _look(desk: Desk) -> list[TokenSeen]:
    """On the token's lane, where the certificates' library is loaded too: other pages do not wait for it."""
    import cryptography.x509  # noqa: F401

    return desk.tokens().look()


async def _inserted(desk: Desk, asker: Asker) -> TokenSeen:
    """The one CPx inserted. Raises cpx.absent, cpx.several, cpx.contactless, module.tooOld, cpx.noSignature."""
    token = await _token(desk, asker)
    if token is not None:
        return token
    await asker.progress("cpx.absent", "card.cpx")
    for one in desk.seen or []:
        if one.card and one.card.kind is CardKind.CPX:
            cpx.check_known(await _module(desk, asker), one.card.atr)
    raise AgentError(Code.CPX_CONTACTLESS if has_card(desk, CardKind.CPX_CONTACTLESS) else Code.CPX_ABSENT)


def _signature_certificate(desk: Desk, token: TokenSeen) -> CertificateObject:
    """Raises cpx.noSignature, cpx.contactless."""
    try:
        return cpx.signature_certificate(token)
    except AgentError as error:
        if _is_contactless(desk, token):
            raise AgentError(Code.CPX_CONTACTLESS, error.detail) from None
        raise


async def _module(desk: Desk, asker: Asker) -> ModuleFacts:
    async with _token_turn(desk, asker):
        return await _on_token(desk, lambda: desk.tokens().module())


async def _check_module(desk: Desk, asker: Asker) -> None:
    """Raises module.cannotSign (fact module) for a module that only reads."""
    module = await _module(desk, asker)
    if not module.signs_cps3:
        raise AgentError(Code.MODULE_CANNOT_SIGN, f"{module.name} {module.version} only reads", module=module.name)


# ---------------------------------------------------------------- the code


async def _open(
    desk: Desk, asker: Asker, token: TokenSeen, facts: CardFacts, purpose: str, reason: str | None
) -> TokenSeen:
    """Ask the person and log in. Another origin's session ends when the code is there, not by a mere question."""
    pin = await _ask_pin(desk, asker, token, facts, purpose, reason)
    unwanted = asyncio.Event()
    login = desk.finish(_login(desk, asker, token, pin, unwanted))
    try:
        return await asyncio.shield(login)
    except asyncio.CancelledError:
        unwanted.set()
        login.add_done_callback(_heard)
        raise


async def _login(desk: Desk, asker: Asker, token: TokenSeen, pin: Pin | None, unwanted: asyncio.Event) -> TokenSeen:
    """Log in and open the session. Runs to its end: a card that accepts an unwanted code is closed at once."""
    reader = _reader_of(desk, token)
    try:
        await asker.progress("cpx.login")
        async with _token_turn(desk, asker, wait_s=desk.settings().cpx.call_timeout_s):
            if desk.session is not None and not unwanted.is_set():
                await _close(desk, desk.session.reader)
            if unwanted.is_set():  # no code for nothing
                raise AgentError(Code.OPERATION_CANCELLED)
            try:
                opened = await _on_token(desk, lambda: desk.tokens().login(token.serial, pin))
            except AgentError as error:
                _remember(desk, token.serial, error.code)
                if error.code in _UNSURE:  # the card may have accepted it all the same
                    await _close(desk, reader)
                raise await _or_removed(desk, error, lambda: not _with_cpx(desk.seen, reader)) from None
            desk.wrong_code = None
            if unwanted.is_set():
                await _close(desk, reader)
                raise AgentError(Code.OPERATION_CANCELLED)
            now = desk.now()
            desk.session = CardSession(asker.origin, token.serial, reader, now, now, asker.rights)
    finally:
        if pin is not None:
            pin.wipe()
    desk.changed()
    return opened


async def _ask_pin(
    desk: Desk, asker: Asker, token: TokenSeen, facts: CardFacts, purpose: str, reason: str | None
) -> Pin | None:
    """The code, of a form that costs no try for nothing; None when it is typed on the reader.

    Raises pin.locked and rate.limited without asking, pin.format, and the codes of a question.
    """
    if token.pin_state is PinState.LOCKED:
        raise AgentError(Code.PIN_LOCKED, pinState=PinState.LOCKED.value)
    desk.take(Rated.CODE_WINDOW, asker.origin)
    await asker.progress("cpx.pin", "pin")
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


def _remember(desk: Desk, serial: str, code: Code) -> None:
    """The next question says that the last code was wrong."""
    if code is Code.PIN_WRONG:
        desk.wrong_code = serial


def _heard(work: "asyncio.Task[TokenSeen]") -> None:
    """How it ends is nobody's any more."""
    if not work.cancelled():
        work.exception()


# ---------------------------------------------------------------- what is known


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
    return desk.session is not None and not _with_cpx(desk.seen, desk.session.reader)


def _with_cpx(seen: Iterable[ReaderSeen] | None, reader: str | None) -> list[str]:
    """The readers with a CPx by contact: this one, or any where None is known."""
    return [
        one.reader for one in seen or [] if one.card and one.card.kind is CardKind.CPX and reader in (None, one.reader)
    ]


def _reader_of(desk: Desk, token: TokenSeen) -> str | None:
    """The PC/SC reader of a token, if there is one alone that it may be in."""
    found = _with_cpx(_meant(desk, token), None)
    return found[0] if len(found) == 1 else None


def _is_contactless(desk: Desk, token: TokenSeen) -> bool:
    kinds = {one.card.kind for one in _meant(desk, token) if one.card}
    return CardKind.CPX_CONTACTLESS in kinds and CardKind.CPX not in kinds


def _meant(desk: Desk, token: TokenSeen) -> list[ReaderSeen]:
    """A slot's description is the PC/SC reader's name, cut at 64 bytes; any other name may mean any reader."""
    readers, name = desk.seen or [], token.reader.rstrip("\ufffd")  # the cut may have halved a letter
    exact = [one for one in readers if one.reader == name]
    return exact or [one for one in readers if one.reader.startswith(name)] or readers
