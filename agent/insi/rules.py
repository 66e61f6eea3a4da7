"""Whether an identity from INSi may be integrated, and what to watch. No I/O of its own.

Source: ANS/GIE webinar of 30-01-2024 (an empty birth name, given names or sex is never integrated),
CNDA replies 2.05 and 2.08; the key: 97 - (number mod 97), with 2A as 19 and 2B as 18.
"""

from dataclasses import dataclass

from agent.insi import names
from agent.model import InsIdentity, InsKind, Outcome
from agent.nir import key_of


@dataclass(frozen=True)
class Judgement:
    """`integrable`, why not, and what deserves a look."""

    integrable: bool
    reasons: list[str]
    warnings: list[str]


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
        return Judgement(False, [], ["rank.assumed"] if rank_assumed and outcome is Outcome.NOT_FOUND else [])
    returned_names = identity.given_names_list or ""
    reasons = {
        "birthName.empty": _blank(identity.birth_name),
        "givenNames.empty": _blank(identity.given_names_list),
        "sex.empty": _blank(identity.sex),
        "rank.assumed": rank_assumed and not names.starts_list(card_given_names or "", returned_names),
    }
    ins, history = identity.ins, identity.history
    numbers = [(ins.matricule, ins.key), *((past.matricule, past.key) for past in history)]
    warnings = {
        "key.mismatch": any(key is not None and key != key_of(matricule) for matricule, key in numbers),
        "nia.verifyAgain": ins.kind is InsKind.NIA,
        "history.repeatsActive": any((past.matricule, past.oid) == (ins.matricule, ins.oid) for past in history),
        "oid.unknown": ins.kind is InsKind.UNKNOWN,
    }
    broken = [reason for reason, holds in reasons.items() if holds]
    return Judgement(not broken, broken, [warning for warning, holds in warnings.items() if holds])


def _blank(text: str | None) -> bool:
    return not (text or "").strip()
