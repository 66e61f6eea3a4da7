"""A real pcscd of the test's own, with vpcd readers. Nothing of the machine's own card service is touched.

pcscd has its folder compiled in (/run/pcscd), clients obey PCSCLITE_CSOCK_NAME: so each daemon runs in
a mount namespace where /run is a folder of ours, and where no driver of a USB reader is found.
"""

import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

_DRIVERS = Path("/usr/lib/pcsc/drivers")
_READY_S = 10
_SLOTS = 2  # vpcd makes two readers of one configuration entry, on two ports in a row
_OURS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Point this process at the tests' own daemon, for good: pcsc-lite reads the name once, at its first call.

    So no test ever talks to the machine's own card service, nor to a real card in it.
    """
    run = config.stash[_OURS] = _run_folder()
    os.environ["PCSCLITE_CSOCK_NAME"] = str(run / "pcscd" / "pcscd.comm")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_OURS], ignore_errors=True)


@pytest.fixture(scope="session")
def pcscd(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Pcscd"]:
    """The daemon of this process and its children, with three readers of two slots: "Vitale", "CPS" and "Bureau".

    Who kills it, or restarts it with fewer readers, restarts it: same socket, same ports. Who inserts a card
    removes it.
    """
    readers = ["Vitale", "CPS", "Bureau"]
    with Pcscd(tmp_path_factory.mktemp("pcscd"), readers, run=pytestconfig.stash[_OURS]) as service:
        yield service


class Pcscd:
    """A running pcscd; use as a context manager. Works as root and as an ordinary user.

    Each reader gets its own copy of the driver: two entries with one driver file would share their slots.
    """

    def __init__(self, folder: Path, readers: Sequence[str], *, run: Path | None = None) -> None:
        """`folder` takes configuration and log; `readers` are the names to give, each its own, at most eight.

        `run` is the daemon's /run, removed at the end.
        """
        self._folder = folder
        self._run = run or _run_folder()
        self._socket = self._run / "pcscd" / "pcscd.comm"
        self._readers = list(readers)
        self._plugged = self._readers
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {"PCSCLITE_CSOCK_NAME": str(self._socket)}

    def __enter__(self) -> "Pcscd":
        try:
            self._configure()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self._run, ignore_errors=True)

    def port_of(self, name: str) -> int:
        """Where the virtual card of this reader connects."""
        return self._ports[name]

    def reader(self, name: str, slot: int = 0) -> str:
        """The PC/SC name of this reader's slot, 0 or 1; the card of slot 1 connects one port higher."""
        assert name in self._ports
        return f"{name} 00 {slot:02}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: leaves pcscd.comm and pcscd.pid behind, as reality does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()  # pcscd refuses to start beside its own zombie

    def restart(self, readers: Sequence[str] | None = None) -> None:
        """End it if it runs, remove what it left, start it on the same ports, with these of its readers or with all.

        A reader comes or goes by a restart only: Debian's pcscd 1.9.9 takes `--hotplug` (SIGUSR1), says in its
        log that the signal came, and reads no configuration again; it rescans USB, where nothing of ours is.
        """
        self._end()
        self._plugged = self._readers if readers is None else list(readers)
        for left in ("pcscd.comm", "pcscd.pid"):
            (self._run / "pcscd" / left).unlink(missing_ok=True)
        self._start()

    def _configure(self) -> None:
        pcscd = shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        driver = next(iter(sorted(_DRIVERS.glob("**/libifdvpcd.so"))), None)
        assert pcscd, "pcscd is missing: apt-get install pcscd"
        assert driver, f"vpcd is missing: apt-get install vsmartcard-vpcd (no libifdvpcd.so below {_DRIVERS})"
        assert shutil.which("unshare") and shutil.which("setpriv"), (
            "unshare or setpriv is missing: apt-get install util-linux"
        )
        self._program = pcscd
        for name in ("conf", "no-drivers"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._run / "pcscd").mkdir(parents=True)
        for name in self._readers:
            shutil.copyfile(driver, self._driver_of(name))
            self._ports[name] = _free_ports()

    def _driver_of(self, name: str) -> Path:
        return self._folder / f"vpcd{self._readers.index(name)}.so"

    def _start(self) -> None:
        rows = [
            f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:{self._ports[name]:#x}\n'
            f"LIBPATH {self._driver_of(name)}\nCHANNELID {self._ports[name]:#x}\n"
            for name in self._plugged
        ]
        (self._folder / "conf" / "readers").write_text("\n".join(rows))
        as_root = os.geteuid() == 0
        script = (
            'mount --bind "$1" "$2" && mount --bind "$3" /run '
            '&& exec setpriv --pdeathsig KILL "$4" --foreground --config "$5"'
        )
        places = [self._folder / "no-drivers", _DRIVERS, self._run, self._program, self._folder / "conf"]
        with (self._folder / "pcscd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "-m" if as_root else "-rm", "sh", "-ec", script, "sh", *map(str, places)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wanted = {self._ports[name] + slot for name in self._plugged for slot in range(_SLOTS)}
        self._wait(lambda: self._socket.exists() and wanted <= _listening())

    def _wait(self, ready: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_S
        while not ready():
            said = (self._folder / "pcscd.log").read_text(errors="replace")[-800:]
            assert self._process.poll() is None, f"pcscd ended ({self._process.returncode}): {said}"
            assert time.monotonic() < deadline, f"pcscd is not ready after {_READY_S} s: {said}"
            time.sleep(0.01)

    def _end(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:  # a card that never answers keeps it
            self._process.kill()
            self._process.wait()


def _run_folder() -> Path:
    """Short, for a socket's name holds 107 bytes and pytest's folders are long."""
    return Path(tempfile.mkdtemp(prefix="pcscd-"))


def _free_ports() -> int:
    """A port of 20000 to 32000 (below the ephemeral ones) that is free together with the next."""
    for _ in range(200):
        port = random.randrange(20000, 32000, _SLOTS)  # noqa: S311  (a port, no secret)
        if all(_is_free(port + slot) for slot in range(_SLOTS)):
            return port
    raise AssertionError("no free port between 20000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def _listening() -> set[int]:
    """The TCP ports that somebody listens on. A connection would ask too, but it inserts a card."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"}
