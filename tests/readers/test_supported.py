"""SUPPORTED.md says what the tables and the replays say, and each proof that it names is there."""

import re
from pathlib import Path

import pytest

from agent.readers.kinds import ATR_TABLE
from agent.readers.supported import DOCUMENT, MODULES, REAL_CARDS, VIRTUAL_CARDS, VirtualCard, document, row_of
from agent.readers.transcript import shipped_cards
from agent.readers.vitale import WAYS
from agent.signing.modules import OPENSC, module_facts

ROOT = Path(__file__).parents[2]


def table_rows() -> list[list[str]]:
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines]


def test_the_document_is_fresh() -> None:
    """If this fails: make documents."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_every_known_atr_has_its_row_and_nothing_is_claimed_on_a_real_card() -> None:
    rows = {row[1].strip("`"): row for row in table_rows() if len(row) == 7}

    assert {row.pattern for row in ATR_TABLE} == rows.keys() - {"ATR", "---"}
    assert {} == REAL_CARDS
    assert {"untested"} == {row[6] for pattern, row in rows.items() if pattern not in ("ATR", "---")}


@pytest.mark.parametrize("card", VIRTUAL_CARDS, ids=str)
def test_a_virtual_card_is_a_program_with_this_atr_that_a_test_puts_into_a_reader(card: VirtualCard) -> None:
    module = card.file.removesuffix(".py").replace("/", ".")
    started_by = [file for file in (ROOT / "tests").rglob("test_*.py") if module in file.read_text(encoding="utf-8")]

    assert f'"{card.atr}"' in (ROOT / card.file).read_text(encoding="utf-8")
    assert [file for file in started_by if file != Path(__file__)]
    assert row_of(card.atr)


def test_a_proof_stands_only_beside_the_row_of_its_atr() -> None:
    known = [card.atr for card in VIRTUAL_CARDS] + [card.atr.hex().upper() for card in shipped_cards().values()]
    proved = {row.pattern for row in map(row_of, known) if row}

    for row in table_rows():
        if len(row) == 7 and row[0] not in ("card", "---"):
            assert (row[1].strip("`") in proved) == ("virtual" in row[5] or "simulated" in row[5]), row


def test_every_way_is_shown_by_a_card_that_it_reads() -> None:
    rows = {row[0].strip("`"): row for row in table_rows() if len(row) == 3}

    assert all(rows[way.name][2] != "" for way in WAYS)


def test_the_tests_named_as_proofs_are_there_and_opensc_is_no_signer() -> None:
    for module in MODULES:
        for place in re.findall(r"`(tests/[^`]+)`", module.proof):
            assert (ROOT / place).exists(), place
    found = module_facts(Path("/x/opensc-pkcs11.so"), description=OPENSC, version=(0, 23), configured=False)
    assert not found.signs_cps3
    assert any(module.name.startswith(OPENSC) and "does not sign" in module.does for module in MODULES)
