"""The words of the product: values shared by the wire, the journal and the workflows. No I/O of its own.

Pydantic earns its place here: the same classes check what comes in, write the JSON that goes out
and generate the protocol's schema. Members are snake_case here and camelCase on the wire.

Personal data does not print: a `Personal` value shows its type only.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`, as every time of the protocol."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


Moment = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str)]


class Value(BaseModel):
    """A frozen value. Unknown members are refused by name, and refusals never quote the input."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,  # validators are built at first use: the agent listens sooner
    )


class Personal(Value):
    """A value about a person: it does not print."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__


# ---------------------------------------------------------------- sites

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # with the underscore that some intranets have
_TO_65535 = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_SITE = re.compile(rf"https://(?=[^:]{{1,253}}(?::|$)){_LABEL}(?:\.{_LABEL})*(?::(?!443$)(?:{_TO_65535}))?")
_LOCAL_SITE = re.compile(rf"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::(?!80$)(?:{_TO_65535}))?")


def is_site(origin: str) -> bool:
    """Whether it is an https origin as browsers write it: lower case, punycode, no trailing dot, 443 left out."""
    return _SITE.fullmatch(origin) is not None


def is_local_site(origin: str) -> bool:
    """Whether it is an http origin of this machine as browsers write it: a developer's, for a demonstration only."""
    return _LOCAL_SITE.fullmatch(origin) is not None


# ---------------------------------------------------------------- where we are


class Environment(StrEnum):
    """Which INSi is called, and which cards are accepted."""

    SIMULATED = "simulated"  # our own simulator; nothing leaves the machine
    TEST = "test"  # the editors' qualification service
    PRODUCTION = "production"


class Profile(StrEnum):
    """What the installed software is, for the INS rules (S001, S003)."""

    REPOSITORY = "repository"  # identity repository: may retrieve
    CONSUMER = "consumer"  # any other software: may only verify


class AuthMode(StrEnum):
    """How INSi knows who asks. An open list on the wire; `psc` is reserved."""

    CPX = "cpx"  # assertion PS signed by the professional's card, server TLS
    ORGANISATION = "organisation"  # the organisation's certificate in mutual TLS, no assertion


class Right(StrEnum):
    """What an origin may do."""

    VITALE = "vitale"
    CPX = "cpx"
    RETRIEVE = "insi.retrieve"
    VERIFY = "insi.verify"
    BATCH = "insi.batch"
    TRACE = "trace"
    ADMIN = "admin"  # the command line alone


# ---------------------------------------------------------------- readers and cards


class CardKind(StrEnum):
    """What a card looks like by its ATR."""

    VITALE_2 = "vitale2"
    VITALE_1 = "vitale1"
    CPX = "cpx"
    CPX_CONTACTLESS = "cpxContactless"
    UNKNOWN = "unknown"


class CardSeen(Value):
    """A card in a reader, known by its ATR alone."""

    kind: CardKind
    atr: str  # upper-case hexadecimal, no blanks


class ReaderSeen(Value):
    """A reader and what is in it."""

    reader: str
    card: CardSeen | None = None


# ---------------------------------------------------------------- carte Vitale


class NameKind(StrEnum):
    """Which name the card gives. By plain PC/SC nobody knows."""

    BIRTH = "birth"
    USED = "used"
    UNKNOWN = "unknown"


class NirOf(StrEnum):
    """Whose number the card gives for a holder."""

    HOLDER = "holder"
    INSURED = "insured"
    UNKNOWN = "unknown"


class VitaleHolder(Personal):
    """One person listed on a carte Vitale. Nothing here is an INS."""

    index: int
    name: str  # empty where the card has none: the rest of the family is read all the same
    name_kind: NameKind
    given_names: str | None = None
    birth_date: str | None = None  # YYYY-MM-DD, month and day may be 00
    birth_date_raw: str  # as on the card
    nir: str  # 13 characters, as on the card
    nir_key: str  # 2 characters, as on the card, never corrected
    nir_of: NirOf
    certified_nir: str | None = None
    rank: int = 1
    rank_assumed: bool = True
    # What is odd on the card, reported and never refused: name.missing, nir.key, nir.length, nir.provisional,
    # birthDate.lunar (no day of the calendar), birthDate.unreadable.
    warnings: list[str] = []


class VitaleCard(Personal):
    """What is known of the card itself."""

    kind: CardKind
    environment: Literal["real", "test", "demo", "unknown"] = "unknown"
    serial: str | None = None


# ---------------------------------------------------------------- CPx


class PinState(StrEnum):
    """What the token's flags say of the tries left. PKCS#11 gives no number."""

    OK = "ok"
    LOW = "low"
    FINAL = "final"
    LOCKED = "locked"
    UNKNOWN = "unknown"


class CpxKind(StrEnum):
    """The card type of certificate extension 1.2.250.1.71.1.2.2."""

    CPS = "CPS"
    CPF = "CPF"
    CPE = "CDE-CPE"
    CPA = "CDA-CPA"
    UNKNOWN = "unknown"


class Professional(Personal):
    """Who holds the CPx."""

    name: str
    national_id: str  # CN of the certificate, with its prefix digit
    profession: str | None = None  # code of table G15
    speciality: str | None = None  # code of table R01


class Activity(Personal):
    """One place where the professional works, read on the card after login."""

    id: str  # two digits of CPS_ACTIVITY_nn_PS
    label: str
    structure_id: str | None = None
    sector: str  # code of table R02


class CertificateDates(Value):
    not_after: Moment
    days_left: int


