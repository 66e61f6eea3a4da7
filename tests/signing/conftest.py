"""What the signing tests share: one throw-away CA and card, and the real PKCS#11 module of OpenSC."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.pin import Pin
from agent.signing.fake_token import SimulatedCard, card_file, save_card
from agent.signing.worker import TokenWorker
from agent.simulator.pki import Issued, Person, issue_card, issue_card_certificate, make_ca
from tests.cards.process import CardProcess
from tests.parts.pcscd import Pcscd


@pytest.fixture(scope="session")
def ca() -> Issued:
    return make_ca()


@pytest.fixture(scope="session")
def doctor(ca: Issued) -> Issued:
    """The signature certificate of an invented doctor, and its key."""
    return issue_card_certificate(ca, Person())


@pytest.fixture(scope="session")
def card(ca: Issued) -> SimulatedCard:
    return issue_card(ca, Person())


@pytest.fixture
def state(tmp_path: Path, card: SimulatedCard) -> Path:
    """A simulator's state folder whose reader holds the card."""
    card_file(tmp_path).parent.mkdir()
    save_card(card, card_file(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def opensc() -> Path:
    modules = sorted(Path("/usr/lib").glob("**/opensc-pkcs11.so"))
    assert modules, "OpenSC is missing: apt-get install opensc opensc-pkcs11"
    return modules[0]


@dataclass(frozen=True)
class Desk:
    """A workstation with a CPS3 in its reader."""

    card: CardProcess
    tokens: TokenWorker

    @property
    def serial(self) -> str:
        return self.tokens.look()[0].serial


@pytest.fixture
def desk(pcscd: Pcscd, opensc: Path, state: Path) -> Callable[..., AbstractContextManager["Desk"]]:
    """`with desk("--relaxed") as …`: a fresh virtual CPS3 behind OpenSC, in a worker of its own."""

    @contextmanager
    def opened(*options: str) -> Iterator[Desk]:
        content = ("--card", str(card_file(state)))
        with CardProcess("tests.cards.cps3", pcscd.port_of("CPS"), *content, *options) as inserted:
            inserted.insert()
            tokens = TokenWorker(opensc, environment=pcscd.environment)
            try:
                yield Desk(inserted, tokens)
            finally:
                tokens.close()

    return opened


def typed_into(code: bytearray) -> Pin:
    """What the PIN window would hand over, in a buffer that the test can look at afterwards."""
    return Pin(code)


def typed(code: str) -> Pin:
    """What the PIN window would hand over."""
    return Pin(bytearray(code.encode()))
