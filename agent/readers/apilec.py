"""The carte Vitale by the licensed reading library (api_lec), in a process of its own. ★ (a pipe to a child process)

The library is the customer's own copy: nothing of it ships with the agent, and the real one was never at
hand here. It gives what plain PC/SC does not: the birth rank, the certified number, which name it is. It
finds its reader by its own api_lec.ini. One that crashes or hangs takes only the worker along; the next
reading starts another.

Places, second hand: ABAK's bindings (abak_desktop_companion, in its history); nothing was seen on Linux.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from agent.child import KeptChild, Pipe, failure, pipe_to_parent
from agent.errors import AgentError, Code
from agent.lane import Lane
from agent.native import check_library
from agent.readers.apilec_xml import parse_content
from agent.readers.desk import DeskReading

MARGIN_S = 20  # start of the worker, loading, and what the library does besides waiting [guess]
READER = "api_lec"  # stands for the reader's name, which the library does not tell

# The card is no longer there, or another one is.
_GONE = (Code.VITALE_ABSENT, Code.VITALE_EMPTY, Code.CARD_ABSENT, Code.CARD_REMOVED, Code.CARD_UNKNOWN)


@dataclass(frozen=True)
class Installed:
    """Where the library is, and the folder of its api_lec.ini."""

    library: Path
    configuration: Path


_WINDOWS_DATA = Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"))
_MACOS = Path("/Library/Application Support/santesocial/apilec")
_KNOWN_LIBRARIES = {
    "win32": [Path(os.environ.get("PROGRAMFILES", r"C:\Program Files")) / "santesocial" / "api_lec" / "api_lec64.dll"],
    "darwin": [_MACOS / "libapi_lec.dylib"],
}
_KNOWN_CONFIGURATIONS = {
    "win32": [_WINDOWS_DATA / "santesocial" / "api_lec64", _WINDOWS_DATA / "SESAM-Vitale" / "APILEC"],
    "darwin": [_MACOS],
}


def find_apilec(
    library: Path | None, configuration: Path | None, *, check: Callable[[Path], Path] = check_library
) -> Installed:
    """The library and the folder of the settings, else the first known ones. Nothing is loaded.

    `check` gives a library's real path. Raises apilec.missing (fact tried), module.unsafe, module.bitness.
    """
    libraries = [library] if library else _KNOWN_LIBRARIES.get(sys.platform, [])
    folders = [configuration] if configuration else _KNOWN_CONFIGURATIONS.get(sys.platform, [])
    folder = next((known for known in folders if known.is_absolute() and known.is_dir()), None)
    found = next((real for known in libraries if (real := _checked(known, check))), None)
    if found is None or folder is None:
        tried = libraries if found is None else folders
        raise AgentError(Code.APILEC_MISSING, "no folder" if found else "no library", tried=[str(one) for one in tried])
    return Installed(found, folder)


class ApilecVitale:
    """`VitaleSource` by the library, in a child process that the first reading starts."""

    gives_rank = True

    def __init__(
        self,
        *,
        library: Path | None,
        configuration: Path | None,
        wait_s: int,
        codes: Mapping[str, Code],
        today: Callable[[], date],
        check: Callable[[Path], Path] = check_library,
    ) -> None:
        """`library`, `configuration`: None for the known places. `codes`: the library's return codes in our words."""
        self._check = check
        self._library, self._configuration = library, configuration
        self._wait_s, self._codes, self._today = wait_s, codes, today
        self.timeout_s: float = wait_s + MARGIN_S
        # Its own: the worker dies with the thread that started it, and the library waits long for its card.
        self.lane: Lane = Lane("apilec")
        self._child = KeptChild("apilec")

    @property
    def pid(self) -> int | None:
        """The worker's process, if it runs."""
        return self._child.pid

    def read(self, reader: str | None) -> DeskReading:  # noqa: ARG002  (the library has its own reader)
        """Read the carte Vitale, for which the library waits a while. `reader` counts for nothing.

        Raises what `find_apilec` raises, apilec.failed (facts call, code, cardState, error) or what the settings
        make of that code, apilec.unreadable, vitale.empty, device.crashed.
        """
        installed = find_apilec(self._library, self._configuration, check=self._check)  # no library, no process
        request = {"library": str(installed.library), "configuration": str(installed.configuration)}
        try:
            _, xml = self._child.ask({**request, "waitS": self._wait_s})
        except AgentError as error:
            known = self._codes.get(error.facts["code"]) if error.code is Code.APILEC_FAILED else None
            raise AgentError(known or error.code, error.detail, **error.facts) from None
        return DeskReading(READER, b"", parse_content(bytes(xml), self._today()))

    def read_again(self, reading: DeskReading) -> None:
        """Read once more: the same card with the same content, or vitale.changed. Raises also what `read` raises."""
        try:
            now, before = self.read(None).content, reading.content
            if (now.card.serial, now.fingerprint) == (before.card.serial, before.fingerprint):
                return
        except AgentError as error:
            if error.code not in _GONE:
                raise
        raise AgentError(Code.VITALE_CHANGED)

    def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        """End the worker and its lane."""
        self._child.close()
        self.lane.close()


def child_main() -> int:
    """The worker process: `_child apilec`. What the library prints may be a name: nobody reads it."""
    pipe = pipe_to_parent()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    main(pipe)
    return 0


def main(pipe: Pipe) -> None:
    """Answer requests until the agent closes the pipe. The library is loaded by the first one."""
    from agent.readers.apilec_library import ApilecLibrary

    library: ApilecLibrary | None = None
    while (frame := pipe.receive()) is not None:
        request = frame[0]
        try:
            library = library or ApilecLibrary(Path(request["library"]))
            header, xml = {}, library.read(Path(request["configuration"]), request["waitS"])
        except AgentError as error:
            header, xml = failure(error), b""
        pipe.send(header, xml)


def _checked(library: Path, check: Callable[[Path], Path]) -> Path | None:
    """The library's real path; None where there is none. Raises module.unsafe, module.bitness."""
    try:
        return check(library)
    except AgentError as error:
        if error.code is not Code.MODULE_MISSING:
            raise
        return None
