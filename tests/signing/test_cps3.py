"""A virtual CPS3 behind Debian's OpenSC, through the worker: what only a real card can show.

The commands of this card are those of public traces of a real CPS3 (OpenSC issue 2275).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind, CardSeen
from agent.readers.pcsc import PcscReaders
from agent.signing.cpx import check_known, signature_certificate
from tests.cards.process import CardProcess
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.signing.conftest import Desk, typed

Open = Callable[..., AbstractContextManager[Desk]]


def test_each_login_asks_the_card_once(desk: Open) -> None:
    with desk() as opened:
        serial = opened.serial
        counts = []
        for code in ("0000", "1234", "0000"):
            with suppress(AgentError):
                opened.tokens.login(serial, typed(code))
            state = opened.card.ask("state")
            counts.append((state["asked"], state["left"]))

        assert counts == [(1, 2), (2, 3), (3, 2)]


def test_looking_and_signing_never_send_the_code(desk: Open) -> None:
    with desk("--relaxed") as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))
        for _ in range(3):
            opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")
            opened.tokens.look()

        state = opened.card.ask("state")
        assert (state["asked"], state["signed"]) == (1, 3)


def test_a_module_that_cannot_sign_with_this_card_says_so(desk: Open) -> None:
    """The real signature key does PSO alone, which an OpenSC built with OpenSSL 3 has not (0x54, then 0x70)."""
    with desk() as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))

        with pytest.raises(AgentError) as refused:
            opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")

        assert refused.value.code is Code.MODULE_CANNOT_SIGN
        assert refused.value.facts["ckr"] == ["0x00000054", "0x00000070"]
        assert opened.tokens.look()[0].logged_in


def test_a_card_pulled_during_a_signature_is_said_and_serves_again_after_a_new_login(desk: Open) -> None:
    with desk("--relaxed") as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))
        cka_id = signature_certificate(token).cka_id
        worker = opened.tokens.pid
        opened.card.ask("pull_at_signature", on=True)

        with pytest.raises(AgentError) as pulled:
            opened.tokens.sign(token.serial, cka_id, b"x")
        opened.card.ask("pull_at_signature", on=False)
        opened.card.insert()
        with pytest.raises(AgentError) as afterwards:
            opened.tokens.sign(token.serial, cka_id, b"x")
        opened.tokens.login(opened.serial, typed("1234"))

        # vpcd answers the command in flight with nothing, a real driver with an error: OpenSC says 0x05 or "removed"
        assert pulled.value.code in (Code.CARD_REMOVED, Code.TOKEN_UNKNOWN)
        assert afterwards.value.code in (Code.CARD_REMOVED, Code.CPX_SESSION_LOST)
        assert len(opened.tokens.sign(token.serial, cka_id, b"x")) == 256
        assert opened.tokens.pid == worker
        assert opened.card.ask("state")["asked"] == 2  # one code per login: nothing was retried


def test_an_empty_reader_shows_nothing_and_a_card_put_in_later_is_seen(desk: Open) -> None:
    with desk() as opened:
        serial = opened.serial
        opened.card.remove()
        assert wait_for(lambda: opened.tokens.look() == [])

        opened.card.insert()
        assert opened.serial == serial


def test_a_swapped_card_is_not_the_one_that_was_unlocked(desk: Open) -> None:
    with desk("--relaxed") as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))
        opened.card.remove()
        opened.card.insert()

        with pytest.raises(AgentError) as refused:
            opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")

        assert refused.value.code in (Code.CARD_REMOVED, Code.CPX_SESSION_LOST)
        assert not opened.tokens.look()[0].logged_in


@pytest.mark.parametrize("manners", ["reset", "unpower"])
def test_a_card_reset_by_another_program_wants_the_code_again(desk: Open, pcscd: Pcscd, manners: str) -> None:
    """Any program that leaves the card with pyscard's default disposition does it. Never a retry with a kept code."""
    with desk("--relaxed") as opened, OtherProgram(pcscd.environment) as other:
        token = opened.tokens.login(opened.serial, typed("1234"))
        assert other.ask(manners, reader=pcscd.reader("CPS"))

        with pytest.raises(AgentError) as refused:
            opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")

        state = opened.card.ask("state")
        assert refused.value.code is Code.CPX_SESSION_LOST
        assert (state["asked"], state["signed"], state["verified"]) == (1, 0, False)
        opened.tokens.login(token.serial, typed("1234"))
        assert len(opened.tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")) == 256


def test_opensc_leaves_the_vitale_in_the_other_reader_alone(desk: Open, pcscd: Pcscd) -> None:
    """Without our configuration it tries all its drivers: 470 commands to the carte Vitale at each look (seen)."""
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as vitale, desk() as opened:
        vitale.insert()

        assert [token.reader for token in opened.tokens.look()] == [pcscd.reader("CPS")]
        assert vitale.counts()["apdus"] == 0


def test_asking_the_module_what_it_is_never_needs_the_code(desk: Open, pcscd: Pcscd) -> None:
    """As it starts, OpenSC reads the CPx that is there (46 commands); no VERIFY, and nothing to the Vitale."""
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as vitale, desk() as opened:
        vitale.insert()
        opened.tokens.module()
        started = opened.card.counts()["apdus"]
        opened.tokens.module()

        assert opened.card.counts()["apdus"] == started
        assert (opened.card.ask("state")["asked"], vitale.counts()["apdus"]) == (0, 0)


def test_a_cps4_is_seen_in_its_reader_and_its_module_is_said_to_be_too_old(desk: Open, pcscd: Pcscd) -> None:
    """OpenSC has no driver for it: it shows no token, which alone would read as "no card"."""
    with desk("--cps4-atr") as opened:
        readers = PcscReaders()

        def cards() -> list[CardSeen]:
            return [seen.card for seen in readers.seen() if seen.reader == pcscd.reader("CPS") and seen.card]

        assert wait_for(lambda: bool(cards()))
        (card,) = cards()

        assert opened.tokens.look() == []
        assert card.kind is CardKind.CPX
        with pytest.raises(AgentError) as refused:
            check_known(opened.tokens.module(), card.atr)
        assert refused.value.code is Code.MODULE_TOO_OLD


def wait_for(condition: Callable[[], bool]) -> bool:
    """pcscd notices a removal at its next poll, within 400 ms."""
    return any(condition() for _ in range(2000))
