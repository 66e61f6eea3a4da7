"""The Tokens port with a module and a card of your own. No wrong code is ever given; nothing personal is printed.

What is compared is turned into yes or no first: a failed assert must not show a name.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from agent.errors import AgentError, Code
from agent.model import PinState
from agent.pin import Pin
from agent.signing.assertion import unsigned_assertion
from agent.signing.cpx import activities, card_facts, signature_certificate
from agent.signing.ports import TokenSeen
from agent.signing.worker import TokenWorker
from agent.signing.xmlsig import sign

TOO_FEW_TRIES = (PinState.LOW, PinState.FINAL, PinState.LOCKED)


def test_the_module_says_its_name_and_version(tokens: TokenWorker) -> None:
    module = tokens.module()
    print(f"module: {module.name}, library {module.version}")

    assert module.name and module.version


def test_the_holder_is_known_before_the_code(token: TokenSeen) -> None:
    facts = card_facts(signature_certificate(token).der, token.data)
    print(f"card: {facts.kind}, nominative {facts.nominative}, environment {facts.environment}")
    print(f"certificates: {len(token.certificates)}, free objects: {sorted(token.data)}")
    print(f"model: {token.model!r}, PIN {token.pin_state}, pin-pad {token.pin_pad}")
    expired = facts.not_after < datetime.now(UTC)
    print(f"expired: {expired}, profession known: {facts.professional.profession is not None}")

    known = bool(facts.professional.national_id and facts.issuer_text)
    assert known, "the certificate names nobody"
    assert not token.logged_in and not activities(token.data), "something is shown before its time"


def test_without_a_code_nothing_is_signed(tokens: TokenWorker, token: TokenSeen) -> None:
    with pytest.raises(AgentError) as refused:
        tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")

    assert refused.value.code is Code.CPX_SESSION_LOST


def test_a_code_for_another_card_costs_nothing(tokens: TokenWorker, token: TokenSeen) -> None:
    """Refused by its serial number: the code never leaves the worker."""
    with pytest.raises(AgentError) as refused:
        tokens.login("no such card", Pin(bytearray(b"never given")))

    unchanged = again(tokens, token).pin_state is token.pin_state
    assert refused.value.code is Code.CPX_ABSENT and unchanged


def test_the_right_code_opens_signs_and_closes(tokens: TokenWorker, token: TokenSeen, code: Callable[[], Pin]) -> None:
    assert token.pin_state not in TOO_FEW_TRIES, "too few tries left to risk a mistyped code"
    opened = tokens.login(token.serial, None if token.pin_pad else code())
    certificate = signature_certificate(opened)
    asks = certificate.cka_id in opened.asks_each_time
    print(f"activities: {[activity.id for activity in activities(opened.data)]}, objects: {sorted(opened.data)}")
    print(f"asks each time: {asks}, CKA_ID ends {certificate.cka_id[-1:].hex()}")

    def sign_with_card(data: bytes) -> bytes:
        pin = code() if asks and not token.pin_pad else None
        return tokens.sign(opened.serial, certificate.cka_id, data, pin)

    facts = card_facts(certificate.der, opened.data)
    assertion = unsigned_assertion(facts, assertion_id="_device", issued_at=datetime.now(UTC), attributes=())
    signed = sign(assertion, certificate.der, sign_with_card)  # verified with this certificate, or signature.invalid
    for_this_holder = signed.name_id == facts.professional.national_id
    assert for_this_holder

    tokens.logout()
    after = again(tokens, token)
    assert not after.logged_in and not activities(after.data), "the logout closed nothing"


def again(tokens: TokenWorker, token: TokenSeen) -> TokenSeen:
    return next(seen for seen in tokens.look() if seen.serial == token.serial)
