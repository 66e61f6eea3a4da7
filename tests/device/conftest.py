"""Tests with your own PKCS#11 module and your own card: asked for by name, never part of `make test`.

See README.md beside this file.
"""

import os
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
def tokens() -> Iterator[TokenWorker]:
    module = os.environ.get(MODULE)
    if not module:
        pytest.fail(f"set {MODULE} to the absolute path of a PKCS#11 module (see {HERE / 'README.md'})", pytrace=False)
    # the other tests point this process at a card service of their own
    service = os.environ.get(SERVICE, "/run/pcscd/pcscd.comm")
    worker = TokenWorker(
        Path(module), environment={"PCSCLITE_CSOCK_NAME": service} if sys.platform == "linux" else None
    )
    yield worker
    worker.close()


@pytest.fixture
def token(tokens: TokenWorker) -> TokenSeen:
    """The one CPx inserted, logged out."""
    tokens.logout()
    seen = [found for found in tokens.look() if found.certificates]
    if len(seen) != 1:
        pytest.fail(f"insert exactly one CPx: {len(seen)} seen", pytrace=False)
    return seen[0]


@pytest.fixture
def code() -> Callable[[], Pin]:
    """The right code of the card, as often as it is needed, from whoever runs the test."""
    text = os.environ.get(PIN, "")
    if not text:
        pytest.fail(f"nothing is signed without {PIN}: the right code of the card inserted", pytrace=False)
    return lambda: Pin(bytearray(text.encode()))
