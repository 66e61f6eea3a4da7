"""What the signing tests share: one throw-away CA and card, OpenSC, and a PKCS#11 module that does as it is told."""

import subprocess
import tempfile
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
    """`with desk("--relaxed") as …`: a fresh virtual CPS3 behind OpenSC, in a worker of its own.

    It holds the session's card, unless a `--variant` is wanted.
    """

    @contextmanager
    def opened(*options: str) -> Iterator[Desk]:
        content = () if "--variant" in options else ("--card", str(card_file(state)))
        with CardProcess("tests.cards.cps3", pcscd.port_of("CPS"), *content, *options) as inserted:
            inserted.insert()
            tokens = TokenWorker(opensc, environment=pcscd.environment)
            try:
                yield Desk(inserted, tokens)
            finally:
                tokens.close()

    return opened


@dataclass(frozen=True)
class Fake:
    """A worker with `fake_pkcs11.c`, and what was called in it."""

    tokens: TokenWorker
    log: Path

    def calls(self, name: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.split()[0] == name]


@pytest.fixture(scope="session")
def fake_module() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fake-pkcs11-") as folder:
        module = Path(folder) / "fake.so"
        source = Path(__file__).with_name("fake_pkcs11.c")
        command = ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(module), str(source)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield module


@pytest.fixture
def fake(fake_module: Path, tmp_path: Path) -> Callable[..., AbstractContextManager[Fake]]:
    """`with fake("C_Sign=abort") as …`: see `fake_pkcs11.c`. Its folder is nobody's idea of a safe place."""

    @contextmanager
    def loaded(*plan: str) -> Iterator[Fake]:
        log = tmp_path / "calls"
        environment = {"FAKE_PKCS11": " ".join(plan), "FAKE_PKCS11_LOG": str(log)}
        tokens = TokenWorker(fake_module, environment=environment, check=lambda path: path)
        try:
            yield Fake(tokens, log)
        finally:
            tokens.close()

    return loaded


def typed_into(code: bytearray) -> Pin:
    """What the PIN window would hand over, in a buffer that the test can look at afterwards."""
    return Pin(code)


def typed(code: str) -> Pin:
    """What the PIN window would hand over."""
    return Pin(bytearray(code.encode()))
