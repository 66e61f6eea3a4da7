"""Arguments, then run. The hidden subcommand `_child` is a window or vendor code in a process of its own."""

import os
import sys

from agent.child import harden

# pydantic would look through every installed package for plug-ins, and load them: slow, and strangers
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"


def main() -> int:
    """The exit status of the command given."""
    harden()
    if sys.argv[1:2] != ["_child"]:
        from agent.cli import main as command_line

        return command_line(sys.argv[1:])
    if sys.argv[2] == "pin":
        from agent.tray.dialogs.pin import child_main
    elif sys.argv[2] == "activity":
        from agent.tray.dialogs.activity import child_main
    elif sys.argv[2] == "consent":
        from agent.tray.dialogs.consent import child_main
    elif sys.argv[2] == "sites":
        from agent.tray.dialogs.sites import child_main
    elif sys.argv[2] == "switch":
        from agent.tray.dialogs.switch import child_main
    elif sys.argv[2] == "pac":
        from agent.insi.pac import child_main
    elif sys.argv[2] == "apilec":
        from agent.readers.apilec import child_main
    else:
        from agent.signing.worker import child_main
    return child_main()


if __name__ == "__main__":
    sys.exit(main())
