"""The doctor looks at every edge of this workstation, says what it found, and never falls ill itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.choice import keep_choice
from agent.cli import main
from agent.config import Settings
from agent.doctor import Finding, _agent, _calls, _journal, _lasts, _listed, _probe, _readers, examine
from agent.errors import CATALOGUE, AgentError, Code
from agent.journal.chain import Head
from agent.journal.files import note_head
from agent.journal.folder import passing_kind
from agent.model import Environment, Profile
from agent.places import Places, write_private
from agent.readers.pcsc import PcscReaders
from agent.switching import Choice
from tests.cards.process import CardProcess
from tests.cards.vitale import VITALE_2
from tests.insi.official import package
from tests.parts.agent import Simulation
from tests.parts.desktop import until
from tests.parts.pcscd import Pcscd

DOCTOR = """
import sys
from agent.config import Settings
from agent.doctor import _probe, _vitale
print(_probe("Vitale", _vitale, Settings.model_validate_json(sys.argv[1])).says)
"""

PROBES = [
    "Agent",
    "Configuration",
    "Agent en marche",
    "Lecteurs",
    "Autres logiciels de cartes",
    "Lecture de la carte Vitale",
    "Module PKCS#11",
    "Trousseau",
    "Journal",
    "Certificat de la structure",
    "Contrat d'INSi",
    "INSi",
    "Proxy",
    "Appels à INSi",
    "Certificat pour wss",
    "Icône",
    "Fenêtre du code",
    "Verrouillage de l'écran",
    "Navigateurs",
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration, in a home of its own without keyring and desktop."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config.toml"
    file.write_text("", encoding="utf-8")
    return file


@pytest.mark.usefixtures("config")
def test_where_the_persons_own_settings_belong_is_told_without_the_accounts_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    configuration = examine()[1]

    assert configuration.what == "Configuration"
    assert configuration.says.endswith("fichier de l'utilisateur : ~/.config/insi-agent/config.toml")


def test_a_choice_of_the_person_that_does_not_count_is_told(home: Path) -> None:
    keep_choice(Places.real().create().data, Choice(environment=Environment.SIMULATED, profile=Profile.CONSUMER))
    config = home / "config.toml"
    config.write_text('simulate = "forbid"\n', encoding="utf-8")

    says = examine(config)[1].says

    assert says.startswith("environnement test, profil consumer, votre choix simulated est sans effet, 0 site(s)")


def test_every_edge_is_looked_at_in_the_order_of_a_person(config: Path) -> None:
    findings = examine(config)

    assert [finding.what for finding in findings] == PROBES
    assert all(finding.says for finding in findings)
    assert not config.with_name("insi-agent").exists()


def test_a_certificate_and_a_module_that_are_not_there_are_found_missing(config: Path) -> None:
    config.write_text(
        f'[organisation]\ncertificates = ["{config.parent}/absent.p12"]\n[cpx]\nmodule = "{config.parent}/absent.so"\n',
        encoding="utf-8",
    )
    found = {finding.what: finding for finding in examine(config)}

    module, certificate = found["Module PKCS#11"], found["Certificat de la structure"]
    assert (module.well, certificate.well) == (False, False)
    assert Code.MODULE_MISSING.value in module.says
    # without a keyring its passphrase cannot be known, whether the file is there or not
    assert any(code.value in certificate.says for code in (Code.CERTIFICATE_MISSING, Code.KEYRING_ABSENT))


def test_the_contract_in_force_is_told_with_the_operations_it_knows(config: Path, tmp_path: Path) -> None:
    def contract(insi: str) -> Finding:
        config.write_text(f"[insi]\n{insi}\n", encoding="utf-8")
        return next(finding for finding in examine(config) if finding.what == "Contrat d'INSi")

    ours, theirs = contract(""), contract(f'contract = "{package(tmp_path)}"')
    absent = contract(f'contract = "{tmp_path}/absent"')

    assert (ours.well, ours.says) == (True, "celui de l'agent, qui connaît WS_INS1, WS_INS2")
    assert theirs.says == "le paquet officiel désigné, qui connaît WS_INS1, WS_INS2, WS_INS3, WS_INS4, WS_INS5"
    assert not absent.well
    assert Code.CONTRACT_UNREADABLE.value in absent.says


def module_of(config: Path, module: Path) -> Finding:
    config.write_text(f'[cpx]\nmodule = "{module}"\n', encoding="utf-8")
    return next(finding for finding in examine(config) if finding.what == "Module PKCS#11")


def test_opensc_is_said_to_read_and_not_to_sign(config: Path) -> None:
    (module,) = sorted(Path("/usr/lib").glob("*-linux-gnu/opensc-pkcs11.so"))[:1]

    found = module_of(config, module)

    assert not found.well
    assert found.says.startswith(CATALOGUE[Code.MODULE_CANNOT_SIGN].title.fr)
    for words in ("OpenSC (bibliothèque 0.", str(module.resolve()), "ELF", "installer la Cryptolib CPS"):
        assert words in found.says


def test_a_card_service_that_is_up_and_never_answers_is_a_finding(pcscd: Pcscd) -> None:
    os.kill(pcscd.pid, signal.SIGSTOP)
    try:
        with pytest.raises(AgentError) as stuck:
            _listed(PcscReaders(), timeout_s=0.5)
    finally:
        os.kill(pcscd.pid, signal.SIGCONT)

    assert stuck.value.code is Code.PCSC_UNAVAILABLE
    assert _probe("Lecteurs", _readers, Settings()).says == ", ".join(
        f"{pcscd.reader(name, slot)} (vide)" for name in ("Vitale", "CPS", "Bureau") for slot in (0, 1)
    )


def test_the_doctor_knows_the_cards_of_the_settings(pcscd: Pcscd) -> None:
    settings = Settings.model_validate({"readers": {"cards": [{"atr": VITALE_2, "kind": "cpx"}]}})
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as card:
        card.insert()
        until(lambda: any(one.card for one in PcscReaders().seen()), "the card is seen")
        says = _probe("Lecteurs", _readers, settings).says
        card.remove()
    until(lambda: not any(one.card for one in PcscReaders().seen()), "the card is out")

    assert f"{pcscd.reader('Vitale')} (cpx)" in says


@pytest.mark.parametrize(("managed", "says"), [(False, "api_lec ("), (True, Code.MODULE_UNSAFE.value)])
def test_the_doctor_is_as_strict_with_the_reading_library_as_the_agent(
    tmp_path: Path, managed: bool, says: str
) -> None:
    """On a managed install administrators alone may be able to replace it. Root sees this as an ordinary user."""
    library = tmp_path / "libapi_lec.so"
    shutil.copy("/bin/true", library)
    library.chmod(0o755)
    apilec = {"library": str(library), "configuration": str(tmp_path)}
    settings = Settings.model_validate({"managed": managed, "vitale": {"backend": "apilec", "apilec": apilec}})
    ordinary = ["unshare", "--user", "--map-user=1000"] if os.geteuid() == 0 else []

    found = subprocess.run(
        [*ordinary, sys.executable, "-c", DOCTOR, settings.model_dump_json()],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )

    assert says in found.stdout


def test_a_module_that_others_could_replace_is_not_loaded(config: Path, tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.touch()
    module.chmod(0o666)

    found = module_of(config, module)

    assert not found.well
    assert found.says.startswith("Ce composant peut être remplacé par un autre utilisateur")


# ---------------------------------------------------------------- the journal, and calls


SIMULATED = Settings.model_validate({"environment": "simulated"})
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}


def journal_of(**sections: Any) -> Finding:
    return _probe("Journal", lambda one: _journal(one, _agent(one)), Settings.model_validate(sections))


@pytest.fixture
def simulator(home: Path, simulator_pki: Path) -> Iterator[Simulation]:
    """The simulator of this home, running; with the setting that a test writes into its file."""
    folder = home / ".local/state/insi-agent"
    folder.mkdir(parents=True)
    shutil.copytree(simulator_pki, Places.simulated().data)
    running = Simulation(folder, "", 0)
    yield running
    running.stop()


@pytest.mark.usefixtures("home")
def test_where_the_journal_will_be_is_told_with_its_rules_and_nothing_is_made() -> None:
    says = journal_of(environment="simulated").says

    assert says.startswith("~/.local/state/insi-agent/simulator/journal, 0,0 Mo ; ")
    for told in (
        "clé à créer au premier usage",
        "sans seconde copie",
        "données personnelles effacées après 1095 jours, écritures gardées 3650 jours",
    ):
        assert told in says
    assert not Places.simulated().data.exists()
    kept = journal_of(environment="simulated", journal={"personal_days": None, "entry_days": None}).says
    assert "données personnelles jamais effacées, écritures toujours gardées" in kept


def test_a_journal_that_would_not_last_is_found(home: Path) -> None:
    in_memory = journal_of(journal={"directory": "/dev/shm/insi-agent-essai"})  # noqa: S108  (nothing is written there)
    on_disk = journal_of(journal={"directory": str(home / "journal")})
    noted, left = Places.real().create().noted_head, "le journal qui y était n'y est plus"
    note_head(noted, home / "journal", Head(3, "a" * 64, "2025-03-04T05:06:07.000Z", b"s" * 64))
    assert left in journal_of(journal={"directory": str(home / "journal")}).says
    assert left not in journal_of().says

    assert not in_memory.well
    assert "en mémoire (tmpfs) : il y sera perdu, désigner un dossier qui dure (journal.directory)" in in_memory.says
    assert ("sur un disque local" in on_disk.says) is (passing_kind(home) is None)


@pytest.mark.parametrize(
    ("network", "passing", "says"),
    [
        (None, None, "sur un disque local"),
        ("nfs4", "en mémoire (tmpfs)", "sur un réseau (nfs4), il est refusé"),
        (None, "profil temporaire", "profil temporaire : il y sera perdu"),
    ],
)
def test_where_a_journal_may_be_and_lasts(network: str | None, passing: str | None, says: str) -> None:
    lasts, told = _lasts(network, passing)

    assert told.startswith(says)
    assert lasts is not (network or passing)
    assert lasts is (says == "sur un disque local")


@pytest.mark.usefixtures("home")
def test_a_disk_without_the_room_that_a_call_needs_is_found() -> None:
    found = journal_of(environment="simulated", insi={"max_reply_bytes": 1 << 60})

    assert not found.well
    assert "Mo libres, un appel peut en demander " in found.says


@pytest.mark.usefixtures("home")
def test_a_journal_whose_key_is_gone_is_found_and_no_other_is_made() -> None:
    data = Places.simulated().create().data
    write_private(data / "journal-key.public", b"0123456789abcdef\n")

    found = journal_of(environment="simulated")

    assert not found.well
    assert Code.IDENTITY_DAMAGED.value in found.says
    assert not (data / "journal-key.secret").exists()


def calls_of_the_simulator() -> Finding:
    return _probe("", lambda one: _calls(_agent(one)), SIMULATED)


def test_what_an_agent_has_asked_of_insi_is_told_by_the_one_that_runs(
    simulator: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    """S034."""
    site = simulator.site()
    assert calls_of_the_simulator().says == "aucun depuis le démarrage de l'agent"
    site.call("insi.retrieveByTraits", traits=TOUSSAINT)
    well = calls_of_the_simulator()
    simulator.insi.stop()
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT)
    counted = site.call("agent.status")["operations"]["WS_INS2"]
    badly = calls_of_the_simulator()

    assert well.well
    assert well.says.startswith("WS_INS2 : 1 appel(s) (00 × 1), dont 0 en échec ; médiane ")
    assert not badly.well
    assert badly.says.startswith(f"WS_INS2 : {counted['calls']} appel(s) (00 × 1, {refused.reason} × ")
    assert badly.says.endswith(f", sans réponse [{refused.reason}]")
    assert (counted["faults"], counted["byCode"]["00"]) == (counted["calls"] - 1, 1)
    assert counted["maxMs"] >= counted["medianMs"] >= 0
    assert main(["status", "--simulated"]) == 0
    assert badly.says.split(" ; dernier échange")[0] in capsys.readouterr().out
    journal = journal_of(environment="simulated").says
    assert "1 clé(s) à portée" in journal
    assert ", 0,0 Mo" not in journal


def test_a_second_copy_that_is_late_is_found(simulator: Simulation, tmp_path: Path) -> None:
    ship = {"to": "folder", "folder": str(tmp_path / "absent" / "share")}
    (tmp_path / "absent").write_text("no folder", encoding="utf-8")
    file = simulator.running.agent.options.config_file
    assert file
    file.write_text(f'[journal.ship]\nto = "folder"\nfolder = "{ship["folder"]}"\n', encoding="utf-8")
    simulator.reload()
    site = simulator.site()
    site.call("insi.retrieveByTraits", traits=TOUSSAINT)
    until(lambda: bool(site.call("agent.status")["warnings"]), "the second copy is late")

    found = journal_of(environment="simulated", journal={"ship": ship})

    assert not found.well
    assert Code.JOURNAL_NOT_SHIPPED.value in found.says
    assert ship["folder"] not in found.says


@pytest.mark.usefixtures("home")
def test_an_agent_that_does_not_run_tells_nothing_of_its_calls_and_of_its_second_copy() -> None:
    assert calls_of_the_simulator().says == "l'agent arrêté n'en compte pas"
    found = journal_of(environment="simulated", journal={"ship": {"to": "syslog", "syslog": "unix:/dev/log"}})

    assert "seconde copie (syslog) : l'agent arrêté ne dit pas où elle en est" in found.says


def test_a_wrong_configuration_ends_the_examination_with_its_sentence(config: Path) -> None:
    config.write_text("[insi]\nretries = 99\n", encoding="utf-8")

    last = examine(config)[-1]

    assert (last.what, last.well) == ("Configuration", False)
    assert last.says.startswith("La configuration est incorrecte.")
    assert "insi.retries" in last.says


def test_a_configuration_that_cannot_be_read_is_a_finding_too(config: Path) -> None:
    last = examine(config.parent)[-1]  # a folder

    assert (last.what, last.well) == ("Configuration", False)
    assert "config.invalid" in last.says


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("un secret"), "sonde en échec : ValueError"),
        (AgentError(Code.PCSC_UNAVAILABLE), "Le service de cartes à puce ne répond pas."),
    ],
)
def test_a_probe_that_fails_is_a_finding_without_its_inside(error: Exception, says: str) -> None:
    def falls_ill(_settings: Settings) -> str:
        raise error

    found = _probe("Lecteurs", falls_ill, Settings())

    assert found.well is False
    assert found.says.startswith(says)
    assert "secret" not in found.says


def test_the_exit_status_is_0_when_all_is_well_and_1_otherwise(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["doctor", "--json", "--config", str(config)])
    findings = json.loads(capsys.readouterr().out)
    told = main(["doctor", "--config", str(config)])
    lines = capsys.readouterr().out.splitlines()

    assert status == told == (0 if all(finding["well"] for finding in findings) else 1)
    assert [line[:4] for line in lines] == ["[ok]" if finding["well"] else "[!!]" for finding in findings]
    config.write_text("[insi]\nretries = 99\n", encoding="utf-8")
    assert main(["doctor", "--config", str(config)]) == 1
