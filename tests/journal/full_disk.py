"""A disk without a free block, for programs that run in a mount namespace of their own."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from agent.errors import AgentError


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
    """The code of its failure, or that it was done."""
    try:
        call()
    except AgentError as error:
        return str(error.code)
    return "done"
