"""The organisation's certificate, opened and handed to TLS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import Environment
from agent.signing.organisation import OrganisationCertificate, open_p12
from agent.signing.structures import check_usable, doubts
from agent.simulator.pki import Issued, issue_ca, issue_organisation, p12

PASSPHRASE = b"ne pas deviner"


@pytest.fixture
def file(ca: Issued, tmp_path: Path) -> Path:
    return stored(tmp_path, issue_organisation(ca), ca)


def stored(folder: Path, issued: Issued, ca: Issued) -> Path:
    path = folder / "structure.p12"
    path.write_bytes(p12(issued, PASSPHRASE, chain=[ca]))
    return path


def opening(path: Path, passphrase: bytes = PASSPHRASE) -> Code | None:
    try:
        open_p12(path, passphrase)
    except AgentError as error:
        return error.code
    return None


def refusal(certificate: OrganisationCertificate, environment: Environment, now: datetime) -> Code | None:
    try:
        check_usable(certificate, environment=environment, now=now)
    except AgentError as error:
        return error.code
    return None


def test_it_says_who_it_is_for(ca: Issued, tmp_path: Path) -> None:
    issued = issue_organisation(ca)
    certificate = open_p12(stored(tmp_path, issued, ca), PASSPHRASE)

    assert (
        certificate.common_name,
        certificate.structure,
        certificate.organisation,
        certificate.environment,
    ) == ("INSI-MANU", "10B0999999", "STRUCTURE FICTIVE DU SIMULATEUR", "test")
    (issuer,) = ca.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert certificate.issuer == issuer.value
    assert certificate.fingerprint == issued.certificate.fingerprint(hashes.SHA256()).hex()


def test_a_missing_file_a_wrong_passphrase_and_another_file_are_told_apart(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.p12"
    other.write_bytes(b"not a certificate")

    assert opening(tmp_path / "none.p12") is Code.CERTIFICATE_MISSING
    assert opening(file, b"wrong") is Code.CERTIFICATE_UNREADABLE
    assert opening(other) is Code.CERTIFICATE_UNREADABLE


def test_a_file_without_its_key_is_unreadable(ca: Issued, tmp_path: Path) -> None:
    path = tmp_path / "public.p12"
    encryption = serialization.BestAvailableEncryption(PASSPHRASE)
    path.write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, [ca.certificate], encryption))

    assert opening(path) is Code.CERTIFICATE_UNREADABLE


@pytest.mark.parametrize("name", ["INSI-MANU", "INSI-AUTO"])
def test_both_names_of_insi_are_accepted(ca: Issued, tmp_path: Path, name: str) -> None:
    assert open_p12(stored(tmp_path, issue_organisation(ca, common_name=name), ca), PASSPHRASE).common_name == name


@pytest.mark.parametrize("name", ["insi-manu", "INSI_MANU", "INSI-MANU ", "DMP-MANU"])
def test_another_name_is_refused_before_insi_does(ca: Issued, tmp_path: Path, name: str) -> None:
    """INSi answers fault desir_560 to it (padoa/tlsi-ins README)."""
    assert opening(stored(tmp_path, issue_organisation(ca, common_name=name), ca)) is Code.CERTIFICATE_NOT_INSI


@pytest.mark.parametrize(
    ("mark", "environment", "expected"),
    [
        (0x83, Environment.TEST, None),
        (0x83, Environment.PRODUCTION, Code.CERTIFICATE_ENVIRONMENT),
        (0x03, Environment.PRODUCTION, None),
        (0x03, Environment.TEST, Code.CERTIFICATE_ENVIRONMENT),
        (None, Environment.PRODUCTION, None),
    ],
)
def test_test_certificates_and_production_never_meet(
    ca: Issued, tmp_path: Path, mark: int | None, environment: Environment, expected: Code | None
) -> None:
    certificate = open_p12(stored(tmp_path, issue_organisation(ca, mark=mark), ca), PASSPHRASE)

    assert refusal(certificate, environment, datetime.now(UTC)) is expected


@pytest.mark.parametrize(
    ("authority", "mark", "environment"),
    [
        ("TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", None, "test"),
        ("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", None, "unknown"),
        ("TESTEUR AC", None, "unknown"),
        ("TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", 0x03, "production"),  # the certificate's own word counts
    ],
)
def test_a_test_authority_tells_a_test_certificate_where_it_does_not_say_itself(
    ca: Issued, tmp_path: Path, authority: str, mark: int | None, environment: str
) -> None:
    issuer = issue_ca(ca, authority)
    certificate = open_p12(stored(tmp_path, issue_organisation(issuer, mark=mark), ca), PASSPHRASE)

    assert (certificate.issuer, certificate.environment) == (authority, environment)


def test_a_certificate_counts_between_its_dates_alone(file: Path) -> None:
    certificate = open_p12(file, PASSPHRASE)

    early = certificate.not_before - timedelta(seconds=1)
    assert refusal(certificate, Environment.TEST, early) is Code.CERTIFICATE_NOT_YET_VALID
    assert refusal(certificate, Environment.TEST, certificate.not_before) is None
    assert refusal(certificate, Environment.TEST, certificate.not_after) is None
    assert refusal(certificate, Environment.TEST, certificate.not_after + timedelta(1)) is Code.CERTIFICATE_EXPIRED


def test_what_insi_may_object_to_is_a_warning(ca: Issued, tmp_path: Path) -> None:
    """S113: the structure's number travels in the OU."""
    bare = open_p12(stored(tmp_path, issue_organisation(ca, structure_id=None, mark=None), ca), PASSPHRASE)
    whole = open_p12(stored(tmp_path, issue_organisation(ca), ca), PASSPHRASE)

    assert bare.structure is None
    assert doubts(bare, issuers=["AC DE SANTE"]) == [
        "certificate.environmentUnknown",
        "certificate.issuerUnknown",
        "certificate.structureMissing",
    ]
    assert doubts(whole, issuers=["AC DE SANTE", whole.issuer]) == []
    assert doubts(whole, issuers=None) == []


def test_its_chain_ends_before_the_root_and_its_key_belongs_to_it(file: Path) -> None:
    certificate = open_p12(file, PASSPHRASE)

    chain = x509.load_pem_x509_certificates(certificate.chain_pem)
    assert len(chain) == 1  # the file's root stays at home
    assert chain[0].public_key() == certificate.key.public_key()
    assert "PRIVATE" not in repr(certificate)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_a_code(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.p12"
    path.write_bytes(content)

    assert opening(path) is Code.CERTIFICATE_UNREADABLE
