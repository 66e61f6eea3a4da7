"""A D-Bus session with an unlocked gnome-keyring around a command, as a person's desktop session has."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The keyring is ready when its name is on the bus; it is ended by its own number.
_SCRIPT = """
printf motdepasse | gnome-keyring-daemon --foreground --components=secrets --unlock >/dev/null 2>&1 &
keyring=$!
until dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.GetNameOwner string:org.freedesktop.secrets >/dev/null 2>&1; do sleep 0.05; done
"$@"
status=$?
kill $(pgrep -P $keyring) $keyring 2>/dev/null
exit $status
"""


def in_a_session(command: list[str]) -> list[str]:
    """The command line that runs `command` in a session of its own, and ends with it and with its status."""
    return ["dbus-run-session", "--", "bash", "-c", _SCRIPT, "_", *command]


@contextmanager
def session(home: Path) -> Iterator[str]:
    """Such a session for programs that run outside of it: the address of its bus. `home`: where the keyring is."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_"))}
    with subprocess.Popen(
        in_a_session(["bash", "-c", 'echo "$DBUS_SESSION_BUS_ADDRESS"; cat']),
        env={**clean, "HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().strip()
        if not address:
            pytest.fail("no session: apt-get install dbus-x11 gnome-keyring")
        yield address
        process.stdin.close()
        process.wait(30)
