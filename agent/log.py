"""Logging: one format, a redaction net, rotating private files, and a memory of the first and last lines. ★

Nothing personal is ever handed to a logger. The net below is for the day when something is: it knows
shapes (a NIR, an assertion, a certificate, `pin=`), it cannot know names.
"""

import logging
import os
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import cast

from agent.errors import AgentError

FIRST_LINES, LAST_LINES = 200, 1000
_FILE_BYTES, _FILES = 1_000_000, 10
_LINE_CHARACTERS = 10_000
_TALKATIVE = ("zeep", "websockets", "urllib3", "requests")  # zeep prints whole bodies at DEBUG


def configure(level: str, *, stderr: bool, folder: Path | None) -> "FirstAndLast":
    """Log from `level` up to memory, and where asked to stderr and to files in `folder`. The memory is returned.

    Called again, it replaces what it set up before.
    """
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler.formatter, Redacting)]:
        root.removeHandler(old)
        old.close()
    memory = FirstAndLast()
    handlers: list[logging.Handler] = [memory]
    if stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    if folder is not None:
        handlers.append(_PrivateFile(folder / "agent.log"))
    for handler in handlers:
        _add(root, handler)
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a line that cannot be written would be printed with its arguments
    return memory


def follow(folder: Path) -> None:
    """Go on in the files of this folder, where files are written at all."""
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _PrivateFile)]:
        root.removeHandler(old)
        old.close()
        _add(root, _PrivateFile(folder / "agent.log"))


def redact(text: str) -> str:
    """The text without what looks like a person or a secret."""
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _add(root: logging.Logger, handler: logging.Handler) -> None:
    handler.setFormatter(Redacting())
    root.addHandler(handler)


class Redacting(logging.Formatter):
    """Time, level, logger, message, all redacted. Of an exception: type and frames; its text only if it is ours."""

    def format(self, record: logging.LogRecord) -> str:
        """Memory, stderr and the file share one line: each shape of the net is searched for once."""
        known = vars(record)
        if "redacted" not in known:
            known["redacted"] = self._redacted(record)
        return cast(str, known["redacted"])

    @staticmethod
    def _redacted(record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = redact(_message(record)).translate(_ONE_LINE)[:_LINE_CHARACTERS]
        line = f"{moment}.{int(record.msecs):03d}Z {record.levelname} {record.name}: {said}"
        if record.exc_info and record.exc_info[1]:
            line += f"\n{redact(_without_text(record.exc_info[1]))}"
        return line


class FirstAndLast(logging.Handler):
    """The first and the last lines since the start, for a support bundle."""

    def __init__(self) -> None:
        super().__init__()
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if len(self._first) < FIRST_LINES:
            self._first.append(line)
            return
        self._dropped += len(self._last) == LAST_LINES
        self._last.append(line)

    def lines(self) -> list[str]:
        """Oldest first; where lines were dropped, one says how many."""
        self.acquire()
        try:
            gap = [f"… {self._dropped} lines …"] if self._dropped else []
            return [*self._first, *gap, *self._last]
        finally:
            self.release()


class _PrivateFile(RotatingFileHandler):
    """Ten files of a megabyte, readable by this user alone."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8", delay=True)

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return cast(TextIOWrapper, os.fdopen(descriptor, self.mode, encoding=self.encoding))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (an argument's own __str__ may raise anything; a log call never does)
        return f"(a line that cannot be written, from {Path(record.pathname).name}:{record.lineno})"


def _without_text(error: BaseException) -> str:
    """The chain of exceptions, deepest first."""
    chain: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(chain) < 10:
        said = f": {seen}" if isinstance(seen, AgentError) else ""
        chain.append("\n".join([*_frames(seen.__traceback__), f"{type(seen).__name__}{said}"]))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(reversed(chain))


def _frames(trace: TracebackType | None) -> list[str]:
    return [
        f"  {Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(trace)
    ]


_ONE_LINE = {10: "\\n", 13: "\\r"}  # what a page sent cannot start a line of its own


def _shape(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


_GAP = r"[ \t.\u00a0\u202f-]?"  # how people and forms space a NIR
_SHAPES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_shape(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), "[pem]"),
    (_shape(r"<(\w+:)?Assertion\b.*?(</(\w+:)?Assertion\s*>|\Z)", re.DOTALL), "[assertion]"),
    (_shape(r"<(\w+:)?X509Certificate\b.*?(</(\w+:)?X509Certificate\s*>|\Z)", re.DOTALL), "[certificate]"),
    (
        _shape(
            r"\b((?:code[ _-]?)?pin(?:[ _-]?code)?|code[ _-]?porteur|password|passphrase|mot de passe|mdp|secret|token)"
            r"[\"']?\s*[:=]\s*(?:b?\"[^\"]*\"|b?'[^']*'|[^\s,;}]+)",
            re.IGNORECASE,
        ),
        r"\1=[secret]",
    ),
    (_shape(r"\b(Bearer|Basic)\s+[^\s,;\"']+", re.IGNORECASE), r"\1 [secret]"),
    (_shape(r"(?<![\w-])eyJ[\w-]{10,}(\.[\w-]*){1,4}"), "[jws]"),
    # Base64 of any length that matters; lower-case digests in hexadecimal stay, they are how lines are matched.
    (_shape(r"(?<![\w+/-])(?![0-9a-f]+(?![\w+/=-]))[A-Za-z0-9+/_-]{48,}={0,2}"), "[base64]"),
    (
        _shape(
            rf"(?<![0-9A-Za-z])\d{_GAP}\d\d{_GAP}\d\d{_GAP}(\d\d|2[ABab]){_GAP}\d{{3}}{_GAP}\d{{3}}"
            rf"({_GAP}\d\d)?(?![0-9A-Za-z])"
        ),
        "[nir]",
    ),
    (_shape(r"(?<![0-9A-Za-z])8?10\d{9}(?![0-9A-Za-z])"), "[rpps]"),
)
