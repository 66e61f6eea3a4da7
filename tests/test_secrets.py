"""Secrets on the system's own keyring, and nowhere else."""

import base64
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from keyring.backends.Windows import Persistence, WinVaultKeyring

from agent.errors import AgentError, Code
from agent.identity import Identity, verify_rotation
from agent.journal.sealing import Keys, key_id
from agent.secrets import (
    FileSecrets,
    Secrets,
    keep_on_this_machine,
    load_identity,
    load_journal_keys,
    renew_lost,
    rotate_identity,
)

ROOT = Path(__file__).parents[1]

# Each step of a child: what it printed is what came of it.
USE = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.doctor import examine
from agent.errors import AgentError
from agent.places import Places
from agent.secrets import FileSecrets, KeyringSecrets, load_identity, rotate_identity
folder = Places.real().data
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
            said.append(load_identity(secrets, folder).thumbprint)
        elif step == "simulated":
            said.append(load_identity(FileSecrets(folder / "simulator"), folder / "simulator").thumbprint)
        elif step == "rotate":
            said.append(rotate_identity(secrets, folder, instance_id="0", at=datetime.now(UTC)).thumbprint)
        elif step == "forget":
            secrets.forget("identity")
        elif step == "doctor":
            said += [finding.says for finding in examine() if finding.what == "Trousseau"]
        elif step == "former":
            said += [key.public_jwk["kid"] for key in load_identity(secrets, folder).former]
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


def test_each_user_of_the_system_and_the_simulator_has_a_key_of_its_own(tmp_path):
    homes = [tmp_path / "first", tmp_path / "second"]
    for home in homes:
        home.mkdir()

    keys = [key for home in homes for key in in_a_session(home, "identity", "simulated")]

    assert 4 == len(set(keys))


def test_a_rotation_in_the_keyring_leaves_one_key_and_names_the_one_before(tmp_path):
    before, rotated = in_a_session(tmp_path, "identity", "rotate")
    after, *former = in_a_session(tmp_path, "identity", "former")

    assert rotated == after != before
    assert [before] == former


def test_an_identity_that_left_the_keyring_is_said_also_by_the_doctor(tmp_path):
    """As after a new password, or with a keyring that somebody emptied."""
    made, *before = in_a_session(tmp_path, "doctor", "identity", "doctor")[-2:]
    assert before == ["disponible, identité enregistrée"]

    refused, doctor, again = in_a_session(tmp_path, "forget", "identity", "doctor", "identity")

    assert made and refused == again == "identity.damaged"
    assert doctor and "identity renew --lost" in doctor


class Roaming:
    persist: object = "enterprise"


def test_windows_keyring_is_told_to_keep_secrets_on_this_machine():
    """keyring's WinVaultKeyring: `persist`, by default "enterprise", which follows a roaming user."""
    assert keep_on_this_machine(Roaming()).persist == "local machine"
    assert isinstance(WinVaultKeyring.__dict__["persist"], Persistence)  # it still has that setting
    other = object()
    assert keep_on_this_machine(other) is other


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


# ---------------------------------------------------------------- the identity and its rotations

INSTANCE = "00000000-0000-4000-8000-000000000001"


def rotated(folder: Path, times: int = 1) -> Identity:
    for _ in range(times):
        identity = rotate_identity(FileSecrets(folder), folder, instance_id=INSTANCE, at=datetime.now(UTC))
    return identity


def loaded(folder: Path) -> Identity:
    return load_identity(FileSecrets(folder), folder)


def test_an_identity_is_made_once(tmp_path):
    first = loaded(tmp_path)

    assert first.thumbprint == loaded(tmp_path).thumbprint
    assert first.thumbprint != Identity.create().thumbprint


