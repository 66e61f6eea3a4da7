"""`insi-agent sites`: on the file where no agent runs, with the agent's lock; through the agent see the journey."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli import main
from agent.consent import Consent, Decided, Decisions
from agent.errors import CATALOGUE, Code
from agent.places import Places, announce, claim
from agent.sites import keep_decisions, read_decisions

ALLOWED, BLOCKED, OURS = "https://a.example", "https://b.example", "https://notre.example"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def places(home: Path) -> Places:
    """Of a user who allowed one site and blocked another, in the simulator."""
    made = Places.simulated().create()
    decisions = Decisions().answered(ALLOWED, Consent.ALLOW, NOON).answered(BLOCKED, Consent.BLOCK, NOON)
    keep_decisions(made.data, decisions)
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["sites", *words]) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["sites", *words]) == 1
    return capsys.readouterr().err.splitlines()[0]


def sentence(code: Code) -> str:
    return f"{CATALOGUE[code].title.fr} {CATALOGUE[code].action.fr}"


@pytest.mark.parametrize("words", [["--simulated"], ["--simulated", "list"], ["list", "--simulated"]])
def test_each_site_is_listed_with_what_holds_and_what_it_may_do(
    places: Places, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    day = f"{NOON.astimezone():%d/%m/%Y}"

    assert said(capsys, *words).splitlines() == [
        f"{ALLOWED} : autorisé depuis le {day} (vitale, cpx, insi.retrieve, insi.verify, trace)",
        f"{BLOCKED} : toujours refusé depuis le {day}",
    ]


def test_the_real_sites_are_not_the_simulators(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == "Aucun site n'a été autorisé ni refusé.\n"
    assert said(capsys, "--json") == "[]\n"


def test_json_is_what_the_agent_answers(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = json.loads(said(capsys, "--simulated", "--json"))[1]

    assert blocked == {
        "origin": BLOCKED,
        "state": "blocked",
        "by": "person",
        "rights": [],
        "since": "2026-11-23T12:00:00.000Z",
    }


def test_an_access_is_taken_back_and_a_refusal_lifted_in_the_file(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ALLOWED not in said(capsys, "revoke", ALLOWED, "--simulated")
    assert BLOCKED not in said(capsys, "--simulated", "unblock", BLOCKED)

    assert read_decisions(places.data) == Decisions()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["revoke", "https://inconnu.example"], Code.SITE_UNKNOWN),
        (["revoke", BLOCKED], Code.SITE_UNKNOWN),
        (["unblock", ALLOWED], Code.SITE_UNKNOWN),
        (["revoke", OURS], Code.SITE_LOCKED),
        (["unblock", OURS], Code.SITE_LOCKED),
    ],
)
def test_what_cannot_be_undone_is_said_in_the_catalogues_sentence(
    places: Places, tmp_path: Path, words: list[str], code: Code, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[[origins.allowed]]\norigin = "{OURS}"\n', encoding="utf-8")

    assert refusal(capsys, *words, "--simulated", "--config", str(config)) == sentence(code)
    assert len(read_decisions(places.data).sites) == 2


def test_configured_sites_are_listed_first_and_an_overruled_consent_is_said(
    places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[origins]\nunknown = "refuse"\n[[origins.allowed]]\norigin = "{OURS}"\nrights = ["vitale"]\n',
        encoding="utf-8",
    )

    lines = said(capsys, "--simulated", "--config", str(config)).splitlines()

    assert lines[0] == f"{OURS} : autorisé par la configuration (vitale)"
    assert lines[1].endswith("sans effet : la configuration passe avant")


def test_an_agent_that_holds_the_file_without_answering_is_not_passed_over(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would write its own list over ours."""
    release = claim(places.data)
    announce(places.runtime, 1)  # a port where nobody listens
    try:
        assert refusal(capsys, "revoke", ALLOWED, "--simulated") == sentence(Code.AGENT_RUNNING)
    finally:
        release()

    assert read_decisions(places.data).in_state(Decided.ALLOWED, NOON) == {ALLOWED}


@pytest.mark.parametrize("words", [["revoke"], ["danser"], ["list", ALLOWED], ["unblock", ALLOWED, BLOCKED]])
def test_wrong_words_end_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sites", *words])

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: insi-agent")
