"""Switches in the journal, without a gap: how we come to be elsewhere than its last note says is noted first.

No I/O of its own. On the journal's lane; each raises as the journal's own methods.
"""

from agent.journal.ports import Step, Switch
from agent.model import Environment
from agent.workflows.desk import Desk

UNKNOWN = "unknown"  # why we are here: the agent stopped in the middle of a switch, or is configured otherwise by now


def note(desk: Desk, switch: Switch) -> None:
    """Write a switch into the journal of this desk."""
    note_position(desk, switch.left)
    desk.journal.switched(switch)


def note_position(desk: Desk, now: Step) -> None:
    """We are at `now`, or come from there. A change in an environment whose journal is another one is its alone."""
    last = desk.journal.entered()
    if last is None or last == now or (_is_elsewhere(desk, last) and _is_elsewhere(desk, now)):
        return
    desk.journal.switched(Switch(desk.now(), last, now, why=UNKNOWN, account=desk.account))


def position(desk: Desk) -> Step:
    """What counts at this desk."""
    return Step(desk.environment, desk.settings().profile)


def _is_elsewhere(desk: Desk, step: Step) -> bool:
    return (step.environment is Environment.SIMULATED) != (desk.environment is Environment.SIMULATED)
