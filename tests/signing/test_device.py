"""The device tests are good for their purpose: they pass with two real modules, and print nobody."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from agent.simulator.pki import Person
from tests.parts.pcscd import Pcscd
from tests.parts.softhsm import SoftHsm
from tests.signing.conftest import Desk

ROOT = Path(__file__).parents[2]
PERSONAL = [Person().family, Person().national_id, Person().card_serial, "FICTIF"]


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_they_pass_with_softhsm2_and_print_nobody(softhsm: SoftHsm) -> None:
    status, said = run(
        "tests/device",
        INSI_AGENT_DEVICE_MODULE=str(softhsm.module),
        INSI_AGENT_DEVICE_PIN="1234",
        **softhsm.environment,
    )

    assert (status, "5 passed" in said) == (0, True), said
    assert not [text for text in PERSONAL if text and text in said]


def test_they_pass_with_opensc_and_a_relaxed_cps3_and_print_nobody(
    desk: Callable[..., AbstractContextManager[Desk]], opensc: Path, pcscd: Pcscd
) -> None:
    with desk("--relaxed") as opened:
        opened.tokens.look()  # somebody else is at the card: it keeps its power when the tests have ended
        status, said = run(
            "tests/device",
            INSI_AGENT_DEVICE_MODULE=str(opensc),
            INSI_AGENT_DEVICE_PIN="1234",
            INSI_AGENT_DEVICE_PCSC=pcscd.environment["PCSCLITE_CSOCK_NAME"],
        )
        state = opened.card.ask("state")

    assert (status, "5 passed" in said) == (0, True), said
    assert (state["asked"], state["signed"], state["left"], state["verified"]) == (1, 1, 3, False)
    assert not [text for text in PERSONAL if text and text in said]


def test_without_a_module_they_fail_and_say_what_to_set() -> None:
    status, said = run("tests/device")

    assert status == 1
    assert "set INSI_AGENT_DEVICE_MODULE" in said and "skipped" not in said


def test_they_are_no_part_of_the_other_tests() -> None:
    status, said = run("--collect-only", "tests", "--ignore-glob=tests/[!d]*")

    assert (status, "no tests collected" in said) == (5, True), said
