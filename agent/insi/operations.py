"""The operations of INSi and what is asked of each. No I/O of its own.

Source: contract DESIR_ICIR_EXP 1.5.0 of the GIE SESAM-Vitale (WS_INS1 and WS_INS2), read second hand.
WS_INS3, 4 and 5 have no public contract: how they are called is in a binding (contract/).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Operation(StrEnum):
    """A web service of INSi, by the name the traces use."""

    WITH_VITALE = "WS_INS1"  # search with a carte Vitale
    BY_TRAITS = "WS_INS2"  # search by identity traits
    VERIFY = "WS_INS3"  # verify one INS with its traits
    DEPOSIT = "WS_INS4"  # deposit a batch of INS to verify
    FETCH = "WS_INS5"  # fetch the result of a batch


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
    key_of_insured: str | None = None  # as on the card; sent where `insi.send_key` says so

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


@dataclass(frozen=True, repr=False)
class VerifyQuery:
    """What WS_INS3 is asked: an INS and all its traits, in INSi's alphabet. Personal: it does not print."""

    operation: ClassVar[Operation] = Operation.VERIFY

    matricule: str  # 13 characters
    key: str | None
    oid: str
    birth_name: str
    given_names: str  # the whole list, joined by spaces
    sex: str
    birth_date: str
    birth_place_code: str | None
    given: tuple[str, ...]  # the wire names of what is sent, without the values


@dataclass(frozen=True, repr=False)
class DepositQuery:
    """What WS_INS4 is asked: a batch. Personal: it does not print."""

    operation: ClassVar[Operation] = Operation.DEPOSIT

    reference: str  # ours, of the whole batch
    items: tuple[tuple[str, VerifyQuery], ...]  # ours, of each one, and what is to be verified
    given: tuple[str, ...] = ("items",)


@dataclass(frozen=True)
class FetchQuery:
    """What WS_INS5 is asked: the result of a batch."""

    operation: ClassVar[Operation] = Operation.FETCH

    batch: str  # as INSi named it when it was deposited
    given: tuple[str, ...] = ("batch",)


# The values that a binding may put into a message, by the name it uses; see envelope.py for what each one holds.
VALUES: dict[Operation, frozenset[str]] = {
    Operation.WITH_VITALE: frozenset(
        ["nirOfInsured", "keyOfInsured", "certifiedNir", "birthName", "birthDate", "rank"]
    ),
    Operation.BY_TRAITS: frozenset(["birthName", "givenName", "sex", "birthDate", "birthPlaceCode"]),
    Operation.VERIFY: frozenset(
        ["matricule", "key", "oid", "birthName", "givenNames", "sex", "birthDate", "birthPlaceCode"]
    ),
    Operation.DEPOSIT: frozenset(["reference", "count"]),
    Operation.FETCH: frozenset(["batch"]),
}
ITEM_VALUES = VALUES[Operation.VERIFY] | {"reference"}  # of each person of a batch

Query = VitaleQuery | TraitsQuery | VerifyQuery | DepositQuery | FetchQuery
