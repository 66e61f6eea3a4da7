"""A child that ships a journal as the agent does, a batch at a time, until everything is there or it is killed.

With a number: it writes operations as well, so many at most, and says each entry once it is acknowledged.
"""

import os
import sys
from pathlib import Path

from agent.journal.carriers import FolderCarrier, SyslogCarrier
from agent.journal.shipping import Carrier
from agent.journal.store import Journal

from .making import journal, whole

TARGET, INSTANCE = "the target", "0c6a2a1e-1111-4222-8333-444455556666"


def carrier_to(where: str) -> Carrier:
    """A folder, or a server by tcp."""
    if where.startswith("tcp:"):
        return SyslogCarrier(where, anchors=bytes, instance_id=INSTANCE, simulated=False, max_message_bytes=8192)
    return FolderCarrier(Path(where), INSTANCE)


def ship(own: Journal, carrier: Carrier, *, limit: int = 100, target: str = TARGET) -> None:
    """Everything that is not there yet."""
    while entries := own.unshipped(target, limit):
        carrier.send(entries, beginning=own.shipped_to(target) is None)
        own.mark_shipped(target, entries[-1].seq)


def main(folder: str, where: str, operations: str = "0") -> None:
    own, carrier = journal(Path(folder)), carrier_to(where)
    ship(own, carrier)
    for number in range(int(operations)):
        whole(own, f"{os.getpid()}-{number}")
        ship(own, carrier, limit=2)
        os.write(1, b"%d\n" % (own.shipped_to(TARGET) or 0))
    own.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
