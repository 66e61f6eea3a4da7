"""`insi-agent organisation` with a real keyring, and `insi-agent software`: what an administrator sees of both."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.errors import CATALOGUE, Code
from agent.model import Environment
from agent.options import Options, load_settings
from agent.simulator.pki import issue_ca, issue_organisation, make_ca, p12
from tests.parts.session import in_a_session

CHECKOUT = str(Path(__file__).parent.parent)
AGENT = f"{sys.executable} -m agent"
HOSPITAL, CLINIC = "10B0990001", "10B0990002"
NUMBER = "AUTORISATION-7700123"
SOFTWARE = f"""
[[software]]
name = "Dossier"
version = "3.2"
publisher_id = "NIE-0042"
structure = "{CLINIC}"
origins = ["https://dossier.example", "https://secours.example"]
[software.authorisation]
test = "{NUMBER}"
production = ""

[[software]]
name = "Agenda"
version = "1"
origins = ["https://agenda.example"]
[software.authorisation]
test = "{NUMBER}"
production = "{NUMBER}"
"""


def configured(home: Path, *files: Path, more: str = "") -> Path:
    listed = ", ".join(f'"{file}"' for file in files)
    config = home / "config.toml"
    config.write_text(f"[organisation]\ncertificates = [{listed}]\n{more}", encoding="utf-8")
    return config


def in_session(home: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Commands of one person, in a session with a keyring; each goes on where the one before failed."""
    return subprocess.run(
        in_a_session(["bash", "-c", "\n".join(lines)]),
        env={**os.environ, "PYTHONPATH": CHECKOUT, "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 1
    return capsys.readouterr().err


def sentence(code: Code) -> str:
    return f"{CATALOGUE[code].title.fr} {CATALOGUE[code].action.fr}"


def test_each_certificate_has_its_own_passphrase_and_the_list_says_whose_it_is(home: Path) -> None:
    """S113: the structure's number is shown."""
    authority = issue_ca(make_ca(), "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS")
    until = datetime.now(UTC) + timedelta(days=20, hours=1)
    hospital = issue_organisation(authority, structure_id=HOSPITAL, not_after=until)
    bare = issue_organisation(make_ca(), structure_id=None, common_name="INSI-AUTO", mark=None)
    clinic = issue_organisation(authority, structure_id=CLINIC, common_name="INSI-AUTO")
    files = [home / name for name in ("hospital.p12", "clinic.p12", "bare.p12", "never.p12", "absent.p12")]
    for file, issued, phrase in zip(
        files, (hospital, clinic, bare, bare), (b"un", b"deux", b"trois", b"?"), strict=False
    ):
        file.write_bytes(p12(issued, phrase))
    config = configured(home, *files, more=SOFTWARE)

    done = in_session(
        home,
        f"echo un | {AGENT} organisation enrol {files[0]} --config {config}",
        f"echo deux | {AGENT} organisation enrol ./{files[1].name} --config {config}",
        f"echo trois | {AGENT} organisation enrol {files[2]} --config {config}",
        f"echo faux | {AGENT} organisation enrol {files[3]} --config {config}",
        f"{AGENT} organisation list --json --config {config} > {home}/list.json",
        f"echo said $?; {AGENT} organisation list --config {config}; {AGENT} doctor --json --config {config}",
    )

    rows: list[dict[str, Any]] = json.loads((home / "list.json").read_text())
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["problem"] for row in rows] == [
        None,
        None,
        None,
        Code.CERTIFICATE_UNREADABLE.value,
        Code.CERTIFICATE_MISSING.value,
    ]
    assert rows[0] == {
        "file": str(files[0]),
        "commonName": "INSI-MANU",
        "structure": HOSPITAL,
        "organisation": "STRUCTURE FICTIVE DU SIMULATEUR",
        "issuer": "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",
        "environment": "test",
        "notBefore": f"{hospital.certificate.not_valid_before_utc:%Y-%m-%d}",
        "notAfter": f"{until:%Y-%m-%d}",
        "daysLeft": 20,
        "fingerprint": rows[0]["fingerprint"],
        "warnings": [],
        "software": [],
        "problem": None,
    }
    assert rows[1]["software"] == ["Dossier"]
    assert rows[2]["warnings"] == [
        "certificate.environmentUnknown",
        "certificate.issuerUnknown",
        "certificate.structureMissing",
    ]
    assert f"INSI-MANU, structure {HOSPITAL}, jusqu'au {until:%Y-%m-%d} (encore 20 jours)" in done.stdout
    assert "said 1\n" in done.stdout  # something is wrong, and the exit status says so
    assert "Logiciels : Dossier\n" in done.stdout
    assert "aucune structure dans son OU" in done.stdout
    assert CATALOGUE[Code.CERTIFICATE_UNREADABLE].title.fr in done.stderr
    assert not [secret for secret in ("deux", "trois", NUMBER) if secret in done.stdout + done.stderr]
    (finding,) = [one for one in json.loads(done.stdout[done.stdout.index("[\n") :]) if "structure" in one["what"]]
    assert not finding["well"]
    assert f"INSI-AUTO, structure {CLINIC}" in finding["says"]
    assert Code.CERTIFICATE_UNREADABLE.value in finding["says"]
    assert f"Agenda : {CATALOGUE[Code.CERTIFICATE_STRUCTURE].title.fr}" in finding["says"]


def test_the_only_configured_file_need_not_be_named(home: Path) -> None:
    file = home / "structure.p12"
    file.write_bytes(p12(issue_organisation(make_ca()), b"un"))
    config = configured(home, file)

    done = in_session(home, f"echo un | {AGENT} organisation enrol --config {config}")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("INSI-MANU, structure 10B0999999, jusqu'au ")


@pytest.mark.parametrize("named", [[], ["autre.p12"]])
def test_among_several_files_the_one_that_is_meant_is_named_and_configured(
    home: Path, capsys: pytest.CaptureFixture[str], named: list[str]
) -> None:
    config = configured(home, home / "un.p12", home / "deux.p12")

    said = refusal(capsys, "organisation", "enrol", *named, "--config", config)

    assert said.startswith(sentence(Code.CONFIG_INVALID))
    assert f"nommer l'un de ces fichiers : {home}/un.p12, {home}/deux.p12" in said


def test_where_none_is_configured_there_is_nothing_to_enrol_and_nothing_to_list(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(home)

    assert refusal(capsys, "organisation", "enrol", "--config", config).startswith(sentence(Code.CERTIFICATE_MISSING))
    assert main(["organisation", "list", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "Aucun certificat de structure n'est configuré.\n"


# ---------------------------------------------------------------- software


def test_the_software_is_listed_without_its_authorisation_numbers(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """S011, S012: which environments have a number, never the number."""
    config = configured(home, more=SOFTWARE)

    assert main(["software", "--json", "--config", str(config)]) == 0
    rows = capsys.readouterr().out
    assert main(["software", "--config", str(config)]) == 0
    told = capsys.readouterr().out

    assert json.loads(rows) == [
        {
            "name": "Dossier",
            "version": "3.2",
            "publisherId": "NIE-0042",
            "origins": ["https://dossier.example", "https://secours.example"],
            "authorisedIn": ["test"],
            "structure": CLINIC,
        },
        {
            "name": "Agenda",
            "version": "1",
            "publisherId": None,
            "origins": ["https://agenda.example"],
            "authorisedIn": ["test", "production"],
            "structure": None,
        },
    ]
    assert "Dossier 3.2, éditeur NIE-0042\n  Sites : https://dossier.example, https://secours.example\n" in told
    settings = load_settings(Options(config_file=config)).settings
    assert NUMBER == settings.software[0].authorisation[Environment.TEST]
    assert "7700123" not in rows + told + repr(settings) + str(settings)


def test_without_software_it_is_said_that_nobody_may_ask_insi(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["software", "--config", str(configured(home))]) == 0

    assert capsys.readouterr().out == "Aucun logiciel n'est configuré : aucun site ne peut interroger INSi.\n"
