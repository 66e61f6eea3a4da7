"""The local certificate for wss: an authority that can only speak of this machine, its one certificate, their file. ★

wss is for browsers that refuse ws from an https page (Safari). What the browser is asked to trust is an authority
whose key existed only while it signed one certificate, and which RFC 5280 §4.2.1.10 limits to localhost.

One file holds the pair, and is replaced in one step: whoever is killed leaves the old pair or the new one. The key
in it is encrypted under a passphrase that only the keyring has (simulated: a private file).
"""

import contextlib
import secrets as random
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import AgentError, Code
from agent.places import private_folder, write_private
from agent.tls_key import load_key

if TYPE_CHECKING:
    from agent.secrets import Secrets

# 398 days is the most Apple takes of public authorities, and 397 what it advises (support.apple.com/102028); 825 of
# one that a user added (support.apple.com/103769). The shorter one, so that a change of mind there breaks nothing.
LIFETIME = timedelta(days=397)
LOCAL_NAMES: Sequence[x509.GeneralName] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)
PATIENCE_S = 2  # for a handshake with ourselves

_PASSPHRASE = "wss-passphrase"  # noqa: S105  (a name, not the secret)
_CONSTRAINTS = x509.NameConstraints(
    permitted_subtrees=[
        x509.DNSName("localhost"),
        x509.IPAddress(ip_network("127.0.0.1/32")),
        x509.IPAddress(ip_network("::1/128")),
    ],
    excluded_subtrees=None,
)
_FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass(frozen=True)
class Issued:
    """A certificate and its key. `repr` shows neither."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return "Issued"


@dataclass(frozen=True)
class Authority:
    """What a trust store is given. It has no key any more."""

    name: str  # as trust stores show it; no other pair's has it
    pem: bytes
    sha256: str
    sha1: str  # how Windows and macOS find a certificate again, nothing rests on it


@dataclass(frozen=True)
class LocalPair:
    """The certificate that is served and its authority, without a key."""

    pem: bytes
    not_before: datetime
    not_after: datetime
    authority: Authority


def make_authority(now: datetime) -> Issued:
    """A self-signed authority for localhost and its addresses alone, for servers alone, with none below it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"INSi Agent localhost {random.token_hex(4)}")])
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _unsigned(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CONSTRAINTS, critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(_FOR_SERVERS, critical=False)  # Windows trusts an added root for every purpose otherwise
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key)


