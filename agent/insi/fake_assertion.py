"""Whether the simulated INSi accepts an assertion PS: it is really verified. No I/O of its own.

Source: assertion signed by a CPS test card in 2022 (padoa/tlsi-ins): enveloped signature, exclusive C14N,
RSA-SHA256. INSi's own codes for a bad assertion are not public: ours begin with `sim_`.
Only the one shape that the agent and deployed clients write is understood: whatever else XML signatures allow is
refused, not interpreted, so that what was signed and what is read are the same elements.
"""

import base64
import binascii
import copy
import hashlib
import re
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
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_REQUIRED_ATTRIBUTES = ("identifiantFacturation", "secteurActivite")
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # nothing that a reference could take for a search in the document
_BLANKS = re.compile(r"[ \t\r\n]")

_CHILDREN: dict[str, list[str]] = {  # what each element of the signature holds, no more and in this order
    "Signature": ["SignedInfo", "SignatureValue", "KeyInfo"],
    "SignedInfo": ["CanonicalizationMethod", "SignatureMethod", "Reference"],
    "Reference": ["Transforms", "DigestMethod", "DigestValue"],
    "Transforms": ["Transform", "Transform"],
    "KeyInfo": ["X509Data"],
    "X509Data": ["X509Certificate"],
}
_ALGORITHMS = [  # in the order of the document
    ("CanonicalizationMethod", _EXCLUSIVE),
    ("SignatureMethod", _RSA_SHA256),
    ("Transform", _ENVELOPED),
    ("Transform", _EXCLUSIVE),
    ("DigestMethod", _SHA256),
]


class Refused(Exception):  # noqa: N818  (an outcome of the simulated server, not an error of ours)
    """Why the assertion is refused: a `sim_` code and a sentence in French, as INSi's are."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(code)
        self.code = code
        self.sentence = sentence


def check(
    envelope: Any,
    security: Any | None,
    *,
    ca: Sequence[x509.Certificate],
    now: datetime,
    max_age: timedelta,
    with_vitale: bool = False,
) -> None:
    """Accept the assertion PS of `security`, in its whole message with its comments, or raise Refused.

    `with_vitale`: an assertion of the carte Vitale may stand behind it; it is not looked into.
    """
    assertions = [] if security is None else security.findall(f"{_SAML}Assertion")
    if not assertions:
        raise Refused("sim_assertion_missing", "Security contient une Assertion")
    assertion, *others = assertions
    if with_vitale and others and _qualifier(others[0]) == "VITALE":
        others.pop(0)
    if others:
        raise Refused("sim_assertion_shape", "Security ne contient qu'une Assertion du professionnel")
    strangers = [one for one in envelope.iter(f"{_SAML}Assertion") if one not in assertions]
    signatures = list(assertion.iter(f"{_DSIG}Signature"))
    if strangers or len(signatures) != 1 or signatures[0].getparent() is not assertion:
        raise Refused("sim_assertion_shape", "une seule Assertion par Security, avec une seule Signature, la sienne")
    if any(True for _ in assertion.iter(etree.Comment, etree.PI, etree.Entity)):
        raise Refused("sim_assertion_shape", "ni commentaire ni instruction dans l'Assertion")
    certificate = _check_signature(assertion, signatures[0], envelope)
    _check_certificate(certificate, ca, now)
    _check_content(assertion, certificate, now, max_age)


def _check_signature(assertion: Any, signature: Any, envelope: Any) -> x509.Certificate:
    """The signature covers exactly this assertion; whose certificate made it."""
    for element in signature.iter():
        name = element.tag.removeprefix(_DSIG)
        if [child.tag.removeprefix(_DSIG) for child in element] != _CHILDREN.get(name, []):
            raise Refused("sim_assertion_shape", f"contenu de {etree.QName(element).localname} inattendu")
    identifier = assertion.get("ID", "")
    if not _ID.fullmatch(identifier) or signature.find(f".//{_DSIG}Reference").get("URI") != f"#{identifier}":
        raise Refused("sim_assertion_shape", "la Signature désigne l'ID de l'Assertion")
    if sum(1 for element in envelope.iter("*") for value in element.attrib.values() if value == identifier) != 1:
        raise Refused("sim_assertion_shape", "l'ID ne désigne qu'un élément")
    algorithms = [
        (etree.QName(element).localname, element.get("Algorithm"))
        for element in signature.iter("*")
        if "Algorithm" in element.attrib
    ]
    if algorithms != _ALGORITHMS:
        raise Refused(
            "sim_assertion_algorithm", "algorithmes attendus : C14N exclusive, RSA-SHA256, SHA-256, enveloped"
        )
    try:
        digest, value, der = (
            base64.b64decode(_BLANKS.sub("", signature.findtext(f".//{_DSIG}{name}") or ""), validate=True)
            for name in ("DigestValue", "SignatureValue", "X509Certificate")
        )
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise Refused("sim_assertion_shape", "signature ou certificat illisible") from None
    if hashlib.sha256(_canonical(_without(assertion, signature))).digest() != digest:
        raise Refused("sim_assertion_digest", "l'Assertion a été modifiée après sa signature")
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refused("sim_assertion_algorithm", "la clé doit être RSA")
    try:
        key.verify(value, _canonical(signature.find(f"{_DSIG}SignedInfo")), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Refused("sim_assertion_signature", "la signature est fausse") from None
    return certificate


def _check_certificate(certificate: x509.Certificate, ca: Sequence[x509.Certificate], now: datetime) -> None:
    # CPx certificates are no TLS certificates: the chain and the dates are checked, not a host or a purpose.
    policy = (
        PolicyBuilder()
        .time(now)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all())
    )
    try:
        policy.store(Store(list(ca))).build_client_verifier().verify(certificate, [])
    except (VerificationError, ValueError):  # ValueError: no CA at all
        raise Refused("sim_assertion_chain", "certificat périmé, ou d'une autre autorité") from None
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise Refused("sim_assertion_certificate", "le certificat n'a pas d'usage de clé") from None
    if not usage.content_commitment:
        raise Refused("sim_assertion_certificate", "ce n'est pas un certificat de signature (nonRepudiation)")


def _check_content(assertion: Any, certificate: x509.Certificate, now: datetime, max_age: timedelta) -> None:
    common_names = [name.value for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    names = [element.text for element in assertion.iter(f"{_SAML}NameID")]
    if common_names != names or assertion.find(f"{_SAML}Subject/{_SAML}NameID") is None:
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


def _qualifier(assertion: Any) -> str | None:
    name = assertion.find(f"{_SAML}Subject/{_SAML}NameID")
    return None if name is None else name.get("NameQualifier")


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
