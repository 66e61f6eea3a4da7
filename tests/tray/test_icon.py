"""The real icon in a real tray."""

import os
import subprocess
import sys

from agent.errors import Code
from agent.model import Environment
from agent.tray.state import OrganisationCalls, TrayState, view_of
from tests.parts.desktop import Desktop, until

WAITING = view_of(TrayState(Environment.SIMULATED))
CALLING = view_of(TrayState(Environment.SIMULATED, organisation=OrganisationCalls(under_way=True)))
TROUBLE = view_of(TrayState(Environment.SIMULATED, troubles=(Code.PCSC_UNAVAILABLE,)))

SCRIPT = """
import faulthandler, sys, threading
faulthandler.dump_traceback_later(20, exit=True)
from agent.errors import Code
from agent.model import Environment
from agent.tray.icon import open_tray
from agent.tray.state import OrganisationCalls, TrayState, view_of

tray = open_tray(view_of(TrayState(Environment.SIMULATED)), {})
if tray is None:
    print("no tray", flush=True)
    raise SystemExit

def follow():
    for line in sys.stdin:
        if line == "trouble\\n":
            tray.update(view_of(TrayState(Environment.SIMULATED, troubles=(Code.PCSC_UNAVAILABLE,))))
        elif line == "calling\\n":
            tray.update(view_of(TrayState(Environment.SIMULATED, organisation=OrganisationCalls(under_way=True))))
        elif line == "stop\\n":
            tray.stop()

threading.Thread(target=follow, daemon=True).start()
print("running", flush=True)
tray.run()
tray.update(view_of(TrayState(Environment.SIMULATED)))  # too late, and harmless
tray.stop()
left = [t.name for t in threading.enumerate() if t is not threading.main_thread() and t.name == "tray-updates"]
print("ended", left, flush=True)
"""


class Tray:
    """A program that only has an icon, told what to do on its input."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Tray":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def told(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Its exit code and what it complained of."""
        _, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, complaints


def seen(desktop: Desktop, colour: str) -> bool:
    return colour.upper() in desktop.colours()


def test_the_icon_appears_changes_and_goes_away(desktop_with_tray: Desktop):
    with Tray(desktop_with_tray.environment) as tray:
        assert "running" == tray.says()
        until(lambda: seen(desktop_with_tray, WAITING.colour), "the icon")

        tray.told("calling")
        until(lambda: seen(desktop_with_tray, CALLING.colour), "the picture of a call without a code")
        assert desktop_with_tray.windows("Certificat de la structure : appel en cours")

        tray.told("trouble")
        until(lambda: seen(desktop_with_tray, TROUBLE.colour), "the other picture")
        assert not seen(desktop_with_tray, WAITING.colour)

        tray.told("stop")
        assert "ended []" == tray.says()
        assert (0, "") == tray.end()
        until(lambda: not seen(desktop_with_tray, TROUBLE.colour), "an empty tray")


def test_the_icon_ends_quietly_with_the_persons_session(desktop_with_tray: Desktop):
    with Tray(desktop_with_tray.environment) as tray:
        assert "running" == tray.says()
        until(lambda: seen(desktop_with_tray, WAITING.colour), "the icon")

        desktop_with_tray.close_screen()

        assert "ended []" == tray.says()
        assert (0, "") == tray.end()


def test_a_desktop_without_a_tray_does_no_harm(desktop: Desktop):
    with Tray(desktop.environment) as tray:
        assert "running" == tray.says()
        tray.told("trouble")
        tray.told("stop")

        assert "ended []" == tray.says()
        assert (0, "") == tray.end()


def test_without_a_display_there_is_no_icon_and_no_complaint():
    with Tray({"DISPLAY": ""}) as tray:
        assert "no tray" == tray.says()
        assert (0, "") == tray.end()


def test_a_display_that_does_not_answer_is_no_display():
    with Tray({"DISPLAY": ":65000"}) as tray:
        assert "no tray" == tray.says()
        assert (0, "") == tray.end()
