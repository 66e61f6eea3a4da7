"""How a call to INSi is authenticated: by the professional's card, or by the organisation's certificate."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError, Code
from agent.model import Activity, AuthMode, Environment
from agent.protocol.messages import InsiParams
from agent.signing import cpx as card_rules
from agent.workflows import cpx
from agent.workflows.desk import Asker, Desk

if TYPE_CHECKING:
    from agent.signing.xmlsig import SignedAssertion


@dataclass(frozen=True, repr=False)
class Credentials:
    """What an attempt needs: who sends, and a fresh enough assertion where there is one."""

    mode: AuthMode
    emitter: str
    professional: str | None
    structure: str | None
    assertion: Callable[[], Awaitable[Any | None]]  # the signed element to embed; None in organisation mode
    warnings: list[str]  # test or production could not be told: never a refusal


def choose_mode(desk: Desk, params: InsiParams) -> AuthMode:
    """The mode asked for, else the preferred one. Raises authMode.unavailable, user.required."""
    mode = params.auth_mode or desk.auth_modes()[0]
    if mode not in desk.auth_modes():
        raise AgentError(Code.AUTH_MODE_UNAVAILABLE, available=[known.value for known in desk.auth_modes()])
    if mode is AuthMode.ORGANISATION and params.user is None and desk.environment is not Environment.SIMULATED:
        raise AgentError(Code.USER_REQUIRED)
    return mode


@asynccontextmanager
async def credentials(desk: Desk, asker: Asker, params: InsiParams, mode: AuthMode) -> AsyncIterator[Credentials]:
    """Hold what authenticates a call, for as long as the call lasts.

    Raises the codes of `cpx.unlocked`, billingId.missing, activity.needed; certificate.*.
    """
    if mode is AuthMode.ORGANISATION:
        yield await _organisation(desk)
        return
    async with cpx.unlocked(desk, asker, purpose="Rechercher l'INS d'un patient", check=_has_billing_id) as card:
        activity = _activity(desk, card, params.activity)
        billing_id = _billing_id(desk, card.facts, activity)
        yield Credentials(
            mode=mode,
            emitter=card.facts.professional.national_id,
            professional=card.facts.professional.national_id,
            structure=activity.structure_id,
            assertion=_Assertions(desk, card, billing_id, activity).fresh,
            warnings=["cpx.environmentUnknown"] if card.facts.environment == "unknown" else [],
        )


async def _organisation(desk: Desk) -> Credentials:
    from agent.signing import organisation as organisation_rules

    certificate = await desk.organisation()
    organisation_rules.check_usable(certificate, environment=desk.environment, now=desk.now())

    async def none() -> None:
        return None

    return Credentials(
        mode=AuthMode.ORGANISATION,
        emitter=certificate.structure,
        professional=None,
        structure=certificate.structure,
        assertion=none,
        warnings=["certificate.environmentUnknown"] if certificate.environment == "unknown" else [],
    )


class _Assertions:
    """One assertion for an operation, signed again when an attempt finds it too old."""

    def __init__(self, desk: Desk, card: cpx.Unlocked, billing_id: str, activity: Activity) -> None:
        from agent.signing.assertion import assertion_attributes

        self._desk, self._card = desk, card
        settings = desk.settings().cpx
        profession = card.facts.professional.profession
        speciality = card.facts.professional.speciality if profession in settings.speciality_professions else None
        self._attributes = assertion_attributes(billing_id, activity.sector, speciality, settings.speciality_attribute)
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


def _has_billing_id(desk: Desk, facts: card_rules.CardFacts) -> None:
    """Before the code is asked. Raises billingId.missing."""
    if not any(row.professional == facts.professional.national_id for row in desk.settings().cpx.billing_ids):
        raise AgentError(Code.BILLING_ID_MISSING)


def _billing_id(desk: Desk, facts: card_rules.CardFacts, activity: Activity) -> str:
    """The identifier for this professional in this structure, else everywhere. Raises billingId.missing."""
    rows = [row for row in desk.settings().cpx.billing_ids if row.professional == facts.professional.national_id]
    for structure in (activity.structure_id, None):
        for row in rows:
            if row.structure == structure:
                return row.value
    raise AgentError(Code.BILLING_ID_MISSING)


def _activity(desk: Desk, card: cpx.Unlocked, wanted: str | None) -> Activity:
    """The activity named by the call, else by the configuration, else the only one. Raises activity.needed."""
    activities = card_rules.activities(card.token.data)
    wanted = wanted or desk.settings().cpx.activities.get(card.facts.professional.national_id)
    if wanted is None and len(activities) == 1:
        return activities[0]
    for activity in activities:
        if activity.id == wanted:
            return activity
    raise AgentError(Code.ACTIVITY_NEEDED, activities=activities)
