"""The CPx of the field, as virtual CPS3 behind OpenSC: each kind, mark, date and gap, from the card to our words.

OpenSC signs with the relaxed card only; what it reads, counts and refuses is the same with both.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime

import pytest

from agent.errors import AgentError, Code
from agent.model import CpxKind, Environment
from agent.signing.cpx import CardFacts, activities, card_facts, check_usable, signature_certificate, status
from tests.cards.cps3 import VARIANTS
from tests.signing.conftest import Desk, typed
from tests.signing.test_tokens import verifies

Open = Callable[..., AbstractContextManager[Desk]]


@pytest.mark.parametrize(
    ("variant", "kind", "qualifier", "refused_in_test", "refused_in_production"),
    [
        ("cps", CpxKind.CPS, "CPS", None, Code.CPX_ENVIRONMENT),
        ("cpf", CpxKind.CPF, "CPF", None, Code.CPX_ENVIRONMENT),
        ("cpe", CpxKind.CPE, "CDE-CPE", None, Code.CPX_ENVIRONMENT),
        ("cpa", CpxKind.CPA, "CPA", None, Code.CPX_ENVIRONMENT),
        ("non-nominative", CpxKind.CPE, "CDE-CPE", Code.CPX_NOT_NOMINATIVE, Code.CPX_NOT_NOMINATIVE),
        ("expired", CpxKind.CPS, "CPS", Code.CPX_EXPIRED, Code.CPX_ENVIRONMENT),
        ("production", CpxKind.CPS, "CPS", Code.CPX_ENVIRONMENT, None),
        ("gaps", CpxKind.CPS, "CPS", None, Code.CPX_ENVIRONMENT),
    ],
)
def test_every_card_is_judged_before_its_code_is_asked(
    desk: Open,
    variant: str,
    kind: CpxKind,
    qualifier: str,
    refused_in_test: Code | None,
    refused_in_production: Code | None,
) -> None:
    with desk("--variant", variant) as opened:
        (token,) = opened.tokens.look()
        facts = card_facts(signature_certificate(token).der, token.data)

        assert (facts.kind, facts.name_qualifier) == (kind, qualifier)
        assert facts.professional.national_id == VARIANTS[variant][0].national_id
        assert judged(facts, Environment.TEST) is refused_in_test
        assert judged(facts, Environment.PRODUCTION) is refused_in_production
        assert opened.card.ask("state")["asked"] == 0


def judged(facts: CardFacts, environment: Environment) -> Code | None:
    try:
        check_usable(facts, environment=environment, now=datetime.now(UTC))
    except AgentError as error:
        return error.code
    return None


def test_activities_with_gaps_appear_after_the_code_and_keep_their_numbers(desk: Open) -> None:
    with desk("--variant", "gaps", "--relaxed") as opened:
        before = opened.tokens.look()[0]
        token = opened.tokens.login(before.serial, typed("1234"))

        assert activities(before.data) == []
        assert [(a.id, a.label, a.sector) for a in activities(token.data)] == [
            ("02", "MAISON FICTIVE", "SA05"),
            ("05", "ÉCOLE FICTIVE", "SA07"),
        ]
        shown = status(token, now=datetime.now(UTC), unlocked=True)
        assert shown.holder is not None and shown.holder.speciality == "SM54"
        signature = opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"SignedInfo")
        assert verifies(token, signature, b"SignedInfo")


def test_every_variant_has_a_serial_of_its_own() -> None:
    """A module that keeps files by serial must never take one person for another."""
    serials = [person.card_serial for person, *_ in VARIANTS.values()]

    assert len(set(serials)) == len(serials)
