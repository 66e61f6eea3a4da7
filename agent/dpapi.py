"""Windows: what this machine alone may open, and who we are there. ★ (ctypes: crypt32, advapi32, shell32)

Source: Microsoft's documents of CryptProtectData (dpapi.h; CRYPTPROTECT_LOCAL_MACHINE: "any user on the computer on
which CryptProtectData is called can use CryptUnprotectData"), OpenProcessToken, GetTokenInformation (TokenUser),
ConvertSidToStringSidW, IsUserAnAdmin. Written from them, untested on real Windows.
"""

import sys
from typing import Any

_UI_FORBIDDEN, _LOCAL_MACHINE = 0x1, 0x4
_TOKEN_QUERY, _TOKEN_USER = 0x8, 1


def protect(data: bytes) -> bytes:
    """What any account of this machine opens, and no other machine. Raises OSError."""
    return _crypt("CryptProtectData", data, _UI_FORBIDDEN | _LOCAL_MACHINE)


def unprotect(data: bytes) -> bytes:
    """What `protect` was given, here. Raises OSError for what was protected elsewhere, or damaged."""
    return _crypt("CryptUnprotectData", data, _UI_FORBIDDEN)


def account() -> str:
    """The security identifier of the account that we run as. Raises OSError."""
    if sys.platform != "win32":
        raise OSError("not Windows")
    import ctypes
    from ctypes import wintypes

    advapi, kernel = ctypes.WinDLL("advapi32", use_last_error=True), ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    token, size, text = wintypes.HANDLE(), wintypes.DWORD(), wintypes.LPWSTR()
    _succeeded(advapi.OpenProcessToken(wintypes.HANDLE(kernel.GetCurrentProcess()), _TOKEN_QUERY, ctypes.byref(token)))
    try:
        advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(size))  # fails, and says how large
        found = ctypes.create_string_buffer(size.value)
        _succeeded(advapi.GetTokenInformation(token, _TOKEN_USER, found, size, ctypes.byref(size)))
        sid = ctypes.cast(found, ctypes.POINTER(ctypes.c_void_p))[0]  # TOKEN_USER begins with the pointer to it
        _succeeded(advapi.ConvertSidToStringSidW(ctypes.c_void_p(sid), ctypes.byref(text)))
        try:
            return str(text.value)
        finally:
            kernel.LocalFree(text)
    finally:
        kernel.CloseHandle(token)


def is_administrator() -> bool:
    """Whether this process has an administrator's rights, not only its account."""
    if sys.platform != "win32":
        return False
    import ctypes

    return bool(ctypes.windll.shell32.IsUserAnAdmin())


def _crypt(function: str, data: bytes, flags: int) -> bytes:
    if sys.platform != "win32":
        raise OSError("not Windows")
    import ctypes
    from ctypes import wintypes

    class Blob(ctypes.Structure):
        _fields_ = [("size", wintypes.DWORD), ("data", ctypes.POINTER(ctypes.c_char))]

    crypt32, kernel = ctypes.WinDLL("crypt32", use_last_error=True), ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.LocalFree.argtypes = [ctypes.c_void_p]
    given, made = Blob(len(data), ctypes.create_string_buffer(data, len(data))), Blob()
    _succeeded(getattr(crypt32, function)(ctypes.byref(given), None, None, None, None, flags, ctypes.byref(made)))
    try:
        return ctypes.string_at(made.data, made.size)
    finally:
        kernel.LocalFree(made.data)


def _succeeded(answer: Any) -> None:
    if sys.platform == "win32" and not answer:
        import ctypes

        raise ctypes.WinError(ctypes.get_last_error())
