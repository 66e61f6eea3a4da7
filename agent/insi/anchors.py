"""The authorities that INSi's servers are believed by: which are known, what a file holds. No I/O of its own.

Sources: the two elementary authorities of IGC-Santé, production, as ANS publishes them (ACR-EL.cer, ACI-EL-ORG.cer).
INSi's qualification servers show a certificate of the production authority too: second hand, see docs/sources.md. The
authorities of IGC-Santé TEST are named "TEST AC …".
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.insi.quoting import quoted
from agent.model import Environment

# SHA-256 of the certificate's DER, in capital hexadecimal → the name under which ANS publishes it.
KNOWN: Mapping[str, str] = {
    "2D9E22CA19F777C6B745257C723ECB8DF3C35FA6F1F6EC36B83600C97346967F": "ACR-EL",
    "D834EE5B40686B73573F60547BF6052C6D404D942A5665CDB2C0B9137B5D27B2": "ACI-EL-ORG",
}


@dataclass(frozen=True)
class Anchor:
    """What counts of one certificate."""

    subject: str  # common name; without one, the whole name
    issuer: str
    not_before: datetime
    not_after: datetime
    fingerprint: str  # as in KNOWN
    is_ca: bool
    pem: bytes = field(repr=False)

    @property
    def known_as(self) -> str | None:
        return KNOWN.get(self.fingerprint)

    @property
    def is_test(self) -> bool:
        return any(name.upper().startswith("TEST ") for name in (self.subject, self.issuer))


def read_anchors(content: bytes) -> list[Anchor]:
    """The certificates of a PEM or DER file, at least one. Raises ValueError."""
    try:
        if b"-----BEGIN" in content:
            certificates = x509.load_pem_x509_certificates(content)
        else:
            certificates = [x509.load_der_x509_certificate(content)]
        return [_anchor(certificate) for certificate in certificates]
    except _UNREADABLE as error:
        raise ValueError(type(error).__name__) from None


_UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def objection(anchor: Anchor, *, environment: Environment, typed: Collection[str], now: datetime) -> str | None:
    """Why this must not be trusted for this environment, for a person; None: it may.

    `typed`: fingerprints that the administrator read elsewhere and gave.
    """
    if not anchor.is_ca:
        return "ce n'est pas le certificat d'une autorité"
    if now < anchor.not_before:
        return f"cette autorité n'est pas encore valable, elle le sera le {anchor.not_before:%Y-%m-%d}"
    if now > anchor.not_after:
        return f"cette autorité a expiré le {anchor.not_after:%Y-%m-%d}"
    if environment is Environment.PRODUCTION and anchor.is_test:
        return "cette autorité de test n'a pas sa place en production"
    if anchor.known_as is None and anchor.fingerprint not in typed:
        return "cette autorité n'est pas de celles que l'agent connaît"
    return None


def unissued(anchors: Sequence[Anchor]) -> list[Anchor]:
    """Those of a list that neither signed themselves nor were issued by another of it: nothing below them is believed.

    By their names alone: the list is the administrator's.
    """
    certificates = [x509.load_pem_x509_certificate(anchor.pem) for anchor in anchors]
    issuers = {one.subject for one in certificates}
    return [anchor for anchor, one in zip(anchors, certificates, strict=True) if one.issuer not in issuers]


def missing_issuer(anchor: Anchor) -> str:
    """What is said, to a person, of one of `unissued`."""
    return f"il manque l'autorité qui l'a émise : {anchor.issuer}"


def fingerprint(text: str) -> str:
    """A whole SHA-256 as people copy it, with blanks or colons or without. Raises ValueError."""
    digits = "".join(text.replace(":", " ").split()).upper()
    if len(digits) != 64 or set(digits) - set("0123456789ABCDEF"):
        raise ValueError("not 64 hexadecimal digits")
    return digits


def _anchor(certificate: x509.Certificate) -> Anchor:
    return Anchor(
        _name(certificate.subject),
        _name(certificate.issuer),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.fingerprint(SHA256()).hex().upper(),
        _is_ca(certificate),
        certificate.public_bytes(Encoding.PEM),
    )


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return quoted(str(common[0].value) if common else name.rfc4514_string())


def _is_ca(certificate: x509.Certificate) -> bool:
    """RFC 5280 section 4.2.1.9: cA is true; section 4.2.1.3: a key that may sign certificates, if its use is said."""
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid
