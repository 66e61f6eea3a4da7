"""The code, the number and the name of a whole journey on real parts are found nowhere afterwards.

Canaries that nothing else looks like go through pcscd, a PKCS#11 token, a real window, a keyring and an INSi, with
every kind of failure on the way. Then they are searched for wherever a program may leave something behind.
"""

import base64
import json
import os
import random
import re
import secrets
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from agent.insi.fake_insi import SimulatedInsi
from agent.insi.fake_people import Person as Known
from agent.insi.fake_service import FakeService, Fault
from agent.model import AuthMode
from agent.places import find_running
from agent.simulator.pki import Person, issue_card, issue_server, make_ca
from tests.cards.process import CardProcess
from tests.parts.agent import RefusedError, Simulation, Site
from tests.parts.desktop import Desktop, until
from tests.parts.pcscd import Pcscd
from tests.parts.search import Search, family
from tests.parts.session import in_a_session
from tests.parts.softhsm import SoftHsm
from tests.parts.syslog import Syslog
from tests.parts.workstation import write_config

SITE = "https://dossier.example"
WINDOW = "code de la carte"
TEMPORARY = Path(tempfile.gettempdir())
ROOT = Path(__file__).parents[2]
FOUND = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
NOBODY = FOUND | {"birthName": "PERSONNE"}
# Core files are wanted by everybody around the agent: it must refuse them itself.
START = 'ulimit -c unlimited; cd "$1"; exec "$PYTHON" -m agent run --no-tray --port 0 --config "$1/config.toml"'


class Canaries:
    """A code, a wrong one, a number and a name that exist once in the world."""

    def __init__(self) -> None:
        chance = random.SystemRandom()
        letters = "BCDFGHJKLMNPQRSTVWXZ"
        self.pin, self.wrong = ("".join(chance.choices("123456789", k=16)) for _ in range(2))
        self.name, self.given = ("".join(chance.choices(letters, k=12)) for _ in range(2))
        self.nir = "2841276" + "".join(chance.choices("123456789", k=6))
        self.key = f"{97 - int(self.nir) % 97:02}"

    @property
    def person(self) -> Known:
        return Known(self.name, self.given, "F", "1984-12-31", f"{self.nir[5:10]}", self.nir, self.key)

    @property
    def codes(self) -> Search:
        return Search(code=self.pin, wrong=self.wrong)

    def everything(self, **more: str) -> Search:
        known = {"code": self.pin, "wrong": self.wrong, "number": self.nir, "name": self.name, "given": self.given}
        return Search(**known, **more)


class Insi(FakeService):
    """Knows the canary's person, and sometimes says a fault that quotes them."""

    quotes: Known | None = None

    def knows(self, person: Known) -> None:
        """The next search finds them."""
        self.inject_person(person)

    def answer(self, message: bytes, **asked: Any) -> tuple[int, bytes]:
        if (who := self.quotes) is None:
            return super().answer(message, **asked)
        sentence = f"{who.birth_name} {who.given_names}, {who.matricule} {who.key} : inconnu"
        return self.fault(Fault("siram_10", "insi_19", "erreur", sentence, sentence))


