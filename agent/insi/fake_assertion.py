"""Whether the simulated INSi accepts an assertion PS: it is really verified. No I/O of its own.

Source: assertion signed by a CPS test card in 2022 (padoa/tlsi-ins): enveloped signature, exclusive C14N,
RSA-SHA256. INSi's own codes for a bad assertion are not public: ours begin with `sim_`.
"""

import base64
import binascii
import copy
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError
from lxml import etree

_SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_TRANSFORMS = ["http://www.w3.org/2000/09/xmldsig#enveloped-signature", _EXCLUSIVE]
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_REQUIRED_ATTRIBUTES = ("identifiantFacturation", "secteurActivite")


class Refused(Exception):  # noqa: N818  (an outcome of the simulated server, not an error of ours)
    """Why the assertion is refused: a `sim_` code and a sentence in French, as INSi's are."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code)
        self.code = code
        self.sentence = sentence


def check(
    envelope: Any, security: Any | None, *, ca: Sequence[x509.Certificate], now: datetime, max_age: timedelta
) -> None:
    """Accept the one assertion of `security`, in its whole message, or raise Refused."""
    assertion = _only(
        security, f"{_SAML}Assertion", "sim_assertion_missing", "Security contient une Assertion et une seule"
    )
    signature = _only(
        assertion, f"{_DSIG}Signature", "sim_assertion_shape", "l'Assertion contient une Signature et une seule"
    )
    for tag in (f"{_SAML}Assertion", f"{_DSIG}Signature"):
        if sum(1 for _ in envelope.iter(tag)) != 1:
            raise Refused("sim_assertion_shape", "le message ne contient qu'une Assertion et une Signature")
    certificate = _check_signature(assertion, signature, envelope)
    _check_certificate(certificate, ca, now)
    _check_content(assertion, certificate, now, max_age)


def _check_signature(assertion: Any, signature: Any, envelope: Any) -> x509.Certificate:
    """The signature covers exactly this assertion; whose certificate made it."""
    info = signature.find(f"{_DSIG}SignedInfo")
    references = [] if info is None else info.findall(f"{_DSIG}Reference")
    identifier = assertion.get("ID")
    if len(references) != 1 or not identifier or references[0].get("URI") != f"#{identifier}":
        raise Refused("sim_assertion_shape", "la Signature désigne l'ID de l'Assertion")
    if sum(1 for element in envelope.iter() if identifier in (element.get("ID"), element.get("Id"))) != 1:
        raise Refused("sim_assertion_shape", "l'ID ne désigne qu'un élément")
    reference = references[0]
    algorithms = [
        _algorithm(info, "CanonicalizationMethod"),
        _algorithm(info, "SignatureMethod"),
        _algorithm(reference, "DigestMethod"),
        [transform.get("Algorithm") for transform in reference.iterfind(f"{_DSIG}Transforms/{_DSIG}Transform")],
    ]
    if algorithms != [_EXCLUSIVE, _RSA_SHA256, _SHA256, _TRANSFORMS]:
        raise Refused(
            "sim_assertion_algorithm", "algorithmes attendus : C14N exclusive, RSA-SHA256, SHA-256, enveloped"
        )
    try:
        digest = base64.b64decode(reference.findtext(f"{_DSIG}DigestValue") or "", validate=False)
        value = base64.b64decode(signature.findtext(f"{_DSIG}SignatureValue") or "", validate=False)
        der = signature.findtext(f"{_DSIG}KeyInfo/{_DSIG}X509Data/{_DSIG}X509Certificate") or ""
        certificate = x509.load_der_x509_certificate(base64.b64decode(der, validate=False))
        key = certificate.public_key()
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise Refused("sim_assertion_shape", "signature ou certificat illisible") from None
    if hashlib.sha256(_canonical(_without(assertion, signature))).digest() != digest:
        raise Refused("sim_assertion_digest", "l'Assertion a été modifiée après sa signature")
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refused("sim_assertion_algorithm", "la clé doit être RSA")
    try:
        key.verify(value, _canonical(info), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Refused("sim_assertion_signature", "la signature est fausse") from None
    return certificate


def _check_certificate(certificate: x509.Certificate, ca: Sequence[x509.Certificate], now: datetime) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise Refused("sim_assertion_certificate", "le certificat n'a pas d'usage de clé") from None
    if not usage.content_commitment:
        raise Refused("sim_assertion_certificate", "ce n'est pas un certificat de signature (nonRepudiation)")
    # CPx certificates are no TLS certificates: the chain and the dates are checked, not a host or a purpose.
    policy = PolicyBuilder().store(Store(list(ca))).time(now)
    policy = policy.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    try:
        policy.build_client_verifier().verify(certificate, [])
    except VerificationError:
        raise Refused("sim_assertion_chain", "certificat périmé, ou d'une autre autorité") from None


def _check_content(assertion: Any, certificate: x509.Certificate, now: datetime, max_age: timedelta) -> None:
    common_names = [name.value for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if common_names != [assertion.findtext(f"{_SAML}Subject/{_SAML}NameID")]:
        raise Refused("sim_assertion_subject", "NameID n'est pas le CN du certificat")
    try:
        issued = datetime.fromisoformat(assertion.get("IssueInstant", ""))
        age = now - issued
    except (ValueError, TypeError):
        raise Refused("sim_assertion_age", "IssueInstant n'est pas une date avec son fuseau") from None
    if not timedelta(0) <= age <= max_age:
        raise Refused("sim_assertion_age", "l'Assertion est trop ancienne, ou datée du futur")
    given = {
        attribute.get("Name"): attribute.findtext(f"{_SAML}AttributeValue")
        for attribute in assertion.iterfind(f"{_SAML}AttributeStatement/{_SAML}Attribute")
    }
    for name in _REQUIRED_ATTRIBUTES:
        if not given.get(name):
            raise Refused("sim_assertion_attribute", f"il manque l'attribut {name}")


def _only(parent: Any | None, tag: str, code: str, rule: str) -> Any:
    found = [] if parent is None else parent.findall(tag)
    if len(found) != 1:
        raise Refused(code, rule)
    return found[0]


def _algorithm(parent: Any, name: str) -> str | None:
    found = parent.find(f"{_DSIG}{name}")
    return None if found is None else found.get("Algorithm")


def _without(assertion: Any, signature: Any) -> Any:
    """The assertion as it was before it was signed; the blanks after the signature are part of it."""
    bare = copy.deepcopy(assertion)
    bare.tail = None
    signed = bare[assertion.index(signature)]
    before, tail = signed.getprevious(), signed.tail or ""
    if before is None:
        bare.text = (bare.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
    bare.remove(signed)
    return bare


def _canonical(element: Any) -> bytes:
    canonical: bytes = etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
    return canonical
