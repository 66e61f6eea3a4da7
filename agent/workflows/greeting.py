"""agent.hello and agent.status: who we are, what may be asked, how we are."""

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from agent import __version__
from agent.errors import CATALOGUE, AgentError, Code
from agent.identity import Identity
from agent.insi.operations import Operation
from agent.model import Environment, Right, rfc3339
from agent.protocol.messages import (
    API_LEVEL,
    AgentName,
    ChangedParams,
    CpxSession,
    HelloParams,
    HelloResult,
    NoParams,
    Notice,
    OperationCounts,
    Reachability,
    StatusResult,
)
from agent.protocol.methods import METHODS, WHILE_PENDING
from agent.signing.structures import check_dates
from agent.workflows.desk import Asker, Desk
from agent.workflows.sites import useful
from agent.workflows.verify import may_be_known

if TYPE_CHECKING:
    from agent.signing.organisation import OrganisationCertificate

EXPIRY_DAYS = (90, 30, 7)
WSS_EXPIRY_DAYS = (30, 7)  # made anew at once, by one command
_CONTRACT_TIMEOUT_S = 20
CONTRACT_QUEUE_S, _HELLO_QUEUE_S = 60, 0.5  # a hello does not wait for INSi: what was known last counts
_STILL_VERIFIED = {
    "fr": "Un autre logiciel garde la carte CPS : son code y reste validé. La retirer si vous quittez le poste.",
    "en": "Another program keeps the CPS card: its code stays verified on it. Take it out when you leave.",
}


async def hello(desk: Desk, asker: Asker, params: HelloParams) -> HelloResult:
    """What this origin may do here; with a challenge, the proof that this agent holds its key.

    A site that waits for the person's consent learns nothing by which it could tell this installation from another.
    Raises keyring.absent, identity.damaged; not for the command line, which looks into a workstation that lacks one.
    """
    if asker.pending:
        return _stranger(desk, "pending", sorted(WHILE_PENDING))
    try:
        identity = await desk.identity()
    except AgentError:
        if Right.ADMIN not in asker.rights or params.challenge:
            raise
        identity = None
    await look_into_contract(desk, wait_s=_HELLO_QUEUE_S)
    return _hello(desk, asker, identity, params.challenge)


async def changed(desk: Desk, asker: Asker) -> ChangedParams:
    """`agent.changed`: the same, and the warnings. Without a key when there is none: the next hello says why."""
    try:
        identity = await desk.identity()
    except AgentError:
        identity = None
    return _changed(_hello(desk, asker, identity, None), notices(desk))


def denied(desk: Desk) -> ChangedParams:
    """`agent.changed` for a site that may no longer, or not, talk to us."""
    return _changed(_stranger(desk, "denied", []), [])


async def status(desk: Desk, asker: Asker, _params: NoParams) -> StatusResult:
    """Readers, card session, counts, warnings: from memory, never from a device."""
    counts = desk.counts
    own = desk.session is not None and desk.session.owner == asker.origin
    return StatusResult(
        environment=desk.environment,
        profile=desk.settings().profile,
        card_service=desk.seen is not None,
        readers=desk.seen or [],
        # another origin's session is as unknown as none, except to the person at the command line
        cpx_session=CpxSession(open=own or (desk.session is not None and Right.ADMIN in asker.rights), own=own),
        operations={
            name: OperationCounts(
                by_code=dict(count.by_code),
                calls=count.calls,
                faults=count.faults,
                mean_ms=count.mean_ms,
                median_ms=count.median_ms,
                last_ms=count.last_ms,
                max_ms=count.max_ms,
            )
            for name, count in counts.operations.items()
        },
        reachability=(
            Reachability(at=counts.last_at, reached=counts.last_reason is None, reason=counts.last_reason)
            if counts.last_at
            else None
        ),
        warnings=notices(desk),
    )


def notices(desk: Desk) -> list[Notice]:
    """Certificates that end soon, in words (S015)."""
    found = []
    if desk.card_not_after is not None and desk.card_not_after < desk.now():
        found.append(_trouble(Code.CPX_EXPIRED))
    elif desk.card_not_after is not None:
        found += _expiry(
            "cpx.expires",
            "Le certificat de la carte CPS",
            "The CPS card's certificate",
            desk.card_not_after,
            desk.now(),
        )
    found += _wss(desk)
    if desk.unreset is not None:
        found.append(Notice(reason="cpx.codeStillVerified", message=_STILL_VERIFIED))
    if desk.journal_failed is not None:
        found.append(_trouble(desk.journal_failed))
    if late := desk.not_shipped:
        found.append(_trouble(Code.JOURNAL_NOT_SHIPPED, entries=late.entries, since=rfc3339(late.since)))
    for one in desk.organisations_seen or []:
        found += _organisation(one.found, desk.now())
    return [notice for at, notice in enumerate(found) if notice not in found[:at]]


