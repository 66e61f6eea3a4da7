"""The catalogue: one row per code, each raised by some test."""

from pathlib import Path

import pytest

from agent.errors import CATALOGUE, AgentError, Code

TESTS = Path(__file__).parent


def test_every_code_has_its_row_and_every_row_its_code() -> None:
    assert set(CATALOGUE) == set(Code)


@pytest.mark.parametrize("code", list(Code))
def test_a_row_says_what_happened_and_what_to_do_in_both_languages(code: Code) -> None:
    row = CATALOGUE[code]
    for words in (row.title, row.action):
        for sentence in (words.fr, words.en):
            assert sentence.endswith("."), sentence
            assert len(sentence) < 140, sentence
    assert row.level in {"INFO", "WARNING", "ERROR"}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_named_in_some_test(code: Code) -> None:
    here = Path(__file__)
    texts = (file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py") if file != here)

    assert any(f"Code.{code.name}" in text or f'"{code.value}"' in text for text in texts)


def test_an_error_shows_its_code_and_detail_and_keeps_its_facts() -> None:
    error = AgentError(Code.TOKEN_UNKNOWN, "CKR 0x80000001", ckr="0x80000001")

    assert str(error) == "token.unknown: CKR 0x80000001"
    assert error.facts == {"ckr": "0x80000001"}
