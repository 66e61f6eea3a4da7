"""The chain of the trace: what an entry is, how it is linked, where a chain is broken. No I/O of its own.

A link covers the digests of an entry's parts, never the parts: retention may erase a personal part and
every link still holds. Each link is signed, in its entry and, as another word, in the head that is kept apart:
without the key nobody recomputes a chain, nor makes a head of a row; a tail that was cut off is missed.

What left by rule is told in the chain, signed: an erasure says up to where personal parts were erased, a checkpoint
which entries left; both tell for ever of a fault whose trace they take along. A part that is erased behind no
erasure, and a chain that starts behind no checkpoint, are faults.

What a chain cannot show: entries and all heads replaced together by older ones, or anything done with the key.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from agent.journal.sealing import SCHEME, SCHEME_NONE, is_sealed

GENESIS = "0" * 64  # what the first entry links to
# What is signed begins with words that say what it is: a row of the file never makes a head.
_ENTRY, _HEAD = b"insi-agent journal entry ", b"insi-agent journal newest "
_FORMER = b"insi-agent journal head "  # of both, as version 1 of the file signed them


class Kind(StrEnum):
    """What an entry records."""

    INTENT = "intent"  # an attempt is about to be sent
    OUTCOME = "outcome"  # what came back
    RESULT = "result"  # what the page got
    SWITCH = "switch"  # the person left this environment or profile for another, or came to it
    HEAD_LOST = "headLost"  # at opening no head, or not the last entry, was ours: a tail may have been cut before here
    ERASURE = "erasure"  # personal parts up to an entry were erased, by rule
    CHECKPOINT = "checkpoint"  # whole entries up to one left, by rule; the chain goes on behind them


@dataclass(frozen=True)
class Entry:
    """One line of the journal. Times are RFC 3339 UTC, digests lower-case hexadecimal SHA-256."""

    seq: int  # from 1
    at: str
    kind: str
    trace_id: str
    attempt: int  # from 1; 0 where it concerns the whole trace
    origin: str
    client_ref: str | None  # what stands for the page's own reference (sealing.py)
    clear: bytes  # canonical JSON, technical: never a person's data, nor a digest from which it could be guessed
    clear_sha256: str
    personal: bytes | None = field(repr=False)  # as stored; None: never there, or erased
    personal_sha256: str | None
    personal_scheme: str | None  # how `personal` is protected
    personal_key: str | None  # and with which key
    erased_at: str | None
    previous: str
    link: str
    signature: bytes = field(repr=False)  # of `signed_bytes`, in version 1 in other words

    @property
    def is_erased(self) -> bool:
        """Whether it had a personal part, which is no more."""
        return self.personal is None and self.personal_sha256 is not None


@dataclass(frozen=True)
class Head:
    """The last link of the chain, signed and kept apart."""

    seq: int
    link: str
    at: str
    signature: bytes = field(repr=False)


class FaultKind(StrEnum):
    """What is wrong with a chain, at the entry the fault names."""

    CHANGED = "changed"  # the entry is not what its link says
    PART_CHANGED = "partChanged"  # a part is not what its digest says, or not what is said of it
    ERASED = "erased"  # the personal part was erased, and no erasure of ours tells of it
    MISSING = "missing"  # the entry is not there
    REORDERED = "reordered"  # an intact entry is not in its place
    FORGED = "forged"  # the entry is consistent and not signed by our key
    UNREADABLE = "unreadable"  # the store cannot give the entry
    SHORTENED = "shortened"  # the head knew this entry, the chain ends before it
    HEAD_MISSING = "headMissing"  # there is no head; the entry is the last one
    HEAD_FORGED = "headForged"  # the head is not signed by our key; the entry is the last one
    HEAD_LOST = "headLost"  # the agent once found no valid head, at this entry
    TWICE = "twice"  # an attempt that has an intent, or an outcome, already: signed while that one was not to be found
    INDEX = "index"  # the entry is whole, and an index of the file leads past it; where it cannot be told, the last one
    SCHEMA = "schema"  # the chain holds, in a file with a trigger, a view or an index that is not ours; the last entry


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    seq: int


@dataclass(frozen=True)
class Verdict:
    """How many entries hold from the start, and the first fault; what is worth a remark and is no fault."""

    entries: int
    fault: Fault | None = None
    left: int = 0  # entries that left behind a checkpoint: the chain starts after them
    clock_back: tuple[int, ...] = ()  # the first ten entries that are dated before the one before


Authentic = Callable[[bytes, bytes], bool]  # (data, signature): whether our key signed this


def unlooked(_data: bytes, _signature: bytes) -> bool:
    """For signatures that were just looked at, or are not looked at: without the key, or in passing."""
    return True


def canonical(value: object) -> bytes:
    """JSON with one way to write each value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def link_of(entry: Entry) -> str:
    """The link this entry should have."""
    return sha256(canonical([*_which(entry), entry.clear_sha256, entry.personal_sha256, entry.previous]))


