"""Whether a native library may be loaded: nobody else can replace it, and it is made for this process. ★ (file facts)

What an administrator's settings name besides, certificates and descriptions, is looked at in the same way.

An absolute path; a regular file behind its links; the file and every folder above it belong to an
administrator or to ourselves, and nobody else writes there; below a sticky folder (/tmp) nobody can replace
what belongs to us. "Ourselves" because who runs the agent could replace the agent as well; on a managed
install administrators alone.
On Windows the standard library reads no access lists: there the file must lie below the system's or the
programs' folder, which only administrators change (untested on real Windows).

Headers: ELF (gABI, "ELF Header"), PE (Microsoft "PE Format", COFF header), Mach-O (loader.h, fat.h).
"""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import AgentError, Code

ROOT = (0,)

_HEADER_BYTES = 4096
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ADMINISTRATORS = {80} if sys.platform == "darwin" else set()  # macOS: group "admin", Homebrew writes for it

_ELF = {3: "x86", 40: "arm", 62: "x86-64", 183: "arm64"}
_PE = {0x014C: "x86", 0x01C4: "arm", 0x8664: "x86-64", 0xAA64: "arm64"}
_MACH_O = {7: "x86", 0x0100_0007: "x86-64", 0x0100_000C: "arm64"}
_MACH_O_ORDER = {"feedface": "big", "feedfacf": "big", "cefaedfe": "little", "cffaedfe": "little"}


def check_library(path: Path, *, owners: tuple[int, ...] | None = None) -> Path:
    """The real file behind `path`, checked: load it by this very path, no link is followed again.

    `owners`: user numbers that may own it and its folders, `ROOT` on a managed install; None: root and ourselves.
    Raises module.missing (fact tried), module.unsafe (facts path, why), module.bitness (facts path, found, wanted).
    """
    if not path.is_absolute():  # a bare name would be searched for in folders that others may write to
        raise _unsafe(path, "not an absolute path")
    try:
        real = path.resolve(strict=True)
        if not real.is_file():
            raise _unsafe(real, "not a regular file")
        if why := replaceable(path, owners=owners):
            raise _unsafe(real, why)
        with real.open("rb") as file:
            found = machines(file.read(_HEADER_BYTES))
    except FileNotFoundError:
        raise AgentError(Code.MODULE_MISSING, tried=[str(path)]) from None
    except (OSError, RuntimeError) as error:  # no right to look, a loop of links
        raise _unsafe(path, type(error).__name__) from None
    wanted = this_process()
    if not found & wanted:
        raise AgentError(
            Code.MODULE_BITNESS,
            f"{path.name}: {_words(found)}, not {_words(wanted)}",
            path=str(path),
            found=_words(found),
            wanted=_words(wanted),
        )
    return real


def this_process() -> frozenset[str]:
    """What a library must be made for, read from the program that runs us: "ELF x86-64"."""
    with Path(sys.executable).open("rb") as file:
        return machines(file.read(_HEADER_BYTES))


def machines(header: bytes) -> frozenset[str]:
    """What a library or program is made for, from its first bytes; several for a universal Mach-O, none if unknown."""

    def number(at: int, size: int, order: str = "little") -> int:
        return int.from_bytes(header[at : at + size], "big" if order == "big" else "little")

    if header[:4] == b"\x7fELF":
        return _named("ELF", _ELF, number(18, 2, "big" if header[5:6] == b"\2" else "little"))
    if header[:2] == b"MZ":
        at = number(0x3C, 4)
        return _named("PE", _PE, number(at + 4, 2)) if header[at : at + 4] == b"PE\0\0" else frozenset()
    if order := _MACH_O_ORDER.get(header[:4].hex()):
        return _named("Mach-O", _MACH_O, number(4, 4, order))
    if header[:4].hex() == "cafebabe":  # several in one file; a Java class has its version, 45 or more, at this place
        count = number(4, 4, "big")
        rows = range(8, 8 + 20 * count, 20) if count < 45 else ()
        return frozenset().union(*(_named("Mach-O", _MACH_O, number(at, 4, "big")) for at in rows))
    return frozenset()


def _named(kind: str, known: dict[int, str], machine: int) -> frozenset[str]:
    return frozenset({f"{kind} {known.get(machine, hex(machine))}"})


def _words(machines: frozenset[str]) -> str:
    return ", ".join(sorted(machines)) or "unknown"


def replaceable(path: Path, *, owners: tuple[int, ...] | None = None, protected: Sequence[Path] = ()) -> str | None:
    """How somebody else could replace what is at this absolute path, file or folder; None: nobody can.

    `owners` as for `check_library`; `protected`: further folders that only administrators change, where the standard
    library reads no access lists. Raises OSError, RuntimeError for what cannot be looked at.
    """
    real = path.resolve(strict=True)
    if sys.platform == "win32":
        safe = any(real.is_relative_to(folder) for folder in (*_protected_folders(), *protected))
        return None if safe else "outside the system's and the programs' folders"
    owners = owners if owners is not None else (*ROOT, os.geteuid())
    for place in (real, *real.parents, *path.parents):  # who may change a link decides too
        about = place.stat()
        if about.st_uid not in owners:
            return f"{place} belongs to user {about.st_uid}"
        others = about.st_mode & _OTHERS_WRITE if not about.st_mode & stat.S_ISVTX else 0
        if others and (others, about.st_gid in _ADMINISTRATORS) != (stat.S_IWGRP, True):
            return f"others may write to {place}"
    return None


def _protected_folders() -> list[Path]:
    names = ("SYSTEMROOT", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432")
    return [Path(folder) for name in names if (folder := os.environ.get(name))]


def _unsafe(path: Path, why: str) -> AgentError:
    return AgentError(Code.MODULE_UNSAFE, f"{path}: {why}", path=str(path), why=why)