def issue(authority: Issued, now: datetime, names: Iterable[x509.GeneralName] = LOCAL_NAMES) -> Issued:
    """A server's certificate for these names, valid as long as the authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "INSi Agent")])
    issuer = authority.certificate
    certificate = (
        _unsigned(subject, issuer.subject, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(_FOR_SERVERS, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


class LocalTls:
    """The pair of one user. Everything here blocks: a keyring may ask the person."""

    def __init__(self, folder: Path, secrets: "Secrets") -> None:
        """`folder`: where an installation keeps its data."""
        self._folder, self._secrets = folder, secrets
        self._file = folder / "wss.pem"
        self._told_file = folder / "wss-told.pem"  # every authority that trust stores were told of, the newest first
        self.authority_file = folder / "wss-ca.pem"  # what trust stores are given

    def pair(self, now: datetime) -> LocalPair:
        """The certificates of the pair. Raises wss.certificate for none, an expired or an unreadable one."""
        return _valid(self._content(), now)

    def load(self, now: datetime) -> tuple[LocalPair, ssl.SSLContext]:
        """The pair, and a context of TLS 1.2 or later that serves it. Raises wss.certificate, keyring.absent."""
        content = self._content()
        found = _valid(content, now)
        passphrase = self._secrets.get(_PASSPHRASE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            key = serialization.load_pem_private_key(content, passphrase)
            # Without its authority: where that was deleted and its trust was not, a browser would take it from us.
            # Debian 12's certutil leaves so what a policy of Firefox ESR 153.7 installed.
            load_key(context, found.pem, key, self._folder)
        except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as error:  # ssl.SSLError is an OSError
            raise AgentError(Code.WSS_CERTIFICATE, f"key: {type(error).__name__}") from None
        return found, context

    def known(self) -> list[Authority]:
        """What a trust store may still hold: authorities since the last `forget`, valid or not, the newest first."""
        known: list[Authority] = []
        with contextlib.suppress(AgentError):
            known += [read_pair(self._content()).authority]
        with contextlib.suppress(OSError, AgentError):
            known += read_authorities(self._told_file.read_bytes())
        return list(dict.fromkeys(known))

    def renew(self, now: datetime) -> LocalPair:
        """A new pair in the place of any other. Raises keyring.absent, config.invalid; then the old one stays."""
        private_folder(self._folder)
        passphrase = self._secrets.get(_PASSPHRASE)
        if not passphrase:
            passphrase = random.token_hex(32).encode()
            self._secrets.set(_PASSPHRASE, passphrase)
        content = _new_pair(now, passphrase)
        write_private(self._file, content)
        pair = read_pair(content)
        self.publish(pair.authority)
        return pair

    def publish(self, authority: Authority) -> None:
        """Write the pair's authority where trust stores are told to find it, and note it. Raises config.invalid."""
        write_private(self._told_file, b"".join(one.pem for one in self.known()))
        write_private(self.authority_file, authority.pem)

    def forget(self) -> None:
        """Remove the pair and its secret; what `known` says last, so that who fails here can begin again.

        Raises keyring.absent: then the key is gone, its passphrase is not, and `known` says the same as before.
        """
        self._file.unlink(missing_ok=True)
        self._secrets.forget(_PASSPHRASE)
        self.authority_file.unlink(missing_ok=True)
        self._told_file.unlink(missing_ok=True)

    def _content(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError as error:
            raise AgentError(Code.WSS_CERTIFICATE, f"errno {error.errno}") from None


def read_pair(content: bytes) -> LocalPair:
    """The certificates in a pair's file. Raises wss.certificate."""
    with _readable():
        leaf, authority = x509.load_pem_x509_certificates(content)
        pem = leaf.public_bytes(serialization.Encoding.PEM)
        return LocalPair(pem, leaf.not_valid_before_utc, leaf.not_valid_after_utc, _authority(authority))


def read_authorities(content: bytes) -> list[Authority]:
    """The authorities in a file of them. Raises wss.certificate."""
    with _readable():
        return [_authority(one) for one in x509.load_pem_x509_certificates(content)]


def served_on(pair: LocalPair, ports: Iterable[int]) -> int | None:
    """The first of these ports where somebody serves this very pair now."""
    context = ssl.create_default_context(cadata=pair.authority.pem.decode())
    for port in ports:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                if secure.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(pair.pem.decode()):
                    return port
        except OSError:  # nobody there, or somebody else
            continue
    return None


def _valid(content: bytes, now: datetime) -> LocalPair:
    found = read_pair(content)
    if not found.not_before <= now < found.not_after:
        raise AgentError(Code.WSS_CERTIFICATE, f"valid until {found.not_after:%Y-%m-%d}")
    return found


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, x509.InvalidVersion) as error:
        raise AgentError(Code.WSS_CERTIFICATE, f"unreadable: {type(error).__name__}") from None


def _authority(certificate: x509.Certificate) -> Authority:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Authority(
        name=str(name.value),
        pem=certificate.public_bytes(serialization.Encoding.PEM),
        sha256=certificate.fingerprint(hashes.SHA256()).hex().upper(),
        sha1=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303  (a name, see Authority)
    )


def _new_pair(now: datetime, passphrase: bytes) -> bytes:
    """The file of a new pair. The authority's key ends with this function: OpenSSL wipes what it frees."""
    authority = make_authority(now)
    leaf = issue(authority, now)
    key = leaf.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    both = (leaf.certificate, authority.certificate)
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in both) + key


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    start = now - timedelta(hours=1)  # a clock that is set right meanwhile
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
