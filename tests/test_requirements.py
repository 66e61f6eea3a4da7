"""The table of the INS rules is whole: each row is held, owed or needs something real, and the document says so."""

import pytest

from tests.held import check_document, missing
from tests.requirements import DOCUMENT, REQUIREMENTS

# The rows whose class contains A: what is asked of the agent itself.
ROWS = [
    "S001",
    "S003",
    "S011",
    "S012",
    "S015",
    "S017",
    "S018",
    "S019",
    "S020",
    "S023",
    "S024",
    "S025",
    "S027",
    "S033",
    "S034",
    "S035",
    "S040",
    "S052",
    "S053",
    "S054",
    "S057",
    "S062",
    "S063",
    "S064",
    "S065",
    "S066",
    "S077",
    "S078",
    "S096",
    "S097",
    "S098",
    "S099",
    "S100",
    "S101",
    "S102",
    "S103",
    "S105",
    "S107",
    "S108",
    "S112",
    "S113",
    "S116",
    "S118",
    "S121",
    "S123",
    "S124",
]


def test_every_row_is_there() -> None:
    assert len(ROWS) == 46
    assert list(REQUIREMENTS) == ROWS


@pytest.mark.parametrize("number", REQUIREMENTS)
def test_each_row_has_one_of_the_three_answers(number: str) -> None:
    row = REQUIREMENTS[number]
    assert row.tests or row.owed or row.needs
    assert missing(row) == []


@pytest.mark.parametrize("number", REQUIREMENTS)
def test_the_document_says_what_holds_each_row_and_that_it_held(number: str) -> None:
    check_document(DOCUMENT, number, REQUIREMENTS[number])
