"""The agent's key: what it signs, and what a server must refuse."""

import base64
import json
import pickle
import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from agent.identity import (
    PROOF_TYPE,
    RECEIPT_TYPE,
    ROTATION_TYPE,
    Identity,
    verify_proof,
    verify_receipt,
    verify_rotation,
)

ORIGIN = "https://dossier.example"
CHALLENGE = "c" * 43
KEY = Identity.from_private_bytes(bytes(range(32)))
PAYLOAD = {
    "outcome": "found",
    "label": "é à ce jour",
    "trace": {"origin": ORIGIN, "environment": "simulated", "seq": 3},
    "challenge": CHALLENGE,
}


def parts(jws: str) -> tuple[dict, dict, bytes, bytes]:
    """Header, payload, signature and what it covers, read without any JOSE library."""
    head, payload, signature = (base64.urlsafe_b64decode(part + "==") for part in jws.split("."))
    return json.loads(head), json.loads(payload), signature, jws.rpartition(".")[0].encode()


def checked(receipt: str, **other):
    asked = {
        "accepted_thumbprints": {KEY.thumbprint},
        "public_jwks": [KEY.public_jwk()],
        "challenge": CHALLENGE,
        "origin": ORIGIN,
        "environment": "simulated",
    }
    return verify_receipt(receipt, **(asked | other))


def test_the_thumbprint_is_that_of_rfc_8037():
    """RFC 8037 appendices A.1 to A.3."""
    key = Identity.from_private_bytes(base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))

    assert "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" == key.public_jwk()["x"]
    assert "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" == key.thumbprint
    assert OKPKey.import_key(key.public_jwk()).thumbprint() == key.thumbprint


def test_the_public_jwk_holds_nothing_private():
    assert {"kty", "crv", "x", "kid", "alg"} == set(KEY.public_jwk())


