"""Runs in a mount namespace of its own: retains on a full disk, with attempts under way and without."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from agent.journal.ports import Conclusion
from agent.journal.retention import Rule

from .full_disk import came_of, fill
from .making import NOW, found, intent, journal

LATER, MUCH_LATER = NOW + timedelta(days=30), NOW + timedelta(days=60)
RULE = Rule(personal_days=10, entry_days=20)


def main(disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], check=True)
    filler, largest = disk / "filler", os.urandom(1 << 20)
    own = journal(disk / "journal", max_reply_bytes=1 << 20)
    for number in range(40):
        own.conclude(own.intend(intent(f"old-{number}", at=NOW)), found(largest[:50_000]))
    under_way = [own.intend(intent(f"under-way-{number}", at=LATER)) for number in range(2)]
    outcome = Conclusion(LATER, "00", "OK", 120, 200, largest)

    fill(filler)
    steps = {"step in the room that there is": str(own.retain(RULE, LATER))}
    while own.retain(RULE, LATER):
        pass
    for number, link in enumerate(under_way):
        steps[f"outcome {number}"] = came_of(lambda link=link: own.conclude(link, outcome))
    steps["chain, still full"] = str(own.verify().fault)
    own.close()
    fill(disk / "more")
    own = journal(disk / "journal", max_reply_bytes=1 << 20)
    steps["step without room"] = came_of(lambda: own.retain(RULE, MUCH_LATER))
    steps["chain, opened again"] = str(own.verify().fault)
    filler.unlink()
    steps["step with room"] = str(own.retain(RULE, MUCH_LATER))
    steps["chain at last"] = str(own.verify().fault)
    own.close()
    print(json.dumps(steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
