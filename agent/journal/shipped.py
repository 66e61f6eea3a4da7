"""Read the second copy of a journal, a folder that entries were shipped to, and hold it against the journal itself.

It shows what a chain alone cannot: a journal that was put back to an older state, or begun anew, with its head.
Nothing is written. What may be read here is anybody's: each line is an entry or a fault that names its file.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO

from agent.errors import AgentError, Code
from agent.journal.chain import GENESIS, Authentic, Entry, intact
from agent.journal.shipping import SUFFIX, entry_of

_LINE_BYTES = 64 << 20  # more than any entry


class ShippedFaultKind(StrEnum):
    """What is wrong, at the entry the fault names."""

    UNREADABLE = "unreadable"  # a line is no entry
    CHANGED = "changed"  # an entry is not as our key signed it, or does not follow the one before
    MISSING = "missing"  # the copy lacks the entry
    FORKED = "forked"  # the copy has two of this number, both of our key: the journal was put back and went on
    BEHIND = "behind"  # the copy has the entry, the journal ends before it
    DIFFERENT = "different"  # the journal has another entry of this number than the copy, whose is of our key


@dataclass(frozen=True)
class ShippedFault:
    kind: ShippedFaultKind
    seq: int  # of the entry; where it cannot be read, of the last one before it
    file: str  # of the copy


@dataclass(frozen=True)
class ShippedVerdict:
    """Which entries of the copy hold, and the first fault; how many of the journal are not there yet."""

    first: int
    last: int
    fault: ShippedFault | None = None
    to_come: int = 0


def folder_of(folder: Path, instance_id: str) -> Path:
    """Where in a shipped-to folder the copy of this installation is; the folder itself where it is that copy."""
    own = folder / instance_id
    return own if own.is_dir() else folder


def verify_shipped(folder: Path, authentic: Authentic, local: Iterable[Entry]) -> ShippedVerdict:
    """The first fault of the copy in `folder`, also against the entries of the journal itself, in their order.

    Entries that came twice are no fault, nor is a copy that begins later: its owner may erase the oldest files, and
    personal parts. Time and not memory grows with it. Raises journal.unavailable for a folder that cannot be read.
    """
    here = _Alongside(local)
    first, last = 0, None
    try:
        for seen in _merged(folder):
            fault = _fault(seen, last.entry if last else None, authentic) or here.fault(seen)
            if fault:
                return ShippedVerdict(first, last.entry.seq if last else 0, fault)
            first, last = first or seen.entry.seq, seen
    except _UnreadableError as error:
        fault = ShippedFault(ShippedFaultKind.UNREADABLE, last.entry.seq if last else 0, error.file)
        return ShippedVerdict(first, last.entry.seq if last else 0, fault)
    except OSError as error:
        raise AgentError(Code.JOURNAL_UNAVAILABLE, f"{type(error).__name__}: errno {error.errno}") from None
    end = last.entry.seq if last else 0
    return ShippedVerdict(first, end, to_come=here.beyond(end))


@dataclass(frozen=True)
class _Seen:
    entry: Entry
    file: str

    def __lt__(self, other: "_Seen") -> bool:
        return self.entry.seq < other.entry.seq


class _UnreadableError(Exception):
    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file


class _Alongside:
    """The journal itself, read as far as the copy is."""

    def __init__(self, local: Iterable[Entry]) -> None:
        self._rest = iter(local)
        self._now = next(self._rest, None)

    def fault(self, seen: _Seen) -> ShippedFault | None:
        """What the journal has instead. What left it behind a checkpoint is the copy's alone."""
        entry = seen.entry
        while self._now is not None and self._now.seq < entry.seq:
            self._now = next(self._rest, None)
        if self._now is None:
            return ShippedFault(ShippedFaultKind.BEHIND, entry.seq, seen.file)
        if self._now.seq == entry.seq and self._now.link != entry.link:
            return ShippedFault(ShippedFaultKind.DIFFERENT, entry.seq, seen.file)
        return None

    def beyond(self, seq: int) -> int:
        """How many entries come after this one."""
        waiting = self._now is not None and self._now.seq > seq
        return waiting + sum(1 for _ in self._rest)


