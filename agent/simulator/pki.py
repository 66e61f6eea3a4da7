"""The keys and certificates of the simulator: two throw-away authorities, a card, two organisations, a server. ★

Everything has the shape of IGC-Santé TEST (a root, the authority that issues, the leaf; CPS gabarits seen in public
samples: subject, key usages, private extensions 1.2.250.1.71) and visibly invented names. Made once in the
simulator's state folder (0700, files 0600), reused, and made anew 30 days before the first certificate expires.
The tests use the same functions to issue the certificates that nobody should accept.
"""

import ipaddress
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from agent.signing.fake_token import SimulatedCard, SimulatedKey, card_file, save_card

RENEW_BEFORE = timedelta(days=30)
LIFETIME = timedelta(days=3 * 365)
ORGANISATIONS = "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"  # common names as in the IGC-Santé TEST
PERSONS = "TEST AC IGC-SANTE FORT PERSONNES"
CARD_AID = bytes.fromhex("E828BD080F8025000001FF0010")  # CKA_ID of a CPS3 = this + 01 (signature), 02 (authentication)


class Role(StrEnum):
    """The two key pairs of a CPx."""

    SIGNATURE = "signature"
    AUTHENTICATION = "authentication"


@dataclass(frozen=True)
class Practice:
    """One place where the holder works: a CPS_ACTIVITY object."""

    label: str
    structure_id: str
    sector: str


@dataclass(frozen=True)
class Person:
    """An invented card holder. `family` None makes a non-nominative card (CPE)."""

    family: str | None = "EXEMPLE"
    given: str = "CAMILLE"
    title: str = "Médecin"
    national_id: str = "899900000017"
    profession: int = 10  # table G15: doctor
    speciality: str | None = "SM26"  # table R01: general medicine
    card_serial: str = "2600000017"
    practices: Sequence[Practice | None] = (  # None leaves a gap in the numbering
        Practice("CABINET FICTIF DU PORT", "499900000017001", "SA07"),
        Practice("CENTRE DE SANTE FICTIF", "1990000017", "SA05"),
    )


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    issuers: tuple["Issued", ...] = field(default=(), repr=False)  # its CA first, the root last

    @property
    def chain_pem(self) -> bytes:
        """The certificate, then its CAs without the root, as a server sends them."""
        return self.pem + b"".join(ca.pem for ca in self.issuers if ca.issuers)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True)
class SimulatorPki:
    """What the simulator's card, organisations and server are made of."""

    ca_pem: bytes  # of everything here: to be trusted, and to judge cards and organisations by
    organisations: Issued  # the CA of the server and of the organisations
    server_certificate_pem: bytes  # and its CA after it
    server_key_pem: bytes = field(repr=False)
    signature_certificate_der: bytes = field(repr=False)
    signature_key: rsa.RSAPrivateKey = field(repr=False)
    authentication_certificate_der: bytes = field(repr=False)
    authentication_key: rsa.RSAPrivateKey = field(repr=False)
    organisation_p12: Path  # INSI-MANU; the others are beside it, see CLIENTS
    organisation_passphrase: bytes = field(repr=False)  # of every .p12 here


@dataclass(frozen=True)
class Client:
    """An organisation's certificate in the simulator's folder."""

    file: str
    common_name: str
    structure_id: str  # 1, then a FINESS number


CLIENTS = (
    Client("organisation.p12", "INSI-MANU", "10B0999999"),
    Client("organisation-auto.p12", "INSI-AUTO", "10B0999999"),
    Client("organisation-2.p12", "INSI-MANU", "1990000025"),
    Client("organisation-autre-usage.p12", "DMP-AIR", "10B0999999"),  # refused: desir_560
)
CARD_P12 = {"signature": "carte-signature.p12", "authentication": "carte-authentification.p12"}  # for other clients
ANCHORS = "autorites.pem"


def open_pki(folder: Path, *, now: datetime | None = None) -> SimulatorPki:
    """The PKI of this state folder, made or renewed when needed, in `folder/pki`."""
    now = now or datetime.now(UTC)
    home = card_file(folder).parent
    pki = _read(home, now)
    if pki is None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f"pki-{secrets.token_hex(4)}"
        _write(fresh, now)
        _swap_in(fresh, home, now)
        pki = _read(home, now)
        assert pki is not None, "a PKI just made can be read"
    return pki


def make_ca(
    name: str = "SIMULATEUR AC IGC-SANTE FORT PERSONNES", *, path_length: int = 0, now: datetime | None = None
) -> Issued:
    """A throw-away CA that nobody stands above. `path_length` 1: a root, that issues CAs."""
    return _ca(name, None, path_length, now, None)


