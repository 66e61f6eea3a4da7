"""A row of the benchmark, how hard it is measured, and what is said of it. No I/O of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.parts import Parts


@dataclass(frozen=True)
class Effort:
    """How often each thing is done."""

    warm_up: int  # requests before any is timed
    turns: int  # turns of each side
    requests: int  # requests in a turn
    rounds: int  # of what is slow: starts, crowds
    window_s: float  # of watching an idle agent, after a third of it to settle
    entries: int  # of the large journal


FULL = Effort(warm_up=300, turns=100, requests=40, rounds=9, window_s=8, entries=1_000_000)
QUICK = Effort(
    warm_up=10, turns=3, requests=4, rounds=2, window_s=1, entries=20_000
)  # shows that a row works; its figure counts not


@dataclass(frozen=True)
class Measured:
    """One sample per turn, and what belongs beside the figure."""

    samples: Sequence[float]
    beside: str = ""


@dataclass(frozen=True)
class Row:
    what: str
    unit: str  # "x" is a ratio, ours / floor
    gate: float | None  # a median above it fails the benchmark; None: no floor to compare with yet
    aim: float | None
    measure: Callable[[Parts, Effort], Measured]


def report(name: str, row: Row, measured: Measured) -> dict[str, Any]:
    """The row as one JSON object; `passed` is None for a row without a gate."""
    low, middle, high = _quartiles(measured.samples)
    return {
        "row": name,
        "what": row.what,
        "unit": row.unit,
        "median": middle,
        "quartiles": [low, high],
        "samples": len(measured.samples),
        "gate": row.gate,
        "aim": row.aim,
        "passed": None if row.gate is None else middle <= row.gate,
        "beside": measured.beside,
    }


def failure(name: str, row: Row, why: Exception) -> dict[str, Any]:
    """A row that could not be measured has not passed."""
    return {"row": name, "what": row.what, "passed": False, "error": f"{type(why).__name__}: {why}"}


def line(said: dict[str, Any]) -> str:
    """A report as a line for people."""
    if "error" in said:
        return f"{said['row']:<4} FAIL  {said['what']}: {said['error']}"
    verdict = {True: "ok", False: "FAIL", None: "-"}[said["passed"]]
    low, high = said["quartiles"]
    figure = f"{said['median']:.2f} {said['unit']} ({low:.2f} to {high:.2f})"
    limits = f"gate {_or_none(said['gate'])}, aim {_or_none(said['aim'])}"
    beside = f"; {said['beside']}" if said["beside"] else ""
    return f"{said['row']:<4} {verdict:<5} {figure:<28} {limits:<22} {said['what']}{beside}"


def spread(samples: Sequence[float]) -> str:
    """The median and quartiles in one word, for a figure that stands beside another."""
    low, middle, high = _quartiles(samples)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    if len(samples) < 2:
        return (samples[0],) * 3
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return low, median(samples), high


def _or_none(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:g}"
