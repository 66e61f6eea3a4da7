"""A D-Bus session with an unlocked gnome-keyring around a command, as a person's desktop session has."""

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
