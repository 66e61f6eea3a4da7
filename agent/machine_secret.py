"""The machine's secret, enrolled by an administrator: accounts without a keyring seal theirs under it. ★ (a file)

A text beside the machine's configuration: a line that names the format, then a line per generation, the newest first,
32 random bytes in hexadecimal. It is root's, and of one group that reads it (0640) [choice]. On Windows the text is
protected for this machine (`dpapi.py`), where every account may open it: who may reach the file decides there.

It is believed only as an administrator left it: a secret that others could read, or put there, protects nothing.
Not so on Windows, where nothing is examined: any account may make a folder below ProgramData and own it, so an
administrator must have made this one first, and closed it.

A generation that was read stays one that opens what it sealed, wherever a copy is: the keys in it must be rotated too.
None is ever taken away, because nobody knows whose secrets still depend on it.
"""

import hashlib
import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes

from agent.config import machine_folder
from agent.errors import AgentError, Code
from agent.native import ROOT, replaceable
from agent.places import one_at_a_time, write_private

SECRET_BYTES = 32

_FORMAT = "insi-agent machine-secret 1"
_MAX_BYTES = 16 << 10  # some 250 generations; on Windows protected ones
_GROUP = "insi-agent"
_TOO_OPEN = stat.S_IWGRP | stat.S_IRWXO
_NO_FOLLOWING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class Generation:
    """One secret of the machine. `id` is public: it tells which, and nothing of it."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"insi-agent machine secret " + self.secret).hexdigest()[:16]


@dataclass(frozen=True)
class Enrolled:
    """What may be told of a machine's secret."""

    generations: tuple[str, ...]  # ids, the newest first
    group: str | None  # whose accounts read it; None on Windows
    mode: int


def secret_file() -> Path:
    return machine_folder().parent / "machine-secret"


def generations(file: Path) -> list[Generation]:
    """The secrets of this machine, the newest first.

    Raises keyring.absent {reason} where there is none, where this account may not read it, and where it is not as an
    administrator would leave it.
    """
    return _read(file)[0]


def told(file: Path) -> Enrolled:
    """Raises as `generations`."""
    return _told(*_read(file))


def enrol(file: Path, *, group: str | None, rotate: bool) -> Enrolled:
    """Make the machine's secret where there is none, or with `rotate` a new generation before the others.

    Enrolled again, it stays. `group`: whose accounts may read it; None: as it is, else `insi-agent`. Killed at any
    instant, the old file or the new one is there. Raises config.invalid {setting, reason}; keyring.absent as
    `generations`, which `rotate` mends where the rights alone are wrong.
    """
    _check_administrator()
    _make_folder(file.parent)
    with one_at_a_time(file.with_name(f"{file.name}.lock")):
        if os.path.lexists(file):
            known, about = _read(file, whatever_rights=rotate)
        else:
            _check_folder(file.parent)
            known, about = [], None
        gid = None if sys.platform == "win32" else _gid(group, about)
        if rotate or not known:
            known = [Generation(token_bytes(SECRET_BYTES)), *known]
        _write(file, known, gid)
        return told(file)


# ---------------------------------------------------------------- the text


def to_text(known: Sequence[Generation]) -> bytes:
    return "".join(f"{line}\n" for line in (_FORMAT, *(one.secret.hex() for one in known))).encode()


def from_text(text: bytes) -> list[Generation]:
    """What `to_text` was given. Raises ValueError for anything else."""
    first, *lines = text.decode("ascii").split("\n")
    if first != _FORMAT or len(lines) < 2 or lines.pop() != "":
        raise ValueError("not a machine's secret, or cut off")
    if not all(re.fullmatch(rf"[0-9a-f]{{{2 * SECRET_BYTES}}}", line) for line in lines):
        raise ValueError(f"a generation is not {SECRET_BYTES} bytes")
    return [Generation(bytes.fromhex(line)) for line in lines]


# ---------------------------------------------------------------- the file


