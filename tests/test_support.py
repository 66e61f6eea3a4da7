"""The support bundle: whole on a broken machine, readable by a person, and about nobody."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.errors import CATALOGUE, Code
from agent.simulator.pki import issue_organisation, make_ca, p12
from agent.support import write_bundle
from tests.journal.making import intent, journal, whole
from tests.parts.agent import Site
from tests.parts.program import Program, port_of
from tests.parts.session import in_a_session

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
CHECKOUT = str(Path(__file__).parent.parent)
PARTS = {"LISEZ-MOI.txt", "versions.json", "settings.json", "doctor.json", "status.json", "journal.json"}
CONFIG = """
[[origins.allowed]]
origin = "https://dossier.example"
[[software]]
name = "Dossier"
version = "3"
origins = ["https://dossier.example"]
[software.authorisation]
test = "IDAM-7700123"
production = "IDAM-7700124"
[cpx]
module = "/opt/un-chemin/assez-long/pour-ressembler/a-du-base64/module.so"
activities = { "899700000017" = "01", "899700000025" = "02" }
specialities = { "899700000017" = "SM26" }
[[cpx.billing_ids]]
professional = "899700000017"
structure = "499700000017001"
value = "990000017"
[[cpx.billing_ids]]
professional = "899700000025"
value = "990000025"
[proxy]
user = "jeanne.exemple"
"""
NUMBERS = ("jeanne", "IDAM", "7700123", "7700124", "8997000000", "4997000000", "990000017", "990000025")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own without keyring and desktop, where the command is typed."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(home: Path, text: str) -> Path:
    (home / "config.toml").write_text(text, encoding="utf-8")
    return home / "config.toml"


def members_of(file: Path) -> dict[str, str]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def bundle(home: Path, config: str = "", *, simulated: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Its members, the JSON ones read, and those that could not be made."""
    made = write_bundle(None, now=NOW, simulated=simulated, config_file=configured(home, config))
    texts = members_of(made.file)
    return {name: json.loads(text) if name.endswith(".json") else text for name, text in texts.items()}, made.failed


def test_a_bundle_is_one_private_file_with_a_date_that_says_what_it_holds(home: Path) -> None:
    made = write_bundle(None, now=NOW, simulated=False, config_file=configured(home, ""))

    assert made.file == Path("insi-agent-support-20250304-050607.zip")
    assert stat.S_IMODE(made.file.stat().st_mode) == 0o600
    texts = members_of(made.file)
    assert set(texts) == PARTS
    assert made.failed == ()
    for name in PARTS - {"LISEZ-MOI.txt"}:
        assert name in texts["LISEZ-MOI.txt"]
    assert "aucune donnée de patient" in texts["LISEZ-MOI.txt"]
    assert (json.loads(texts["status.json"]), json.loads(texts["journal.json"])) == (None, None)
    assert json.loads(texts["versions.json"])["packages"]["cryptography"]
    assert "Module PKCS#11" in [finding["what"] for finding in json.loads(texts["doctor.json"])]


def test_the_settings_are_told_without_anybodys_number_and_rows_that_belong_together_stay_together(home: Path) -> None:
    members, failed = bundle(home, CONFIG)
    values, sources = members["settings.json"]["values"], members["settings.json"]["sources"]

    assert failed == ()
    assert not [number for number in NUMBERS for text in map(str, members.values()) if number in text]
    assert values["cpx"]["billing_ids"] == [
        {"professional": "[professionnel 1]", "structure": "[structure 1]", "value": "[facturation 1]"},
        {"professional": "[professionnel 2]", "structure": None, "value": "[facturation 2]"},
    ]
    assert values["cpx"]["activities"] == {"[professionnel 1]": "01", "[professionnel 2]": "02"}
    assert values["cpx"]["specialities"] == {"[professionnel 1]": "SM26"}
    assert values["software"][0]["authorisation"] == {"test": "[autorisation 1]", "production": "[autorisation 2]"}
    assert values["cpx"]["module"] == "/opt/un-chemin/assez-long/pour-ressembler/a-du-base64/module.so"
    assert values["origins"]["allowed"][0]["origin"] == "https://dossier.example"
    assert sources["cpx.activities.[professionnel 2]"] == "user file"