def _fault(seen: _Seen, before: Entry | None, authentic: Authentic) -> ShippedFault | None:
    """What is wrong with an entry of the copy after the one before."""
    entry = seen.entry
    # a part that is not there was left out, or erased by rule, or by the copy's owner: its digest is signed
    whole = replace(entry, erased_at=entry.at) if entry.is_erased else entry
    if not intact(whole, authentic):
        return ShippedFault(ShippedFaultKind.CHANGED, entry.seq, seen.file)
    if before is not None and entry.seq == before.seq:
        return None if entry.link == before.link else ShippedFault(ShippedFaultKind.FORKED, entry.seq, seen.file)
    if before is not None and entry.seq != before.seq + 1:
        return ShippedFault(ShippedFaultKind.MISSING, before.seq + 1, seen.file)
    previous = before.link if before else GENESIS if entry.seq == 1 else entry.previous
    return None if entry.previous == previous else ShippedFault(ShippedFaultKind.CHANGED, entry.seq, seen.file)


def _merged(folder: Path) -> Iterator[_Seen]:
    """Every entry of every file in the order of their numbers; a file is open only while its entries come.

    Raises _UnreadableError for a file with a line that is none, or whose numbers go back; OSError.
    """
    files = [file for file in folder.iterdir() if file.suffix == SUFFIX]  # glob would be silent where it may not read
    waiting = sorted(((_first(file), file) for file in files), reverse=True)
    open_now: list[tuple[_Seen, int, Iterator[_Seen]]] = []
    while waiting or open_now:
        while waiting and (not open_now or waiting[-1][0] <= open_now[0][0].entry.seq):
            _push(open_now, _entries(waiting.pop()[1]), len(waiting))
        if open_now:
            seen, number, rest = heapq.heappop(open_now)
            yield seen
            _push(open_now, rest, number)


def _push(heap: list[tuple[_Seen, int, Iterator[_Seen]]], entries: Iterator[_Seen], number: int) -> None:
    if (seen := next(entries, None)) is not None:
        heapq.heappush(heap, (seen, number, entries))


def _first(file: Path) -> int:
    """The number of its first entry; 0 for a file that does not begin with one."""
    with file.open("rb") as stream:
        line = _line(stream)
    try:
        return entry_of(line).seq
    except ValueError:
        return 0


def _entries(file: Path) -> Iterator[_Seen]:
    before = 0
    with file.open("rb") as stream:
        while line := _line(stream):
            try:
                entry = entry_of(line)
            except ValueError:
                raise _UnreadableError(file.name) from None
            if entry.seq < before:
                raise _UnreadableError(file.name)
            before = entry.seq
            yield _Seen(entry, file.name)


def _line(stream: IO[bytes]) -> bytes:
    """A line, or as much of it as is enough to be no entry."""
    return stream.readline(_LINE_BYTES)


# ---------------------------------------------------------------- in words

_SAYS: dict[ShippedFaultKind, str] = {
    ShippedFaultKind.UNREADABLE: "après l'écriture {seq}, une ligne n'est pas une écriture",
    ShippedFaultKind.CHANGED: "l'écriture {seq} n'est pas telle que ce poste l'a signée",
    ShippedFaultKind.MISSING: "l'écriture {seq} manque dans la copie",
    ShippedFaultKind.FORKED: (
        "la copie a deux écritures {seq}, signées par ce poste : le journal a été remis dans un état plus ancien, "
        "ou recommencé, puis continué"
    ),
    ShippedFaultKind.BEHIND: (
        "la copie a l'écriture {seq}, le journal de ce poste s'arrête avant : il a été remis dans un état plus ancien, "
        "coupé ou supprimé"
    ),
    ShippedFaultKind.DIFFERENT: (
        "l'écriture {seq} de la copie, signée par ce poste, n'est pas celle du journal : il a été remis dans un état "
        "plus ancien, ou recommencé, puis continué"
    ),
}


def in_words(verdict: ShippedVerdict) -> str:
    """For a person."""
    if verdict.fault is not None:
        return f"Seconde copie : {_SAYS[verdict.fault.kind].format(seq=verdict.fault.seq)} ({verdict.fault.file})."
    if not verdict.last:
        return "Seconde copie : aucune écriture."
    later = f" ; {verdict.to_come} plus récentes n'y sont pas encore" if verdict.to_come else ""
    return f"Seconde copie : entière de l'écriture {verdict.first} à la {verdict.last}, conforme au journal{later}."
