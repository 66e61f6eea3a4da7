"""The licensed Vitale reading library (api_lec), called in a process of its own. ★ (ctypes; only the child loads it)

Second hand: the functions, their parameters and their order are those of ABAK's bindings for Windows and
macOS (abak_desktop_companion, in its history). Untested on the real library.

[guess], all in this file: every type. Hence a number that the library writes has eight bytes of its own,
zeroes at first, and is right whether it is two, four or eight bytes wide (little-endian, as every machine we
run on); the room promised is what two bytes can say. What `mode` means is not public, nor whether a
reader stays taken between Hn_Init and Hn_Finir: each reading is a session of its own.
"""

import ctypes
import sys
from ctypes import byref
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code

_OK = 0
_ROOM = 0xFFFF

_Number = ctypes.c_uint64
_TO_NUMBER = ctypes.POINTER(_Number)
_FUNCTIONS: dict[str, list[Any]] = {
    "Hn_Init": [ctypes.c_char_p, _TO_NUMBER, _TO_NUMBER],  # folder of api_lec.ini, mode, error
    "Hn_LectureVitaleDonneesIdentification": [  # seconds to wait, text, its length, card state, error
        ctypes.c_int,
        ctypes.c_char_p,
        _TO_NUMBER,
        _TO_NUMBER,
        _TO_NUMBER,
    ],
    "Hn_Finir": [_TO_NUMBER],  # error
}
_INIT, _READ, _FINISH = _FUNCTIONS


class ApilecLibrary:
    """The library, loaded."""

    def __init__(self, path: Path) -> None:
        """`path` is absolute and was checked. Raises apilec.missing when it cannot be loaded, or is another library."""
        try:
            library = ctypes.CDLL(str(path))
            self._functions = {name: getattr(library, name) for name in _FUNCTIONS}
        except (OSError, AttributeError) as error:
            raise AgentError(Code.APILEC_MISSING, f"{path.name}: {type(error).__name__}", tried=[str(path)]) from None
        for name, function in self._functions.items():
            function.argtypes, function.restype = _FUNCTIONS[name], ctypes.c_ushort

    def read(self, configuration: Path, wait_s: int) -> bytes:
        """The XML of the card, for which the library may wait so long. `configuration`: folder of api_lec.ini.

        Raises apilec.failed (facts call, code, cardState, error: the library's own numbers).
        """
        error = _Number()
        folder = str(configuration).encode("mbcs" if sys.platform == "win32" else "utf-8")
        _check(_INIT, self._functions[_INIT](folder, byref(_Number()), byref(error)), error)
        try:
            return self._read(wait_s)
        finally:
            self._functions[_FINISH](byref(_Number()))

    def _read(self, wait_s: int) -> bytes:
        text, length, card_state, error = ctypes.create_string_buffer(_ROOM + 1), _Number(_ROOM), _Number(), _Number()
        code = self._functions[_READ](wait_s, text, byref(length), byref(card_state), byref(error))
        _check(_READ, code, error, card_state)
        return text.raw[: length.value].partition(b"\0")[0]


def _check(call: str, code: int, error: Any, card_state: Any | None = None) -> None:
    if code != _OK:
        facts = {"call": call, "code": str(code), "error": _short(error)}
        if card_state is not None:
            facts["cardState"] = _short(card_state)
        raise AgentError(Code.APILEC_FAILED, f"{call}: {code}, error {facts['error']}", **facts)


def _short(number: Any) -> int:
    return ctypes.c_short(number.value).value
