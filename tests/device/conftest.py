"""Tests with your own PKCS#11 module and your own card: asked for by name, never part of `make test`.

See README.md beside this file.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.pin import Pin
from agent.signing.ports import TokenSeen
from agent.signing.worker import TokenWorker

HERE = Path(__file__).parent
MODULE, PIN, SERVICE = "INSI_AGENT_DEVICE_MODULE", "INSI_AGENT_DEVICE_PIN", "INSI_AGENT_DEVICE_PCSC"


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collected only when this folder, or a file in it, is named on the command line."""
    named = [Path(argument.partition("::")[0]).absolute() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def service() -> dict[str, str]:
    """The environment that leads to the card service: the other tests point this process at one of their own."""
    return {"PCSCLITE_CSOCK_NAME": os.environ.get(SERVICE, "/run/pcscd/pcscd.comm")} if sys.platform == "linux" else {}


@pytest.fixture(scope="session")
def tokens(service: dict[str, str]) -> Iterator[TokenWorker]:
    module = os.environ.get(MODULE)
    if not module:
        pytest.fail(f"set {MODULE} to the absolute path of a PKCS#11 module (see {HERE / 'README.md'})", pytrace=False)
    worker = TokenWorker(Path(module), environment=service)
    yield worker
    worker.close()


@pytest.fixture
def token(tokens: TokenWorker, service: dict[str, str]) -> Iterator[TokenSeen]:
    """The one CPx inserted, logged out; after the test logged out and reset, however it ended."""
    tokens.logout()
    seen = [found for found in tokens.look() if found.certificates]
    if len(seen) != 1:
        pytest.fail(f"insert exactly one CPx: {len(seen)} seen", pytrace=False)
    yield seen[0]
    try:
        tokens.logout()
    finally:
        reset = [sys.executable, "-m", "tests.device.reset", seen[0].reader]
        subprocess.run(reset, cwd=HERE.parents[1], env={**os.environ, **service}, check=True)


@pytest.fixture
def code() -> Callable[[], Pin]:
    """The right code of the card, as often as it is needed, from whoever runs the test."""
    text = os.environ.get(PIN, "")
    if not text:
        pytest.fail(f"nothing is signed without {PIN}: the right code of the card inserted", pytrace=False)
    return lambda: Pin(bytearray(text.encode()))
