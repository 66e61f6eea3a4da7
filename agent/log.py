"""Logging: one format, a redaction net, rotating private files, and a memory of the first and last lines. ★

Nothing personal is ever handed to a logger. The net below is for the day when something is: it knows
shapes (a NIR, an assertion, a certificate, `pin=`), it cannot know names. A log call never raises, and on Linux and
macOS waits for nobody but a disk that hangs: a line that cannot be written is lost, and the file says how many were
once it can be. On Windows nothing tells whether who reads stderr, or the event log's service, takes a line at once.
"""

import logging
import os
import re
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from agent.errors import AgentError
from agent.system_log import SystemLog

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)
H = TypeVar("H", bound=logging.Handler)

FIRST_LINES, LAST_LINES = 200, 1000
FILE_BYTES, FILES = 1_000_000, 10
_LINE_CHARACTERS = 10_000
_LONGEST_NIR = 200  # characters, however it is spaced
_TOLD_CHARACTERS = 600  # of a line that a command asks for: all of them fit into one answer
_FIRST_FRAMES, _LAST_FRAMES = 10, 30  # of each exception
_PIPE_BUF = 4096  # octets that a pipe takes at once or not at all (POSIX: 512 at least; Linux, pipe(7): 4,096)
_O_BINARY = getattr(os, "O_BINARY", 0)
_TALKATIVE = ("zeep", "websockets", "urllib3", "requests")  # zeep prints whole bodies at DEBUG


def configure(level: str, *, stderr: str | None, folder: Path | None, system: bool = False) -> "FirstAndLast":
    """Log from `level` up to memory, and where asked to files in `folder`, to the system's log and, from that level up,
    to stderr.

    What nobody catches is logged too, from now on, without its words. The memory is returned. Called again, it
    replaces what it set up before.
    """
    root = logging.getLogger()
    for old in _ours(logging.Handler):
        _remove(root, old)
    memory = FirstAndLast()
    _add(root, memory)
    if stderr:
        _add(root, _Stderr(stderr))
    if folder is not None:
        _add(root, _PrivateFile(folder / "agent.log"))
    if system:
        _add(root, SystemLog())
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a line that cannot be written would be printed with its arguments
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    return memory


def follow(folder: Path, *, system: bool) -> None:
    """Go on in the files of this folder, and in the system's log or not, where files are written at all."""
    root, files = logging.getLogger(), _ours(_PrivateFile)
    for old in [file for file in files if file.place != folder / "agent.log"]:
        _remove(root, old)
        _add(root, _PrivateFile(folder / "agent.log"))
    told = _ours(SystemLog)
    if files and system and not told:
        _add(root, SystemLog())
    for one in told if not system else []:
        _remove(root, one)


def remembered() -> list[str]:
    """The first and the last lines since the start, long ones without their middle; none where nothing was set up."""
    return [_shortened(line) for memory in _ours(FirstAndLast) for line in memory.lines()]


def uncaught_in_loop(_loop: "asyncio.AbstractEventLoop", context: dict[str, Any]) -> None:
    """The exception handler of an event loop: asyncio's own would print arguments and the exception's words."""
    error = context.get("exception")
    # its message quotes a callback's arguments, but only where there is an exception
    log.error("uncaught in the loop%s", "" if error else f": {context['message']}", exc_info=error)


def redact(text: str) -> str:
    """The text without what looks like a person or a secret."""
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _ours(kind: type[H]) -> list[H]:
    """Of the handlers that were set up here, those of this kind."""
    known = logging.getLogger().handlers
    return [one for one in known if isinstance(one.formatter, Redacting) and isinstance(one, kind)]


def _add(root: logging.Logger, handler: logging.Handler) -> None:
    handler.setFormatter(Redacting())
    root.addHandler(handler)


def _remove(root: logging.Logger, handler: logging.Handler) -> None:
    root.removeHandler(handler)
    handler.close()


def _shortened(line: str) -> str:
    """An exception says at the end what it is."""
    return (
        line if len(line) <= _TOLD_CHARACTERS else f"{line[: _TOLD_CHARACTERS // 2]} … {line[-_TOLD_CHARACTERS // 2 :]}"
    )


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("uncaught", exc_info=error)


def _uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_type is not SystemExit:
        name = uncaught.thread.name if uncaught.thread else "?"
        log.error("uncaught in thread %s", name, exc_info=uncaught.exc_value)


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    log.warning("ignored", exc_info=ignored.exc_value)


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
        line = f"{moment}.{int(record.msecs):03d}Z {record.levelname} {record.name}: {_said(_message(record))}"
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


