"""The agent with somebody at the desk who always gives the code: `python -m tests.parts.attended CONFIG`.

As `insi-agent run --no-tray --port 0 --config CONFIG`, but that the window's process answers by itself, as it does
for the simulator. No part of the tests is loaded beside it.
"""

import sys
from pathlib import Path

from agent.child import harden
from agent.log import configure
from agent.options import Options, load_settings
from agent.places import Places
from agent.running import RunningAgent, until_told_to_stop
from agent.tray.bridge import Person


def main(config: Path) -> None:
    harden()
    options = Options(port=0, config_file=config)
    places = Places.real(load_settings(options).settings.journal.directory).create()
    configure("INFO", stderr=True, folder=places.log)
    running = RunningAgent(options, places)
    running.agent.desk.person = Person(simulated=True)
    try:
        until_told_to_stop(running, tray=False)
    finally:
        running.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
