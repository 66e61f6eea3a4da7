"""`insi-agent environment` and `profile`: on the file where no agent runs; through the agent see the journey."""

import json
from pathlib import Path

import pytest

from agent.choice import keep_choice, read_choice
from agent.cli import main
from agent.errors import CATALOGUE, Code
from agent.model import Environment, Profile
from agent.options import Options
from agent.places import Places, announce, claim
from agent.running import RunningAgent
from agent.switching import Choice


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main([*words]) == 0
    return capsys.readouterr().out.splitlines()


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main([*words]) == 1
    return capsys.readouterr().err.splitlines()


def sentence(code: Code) -> str:
    return f"{CATALOGUE[code].title.fr} {CATALOGUE[code].action.fr}"


def test_what_counts_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "environment") == ["Environnement : test (test, avec des cartes de test)"]
    assert said(capsys, "profile") == ["Profil : repository (référentiel d'identités, recherche et vérifie)"]


def test_a_choice_is_kept_for_the_next_start_and_the_other_one_stays(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "environment", "production")[0].startswith("Environnement : production ")
    assert said(capsys, "profile", "consumer")[0].startswith("Profil : consumer ")

    assert read_choice(Places.real().data) == Choice(environment=Environment.PRODUCTION, profile=Profile.CONSUMER)
    assert json.loads("".join(said(capsys, "profile", "--json"))) == {
        "environment": "production",
        "profile": "consumer",
        "locked": [],
        "sources": {},
        "ignored": {},
        "nextStart": {},
    }


def test_a_choice_that_does_not_count_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_choice(Places.real().create().data, Choice(environment=Environment.SIMULATED))
    config = home / "config.toml"
    config.write_text('simulate = "forbid"\n', encoding="utf-8")

    assert said(capsys, "environment", "--config", str(config)) == [
        "Environnement : test (test, avec des cartes de test)",
        "Votre choix, simulated, est sans effet.",
    ]
    assert refusal(capsys, "environment", "simulated", "--config", str(config))[0] == sentence(Code.SIMULATOR_FORBIDDEN)


def test_an_agent_that_does_not_answer_is_not_passed_over(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would not know of the choice."""
    places = Places.real().create()
    release = claim(places.data)
    announce(places.runtime, 1)  # a port where nobody listens
    try:
        assert refusal(capsys, "environment", "production")[0] == sentence(Code.AGENT_RUNNING)
    finally:
        release()

    assert read_choice(places.data) == Choice()


def test_a_run_of_the_simulator_says_that_its_command_fixed_the_environment(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = RunningAgent(Options(simulate=True, port=0), Places.simulated().create())
    try:
        assert said(capsys, "environment") == [
            "Environnement : simulated (simulation, rien n'est réel)",
            "Fixé par la commande qui a démarré l'agent.",
        ]
        refused = refusal(capsys, "environment", "production")
        assert refused[:3] == [
            sentence(Code.SETTING_LOCKED),
            "Réglage : environment",
            "Fixé par : la commande qui a démarré l'agent",
        ]
        assert said(capsys, "profile", "consumer")[0].startswith("Profil : consumer ")
    finally:
        running.stop()

    assert read_choice(Places.real().data) == Choice()
    assert said(capsys, "environment")[0].startswith("Environnement : test ")


def test_what_was_configured_since_is_said_to_count_from_the_next_start_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "config.toml"
    config.write_text("", encoding="utf-8")
    running = RunningAgent(Options(port=0, config_file=config), Places.real().create())
    try:
        config.write_text('environment = "production"\n', encoding="utf-8")
        running.reload().result(20)
        assert said(capsys, "environment") == [
            "Environnement : test (test, avec des cartes de test)",
            "Au prochain démarrage : production (production, avec de vrais patients)",
        ]
        assert said(capsys, "environment", "test")[1:] == []  # now it is a choice
    finally:
        running.stop()


def test_a_file_of_settings_named_to_a_running_agents_command_is_said_to_be_without_effect(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "other.toml"
    config.write_text('environment = "production"\n', encoding="utf-8")
    running = RunningAgent(Options(simulate=True, port=0), Places.simulated().create())
    try:
        assert main(["environment", "--config", str(config)]) == 0
    finally:
        running.stop()

    told = capsys.readouterr()
    assert told.out.startswith("Environnement : simulated ")
    assert "L'agent en marche a ses propres réglages : --config est sans effet." in told.err.splitlines()


@pytest.mark.parametrize(
    "words", [["environment", "paris"], ["profile", "test"], ["environment", "test", "production"]]
)
def test_wrong_words_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: insi-agent")