def tie_of(entry: Entry) -> bytes:
    """What ties a personal part to its entry: sealed for one, it opens in no other."""
    return b"insi-agent journal part " + canonical(_which(entry))


def signed_bytes(seq: int, link: str, at: str) -> bytes:
    """What the signature of an entry covers."""
    return _ENTRY + canonical([seq, link, at])


def is_signed(seq: int, link: str, at: str, signature: bytes, authentic: Authentic) -> bool:
    """Whether our key signed this entry."""
    data = signed_bytes(seq, link, at)
    return authentic(data, signature) or authentic(_FORMER + data.removeprefix(_ENTRY), signature)


def head_bytes(seq: int, link: str, at: str) -> bytes:
    """What the signature of a head covers."""
    return _HEAD + canonical([seq, link, at])


def is_ours(head: Head, authentic: Authentic) -> bool:
    """Whether our key signed this head."""
    return authentic(head_bytes(head.seq, head.link, head.at), head.signature)


def best_head(heads: Iterable[Head], authentic: Authentic) -> Head | None:
    """The last of those that our key signed; without any, the last of all."""
    return max(heads, key=lambda head: (is_ours(head, authentic), head.seq), default=None)


def of_version_1(authentic: Authentic) -> Authentic:
    """For a file of version 1: its heads may say they are heads in the former words too."""

    def either(data: bytes, signature: bytes) -> bool:
        said = data.removeprefix(_HEAD)
        return authentic(data, signature) or (said != data and authentic(_FORMER + said, signature))

    return either


def signed_at(signed: bytes) -> datetime | None:
    """When the link in what an entry or a head signs was made, as it says; None where it says nothing readable."""
    for words in (_ENTRY, _HEAD, _FORMER):
        signed = signed.removeprefix(words)
    try:
        at = datetime.fromisoformat(json.loads(signed)[2])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return at if at.tzinfo else None


@dataclass(frozen=True)
class Start:
    """What the first entry that is here follows: nothing, or the last one that left behind a checkpoint."""

    seq: int = 0
    link: str = GENESIS


@dataclass(frozen=True)
class Erased:
    """What an erasure says of the chain before it."""

    through: int = 0  # up to here personal parts were erased by rule
    found: Fault | None = None  # the first of them that was not as it was written, when it was erased


def intact(entry: Entry, authentic: Authentic) -> bool:
    """Whether this entry, alone, is as our key signed it, parts included."""
    return _unfit_part(entry) is None and entry.link == link_of(entry) and _signed(entry, authentic)


def said_by(entry: Entry, authentic: Authentic) -> dict[str, Any]:
    """What an erasure or a checkpoint says; nothing where our key did not sign it."""
    try:
        value = json.loads(entry.clear) if intact(entry, authentic) else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def erased_by(erasure: Entry, authentic: Authentic) -> Erased | None:
    """What an erasure says; None where it is none, or not ours."""
    said = said_by(erasure, authentic)
    through, found = said.get("through"), said.get("found")
    if not isinstance(through, int) or through >= erasure.seq:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("seq"), int) or found.get("kind") not in list(FaultKind):
        return Erased(through)
    return Erased(through, Fault(FaultKind(found["kind"]), found["seq"]))


