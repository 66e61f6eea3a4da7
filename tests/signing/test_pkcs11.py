"""Between PKCS#11 and our words: the tables, and what is called in which order, with a module that does as told."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from PyKCS11 import PyKCS11Error

from agent.errors import AgentError, Code
from agent.model import PinState
from agent.signing.pkcs11 import our_error, pin_state
from tests.signing.conftest import Fake, typed

SERIAL = "99000001"  # of the token in fake_pkcs11.c
Load = Callable[..., AbstractContextManager[Fake]]
PAD = "flags=0x104"  # CKF_PROTECTED_AUTHENTICATION_PATH, CKF_LOGIN_REQUIRED

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


@pytest.mark.parametrize(("ckr", "raw"), [(0x05, "0x00000005"), (0x80000002, "0x80000002"), (-2, "-0x00000002")])
def test_an_unknown_answer_keeps_its_number(ckr: int, raw: str) -> None:
    error = our_error(PyKCS11Error(ckr))

    assert (error.code, error.facts) == (Code.TOKEN_UNKNOWN, {"ckr": raw})


def test_a_bad_update_file_of_the_card_is_named_for_support() -> None:
    """The Cryptolib's own CKR_VENDOR_DEFINED + 1."""
    error = our_error(PyKCS11Error(0x80000001))

    assert (error.code, error.facts) == (Code.TOKEN_UNKNOWN, {"ckr": "0x80000001", "meaning": "EF_ACTUA"})


def refusal(call: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as refused:
        call()
    return refused.value


def test_on_a_pin_pad_the_module_gets_no_code_at_all(fake: Load) -> None:
    """PKCS#11 v2.40 §5.6: a NULL pointer, so that the reader's own pad asks."""
    with fake(PAD) as made:
        assert made.tokens.look()[0].pin_pad
        assert made.tokens.login(SERIAL, None).logged_in
        assert made.calls("C_Login") == ["C_Login user=1 null 0"]


def test_the_same_for_a_key_that_asks_each_time(fake: Load) -> None:
    with fake(PAD, "always") as made:
        made.tokens.login(SERIAL, None)
        made.tokens.sign(SERIAL, b"\x01", b"x")

        assert made.calls("C_Login") == ["C_Login user=1 null 0", "C_Login user=2 null 0"]


@pytest.mark.parametrize("ckr", ["0x50", "0x200"])
def test_a_code_that_nobody_types_on_the_pad_is_a_cancel(fake: Load, ckr: str) -> None:
    """The Cryptolib says CKR_FUNCTION_CANCELED for its cancel key and for its time-out (misc.c)."""
    with fake(PAD, f"C_Login={ckr}") as made:
        assert refusal(lambda: made.tokens.login(SERIAL, None)).code is Code.PIN_CANCELLED
        assert len(made.calls("C_Login")) == 1


def test_the_code_of_a_signature_comes_between_its_two_steps(fake: Load) -> None:
    with fake("always") as made:
        made.tokens.login(SERIAL, typed("1234"))
        made.tokens.sign(SERIAL, b"\x01", b"x", typed("1234"))

        lines = made.log.read_text().splitlines()
        assert lines[lines.index("C_SignInit") :] == ["C_SignInit", "C_Login user=2 code 4", "C_Sign", "C_Sign"]


def test_a_refused_code_of_a_signature_is_not_tried_again(fake: Load) -> None:
    """OpenSC closes the session then (seen with a PIV card); the code went to the card once."""
    with fake("always", "flags=0x30000", "C_Login=0,0xA0") as made:
        made.tokens.login(SERIAL, typed("1234"))
        error = refusal(lambda: made.tokens.sign(SERIAL, b"\x01", b"x", typed("0000")))

        assert (error.code, error.facts) == (Code.PIN_WRONG, {"pinState": PinState.FINAL})
        assert len(made.calls("C_Login")) == 2
        assert not made.tokens.look()[0].logged_in


def test_a_mechanism_that_the_card_lacks_is_followed_by_the_other_one(fake: Load) -> None:
    with fake("C_Sign=0x63,0,0") as made:  # KEY_TYPE_INCONSISTENT, as the Cryptolib for the authentication key
        made.tokens.login(SERIAL, typed("1234"))

        assert made.tokens.sign(SERIAL, b"\x01", b"x") == b"\x5a" * 256
        assert len(made.calls("C_SignInit")) == 2


@pytest.mark.parametrize(
    ("ckr", "code"), [("0x101", Code.CPX_SESSION_LOST), ("0xB3", Code.CPX_SESSION_LOST), ("0xE0", Code.CARD_REMOVED)]
)
def test_a_session_that_is_lost_is_closed_and_never_repaired(fake: Load, ckr: str, code: Code) -> None:
    with fake(f"C_Sign={ckr}") as made:
        made.tokens.login(SERIAL, typed("1234"))

        assert refusal(lambda: made.tokens.sign(SERIAL, b"\x01", b"x")).code is code
        assert (len(made.calls("C_Login")), len(made.calls("C_CloseSession"))) == (1, 1)
        assert refusal(lambda: made.tokens.sign(SERIAL, b"\x01", b"x")).code is Code.CPX_SESSION_LOST


def test_trap_blanks_and_nuls_are_no_part_of_a_name(fake: Load) -> None:
    """The Cryptolib pads with NULs where the standard wants blanks."""
    with fake() as made:
        token = made.tokens.look()[0]

        assert (token.label, token.model, token.serial, token.reader) == ("Fake", "IAS", SERIAL, "Fake")


def test_trap_the_last_try_is_seen_before_the_low_counter(fake: Load) -> None:
    """CKF_USER_PIN_FINAL_TRY and CKF_USER_PIN_COUNT_LOW come together."""
    with fake("flags=0x30000") as made:
        assert made.tokens.look()[0].pin_state is PinState.FINAL


def test_a_slot_list_that_grows_while_it_is_asked_is_asked_again(
    fake: Load,
) -> None:
    """PyKCS11 asks for the number, then for the list: a card inserted between gives CKR_BUFFER_TOO_SMALL."""
    with fake("C_GetSlotList=0,0x150,0") as made:
        assert len(made.tokens.look()) == 1

    with fake("C_GetSlotList=0x150") as made, pytest.raises(AgentError) as refused:
        made.tokens.look()
    assert refused.value.code is Code.TOKEN_UNKNOWN


def test_a_slot_that_fails_hides_no_other_and_ends_no_session_there(fake: Load) -> None:
    with fake("other=0x30") as made:
        made.tokens.login(SERIAL, typed("1234"))

        assert [(token.serial, token.logged_in) for token in made.tokens.look()] == [(SERIAL, True)]


def test_a_card_pulled_in_another_slot_ends_no_session_here(fake: Load) -> None:
    with fake("other=0x32", "pulled") as made:
        made.tokens.login(SERIAL, typed("1234"))

        assert [(token.serial, token.logged_in) for token in made.tokens.look()] == [(SERIAL, True)]
        assert made.calls("C_Logout") == []


def test_a_failure_of_the_only_slot_is_said(fake: Load) -> None:
    with fake("C_GetTokenInfo=0x30") as made:
        assert refusal(made.tokens.look).code is Code.TOKEN_UNKNOWN
