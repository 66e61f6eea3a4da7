"""What the agent needs of the journal, and the values it keeps. Implemented by `store.py`. No I/O of its own.

Every call blocks and belongs on the journal lane, but for `check_key`; each raises journal.full when the disk is
full, keyring.absent without the keys, identity.damaged where they are lost, and journal.unavailable for everything
else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from agent.journal.chain import Entry, Verdict
from agent.journal.retention import Rule
from agent.model import AuthMode, DeclaredUser, Environment, Profile, SoftwareName

CUT_SHORT = "unknown"  # code of an attempt without an outcome: on its way, or cut short by a stop


@dataclass(frozen=True)
class Intent:
    """An attempt about to be sent. What is marked personal goes to the part that retention erases."""

    trace_id: str
    attempt: int  # from 1
    at: datetime
    origin: str
    client_ref: str | None = field(repr=False)  # personal: whatever the page calls it
    operation: str  # WS_INS1 …
    environment: Environment
    auth_mode: AuthMode
    software: SoftwareName
    message_id: str
    request_sha256: str  # of the bytes sent, with two random identifiers that are kept sealed: nobody guesses it
    given: tuple[str, ...]  # names of the members sent, never their values
    params: bytes = field(repr=False)  # personal: what the page asked, as JSON
    request: bytes = field(repr=False)  # personal: the envelope, signature and certificate replaced by digests
    professional: str | None = field(default=None, repr=False)  # personal: national identifier
    structure: str | None = field(default=None, repr=False)  # personal
    certificate: str | None = None  # personal, as it goes with the structure: CN of the organisation's
    user: DeclaredUser | None = field(default=None, repr=False)  # personal: as the page declares them
    account: str | None = field(default=None, repr=False)  # personal: of the operating system
    exact: bool = False  # `request` is as it was sent, nothing replaced


@dataclass(frozen=True)
class Conclusion:
    """What came of an attempt: CodeCR, a fault's code, or our own reason when nothing came back."""

    at: datetime
    code: str
    label: str  # the teleservice's fixed text; never a fault's detail, which may quote the person
    duration_ms: int
    http_status: int | None = None
    reply: bytes | None = field(default=None, repr=False)  # personal: kept when the code is 00, else only its digest
    exact: bool = False  # the reply is kept whatever the code


@dataclass(frozen=True)
class Step:
    """What counts on one side of a switch."""

    environment: Environment
    profile: Profile


@dataclass(frozen=True)
class Switch:
    """From one environment or profile to another. Noted where we leave before we do, and where we arrive."""

    at: datetime
    left: Step
    entered: Step
    why: str | None = None  # the code of the failure that brings us back, or `unknown`; None: the person wants it
    account: str | None = field(default=None, repr=False)  # personal: of the operating system

    def undone(self, why: str) -> "Switch":
        """The way back, where it failed."""
        return replace(self, left=self.entered, entered=self.left, why=why)


@dataclass(frozen=True)
class Link:
    """The place of an entry in the chain."""

    seq: int
    previous: str
    link: str


@dataclass(frozen=True)
class StoredAttempt:
    """An intent and, unless the agent stopped in between, its outcome."""

    intended: Link
    attempt: int
    at: str
    clear: dict[str, Any]  # operation, environment, authMode, software, messageId, requestSha256, given
    outcome: dict[str, Any] | None  # code, label, durationMs, httpStatus; responseSha256 unless it is unreadable


@dataclass(frozen=True)
class StoredTrace:
    """Everything kept of one operation. Personal parts are None once erased."""

    trace_id: str
    origin: str
    client_ref: str | None = field(repr=False)  # personal
    at: str  # of the first intent
    attempts: tuple[StoredAttempt, ...]
    params: bytes | None = field(repr=False)  # of the first intent
    result: bytes | None = field(repr=False)  # what the page got; None when it ended otherwise


@dataclass(frozen=True)
class ListedTrace:
    """One operation in a list: what tells it from the others."""

    seq: int  # of its first intent
    trace_id: str
    at: str  # of its first intent
    operation: str
    auth_mode: str
    client_ref: str | None = field(repr=False)  # personal; None also where it cannot be read
    code: str  # of the last attempt
    attempts: int
    answered: bool  # whether the page got a result


