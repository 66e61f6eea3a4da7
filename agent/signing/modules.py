"""Where the PKCS#11 module of the CPx is on this system. ★ (looks whether files exist)

Paths: Cryptolib CPS README and package notes (ansforge/dops-cryptolib, versions 5.2). OpenSC is not
among them: built with OpenSSL 3 it cannot sign with a CPS3 (its iasecc driver leaves that part out).
"""

import os
import sys
from pathlib import Path

from agent.errors import AgentError, Code

_WINDOWS = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))
_KNOWN = {
    "linux": [
        Path("/opt/santesocial/CPS/lib/libcps3_pkcs11_lux.so"),
        Path("/usr/lib64/libcps3_pkcs11_lux.so"),
    ],
    "darwin": [Path("/usr/local/lib/libcps3_pkcs11_osx.dylib")],
    # the module must have the bitness of the process
    "win32": [
        _WINDOWS / "System32" / "cps3_pkcs11_w64.dll"
        if sys.maxsize > 1 << 32
        else _WINDOWS / "SysWOW64" / "cps3_pkcs11_w32.dll"
    ],
}
_CPS2_ERA = ("cps_pkcs11_", "libcps_pkcs11_")


def find_module(configured: Path | None) -> Path:
    """The module of the settings, else the first known one that exists. Always an absolute path.

    Raises module.missing (fact tried), module.cannotSign for a module of the CPS2 era.
    """
    tried = [configured] if configured else _KNOWN.get(sys.platform, [])
    for module in tried:
        if module.name.startswith(_CPS2_ERA):
            raise AgentError(Code.MODULE_CANNOT_SIGN, f"{module.name} knows the CPS2 only")
        # a bare name would be searched for in folders that others may write to
        if module.is_absolute() and module.is_file():
            return module
    raise AgentError(Code.MODULE_MISSING, tried=[str(module) for module in tried])
