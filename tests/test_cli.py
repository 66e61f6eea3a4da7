"""The command line: its sentences, its exit statuses, and the program that runs until it is told to stop."""

import argparse
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from agent.cli import main
from agent.errors import CATALOGUE, AgentError, Code
from agent.identity import verify_rotation
from agent.identity_command import _renewed
from agent.journal.chain import Head, Verdict
from agent.journal.files import FILE, note_head
from agent.journal_told import Unread
from agent.journal_words import WHY
from agent.places import Places, Running, announce, claim, find_running, instance_id
from agent.secrets import FileSecrets, load_identity
from tests.journal.installed import Installed
from tests.parts.agent import RefusedError, Simulation, Site
from tests.parts.desktop import until
from tests.parts.program import Program, port_of
from tests.test_rotation import loaded, verified, written

AGENT = [sys.executable, "-m", "agent"]
CHECKOUT = str(Path(__file__).parent.parent)
SITE = "https://dossier.example"


def program(home: Path, *arguments: str, **environment: str) -> Program:
    return Program([*AGENT, *arguments], home, PYTHONPATH=CHECKOUT, **environment)


def sentence(code: Code) -> str:
    row = CATALOGUE[code]
    return f"{row.title.fr} {row.action.fr}\n"


def status_of(arguments: list[str]) -> int | str | None:
    """How argparse ends the program."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def simulator_of(home: Path) -> Path:
    return home / ".local/state/insi-agent/simulator"


# ---------------------------------------------------------------- arguments


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out == f"insi-agent {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["danser"],
        ["run", "--port", "70000"],
        ["run", "--port", "x"],
        ["status", "--tout"],
        ["identity"],
        ["identity", "drop"],
        ["wss"],
        ["wss", "show", "--for", "chromium"],
        ["cards", "danser"],
        ["cards", "record"],
        ["cards", "read", "--simulated"],
    ],
)
def test_wrong_arguments_end_with_2_and_say_which_are_right(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: insi-agent")


@pytest.mark.parametrize("command", ["status", "cards"])
@pytest.mark.parametrize("simulated", [[], ["--simulated"]])
def test_without_a_running_agent_the_catalogues_sentence_is_said(
    home: Path, command: str, simulated: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *simulated]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == sentence(Code.AGENT_NOT_RUNNING) + "[agent.notRunning]\n"


def test_an_agent_that_died_and_left_its_file_is_not_running(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = simulator_of(home) / "runtime"
    runtime.mkdir(parents=True)
    announce(runtime, 1)  # a port where nobody listens

    assert main(["status", "--simulated"]) == 1
    assert sentence(Code.AGENT_NOT_RUNNING) in capsys.readouterr().err


def test_a_wrong_configuration_is_said_with_the_setting_and_without_its_value(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text('profile = "un secret"\n', encoding="utf-8")

    assert main(["run", "--simulate", "--no-tray", "--port", "0", "--config", str(home / "config.toml")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(sentence(Code.CONFIG_INVALID))
    assert "profile" in said
    assert "secret" not in said


# ---------------------------------------------------------------- identity


def test_the_simulators_identity_is_shown_made_once_and_without_its_secret(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for _ in range(2):
        assert main(["identity", "show", "--simulated"]) == 0
        shown.append(json.loads(capsys.readouterr().out))

    assert shown[0] == shown[1]
    assert shown[0]["thumbprint"] == shown[0]["publicKey"]["kid"]
    assert shown[0]["publicKey"].keys() == {"crv", "kty", "x", "kid", "alg"}
    assert shown[0]["former"] == []
    assert not (home / ".local/share/insi-agent").exists()


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    assert main([*arguments]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_rotation_shows_the_new_identity_and_the_former_ones_with_their_statements(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = said_by(capsys, "identity", "show", "--simulated")
    instance = instance_id(simulator_of(home) / "data")

    second = said_by(capsys, "identity", "rotate", "--simulated")
    third = said_by(capsys, "identity", "rotate", "--simulated")

    assert third == said_by(capsys, "identity", "show", "--simulated")
    assert [key["thumbprint"] for key in third["former"]] == [first["thumbprint"], second["thumbprint"]]
    assert [key["publicKey"] for key in third["former"]] == [first["publicKey"], second["publicKey"]]
    followed = verify_rotation(
        third["former"][0]["statement"],
        accepted_thumbprints={first["thumbprint"]},
        public_jwks=[first["publicKey"]],
        instance_id=instance,
    )
    assert followed["to"] == second["publicKey"]
    assert not (home / ".local/share/insi-agent").exists()


def test_no_identity_is_rotated_under_a_running_agent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = said_by(capsys, "identity", "show", "--simulated")
    release = claim(simulator_of(home) / "data")

    assert main(["identity", "rotate", "--simulated"]) == 1
    release()

    assert capsys.readouterr().err.startswith(sentence(Code.AGENT_RUNNING))
    assert before == said_by(capsys, "identity", "show", "--simulated")


def test_no_identity_is_rotated_under_a_running_agent_whatever_the_environment_calls_its_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent of the desktop session, and a shell of cron, sudo or ssh without XDG_RUNTIME_DIR."""
    (home / "run").mkdir(mode=0o700)
    with program(home, "run", "--no-tray", "--port", "0", XDG_RUNTIME_DIR=str(home / "run")):
        started(home / "run/insi-agent")

        for elsewhere in (None, str(home / "elsewhere")):
            if elsewhere:
                monkeypatch.setenv("XDG_RUNTIME_DIR", elsewhere)
            assert main(["identity", "rotate"]) == 1
            assert capsys.readouterr().err.startswith(sentence(Code.AGENT_RUNNING))


