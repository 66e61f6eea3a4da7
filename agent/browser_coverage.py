"""What the policies found on a machine say of each site: blocked, asked for, or let in. No I/O of its own.

Sources: those of browsers.py. The documents give an order of the Chromium family's four lists; measured on
Chromium 156, the most precise pattern wins whatever its list, and that order only breaks ties.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from agent.browsers import ALLOWED, GECKO_RULE, GECKO_SITES, Browser, Engine, parts_of

_LISTS = {  # the lists that decide on this machine's services, the one that wins a tie first; whether they allow
    "LoopbackNetworkBlockedForUrls": False,
    ALLOWED: True,
    "LocalNetworkAccessBlockedForUrls": False,
    "LocalNetworkAccessAllowedForUrls": True,
}
_OPT_OUT = "LocalNetworkAccessRestrictionsTemporaryOptOut"
_MERGE = "PolicyListMultipleSourceMergeList"
_NO_EFFECT = {  # as some pages print it (measured) → its real name
    "LoopbackNetworkAccessAllowedForUrls": ALLOWED,
    "LoopbackNetworkAccessBlockedForUrls": "LoopbackNetworkBlockedForUrls",
}
_PATTERN = re.compile(
    r"(?:(?P<scheme>\*|[a-z][a-z0-9-]*)://)?"
    r"(?:(?P<under>\[\*\.\])?(?P<host>[^\[\]*/:\s]+)|\*)"
    r"(?::(?P<port>[0-9]{1,5}|\*))?(?:/.*)?",
    re.ASCII | re.IGNORECASE,
)


class Level(IntEnum):
    """How binding a place of policies is; a higher one hides the same policy of a lower one."""

    RECOMMENDED = 0
    USER = 1
    MACHINE = 2


@dataclass(frozen=True)
class PolicySource:
    """One place that sets policies of a browser."""

    place: str  # file or registry key, for the person
    policies: Mapping[str, Any] | None  # None: it is there and cannot be read
    level: Level = Level.MACHINE


class State(IntEnum):
    """What becomes of a site's page that wants to reach the agent, the worst first."""

    BLOCKED = 0
    UNGUARDED = 1  # every site may: a temporary opt-out, or the whole protection is off
    FLAWED = 2  # of a policy, not of a site: the browser does not take it as it was meant
    ASKED = 3
    COVERED = 4


@dataclass(frozen=True)
class Coverage:
    """What the policies found say of one origin, and which of them decides."""

    origin: str
    state: State
    policy: str = ""
    place: str = ""


@dataclass(frozen=True)
class _Set:
    """What one policy is in the end, and who says so."""

    value: Any
    places: tuple[str, ...]


def coverage(browser: Browser, sources: Sequence[PolicySource], origins: Iterable[str]) -> list[Coverage]:
    """Each origin once, the worst first. `sources` in the order in which the browser reads them, the last one wins."""
    found = _settled(browser, sources)
    judge = _gecko if browser.engine is Engine.GECKO else _blink
    return sorted((judge(found, origin) for origin in dict.fromkeys(origins)), key=lambda one: one.state)


def traps(browser: Browser, sources: Sequence[PolicySource]) -> list[str]:
    """What an administrator would want to know of these policies, in French: unreadable files, lists without effect."""
    said = [f"{source.place} est illisible pour l'agent" for source in sources if source.policies is None]
    if browser.engine is Engine.GECKO:
        return said
    found = _settled(browser, sources)
    for source in sources:
        for key, value in (source.policies or {}).items():
            if meant := _NO_EFFECT.get(key):
                said.append(f"{key} est sans effet, son vrai nom est {meant} ({source.place})")
            elif key in _LISTS and source.place not in found[key].places:
                said.append(f"{key} de {source.place} est caché par celui de {', '.join(found[key].places)}")
            elif key in _LISTS and not _all_text(value):
                said.append(f"{key} n'est pas une liste de textes ({source.place})")
    return said


@dataclass(frozen=True)
class Note:
    """One sentence for a person, in French."""

    state: State
    says: str


def notes(browser: Browser, title: str, sources: Sequence[PolicySource], origins: Iterable[str]) -> list[Note]:
    """What there is to say of a browser, called `title`: the worst first, sites of one fate together."""
    sites: dict[tuple[State, str], list[str]] = {}
    for one in coverage(browser, sources, origins):
        sites.setdefault((one.state, f"{one.policy} ({one.place})"), []).append(one.origin)
    said = [
        Note(state, f"{title} : {_SAYS[state].format(sites=', '.join(named), policy=policy)}")
        for (state, policy), named in sites.items()
    ]
    flaws = [Note(State.FLAWED, f"{title} : {trap}") for trap in traps(browser, sources)]
    return sorted([*said, *flaws], key=lambda note: note.state)


