"""Which card is this? Told by its ATR, from one table. No I/O of its own.

Supporting a card is adding a row, here or in the setting `readers.cards`. An ATR is a first look:
`vitale.py` proves a Vitale by selecting its application, and the Vitale 1 family is shared with bank and
parking cards.

Sources: pcsc-tools 1.6.2 `smartcard_list.txt`; ansforge/dops-cryptolib (card-cps3.c, card-cps4.c).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.model import CardKind


@dataclass(frozen=True)
class AtrRow:
    """One row: `pattern` is the whole ATR in upper-case hexadecimal, `.` any digit, `*` any bytes."""

    pattern: str
    kind: CardKind
    name: str
    source: str

    @property
    def exact(self) -> bool:
        """A published ATR; otherwise a mask, which also fits cards that nobody published."""
        return not set(self.pattern) & set(".*")

    def fits(self, atr: str) -> bool:
        return re.fullmatch(self.pattern.replace("*", "(..)*"), atr) is not None


_LIST, _CRYPTOLIB = "pcsc-tools", "Cryptolib CPS"

# The first row that fits wins.
ATR_TABLE = (
    AtrRow("3B751300004309EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004409EA9000", CardKind.VITALE_2, "carte Vitale 2, with photograph", _LIST),
    AtrRow("3B751300004509EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004509FA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004609EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004709EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004809EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004909EA9000", CardKind.VITALE_2, "carte Vitale 2", _LIST),
    AtrRow("3B751300004.09.A9000", CardKind.VITALE_2, "carte Vitale 2, later model", "[guess] mask of the rows above"),
    AtrRow("3F6525002209F99000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F6525002209699000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F6525002C09F99000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F6525002C09699000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F65250052096A9000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F652500A3096A9000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3F652500A4096A9000", CardKind.VITALE_1, "carte Vitale 1", _LIST),
    AtrRow("3BAC00402A001225006480000310009000", CardKind.CPX, "CPS3", f"{_LIST}, {_CRYPTOLIB}"),
    AtrRow(
        "3B8F80010031B86404B0ECC1739401808290000E",
        CardKind.CPX_CONTACTLESS,
        "CPS3, contactless",
        f"{_LIST}, {_CRYPTOLIB}",
    ),
    AtrRow("3B9B188001001225006480040100009044", CardKind.CPX, "CPS4", _CRYPTOLIB),
    AtrRow("3B9B188001001225006480000401009044", CardKind.CPX, "CPS4 RC", _CRYPTOLIB),
    AtrRow("3BDC18FF00001225006480000401009000", CardKind.CPX, "CPS4, T=0", _CRYPTOLIB),
    # A professional's card all the same, with its own refusal: `signing/cpx.py`.
    AtrRow("3BAC00402A001225006480820212009000", CardKind.CPX, "CPS2ter", _LIST),
    AtrRow("3B*1225006480*", CardKind.CPX, "some CPx by contact", "[guess] the historical bytes of the rows above"),
)


def kind_of(atr: bytes, rows: Sequence[AtrRow] = ATR_TABLE) -> CardKind:
    """What a card with this ATR looks like."""
    text = atr.hex().upper()
    return next((row.kind for row in rows if row.fits(text)), CardKind.UNKNOWN)
