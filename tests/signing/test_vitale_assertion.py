"""The second assertion's rules: 20 minutes of life (CNDA 1.02, second hand), a SAML assertion and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import AgentError, Code
from agent.signing.vitale_assertion import LIFE, VitaleAssertion

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
INVENTED = b'<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_v"><Issuer>invente</Issuer></Assertion>'


def test_it_may_be_embedded_for_twenty_minutes() -> None:
    made = VitaleAssertion(INVENTED, NOW)

    assert made.element(NOW).get("ID") == "_v"
    assert made.element(NOW + LIFE - timedelta(seconds=1)).get("ID") == "_v"
    assert LIFE == timedelta(minutes=20)


@pytest.mark.parametrize("age", [LIFE, timedelta(hours=1), timedelta(seconds=-1)])
def test_one_that_is_too_old_or_dated_ahead_is_stale(age: timedelta) -> None:
    with pytest.raises(AgentError) as stale:
        VitaleAssertion(INVENTED, NOW).element(NOW + age)

    assert stale.value.code is Code.VITALE_STALE


@pytest.mark.parametrize("xml", [b"", b"invente", b"<Assertion/>", INVENTED + b"<", b"<!-- -->"])
def test_what_is_no_saml_assertion_is_refused_and_quoted_nowhere(xml: bytes) -> None:
    with pytest.raises(AgentError) as refused:
        VitaleAssertion(xml, NOW).element(NOW)

    assert refused.value.code is Code.VITALE_ASSERTION_UNAVAILABLE
    assert "invente" not in str(refused.value)


def test_each_embedding_has_an_element_of_its_own_and_nothing_prints() -> None:
    made = VitaleAssertion(INVENTED, NOW)

    assert made.element(NOW) is not made.element(NOW)
    assert "invente" not in repr(made)
