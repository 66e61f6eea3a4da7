"""A real desktop of the test's own: Xvfb on a free display, openbox, trayer when a tray is wanted, xdotool's hands."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_READY_S = 20


@pytest.fixture
def desktop() -> Iterator["Desktop"]:
    """A screen with a window manager and nobody's windows."""
    with Desktop() as screen:
        yield screen


@pytest.fixture
def desktop_with_tray(desktop: "Desktop") -> "Desktop":
    """The same with a system tray at the bottom right."""
    desktop.open_tray()
    return desktop


class Desktop:
    """Use as a context manager. `environment` is what a program needs to appear on it."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._home = tempfile.TemporaryDirectory()  # nobody's own openbox settings
        self.environment = {
            "XDG_CONFIG_HOME": self._home.name,
            "XDG_CACHE_HOME": self._home.name,
            "XAUTHORITY": "",
            "LC_ALL": "C.UTF-8",  # xdotool types accents
        }

    def __enter__(self) -> "Desktop":
        try:
            self.environment["DISPLAY"] = f":{self._start_screen()}"
            # openbox says that it manages before it does, and loses the windows mapped in between.
            self._start("openbox", "--sm-disable", "--startup", "xprop -root -f READY 8s -set READY yes")
            until(lambda: "yes" in self._run("xprop", "-root", "READY"), "openbox manages the windows")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started.clear()
        self._home.cleanup()

    def open_tray(self) -> None:
        """Start a system tray and wait for its window."""
        self._start(
            "trayer", "--edge", "bottom", "--align", "right", "--widthtype", "pixel", "--width", "160", "--height", "32"
        )
        self.window("panel")

    def close_screen(self) -> None:
        """End the X server, as when the person's session ends."""
        self._started[0].terminate()
        self._started[0].wait()

    def type(self, text: str) -> None:
        """Type into the window that has the keyboard."""
        self._run("xdotool", "type", "--clearmodifiers", "--delay", "20", text)

    def key(self, *names: str) -> None:
        """Press keys by their X names: Return, Escape, alt+F4…"""
        self._run("xdotool", "key", "--clearmodifiers", "--delay", "20", *names)

    def window(self, title: str) -> str:
        """Wait until a window with this title is on screen; its id."""
        until(lambda: bool(self.windows(title)), f"a window {title!r}")
        return self.windows(title)[0]

    def windows(self, title: str) -> list[str]:
        """The ids of the windows on screen whose title matches now, as a regular expression of plain ASCII."""
        return self._run("xdotool", "search", "--onlyvisible", "--name", title).split()

    def focused(self, title: str) -> str:
        """Wait until the window with this title has the keyboard; its id."""
        window = self.window(title)
        until(lambda: self._run("xdotool", "getactivewindow").strip() == window, f"{title!r} has the keyboard")
        return window

    def bottom_of(self, window: str) -> int:
        """Where the window ends, in pixels from the top of the screen."""
        told = self._run("xdotool", "getwindowgeometry", "--shell", window)
        place = dict(line.split("=") for line in told.splitlines())
        return int(place["Y"]) + int(place["HEIGHT"])

    def above_all(self, window: str) -> bool:
        """Whether the window manager keeps this window above the others."""
        return "_NET_WM_STATE_ABOVE" in self._run("xprop", "-id", window, "_NET_WM_STATE")

    def screenshot(self, path: Path, window: str = "root") -> None:
        """Write a PNG of the screen, or of one window."""
        self._run("import", "-window", window, "-depth", "8", str(path))

    def colours(self, window: str = "root") -> set[str]:
        """The colours seen now, as #RRGGBB."""
        pixels = self._run("import", "-window", window, "-depth", "8", "-format", "%c", "histogram:info:-")
        return {word[:7] for word in pixels.split() if word.startswith("#")}

    def _start_screen(self) -> int:
        reading, writing = os.pipe()
        try:
            self._start(
                "Xvfb",
                "-displayfd",
                str(writing),
                "-screen",
                "0",
                "1024x768x24",
                "-noreset",
                "-nolisten",
                "tcp",
                give=writing,
            )
        finally:
            os.close(writing)
        with os.fdopen(reading, encoding="ascii") as number:
            line = number.readline()
        if not line.strip():
            pytest.fail("Xvfb did not start")
        return int(line)

    def _start(self, *command: str, give: int | None = None) -> None:
        self._started.append(
            subprocess.Popen(
                [_needed(command[0]), *command[1:]],
                env={**os.environ, **self.environment},
                pass_fds=[] if give is None else [give],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def _run(self, *command: str) -> str:
        """What a tool says; nothing when it fails, as xdotool does when it finds nothing."""
        done = subprocess.run(
            [_needed(command[0]), *command[1:]],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_READY_S,
            check=False,
        )
        return done.stdout


def until(happened: Callable[[], bool], what: str, *, seconds: float = _READY_S) -> None:
    """Wait for what has to happen; fail, saying what did not."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"not seen: {what}")
        time.sleep(0.02)


def _needed(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.fail(f"{tool} is not installed (apt-get install xvfb openbox trayer xdotool x11-utils imagemagick)")
    return found
