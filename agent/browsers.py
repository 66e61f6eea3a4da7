"""The browsers, and the policy files that let our sites reach this machine from them. No I/O of its own.

Since 2025 browsers ask the person before a page may reach 127.0.0.1 (WICG, Local Network Access). A policy of
the organisation answers for the person. Sources:

- Chromium family: "Enterprise policy URL pattern format" (Google) and LoopbackNetworkAllowedForUrls (Microsoft Edge
  policy reference). A pattern without a port matches every port (measured on Chromium 156).
- Firefox: LocalNetworkAccess of mozilla/policy-templates; measured on Firefox ESR 153.7. On Windows a list is one
  only if its first value is called "1" (second hand, Firefox's WindowsGPOParser).
- Places: Chromium and Firefox on Linux measured, Chrome and Windows documented, Edge on Linux second hand.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent.errors import AgentError, Code


class Engine(StrEnum):
    """What reads the policies."""

    BLINK = "blink"  # Chrome, Edge, Chromium: exact origins, one list a value
    GECKO = "gecko"  # Firefox: host names, one file for all policies


@dataclass(frozen=True)
class Browser:
    """One row of what we know of a browser."""

    name: str
    title: str
    engine: Engine
    folder: str  # its policies on Linux, below the root
    registry: str | None  # its policies on Windows, below HKLM and HKCU
    asks_since: str  # versions that ask before a page's first request to this machine, which is a fetch
    policy_since: str  # versions that know our policy
    programs: tuple[str, ...]  # names of its executable on Linux
    profile: str | None = None  # its data in the person's home, on Linux; there it notes its version


BROWSERS = (
    Browser(
        "chrome",
        "Google Chrome",
        Engine.BLINK,
        "etc/opt/chrome/policies",
        r"SOFTWARE\Policies\Google\Chrome",
        "142",
        "146",
        ("google-chrome", "google-chrome-stable"),
        ".config/google-chrome",
    ),
    Browser(
        "edge",
        "Microsoft Edge",
        Engine.BLINK,
        "etc/opt/edge/policies",
        r"SOFTWARE\Policies\Microsoft\Edge",
        "143",
        "146",
        ("microsoft-edge", "microsoft-edge-stable"),
        ".config/microsoft-edge",
    ),
    Browser(
        "chromium",
        "Chromium",
        Engine.BLINK,
        "etc/chromium/policies",
        None,
        "142",
        "146",
        ("chromium", "chromium-browser"),
        ".config/chromium",
    ),
    Browser(
        "firefox",
        "Firefox",
        Engine.GECKO,
        "etc/firefox/policies",
        r"SOFTWARE\Policies\Mozilla\Firefox",
        "153",
        "146",
        ("firefox", "firefox-esr"),
    ),
)
TARGETS = (*(browser.name for browser in BROWSERS), "reg", "intune")

ALLOWED = "LoopbackNetworkAllowedForUrls"  # opens this machine; LocalNetworkAccess… would open the network too
GECKO_RULE, GECKO_SITES = "LocalNetworkAccess", "SkipDomains"

_ORIGIN = re.compile(r"https://([a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)
_HTTPS_PORT = "443"


def export(
    target: str, origins: Iterable[str], *, existing: Mapping[str, Any] | None = None, start: int = 1
) -> dict[str, bytes]:
    """The files that let these pages reach the agent, by place: below the root on Linux, `windows/` for Windows.

    `target` is one of TARGETS. `existing`: the policies of the file that ours replaces, kept in it (JSON files only).
    `start`: number of the first registry value. Raises config.invalid for no origin, one that is not https, or
    an existing list that is none.
    """
    wanted = list(dict.fromkeys(map(exact, origins)))
    if not wanted:
        raise _invalid("origins.allowed", "no allowed origin", "aucun site n'est autorisé : il n'y a rien à écrire")
    if target == "intune":
        files = {f"windows/insi-agent-{name}.ps1": _script(text, wanted) for name, text in _SCRIPTS.items()}
    elif target == "reg":
        files = {"windows/insi-agent.reg": _reg(_on_windows(), wanted, start)}
    else:
        browser = next(browser for browser in BROWSERS if browser.name == target)
        files = {policy_file(browser): _json(browser, wanted, existing or {})}
        if browser.registry:
            files[f"windows/insi-agent-{browser.name}.reg"] = _reg([browser], wanted, start)
    return {"insi-agent-LISEZMOI.txt": _guide(target, files).encode(), **files}


def exact(origin: str) -> str:
    """The origin with its port: without one, browsers would let every port of the site in."""
    host, port = parts_of(origin)
    return f"https://{host}:{port}"


def policy_file(browser: Browser) -> str:
    """Where its policies go on Linux, below the root."""
    if browser.engine is Engine.GECKO:
        return f"{browser.folder}/policies.json"
    return f"{browser.folder}/managed/insi-agent.json"


def parse(data: bytes, engine: Engine) -> Mapping[str, Any] | None:
    """The policies in a file; None where it is not what this browser can read.

    Chromium also reads comments and trailing commas (measured): such a file is None here too, never misread.
    """
    try:
        content = json.loads(data.decode("utf-8-sig" if engine is Engine.BLINK else "utf-8"))
    except (ValueError, RecursionError):
        return None
    if engine is Engine.GECKO and isinstance(content, dict):
        content = content.get("policies")
    return content if isinstance(content, dict) else None


def _json(browser: Browser, origins: Sequence[str], existing: Mapping[str, Any]) -> bytes:
    policies = dict(existing)
    if browser.engine is Engine.GECKO:
        rule = policies.get(GECKO_RULE, {})
        if not isinstance(rule, dict):
            raise _misshapen(GECKO_RULE)
        policies[GECKO_RULE] = {**rule, **_joined(rule, GECKO_SITES, _hosts(origins))}
        policies = {"policies": policies}
    else:
        policies |= _joined(policies, ALLOWED, origins)
    return json.dumps(policies, indent=2, ensure_ascii=False).encode() + b"\n"


def _joined(policies: Mapping[str, Any], key: str, ours: Sequence[str]) -> dict[str, list[str]]:
    present = policies.get(key, [])
    # Chromium 156 ends at once on a list that holds anything but text: such a list is not passed on
    if not isinstance(present, list) or not all(isinstance(one, str) for one in present):
        raise _misshapen(key)
    return {key: list(dict.fromkeys([*present, *ours]))}


def _hosts(origins: Sequence[str]) -> list[str]:
    """Firefox knows neither schemes nor ports."""
    return list(dict.fromkeys(parts_of(origin)[0] for origin in origins))


def _on_windows() -> list[Browser]:
    return [browser for browser in BROWSERS if browser.registry]


def _values(browser: Browser, origins: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The registry key of the list below HKLM, and what it is to hold."""
    if browser.engine is Engine.GECKO:
        return rf"{browser.registry}\{GECKO_RULE}\{GECKO_SITES}", _hosts(origins)
    return rf"{browser.registry}\{ALLOWED}", origins


