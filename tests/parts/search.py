"""Looks for secrets wherever a program may leave one: files and archives, environments, arguments, memory."""

import os
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path

_CHUNK = 1 << 20
_NIR_GROUPS = (1, 2, 2, 2, 3, 3, 2)
_BLANKS = (" ", ".", "-", "\u00a0", "\u202f")


class Search:
    """For these secrets, in every form in which one may hide. What is found says where, which and how."""

    def __init__(self, **secrets: str) -> None:
        self._forms = {form: f"{name} as {how}" for name, secret in secrets.items() for how, form in _forms(secret)}
        self._longest = max(map(len, self._forms))

    def within(self, data: bytes) -> set[str]:
        if data.count(0) == len(data):  # most of a process's memory was never written to
            return set()
        return {said for form, said in self._forms.items() if form in data}

    def file(self, file: Path) -> set[str]:
        """In its name, its bytes and, of a zip, in every member."""
        data = file.read_bytes()
        found = self.within(os.fsencode(file)) | self.within(data)
        if data.startswith(b"PK\3\4"):
            with zipfile.ZipFile(file) as archive:
                for member in archive.namelist():
                    found |= self.within(member.encode()) | self.within(archive.read(member))
        return {f"{file}: {what}" for what in found}

    def written(self, *folders: Path, since: float) -> set[str]:
        """In every regular file that is one of these or below, written or renamed since then."""
        found: set[str] = set()
        for file in {one for folder in folders for one in _files(folder)}:
            with suppress(FileNotFoundError):  # gone meanwhile: a temporary one of another program
                seen = file.stat()
                if max(seen.st_mtime, seen.st_ctime) >= since:
                    found |= self.file(file)
        return found

    def process(self, pid: int) -> set[str]:
        """In its environment as it was given, and in its command line."""
        found: set[str] = set()
        for place in ("environ", "cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                data = Path(f"/proc/{pid}/{place}").read_bytes()
                found |= {f"{place} of {pid}: {what}" for what in self.within(data)}
        return found

    def memory(self, pid: int) -> set[str]:
        """In everything it can write to. Asks for root: the agent closes its memory even to its own user."""
        found: set[str] = set()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for begin, end in _writable(pid):
                for at in range(begin, end, _CHUNK - self._longest):
                    with suppress(OSError):  # a mapping that cannot be read, or is gone
                        memory.seek(at)
                        found |= self.within(memory.read(min(_CHUNK, end - at)))
        return {f"memory of {pid}: {what}" for what in found}


def family(pid: int) -> dict[int, list[str]]:
    """This process and all its descendants now: number to command line."""
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= family(int(child))
    return found


def _forms(secret: str) -> Iterator[tuple[str, bytes]]:
    raw = secret.encode()
    yield "small letters", secret.lower().encode()
    yield "text", raw
    yield "UTF-16LE", secret.encode("utf-16-le")
    yield "UTF-16BE", secret.encode("utf-16-be")
    yield "UTF-32", secret.encode("utf-32-le")
    yield "hexadecimal", raw.hex().encode()
    for before in range(3):  # what stands before it shifts its letters; the first and the last are shared
        letters = b64encode(bytes(before) + raw)
        yield "base64", letters[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
    if secret.isdecimal():
        for how in (_NIR_GROUPS, (4,) * 4, (2,) * 8):
            ends = [0, *(end for end in accumulate(how) if end < len(secret)), len(secret)]
            groups = [secret[start:end] for start, end in pairwise(ends)]
            yield from (("groups", blank.join(groups).encode()) for blank in _BLANKS)


def _files(place: Path) -> Iterator[Path]:
    below = (Path(above, name) for above, _, names in os.walk(place) for name in names)
    yield from (file for file in (place, *below) if file.is_file() and not file.is_symlink())


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("rw"):
            begin, end = (int(edge, 16) for edge in span.split("-"))
            yield begin, end
