"""The system's own log: the agent's start, its stop and its faults, where an administrator looks for them. ★

Linux and macOS: one datagram to syslog's local socket, `<priority>insi-agent[pid]: text` of at most 1,024 octets
(RFC 3164 §4.1; the receiver adds the time, §4.3.2), facility "user". Nobody there, or a socket that is full: the line
is in our own files alone, and nothing waits. Windows: the Application log, source "INSi Agent", by ReportEventW
(Windows App Development, "Event Logging"), which waits for the log's service; written from the documents, untested on
real Windows.

| id | event | type on Windows | severity of syslog |
| --- | --- | --- | --- |
| 1 | start: port, environment, profile, version | information | 6 informational |
| 2 | stop, or the switch to another environment or profile, and why | information | 6 informational |
| 3 | fault: whatever is logged as an error, in one line; the rest is in our own files | error | 3 error |

The ids stay what they are: administrators' alerts go by them. Ids below 1,001 are shown as they are written where an
installer registers %SystemRoot%\\System32\\EventCreate.exe as EventMessageFile of the source.
"""

import logging
import os
import socket
import sys
from enum import IntEnum

log = logging.getLogger(__name__)

SOURCE = "INSi Agent"
ADDRESS = "/var/run/syslog" if sys.platform == "darwin" else "/dev/log"
_IDENT = "insi-agent"
_FACILITY_USER = 1  # RFC 3164 §4.1.1: user-level messages
_MESSAGE_OCTETS = 1024


class Event(IntEnum):
    """What the system's log is told; `extra={"event": Event.START}` in a log call makes its line one."""

    START = 1
    STOP = 2
    FAULT = 3


class SystemLog(logging.Handler):
    """Errors, and lines that say which event they are. Its formatter gives `time LEVEL logger: text`."""

    def __init__(self, address: str = ADDRESS) -> None:
        """`address`: of syslog's socket; without meaning on Windows."""
        super().__init__()
        self._address = address
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.levelno >= logging.ERROR
        event = Event.FAULT if fault else getattr(record, "event", None)
        if event is None:
            return
        try:
            text = _one_line(self.format(record))
            if sys.platform == "win32":
                _report(event, text)
            else:
                _send(self._address, event, text)
        except OSError as error:
            if not self._said:
                self._said = True
                log.info("the system's log takes nothing: %s", type(error).__name__)


def _one_line(formatted: str) -> str:
    """Without its time, which that log has itself; of an exception what it is, not where it came from."""
    first, *exception = formatted.split("\n")
    text = first.partition(" ")[2]
    return f"{text} ({exception[-1].strip()})" if exception else text


def _send(address: str, event: Event, text: str) -> None:
    severity = 3 if event is Event.FAULT else 6
    message = f"<{8 * _FACILITY_USER + severity}>{_IDENT}[{os.getpid()}]: {text}".encode("utf-8", "replace")
    whole = message[:_MESSAGE_OCTETS].decode("utf-8", "ignore").encode()  # no half of a letter
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.setblocking(False)
        syslog.sendto(whole, address)


def _report(event: Event, text: str) -> None:
    """Application log. Raises OSError."""
    if sys.platform != "win32":
        return
    import ctypes
    from ctypes import wintypes

    library = ctypes.WinDLL("advapi32", use_last_error=True)
    library.RegisterEventSourceW.argtypes = [wintypes.LPCWSTR, wintypes.LPCWSTR]
    library.RegisterEventSourceW.restype = wintypes.HANDLE
    library.DeregisterEventSource.argtypes = [wintypes.HANDLE]
    library.ReportEventW.argtypes = [
        wintypes.HANDLE, wintypes.WORD, wintypes.WORD, wintypes.DWORD, wintypes.LPVOID,
        wintypes.WORD, wintypes.DWORD, ctypes.POINTER(wintypes.LPCWSTR), wintypes.LPVOID,
    ]  # fmt: skip
    error_type, information_type = 0x0001, 0x0004
    source = library.RegisterEventSourceW(None, SOURCE)
    if not source:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        kind = error_type if event is Event.FAULT else information_type
        lines = (wintypes.LPCWSTR * 1)(text)
        if not library.ReportEventW(source, kind, 0, event, None, 1, 0, lines, None):
            raise ctypes.WinError(ctypes.get_last_error())
    finally:
        library.DeregisterEventSource(source)
