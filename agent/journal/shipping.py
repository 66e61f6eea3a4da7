"""The second copy of a journal: how an entry travels, under which names, in which frames. No I/O of its own.

An entry travels with every member, its parts as they are stored: what is of people stays sealed. Parts that were
stored before there was a key, in clear (sealing.py), stay here.

Sources: RFC 5424 (the syslog message), RFC 6587 section 3.4.1 (octet counting), RFC 5425 section 4.3 (the same frames
over TLS). Facility and severity are our own choice [choice]. No enterprise number is registered for this project: the
structured data bear 32473, which RFC 5612 keeps for examples [choice].
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from agent.journal.chain import Entry, canonical
from agent.journal.sealing import is_sealed

if TYPE_CHECKING:
    from agent.config import Ship

LEFT_OUT = "personalLeftOut"  # beside the members: the personal part did not go along, its digest is there
SUFFIX = ".jsonl"
_BYTES = ("clear", "personal", "signature")
_MAYBE = ("client_ref", "personal", "personal_sha256", "personal_scheme", "personal_key", "erased_at")
_NUMBERS = ("seq", "attempt")  # and every other member is a text
_MEMBERS = {name: re.sub("_([a-z])", lambda found: found[1].upper(), name) for name in Entry.__dataclass_fields__}
_LARGEST = (1 << 63) - 1  # of SQLite's integers

_LOG_AUDIT, _INFORMATIONAL = 13, 6  # facility and severity, RFC 5424 tables 1 and 2
_SD_ID = "entry@32473"


class Carrier(Protocol):
    """Takes entries to where the second copy is."""

    def send(self, entries: Sequence[Entry], *, beginning: bool) -> None:
        """They are there when this returns; the same ones may come again. `beginning`: none has ever been sent there.

        Blocks, not for ever. Raises journal.notShipped; then they are sent again.
        """
        ...


def target_of(ship: "Ship") -> str | None:
    """A name for where entries go, which tells neither path nor address; None: nowhere."""
    if ship.to == "none":
        return None
    where = str(ship.folder) if ship.to == "folder" else ship.syslog
    return hashlib.sha256(canonical(["insi-agent journal ship", ship.to, where])).hexdigest()[:16]


def line_of(entry: Entry, *, with_personal: bool = True) -> bytes:
    """The entry as one line of JSON, bytes in base64. A personal part that is not sealed never goes along."""
    left_out = entry.personal is not None and not (with_personal and is_sealed(entry.personal))
    shown = replace(entry, personal=None) if left_out else entry
    members = {_MEMBERS[name]: _written(value) for name, value in vars(shown).items()}
    return canonical({**members, **({LEFT_OUT: True} if left_out else {})})


def entry_of(line: bytes) -> Entry:
    """The entry of such a line. Raises ValueError for whatever is none."""
    try:
        found = json.loads(line)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict) or set(found) - {LEFT_OUT} != set(_MEMBERS.values()):
        raise ValueError("not the members of an entry")
    entry = Entry(**{name: _read(name, found[member]) for name, member in _MEMBERS.items()})
    if not 1 <= entry.seq <= _LARGEST:
        raise ValueError("no number of an entry")
    return entry


def _written(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _read(name: str, value: Any) -> Any:
    """Raises ValueError."""
    if value is None and name in _MAYBE:
        return None
    if type(value) is not (int if name in _NUMBERS else str):
        raise ValueError(f"{name} is of another type")
    return base64.b64decode(str(value), validate=True) if name in _BYTES else value


def file_name(entries: Sequence[Entry]) -> str:
    """Of the file that holds these entries. The last one's link is in it, and with it all that went before.

    So the same entries go under the same name, and no other ones ever do: those of a journal that was put back to an
    older state, and went on from there, lie beside the ones that they contradict.
    """
    first, last = entries[0], entries[-1]
    return f"{first.seq:012}-{last.seq:012}-{last.link[:16]}{SUFFIX}"


def syslog_message(entry: Entry, *, host: str, instance_id: str, simulated: bool, max_bytes: int) -> bytes:
    """The entry as a message of RFC 5424, without its personal part where that would make it larger than `max_bytes`.

    `host`: the name of this machine. `simulated`: the journal is the simulator's; of a real one, only an intent's own
    clear part says whether it is of test or of production.
    """
    kind = re.sub(r"[^A-Za-z]", "?", entry.kind)  # whatever a row was made into
    at = entry.at if re.fullmatch(r"[0-9T:.Z-]{20,24}", entry.at) else "-"
    mark = "true" if simulated else "false"
    data = f'[{_SD_ID} seq="{entry.seq}" kind="{kind}" instance="{instance_id}" simulated="{mark}"]'
    priority = _LOG_AUDIT * 8 + _INFORMATIONAL
    header = f"<{priority}>1 {at} {_host(host)} insi-agent - journal {data} ".encode()
    message = header + line_of(entry)
    return message if len(message) <= max_bytes else header + line_of(entry, with_personal=False)


def without_personal(message: bytes) -> bool:
    """Whether the entry in this message had a personal part that did not go along."""
    return f'"{LEFT_OUT}":true'.encode() in message  # a member: within a text the quotes would be escaped


def framed(message: bytes) -> bytes:
    """Octet counting."""
    return b"%d %b" % (len(message), message)


def _host(name: str) -> str:
    """HOSTNAME: printable ASCII without blanks, at most 255; the nil value where nothing of it is."""
    return "".join(character for character in name if "!" <= character <= "~")[:255] or "-"
