"""The assertion's shape, fact by fact, and its signature as another program sees it."""

import re
import subprocess
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from agent.config import Cpx
from agent.errors import AgentError, Code
from agent.signing.assertion import AttributeNames, assertion_attributes, unsigned_assertion
from agent.signing.cpx import ISSUER_FORMATS, card_facts
from agent.signing.xmlsig import SignedAssertion, sign
from agent.simulator.pki import Issued, Person, issue_card_certificate

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
AT = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
ID = "_00000000-0000-4000-8000-000000000001"

# each line is one fact of the public assertion signed by a CPS3 test card (padoa/tlsi-ins, MIT)
SHAPE = (
    r'<Assertion xmlns="urn:oasis:names:tc:SAML:2\.0:assertion" ID="(?P<id>[^"]+)" '
    r'IssueInstant="2026-03-04T05:06:07\.089Z" Version="2\.0">'
    r'<Issuer Format="urn:oasis:names:tc:SAML:1\.1:nameid-format:X509SubjectName">'
    r"SN=EXEMPLE\+2\.5\.4\.42=CAMILLE\+CN=899900000017,T=Médecin,C=FR</Issuer>"
    r'<Signature xmlns="http://www\.w3\.org/2000/09/xmldsig#"><SignedInfo>'
    r'<CanonicalizationMethod Algorithm="http://www\.w3\.org/2001/10/xml-exc-c14n#"/>'
    r'<SignatureMethod Algorithm="http://www\.w3\.org/2001/04/xmldsig-more#rsa-sha256"/>'
    r'<Reference URI="#(?P=id)"><Transforms>'
    r'<Transform Algorithm="http://www\.w3\.org/2000/09/xmldsig#enveloped-signature"/>'
    r'<Transform Algorithm="http://www\.w3\.org/2001/10/xml-exc-c14n#"/></Transforms>'
    r'<DigestMethod Algorithm="http://www\.w3\.org/2001/04/xmlenc#sha256"/>'
    r"<DigestValue>[A-Za-z0-9+/]{43}=</DigestValue></Reference></SignedInfo>"
    r"<SignatureValue>[A-Za-z0-9+/]{342}==</SignatureValue>"
    r"<KeyInfo><X509Data><X509Certificate>(?P<certificate>[A-Za-z0-9+/=]+)</X509Certificate></X509Data></KeyInfo>"
    r"</Signature>"
    r'<Subject><NameID NameQualifier="CPS">899900000017</NameID></Subject>'
    r"<AttributeStatement>"
    r'<Attribute Name="identifiantFacturation"><AttributeValue>991234567</AttributeValue></Attribute>'
    r'<Attribute Name="codeSpecialiteAMO"><AttributeValue>SM26</AttributeValue></Attribute>'
    r'<Attribute Name="secteurActivite"><AttributeValue>SA07</AttributeValue></Attribute>'
    r"</AttributeStatement></Assertion>"
)


class Key:
    """A key that counts what it is asked."""

    def __init__(self, issued: Issued) -> None:
        self._key = issued.key
        self.asked: list[bytes] = []

    def sign(self, data: bytes) -> bytes:
        self.asked.append(data)
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def unsigned(doctor: Issued) -> etree._Element:
    attributes = assertion_attributes("991234567", "SA07", "SM26", AttributeNames())
    return unsigned_assertion(card_facts(doctor.der), assertion_id=ID, issued_at=AT, attributes=attributes)


def signed(doctor: Issued) -> SignedAssertion:
    return sign(unsigned(doctor), doctor.der, Key(doctor).sign)


