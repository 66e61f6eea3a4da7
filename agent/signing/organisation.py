"""The organisations' software certificates (IGC-Santé, ORG AUTH_CLI), for mutual TLS. ★ (one file, cryptography)

Names: subject CN INSI-MANU or INSI-AUTO, OU = structure identifier (padoa/tlsi-ins README and public
support pages, second hand); extension 1.2.250.1.71.1.2.5 tells test from production. Where it is absent, the
issuer does for a test certificate: the test CAs of IGC-Santé are named "TEST …". Which one a call uses: structures.py.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from agent.errors import AgentError, Code
from agent.signing.cpx import Mark, mark_of
from agent.signing.structures import INSI_NAMES

_TEST_ISSUER = "TEST "


@dataclass(frozen=True)
class OrganisationCertificate:
    """An open .p12. The key does not print."""

    common_name: str
    structure: str | None  # OU: 1 + FINESS or 3 + SIRET; Emetteur of INSi's context
    organisation: str
    environment: Mark
    not_before: datetime
    not_after: datetime
    issuer: str  # common name of the issuing CA
    fingerprint: str  # SHA-256 of the DER, hexadecimal
    _chain: tuple[x509.Certificate, ...] = field(repr=False)
    _key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def chain_pem(self) -> bytes:
        """Our own certificate first, then its issuers in the file, without the root."""
        return b"".join(link.public_bytes(serialization.Encoding.PEM) for link in self._chain)

    @property
    def key(self) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
        """For a TLS context, which takes it encrypted."""
        return self._key


def open_p12(path: Path, passphrase: bytes) -> OrganisationCertificate:
    """Open the file that ANS delivered.

    Raises certificate.missing, certificate.unreadable (wrong passphrase too), certificate.notInsi.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AgentError(Code.CERTIFICATE_MISSING, type(error).__name__) from None
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(content, passphrase)
        subject, issuer = (_names(certificate.subject), _names(certificate.issuer)) if certificate else ({}, {})
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise AgentError(Code.CERTIFICATE_UNREADABLE, type(error).__name__) from None
    if certificate is None or not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise AgentError(Code.CERTIFICATE_UNREADABLE, "no key with its certificate")
    if subject.get(NameOID.COMMON_NAME) not in INSI_NAMES:
        raise AgentError(Code.CERTIFICATE_NOT_INSI)
    issued_by = issuer.get(NameOID.COMMON_NAME, "")
    mark = mark_of(certificate)
    return OrganisationCertificate(
        common_name=subject[NameOID.COMMON_NAME],
        structure=subject.get(NameOID.ORGANIZATIONAL_UNIT_NAME) or None,
        organisation=subject.get(NameOID.ORGANIZATION_NAME, ""),
        environment="test" if mark == "unknown" and issued_by.startswith(_TEST_ISSUER) else mark,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issuer=issued_by,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        _chain=_chain(certificate, others),
        _key=key,
    )


def _names(name: x509.Name) -> dict[x509.ObjectIdentifier, str]:
    return {attribute.oid: str(attribute.value) for attribute in name}


def _chain(certificate: x509.Certificate, others: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The certificate, then its issuers as far as the file holds them, roots left out."""
    chain, left = [certificate], list(others)
    while issuer := next((other for other in left if other.subject == chain[-1].issuer != other.issuer), None):
        left.remove(issuer)
        chain.append(issuer)
    return tuple(chain)
