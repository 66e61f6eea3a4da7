"""The chain of the trace: what an entry is, how it is linked, where a chain is broken. No I/O of its own.

A link covers the digests of an entry's parts, never the parts: retention may erase a personal part and
every link still holds. Each link is signed, in its entry and once more in the head that is kept apart:
without the key nobody recomputes a chain, and a tail that was cut off is missed.

What a chain cannot show: entries and head replaced together by older ones, or anything done with the key.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

GENESIS = "0" * 64  # what the first entry links to
_SIGNED = b"insi-agent journal head "


class Kind(StrEnum):
    """What an entry records."""

    INTENT = "intent"  # an attempt is about to be sent
    OUTCOME = "outcome"  # what came back
    RESULT = "result"  # what the page got
    SWITCH = "switch"  # the person left this environment or profile for another, or came to it
    HEAD_LOST = "headLost"  # at opening there were entries and no valid head: a tail may have been cut before here


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
    signature: bytes = field(repr=False)  # of `signed_bytes`


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
    PART_CHANGED = "partChanged"  # a part is not what its digest says
    MISSING = "missing"  # the entry is not there
    REORDERED = "reordered"  # an intact entry is not in its place
    FORGED = "forged"  # the entry is consistent and not signed by our key
    UNREADABLE = "unreadable"  # the store cannot give the entry
    SHORTENED = "shortened"  # the head knew this entry, the chain ends before it
    HEAD_MISSING = "headMissing"  # there is no head; the entry is the last one
    HEAD_FORGED = "headForged"  # the head is not signed by our key
    HEAD_LOST = "headLost"  # the agent once found no valid head, at this entry


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    seq: int


@dataclass(frozen=True)
class Verdict:
    """How many entries hold from the start, and the first fault."""

    entries: int
    fault: Fault | None = None


Authentic = Callable[[bytes, bytes], bool]  # (data, signature): whether our key signed this


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
    """What the signature of an entry and of a head covers. Its first words keep it from passing as anything else."""
    return _SIGNED + canonical([seq, link, at])


def signed_at(signed: bytes) -> datetime | None:
    """When the link in these `signed_bytes` was made, as they say; None where they say nothing readable."""
    try:
        at = datetime.fromisoformat(json.loads(signed.removeprefix(_SIGNED))[2])
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return at if at.tzinfo else None


def intact(entry: Entry, authentic: Authentic) -> bool:
    """Whether this entry, alone, is as our key signed it, parts included."""
    return _unfit_part(entry) is None and entry.link == link_of(entry) and _signed(entry, authentic)


def verify(entries: Iterable[Entry], head: Head | None, authentic: Authentic) -> Verdict:
    """The first fault of a chain against its head. `entries` is read again when one may be forged."""
    last: Entry | None = None
    at_head: str | None = None
    lost: Fault | None = None
    count = 0
    for entry in entries:
        fault = _fault(entry, last, authentic)
        if fault:
            return Verdict(count, fault)
        if head and entry.seq == head.seq:
            at_head = entry.link
        if entry.kind == Kind.HEAD_LOST and lost is None:
            lost = Fault(FaultKind.HEAD_LOST, entry.seq)
        last, count = entry, count + 1
    end = last.seq if last else 0
    if lost or (last and not _signed(last, authentic)):
        # Every link holds, so whoever rewrote an entry also recomputed all that follow: the first is the one.
        forged = next((entry.seq for entry in entries if not _signed(entry, authentic)), None)
        if forged:
            return Verdict(count, Fault(FaultKind.FORGED, forged))
    if head is None:
        return Verdict(count, Fault(FaultKind.HEAD_MISSING, end) if last else None)
    if not authentic(signed_bytes(head.seq, head.link, head.at), head.signature):
        return Verdict(count, Fault(FaultKind.HEAD_FORGED, head.seq))
    if head.seq > end:
        return Verdict(count, Fault(FaultKind.SHORTENED, end + 1))
    if at_head != head.link:
        return Verdict(count, Fault(FaultKind.CHANGED, head.seq))
    return Verdict(count, lost)


def _fault(entry: Entry, last: Entry | None, authentic: Authentic) -> Fault | None:
    """What is wrong with `entry` after `last`."""
    expected = last.seq + 1 if last else 1
    if entry.seq < expected:
        return Fault(FaultKind.REORDERED, entry.seq)
    if entry.seq > expected:
        return Fault(FaultKind.MISSING, expected)
    if entry.link != link_of(entry):
        return Fault(FaultKind.REORDERED if _intact_elsewhere(entry, authentic) else FaultKind.CHANGED, entry.seq)
    if entry.previous != (last.link if last else GENESIS):
        # One of the two was rewritten and its link recomputed: the one that our key did not sign.
        first = last if last and not _signed(last, authentic) else entry
        return Fault(FaultKind.FORGED if not _signed(first, authentic) else FaultKind.CHANGED, first.seq)
    return _unfit_part(entry)


def _unfit_part(entry: Entry) -> Fault | None:
    """A part that is not what its digest says."""
    if entry.clear_sha256 != sha256(entry.clear):
        return Fault(FaultKind.PART_CHANGED, entry.seq)
    if entry.personal is None:
        vanished = entry.personal_sha256 is not None and entry.erased_at is None
        return Fault(FaultKind.PART_CHANGED, entry.seq) if vanished else None
    return Fault(FaultKind.PART_CHANGED, entry.seq) if entry.personal_sha256 != sha256(entry.personal) else None


def _which(entry: Entry) -> list[object]:
    """The members that say which entry it is."""
    return [entry.seq, entry.at, entry.kind, entry.trace_id, entry.attempt, entry.origin, entry.client_ref]


def _signed(entry: Entry, authentic: Authentic) -> bool:
    return authentic(signed_bytes(entry.seq, entry.link, entry.at), entry.signature)


_FAR = 1_000  # entries; how far away we look for the place an entry was moved from


def _intact_elsewhere(entry: Entry, authentic: Authentic) -> bool:
    """Whether the entry is one of ours, under another number."""
    for seq in range(max(1, entry.seq - _FAR), entry.seq + _FAR):
        moved = replace(entry, seq=seq)
        if link_of(moved) == entry.link:
            return _signed(moved, authentic)
    return False
