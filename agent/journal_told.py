"""What the journal holds as it is told to people: whom it does not concern sees no person in it.

Read without the agent, by who has the keys; what they do not open is told without. No I/O of its own.
"""

import json
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any

from agent.errors import AgentError, Code
from agent.journal.chain import Authentic, Entry, Kind, intact, tie_of, unlooked
from agent.journal.parts import by_attempt, clear_of, code_of, has_reply, personal_of, response_sha256, to_bytes
from agent.journal.ports import CUT_SHORT
from agent.journal.sealing import Keys, is_sealed
from agent.masking import Called, Pseudonyms, masked_json, masked_xml

OPERATION = "operation"  # the kind of what is told of one, beside the kinds of entries that are of none


class Unread(StrEnum):
    """Why a personal part is not told."""

    ERASED = "erased"
    NO_KEY = "noKey"
    DAMAGED = "damaged"


class Opener:
    """Opens personal parts with the keys of this installation. `missing`: why it has none of them."""

    def __init__(self, authentic: Authentic | None, keys: Callable[[], Keys], missing: AgentError | None) -> None:
        """`authentic`: None without identity, then `missing` is known. `keys` may raise."""
        # An entry is looked at several times in a row, and a signature is what costs.
        self.authentic = lru_cache(maxsize=64)(authentic) if authentic else None
        self._load, self.missing = keys, missing
        self._keys: Keys | None = None

    def part(self, entry: Entry) -> bytes | Unread | None:
        """The personal part; None where there never was one."""
        if entry.personal is None:
            return Unread.ERASED if entry.personal_sha256 else None
        if self.missing or not self.authentic:
            return Unread.NO_KEY
        try:
            return personal_of(entry, self._known, self.authentic)
        except AgentError as error:
            if error.code is Code.JOURNAL_UNAVAILABLE:
                return Unread.DAMAGED
            self.missing = error
            return Unread.NO_KEY

    def key_of(self, entry: Entry) -> str | None:
        """The key that opens its personal part; the one that it names itself, which proves nothing, where none does."""
        if entry.personal and is_sealed(entry.personal) and isinstance(self.part(entry), bytes):
            return self._known().opened(entry.personal, entry.personal_key, tie_of(entry))[0]
        return entry.personal_key if entry.personal else None

    def intact(self, entry: Entry) -> bool | None:
        """Whether this entry, alone, is as our key signed it; None where that cannot be known."""
        return intact(entry, self.authentic) if self.authentic else None

    def _known(self) -> Keys:
        if self._keys is None:
            self._keys = self._load()
        return self._keys


class Note:
    """An entry that is of no operation: a switch, what retention did, a head that was not found."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.entries = entry, [entry]
        self.clear = _clear(entry)

    @property
    def environments(self) -> list[Any]:
        """That a switch left, and that it entered."""
        steps = (self.clear.get(side) for side in ("from", "to"))
        return [step.get("environment") for step in steps if isinstance(step, dict)]


class Operation:
    """The entries of one operation, put in order. What is missing of a damaged one is None or empty."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.trace_id, self.at, self.origin = entries[0].trace_id, entries[0].at, entries[0].origin
        intents, outcomes = by_attempt(entries, Kind.INTENT), by_attempt(entries, Kind.OUTCOME)
        self.attempts = [
            (number, intents.get(number), outcomes.get(number)) for number in sorted({*intents, *outcomes})
        ]
        self.intent = next((intent for _, intent, _ in self.attempts if intent), None)
        self.result = next((entry for entry in entries if entry.kind == Kind.RESULT), None)
        self.clear = _clear(self.intent)

    @property
    def codes(self) -> list[str]:
        """Of its attempts."""
        return [code_of(outcome) if outcome else CUT_SHORT for _, _, outcome in self.attempts]

    @property
    def software(self) -> dict[str, str]:
        software = self.clear.get("software")
        found = software if isinstance(software, dict) else {}
        return {name: str(found.get(name, "")) for name in ("name", "version")}