@dataclass(frozen=True)
class TracePage:
    """A part of a list. It may be short, or empty, and still have a next one."""

    traces: list[ListedTrace]
    next_cursor: str | None


@dataclass(frozen=True)
class Unfinished:
    """An attempt that may have been sent and of which nothing more is known."""

    intended: Link
    trace_id: str
    attempt: int
    at: str
    origin: str


@dataclass(frozen=True)
class Survey:
    """What may be told of a journal to people whom it does not concern."""

    size_bytes: int
    first_at: str | None
    last_at: str | None
    entries: dict[str, int]  # kind → how many
    codes: dict[str, int]  # of outcomes
    unfinished: int
    links: Verdict  # digests and links alone: signatures are not looked at


class Journal(Protocol):
    """The trace of one agent."""

    def check_key(self) -> None:
        """Know that personal parts can be sealed, before anything is asked or sent. Raises keyring.absent and
        identity.damaged.

        From any thread: a keyring may ask the person.
        """
        ...

    def intend(self, intent: Intent) -> Link:
        """Record that this attempt is about to be sent, with room for its largest reply."""
        ...

    def conclude(self, intended: Link, conclusion: Conclusion) -> Link:
        """Record what came of the attempt, once. The exact reply is kept when the code is 00, or all are.

        Raises journal.unavailable {entry} where the intent is not as it was written, or an entry behind it is gone.
        """
        ...

    def finish(self, trace_id: str, at: datetime, make: Callable[[int, str], bytes]) -> Link:
        """Record what the page gets: `make(seq, previous)`, which may tell and sign its own place in the chain."""
        ...

    def switched(self, switch: Switch) -> Link:
        """Record that the agent leaves for another environment or profile, or has come from one."""
        ...

    def entered(self) -> Step | None:
        """Where the last switch that is noted here led to; None without one.

        Raises journal.unavailable {entry} where it is not as it was written.
        """
        ...

    def trace(self, trace_id: str, origin: str, environment: Environment) -> StoredTrace | None:
        """This origin's operation in this environment; any other is None, as an unknown one."""
        ...

    def image(self, trace_id: str, origin: str) -> bytes | None:
        """The exact reply stored for a 00 of any environment; None without one, or once erased."""
        ...

    def by_client_ref(self, origin: str, ref: str, since: datetime, environment: Environment) -> StoredTrace | None:
        """This origin's latest operation under its own reference in this environment, begun at `since` or later."""
        ...

    def traces(
        self,
        origin: str,
        environment: Environment,
        *,
        client_ref: str | None = None,
        operation: str | None = None,
        code: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> TracePage:
        """This origin's operations of this environment, newest first: begun at `since` or later, before `until`.

        `code`: of the last attempt. `cursor`: the `next_cursor` of the page before. However few fit, a page looks at
        a bounded number of this origin's own operations.
        """
        ...

    def unfinished(self) -> list[Unfinished]:
        """Attempts without an outcome, oldest first: after a start, those that the last stop cut short."""
        ...

    def shipped_to(self, target: str) -> int | None:
        """Up to which entry the second copy at `target` is; None: none was ever sent there."""
        ...

    def unshipped(self, target: str, limit: int) -> list[Entry]:
        """Entries that are not there yet, oldest first: so many at most, fewer where they are large, one at least."""
        ...

    def mark_shipped(self, target: str, seq: int) -> None:
        """Remember that everything up to this entry is there."""
        ...

    def behind(self, target: str) -> bool:
        """Whether `unshipped` has something. No key is asked for, and no journal made where there is none."""
        ...

    def ship_backlog(self, target: str) -> int:
        """How many entries are not there yet."""
        ...

    def due(self, rule: Rule, now: datetime) -> bool:
        """Whether `retain` has something to do. No key is asked for, and no journal made where there is none."""
        ...

    def retain(self, rule: Rule, now: datetime) -> bool:
        """Take one step of what is due. False: nothing more is, now."""
        ...

    def close(self) -> None:
        """Let another agent open it."""
        ...
