"""The table of defences is whole: each line has its tests, each test exists, and the document says what is held."""

import ast
import re
from pathlib import Path

import pytest

from tests.defences import DEFENCES, DOCUMENT

TESTS = Path(__file__).parent


def test_every_line_of_the_list_is_there() -> None:
    assert list(DEFENCES) == [f"D{number}" for number in range(1, 42)]


@pytest.mark.parametrize("number", DEFENCES)
def test_each_line_is_held_by_tests_that_exist(number: str) -> None:
    assert DEFENCES[number].tests
    for test in DEFENCES[number].tests:
        file, _, function = test.partition("::")
        defined = {
            node.name for node in ast.walk(ast.parse((TESTS / file).read_text())) if isinstance(node, ast.FunctionDef)
        }
        assert function in defined, test


@pytest.mark.parametrize("number", DEFENCES)
def test_the_document_says_what_holds_each_line_and_that_it_held(number: str) -> None:
    (line,) = [row for row in DOCUMENT.read_text(encoding="utf-8").splitlines() if row.startswith(f"| {number} |")]
    _, _, says, held, came, _ = line.split("|")

    assert says.strip().startswith(DEFENCES[number].says)
    assert re.findall(r"`([^`]+)`", held) == list(DEFENCES[number].tests)
    assert all(re.fullmatch(r"[1-9]\d* passed", one) for one in came.strip().split("<br>"))
    assert len(came.split("<br>")) == len(DEFENCES[number].tests)
