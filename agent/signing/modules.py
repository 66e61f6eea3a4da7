"""Where the PKCS#11 module of the CPx is on this system, and what it is. ★ (looks whether files exist)

Paths: Cryptolib CPS README and package notes (ansforge/dops-cryptolib, version 5.2). Names and versions that
modules give of themselves: its cps3pkcs11ver.h. OpenSC comes last and for reading only: built with OpenSSL 3
it cannot sign with a CPS3 (its iasecc driver leaves that part out). Registry and paths of Windows and macOS
are written from the documents, untested here.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agent.errors import AgentError, Code
from agent.native import check_library
from agent.signing.ports import ModuleFacts

CRYPTOLIB, OPENSC = "Cryptolib CPS", "OpenSC"

_64_BITS = sys.maxsize > 1 << 32
_WINDOWS = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))
_PROGRAMS = Path(os.environ.get("PROGRAMFILES", r"C:\Program Files"))
_DLL = "cps3_pkcs11_w64.dll" if _64_BITS else "cps3_pkcs11_w32.dll"  # the module must have our own bitness
_LINUX = "libcps3_pkcs11_lux.so"
_CRYPTOLIBS = {
    "linux": [
        Path("/opt/santesocial/CPS/lib", _LINUX),
        *(Path("/usr/lib64", _LINUX + version) for version in ("", ".0", ".3.1.0")),
    ],
    "darwin": [Path("/usr/local/lib/libcps3_pkcs11_osx.dylib"), Path("/usr/lib/libcps3_pkcs11_osx.dylib")],
    # what a 32-bit process calls System32 is SysWOW64
    "win32": [_WINDOWS / "System32" / _DLL, _WINDOWS / "SysWOW64" / _DLL],
}
_OPENSCS = {
    "linux": [
        Path("/usr/lib", getattr(sys.implementation, "_multiarch", ""), "opensc-pkcs11.so"),
        *(Path(folder, "opensc-pkcs11.so") for folder in ("/usr/lib64", "/usr/lib64/pkcs11", "/usr/lib")),
    ],
    "darwin": [Path("/Library/OpenSC/lib/opensc-pkcs11.so"), Path("/usr/local/lib/opensc-pkcs11.so")],
    "win32": [_PROGRAMS / "OpenSC Project" / "OpenSC" / "pkcs11" / "opensc-pkcs11.dll"],
}
_CPS2_ERA = ("cps_pkcs11_", "libcps_pkcs11_")
_OURS = "CPS3 PKCS#11"  # how the Cryptolib's description begins

Check = Callable[[Path], Path]


def find_module(
    configured: Path | None,
    *,
    check: Check = check_library,
    cryptolibs: Sequence[Path] | None = None,
    openscs: Sequence[Path] | None = None,
) -> Path:
    """The module of the settings, else the first Cryptolib that passes the check, else an OpenSC for reading.

    The real file, links followed. A Cryptolib that is there and does not pass is said, never passed over for
    OpenSC. Raises module.missing (fact tried), module.tooOld for the CPS2 era, module.unsafe, module.bitness.
    """
    if configured:
        if configured.name.startswith(_CPS2_ERA):
            raise AgentError(Code.MODULE_TOO_OLD, f"{configured.name} knows the CPS2 only", path=str(configured))
        return check(configured)
    tried: list[Path] = []
    for known in (
        known_cryptolibs() if cryptolibs is None else cryptolibs,
        _OPENSCS.get(sys.platform, []) if openscs is None else openscs,
    ):
        refused = None
        for module in filter(Path.is_file, known):
            try:
                return check(module)
            except AgentError as error:
                refused = refused or error
        if refused:
            raise refused
        tried += known
    raise AgentError(Code.MODULE_MISSING, tried=[str(module) for module in tried])


def known_cryptolibs() -> list[Path]:
    """Where a Cryptolib CPS may be on this system, there or not."""
    return [*_CRYPTOLIBS.get(sys.platform, []), *(folder / _DLL for folder, _version in registered())]


def installed() -> list[Path]:
    """Every Cryptolib CPS that is there, links followed: several on one workstation are a known trouble."""
    return list(dict.fromkeys(module.resolve() for module in filter(Path.is_file, known_cryptolibs())))


def registered() -> Iterator[tuple[Path, str]]:
    r"""Folder and version of each Cryptolib of Windows' registry (HKLM\SOFTWARE\ASIP\Cryptolib CPS)."""
    if sys.platform != "win32":
        return
    import winreg

    for view in (winreg.KEY_WOW64_64KEY, winreg.KEY_WOW64_32KEY):
        with (
            suppress(OSError),  # not installed
            winreg.OpenKey(
                winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\ASIP\Cryptolib CPS", access=winreg.KEY_READ | view
            ) as key,
        ):
            yield Path(winreg.QueryValueEx(key, "InstallDir")[0]), str(winreg.QueryValueEx(key, "Version")[0])


def module_facts(path: Path, *, description: str, version: tuple[int, int], opensc_signs: bool) -> ModuleFacts:
    """What a loaded module is, from its CK_INFO."""
    known = {_OURS: CRYPTOLIB, OPENSC: OPENSC}
    name = next((ours for begin, ours in known.items() if description.startswith(begin)), description or path.name)
    return ModuleFacts(
        path=str(path),
        name=name,
        version=f"{version[0]}.{version[1]}",
        signs_cps3=opensc_signs or name != OPENSC,
    )
