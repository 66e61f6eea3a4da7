"""How the name of a site is shown: in letters and as it is, the honest one first. No I/O of its own.

A browser sends an international name in its ASCII form (RFC 5890 §2.3.2.1, "A-label"). We decode it with Python's
own `idna` codec (RFC 3490, which is stricter than its successors) and show nothing that does not lead back to it.
"""

import string
from dataclasses import dataclass

# Any other letter may look like one of these: ı like i, Cyrillic а like a. A French site needs no others.
_FAMILIAR = frozenset(string.ascii_lowercase + string.digits + "-.:[]/" + "àâäæçéèêëîïôöœùûüÿ")
_ACE = "xn--"


@dataclass(frozen=True)
class SiteName:
    """An origin for the eyes."""

    exact: str  # as the browser sent it
    letters: str  # what it stands for; nothing when it is the same, or cannot be shown faithfully
    misleading: bool  # it has letters that may imitate others


def site_name(origin: str) -> SiteName:
    """For an origin such as https://xn--sant-epa.example:8443."""
    if _ACE not in origin:
        return SiteName(origin, "", misleading=False)
    scheme, slashes, authority = origin.partition("://")
    host, colon, port = authority.partition(":")
    try:
        labels = [_letters(label) for label in host.split(".")]
    except UnicodeError:
        return SiteName(origin, "", misleading=True)
    name = ".".join(labels)
    misleading = not _FAMILIAR.issuperset(name)
    letters = f"{scheme}{slashes}{name}{colon}{port}"
    return SiteName(origin, letters if name.isprintable() else "", misleading=misleading)


def _letters(label: str) -> str:
    """Raises UnicodeError for what does not decode, or decodes to what another label also means."""
    if not label.startswith(_ACE):
        return label
    decoded = label.encode("ascii").decode("idna")
    if decoded.encode("idna").decode("ascii") != label or not decoded.isprintable() or "." in decoded:
        raise UnicodeError(label)
    return decoded
