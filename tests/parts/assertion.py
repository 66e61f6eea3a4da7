"""An assertion PS as the agent makes it, signed with a simulated card's key."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from agent.signing.assertion import unsigned_assertion
from agent.signing.cpx import card_facts
from agent.signing.xmlsig import sign
from agent.simulator.pki import Issued


def assertion(
    card: Issued,
    *,
    at: datetime | None = None,
    attributes: tuple[tuple[str, str], ...] = (("identifiantFacturation", "990000001"), ("secteurActivite", "SA07")),
) -> Any:
    """Of this card; one second old if `at` is not said."""
    unsigned = unsigned_assertion(
        card_facts(card.der),
        assertion_id="_00000000-0000-4000-8000-000000000005",
        issued_at=at or datetime.now(UTC) - timedelta(seconds=1),
        attributes=attributes,
    )
    return sign(unsigned, card.der, lambda data: card.key.sign(data, padding.PKCS1v15(), SHA256())).element()
