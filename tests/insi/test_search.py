"""The order of attempts (S101, S102; CNDA 2.06 and 2.07)."""

import pytest

from agent.errors import AgentError, Code
from agent.insi.search import steps
from tests.insi.conftest import traits

ALONE = [("birthName", f"givenNames[{index}]", "sex", "birthDate") for index in range(3)]
JOINED = ("birthName", "givenNames[0]", "givenNames[1]", "givenNames[2]", "sex", "birthDate")
HOUILLES = traits("Houilles", "Pierre,Paul,Jacques", "M", "1993-01-27")
HOUILLES_AND_PLACE = traits("Houilles", "Pierre,Paul,Jacques", "M", "1993-01-27", "63220")


def test_each_given_name_is_sent_alone_then_all_joined() -> None:
    """CNDA 2.07-2: 01 four times."""
    ladder = steps(HOUILLES)

    sent = [ladder.next(), ladder.next("01"), ladder.next("01"), ladder.next("01")]

    assert [query.given_name for query in sent if query] == ["PIERRE", "PAUL", "JACQUES", "PIERRE PAUL JACQUES"]
    assert [query.given for query in sent if query] == [*ALONE, JOINED]
    assert ladder.next("01") is None


def test_an_identity_found_ends_the_search() -> None:
    """CNDA 2.07-1: OLA 01, CATARINA 00, BELLA is not asked."""
    ladder = steps(traits("TCHITCHI", "OLA,CATARINA,BELLA", "F", "1936-06-21", "63220"))

    ladder.next()
    ladder.next("01")

    assert ladder.next("00") is None
    assert ladder.next("01") is None  # nothing climbs any more


def test_several_identities_lead_one_given_name_to_the_birth_place() -> None:
    """CNDA 2.06."""
    ladder = steps(traits("DE VINCI", "LEONARDO", "M", "2014-02-01", "63220"))

    first, second = ladder.next(), ladder.next("02")

    assert first is not None
    assert first.birth_place_code is None
    assert second is not None
    assert second.given_name == "LEONARDO"
    assert second.birth_place_code == "63220"
    assert second.given == (*ALONE[0], "birthPlaceCode")
    assert ladder.next("02") is None


def test_several_identities_lead_several_given_names_to_all_joined_and_then_to_the_birth_place() -> None:
    ladder = steps(HOUILLES_AND_PLACE)

    ladder.next()
    joined, placed = ladder.next("02"), ladder.next("02")

    assert joined is not None
    assert joined.given == JOINED
    assert placed is not None
    assert placed.given == (*JOINED, "birthPlaceCode")
    assert ladder.next("02") is None


def test_the_step_after_several_may_be_the_next_given_name() -> None:
    ladder = steps(HOUILLES, after_several="next")

    ladder.next()
    second = ladder.next("02")

    assert second is not None
    assert second.given_name == "PAUL"


@pytest.mark.parametrize("after_several", ["join", "next"])
@pytest.mark.parametrize("given_names", ["A", "A,B", "A,B,C,D"])
def test_the_birth_place_travels_in_the_last_attempt_alone(after_several: str, given_names: str) -> None:
    """S102: never in a first attempt."""
    ladder = steps(
        traits("NOM", given_names, "F", "1950-00-00", "2A004"), "join" if after_several == "join" else "next"
    )

    assert [step.birth_place_code for step in ladder.steps[:-1]] == [None] * (len(ladder.steps) - 1)
    assert ladder.steps[-1].birth_place_code == "2A004"
    assert len(ladder.steps) > 1


@pytest.mark.parametrize("code", ["insi_102", "desir_1020", "99", "insi.timeout"])
def test_a_fault_does_not_climb(code: str) -> None:
    ladder = steps(HOUILLES)

    ladder.next()

    assert ladder.next(code) is None


def test_a_search_that_continues_begins_after_the_last_step_of_the_earlier_trace() -> None:
    """The earlier search had no birth place; the person adds it."""
    earlier = steps(HOUILLES)
    last = earlier.next()
    code = "02"
    while (query := earlier.next(code)) is not None:
        last = query
    assert last is not None

    query = steps(HOUILLES_AND_PLACE).resume(last.given).next(code)

    assert query is not None
    assert query.given == (*JOINED, "birthPlaceCode")


def test_a_search_continues_in_the_middle_too() -> None:
    query = steps(HOUILLES_AND_PLACE).resume(list(ALONE[0])).next("01")

    assert query is not None
    assert query.given == ALONE[1]


def test_a_search_cannot_continue_another_one() -> None:
    with pytest.raises(AgentError) as refused:
        steps(traits("NOM", "A", "F", "1980-01-01")).resume(JOINED)

    assert refused.value.code is Code.CONTINUES_REFUSED


def test_a_name_that_cannot_be_sent_is_refused_before_any_attempt() -> None:
    with pytest.raises(AgentError) as refused:
        steps(traits("NOM", "ANNA,B3A", "F", "1980-01-01"))

    assert refused.value.facts == {"member": "givenNames[1]", "character": "DIGIT THREE"}


@pytest.mark.parametrize("birth_date", ["1950-00-00", "1950-05-00", "1950-00-17"])
def test_a_birth_date_without_month_or_day_is_sent_as_it_is_or_refused_by_setting(birth_date: str) -> None:
    lunar = traits("NOM", "A,B", "F", birth_date, "2B020")

    assert {step.birth_date for step in steps(lunar).steps} == {birth_date}
    with pytest.raises(AgentError) as refused:
        steps(lunar, lunar_dates="refuse")
    assert refused.value.code is Code.TRAITS_REFUSED
    assert refused.value.facts == {"member": "birthDate", "rule": "lunar"}
    assert birth_date not in str(refused.value)


@pytest.mark.parametrize("birth_date", ["2000-10-10", "1900-02-31"])
def test_a_whole_birth_date_is_sent_whatever_the_calendar_says(birth_date: str) -> None:
    ladder = steps(traits("NOM", "A", "F", birth_date), lunar_dates="refuse")

    assert [step.birth_date for step in ladder.steps] == [birth_date]


def test_a_query_does_not_print() -> None:
    query = steps(HOUILLES).steps[0]

    assert "HOUILLES" not in repr(query)
    assert "PIERRE" not in f"{query}"
