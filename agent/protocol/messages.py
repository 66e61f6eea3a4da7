"""Every message of the protocol as a model: params refuse unknown members by name. No I/O of its own.

Source: the protocol contract, API level 1. The JSON Schema and the tables of PROTOCOL.md are
generated from these classes.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from agent.model import (
    AttemptTrace,
    CallContext,
    DeclaredUser,
    Environment,
    GivenIns,
    IdentityState,
    LocalTraits,
    Moment,
    Personal,
    Profile,
    ReaderSeen,
    Right,
    TracedResult,
    Traits,
    Value,
    VitaleCard,
    VitaleHolder,
)

API_LEVEL = 1
SUBPROTOCOL = "insi-agent.v1"

# 13 or 15 characters, Corsica included. Among more hexadecimal digits, as in a UUID, it is no NIR.
_NIR_SHAPE = re.compile(r"(?<![0-9A-F])[1-478][0-9]{4}([0-9]{2}|2[AB])[0-9]{6}([0-9]{2})?(?![0-9A-F])", re.ASCII)


def _not_a_nir(value: str) -> str:
    """Refuse a NIR, also one written in groups."""
    text = value.upper()
    if _NIR_SHAPE.search(text) or _NIR_SHAPE.search(re.sub(r"[._-]", "", text)):
        raise ValueError("looks like a NIR")
    return value


Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
ClientRef = Annotated[Id, AfterValidator(_not_a_nir)]
# base64url without padding; 43 characters are 32 bytes
Challenge = Annotated[str, StringConstraints(min_length=43, max_length=512, pattern=r"^[A-Za-z0-9_-]+$")]
Wait = Annotated[float, Field(ge=0, le=120, description="seconds to wait for a card")]
# An open list: a mode that this agent does not know is refused by name, not as malformed.
AuthModeName = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z]{1,30}$")]
ReaderName = Annotated[str, StringConstraints(max_length=200)]


# ---------------------------------------------------------------- agent


class Client(Value):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class NoParams(Value):
    pass


class HelloParams(Value):
    api_levels: list[int] = Field(min_length=1, max_length=20)
    client: Client
    lang: Literal["fr", "en"] | None = None
    challenge: Challenge | None = None


class AgentName(Value):
    name: str
    version: str
    instance_id: str


class HelloResult(Value):
    api: int
    agent: AgentName
    origin_state: Literal["allowed", "pending", "denied"]
    environment: Environment
    profile: Profile
    auth_modes: list[str]  # an open list: `cpx`, `organisation`; `psc` reserved
    capabilities: list[str]
    receipt_key: dict[str, str]
    proof: str | None = None


class Notice(Value):
    """A warning of the agent, in words."""

    reason: str
    message: dict[str, str]
    facts: dict[str, Any] = Field(default_factory=dict)


class ChangedParams(HelloResult):
    """`agent.changed`: hello's members and the warnings."""

    warnings: list[Notice]


class OperationCounts(Value):
    """What the attempts of one operation gave since the agent started."""

    by_code: dict[str, int]
    calls: int
    faults: int  # of `calls`, those that ended with a fault, or without anything that could be read
    mean_ms: int
    median_ms: int  # of the last hundred
    last_ms: int
    max_ms: int


class Reachability(Value):
    """The last exchange with the teleservice."""

    at: Moment
    reached: bool
    reason: str | None = None


class CpxSession(Value):
    """This origin's card session; the command line alone sees another's as open."""

    open: bool
    own: bool


class StatusResult(Value):
    environment: Environment
    profile: Profile
    card_service: bool
    readers: list[ReaderSeen]
    cpx_session: CpxSession
    operations: dict[str, OperationCounts]
    reachability: Reachability | None = None
    warnings: list[Notice]


# ---------------------------------------------------------------- cards


class WatchResult(Value):
    readers: list[ReaderSeen]


class CpxChangedParams(Value):
    present: bool
    unlocked: bool


class VitaleReadParams(Value):
    wait: Wait | None = None
    reader: ReaderName | None = None


class VitaleReadResult(Personal):
    read_id: str
    card: VitaleCard
    holders: list[VitaleHolder]
    read_at: Moment
    expires_at: Moment


