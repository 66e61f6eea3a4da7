"""Which certificate of which structure a call uses, and whether INSi would take it. No I/O of its own.

INSI-MANU is for calls that somebody makes, INSI-AUTO for those that no one does, by their names (public support
pages, second hand); whether INSi treats them differently is not public [guess]: one does for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, Code
from agent.model import Environment, rfc3339

if TYPE_CHECKING:
    from agent.signing.organisation import OrganisationCertificate


class Purpose(StrEnum):
    """Who makes a call, by the name of the certificate made for it."""

    PERSON = "INSI-MANU"  # somebody at a page
    AUTOMATIC = "INSI-AUTO"  # a batch, or what is scheduled


INSI_NAMES = tuple(purpose.value for purpose in Purpose)


@dataclass(frozen=True)
class Opened:
    """A configured file: its certificate, or why there is none."""

    file: Path
    found: "OrganisationCertificate | AgentError"


def choose(
    opened: Sequence[Opened], *, structure: str | None, purpose: Purpose, environment: Environment, now: datetime
) -> "OrganisationCertificate":
    """The certificate of this structure, or of the only one there is, for this purpose.

    Of those that do as well, the one that is valid longest: its renewal may stand beside it. Raises
    certificate.structure {structures} where none or several could be meant, what kept a file from opening where it
    may hold the one that is missing, or another structure's while none is named, certificate.missing, and the codes
    of `check_usable`.
    """
    certificates = [one.found for one in opened if not isinstance(one.found, AgentError)]
    own = [one for one in certificates if structure in (None, one.structure)]
    here = [one for one in own if _fits(one, environment)] or own
    meant = {one.structure for one in here}
    if not own or (structure is None and len(meant) == 1):  # nobody knows whose a closed file is
        for one in opened:
            if isinstance(one.found, AgentError):
                raise AgentError(one.found.code, one.found.detail, **one.found.facts)
        if not certificates:
            raise AgentError(Code.CERTIFICATE_MISSING, "none is configured")
    if len(meant) != 1:
        raise AgentError(
            Code.CERTIFICATE_STRUCTURE, structures=sorted({one.structure or "" for one in certificates} - {""})
        )
    chosen = min(
        here,
        key=lambda one: (
            not one.not_before <= now <= one.not_after,
            one.common_name != purpose,
            -one.not_after.timestamp(),
        ),
    )
    check_usable(chosen, environment=environment, now=now)
    return chosen


def check_usable(certificate: "OrganisationCertificate", *, environment: Environment, now: datetime) -> None:
    """Raises certificate.environment (fact certificate; an unknown mark passes), and the codes of `check_dates`."""
    if not _fits(certificate, environment):
        raise AgentError(Code.CERTIFICATE_ENVIRONMENT, certificate=certificate.environment)
    check_dates(certificate, now)


def check_dates(certificate: "OrganisationCertificate", now: datetime) -> None:
    """Raises certificate.notYetValid {notBefore}, certificate.expired {notAfter}."""
    if now < certificate.not_before:
        raise AgentError(Code.CERTIFICATE_NOT_YET_VALID, notBefore=rfc3339(certificate.not_before))
    if now > certificate.not_after:
        raise AgentError(Code.CERTIFICATE_EXPIRED, notAfter=rfc3339(certificate.not_after))


def doubts(certificate: "OrganisationCertificate", *, issuers: Sequence[str] | None) -> list[str]:
    """Warnings about a certificate that is used nevertheless; `issuers`: the known ones, None where none is known.

    Without OU the message names no Emetteur: INSi is not told for which structure it is asked.
    """
    return [
        warning
        for warning, so in {
            "certificate.environmentUnknown": certificate.environment == "unknown",
            "certificate.issuerUnknown": issuers is not None and certificate.issuer not in issuers,
            "certificate.structureMissing": certificate.structure is None,
        }.items()
        if so
    ]


def in_words(certificate: "OrganisationCertificate") -> str:
    """One line for a person: which it is, of which structure, until when."""
    structure = f"structure {certificate.structure}" if certificate.structure else "sans structure"
    return f"{certificate.common_name}, {structure}, jusqu'au {certificate.not_after:%Y-%m-%d}"


def _fits(certificate: "OrganisationCertificate", environment: Environment) -> bool:
    mark = certificate.environment
    return mark == "unknown" or (mark == "production") == (environment is Environment.PRODUCTION)