def _read(file: Path, *, whatever_rights: bool = False) -> tuple[list[Generation], os.stat_result]:
    try:
        _check_folder(file.parent)
        with os.fdopen(os.open(file, os.O_RDONLY | _NO_FOLLOWING), "rb") as stream:
            about = os.fstat(stream.fileno())
            _check_rights(about, whatever_rights=whatever_rights)
            content = stream.read(_MAX_BYTES)
    except FileNotFoundError:
        raise _refused("no machine secret", "aucun secret de la machine n'est enrôlé") from None
    except PermissionError:
        raise _refused("not readable", "ce compte n'est pas du groupe qui peut lire le secret de la machine") from None
    except (OSError, RuntimeError) as error:  # a link, above all
        raise _refused(f"{type(error).__name__}: {error}", _NO_FILE) from None
    try:
        return from_text(_unprotected(content)), about
    except (OSError, ValueError) as error:
        detail = type(error).__name__ if isinstance(error, UnicodeDecodeError) else str(error)
        raise _refused(detail, "le secret de la machine est illisible : le remettre d'une sauvegarde") from None


def _make_folder(folder: Path) -> None:
    try:
        for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            missing.mkdir(exist_ok=True)  # another administrator may enrol at this moment
            missing.chmod(0o755)  # whatever the umask: accounts read their configuration there as well
    except OSError as error:
        raise _not_written(folder, f"errno {error.errno}") from None


def _check_folder(folder: Path) -> None:
    # Windows: the folder is taken at its word, because the standard library reads no access lists
    if why := replaceable(folder, owners=ROOT, protected=[folder]):
        raise _refused(why, "un autre compte que l'administrateur peut remplacer le secret de la machine")


_NO_FILE = "à la place du secret de la machine il y a autre chose qu'un fichier"


def _check_rights(about: os.stat_result, *, whatever_rights: bool) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise _refused("not a regular file", _NO_FILE)
    if sys.platform == "win32":
        return  # the folder decides: the standard library reads no access lists
    if about.st_uid not in ROOT:
        raise _refused(f"of user {about.st_uid}", "le secret de la machine n'appartient pas à l'administrateur")
    if about.st_mode & _TOO_OPEN and not whatever_rights:
        reason = (
            "d'autres comptes ont pu lire ou changer le secret de la machine : « enrol --machine --rotate », "
            "puis dans chaque compte « identity rotate » et « journal rotate-key »"
        )
        raise _refused(f"mode {stat.S_IMODE(about.st_mode):o}", reason)


def _write(file: Path, known: Sequence[Generation], gid: int | None) -> None:
    """On the disk, with its name: accounts seal under it from now on, perhaps on another disk."""
    try:
        content = _protected(to_text(known))
    except OSError as error:
        raise _not_written(file, f"errno {error.errno}") from None
    if len(content) > _MAX_BYTES:
        raise AgentError(Code.CONFIG_INVALID, "too many generations", setting="--rotate", reason=_TOO_MANY)
    try:
        write_private(file, content, group=gid)
    except AgentError as error:
        raise _not_written(file, error.detail) from None


_TOO_MANY = "trop de générations : des comptes peuvent dépendre de chacune, aucune n'a été retirée"


def _told(known: Sequence[Generation], about: os.stat_result) -> Enrolled:
    mode = stat.S_IMODE(about.st_mode)
    return Enrolled(tuple(one.id for one in known), _group_name(about.st_gid), mode)


def _check_administrator() -> None:
    from agent import dpapi

    if not (dpapi.is_administrator() if sys.platform == "win32" else os.geteuid() == 0):
        raise AgentError(
            Code.CONFIG_INVALID, "not root", setting="--machine", reason="c'est à un administrateur de l'enrôler"
        )


def _gid(group: str | None, about: os.stat_result | None) -> int:
    """Raises config.invalid for a group that does not exist."""
    if group is None and about is not None:
        return about.st_gid
    if sys.platform == "win32":
        return 0
    import grp

    try:
        return grp.getgrnam(group or _GROUP).gr_gid
    except KeyError:
        reason = f"il n'y a pas de groupe « {group or _GROUP} » : nommer celui des comptes qui se servent de l'agent"
        raise AgentError(Code.CONFIG_INVALID, "no such group", setting="--group", reason=reason) from None


def _group_name(gid: int) -> str | None:
    if sys.platform == "win32":
        return None
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _protected(text: bytes) -> bytes:
    from agent import dpapi

    return dpapi.protect(text) if sys.platform == "win32" else text


def _unprotected(content: bytes) -> bytes:
    from agent import dpapi

    return dpapi.unprotect(content) if sys.platform == "win32" else content


def _refused(detail: str, reason: str) -> AgentError:
    return AgentError(Code.KEYRING_ABSENT, f"machine secret: {detail}", reason=reason)


def _not_written(file: Path, detail: str) -> AgentError:
    return AgentError(Code.CONFIG_INVALID, detail, setting=str(file), reason="écriture impossible")
