"""Reset the CPx in a token's reader: a logout leaves the code verified on the card, for every program.

A process of its own, `python -m tests.device.reset DESCRIPTION`: pcsc-lite reads the name of its service once.
"""

import sys

from agent.errors import AgentError, Code
from agent.model import CardKind
from agent.readers.pcsc import PcscReaders


def reset(described: str) -> str:
    """What was done. `described`: the token's slot, a reader's name cut at 64 bytes. A software token has no reader."""
    readers, name = PcscReaders(), described.rstrip("\ufffd")
    try:
        seen = readers.seen()
    except AgentError as error:
        if error.code is Code.PCSC_UNAVAILABLE:
            return "no card service, nothing to reset"
        raise
    holding = [one.reader for one in seen if one.card and one.card.kind is CardKind.CPX]
    found = [reader for reader in holding if reader == name] or [
        reader for reader in holding if name and reader.startswith(name)
    ]
    for reader in found:
        readers.reset(reader)
    if holding and not found:
        return "NOT RESET, its reader is not known: take the card out"
    return "reset" if found else "in no reader, nothing to reset"


if __name__ == "__main__":
    print(f"card: {reset(sys.argv[1])}")