def test_a_rotation_leaves_what_a_clock_that_was_ahead_has_signed_as_it_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the chain would be forged for good: the former key signs nothing that is later than its end."""
    said_by(capsys, "identity", "show", "--simulated")
    folder, ahead = simulator_of(home), datetime.now(UTC) + timedelta(hours=1)
    written(folder / "journal", loaded(folder / "data"), "ahead", ahead)
    written(folder / "journal", loaded(folder / "data"), "set right", datetime.now(UTC))

    assert main(["identity", "rotate", "--simulated"]) == 0

    said = capsys.readouterr()
    assert f"du {ahead:%Y-%m-%d}" in said.err
    assert len(json.loads(said.out)["former"]) == 1
    assert verified(folder / "journal", loaded(folder / "data")) == Verdict(4, clock_back=(3,))


def test_a_lost_identity_is_renewed_by_who_says_that_it_is_lost_and_by_nobody_else(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = said_by(capsys, "identity", "show", "--simulated")
    data = simulator_of(home) / "data"
    (data / "identity.secret").unlink()

    assert main(["identity", "show", "--simulated"]) == 1
    assert capsys.readouterr().err.startswith(sentence(Code.IDENTITY_DAMAGED))
    assert "insi-agent identity renew --lost" in sentence(Code.IDENTITY_DAMAGED)
    for words in (["renew"], ["rotate", "--lost"], ["show", "--lost"]):
        assert main(["identity", *words, "--simulated"]) == 1
        assert capsys.readouterr().err.startswith(sentence(Code.CONFIG_INVALID))
    release = claim(data)
    assert main(["identity", "renew", "--lost", "--simulated"]) == 1
    release()
    assert capsys.readouterr().err.startswith(sentence(Code.AGENT_RUNNING))

    new = said_by(capsys, "identity", "renew", "--lost", "--simulated")

    assert new == said_by(capsys, "identity", "show", "--simulated")
    assert new["thumbprint"] != lost["thumbprint"]


def journal_said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(["journal", *words, "--simulated"])
    return status, capsys.readouterr().out


def test_the_journal_of_a_lost_identity_is_set_aside_before_there_is_another_and_the_next_one_is_whole(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = Installed(home / ".local/state")
    installed.fill(2)
    lost, journal_keys = installed.secrets.get("identity"), installed.secrets.get("journal-key")
    before = installed.entries()
    installed.secrets.forget("identity")

    assert main(["identity", "renew", "--lost", "--simulated"]) == 0

    (aside,) = installed.journal.parent.glob("journal.lost-*")
    said = capsys.readouterr().err
    assert str(aside) in said
    assert "longtemps que la règle le demande" in said
    (note,) = installed.places.data.glob("journal-head.json.lost-*")
    assert not installed.places.noted_head.exists()
    assert journal_keys == installed.secrets.get("journal-key")
    installed.fill(1)
    assert journal_said(capsys, "verify")[0] == 0
    main(["journal", "rotate-key", "--simulated"])
    assert "Aucune n'est partie : un journal mis de côté peut en dépendre." in capsys.readouterr().out

    # what the sentence says of the former one, read in its place
    installed.journal.rename(installed.journal.with_name("new"))
    aside.rename(installed.journal)
    assert before == installed.entries()
    assert journal_said(capsys, "verify")[0] == 3
    status, listed = journal_said(capsys, "list", "--reveal", "patients")
    assert (status, listed.count("WS_INS")) == (0, 2)
    status, shown = journal_said(capsys, "show", "1", "--reveal", "patients")
    assert status == 0
    assert WHY[Unread.DAMAGED] in shown
    assert lost
    installed.secrets.set("identity", lost)  # found again
    (public,) = installed.places.data.glob("identity.public.lost-*")
    public.replace(installed.places.data / "identity.public")
    note.replace(installed.places.noted_head)
    again = journal_said(capsys, "show", "1", "--reveal", "patients")[1]
    assert "899700000001" in again
    assert "899700000001" not in shown
    assert journal_said(capsys, "verify")[0] == 0


class Elsewhere:
    """A lost identity whose journal is where `journal.directory` says."""

    def __init__(self, home: Path, journal: Path) -> None:
        config = home / "config.toml"
        config.write_text(f'[journal]\ndirectory = "{journal}"\n', encoding="utf-8")
        journal.mkdir(parents=True)
        self.places = Places.real().create()
        self.secrets = FileSecrets(self.places.data)
        load_identity(self.secrets, self.places.data)
        self.secrets.forget("identity")
        note_head(self.places.noted_head, journal, Head(3, "a" * 64, "2025-03-04T05:06:07.000Z", b"s" * 64))
        self._parsed = argparse.Namespace(simulated=False, config=config)

    def renewed(self) -> str:
        """The new thumbprint."""
        return _renewed(self._parsed, self.places, self.secrets).thumbprint


def test_a_journal_that_cannot_be_set_aside_keeps_a_lost_identity_from_being_renewed(home: Path) -> None:
    """Here its name is too long for a longer one. Who moves its files away may go on."""
    journal = home / ("j" * 250)
    installed = Elsewhere(home, journal)
    (journal / FILE).write_bytes(b"a journal")

    for _ in range(2):
        with pytest.raises(AgentError) as refused:
            installed.renewed()
        assert refused.value.code is Code.CONFIG_INVALID
        assert refused.value.facts["setting"] == str(journal)
        assert "mettre ailleurs ce qu'il contient" in refused.value.facts["reason"]
        assert installed.secrets.get("identity") is None
        assert (installed.places.data / "identity.public").exists()

    (journal / FILE).unlink()
    assert installed.renewed() == load_identity(installed.secrets, installed.places.data).thumbprint


def test_a_lost_identity_is_not_renewed_while_the_disk_of_its_journal_is_away(home: Path) -> None:
    installed = Elsewhere(home, home / "disk" / "journal")

    with pytest.raises(AgentError) as refused:
        installed.renewed()

    assert refused.value.code is Code.JOURNAL_UNAVAILABLE
    assert "journal-head.json" in refused.value.facts["reason"]
    assert installed.secrets.get("identity") is None
    installed.places.noted_head.unlink()
    assert installed.renewed() == load_identity(installed.secrets, installed.places.data).thumbprint


@pytest.mark.parametrize("name", ["identity.public", "journal-key.secret"])
def test_a_journal_stays_where_the_key_that_signed_it_is_kept(
    home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Only its note is lost, or only what opens the personal parts."""
    installed = Installed(home / ".local/state")
    installed.fill(1)
    (installed.places.data / name).write_bytes(b"")

    assert main(["identity", "renew", "--lost", "--simulated"]) == 0

    assert not list(installed.journal.parent.glob("journal.lost-*"))
    installed.fill(1)
    capsys.readouterr()
    assert journal_said(capsys, "verify")[0] == 0