class _PrivateFile(logging.Handler):
    """Ten files of a megabyte, readable by this user alone. Each line is on its way to the disk when it is written."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place
        self._lost = 0  # lines that could not be written
        self._descriptor: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        try:
            if self._lost:
                line = f"… {self._lost} lines could not be written …\n{line}"
            self._write(line.encode("utf-8", "backslashreplace")[-FILE_BYTES:])
        except OSError:
            self._lost += 1
            self._close()  # opened anew for the next line: the disk, the folder may be another one by then
        else:
            self._lost = 0

    def close(self) -> None:
        self.acquire()
        try:
            self._close()
        finally:
            self.release()
        super().close()

    def _write(self, line: bytes) -> None:
        descriptor, size = self._opened()
        if size and size + len(line) > FILE_BYTES:
            self._close()
            for number in range(FILES - 1, 0, -1):
                if (newer := self._file(number - 1)).exists():
                    newer.replace(self._file(number))
            descriptor, size = self._opened()
        if os.write(descriptor, line) < len(line):  # the disk was full in mid-line
            os.ftruncate(descriptor, size)
            raise OSError

    def _opened(self) -> tuple[int, int]:
        """The file and its size; a new one where the last was taken away."""
        if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:
            self._close()
        if self._descriptor is None:
            self._descriptor = os.open(self.place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _O_BINARY, 0o600)
        return self._descriptor, os.fstat(self._descriptor).st_size

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _file(self, number: int) -> Path:
        return self.place.with_name(f"{self.place.name}.{number}") if number else self.place


class _Stderr(logging.StreamHandler[TextIO]):
    """Whoever started us and does not read what we say loses lines, and holds up nobody."""

    def __init__(self, level: str) -> None:
        super().__init__(sys.stderr)
        self.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n"
        try:
            for at in range(0, len(line), _PIPE_BUF // 4):  # a letter is four octets at most
                if not _takes(self.stream):
                    return
                self.stream.write(line[at : at + _PIPE_BUF // 4])
                self.stream.flush()
        except (OSError, ValueError, AttributeError):  # gone, closed, or never there
            return


def _takes(stream: TextIO) -> bool:
    """Whether what is written now is taken at once; True where nobody can tell: no descriptor, or on Windows."""
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError, TypeError):
        return True


def _said(words: str) -> str:
    """As much of them as a line holds, redacted, on one line.

    Only a part is searched, and what may have been cut in two there is left out.
    """
    said = redact(words[: 2 * _LINE_CHARACTERS])
    whole = said if len(words) <= 2 * _LINE_CHARACTERS else said[:-_LONGEST_NIR]
    return whole[:_LINE_CHARACTERS].translate(_ONE_LINE)


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
        said = f": {_said(str(seen))}" if isinstance(seen, AgentError) else ""
        chain.append("\n".join([*_frames(seen.__traceback__), f"{type(seen).__name__}{said}"]))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(reversed(chain))


def _frames(trace: TracebackType | None) -> list[str]:
    frames = [
        f"  {Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(trace)
    ]
    if (more := len(frames) - _FIRST_FRAMES - _LAST_FRAMES) > 0:  # a recursion without end
        frames[_FIRST_FRAMES:-_LAST_FRAMES] = [f"  … {more} frames …"]
    return frames


# C0, DEL, C1 and Unicode's two line ends: what a page sent starts no line of its own and says nothing to a terminal
_ONE_LINE = {
    number: chr(number).encode("unicode_escape").decode()
    for number in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}


def _shape(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


# How people, forms, addresses and markup space a NIR.
_GAP = r"(?:[ \t._/+\u00a0\u2007\u2009\u202f-]|%20|(?:%C2)?%A0|\\u(?:00a0|2007|2009|202f)|&nbsp;|&#(?:160|xA0);)?"
# A word or a letter of an address may stand right before one, and behind it; a digest's own digits are none.
_BEFORE, _AFTER = r"(?:(?<![0-9A-Fa-f])|(?<=%[0-9A-Fa-f]{2}))", r"(?![0-9A-Fa-f])"
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
            rf"{_BEFORE}\d{_GAP}\d\d{_GAP}\d\d{_GAP}(\d\d|2[AB]){_GAP}\d{{3}}{_GAP}\d{{3}}({_GAP}\d\d)?{_AFTER}",
            re.IGNORECASE,
        ),
        "[nir]",
    ),
    (_shape(r"(?<![0-9A-Za-z])8?10\d{9}(?![0-9A-Za-z])"), "[rpps]"),
)
