"""Each code of INSi: what it means for us, what may be sent again, and what may be told of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.faults import (
    TABLE,
    Fault,
    Row,
    error_of,
    may_repeat,
    means_nobody,
    short_code,
    short_label,
)
from agent.insi.operations import Operation
from agent.model import Outcome

FAULTS = [row for row in TABLE if isinstance(row.ours, Code)]
LATER, ACCESS, INPUT = Code.INSI_FAULT_UNAVAILABLE, Code.INSI_FAULT_ACCESS, Code.INSI_FAULT_INPUT
UNKNOWN = Code.INSI_FAULT_UNKNOWN


def fault(code: str, subcode: str = "") -> AgentError:
    return error_of(Fault(code, subcode, "erreur", "Raison.", "Détail."))


def named(rows: list[Row]) -> object:
    return pytest.mark.parametrize("row", rows, ids=[row.code for row in rows])


def test_each_code_has_one_row() -> None:
    assert len({row.code for row in TABLE}) == len(TABLE) == 9


@named(FAULTS)
def test_a_known_fault_means_what_its_row_says(row: Row) -> None:
    assert fault(row.code, f"soap:{row.subcode}" if row.subcode else "").code is row.ours
    assert fault(row.code).code is row.ours  # a subcode that does not come takes no meaning away


@pytest.mark.parametrize(
    ("code", "subcode", "ours"),
    [
        ("desir_999", "S:siram_10", INPUT),
        ("desir_999", "siram_40", LATER),
        ("desir_999", "soap:siram_100", ACCESS),
        ("desir_550", "S:siram_40", LATER),  # the subcode decides
        ("desir_560", "S:siram_7", ACCESS),
        ("desir_999", "S:siram_1000", UNKNOWN),
        ("desir_999", "S:siram_4", UNKNOWN),
        ("00", "", UNKNOWN),  # a CodeCR in a fault is none
        ("", "", UNKNOWN),
    ],
)
def test_the_subcode_decides_and_where_it_says_nothing_the_code(code: str, subcode: str, ours: Code) -> None:
    """The gateway says Sender even when it is down."""
    assert fault(code, subcode).code is ours


def test_an_unknown_fault_is_kept_verbatim() -> None:
    error = error_of(Fault("nouveau 7", "S:siram_7", "grave", "JEAN EXEMPLE", "2841276451089"))

    assert error.code is Code.INSI_FAULT_UNKNOWN
    assert error.facts["insi"] == {
        "code": "nouveau 7",
        "subcode": "siram_7",
        "severity": "grave",
        "reason": "JEAN EXEMPLE",
        "detail": "2841276451089",
    }
    assert error.detail == "siram_7 ?"


@pytest.mark.parametrize(
    ("error", "repeat"),
    [
        (fault("insi_102", "S:siram_40"), True),
        (fault("desir_999", "S:siram_40"), True),
        (fault("insi_102"), False),  # without siram_40 nothing says that it may
        (fault("insi_19", "S:siram_10"), False),
        (fault("desir_550", "S:siram_100"), False),
        (fault("desir_999"), False),
        (AgentError(Code.INSI_UNREACHABLE), True),
        (AgentError(Code.PROXY_UNREACHABLE), True),
        (AgentError(Code.INSI_TIMEOUT), True),
        (AgentError(Code.INSI_HTTP, status=503), True),
        (AgentError(Code.INSI_HTTP, status=404), False),
        (AgentError(Code.INSI_HTTP, status=302), False),
        (AgentError(Code.INSI_UNREADABLE), False),
        (AgentError(Code.INSI_TLS), False),
        (AgentError(Code.INSI_INTERCEPTED), False),
        (AgentError(Code.INSI_REVOKED), False),
        (AgentError(Code.INSI_CERTIFICATE_REFUSED), False),
        (AgentError(Code.PROXY_AUTHENTICATION), False),
    ],
)
def test_only_what_was_down_is_asked_again(error: AgentError, repeat: bool) -> None:
    for operation in (Operation.WITH_VITALE, Operation.BY_TRAITS, Operation.VERIFY, Operation.FETCH):
        assert may_repeat(error, operation) is repeat


@pytest.mark.parametrize(
    "error",
    [
        AgentError(Code.INSI_TIMEOUT),
        AgentError(Code.INSI_UNREACHABLE),  # also closed without a reply, once the message had gone
        AgentError(Code.INSI_HTTP, status=504),
        fault("desir_1020", "S:siram_40"),
    ],
)
def test_a_batch_that_may_have_arrived_is_not_deposited_twice(error: AgentError) -> None:
    assert not may_repeat(error, Operation.DEPOSIT)


def test_a_batch_that_never_left_may_be_deposited_again() -> None:
    assert may_repeat(AgentError(Code.PROXY_UNREACHABLE), Operation.DEPOSIT)


@named(FAULTS)
def test_a_fault_that_hides_nobody_is_one_where_the_settings_say_so_alone(row: Row) -> None:
    """The qualification service, for years."""
    error = fault(row.code, f"S:{row.subcode}")

    assert means_nobody(error, "notFound") is (row.code in ("insi_102", "desir_1020"))
    assert not means_nobody(error, "error")


@pytest.mark.parametrize(
    "error",
    [
        fault("insi_102", "S:siram_10"),  # said otherwise than it was seen
        fault("desir_999", "S:siram_40"),
        AgentError(Code.INSI_TIMEOUT),
        AgentError(Code.INSI_HTTP, status=503),
    ],
)
def test_no_other_failure_means_nobody(error: AgentError) -> None:
    assert not means_nobody(error, "notFound")


@pytest.mark.parametrize(
    "code", ["00", "07", "OK", "KO", "desir_550", "insi_102", "siram_40", "sim_message", "sim_assertion_missing"]
)
def test_a_code_of_insi_is_told_as_it_is(code: str) -> None:
    assert short_code(code) == code


@pytest.mark.parametrize(
    "said",
    [
        "",
        "JEAN DUPONT 1 23",
        "2841276451089",
        "284127645108993",
        "DUPONT",
        "dupont",
        "DUPONT_1950",
        "00\n",
        "1950-01-01",
    ],
)
def test_what_may_be_a_person_is_not_told(said: str) -> None:
    """The page gets it verbatim all the same."""
    error = fault(said, said)

    assert short_code(said) == "?"
    assert not said or said not in str(error)
    assert error.facts["insi"]["code"] == said


@given(st.text(max_size=40))
def test_what_is_told_is_short_and_holds_no_number_of_a_person(text: str) -> None:
    told = short_code(text)

    assert told in (text, "?")
    assert sum(character.isdigit() for character in told) <= 5
    assert told.isascii()


@pytest.mark.parametrize("row", [row for row in TABLE if isinstance(row.ours, Outcome)])
def test_the_fixed_label_of_a_code_is_told_and_no_other(row: Row) -> None:
    assert short_label(row.code, row.text) == row.text
    assert short_label(row.code, "JEAN EXEMPLE") == "?"
    assert short_label("07", row.text) == "?"
    assert short_label(row.code, "") == ""
