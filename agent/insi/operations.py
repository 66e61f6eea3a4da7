"""The operations of INSi and what is asked of each. No I/O of its own.

Source: contract DESIR_ICIR_EXP 1.5.0 of the GIE SESAM-Vitale (WS_INS1 and WS_INS2), read second hand.
WS_INS3, 4 and 5 have no public contract: how they are called is in a binding (contract/).
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
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
    given_name: str  # the first of the list, as the page gave it: it may hold spaces
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


class Use(Enum):
    """Whether a binding may leave a value out of its messages."""

    SENT = "never: without it another thing is asked"
    OMITTED = "where it says so in `omits`"
    FREE = "without a word"


_PERSON = {
    "matricule": Use.SENT,
    "key": Use.OMITTED,
    "oid": Use.SENT,
    "birthName": Use.SENT,
    "givenName": Use.FREE,  # the first one, beside the list that has them all
    "givenNames": Use.SENT,
    "sex": Use.SENT,
    "birthDate": Use.SENT,
    "birthPlaceCode": Use.OMITTED,
}
# The values that a binding may put into a message, by the name it uses; see envelope.py for what each one holds.
VALUES: dict[Operation, dict[str, Use]] = {
    Operation.WITH_VITALE: {
        "nirOfInsured": Use.SENT,
        "keyOfInsured": Use.OMITTED,
        "certifiedNir": Use.SENT,
        "birthName": Use.OMITTED,
        "birthDate": Use.SENT,
        "rank": Use.SENT,
    },
    # a search climbs by its birth place
    Operation.BY_TRAITS: dict.fromkeys(("birthName", "givenName", "sex", "birthDate", "birthPlaceCode"), Use.SENT),
    Operation.VERIFY: _PERSON,
    Operation.DEPOSIT: {"reference": Use.OMITTED, "count": Use.OMITTED},
    Operation.FETCH: {"batch": Use.SENT},
}
ITEM_VALUES = {**_PERSON, "reference": Use.SENT}  # of each person of a batch

PAGE_MAY_ADD = frozenset(["key", "birthPlaceCode"])  # what a page need not give, and a contract may want

Query = VitaleQuery | TraitsQuery | VerifyQuery | DepositQuery | FetchQuery
