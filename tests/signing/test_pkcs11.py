"""The tables between PKCS#11 and our words."""

import pytest
from PyKCS11 import PyKCS11Error

from agent.errors import Code
from agent.model import PinState
from agent.signing.pkcs11 import our_error, pin_state

COUNT_LOW, FINAL_TRY, LOCKED, OTHERS = 0x10000, 0x20000, 0x40000, 0x40D  # CK_TOKEN_INFO.flags, PKCS#11 v2.40 §3.2


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        (OTHERS, PinState.OK),
        (OTHERS | COUNT_LOW, PinState.LOW),
        (OTHERS | FINAL_TRY, PinState.FINAL),
        (OTHERS | COUNT_LOW | FINAL_TRY, PinState.FINAL),
        (OTHERS | LOCKED, PinState.LOCKED),
        (OTHERS | COUNT_LOW | FINAL_TRY | LOCKED, PinState.LOCKED),
    ],
)
def test_the_most_serious_flag_counts(flags: int, state: PinState) -> None:
    """The Cryptolib sets COUNT_LOW and FINAL_TRY together."""
    assert pin_state(flags) is state


@pytest.mark.parametrize(
    ("ckr", "code"),
    [
        (0xA0, Code.PIN_WRONG),
        (0xA1, Code.PIN_FORMAT),
        (0xA2, Code.PIN_FORMAT),
        (0xA4, Code.PIN_LOCKED),
        (0x50, Code.PIN_CANCELLED),
        (0xB0, Code.CPX_SESSION_LOST),
        (0xB3, Code.CPX_SESSION_LOST),
        (0x101, Code.CPX_SESSION_LOST),
        (0x32, Code.CARD_REMOVED),
        (0xE0, Code.CARD_REMOVED),
    ],
)
def test_what_a_module_answers_becomes_one_of_our_codes(ckr: int, code: Code) -> None:
    """PKCS#11 v2.40 §5.1."""
    assert our_error(PyKCS11Error(ckr)).code is code


@pytest.mark.parametrize(("ckr", "raw"), [(0x05, "0x00000005"), (0x80000001, "0x80000001"), (-2, "-0x00000002")])
def test_an_unknown_answer_keeps_its_number(ckr: int, raw: str) -> None:
    """0x80000001 is the Cryptolib's "bad EF_ACTUA"."""
    error = our_error(PyKCS11Error(ckr))

    assert (error.code, error.facts) == (Code.TOKEN_UNKNOWN, {"ckr": raw})
