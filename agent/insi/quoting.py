"""A stranger's text as it may stand in our log, our facts and our windows. No I/O of its own."""


def quoted(text: str, most: int = 200) -> str:
    """At most so many of its letters; a ? for what does not print: line ends, colours, changes of direction."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])
