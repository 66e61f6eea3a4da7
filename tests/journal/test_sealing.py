"""Sealed parts: they open with their key beside their entry, and with nothing else."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.sealing import Keys, is_sealed, key_id

from .making import KEYS, NEW_KEY, OLD_KEY


@given(st.binary(max_size=2000), st.binary(max_size=100))
def test_a_part_comes_back_as_it_was_and_shows_nothing_meanwhile(part, tie):
    sealed = KEYS.seal(part, tie)

    assert is_sealed(sealed)
    assert part == KEYS.open(sealed, KEYS.id, tie)
    assert len(part) < 4 or part not in sealed[16:]


def test_the_same_part_is_never_stored_twice_alike():
    """A digest of the stored bytes tells nothing of the part: the nonce makes it another one each time."""
    assert KEYS.seal(b"TESTEUSE", b"") != KEYS.seal(b"TESTEUSE", b"")


@given(st.data())
def test_one_changed_byte_anywhere_or_another_entry_and_it_does_not_open(data):
    sealed = bytearray(KEYS.seal(b"a part", b"entry 1"))
    tie = data.draw(st.sampled_from([b"entry 1", b"entry 2"]))
    if tie == b"entry 1":
        sealed[data.draw(st.integers(16, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ValueError, match="damaged"):
        KEYS.open(bytes(sealed), KEYS.id, tie)


@given(st.binary(max_size=80), st.none() | st.text(max_size=20) | st.just(KEYS.id), st.binary(max_size=20))
def test_whatever_is_read_opens_or_is_a_value_error(stored, sealed_with, tie):
    with pytest.raises(ValueError, match=r"^(damaged|sealed with a key that is not known here)$"):
        KEYS.open(stored, sealed_with, tie)


def test_the_newest_key_seals_and_the_older_ones_still_open():
    renewed = Keys([NEW_KEY, OLD_KEY])
    before = KEYS.seal(b"before", b"1")

    assert (renewed.id, KEYS.id) == (key_id(NEW_KEY), key_id(OLD_KEY))
    assert b"before" == renewed.open(before, KEYS.id, b"1")
    with pytest.raises(ValueError, match="not known"):
        KEYS.open(renewed.seal(b"after", b"2"), renewed.id, b"2")


@given(st.none() | st.text(max_size=20) | st.sampled_from([key_id(OLD_KEY), key_id(NEW_KEY)]))
def test_whatever_key_is_named_the_one_that_sealed_opens(named):
    both = Keys([NEW_KEY, OLD_KEY])

    assert (key_id(OLD_KEY), b"a part") == both.opened(KEYS.seal(b"a part", b"1"), named, b"1")
    assert (key_id(NEW_KEY), b"a part") == both.opened(both.seal(b"a part", b"1"), named, b"1")


def test_a_key_s_number_tells_nothing_of_the_key():
    """A frozen vector: entries in the field name their key so."""
    assert "0297500fe60591a8" == key_id(bytes(32))
    assert OLD_KEY.hex() not in repr(KEYS) and OLD_KEY[:8].hex() not in repr(KEYS)
    with pytest.raises(TypeError):
        KEYS.__reduce__()


def test_a_reference_is_known_again_by_its_key_and_by_nobody_else():
    renewed = Keys([NEW_KEY, OLD_KEY])

    assert KEYS.references(b"ref") == KEYS.references(b"ref") == renewed.references(b"ref")[1:]
    assert 3 == len({*renewed.references(b"ref"), *KEYS.references(b"ref-2")})
    assert hmac.digest(OLD_KEY, b"ref", "sha256").hex() not in renewed.references(b"ref")  # no key for two algorithms


@pytest.mark.parametrize("keys", [[], [b""], [bytes(31)], [bytes(32), bytes(16)]])
def test_keys_of_another_length_are_refused(keys):
    with pytest.raises(ValueError, match="32"):
        Keys(keys)
