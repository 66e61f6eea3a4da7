"""Traps of CPS cards and their PKCS#11 modules, seen in the field or on virtual cards: each has its test.

Those of the flags and of the names are in test_pkcs11.py, a foreign reset and the Vitale in the other reader in
test_cps3.py; that raw commands answer 6A86, 6Cxx and 61xx twice is for the readers' tests.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from agent.errors import AgentError, Code
from agent.readers.pcsc import PcscReaders
from agent.signing.assertion import unsigned_assertion
from agent.signing.cpx import card_facts, signature_certificate
from agent.signing.xmlsig import sign
from tests.parts.pcscd import Pcscd
from tests.signing.conftest import Desk, typed

Open = Callable[..., AbstractContextManager[Desk]]

SELECT_ACTIVITY = bytes.fromhex("00A40804040001D102")  # the first protected file of this card
READ = bytes.fromhex("00B0000000")
USE_AUTHENTICATION_KEY = bytes.fromhex("002241A403840182")
DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + bytes(32)
SIGN = bytes.fromhex("00880000") + bytes([len(DIGEST_INFO)]) + DIGEST_INFO
READ_DONE, SIGNED, REFUSED = 0x9000, 0x6100, 0x6982


def by_another_program(pcscd: Pcscd) -> tuple[int, int]:
    """What somebody without any code gets from the card in the reader: status of a protected file, of a signature."""
    with PcscReaders().transaction(pcscd.reader("CPS")) as card:
        card.transmit(SELECT_ACTIVITY)
        _data, status = card.transmit(READ)
        if status >> 8 == 0x6C:  # "so many bytes, ask again"
            _data, status = card.transmit(READ[:4] + bytes([status & 0xFF]))
        card.transmit(USE_AUTHENTICATION_KEY)
        return status, card.transmit(SIGN)[1]


def refusal(call: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as refused:
        call()
    return refused.value


def test_trap_the_code_stays_verified_on_the_card_after_logout_and_the_modules_end(desk: Open, pcscd: Pcscd) -> None:
    """C_Logout, C_CloseSession and C_Finalize take nothing back from the card; a reset does."""
    with desk() as opened:
        before = by_another_program(pcscd)
        opened.tokens.login(opened.serial, typed("1234"))
        opened.tokens.logout()
        opened.tokens.close()
        after = by_another_program(pcscd)

        PcscReaders().reset(pcscd.reader("CPS"))

        assert before == (REFUSED, REFUSED)
        assert after == (READ_DONE, SIGNED), "if this module now takes it back: cpx.reset_card could be off with it"
        assert by_another_program(pcscd) == (REFUSED, REFUSED)


def test_trap_opensc_lets_a_former_code_in_while_the_card_is_verified(desk: Open, pcscd: Pcscd) -> None:
    """It compares with the last code it saw and does not ask the card. So the agent resets it with each session."""
    with desk() as opened:
        serial = opened.serial
        opened.tokens.login(serial, typed("1234"))
        opened.card.ask("change_pin", code="9876")
        opened.tokens.logout()
        let_in = opened.tokens.login(serial, typed("1234")).logged_in
        opened.tokens.logout()
        asked = opened.card.ask("state")["asked"]

        PcscReaders().reset(pcscd.reader("CPS"))

        assert (let_in, asked) == (True, 1)
        assert refusal(lambda: opened.tokens.login(serial, typed("1234"))).code is Code.PIN_WRONG
        assert opened.tokens.login(serial, typed("9876")).logged_in


def test_trap_certificates_of_former_keys_from_a_modules_cache(desk: Open) -> None:
    """The Cryptolib keeps files by serial: a renewed card shows its old certificate, and signs with its new key."""
    with desk("--relaxed", "--variant", "cps", "--stale") as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))
        certificate = signature_certificate(token)
        facts = card_facts(certificate.der, token.data)
        assertion = unsigned_assertion(facts, assertion_id="_a", issued_at=facts.not_before, attributes=())

        error = refusal(
            lambda: sign(
                assertion, certificate.der, lambda data: opened.tokens.sign(token.serial, certificate.cka_id, data)
            )
        )

        assert (error.code, error.facts) == (Code.SIGNATURE_INVALID, {"likely": "cache"})
        assert opened.card.ask("state")["signed"] == 1
        assert "cache" in error.row.action.fr


def test_trap_serial_label_and_the_printed_number_are_three(desk: Open) -> None:
    """Card swaps are watched by the token's serial, EF.SN; a person is shown the name."""
    with desk() as opened:
        (token,) = opened.tokens.look()
        printed = card_facts(signature_certificate(token).der).card_serial

        assert printed is not None and printed.startswith("8025000001/")
        number = printed.partition("/")[2]
        assert number not in token.serial and token.serial not in token.label and token.label != number
        assert opened.tokens.login(token.serial, typed("1234")).logged_in


def test_opensc_cannot_give_the_code_of_a_key_that_asks_each_time(desk: Open) -> None:
    """Its iasecc driver refuses the kind of code (CKR_ARGUMENTS_BAD); the card is not asked and loses no try."""
    with desk("--relaxed", "--each-time") as opened:
        token = opened.tokens.login(opened.serial, typed("1234"))
        key = signature_certificate(token).cka_id

        error = refusal(lambda: opened.tokens.sign(token.serial, key, b"x", typed("1234")))

        assert token.asks_each_time == (key,)
        assert (error.code, error.facts) == (Code.TOKEN_UNKNOWN, {"ckr": "0x00000007"})
        state = opened.card.ask("state")
        assert (state["asked"], state["left"], state["signed"]) == (1, 3, 0)
