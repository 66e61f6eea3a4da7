"""The desk: everything a workflow works with. Ports made by `app.py`, lanes, turns and what is remembered. No I/O."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.config import Settings, Software
from agent.errors import AgentError, Code
from agent.identity import Identity
from agent.insi.ports import Teleservice
from agent.journal.ports import Journal
from agent.lane import Lane, Turn
from agent.model import AuthMode, Environment, ReaderSeen, Right
from agent.pin import Pin
from agent.readers.desk import VitaleSource
from agent.readers.ports import Readers
from agent.signing.ports import TokenProcess
from agent.signing.structures import Opened, Purpose, choose
from agent.tray.bridge import ActivityQuestion, PinQuestion
from agent.tray.state import OrganisationCalls
from agent.workflows.counts import Counts
from agent.workflows.rates import Rated, Rates
from agent.workflows.readings import Readings
from agent.workflows.references import References
from agent.workflows.searches import Searches

if TYPE_CHECKING:
    from agent.insi.contract import Contract
    from agent.protocol.server import Progress
    from agent.signing.certificate_files import CertificateFiles
    from agent.signing.organisation import OrganisationCertificate
    from agent.signing.vitale_assertion import VitaleAssertions

T = TypeVar("T")

SECRETS_TIMEOUT_S = 120  # a locked keyring asks the person
CARD_QUEUE_S = 10


class Person(Protocol):
    """Whoever sits at the desk."""

    async def ask_pin(self, question: PinQuestion) -> Pin | None:
        """The code typed, or None when it is typed on a pin-pad.

        Raises pin.cancelled, question.expired, prompt.unavailable. Cancelling withdraws the window.
        """
        ...

    async def ask_activity(self, question: ActivityQuestion) -> str:
        """The id of the activity chosen.

        Raises activity.needed for someone who does not choose, question.expired, prompt.unavailable.
        """
        ...


@dataclass(frozen=True)
class Asker:
    """Who asks, and in which conversation."""

    origin: str
    rights: frozenset[Right]
    progress: "Progress"
    pending: bool = False  # the person has not answered yet whether it may talk to us


@dataclass
class CardSession:
    """A logged-in CPx session. It belongs to the origin for which the person typed the code."""

    owner: str
    serial: str
    reader: str | None  # by its PC/SC name; None: the module names its slots otherwise
    opened_at: datetime
    used_at: datetime
    rights: frozenset[Right]  # what the owner might do then: it ends with any of them
    activity: str | None = None  # the one chosen in a window


@dataclass(frozen=True)
class UnresetCard:
    """A card that has not forgotten its code, as another program keeps it."""

    readers: Readers  # where it is; while simulated perhaps the real ones, which were left
    reader: str | None  # as the session's
    simulated: bool


@dataclass(frozen=True)
class NotShipped:
    """The journal's second copy is late."""

    entries: int  # that were not there at the last try
    since: datetime


@dataclass(frozen=True)
class Lanes:
    pcsc: Lane = field(default_factory=lambda: Lane("pcsc", leaves_behind=True))
    token: Lane = field(default_factory=lambda: Lane("token"))
    network: Lane = field(default_factory=lambda: Lane("network"))
    journal: Lane = field(default_factory=lambda: Lane("journal"))
    secrets: Lane = field(default_factory=lambda: Lane("secrets"))

    def close(self) -> None:
        for lane in (self.pcsc, self.token, self.network, self.journal, self.secrets):
            lane.close()