class Journey:
    """A workstation, who sits at it, and what was found on the way."""

    def __init__(self, folder: Path, parts: ExitStack, pcscd: Pcscd, revealed: Path) -> None:
        """`revealed`: a folder where nobody searches by itself."""
        self.canaries, self.revealed = Canaries(), revealed
        self.since, self.there_before = time.time(), set(TEMPORARY.iterdir())
        self.folder = folder
        self.came: dict[str, str] = {}  # step → how it ended
        self.found: dict[str, set[str]] = {"processes": set(), "memory": set()}
        self.roles: set[str] = set()
        self.windows: list[int] = []
        self.while_it_runs: set[str] = set()  # in files
        self.trace = ""  # of the operation that found somebody
        self.heard: list[bytes] = []  # by the system's log
        self.syslog = Syslog(folder)
        parts.callback(self.syslog.close)
        (folder / "shipped").mkdir()
        ca = make_ca()
        server = issue_server(ca)
        self.insi = SimulatedInsi(server.pem, server.key_pem, ca.pem, record=True)
        self.insi.service = self.service = Insi(authorisations=["SIMULATEUR-0001"], ca=_certificates(ca.pem))
        self.insi.start()
        parts.callback(self.insi.stop)
        self.desktop = parts.enter_context(Desktop())
        who = self.canaries.person
        numbers = f"{who.matricule}{who.key}"
        holders = f"{who.birth_name},{who.given_names},19841231"
        people = ("--holders", holders, "--nirs", numbers)
        parts.enter_context(CardProcess("tests.cards.vitale", pcscd.port_of("Vitale"), *people)).insert()
        (folder / "softhsm").mkdir()
        token = SoftHsm(folder / "softhsm", issue_card(ca, Person()), pin=self.canaries.pin)
        (folder / "ca.pem").write_bytes(ca.pem)
        write_config(
            folder / "config.toml",
            site=SITE,
            module=token.module,
            insi=self.insi,
            anchors=folder / "ca.pem",
            cpx="pin_max_digits = 16",
            more=f'[origins]\nunknown = "refuse"\n[journal.ship]\nto = "folder"\nfolder = "{folder / "shipped"}"\n',
        )
        self._start(parts, {**pcscd.environment, **self.desktop.environment, **token.environment})

    def _start(self, parts: ExitStack, environment: dict[str, str]) -> None:
        homes = {"HOME": self.folder}
        for name in ("runtime", "data", "state", "cache", "config"):
            (self.folder / name).mkdir(mode=0o700)
            homes[f"XDG_{name.upper()}_{'DIR' if name == 'runtime' else 'HOME'}"] = self.folder / name
        own = {**os.environ, **environment, **{name: str(path) for name, path in homes.items()}}
        own.pop("DBUS_SESSION_BUS_ADDRESS", None)
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            self._session = subprocess.Popen(
                in_a_session(self.syslog.heard_by(["bash", "-c", START, "_", str(self.folder)])),
                env={**own, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self._session.pid  # until it says its own
        parts.callback(self.stop)
        runtime = self.folder / "runtime" / "insi-agent"
        until(lambda: find_running(runtime) is not None or self._session.poll() is not None, "the agent listens")
        running = find_running(runtime)
        assert running, (self.folder / "stderr").read_text()
        self.port, self.pid = running.port, running.pid
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def stop(self) -> None:
        """The agent ends in good order; what it then holds is on the disk."""
        if self._session.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            assert self._session.wait(30) == 0, (self.folder / "stderr").read_text()
            self._watching.join()

    def came_of(self, step: str, site: Site, number: int) -> Any:
        """How this call ended."""
        try:
            result = site.reply(number)
        except RefusedError as error:
            self.came[step] = error.reason or str(error.error["code"])
            return error.facts
        self.came[step] = str(result.get("code", "done"))
        return result

    @contextmanager
    def window(self) -> Iterator[int]:
        """The process of the window that has come up, until it has ended."""
        self.desktop.focused(WINDOW)
        (window,) = self.child("pin")
        self.windows.append(window)
        yield window
        _gone(window)

    def _watch(self) -> None:
        """In a thread of its own: every process of the session, again and again, until it ends."""
        search = self.canaries.everything()
        while self._session.poll() is None:
            for pid, command in family(self._session.pid).items():
                self.roles.update(command[-1:] if command[-2:-1] == ["_child"] else ["agent"] * (pid == self.pid))
                self.found["processes"] |= search.process(pid)
            time.sleep(0.05)

    def types(self, code: str, *, then: str = "Return") -> None:
        """The person types, then presses a key; Return means nothing in the window's first half second."""
        with self.window():
            self.desktop.type(code)

            def gone() -> bool:
                self.desktop.key(then)
                return not self.desktop.windows(WINDOW)

            until(gone, "the window took the code")

    def child(self, role: str) -> list[int]:
        return [pid for pid, command in family(self.pid).items() if command[-2:] == ["_child", role]]

    def look_into_memory(self) -> None:
        self.found["memory"] |= self.canaries.codes.memory(self.pid)

    def asks(self, into: Path, *words: str) -> None:
        """A command as the person types it, in the agent's own session; what it says is kept `into` this folder."""
        lines = Path(f"/proc/{self.pid}/environ").read_bytes().decode().split("\0")
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
        command = [sys.executable, "-m", "agent", *words, "--config", str(self.folder / "config.toml")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        (into / f"{'-'.join(words[:2])}.said").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr


def _certificates(pem: bytes) -> list[Any]:
    from cryptography import x509

    return x509.load_pem_x509_certificates(pem)


def _gone(pid: int) -> None:
    """Wait for the end of a process that is not ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ready, _, _ = select.select([handle], [], [], 20)
    os.close(handle)
    assert ready, "the window's process is still there"


@pytest.fixture(scope="module")
def journey(pcscd: Pcscd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """The whole journey, lived once, its agent stopped."""
    assert os.geteuid() == 0, "run as root: the agent closes its memory and its environment even to its own user"
    with ExitStack() as parts:
        folders = (tmp_path_factory.mktemp(name) for name in ("canaries", "revealed"))
        lived = Journey(next(folders), parts, pcscd, next(folders))
        site = Site(lived.port, origin=SITE)
        _find(lived, site)
        _fail(lived, site)
        _send_what_is_refused(lived, site)
        _ask_for_what_was_kept(lived)
        site.close()
        lived.while_it_runs = _written(lived)
        lived.stop()
        lived.heard = lived.syslog.received()
        yield lived


def _ask_for_what_was_kept(lived: Journey) -> None:
    """Every command that tells of the journal, first without its people, then with them, which goes elsewhere."""
    until(lambda: any((lived.folder / "shipped").rglob("*.jsonl")), "entries are shipped")
    with_people = ["--reveal", "patients"], ["--unmasked"]
    for folder, (revealed, unmasked) in ((lived.folder / "told", ([], [])), (lived.revealed / "told", with_people)):
        folder.mkdir()
        lived.asks(folder, "journal", "list", *revealed)
        lived.asks(folder, "journal", "show", lived.trace, *revealed)
        lived.asks(folder, "journal", "export", *revealed, "--output", str(folder / "export.csv"))
        lived.asks(folder, "journal", "export", *revealed, "--format=json", "--output", str(folder / "export.json"))
        lived.asks(folder, "support-bundle", "--last=5", *unmasked, "--output", str(folder / "bundle.zip"))


def _find(lived: Journey, site: Site) -> None:
    """A wrong code, the right one, a traced result with its image."""
    who = {"user": {"id": "accueil-2", "name": lived.canaries.name}, "clientRef": lived.canaries.name}
    read = site.call("vitale.read")
    number = site.send("insi.retrieveWithVitale", readId=read["readId"], holder=0, **who)
    lived.types(lived.canaries.wrong)
    lived.came_of("wrong code", site, number)
    lived.look_into_memory()
    lived.service.knows(lived.canaries.person)
    number = site.send("insi.retrieveWithVitale", readId=read["readId"], holder=0, **who)
    lived.types(lived.canaries.pin)
    result = lived.came_of("found", site, number)
    lived.look_into_memory()
    lived.trace = result["trace"]["id"]
    trace = site.call("trace.get", traceId=lived.trace, image=True)
    image = base64.b64decode(trace["image"])
    assert all(one.encode() in image for one in (lived.canaries.nir, lived.canaries.name, lived.canaries.given))


def _fail(lived: Journey, site: Site) -> None:
    """A fault that quotes the person, a window that is closed, a worker and a window that crash."""
    canaries = lived.canaries
    traits = {"birthName": canaries.name, "givenNames": [canaries.given], "sex": "F", "birthDate": "1984-12-31"}
    lived.service.quotes = canaries.person
    fault = lived.came_of("fault", site, site.send("insi.retrieveByTraits", traits=traits, local=traits))
    assert canaries.nir in fault["insi"]["detail"]  # the page is told, verbatim
    lived.service.quotes = None
    site.call("cpx.lock")
    number = site.send("cpx.unlock", reason="Ouvrir la journée")
    lived.types(canaries.pin, then="Escape")
    lived.came_of("closed window", site, number)
    number = site.send("cpx.unlock")
    with lived.window() as window:
        lived.desktop.type(canaries.pin)
        os.kill(window, signal.SIGABRT)
    lived.came_of("crashed window", site, number)
    (worker,) = lived.child("pkcs11")
    os.kill(worker, signal.SIGABRT)
    _gone(worker)
    number = site.send("insi.retrieveByTraits", traits=traits)
    lived.types(canaries.pin)
    lived.came_of("after a crashed worker", site, number)
    lived.look_into_memory()


def _send_what_is_refused(lived: Journey, site: Site) -> None:
    """Everything that a page may get wrong, with the canaries in it."""
    said = f"{lived.canaries.pin} {lived.canaries.nir} {lived.canaries.name}"
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "unknown member": ("cpx.unlock", {said: said}),
        "refused value": ("vitale.read", {"wait": said}),
        "reference like a number": ("insi.retrieveByTraits", {"clientRef": lived.canaries.nir}),
        "unknown method": (said, {"pin": lived.canaries.pin}),
    }
    for step, (method, params) in wrong.items():
        lived.came_of(step, site, site.send(method, **params))
    for text in (f'{{"pin": "{said}"', f'{{"jsonrpc":"2.0","id":1,"id":"{said}"}}', said):
        site.socket.send(text)
        lived.came[f"malformed {len(text)}"] = str(json.loads(site.socket.recv(timeout=20))["error"]["code"])
    for step, head in {
        "path": f"GET /{lived.canaries.nir}?pin={lived.canaries.pin} HTTP/1.1\r\nOrigin: {SITE}",
        "origin": f"GET / HTTP/1.1\r\nOrigin: https://{lived.canaries.name}.example",
        "token": f"GET / HTTP/1.1\r\nAuthorization: Bearer {lived.canaries.pin}",
    }.items():
        with socket.create_connection(("127.0.0.1", lived.port)) as raw:
            raw.sendall(
                f"{head}\r\nHost: 127.0.0.1:{lived.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
                "Sec-WebSocket-Protocol: insi-agent.v1\r\n\r\n".encode()
            )
            lived.came[step] = raw.recv(20).split()[1].decode()


def _written(lived: Journey) -> set[str]:
    signatures = {
        f"signature{at}": request.body.partition(b"SignatureValue>")[2].partition(b"<")[0].decode().strip()[:80]
        for at, request in enumerate(lived.insi.requests)
        if request.mode is AuthMode.CPX
    }
    assert len(signatures) >= 3
    assert all(len(one) == 80 for one in signatures.values())
    search = lived.canaries.everything(**signatures)
    new = (place for place in TEMPORARY.iterdir() if place not in lived.there_before)  # others work there too
    return search.written(lived.folder, *new, since=lived.since)


def test_the_journey_met_everything_that_it_was_to_meet(journey: Journey) -> None:
    malformed = {step: code for step, code in journey.came.items() if step.startswith("malformed")}

    assert set(malformed.values()) <= {"-32700", "-32600"}
    assert len(malformed) == 3
    assert {step: code for step, code in journey.came.items() if step not in malformed} == {
        "wrong code": "pin.wrong",
        "found": "00",
        "fault": "insi.fault.input",
        "closed window": "pin.cancelled",
        "crashed window": "device.crashed",
        "after a crashed worker": "01",
        "unknown member": "-32602",
        "refused value": "-32602",
        "reference like a number": "-32602",
        "unknown method": "-32601",
        "path": "404",
        "origin": "403",
        "token": "403",
    }


def test_no_file_holds_one_while_the_agent_runs_or_after(journey: Journey) -> None:
    """Logs, journal with its write-ahead log and without its key, agent.json, what was printed, temporary files."""
    kept = {file.name for file in (journey.folder / "data" / "insi-agent" / "journal").iterdir()}

    assert {"journal.sqlite", "head-0.json", "head-1.json"} <= kept
    assert list(journey.folder.rglob("*.secret")) == []  # its key is in the keyring
    assert any("insi.retrieveWithVitale" in file.read_text() for file in journey.folder.rglob("agent.log"))
    assert journey.while_it_runs == set()
    assert _written(journey) == set()


def test_what_is_told_of_the_journal_to_whom_it_does_not_concern_holds_none(journey: Journey) -> None:
    """And still tells which operations there were: two that ended, one fault, and who called by a short name."""
    told = journey.folder / "told"
    names = {"journal-list.said", "journal-show.said", "journal-export.said", "support-bundle---last=5.said"}
    names |= {"export.csv", "export.json", "bundle.zip"}

    assert {file.name for file in told.iterdir()} == names
    assert {name: journey.canaries.everything().file(told / name) for name in names} == {name: set() for name in names}
    listed = (told / "journal-list.said").read_text()
    assert listed.count("WS_INS1") == 1
    assert listed.count("WS_INS2") == 2
    assert "[professionnel 1]" in (told / "journal-show.said").read_text()


def test_the_same_told_with_its_people_is_found_to_hold_them(journey: Journey) -> None:
    """So what finds nothing elsewhere can find; a code is nowhere, whoever asks."""
    told, search = journey.revealed / "told", journey.canaries.everything()
    people = ("journal-show.said", "export.csv", "export.json", "bundle.zip")

    for name in people:
        found = {what.rpartition(": ")[2].partition(" as ")[0] for what in search.file(told / name)}
        assert found == {"number", "name", "given"}, name


def test_the_second_copy_of_the_journal_holds_none(journey: Journey) -> None:
    files = [*(journey.folder / "shipped").rglob("*.jsonl")]
    lines = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    assert {"intent", "outcome", "result"} <= {line["kind"] for line in lines}
    assert any(line["personal"] for line in lines)  # sealed as it is stored
    found = [journey.canaries.everything().within(base64.b64decode(line["personal"] or "")) for line in lines]
    assert set().union(*found) == set()
    assert set().union(*map(journey.canaries.everything().file, files)) == set()


def test_the_systems_log_heard_of_start_stop_and_faults_and_of_nobody(journey: Journey) -> None:
    said = b"\n".join(journey.heard)

    assert said.count(b"listening on port") == said.count(b"stopping: SIGTERM") == 1
    assert b"ERROR" in said
    assert journey.canaries.everything().within(said) == set()


def test_the_support_bundle_holds_none_and_still_tells_what_happened(journey: Journey) -> None:
    file = journey.folder / "told" / "bundle.zip"
    with zipfile.ZipFile(file) as archive:
        members = set(archive.namelist())
        log = archive.read("logs/agent.log").decode()
        status = json.loads(archive.read("status.json"))

    assert journey.canaries.everything().file(file) == set()
    assert {"LISEZ-MOI.txt", "versions.json", "settings.json", "doctor.json", "journal.json"} <= members
    assert f"insi.retrieveWithVitale {SITE} 00 " in log
    assert journey.trace in log
    assert "traces/1-WS_INS1.json" in members
    assert status["operations"]["WS_INS1"]["byCode"] == {"00": 1}


def test_no_environment_and_no_command_line_of_the_session_ever_holds_one(journey: Journey) -> None:
    assert {"agent", "pin", "pkcs11"} <= journey.roles  # each was looked at
    assert journey.found["processes"] == set()


def test_the_agents_own_memory_holds_no_code_after_login(journey: Journey) -> None:
    assert journey.found["memory"] == set()


def test_the_windows_processes_are_gone_with_their_copies(journey: Journey) -> None:
    assert len(journey.windows) == 5
    assert not [pid for pid in journey.windows if Path(f"/proc/{pid}").exists()]


def test_a_worker_and_a_window_that_abort_leave_no_core(journey: Journey) -> None:
    assert [file.name for file in journey.folder.rglob("core*") if file.is_file()] == []


# ---------------------------------------------------------------- what the journal says without its key

# What is constant by nature, whoever a call is about: the site, the software, the operation, a code's own label, which
# members were given (never their values), the names of our members, the day and the minute. Beside it only what is
# looked at in no column: the journal's key number, the digest of the clear part, the link to the entry before.
CONSTANT = re.compile(
    r"http://127\.0\.0\.1:1|Accueil de démonstration|WS_INS\d|simulated|aes-256-gcm|Aucune identite trouvee"
    r'|"given":\[.*?"\]|"[A-Za-z0-9]+":|\d{4}-\d\d-\d\dT\d\d:\d\d:'
)


def test_two_calls_for_one_person_have_nothing_in_common_that_the_journal_shows_without_its_key(
    agent: Simulation,
) -> None:
    """Else who takes the file sees which calls were for one person, and tries who it may be."""
    site = agent.site()
    for traits in (FOUND, NOBODY):
        for ref in ("venue-1", "venue-2"):
            site.call("insi.retrieveByTraits", traits=traits, clientRef=f"{traits['birthName']}-{ref}")
    agent.restart()  # which has not opened its journal yet
    database = sqlite3.connect(agent.places.journal / "journal.sqlite")
    columns = "trace_id, at, kind, origin, client_ref, clear, personal_sha256, personal_scheme, link, signature"
    shown: dict[str, set[str]] = {}
    for trace, *clear in database.execute(f"SELECT {columns} FROM entry"):  # noqa: S608  (our own columns)
        for one in (trace, *clear):
            text = one.decode("latin-1").replace("\\u00e9", "é") if isinstance(one, bytes) else str(one)
            pieces = {part[at : at + 16] for part in CONSTANT.split(text) for at in range(len(part) - 15)}
            shown.setdefault(trace, set()).update(pieces)
    database.close()

    assert len(shown) == 4
    assert all(len(pieces) > 100 for pieces in shown.values())
    assert [one & other for one, other in combinations(shown.values(), 2) if one & other] == []


# ---------------------------------------------------------------- the search itself


@pytest.fixture
def secret() -> str:
    return "".join(secrets.choice("123456789") for _ in range(13))


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode(),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode().hex().encode(),
        lambda text: f"{text[0]} {text[1:3]} {text[3:5]} {text[5:7]} {text[7:10]} {text[10:]}".encode(),
        lambda text: base64.b64encode(f"<a>{text}</a>".encode()),
        lambda text: base64.b64encode(f"<ab>{text}</ab>".encode()),
        lambda text: base64.b64encode(f"<abc>{text}</abc>".encode()),
    ],
)
def test_the_search_finds_every_form_in_a_file_in_its_name_and_in_an_archive(tmp_path, secret, written) -> None:
    since = time.time() - 1
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"before " + written(secret) + b" after")
    (tmp_path / f"name-{secret}").touch()
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", written(secret) * 3)
    search = Search(secret=secret)

    found = search.written(tmp_path, since=since)

    assert {name.split(":")[0].rpartition("/")[2] for name in found} == {"file", f"name-{secret}", "archive"}
    assert Search(secret=secret[::-1] + "0").written(tmp_path, since=since) == set()


def test_the_search_finds_what_a_process_was_given_and_what_it_holds(secret) -> None:
    reads = "import sys; kept = bytearray(sys.stdin.buffer.readline()); print(flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", reads, f"argument {secret}1"],
        env={"GIVEN": f"{secret}2"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(f"{secret}3\n".encode())
        process.stdin.flush()
        process.stdout.readline()
        try:
            given = [Search(it=f"{secret}{place}").process(process.pid) for place in (1, 2, 3)]
            held = Search(it=f"{secret}3").memory(process.pid)
            other = Search(it=secret[::-1] + "4").memory(process.pid)
            assert process.pid in family(os.getpid())
        finally:
            process.stdin.close()

    assert [{f"cmdline of {process.pid}: it as text"}, {f"environ of {process.pid}: it as text"}, set()] == given
    assert held == {f"memory of {process.pid}: it as text"}
    assert other == set()
