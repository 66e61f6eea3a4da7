"""Coverage-guided fuzzing, small: each promise holds, and a broken one is found."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.fuzz.guided import Outcome, guide
from tests.fuzz.targets import REAL

SEED = 20_261
SHARE = 1000  # of the runs of `make fuzz`
LEAST = 300


def fuzz(folder: Path, target: str, runs: int) -> Outcome:
    inside = folder / target
    inside.mkdir()
    return guide(target, inside, runs=runs, seed=SEED)


def test_whatever_comes_from_outside_every_reader_keeps_its_promise(tmp_path: Path) -> None:
    names = {made.__name__: max(LEAST, runs // SHARE) for made, runs in REAL.items()}

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(partial(fuzz, tmp_path), names, names.values()))

    print("\n".join(one.line() for one in outcomes))
    assert [one.said[-3000:] for one in outcomes if not one.kept] == []
    assert all(one.runs == runs for one, runs in zip(outcomes, names.values(), strict=True))
    assert min(one.covered for one in outcomes) > 10


def test_a_planted_fault_is_found_by_what_is_executed_and_its_input_is_kept(tmp_path: Path) -> None:
    """By chance alone one input in four thousand million."""
    outcome = fuzz(tmp_path, "planted", 200_000)

    assert not outcome.kept
    assert "KeyError" in outcome.said
    assert [file.read_bytes()[:4] for file in (tmp_path / "planted").glob("crash-*")] == [b"INSi"]
