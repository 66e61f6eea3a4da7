"""The proxy that Windows is told of, for this user and this server. ★ WinHTTP, by ctypes

Written from the documents and never run on Windows: Microsoft Learn, "WinHttpGetIEProxyConfigForCurrentUser",
"WinHttpGetProxyForUrl", "WINHTTP_PROXY_INFO" (winhttp.h). WinHTTP fetches and runs the script of the system itself.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from agent.errors import AgentError, Code
from agent.lane import run_alone


@dataclass(frozen=True)
class UserProxy:
    """What is entered in Windows' own settings."""

    detects: bool = False  # WPAD
    script: str | None = None
    proxy: str | None = None  # "name:port", or "http=name:port;https=name:port"
    bypass: str | None = None  # "*.example;10.*;<local>"


Resolve = Callable[[UserProxy], str | None]  # what WPAD or the script gives: names and ports; None: it fails


def ask(scheme: str, host: str, *, timeout_s: float) -> str:
    """As a PAC script would answer. Blocks. Raises proxy.script (not in time), config.invalid elsewhere."""
    try:
        return run_alone("proxy", partial(_ask_windows, scheme, host), timeout_s=timeout_s)
    except AgentError as error:
        if error.code is Code.CONFIG_INVALID:
            raise
        raise AgentError(Code.PROXY_SCRIPT, f"WinHTTP: {error}") from None


def answer(settings: UserProxy, resolve: Resolve, scheme: str, host: str) -> str:
    """Windows' order: WPAD, then the script, then the proxy by its name. As a PAC script would answer."""
    found = resolve(settings) if settings.detects or settings.script else None
    if found is None and settings.proxy and not _bypassed(settings.bypass or "", host):
        found = settings.proxy
    return _as_pac(found or "", scheme)


def _as_pac(named: str, scheme: str) -> str:
    """ "a:1;b:2" and "http=a:1;https=b:2" → "PROXY …; PROXY …", for servers of this scheme."""
    rows = [row.rpartition("=") for row in named.replace(";", " ").split()]
    ways = [address.removeprefix("http://") for kind, _, address in rows if kind in ("", scheme)]
    return "; ".join(f"PROXY {way}" for way in ways) or "DIRECT"


def _bypassed(rules: str, host: str) -> bool:
    host = host.lower()
    for rule in rules.lower().replace(";", " ").split():
        if rule == "<local>":
            if "." not in host:
                return True
        elif fnmatchcase(host, rule.rpartition("://")[2]):
            return True
    return False


def _ask_windows(scheme: str, host: str) -> str:
    if sys.platform != "win32":
        raise AgentError(Code.CONFIG_INVALID, "only Windows tells its programs of a proxy", setting="proxy.use")
    import ctypes
    from ctypes import wintypes

    class CurrentUser(ctypes.Structure):  # WINHTTP_CURRENT_USER_IE_PROXY_CONFIG
        _fields_ = (
            ("fAutoDetect", wintypes.BOOL),
            ("lpszAutoConfigUrl", ctypes.c_void_p),
            ("lpszProxy", ctypes.c_void_p),
            ("lpszProxyBypass", ctypes.c_void_p),
        )

    class AutoOptions(ctypes.Structure):  # WINHTTP_AUTOPROXY_OPTIONS
        _fields_ = (
            ("dwFlags", wintypes.DWORD),
            ("dwAutoDetectFlags", wintypes.DWORD),
            ("lpszAutoConfigUrl", wintypes.LPCWSTR),
            ("lpvReserved", ctypes.c_void_p),
            ("dwReserved", wintypes.DWORD),
            ("fAutoLogonIfChallenged", wintypes.BOOL),
        )

    class ProxyInfo(ctypes.Structure):  # WINHTTP_PROXY_INFO
        _fields_ = (
            ("dwAccessType", wintypes.DWORD),
            ("lpszProxy", ctypes.c_void_p),
            ("lpszProxyBypass", ctypes.c_void_p),
        )

    no_proxy, named_proxy = 1, 3  # WINHTTP_ACCESS_TYPE_
    auto_detect, config_url, by_dhcp_and_dns = 0x1, 0x2, 0x1 | 0x2
    winhttp = ctypes.WinDLL("winhttp", use_last_error=True)
    global_free = ctypes.WinDLL("kernel32").GlobalFree
    global_free.argtypes = [ctypes.c_void_p]
    winhttp.WinHttpGetIEProxyConfigForCurrentUser.argtypes = [ctypes.POINTER(CurrentUser)]
    winhttp.WinHttpOpen.restype = ctypes.c_void_p
    winhttp.WinHttpOpen.argtypes = [
        wintypes.LPCWSTR, wintypes.DWORD, wintypes.LPCWSTR, wintypes.LPCWSTR, wintypes.DWORD,
    ]  # fmt: skip
    winhttp.WinHttpCloseHandle.argtypes = [ctypes.c_void_p]
    winhttp.WinHttpGetProxyForUrl.argtypes = [
        ctypes.c_void_p, wintypes.LPCWSTR, ctypes.POINTER(AutoOptions), ctypes.POINTER(ProxyInfo),
    ]  # fmt: skip

    def text(pointer: int | None) -> str | None:
        """A string that is ours to free."""
        if not pointer:
            return None
        value = ctypes.wstring_at(pointer)
        global_free(pointer)
        return value

    def resolve(settings: UserProxy) -> str | None:
        session = winhttp.WinHttpOpen("insi-agent", no_proxy, None, None, 0)
        options = AutoOptions(
            dwFlags=(auto_detect if settings.detects else 0) | (config_url if settings.script else 0),
            dwAutoDetectFlags=by_dhcp_and_dns if settings.detects else 0,
            lpszAutoConfigUrl=settings.script,
            fAutoLogonIfChallenged=False,  # else whoever answers as WPAD gets a proof of the person's Windows session
        )
        found = ProxyInfo()
        try:
            if not winhttp.WinHttpGetProxyForUrl(session, f"{scheme}://{host}/", options, found):
                return None  # among others ERROR_WINHTTP_AUTODETECTION_FAILED: nobody on this network tells
            proxy, _ = text(found.lpszProxy), text(found.lpszProxyBypass)
            return (proxy or "") if found.dwAccessType == named_proxy else ""
        finally:
            winhttp.WinHttpCloseHandle(session)

    entered = CurrentUser()
    if not winhttp.WinHttpGetIEProxyConfigForCurrentUser(entered):
        return "DIRECT"  # ERROR_FILE_NOT_FOUND: nothing was ever entered
    settings = UserProxy(
        bool(entered.fAutoDetect),
        text(entered.lpszAutoConfigUrl),
        text(entered.lpszProxy),
        text(entered.lpszProxyBypass),
    )
    return answer(settings, resolve, scheme, host)
