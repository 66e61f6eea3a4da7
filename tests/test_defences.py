"""The table of defences is whole: each line has its tests, each test exists, and the document says what is held."""

import pytest

from tests.defences import DEFENCES, DOCUMENT
from tests.held import check_document, missing


def test_every_line_of_the_list_is_there() -> None:
    assert list(DEFENCES) == [f"D{number}" for number in range(1, 42)]


@pytest.mark.parametrize("number", DEFENCES)
def test_each_line_is_held_by_tests_that_exist(number: str) -> None:
    assert DEFENCES[number].tests
    assert missing(DEFENCES[number]) == []


@pytest.mark.parametrize("number", DEFENCES)
def test_the_document_says_what_holds_each_line_and_that_it_held(number: str) -> None:
    check_document(DOCUMENT, number, DEFENCES[number])