def verify(entries: Iterable[Entry], head: Head | None, authentic: Authentic, known: Head | None = None) -> Verdict:
    """The first fault of a chain, each of whose signatures is looked at, against its head.

    `known`: a head that is remembered elsewhere, and counts where our key signed it. `entries` is read again where an
    erased part must be located.
    """
    heads = [one for one in (head, known) if one and is_ours(one, authentic)]
    at_heads = {0: GENESIS}  # the links of the entries that they name
    last: Entry | None = None
    noted = _Noted()
    count = 0
    for entry in entries:
        if last is None and entry.seq > 1:
            noted.start = Start(entry.seq - 1, entry.previous)  # a checkpoint, later, must say the same
        fault = _fault(entry, last, noted.start, authentic)
        if fault:
            return noted.verdict(count, fault)
        noted.note(entry, last)
        if any(one.seq == entry.seq for one in heads):
            at_heads[entry.seq] = entry.link
        last, count = entry, count + 1
    end = last.seq if last else 0
    if last is None:
        head = head or known
    if head and head.seq == 0 and end > 1:  # the one before the first entry: behind the second, it is none
        head = None
    if any(one.seq > end for one in heads):  # said first: what justifies the rest may have been in the tail
        return noted.verdict(count, Fault(FaultKind.SHORTENED, end + 1))
    if noted.start.seq and noted.left is None:
        return noted.verdict(0, Fault(FaultKind.MISSING, noted.should_start))
    if noted.found:
        return noted.verdict(count, noted.found)
    if noted.erased > noted.erasable:
        seq = next((entry.seq for entry in entries if entry.is_erased and entry.seq > noted.erasable), noted.erased)
        return noted.verdict(count, Fault(FaultKind.ERASED, seq))
    if head is None and last:
        return noted.verdict(count, Fault(FaultKind.HEAD_MISSING, end))
    if head and head not in heads:
        return noted.verdict(count, Fault(FaultKind.HEAD_FORGED, end or 1))
    for one in heads:
        if at_heads.get(one.seq) != one.link and (one is head or one.seq > noted.start.seq):  # else its entry left
            return noted.verdict(count, Fault(FaultKind.CHANGED, one.seq))
    return noted.verdict(count, noted.lost)


def fault_among(entries: Iterable[Entry], start: Start, erased: Erased, authentic: Authentic) -> Fault | None:
    """The first fault of the first entries of a chain, which leave: they are looked at for the last time."""
    last: Entry | None = None
    for entry in entries:
        if fault := _fault(entry, last, start, authentic):
            return fault
        if erased.found and erased.found.seq == entry.seq:
            return erased.found
        if entry.is_erased and entry.seq > erased.through:
            return Fault(FaultKind.ERASED, entry.seq)
        last = entry
    return None


def fault_of_parts(entries: Iterable[Entry], erased: Erased) -> Fault | None:
    """The first part that is not as it was written, of entries that follow what was erased by rule.

    Once their parts are erased by rule too, nothing shows it any more but the erasure, which tells of it.
    """
    for entry in entries:
        if fault := _unfit_part(entry):
            return fault
        if entry.is_erased and entry.seq > erased.through:
            return Fault(FaultKind.ERASED, entry.seq)
    return None