def test_a_damaged_history_of_keys_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said_by(capsys, "identity", "rotate", "--simulated")
    (simulator_of(home) / "data" / "identity-rotations").write_text("rien\n", encoding="utf-8")

    for action in ("show", "rotate"):
        assert main(["identity", action, "--simulated"]) == 1
        assert capsys.readouterr().err.startswith(sentence(Code.IDENTITY_DAMAGED))


# ---------------------------------------------------------------- a running agent


def started(runtime: Path) -> Running:
    """What agent.json says once the program listens."""
    until(lambda: find_running(runtime) is not None, "the program listens")
    found = find_running(runtime)
    assert found
    return found


def test_the_program_answers_the_command_line_rereads_its_settings_and_ends_on_sigterm(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "config.toml"
    config.write_text("", encoding="utf-8")
    runtime = simulator_of(home) / "runtime"
    with program(home, "run", "--simulate", "--no-tray", "--port", "0", "--config", str(config)) as running:
        found = started(runtime)
        assert main(["status", "--simulated", "--json"]) == 0
        status = json.loads(capsys.readouterr().out)
        assert (status["environment"], status["profile"]) == ("simulated", "repository")
        assert main(["status", "--simulated"]) == 0
        assert capsys.readouterr().out.startswith("Environnement : simulated, profil repository\n")

        config.write_text('profile = "consumer"\n', encoding="utf-8")
        os.kill(running.pid, signal.SIGHUP)

        def reread() -> bool:
            assert main(["status", "--simulated"]) == 0
            return "profil consumer" in capsys.readouterr().out

        until(reread, "the new profile")

        assert main(["cards", "--simulated"]) == 0
        assert capsys.readouterr().out == (
            "Simulateur Vitale 0 : carte Vitale\nSimulateur CPS 0 : carte de professionnel\n"
        )
        assert main(["cards", "--simulated", "--json"]) == 0
        assert [reader["card"]["kind"] for reader in json.loads(capsys.readouterr().out)] == ["vitale2", "cpx"]
        assert found.pid == running.pid

    assert find_running(runtime) is None
    assert main(["status", "--simulated"]) == 1


def test_a_session_without_keyring_is_said_at_hello_and_nothing_is_kept_in_clear(home: Path) -> None:
    config = home / "config.toml"
    config.write_text(f'[[origins.allowed]]\norigin = "{SITE}"\n', encoding="utf-8")
    arguments = ["run", "--no-tray", "--port", "0", "--config", str(config)]
    with program(home, *arguments, PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring"):
        found = started(home / ".local/state/insi-agent/run")
        with pytest.raises(RefusedError) as refused:
            Site(found.port, origin=SITE)
        assert refused.value.reason == "keyring.absent"
        assert refused.value.error["data"]["audience"] == "it"

    assert not list(home.rglob("*.secret"))


# ---------------------------------------------------------------- the demonstration


def test_without_a_desktop_the_demonstration_says_so_and_the_code_is_given_by_itself(home: Path) -> None:
    toussaint = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
    with program(home, "demo", "--json") as demo:
        address = demo.address()
        site = Site(port_of(address), origin=address["origin"])
        assert site.call("insi.retrieveByTraits", traits=toussaint)["code"] == "00"
        site.close()
        assert demo.said() == ("Pas de bureau ici : ni fenêtre ni icône, le code simulé est donné sans être demandé.\n")


def test_a_second_simulator_is_refused_in_a_sentence_before_it_says_an_address_and_the_first_serves_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with program(home, "demo", "--headless", "--json") as first:
        address = first.address()
        for second in (["demo", "--headless", "--json"], ["run", "--simulate", "--no-tray", "--port", "0"]):
            assert main(second) == 1
            said = capsys.readouterr()
            assert said.out == ""
            assert said.err == sentence(Code.AGENT_RUNNING) + "[agent.running]\n"
        assert main(["status", "--simulated", "--json"]) == 0
        site = Site(port_of(address), origin=address["origin"])
        assert site.call("vitale.read")["holders"]
        site.close()


def test_a_browser_that_stays_in_the_foreground_does_not_keep_the_demonstration(home: Path) -> None:
    """As `BROWSER="chromium %s"`: it returns when the person closes it."""
    opened = home / "opened"
    browser = home / "browser"
    browser.write_text(f"#!/bin/sh\necho $$ > {opened}.new && mv {opened}.new {opened}\nexec sleep 600\n")
    browser.chmod(0o700)
    environment = {**os.environ, "DISPLAY": ":no-such-display", "BROWSER": f"{browser} %s"}
    demo = subprocess.Popen([*AGENT, "demo"], cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL)
    try:
        until(opened.exists, "the browser was opened", seconds=60)
        demo.terminate()
        assert demo.wait(40) == 0
    finally:
        demo.kill()
        os.kill(int(opened.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "http://127.0.0.1", "http://[::1]:8443", "https://dev.example"]
)
def test_a_developers_own_page_is_let_in_while_its_demonstration_runs(
    home: Path, origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    toussaint = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
    with program(home, "demo", "--headless", "--json", "--origin", "https://other.example", "--origin", origin) as demo:
        port = port_of(demo.address())
        site = Site(port, origin=origin)
        assert site.hello["originState"] == "allowed"
        assert site.call("insi.retrieveByTraits", traits=toussaint)["code"] == "00"
        site.close()
    assert main(["sites", "--simulated", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []  # nothing of it is kept


@pytest.mark.parametrize(
    "origin",
    [
        "http://dossier.example",
        "http://localhost:5173/",
        "http://localhost:80",
        "http://localhost:65536",
        "http://127.0.0.2:5173",
        "http://localhost.example",
        "https://Dossier.example",
        "https://dossier.example:443",
        "localhost:5173",
        "null",
        "*",
        "",
    ],
)
def test_what_is_no_origin_of_a_page_ends_the_demonstration_with_a_sentence(
    home: Path, origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--headless", "--json", "--origin", origin]) == 1

    said = capsys.readouterr()
    assert "Réglage : --origin" in said.err
    assert "sans / à la fin" in said.err and "http://localhost:8000" in said.err
    assert said.out == ""


def test_a_port_that_is_taken_ends_the_demonstration_with_a_sentence(
    home: Path, agent: Simulation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--headless", "--port", str(agent.port)]) == 1
    assert sentence(Code.PORTS_BUSY) in capsys.readouterr().err
