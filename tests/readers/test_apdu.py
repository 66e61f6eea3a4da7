import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.readers.apdu import ask, objects
from tests.readers.scripted import ScriptedCard, tlv


def test_a_plain_answer_comes_as_it_is() -> None:
    assert (b"\xca\xfe", 0x9000) == ask(ScriptedCard("CAFE9000"), bytes.fromhex("00B0820000"))


def test_an_answer_in_waiting_is_fetched_until_its_end() -> None:
    """ISO/IEC 7816-4: 61xx, GET RESPONSE."""
    card = ScriptedCard("6102", "CAFE6101", "429000")

    assert (b"\xca\xfe\x42", 0x9000) == ask(card, bytes.fromhex("00A40000023F00"))
    assert ["00A40000023F00", "00C0000002", "00C0000001"] == card.commands


def test_a_wrong_length_is_asked_again_with_the_right_one() -> None:
    """ISO/IEC 7816-4: 6Cxx."""
    card = ScriptedCard("6C02", "CAFE9000")

    assert (b"\xca\xfe", 0x9000) == ask(card, bytes.fromhex("00B0820000"))
    assert ["00B0820000", "00B0820002"] == card.commands


def test_a_wrong_length_said_of_a_fetch_is_obeyed_too() -> None:
    card = ScriptedCard("6100", "6C03", "0102039000")

    assert (b"\x01\x02\x03", 0x9000) == ask(card, bytes.fromhex("00A40000023F00"))
    assert ["00C0000000", "00C0000003"] == card.commands[1:]


def test_a_wrong_length_said_of_a_command_without_length_is_the_answer() -> None:
    card = ScriptedCard("6C02")

    assert (b"", 0x6C02) == ask(card, bytes.fromhex("00A40000023F00"))
    assert 1 == len(card.commands)


@pytest.mark.parametrize("answer", ["6100", "6C00"])
def test_a_card_that_never_ends_is_left(answer: str) -> None:
    card = ScriptedCard(*[answer] * 100)

    with pytest.raises(AgentError) as error:
        ask(card, bytes.fromhex("00B0820000"))

    assert Code.CARD_UNREADABLE == error.value.code
    assert 16 == len(card.commands)


@given(st.lists(st.binary(min_size=2, max_size=20), max_size=20), st.binary(min_size=4, max_size=20))
def test_any_answers_give_a_value_or_a_code(answers: list[bytes], command: bytes) -> None:
    try:
        data, status = ask(ScriptedCard(*answers), command)
        assert isinstance(data, bytes) and status >> 8 != 0x61
    except AgentError as error:
        assert Code.CARD_UNREADABLE == error.code


def test_objects_come_in_order_with_one_or_two_byte_tags() -> None:
    data = bytes.fromhex("8001AA 7F2102BBCC 5F3701DD")

    assert [(0x80, b"\xaa"), (0x7F21, b"\xbb\xcc"), (0x5F37, b"\xdd")] == list(objects(data))


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x1234])
def test_short_and_long_lengths_are_read(size: int) -> None:
    assert [(0x65, b"x" * size)] == list(objects(tlv(0x65, b"x" * size)))


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 40, b"\xff" * 3])
def test_padding_before_between_and_after_is_skipped(padding: bytes) -> None:
    data = padding + tlv(0x80, b"a") + padding + tlv(0x81, b"b") + padding

    assert [(0x80, b"a"), (0x81, b"b")] == list(objects(data))


@pytest.mark.parametrize(
    "data",
    ["65", "6502AA", "6580", "658300000100", "6581", "658201", "7F", "7F81", "7F810100"],
)
def test_what_is_cut_or_badly_shaped_is_unreadable(data: str) -> None:
    with pytest.raises(AgentError) as error:
        list(objects(bytes.fromhex(data)))

    assert Code.CARD_UNREADABLE == error.value.code


@given(st.binary(max_size=400))
def test_any_bytes_give_objects_or_a_code(data: bytes) -> None:
    try:
        assert sum(len(value) for _, value in objects(data)) <= len(data)
    except AgentError as error:
        assert Code.CARD_UNREADABLE == error.code


@given(st.lists(st.tuples(st.sampled_from([0x65, 0x80, 0x93]), st.binary(max_size=300)), max_size=6))
def test_what_was_written_is_read_back(written: list[tuple[int, bytes]]) -> None:
    assert written == list(objects(b"".join(tlv(tag, value) for tag, value in written)))
