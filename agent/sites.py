"""The file of the person's decisions about sites: sites.json, this user's alone. ★"""

import logging
from pathlib import Path

from pydantic import ValidationError

from agent.consent import Decisions
from agent.errors import AgentError, Code
from agent.places import write_private

log = logging.getLogger(__name__)

_NAME = "sites.json"


def read_decisions(folder: Path) -> Decisions:
    """What was kept in `folder`; nothing without a file.

    One that is damaged is set aside as a whole: half a list could lack a refusal. Raises config.invalid for a
    file that cannot be read or set aside.
    """
    file = folder / _NAME
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Decisions()
    except OSError as error:
        raise AgentError(Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(file)) from None
    try:
        decisions = Decisions.model_validate_json(content)
        if len({one.origin for one in decisions.sites}) == len(decisions.sites):
            return decisions
    except ValidationError:
        pass
    aside = file.with_suffix(".damaged")
    try:
        file.replace(aside)
    except OSError as error:
        raise AgentError(Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(file)) from None
    log.error("%s is damaged and was set aside as %s: sites ask again", _NAME, aside.name)
    return Decisions()


def keep_decisions(folder: Path, decisions: Decisions) -> None:
    """Replace the file in one step. Raises config.invalid when it cannot be written."""
    write_private(folder / _NAME, decisions.model_dump_json(by_alias=True).encode())
