"""SUPPORTED.md says what the tables and the replays say, and each proof that it names is there."""

import re
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind
from agent.readers.kinds import ATR_TABLE
from agent.readers.supported import DOCUMENT, MODULES, REAL_CARDS, VIRTUAL_CARDS, VirtualCard, document, row_of
from agent.readers.transcript import shipped_cards
from agent.readers.vitale import WAYS
from agent.signing.cpx import check_known
from agent.signing.modules import OPENSC, module_facts

ROOT = Path(__file__).parents[2]


def table_rows(text: str | None = None) -> list[list[str]]:
    lines = (text or DOCUMENT.read_text(encoding="utf-8")).splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def atr_rows(text: str | None = None) -> dict[str, list[str]]:
    """The rows of the table of ATRs, by their pattern."""
    rows = {row[1].strip("`"): row for row in table_rows(text) if len(row) == 7}
    return {pattern: row for pattern, row in rows.items() if pattern not in ("ATR", "---")}


def test_the_document_is_fresh() -> None:
    """If this fails: make documents."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


def test_every_known_atr_has_its_row() -> None:
    assert {row.pattern for row in ATR_TABLE} == atr_rows().keys()


@pytest.mark.parametrize("reports", [REAL_CARDS, {"3B751300004509EA9000": "https://example.org/report/1"}])
def test_a_real_card_is_claimed_only_by_a_report_and_only_beside_its_own_row(reports: dict[str, str]) -> None:
    claimed = {pattern: row[6] for pattern, row in atr_rows(document(reports)).items() if row[6] != "untested"}

    assert {row.pattern: report for atr, report in reports.items() if (row := row_of(atr))} == claimed
    assert all(row_of(atr) and report.startswith("https://") for atr, report in reports.items())


def test_a_card_that_gives_nobody_away_is_no_proof_that_holders_are_read() -> None:
    """`empty` and `protected` have the ATR of a card that is read."""
    proofs = " ".join(row[5] for row in atr_rows().values() if "holders" in row[4])

    assert "`durand-two-holders`" in proofs
    assert "`empty`" not in proofs and "`protected`" not in proofs


def test_a_row_says_of_a_professionals_card_what_the_agent_makes_of_it() -> None:
    """Where its module shows no token."""
    module = module_facts(Path("/x/m.so"), description="Cryptolib CPS PKCS11", version=(3, 4), opensc_signs=False)
    refused: dict[str, Code] = {}
    for row in ATR_TABLE:
        if row.kind is CardKind.CPX and row.exact:
            try:
                check_known(module, row.pattern)
            except AgentError as error:
                refused[row.pattern] = error.code

    said = {pattern: row[4] for pattern, row in atr_rows().items()}
    assert refused == {"3BAC00402A001225006480820212009000": Code.CPX_NO_SIGNATURE}
    assert {pattern for pattern, use in said.items() if Code.CPX_NO_SIGNATURE in use} == refused.keys()


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
    found = module_facts(Path("/x/opensc-pkcs11.so"), description=OPENSC, version=(0, 23), opensc_signs=False)
    assert not found.signs_cps3
    assert any(module.name.startswith(OPENSC) and "does not sign" in module.does for module in MODULES)
