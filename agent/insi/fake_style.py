"""How the simulated INSi writes and behaves, and the words in which a run or one call asks for it. No I/O of its own.

Source: how the service was seen to write from 2021 to 2026 (padoa/tlsi-ins, SAPA, CNDA reply files), second hand.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from agent.insi import fake_people

NOBODY = "REP_CR01"  # the reply file that finds nobody


class Misbehaviour(StrEnum):
    """What a real service does on a bad day."""

    SLOW = "timeout"  # says nothing until the client leaves
    DRIP = "drip"  # sends its reply so slowly that it never ends
    UNAVAILABLE = "unavailable"  # fault siram_40 of the gateway
    HTML_503 = "html503"  # the page of some equipment in between
    TRUNCATED = "truncated"  # the reply is cut short
    RESET = "reset"  # the connection is torn down without a reply
    REDIRECT = "redirect"  # sends the client, with its message, to the same address once more


@dataclass(frozen=True)
class Style:
    """How the service writes and behaves."""

    not_found: Literal["01", "insi_102", "desir_1020"] = "01"  # qualification hid "nobody" behind faults for years
    fault: Literal["2022", "2026"] = "2026"
    lang: Literal["auto", "fr", "en"] = "auto"  # xml:lang of a fault's reason; auto: of its year and of who says it
    severity: Literal["fatal", "fatale"] = "fatal"  # what the back end writes; the schema wants the second
    first_attribute: Literal["code", "messageID", "severite"] = "code"  # of siram:Erreur
    body_prefix: Literal["env", "S", "soap"] = "env"
    result_prefix: Literal["", "ns2"] = ""
    header: Literal["absent", "empty"] = "absent"
    old_given_name: bool = False  # Prenom beside ListePrenom, until 2022
    dates_first: bool = False  # DateDeb and DateFin before IdIndividu: against the schema, in a CNDA file
    empty_absent: bool = False  # an empty trait has no element, as the schema wants it
    production: bool = False  # ADRUN is unknown there
    answer: str | None = None  # instead of who is asked for: the reply file of this CNDA test, or this fault
    latency_ms: tuple[int, int] = (0, 0)  # at least, at most; qualification took 150 to 850
    misbehave: Misbehaviour | None = None


class WordError(ValueError):
    """A word that means nothing here; its text lists those that do."""


FAULT_CODES = ("desir_550", "desir_560", "desir_1020", "insi_19", "insi_102", "insi_111")
MAX_LATENCY_MS = 120_000


def _each(*values: str) -> Mapping[str, Any]:
    return {value: value for value in values}


# word → member of Style, and what its values mean
_WORDS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "not-found": ("not_found", _each("01", "insi_102", "desir_1020")),
    "fault": ("fault", _each("2022", "2026")),
    "lang": ("lang", _each("auto", "fr", "en")),
    "severity": ("severity", _each("fatal", "fatale")),
    "first-attribute": ("first_attribute", _each("code", "messageID", "severite")),
    "body-prefix": ("body_prefix", _each("env", "S", "soap")),
    "result-prefix": ("result_prefix", {"none": "", "ns2": "ns2"}),
    "header": ("header", _each("absent", "empty")),
    "given-name": ("old_given_name", {"list": False, "both": True}),
    "dates": ("dates_first", {"last": False, "first": True}),
    "empty-trait": ("empty_absent", {"empty": False, "absent": True}),
    "profile": ("production", {"test": False, "production": True}),
    "answer": ("answer", {"live": None, **_each(NOBODY, *sorted(fake_people.TESTS), *FAULT_CODES)}),
    "misbehave": ("misbehave", {"none": None, **{kind.value: kind for kind in Misbehaviour}}),
}
_LATENCY = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


def restyled(style: Style, text: str) -> Style:
    """`style` with what `text` asks for, `word=value; word=value`. Raises WordError."""
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        word, _, value = (part.strip() for part in pair.partition("="))
        if word == "latency":
            style = replace(style, latency_ms=_latency(value))
        elif word in _WORDS and value in _WORDS[word][1]:
            member, meaning = _WORDS[word]
            style = replace(style, **{member: meaning[value]})
        else:
            raise WordError(words())
    return style


def words() -> str:
    """Every word and its values, a line each."""
    choices = [f"{word}={'|'.join(meaning)}" for word, (_, meaning) in _WORDS.items()]
    return "\n".join([*choices, f"latency=MS or latency=MS-MS, at most {MAX_LATENCY_MS}"])


def _latency(text: str) -> tuple[int, int]:
    found = _LATENCY.fullmatch(text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not low <= high <= MAX_LATENCY_MS:
        raise WordError(words())
    return low, high
