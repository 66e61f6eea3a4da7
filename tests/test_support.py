"""The support bundle: whole on a broken machine, readable by a person, and about nobody.

Unless whoever makes it wants the messages of chosen operations as they were; then it says so.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.cli import main
from agent.errors import CATALOGUE, AgentError, Code
from agent.journal.apart import opened
from agent.journal_told import Opener
from agent.masking import Pseudonyms, masked_xml, without_signatures
from agent.simulator.pki import issue_organisation, make_ca, p12
from agent.support import Wanted, write_bundle
from agent.support_traces import members as members_of_operation
from tests.journal.making import KEY, KEYS, intent, journal, whole
from tests.parts.agent import Site
from tests.parts.program import Program, port_of
from tests.parts.session import in_a_session

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
CHECKOUT = str(Path(__file__).parent.parent)
PARTS = {"LISEZ-MOI.txt", "versions.json", "settings.json", "doctor.json", "status.json", "journal.json", "lines.txt"}
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


def bundle(
    home: Path, config: str = "", *, simulated: bool = False, wanted: Wanted | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Its members, the JSON ones read, and those that could not be made."""
    made = write_bundle(None, now=NOW, simulated=simulated, config_file=configured(home, config), wanted=wanted)
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
    assert texts["lines.txt"] == "L'agent n'est pas en marche.\n"
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
    assert (told["links"]["entries"], told["links"]["fault"]) == (3, None)
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
    assert "listening on port" in members["lines.txt"].splitlines()[0]
    assert "vitale.read" in members["lines.txt"]
    assert members["status.json"]["environment"] == members["settings.json"]["values"]["environment"] == "simulated"


# ---------------------------------------------------------------- chosen operations

TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
NOBODY = TRAITS | {"birthName": "PERSONNEINVENTEE"}
WHO = {"id": "accueil-de-juin", "name": "Anne Exemple"}
PEOPLE = ("ADRTROIS", "TOUSSAINT", "PERSONNEINVENTEE", "1960-01-01", "accueil-de-juin", "Anne Exemple", "dossier-42")
DOCTOR = "899900000017"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, simulator_pki: Path) -> tuple[Path, list[str]]:
    """A home whose simulator has served two operations, found and not found, and has stopped; their traces."""
    home = tmp_path_factory.mktemp("lived")
    home.chmod(0o700)
    shutil.copytree(simulator_pki, home / ".local/state/insi-agent/simulator/data")
    demo = [sys.executable, "-m", "agent", "demo", "--headless", "--json"]
    with Program(demo, home, PYTHONPATH=CHECKOUT, XDG_RUNTIME_DIR=str(home)) as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        calls = ({"traits": TRAITS, "user": WHO, "clientRef": "dossier-42"}, {"traits": NOBODY, "user": WHO})
        traces = [site.call("insi.retrieveByTraits", **params)["trace"]["id"] for params in calls]
        site.close()
    return home, traces