class CpxStatusParams(Value):
    wait: Wait | None = None


class CpxUnlockParams(Personal):
    reason: Annotated[str, StringConstraints(max_length=200)] | None = None


# ---------------------------------------------------------------- insi


class InsiParams(Personal):
    """Params that every unit call takes. All are traced."""

    auth_mode: AuthModeName | None = None
    activity: Id | None = None
    client_ref: ClientRef | None = None
    challenge: Challenge | None = None
    user: DeclaredUser | None = None
    context: CallContext | None = None
    identity: IdentityState | None = None
    local: LocalTraits | None = None


class RetrieveWithVitaleParams(InsiParams):
    read_id: Id
    holder: int = Field(ge=0, le=99)
    rank: int | None = Field(default=None, ge=1, le=9)


class RetrieveByTraitsParams(InsiParams):
    traits: Traits
    continues: Id | None = None


class VerifyParams(InsiParams):
    """`traits.givenNames`: the whole list, as one element or as many. Sent as given, birth place included."""

    ins: GivenIns
    traits: Traits


# ---------------------------------------------------------------- environment and profile, for the command line alone


class SwitchParams(Value):
    """What is to change; the other stays."""

    environment: Environment | None = None
    profile: Profile | None = None


Switched = Literal["environment", "profile"]


class SwitchResult(Value):
    """What counts now, and what may not be changed here. `sources`: who decided what is locked.

    `ignored`: what the person chose before it was locked. `next_start`: what was configured since the agent started
    and counts from its next start on.
    """

    environment: Environment
    profile: Profile
    locked: list[Switched]
    sources: dict[Switched, str]
    ignored: dict[Switched, str]
    next_start: dict[Switched, str]


# ---------------------------------------------------------------- sites, for the command line alone


class Site(Value):
    """What is decided of one origin, and by whom."""

    origin: str
    state: Literal["allowed", "blocked", "quiet"]  # quiet: the person did not want to be asked until `until`
    by: Literal["policy", "configuration", "person"]
    rights: list[Right]
    since: Moment | None = None
    until: Moment | None = None


class SitesResult(Value):
    sites: list[Site]


class SiteParams(Value):
    origin: Annotated[str, StringConstraints(max_length=300)]


# ---------------------------------------------------------------- traces and operations


class TraceListParams(Value):
    """Filters; together they all hold. `since` counts, `until` not. `cursor`: the `nextCursor` of the page before.

    None is called `code`: that is what people call a card's PIN, and no message has one.
    """

    client_ref: ClientRef | None = None
    operation: Annotated[str, StringConstraints(pattern=r"^WS_INS[1-5]$")] | None = None
    ended_with: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")] | None = (
        None  # of the last attempt
    )
    since: Moment | None = None
    until: Moment | None = None
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9TZ:.-]{24}_[0-9]{1,16}$")] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class TraceLine(Personal):
    """One operation of this origin in a list. `code`: of its last attempt."""

    trace_id: str
    at: str
    operation: str
    auth_mode: str
    client_ref: str | None = None
    code: str
    attempts: int
    answered: bool  # whether a result was handed over


class TraceListResult(Personal):
    """Newest first. A page may be short, or empty, and still have a `nextCursor`."""

    traces: list[TraceLine]
    next_cursor: str | None = None


class LinesResult(Value):
    """What the agent logged: its first lines since the start, and its last."""

    lines: list[str]


class TraceGetParams(Value):
    trace_id: Id
    image: bool | None = None


class TraceGetResult(Personal):
    """One operation of this origin, as the journal holds it."""

    trace_id: str
    at: str
    operation: str
    auth_mode: str
    client_ref: str | None = None
    attempts: list[AttemptTrace]
    result: TracedResult | None = None  # absent when the operation failed, or its personal part was erased
    image: str | None = None  # the exact reply stored for a 00, base64


class OperationCancelParams(Value):
    id: Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[str, StringConstraints(max_length=64)]


class OperationCancelResult(Value):
    cancelled: bool


class ProgressParams(Value):
    id: int | str
    step: str
    needs: Literal["card.vitale", "card.cpx", "pin", "consent", "network"] | None
