"""The simulated INSi really verifies the assertion, and nothing gets around it."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.errors import AgentError
from agent.insi.answers import read_answer
from agent.insi.envelope import Ids, build
from agent.insi.fake_service import FakeService
from agent.insi.operations import TraitsQuery
from agent.insi.ports import HttpReply
from agent.model import AuthMode
from agent.simulator.pki import Person, Role, issue_card_certificate, make_ca
from tests.insi.conftest import LPS, World, assertion

NOW = datetime.now(UTC)
QUERY = TraitsQuery("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", None, ())
WSSE = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}"


def envelope(signed: Any | None) -> Any:
    return etree.fromstring(build(QUERY, lps=LPS, emitter="EMETTEUR", assertion=signed, ids=Ids.fresh(), at=NOW).body)


def answer(world: World, message: Any) -> str:
    """CodeCR, or the code of the refusal of access."""
    service = FakeService(authorisations=["SIMULATEUR-0001"], ca=x509.load_pem_x509_certificates(world.ca.pem))
    status, body = service.answer(etree.tostring(message), mode=AuthMode.CPX, client_name=None, now=datetime.now(UTC))
    try:
        return read_answer(HttpReply(status, body, 1)).code
    except AgentError as error:
        return f"{error.code} {error.facts['insi']['code']}".removeprefix("insi.fault.access ")


def test_a_good_assertion_is_accepted(world: World) -> None:
    assert answer(world, envelope(assertion(world.card))) == "00"


def test_no_assertion_is_refused(world: World) -> None:
    assert answer(world, envelope(None)) == "sim_assertion_missing"


def test_a_changed_assertion_is_refused(world: World) -> None:
    message = envelope(assertion(world.card))
    message.find(".//{*}AttributeValue").text = "990000002"

    assert answer(world, message) == "sim_assertion_digest"


def test_a_signature_that_does_not_verify_is_refused(world: World) -> None:
    """Digest made right again, without the key."""
    mine, other = assertion(world.card), assertion(world.card, attributes=(("identifiantFacturation", "1"),))
    value = mine.find(".//{*}SignatureValue")
    value.text = other.findtext(".//{*}SignatureValue")

    assert answer(world, envelope(mine)) == "sim_assertion_signature"


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(minutes=59), "00"),
        (timedelta(minutes=61), "sim_assertion_age"),
        (timedelta(minutes=-5), "sim_assertion_age"),
    ],
)
def test_an_assertion_lives_an_hour(world: World, age: timedelta, code: str) -> None:
    assert answer(world, envelope(assertion(world.card, at=datetime.now(UTC) - age))) == code


@pytest.mark.parametrize("missing", ["identifiantFacturation", "secteurActivite"])
def test_a_required_attribute_is_required(world: World, missing: str) -> None:
    attributes = {"identifiantFacturation": "990000001", "secteurActivite": "SA07"}
    del attributes[missing]

    assert answer(world, envelope(assertion(world.card, attributes=tuple(attributes.items())))) == (
        "sim_assertion_attribute"
    )


def test_the_authentication_key_signs_and_is_refused(world: World) -> None:
    """The trap of the wrong key pair of the card."""
    wrong = issue_card_certificate(world.ca, Person(), Role.AUTHENTICATION)

    assert answer(world, envelope(assertion(wrong))) == "sim_assertion_certificate"


def test_a_card_of_another_authority_is_refused(world: World) -> None:
    assert answer(world, envelope(assertion(issue_card_certificate(make_ca(), Person())))) == "sim_assertion_chain"


def test_an_expired_card_is_refused(world: World) -> None:
    expired = issue_card_certificate(world.ca, Person(), not_after=NOW - timedelta(days=1))

    assert answer(world, envelope(assertion(expired))) == "sim_assertion_chain"


def test_a_card_that_speaks_for_somebody_else_is_refused(world: World) -> None:
    other = issue_card_certificate(world.ca, Person(national_id="899900000025"), key=world.card.key)
    signed = assertion(world.card)
    certificate = signed.find(".//{*}X509Certificate")
    certificate.text = assertion(other).findtext(".//{*}X509Certificate")  # same key, other holder

    assert answer(world, envelope(signed)) == "sim_assertion_subject"


def evil(world: World) -> Any:
    """An unsigned assertion of an attacker, with the good one's ID."""
    forged = copy.deepcopy(assertion(world.card))
    forged.find(".//{*}NameID").text = "899900000099"
    forged.remove(forged.find("{*}Signature"))
    return forged


def wrapped_beside(world: World, message: Any) -> None:
    """The good assertion second, the attacker's first."""
    message.find(f".//{WSSE}Security").insert(0, evil(world))


def wrapped_inside(world: World, message: Any) -> None:
    """The good assertion hidden in the attacker's."""
    security = message.find(f".//{WSSE}Security")
    good, forged = security[0], evil(world)
    security.replace(good, forged)
    forged.append(good)


def wrapped_elsewhere(world: World, message: Any) -> None:
    """The good assertion moved out of Security, the attacker's in its place with the good signature."""
    security = message.find(f".//{WSSE}Security")
    good, forged = security[0], evil(world)
    security.replace(good, forged)
    forged.insert(1, copy.deepcopy(good.find("{*}Signature")))
    etree.SubElement(message[0], "{urn:elsewhere}Bag").append(good)


def signed_by_two(world: World, message: Any) -> None:
    """A second signature in the same assertion."""
    signed = message.find(f".//{WSSE}Security")[0]
    signed.append(copy.deepcopy(signed.find("{*}Signature")))


def another_id(world: World, message: Any) -> None:
    """The signature points elsewhere than to what encloses it."""
    message.find(".//{*}Reference").set("URI", "")


def same_id_in_the_body(world: World, message: Any) -> None:
    message[1][0].set("ID", message.find(f".//{WSSE}Security")[0].get("ID"))


def weak_digest(world: World, message: Any) -> None:
    message.find(".//{*}DigestMethod").set("Algorithm", "http://www.w3.org/2000/09/xmldsig#sha1")


def extra_transform(world: World, message: Any) -> None:
    transforms = message.find(".//{*}Transforms")
    transforms.append(copy.deepcopy(transforms[1]))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (wrapped_beside, "sim_assertion_missing"),
        (wrapped_inside, "sim_assertion_shape"),
        (wrapped_elsewhere, "sim_assertion_shape"),
        (signed_by_two, "sim_assertion_shape"),
        (another_id, "sim_assertion_shape"),
        (same_id_in_the_body, "sim_assertion_shape"),
        (weak_digest, "sim_assertion_algorithm"),
        (extra_transform, "sim_assertion_algorithm"),
    ],
)
def test_a_signature_wrapping_attempt_is_refused(world: World, attack: Any, code: str) -> None:
    message = envelope(assertion(world.card))
    attack(world, message)

    assert answer(world, message) == code


@given(at=st.integers(0, 6500), cut=st.integers(0, 200), put=st.binary(max_size=20))
def test_any_damage_to_a_message_is_answered(world: World, at: int, cut: int, put: bytes) -> None:
    whole = etree.tostring(envelope(assertion(world.card)))
    service = FakeService(authorisations=["SIMULATEUR-0001"], ca=[world.ca.certificate])

    status, body = service.answer(
        whole[:at] + put + whole[at + cut :], mode=AuthMode.CPX, client_name=None, now=datetime.now(UTC)
    )

    assert status in (200, 500)
    assert etree.fromstring(body) is not None
