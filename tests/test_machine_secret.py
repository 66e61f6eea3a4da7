"""Secrets where there is no keyring: sealed under the machine's secret, which an administrator enrols.

What other accounts can do is shown by other accounts: a child drops its rights. It runs in a mount namespace with an
/etc of its own, so that nothing is written into the real one. Needs root.
"""

import fcntl
import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.machine_secret import SECRET_BYTES, Generation, enrol, from_text, generations, to_text, told
from agent.sealed_secrets import SealedSecrets
from agent.secrets import (
    ChosenSecrets,
    FileSecrets,
    Keyring,
    Secrets,
    load_identity,
    load_journal_keys,
    renew_lost,
    rotate_identity,
)
from tests.parts.killed_steps import killed_at_each_step

ROOT = Path(__file__).parents[1]
GROUP, READERS = "staff", 50  # a group of every Debian
ALICE, BOB, CAROL = 4242, 4243, 4244

# What an account does with its secrets; what it printed last is what came of it.
USE = """
import json, os, sys, tempfile
from datetime import UTC, datetime
from pathlib import Path
import keyring
from agent.doctor import examine
from agent.errors import AgentError
from agent.machine_secret import Generation
from agent.options import Options, load_settings
from agent.places import Places
from agent.sealed_secrets import SealedSecrets
from agent.secrets import load_identity, renew_lost, secrets_of
account, groups, *steps = json.loads(sys.argv[1])
if account:  # whatever is imported on its first use is imported now: the account may not read where Python is
    with tempfile.TemporaryDirectory() as first:
        load_identity(SealedSecrets(Path(first), machine=lambda: [Generation(bytes(32))]), Path(first))
    load_settings(Options()), keyring.get_keyring()
    os.setgroups(groups); os.setresgid(account, account, account); os.setresuid(account, account, account)
folder, said = Places.real().data, []
secrets = secrets_of(folder, simulated=False, settings=lambda: load_settings(Options()).settings)
for step, *words in steps:
    try:
        if step == "set":
            secrets.set(words[0], words[1].encode()); said.append("set")
        elif step == "get":
            kept = secrets.get(words[0]); said.append(kept and kept.decode())
        elif step == "forget":
            secrets.forget(words[0]); said.append("forgotten")
        elif step == "identity":
            said.append(load_identity(secrets, folder).thumbprint)
        elif step == "renew":
            said.append(renew_lost(secrets, folder, at=datetime.now(UTC)).thumbprint)
        elif step == "doctor":
            said += [finding.says for finding in examine() if finding.what == "Trousseau"]
        elif step == "setting":
            os.makedirs(os.path.expanduser("~/.config/insi-agent"), exist_ok=True)
            open(os.path.expanduser("~/.config/insi-agent/config.toml"), "w").write(f'secrets = "{words[0]}"')
        elif step == "sealed":
            said.append(sorted(file.name for file in folder.glob("*.sealed")))
    except AgentError as error:
        said.append(f"{error} {error.facts.get('reason', '')}")
print(json.dumps(said))
"""


class Machine:
    """One machine: its /etc and its /home, which only the processes started here see."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.homes = folder / "etc", folder / "homes"
        work = folder / "work"
        for made in (self.etc, self.homes, work):
            made.mkdir()
        self.homes.chmod(0o755)
        self._mounts = (
            f"mount -t overlay overlay -o lowerdir=/etc,upperdir={self.etc},workdir={work} /etc"
            f" && mount --bind {shlex.quote(str(self.homes))} /home"
        )
        self.secret = self.etc / "insi-agent" / "machine-secret"

    def configured(self, text: str = 'secrets = "machine"') -> "Machine":
        conf = self.etc / "insi-agent" / "conf.d"
        conf.mkdir(parents=True)
        (conf / "secrets.toml").write_text(text)
        return self

    def enrolled(self) -> "Machine":
        self.agent("enrol", "--machine", "--group", GROUP)
        return self

    def agent(self, *words: str, status: int = 0, typed: str = "") -> str:
        """`insi-agent …` as root; what it said."""
        run = self._run([sys.executable, "-m", "agent", *words], home=self.home(0), typed=typed)
        assert status == run.returncode, run.stderr
        return run.stdout + run.stderr

    def account(self, account: int, *steps: tuple[str, ...], groups: tuple[int, ...] = (READERS,)) -> list[object]:
        """What came of each step."""
        run = self._run([sys.executable, "-c", USE, json.dumps([account, groups, *steps])], home=self.home(account))
        assert 0 == run.returncode, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    def in_a_session(self, *steps: tuple[str, ...], unlocked: bool = True) -> list[object]:
        """As root, with a real D-Bus session and a real gnome-keyring; both end with the command."""
        start = "gnome-keyring-daemon --foreground --components=secrets"
        start = f"printf motdepasse | {start} --unlock" if unlocked else f"{start} </dev/null"
        script = (
            f"{start} >/dev/null 2>&1 &"
            " keyring=$!; trap 'kill $(pgrep -P $keyring) $keyring 2>/dev/null' EXIT;"
            " until dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner"
            ' string:org.freedesktop.secrets >/dev/null 2>&1; do sleep 0.05; done; "$@"'
        )
        use = [sys.executable, "-c", USE, json.dumps([0, [], *steps])]
        command = ["dbus-run-session", "--", "timeout", "60", "bash", "-c", script, "_", *use]
        run = self._run(command, home=self.home(0))
        assert 0 == run.returncode, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    def home(self, account: int) -> Path:
        home = self.homes / str(account)
        if not home.exists():
            home.mkdir(mode=0o700)
            os.chown(home, account, account)
        return home

    def data(self, account: int) -> Path:
        return self.home(account) / ".local/share/insi-agent"

    def _run(self, command: list[str], *, home: Path, typed: str = "") -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "VIRTUAL_ENV"}}
        inside = ["unshare", "--mount", "sh", "-c", f'{self._mounts} && exec "$@"', "_", *command]
        env = {**kept, "HOME": f"/home/{home.name}", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            inside, cwd="/", env=env, input=typed, capture_output=True, text=True, check=False, timeout=90
        )


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("run these tests as root: they play the administrator, and drop to other accounts")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "machine"
    folder.mkdir()
    return Machine(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A machine's secret, enrolled."""
    file = tmp_path / "etc" / "machine-secret"
    enrol(file, group=GROUP, rotate=False)
    return file