@dataclass
class _Noted:
    """What one reading of a chain remembers, however long the chain is."""

    start: Start = Start()
    left: int | None = None  # as the checkpoint says behind which the chain starts; None: there is none
    should_start: int = 1
    lost: Fault | None = None  # the head, once
    erased: int = 0  # the last entry whose personal part was erased
    erasable: int = 0  # the last one whose part was erased by rule
    found: Fault | None = None  # as the erasures say
    clock_back: tuple[int, ...] = ()

    def note(self, entry: Entry, last: Entry | None) -> None:
        """`entry` is as our key signed it."""
        if entry.is_erased:
            self.erased = entry.seq
        if entry.kind == Kind.HEAD_LOST:
            self._lose(entry.seq)
        elif entry.kind == Kind.ERASURE:
            if erased := erased_by(entry, unlooked):
                self.erasable, self.found = max(self.erasable, erased.through), self.found or erased.found
        elif entry.kind == Kind.CHECKPOINT:
            self._begin(said_by(entry, unlooked))
        if last and len(self.clock_back) < _REMARKS and went_back(last.at, entry.at):
            self.clock_back = (*self.clock_back, entry.seq)

    def _begin(self, checkpoint: dict[str, Any]) -> None:
        """Remember the checkpoint behind which this chain starts, or should."""
        through, left, lost = (checkpoint.get(name) for name in ("through", "entries", "headLost"))
        if not isinstance(through, int) or through > self.start.seq:
            return
        self.should_start = max(self.should_start, through + 1)
        if Start(through, str(checkpoint.get("link"))) == self.start:
            self.left = left if isinstance(left, int) else through
            if isinstance(lost, int):
                self._lose(lost)

    def _lose(self, seq: int) -> None:
        """The head was lost at this entry: the first time is told."""
        if self.lost is None or seq < self.lost.seq:
            self.lost = Fault(FaultKind.HEAD_LOST, seq)

    def verdict(self, entries: int, fault: Fault | None) -> Verdict:
        return Verdict(entries, fault, self.left or 0, self.clock_back)


def went_back(before: str, at: str) -> bool:
    """Whether the clock was set back between two entries.

    A call's moment is taken before its turn to be written: seconds tell nothing.
    """
    if at >= before:
        return False
    try:
        return datetime.fromisoformat(before) - datetime.fromisoformat(at) > _CLOCK_SLACK
    except (ValueError, TypeError):
        return True


_REMARKS = 10
_CLOCK_SLACK = timedelta(minutes=1)  # [choice]


def _fault(entry: Entry, last: Entry | None, start: Start, authentic: Authentic) -> Fault | None:
    """What is wrong with `entry` after `last`; without one, after the start."""
    after = Start(last.seq, last.link) if last else start
    if entry.seq <= after.seq:
        return Fault(FaultKind.REORDERED, entry.seq)
    if entry.seq > after.seq + 1:
        return Fault(FaultKind.MISSING, after.seq + 1)
    if entry.link != link_of(entry):
        return Fault(FaultKind.REORDERED if _intact_elsewhere(entry, authentic) else FaultKind.CHANGED, entry.seq)
    if not _signed(entry, authentic):
        return Fault(FaultKind.FORGED, entry.seq)
    if entry.previous != after.link:
        return Fault(FaultKind.CHANGED, entry.seq)
    return _unfit_part(entry)


def _unfit_part(entry: Entry) -> Fault | None:
    """A part that is not what its digest says, or not what is said of it."""
    if entry.clear_sha256 == sha256(entry.clear) and _fits(entry):
        return None
    return Fault(FaultKind.PART_CHANGED, entry.seq)


def _fits(entry: Entry) -> bool:
    """Whether the personal part is what stands beside it. With which key it was sealed is a hint: no key, no proof."""
    if entry.personal is None:
        return (entry.personal_sha256 is None) == (entry.erased_at is None)
    scheme = SCHEME if is_sealed(entry.personal) else SCHEME_NONE
    digest = sha256(entry.personal)
    return (entry.personal_sha256, entry.personal_scheme, entry.erased_at) == (digest, scheme, None)


def _which(entry: Entry) -> list[object]:
    """The members that say which entry it is."""
    return [entry.seq, entry.at, entry.kind, entry.trace_id, entry.attempt, entry.origin, entry.client_ref]


def _signed(entry: Entry, authentic: Authentic) -> bool:
    return is_signed(entry.seq, entry.link, entry.at, entry.signature, authentic)


_FAR = 1_000  # entries; how far away we look for the place an entry was moved from


def _intact_elsewhere(entry: Entry, authentic: Authentic) -> bool:
    """Whether the entry is one of ours, under another number."""
    for seq in range(max(1, entry.seq - _FAR), entry.seq + _FAR):
        moved = replace(entry, seq=seq)
        if link_of(moved) == entry.link:
            return _signed(moved, authentic)
    return False
