"""Runs in a mount namespace of its own: an agent whose journal is on a bad disk, and what came of each step.

`python -m tests.journal.disks SCENARIO FOLDER` prints one JSON object. The agent is the simulator's, with its keys in
FOLDER; INSi is in this process, so each step also says how many messages it was sent.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.places import Places
from tests.parts.agent import RefusedError, Simulation

from .full_disk import came_of, fill
from .making import NOW, ORIGIN, found, intent, journal
from .network import NetworkFolder

TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
CONFIG = "[insi]\nmax_reply_bytes = 65536\nretries = 0\n[limits]\ninsi_per_minute = 100000\n"
FOUND = "00"
MEGABYTES = 24


class Disk:
    """An ext4 in a file."""

    def __init__(self, image: Path, at: Path) -> None:
        self._image, self.at = image, at
        with image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        _run("mkfs.ext4", "-q", "-m", "0", "-F", str(image))
        self.mount()

    def mount(self, option: str = "rw") -> None:
        _run("mount", "-o", f"loop,{option}", str(self._image), str(self.at))

    def fail(self) -> None:
        """As ext4 does when the device fails: nothing can be written any more."""
        _run("mount", "-o", "remount,abort", str(self.at))

    def vanish(self) -> None:
        """Out of the tree, while files are open."""
        _run("umount", "--lazy", str(self.at))

    def fill(self) -> Path:
        """The file that has every block that was left."""
        filler = self.at / "filler"
        fill(filler)
        return filler


class Desk:
    """An agent with its journal on such a disk, a page, and what was seen of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.places = folder, Places.simulated(folder).create()
        self.disk = Disk(folder / "image", self.places.journal)
        self._running: list[Simulation] = []
        self.agent = self.start(folder)
        self.site = self.agent.site()
        self.seen: dict[str, Any] = {}

    def start(self, folder: Path) -> Simulation:
        self._running.append(Simulation(folder, CONFIG, 0))
        return self._running[-1]

    def stop(self) -> None:
        """Every agent that was started."""
        while self._running:
            self._running.pop().stop()

    def release(self) -> None:
        """End the first agent alone."""
        self._running.remove(self.agent)
        self.agent.stop()

    def restart(self) -> None:
        self.agent.restart()
        self.site = self.agent.site()

    def call(self, step: str, agent: Simulation | None = None) -> bool:
        """One call of a page: what came, how many messages it sent, and what the status then warns of."""
        agent = agent or self.agent
        site = self.site if agent is self.agent else agent.site()
        before = agent.insi.received
        try:
            came = site.call("insi.retrieveByTraits", traits=TRAITS)["code"]
        except RefusedError as refused:
            came = [refused.reason, refused.error["message"]]
        warned = [one["reason"] for one in site.call("agent.status")["warnings"]]
        self.seen[step] = [came, agent.insi.received - before, warned]
        return bool(came == FOUND)

    def fault(self, step: str) -> None:
        """What the whole chain is worth, once every agent has ended."""
        identity = self.agent.running.agent.desk.load_identity()
        self.stop()
        own = journal(self.places.journal, identity)
        self.seen[step] = str(own.verify().fault)
        own.close()


def full(desk: Desk) -> None:
    desk.call("with room")
    filler = desk.disk.fill()
    while desk.call("on a full disk"):  # what room is left is used first
        pass
    desk.call("still")
    desk.restart()
    desk.call("after a start")
    filler.unlink()
    desk.call("with room again")
    desk.fault("chain")


def failing(desk: Desk) -> None:
    """Read-only in mid-run, gone, and back: without a new start."""
    desk.call("before")
    desk.disk.fail()
    desk.call("read-only")
    desk.disk.vanish()
    desk.call("gone")
    desk.disk.mount()
    desk.call("back")
    desk.fault("chain")