def test_the_structures_numbers_are_masked_where_the_doctor_tells_of_their_certificates(home: Path) -> None:
    """In a session with a keyring, where the certificates open."""
    ca, numbers = make_ca(), ("10B0770001", "10B0770002")
    files = [home / f"{number[-1]}.p12" for number in numbers]
    for file, number in zip(files, numbers, strict=True):
        file.write_bytes(p12(issue_organisation(ca, structure_id=number), b"phrase"))
    listed = ", ".join(f'"{file}"' for file in files)
    row = f'[[software]]\nname = "D"\nversion = "1"\nstructure = "{numbers[1]}"\norigins = []\nauthorisation = {{}}\n'
    config = configured(home, f"[organisation]\ncertificates = [{listed}]\n{row}")
    agent = f"{sys.executable} -m agent"
    script = (
        f"for file in {files[0]} {files[1]}; do echo phrase | {agent} organisation enrol $file --config {config}; done;"
        f"{agent} doctor --config {config}; {agent} support-bundle --output {home}/b.zip --config {config}"
    )
    run = subprocess.run(
        in_a_session(["bash", "-c", script]),
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr

    members = members_of(home / "b.zip")
    says = {finding["what"]: finding["says"] for finding in json.loads(members["doctor.json"])}

    assert [run.stdout.count(f"structure {number}") for number in numbers] == [2, 2]  # to the person, as before
    assert says["Certificat de la structure"].count("INSI-MANU, structure [structure], jusqu'au ") == 2
    assert json.loads(members["settings.json"])["values"]["software"][0]["structure"] == "[structure 1]"
    assert not [name for name, text in members.items() for number in numbers if number in text]


def test_on_a_broken_machine_each_part_that_fails_says_why_and_the_others_are_there(home: Path) -> None:
    """Wrong settings, a journal that is none, a log that is a folder."""
    folder = home / ".local/share/insi-agent/journal"
    folder.mkdir(parents=True)
    (folder / "journal.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    (home / ".local/state/insi-agent/log/agent.log").mkdir(parents=True)
    (home / ".local/state/insi-agent/log/agent.log.1").write_text("older\n", encoding="utf-8")

    members, failed = bundle(home, 'profile = "un secret"\n')

    assert set(failed) == {"settings.json", "journal.json", "logs/agent.log"}
    assert "config.invalid: profile" in members["settings.json"]["failed"]
    assert members["journal.json"]["failed"].startswith("journal.unavailable")
    assert json.loads(members["logs/agent.log"])["failed"] == "IsADirectoryError"
    assert members["logs/agent.log.1"] == "older\n"
    assert members["versions.json"]["agent"]
    assert "secret" not in str(members["settings.json"])
    for name in failed:
        assert name in members["LISEZ-MOI.txt"]


def test_of_the_journal_it_tells_figures_alone(home: Path) -> None:
    own = journal(home / ".local/share/insi-agent/journal")
    whole(own, "trace-1")
    own.close()

    members, _ = bundle(home)

    told = members["journal.json"]
    assert (told["entries"], told["codes"]) == ({"intent": 1, "outcome": 1, "result": 1}, {"00": 1})
    assert told["links"] == {"entries": 3, "fault": None}
    assert set(told) == {"size_bytes", "first_at", "last_at", "entries", "codes", "unfinished", "links"}


def test_a_journal_that_the_running_agent_has_open_is_told_too(home: Path) -> None:
    holder = journal(home / ".local/share/insi-agent/journal")
    holder.intend(intent())

    members, failed = bundle(home)

    holder.close()
    assert failed == ()
    assert members["journal.json"]["entries"] == {"intent": 1}


def test_the_logs_go_once_more_through_the_net_and_nothing_else_of_their_folder_comes_along(home: Path) -> None:
    folder = home / ".local/state/insi-agent/log"
    folder.mkdir(parents=True)
    (folder / "agent.log").write_text("a line\nnir 2 84 12 76 451 089 93 pin=4711\n", encoding="utf-8")
    (folder / "agent.log.1").write_bytes(b"older \xff Bearer abcdef\n")
    (folder / "agent.log.bak").write_text("a copy of somebody's", encoding="utf-8")
    (folder / "other").write_text("no log", encoding="utf-8")

    members, _ = bundle(home)

    logs = {name: text for name, text in members.items() if name.startswith("logs/")}
    assert logs == {
        "logs/agent.log": "a line\nnir [nir] pin=[secret]\n",
        "logs/agent.log.1": "older \ufffd Bearer [secret]\n",
    }


def test_the_command_says_where_it_is_and_what_is_in_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle", "--output", "ici.zip"]) == 0

    said = capsys.readouterr()
    assert said.out.startswith("ici.zip : ")
    assert "Aucune donnée de patient" in said.out
    assert set(members_of(home / "ici.zip")) == PARTS


def test_a_place_that_cannot_be_written_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle", "--output", "nulle/part.zip"]) == 1
    assert capsys.readouterr().err.startswith(CATALOGUE[Code.CONFIG_INVALID].title.fr)


def test_of_a_running_simulator_it_tells_the_state_and_the_settings(home: Path, simulator_pki: Path) -> None:
    shutil.copytree(simulator_pki, home / ".local/state/insi-agent/simulator/data")
    demo = [sys.executable, "-m", "agent", "demo", "--headless", "--json"]
    with Program(demo, home, PYTHONPATH=CHECKOUT, XDG_RUNTIME_DIR=str(home)) as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        assert site.call("vitale.read")["holders"]

        members, failed = bundle(home, simulated=True)
        site.close()

    assert failed == ()
    assert members["status.json"]["environment"] == members["settings.json"]["values"]["environment"] == "simulated"
