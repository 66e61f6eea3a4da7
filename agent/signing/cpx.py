"""What a CPx is: its signature certificate, its holder, its activities. No I/O of its own.

Sources: public IGC-Santé sample certificates; private extensions 1.2.250.1.71 as the GIE's TLSi kit
reads them (second hand); object labels from the Cryptolib CPS external specification v2.0.0 (second
hand); activity tags EE/84/85/86 from public clients that parsed real test cards. CPS_SIT_FACT is left
alone: its layout is not public. CKA_IDs end with 01 and 02 on a CPS3, 10 and 20 on a CPS4: never rely on them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from agent.errors import AgentError, Code
from agent.model import (
    Activity,
    CertificateDates,
    CpxKind,
    CpxStatus,
    Environment,
    PinLife,
    Professional,
    rfc3339,
)
from agent.signing.ports import CertificateObject, ModuleFacts, TokenSeen

if TYPE_CHECKING:
    from cryptography import x509

Mark = Literal["test", "production", "unknown"]

SIGNATURE_LABEL = "Certificat de Signature CPS"
_CONTACTLESS_LABEL = "Certificat Technique CPS"

# ATRs of the published Cryptolib's card table (card-cps4.c, card-cps.h), historical bytes
_CPS4 = ("001225006480040100", "00122500648000040100")
_CPS2TER = "001225006480820212"
_CRYPTOLIB, _CPS4_SINCE = "Cryptolib CPS", 3  # its cps3pkcs11ver.h: library 3.00 (package 5.2) brought the CPS4
_WITHOUT_CPS4 = "OpenSC"  # no driver for it, up to its present sources

# card type, extension 1.2.250.1.71.1.2.2 -> our kind, NameQualifier of the assertion.
# Only CPS was seen in a signed message; the others come from the GIE's sample code [guess].
_KINDS: dict[int | None, tuple[CpxKind, str]] = {
    0: (CpxKind.CPS, "CPS"),
    1: (CpxKind.CPF, "CPF"),
    2: (CpxKind.CPE, "CDE-CPE"),
    3: (CpxKind.CPA, "CPA"),
}
_UNKNOWN_KIND = (CpxKind.UNKNOWN, "CPX")

# first octet of extension 1.2.250.1.71.1.2.5: cards 80/00, software certificates 83/03
_MARKS: dict[int, Mark] = {0x80: "test", 0x83: "test", 0x00: "production", 0x03: "production"}

_COMMON_NAME, _SURNAME, _TITLE, _GIVEN_NAME = "2.5.4.3", "2.5.4.4", "2.5.4.12", "2.5.4.42"
_CARD_TYPE, _CARD_SERIAL = "1.2.250.1.71.1.2.2", "1.2.250.1.71.1.2.3"
_MARK, _PROFESSION = "1.2.250.1.71.1.2.5", "1.2.250.1.71.1.2.7"
_SPECIALITY = "1.2.250.1.71.4.2.5"

# Microsoft's names of the attributes in a distinguished name, as its documentation of CertStrToName lists them
_DOTNET_KEYS = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "S",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "1.2.840.113549.1.9.1": "E",
    "0.9.2342.19200300.100.1.25": "DC",
}
_DOTNET_SPECIAL, _DOTNET_BLANKS = ',+="\n<>#;', " \t\n\v\f\r"

_FORMER_ISSUER = re.compile(r"\bCLASSE-[0-9]")  # "TEST CLASSE-1"; the IGC-Santé has "AC IGC-SANTE FORT PERSONNES"
_SHORT_CODE = re.compile(r"[A-Z]{1,2}[0-9A-Z]{2,3}")  # tables R01 (SM26) and R02 (SA07): four characters
_XML_TEXT = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


@dataclass(frozen=True, repr=False)
class CardFacts:
    """What the signature certificate says. Does not print."""

    kind: CpxKind
    name_qualifier: str
    nominative: bool
    environment: Mark
    professional: Professional
    issuer_text: str  # the holder's distinguished name, as the assertion's Issuer writes it
    card_serial: str | None  # "8025000001/" and the number printed on the card
    not_before: datetime
    not_after: datetime
    former_issuer: bool = False  # made by the IGC-CPS, before the IGC-Santé


def signature_certificate(token: TokenSeen) -> CertificateObject:
    """The certificate of the signature key: by its label, else by KeyUsage nonRepudiation alone.

    The authentication key is no substitute: the service refuses it. Raises cpx.contactless for a CPx that was
    only held against the reader, cpx.noSignature.
    """
    for found in token.certificates:
        if found.label == SIGNATURE_LABEL:
            return found
    for found in token.certificates:
        if _signs_only(found.der):
            return found
    if any(found.label == _CONTACTLESS_LABEL for found in token.certificates):
        raise AgentError(Code.CPX_CONTACTLESS)
    raise AgentError(Code.CPX_NO_SIGNATURE, f"{len(token.certificates)} certificates, none for signature")


def holder_text(certificate: "x509.Certificate") -> str:
    """The subject by RFC 4514 with SURNAME -> SN and TITLE -> T; the given name stays a dotted OID.

    Exactly the Issuer of the one public assertion signed by a real test card.
    """
    from cryptography.x509 import ObjectIdentifier

    return certificate.subject.rfc4514_string({ObjectIdentifier(_SURNAME): "SN", ObjectIdentifier(_TITLE): "T"})


def rfc4514_text(certificate: "x509.Certificate") -> str:
    """The subject by RFC 4514 alone: what its table does not name is a dotted OID."""
    return certificate.subject.rfc4514_string()


def dotnet_text(certificate: "x509.Certificate") -> str:
    """The subject as X509Certificate2.Subject of .NET gives it on Windows, which the GIE's sample kit sends.

    Keys of CertStrToName's documentation (Windows' own order within a joint name is its encoded one [guess]);
    quotes where .NET's public source puts them. Never compared with a real Windows.
    """
    return ", ".join(" + ".join(map(_dotnet_attribute, rdn)) for rdn in reversed(certificate.subject.rdns))


def _dotnet_attribute(attribute: "x509.NameAttribute[Any]") -> str:
    key = _DOTNET_KEYS.get(attribute.oid.dotted_string, f"OID.{attribute.oid.dotted_string}")
    value = str(attribute.value)
    if not value or value.strip(_DOTNET_BLANKS) != value or set(value) & set(_DOTNET_SPECIAL):
        value = '"' + value.replace('"', '""') + '"'
    return f"{key}={value}"


ISSUER_FORMATS: Mapping[str, Callable[["x509.Certificate"], str]] = {
    "card": holder_text,
    "rfc4514": rfc4514_text,
    "dotnet": dotnet_text,
}


def card_facts(
    certificate_der: bytes,
    data: Mapping[str, bytes] | None = None,
    *,
    issuer_format: str = "card",
) -> CardFacts:
    """Read the signature certificate; `data` are the token's objects, for a speciality that it lacks.

    `issuer_format`: one of ISSUER_FORMATS; whether INSi compares the Issuer byte for byte is not public.
    Attributes are found by OID, never by position. Raises cpx.noSignature if it is no certificate of a holder.
    """
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = _names(certificate)
        extensions = _private_extensions(certificate)
        issuer_text = ISSUER_FORMATS[issuer_format](certificate)
        issued_by = certificate.issuer.rfc4514_string()
        dates = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except _unreadable() as error:
        raise AgentError(Code.CPX_NO_SIGNATURE, f"certificate: {type(error).__name__}") from None
    national_id, surname, given = (names.get(oid) for oid in (_COMMON_NAME, _SURNAME, _GIVEN_NAME))
    if not national_id or not _XML_TEXT.fullmatch(issuer_text + national_id):
        raise AgentError(Code.CPX_NO_SIGNATURE, "certificate: no usable common name")
    kind, name_qualifier = _KINDS.get(_integer(extensions.get(_CARD_TYPE)), _UNKNOWN_KIND)
    profession = _integer(extensions.get(_PROFESSION))
    return CardFacts(
        kind=kind,
        name_qualifier=name_qualifier,
        # A non-nominative CPE has neither name (PDT-INF-617, second hand). A CN like 3760021832/000000018 alone
        # says nothing: table G08 numbers the named staff of an establishment in the same way.
        nominative=bool(surname and given),
        environment=mark_of(certificate),
        professional=Professional(
            name=" ".join(filter(None, (given, surname))) or national_id,
            national_id=national_id,
            profession=None if profession is None else str(profession),
            speciality=_texts(extensions.get(_SPECIALITY)) or speciality_of(data or {}),
        ),
        issuer_text=issuer_text,
        card_serial=_texts(extensions.get(_CARD_SERIAL)),
        not_before=dates[0],
        not_after=dates[1],
        former_issuer=bool(_FORMER_ISSUER.search(issued_by)),
    )


def mark_of(certificate: "x509.Certificate") -> Mark:
    """Whether a card or software certificate was made for test or production."""
    try:
        value = _private_extensions(certificate).get(_MARK, b"")
    except _unreadable():
        value = b""
    octets = next((content for tag, content in _tlvs(value) if tag == 0x04), b"")
    return _MARKS.get(octets[0], "unknown") if octets else "unknown"


def check_known(module: ModuleFacts, atr: str) -> None:
    """Why this module shows no token for the CPx with this ATR, where one knows; the module only says "no card".

    Raises module.tooOld for a CPS4 before the Cryptolib CPS 5.2, cpx.noSignature for a CPS2ter.
    """
    too_old = module.name == _CRYPTOLIB and int(module.version.partition(".")[0]) < _CPS4_SINCE
    if any(mark in atr for mark in _CPS4) and (too_old or module.name == _WITHOUT_CPS4):
        raise AgentError(Code.MODULE_TOO_OLD, f"{module.name} {module.version} and a CPS4", path=module.path)
    if _CPS2TER in atr:
        raise AgentError(Code.CPX_NO_SIGNATURE, "a CPS2ter")


def check_usable(facts: CardFacts, *, environment: Environment, now: datetime) -> None:
    """Refuse, before any code is asked, a card that INSi would refuse.

    Raises cpx.notNominative, cpx.environment (fact card), cpx.expired (facts notAfter, and issuer for a card of
    the former IGC-CPS). An unknown mark passes.
    """
    if not facts.nominative:
        raise AgentError(Code.CPX_NOT_NOMINATIVE)
    if facts.environment != "unknown" and (facts.environment == "production") != (
        environment is Environment.PRODUCTION
    ):
        raise AgentError(Code.CPX_ENVIRONMENT, card=facts.environment)
    if now > facts.not_after:
        former = {"issuer": "IGC-CPS"} if facts.former_issuer else {}
        raise AgentError(Code.CPX_EXPIRED, notAfter=rfc3339(facts.not_after), **former)


def activities(data: Mapping[str, bytes]) -> list[Activity]:
    """The places where the holder works, from CPS_ACTIVITY_01_PS to _16_PS; numbers may have gaps.

    An object without our tags gives its last four characters as sector, as the GIE's kit does (second hand).
    """
    found = []
    for number in range(1, 17):
        content = data.get(f"CPS_ACTIVITY_{number:02d}_PS")
        if content is None:
            continue
        inside = dict(_tlvs(dict(_tlvs(content)).get(0xEE, b"")))
        sector = _text(inside.get(0x86, b"")) or _last_four(content)
        if sector:
            structure_id = _text(inside.get(0x85, b"")) or None
            label = _text(inside.get(0x84, b"")) or structure_id or f"{number:02d}"
            found.append(Activity(id=f"{number:02d}", label=label, structure_id=structure_id, sector=sector))
    return found


def speciality_of(data: Mapping[str, bytes]) -> str | None:
    """The last four characters of CPS_INFO_PS, if they look like a code of table R01."""
    return _last_four(data.get("CPS_INFO_PS", b""))


def status(token: TokenSeen | None, *, now: datetime, unlocked: bool) -> CpxStatus:
    """What a page may see. A card without a readable signature certificate is present, of unknown kind."""
    if token is None:
        return CpxStatus(present=False)
    pin = PinLife(state=token.pin_state)
    try:
        facts = card_facts(signature_certificate(token).der, token.data)
    except AgentError:
        return CpxStatus(present=True, kind=CpxKind.UNKNOWN, pin=pin, unlocked=unlocked)
    return CpxStatus(
        present=True,
        kind=facts.kind,
        nominative=facts.nominative,
        environment=facts.environment,
        holder=facts.professional,
        certificate=CertificateDates(not_after=facts.not_after, days_left=(facts.not_after - now).days),
        pin=pin,
        unlocked=unlocked,
        activities=activities(token.data) if unlocked else None,
    )


def _unreadable() -> tuple[type[Exception], ...]:
    """What cryptography raises on certificates that are not: its own classes do not share a base."""
    from cryptography import x509

    return ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType


def _signs_only(der: bytes) -> bool:
    from cryptography import x509

    unreadable: tuple[type[Exception], ...] = (*_unreadable(), x509.ExtensionNotFound)
    try:
        usage = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.KeyUsage).value
    except unreadable:
        return False
    return usage.content_commitment and not usage.digital_signature


def _names(certificate: "x509.Certificate") -> dict[str, str]:
    return {attribute.oid.dotted_string: str(attribute.value) for attribute in certificate.subject}


def _private_extensions(certificate: "x509.Certificate") -> dict[str, bytes]:
    from cryptography import x509

    return {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }


def _integer(der: bytes | None) -> int | None:
    return next((int.from_bytes(content, "big") for tag, content in _tlvs(der or b"") if tag == 0x02), None)


def _texts(der: bytes | None) -> str | None:
    """The first string: alone, or first of a SEQUENCE, however deep."""
    found = _tlvs(der or b"")
    while found and found[0][0] == 0x30:
        found = _tlvs(found[0][1])
    return _text(found[0][1]) or None if found else None


def _tlvs(data: bytes) -> list[tuple[int, bytes]]:
    """The BER objects of `data`, one-byte tags; stops quietly at padding or at what is cut short."""
    found, at = [], 0
    while at + 2 <= len(data) and data[at] not in (0x00, 0xFF):
        tag, size, start = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(data[start : start + count], "big"), start + count
        if start + size > len(data):
            break
        found.append((tag, data[start : start + size]))
        at = start + size
    return found


def _text(content: bytes) -> str:
    """Card text: UTF-8 where it is, else Latin-1; padding and what XML cannot carry are dropped."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()


def _last_four(content: bytes) -> str | None:
    code = content.rstrip(b"\0\xff ")[-4:].decode("latin-1")
    return code if len(code) == 4 and _SHORT_CODE.fullmatch(code) else None