def test_a_receipt_is_eddsa_by_its_name_of_today_and_names_its_key():
    """PROTOCOL.md: compact JWS, alg EdDSA, kid the RFC 7638 thumbprint. Checked without joserfc."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header, payload, signature, covered = parts(KEY.receipt(PAYLOAD))

    assert {"alg": "EdDSA", "kid": KEY.thumbprint, "typ": RECEIPT_TYPE} == header
    assert payload == PAYLOAD
    x = base64.urlsafe_b64decode(KEY.public_jwk()["x"] + "=")
    Ed25519PublicKey.from_public_bytes(x).verify(signature, covered)  # raises when it does not hold


def test_a_proof_says_who_answered_which_challenge_to_whom():
    at = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)

    proof = KEY.proof(challenge=CHALLENGE, origin=ORIGIN, instance_id="i", environment="test", at=at)

    header, claims, _, _ = parts(proof)
    assert PROOF_TYPE == header["typ"]
    assert {
        "challenge": CHALLENGE,
        "origin": ORIGIN,
        "instanceId": "i",
        "environment": "test",
        "iat": 1741064767,
    } == claims


def test_a_server_gets_the_payload_of_a_receipt_that_fits():
    assert checked(KEY.receipt(PAYLOAD)) == PAYLOAD


def test_a_large_result_has_its_receipt():
    large = PAYLOAD | {"history": ["x" * 1000] * 600}

    assert large == checked(KEY.receipt(large))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"accepted_thumbprints": {Identity.create().thumbprint}}, "not an installation"),
        ({"public_jwks": [Identity.create().public_jwk()]}, "not an installation"),
        ({"challenge": "d" * 43}, "another challenge"),
        ({"origin": "https://autre.example"}, "another origin"),
        ({"environment": "production"}, "another environment"),
    ],
)
def test_a_receipt_for_something_else_is_refused(other, why):
    with pytest.raises(ValueError, match=why):
        checked(KEY.receipt(PAYLOAD), **other)


@pytest.mark.parametrize("forgotten", ["challenge", "origin", "environment"])
def test_who_asks_for_nothing_never_gets_what_is_absent(forgotten):
    said = {**PAYLOAD, "instanceId": "i", "origin": ORIGIN, "environment": "test"}  # of both
    without = {name: value for name, value in said.items() if name != forgotten}
    without["trace"] = {name: value for name, value in PAYLOAD["trace"].items() if name != forgotten}

    for nothing in (None, ""):
        with pytest.raises(ValueError, match=f"another {forgotten}"):
            checked(KEY.receipt(without), **{forgotten: nothing})
        with pytest.raises(ValueError, match=f"another {forgotten}"):
            proved(KEY._jws(PROOF_TYPE, without), **{forgotten: nothing})


def test_a_receipt_of_a_former_key_holds_until_its_end():
    at = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    receipt = KEY.receipt(PAYLOAD | {"iat": int(at.timestamp())})

    assert checked(receipt, not_later_than=at)
    for late in (
        receipt,
        KEY.receipt(PAYLOAD),
        KEY.receipt(PAYLOAD | {"iat": "0"}),
        KEY.receipt(PAYLOAD | {"iat": True}),
    ):
        with pytest.raises(ValueError, match="another time"):
            checked(late, not_later_than=at - timedelta(seconds=1))


PROOF = {"challenge": CHALLENGE, "origin": ORIGIN, "instance_id": "i", "environment": "test"}


def proved(proof: str, **other) -> dict:
    asked = {"accepted_thumbprints": {KEY.thumbprint}, "public_jwks": [KEY.public_jwk()], **PROOF}
    return verify_proof(proof, **(asked | other))


def test_a_server_gets_the_claims_of_a_proof_that_fits():
    claims = proved(KEY.proof(**PROOF, at=datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)))

    assert (CHALLENGE, "i", 1741064767) == (claims["challenge"], claims["instanceId"], claims["iat"])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"accepted_thumbprints": {Identity.create().thumbprint}}, "not an installation"),
        ({"public_jwks": [Identity.create().public_jwk()]}, "not an installation"),
        ({"challenge": "d" * 43}, "another challenge"),
        ({"origin": "https://autre.example"}, "another origin"),
        ({"instance_id": "j"}, "another installation"),
        ({"environment": "production"}, "another environment"),
    ],
)
def test_a_proof_for_something_else_is_refused(other, why):
    with pytest.raises(ValueError, match=why):
        proved(KEY.proof(**PROOF, at=datetime.now(UTC)), **other)


def test_a_receipt_never_passes_as_a_proof():
    claims = {"challenge": CHALLENGE, "origin": ORIGIN, "instanceId": "i", "environment": "test"}

    assert proved(KEY._jws(PROOF_TYPE, claims))
    with pytest.raises(ValueError, match="not a proof"):
        proved(KEY.receipt(claims))


@given(st.text())
def test_anything_that_is_no_proof_is_refused_and_never_more_than_that(text):
    with pytest.raises(ValueError, match="not"):
        proved(text)


def test_a_proof_never_passes_as_a_receipt():
    """Even if its claims were those of a receipt: the type of the JWS differs (RFC 8725 §3.11)."""
    header, payload, _ = KEY.receipt(PAYLOAD).split(".")
    proof = KEY._jws(PROOF_TYPE, PAYLOAD)

    with pytest.raises(ValueError, match="not a receipt"):
        checked(proof)
    with pytest.raises(ValueError, match="signature"):  # nor with the type of a receipt put on it
        checked(f"{header}.{payload}.{proof.rpartition('.')[2]}")


def test_a_key_sent_along_is_not_believed():
    """A forger's own key under an accepted kid."""
    forger = Identity.create()
    header = json.dumps({"alg": "EdDSA", "kid": KEY.thumbprint, "typ": RECEIPT_TYPE, "jwk": forger.public_jwk()})
    covered = ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in (header, json.dumps(PAYLOAD))
    )
    signature = base64.urlsafe_b64encode(forger.sign_bytes(covered.encode())).rstrip(b"=").decode()

    with pytest.raises(ValueError, match=r"not a receipt|signature"):
        checked(f"{covered}.{signature}")
    with pytest.raises(ValueError, match="not an installation"):  # nor under its own, said to be ours
        checked(KEY.receipt(PAYLOAD), public_jwks=[forger.public_jwk() | {"kid": KEY.thumbprint}])