@pytest.fixture
def after(lived: tuple[Path, list[str]], home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever types the command sits in that home; the traces."""
    monkeypatch.setenv("HOME", str(lived[0]))
    return lived[1]


def test_the_last_operations_are_told_with_their_messages_and_without_their_people(
    home: Path, after: list[str]
) -> None:
    members, failed = bundle(home, simulated=True, wanted=Wanted(last=2))

    assert failed == ()
    assert {name for name in members if name.startswith("traces/")} == {
        f"traces/{name}"
        for name in (
            "1-WS_INS2.json",
            "1-attempt-1-request.xml",
            "1-attempt-1-reply.xml",
            "2-WS_INS2.json",
            "2-attempt-1-request.xml",
            "2-attempt-1-reply.xml",
        )
    }
    first, second = members["traces/1-WS_INS2.json"], members["traces/2-WS_INS2.json"]
    assert [first["traceId"], second["traceId"]] == after
    assert (first["codes"], second["codes"]) == (["00"], ["01"])
    assert first["attempts"][0]["label"] == "OK"
    assert first["attempts"][0]["given"] == ["birthName", "givenNames[0]", "sex", "birthDate"]
    assert [place["kind"] for place in first["chain"]] == ["intent", "outcome", "result"]
    assert "<insi:NomNaissance>[8]</insi:NomNaissance>" in members["traces/1-attempt-1-request.xml"]
    assert "<CodeCR>00</CodeCR>" in members["traces/1-attempt-1-reply.xml"]
    assert "<NomNaissance>[8]</NomNaissance>" in members["traces/1-attempt-1-reply.xml"]
    everything = json.dumps(members, ensure_ascii=False)
    assert not [one for one in (*PEOPLE, DOCTOR) if one in everything]
    assert "aucune donnée de patient" in members["LISEZ-MOI.txt"]
    assert "- traces/ : opérations choisies, 2 en tout" in members["LISEZ-MOI.txt"]


def test_who_is_in_two_operations_and_in_the_settings_has_one_short_name(home: Path, after: list[str]) -> None:
    row = '[[cpx.billing_ids]]\nprofessional = "899700000025"\nvalue = "990000025"\n'
    row += f'[[cpx.billing_ids]]\nprofessional = "{DOCTOR}"\nvalue = "990000017"\n'
    members, _ = bundle(home, row, simulated=True, wanted=Wanted(last=2))

    names = [members[f"traces/{at}-WS_INS2.json"]["people"] for at in (1, 2)]
    settings = [row["professional"] for row in members["settings.json"]["values"]["cpx"]["billing_ids"]]
    assert names[0] == names[1]
    assert len(set(settings)) == 2
    assert settings[1] == names[0]["professional"]
    assert names[0]["user"] == "[utilisateur 1]"


def test_an_operation_that_is_named_is_told_alone_and_once(home: Path, after: list[str]) -> None:
    members, _ = bundle(home, simulated=True, wanted=Wanted(traces=(after[0], after[0])))

    assert [name for name in members if name.endswith(".json") and name.startswith("traces/")] == [
        "traces/1-WS_INS2.json"
    ]
    assert members["traces/1-WS_INS2.json"]["traceId"] == after[0]


@pytest.mark.parametrize("unknown", ["", "no-such-trace", "../../etc"])
def test_an_unknown_trace_is_said_before_anything_is_written(home: Path, after: list[str], unknown: str) -> None:
    with pytest.raises(AgentError) as refused:
        bundle(home, simulated=True, wanted=Wanted(traces=(after[0], unknown)))

    assert refused.value.code is Code.TRACE_UNKNOWN
    assert list(home.glob("*.zip")) == []


def test_where_there_is_no_journal_no_operation_is_known(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle", "--trace", "1b4e28ba-2fa1-41d2-883f-0016d3cca427"]) == 1
    assert capsys.readouterr().err.startswith(CATALOGUE[Code.TRACE_UNKNOWN].title.fr)
    assert list(home.glob("*.zip")) == []

    members, failed = bundle(home, wanted=Wanted(last=5))
    assert failed == ()
    assert "opérations choisies, 0 en tout" in members["LISEZ-MOI.txt"]


def test_whole_messages_are_there_when_they_are_asked_for_and_the_person_is_told_whose_they_are(
    home: Path, after: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A positive control, too: the search above would have found these people."""
    command = ["support-bundle", "--simulated", "--output", "entier.zip", "--trace", after[0], "--unmasked"]
    assert main(command) == 0

    said, members = capsys.readouterr(), members_of(home / "entier.zip")
    request, reply = (members[f"traces/1-attempt-1-{what}.xml"] for what in ("request", "reply"))
    for told in (said.err, members["LISEZ-MOI.txt"]):
        assert "ATTENTION : ce fichier contient des données personnelles" in told
        assert "des patients de l'opération choisie" in told
        assert "canal sécurisé" in told
    assert "Aucune donnée de patient" not in said.out
    assert "aucune donnée de patient," not in members["LISEZ-MOI.txt"]
    assert "<insi:NomNaissance>ADRTROIS</insi:NomNaissance>" in request
    assert DOCTOR in request
    assert "<ListePrenom>TOUSSAINT</ListePrenom>" in reply
    assert not [
        one for one in PEOPLE if one in members["traces/1-WS_INS2.json"]
    ]  # the facts name nobody in either case


def test_signatures_and_certificates_are_digests_in_whole_messages_too(home: Path, after: list[str]) -> None:
    """The simulator keeps its messages as they were sent, and a signed assertion is a secret."""
    members, _ = bundle(home, simulated=True, wanted=Wanted(last=2, unmasked=True))

    for at in (1, 2):
        request = etree.fromstring(members[f"traces/{at}-attempt-1-request.xml"].encode())
        kept = [one.text for name in ("SignatureValue", "X509Certificate") for one in request.iter(f"{{*}}{name}")]
        assert len(kept) == 2
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in kept)


def test_there_is_nothing_to_unmask_where_no_operation_is_chosen(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["support-bundle", "--unmasked"]) == 1

    assert "--unmasked" in capsys.readouterr().err
    assert list(home.glob("*.zip")) == []