def refusal(act: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as refused:
        act()
    return refused.value


# ---------------------------------------------------------------- the administrator


def test_a_machine_s_secret_is_root_s_and_of_the_group_that_was_named(machine: Machine) -> None:
    said = machine.agent("enrol", "--machine", "--group", GROUP)

    about = machine.secret.stat()
    assert (0, READERS, 0o640) == (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode))
    (only,) = from_text(machine.secret.read_bytes())
    assert SECRET_BYTES == len(only.secret)
    assert f"Génération {only.id}\n" in said and f"Groupe {GROUP}, droits -rw-r-----" in said


def test_what_is_said_of_a_secret_is_never_the_secret(machine: Machine) -> None:
    said = [machine.agent("enrol", "--machine", *more) for more in (["--group", GROUP], ["--rotate"], ["--show"])]
    said.append(str(machine.configured().account(0, ("identity",), ("doctor",))))

    newest, first = from_text(machine.secret.read_bytes())
    for text in said:
        assert newest.secret.hex() not in text and first.secret.hex() not in text
    assert f"Génération {newest.id} ; plus anciennes : {first.id}\n" in said[2]
    assert f"secret de la machine, génération {newest.id} (d'autres, plus anciennes : 1), identité" in said[3]
    assert newest.secret.hex() not in repr(newest)


def test_a_rotation_says_what_it_does_not_mend(machine: Machine) -> None:
    """Whoever read the generation before opens old copies of what it sealed."""
    first, rotated, shown = (
        machine.agent("enrol", "--machine", *more) for more in (["--group", GROUP], ["--rotate"], ["--show"])
    )

    told = "« insi-agent identity rotate » et « insi-agent journal rotate-key »"
    assert [False, True, False] == [told in said for said in (first, rotated, shown)]


def test_without_a_group_of_ours_it_must_be_named(machine: Machine) -> None:
    said = machine.agent("enrol", "--machine", status=1)

    assert "Réglage : --group" in said and "« insi-agent »" in said
    assert "Réglage : --group" in machine.agent("enrol", "--machine", "--group", "inconnu", status=1)
    assert not machine.secret.exists()


def test_enrolled_again_it_stays_and_only_its_group_may_change(file: Path) -> None:
    before = generations(file)

    assert GROUP == enrol(file, group=None, rotate=False).group
    assert "daemon" == enrol(file, group="daemon", rotate=False).group

    assert before == generations(file)


def test_a_rotation_puts_a_generation_before_the_others(file: Path) -> None:
    (first,) = generations(file)

    assert told(file).mode == enrol(file, group=None, rotate=True).mode == 0o640

    assert [first] == generations(file)[1:]
    assert GROUP == told(file).group


def test_only_an_administrator_enrols(machine: Machine) -> None:
    command = [sys.executable, "-c", AS_ALICE, str(machine.secret)]

    assert (
        "config.invalid: not root"
        == subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    )
    assert not machine.secret.parent.exists()


AS_ALICE = f"""
import os, sys
from pathlib import Path
from agent import dpapi
from agent.errors import AgentError
from agent.machine_secret import enrol
os.setresuid({ALICE}, {ALICE}, {ALICE})
try:
    enrol(Path(sys.argv[1]), group=None, rotate=False)
except AgentError as error:
    print(error)
"""


