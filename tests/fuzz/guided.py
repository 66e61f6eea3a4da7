"""Coverage-guided fuzzing of what reads bytes from outside, with atheris (libFuzzer).

`python -m tests.fuzz.guided TARGET… [--runs N] [--seed N]`, or `all`: prints one line for each and ends with 1
when a promise was broken, with the input that broke it. Each target has a process of its own, because atheris
changes what is imported and never gives control back.
"""

import argparse
import importlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGS_AFTER_S = 30
MEMORY_MB = 2048


@dataclass(frozen=True)
class Outcome:
    """How one target ended."""

    target: str
    kept: bool
    runs: int
    covered: int  # edges of the code
    seconds: float
    said: str

    def line(self) -> str:
        how = "ok  " if self.kept else "FAIL"
        return f"  {self.target:<12} {how} {self.runs:>9} runs, {self.covered:>5} edges covered, {self.seconds:.0f} s"


def guide(target: str, folder: Path, *, runs: int | None, seed: int) -> Outcome:
    """Fuzz one target in a process of its own; the input that breaks it is left in `folder`."""
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.guided",
        "--child",
        target,
        "--folder",
        str(folder),
        "--seed",
        str(seed),
    ]
    if runs:
        command += ["--runs", str(runs)]
    environment = {**os.environ, "TMPDIR": str(folder)}  # libFuzzer ends the process without any farewell
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = ended.stderr + ended.stdout
    done, covered = re.search(r"Done (\d+) (?:runs )?in", said), re.findall(r"cov: (\d+)", said)
    wanted = done is not None and int(done[1]) >= (runs or 1)
    return Outcome(
        target,
        kept=ended.returncode == 0 and wanted,
        runs=int(done[1]) if done else 0,
        covered=int(covered[-1]) if covered else 0,
        seconds=time.monotonic() - began,
        said=said,
    )


def _child(target: str, folder: Path, runs: int | None, seed: int) -> None:
    """Does not return."""
    import atheris  # type: ignore[import-untyped]  # it brings no types

    with atheris.instrument_imports(include=["agent", "tests.fuzz.targets"]):
        targets = importlib.import_module("tests.fuzz.targets")
        make, enough = targets.TARGETS[target]
        found = make()
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(found.seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in found.words))
    options = {
        "runs": runs or enough,
        "seed": seed % (1 << 31) or 1,
        "max_len": targets.LONGEST,
        "timeout": HANGS_AFTER_S,
        "rss_limit_mb": MEMORY_MB,
        "artifact_prefix": f"{folder}/",
    }
    if found.words:
        options["dict"] = words
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)], found.keeps)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    r"""As libFuzzer reads a dictionary: \xAB, \\ and \" alone are escaped."""
    return re.sub(r'(?<!\\)"', r"\"", word)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("targets", nargs="*", metavar="TARGET")
    arguments.add_argument("--runs", type=int, help="of each; else as many as take some two minutes")
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="else one at random")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        _child(options.child, options.folder, options.runs, options.seed)
    from tests.fuzz.targets import REAL

    print(f"seed {options.seed}", flush=True)
    failed = False
    for target in [made.__name__ for made in REAL] if options.targets in ([], ["all"]) else options.targets:
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{target}-"))
        outcome = guide(target, folder, runs=options.runs, seed=options.seed)
        print(outcome.line(), flush=True)
        if outcome.kept:
            shutil.rmtree(folder)
            continue
        failed = True
        print(f"{outcome.said[-4000:]}\nkept: {folder}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
