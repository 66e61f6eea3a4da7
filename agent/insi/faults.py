"""The codes of INSi, what each means for us, and what may be sent again. No I/O of its own.

Source: answers recorded by padoa/tlsi-ins and SAPA, its README, and test data of ABAK; the full tables of
codes are not public. The gateway says Sender even when it is down, so never Sender or Receiver, but the
subcode decides, and where that says nothing the code itself.
"""

import re
from dataclasses import dataclass
from typing import Literal

from agent.errors import AgentError, Code
from agent.insi.operations import Operation
from agent.model import Outcome


@dataclass(frozen=True)
class Row:
    """A code that INSi or its gateway is known to send. None: not known, or not sent."""

    code: str  # CodeCR, or siram:Erreur/@code
    said_by: Literal["INSi", "gateway"]
    subcode: str | None
    severity: str | None
    text: str  # LibelleCR, or the fault's Reason, verbatim
    detail: str | None
    ours: Outcome | Code
    meaning: str
    mark: Literal["seen", "reported"]
    hides_nobody: bool = False  # the qualification service says it for a person whom it does not know


_LATER = (
    "Le service est temporairement inaccessible. Veuillez renouveler votre demande ultérieurement. "
    "Si le problème persiste, contactez l'éditeur du progiciel ou votre responsable informatique."
)

TABLE = (
    Row("00", "INSi", None, None, "OK", None, Outcome.FOUND, "one identity", "seen"),
    Row("01", "INSi", None, None, "Aucune identite trouvee", None, Outcome.NOT_FOUND, "nobody", "seen"),
    Row("02", "INSi", None, None, "Plusieurs identites trouvees", None, Outcome.SEVERAL, "several people", "seen"),
    Row(
        "desir_550",
        "gateway",
        "siram_100",
        "erreur",
        "L'accès par ce progiciel au service n'est pas autorisé. "
        "Contactez l'éditeur du progiciel ou votre responsable informatique.",
        "Numéro d'autorisation du logiciel inconnu.",
        Code.INSI_FAULT_ACCESS,
        "the software's authorisation number is unknown",
        "seen",
    ),
    Row(
        "desir_560",
        "gateway",
        None,
        None,
        "Vous ne disposez pas des droits suffisants pour accéder à ce service",
        "Niveau d'accès insuffisant",
        Code.INSI_FAULT_ACCESS,
        "the organisation's certificate is named neither INSI-MANU nor INSI-AUTO",
        "reported",
    ),
    Row(
        "desir_1020",
        "gateway",
        "siram_40",
        "fatale",
        _LATER,
        "Le service appelé est temporairement indisponible",
        Code.INSI_FAULT_UNAVAILABLE,
        "INSi does not answer its gateway",
        "seen",
        hides_nobody=True,
    ),
    Row(
        "insi_102",
        "INSi",
        "siram_40",
        "fatal",
        _LATER,
        "L'appel au service de recherche avec les traits d'identité renvoie une erreur technique.",
        Code.INSI_FAULT_UNAVAILABLE,
        "the search by traits failed",
        "seen",
        hides_nobody=True,
    ),
    Row(
        "insi_19",
        "INSi",
        "siram_10",
        "erreur",
        "Le champ nom de naissance est obligatoire",
        None,
        Code.INSI_FAULT_INPUT,
        "the birth name is missing",
        "reported",
    ),
    Row(
        "insi_111",
        "INSi",
        "siram_40",
        "fatale",
        "Indisponibilité des téléservices",
        None,
        Code.INSI_FAULT_UNAVAILABLE,
        "INSi is down",
        "reported",
    ),
)

# Subcodes as families of faults [guess].
FAMILIES = {
    "siram_10": Code.INSI_FAULT_INPUT,
    "siram_40": Code.INSI_FAULT_UNAVAILABLE,
    "siram_100": Code.INSI_FAULT_ACCESS,
}
# Faults that have a meaning without their subcode.
_FAULTS = {row.code: row.ours for row in TABLE if isinstance(row.ours, Code)}
_HIDE_NOBODY = {row.code for row in TABLE if row.hides_nobody}
_LABELS = {(row.code, row.text) for row in TABLE if isinstance(row.ours, Outcome)}

# CodeCR; a code as INSi writes its own, in small letters, and people in capitals; our simulator's.
_SHORT_CODE = re.compile(r"[0-9]{1,3}|OK|KO|[a-z]{2,12}_[0-9]{1,5}|sim_[a-z_]{2,40}", re.ASCII)
_MAY_REPEAT = {Code.INSI_UNREACHABLE, Code.INSI_TIMEOUT, Code.PROXY_UNREACHABLE}


@dataclass(frozen=True)
class Fault:
    """A SOAP fault, verbatim."""

    code: str  # siram:Erreur/@code, for instance desir_550; or a CodeCR of no table
    subcode: str  # with or without its prefix
    severity: str
    reason: str  # written for the user, always in French
    detail: str


def error_of(fault: Fault) -> AgentError:
    """insi.fault.* with the fact `insi` {code, subcode, severity, reason, detail}, shown beside our sentence."""
    subcode = fault.subcode.rpartition(":")[2]
    return AgentError(
        FAMILIES.get(subcode) or _FAULTS.get(fault.code, Code.INSI_FAULT_UNKNOWN),
        f"{short_code(subcode)} {short_code(fault.code)}",
        insi={
            "code": fault.code,
            "subcode": subcode,
            "severity": fault.severity,
            "reason": fault.reason,
            "detail": fault.detail,
        },
    )


def may_repeat(error: AgentError, operation: Operation) -> bool:
    """Whether the same question may be sent again, with new ids: INSi says siram_40, or the network failed.

    Never after a refusal, a reply that makes no sense, or a server that is not the right one; and a deposit only
    when it certainly never left: else the batch may lie there already.
    """
    if operation is Operation.DEPOSIT:
        return error.code is Code.PROXY_UNREACHABLE
    if error.code is Code.INSI_HTTP:
        return int(error.facts["status"]) >= 500
    if error.code is Code.INSI_FAULT_UNAVAILABLE:
        return bool(error.facts["insi"]["subcode"] == "siram_40")
    return error.code in _MAY_REPEAT


def means_nobody(error: AgentError, meaning: Literal["error", "notFound"]) -> bool:
    """Whether this fault stands for a person not found. `meaning`: insi.unknown_person_faults of this environment.

    Then it is no failure: it is not repeated, and the search goes on as after 01.
    """
    return (
        meaning == "notFound"
        and error.code is Code.INSI_FAULT_UNAVAILABLE
        and error.facts["insi"]["code"] in _HIDE_NOBODY
    )


def short_code(name: str) -> str:
    """A code as the log, the counts and the journal's clear part may hold it: `desir_550`; anything else is "?".

    A service that wrote a person into its code would else have them told to everybody.
    """
    return name if _SHORT_CODE.fullmatch(name) else "?"


def short_label(code: str, label: str) -> str:
    """A label as the journal's clear part may hold it: the fixed text of this code; anything else is "?"."""
    return label if not label or (code, label) in _LABELS else "?"