def test_a_shown_secret_is_not_changed_and_a_group_then_is_a_mistake(machine: Machine) -> None:
    machine.enrolled()
    before = machine.secret.stat()

    assert "Réglage : --group" in machine.agent("enrol", "--machine", "--show", "--group", "daemon", status=1)
    machine.agent("enrol", "--machine", "--show")

    assert before == machine.secret.stat()


def test_programs_that_enrol_at_once_make_one_secret_and_their_rotations_all_count(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "machine-secret"
    together = Barrier(4)

    def act(rotate: bool) -> tuple[str, ...]:
        together.wait()
        return enrol(file, group=GROUP, rotate=rotate).generations

    with ThreadPoolExecutor(4) as four:
        first = list(four.map(act, [False] * 4))
        assert 1 == len(set(first))
        rotated = list(four.map(act, [True] * 4))

    assert {2, 3, 4, 5} == {len(ids) for ids in rotated}
    assert 5 == len({one.id for one in generations(file)})


def test_kill_9_at_any_step_of_a_rotation_leaves_the_old_generations_or_the_new_ones(file: Path) -> None:
    known = generations(file)
    act = "enrol(Path(folder, 'machine-secret'), group=None, rotate=True)"

    for _step in killed_at_each_step("from agent.machine_secret import enrol", act, file.parent, at_least=5):
        found = generations(file)
        assert known == found[-len(known) :] and len(found) - len(known) in (0, 1)
        assert (READERS, 0o640) == (file.stat().st_gid, stat.S_IMODE(file.stat().st_mode))
        known = found


def test_a_generation_too_many_is_refused_and_none_is_taken_away(file: Path) -> None:
    many = [Generation(bytes([number]) * SECRET_BYTES) for number in range(251)]
    file.write_bytes(to_text(many))

    refused = refusal(lambda: enrol(file, group=None, rotate=True))

    assert (Code.CONFIG_INVALID, "--rotate") == (refused.code, refused.facts["setting"])
    assert many == generations(file)


# ---------------------------------------------------------------- what is not believed


def make_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o640)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3] + b"\n")


def lose_generations(file: Path) -> None:
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])


def be_of_later(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"secret 1", b"secret 2"))


UNBELIEVED: list[tuple[Callable[[Path], object], str]] = [
    (lambda file: file.unlink(), "no machine secret"),
    (lambda file: file.chmod(0o644), "mode 644"),
    (lambda file: file.chmod(0o642), "mode 642"),
    (lambda file: file.chmod(0o660), "mode 660"),
    (lambda file: os.chown(file, ALICE, READERS), f"of user {ALICE}"),
    (lambda file: file.parent.chmod(0o777), "others may write to"),
    (lambda file: file.parent.chmod(0o775), "others may write to"),
    (lambda file: os.chown(file.parent, ALICE, 0), f"belongs to user {ALICE}"),
    (make_link, "OSError"),
    (make_folder, "IsADirectoryError"),
    (make_pipe, "not a regular file"),
    (lambda file: file.write_bytes(b""), "not a machine's secret"),
    (lambda file: file.write_bytes(bytes(200)), "not a machine's secret"),
    (lambda file: file.write_bytes("é".encode() * 99), "UnicodeDecodeError"),
    (cut, "cut off"),
    (shorten, "a generation is not 32 bytes"),
    (lose_generations, "cut off"),
    (be_of_later, "not a machine's secret"),
]


@pytest.mark.parametrize(("change", "why"), UNBELIEVED)
def test_a_secret_that_is_not_as_an_administrator_left_it_is_refused_and_nothing_is_stored(
    file: Path, tmp_path: Path, change: Callable[[Path], object], why: str
) -> None:
    change(file)
    secrets = SealedSecrets(tmp_path / "data", machine=lambda: generations(file))

    for act in (lambda: generations(file), lambda: told(file), lambda: secrets.set("a-name", b"value")):
        refused = refusal(act)
        assert Code.KEYRING_ABSENT == refused.code
        assert why in refused.detail
        assert str(file) not in str(refused.facts["reason"])  # a page is told no path of this machine
    assert not list(tmp_path.glob("data/*"))


def test_a_secret_that_others_could_read_is_mended_by_a_rotation_alone(file: Path) -> None:
    (first,) = generations(file)
    file.chmod(0o644)

    refused = refusal(lambda: enrol(file, group=None, rotate=False))
    assert Code.KEYRING_ABSENT == refused.code
    assert "« identity rotate » et « journal rotate-key »" in str(refused.facts["reason"])
    enrol(file, group=None, rotate=True)

    newest, older = generations(file)
    assert first == older != newest