@pytest.mark.parametrize("algorithm", ["none", "HS256", "Ed25519"])
def test_no_other_algorithm_is_let_in(algorithm):
    _, payload, signature = KEY.receipt(PAYLOAD).split(".")
    header = json.dumps({"alg": algorithm, "kid": KEY.thumbprint, "typ": RECEIPT_TYPE}).encode()

    with pytest.raises(ValueError, match="not a receipt"):
        checked(f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{payload}.{signature}")


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}")))
def test_anything_else_is_refused_and_never_more_than_that(text):
    with pytest.raises(ValueError, match="not"):
        checked(text)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda below: st.lists(below) | st.dictionaries(st.text(max_size=4), below),
    max_leaves=5,
)


@given(JSON)
def test_any_header_is_refused_and_never_more_than_that(header):
    _, payload, signature = KEY.receipt(PAYLOAD).split(".")
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()

    with pytest.raises(ValueError, match="not"):
        checked(f"{encoded}.{payload}.{signature}")


def test_a_signature_holds_for_its_bytes_alone():
    signature = KEY.sign_bytes(b"one")

    assert KEY.verify_bytes(b"one", signature)
    assert not KEY.verify_bytes(b"two", signature)
    assert not KEY.verify_bytes(b"one", b"")


def test_the_private_key_comes_back_and_never_prints():
    again = Identity.from_private_bytes(KEY.private_bytes())

    assert again.thumbprint == KEY.thumbprint
    assert f"Identity({KEY.thumbprint})" == repr(KEY) == str(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(ValueError, match="32"):
        Identity.from_private_bytes(b"short")


# ---------------------------------------------------------------- rotation


INSTANCE = "00000000-0000-4000-8000-000000000001"
AT = datetime(2025, 3, 4, 5, 6, 7, 890_000, UTC)
NEW = Identity.from_private_bytes(bytes(range(1, 33)))
LATER = Identity.from_private_bytes(bytes(range(2, 34)))


def rotation(old: Identity = KEY, new: Identity = NEW, **other) -> str:
    return old.rotation(new, **({"instance_id": INSTANCE, "at": AT} | other))


def enrolled(statement: str, **other) -> dict:
    """The rotation as a server that knows KEY checks it."""
    asked = {"accepted_thumbprints": {KEY.thumbprint}, "public_jwks": [KEY.public_jwk()], "instance_id": INSTANCE}
    return verify_rotation(statement, **(asked | other))


def test_a_rotation_says_which_key_follows_in_which_installation_and_when():
    statement = rotation()

    header, *_ = parts(statement)
    assert {"alg": "EdDSA", "kid": KEY.thumbprint, "typ": ROTATION_TYPE} == header
    assert {
        "from": KEY.public_jwk(),
        "to": NEW.public_jwk(),
        "instanceId": INSTANCE,
        "iat": 1741064767,
    } == enrolled(statement)


def test_receipts_of_every_key_hold_for_a_server_that_followed_the_rotations():
    keys = [KEY.public_jwk()]
    for statement in (rotation(), rotation(NEW, LATER)):
        accepted = {key["kid"] for key in keys}
        keys.append(enrolled(statement, accepted_thumbprints=accepted, public_jwks=keys)["to"])

    for key in (KEY, NEW, LATER):
        accepted = {"accepted_thumbprints": {known["kid"] for known in keys}, "public_jwks": keys}
        assert PAYLOAD == checked(key.receipt(PAYLOAD), **accepted)


@pytest.mark.parametrize(
    ("statement", "other", "why"),
    [
        (rotation(), {"accepted_thumbprints": {NEW.thumbprint}}, "not an installation"),
        (rotation(), {"public_jwks": [NEW.public_jwk()]}, "not an installation"),
        (rotation(), {"instance_id": INSTANCE[:-1] + "2"}, "another installation"),
        (rotation(NEW, LATER), {}, "not an installation"),
        (KEY.receipt(PAYLOAD), {}, "not a rotation"),
        (rotation()[:-4] + "AAAA", {}, "signature"),
    ],
)
def test_a_rotation_of_something_else_is_refused(statement, other, why):
    with pytest.raises(ValueError, match=why):
        enrolled(statement, **other)


def test_a_rotation_never_passes_as_a_receipt_nor_its_inner_part_as_a_rotation():
    confirmation = parts(rotation(NEW, KEY))[1]["confirmation"]  # by KEY

    with pytest.raises(ValueError, match="not a receipt"):
        checked(rotation())
    with pytest.raises(ValueError, match="not a rotation"):
        enrolled(confirmation)


CONFIRMATION = parts(rotation())[1]["confirmation"]


@pytest.mark.parametrize(
    "changed",
    [
        {"confirmation": None},
        {"confirmation": parts(rotation(KEY, LATER))[1]["confirmation"]},
        {"confirmation": parts(rotation(LATER, NEW))[1]["confirmation"]},
        {"to": LATER.public_jwk()},
        {"from": LATER.public_jwk()},
        {"to": NEW.public_jwk() | {"kid": LATER.thumbprint}},
        {"from": KEY.public_jwk() | {"kid": LATER.thumbprint}},
        {"iat": 1741064768},
        {"iat": 1741064767.0},
        {"iat": -1},
        {"iat": 1 << 80},
        {"instanceId": "other"},
    ],
)
def test_the_old_key_alone_names_nobody_who_did_not_agree_to_the_same(changed):
    """Or a thief of the old key would take another installation's key for his successor's."""
    _, claims, *_ = parts(rotation())

    with pytest.raises(ValueError, match=r"not|confirmed"):
        enrolled(KEY._jws(ROTATION_TYPE, claims | changed))


@given(JSON, st.sampled_from(["from", "to", "instanceId", "iat", "confirmation"]))
def test_any_claim_of_a_rotation_is_refused_and_never_more_than_that(value, name):
    _, claims, *_ = parts(rotation())
    with pytest.raises(ValueError, match=r"not|another|confirmed"):
        enrolled(KEY._jws(ROTATION_TYPE, claims | {name: value}))
    with pytest.raises(ValueError, match=r"not|another|confirmed"):
        Identity.from_private_bytes(NEW.private_bytes(), [KEY._jws(ROTATION_TYPE, claims | {name: value})])


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}")))
def test_anything_that_is_no_rotation_is_refused_and_never_more_than_that(text):
    with pytest.raises(ValueError, match="not"):
        enrolled(text)
    with pytest.raises(ValueError, match="not"):
        Identity.from_private_bytes(NEW.private_bytes(), [text])


def test_what_a_former_key_signed_holds_until_the_second_of_its_end_and_not_after():
    present = Identity.from_private_bytes(LATER.private_bytes(), [rotation(), rotation(NEW, LATER)])
    by = {key: key.sign_bytes(b"data") for key in (KEY, NEW, LATER)}

    assert [KEY.public_jwk(), NEW.public_jwk()] == [former.public_jwk for former in present.former]
    for key in (KEY, NEW):
        assert present.verify_dated(b"data", by[key], lambda _: AT)
        assert not present.verify_dated(b"data", by[key], lambda _: AT + timedelta(seconds=1))
        assert not present.verify_dated(b"data", by[key], lambda _: None)
        assert not present.verify_dated(b"other", by[key], lambda _: AT)
        assert not present.verify_bytes(b"data", by[key])
    for at in (AT, AT + timedelta(seconds=1), None):
        assert present.verify_dated(b"data", by[LATER], lambda _, at=at: at)
    assert not present.verify_dated(b"data", Identity.create().sign_bytes(b"data"), lambda _: AT)
    assert KEY.verify_dated(b"data", by[KEY], lambda _: pytest.fail("no date is asked for without a former key"))
