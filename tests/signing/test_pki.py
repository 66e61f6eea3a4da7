"""The simulator's own PKI."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from agent.errors import AgentError, Code
from agent.model import CpxKind
from agent.signing.cpx import activities, card_facts, speciality_of
from agent.signing.fake_token import card_file, load_card
from agent.signing.organisation import open_p12
from agent.simulator.pki import CLIENTS, Issued, SimulatorPki, issue_server, make_ca, open_pki, simulated_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "simulator"


@pytest.fixture(scope="module")
def pki(folder: Path) -> SimulatorPki:
    return open_pki(folder)


def test_it_is_made_once_and_kept_private(folder: Path, pki: SimulatorPki) -> None:
    again = open_pki(folder)

    assert (again.ca_pem, again.signature_certificate_der) == (pki.ca_pem, pki.signature_certificate_der)
    assert {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()} == {0o600}
    assert {file.stat().st_mode & 0o777 for file in (folder, folder / "pki")} == {0o700}
    assert "PRIVATE KEY" not in repr(pki)


def test_it_is_made_anew_thirty_days_before_it_expires_and_when_it_is_broken(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    first = open_pki(tmp_path, now=now)
    expiry = x509.load_der_x509_certificate(first.signature_certificate_der).not_valid_after_utc

    kept = open_pki(tmp_path, now=expiry - timedelta(days=30))
    renewed = open_pki(tmp_path, now=expiry - timedelta(days=30) + timedelta(seconds=1))
    (tmp_path / "pki" / "server.pem").write_bytes(b"")
    mended = open_pki(tmp_path, now=now)
    (tmp_path / "pki" / CLIENTS[-1].file).unlink()
    whole = open_pki(tmp_path, now=now)

    assert kept.ca_pem == first.ca_pem
    assert len({first.ca_pem, renewed.ca_pem, mended.ca_pem, whole.ca_pem}) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["pki"]


def test_it_is_shaped_like_the_igc_sante(folder: Path, pki: SimulatorPki) -> None:
    """A root, the authority that issues, the leaf; two organisations, one with both certificates of INSi."""
    authorities = x509.load_pem_x509_certificates(pki.ca_pem)
    organisations = [open_p12(folder / "pki" / one.file, pki.organisation_passphrase) for one in CLIENTS[:-1]]
    with pytest.raises(AgentError) as other_use:
        open_p12(folder / "pki" / CLIENTS[-1].file, pki.organisation_passphrase)

    assert [one.subject.rfc4514_string().split(",")[0] for one in authorities] == [
        "CN=TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",
        "CN=TEST AC RACINE IGC-SANTE ELEMENTAIRE",
        "CN=TEST AC IGC-SANTE FORT PERSONNES",
        "CN=TEST AC RACINE IGC-SANTE FORT",
    ]
    assert [authorities[at].issuer == authorities[at + 1].subject for at in (0, 2)] == [True, True]
    assert [one.issuer == one.subject for one in authorities] == [False, True, False, True]
    assert [(one.common_name, one.structure) for one in organisations] == [
        ("INSI-MANU", "10B0999999"),
        ("INSI-AUTO", "10B0999999"),
        ("INSI-MANU", "1990000025"),
    ]
    assert other_use.value.code is Code.CERTIFICATE_NOT_INSI
    assert all(one.chain_pem.count(b"BEGIN CERTIFICATE") == 2 for one in organisations)


def test_its_card_is_in_the_simulated_reader(folder: Path, pki: SimulatorPki) -> None:
    card = load_card(card_file(folder))

    assert card
    assert (card.serial, card.label) == (simulated_card(pki).serial, simulated_card(pki).label)
    assert [pair.certificate_der for pair in card.keys] == [
        pki.signature_certificate_der,
        pki.authentication_certificate_der,
    ]
    assert [a.sector for a in activities(card.protected)] == ["SA07", "SA05"]
    assert speciality_of(card.free) == "SM26"


def test_its_names_are_visibly_simulated(pki: SimulatorPki) -> None:
    facts = card_facts(pki.signature_certificate_der)
    structure = open_p12(pki.organisation_p12, pki.organisation_passphrase)
    ca = x509.load_pem_x509_certificate(pki.ca_pem)

    assert "SIMULATEUR" in ca.subject.rfc4514_string()
    assert "SIMULATEUR" in structure.organisation
    assert (facts.kind, facts.nominative, facts.environment) == (CpxKind.CPS, True, "test")
    assert facts.professional.name == "CAMILLE EXEMPLE"


def test_openssl_finds_every_certificate_under_the_ca(folder: Path, pki: SimulatorPki) -> None:
    purposes = {"server": "sslserver", "authentication": "sslclient", "signature": "any"}
    (folder / "ca-only.pem").write_bytes(pki.ca_pem)

    for name, purpose in purposes.items():
        file = folder / "pki" / f"{name}.pem"
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            str(folder / "ca-only.pem"),
            str(file),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (folder / "ca-only.pem").unlink()


@pytest.mark.parametrize(
    ("name", "expected"), [("localhost", True), ("127.0.0.1", True), ("::1", True), ("insi", False)]
)
def test_the_server_is_trusted_for_loopback_alone(pki: SimulatorPki, tmp_path: Path, name: str, expected: bool) -> None:
    (tmp_path / "server.pem").write_bytes(pki.server_key_pem + pki.server_certificate_pem)

    assert tls_works(tmp_path / "server.pem", pki.ca_pem, name) is expected


def test_a_server_of_another_ca_is_not_trusted(pki: SimulatorPki, tmp_path: Path) -> None:
    other: Issued = issue_server(make_ca())
    (tmp_path / "server.pem").write_bytes(other.key_pem + other.pem)

    assert not tls_works(tmp_path / "server.pem", pki.ca_pem, "localhost")


def tls_works(server_pem: Path, ca_pem: bytes, name: str) -> bool:
    """A handshake in memory."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(server_pem)
    client_context = ssl.create_default_context(cadata=ca_pem.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=name)
    server = server_context.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return client.version() is not None