@pytest.mark.parametrize("change", [make_link, cut, lambda file: os.chown(file, ALICE, 0)])
def test_what_is_no_secret_of_ours_is_never_replaced(file: Path, change: Callable[[Path], object]) -> None:
    change(file)
    before = file.read_bytes()

    for rotate in (False, True):
        assert Code.KEYRING_ABSENT == refusal(lambda rotate=rotate: enrol(file, group=None, rotate=rotate)).code

    assert before == file.read_bytes()


def test_no_secret_is_enrolled_where_others_could_replace_it(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    folder.chmod(0o777)

    assert Code.KEYRING_ABSENT == refusal(lambda: enrol(folder / "machine-secret", group=GROUP, rotate=False)).code
    assert not (folder / "machine-secret").exists()


@given(st.lists(st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES), min_size=1, max_size=4))
def test_what_is_written_of_generations_is_what_is_read(secrets: list[bytes]) -> None:
    known = [Generation(secret) for secret in secrets]

    assert known == from_text(to_text(known))


@given(
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"insi-agent machine-secret 1\n{text}".encode())
)
def test_any_other_bytes_are_refused_by_a_sentence(content: bytes) -> None:
    try:
        assert content == to_text(from_text(content))
    except ValueError as error:
        assert str(error)


# ---------------------------------------------------------------- the accounts


def test_an_account_of_the_group_keeps_its_secrets_without_any_keyring(machine: Machine) -> None:
    machine.configured().enrolled()
    set_, identity = machine.account(ALICE, ("set", "a-name", "valeur-secrete"), ("identity",))

    assert ["valeur-secrete", identity, None] == machine.account(
        ALICE, ("get", "a-name"), ("identity",), ("get", "another")
    )
    assert "set" == set_ and 43 == len(str(identity))
    for kept in machine.data(ALICE).rglob("*"):
        assert b"valeur-secrete" not in kept.read_bytes()
        assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
        assert ALICE == kept.stat().st_uid


def test_another_account_cannot_read_the_machine_s_secret_and_stores_nothing(machine: Machine) -> None:
    machine.configured().enrolled()

    said = machine.account(BOB, ("set", "a-name", "valeur"), ("identity",), ("sealed",), groups=())

    assert all("keyring.absent" in str(one) and "n'est pas du groupe" in str(one) for one in said[:2])
    assert [] == said[2]


def test_without_keyring_and_without_the_machine_s_secret_nothing_is_stored(machine: Machine) -> None:
    said = machine.configured().account(ALICE, ("set", "a-name", "valeur"), ("identity",), ("sealed",))

    assert all("aucun secret de la machine n'est enrôlé" in str(one) for one in said[:2])
    assert [] == said[2]
    assert not any(b"valeur" in kept.read_bytes() for kept in machine.data(ALICE).rglob("*") if kept.is_file())


def test_a_sealed_file_does_not_open_for_another_account_of_the_same_group(machine: Machine) -> None:
    machine.configured().enrolled()
    machine.account(ALICE, ("set", "a-name", "valeur"), ("identity",))
    machine.account(CAROL, ("set", "her-own", "x"))
    for name in ("a-name", "identity"):
        stolen = machine.data(CAROL) / f"{name}.sealed"
        stolen.write_bytes((machine.data(ALICE) / f"{name}.sealed").read_bytes())
        os.chown(stolen, CAROL, CAROL)

    secret, identity, own = machine.account(CAROL, ("get", "a-name"), ("identity",), ("get", "her-own"))

    assert "keyring.absent: the sealed a-name: damaged, or of another account or name" in str(secret)
    assert "identity.damaged: the sealed identity: damaged, or of another account or name" in str(identity)
    assert "x" == own


def test_what_the_commands_enrol_follows_the_setting(machine: Machine) -> None:
    machine.configured('secrets = "machine"\n[proxy]\nuser = "compte"\n[wss]\nenabled = true\n').enrolled()

    machine.agent("proxy", "enrol", typed="mot de passe\n")
    machine.agent("wss", "enable")
    machine.agent("identity", "show")

    assert [["identity.sealed", "proxy-password.sealed", "wss-passphrase.sealed"], "mot de passe"] == machine.account(
        0, ("sealed",), ("get", "proxy-password")
    )
    (doctor,) = machine.account(0, ("doctor",))
    assert str(doctor).endswith("identité enregistrée")
    machine.agent("wss", "show")
    machine.agent("identity", "rotate")


# ---------------------------------------------------------------- generations and sealed files


def sealed(folder: Path, file: Path, **more: str) -> SealedSecrets:
    return SealedSecrets(folder, machine=lambda: generations(file), **more)


def chosen(folder: Path, file: Path, keyring: Keyring | None = None, *, by_machine: bool = True) -> ChosenSecrets:
    return ChosenSecrets(folder, keyring or NoKeyring(), sealed(folder, file), lambda: by_machine)


