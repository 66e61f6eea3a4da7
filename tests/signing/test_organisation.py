"""The organisation's certificate, opened and handed to TLS."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import Environment
from agent.signing.organisation import OrganisationCertificate, check_usable, open_p12
from agent.simulator.pki import Issued, issue_organisation, p12

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


def test_it_says_who_it_is_for(file: Path) -> None:
    certificate = open_p12(file, PASSPHRASE)

    assert (
        certificate.common_name,
        certificate.structure,
        certificate.organisation,
        certificate.environment,
    ) == ("INSI-MANU", "10B0999999", "STRUCTURE FICTIVE DU SIMULATEUR", "test")
    assert certificate.issuer == "SIMULATEUR AC IGC-SANTE FORT PERSONNES"


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


@pytest.mark.parametrize("name", ["insi-manu", "INSI_MANU", "DMP-MANU"])
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


def test_an_expired_certificate_is_refused(file: Path) -> None:
    certificate = open_p12(file, PASSPHRASE)

    assert refusal(certificate, Environment.TEST, certificate.not_after) is None
    assert refusal(certificate, Environment.TEST, certificate.not_after + timedelta(1)) is Code.CERTIFICATE_EXPIRED


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
