"""The agent on real parts, with its edges timed: `python -m benchmarks.station CONFIG FOLDER`.

Only the PIN window is replaced, by someone who knows the code. Says its port, then for each line of
input the seconds spent in cards, signature, INSi and journal. Ends with its input.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.options import Options
from agent.pin import Pin
from agent.places import Places
from agent.readers.desk import PcscVitale
from agent.readers.ports import Card
from agent.running import RunningAgent
from agent.tray.bridge import PinQuestion


class Typist:
    """Types the right code at once."""

    async def ask_pin(self, _question: PinQuestion) -> Pin:
        return Pin(bytearray(b"1234"))


class Timed:
    """An edge whose calls are counted under a name."""

    def __init__(self, edge: Any, name: str, spent: dict[str, float]) -> None:
        self._edge, self._name, self._spent = edge, name, spent

    def __getattr__(self, call: str) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            with _counted(self._name, self._spent):
                return getattr(self._edge, call)(*arguments)

        return timed


class TimedReaders(Timed):
    """What is done between two commands of a transaction is ours, not the card's."""

    @contextmanager
    def transaction(self, reader: str) -> Iterator[Card]:
        transaction = self._edge.transaction(reader)
        with _counted(self._name, self._spent):
            card = transaction.__enter__()
        try:
            yield TimedCard(card, self._name, self._spent)
        finally:
            with _counted(self._name, self._spent):
                transaction.__exit__(None, None, None)


class TimedCard(Timed):
    @property
    def atr(self) -> bytes:
        return bytes(self._edge.atr)


@contextmanager
def _counted(name: str, spent: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        spent[name] += time.perf_counter() - began


def main(config: Path, folder: Path) -> None:
    running = RunningAgent(Options(port=0, config_file=config), Places.simulated(folder).create())
    desk = running.agent.desk
    spent: dict[str, float] = dict.fromkeys(("card", "signature", "insi", "journal"), 0.0)
    tokens = Timed(desk.tokens(), "signature", spent)
    desk.person = Typist()
    desk.readers = TimedReaders(desk.readers, "card", spent)
    desk.vitale = PcscVitale(desk.readers, lambda: ((), ()))
    desk.tokens = lambda: tokens
    desk.teleservice = Timed(desk.teleservice, "insi", spent)
    desk.journal = Timed(desk.journal, "journal", spent)
    print(json.dumps({"port": running.agent.port, "pid": os.getpid()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(spent), flush=True)
    running.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
