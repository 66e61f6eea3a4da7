"""A card code that never prints, is taken once, and is zeroes afterwards. No I/O of its own.

The code lives in one bytearray, never in a str. What the window toolkit and the card driver keep
of it is beyond us: both live in child processes that end or forget soon.
"""


class Pin:
    """A code typed by a person. `repr` and `str` show the type only."""

    __slots__ = ("_bytes", "_taken")

    def __init__(self, code: bytearray) -> None:
        """Take over `code`: the caller must not use it again."""
        self._bytes = code
        self._taken = False

    def has_form(self, min_digits: int, max_digits: int) -> bool:
        """Whether it is `min_digits` to `max_digits` ASCII digits: checked before it costs a try."""
        return min_digits <= len(self._bytes) <= max_digits and all(0x30 <= byte <= 0x39 for byte in self._bytes)

    def take(self) -> bytearray:
        """The code, once. From now on it is the taker's, who wipes it with `wipe(code)`."""
        if self._taken:
            raise ValueError("a Pin is taken once")
        self._taken = True
        code, self._bytes = self._bytes, bytearray()
        return code

    def wipe(self) -> None:
        """Overwrite the code with zeroes, unless somebody took it: a code on its way to the card stays whole."""
        wipe(self._bytes)
        self._taken = True

    def __repr__(self) -> str:
        return "Pin(****)"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Pin is never serialised")


def wipe(code: bytearray) -> None:
    """Overwrite with zeroes, in place."""
    for index in range(len(code)):
        code[index] = 0
