"""The key of a registration number: the same rule for a carte Vitale and for INSi. No I/O of its own.

Source: GIE text "Données API Lecture Vitale 6.xx", second hand; checked on every published identity.
"""


def key_of(nir: str) -> str | None:
    """The two digits of the key of these 13 characters, Corsica included; None when they make no number."""
    number = nir[:5] + nir[5:7].replace("2A", "19").replace("2B", "18") + nir[7:]
    if not (len(number) == 13 and number.isascii() and number.isdigit()):
        return None
    return f"{97 - int(number) % 97:02d}"
