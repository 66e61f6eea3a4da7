"""Carry a question to the person at the desk and the answer back; withdraw it when nobody wants it any more."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.child import Child
from agent.consent import FIRST_QUIET, Consent
from agent.errors import AgentError, Code
from agent.model import Activity, Environment, PinState, Profile, Right
from agent.pin import Pin, wipe

EXPIRES_S = 120
SITES_EXPIRE_S = 600  # a list that somebody opened and left on screen

_REFUSALS = {
    "expired": Code.QUESTION_EXPIRED,
    "unavailable": Code.PROMPT_UNAVAILABLE,
}
_PIN_REFUSALS = _REFUSALS | {"cancelled": Code.PIN_CANCELLED, "locked": Code.PIN_LOCKED}
_ACTIVITY_REFUSALS = _REFUSALS | {"cancelled": Code.ACTIVITY_NEEDED}


@dataclass(frozen=True, kw_only=True, repr=False)
class _Question:
    """Who asks whom, with what and for what. The window shows all of it. Does not print."""

    origin: str
    software: str  # name of the software configured for this origin
    operation: str  # in the words of the person
    holder: str  # name of the professional, or nothing
    language: str = "fr"
    expires_s: float = EXPIRES_S

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As the window's process receives it."""
        return {
            "origin": self.origin,
            "software": self.software,
            "operation": self.operation,
            "holder": self.holder,
            "language": self.language,
            "expiresInS": self.expires_s,
            "simulatedAnswer": simulated,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class PinQuestion(_Question):
    """For the code of a card."""

    pin_state: PinState
    reason: str | None = None  # the site's own words, quoted as such
    pin_pad: bool = False  # the code is typed on the reader
    min_digits: int = 4
    max_digits: int = 4
    previous_error: Code | None = None  # why the code is asked again: pin.wrong, pin.format

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As `agent.tray.dialogs.words.pin_page` receives it."""
        return {
            **super().frame(simulated=simulated),
            "pinState": self.pin_state,
            "reason": self.reason,
            "pinPad": self.pin_pad,
            "minDigits": self.min_digits,
            "maxDigits": self.max_digits,
            "previousError": self.previous_error,
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class ActivityQuestion(_Question):
    """For which of their activities a professional is asking."""

    activities: tuple[Activity, ...]
    unknown: str | None = None  # the configured activity, when the card does not have it

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As `agent.tray.dialogs.words.activity_page` receives it."""
        return {
            **super().frame(simulated=simulated),
            "activities": [[one.id, one.label, one.structure_id or "", one.sector] for one in self.activities],
            "unknown": self.unknown,
        }


@dataclass(frozen=True, kw_only=True)
class ConsentQuestion:
    """Whether a site may talk to the agent, and what it could then do here."""

    origin: str
    rights: tuple[Right, ...]
    organisation: bool = False  # calls in the organisation's name are possible, for which nobody types a code
    quiet: timedelta = FIRST_QUIET  # what "not now" means this time
    language: str = "fr"
    expires_s: float = EXPIRES_S

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As `agent.tray.dialogs.words.consent_page` receives it."""
        return {
            "origin": self.origin,
            "rights": list(self.rights),
            "organisation": self.organisation,
            "quietHours": round(self.quiet / timedelta(hours=1)),
            "language": self.language,
            "expiresInS": self.expires_s,
            "simulatedAnswer": simulated,
        }


@dataclass(frozen=True)
class KnownSite:
    """A site of which something is decided."""

    origin: str
    state: str  # allowed, blocked, quiet
    by: str  # person, configuration, policy
    in_effect: bool = True  # otherwise the configuration overrules the person
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SitesQuestion:
    """Which decision the person wants undone, if any."""

    sites: tuple[KnownSite, ...]
    language: str = "fr"
    expires_s: float = SITES_EXPIRE_S

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As `agent.tray.dialogs.words.sites_page` receives it."""
        return {
            "sites": [
                {
                    "origin": one.origin,
                    "state": one.state,
                    "by": one.by,
                    "inEffect": one.in_effect,
                    "since": one.since and one.since.isoformat(),
                    "until": one.until and one.until.isoformat(),
                }
                for one in self.sites
            ],
            "language": self.language,
            "expiresInS": self.expires_s,
            "simulatedAnswer": simulated,
        }


@dataclass(frozen=True, kw_only=True)
class SwitchQuestion:
    """Whether the person wants another environment or profile."""

    environment: Environment
    profile: Profile
    locked: tuple[tuple[str, str], ...]  # environment or profile, and who decided it
    offered: tuple[tuple[str, str], ...]  # environment or profile, and another value of it
    next_start: tuple[tuple[str, str], ...] = ()  # environment or profile, and what is configured by now
    failed: Code | None = None  # why what they chose just before is not so
    language: str = "fr"
    expires_s: float = SITES_EXPIRE_S

    def frame(self, *, simulated: bool) -> dict[str, Any]:
        """As `agent.tray.dialogs.words.switch_page` receives it."""
        return {
            "environment": self.environment,
            "profile": self.profile,
            "locked": dict(self.locked),
            "nextStart": dict(self.next_start),
            "offered": [list(one) for one in self.offered],
            "failed": self.failed,
            "language": self.language,
            "expiresInS": self.expires_s,
            "simulatedAnswer": simulated,
        }


class Person:
    """Whoever sits at the desk. One window about a card at a time, in the order of the questions.

    Windows about sites hold nobody up: they have their own turn, see `agent.workflows.sites`.

    `simulated` lets the simulator's person answer without a window; `environment` is added to the window's.
    """

    def __init__(self, *, simulated: bool = False, environment: dict[str, str] | None = None) -> None:
        self._simulated = simulated
        self._environment = environment
        self._screen = asyncio.Lock()

    async def ask_pin(self, question: PinQuestion) -> Pin | None:
        """The code typed, or None when the person will type it on the reader.

        Cancelling closes the window: its process is gone before this returns. Raises pin.cancelled,
        pin.locked (a locked card is only announced), question.expired, prompt.unavailable, device.crashed.
        """
        async with self._screen:
            answer, code = await self._converse("pin", question.frame(simulated=self._simulated))
        match answer.get("answer"):
            case "pin":
                return Pin(code)
            case "pinPad":
                return None
        raise _refusal(answer, _PIN_REFUSALS)

    async def ask_activity(self, question: ActivityQuestion) -> str:
        """The id of the activity chosen, one of the question's.

        Cancelling as for the code. Raises activity.needed for someone who does not choose, question.expired,
        prompt.unavailable, device.crashed.
        """
        async with self._screen:
            answer, chosen = await self._converse("activity", question.frame(simulated=self._simulated))
        activity = chosen.decode(errors="replace")
        if answer.get("answer") == "chosen" and activity in [one.id for one in question.activities]:
            return activity
        raise _refusal(answer, _ACTIVITY_REFUSALS)

    async def undisturbed(self) -> None:
        """Return once no window about a card is open, nor about to be.

        Another would take the keyboard away from a code half typed.
        """
        while True:
            async with self._screen:
                pass
            await asyncio.sleep(0)  # who waited behind us has its turn first
            if not self._screen.locked():
                return

    async def ask_consent(self, question: ConsentQuestion) -> Consent:
        """Their answer. Cancelling as for the code. Raises question.expired, prompt.unavailable, device.crashed."""
        answer, chosen = await self._converse("consent", question.frame(simulated=self._simulated))
        if answer.get("answer") == Consent.NOT_NOW:
            return Consent.NOT_NOW
        if answer.get("answer") == "chosen" and chosen in (Consent.ALLOW.encode(), Consent.BLOCK.encode()):
            return Consent(chosen.decode())
        raise _refusal(answer, _REFUSALS)

    async def show_sites(self, question: SitesQuestion) -> str | None:
        """The origin whose decision is to be undone, one of the question's; None when they closed or left the window.

        Cancelling as for the code. Raises prompt.unavailable, device.crashed.
        """
        answer, chosen = await self._converse("sites", question.frame(simulated=self._simulated))
        if answer.get("answer") in ("cancelled", "expired"):
            return None
        origin = chosen.decode(errors="replace")
        if answer.get("answer") == "chosen" and origin in [one.origin for one in question.sites if one.by == "person"]:
            return origin
        raise _refusal(answer, _REFUSALS)

    async def ask_switch(self, question: SwitchQuestion) -> tuple[str, str] | None:
        """One of those offered; None when they closed or left the window.

        Cancelling as for the code. Raises prompt.unavailable, device.crashed.
        """
        answer, payload = await self._converse("switch", question.frame(simulated=self._simulated))
        if answer.get("answer") in ("cancelled", "expired"):
            return None
        name, _, value = payload.decode(errors="replace").partition("=")
        if answer.get("answer") == "chosen" and (name, value) in question.offered:
            return name, value
        raise _refusal(answer, _REFUSALS)

    async def _converse(self, window: str, question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        """Show a window in its own process and wait, in its own thread, until it has answered and ended."""
        try:
            # Not in the thread: on Linux the child dies with the thread that started it.
            child = Child(window, environment=self._environment)
        except OSError as error:
            raise AgentError(Code.PROMPT_UNAVAILABLE, type(error).__name__) from None
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[dict[str, Any], bytearray] | AgentError] = loop.create_future()

        def wait() -> None:
            outcome: tuple[dict[str, Any], bytearray] | AgentError
            try:
                outcome = child.ask(question)
            except AgentError as error:
                outcome = error
            child.close()
            loop.call_soon_threadsafe(ended.set_result, outcome)

        threading.Thread(target=wait, name=f"window-{window}", daemon=True).start()
        try:
            outcome = await asyncio.shield(ended)
        except asyncio.CancelledError:
            child.kill()
            while not ended.done():
                with contextlib.suppress(asyncio.CancelledError):  # asked twice: the window goes all the same
                    await asyncio.shield(ended)
            unwanted = ended.result()
            if not isinstance(unwanted, AgentError):
                wipe(unwanted[1])
            raise
        if isinstance(outcome, AgentError):
            raise outcome
        return outcome


def _refusal(answer: dict[str, Any], refusals: dict[str, Code]) -> AgentError:
    """What the window answered when it was not what was asked for."""
    name = answer.get("answer")
    if name in refusals:
        return AgentError(refusals[name], answer.get("why", ""))
    return AgentError(Code.DEVICE_CRASHED, f"the window answered {name!r}")
