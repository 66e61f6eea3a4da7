"""Whether an INS may be integrated, and what to watch. No I/O of its own.

Source: ANS/GIE webinar of 30-01-2024 (S066: an empty birth name, given names or sex is never integrated;
S124), OIDs of FR Core and ANS TDDUI, CNDA replies 2.05 and 2.08, [EXI REC 08] second hand.

The history is passed on to the letter. That it repeats the active number is said, since it is then no change;
an end before its beginning is not (live answers have it every time), nor a change of sex (it is the person's).
"""

import re
from dataclasses import dataclass

from agent.errors import AgentError, Code
from agent.insi import names
from agent.model import GivenIns, InsIdentity, InsKind, Outcome
from agent.nir import key_of

_OIDS = "1.2.250.1.213.1.4."
_KINDS = {
    f"{_OIDS}8": InsKind.NIR,
    f"{_OIDS}9": InsKind.NIA,
    f"{_OIDS}10": InsKind.NIR_TEST,
    f"{_OIDS}11": InsKind.NIR_DEMO,
}
# Social security numbers (a child's is a parent's), and the INS of before 2017 with its sibling [guess].
_NOT_AN_INS = re.compile(re.escape(_OIDS) + r"(13|14|1(\.[0-9.]+)?|2)", re.ASCII)
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)  # its dotted form: X.660
_COG = re.compile(r"[0-9]{5}|2[AB][0-9]{3}", re.ASCII)


@dataclass(frozen=True)
class Judgement:
    """`integrable`, why not, and what deserves a look."""

    integrable: bool
    reasons: list[str]
    warnings: list[str]


def kind_of(oid: str) -> InsKind:
    """What a matricule is. The OID alone tells it, and never the environment: test services use production's."""
    return _KINDS.get(oid, InsKind.UNKNOWN)


def check_given(ins: GivenIns) -> list[str]:
    """What deserves a look in an INS that a page gives to be verified. Raises ins.refused: it is no INS at all."""
    if _NOT_AN_INS.fullmatch(ins.oid):
        raise AgentError(Code.INS_REFUSED, oid=ins.oid)
    return _named(_of_number(ins.matricule, ins.key, ins.oid))


def judge(
    outcome: Outcome,
    identity: InsIdentity | None,
    *,
    rank_assumed: bool = False,
    card_given_names: str | None = None,
) -> Judgement:
    """Judge the last answer of an operation.

    `rank_assumed`: the birth rank sent with WS_INS1 was not known. Then the card's given names must begin
    the returned list, on whole words; a card that gives none proves nothing.
    """
    if identity is None:
        unverified = outcome is Outcome.NOT_VERIFIED
        unsure = outcome is Outcome.NOT_FOUND and rank_assumed
        return Judgement(
            integrable=outcome is Outcome.VERIFIED,
            reasons=["ins.notVerified"] if unverified else [],
            warnings=["rank.assumed"] if unsure else [],
        )
    returned_names = identity.given_names_list or ""
    reasons = {
        "birthName.empty": _blank(identity.birth_name),
        "givenNames.empty": _blank(identity.given_names_list),
        "sex.empty": _blank(identity.sex),
        "rank.assumed": rank_assumed and not names.starts_list(card_given_names or "", returned_names),
        "oid.notIns": bool(_NOT_AN_INS.fullmatch(identity.ins.oid)) or not _OID.fullmatch(identity.ins.oid),
    }
    ins, history = identity.ins, identity.history
    place = identity.birth_place_code or ""
    warnings = _of_number(ins.matricule, ins.key, ins.oid) | {
        "history.repeatsActive": any((past.matricule, past.oid) == (ins.matricule, ins.oid) for past in history),
        "birthPlaceCode.shape": bool(place) and not _COG.fullmatch(place),
    }
    warnings["key.mismatch"] |= any(_wrong_key(past.matricule, past.key) for past in history)
    broken = _named(reasons)
    return Judgement(not broken, broken, _named(warnings))


def _of_number(matricule: str, key: str | None, oid: str) -> dict[str, bool]:
    return {
        "key.mismatch": _wrong_key(matricule, key),
        "nia.verifyAgain": kind_of(oid) is InsKind.NIA,
        "oid.unknown": kind_of(oid) is InsKind.UNKNOWN,
    }


def _wrong_key(matricule: str, key: str | None) -> bool:
    """A warning and never a refusal: official files have wrong keys. No key is no wrong key."""
    return key is not None and key != key_of(matricule.upper())


def _named(findings: dict[str, bool]) -> list[str]:
    return [name for name, holds in findings.items() if holds]


def _blank(text: str | None) -> bool:
    return not (text or "").strip()
