"""Which programs of the French field may hold a card reader, or say that GALSS is here. ★ psutil

Only names of our own table ever leave this file: what else runs here is nobody's business.

Sources: public support scripts of the field (Juxta/Odaiji kits, antivirus exclusion lists for Weda and
Pyxvital, workstation installers of health centres), FreeMedForms' FSE module for GALSS on Linux and macOS,
the notes of the Cryptolib CPS. A name that none of them gives in full is marked [guess].
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

GALSS = "GALSS"

# Program file name in lower case, without .exe (fnmatch) → its name for people.
_PROGRAMS = {
    "pyxvital": "Pyxvital",
    "pyxnet": "Pyxvital",
    "vitalzen*": "VitalZen",
    "juxtalink": "JuxtaLink",
    "srvsvcnam*": "SrvSvCnam",
    "cpgesw32": "CPS Gestion",
    "cpgesw64": "CPS Gestion",
    "ccm": "CPS Gestion",
    "fsenxt": "Affid",
    "galsvw32": GALSS,
    "galsvw64": GALSS,
    "galsvlux": GALSS,
    "clmlive*": "ClmLive",  # [guess] the kits give a pattern, no file name; so for the next four
    "jfse*": "jFSE",
    "weda*": "Weda",
    "dmpconnect*": "DmpConnect",
    "hellodoc*": "HelloDoc",
}

# What an installed GALSS leaves, running or not.
_GALSS_PLACES = (
    "C:/Windows/galss.ini",
    "C:/Windows/galsvw32.exe",
    "C:/Program Files/santesocial/galss",
    "C:/Program Files (x86)/santesocial/galss",
    "/Library/Application Support/Galss",
    "/Library/Preferences/galss.ini",
    "/usr/local/galss",
    "/etc/galss.ini",  # [guess]
)


def likely_holders() -> list[str]:
    """The programs of the table that run on this workstation, each once, in its order. Never another one's name."""
    import psutil

    try:
        running = [str(process.info["name"] or "") for process in psutil.process_iter(["name"])]
    except (psutil.Error, OSError):  # a system that does not tell: a card in use is said without a name
        return []
    names = {name.casefold().removesuffix(".exe") for name in running}
    known = (said for pattern, said in _PROGRAMS.items() if any(fnmatchcase(name, pattern) for name in names))
    return list(dict.fromkeys(known))


def galss_is_here(places: Iterable[str] = _GALSS_PLACES) -> bool:
    """Whether a component of GALSS is installed or runs."""
    return any(Path(place).exists() for place in places) or GALSS in likely_holders()
