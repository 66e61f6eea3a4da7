"""`insi-agent proxy` and what the doctor says of it; the password goes into a real keyring in tests/journey."""

import io
from pathlib import Path

import pytest

from agent.cli import main
from agent.doctor import examine

SCRIPT = 'function FindProxyForURL(url, host) { return /tlsm/.test(host) ? "PROXY p.example:3128; DIRECT" : "DIRECT" }'


@pytest.fixture
def config(home: Path) -> Path:
    return home / "config.toml"


def shown(capsys: pytest.CaptureFixture[str], config: Path, text: str) -> list[str]:
    config.write_text(text)
    assert main(["proxy", "show", "--config", str(config)]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], config: Path, text: str, *words: str) -> str:
    config.write_text(text)
    assert main(["proxy", *words, "--config", str(config)]) == 1
    return capsys.readouterr().err


def found(config: Path) -> tuple[bool, str]:
    (finding,) = [one for one in examine(config) if one.what == "Proxy"]
    return finding.well, finding.says


def test_without_a_proxy_insi_is_reached_directly(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, config, "") == [
        "Proxy : aucun, INSi est joint directement",
        "https://qualiflps.services-ps.ameli.fr/lps : directement",
        "https://qualiflps-services-ps-tlsm.ameli.fr/lps : directement",
    ]


def test_a_script_is_asked_for_each_of_insis_addresses(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "proxy.pac").write_text(SCRIPT)
    lines = shown(
        capsys,
        config,
        f'[proxy]\nuse = "script"\nscript = "{config.parent}/proxy.pac"\nscript_timeout_s = 60\nuser = "compte"\n'
        '[insi.endpoints.test]\ncpx = "https://insi.example/lps"\n',
    )

    assert lines == [
        f"Proxy : selon le script {config.parent}/proxy.pac, avec un compte (Basic)",
        "https://insi.example/lps : directement",
        "https://qualiflps-services-ps-tlsm.ameli.fr/lps : http://p.example:3128, sinon directement",
    ]


def test_a_script_of_other_ways_is_told_with_its_answer(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "proxy.pac").write_text('function FindProxyForURL() { return "SOCKS s.example:1080" }')
    settings = f'[proxy]\nuse = "script"\nscript = "{config.parent}/proxy.pac"\nscript_timeout_s = 60\n'

    said = refused(capsys, config, settings, "show")

    assert "Réponse du script : SOCKS s.example:1080" in said
    assert "[proxy.script" in said


def test_no_password_is_asked_for_without_an_account(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, config, '[proxy]\nuse = "explicit"\naddress = "http://p:1"\n', "enrol")

    assert "Réglage : proxy.user" in said


def test_an_empty_password_is_not_kept(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))

    assert "rien n'a été saisi" in refused(capsys, config, '[proxy]\nuser = "compte"\n', "enrol")


def test_the_doctor_says_which_way_is_in_force_and_does_not_name_the_account(config: Path) -> None:
    config.write_text('[proxy]\nuse = "explicit"\naddress = "http://proxy.example:3128"\n')
    plain = found(config)
    config.write_text('[proxy]\nuse = "none"\nuser = "jeanne.exemple"\n')
    unused = found(config)

    assert plain == (True, "http://proxy.example:3128")
    assert unused == (True, "aucun, INSi est joint directement")
