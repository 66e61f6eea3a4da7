"""`insi-agent simulator` as its developer's user runs it: a process of its own, for another client."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from agent.simulator.pki import Issued
from tests.parts.assertion import assertion
from tests.simulator.editor import NOBODY, PLACEHOLDER, TOUSSAINT, Client, Shape, message, read, security

Start = Callable[..., tuple["subprocess.Popen[str]", dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its keys, made by the first run."""
    return tmp_path_factory.mktemp("simulator") / "keys"


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Start]:
    """Starts simulators; what a run says on its one line of JSON."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple["subprocess.Popen[str]", dict[str, Any]]:
        started.append(simulator(tmp_path, "--folder", str(folder), "--json", *arguments))
        assert started[-1].stdout
        line = started[-1].stdout.readline()
        assert line, started[-1].communicate()[1]
        return started[-1], json.loads(line)

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def simulator(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """In a home of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return subprocess.Popen(
        [sys.executable, "-m", "agent", "simulator", *arguments],
        env={**environment, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def opened(file: str, about: dict[str, Any]) -> Issued:
    """A .p12 as another client would open it."""
    content = pkcs12.load_pkcs12(Path(file).read_bytes(), Path(about["passphrase"]).read_bytes())
    assert content.cert
    assert isinstance(content.key, rsa.RSAPrivateKey)
    chain = [one.certificate for one in content.additional_certs]
    issuer = Issued(chain[0], content.key, (Issued(chain[1], content.key),))
    return Issued(content.cert.certificate, content.key, (issuer,))


def post(about: dict[str, Any], mode: str, body: bytes, own: Issued | None = None, words: str = "") -> str:
    client = Client(about[mode], Path(about["anchors"]).read_bytes(), own)
    try:
        return read(client.post(body, words)[2])
    finally:
        client.close()


def test_another_client_finds_everything_it_needs_in_what_is_printed(start: Start) -> None:
    """Both modes, each certificate, the known number, another style for one call."""
    _, about = start("--authorisation", "EDITEUR-0007")
    clients = {(one["commonName"], one["structure"]): opened(one["file"], about) for one in about["clients"]}
    signed = assertion(opened(about["cards"]["signature"], about))
    authentication = assertion(opened(about["cards"]["authentication"], about))

    assert {name for name, _ in clients} == {"INSI-MANU", "INSI-AUTO", "DMP-AIR"}
    assert len({structure for _, structure in clients}) == 2
    for (name, _), own in clients.items():
        expected = "desir_560" if name == "DMP-AIR" else "00"
        assert post(about, "organisation", message(TOUSSAINT), own) == expected
    assert post(about, "cpx", message(TOUSSAINT, Shape(security=security(signed)))) == "00"
    assert post(about, "cpx", message(TOUSSAINT, Shape(security=security(authentication)))) == (
        "sim_assertion_certificate"
    )
    manu = next(iter(clients.values()))
    assert post(about, "organisation", message(NOBODY), manu, "not-found=insi_102") == "insi_102"
    assert about["authorisations"] == ["SIMULATEUR-0001", "EDITEUR-0007"]
    assert post(about, "organisation", message(TOUSSAINT, Shape(idam="EDITEUR-0007")), manu) == "00"
    assert post(about, "organisation", message(TOUSSAINT, Shape(idam="EDITEUR-0008")), manu) == "desir_550"
    assert "CNDA" in about["notice"]
    assert about["header"] == "X-INSi-Simulator"


def test_the_keys_are_kept_for_the_next_run_and_are_the_users_alone(start: Start, folder: Path) -> None:
    _, first = start()
    before = Path(first["clients"][0]["file"]).read_bytes()
    _, second = start()

    assert Path(second["clients"][0]["file"]).read_bytes() == before
    assert {file.stat().st_mode & 0o777 for file in (folder / "pki").iterdir()} == {0o600}
    assert (folder / "pki").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_it_is_told_to(start: Start, told: signal.Signals) -> None:
    process, about = start()
    client = Client(about["cpx"], Path(about["anchors"]).read_bytes())
    assert client.post(message(TOUSSAINT))[0] == 500  # a connection that is kept

    process.send_signal(told)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (0, "", "")
    client.close()


def test_a_run_has_its_style_its_tls_its_contract_and_its_certificate(start: Start) -> None:
    _, about = start(
        *("--style", "not-found=desir_1020", "--style", "fault=2022"),
        *("--tls", "1.2", "--certificate", "cn", "--revocation", "revoked"),
        *("--contract", "placeholder", "--batch-size", "1", "--batch-pending", "0", "--assertion-max-age", "1"),
    )
    own = opened(about["clients"][0]["file"], about)
    client = Client(about["organisation"], Path(about["anchors"]).read_bytes(), own)

    fault = client.post(message(NOBODY))[2]
    sock = client.connection.sock
    assert sock
    version, served = sock.version(), x509.load_der_x509_certificate(sock.getpeercert(binary_form=True))
    client.close()

    assert (read(fault), b"xmlns:ns4" in fault, version) == ("desir_1020", True, "TLSv1.2")
    assert served.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    with pytest.raises(x509.ExtensionNotFound):
        served.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    asked = message(f'<LotDemande xmlns="{PLACEHOLDER}"/>', Shape(action=f"{PLACEHOLDER}:recupererLot"))
    assert post(about, "organisation", asked, own) == "sim_batch_unknown"
    assert about["style"] == {"not_found": "desir_1020", "fault": "2022"}
    assert about["crl"].startswith("http://127.0.0.1:")


def test_without_being_told_it_knows_no_placeholder(start: Start) -> None:
    _, about = start()
    asked = message(f'<LotDemande xmlns="{PLACEHOLDER}"/>', Shape(action=f"{PLACEHOLDER}:recupererLot"))

    assert post(about, "organisation", asked, opened(about["clients"][0]["file"], about)) == "sim_action"


def test_it_says_to_a_person_what_it_is_and_what_it_proves(tmp_path: Path, folder: Path) -> None:
    process = simulator(tmp_path, "--folder", str(folder))
    assert process.stdout
    told = [process.stdout.readline()]
    while "Ctrl-C" not in told[-1]:
        told.append(process.stdout.readline())
        assert told[-1], process.communicate()[1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert "ne prouve rien pour le CNDA" in told[0]
    assert any("https://localhost:" in line for line in told)
    assert any("X-INSi-Simulator" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--style", "not-found=rien"], "config.invalid", "misbehave=none|timeout"),
        (["--folder", "/dev/null/ici"], "config.invalid", "/dev/null/ici"),
        (["--port-cpx", "99999"], "config.invalid", "--port-cpx"),
        (["--port-organisation", "99999"], "config.invalid", "--port-organisation"),
    ],
)
def test_what_it_cannot_do_is_said(tmp_path: Path, folder: Path, arguments: list[str], code: str, said: str) -> None:
    process = simulator(tmp_path, "--folder", str(folder), *arguments)

    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert f"[{code}" in err
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch-size", "0"], "--batch-size: un nombre entier est attendu, 1 au moins"),
        (["--batch-size", "beaucoup"], "--batch-size: un nombre entier est attendu, 1 au moins"),
        (["--batch-pending", "-1"], "--batch-pending: un nombre entier est attendu, 0 au moins"),
        (["--assertion-max-age", "0"], "--assertion-max-age: un nombre entier est attendu, 1 au moins"),
    ],
)
def test_a_number_that_is_none_or_too_small_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    process = simulator(tmp_path, *arguments)

    _, err = process.communicate(timeout=30)

    assert process.returncode == 2
    assert said in err


def test_where_the_simulator_is_forbidden_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('simulate = "forbid"\n')

    process = simulator(tmp_path, "--config", str(tmp_path / "config.toml"))
    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "[simulator.forbidden" in err
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_without_a_folder_its_keys_are_with_the_simulators_own(tmp_path: Path) -> None:
    process = simulator(tmp_path, "--json")
    assert process.stdout
    about = json.loads(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=20)

    assert Path(about["anchors"]).is_relative_to(tmp_path / ".local/state/insi-agent/simulator")