def issue_ca(root: Issued, name: str, *, crl: str | None = None, now: datetime | None = None) -> Issued:
    """A CA under a root. `crl`: where the root's revocation list is."""
    return _ca(name, root, 0, now, crl)


def make_crl(ca: Issued, revoked: Sequence[Issued] = (), *, at: datetime | None = None) -> bytes:
    """The revocation list of this CA, DER, for seven days."""
    at = at or datetime.now(UTC) - timedelta(minutes=1)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(at)
        .next_update(at + timedelta(days=7))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(at)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def issue_card_certificate(
    ca: Issued,
    person: Person,
    role: Role = Role.SIGNATURE,
    *,
    key: rsa.RSAPrivateKey | None = None,
    kind: int | None = 0,
    mark: int | None = 0x80,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Issued:
    """A CPx certificate.

    `kind`: 0 CPS, 1 CPF, 2 CDE/CPE, 3 CDA/CPA. `mark`: 0x80 a test card, 0x00 a production card. None
    leaves the extension out.
    """
    if person.family is None:
        holder = [
            [(NameOID.ORGANIZATION_NAME, next((p.label for p in person.practices if p), "STRUCTURE FICTIVE"))],
            [(NameOID.COMMON_NAME, person.national_id)],
        ]
    else:
        holder = [
            [(NameOID.TITLE, person.title)],
            [
                (NameOID.COMMON_NAME, person.national_id),
                (NameOID.SURNAME, person.family),
                (NameOID.GIVEN_NAME, person.given),
            ],
        ]
    signature = role is Role.SIGNATURE
    usages = (
        [ExtendedKeyUsageOID.EMAIL_PROTECTION]
        if signature
        else [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SMARTCARD_LOGON]
    )
    extensions = [("1.2.250.1.71.1.2.3", _der(0x13, b"8025000001/" + person.card_serial.encode()))]
    if kind is not None:
        extensions.append(("1.2.250.1.71.1.2.2", _der(0x02, bytes([kind]))))
    if mark is not None:
        extensions.append(("1.2.250.1.71.1.2.5", _der(0x04, bytes([mark]))))
    if person.family is not None:
        extensions.append(("1.2.250.1.71.1.2.7", _der(0x02, bytes([person.profession]))))
    if person.speciality:
        extensions.append(("1.2.250.1.71.4.2.5", _der(0x30, _der(0x0C, person.speciality.encode()))))
    return _issue(
        ca,
        _name([(NameOID.COUNTRY_NAME, "FR")], *holder),
        _key_usage(content_commitment=signature, digital_signature=not signature),
        usages,
        extensions=extensions,
        key=key,
        not_before=not_before,
        not_after=not_after,
    )


def issue_organisation(
    ca: Issued,
    *,
    common_name: str = "INSI-MANU",
    structure_id: str | None = "10B0999999",
    mark: int | None = 0x83,
    key: rsa.RSAPrivateKey | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Issued:
    """An organisation's software certificate, ORG AUTH_CLI. `mark`: 0x83 test, 0x03 production.

    None leaves the mark, or the structure, out.
    """
    subject = _name(
        [(NameOID.COUNTRY_NAME, "FR")],
        [(NameOID.STATE_OR_PROVINCE_NAME, "Rhône (69)")],
        [(NameOID.ORGANIZATION_NAME, "STRUCTURE FICTIVE DU SIMULATEUR")],
        *([[(NameOID.ORGANIZATIONAL_UNIT_NAME, structure_id)]] if structure_id else []),
        [(NameOID.COMMON_NAME, common_name)],
    )
    return _issue(
        ca,
        subject,
        _key_usage(digital_signature=True),
        [ExtendedKeyUsageOID.CLIENT_AUTH],
        extensions=[] if mark is None else [("1.2.250.1.71.1.2.5", _der(0x04, bytes([mark])))],
        key=key,
        not_before=not_before,
        not_after=not_after,
    )


def issue_server(
    ca: Issued,
    *,
    names: Sequence[str] = ("localhost",),
    addresses: Sequence[str] = ("127.0.0.1", "::1"),
    common_name: str = "INSi SIMULATEUR",
    crl: str | None = None,
    key: rsa.RSAPrivateKey | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Issued:
    """A TLS server certificate for these names and addresses; without any, it names its server in its CN alone."""
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    return _issue(
        ca,
        _name([(NameOID.COUNTRY_NAME, "FR")], [(NameOID.COMMON_NAME, common_name)]),
        _key_usage(digital_signature=True, key_encipherment=True),
        [ExtendedKeyUsageOID.SERVER_AUTH],
        alternatives=alternatives,
        crl=crl,
        key=key,
        not_before=not_before,
        not_after=not_after,
    )


def p12(issued: Issued, passphrase: bytes, *, chain: Sequence[Issued] = ()) -> bytes:
    """A PKCS#12 file as ANS delivers them."""
    return pkcs12.serialize_key_and_certificates(
        b"INSI",
        issued.key,
        issued.certificate,
        [link.certificate for link in chain] or None,
        serialization.BestAvailableEncryption(passphrase),
    )


def simulated_card(pki: SimulatorPki, person: Person | None = None) -> SimulatedCard:
    """The simulator's CPS: both key pairs, and the data objects that a real card holds."""
    return _card(
        {Role.SIGNATURE: pki.signature_key, Role.AUTHENTICATION: pki.authentication_key},
        {Role.SIGNATURE: pki.signature_certificate_der, Role.AUTHENTICATION: pki.authentication_certificate_der},
        person or Person(),
    )


def issue_card(
    ca: Issued, person: Person, *, kind: int = 0, mark: int = 0x80, until: datetime | None = None
) -> SimulatedCard:
    """A whole card of another holder, for tests and demonstrations."""
    pairs = {role: issue_card_certificate(ca, person, role, kind=kind, mark=mark, not_after=until) for role in Role}
    return _card(
        {role: pair.key for role, pair in pairs.items()}, {role: pair.der for role, pair in pairs.items()}, person
    )


def free_objects(person: Person) -> dict[str, bytes]:
    """Data objects readable without the code. Known: CPS_INFO_PS ends with the speciality [guess: the rest]."""
    return {
        "CPS_INFO_PS": _der(
            0xE3,
            _der(0x80, person.national_id.encode())
            + _der(0x81, str(person.profession).encode())
            + _der(0x82, (person.speciality or "    ").encode()),
        )
    }


def protected_objects(person: Person) -> dict[str, bytes]:
    """The CPS_ACTIVITY_nn_PS objects: EE { 84 name, 85 structure, 86 sector }."""
    return {
        f"CPS_ACTIVITY_{number:02d}_PS": _der(
            0xEE,
            _der(0x84, practice.label.encode("latin-1"))
            + _der(0x85, practice.structure_id.encode())
            + _der(0x86, practice.sector.encode()),
        )
        for number, practice in enumerate(person.practices, 1)
        if practice
    }


LABELS = {
    Role.SIGNATURE: "Certificat de Signature CPS",
    Role.AUTHENTICATION: "Certificat d'Authentification CPS",
}
ID_TAIL = {Role.SIGNATURE: b"\x01", Role.AUTHENTICATION: b"\x02"}


def _card(keys: dict[Role, rsa.RSAPrivateKey], certificates: dict[Role, bytes], person: Person) -> SimulatedCard:
    return SimulatedCard(
        label=f"CPS3v3-{person.card_serial}",
        serial=f"99{person.card_serial[-6:]}",
        keys=tuple(
            SimulatedKey(
                label=LABELS[role], cka_id=CARD_AID + ID_TAIL[role], certificate_der=certificates[role], key=keys[role]
            )
            for role in Role
        ),
        free=free_objects(person),
        protected=protected_objects(person),
    )


def _read(home: Path, now: datetime) -> SimulatorPki | None:
    """What is there, if it is whole and good for another while."""
    try:
        organisations, server = _read_ca(home, "organisations"), _read_pair(home / "server.pem")
        signature, authentication = (_read_pair(home / f"{role}.pem") for role in Role)
        passphrase = (home / "organisation.passphrase").read_bytes()
        # the first for all: to open one takes longer than everything else here
        _, organisation, _ = pkcs12.load_key_and_certificates((home / CLIENTS[0].file).read_bytes(), passphrase)
        ca_pem = (home / ANCHORS).read_bytes()
    except (OSError, ValueError):
        return None
    leaves = [server.certificate, signature.certificate, authentication.certificate, organisation]
    if any(leaf is None or leaf.not_valid_after_utc - RENEW_BEFORE < now for leaf in leaves):
        return None
    if not all((home / file).is_file() for file in (*(client.file for client in CLIENTS), *CARD_P12.values())):
        return None
    return SimulatorPki(
        ca_pem=ca_pem,
        organisations=organisations,
        server_certificate_pem=server.pem + organisations.pem,
        server_key_pem=server.key_pem,
        signature_certificate_der=signature.der,
        signature_key=signature.key,
        authentication_certificate_der=authentication.der,
        authentication_key=authentication.key,
        organisation_p12=home / CLIENTS[0].file,
        organisation_passphrase=passphrase,
    )


def _read_ca(home: Path, name: str) -> Issued:
    ca, root = _read_pair(home / f"{name}.pem"), _read_pair(home / f"{name}-root.pem")
    return Issued(ca.certificate, ca.key, (root,))


def _read_pair(file: Path) -> Issued:
    text = file.read_bytes()
    # our own file: to prove again that the primes are primes would cost every start a tenth of a second for each
    key = serialization.load_pem_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{file.name} holds no RSA key")  # noqa: TRY004  (the file's content is wrong, not the caller's type)
    return Issued(x509.load_pem_x509_certificate(text), key)


def _write(home: Path, now: datetime) -> None:
    person, start = Person(), now - timedelta(days=1)
    roots = [make_ca(f"TEST AC RACINE IGC-SANTE {name}", path_length=1, now=now) for name in ("ELEMENTAIRE", "FORT")]
    organisations, persons = (
        issue_ca(root, name, now=now) for root, name in zip(roots, (ORGANISATIONS, PERSONS), strict=True)
    )
    pairs = {
        "organisations": organisations,
        "organisations-root": roots[0],
        "server": issue_server(organisations, not_before=start),
        **{role.value: issue_card_certificate(persons, person, role, not_before=start) for role in Role},
    }
    home.mkdir(mode=0o700)
    for name, pair in pairs.items():
        _write_private(home / f"{name}.pem", pair.key_pem + pair.pem)
    _write_private(home / ANCHORS, b"".join(ca.pem for ca in (organisations, roots[0], persons, roots[1])))
    passphrase = secrets.token_hex(16).encode()
    _write_private(home / "organisation.passphrase", passphrase)
    key = _new_key()  # one will do for them all: nothing is proven by it
    for client in CLIENTS:
        issued = issue_organisation(
            organisations,
            common_name=client.common_name,
            structure_id=client.structure_id,
            key=key,
            not_before=start,
        )
        _write_private(home / client.file, p12(issued, passphrase, chain=issued.issuers))
    for role, file in CARD_P12.items():
        _write_private(home / file, p12(pairs[role], passphrase, chain=pairs[role].issuers))
    pki = _read(home, now)
    assert pki is not None, "a PKI just made can be read"
    save_card(simulated_card(pki, person), home / card_file(home).name)


def _swap_in(fresh: Path, home: Path, now: datetime) -> None:
    """Put a new PKI in place whole; where another process was quicker, its own stays."""
    old = fresh.with_suffix(".old")
    if home.exists() and _read(home, now) is None:
        home.replace(old)
    try:
        fresh.rename(home)
    except OSError:
        shutil.rmtree(fresh)
    shutil.rmtree(old, ignore_errors=True)


def _write_private(file: Path, data: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)


def _issue(
    ca: Issued,
    subject: x509.Name,
    usage: x509.KeyUsage,
    purposes: list[ObjectIdentifier],
    *,
    extensions: Sequence[tuple[str, bytes]] = (),
    alternatives: Sequence[x509.GeneralName] = (),
    crl: str | None = None,
    key: rsa.RSAPrivateKey | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Issued:
    key = key or _new_key()
    if not_before is None:
        not_before = (not_after - LIFETIME) if not_after else datetime.now(UTC) - timedelta(days=1)
    builder = (
        _unsigned(subject, ca.certificate.subject, key, not_before, not_after or not_before + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(oid), value), critical=False)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    if crl:
        builder = builder.add_extension(_distribution_point(crl), critical=False)
    return Issued(builder.sign(ca.key, hashes.SHA256()), key, (ca, *ca.issuers))


def _ca(name: str, above: Issued | None, path_length: int, now: datetime | None, crl: str | None) -> Issued:
    start = (now or datetime.now(UTC)) - timedelta(days=1)
    key = _new_key()
    subject = _name(
        [(NameOID.COUNTRY_NAME, "FR")],
        [(NameOID.ORGANIZATION_NAME, "SIMULATEUR-INSI-AGENT")],
        [(NameOID.ORGANIZATIONAL_UNIT_NAME, "0002 000000000")],
        [(NameOID.ORGANIZATIONAL_UNIT_NAME, "IGC-SANTE SIMULATEUR")],
        [(NameOID.COMMON_NAME, name)],
    )
    builder = (
        _unsigned(subject, above.certificate.subject if above else subject, key, start, start + 2 * LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    if above:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if crl:
        builder = builder.add_extension(_distribution_point(crl), critical=False)
    signer = above.key if above else key
    return Issued(builder.sign(signer, hashes.SHA256()), key, (above, *above.issuers) if above else ())


def _distribution_point(url: str) -> x509.CRLDistributionPoints:
    full_name = [x509.UniformResourceIdentifier(url)]
    return x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(*rdns: list[tuple[ObjectIdentifier, str]]) -> x509.Name:
    return x509.Name(
        [x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in rdn]) for rdn in rdns]
    )


def _key_usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: on.get(name, False) for name in names.split()})


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _der(tag: int, value: bytes) -> bytes:
    """One DER element shorter than 256 bytes."""
    length = bytes([len(value)]) if len(value) < 0x80 else bytes([0x81, len(value)])
    return bytes([tag]) + length + value
