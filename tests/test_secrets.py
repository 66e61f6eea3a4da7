"""Secrets on the system's own keyring, and nowhere else."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.secrets import FileSecrets, load_identity

ROOT = Path(__file__).parents[1]

# Each step of a child: what it printed is what came of it.
USE = """
import json, sys
from agent.errors import AgentError
from agent.secrets import KeyringSecrets, load_identity
said = []
for step in sys.argv[1:]:
    secrets = KeyringSecrets()
    try:
        if step == "set":
            secrets.set("a-name", bytes(range(256)))
            said.append("set")
        elif step == "get":
            kept = secrets.get("a-name")
            said.append(None if kept is None else kept.hex())
        elif step == "identity":
            said.append(load_identity(secrets).thumbprint)
    except AgentError as error:
        said.append(str(error.code))
print(json.dumps(said))
"""


def came_of(command: list[str], folder: Path, *, home: dict[str, str] | None = None) -> list[str | None]:
    """Run `command` with a home of its own and no session of ours; what the last line says."""
    clean = {name: value for name, value in os.environ.items() if name not in {"DBUS_SESSION_BUS_ADDRESS", "DISPLAY"}}
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(runtime), "XDG_DATA_HOME": str(folder / "data")}
    config = {"XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        command, cwd=ROOT, env={**clean, **own, **config, **(home or {})}, capture_output=True, text=True, check=False
    )
    assert 0 == run.returncode, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def in_a_session(folder: Path, *steps: str, unlocked: bool = True) -> list[str | None]:
    """The steps inside a real D-Bus session with a real gnome-keyring; both end with the command."""
    daemon = "gnome-keyring-daemon --foreground --components=secrets"
    start = f"printf motdepasse | {daemon} --unlock" if unlocked else f"{daemon} </dev/null"
    # The daemon is ready when its name is on the bus; it is ended by its own number.
    script = (
        f"{start} >/dev/null 2>&1 & keyring=$!; trap 'kill $(pgrep -P $keyring) $keyring 2>/dev/null' EXIT;"
        " until dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner"
        " string:org.freedesktop.secrets >/dev/null 2>&1; do sleep 0.05; done;"
        ' "$@"'
    )
    return came_of(
        ["dbus-run-session", "--", "timeout", "60", "bash", "-c", script, "_", sys.executable, "-c", USE, *steps],
        folder,
    )


def test_a_secret_kept_in_the_session_s_keyring_comes_back_whole(tmp_path):
    assert ["set", bytes(range(256)).hex()] == in_a_session(tmp_path, "set", "get")


def test_a_secret_never_set_is_none_and_not_an_error(tmp_path):
    assert [None] == in_a_session(tmp_path, "get")


def test_the_identity_made_in_one_session_is_found_in_the_next(tmp_path):
    (first,) = in_a_session(tmp_path, "identity")
    (second,) = in_a_session(tmp_path, "identity")

    assert first == second
    assert 43 == len(first or "")


def test_a_locked_keyring_that_cannot_ask_is_absent(tmp_path):
    """No display: gnome-keyring dismisses its own question (InitError, not NoKeyringError)."""
    in_a_session(tmp_path, "set")

    assert ["keyring.absent", "keyring.absent"] == in_a_session(tmp_path, "get", "set", unlocked=False)


def test_without_a_session_there_is_no_keyring_and_nothing_is_stored(tmp_path):
    before = {file for file in tmp_path.rglob("*") if file.is_file()}

    assert ["keyring.absent"] * 3 == came_of([sys.executable, "-c", USE, "set", "get", "identity"], tmp_path)
    assert before == {file for file in tmp_path.rglob("*") if file.is_file()}


def test_a_session_whose_bus_has_died_is_absent(tmp_path):
    gone = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/gone"}

    assert ["keyring.absent"] == came_of([sys.executable, "-c", USE, "get"], tmp_path, home=gone)


@pytest.mark.parametrize(
    "backend", ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring", "plain_keyring.Keyring"]
)
def test_a_keyring_that_is_not_the_system_s_is_refused_and_nothing_is_stored(tmp_path, backend):
    """keyrings.alt is picked by keyring without a word where it is installed, and writes plain text."""
    (tmp_path / "plain_keyring.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "class Keyring(KeyringBackend):\n"
        "    priority = 9\n"
        f"    def get_password(self, service, name): open({str(tmp_path / 'read')!r}, 'w')\n"
        f"    def set_password(self, service, name, text): open({str(tmp_path / 'stored')!r}, 'w').write(text)\n"
    )
    chosen = {"PYTHON_KEYRING_BACKEND": backend, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    said = came_of([sys.executable, "-c", USE, "set", "get", "identity"], tmp_path, home=chosen)

    assert ["keyring.absent"] * 3 == said
    assert not (tmp_path / "stored").exists() and not (tmp_path / "read").exists()


# ---------------------------------------------------------------- the simulator's


def test_the_simulator_s_secrets_are_files_of_this_user_alone(tmp_path):
    secrets = FileSecrets(tmp_path / "secrets")
    assert secrets.get("a-name") is None

    secrets.set("a-name", b"\0one")
    secrets.set("a-name", b"\0two")

    (file,) = (tmp_path / "secrets").iterdir()
    assert b"\0two" == secrets.get("a-name") == file.read_bytes()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)


@pytest.mark.parametrize("name", ["", "../out", "a/b", "A", "a.b"])
def test_a_secret_s_name_never_leaves_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        FileSecrets(tmp_path).set(name, b"")


def test_an_identity_is_made_once(tmp_path):
    first = load_identity(FileSecrets(tmp_path))

    assert first.thumbprint == load_identity(FileSecrets(tmp_path)).thumbprint
    assert first.thumbprint != Identity.create().thumbprint


def test_an_unreadable_identity_is_said_and_never_replaced(tmp_path):
    """Servers have enrolled the old one: a new key in silence would make them refuse every receipt."""
    secrets = FileSecrets(tmp_path)
    secrets.set("identity", b"half")

    with pytest.raises(AgentError) as refused:
        load_identity(secrets)

    assert Code.KEYRING_ABSENT == refused.value.code
    assert b"half" == secrets.get("identity")
