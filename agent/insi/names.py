"""Names in the alphabet of INSi, and names side by side. No I/O of its own.

Source: INSi guide SEL-MP-043 v05.00.01 §2 and §3.4.1 (EF_INS01_03, EF_INS10_01, EF_INS10_02) and
Guide d'implémentation INS v3.0 [EXI ID 10], both second hand. A stored name is never changed: this
is for the call and for comparisons only.
"""

import re
import unicodedata
from collections.abc import Sequence

from agent.errors import AgentError, Code

# Letters and signs that Unicode does not decompose. ẞ Ł, and what word processors and pages write for hyphen,
# apostrophe and space, are our addition [guess]; what is not seen (a soft hyphen) or is no equivalent is refused.
_EQUIVALENT = {
    "Œ": "OE",
    "Æ": "AE",
    "ẞ": "SS",
    "Ø": "O",
    "Ł": "L",
    "Đ": "D",
    "Ð": "D",
    "Þ": "TH",
    "’": "'",
    "\u2018": "'",  # ‘, what a word processor makes of a first apostrophe
    "\u02bc": "'",  # ʼ, the apostrophe as a letter
    "‐": "-",
    "\u2011": "-",  # non-breaking
    "–": "-",
    "\u00a0": " ",  # non-breaking
}
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ '-")

# Shapes that are refused, by the name of the rule broken. No letter and a last space: our addition [guess].
_BIRTH_NAME_REFUSED = {
    "empty": r"^[^A-Z]*$",
    "start": r"^[ -]",
    "end": r" $",
    "spaceAndApostrophe": r"[ ']{2}",
    "hyphens": r"---",
}
_GIVEN_NAME_REFUSED = _BIRTH_NAME_REFUSED | {"end": r"[ '-]$", "hyphens": r"--"}


def birth_name(text: str) -> str:
    """The birth name as INSi takes it. Raises traits.refused (facts member, character or rule)."""
    return _checked(text, "birthName", _BIRTH_NAME_REFUSED)


def given_name(text: str, index: int) -> str:
    """One given name as INSi takes it; `index` is its place. Raises traits.refused as above."""
    return _checked(text, f"givenNames[{index}]", _GIVEN_NAME_REFUSED)


def given_names(texts: Sequence[str]) -> list[str]:
    """A whole list of given names as INSi takes them, to be sent alone or joined by spaces. Raises traits.refused."""
    plain = [given_name(text, index) for index, text in enumerate(texts)]
    for index, name in enumerate(plain[1:], start=1):
        if name.startswith("'"):  # joined, the apostrophe would stand beside a space
            raise _refused(f"givenNames[{index}]", "spaceAndApostrophe")
    return plain


def comparable(text: str) -> str:
    """For comparisons: capitals without accents, hyphen and apostrophe as one space. Never refuses."""
    plain = "".join(_plain(character) for character in text)
    return " ".join(plain.replace("-", " ").replace("'", " ").split())


def starts_list(first: str, whole_list: str) -> bool:
    """Whether `first` is the beginning of the list of given names, on whole words [EXI ID 10]."""
    words, listed = comparable(first).split(), comparable(whole_list).split()
    return bool(words) and listed[: len(words)] == words


def _plain(character: str) -> str:
    """One character as INSi writes it, or itself where there is no equivalent."""
    letters = unicodedata.normalize("NFD", character.upper())
    return "".join(_EQUIVALENT.get(letter, letter) for letter in letters if not unicodedata.combining(letter))


def _checked(text: str, member: str, refused: dict[str, str]) -> str:
    plain = ""
    for character in text:
        letters = _plain(character)
        if not _ALPHABET.issuperset(letters):
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            raise AgentError(Code.TRAITS_REFUSED, f"{member}: {name}", member=member, character=name)
        plain += letters
    for rule, shape in refused.items():
        if re.search(shape, plain):
            raise _refused(member, rule)
    return plain


def _refused(member: str, rule: str) -> AgentError:
    return AgentError(Code.TRAITS_REFUSED, f"{member}: {rule}", member=member, rule=rule)
