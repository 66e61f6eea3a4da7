"""The browser's own question, "may this site reach programs on this device?", on a real screen: found by its colours.

A page can neither see nor answer it, and no driver can: a person's eyes and hand can.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.parts.desktop import Desktop, until

_BELOW_THE_TOOLBAR = 90
_BUTTON = 40  # pixels of one colour beside one another, at least


@dataclass(frozen=True)
class Prompt:
    """How one browser paints the two buttons."""

    block: bytes
    allow: bytes
    dismiss: str = ""  # the key that closes the question without an answer

    def shown(self, desktop: Desktop) -> bool:
        return len(self._buttons(desktop)) == 2

    def click(self, desktop: Desktop, answer: str) -> None:
        """Wait for the question and click "block" or "allow"; it is gone afterwards."""
        until(lambda: self.shown(desktop), "the browser's question")
        x, y = self._buttons(desktop)[answer == "allow"]
        hand = ["xdotool", "mousemove", str(x), str(y), "click", "1", "mousemove", "1000", "700"]
        subprocess.run(hand, env={**os.environ, **desktop.environment}, check=True, timeout=20)
        until(lambda: not self.shown(desktop), "the browser's question goes")

    def _buttons(self, desktop: Desktop) -> list[tuple[int, int]]:
        """The middle of each button on screen, Block before Allow; none while they are not both there."""
        picture = Path(desktop.environment["XDG_CACHE_HOME"]) / "prompt.ppm"
        desktop.screenshot(picture)
        found = {colour: _boxes(picture.read_bytes(), colour) for colour in (self.block, self.allow)}
        both = sorted({box for boxes in found.values() for box in boxes})
        return both if all(found.values()) and len(both) == 2 else []


CHROMIUM = Prompt(bytes.fromhex("D3E3FD"), bytes.fromhex("D3E3FD"))
FIREFOX = Prompt(bytes.fromhex("E4E4E5"), bytes.fromhex("3584E4"))


def _boxes(ppm: bytes, colour: bytes) -> list[tuple[int, int]]:
    """The middle of each filled box of this colour below the toolbar."""
    _magic, size, _depth, pixels = ppm.split(b"\n", 3)
    width, height = map(int, size.split())
    rows: dict[int, list[int]] = {}  # middle of a run, rounded → the lines that have it
    for y in range(_BELOW_THE_TOOLBAR, height):
        line = pixels[3 * width * y : 3 * width * (y + 1)]
        if colour in line:
            for middle in _runs(line, colour):
                rows.setdefault(next((x for x in rows if abs(x - middle) < _BUTTON // 2), middle), []).append(y)
    return [(x, (min(ys) + max(ys)) // 2) for x, ys in rows.items() if len(ys) > _BUTTON // 8]


def _runs(line: bytes, colour: bytes) -> Iterator[int]:
    """The middles of the long runs of a colour in one line of pixels."""
    same: Callable[[int], bool] = lambda x: line[3 * x : 3 * x + 3] == colour  # noqa: E731  (a key, used once)
    for filled, run in groupby(range(len(line) // 3), same):
        place = list(run)
        if filled and len(place) >= _BUTTON:
            yield (place[0] + place[-1]) // 2
