"""The doctor looks at every edge of this workstation, says what it found, and never falls ill itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.choice import keep_choice
from agent.cli import main
from agent.config import Settings
from agent.doctor import Finding, _listed, _probe, _readers, examine
from agent.errors import CATALOGUE, AgentError, Code
from agent.model import Environment, Profile
from agent.places import Places
from agent.readers.pcsc import PcscReaders
from agent.switching import Choice
from tests.cards.process import CardProcess
from tests.cards.vitale import VITALE_2
from tests.insi.official import package
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
    "Certificat de la structure",
    "Contrat d'INSi",
    "INSi",
    "Proxy",
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