def test_what_the_person_says_they_were_doing_is_in_it_once_it_was_through_the_net(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "Après la lecture de 2 84 12 76 451 089 93, rien. pin=4711"
    assert main(["support-bundle", "--output", "ici.zip", "--context", said]) == 0

    members, told = members_of(home / "ici.zip"), capsys.readouterr()
    assert members["context.txt"] == "Après la lecture de [nir], rien. pin=[secret]\n"
    assert "- context.txt" in members["LISEZ-MOI.txt"]
    assert "aucun patient" in told.err
    for promise in (told.out, members["LISEZ-MOI.txt"]):
        assert "hors context.txt, que personne n'a relu" in promise


def test_a_name_in_those_words_is_nowhere_denied(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No net knows a name: what is promised of the rest is not promised of these."""
    for options in ([], ["--last", "1", "--unmasked"]):
        command = ["support-bundle", "--output", f"{len(options)}.zip", "--context", "Mme TESTEUSE née le 31/12/1984"]
        assert main([*command, *options]) == 0

        members, told = members_of(home / f"{len(options)}.zip"), capsys.readouterr()
        assert "TESTEUSE" in members["context.txt"]
        for promise in (*told.out.splitlines(), *members["LISEZ-MOI.txt"].splitlines()):
            assert "ucune donnée de patient" not in promise or "hors context.txt" in promise


def test_a_bundle_is_never_written_over_a_file_unless_it_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "mine.zip").write_text("mine")
    (home / "link.zip").symlink_to("mine.zip")
    (home / "nowhere.zip").symlink_to("nowhere")

    for name in ("mine.zip", "link.zip", "nowhere.zip"):
        assert main(["support-bundle", "--output", name]) == 1
        assert "Raison : ce fichier existe déjà" in capsys.readouterr().err
    assert (home / "mine.zip").read_text() == "mine"
    assert (home / "link.zip").is_symlink()
    assert main(["support-bundle", "--output", "mine.zip", "--force"]) == 0
    assert set(members_of(home / "mine.zip")) == PARTS
    assert stat.S_IMODE((home / "mine.zip").stat().st_mode) == 0o600


def test_without_keyring_messages_stay_closed_and_all_that_is_clear_is_told(home: Path) -> None:
    own = journal(home / ".local/share/insi-agent/journal")
    whole(own, "trace-1")
    own.close()

    members, failed = bundle(home, wanted=Wanted(last=1))

    closed = {"traces/1-attempt-1-request.xml", "traces/1-attempt-1-reply.xml"}
    assert set(failed) == closed
    assert all("keyring.absent" in members[name] for name in closed)
    facts = members["traces/1-WS_INS2.json"]
    assert (facts["codes"], facts["origin"], facts["people"]) == (["00"], "https://dossier.example", "noKey")
    assert facts["attempts"][0]["requestSha256"] == "ab" * 32
    assert all(name in members["LISEZ-MOI.txt"] for name in closed)


def test_no_files_name_holds_anything_of_the_journal_but_an_operation_that_we_know(home: Path) -> None:
    own = journal(home / ".local/share/insi-agent/journal")
    own.intend(replace(intent("../TESTEUSE"), operation="../../TESTEUSE"))
    own.close()

    members, _ = bundle(home, wanted=Wanted(last=1))

    assert [name for name in members if name.startswith("traces/")] == [
        "traces/1-operation.json",
        "traces/1-attempt-1-request.xml",
    ]


def test_of_an_erased_part_it_says_that_it_was_erased(tmp_path: Path) -> None:
    own = journal(tmp_path / "journal")
    whole(own, "trace-1")
    own.close()
    with opened(tmp_path / "journal") as copy:
        entries = [replace(entry, personal=None, erased_at="2028-01-01T00:00:00.000Z") for entry in copy.entries()]
    opener = Opener(KEY.verify_bytes, lambda: KEYS, None)

    made = members_of_operation(1, entries, opener, Pseudonyms(), whole=False)

    assert list(made) == ["traces/1-WS_INS2.json"]
    facts = made["traces/1-WS_INS2.json"]()
    assert (facts["people"], facts["attempts"][0]["requestKept"]) == ("erased", "erased")
    assert facts["codes"] == ["00"]


def test_a_damaged_journal_costs_the_operations_it_costs_and_nothing_else(home: Path) -> None:
    folder = home / ".local/share/insi-agent/journal"
    folder.mkdir(parents=True)
    (folder / "journal.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)

    members, _ = bundle(home, wanted=Wanted(last=3))

    assert members["versions.json"]["agent"]
    assert "opérations choisies, 0 en tout" in members["LISEZ-MOI.txt"]


@given(st.binary())
def test_whatever_a_kept_message_is_it_is_told_or_its_size_is(data: bytes) -> None:
    for told in (masked_xml(data), without_signatures(data)):
        assert told.startswith((b"<?xml", b"["))


@pytest.mark.parametrize("signature", ["", "no base64 §", "sha256:", "QUJD"])
def test_a_signature_that_is_none_is_never_told(signature: str) -> None:
    told = without_signatures(
        f'<a xmlns="http://www.w3.org/2000/09/xmldsig#"><SignatureValue>{signature}</SignatureValue></a>'.encode()
    )

    assert b"QUJD" not in told
    assert b"sha256:" in told or re.fullmatch(rb"\[\d+ octets\]", told)
