"""How a call to INSi is authenticated: by the professional's card, or by the organisation's certificate."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.config import BillingId
from agent.errors import AgentError, Code
from agent.insi.operations import Operation
from agent.insi.ports import Sender
from agent.model import Activity, AuthMode, Environment
from agent.protocol.messages import InsiParams
from agent.signing import cpx as card_rules
from agent.signing.cpx import CardFacts
from agent.signing.ports import TokenSeen
from agent.signing.structures import Purpose, doubts
from agent.tray.bridge import ActivityQuestion
from agent.workflows import cpx
from agent.workflows.desk import Asker, Desk
from agent.workflows.rates import Rated

if TYPE_CHECKING:
    from agent.signing.xmlsig import SignedAssertion

PRO_SANTE_CONNECT = "psc"

# What the windows say that a call with the card is for.
_ACTS = {
    Operation.WITH_VITALE: "Rechercher l'INS d'un patient",
    Operation.BY_TRAITS: "Rechercher l'INS d'un patient",
    Operation.VERIFY: "Vérifier l'INS d'un patient",
}


@dataclass(frozen=True, repr=False)
class Credentials:
    """What an attempt needs: as whom it is sent, and a fresh enough assertion where there is one."""

    sender: Sender
    emitter: str  # empty where the organisation's certificate names no structure
    assertion: Callable[[], Awaitable[Any | None]]  # the signed element to embed; None in organisation mode
    professional: str | None = None
    structure: str | None = None
    certificate: str | None = None  # common name of the organisation's
    warnings: Sequence[str] = ()  # never a refusal

    @property
    def mode(self) -> AuthMode:
        return self.sender.mode


def choose_mode(desk: Desk, asker: Asker, params: InsiParams) -> AuthMode:
    """The mode asked for, else the preferred one. Raises authMode.psc, authMode.unavailable, user.required.

    A certificate that is configured, but not for this origin's software, is a matter of `credentials`.
    """
    known = desk.auth_modes(asker.origin)
    asked = params.auth_mode or known[0].value
    if asked == PRO_SANTE_CONNECT:
        raise AgentError(Code.AUTH_MODE_PSC)
    if asked == AuthMode.ORGANISATION and desk.organisation_configured():
        if params.user is None and desk.environment is not Environment.SIMULATED:
            raise AgentError(Code.USER_REQUIRED)
    elif asked != AuthMode.CPX:
        raise AgentError(Code.AUTH_MODE_UNAVAILABLE, available=[mode.value for mode in known])
    return AuthMode(asked)


@asynccontextmanager
async def credentials(
    desk: Desk,
    asker: Asker,
    params: InsiParams,
    mode: AuthMode,
    operation: Operation,
    *,
    purpose: Purpose = Purpose.PERSON,
) -> AsyncIterator[Credentials]:
    """Hold what authenticates a call of this operation, for as long as the call lasts.

    Raises the codes of `cpx.unlocked`, speciality.missing and billingId.missing before the code is asked, and
    once more billingId.missing, activity.needed; certificate.*.
    """
    if mode is AuthMode.ORGANISATION:
        yield await _organisation(desk, asker.origin, purpose)
        return
    act = _ACTS[operation]
    async with cpx.unlocked(
        desk, asker, purpose=act, signs=True, check=partial(_check_configured, desk, params.activity)
    ) as card:
        activity = await _activity(desk, asker, card, params.activity, act)
        billing_id = _billing_id(desk, card.facts, activity)
        if billing_id is None:
            raise AgentError(Code.BILLING_ID_MISSING)
        yield Credentials(
            sender=Sender(mode),
            emitter=card.facts.professional.national_id,
            assertion=_Assertions(desk, card, billing_id, activity).fresh,
            professional=card.facts.professional.national_id,
            structure=activity.structure_id,
            warnings=["cpx.environmentUnknown"] if card.facts.environment == "unknown" else [],
        )


async def _organisation(desk: Desk, origin: str, purpose: Purpose) -> Credentials:
    certificate = desk.choose_certificate(await desk.organisations(), origin, purpose)
    issuers = desk.settings().organisation.issuers

    async def none() -> None:
        return None

    return Credentials(
        sender=Sender(AuthMode.ORGANISATION, certificate.fingerprint),
        emitter=certificate.structure or "",
        assertion=none,
        structure=certificate.structure,
        certificate=certificate.common_name,
        warnings=doubts(certificate, issuers=None if desk.environment is Environment.SIMULATED else issuers),
    )


class _Assertions:
    """One assertion for an operation, signed again when an attempt finds it too old."""

    def __init__(self, desk: Desk, card: cpx.Unlocked, billing_id: str, activity: Activity) -> None:
        from agent.signing.assertion import AttributeNames, assertion_attributes

        self._desk, self._card = desk, card
        settings = desk.settings().cpx
        self._attributes = assertion_attributes(
            billing_id,
            activity.sector,
            _speciality(desk, card.facts),
            AttributeNames(settings.billing_attribute, settings.speciality_attribute, settings.sector_attribute),
        )
        self._signed: SignedAssertion | None = None

    async def fresh(self) -> Any:
        """Raises cpx.sessionLost when the card left meanwhile, signature.invalid, module.cannotSign."""
        desk = self._desk
        if desk.session is None:
            self._signed = None
            raise AgentError(Code.CPX_SESSION_LOST)
        max_age = timedelta(seconds=desk.settings().cpx.assertion_max_age_s)
        if self._signed is None or desk.now() - self._signed.issued_at >= max_age:
            self._signed = await cpx.sign(desk, self._card, self._make)
        return self._signed.element()

    def _make(self, rsa_sign: Callable[[bytes], bytes]) -> "SignedAssertion":
        """On the token's lane, where the signature's libraries are loaded too: other pages do not wait for them."""
        from agent.signing import xmlsig
        from agent.signing.assertion import unsigned_assertion

        assertion = unsigned_assertion(
            self._card.facts,
            assertion_id=f"_{self._desk.new_id()}",
            issued_at=self._desk.now(),
            attributes=self._attributes,
        )
        return xmlsig.sign(assertion, self._card.certificate.der, rsa_sign)


def _check_configured(desk: Desk, wanted: str | None, facts: CardFacts, token: TokenSeen) -> None:
    """Before the code is asked: what no activity of this professional could do without.

    Raises speciality.missing, billingId.missing.
    """
    _speciality(desk, facts)
    known = card_rules.activities(token.data)  # none before the code with most modules
    wanted = wanted or _configured_activity(desk, facts)
    possible = [activity for activity in known if activity.id == wanted] or known
    rows = _billing_rows(desk, facts)
    if not rows or (possible and not any(_billing_id(desk, facts, activity) for activity in possible)):
        raise AgentError(Code.BILLING_ID_MISSING)


def _speciality(desk: Desk, facts: CardFacts) -> str | None:
    """The speciality to send: a physician's, from the card, else from the settings; nobody else has one to send.

    Raises speciality.missing.
    """
    settings, who = desk.settings().cpx, facts.professional
    if who.profession not in settings.speciality_professions:
        return None
    speciality = who.speciality or settings.specialities.get(who.national_id)
    if not speciality:
        raise AgentError(Code.SPECIALITY_MISSING)
    return speciality


def _billing_rows(desk: Desk, facts: CardFacts) -> list[BillingId]:
    return [row for row in desk.settings().cpx.billing_ids if row.professional == facts.professional.national_id]


def _billing_id(desk: Desk, facts: CardFacts, activity: Activity) -> str | None:
    """The identifier for this professional in this structure, else everywhere."""
    rows = {row.structure: row.value for row in reversed(_billing_rows(desk, facts))}
    return rows.get(activity.structure_id) or rows.get(None)


def _configured_activity(desk: Desk, facts: CardFacts) -> str | None:
    return desk.settings().cpx.activities.get(facts.professional.national_id)


async def _activity(desk: Desk, asker: Asker, card: cpx.Unlocked, named: str | None, act: str) -> Activity:
    """The activity named by the call, else chosen in this session, else configured, else the only one, else asked.

    Raises activity.needed with the list, and with `unknown` {id, from} when the card has no such activity.
    """
    activities = card_rules.activities(card.token.data)
    by_id = {activity.id: activity for activity in activities}
    chosen = desk.session.activity if desk.session else None
    configured = _configured_activity(desk, card.facts)
    wanted = named or chosen or configured or (next(iter(by_id)) if len(by_id) == 1 else None)
    if wanted in by_id:
        return by_id[wanted]
    facts: dict[str, Any] = {"activities": activities}
    if wanted is not None:
        facts["unknown"] = {"id": wanted, "from": "call" if named else "configuration"}
    if named or not activities or desk.settings().cpx.activity_question == "page":
        raise AgentError(Code.ACTIVITY_NEEDED, **facts)
    try:
        answer = await _ask_activity(desk, asker, card, activities, act, unknown=wanted)
    except AgentError as error:
        if error.code is Code.ACTIVITY_NEEDED:
            error.facts |= facts
        raise
    if desk.session is not None:
        desk.session.activity = answer
    return by_id[answer]


async def _ask_activity(
    desk: Desk, asker: Asker, card: cpx.Unlocked, activities: list[Activity], act: str, *, unknown: str | None
) -> str:
    desk.take(Rated.ACTIVITY_WINDOW, asker.origin)
    await asker.progress("cpx.activity", "consent")
    software = desk.settings().software_of(asker.origin)
    return await desk.person.ask_activity(
        ActivityQuestion(
            origin=asker.origin,
            software=software.name if software else "",
            operation=act,
            holder=card.facts.professional.name,
            activities=tuple(activities),
            unknown=unknown,
            language=desk.settings().language,
        )
    )
