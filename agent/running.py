"""The threads of a running agent: the event loop in its own, the tray or a signal in the main one.

And its switch to another environment or profile: the agent leaves its open door to another one, of other settings,
places and edges. Nothing that the first one remembers is known to the second, but for two things: how much each origin
has asked here, and a card that has not forgotten its code yet.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agent.app import Agent
from agent.choice import keep_choice, read_choice
from agent.config import Loaded
from agent.errors import AgentError, Code
from agent.journal.ports import Step, Switch
from agent.log import follow, uncaught_in_loop
from agent.model import Environment
from agent.options import Options, choice_folder, load_settings, places_of
from agent.places import Places, claim
from agent.protocol.messages import SwitchResult
from agent.protocol.session import CLOSE_REVOKED, unexpected
from agent.signals import hearing
from agent.switching import Choice, chosen, offered, what_counts
from agent.system_log import Event
from agent.tray.bridge import Person, SwitchQuestion
from agent.tray.icon import TrayHandle, open_tray
from agent.tray.state import Action, TrayState, view_of
from agent.workflows import switches

if TYPE_CHECKING:
    from agent.protocol.server import Conversation

log = logging.getLogger(__name__)
T = TypeVar("T")

START_TIMEOUT_S = 60
AGENT_STOP_S = 60  # more than the deadlines of Agent.stop, or of Agent.leave, together
STOP_TIMEOUT_S = AGENT_STOP_S + START_TIMEOUT_S + AGENT_STOP_S  # a switch that can no longer be withdrawn ends first


class RunningAgent:
    """An agent whose loop runs in a thread of its own, from construction to `stop`."""

    def __init__(self, options: Options, places: Places) -> None:
        """Start it in `places`. Raises agent.running and the codes of `Agent.start`."""
        self._options = replace(options, chosen_in=options.chosen_in or (places.data if options.simulate else None))
        self.told = threading.Event()  # to end
        self.lost: AgentError | None = None  # why no agent serves any more: neither a new one nor the former could
        self._claims: dict[Path, Callable[[], None]] = {}
        self._shown: Callable[[TrayState], None] = lambda _state: None
        self._person = Person(simulated=options.answers_itself)
        self._switching: asyncio.Task[None] | None = None
        self._moving = False  # the switch can no longer be withdrawn
        self._stopping = False
        self._window: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(uncaught_in_loop)
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent", daemon=True)
        self._thread.start()
        try:
            loaded = load_settings(self._options)
            self._simulator = places if _is_simulated(loaded) else Places.simulated()
            self._claim(places)
            self.agent = self._agent_of(loaded, places, loaded.settings.environment)
            self._await(self.agent.start(), START_TIMEOUT_S)
            self._rates = {self.agent.simulated: self.agent.desk.rates}
        except BaseException as error:
            if isinstance(error, Exception) and (why := _named(error)).code is not Code.AGENT_RUNNING:
                log.error("not started: %s", why)  # noqa: TRY400  (no traceback: the code says it all)
            self._end()
            raise

    def reload(self) -> Future[None]:
        """Begin to read the settings again, from any thread."""
        return asyncio.run_coroutine_threadsafe(self._reload(), self._loop)

    def stop(self) -> None:
        """Stop everything that was started, in reverse order."""
        try:
            self._await(self._stop(), STOP_TIMEOUT_S)
        except TimeoutError:
            log.error("something did not stop in %s s", STOP_TIMEOUT_S)  # noqa: TRY400  (the trace says nothing)
        self._end()

    def show_state_in(self, shown: Callable[[TrayState], None]) -> None:
        """Tell every later state to `shown`, and the present one now. From any thread."""
        self._shown = shown
        self._loop.call_soon_threadsafe(self._show)

    def show_sites(self) -> None:
        """Open the window of sites. From any thread."""
        self.agent.show_sites()

    def show_switch(self) -> None:
        """Open the window of environment and profile, one at a time. From any thread."""
        self._loop.call_soon_threadsafe(self._open_window)

    def withdraw_switch(self) -> None:
        """Go on as before, if a switch waits and may still be withdrawn. From any thread."""
        self._loop.call_soon_threadsafe(self._withdraw)

    # ------------------------------------------------------------ the switch

    async def switch(self, wanted: Choice, asking: "Conversation | None" = None) -> SwitchResult:
        """Serve `wanted` once what is under way has ended; what counts then, or now if nothing is wanted.

        Cancelled before that end, nothing has happened; after it, the switch goes on and so does this call. When it
        fails, the former state is back. `asking` is answered before it is closed like every other conversation.

        Raises setting.locked {setting, source}, simulator.forbidden, agent.switching, agent.running, config.invalid,
        journal.full, journal.unavailable, identity.damaged, device.busy, device.timeout.
        """
        if wanted != Choice():
            await self._begin(wanted, asking)
        return self._state()

    async def _begin(self, wanted: Choice, asking: "Conversation | None") -> None:
        if self._switching is not None or self._stopping:
            raise AgentError(Code.AGENT_SWITCHING)
        call = asyncio.current_task()
        assert call is not None
        switching = self._switching = asyncio.create_task(self._switch(wanted, asking, call), name="switch")
        switching.add_done_callback(self._switched)
        while not switching.done():
            try:
                await asyncio.wait([switching])
            except asyncio.CancelledError:
                if not self._moving:
                    self._withdraw()
                    raise
                call.uncancel()
        switching.result()

    async def _switch(self, wanted: Choice, asking: "Conversation | None", call: "asyncio.Task[Any]") -> None:
        former, left = self.agent, False
        self._plan(wanted)  # what is refused is refused before anybody waits
        await former.finish_operations()
        try:
            async with self._changing:  # settings read until now count, later ones wait for the next agent
                choice, loaded, configured = self._plan(wanted)
                here = switches.position(former.desk)
                entered = Step(loaded.settings.environment, loaded.settings.profile)
                if entered == here:
                    keep_choice(choice_folder(self._options), choice)
                    former.configured = configured
                    former.stay()
                    return
                places = self._places_for(loaded).create()
                self._claim(places)
                self._moving = True
                if asking is not None:
                    asking.commit(call)
                await former.lock_card()
                switch = Switch(former.desk.now(), here, entered, account=former.desk.account)
                await former.note(switch)
                left = True
                await self._move(former, self._agent_of(loaded, places, configured), asking, choice, switch)
        except BaseException:
            if not left:
                self._claim_only(former.places)
                former.stay()
            raise

    async def _move(
        self, former: Agent, agent: Agent, asking: "Conversation | None", choice: Choice, switch: Switch
    ) -> None:
        left, entered = switch.left, switch.entered
        sides = left.environment, left.profile, entered.environment, entered.profile
        log.info("switching from %s/%s to %s/%s", *sides, extra={"event": Event.STOP})
        try:
            await former.leave(asking)
            await self._arrive(agent, asking, choice, switch)
        except Exception as error:  # noqa: BLE001  (whatever it is, the former state comes back)
            failure = _named(error)
            await self._come_back(former, switch, failure)
            raise failure from None
        finally:
            if asking is not None:  # once the answer to this very call is out
                self._closing = asyncio.create_task(asking.close_once_answered(CLOSE_REVOKED, "switched"))

    async def _arrive(self, agent: Agent, asking: "Conversation | None", choice: Choice, switch: Switch) -> None:
        elsewhere = agent.places.journal != self.agent.places.journal
        _follow(agent)
        await agent.start(self.agent)
        try:
            if elsewhere:
                await agent.note(switch)
            try:
                keep_choice(choice_folder(self._options), choice)
            except AgentError as error:
                if elsewhere:
                    with contextlib.suppress(AgentError):  # the log tells too
                        await agent.note(switch.undone(error.code.value))
                raise
        except BaseException:
            await agent.leave(asking)
            raise
        self._serve(agent)

    async def _come_back(self, former: Agent, switch: Switch, failure: AgentError) -> None:
        """Serve as before, with the failure in the journal; end the program where not even that is possible."""
        _follow(former)
        log.error("not switched: %s", failure)
        agent = self._agent_of(former.loaded, former.places, former.configured)
        try:
            await agent.start(former)
        except Exception as error:  # noqa: BLE001  (whatever it is, nobody is served any more)
            self.lost = _named(error)
            log.error("nor back: %s", self.lost)  # noqa: TRY400  (no traceback: the code says it all)
            await former.server.shut()
            self.told.set()
            return
        with contextlib.suppress(AgentError):  # the log tells too
            await agent.note(switch.undone(failure.code.value))
        self._serve(agent)

    def _serve(self, agent: Agent) -> None:
        self.agent = agent
        agent.desk.rates = self._rates.setdefault(agent.simulated, agent.desk.rates)  # a switch is no way round a limit
        self._claim_only(agent.places)
        agent.server.go_on()
        agent.show_state()

    def _plan(self, wanted: Choice) -> tuple[Choice, Loaded, Environment]:
        """The choice to keep, the settings with it, and the environment of the next start. Raises as `switch`.

        Each layer is read now. Where no environment is wanted it stays the one that we run in, whatever is configured.
        """
        stays = self.agent.desk.environment if wanted.environment is None else None
        choice = chosen(read_choice(choice_folder(self._options)), wanted, load_settings(self._options), stays)
        configured = load_settings(self._options, choice)
        loaded = configured if stays is None else load_settings(self._options, choice, environment=stays)
        return choice, loaded, configured.settings.environment

    def _state(self) -> SwitchResult:
        return what_counts(self.agent.loaded, read_choice(choice_folder(self._options)), self.agent.configured)

    def _switched(self, switch: "asyncio.Task[None]") -> None:
        self._switching, self._moving = None, False
        if not switch.cancelled():
            switch.exception()  # whoever asked may have gone

    def _withdraw(self) -> None:
        """The switch under way is not wanted any more, if it is not too late."""
        if self._switching is not None and not self._moving:
            self._switching.cancel()

    # ------------------------------------------------------------ the window

    def _open_window(self) -> None:
        if self._window is None or self._window.done():
            self._window = asyncio.create_task(self._ask_person(), name="switch-window")

    async def _ask_person(self) -> None:
        """Show what counts and what may be changed; again, with the reason, when a change failed."""
        failed: Code | None = None
        while not self._stopping:
            now, loaded = self._state(), self.agent.loaded
            question = SwitchQuestion(
                environment=now.environment,
                profile=now.profile,
                locked=tuple(now.sources.items()),
                next_start=tuple(now.next_start.items()),
                offered=tuple(offered(loaded, now)),
                failed=failed,
                language=loaded.settings.language,
            )
            try:
                answer = await self._person.ask_switch(question)
            except AgentError as error:
                log.warning("environment and profile were not shown: %s", error)
                return
            if answer is None:
                return
            try:
                await self.switch(Choice.model_validate(dict([answer])))
            except Exception as error:  # noqa: BLE001  (whatever it is, the person is told)
                failed = _named(error).code
            else:
                return

    # ------------------------------------------------------------ parts

    def _agent_of(self, loaded: Loaded, places: Places, configured: Environment) -> Agent:
        agent = Agent(self._options, loaded, places)
        agent.configured = configured
        agent.switch = self.switch
        agent.state_changed = self._tell
        return agent

    def _places_for(self, loaded: Loaded) -> Places:
        return self._simulator if _is_simulated(loaded) else places_of(loaded.settings)

    def _claim(self, places: Places) -> None:
        """Raises agent.running."""
        if places.data not in self._claims:
            self._claims[places.data] = claim(places.data)

    def _claim_only(self, places: Places) -> None:
        for folder in self._claims.keys() - {places.data}:
            self._claims.pop(folder)()

    async def _reload(self) -> None:
        async with self._changing:
            if self.lost is None:
                await self.agent.reload()
                _follow(self.agent)

    async def _stop(self) -> None:
        self._stopping = True
        self._withdraw()
        if self._window is not None:
            self._window.cancel()
        if ending := {task for task in (self._switching, self._window) if task}:
            await asyncio.wait(ending)
        if self.lost is None:
            await self.agent.stop()

    def _show(self) -> None:
        self.agent.show_state()

    def _tell(self, seen: TrayState) -> None:
        self._shown(seen)

    def _await(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        while self._claims:
            self._claims.popitem()[1]()


def _follow(agent: Agent) -> None:
    follow(agent.places.log, system=to_system(agent.loaded))


def to_system(loaded: Loaded) -> bool:
    """Whether an agent of these settings tells the system's log what it does: never a simulated one."""
    return loaded.settings.log.system and not _is_simulated(loaded)


