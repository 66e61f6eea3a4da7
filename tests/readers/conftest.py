"""Cards in the readers of the test's own card service, and somebody who watches them."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.model import CardKind
from tests.cards.process import CardProcess
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.readers.watched import Desk


@pytest.fixture
def desk(pcscd: Pcscd) -> Iterator[Desk]:
    watched = Desk()
    yield watched
    watched.close()


@pytest.fixture
def vitale(pcscd: Pcscd, desk: Desk) -> Iterator[Callable[..., CardProcess]]:
    """Insert a virtual card with these options into the reader "Vitale"; it is out and noticed at the end."""
    reader, cards = pcscd.reader("Vitale"), list[CardProcess]()

    def insert(*options: str, kind: CardKind = CardKind.VITALE_2) -> CardProcess:
        cards.append(CardProcess("tests.cards.vitale", pcscd.port_of("Vitale"), *options))
        cards[-1].insert()
        desk.until_card(reader, kind)
        return cards[-1]

    yield insert
    for card in cards:
        card.__exit__()
    after = Desk()
    after.until_card(reader, None)
    after.close()


@pytest.fixture
def other(pcscd: Pcscd) -> Iterator[OtherProgram]:
    """Another program on this workstation."""
    with OtherProgram(pcscd.environment) as program:
        yield program
        program.let_go()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Start a program of this file name; what it does is wait."""
    processes: list[subprocess.Popen[bytes]] = []
    sleep = shutil.which("sleep")
    assert sleep

    def started(name: str) -> None:
        shutil.copy(sleep, tmp_path / name)
        processes.append(subprocess.Popen([tmp_path / name, "600"]))

    yield started
    for process in processes:
        process.kill()
        process.wait()
