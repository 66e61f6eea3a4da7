"""The browsers of this machine, their versions and the policies they will read. ★ (files; the registry on Windows)

On Windows written and never run; macOS keeps them in managed preferences, which are not read yet. Policies that
a browser fetches from its vendor's cloud are seen nowhere on the machine.
"""

import configparser
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.browser_coverage import Level, PolicySource
from agent.browsers import BROWSERS, Browser, Engine, parse
from agent.config import read_registry

_PROGRAMS = ("usr/bin", "usr/local/bin", "opt/google/chrome", "opt/microsoft/msedge", "snap/bin")
_FIREFOXES = ("usr/lib/firefox-esr", "usr/lib64/firefox", "usr/lib/firefox", "opt/firefox")
_HIVES = {"HKEY_CURRENT_USER": Level.USER, "HKEY_LOCAL_MACHINE": Level.MACHINE}  # the one that wins last
_WINDOWS_VERSIONS = {  # below HKEY_CURRENT_USER or HKEY_LOCAL_MACHINE: key, value [guess: not tried]
    "chrome": (r"SOFTWARE\Google\Chrome\BLBeacon", "version"),
    "edge": (r"SOFTWARE\Microsoft\Edge\BLBeacon", "version"),
    "firefox": (r"SOFTWARE\Mozilla\Mozilla Firefox", "CurrentVersion"),
}


@dataclass(frozen=True)
class Installed:
    """A browser of this machine."""

    browser: Browser
    version: str | None  # None: not known without starting it
    sources: tuple[PolicySource, ...]  # in the order in which it reads them

    @property
    def title(self) -> str:
        """How the person knows it."""
        return f"{self.browser.title} {self.version}" if self.version else self.browser.title


Registry = Callable[[str, str], object]  # hive, path → a key as `read_registry` gives it; may raise OSError


def installed() -> list[Installed]:
    """Every browser of this machine, by its program or its policies; none on macOS. Never raises: what is there and
    cannot be read is said as such."""
    if sys.platform == "win32":
        return on_windows(read_registry)
    return on_linux(Path("/"), Path.home()) if sys.platform.startswith("linux") else []


def on_linux(root: Path, home: Path) -> list[Installed]:
    """Those below this root, with the versions noted in this home."""
    return [found for browser in BROWSERS if (found := _by_files(browser, root, home))]


def on_windows(registry: Registry) -> list[Installed]:
    """Those that this registry knows."""
    return [
        found for browser in BROWSERS if browser.registry and (found := _by_keys(browser, browser.registry, registry))
    ]


def _by_files(browser: Browser, root: Path, home: Path) -> Installed | None:
    folders = [root / folder for folder in _FIREFOXES] if browser.engine is Engine.GECKO else []
    sources = tuple(_one_file(browser, root, folders) if folders else _all_files(browser, root))
    here = any(_there(root / folder / name) for folder in _PROGRAMS for name in browser.programs)
    if not (here or sources or any(map(_there, folders))):
        return None
    return Installed(browser, _firefox_version(folders) if folders else _last_version(browser, home), sources)


def _all_files(browser: Browser, root: Path) -> Iterator[PolicySource]:
    """The Chromium family reads every file of its two folders, whatever its name, in alphabetical order (measured)."""
    for name, level in (("recommended", Level.RECOMMENDED), ("managed", Level.MACHINE)):
        for file in _files(root / browser.folder / name):
            yield _read(file, browser.engine, level)


def _one_file(browser: Browser, root: Path, folders: list[Path]) -> Iterator[PolicySource]:
    """Firefox reads one file: the system's, else the one beside its program (second hand, its Policies component)."""
    for folder in (root / browser.folder, *(folder / "distribution" for folder in folders)):
        if _there(file := folder / "policies.json"):
            yield _read(file, browser.engine, Level.MACHINE)
            return


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:  # no such folder, or not for us: the browser runs as the same person
        return []


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that is not for us
        return False


def _read(file: Path, engine: Engine, level: Level) -> PolicySource:
    try:
        return PolicySource(str(file), parse(file.read_bytes(), engine), level)
    except OSError:
        return PolicySource(str(file), None, level)


def _last_version(browser: Browser, home: Path) -> str | None:
    """What a browser of the Chromium family notes of itself at each start."""
    try:
        return (home / (browser.profile or "") / "Last Version").read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _firefox_version(folders: list[Path]) -> str | None:
    for folder in folders:
        about = configparser.ConfigParser(interpolation=None)
        try:
            about.read_string((folder / "application.ini").read_text("utf-8"))
            return about.get("App", "Version")
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
    return None


def _by_keys(browser: Browser, path: str, registry: Registry) -> Installed | None:
    sources = []
    for hive, level in _HIVES.items():
        policies = _key(registry, hive, path)
        if not isinstance(policies, dict):
            sources.append(PolicySource(f"{hive}\\{path}", None, level))
            continue
        recommended = policies.pop("Recommended", {})
        if isinstance(recommended, dict) and recommended:
            sources.append(PolicySource(f"{hive}\\{path}\\Recommended", recommended, Level.RECOMMENDED))
        if policies:
            sources.append(PolicySource(f"{hive}\\{path}", policies, level))
    key, value = _WINDOWS_VERSIONS[browser.name]
    abouts = [about for hive in _HIVES if isinstance(about := _key(registry, hive, key), dict)]
    version = next((str(about[value]) for about in abouts if value in about), None)
    return Installed(browser, version, tuple(sources)) if sources or version else None


def _key(registry: Registry, hive: str, path: str) -> object:
    try:
        return registry(hive, path)
    except OSError:
        return None