class NoKeyring:
    """As in a session without one."""

    def is_there(self) -> bool:
        return False

    def get(self, name: str) -> bytes | None:
        raise AgentError(Code.KEYRING_ABSENT, name)

    def set(self, name: str, _value: bytes) -> None:
        raise AgentError(Code.KEYRING_ABSENT, name)

    def forget(self, name: str) -> None:
        raise AgentError(Code.KEYRING_ABSENT, name)


class Ring(FileSecrets):
    """A keyring, which may be closed; it writes down each question, and who would wait for the person meanwhile."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_closed = False
        self.asked: list[str] = []
        self._turn = folder.parent / "secrets-place.lock"

    def is_there(self) -> bool:
        return True

    def get(self, name: str) -> bytes | None:
        self._ask(name)
        return super().get(name)

    def set(self, name: str, value: bytes) -> None:
        self._ask(name)
        super().set(name, value)

    def forget(self, name: str) -> None:
        self._ask(name)
        super().forget(name)

    def _ask(self, name: str) -> None:
        with self._turn.open("w") as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                name = f"{name}, others wait"
        self.asked.append(name)
        if self.is_closed:
            raise AgentError(Code.KEYRING_ABSENT, "closed")


def test_what_an_older_generation_sealed_opens_and_is_sealed_anew(file: Path, tmp_path: Path) -> None:
    chosen(tmp_path, file).set("a-name", b"value")
    enrol(file, group=None, rotate=True)
    newest, first = generations(file)
    assert (b"value", first.id) == sealed(tmp_path, file).opened("a-name")

    assert b"value" == chosen(tmp_path, file).get("a-name")

    assert (b"value", newest.id) == sealed(tmp_path, file).opened("a-name")
    file.write_bytes(to_text([newest]))
    assert b"value" == chosen(tmp_path, file).get("a-name")


def test_what_cannot_be_sealed_anew_opens_all_the_same(file: Path, tmp_path: Path) -> None:
    """A full disk, perhaps."""
    chosen(tmp_path, file).set("a-name", b"value")
    enrol(file, group=None, rotate=True)
    (tmp_path / "a-name.sealed.new").mkdir()

    assert b"value" == chosen(tmp_path, file).get("a-name")


class Meanwhile(SealedSecrets):
    """Another program writes between our reading and our sealing anew."""

    def newest(self) -> str:
        super().set("a-name", b"theirs")
        return super().newest()


def test_sealing_anew_never_undoes_what_another_program_has_just_written(file: Path, tmp_path: Path) -> None:
    sealed(tmp_path, file).set("a-name", b"ours")
    enrol(file, group=None, rotate=True)
    raced = ChosenSecrets(tmp_path, NoKeyring(), Meanwhile(tmp_path, machine=lambda: generations(file)), lambda: True)

    assert b"ours" == raced.get("a-name")

    assert b"theirs" == sealed(tmp_path, file).get("a-name")


@pytest.mark.parametrize(("name", "code"), [("identity", Code.IDENTITY_DAMAGED), ("a-name", Code.KEYRING_ABSENT)])
def test_what_a_generation_that_is_gone_has_sealed_is_said_and_opens_once_it_is_back(
    file: Path, tmp_path: Path, name: str, code: Code
) -> None:
    """Also while we run: the file is read each time."""
    secrets = sealed(tmp_path, file)
    secrets.set(name, b"value")
    before = file.read_bytes()
    file.write_bytes(to_text([Generation(bytes(SECRET_BYTES))]))

    refused = refusal(lambda: secrets.get(name))
    file.write_bytes(before)

    assert (code, f"the sealed {name}: sealed under a generation that is not here") == (refused.code, refused.detail)
    assert b"value" == secrets.get(name)


def test_a_sealed_file_opens_under_its_own_name_and_for_its_own_account_alone(file: Path, tmp_path: Path) -> None:
    sealed(tmp_path, file, account="1000").set("a-name", b"value")
    (tmp_path / "another.sealed").write_bytes((tmp_path / "a-name.sealed").read_bytes())

    assert b"value" == sealed(tmp_path, file, account="1000").get("a-name")
    for name, account in (("another", "1000"), ("a-name", "1001"), ("a-name", "100")):
        refused = refusal(lambda name=name, account=account: sealed(tmp_path, file, account=account).get(name))
        assert "of another account or name" in refused.detail


def test_a_lost_identity_is_renewed_where_its_sealed_file_is_damaged(file: Path, tmp_path: Path) -> None:
    secrets = chosen(tmp_path, file)
    lost = load_identity(secrets, tmp_path)
    (tmp_path / "identity.sealed").write_bytes(b"")
    refused = refusal(lambda: load_identity(secrets, tmp_path))

    renewed = renew_lost(secrets, tmp_path, at=datetime.now(UTC))

    assert Code.IDENTITY_DAMAGED == refused.code
    assert lost.thumbprint != renewed.thumbprint == load_identity(secrets, tmp_path).thumbprint


def test_an_identity_rotates_under_the_machine_s_secret(file: Path, tmp_path: Path) -> None:
    secrets = chosen(tmp_path, file)
    before = load_identity(secrets, tmp_path)

    after = rotate_identity(secrets, tmp_path, instance_id="0", at=datetime.now(UTC))

    assert [before.thumbprint] == [former.public_jwk["kid"] for former in after.former]
    assert after.thumbprint == load_identity(chosen(tmp_path, file), tmp_path).thumbprint


def test_a_sealed_file_that_is_a_folder_is_damage_and_one_that_is_gone_is_none(file: Path, tmp_path: Path) -> None:
    secrets = sealed(tmp_path, file)
    (tmp_path / "identity.sealed").mkdir()

    assert Code.IDENTITY_DAMAGED == refusal(lambda: secrets.get("identity")).code
    assert Code.CONFIG_INVALID == refusal(lambda: secrets.forget("identity")).code
    assert secrets.get("a-name") is None
    with pytest.raises(ValueError, match="name"):
        secrets.get("../a-name")


ONE = [Generation(bytes(range(32)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed")


@given(content=st.binary(max_size=200) | st.binary(max_size=80).map(lambda rest: HEADER + rest))
def test_any_bytes_in_the_place_of_a_sealed_file_are_refused(folder: Path, content: bytes) -> None:
    (folder / "a-name.sealed").write_bytes(content)

    assert Code.KEYRING_ABSENT == refusal(lambda: SealedSecrets(folder, machine=lambda: ONE).get("a-name")).code


HEADER = f"insi-agent sealed 1 {ONE[0].id}\n".encode()


@given(value=st.binary(max_size=100), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_sealed_file_with_one_bit_changed_is_refused(folder: Path, value: bytes, at: int, bit: int) -> None:
    secrets = SealedSecrets(folder, machine=lambda: ONE)
    secrets.set("a-name", value)
    assert value == secrets.get("a-name")
    changed = bytearray((folder / "a-name.sealed").read_bytes())
    changed[at % len(changed)] ^= 1 << bit
    (folder / "a-name.sealed").write_bytes(changed)

    assert Code.KEYRING_ABSENT == refusal(lambda: secrets.get("a-name")).code


# ---------------------------------------------------------------- another place is set


def test_who_sets_another_place_keeps_the_same_keys_with_a_real_keyring(machine: Machine) -> None:
    machine.enrolled()
    first, none = machine.in_a_session(("identity",), ("set", "a-name", "valeur"), ("sealed",))[::2]
    second = machine.in_a_session(("setting", "machine"), ("identity",), ("get", "a-name"), ("sealed",))
    third = machine.in_a_session(("setting", "keyring"), ("identity",), ("get", "a-name"), ("sealed",))

    assert [] == none
    assert [first, "valeur", ["a-name.sealed", "identity.sealed"]] == second
    assert [first, "valeur", []] == third


def test_what_was_taken_over_is_no_longer_where_it_was(file: Path, tmp_path: Path) -> None:
    keyring = Ring(tmp_path / "keyring")
    keyring.set("a-name", b"value")

    assert b"value" == chosen(tmp_path, file, keyring).get("a-name")
    assert (None, b"value") == (keyring.get("a-name"), sealed(tmp_path, file).get("a-name"))
    assert b"value" == chosen(tmp_path, file, keyring, by_machine=False).get("a-name")
    assert (b"value", None) == (keyring.get("a-name"), sealed(tmp_path, file).get("a-name"))


def test_a_policy_that_changes_the_place_counts_at_once(file: Path, tmp_path: Path) -> None:
    keyring, by_machine = Ring(tmp_path / "keyring"), [False]
    secrets = ChosenSecrets(tmp_path, keyring, sealed(tmp_path, file), lambda: by_machine[0])
    secrets.set("a-name", b"value")

    by_machine[0] = True

    assert b"value" == secrets.get("a-name") == sealed(tmp_path, file).get("a-name")


@pytest.mark.parametrize("by_machine", [True, False])
def test_what_is_forgotten_or_set_does_not_come_back_from_the_other_place(
    file: Path, tmp_path: Path, by_machine: bool
) -> None:
    keyring, other = Ring(tmp_path / "keyring"), sealed(tmp_path, file)
    secrets = chosen(tmp_path, file, keyring, by_machine=by_machine)
    for name in ("a-name", "another"):
        (keyring if by_machine else other).set(name, b"old")

    secrets.set("a-name", b"new")
    secrets.forget("another")

    assert b"new" == secrets.get("a-name")
    assert secrets.get("another") is None
    assert (keyring if by_machine else other).get("a-name") is None


def test_keys_that_a_closed_keyring_may_still_have_are_not_replaced_nor_renewed_as_lost(
    file: Path, tmp_path: Path
) -> None:
    keyring = Ring(tmp_path / "keyring")
    before = chosen(tmp_path, file, keyring, by_machine=False)
    identity, keys = load_identity(before, tmp_path), load_journal_keys(before, tmp_path)
    secrets, keyring.is_closed = chosen(tmp_path, file, keyring), True

    for act in (
        lambda: load_identity(secrets, tmp_path),
        lambda: load_journal_keys(secrets, tmp_path),
        lambda: renew_lost(secrets, tmp_path, at=datetime.now(UTC)),
    ):
        refused = refusal(act)
        assert (Code.KEYRING_ABSENT, "closed") == (refused.code, refused.detail)
        assert "l'ouvrir" in str(refused.facts["reason"])
    assert not [*tmp_path.glob("*.lost-*"), *tmp_path.glob("*.sealed")]

    keyring.is_closed = False
    assert identity.thumbprint == load_identity(secrets, tmp_path).thumbprint
    assert keys.ids == load_journal_keys(secrets, tmp_path).ids


def test_a_real_keyring_that_is_locked_keeps_its_keys_and_one_that_is_gone_may_be_given_up(machine: Machine) -> None:
    machine.enrolled()
    (first,) = machine.in_a_session(("identity",))

    locked = machine.in_a_session(("setting", "machine"), ("identity",), ("renew",), unlocked=False)
    (gone,) = machine.account(0, ("identity",))

    assert 2 == len(locked)
    assert all("keyring.absent" in str(one) and "l'ouvrir" in str(one) for one in locked)
    assert "identity.damaged" in str(gone) and "si un trousseau est fermé" in str(gone)
    assert [first] == machine.in_a_session(("identity",))


def test_what_a_keyring_has_that_comes_back_after_a_renewal_is_not_lost(file: Path, tmp_path: Path) -> None:
    """In a session without one, what it had was given up."""
    keyring = Ring(tmp_path / "keyring")
    before = chosen(tmp_path, file, keyring, by_machine=False)
    load_identity(before, tmp_path), load_journal_keys(before, tmp_path)
    lost, (old,) = keyring.get("identity"), load_journal_keys(before, tmp_path).ids

    renewed = renew_lost(chosen(tmp_path, file), tmp_path, at=datetime.now(UTC))
    (new,) = load_journal_keys(chosen(tmp_path, file), tmp_path).ids

    for by_machine in (False, True, False):
        secrets = chosen(tmp_path, file, keyring, by_machine=by_machine)
        assert renewed.thumbprint == load_identity(secrets, tmp_path).thumbprint
        assert [new, old] == load_journal_keys(secrets, tmp_path).ids
    (aside,) = (tmp_path / "keyring").glob("identity-*.secret")
    assert lost == aside.read_bytes()
    assert [] == sealed_names(tmp_path)


def sealed_names(folder: Path) -> list[str]:
    return [file.name for file in folder.glob("*.sealed")]


def test_what_the_keyring_has_of_before_gives_way_to_what_was_sealed_since(file: Path, tmp_path: Path) -> None:
    """A password that was changed while the keyring was closed; a journal key that is no key."""
    keyring = Ring(tmp_path / "keyring")
    for name in ("a-name", "journal-key"):
        keyring.set(name, b"before")
        sealed(tmp_path, file).set(name, bytes(32))

    secrets = chosen(tmp_path, file, keyring, by_machine=False)

    assert bytes(32) == secrets.get("a-name") == secrets.get("journal-key")
    assert [b"before"] == [kept.read_bytes() for kept in (tmp_path / "keyring").glob("*-*-*.secret")]


@pytest.mark.parametrize("is_closed", [True, False])
def test_under_the_machine_s_secret_the_keyring_is_asked_for_a_name_once_and_nobody_waits_for_the_person(
    file: Path, tmp_path: Path, is_closed: bool
) -> None:
    keyring = Ring(tmp_path / "keyring")
    keyring.is_closed = is_closed
    secrets = chosen(tmp_path, file, keyring)

    assert secrets.get("a-name") is None
    asked = len(keyring.asked)
    assert [None] * 3 == [secrets.get("a-name") for _ in range(3)]
    secrets.set("a-name", b"value")
    assert b"value" == secrets.get("a-name")

    assert "a-name" == keyring.asked[0]
    assert asked == len(keyring.asked)
    if is_closed:
        assert 1 == asked


def test_what_the_keyring_was_given_meanwhile_is_found_once_its_setting_was_back(file: Path, tmp_path: Path) -> None:
    keyring, by_machine = Ring(tmp_path / "keyring"), [True]
    secrets = ChosenSecrets(tmp_path, keyring, sealed(tmp_path, file), lambda: by_machine[0])
    assert secrets.get("a-name") is None

    by_machine[0] = False
    secrets.set("a-name", b"value")
    by_machine[0] = True

    assert b"value" == secrets.get("a-name") == sealed(tmp_path, file).get("a-name")


def test_an_identity_that_a_keyring_has_lost_is_found_again_without_a_start(file: Path, tmp_path: Path) -> None:
    """Restored from a backup while the agent runs."""
    keyring = Ring(tmp_path / "keyring")
    first = load_identity(chosen(tmp_path, file, keyring, by_machine=False), tmp_path)
    kept = keyring.get("identity")
    keyring.forget("identity")
    secrets = chosen(tmp_path, file, keyring)
    assert Code.IDENTITY_DAMAGED == refusal(lambda: load_identity(secrets, tmp_path)).code

    keyring.set("identity", kept or b"")

    assert first.thumbprint == load_identity(secrets, tmp_path).thumbprint


@pytest.mark.parametrize("by_machine", [True, False])
def test_a_new_place_that_cannot_be_used_leaves_the_secret_in_the_old_one(
    file: Path, tmp_path: Path, by_machine: bool
) -> None:
    keyring = Ring(tmp_path / "keyring")
    chosen(tmp_path, file, keyring, by_machine=not by_machine).set("a-name", b"value")
    if by_machine:
        file.chmod(0o644)

    refused = refusal(
        lambda: chosen(tmp_path, file, keyring if by_machine else NoKeyring(), by_machine=by_machine).get("a-name")
    )

    file.chmod(0o640)
    assert Code.KEYRING_ABSENT == refused.code
    assert b"value" == chosen(tmp_path, file, keyring, by_machine=not by_machine).get("a-name")


class KeepsNothing(Ring):
    """A keyring that says it has kept a secret."""

    def set(self, name: str, value: bytes) -> None:
        pass


def test_a_secret_stays_in_the_old_place_until_the_new_one_has_given_it_back(file: Path, tmp_path: Path) -> None:
    sealed(tmp_path, file).set("a-name", b"value")

    refused = refusal(
        lambda: chosen(tmp_path, file, KeepsNothing(tmp_path / "keyring"), by_machine=False).get("a-name")
    )

    assert (Code.KEYRING_ABSENT, "it did not keep a-name") == (refused.code, refused.detail)
    assert b"value" == sealed(tmp_path, file).get("a-name")


MOVE = """
import cryptography.hazmat.primitives.ciphers.aead, cryptography.hazmat.primitives.kdf.hkdf
from agent.machine_secret import Generation
from agent.sealed_secrets import SealedSecrets
from agent.secrets import ChosenSecrets, FileSecrets
def secrets(by_machine):
    sealed = SealedSecrets(Path(folder), machine=lambda: [Generation(bytes(range(32)))])
    return ChosenSecrets(Path(folder), FileSecrets(Path(folder, "keyring")), sealed, lambda: by_machine)