class PinLife(Value):
    state: PinState


class CpxStatus(Personal):
    """The professional card as a page sees it."""

    present: bool
    kind: CpxKind | None = None
    nominative: bool | None = None
    environment: Literal["test", "production", "unknown"] | None = None
    holder: Professional | None = None
    certificate: CertificateDates | None = None
    pin: PinLife | None = None
    unlocked: bool = False
    activities: list[Activity] | None = None  # absent until unlocked


# ---------------------------------------------------------------- INSi


class InputSex(StrEnum):
    M = "M"
    F = "F"


class Traits(Personal):
    """Identity traits as a page gives them."""

    birth_name: str = Field(max_length=200)
    given_names: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(min_length=1, max_length=20)
    sex: InputSex
    birth_date: str = Field(pattern=r"^[0-9]{4}-(0[0-9]|1[0-2])-([0-2][0-9]|3[01])$")
    birth_place_code: str | None = Field(default=None, pattern=r"^([0-9]{5}|2[AB][0-9]{3})$")


class GivenIns(Personal):
    """An INS as a page gives it, to be verified. NIR or NIA is told by the OID alone; a wrong key is no refusal."""

    matricule: str = Field(pattern=r"^[0-9]{6}[0-9AB][0-9]{6}$")
    key: str | None = Field(default=None, pattern=r"^[0-9]{2}$")
    oid: str = Field(pattern=r"^[0-2](\.(0|[1-9][0-9]{0,15})){3,20}$")


class LocalTraits(Personal):
    """The page's own traits, for a comparison. Sex may also be I (undetermined)."""

    birth_name: str | None = Field(default=None, max_length=200)
    given_names: list[Annotated[str, Field(max_length=200)]] | None = Field(default=None, max_length=20)
    sex: Literal["M", "F", "I"] | None = None
    birth_date: str | None = Field(default=None, max_length=10)
    birth_place_code: str | None = Field(default=None, max_length=5)


class InsKind(StrEnum):
    """Told by the OID alone."""

    NIR = "NIR"
    NIA = "NIA"
    NIR_TEST = "NIR-TEST"
    NIR_DEMO = "NIR-DEMO"
    UNKNOWN = "unknown"


class Ins(Personal):
    matricule: str  # 13 characters, never with the key
    key: str | None = None
    oid: str
    kind: InsKind


class PastIns(Personal):
    """One line of the matricule's history, verbatim."""

    model_config = ConfigDict(alias_generator=lambda name: {"from_": "from"}.get(name, to_camel(name)))

    matricule: str
    key: str | None = None
    oid: str
    from_: str | None = None
    to: str | None = None


class InsIdentity(Personal):
    """The identity exactly as INSi returned it."""

    ins: Ins
    birth_name: str | None = None
    given_names_list: str | None = None
    sex: str | None = None
    birth_date: str | None = None  # a string: month and day may be 00
    birth_place_code: str | None = None
    history: list[PastIns] = []


class Outcome(StrEnum):
    FOUND = "found"
    NOT_FOUND = "notFound"
    SEVERAL = "several"
    VERIFIED = "verified"
    NOT_VERIFIED = "notVerified"


class Comparison(Personal):
    """One local trait beside INSi's."""

    local: str | None
    insi: str | None
    same: bool
    same_after_normalisation: bool


class DeclaredUser(Personal):
    """The user as the page declares them; traced as such."""

    id: str = Field(min_length=1, max_length=100)
    name: str | None = Field(default=None, max_length=200)
    role: str | None = Field(default=None, max_length=100)


class CallContext(StrEnum):
    """S106."""

    PRESENT = "present"
    AHEAD = "ahead"
    THIRD_PARTY = "thirdParty"


class IdentityState(Personal):
    """The local identity's status and attributes."""

    status: Literal["PROV", "VALI", "RECUP", "QUAL"]
    attributes: list[Literal["DOUT", "FICT", "HOMA"]] = []


class AttemptTrace(Value):
    """One call to the teleservice. `given` names the members sent, never their values."""

    code: str  # CodeCR, or the fault's code, or our reason when nothing came back
    message_id: str
    duration_ms: int
    given: list[str]


class SoftwareName(Value):
    name: str
    version: str


class TracedProfessional(Personal):
    national_id: str


class Trace(Personal):
    """What is kept of an operation, for whom asks later (S077, S108): who, when, how, what came back."""

    id: str
    operation: str  # WS_INS1 …
    at: Moment
    duration_ms: int
    environment: Environment
    auth_mode: AuthMode
    message_id: str  # of the last attempt
    attempts: list[AttemptTrace]
    request_sha256: str  # of the last attempt
    response_sha256: str | None = None
    origin: str
    user: DeclaredUser | None = None
    context: CallContext | None = None
    professional: TracedProfessional | None = None
    structure: str | None = None
    certificate: str | None = None  # CN of the organisation's, INSI-MANU or INSI-AUTO
    software: SoftwareName
    seq: int
    previous: str


class Asked(Personal):
    """What a verification was asked: without it a receipt would not say of whom it speaks."""

    ins: GivenIns
    traits: Traits


class TracedResult(Personal):
    """The answer to every insi.* call."""

    outcome: Outcome
    code: str
    label: str
    identity: InsIdentity | None = None
    asked: Asked | None = None  # of a verification, which returns no identity
    integrable: bool
    reasons: list[str] = []
    warnings: list[str] = []
    comparison: dict[str, Comparison] | None = None
    trace: Trace
    receipt: str
    replayed: bool | None = None