def _organisation(found: "OrganisationCertificate | AgentError", now: datetime) -> list[Notice]:
    """Why it cannot be used, or that it will soon end. Which structure's it is, no site is told."""
    if isinstance(found, AgentError):
        return [_trouble(found.code)]
    try:
        check_dates(found, now)
    except AgentError as error:
        return [_trouble(error.code)]
    return _expiry(
        "certificate.expires",
        f"Le certificat {found.common_name} de la structure",
        f"The organisation's certificate {found.common_name}",
        found.not_after,
        now,
        certificate=found.common_name,
    )


def _wss(desk: Desk) -> list[Notice]:
    """Why wss is not served, or that it will soon not be."""
    seen = desk.wss_seen
    if seen is None:
        return []
    if isinstance(seen, Code):
        return [_trouble(seen)]
    if seen <= desk.now():
        return [_trouble(Code.WSS_CERTIFICATE)]
    return _expiry(
        "wss.expires",
        "Le certificat local pour wss",
        "The local certificate for wss",
        seen,
        desk.now(),
        thresholds=WSS_EXPIRY_DAYS,
        then=(
            "demander à l'informatique de lancer « insi-agent wss renew », puis les lignes qu'il affiche",
            'ask IT to run "insi-agent wss renew", then the lines that it prints',
        ),
    )


def _trouble(code: Code, **facts: str | int) -> Notice:
    title = CATALOGUE[code].title
    return Notice(reason=code.value, message={"fr": title.fr, "en": title.en}, facts=facts)


def _expiry(
    reason: str,
    what_fr: str,
    what_en: str,
    not_after: datetime,
    now: datetime,
    *,
    thresholds: tuple[int, ...] = EXPIRY_DAYS,
    then: tuple[str, str] = ("en commander un nouveau à l'ANS", "order a new one from ANS"),
    **facts: str,
) -> list[Notice]:
    days = (not_after - now).days
    threshold = min((limit for limit in thresholds if days <= limit), default=None)
    if threshold is None:
        return []
    words = {
        "fr": f"{what_fr} expire dans {max(days, 0)} jours : {then[0]}.",
        "en": f"{what_en} expires in {max(days, 0)} days: {then[1]}.",
    }
    return [Notice(reason=reason, message=words, facts={"daysLeft": days, "notAfter": rfc3339(not_after), **facts})]


def _changed(known: HelloResult, warnings: list[Notice]) -> ChangedParams:
    return ChangedParams(**{name: getattr(known, name) for name in HelloResult.model_fields}, warnings=warnings)


def _stranger(desk: Desk, state: Literal["pending", "denied"], capabilities: list[str]) -> HelloResult:
    """What a site may know that the person has not let in."""
    return HelloResult(
        api=API_LEVEL,
        agent=AgentName(name="INSi Agent", version=__version__, instance_id=""),
        origin_state=state,
        environment=desk.environment,
        profile=desk.settings().profile,
        auth_modes=[],
        capabilities=capabilities,
        receipt_key={},
    )


def _hello(desk: Desk, asker: Asker, identity: Identity | None, challenge: str | None) -> HelloResult:
    proof = None
    if challenge is not None and identity is not None:
        proof = identity.proof(
            challenge=challenge,
            origin=asker.origin,
            instance_id=desk.instance_id,
            environment=desk.environment.value,
            at=desk.now(),
        )
    return HelloResult(
        api=API_LEVEL,
        agent=AgentName(name="INSi Agent", version=__version__, instance_id=desk.instance_id),
        origin_state="allowed",
        environment=desk.environment,
        profile=desk.settings().profile,
        auth_modes=[mode.value for mode in desk.auth_modes(asker.origin)],
        capabilities=_capabilities(desk, asker),
        receipt_key=identity.public_jwk() if identity else {},
        proof=proof,
    )


def _capabilities(desk: Desk, asker: Asker) -> list[str]:
    """The methods this origin may call now, each with its optional params as `method:param`; then what else is here."""
    rights = set(asker.rights & useful(desk.settings(), desk.environment, asker.origin))
    if not desk.verifies:
        rights.discard(Right.VERIFY)
    allowed = [method for method in METHODS.values() if method.right is None or method.right in rights]
    here = {
        "vitale.rank": desk.vitale.gives_rank and Right.VITALE in rights,
        "vitale.assertion": desk.vitale_assertions is not None and Right.RETRIEVE in rights,
    }
    return [
        name
        for method in allowed
        for name in (method.name, *(f"{method.name}:{param}" for param in method.optional_params()))
    ] + [name for name, so in here.items() if so]


async def look_into_contract(desk: Desk, *, wait_s: float = CONTRACT_QUEUE_S) -> None:
    """Know whether WS_INS3 can be asked here. A contract is read for that only where it may know it.

    What was known stays known while calls of INSi hold the lane for longer than `wait_s`.
    """
    simulated = desk.environment is Environment.SIMULATED
    if simulated or not may_be_known(desk.settings(), desk.environment):
        desk.verifies = simulated
        return

    def check() -> None:
        desk.contract().check(Operation.VERIFY, simulated=False)

    try:
        await desk.lanes.network.run(check, timeout_s=_CONTRACT_TIMEOUT_S, wait_s=wait_s)
        desk.verifies = True
    except AgentError as error:
        if error.code is not Code.DEVICE_BUSY:
            desk.verifies = False
