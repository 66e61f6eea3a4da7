"""Where the agent keeps its files, and the two small files others read: instance-id and agent.json. ★"""

import errno
import json
import os
import secrets
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self

import platformdirs

from agent.errors import AgentError, Code

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # as the system says it

_PRODUCT = "insi-agent"


@dataclass(frozen=True)
class Places:
    """The folders of one agent. All local to this machine: none roams with a profile."""

    data: Path  # what an installation is: instance-id, its lock, and files of the simulator's secrets
    state: Path
    runtime: Path  # agent.json while it runs
    journal: Path
    log: Path

    @property
    def noted_head(self) -> Path:
        """What is remembered of the journal outside its own folder."""
        return self.data / "journal-head.json"

    @classmethod
    def real(cls, journal: Path | None = None) -> Self:
        """The user's own; `journal` is the setting of that name."""
        dirs = platformdirs.PlatformDirs(_PRODUCT, appauthor=False, roaming=False)
        return cls(
            data=dirs.user_data_path,
            state=dirs.user_state_path,
            # Without a session's own runtime folder, platformdirs names one below /tmp, where anybody may come first.
            runtime=dirs.user_state_path / "run" if _no_runtime_folder() else dirs.user_runtime_path,
            journal=journal or dirs.user_data_path / "journal",
            log=dirs.user_log_path,
        )

    @classmethod
    def simulated(cls, under: Path | None = None) -> Self:
        """The simulator's: one folder, nothing of it real. `under` replaces the user's state folder."""
        base = (under or platformdirs.user_state_path(_PRODUCT, appauthor=False)) / "simulator"
        return cls(**{place.name: base / place.name for place in fields(cls)})

    def create(self) -> Self:
        """Make the folders, readable by this user alone. Raises config.invalid for one that is somebody else's."""
        for place in fields(self):
            private_folder(getattr(self, place.name))
        return self


def private_folder(folder: Path) -> None:
    """Make `folder` 0700. Raises config.invalid when it cannot be, or when it is not ours."""
    with _door(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "win32":
            return  # a user's profile is closed to other users
        found = folder.lstat()
        # A journal.directory may be below a shared folder, where anyone could have made it before us.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise AgentError(Code.CONFIG_INVALID, "a folder of the agent belongs to somebody else", setting=str(folder))
        folder.chmod(0o700)


def instance_id(folder: Path) -> str:
    """This installation's UUID, made at the first call and kept. Raises config.invalid when it cannot be kept."""
    file = folder / "instance-id"
    with _door(file):
        try:
            return str(uuid.UUID(file.read_text(encoding="ascii").strip()))
        except (FileNotFoundError, ValueError):
            made = str(uuid.uuid4())
    write_private(file, f"{made}\n".encode())
    return made


@dataclass(frozen=True)
class Running:
    """What a native client of the same user needs to reach the running agent."""

    port: int
    token: str = field(repr=False)
    pid: int


def announce(runtime: Path, port: int) -> Running:
    """Write agent.json for this process, with a new token; the file is this user's alone. Raises config.invalid."""
    running = Running(port, secrets.token_urlsafe(32), os.getpid())
    write_private(_agent_json(runtime), json.dumps(vars(running)).encode())
    return running


def claim(data: Path) -> Callable[[], None]:
    """Be the only agent of this installation until the function returned is called, or until we die, however.

    In the data folder: where the runtime folder is depends on the environment, and a lock must not.
    Raises agent.running when another one is, config.invalid when the folder cannot be written.
    """
    descriptor = _lock_file(data / "agent.lock")
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise AgentError(Code.AGENT_RUNNING) from None
    return partial(os.close, descriptor)


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """One program in here at a time; others wait for their turn. Raises config.invalid where that cannot be."""
    descriptor = _lock_file(file)
    try:
        with _door(file):
            _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def find_running(runtime: Path) -> Running | None:
    """What agent.json says; None without one, or with one that is not whole. The agent may have died since."""
    try:
        found = json.loads(_agent_json(runtime).read_bytes())
        return Running(int(found["port"]), str(found["token"]), int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def withdraw(runtime: Path, running: Running) -> None:
    """Remove agent.json unless another agent has written its own since."""
    if find_running(runtime) == running:
        _agent_json(runtime).unlink(missing_ok=True)


def write_private(file: Path, data: bytes, *, group: int | None = None) -> None:
    """Replace `file` in one step, on the disk when this returns; only this user reads it.

    `group`: only root writes it and this group reads it, where there are such groups. Raises config.invalid when it
    cannot be written.
    """
    new = file.with_name(f"{file.name}.new")
    with _door(file):
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            if sys.platform != "win32" and group is not None:
                os.fchown(stream.fileno(), 0, group)
                os.fchmod(stream.fileno(), 0o640)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
        keep_names(file.parent)


def write_public(file: Path, data: bytes) -> None:
    """Replace `file` in one step, for every user to read: who is killed here leaves the old one, or the new one.

    Folders are made. Raises OSError.
    """
    file = file.resolve()  # a link stays one
    for folder in reversed([one for one in file.parents if not one.exists()]):
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask
    # in a folder of its own: others read every file of the folder that this one goes to
    with tempfile.TemporaryDirectory(prefix=".insi-agent-", dir=file.parent) as private:
        new = Path(private) / file.name
        with new.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        new.chmod(0o644)
        new.replace(file)


def keep_names(folder: Path) -> None:
    """Have on the disk what a rename in this folder has done: a power cut undoes it else. Raises OSError.

    Nothing on Windows, where a folder cannot be flushed.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(descriptor)


def set_aside(file: Path, at: datetime) -> Path:
    """Rename this file or folder, if there is one, after this date; its new name. Raises config.invalid."""
    aside = file.with_name(f"{file.name}.lost-{at:%Y%m%d-%H%M%S}")
    with _door(file), suppress(FileNotFoundError):
        file.rename(aside)
        keep_names(file.parent)
    return aside


@contextmanager
def _door(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AgentError(Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(path)) from None


def _lock_file(file: Path) -> int:
    with _door(file):
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(descriptor: int, *, wait: bool = False) -> None:
    """Raises OSError when somebody holds it. The Windows way is written from the documents, untested."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # waits for ten seconds
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _no_runtime_folder() -> bool:
    return sys.platform not in {"win32", "darwin"} and not os.environ.get("XDG_RUNTIME_DIR")


def _agent_json(runtime: Path) -> Path:
    return runtime / "agent.json"
