"""Whether a server's certificate was revoked, by the lists that its CA publishes. No I/O of its own.

Source: RFC 5280 §4.2.1.13 (where the list of a certificate is), §5 (lists) and §6.3 (how they are judged). Of a list
in several parts (delta, by reason, of another issuer) nothing is concluded: the state is unknown then.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

log = logging.getLogger(__name__)

LONGEST = timedelta(hours=24)  # a list counts no longer, whatever it says of itself
AGAIN = timedelta(minutes=5)  # after which a list that could not be had is asked for again
SKEW = timedelta(minutes=5)  # between our clock and the CA's

Fetch = Callable[[str], bytes | None]  # what is at an http address; None when it could not be had


class Status(StrEnum):
    """What the lists say of a chain."""

    GOOD = "good"  # of each certificate below the anchor there is a list, and it is on none
    REVOKED = "revoked"  # one of them is
    UNKNOWN = "unknown"  # of one of them there is no list that we can use


# What `cryptography` raises for content that is not what it should be.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_READ = (x509.AuthorityKeyIdentifier, x509.CRLNumber, x509.IssuingDistributionPoint)


class Revocation:
    """The lists seen so far, each for as long as it counts."""

    def __init__(self) -> None:
        self._lists: dict[tuple[str, bytes], tuple[x509.CertificateRevocationList | None, datetime]] = {}

    def status(self, chain: Sequence[bytes], fetch: Fetch, now: datetime) -> Status:
        """Of a verified chain in DER, from the server's certificate to the anchor; of the anchor itself nothing."""
        try:
            links = [x509.load_der_x509_certificate(link) for link in chain]
        except MALFORMED:
            return Status.UNKNOWN
        if not links:
            return Status.UNKNOWN
        found = {self._of(link, issuer, fetch, now) for link, issuer in pairwise(links)}
        return next((status for status in (Status.REVOKED, Status.UNKNOWN) if status in found), Status.GOOD)

    def _of(self, certificate: x509.Certificate, issuer: x509.Certificate, fetch: Fetch, now: datetime) -> Status:
        try:
            for address in _addresses(certificate):
                held = self._list(address, issuer, fetch, now)
                if held is not None and _covers(held, certificate, address):
                    entry = held.get_revoked_certificate_by_serial_number(certificate.serial_number)
                    return Status.GOOD if entry is None else Status.REVOKED
        except MALFORMED as error:
            log.warning("revocation: unreadable, %s", type(error).__name__)
        return Status.UNKNOWN

    def _list(
        self, address: str, issuer: x509.Certificate, fetch: Fetch, now: datetime
    ) -> x509.CertificateRevocationList | None:
        key = address, issuer.tbs_certificate_bytes
        held, until = self._lists.get(key, (None, now))
        if not until - LONGEST <= now < until:  # also when our clock was set back
            content = fetch(address)
            held = None if content is None else _usable(content, issuer, now)
            until = now + AGAIN
            if held is not None and held.next_update_utc is not None:
                until = min(held.next_update_utc, now + LONGEST)
            self._lists[key] = held, until
        return held


def _addresses(certificate: x509.Certificate) -> Iterator[str]:
    """Where the whole list for this certificate is, from its own issuer, over http."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        if point.reasons is None and point.crl_issuer is None:
            for name in point.full_name or ():
                if isinstance(name, x509.UniformResourceIdentifier) and name.value.lower().startswith("http://"):
                    yield name.value


def _usable(content: bytes, issuer: x509.Certificate, now: datetime) -> x509.CertificateRevocationList | None:
    """The list, if it is the issuer's, whole, and counts now."""
    pem = content.lstrip().startswith(b"-----BEGIN")
    try:
        found = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
        until = found.next_update_utc
        good = (
            found.issuer == issuer.subject
            and _may_sign_lists(issuer)
            and found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # TypeError for the kinds that cannot
            and until is not None
            and found.last_update_utc - SKEW <= now < until
            and all(isinstance(one.value, _READ) or not one.critical for one in found.extensions)
            and not any(isinstance(one.value, x509.DeltaCRLIndicator) for one in found.extensions)
        )
    except MALFORMED as error:
        log.warning("revocation list: unreadable, %s", type(error).__name__)
        return None
    if not good:
        log.warning("revocation list: of another issuer, out of date or not whole")
    return found if good else None


def _may_sign_lists(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _covers(held: x509.CertificateRevocationList, certificate: x509.Certificate, address: str) -> bool:
    """Whether this list is about certificates as this one (RFC 5280 §5.2.5)."""
    try:
        scope = held.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return True
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name:
        return False
    if scope.full_name and x509.UniformResourceIdentifier(address) not in scope.full_name:
        return False
    return not (scope.only_contains_user_certs if _is_ca(certificate) else scope.only_contains_ca_certs)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
