"""The composition root: an agent, from its door to its cards. It hands the edges of its desk to the workflows.

Edges are imported inside the functions that build them, here and in `desks.py`: importing it loads none of the heavy
packages.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agent import __version__
from agent.config import ALL_RIGHTS, Loaded, Settings
from agent.consent import Consent, Decisions
from agent.desks import real_desk, ship_carrier, simulated_desk
from agent.errors import AgentError, Code
from agent.lane import Lane
from agent.log import remembered
from agent.model import CardKind, Environment, ReaderSeen, Right, Value
from agent.options import Options, load_settings
from agent.pin import Pin
from agent.places import Places, Running, announce, withdraw
from agent.protocol.messages import (
    API_LEVEL,
    CpxChangedParams,
    LinesResult,
    SitesResult,
    SwitchParams,
    SwitchResult,
    WatchResult,
)
from agent.protocol.methods import BEFORE_HELLO, FROM_MEMORY
from agent.protocol.origins import NATIVE, Caller, Doorkeeper
from agent.protocol.session import Call
from agent.switching import Choice
from agent.system_log import Event
from agent.tray.bridge import ActivityQuestion, ConsentQuestion, PinQuestion, SitesQuestion
from agent.tray.state import TrayState
from agent.workflows import cpx, greeting, retrieve, switches, trace, upkeep, verify, vitale
from agent.workflows.desk import SECRETS_TIMEOUT_S, Asker, CardSession, Desk
from agent.workflows.shipping import Shipping
from agent.workflows.sites import Rules, Sites, useful
from agent.workflows.watching import changes

if TYPE_CHECKING:
    from agent.insi.fake_insi import SimulatedInsi
    from agent.journal.ports import Switch
    from agent.protocol.server import Conversation, Progress, Server

log = logging.getLogger(__name__)
T = TypeVar("T")

STOP_PATIENCE_S = 10
SCREEN_TIMEOUT_S = 10
JOURNAL_TIMEOUT_S = 20
KEYS_TIMEOUT_S = 60
CHANGE_NOTHING = BEFORE_HELLO | FROM_MEMORY

Workflow = Callable[[Desk, Asker, Any], Awaitable[Value]]

WORKFLOWS: dict[str, Workflow] = {
    "agent.hello": greeting.hello,
    "agent.status": greeting.status,
    "vitale.read": vitale.read,
    "cpx.status": cpx.status,
    "cpx.unlock": cpx.unlock,
    "cpx.lock": cpx.lock,
    "insi.retrieveWithVitale": retrieve.with_vitale,
    "insi.retrieveByTraits": retrieve.by_traits,
    "insi.verify": verify.verify,
    "trace.list": trace.listing,
    "trace.get": trace.get,
}


SITES: dict[str, Callable[[Sites, Any], Awaitable[SitesResult]]] = {
    "sites.list": Sites.listing,
    "sites.revoke": Sites.revoke,
    "sites.unblock": Sites.unblock,
}


class Agent:
    """The running agent. Everything here happens on its event loop's thread."""

    def __init__(self, options: Options, loaded: Loaded, places: Places) -> None:
        """`places` are claimed by whoever starts us."""
        self.options = options
        self.simulated = loaded.settings.environment is Environment.SIMULATED
        self.places = places
        self.loaded = loaded  # always with the environment that we run in
        self.configured = loaded.settings.environment  # what counts from the next start on
        self._running: Running | None = None
        self.person = _Person(self, simulated=options.answers_itself and self.simulated)
        self.desk: Desk
        self.sites: Sites
        self.simulated_insi: SimulatedInsi | None = None
        self.state_changed: Callable[[TrayState], None] = lambda _state: None
        self.switch: Callable[[Choice, Conversation], Awaitable[SwitchResult]]  # whoever starts us
        self._operations: set[asyncio.Task[Any]] = set()
        self._stops: list[Callable[[], None]] = []  # in the order things were started
        self._questions = 0
        self._told: object = None  # what agent.changed last said
        self._expiry: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling = asyncio.Lock()
        self._securing = asyncio.Lock()

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def server(self) -> "Server":
        """The door, which outlives us."""
        return self._server

    @property
    def port(self) -> int:
        return self._server.port

    # ------------------------------------------------------------ start and stop

    async def start(self, former: "Agent | None" = None) -> None:
        """Listen first, then look at the readers; what was begun is undone when that fails.

        `former`: the agent that we follow. Its door is ours, left on hold; a card that it could not reset yet is too.
        Raises simulator.forbidden, ports.busy, config.invalid.
        """
        if self.simulated and self.settings.simulate == "forbid":
            raise AgentError(Code.SIMULATOR_FORBIDDEN)
        try:
            await self._start(former)
        except BaseException:
            self._undo()
            raise

    async def _start(self, former: "Agent | None") -> None:
        from agent.protocol.server import Server

        self._loop = asyncio.get_running_loop()
        if self.simulated:
            await self._make_keys()
        self.desk = simulated_desk(self) if self.simulated else real_desk(self)
        self._shipping = Shipping(
            self.desk,
            partial(ship_carrier, instance_id=self.desk.instance_id),
            changed=lambda: self._spawn(self._tell_changes()),
        )
        self._stops += [self.desk.lanes.close, self._stop_resetting, self._shipping.cancel]
        self.sites = self._open_sites()
        behind: dict[str, Any] = {
            "doorkeeper": self._doorkeeper,
            "handler": self._handle,
            "identity": {
                "product": "insi-agent",
                "version": __version__,
                "api": [API_LEVEL],
                "instanceId": self.desk.instance_id,
            },
            "door": lambda: self.settings.door,
        }
        if former is None:
            self._server = Server(**behind)
            await self._server.open(self.settings.ports if self.options.port is None else [self.options.port])
        else:
            self._server = former.server
            self._server.serve_for(**behind)
            self._go_on_resetting(former)
        self._running = announce(self.places.runtime, self.port)
        self._stops.append(partial(withdraw, self.places.runtime, self._running))
        self._told = self._facts()
        watch = self.desk.readers.watch(self._saw_in_watcher)
        self._stops.append(watch.close)
        if self.desk.organisation_configured():
            self._spawn(self._open_organisations())
        self._spawn(self._look_into_contract())
        self._spawn(self._open_secure())
        self._shipping.start()
        self._spawn(upkeep.keep_up(self.desk))
        self.desk.finish(self._watch_screen())
        here = self.port, self.desk.environment, self.settings.profile, __version__
        log.info("listening on port %s, %s, profile %s, version %s", *here, extra={"event": Event.START})

    async def stop(self) -> None:
        """Stop in reverse order: no new calls, running ones end, the card is logged out, the journal closed.

        Each step has its own deadline: a module or a card that hangs costs no other step.
        """
        await self._end(self._server.shut())

    async def finish_operations(self) -> None:
        """Begin no operation any more, and return when those under way, questions included, have ended.

        New ones, and those that only wait for their turn at INSi, get agent.switching. Cancelled while it waits:
        nothing has happened.
        """
        self.desk.leaving = True
        self.show_state()
        try:
            while under_way := self._operations | self.desk.exchanges:
                await asyncio.wait(under_way)
        except asyncio.CancelledError:
            self.stay()
            raise

    async def lock_card(self) -> None:
        """End the card session, within a deadline: a module or a card that hangs costs no other step."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE_S):
                await cpx.end_session(self.desk)

    def stay(self) -> None:
        """Let operations begin again."""
        self.desk.leaving = False
        self.show_state()

    async def leave(self, asking: "Conversation | None") -> None:
        """Stop as `stop` does, but for the door, which is left on hold for the next agent.

        Every conversation is closed with 4001, but the one that asked for it.
        """
        await self._end(self._server.hold(asking))

    async def note(self, switch: "Switch") -> None:
        """Write a switch into our journal.

        Raises journal.full, journal.unavailable, identity.damaged; device.busy and device.timeout of a keyring or a
        disk that does not answer.

        Without a keyring there is no journal, and no call that could be in one: the log alone tells.
        """
        try:
            await self.desk.keys_at_hand()
            await self.desk.lanes.journal.run(partial(switches.note, self.desk, switch), timeout_s=JOURNAL_TIMEOUT_S)
        except AgentError as error:
            if error.code is not Code.KEYRING_ABSENT:
                raise
            log.warning("a switch is not in the journal: %s", error)

    async def _end(self, closing: Awaitable[None]) -> None:
        desk = self.desk
        try:
            await closing
            await self.sites.close()
            if desk.exchanges:
                _, hanging = await asyncio.wait(desk.exchanges, timeout=STOP_PATIENCE_S)
                if hanging:  # perhaps a login on a pin-pad: with its process it ends, and the card is reset
                    desk.tokens().kill()
            for task in (*self._tasks, self._expiry, desk.resetting):
                if task:
                    task.cancel()
            await self.lock_card()
            await self._shipping.stop()
            for lane, close in (
                (desk.lanes.token, desk.tokens().close),
                (desk.lanes.network, desk.teleservice.close),
                (desk.lanes.journal, desk.journal.close),
            ):
                with contextlib.suppress(AgentError):
                    await lane.run(close, timeout_s=5, wait_s=5)
        finally:
            self._undo()

    def _undo(self) -> None:
        while self._stops:
            self._stops.pop()()

    async def _make_keys(self) -> None:
        """The simulator's, which take a second: nobody who is served waits for them."""
        from agent.simulator.pki import open_pki

        lane = Lane("keys")
        try:
            await lane.run(partial(open_pki, self.places.data), timeout_s=KEYS_TIMEOUT_S)
        finally:
            lane.close(0)

    def _go_on_resetting(self, former: "Agent") -> None:
        """A card that has not forgotten its code outlives the agent that opened it, also while we are simulated."""
        if card := former.desk.unreset:
            here = card.simulated is self.simulated
            cpx.reset_later(self.desk, replace(card, readers=self.desk.readers) if here else card)

    def _stop_resetting(self) -> None:
        if self.desk.resetting:
            self.desk.resetting.cancel()

    async def reload(self) -> None:
        """Read the settings again; a wrong file keeps the old ones. Origins that lost rights are closed."""
        try:
            self.configured = load_settings(self.options).settings.environment
            self.loaded = load_settings(self.options, environment=self.desk.environment)
        except AgentError as error:
            log.error("settings not reloaded: %s", error)  # noqa: TRY400  (no traceback: the code says it all)
            return
        if self.configured is not self.desk.environment:
            log.warning("another environment is configured: it counts from the next start on")
        await self._settle()
        self._shipping.hurry()
        self._spawn(self._open_secure())
        self._spawn(self._open_organisations())
        self._spawn(self._look_into_contract())
        await self._tell_changes()

    async def _open_organisations(self) -> None:
        """Know early which certificates of organisations there are, which do not open, and which end soon."""
        with contextlib.suppress(AgentError):
            await self.desk.organisations()
        await self._tell_changes()

    async def _look_into_contract(self) -> None:
        """Know early whether INSi can be asked to verify: of pages that come together, none waits for that."""
        await greeting.look_into_contract(self.desk)
        await self._tell_changes()

    async def _open_secure(self) -> None:
        """Listen for wss where that is wanted; once open, other settings and certificates count from the next start."""
        async with self._securing:
            if isinstance(self.desk.wss_seen, datetime):
                return
            self.desk.wss_seen = await self._secured() if self.settings.wss.enabled else None
        await self._tell_changes()
        self.show_state()

    async def _secured(self) -> datetime | Code:
        """Until when wss is open, or why it is not. ws does not wait for it: a keyring may ask the person."""
        from agent.local_tls import LocalTls
        from agent.secrets import secrets_of

        folder = self.places.data
        tls = LocalTls(folder, secrets_of(folder, simulated=self.simulated, settings=lambda: self.settings))
        try:
            pair, context = await self.desk.lanes.secrets.run(
                partial(tls.load, self.desk.now()), timeout_s=SECRETS_TIMEOUT_S
            )
            port = await self._server.open_secure(self.settings.wss.ports, context)
        except AgentError as error:
            log.log(logging.getLevelNamesMapping()[error.row.level], "no wss: %s", error)
            return error.code
        log.info("wss on port %s", port)
        return pair.not_after

    # ------------------------------------------------------------ the door

    def _doorkeeper(self) -> Doorkeeper:
        return Doorkeeper(
            self.sites.allowed,
            self._running.token if self._running else "",
            self.settings.disabled,
            asks=self.settings.asks_for_unknown_origins,
            turned_away=self.sites.turned_away,
        )

    def _rules(self) -> Rules:
        rules = Rules.of(self.loaded)
        demo = dict.fromkeys(self.options.demo_origins, frozenset(ALL_RIGHTS))
        return replace(rules, configured={**rules.configured, **demo})

    def _open_sites(self) -> Sites:
        """Raises config.invalid."""
        from agent.sites import keep_decisions, read_decisions

        folder = self.places.data

        async def keep(decisions: Decisions) -> None:
            keeping = self.desk.lanes.journal.run(partial(keep_decisions, folder, decisions), timeout_s=5)
            await asyncio.shield(self.desk.finish(keeping))  # whoever asked for it may go

        return Sites(
            read_decisions(folder),
            settings=lambda: self.settings,
            rules=self._rules,
            person=self.person,
            environment=self.desk.environment,
            organisation=self.desk.organisation_configured,
            keep=keep,
            settle=self._settle,
            now=self.desk.now,
        )

    async def _settle(self, refused: str | None = None) -> None:
        """Let in who waited and now may, turn away who no longer may, or waited as `refused`.

        A card session whose owner lost rights ends.
        """
        self._end_session_without_rights()
        admitted = self._server.admissible()
        for conversation, rights in admitted:
            conversation.admit(rights)
        lost = set(self._server.revoked())
        lost |= {one for one in self._server.conversations if one.caller.pending and one.caller.origin == refused}
        for conversation in (*lost, *(one for one, _ in admitted)):
            self.sites.leave(conversation.caller.origin, conversation)
        await asyncio.gather(*(conversation.revoke(greeting.denied(self.desk)) for conversation in lost))
        for conversation, _ in admitted:  # not waited for: our key may be in a keyring that asks the person first
            self._spawn(self._tell_change(conversation))

    def _end_session_without_rights(self) -> None:
        """Whoever is let in again is asked for the code again."""
        session = self.desk.session
        if session is None:
            return
        doorkeeper = self._doorkeeper()
        rights = frozenset(Right) if session.owner == NATIVE else doorkeeper.rights_of(session.owner) or frozenset()
        if doorkeeper.disabled or not session.rights <= rights:
            log.info("the card session of %s ends with its rights", session.owner)
            self._spawn(cpx.end_session(self.desk, session))

    async def _wait_for_consent(self, conversation: "Conversation") -> None:
        """Have the person asked, until they have answered or the page has gone."""
        await self._settle()  # what was decided between its handshake and its hello
        origin = conversation.caller.origin
        if conversation.caller.pending and self.sites.wait(origin, conversation):
            await conversation.closed()
            self.sites.leave(origin, conversation)

    def appended(self) -> None:
        """There is a new entry in the journal. From its lane's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._shipping.wake)

    def show_sites(self) -> None:
        """Open the window of sites. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(lambda: self._spawn(self.sites.show()))

    async def _handle(self, conversation: "Conversation", call: Call, progress: "Progress") -> Value:
        if call.method.name in ("cards.watch", "cards.unwatch"):
            conversation.watching = call.method.name == "cards.watch"
            return WatchResult(readers=self.desk.seen or [])
        if isinstance(call.params, SwitchParams):
            return await self.switch(Choice(**dict(call.params)), conversation)
        if call.method.name == "agent.lines":
            return LinesResult(lines=remembered())
        if call.method.name not in CHANGE_NOTHING:
            self._begin_operation()
        if call.method.name in SITES:
            return await SITES[call.method.name](self.sites, call.params)
        if conversation.caller.pending:
            self._spawn(self._wait_for_consent(conversation))
        try:
            return await WORKFLOWS[call.method.name](self.desk, self._asker(conversation, progress), call.params)
        finally:
            if call.method.name not in FROM_MEMORY:  # a failure changes warnings, a hello may find the contract
                self._spawn(self._tell_changes())

    def _begin_operation(self) -> None:
        """Count this call among the operations until it is answered. Raises agent.switching."""
        if self.desk.leaving:
            raise AgentError(Code.AGENT_SWITCHING)
        task = asyncio.current_task()
        assert task is not None
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)

    @staticmethod
    def _asker(conversation: "Conversation", progress: "Progress") -> Asker:
        caller: Caller = conversation.caller
        return Asker(caller.origin, caller.rights, progress, caller.pending)

    async def _tell_changes(self) -> None:
        """Push agent.changed when what hello said, or a warning, is no longer so."""
        before, self._told = self._told, self._facts()
        if before == self._told:
            return
        self.show_state()  # a warning is in the tray too
        for conversation in list(self._server.conversations):
            if not conversation.caller.pending:
                await self._tell_change(conversation)

    async def _tell_change(self, conversation: "Conversation") -> None:
        changed = await greeting.changed(self.desk, self._asker(conversation, _silent))
        await conversation.notify("agent.changed", changed)

    def _facts(self) -> object:
        settings, desk = self.settings, self.desk
        announced = [
            (origin, desk.auth_modes(origin), useful(settings, desk.environment, origin))
            for row in settings.software
            for origin in row.origins
        ]
        here = settings.profile, desk.organisation_configured(), desk.verifies
        return here, announced, greeting.notices(desk)

    # ------------------------------------------------------------ cards

    def _saw_in_watcher(self, seen: list[ReaderSeen] | None) -> None:
        """Called in the watcher's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._saw, seen)

    def _saw(self, seen: list[ReaderSeen] | None) -> None:
        """The watcher saw something: remember it, tell who watches, end a session whose card left."""
        before, self.desk.seen = self.desk.seen, seen
        # looked at now: by the time this is told, the next card may be in the reader
        ended = self.desk.session if cpx.card_left(self.desk) else None
        self._spawn(self._saw_change(changes(before, seen), ended))

    async def _saw_change(self, notifications: Sequence[tuple[str, ReaderSeen]], ended: CardSession | None) -> None:
        async with self.desk.seen_change:
            self.desk.seen_change.notify_all()
        async with self._telling:  # in the order in which it happened, also to a page that reads slowly
            for method, params in notifications:
                for conversation in self._watching():
                    await conversation.notify(method, params)
        if ended is not None:
            await cpx.end_session(self.desk, ended, card_left=True)
        elif any(params.card and params.card.kind is CardKind.CPX for _, params in notifications):
            self.session_changed()
        self.show_state()

    async def _watch_screen(self) -> None:
        """Listen to the screen's lock, without making anybody wait for a bus."""
        from agent.screen import watch_screen

        lane = Lane("screen")
        try:
            watch = await lane.run(partial(watch_screen, self._screen_locked_in_watcher), timeout_s=SCREEN_TIMEOUT_S)
        except AgentError as error:
            log.warning("the screen's lock is not watched: %s", error)
            return
        finally:
            lane.close(0)
        if watch is not None:
            self._stops.append(watch.close)

    def _screen_locked_in_watcher(self) -> None:
        """Called in the watcher's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._screen_locked)

    def _screen_locked(self) -> None:
        log.info("the screen was locked")
        if self.settings.cpx.lock_with_screen:
            self._spawn(cpx.end_session(self.desk))

    def session_changed(self) -> None:
        """The card session opened, closed, or a professional's card came or went."""
        self._end_session_without_rights()  # one that was opened in the instant in which they were taken
        self._spawn(self._tell_changes())  # a card that could not be reset is a warning
        present = vitale.has_card(self.desk, CardKind.CPX)
        self._spawn(self._tell_session(present, self.desk.session.owner if self.desk.session else None))
        if self._expiry:
            self._expiry.cancel()
            self._expiry = None
        if self.desk.session is not None:
            self._expiry = asyncio.create_task(self._end_expired_session(), name="card-session")
        self.show_state()

    async def _end_expired_session(self) -> None:
        left = await cpx.end_expired_session(self.desk)
        if left is not None:
            await asyncio.sleep(left)
            await self._end_expired_session()

    async def _tell_session(self, present: bool, owner: str | None) -> None:
        """Another origin's session is as unknown as none."""
        for conversation in self._watching():
            unlocked = conversation.caller.origin == owner
            await conversation.notify("cpx.changed", CpxChangedParams(present=present, unlocked=unlocked))

    def _watching(self) -> "list[Conversation]":
        return [conversation for conversation in self._server.conversations if conversation.watching]

    def question(self, *, opened: bool) -> None:
        """A window opened or closed."""
        self._questions += 1 if opened else -1
        self.show_state()

    def show_state(self) -> None:
        """Tell the tray how things stand."""
        self.state_changed(
            TrayState(
                environment=self.desk.environment,
                troubles=self._troubles(),
                question_open=self._questions > 0,
                professional_card=vitale.has_card(self.desk, CardKind.CPX),
                unlocked=self.desk.session is not None,
                demo=bool(self.options.demo_origins),
                organisation=self.desk.organisation_calls,
                warnings=tuple(notice.message["fr"] for notice in greeting.notices(self.desk)),
                switching=self.desk.leaving,
            )
        )

    def _troubles(self) -> tuple[Code, ...]:
        """What does not work now, most serious first."""
        cards = () if self.desk.seen is not None else (Code.PCSC_UNAVAILABLE,)
        return (*cards, self.desk.wss_seen) if isinstance(self.desk.wss_seen, Code) else cards

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call `stop` when the agent stops, after whatever is started later."""
        self._stops.append(stop)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _silent(step: str, needs: str | None = None) -> None:
    """Progress that nobody hears."""


class _Person:
    """The window, and the tray that shows that one is open."""

    def __init__(self, agent: Agent, *, simulated: bool) -> None:
        from agent.tray.bridge import Person

        self._agent, self._person = agent, Person(simulated=simulated)

    async def ask_pin(self, question: PinQuestion) -> Pin | None:
        with self._shown():
            return await self._person.ask_pin(question)

    async def ask_activity(self, question: ActivityQuestion) -> str:
        with self._shown():
            return await self._person.ask_activity(question)

    async def undisturbed(self) -> None:
        await self._person.undisturbed()

    async def ask_consent(self, question: ConsentQuestion) -> Consent:
        with self._shown():
            return await self._person.ask_consent(question)

    async def show_sites(self, question: SitesQuestion) -> str | None:
        return await self._person.show_sites(question)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        self._agent.question(opened=True)
        try:
            yield
        finally:
            self._agent.question(opened=False)
