"""An installation's life: what it writes and whom it calls, what an upgrade keeps, what removal leaves."""

import csv
import io
import json
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.conftest import pip
from tests.parts.agent import Site
from tests.parts.program import Program, port_of

# Loaded by every Python of the installation, the agent's children too.
_WITNESS = """
import json, os, sys

def seen(event, arguments):
    said = None
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        said = ["writes", os.path.abspath(os.fsdecode(arguments[0]))]
    elif event in ("os.mkdir", "sqlite3.connect"):
        said = ["writes", os.path.abspath(os.fsdecode(arguments[0]))]
    elif event in ("os.rename", "os.link", "os.symlink"):
        said = ["writes", os.path.abspath(os.fsdecode(arguments[1]))]
    elif event in ("socket.connect", "socket.bind"):
        address = arguments[1]
        said = [event, os.fsdecode(address) if isinstance(address, (str, bytes)) else str(address[0])]
    if said:
        os.write(witness, (json.dumps(said) + "\\n").encode())

witness = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
sys.addaudithook(seen)
"""
_TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}


@dataclass(frozen=True)
class Life:
    """What an installed agent did from its start to its end."""

    home: Path
    did: list[tuple[str, str]]
    found: str  # what the person's search gave

    def all(self, what: str) -> set[str]:
        return {where for kind, where in self.did if kind == what}


@pytest.fixture(scope="module")
def life(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The demonstration of an installation, used once by a page, and stopped."""
    home, witness = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("witness") / "did.jsonl"
    (site,) = installed.parent.glob("lib/python*/site-packages")
    (site / "sitecustomize.py").write_text(_WITNESS)
    command = [str(installed / "insi-agent"), "demo", "--headless", "--json"]
    with Program(command, home, WITNESS=str(witness), PYTHONDONTWRITEBYTECODE="1") as program:
        address = program.address()
        page = Site(port_of(address), origin=address["origin"])
        found = page.call("insi.retrieveByTraits", traits=_TRAITS, authMode="cpx")["code"]
        page.close()
        program.stop()
    did = [tuple(json.loads(line)) for line in witness.read_text().splitlines()]
    return Life(home, [(kind, where) for kind, where in did], found)


def test_it_writes_in_its_users_folders_only(life: Life) -> None:
    """Defence list D39: nothing that an uninstall would have to look for elsewhere."""
    elsewhere = {
        path
        for path in life.all("writes")
        if not Path(path).is_relative_to(life.home) and not path.startswith(("/dev/", "/proc/"))
    }
    temporary = {path for path in elsewhere if Path(path).is_relative_to(tempfile.gettempdir())}

    assert life.found == "00"
    assert elsewhere == temporary
    assert [path for path in temporary if Path(path).exists()] == []
    assert {path.name for path in life.home.iterdir()} == {".local"}


def test_it_makes_nothing_start_again_and_adds_no_trust(life: Life) -> None:
    for place in (".config/autostart", ".config/systemd", ".pki", ".mozilla", "snap", ".local/share/applications"):
        assert not (life.home / place).exists()


def test_it_calls_this_machine_only_where_nothing_else_is_configured(life: Life) -> None:
    """Defence list D35: no update channel, no telemetry."""
    connected = life.all("socket.connect")

    assert "127.0.0.1" in connected
    assert {address for address in connected if not address.startswith("/")} == {"127.0.0.1"}
    assert life.all("socket.bind") <= {"127.0.0.1", "::1"}


def test_no_private_key_is_shipped(wheel: Path) -> None:
    """Defence list D38."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert b"PRIVATE KEY-----\nM" not in content, name
            assert not name.endswith((".p12", ".pfx", ".key", ".pem")), name


def test_an_upgrade_touches_no_setting(wheel: Path) -> None:
    """Defence list D40: every file that the package owns is its own code or its description."""
    with zipfile.ZipFile(wheel) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
        owned = [row[0] for row in csv.reader(io.StringIO(archive.read(record).decode()))]

    assert owned
    assert all(name.startswith(("agent/", "insi_agent-")) and ".." not in name for name in owned)


def test_the_lines_of_wss_remove_take_out_every_authority_that_was_ever_trusted(life: Life, installed: Path) -> None:
    """Defence list D39: also one whose removal was said when it was replaced, and not done then."""
    home = life.home.with_name("home-with-wss")
    profile = home / ".mozilla/firefox/a.default"
    profile.mkdir(parents=True)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "WITNESS": str(home / "did.jsonl")}

    def done(*command: str) -> str:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def wss(word: str) -> list[str]:
        """Its lines of a shell for the stores of Linux."""
        said = done(str(installed / "insi-agent"), "wss", word, "--simulated").splitlines()
        return [line.strip() for line in said if line.strip().startswith(("certutil", "mkdir", "find"))]

    def trusted() -> list[int]:
        stores = (home / ".pki/nssdb", profile)
        return [done("certutil", "-d", f"sql:{store}", "-L").count("INSi Agent localhost") for store in stores]

    done("certutil", "-d", f"sql:{profile}", "-N", "--empty-password")
    for word in ("enable", "renew", "renew"):
        for line in wss(word):
            if " -A " in line:
                done("sh", "-ec", line)
    before = trusted()
    for line in wss("remove"):
        done("sh", "-ec", line)

    assert (before, trusted()) == ([3, 3], [0, 0])
    assert not list(home.rglob("wss*"))


def test_a_policy_is_written_where_it_is_asked_for_and_nowhere_else(life: Life, installed: Path) -> None:
    """Defence list D39: no policy of a browser is ever set by the agent."""
    home = life.home.with_name("home-with-policies")
    home.mkdir()
    (home / "config.toml").write_text('[[origins.allowed]]\norigin = "https://dossier.example"\n')
    words = ["--for", "firefox", "--config", str(home / "config.toml"), "--output", str(home / "out")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "WITNESS": str(home / "did.jsonl")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"

    subprocess.run([str(installed / "insi-agent"), "policy", "export", *words], env=environment, check=True)

    did = [json.loads(line) for line in (home / "did.jsonl").read_text().splitlines()]
    written = {Path(where) for kind, where in did if kind == "writes"}
    assert home / "out/etc/firefox/policies/policies.json" in written
    assert [path for path in written if not path.is_relative_to(home / "out")] == []


def test_a_removed_installation_leaves_no_file_and_no_listener(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """Defence list D39."""
    folder = tmp_path / "installed"
    shutil.copytree(installed.parent, folder, symlinks=True)
    python = str(folder / "bin" / "python")
    pip("--python", python, "install", "--no-deps", "--force-reinstall", str(wheel))
    command = [str(folder / "bin" / "insi-agent"), "demo", "--headless", "--json"]
    with Program(command, tmp_path, WITNESS=str(tmp_path / "did.jsonl")) as program:
        port = port_of(program.address())
        program.stop()
    pip("--python", python, "uninstall", "--yes", "insi-agent")
    left = [path for path in folder.rglob("*") if "insi" in path.name.lower() and "__pycache__" not in path.parts]
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=True).stdout

    assert left == []
    assert not list(folder.glob("lib/python*/site-packages/agent/**/*.py"))
    assert f":{port} " not in listening
