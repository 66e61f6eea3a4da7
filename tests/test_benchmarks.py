"""The benchmark says what it measured in one shape; a row that cannot be measured fails. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Measured, Row, failure, line, report
from benchmarks.rows import ROWS

ROOT = Path(__file__).parent.parent
MEMBERS = {"row", "what", "unit", "median", "quartiles", "samples", "gate", "aim", "passed", "beside"}


def row(gate: float | None) -> Row:
    return Row("something / its floor", "x", gate, 1.0, lambda _parts, _effort: Measured([]))


def test_three_rows_measured_on_real_parts_are_three_json_lines() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", "--only", "R5,R12,J2"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=120)
    said = [json.loads(text) for text in done.stdout.splitlines()]

    assert ["R5", "R12", "J2"] == [one["row"] for one in said], done.stderr
    for one in said:
        assert set(one) == MEMBERS, one
        assert one["samples"] > 0
        assert 0 < one["quartiles"][0] <= one["median"] <= one["quartiles"][1]
        assert one["passed"] is (one["median"] <= one["gate"])
    assert done.returncode == (0 if all(one["passed"] for one in said) else 1)


def test_an_unknown_row_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "R99"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "R99" in done.stderr


@pytest.mark.parametrize(("gate", "passed"), [(2.0, True), (1.9, False), (None, None)])
def test_a_row_passes_by_its_median_and_a_row_without_gate_neither_passes_nor_fails(
    gate: float | None, passed: bool | None
) -> None:
    said = report("R0", row(gate), Measured([1.0, 2.0, 9.0], "beside it"))

    assert (2.0, [1.5, 5.5], 3, passed) == (said["median"], said["quartiles"], said["samples"], said["passed"])
    assert "2.00 x (1.50 to 5.50)" in line(said)
    assert "beside it" in line(said)


def test_a_row_that_cannot_be_measured_has_not_passed_and_says_why() -> None:
    said = failure("R0", row(2.0), AssertionError("SoftHSM2 is missing"))

    assert said["passed"] is False
    assert "SoftHSM2 is missing" in line(said)


def test_every_gate_is_above_its_aim() -> None:
    assert all(one.gate is None or (one.aim is not None and one.aim < one.gate) for one in ROWS.values())