def xmlsec1(file: Path, certificate: Issued) -> int:
    pem = file.with_suffix(".pem")
    pem.write_bytes(certificate.pem)
    command = ["xmlsec1", "--verify", "--id-attr:ID", "Assertion", "--pubkey-cert-pem", str(pem), str(file)]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_only_physicians_carry_a_speciality() -> None:
    """SEL-MP-043 v05.00.01 §3.2 (second hand)."""
    with_it = assertion_attributes("1", "SA05", "SM26", AttributeNames())
    without = assertion_attributes("1", "SA05", None, AttributeNames())

    assert with_it == [("identifiantFacturation", "1"), ("codeSpecialiteAMO", "SM26"), ("secteurActivite", "SA05")]
    assert without == [("identifiantFacturation", "1"), ("secteurActivite", "SA05")]


def test_the_wire_names_are_those_of_the_settings() -> None:
    """Two spellings of the speciality's name circulate: which one is read is not proven."""
    names = AttributeNames("IdFacturation", "codeSpecialite", "Secteur")

    assert assertion_attributes("1", "SA05", "SM26", names) == [
        ("IdFacturation", "1"),
        ("codeSpecialite", "SM26"),
        ("Secteur", "SA05"),
    ]


def test_the_settings_names_are_the_public_ones_until_somebody_changes_them() -> None:
    settings = Cpx()

    assert AttributeNames() == AttributeNames(
        settings.billing_attribute, settings.speciality_attribute, settings.sector_attribute
    )
    assert settings.issuer_format == "card"


@pytest.mark.parametrize("issuer_format", ISSUER_FORMATS)
def test_another_spelling_of_the_issuer_changes_the_issuer_alone(
    doctor: Issued, tmp_path: Path, issuer_format: str
) -> None:
    facts = card_facts(doctor.der, issuer_format=issuer_format)
    attributes = assertion_attributes("991234567", "SA07", "SM26", AttributeNames())
    assertion = unsigned_assertion(facts, assertion_id=ID, issued_at=AT, attributes=attributes)
    file = tmp_path / "assertion.xml"
    file.write_bytes(sign(assertion, doctor.der, Key(doctor).sign).xml_bytes())

    assert xmlsec1(file, doctor) == 0
    assert assertion[0].text == facts.issuer_text
    assertion[0].text = card_facts(doctor.der).issuer_text
    assert etree.tostring(assertion) == etree.tostring(unsigned(doctor))


def test_the_signature_has_its_place_between_issuer_and_subject(doctor: Issued) -> None:
    children = [etree.QName(child).localname for child in unsigned(doctor)]

    assert children == ["Issuer", "Signature", "Subject", "AttributeStatement"]


def test_a_signed_assertion_has_the_shape_of_the_public_one(doctor: Issued) -> None:
    found = re.fullmatch(SHAPE, signed(doctor).xml_bytes().decode())

    assert found
    assert (ID, b64encode(doctor.der).decode()) == (found["id"], found["certificate"])


def test_values_are_escaped_not_interpreted(doctor: Issued, ca: Issued, tmp_path: Path) -> None:
    odd = issue_card_certificate(ca, Person(family='D"EXEMPLE <&>', given="Ça, là"))
    result = sign(unsigned(odd), odd.der, Key(odd).sign)
    file = tmp_path / "assertion.xml"
    file.write_bytes(result.xml_bytes())

    assert r"2.5.4.42=Ça\, là" in result.element()[0].text
    assert r"SN=D\"EXEMPLE \<&\>" in result.element()[0].text
    assert xmlsec1(file, odd) == 0