def _reg(browsers: Sequence[Browser], origins: Sequence[str], start: int) -> bytes:
    """As regedit writes it: UTF-16, little end first, with a mark and CRLF."""
    lines = ["Windows Registry Editor Version 5.00", "", "; INSi Agent : sites autorisés à joindre l'agent."]
    lines += ["; Les numéros déjà pris dans ces listes seraient remplacés : voir insi-agent-LISEZMOI.txt.", ""]
    for browser in browsers:
        key, values = _values(browser, origins)
        lines += [f"[HKEY_LOCAL_MACHINE\\{key}]"]
        lines += [f'"{number}"="{value}"' for number, value in enumerate(values, start)]
        lines += [""]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode("utf-16-le")


def _script(text: str, origins: Sequence[str]) -> bytes:
    """ASCII: Windows PowerShell 5.1 takes a file without a mark for the machine's code page, Intune wants no mark."""
    rows = []
    for browser in _on_windows():
        key, values = _values(browser, origins)
        rows.append(f"  'HKLM:\\{key}' = @({', '.join(map(repr, values))})")
    return (_HEAD + "$wanted = [ordered]@{\n" + "\n".join(rows) + "\n}\n" + text).replace("\n", "\r\n").encode("ascii")


# Written for Windows PowerShell 5.1, never run on Windows. 32 and 64 bits share HKLM\SOFTWARE\Policies.
_HEAD = """\
# INSi Agent: lets its sites reach the agent from Chrome, Edge and Firefox.
# Entries of others in the same lists are kept. A list that a Group Policy sets belongs in that Group Policy.
$ErrorActionPreference = 'Stop'
function Get-Entries($key) {
  if (Test-Path -LiteralPath $key) {
    $item = Get-Item -LiteralPath $key
    $item.GetValueNames() | Where-Object { $_ -match '^[0-9]+$' } | Sort-Object { [int]$_ } |
      ForEach-Object { [string]$item.GetValue($_) }
  }
}
"""
_SCRIPTS = {
    "detect": """\
foreach ($key in $wanted.Keys) {
  $present = @(Get-Entries $key)
  foreach ($value in $wanted[$key]) {
    if ($present -cnotcontains $value) { Write-Output "missing: $value in $key"; exit 1 }
  }
}
Write-Output 'complete'
exit 0
""",
    # the lowest free number: Firefox takes a list for one only if its first value is called 1
    "remediate": """\
foreach ($key in $wanted.Keys) {
  if (-not (Test-Path -LiteralPath $key)) { New-Item -Path $key -Force | Out-Null }
  foreach ($value in $wanted[$key]) {
    if (@(Get-Entries $key) -ccontains $value) { continue }
    $names = (Get-Item -LiteralPath $key).GetValueNames()
    $number = 1
    while ($names -contains "$number") { $number++ }
    New-ItemProperty -LiteralPath $key -Name "$number" -Value $value -PropertyType String | Out-Null
  }
}
exit 0
""",
    # what is left is numbered from 1 again, for the same reason
    "remove": """\
foreach ($key in $wanted.Keys) {
  $ours = $wanted[$key]
  $present = @(Get-Entries $key)
  $kept = @($present | Where-Object { $ours -cnotcontains $_ })
  if ($kept.Count -eq $present.Count) { continue }
  Remove-Item -LiteralPath $key -Recurse
  if ($kept.Count -eq 0) { continue }
  New-Item -Path $key -Force | Out-Null
  for ($i = 0; $i -lt $kept.Count; $i++) {
    New-ItemProperty -LiteralPath $key -Name "$($i + 1)" -Value $kept[$i] -PropertyType String | Out-Null
  }
}
exit 0
""",
}

