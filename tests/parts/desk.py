"""A whole desk on real parts: card service, readers, cards, another program, and the agent with its keyring and INSi.

The agent is a process of its own that runs as `insi-agent run` does, every part real but the person: the window's
process answers with the code by itself. So many hands may work at the desk for hours.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from agent.insi.fake_insi import SimulatedInsi
from agent.places import find_running
from agent.signing.fake_token import card_file, save_card
from agent.simulator.pki import Person, issue_card, issue_organisation, issue_server, make_ca, p12
from tests.cards.process import CardProcess
from tests.parts.desktop import until
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.parts.session import in_a_session
from tests.parts.workstation import write_config

SITES = ("https://dossier.example", "https://accueil.example")
DOCTOR = Person().national_id
CPS = "cps"
VITALES = {  # name → holders, NIRs: people whom the simulated INSi knows
    "durand": ("DURAND,HÉLÈNE,19841231;DURAND,LÉO,20150201", "284127645108993"),
    "adrdeux": ("ADRDEUX,LAURENT,19810101", "181016322075140"),
}
CALL_TIMEOUT_S = 4  # shorter than in the field: a hang ends while a test waits

_PASSPHRASE = b"une-phrase-de-test"
# The person enrols the passphrase in the session's keyring, then the agent starts.
_START = '"$PYTHON" -m agent organisation enrol --config "$1" && exec "$PYTHON" -m tests.parts.attended "$1"'
_ROOT = Path(__file__).parents[2]


class Desk:
    """Use as a context manager. The cards start outside their readers."""

    def __init__(self, folder: Path, *, record: bool = False) -> None:
        """`record`: INSi keeps what it gets, in memory."""
        self.folder = folder
        self._record = record
        self._parts = ExitStack()
        self.cards: dict[str, CardProcess] = {}
        self.where: dict[str, str | None] = {}  # each card that was put, and its reader

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def _open(self) -> None:
        self.pcscd = self._parts.enter_context(Pcscd(self.folder / "pcscd", ["Vitale", "CPS", "Bi-fente"]))
        # name → port; the last one is two readers with one stem
        self.readers = {
            **{self.pcscd.reader(name): self.pcscd.port_of(name) for name in ("Vitale", "CPS", "Bi-fente")},
            "Bi-fente 00 01": self.pcscd.port_of("Bi-fente") + 1,
        }
        ca = make_ca()
        (self.folder / "ca.pem").write_bytes(ca.pem)
        card = card_file(self.folder)
        card.parent.mkdir()
        save_card(issue_card(ca, Person()), card)
        for name, (holders, numbers) in VITALES.items():
            self._card(name, "tests.cards.vitale", "--holders", holders, "--nirs", numbers)
        self._card(CPS, "tests.cards.cps3", "--card", str(card), "--relaxed")
        self.other = self._parts.enter_context(OtherProgram(self.pcscd.environment))
        (self.folder / "organisation.p12").write_bytes(p12(issue_organisation(ca), _PASSPHRASE))
        server = issue_server(ca)
        self.insi = SimulatedInsi(server.pem, server.key_pem, ca.pem, record=self._record)
        self.insi.start()
        self._parts.callback(self.insi.stop)
        self._configure()
        self._start()

    def _card(self, name: str, module: str, *options: str) -> None:
        port = self.pcscd.port_of("CPS" if name == CPS else "Vitale")
        self.cards[name] = self._parts.enter_context(CardProcess(module, port, *options))

    def _configure(self) -> None:
        modules = sorted(Path("/usr/lib").glob("**/opensc-pkcs11.so"))
        assert modules, "OpenSC is missing: apt-get install opensc opensc-pkcs11"
        first, second = SITES
        write_config(
            self.folder / "config.toml",
            site=first,
            module=modules[0],
            insi=self.insi,
            anchors=self.folder / "ca.pem",
            cpx=f"call_timeout_s = {CALL_TIMEOUT_S}",
            more=f"""
[organisation]
certificates = ["{self.folder / "organisation.p12"}"]

[[origins.allowed]]
origin = "{second}"

[[software]]
name = "Accueil d'essai"
version = "1.0"
origins = ["{second}"]
[software.authorisation]
test = "SIMULATEUR-0001"

[limits]  # pages that never pause
insi_per_minute = 100000
insi_per_day = 100000
pin_windows_per_minute = 100000
""",
        )

    def _start(self) -> None:
        for name in ("runtime", "data", "state", "config-home"):
            (self.folder / name).mkdir(mode=0o700)
        passphrase = self.folder / "passphrase"
        passphrase.write_bytes(_PASSPHRASE + b"\n")
        self.environment = {
            **os.environ,
            **self.pcscd.environment,
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config-home"),
            "PYTHON": sys.executable,
        }
        self.environment.pop("DBUS_SESSION_BUS_ADDRESS", None)
        with passphrase.open("rb") as given, (self.folder / "agent.err").open("wb") as said:
            self._session = subprocess.Popen(
                in_a_session(["bash", "-c", _START, "_", str(self.folder / "config.toml")]),
                cwd=_ROOT,
                env=self.environment,
                stdin=given,
                stderr=said,
            )
        self.agent_pid = self._session.pid  # until it says its own
        self._parts.callback(self._stop)
        runtime = self.folder / "runtime" / "insi-agent"
        until(lambda: find_running(runtime) is not None or self._session.poll() is not None, "the agent listens")
        running = find_running(runtime)
        assert running, self.said()
        self.port, self.agent_pid = running.port, running.pid

    def _stop(self) -> None:
        if self._session.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.agent_pid, signal.SIGTERM)
        assert self._session.wait(60) == 0, self.said()[-4000:]

    def said(self) -> str:
        """Everything the agent wrote on stderr so far: its log."""
        return (self.folder / "agent.err").read_text(errors="replace")

    @property
    def journal(self) -> Path:
        return self.folder / "data" / "insi-agent" / "journal"

    def put(self, places: dict[str, str | None]) -> None:
        """Move cards, all at once: first those that leave, then each into its reader. Returns when all are powered."""
        self.where.update(places)
        for name in places:
            self.cards[name].tell("remove")
        for name, reader in places.items():
            if reader:
                self.cards[name].tell("insert", into=self.readers[reader])
        for name in places:
            self.cards[name].heard()
        for name, reader in places.items():
            if reader:
                assert self.cards[name].heard(), f"pcscd did not power {name} in {reader}"

    def workers(self) -> list[int]:
        """The processes that drive the PKCS#11 module now."""
        return [pid for pid, role in self.children().items() if role == "pkcs11"]

    def children(self) -> dict[int, str]:
        """The agent's children: number to role."""
        return dict(_children(self.agent_pid))


def _children(pid: int) -> Iterator[tuple[int, str]]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    yield int(child), _role(Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")[:-1])


def _role(command: list[str]) -> str:
    return command[-1] if command[-2:-1] == ["_child"] else command[0] if command else "zombie"
