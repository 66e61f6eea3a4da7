"""The card session on real parts: pcscd, a virtual CPS3, OpenSC or SoftHSM2 in its worker.

The rest of the desk is the bench.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.readers.pcsc import PcscReaders
from agent.signing.fake_token import card_file
from agent.signing.worker import TokenWorker
from agent.workflows import cpx
from tests.cards.process import CardProcess
from tests.parts.desktop import until
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.parts.softhsm import SoftHsm
from tests.workflows.making import OTHER, Bench


@dataclass
class Real:
    """A bench whose CPS, reader and module are real."""

    bench: Bench
    card: CardProcess
    tokens: TokenWorker
    pcscd: Pcscd

    @property
    def verified(self) -> bool:
        """Whether the card itself holds the code as verified: then any program may use it."""
        return bool(self.card.ask("state")["verified"])

    @property
    def resets(self) -> int:
        return int(self.card.ask("counts")["reset"])

    def look(self) -> None:
        """What the watcher does at each change."""
        self.bench.desk.seen = PcscReaders().seen()


@pytest.fixture
def real(bench: Bench, pcscd: Pcscd, simulator_pki: Path) -> Iterator[Callable[..., Real]]:
    modules = sorted(Path("/usr/lib").glob("**/opensc-pkcs11.so"))
    assert modules, "OpenSC is missing: apt-get install opensc opensc-pkcs11"
    with ExitStack() as parts:

        def opened(*options: str) -> Real:
            content = ("--card", str(card_file(simulator_pki)), "--relaxed", *options)
            card = parts.enter_context(CardProcess("tests.cards.cps3", pcscd.port_of("CPS"), *content))
            card.insert()
            tokens = TokenWorker(modules[0], environment=pcscd.environment, opensc_signs=True)
            parts.callback(tokens.close)
            bench.plug(PcscReaders())
            bench.desk.tokens = lambda: tokens
            made = Real(bench, card, tokens, pcscd)
            made.look()
            return made

        yield opened


def test_at_the_end_of_the_session_the_card_forgets_the_code_and_the_next_session_works(
    real: Callable[..., Real],
) -> None:
    """Trap: a logout leaves the code verified on the card, for every program. Our own reset ends our module's
    session as well: the next login must not stumble over it."""
    desk = real()
    for _ in range(2):
        assert desk.bench.do(desk.bench.by_traits()).code == "00"
        assert desk.verified
        assert desk.bench.do(desk.bench.lock()).unlocked is False
        assert not desk.verified

    assert len(desk.bench.person.questions) == 2


def test_the_next_origin_opens_a_session_of_its_own_on_a_card_that_forgot_the_code(real: Callable[..., Real]) -> None:
    desk = real()
    desk.bench.do(desk.bench.by_traits())
    before = desk.resets, desk.card.ask("state")["asked"]

    assert desk.bench.do(desk.bench.by_traits(OTHER)).code == "00"

    assert (desk.resets, desk.card.ask("state")["asked"]) == (before[0] + 1, before[1] + 1)


def test_a_worker_killed_with_a_session_open_leaves_no_verified_card(real: Callable[..., Real]) -> None:
    desk = real()
    desk.bench.do(desk.bench.unlock())
    assert desk.tokens.pid
    os.kill(desk.tokens.pid, signal.SIGKILL)
    until(lambda: desk.tokens.pid is None, "the worker is gone")
    assert desk.verified

    assert desk.bench.do(desk.bench.status()).unlocked is False
    assert not desk.verified
    assert desk.bench.do(desk.bench.by_traits()).code == "00"


def test_where_the_settings_say_so_the_card_keeps_the_code(real: Callable[..., Real]) -> None:
    desk = real()
    desk.bench.configure(cpx={"reset_card": False})
    desk.bench.do(desk.bench.unlock())

    desk.bench.do(cpx.end_session(desk.bench.desk))

    assert desk.verified


@pytest.mark.parametrize("manners", ["reset", "unpower"])
def test_another_programs_reset_makes_the_person_be_asked_again(real: Callable[..., Real], manners: str) -> None:
    desk = real()
    desk.bench.do(desk.bench.unlock())
    with OtherProgram(desk.pcscd.environment) as other:
        assert getattr(other, manners)(desk.pcscd.reader("CPS"))

    codes = [desk.bench.do(_outcome(desk.bench)) for _ in range(2)]

    assert codes[-1] == "00"
    assert set(codes[:-1]) <= {"00", Code.CPX_SESSION_LOST, Code.CARD_REMOVED}
    assert len(desk.bench.person.questions) == 2


def test_a_card_pulled_and_put_back_asks_again(real: Callable[..., Real]) -> None:
    desk = real()
    desk.bench.do(desk.bench.unlock())
    desk.card.remove()
    until(lambda: not _has_card(desk), "the reader is empty")
    desk.look()
    assert cpx.card_left(desk.bench.desk)
    assert desk.bench.refused(desk.bench.by_traits()).code is Code.CPX_ABSENT
    assert desk.bench.desk.session is None
    desk.card.insert()
    desk.look()

    assert desk.bench.do(desk.bench.by_traits()).code == "00"
    assert len(desk.bench.person.questions) == 2


def test_a_card_service_killed_and_started_again_in_the_middle_leaves_no_session(real: Callable[..., Real]) -> None:
    desk = real()
    desk.bench.do(desk.bench.unlock())
    desk.pcscd.kill()
    try:
        desk.bench.desk.seen = None
        failed = desk.bench.refused(desk.bench.by_traits()).code
        assert desk.bench.desk.session is None
    finally:
        desk.pcscd.restart()
    desk.card.insert()
    desk.look()

    assert failed in {Code.CPX_ABSENT, Code.CPX_SESSION_LOST, Code.CARD_REMOVED, Code.TOKEN_UNKNOWN}
    assert desk.bench.do(desk.bench.by_traits()).code == "00"
    assert len(desk.bench.person.questions) == 2


@pytest.fixture
def asking(bench: Bench, softhsm_each_time: SoftHsm) -> Iterator[Bench]:
    """SoftHSM2 with keys that want the code at each signature: OpenSC cannot give it to a CPS3."""
    tokens = TokenWorker(softhsm_each_time.module, environment=softhsm_each_time.environment)
    bench.desk.tokens = lambda: tokens
    yield bench
    tokens.close()


def test_a_key_that_asks_each_time_signs_with_the_code_typed_for_it(asking: Bench) -> None:
    for _ in range(2):
        assert asking.refused(asking.by_traits()).facts["attempts"]  # INSi does not know this card's CA

    assert len(asking.insi.received) == 2
    asked = [question.operation.startswith("Signature") for question in asking.person.questions]
    assert asked == [False, True, True]


def test_a_wrong_code_at_a_signature_ends_the_session_and_sends_nothing(asking: Bench) -> None:
    asking.do(asking.unlock())
    asking.person.answer = "0000"

    refused = asking.refused(asking.by_traits())

    assert (refused.code, refused.facts["pinState"]) == (Code.PIN_WRONG, "low")
    assert (asking.desk.session, asking.insi.received) == (None, [])
    assert asking.do(asking.status()).unlocked is False


async def _outcome(bench: Bench) -> str:
    """INSi's code, or ours."""
    try:
        return (await bench.by_traits()).code
    except AgentError as error:
        return error.code


def _has_card(desk: Real) -> bool:
    reader = desk.pcscd.reader("CPS")
    return any(one.reader == reader and one.card for one in PcscReaders().seen())