_RESTART = "Un redémarrage du navigateur peut être nécessaire ; vérifier avec « insi-agent doctor »."
_ONE_LIST = (
    "Si un autre fichier du même dossier contient déjà {key}, un seul des deux compte (le dernier par ordre\n"
    "alphabétique) : reprendre l'autre avec « --merge FICHIER », et n'en garder qu'un."
)
_ONE_FILE = "Il n'y a qu'un fichier pour toutes les règles : s'il existe déjà, le reprendre avec « --merge FICHIER »."
_NUMBERS = (
    "Une valeur de même numéro est remplacée : si un autre produit remplit déjà ces listes, commencer après ses\n"
    "numéros (« --start N »), ou prendre « --for intune », qui garde ce qui est là. Pour Firefox, la première valeur\n"
    "doit s'appeler 1."
)
_INTUNE = (
    "insi-agent-detect.ps1 et insi-agent-remediate.ps1 : une correction Intune (« Remediations »), avec le compte\n"
    "système. insi-agent-remove.ps1 retire nos sites, et eux seuls. Écrits sans avoir pu être essayés sur Windows."
)


def _guide(target: str, files: Mapping[str, bytes]) -> str:
    browsers = [row for row in BROWSERS if row.name == target] or _on_windows()
    lines = ["INSi Agent : règles de navigateur pour les sites autorisés", ""]
    lines += [
        f"{row.title} : demande depuis la version {row.asks_since}, règle connue depuis la {row.policy_since}."
        for row in browsers
    ]
    for file in files:
        lines += ["", file]
        if file.endswith(".json"):
            one = browsers[0].engine is Engine.GECKO
            lines += [f"Sur Linux, à copier dans /{file}.", _ONE_FILE if one else _ONE_LIST.format(key=ALLOWED)]
        elif file.endswith(".reg"):
            lines += [f"Sur Windows, en administrateur : reg import {file.rpartition('/')[2]}", _NUMBERS]
    if target == "intune":
        lines += ["", _INTUNE]
    return "\n".join([*lines, "", _RESTART, ""])


def parts_of(origin: str) -> tuple[str, str]:
    """Host and port of an https origin. Raises config.invalid for anything else: browsers never let http in."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise _invalid("origins.allowed", "not an https origin", "une adresse n'est pas de la forme https://site:port")
    return match[1], match[2] or _HTTPS_PORT


def _invalid(setting: str, detail: str, reason: str) -> AgentError:
    return AgentError(Code.CONFIG_INVALID, detail, setting=setting, reason=reason)


def _misshapen(key: str) -> AgentError:
    return _invalid("--merge", f"{key} is of another shape", f"{key} n'y a pas la forme attendue")
