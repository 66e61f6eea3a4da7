"""`python -m benchmarks`: measure the rows, print each as it comes, exit with 1 when a gate fails."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import FULL, QUICK, failure, line, report
from benchmarks.parts import Parts
from benchmarks.rows import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="R1,R6", help="these rows only")
    parser.add_argument("--quick", action="store_true", help="a few samples: shows that it works, measures nothing")
    options = parser.parse_args()
    wanted = options.only or list(ROWS)
    if unknown := [name for name in wanted if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    passed = True
    with tempfile.TemporaryDirectory(prefix="insi-bench-") as folder, Parts(Path(folder)) as parts:
        for name in wanted:
            row = ROWS[name]
            try:
                said = report(name, row, row.measure(parts, QUICK if options.quick else FULL))
            except Exception as why:  # noqa: BLE001  (the row says so, the others are measured)
                said = failure(name, row, why)
            passed = passed and said["passed"] is not False
            print(json.dumps(said, ensure_ascii=False) if options.json else line(said), flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