@dataclass
class Desk:
    """The ports, and what the agent remembers between two calls."""

    settings: Callable[[], Settings]
    environment: Environment
    instance_id: str
    readers: Readers
    vitale: VitaleSource
    tokens: Callable[[], TokenProcess]
    teleservice: Teleservice
    contract: Callable[[], "Contract"]  # blocks at its first use: the network lane's
    certificates: "CertificateFiles"  # the organisations'; opening them blocks: a keyring may ask the person
    load_identity: Callable[[], Identity]  # blocks likewise; the value never changes while we run
    journal: Journal
    person: Person
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    changed: Callable[[], None]  # the card session opened or closed
    show: Callable[[], None]  # something that the tray tells is no longer so
    read_proxy_password: Callable[[], None] = lambda: None  # blocks: a keyring may ask the person
    account: str | None = None  # of the operating system, for the trace
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep  # between two attempts, in seconds
    vitale_assertions: "VitaleAssertions | None" = None  # no provider is shipped
    lanes: Lanes = field(default_factory=Lanes)
    card_queue_s: float = CARD_QUEUE_S  # a card operation waits so long for its turn
    vitale_turn: Turn = field(default_factory=Turn)
    cpx_turn: Turn = field(default_factory=Turn)  # an operation with the card, questions included
    token_turn: Turn = field(default_factory=Turn)  # one look, login, signature or end of a session
    insi_turn: Turn = field(default_factory=Turn)
    traces_turn: Turn = field(default_factory=Turn)  # one reading for a page: no call waits to be traced behind many
    readings: Readings = field(default_factory=Readings)
    references: References = field(default_factory=References)
    searches: Searches = field(default_factory=Searches)
    counts: Counts = field(default_factory=Counts)
    rates: Rates = field(default_factory=Rates)
    organisation_calls: OrganisationCalls = field(default_factory=OrganisationCalls)
    session: CardSession | None = None
    unreset: UnresetCard | None = None
    resetting: asyncio.Task[None] | None = None  # tries again to reset it
    wrong_code: str | None = None  # serial of the card whose last code was wrong
    card_not_after: datetime | None = None  # of the CPx seen last
    organisations_seen: list[Opened] | None = None  # what opening the certificates gave last
    verifies: bool = False  # whether the contract knew WS_INS3 when it was last looked into
    wss_seen: datetime | Code | None = None  # until when wss can be served, or why it is not; None: not wanted
    journal_failed: Code | None = None  # why nothing could be written last: journal.full, journal.unavailable
    not_shipped: NotShipped | None = None  # None: the journal's second copy is up to date, or none is wanted
    seen: list[ReaderSeen] | None = None  # what the watcher saw last; None: the card service is down
    seen_change: asyncio.Condition = field(default_factory=asyncio.Condition)
    journal_settled: bool = False  # the journal lane's: what the last stop cut short has its outcome
    exchanges: set[asyncio.Task[Any]] = field(default_factory=set)
    leaving: bool = False  # for another environment or profile: no operation begins any more

    @property
    def exact_frames(self) -> bool:
        """Whether the journal keeps each message as it travelled: never outside simulation, where an assertion is
        somebody's."""
        return self.environment is Environment.SIMULATED

    def software_of(self, origin: str) -> tuple[Software, str]:
        """The software row of an origin and its authorisation number here. Raises software.notAuthorised."""
        row = self.settings().software_of(origin)
        number = row.authorisation.get(self.environment) if row else None
        if row is None or not number:
            raise AgentError(Code.SOFTWARE_NOT_AUTHORISED, environment=self.environment.value)
        return row, number

    def auth_modes(self, origin: str) -> list[AuthMode]:
        """The modes in which this origin may call, the preferred one first.

        With a certificate where some are configured, unless it is known by now that none is of its software's
        structure. What else may be wrong with it, a call says.
        """
        modes = [AuthMode.CPX]
        if self.organisation_configured() and not self._lacks_certificate(origin):
            modes.append(AuthMode.ORGANISATION)
        return modes

    def organisation_configured(self) -> bool:
        return self.environment is Environment.SIMULATED or bool(self.settings().organisation.certificates)

    def choose_certificate(
        self, opened: Sequence[Opened], origin: str, purpose: Purpose = Purpose.PERSON
    ) -> "OrganisationCertificate":
        """The one for this origin's software. Raises the codes of `structures.choose`."""
        row = self.settings().software_of(origin)
        return choose(
            opened,
            structure=row.structure if row else None,
            purpose=purpose,
            environment=self.environment,
            now=self.now(),
        )

    def _lacks_certificate(self, origin: str) -> bool:
        try:
            self.choose_certificate(self.organisations_seen or [], origin)
        except AgentError as error:
            return error.code is Code.CERTIFICATE_STRUCTURE
        return False

    def take(self, what: Rated, origin: str) -> None:
        """Count one against the origin's limits. Raises rate.limited {retryAfterS, limit}."""
        self.rates.take(what, origin, self.settings().limits, self.now())

    async def identity(self) -> Identity:
        """This installation's key. Raises keyring.absent, identity.damaged."""
        return await self.lanes.secrets.run(self.load_identity, timeout_s=SECRETS_TIMEOUT_S)

    async def keys_at_hand(self) -> None:
        """Before anything is asked or sent: no key, no receipt and no trace. Raises as `identity`."""
        await self.identity()
        await self.lanes.secrets.run(self.journal.check_key, timeout_s=SECRETS_TIMEOUT_S)

    async def organisations(self) -> list[Opened]:
        """The organisations' certificates that are configured, each open or with what keeps it from opening."""
        self.organisations_seen = await self.lanes.secrets.run(self.certificates.open, timeout_s=SECRETS_TIMEOUT_S)
        return self.organisations_seen

    async def proxy_at_hand(self) -> None:
        """The password of the account on a proxy, before the network lane needs it: nobody waits there for a keyring.

        What goes wrong with it, the call that needs it says.
        """
        await self.lanes.secrets.run(self.read_proxy_password, timeout_s=SECRETS_TIMEOUT_S)

    def finish(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end, also when the agent stops meanwhile."""
        task = asyncio.create_task(work)
        self.exchanges.add(task)
        task.add_done_callback(self.exchanges.discard)
        return task
