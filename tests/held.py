"""Lists of what is promised and the tests that hold each line: run them, write the document, check that it is whole."""

import ast
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_WORDS = {"passed": "passed", "failed": "FAILED", "missing": "NOT FOUND"}


@dataclass(frozen=True)
class Line:
    """What is promised, the tests that hold it (file::function, below tests/), and what they do not show."""

    says: str
    tests: tuple[str, ...] = ()
    not_here: str = ""  # cannot be shown here, and why
    needs: str = ""  # "needs a real …": shown by nobody without it
    owed: str = ""  # the later issue that owes it

    @property
    def rest(self) -> str:
        """What no test of this line shows, as the document says it."""
        parts = {"Not shown here": self.not_here, "Needs a real": self.needs, "Owed by": self.owed}
        return "".join(f" *{what}: {text}*" for what, text in parts.items() if text)


def write(document: Path, head: str, lines: Mapping[str, Line]) -> int:
    """Run every test named, write the table with what came of each below `head` ({total}); 1 unless all passed."""
    results = _run({test for line in lines.values() for test in line.tests})
    total = sum(results.values(), Counter[str]())
    document.write_text(head.format(total=_said(total)) + _rows(lines, results), encoding="utf-8")
    print(_said(total))
    return 0 if set(total) == {"passed"} else 1


def missing(line: Line) -> list[str]:
    """The tests of this line that nobody wrote."""
    return [test for test in line.tests if not _defined(test)]


def check_document(document: Path, number: str, line: Line) -> None:
    """Fail unless the document has this line as it is now, with tests that passed."""
    (row,) = [row for row in document.read_text(encoding="utf-8").splitlines() if row.startswith(f"| {number} |")]
    _, _, says, held, came, _ = row.split("|")

    assert says.strip() == line.says + line.rest
    assert re.findall(r"`([^`]+)`", held) == list(line.tests)
    if line.tests:
        assert all(re.fullmatch(r"[1-9]\d* passed", one) for one in came.strip().split("<br>"))
        assert len(came.split("<br>")) == len(line.tests)


def _defined(test: str) -> bool:
    file, _, function = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return function in {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _rows(lines: Mapping[str, Line], results: Mapping[str, Counter[str]]) -> str:
    rows = []
    for number, line in lines.items():
        held = "<br>".join(f"`{test}`" for test in line.tests)
        came = "<br>".join(_said(results[test]) for test in line.tests)
        rows.append(f"| {number} | {line.says}{line.rest} | {held} | {came} |\n")
    return "".join(rows)


def _run(tests: set[str]) -> dict[str, Counter[str]]:
    """What came of each test's cases; `missing` for one that pytest did not find."""
    results = {test: Counter[str]() for test in tests}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        wanted = [f"tests/{test}" for test in sorted(tests)]
        subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *wanted], cwd=ROOT, check=False)
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  (pytest has just written it)
            file = case.attrib["classname"].replace(".", "/").removeprefix("tests/") + ".py"
            test = f"{file}::{case.attrib['name'].partition('[')[0]}"
            failed = any(case.find(what) is not None for what in ("failure", "error", "skipped"))
            results[test]["failed" if failed else "passed"] += 1
    return {test: count or Counter(missing=1) for test, count in results.items()}


def _said(count: Counter[str]) -> str:
    return ", ".join(f"{number} {_WORDS[what]}" for what, number in count.items())
