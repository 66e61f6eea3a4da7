"""Runs in a mount namespace of its own: the second copy on small disks, full, read-only and gone; prints what came."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from agent.errors import AgentError
from agent.journal.shipped import verify_shipped

from .full_disk import fill
from .making import KEY, found, intent, journal, whole
from .shipper import INSTANCE, TARGET, carrier_to, ship

REPLY = os.urandom(1 << 20)


def came_of(call: Callable[[], object]) -> str:
    try:
        call()
    except AgentError as error:
        return str(error)
    return "done"


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main(here: Path) -> None:
    share, disk = here / "share", here / "disk"
    for place, size in ((share, "16m"), (disk, "32m")):
        place.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    steps: dict[str, object] = {}
    own = journal(disk / "journal", max_reply_bytes=1 << 20)
    whole(own, "trace-0")
    carrier = carrier_to(str(share))
    ship(own, carrier)
    whole(own, "trace-1")

    fill(share / "filler")
    steps["share full"] = came_of(lambda: ship(own, carrier))
    steps["left on the full share"] = [file.name for file in share.rglob("*.new")]
    (share / "filler").unlink()
    mount("-o", "remount,ro", str(share))
    steps["share read-only"] = came_of(lambda: ship(own, carrier))
    mount("-o", "remount,rw", str(share))
    kept = here / "kept"
    kept.mkdir()
    mount("--move", str(share), str(kept))
    steps["share gone"] = came_of(lambda: ship(own, carrier))
    mount("--move", str(kept), str(share))
    steps["share again"] = came_of(lambda: ship(own, carrier))

    under_way = [own.intend(intent(f"under-way-{number}")) for number in range(3)]
    fill(disk / "filler")
    steps["marks on the journal's full disk"] = [came_of(lambda: own.mark_shipped(TARGET, 6)) for _ in range(500)]
    steps["outcomes on the journal's full disk"] = [
        came_of(lambda intended=intended: own.conclude(intended, found(REPLY))) for intended in under_way
    ]
    (disk / "filler").unlink()
    ship(own, carrier)
    verdict = verify_shipped(share / INSTANCE, KEY.verify_bytes, own.unshipped("nobody", 1000))
    steps["copy"] = "entire" if verdict.fault is None and verdict.last == 12 else str(verdict)
    own.close()
    print(json.dumps(steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
