"""A mass proof: one program with a count and a seed, whose claims hold or do not; its folder stays where not."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(kw_only=True)
class Claims:
    """What was claimed, with the figures, and what did not hold."""

    facts: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def require(self, name: str, holds: bool, fact: object) -> None:
        self.facts[name] = f"{'ok  ' if holds else 'FAIL'} {fact}"
        if not holds:
            self.failures.append(f"{name}: {fact}")

    def verdict(self, width: int) -> Iterator[str]:
        """One line for each claim, then the last one."""
        yield from (f"  {name:<{width}} {fact}" for name, fact in self.facts.items())
        yield "FAILED" if self.failures else "passed"


class Proof(Protocol):
    """What a run gives."""

    failures: list[str]

    def lines(self) -> Iterator[str]: ...


def prove(name: str, seed: int, run: Callable[[Path], Proof], *, kept: tuple[str, ...] = ("",)) -> int:
    """Run in a folder of its own and say what came of it: an exit status. `kept`: what to look at after a failure."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    print(f"seed {seed}, in {folder}", flush=True)
    proof = run(folder)
    print("\n".join(proof.lines()))
    if proof.failures:
        print("kept:", ", ".join(str(folder / file) for file in kept))
        return 1
    shutil.rmtree(folder)
    return 0
