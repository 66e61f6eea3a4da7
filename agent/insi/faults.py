"""What a fault of INSi means for us, and what may be sent again. No I/O of its own.

Source: answers recorded by padoa/tlsi-ins and SAPA; the full tables of codes are not public. The
gateway says Sender even when it is down, so the subcode alone decides.
"""

import re
from dataclasses import dataclass

from agent.errors import AgentError, Code

# siram_10, 40 and 100 as families of faults [guess].
_BY_SUBCODE = {
    "siram_10": Code.INSI_FAULT_INPUT,
    "siram_40": Code.INSI_FAULT_UNAVAILABLE,
    "siram_100": Code.INSI_FAULT_ACCESS,
}
_SHORT_CODE = re.compile(r"[A-Za-z]{2,20}[_.-]?[0-9]{1,6}|sim_[a-z]{2,30}", re.ASCII)  # INSi's, or our simulator's
_MAY_REPEAT = {Code.INSI_FAULT_UNAVAILABLE, Code.INSI_UNREACHABLE, Code.INSI_TIMEOUT}


@dataclass(frozen=True)
class Fault:
    """A SOAP fault, verbatim."""

    code: str  # siram:Erreur/@code, for instance desir_550
    subcode: str  # with its prefix
    severity: str
    reason: str  # written for the user, always in French
    detail: str


def error_of(fault: Fault) -> AgentError:
    """insi.fault.* with the fact `insi` {code, subcode, severity, reason, detail}, shown beside our sentence."""
    subcode = fault.subcode.rpartition(":")[2]
    return AgentError(
        _BY_SUBCODE.get(subcode, Code.INSI_FAULT_UNKNOWN),
        f"{short_code(subcode)} {short_code(fault.code)}",
        insi={
            "code": fault.code,
            "subcode": subcode,
            "severity": fault.severity,
            "reason": fault.reason,
            "detail": fault.detail,
        },
    )


def may_repeat(error: AgentError) -> bool:
    """Whether the same question may be sent again, with new ids: INSi was down, or the network failed.

    Never after a refusal, a reply that makes no sense, or a server that is not the right one.
    """
    if error.code is Code.INSI_HTTP:
        return int(error.facts["status"]) >= 500
    return error.code in _MAY_REPEAT


def short_code(name: str) -> str:
    """A code as the log, the counts and the journal's clear part may hold it: `desir_550`; anything else is "?".

    A service that wrote a person into its code would else have them told to everybody.
    """
    return name if _SHORT_CODE.fullmatch(name) else "?"
