"""The demonstration as a program, and a client that knows the protocol document and nothing of the agent."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.parts.program import Program

AGENT = Path(sys.executable).parent / "insi-agent"
OUTSIDER = Path(__file__).with_name("outsider.py")
ADDED = ("challenge", "clientRef", "instanceId", "iat")  # by the receipt, to the result
KEPT_OUT = ("receipt", "comparison")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def origin_and_story(home: Path) -> tuple[str, dict[str, Any]]:
    """What the outsider got from a running demonstration, which has ended well since."""
    with Program([str(AGENT), "demo", "--headless", "--json"], home) as program:
        address = program.address()
        outsider = subprocess.run(
            [sys.executable, "-I", str(OUTSIDER), address["ws"], address["origin"]],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        program.stop()
    assert outsider.returncode == 0, outsider.stderr
    return address["origin"], json.loads(outsider.stdout)


@pytest.fixture(scope="module")
def origin(origin_and_story: tuple[str, dict[str, Any]]) -> str:
    return origin_and_story[0]


@pytest.fixture(scope="module")
def story(origin_and_story: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return origin_and_story[1]


def test_the_client_is_an_outsider(story: dict[str, Any]) -> None:
    assert {"websockets", "cryptography"} <= set(story["modules"])
    assert not {"agent", "tests", "pytest"} & set(story["modules"])


def test_hello_proves_who_answers_whom_and_where(origin: str, story: dict[str, Any]) -> None:
    hello, (header, claims) = story["hello"], story["proof"]
    issued = claims.pop("iat")

    assert header == {"alg": "EdDSA", "kid": story["thumbprint"], "typ": "insi-proof+jws"}
    assert hello["receiptKey"]["kid"] == story["thumbprint"]
    assert claims == {
        "challenge": story["challenges"][0],
        "origin": origin,
        "instanceId": hello["agent"]["instanceId"],
        "environment": "simulated",
    }
    assert story["began"] <= issued <= time.time()


def test_the_vitale_names_its_holders(story: dict[str, Any]) -> None:
    holders = story["vitale"]["holders"]

    assert [holder["index"] for holder in holders] == list(range(len(holders)))
    assert all(holder["name"] and len(holder["nir"]) == 13 for holder in holders)


@pytest.mark.parametrize(("index", "mode"), [(0, "cpx"), (1, "organisation")])
def test_each_mode_gives_a_traced_result_with_a_receipt_over_all_of_it(
    index: int, mode: str, origin: str, story: dict[str, Any]
) -> None:
    result, (header, payload) = story["results"][index], story["receipts"][index]

    assert (result["outcome"], result["code"]) == ("found", "00")
    assert (result["trace"]["authMode"], result["trace"]["origin"]) == (mode, origin)
    assert header == {"alg": "EdDSA", "kid": story["thumbprint"], "typ": "insi-receipt+jws"}
    assert {name: value for name, value in payload.items() if name not in ADDED} == {
        name: value for name, value in result.items() if name not in KEPT_OUT
    }
    assert payload["challenge"] == story["challenges"][index + 1]
    assert payload["instanceId"] == story["hello"]["agent"]["instanceId"]
    assert story["began"] <= payload["iat"] <= time.time()


def test_a_comparison_is_the_pages_own_and_not_in_the_receipt(story: dict[str, Any]) -> None:
    assert story["results"][0]["comparison"]["birthName"]["local"] == "INCONNU"
    assert "comparison" not in story["results"][1]
    assert story["receipts"][0][1]["clientRef"] == "venue-1"


def test_another_sites_page_stays_outside(story: dict[str, Any]) -> None:
    assert story["refused"] == 403


def test_nothing_is_kept_outside_the_simulators_folder(home: Path, story: dict[str, Any]) -> None:
    simulator = home / ".local" / "state" / "insi-agent" / "simulator"
    kept = [file for file in home.rglob("*") if not file.is_dir()]

    assert story["results"] and simulator / "journal" in {folder for file in kept for folder in file.parents}
    assert [file for file in kept if not file.is_relative_to(simulator)] == []
    assert not (simulator / "runtime" / "agent.json").exists()


def test_it_may_be_stopped_as_soon_as_it_has_spoken(home: Path) -> None:
    """The line is said only once the signal is heard."""
    with Program([str(AGENT), "demo", "--headless", "--json"], home) as program:
        program.address()
        program.stop()