def vanishing(desk: Desk) -> None:
    desk.call("before")
    desk.disk.vanish()
    desk.call("gone")
    desk.call("still")
    desk.seen["left where the disk was"] = [file.name for file in desk.disk.at.iterdir()]
    desk.disk.mount()
    desk.call("back")
    desk.fault("chain")


def read_only(desk: Desk) -> None:
    """From the start on."""
    desk.call("before")
    desk.stop()
    desk.disk.vanish()
    desk.disk.mount("ro")
    try:
        desk.start(desk.folder)
    except AgentError as error:
        desk.seen["start"] = [error.code, error.facts["setting"] == str(desk.places.journal)]


def network(desk: Desk) -> None:
    """The folder becomes a link to one that is on a network."""
    share = desk.folder / "share"
    share.mkdir()
    server = NetworkFolder(share)
    desk.disk.vanish()
    desk.places.journal.rmdir()
    desk.places.journal.symlink_to(share)
    desk.call("a link to a network")
    try:
        journal(desk.places.journal).intend(intent())
    except AgentError as error:
        desk.seen["why"] = str(error)
    desk.places.journal.unlink()
    desk.places.journal.mkdir()
    desk.call("a folder again")
    server.close()
    desk.seen["written on the network"] = sorted(server.asked - NetworkFolder.READING)


def two_agents(desk: Desk) -> None:
    """Another agent, with a home of its own, is given the journal of the first."""
    desk.call("first")
    second = desk.folder / "second"
    home = Places.simulated(second).create()
    _run("cp", "-a", f"{desk.places.data}/.", str(home.data))
    _run("mount", "--bind", str(desk.places.journal), str(home.journal))
    other = desk.start(second)
    desk.call("second", other)
    desk.call("first, undisturbed")
    desk.release()
    desk.call("second, once it is free", other)
    desk.fault("chain")


def under_way(folder: Path) -> dict[str, str]:
    """What was intended before the disk was full can be concluded, and no more is intended."""
    folder.mkdir(exist_ok=True)
    disk = Disk(folder.parent / "image", folder)
    place, seen = folder / "journal", dict[str, str]()
    reply, result = os.urandom(1 << 20), os.urandom(64 << 10)

    own = journal(place, max_reply_bytes=1 << 20)
    for number in range(2):  # so that the disk does not fill under a fresh file only
        own.conclude(own.intend(intent(f"before-{number}")), found(reply[:50_000]))
    sent = {name: own.intend(intent(name)) for name in ("trace-0", "trace-1", "trace-2")}
    filler = disk.fill()

    def one_more() -> None:
        name = f"trace-{len(sent)}"
        sent[name] = own.intend(intent(name))

    while (refused := came_of(one_more)) == "done":
        pass
    seen["an intent without room"] = refused
    for name, intended in sent.items():
        seen[f"outcome of {name}"] = came_of(partial(own.conclude, intended, found(reply)))
    seen["result"] = came_of(lambda: own.finish("trace-0", NOW, lambda _seq, _previous: result))
    seen["chain, still full"] = str(own.verify().fault)
    own.close()
    own = journal(place, max_reply_bytes=1 << 20)
    seen["chain, opened again"] = str(own.verify().fault)
    seen["replies"] = str({own.image(name, ORIGIN) == reply for name in sent})
    seen["intent, opened again"] = came_of(lambda: own.intend(intent("again")))
    filler.unlink()
    seen["intent, with room"] = came_of(lambda: own.intend(intent("room")))
    seen["chain at last"] = str(own.verify().fault)
    own.close()
    return seen


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


SCENARIOS = {one.__name__: one for one in (full, failing, vanishing, read_only, network, two_agents)}


def main(name: str, folder: Path) -> None:
    if name == under_way.__name__:
        seen: dict[str, Any] = under_way(folder / "disk")
    else:
        desk = Desk(folder)
        try:
            SCENARIOS[name](desk)
        finally:
            desk.stop()
        seen = desk.seen
    print(json.dumps(seen, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