_SAYS = {
    State.BLOCKED: "{sites} bloqué par {policy}",
    State.UNGUARDED: "n'importe quel site passe, par {policy}",
    State.ASKED: "{sites} non couvert, le navigateur demandera à la personne",
    State.COVERED: "{sites} couvert par {policy}",
}


def _settled(browser: Browser, sources: Sequence[PolicySource]) -> dict[str, _Set]:
    """What each policy is in the end: the last of the highest level, even a wrong one (measured); lists do not join.

    Unless a merge list names them: then those of one level join.
    """
    readable = [source for source in sorted(sources, key=lambda one: one.level) if source.policies is not None]
    found = {key: _Set(value, (source.place,)) for source in readable for key, value in (source.policies or {}).items()}
    if browser.engine is Engine.BLINK and _MERGE in found and _all_text(found[_MERGE].value):
        for key in found.keys() & _LISTS.keys():
            if key in found[_MERGE].value or "*" in found[_MERGE].value:
                found[key] = _union(key, readable)
    return found


def _union(key: str, readable: Sequence[PolicySource]) -> _Set:
    having = [(source, source.policies[key]) for source in readable if source.policies and key in source.policies]
    joined = [(source.place, value) for source, value in having if source.level is having[-1][0].level]
    entries = [one for _, value in joined if isinstance(value, list) for one in value]
    return _Set(entries, tuple(place for place, _ in joined))


def _blink(found: Mapping[str, _Set], origin: str) -> Coverage:
    # beats even a blocked site (measured); 1 in the registry
    if _OPT_OUT in found and found[_OPT_OUT].value in (True, 1):
        return _decided(found, origin, State.UNGUARDED, _OPT_OUT)
    matching = [
        (precise, key)
        for key in _LISTS
        if key in found and _all_text(found[key].value)
        for pattern in found[key].value
        if (precise := _precision(pattern, origin)) is not None
    ]
    if not matching:
        return Coverage(origin, State.ASKED)
    key = max(matching, key=lambda match: match[0])[1]  # the first of equals: the order of _LISTS
    return _decided(found, origin, State.COVERED if _LISTS[key] else State.BLOCKED, key)


def _precision(pattern: str, origin: str) -> tuple[int, ...] | None:
    """How precisely a pattern of the Chromium family names the origin; None where it does not match.

    Host before port before scheme (measured); an exact host before the longest domain before `*`.
    """
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        return None
    host, port = parts_of(origin)
    named, of_port, scheme = ((match[part] or "").lower() for part in ("host", "port", "scheme"))
    if named and host != named and not (match["under"] and host.endswith(f".{named}")):
        return None
    if of_port not in ("", "*", port) or scheme not in ("", "*", "https"):
        return None
    return int(bool(named) and not match["under"]), len(named), int(of_port == port), int(scheme == "https")


def _gecko(found: Mapping[str, _Set], origin: str) -> Coverage:
    rule = found[GECKO_RULE].value if GECKO_RULE in found else None
    if not isinstance(rule, Mapping):
        return Coverage(origin, State.ASKED)
    if rule.get("Enabled") in (False, 0):
        return _decided(found, origin, State.UNGUARDED, GECKO_RULE, ".Enabled")
    # without the question everybody enters, as it is the question that keeps out; alone it does nothing (measured)
    if rule.get("Enabled") in (True, 1) and rule.get("EnablePrompting") in (False, 0):
        return _decided(found, origin, State.UNGUARDED, GECKO_RULE, ".EnablePrompting")
    host, domains = parts_of(origin)[0], rule.get(GECKO_SITES)
    listed = [one for one in domains if isinstance(one, str)] if isinstance(domains, list) else []
    if "*" in listed or "127.0.0.1" in listed:  # the agent's own address lets every site in (measured)
        return _decided(found, origin, State.UNGUARDED, GECKO_RULE, f".{GECKO_SITES}")
    if any(one == host or (one.startswith("*.") and f".{host}".endswith(one[1:])) for one in listed):
        return _decided(found, origin, State.COVERED, GECKO_RULE, f".{GECKO_SITES}")
    return Coverage(origin, State.ASKED)


def _decided(found: Mapping[str, _Set], origin: str, state: State, key: str, part: str = "") -> Coverage:
    return Coverage(origin, state, key + part, ", ".join(found[key].places))


def _all_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
