"""The two public operations of INSi and what is asked of each. No I/O of its own.

Source: contract DESIR_ICIR_EXP 1.5.0 of the GIE SESAM-Vitale (WS_INS1 and WS_INS2), read second hand.
WS_INS3, 4 and 5 have no public contract: they are not here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Operation(StrEnum):
    """A web service of INSi, by the name the traces use."""

    WITH_VITALE = "WS_INS1"  # search with a carte Vitale
    BY_TRAITS = "WS_INS2"  # search by identity traits


@dataclass(frozen=True)
class Wire:
    """How an operation is called."""

    name: str  # in the contract
    action: str  # wsa:Action and the content type's action


_URN = "urn:ServiceIdentiteCertifiee:1.0.0:"

WIRE: dict[Operation, Wire] = {
    Operation.WITH_VITALE: Wire("rechercherInsAvecCarteVitale", _URN + "rechercherInsAvecCarteVitale"),
    Operation.BY_TRAITS: Wire("rechercherInsAvecTraitsIdentite", _URN + "rechercherInsAvecTraitsIdentite"),
}


@dataclass(frozen=True, repr=False)
class VitaleQuery:
    """What WS_INS1 is asked, from the card just read. Personal: it does not print.

    [guess]: the card's number goes as the insured person's, also where nobody says whose it is; and a birth date
    that is no day of the calendar goes as it is on the card, unless `vitale.lunar_dates` refuses it.
    """

    operation: ClassVar[Operation] = Operation.WITH_VITALE

    nir_of_insured: str  # MatriculeOD: 13 characters, without the key
    birth_date: str  # YYYY-MM-DD, month and day may be 00
    rank: int
    birth_name: str | None = None  # already in INSi's alphabet (names.py)
    certified_nir: str | None = None  # the holder's own number, when the card certifies it

    @property
    def given(self) -> tuple[str, ...]:
        """The wire names of the members sent, without their values."""
        optional = {"certifiedNir": self.certified_nir, "birthName": self.birth_name}
        return ("nir", "birthDate", "rank", *(name for name, value in optional.items() if value is not None))


@dataclass(frozen=True, repr=False)
class TraitsQuery:
    """What one call of WS_INS2 is asked, in INSi's alphabet. Personal: it does not print."""

    operation: ClassVar[Operation] = Operation.BY_TRAITS

    birth_name: str
    given_name: str  # one given name, or several joined by spaces
    sex: str  # M or F
    birth_date: str  # YYYY-MM-DD, month and day may be 00
    birth_place_code: str | None
    given: tuple[str, ...]  # the wire names and indexes of what is sent, without the values


Query = VitaleQuery | TraitsQuery
