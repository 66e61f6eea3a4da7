"""The file of the person's choice of environment and profile: choice.json, this user's alone. ★"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from agent.errors import AgentError, Code
from agent.places import set_aside, write_private
from agent.switching import Choice

log = logging.getLogger(__name__)

_NAME = "choice.json"


def read_choice(folder: Path) -> Choice:
    """What was kept in `folder`; nothing without a file. One that is damaged is set aside: the configuration counts.

    Raises config.invalid for a file that cannot be read or set aside.
    """
    file = folder / _NAME
    try:
        return Choice.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Choice()
    except ValidationError:
        set_aside(file, datetime.now(UTC))
        log.error("%s is damaged and was set aside: environment and profile are as configured", _NAME)  # noqa: TRY400  (what is in it does not print)
        return Choice()
    except OSError as error:
        raise AgentError(Code.CONFIG_INVALID, f"errno {error.errno}", setting=str(file)) from None


def keep_choice(folder: Path, choice: Choice) -> None:
    """Replace the file in one step. Raises config.invalid when it cannot be written."""
    write_private(folder / _NAME, choice.model_dump_json(exclude_none=True).encode())
