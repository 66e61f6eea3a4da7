"""What an entry holds, as it is read: its clear part, and its personal part once opened. No I/O of its own."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from agent.errors import AgentError, Code
from agent.journal import sealing
from agent.journal.chain import Authentic, Entry, Kind, intact, sha256, tie_of
from agent.journal.sealing import Keys, in_clear, is_sealed

FOUND = "00"


def clear_of(entry: Entry) -> dict[str, Any]:
    """The clear part. Raises journal.unavailable {entry} where it is no JSON object."""
    return json_of(entry, entry.clear)


def told(clear: bytes) -> dict[str, Any]:
    """A clear part as it can be read, be it damaged: whether it is as it was written, `verify` says."""
    return _object(clear) or {}


def json_of(entry: Entry, part: bytes) -> dict[str, Any]:
    """A part of this entry that is a JSON object. Raises journal.unavailable {entry} where it is none."""
    value = _object(part)
    if value is None:
        raise AgentError(Code.JOURNAL_UNAVAILABLE, f"entry {entry.seq}: unreadable", entry=entry.seq)
    return value


def _object(part: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def check(entry: Entry, authentic: Authentic) -> None:
    """Raises journal.unavailable {entry} for one that is not as it was written."""
    if not intact(entry, authentic):
        raise AgentError(Code.JOURNAL_UNAVAILABLE, f"entry {entry.seq}: not as it was written", entry=entry.seq)


def by_attempt(entries: Iterable[Entry], kind: Kind) -> dict[int, Entry]:
    """The first entry of this kind of each attempt: none that comes later changes what it says."""
    found: dict[int, Entry] = {}
    for entry in entries:
        if entry.kind == kind:
            found.setdefault(entry.attempt, entry)
    return found


def personal_of(entry: Entry, keys: Callable[[], Keys], authentic: Authentic) -> bytes | None:
    """The personal part, opened; None when there is none, or no more.

    Raises keyring.absent; journal.unavailable {entry} for one that is damaged, or not as it was written.
    """
    stored = entry.personal
    if stored is None:
        return None
    try:
        match entry.personal_scheme, is_sealed(stored), intact(entry, authentic):
            case (sealing.SCHEME, True, True):
                return keys().open(stored, entry.personal_key, tie_of(entry))
            case (sealing.SCHEME_NONE, False, True):
                return in_clear(stored)
        why = "not as it was written"
    except ValueError as error:
        why = str(error)
    raise AgentError(Code.JOURNAL_UNAVAILABLE, f"entry {entry.seq}: {why}", entry=entry.seq)


def has_reply(outcome: Entry) -> bool:
    """Whether the personal part of an outcome is an answer, else it is the digest of one."""
    clear = clear_of(outcome)
    return outcome.personal_sha256 is not None and (clear.get("code") == FOUND or clear.get("exact") is True)


def response_sha256(outcome: Entry, part: bytes | None) -> str | None:
    """The digest of the answer whose outcome has this personal part; None without one, or once erased."""
    if part is None:
        return None
    return sha256(part) if has_reply(outcome) else part.decode()


def code_of(outcome: Entry) -> str:
    """CodeCR, a fault's code or our own reason; what is none of them stays out of what is told."""
    return code_in(outcome.clear)


def code_in(clear: bytes) -> str:
    """As `code_of`, from the clear part alone."""
    code = str(told(clear).get("code"))
    return code if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", code) else "?"


def to_text(data: bytes) -> str:
    """Any bytes as a text that JSON can hold."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that `to_text` was given."""
    return text.encode("utf-8", "surrogateescape")
