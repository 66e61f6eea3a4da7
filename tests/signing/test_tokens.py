"""What every token does behind the port: the simulator's, SoftHSM2 as CPS3 and CPS4, a virtual CPS3 behind OpenSC.

Each is driven through the worker process, as in the product.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_der_x509_certificate

from agent.errors import AgentError, Code
from agent.model import PinState
from agent.signing.cpx import activities, card_facts, signature_certificate, speciality_of
from agent.signing.fake_token import SimulatedCard, card_file
from agent.signing.ports import TokenSeen
from agent.signing.worker import TokenWorker
from tests.parts.softhsm import CPS4_TAILS, SoftHsm
from tests.signing.conftest import Desk, typed, typed_into


@pytest.fixture
def simulated(state: Path) -> Iterator[TokenWorker]:
    tokens = TokenWorker(simulated=state)
    yield tokens
    tokens.close()


@pytest.fixture
def hsm(softhsm: SoftHsm) -> Iterator[TokenWorker]:
    tokens = TokenWorker(softhsm.module, environment=softhsm.environment)
    yield tokens
    tokens.close()


@pytest.fixture
def hsm_cps4(softhsm_cps4: SoftHsm) -> Iterator[TokenWorker]:
    tokens = TokenWorker(softhsm_cps4.module, environment=softhsm_cps4.environment)
    yield tokens
    tokens.close()


@pytest.fixture
def asking(softhsm_each_time: SoftHsm) -> Iterator[TokenWorker]:
    tokens = TokenWorker(softhsm_each_time.module, environment=softhsm_each_time.environment)
    yield tokens
    tokens.close()


@pytest.fixture
def cps3(desk: Callable[..., AbstractContextManager[Desk]]) -> Iterator[TokenWorker]:
    with desk("--relaxed") as opened:
        yield opened.tokens


@pytest.fixture(params=["simulated", "hsm", "hsm_cps4", "cps3"])
def tokens(request: pytest.FixtureRequest) -> TokenWorker:
    worker = request.getfixturevalue(request.param)
    assert isinstance(worker, TokenWorker)
    return worker


def only(tokens: TokenWorker) -> TokenSeen:
    (token,) = tokens.look()
    return token


def code_of(call: Callable[[], object]) -> Code:
    with pytest.raises(AgentError) as raised:
        call()
    return raised.value.code


def verifies(token: TokenSeen, signature: bytes, data: bytes) -> bool:
    key = load_der_x509_certificate(signature_certificate(token).der).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    return True


def test_the_holder_is_known_before_the_code(tokens: TokenWorker) -> None:
    """Certificates and free objects are readable at once; activities want the code and simply do not appear."""
    token = only(tokens)

    assert not token.logged_in and not token.pin_pad
    assert card_facts(signature_certificate(token).der).professional.national_id == "899900000017"
    assert speciality_of(token.data) == "SM26"
    assert activities(token.data) == []
    assert token.label == token.label.strip(" \0") and token.serial == token.serial.strip(" \0")


def test_the_module_says_its_name_and_version_without_a_card(tokens: TokenWorker) -> None:
    module = tokens.module()

    assert module.name in ("Simulateur", "Implementation of PKCS11", "OpenSC")
    assert Path(module.path).is_absolute() and module.version[0].isdigit()
    assert module.signs_cps3 is (module.name != "OpenSC")


def test_the_right_code_opens_keys_and_activities(tokens: TokenWorker) -> None:
    token = tokens.login(only(tokens).serial, typed("1234"))

    signature = tokens.sign(token.serial, signature_certificate(token).cka_id, b"SignedInfo")

    assert token.logged_in and only(tokens).logged_in
    assert [a.id for a in activities(token.data)] == ["01", "02"]
    assert verifies(token, signature, b"SignedInfo")


def test_one_login_serves_several_signatures(tokens: TokenWorker) -> None:
    token = tokens.login(only(tokens).serial, typed("1234"))
    cka_id = signature_certificate(token).cka_id

    assert all(verifies(token, tokens.sign(token.serial, cka_id, data), data) for data in (b"one", b"two", bytes(3000)))


def test_without_a_login_nothing_is_signed(tokens: TokenWorker) -> None:
    token = only(tokens)

    assert (
        code_of(lambda: tokens.sign(token.serial, signature_certificate(token).cka_id, b"x")) is Code.CPX_SESSION_LOST
    )


def test_after_logout_the_code_is_needed_again(tokens: TokenWorker) -> None:
    token = tokens.login(only(tokens).serial, typed("1234"))
    cka_id = signature_certificate(token).cka_id
    tokens.logout()

    assert not only(tokens).logged_in and activities(only(tokens).data) == []
    assert code_of(lambda: tokens.sign(token.serial, cka_id, b"x")) is Code.CPX_SESSION_LOST
    tokens.login(token.serial, typed("1234"))
    assert verifies(token, tokens.sign(token.serial, cka_id, b"x"), b"x")


def test_a_wrong_code_ends_the_session(tokens: TokenWorker) -> None:
    token = tokens.login(only(tokens).serial, typed("1234"))

    assert code_of(lambda: tokens.login(token.serial, typed("0000"))) is Code.PIN_WRONG
    assert not only(tokens).logged_in


def test_the_code_is_zeroes_after_every_login(tokens: TokenWorker) -> None:
    serial = only(tokens).serial
    right, wrong, elsewhere = bytearray(b"1234"), bytearray(b"0000"), bytearray(b"1234")

    tokens.login(serial, typed_into(right))
    code_of(lambda: tokens.login(serial, typed_into(wrong)))
    code_of(lambda: tokens.login("no such card", typed_into(elsewhere)))

    assert {bytes(right), bytes(wrong), bytes(elsewhere)} == {bytes(4)}


def test_a_code_for_another_card_costs_nothing(tokens: TokenWorker) -> None:
    before = only(tokens).pin_state

    assert code_of(lambda: tokens.login("no such card", typed("0000"))) is Code.CPX_ABSENT
    assert only(tokens).pin_state is before


def test_a_cps4_shape_is_told_by_its_labels_not_by_its_ids(hsm_cps4: TokenWorker) -> None:
    """CKA_IDs end with 10 and 20 there, with 01 and 02 on a CPS3; its CPS2TER objects are not activities of ours."""
    token = hsm_cps4.login(only(hsm_cps4).serial, typed("1234"))

    assert signature_certificate(token).cka_id.endswith(CPS4_TAILS[0])
    assert [a.id for a in activities(token.data)] == ["01", "02"]


def test_a_key_that_asks_each_time_is_known_once_logged_in(asking: TokenWorker, hsm: TokenWorker) -> None:
    """CKA_ALWAYS_AUTHENTICATE; before the login private keys do not appear."""
    before = only(asking)
    token = asking.login(before.serial, typed("1234"))
    other = hsm.login(only(hsm).serial, typed("1234"))

    assert before.asks_each_time == other.asks_each_time == ()
    assert signature_certificate(token).cka_id in token.asks_each_time
    assert only(asking).asks_each_time == token.asks_each_time


def test_a_key_that_asks_each_time_signs_once_for_each_code(asking: TokenWorker) -> None:
    token = asking.login(only(asking).serial, typed("1234"))
    cka_id = signature_certificate(token).cka_id

    first = asking.sign(token.serial, cka_id, b"one", typed("1234"))
    without = code_of(lambda: asking.sign(token.serial, cka_id, b"two"))
    second = asking.sign(token.serial, cka_id, b"three", typed("1234"))

    assert verifies(token, first, b"one") and verifies(token, second, b"three")
    assert without is Code.CPX_SESSION_LOST  # the person must be asked


def test_a_wrong_code_for_a_signature_is_said_and_ends_the_session(asking: TokenWorker) -> None:
    token = asking.login(only(asking).serial, typed("1234"))
    cka_id = signature_certificate(token).cka_id

    with pytest.raises(AgentError) as refused:
        asking.sign(token.serial, cka_id, b"x", typed("0000"))

    assert (refused.value.code, refused.value.facts) == (Code.PIN_WRONG, {"pinState": PinState.LOW})
    assert not only(asking).logged_in
    assert code_of(lambda: asking.sign(token.serial, cka_id, b"x", typed("1234"))) is Code.CPX_SESSION_LOST


def test_the_code_of_a_signature_is_zeroes_afterwards(asking: TokenWorker, simulated: TokenWorker) -> None:
    codes = []
    for tokens in (asking, simulated):
        token = tokens.login(only(tokens).serial, typed("1234"))
        for serial, code in ((token.serial, b"1234"), ("no such card", b"1234"), (token.serial, b"0000")):
            codes.append(bytearray(code))
            with suppress(AgentError):
                tokens.sign(serial, signature_certificate(token).cka_id, b"x", typed_into(codes[-1]))

    assert {bytes(code) for code in codes} == {bytes(4)}


def test_an_unknown_key_is_said_and_the_session_goes_on(tokens: TokenWorker) -> None:
    token = tokens.login(only(tokens).serial, typed("1234"))

    assert code_of(lambda: tokens.sign(token.serial, b"\x00", b"x")) is Code.CPX_NO_SIGNATURE
    assert only(tokens).logged_in


def test_a_code_of_a_wrong_form_costs_no_try(simulated: TokenWorker, cps3: TokenWorker) -> None:
    """SoftHSM2 counts it as a wrong code; so does the Cryptolib, hence the check of the form before."""
    for tokens in (simulated, cps3):
        serial = only(tokens).serial

        assert code_of(lambda t=tokens, s=serial: t.login(s, typed("12"))) is Code.PIN_FORMAT  # type: ignore[misc]
        assert only(tokens).pin_state is PinState.OK


def test_the_last_try_is_told_and_then_even_the_right_code_is_refused(
    simulated: TokenWorker, cps3: TokenWorker
) -> None:
    for tokens in (simulated, cps3):
        serial = only(tokens).serial
        seen = []
        for code in ("0000", "0000", "0000", "1234"):
            with pytest.raises(AgentError) as refused:
                tokens.login(serial, typed(code))
            seen.append((refused.value.code, refused.value.facts.get("pinState"), only(tokens).pin_state))

        assert seen == [
            (Code.PIN_WRONG, PinState.LOW, PinState.LOW),
            (Code.PIN_WRONG, PinState.FINAL, PinState.FINAL),
            (Code.PIN_LOCKED, None, PinState.LOCKED),
            (Code.PIN_LOCKED, None, PinState.LOCKED),
        ]


def test_a_right_code_gives_the_tries_back(simulated: TokenWorker, cps3: TokenWorker) -> None:
    for tokens in (simulated, cps3):
        serial = only(tokens).serial
        for code in ("0000", "0000"):
            with pytest.raises(AgentError):
                tokens.login(serial, typed(code))
        tokens.login(serial, typed("1234"))

        assert code_of(lambda t=tokens, s=serial: t.login(s, typed("0000"))) is Code.PIN_WRONG  # type: ignore[misc]


def test_pulling_the_simulated_card_ends_its_session(simulated: TokenWorker, state: Path, card: SimulatedCard) -> None:
    token = simulated.login(only(simulated).serial, typed("1234"))
    file = card_file(state)
    content = file.read_bytes()
    file.unlink()

    assert code_of(lambda: simulated.sign(token.serial, card.keys[0].cka_id, b"x")) is Code.CARD_REMOVED
    assert simulated.look() == []
    file.write_bytes(content)
    assert not only(simulated).logged_in
