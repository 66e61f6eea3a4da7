"""What a support bundle tells of the operations chosen for it: facts, and the messages kept. No I/O of its own.

Messages are masked unless whoever asks wants them whole; a signature or a certificate is a digest in either case. The
name of a file is made of numbers and of the operation alone.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from agent.errors import AgentError, Code
from agent.journal.chain import Entry
from agent.journal_told import Opener, Operation, Teller, Unread
from agent.masking import Pseudonyms, masked_xml, without_signatures

Member = Callable[[], Any]  # makes what a file of the bundle holds: bytes, or a value for JSON
_KNOWN = re.compile(r"WS_INS[1-5]")


def members(at: int, entries: list[Entry], opener: Opener, names: Pseudonyms, *, whole: bool) -> dict[str, Member]:
    """The files of one operation, the `at`-th of the bundle. `whole`: its messages with their people.

    One that cannot be opened raises keyring.absent, identity.damaged or journal.unavailable when it is made.
    """
    operation, teller = Operation(entries), Teller(opener, names=names)
    said = str(operation.clear.get("operation"))
    files: dict[str, Member] = {
        f"traces/{at}-{said if _KNOWN.fullmatch(said) else 'operation'}.json": partial(_facts, operation, teller)
    }
    for number, what, part in _messages(operation, teller):
        files[f"traces/{at}-attempt-{number}-{what}.xml"] = partial(_message, part, opener, what, whole=whole)
    return files


def _messages(operation: Operation, teller: Teller) -> Iterator[tuple[int, str, bytes | Unread]]:
    """Of each attempt what is kept, or was not to be opened."""
    for number, intent, outcome in operation.attempts:
        for what, part in (("request", teller.request(intent)), ("reply", teller.reply(outcome))):
            if part is not None and part is not Unread.ERASED:
                yield number, what, part


def _message(part: bytes | Unread, opener: Opener, what: str, *, whole: bool) -> bytes:
    if isinstance(part, Unread):
        raise opener.missing or AgentError(Code.JOURNAL_UNAVAILABLE, "damaged, or not as it was written")
    if not whole:
        return masked_xml(part)
    return without_signatures(part) if what == "request" else part


def _facts(operation: Operation, teller: Teller) -> dict[str, Any]:
    """Everything that concerns nobody, and under short names who called. The messages have files of their own."""
    facts = teller.whole(operation)
    for attempt in facts["attempts"]:
        for what in ("request", "reply"):
            kept = attempt.pop(what)
            attempt[f"{what}Kept"] = kept if isinstance(kept, Unread) else kept is not None
    return facts
