"""Talk to a card and take its answers apart: T=0 status words and BER-TLV. No I/O of its own.

Source: ISO/IEC 7816-3 and 7816-4 as the public readers of the carte Vitale use them.
"""

from collections.abc import Iterator

from agent.errors import AgentError, Code
from agent.readers.ports import Card

SW_OK = 0x9000
SW_END_OF_FILE = 0x6282  # fewer bytes than asked for
SW_PROTECTED = 0x6982  # security status not satisfied
SW_NOT_FOUND = 0x6A82  # no file or application of this name

_MAX_EXCHANGES = 16
_PADDING = (0x00, 0xFF)  # zeroes are seen on cards; FF, an erased memory, is a [guess]
_LENGTH_BYTES = {0x81: 1, 0x82: 2}


def ask(card: Card, command: bytes) -> tuple[bytes, int]:
    """The whole answer to one command and its last status word, however the card hands it out.

    Raises card.unreadable when it never ends, and what `Card.transmit` raises.
    """
    data = b""
    for _ in range(_MAX_EXCHANGES):
        part, status = card.transmit(command)
        data += part
        more, size = status >> 8, status & 0xFF
        if more == 0x61:  # "ask for these bytes"
            command = bytes([0x00, 0xC0, 0x00, 0x00, size])
        elif more == 0x6C and len(command) == 5:  # "the same again, with this length"
            command = command[:4] + bytes([size])
        else:
            return data, status
    raise AgentError(Code.CARD_UNREADABLE, f"still {status:04X} after {_MAX_EXCHANGES} exchanges")


def objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The data objects of a BER-TLV string, in order: tag (one or two bytes) and value. Padding is skipped.

    Raises card.unreadable where the string is cut or not shaped so.
    """
    for tag, start, end in spans(data):
        yield tag, data[start:end]


def spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The same, with where each value begins and ends."""
    at = 0
    while at < len(data):
        if data[at] in _PADDING:
            at += 1
            continue
        try:
            tag, at = _tag(data, at)
            size, at = _length(data, at)
        except IndexError:
            raise AgentError(Code.CARD_UNREADABLE, f"TLV cut at byte {at}") from None
        if at + size > len(data):
            raise AgentError(Code.CARD_UNREADABLE, f"TLV of tag {tag:X} is cut")
        yield tag, at, at + size
        at += size


def _tag(data: bytes, at: int) -> tuple[int, int]:
    if data[at] & 0x1F != 0x1F:
        return data[at], at + 1
    if data[at + 1] & 0x80:
        raise AgentError(Code.CARD_UNREADABLE, "TLV tag of three bytes")
    return data[at] << 8 | data[at + 1], at + 2


def _length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 0x80:
        return first, at + 1
    if first not in _LENGTH_BYTES:
        raise AgentError(Code.CARD_UNREADABLE, f"TLV length form {first:02X}")
    end = at + 1 + _LENGTH_BYTES[first]
    if end > len(data):
        raise IndexError
    return int.from_bytes(data[at + 1 : end], "big"), end
