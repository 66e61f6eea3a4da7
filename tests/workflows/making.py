"""A desk for one test: clock, person and network are plain objects; cards, rules and journal are the real ones."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509

from agent.app import SIMULATED_AUTHORISATION
from agent.config import ALL_RIGHTS, Settings
from agent.errors import AgentError, Code
from agent.insi.fake_service import FakeService
from agent.insi.ports import HttpReply
from agent.model import AuthMode, Environment, TracedResult
from agent.pin import Pin
from agent.protocol.messages import (
    CpxStatusParams,
    CpxUnlockParams,
    RetrieveByTraitsParams,
    RetrieveWithVitaleParams,
    VitaleReadParams,
)
from agent.readers.transcript import SimulatedReaders
from agent.signing.fake_token import FakeTokens
from agent.signing.organisation import open_p12
from agent.signing.ports import TokenSeen
from agent.simulator.pki import open_pki
from agent.tray.bridge import PinQuestion
from agent.workflows import cpx, retrieve, vitale
from agent.workflows.desk import Asker, Desk
from tests.journal.making import KEY, journal

T = TypeVar("T")

SITE, OTHER = "https://dossier.example", "https://autre.example"
DOCTOR = "899900000017"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
LEONARDO = {"birthName": "DE VINCI", "givenNames": ["LEONARDO"], "sex": "M", "birthDate": "2014-02-01"}
VITALE, CPS = "Simulateur Vitale 0", "Simulateur CPS 0"


class Clock:
    """Shows the time it was told."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **amount: float) -> None:
        self.at += timedelta(**amount)


class Typist:
    """A person who types this code, or does as this error says; remembers the questions."""

    def __init__(self) -> None:
        self.answer: str | Code = "1234"
        self.questions: list[PinQuestion] = []

    async def ask_pin(self, question: PinQuestion) -> Pin:
        self.questions.append(question)
        if isinstance(self.answer, Code):
            raise AgentError(self.answer)
        return Pin(bytearray(self.answer.encode()))