def test_xmlsec_accepts_it_and_refuses_a_changed_one(doctor: Issued, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_bytes(signed(doctor).xml_bytes())
    bad.write_bytes(good.read_bytes().replace(b">SA07<", b">SA01<"))

    assert (xmlsec1(good, doctor), xmlsec1(bad, doctor)) == (0, 1)


def enveloped(assertion: SignedAssertion, file: Path, **prefixes: str) -> bytes:
    envelope = etree.Element(
        f"{{{SOAP}}}Envelope", nsmap={"S": SOAP, "i": "http://www.cnamts.fr/INSiRecVit", **prefixes}
    )
    envelope.append(assertion.element())
    file.write_bytes(etree.tostring(envelope, encoding="utf-8"))
    return file.read_bytes()


def test_it_still_verifies_inside_an_envelope(doctor: Issued, tmp_path: Path) -> None:
    """Exclusive canonicalisation: what surrounds it does not count, and the bytes stay the same."""
    assertion, file = signed(doctor), tmp_path / "envelope.xml"

    assert assertion.xml_bytes() in enveloped(assertion, file)
    assert xmlsec1(file, doctor) == 0


def test_an_envelope_that_renames_its_namespaces_no_longer_holds_its_bytes(doctor: Issued, tmp_path: Path) -> None:
    """lxml gives an appended element the prefix that its new parent has for the same namespace."""
    assertion, file = signed(doctor), tmp_path / "envelope.xml"

    assert assertion.xml_bytes() not in enveloped(assertion, file, saml2="urn:oasis:names:tc:SAML:2.0:assertion")
    assert xmlsec1(file, doctor) == 1


def test_the_card_is_asked_once_for_the_canonical_signed_info(doctor: Issued) -> None:
    key = Key(doctor)

    sign(unsigned(doctor), doctor.der, key.sign)

    assert len(key.asked) == 1
    assert key.asked[0].startswith(b'<SignedInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><CanonicalizationMethod ')


def test_a_signature_by_other_keys_than_the_certificate_shows_never_leaves(ca: Issued, doctor: Issued) -> None:
    """The Cryptolib's disk cache outlives the card: an old certificate under a known serial (seen)."""
    renewed = issue_card_certificate(ca, Person())

    with pytest.raises(AgentError) as refused:
        sign(unsigned(doctor), doctor.der, Key(renewed).sign)

    assert (refused.value.code, refused.value.facts) == (Code.SIGNATURE_INVALID, {"likely": "cache"})


@pytest.mark.parametrize("answer", [b"", b"\0" * 256, b"\xff" * 512])
def test_what_is_no_signature_never_leaves(doctor: Issued, answer: bytes) -> None:
    with pytest.raises(AgentError) as refused:
        sign(unsigned(doctor), doctor.der, lambda _data: answer)

    assert (refused.value.code, refused.value.facts) == (Code.SIGNATURE_INVALID, {})


def test_a_signature_of_other_bytes_by_the_right_key_is_no_stale_cache(doctor: Issued) -> None:
    with pytest.raises(AgentError) as refused:
        sign(unsigned(doctor), doctor.der, lambda _data: Key(doctor).sign(b"something else"))

    assert (refused.value.code, refused.value.facts) == (Code.SIGNATURE_INVALID, {})


def test_the_cards_own_refusal_comes_through(doctor: Issued) -> None:
    def removed(_data: bytes) -> bytes:
        raise AgentError(Code.CARD_REMOVED)

    with pytest.raises(AgentError) as refused:
        sign(unsigned(doctor), doctor.der, removed)

    assert refused.value.code is Code.CARD_REMOVED


def test_an_expired_certificate_is_judged_before_not_here(ca: Issued) -> None:
    """Its dates are refused before the code is asked (check_usable); the signature itself is right."""
    old = issue_card_certificate(ca, Person(), not_after=datetime(2020, 1, 1, tzinfo=UTC))

    assert sign(unsigned(old), old.der, Key(old).sign).name_id == "899900000017"


def test_a_signed_assertion_tells_its_age_and_does_not_print(doctor: Issued) -> None:
    result = signed(doctor)

    assert (result.issued_at, result.name_id) == (AT, "899900000017")
    assert "899900000017" not in repr(result) + str(result)


def test_signing_leaves_the_unsigned_one_and_gives_copies(doctor: Issued) -> None:
    before = unsigned(doctor)
    result = sign(before, doctor.der, Key(doctor).sign)
    result.element().clear()

    assert etree.tostring(before) == etree.tostring(unsigned(doctor))
    assert len(result.element()) == 4