class Teller:
    """Tells operations and notes. The same person has the same short name in all that one of these tells."""

    def __init__(
        self, opener: Opener, *, users: bool = False, patients: bool = False, names: Pseudonyms | None = None
    ) -> None:
        """`users`: show who called; `patients`: also what was asked and answered, who called included.

        `names`: the short names that are told elsewhere too.
        """
        self._opener, self._patients = opener, patients
        self._called: Called = (lambda _kind, value: value) if users or patients else (names or Pseudonyms()).called

    def summary(self, event: Operation | Note) -> dict[str, Any]:
        """What it was, when, for whom, and what came of it."""
        return self._operation(event) if isinstance(event, Operation) else self._note(event)

    def _operation(self, operation: Operation) -> dict[str, Any]:
        return {
            "kind": OPERATION,
            "traceId": operation.trace_id,
            "at": operation.at,
            "operation": operation.clear.get("operation"),
            "codes": operation.codes,
            "environment": operation.clear.get("environment"),
            "authMode": operation.clear.get("authMode"),
            "software": operation.software,
            "origin": operation.origin,
            "people": self._called_people(self.called_by(operation)),
            "doubtful": self.called_by(operation) is Unread.DAMAGED or _is_changed(operation.entries),
        }

    def _note(self, note: Note) -> dict[str, Any]:
        part = self._object(note.entry)
        known = {"account": part.get("account")} if isinstance(part, dict) else part
        return {
            "kind": note.entry.kind,
            "seq": note.entry.seq,
            "at": note.entry.at,
            "clear": note.clear,
            "people": self._called_people(known),
            "doubtful": known is Unread.DAMAGED or _is_changed(note.entries),
        }

    def whole(self, event: Operation | Note) -> dict[str, Any]:
        """Everything that is kept of it."""
        chain = [self._place(entry) for entry in event.entries]
        told = {**self.summary(event), "intact": self._all_intact(event.entries)}
        return told | (self._messages(event) if isinstance(event, Operation) else {}) | {"chain": chain}

    def _messages(self, operation: Operation) -> dict[str, Any]:
        asked = self._object(operation.intent)
        members = asked if isinstance(asked, dict) else {}
        return {
            "clientRef": self._masked_text(members.get("clientRef")),
            "params": self._json(asked if isinstance(asked, Unread) else _bytes(members.get("params"))),
            "attempts": [self._attempt(*attempt) for attempt in operation.attempts],
            "result": self._json(self._opener.part(operation.result) if operation.result else None),
        }

    def called_by(self, operation: Operation) -> dict[str, Any] | Unread | None:
        """Who called, as it is kept: for a filter, not to be told."""
        asked = self._object(operation.intent)
        return asked if isinstance(asked, Unread) or asked is None else _people_in(asked)

    def request(self, intent: Entry | None) -> bytes | Unread | None:
        """The request of an attempt as it is kept."""
        asked = self._object(intent)
        return _bytes(asked.get("request")) if isinstance(asked, dict) else asked

    def reply(self, outcome: Entry | None) -> bytes | Unread | None:
        """The exact reply of an attempt, where it was kept."""
        return self._opener.part(outcome) if outcome and _is_reply(outcome) else None

    def _object(self, entry: Entry | None) -> dict[str, Any] | Unread | None:
        """The personal part of an intent, or of a note."""
        part = self._opener.part(entry) if entry else None
        if not isinstance(part, bytes):
            return part
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else Unread.DAMAGED

    def _called_people(self, known: dict[str, Any] | Unread | None) -> dict[str, Any] | Unread | None:
        if not isinstance(known, dict):
            return known
        return {name: value if value is None else self._called(WHO[name], str(value)) for name, value in known.items()}

    def _attempt(self, number: int, intent: Entry | None, outcome: Entry | None) -> dict[str, Any]:
        asked, answered = _clear(intent), _clear(outcome)
        return {
            "attempt": number,
            "at": intent.at if intent else None,
            "messageId": asked.get("messageId"),
            "given": asked.get("given"),
            "requestSha256": asked.get("requestSha256"),
            "code": code_of(outcome) if outcome else CUT_SHORT,
            "label": answered.get("label"),
            "durationMs": answered.get("durationMs"),
            "httpStatus": answered.get("httpStatus"),
            "responseSha256": self._masked_text(self._response_sha256(outcome)),
            "request": self._xml(self.request(intent)),
            "reply": self._xml(self.reply(outcome)),
        }

    def _response_sha256(self, outcome: Entry | None) -> str | None:
        part = self._opener.part(outcome) if outcome else None
        if isinstance(part, Unread):
            return part
        try:
            return response_sha256(outcome, part) if outcome else None
        except (AgentError, UnicodeDecodeError):
            return Unread.DAMAGED

    def _place(self, entry: Entry) -> dict[str, Any]:
        """Its place in the chain, and what became of its personal part."""
        return {
            "seq": entry.seq,
            "kind": entry.kind,
            "attempt": entry.attempt,
            "at": entry.at,
            "previous": entry.previous,
            "link": entry.link,
            "intact": self._opener.intact(entry),
            "personalKey": self._opener.key_of(entry),
            "erased": entry.is_erased,
        }

    def _all_intact(self, entries: list[Entry]) -> bool | None:
        found = {self._opener.intact(entry) for entry in entries}
        return None if None in found else all(found)

    def _json(self, part: bytes | Unread | None) -> Any:
        if not isinstance(part, bytes):
            return part
        if not self._patients:
            return masked_json(part, self._called)
        try:
            return json.loads(part)
        except (ValueError, RecursionError):
            return _readable(part)

    def _xml(self, part: bytes | Unread | None) -> str | None:
        if not isinstance(part, bytes):
            return part
        return _readable(part if self._patients else masked_xml(part))

    def _masked_text(self, text: str | None) -> str | None:
        """An answer can be guessed, and its digest tells who guessed right; a page may call things after patients."""
        return text if text is None or isinstance(text, Unread) or self._patients else f"[{len(text)}]"


WHO = {
    "professional": "professionnel",
    "user": "utilisateur",
    "userName": "nom",
    "userRole": "fonction",
    "structure": "structure",
    "certificate": "certificat",
    "account": "compte",
}


def _people_in(asked: dict[str, Any]) -> dict[str, Any]:
    """The personal part of an intent, as far as it says who called."""
    user = asked.get("user")
    declared = user if isinstance(user, dict) else {}
    return {
        "professional": asked.get("professional"),
        "user": declared.get("id"),
        "userName": declared.get("name"),
        "userRole": declared.get("role"),
        **{name: asked.get(name) for name in ("structure", "certificate", "account")},
    }


def _is_changed(entries: list[Entry]) -> bool:
    """Certainly not what was written. Cheap: `show`, `export` and `verify` look at each signature."""
    return not all(intact(entry, unlooked) for entry in entries)


def _clear(entry: Entry | None) -> dict[str, Any]:
    try:
        return clear_of(entry) if entry else {}
    except AgentError:
        return {}


def _is_reply(outcome: Entry) -> bool:
    try:
        return has_reply(outcome)
    except AgentError:
        return False


def _bytes(text: object) -> bytes | None:
    return to_bytes(text) if isinstance(text, str) else None


def _readable(data: bytes) -> str:
    """Any bytes as a text; exactly as they are they come by --image and --request."""
    return data.decode("utf-8", "backslashreplace")
