"""How a person makes a browser trust the local authority, and trust it no longer. No I/O of its own.

The agent changes no trust store itself: it says the exact lines. Windows: certutil of learn.microsoft.com, verbs
-addstore and -delstore. macOS: the manual page security(1). Both are untested on these systems. Linux: certutil of NSS,
tried on Chromium 156 and Firefox ESR 153.
"""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.local_tls import Authority


class Store(StrEnum):
    """Where trust is kept."""

    WINDOWS = "windows"
    MACOS = "macos"
    CHROMIUM = "chromium"
    FIREFOX = "firefox"


@dataclass(frozen=True)
class _Way:
    """Lines of a shell, with {name}, {file}, {sha1} for what differs."""

    serves: str  # for a person
    system: str  # sys.platform
    trust: str
    distrust: str
    instead: str = ""  # another way to trust, which is no line of a shell
    besides: str = ""  # what the other way left to undo


_NSSDB = '"sql:$HOME/.pki/nssdb"'
_PROFILES = (
    "find \"$HOME\" -maxdepth 7 -path '*/firefox/*/cert9.db' -execdir certutil -d sql:."  # also of snap, flatpak
)
_WAYS = {
    Store.WINDOWS: _Way(
        "Windows : Edge, Chrome, Firefox",
        "win32",
        'certutil -user -addstore Root "{file}"',
        "certutil -user -delstore Root {sha1}",
    ),
    Store.MACOS: _Way(
        "macOS : Safari, Chrome, Firefox",
        "darwin",
        'security add-trusted-cert -r trustRoot -p ssl -k "$HOME/Library/Keychains/login.keychain-db" {file}',
        'security delete-certificate -Z {sha1} -t "$HOME/Library/Keychains/login.keychain-db"',
    ),
    Store.CHROMIUM: _Way(
        "Linux : Chromium, Chrome (paquet libnss3-tools)",
        "linux",
        f'mkdir -p "$HOME/.pki/nssdb" && certutil -d {_NSSDB} -A -t C,, -n {{name}} -i {{file}}',
        f"certutil -d {_NSSDB} -D -n {{name}}",
    ),
    Store.FIREFOX: _Way(
        "Linux : Firefox, qui doit être fermé (paquet libnss3-tools)",
        "linux",
        f"{_PROFILES} -A -t C,, -n {{name}} -i {{file}} \\;",
        f"{_PROFILES} -D -n {{name}} \\;",
        'ou /etc/firefox/policies/policies.json : {{"policies": {{"Certificates": {{"Install": ["{file}"]}}}}}}',
        # Firefox keeps in each profile what a policy once installed; seen on ESR 153.7
        "et, s'il y est, l'enlever de /etc/firefox/policies/policies.json",
    ),
}


def stores_of(system: str) -> list[Store]:
    """The trust stores of a system (sys.platform)."""
    return [store for store, way in _WAYS.items() if way.system == system]


def serves(store: Store) -> str:
    """Which browsers look there, for a person."""
    return _WAYS[store].serves


def trust(store: Store, authority: "Authority", file: Path) -> str:
    """The line that makes this store trust the authority, whose certificate is in `file`."""
    quoted = str(file) if store is Store.WINDOWS else shlex.quote(str(file))
    return _WAYS[store].trust.format(name=shlex.quote(authority.name), file=quoted)


def instead(store: Store, file: Path) -> str:
    """Another way to the same, for a person; empty where there is none."""
    return _WAYS[store].instead.format(file=file)


def besides(store: Store) -> str:
    """What `instead` needs beside `distrust`, for a person; empty where there is nothing."""
    return _WAYS[store].besides


def distrust(store: Store, authority: "Authority") -> str:
    """The line that takes the authority out of this store again."""
    return _WAYS[store].distrust.format(name=shlex.quote(authority.name), sha1=authority.sha1)
