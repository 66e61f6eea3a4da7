"""Sign an assertion with anything that can sign bytes, and check what was signed. No I/O of its own.

XML Signature 1.1, enveloped: exclusive C14N, RSA-SHA256, SHA-256, KeyInfo = the signature
certificate alone on one line. The key never leaves the card: we hand it the canonical SignedInfo.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from agent.errors import AgentError, Code

_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"
_SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"


@dataclass(frozen=True, repr=False)
class SignedAssertion:
    """A bearer secret: whoever holds it speaks for the professional. Does not print."""

    _bytes: bytes
    name_id: str
    issued_at: datetime

    def xml_bytes(self) -> bytes:
        """UTF-8, no declaration. A UTF-8 envelope that carries the assertion unharmed contains these very bytes."""
        return self._bytes

    def element(self) -> etree._Element:
        """A copy of its own, to put into an envelope that has no prefix of its own for SAML or XML Signature.

        lxml would rename the copy's elements to that prefix, and the digest would no longer hold.
        """
        return etree.fromstring(self._bytes)


def sign(assertion: etree._Element, certificate_der: bytes, rsa_sign: Callable[[bytes], bytes]) -> SignedAssertion:
    """Sign a copy of the assertion; `rsa_sign` makes an RSA PKCS#1 v1.5 SHA-256 signature and is asked once.

    What comes out is verified with the certificate that goes out: the Cryptolib keeps card files on disk by
    serial number and may show the certificate of former keys. Raises signature.invalid, with fact likely "cache"
    where the signature is sound but of another key, and what `rsa_sign` raises.
    """
    certificate = x509.load_der_x509_certificate(certificate_der)
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signer.namespaces = {None: _DSIG[1:-1]}  # type: ignore[dict-item]  # None is lxml's default namespace
    root = signer.sign(
        deepcopy(assertion),
        key=cast(RSAPrivateKey, _CardKey(rsa_sign)),  # signxml only calls its sign()
        cert=[certificate],
        reference_uri=f"#{assertion.get('ID')}",
        id_attribute="ID",
    )
    # signxml leaves unprefixed elements without their namespace in memory, and breaks base64 into lines
    root = etree.fromstring(etree.tostring(root))
    root.find(f".//{_DSIG}X509Certificate").text = b64encode(certificate_der).decode()
    out = etree.tostring(root, encoding="utf-8")
    _check(out, certificate, str(assertion.get("ID")))
    return SignedAssertion(
        out,
        name_id=root.findtext(f"{_SAML}Subject/{_SAML}NameID"),
        issued_at=datetime.fromisoformat(root.get("IssueInstant")),
    )


def _check(out: bytes, certificate: x509.Certificate, assertion_id: str) -> None:
    """Verify the very bytes that go out, and that they sign the whole assertion."""
    try:
        verified = XMLVerifier().verify(
            out,
            x509_cert=certificate,
            id_attribute="ID",
            expect_config=SignatureConfiguration(
                signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
                digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
                verification_time=certificate.not_valid_before_utc,  # dates are judged before the code is asked
            ),
        )
    except (SignXMLException, ValueError, TypeError) as error:
        likely = {"likely": "cache"} if _by_another_key(out, certificate) else {}
        raise AgentError(Code.SIGNATURE_INVALID, type(error).__name__, **likely) from None
    if isinstance(verified, list) or verified.signed_xml is None or verified.signed_xml.get("ID") != assertion_id:
        raise AgentError(Code.SIGNATURE_INVALID, "another element is signed")


def _by_another_key(out: bytes, certificate: x509.Certificate) -> bool:
    """Whether a signature as long as this certificate's key makes them is no PKCS#1 block under it.

    Under the right key even the signature of other bytes shows a block that begins 00 01 (RFC 8017 §9.2).
    """
    key = certificate.public_key()
    value = b64decode(etree.fromstring(out).findtext(f".//{_DSIG}SignatureValue") or "")
    if not isinstance(key, RSAPublicKey) or len(value) != key.key_size // 8:
        return False
    numbers = key.public_numbers()
    block = pow(int.from_bytes(value, "big"), numbers.e, numbers.n).to_bytes(len(value), "big")
    return any(value) and not block.startswith(b"\x00\x01\xff\xff")


@dataclass(frozen=True)
class _CardKey:
    """What signxml takes for a private key."""

    rsa_sign: Callable[[bytes], bytes]

    def sign(self, data: bytes, padding: object, algorithm: HashAlgorithm) -> bytes:
        assert isinstance(padding, paddings.PKCS1v15)
        assert isinstance(algorithm, SHA256)
        return self.rsa_sign(data)
