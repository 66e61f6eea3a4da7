"""Environment and profile: what the person may change here, who decides the rest, what of their choice counts.

No I/O of its own. The switch itself is `running.py`'s.
"""

from agent.config import Loaded, Source
from agent.errors import AgentError, Code
from agent.model import Environment, Profile, Value
from agent.protocol.messages import Switched, SwitchResult

NAMES: tuple[Switched, ...] = ("environment", "profile")
_ABOVE_THE_PERSON = (Source.MACHINE_POLICY, Source.USER_POLICY, Source.COMMAND_LINE, Source.MACHINE)


class Choice(Value):
    """What the person chose at run time, or wants. None: nothing of the kind."""

    environment: Environment | None = None
    profile: Profile | None = None


def locks(loaded: Loaded) -> dict[Switched, Source]:
    """What the person may not change, and who decided it: all of it on a managed install."""
    found: dict[Switched, Source] = {}
    for name in NAMES:
        source = loaded.sources.get(name, Source.DEFAULT)
        if source in _ABOVE_THE_PERSON:
            found[name] = source
        elif loaded.settings.managed:  # a policy says so by being there, the machine's configuration by this setting
            found[name] = loaded.sources.get("managed", Source.MACHINE_POLICY)
    return found


def counting(choice: Choice, loaded: Loaded) -> Choice:
    """What still counts of a choice made earlier: nothing that is locked by now, no simulator where it is forbidden."""
    kept = {name: value for name, value in choice if name not in locks(loaded)}
    if kept.get("environment") is Environment.SIMULATED and loaded.settings.simulate == "forbid":
        del kept["environment"]
    return Choice.model_validate(kept)


def chosen(choice: Choice, wanted: Choice, loaded: Loaded, stays: Environment | None = None) -> Choice:
    """The choice once `wanted` is part of it. `stays`: the environment that an agent is to start in again.

    Raises setting.locked {setting, source}, simulator.forbidden.
    """
    new = {name: value for name, value in wanted if value is not None}
    for name, source in locks(loaded).items():
        if name in new:
            raise AgentError(Code.SETTING_LOCKED, setting=name, source=source.value)
    if Environment.SIMULATED in (new.get("environment"), stays) and loaded.settings.simulate == "forbid":
        raise AgentError(Code.SIMULATOR_FORBIDDEN)
    return choice.model_copy(update=new)


def offered(loaded: Loaded, now: SwitchResult) -> list[tuple[Switched, str]]:
    """What the person may change to."""
    environments = [
        one for one in Environment if one is not Environment.SIMULATED or loaded.settings.simulate == "allow"
    ]
    others: list[tuple[Switched, str]] = [
        *(("environment", one.value) for one in environments if one is not now.environment),
        *(("profile", one.value) for one in Profile if one is not now.profile),
    ]
    return [(name, value) for name, value in others if name not in now.locked]


def what_counts(loaded: Loaded, choice: Choice, configured: Environment | None = None) -> SwitchResult:
    """What counts; `configured`: the environment of the next start, where settings were read since this one."""
    locked = locks(loaded)
    now = Choice(environment=loaded.settings.environment, profile=loaded.settings.profile)
    counts = dict(counting(choice, loaded))
    ignored = {name: value for name, value in choice if value not in (None, counts[name], dict(now)[name])}
    later = {} if configured in (None, now.environment) else {"environment": configured}
    return SwitchResult(
        environment=loaded.settings.environment,
        profile=loaded.settings.profile,
        locked=list(locked),
        sources={name: source.value for name, source in locked.items()},
        ignored={name: str(ignored[name]) for name in NAMES if name in ignored},
        next_start={name: str(later[name]) for name in NAMES if name in later},
    )
