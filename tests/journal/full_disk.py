"""Runs in a mount namespace of its own: fills a small disk under a journal and prints what came of each step."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from agent.errors import AgentError

from .making import NOW, ORIGIN, found, intent, journal

REPLY = os.urandom(1 << 20)
RESULT = os.urandom(64 << 10)


def fill(file: Path) -> None:
    """Take every block that is left."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096, 1):
        try:
            while True:
                os.write(descriptor, b"\0" * size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    os.close(descriptor)


def came_of(call: Callable[[], object]) -> str:
    try:
        call()
    except AgentError as error:
        return str(error.code)
    return "done"


def main(disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=True)
    filler, folder = disk / "filler", disk / "journal"
    own = journal(folder, max_reply_bytes=1 << 20)
    for number in range(2):  # so that the disk does not fill under a fresh file only
        own.conclude(own.intend(intent(f"before-{number}")), found(REPLY[:50_000]))
    under_way = {name: own.intend(intent(name)) for name in ("trace-0", "trace-1", "trace-2")}
    fill(filler)

    def one_more() -> None:
        trace_id = f"trace-{len(under_way)}"
        under_way[trace_id] = own.intend(intent(trace_id))

    while (refused := came_of(one_more)) == "done":
        pass
    steps = {"an intent without room": refused}
    for trace_id, intended in under_way.items():
        steps[f"outcome of {trace_id}"] = came_of(lambda intended=intended: own.conclude(intended, found(REPLY)))
    steps["result"] = came_of(lambda: own.finish("trace-0", NOW, lambda _seq, _previous: RESULT))
    steps["chain, still full"] = str(own.verify().fault)
    own.close()
    own = journal(folder, max_reply_bytes=1 << 20)
    steps["chain, opened again"] = str(own.verify().fault)
    steps["replies"] = str({own.image(trace_id, ORIGIN) == REPLY for trace_id in under_way})
    steps["intent, opened again"] = came_of(lambda: own.intend(intent("again")))
    filler.unlink()
    steps["intent, with room"] = came_of(lambda: own.intend(intent("room")))
    steps["chain at last"] = str(own.verify().fault)
    own.close()
    print(json.dumps(steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