def _is_simulated(loaded: Loaded) -> bool:
    return loaded.settings.environment is Environment.SIMULATED


def _named(error: Exception) -> AgentError:
    """What nobody foresaw gets a number, for the person and for the log."""
    if isinstance(error, AgentError):
        return error
    incident = unexpected()
    log.error("incident %s", incident.facts["incident"], exc_info=error)
    return incident


def until_told_to_stop(
    running: RunningAgent,
    *,
    tray: bool,
    open_demo: Callable[[], None] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Show the tray, or wait, until a signal or the person says stop. SIGHUP reads the settings again.

    `ready` is called once signals are heard: who learns then that the agent runs may stop it at once.
    Raises why no agent serves any more, where a switch could neither go on nor back.
    """
    told, why = running.told, list[str]()

    def stop(reason: str) -> None:
        why.append(reason)
        told.set()

    def reload(_signal: str) -> None:
        running.reload()

    try:
        with hearing({"SIGINT": stop, "SIGTERM": stop, "SIGHUP": reload}):
            ready()
            if tray:
                actions: dict[Action, Callable[[], None]] = {
                    Action.QUIT: partial(stop, "the person quits"),
                    Action.SITES: running.show_sites,
                    Action.SWITCH: running.show_switch,
                    Action.STAY: running.withdraw_switch,
                }
                if open_demo:
                    actions[Action.OPEN_DEMO] = open_demo
                state = TrayState(environment=running.agent.desk.environment, demo=open_demo is not None)
                if icon := open_tray(view_of(state), actions):
                    _show_tray(running, icon)
            told.wait()  # the desktop may have gone before the person said stop
    except BaseException as error:
        why.append(str(_named(error)) if isinstance(error, Exception) else type(error).__name__)
        raise
    finally:
        log.info("stopping: %s", why[0] if why else running.lost, extra={"event": Event.STOP})
    if running.lost is not None:
        raise running.lost


def _show_tray(running: RunningAgent, handle: TrayHandle) -> None:
    told = running.told

    def stop_tray() -> None:
        told.wait()
        handle.stop()

    running.show_state_in(lambda state: handle.update(view_of(state)))
    threading.Thread(target=stop_tray, name="tray-stop", daemon=True).start()
    handle.run()