def test_an_unreadable_identity_is_said_and_never_replaced(tmp_path):
    """Servers have enrolled the old one: a new key in silence would make them refuse every receipt."""
    secrets = FileSecrets(tmp_path)
    secrets.set("identity", b"half")

    with pytest.raises(AgentError) as refused:
        loaded(tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code
    assert b"half" == secrets.get("identity")


def lose(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def drop_first(file: Path) -> None:
    file.write_bytes(file.read_bytes().partition(b"\n")[2])


def drop_last(file: Path) -> None:
    file.write_bytes(file.read_bytes().partition(b"\n")[0] + b"\n")


def swap(file: Path) -> None:
    file.write_bytes(b"".join(reversed(file.read_bytes().splitlines(keepends=True))))


def change_a_letter(file: Path) -> None:
    text = file.read_bytes()
    file.write_bytes(text[:300] + (b"A" if text[300:301] != b"A" else b"B") + text[301:])


def scramble(file: Path) -> None:
    file.write_bytes("é".encode() * 9)


def become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = [lose, empty, shorten, drop_first, drop_last, swap, change_a_letter, scramble, become_a_folder]


KEYS: dict[str, Callable[[Secrets, Path], Identity | Keys]] = {
    "identity": load_identity,
    "journal-key": load_journal_keys,
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_was_there_and_is_gone_is_said_and_never_replaced_in_silence(tmp_path, name):
    """A keyring that was emptied: servers have enrolled this identity, and this journal key opens the journal."""
    secrets = FileSecrets(tmp_path)
    KEYS[name](secrets, tmp_path)
    secrets.forget(name)

    for _ in range(2):
        with pytest.raises(AgentError) as refused:
            KEYS[name](secrets, tmp_path)
        assert Code.IDENTITY_DAMAGED == refused.value.code
    assert secrets.get(name) is None


@pytest.mark.parametrize("name", KEYS)
def test_another_key_in_the_place_of_the_one_that_was_there_is_said(tmp_path, name):
    """A keyring of another installation, or of before."""
    secrets = FileSecrets(tmp_path)
    KEYS[name](secrets, tmp_path)
    secrets.set(name, bytes(32))

    with pytest.raises(AgentError) as refused:
        KEYS[name](secrets, tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("damage", [empty, scramble, become_a_folder])
def test_a_note_of_a_key_that_is_damaged_is_said(tmp_path, name, damage: Callable[[Path], None]):
    secrets = FileSecrets(tmp_path)
    KEYS[name](secrets, tmp_path)
    damage(tmp_path / f"{name}.public")

    with pytest.raises(AgentError) as refused:
        KEYS[name](secrets, tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code


@pytest.mark.parametrize("name", KEYS)
def test_what_is_noted_of_a_key_is_public_and_is_noted_for_a_key_of_before_too(tmp_path, name):
    secrets = FileSecrets(tmp_path)
    KEYS[name](secrets, tmp_path)
    noted = tmp_path / f"{name}.public"
    before = noted.read_bytes()
    noted.unlink()
    KEYS[name](secrets, tmp_path)

    assert before == noted.read_bytes()
    assert 0o600 == stat.S_IMODE(noted.stat().st_mode)
    assert {"identity": loaded(tmp_path).thumbprint, "journal-key": load_journal_keys(secrets, tmp_path).id}[name] == (
        before.decode().strip()
    )


def test_an_emptied_keyring_is_noticed_also_after_rotations(tmp_path):
    rotated(tmp_path, times=2)
    (tmp_path / "identity-rotations").unlink()
    FileSecrets(tmp_path).forget("identity")

    with pytest.raises(AgentError) as refused:
        loaded(tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code


def test_who_accepts_that_keys_are_lost_has_new_ones_and_the_history_aside(tmp_path):
    secrets, at = FileSecrets(tmp_path), datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
    lost, journal_key = rotated(tmp_path), load_journal_keys(secrets, tmp_path)
    history = (tmp_path / "identity-rotations").read_bytes()
    for name in KEYS:
        secrets.forget(name)

    renewed = renew_lost(secrets, tmp_path, at=at)

    assert renewed.thumbprint == loaded(tmp_path).thumbprint != lost.thumbprint
    assert renewed.former == ()
    assert load_journal_keys(secrets, tmp_path).id != journal_key.id
    aside = tmp_path / "identity-rotations.lost-20250304-050607"
    assert history == aside.read_bytes()
    assert journal_key.id == (tmp_path / "journal-key.public.lost-20250304-050607").read_text().strip()


def test_who_accepts_a_loss_that_is_none_keeps_every_key(tmp_path):
    secrets = FileSecrets(tmp_path)
    present, journal_key = rotated(tmp_path), load_journal_keys(secrets, tmp_path)

    assert present.thumbprint == renew_lost(secrets, tmp_path, at=datetime.now(UTC)).thumbprint
    assert journal_key.id == load_journal_keys(secrets, tmp_path).id
    assert not list(tmp_path.glob("*.lost-*"))
    secrets.forget("journal-key")  # alone
    assert present.thumbprint == renew_lost(secrets, tmp_path, at=datetime.now(UTC)).thumbprint
    assert 1 == len(loaded(tmp_path).former)


@pytest.mark.parametrize("name", KEYS)
def test_who_accepts_a_loss_keeps_a_key_of_which_only_the_note_was_lost(tmp_path, name):
    secrets = FileSecrets(tmp_path)
    rotated(tmp_path)
    KEYS[name](secrets, tmp_path)
    kept = secrets.get(name)
    empty(tmp_path / f"{name}.public")

    renew_lost(secrets, tmp_path, at=datetime.now(UTC))

    assert kept == secrets.get(name)
    assert 1 == len(loaded(tmp_path).former)
    assert (tmp_path / f"{name}.public").read_bytes()


def test_who_accepts_a_loss_without_a_keyring_loses_nothing_more(tmp_path):
    present = rotated(tmp_path)

    with pytest.raises(AgentError) as refused:
        renew_lost(NoKeyring(tmp_path), tmp_path, at=datetime.now(UTC))

    assert Code.KEYRING_ABSENT == refused.value.code
    assert present.thumbprint == loaded(tmp_path).thumbprint
    assert not list(tmp_path.glob("*.lost-*"))


class NoKeyring(FileSecrets):
    def get(self, name: str) -> bytes | None:
        raise AgentError(Code.KEYRING_ABSENT, name)


class Meanwhile(FileSecrets):
    """Another program makes the key just after this one has found none."""

    def __init__(self, folder: Path, other: Callable[[], object]) -> None:
        super().__init__(folder)
        self._other: Callable[[], object] | None = other

    def get(self, name: str) -> bytes | None:
        found = super().get(name)
        if self._other:
            other, self._other = self._other, None
            other()
        return found


@pytest.mark.parametrize("name", KEYS)
def test_two_programs_that_make_the_first_key_at_once_have_the_same(tmp_path, name):
    made: list[bytes | None] = []

    def other() -> None:
        KEYS[name](FileSecrets(tmp_path), tmp_path)
        made.append(FileSecrets(tmp_path).get(name))

    KEYS[name](Meanwhile(tmp_path, other), tmp_path)

    assert made == [FileSecrets(tmp_path).get(name)]


FIRST = """
import sys
from pathlib import Path
from agent.secrets import FileSecrets, load_identity
folder = Path(sys.argv[1])
sys.stdin.readline()
print(load_identity(FileSecrets(folder), folder).thumbprint)
"""


def test_many_programs_that_start_at_once_have_one_identity(tmp_path):
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST, str(tmp_path)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for one in programs:
        assert one.stdin
        one.stdin.close()

    said = []
    for one in programs:
        assert one.stdout
        said.append(one.stdout.read().strip())
        one.stdout.close()
        assert 0 == one.wait()

    assert {loaded(tmp_path).thumbprint} == set(said)


def loaded_by_many(folder: Path) -> set[str]:
    """The thumbprints that eight programs find at the same moment."""
    at_once = Barrier(8)

    def load() -> str:
        at_once.wait()
        return loaded(folder).thumbprint

    with ThreadPoolExecutor(8) as programs:
        return {program.result() for program in [programs.submit(load) for _ in range(8)]}


def test_many_that_find_a_key_of_which_nothing_is_noted_yet_note_it_all_the_same(tmp_path):
    """As after a kill between the key and its note: whoever comes first writes it, the others find it."""
    for visit in range(20):
        folder = tmp_path / str(visit)
        kept = loaded(folder)
        (folder / "identity.public").unlink()

        assert {kept.thumbprint} == loaded_by_many(folder)
        assert f"{kept.thumbprint}\n" == (folder / "identity.public").read_text()


def test_many_that_find_a_rotation_cut_short_bring_it_to_its_end_all_the_same(tmp_path):
    for visit in range(20):
        folder = tmp_path / str(visit)
        before, after = loaded(folder).private_bytes(), rotated(folder, times=1)
        secrets = FileSecrets(folder)
        whole = secrets.get("identity")
        secrets.set("identity", before + bytes(4) + after.private_bytes())  # as the rotation was kept before its end

        assert {after.thumbprint} == loaded_by_many(folder)
        assert whole == secrets.get("identity")


class KeepsNothing(FileSecrets):
    def set(self, name: str, value: bytes) -> None:
        """As some keyrings without a collection do: no error, and nothing kept."""


def test_a_keyring_that_keeps_nothing_is_absent_and_nothing_is_noted(tmp_path):
    with pytest.raises(AgentError) as refused:
        load_identity(KeepsNothing(tmp_path), tmp_path)

    assert Code.KEYRING_ABSENT == refused.value.code
    assert not (tmp_path / "identity.public").exists()


def test_several_rotations_make_a_chain_from_the_first_key_to_the_present_one(tmp_path):
    first = loaded(tmp_path)
    last = rotated(tmp_path, times=3)

    found = loaded(tmp_path)
    assert last.thumbprint == found.thumbprint
    assert first.thumbprint == found.former[0].public_jwk["kid"]
    accepted = [first.public_jwk()]
    for former in found.former:
        checked = verify_rotation(
            former.statement,
            accepted_thumbprints={key["kid"] for key in accepted},
            public_jwks=accepted,
            instance_id=INSTANCE,
        )
        accepted.append(checked["to"])
    assert 4 == len({key["kid"] for key in accepted})
    assert found.public_jwk() == accepted[-1]


def test_after_a_rotation_the_old_private_key_is_nowhere(tmp_path):
    old = loaded(tmp_path)
    rotated(tmp_path)

    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*"))
    assert old.private_bytes() not in everything
    assert loaded(tmp_path).private_bytes() in everything


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_history_of_keys_is_said_and_nothing_is_replaced(tmp_path, damage: Callable[[Path], None]):
    rotated(tmp_path, times=2)
    kept = FileSecrets(tmp_path).get("identity")
    damage(tmp_path / "identity-rotations")

    for act in (loaded, rotated):
        with pytest.raises(AgentError) as refused:
            act(tmp_path)
        assert Code.IDENTITY_DAMAGED == refused.value.code
    assert kept == FileSecrets(tmp_path).get("identity")


def test_a_key_that_is_gone_while_its_history_is_there_is_said(tmp_path):
    rotated(tmp_path)
    FileSecrets(tmp_path).forget("identity")

    with pytest.raises(AgentError) as refused:
        loaded(tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code


def test_a_key_slipped_into_the_past_is_damage(tmp_path):
    """Whoever writes files and has no key of ours cannot make his own a former key: the journal would believe it."""
    present = loaded(tmp_path)
    forger = Identity.create()
    forged = forger.rotation(present, instance_id=INSTANCE, at=datetime.now(UTC))
    _, claims, _ = forged.split(".")
    own = json.loads(base64.urlsafe_b64decode(claims + "=="))
    own["confirmation"] = forger.rotation(forger, instance_id=INSTANCE, at=datetime.now(UTC))
    forged_alone = forger._jws("insi-rotation+jws", own)
    FileSecrets(tmp_path).set("identity", present.private_bytes() + (1).to_bytes(4))
    (tmp_path / "identity-rotations").write_text(f"{forged_alone}\n")

    with pytest.raises(AgentError) as refused:
        loaded(tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code


# A child that rotates, and is killed as it touches a file of the installation for the n-th time.
ROTATE = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.secrets import FileSecrets, rotate_identity
folder, left = Path(sys.argv[1]), int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(folder)):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
rotate_identity(FileSecrets(folder), folder, instance_id="0", at=datetime.now(UTC))
"""


def test_kill_9_at_any_step_of_a_rotation_leaves_an_identity_and_a_chain_that_ends_at_it(tmp_path):
    first = loaded(tmp_path)
    last, rotations = first.thumbprint, 0
    for step in itertools.count(1):
        ended = subprocess.run([sys.executable, "-c", ROTATE, str(tmp_path), str(step)], cwd=ROOT, check=False)
        found = loaded(tmp_path)
        assert [*(former.public_jwk["kid"] for former in found.former), found.thumbprint][rotations] == last
        assert len(found.former) in (rotations, rotations + 1)
        assert found.thumbprint == loaded(tmp_path).thumbprint
        last, rotations = found.thumbprint, len(found.former)
        if ended.returncode == 0:
            break
        assert -signal.SIGKILL == ended.returncode

    assert step > 10  # it was killed that often before it came to its end
    assert rotations >= 2
    assert first.thumbprint == found.former[0].public_jwk["kid"]


# ---------------------------------------------------------------- the journal's keys


def test_a_journal_key_is_made_once_and_an_older_one_is_kept_behind_the_newest(tmp_path):
    secrets = FileSecrets(tmp_path)
    first = load_journal_keys(secrets, tmp_path)
    kept = secrets.get("journal-key") or b""
    assert first.id == load_journal_keys(secrets, tmp_path).id == key_id(kept)

    secrets.set("journal-key", bytes(32) + kept)

    renewed = load_journal_keys(secrets, tmp_path)
    assert key_id(bytes(32)) == renewed.id
    assert b"part" == renewed.open(first.seal(b"part", b""), first.id, b"")


def test_an_unreadable_journal_key_is_said_and_never_replaced(tmp_path):
    """It opens what the journal holds."""
    secrets = FileSecrets(tmp_path)
    secrets.set("journal-key", b"half")

    with pytest.raises(AgentError) as refused:
        load_journal_keys(secrets, tmp_path)

    assert Code.IDENTITY_DAMAGED == refused.value.code
    assert b"half" == secrets.get("journal-key")