"""


@pytest.mark.parametrize("by_machine", [True, False])
def test_kill_9_at_any_step_of_taking_over_loses_nothing_and_brings_nothing_old_back(
    tmp_path: Path, by_machine: bool
) -> None:
    keyring = Ring(tmp_path / "keyring")

    def here(*, by_machine: bool) -> Secrets:
        sealed = SealedSecrets(tmp_path, machine=lambda: ONE)
        return ChosenSecrets(tmp_path, keyring, sealed, lambda: by_machine)

    value = b"value 0"
    here(by_machine=not by_machine).set("a-name", value)
    for step in killed_at_each_step(MOVE, f"secrets({by_machine}).get('a-name')", tmp_path, at_least=5):
        for now in (by_machine, not by_machine, by_machine)[step % 2 :]:
            assert value == here(by_machine=now).get("a-name")
        value = f"value {step}".encode()
        here(by_machine=not by_machine).set("a-name", value)


def taken_over(secrets: Secrets, times: int) -> Iterator[bytes | None]:
    for _ in range(times):
        yield secrets.get("a-name")


def test_programs_of_two_settings_at_once_take_a_secret_from_one_another_and_never_lose_it(
    file: Path, tmp_path: Path
) -> None:
    keyring = Ring(tmp_path / "keyring")
    keyring.set("a-name", b"value")
    both = [chosen(tmp_path, file, keyring, by_machine=by_machine) for by_machine in (True, False)]
    together = Barrier(2)

    def act(secrets: Secrets) -> list[bytes | None]:
        together.wait()
        return list(taken_over(secrets, 30))

    with ThreadPoolExecutor(2) as two:
        found = [one for said in two.map(act, both) for one in said]

    assert {b"value"} == set(found)