class Slot(FakeTokens):
    """The simulated card without its process; remembers the calls, does what a test wants before the next ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls: list[str] = []
        self.copies = 1
        self.fails: dict[str, AgentError] = {}

    def look(self) -> list[TokenSeen]:
        self._note("look")
        return super().look() * self.copies

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        self._note("login")
        return super().login(serial, pin)

    def logout(self) -> None:
        self._note("logout")
        super().logout()

    def sign(self, serial: str, cka_id: bytes, data: bytes) -> bytes:
        self._note("sign")
        return super().sign(serial, cka_id, data)

    def kill(self) -> None:
        self._note("kill")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise self.fails.pop(call)


class Insi:
    """INSi's own checks without a network; fails as told, once each."""

    def __init__(self, ca_pem: bytes, clock: Clock) -> None:
        self._service = FakeService(
            authorisations=[SIMULATED_AUTHORISATION], ca=x509.load_pem_x509_certificates(ca_pem), style=None
        )
        self._clock = clock
        self.received: list[bytes] = []
        self.fails: list[Exception] = []
        self.configured = set(AuthMode)

    def check(self, mode: AuthMode) -> None:
        if mode not in self.configured:
            raise AgentError(Code.INSI_NOT_CONFIGURED)

    def post(self, mode: AuthMode, _action: str, envelope: bytes) -> HttpReply:
        self.received.append(envelope)
        if self.fails:
            raise self.fails.pop(0)
        status, body = self._service.answer(envelope, mode=mode, client_name="INSI-MANU", now=self._clock())
        return HttpReply(status, body, 5)

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """A desk, and hands on everything around it."""

    def __init__(self, folder: Path, pki: Path) -> None:
        """`pki`: a simulator's state folder with its keys."""
        keys = open_pki(pki)
        self.folder = folder
        self.clock, self.person, self.slot = Clock(), Typist(), Slot(pki)
        self.insi, self.readers = Insi(keys.ca_pem, self.clock), SimulatedReaders.default()
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by progress step
        self.changes = 0
        self._ids = iter(range(1, 10_000))
        self._loop = asyncio.new_event_loop()
        self.configure()
        self.desk = Desk(
            settings=lambda: self.settings,
            environment=Environment.SIMULATED,
            instance_id="00000000-0000-4000-8000-000000000001",
            readers=self.readers,
            tokens=lambda: self.slot,
            teleservice=self.insi,
            load_organisation=lambda: open_p12(keys.organisation_p12, keys.organisation_passphrase),
            load_identity=lambda: KEY,
            journal=journal(folder / "journal"),
            person=self.person,
            now=self.clock,
            new_id=lambda: f"00000000-0000-4000-8000-1{next(self._ids):011d}",
            changed=self._changed,
            card_queue_s=0,
        )
        self.desk.seen = self.readers.seen()

    def configure(self, **sections: Any) -> None:
        """Settings that authorise both sites, with these changes."""
        known: dict[str, Any] = {
            "environment": "simulated",
            "software": [
                {
                    "name": "Dossier",
                    "version": "1",
                    "origins": [SITE, OTHER],
                    "authorisation": {"simulated": SIMULATED_AUTHORISATION},
                }
            ],
            "cpx": {
                "billing_ids": [{"professional": DOCTOR, "value": "990000017"}],
                "activities": {DOCTOR: "01"},
            },
            "insi": {"retries": 0, "retry_pause_s": 0},
        }
        for name, value in sections.items():
            known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
        self.settings = Settings.model_validate(known)

    def asker(self, origin: str = SITE) -> Asker:
        return Asker(origin, frozenset(ALL_RIGHTS), self._progress)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def refused(self, work: Coroutine[Any, Any, Any]) -> AgentError:
        """The error that this must end with."""
        with pytest.raises(AgentError) as refused:
            self.do(work)
        return refused.value

    def read(self, origin: str = SITE) -> Coroutine[Any, Any, Any]:
        return vitale.read(self.desk, self.asker(origin), VitaleReadParams())

    def unlock(self, origin: str = SITE) -> Coroutine[Any, Any, Any]:
        return cpx.unlock(self.desk, self.asker(origin), CpxUnlockParams())

    def lock(self, origin: str = SITE) -> Coroutine[Any, Any, Any]:
        return cpx.lock(self.desk, self.asker(origin), CpxUnlockParams())

    def status(self, origin: str = SITE) -> Coroutine[Any, Any, Any]:
        return cpx.status(self.desk, self.asker(origin), CpxStatusParams())

    def by_traits(self, origin: str = SITE, **params: Any) -> Coroutine[Any, Any, TracedResult]:
        asked = RetrieveByTraitsParams.model_validate({"traits": TOUSSAINT, **params})
        return retrieve.by_traits(self.desk, self.asker(origin), asked)

    def with_vitale(self, read_id: str, holder: int = 0, origin: str = SITE, **params: Any) -> Coroutine[Any, Any, Any]:
        asked = RetrieveWithVitaleParams.model_validate({"readId": read_id, "holder": holder, **params})
        return retrieve.with_vitale(self.desk, self.asker(origin), asked)

    def attempts_of(self, trace_id: str, origin: str = SITE) -> list[str | None]:
        """The codes that the journal holds; None where there is no outcome."""

        def read() -> list[str | None]:
            stored = self.desk.journal.trace(trace_id, origin)
            assert stored
            return [attempt.outcome and attempt.outcome["code"] for attempt in stored.attempts]

        return self.do(self.desk.lanes.journal.run(read, timeout_s=10))

    def close(self) -> None:
        if self.desk.exchanges:
            self.do(asyncio.wait(self.desk.exchanges))
        self.do(self.desk.lanes.journal.run(self.desk.journal.close, timeout_s=10))
        self.desk.lanes.close()
        self._loop.close()

    async def _progress(self, step: str, _needs: str | None = None) -> None:
        self.reached[step].set()

    def _changed(self) -> None:
        self.changes += 1
