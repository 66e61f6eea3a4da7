"""A desk for one test: clock, person and network are plain objects; cards, rules and journal are the real ones."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509

from agent.config import ALL_RIGHTS, Settings
from agent.errors import AgentError, Code
from agent.insi.contract import Contract, open_contract
from agent.insi.fake_service import FakeService
from agent.insi.ports import HttpReply, Sender
from agent.journal.ports import StoredTrace
from agent.model import AuthMode, Environment, TracedResult
from agent.options import SIMULATED_AUTHORISATION
from agent.pin import Pin
from agent.protocol.messages import (
    CpxStatusParams,
    CpxUnlockParams,
    RetrieveByTraitsParams,
    RetrieveWithVitaleParams,
    VerifyParams,
    VitaleReadParams,
)
from agent.readers.desk import PcscVitale
from agent.readers.ports import Readers as PortReaders
from agent.readers.transcript import SimulatedReaders, parse_transcript
from agent.signing.certificate_files import CertificateFiles
from agent.signing.fake_token import PIN, FakeTokens
from agent.signing.ports import ModuleFacts, TokenSeen
from agent.simulator.pki import open_pki
from agent.tray.bridge import ActivityQuestion, PinQuestion
from agent.tray.state import OrganisationCalls
from agent.workflows import cpx, retrieve, verify, vitale
from agent.workflows.desk import Asker, Desk
from tests.journal.making import KEY, journal

T = TypeVar("T")

SITE, OTHER = "https://dossier.example", "https://autre.example"
DOCTOR = "899900000017"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
TOUSSAINTS_INS = {"matricule": "160012B020777", "key": "13", "oid": "1.2.250.1.213.1.4.8"}
LEONARDO = {"birthName": "DE VINCI", "givenNames": ["LEONARDO"], "sex": "M", "birthDate": "2014-02-01"}
VITALE, CPS = "Simulateur Vitale 0", "Simulateur CPS 0"
CONTACTLESS_ATR = "3B8F80010031B86404B0ECC1739401808290000E"  # pcsc-tools, Cryptolib


_keys = cache(open_pki)  # never changed: read once
_own_contract = cache(lambda: open_contract(None, None))  # the same


class Clock:
    """Shows the time it was told."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **amount: float) -> None:
        self.at += timedelta(**amount)


class Typist:
    """A person who types this code and chooses this activity, or does as an error says; remembers the questions."""

    def __init__(self) -> None:
        self.answer: str | Code = "1234"
        self.chooses: str | Code = "02"
        self.questions: list[PinQuestion] = []
        self.choices: list[ActivityQuestion] = []
        self.pins: list[Pin] = []

    async def ask_pin(self, question: PinQuestion) -> Pin | None:
        self.questions.append(question)
        if isinstance(self.answer, Code):
            raise AgentError(self.answer)
        if question.pin_pad:
            return None
        self.pins.append(Pin(bytearray(self.answer.encode())))
        return self.pins[-1]

    async def ask_activity(self, question: ActivityQuestion) -> str:
        self.choices.append(question)
        if isinstance(self.chooses, Code):
            raise AgentError(self.chooses)
        return self.chooses


class Readers(SimulatedReaders):
    """The simulated readers; remembers which cards were reset, and refuses once as told."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.resets: list[str] = []
        self.calls: list[str] = []  # a test may give the slot's list instead, to see the order of both
        self.reset_fails: AgentError | None = None

    def reset(self, reader: str) -> None:
        super().reset(reader)
        self.resets.append(reader)
        self.calls.append("reset")
        if self.reset_fails is not None:
            refusal, self.reset_fails = self.reset_fails, None
            raise refusal


class Slot(FakeTokens):
    """The simulated card without its process; remembers the calls, does what a test wants before the next ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls: list[str] = []
        self.copies = 1
        self.shows: dict[str, Any] = {}  # members of every TokenSeen that are otherwise than the card's
        self.facts = ModuleFacts("/essai/module.so", "Essai", "1.0", signs_cps3=True)
        self.codes: list[bytes] = []  # those that came with a signature
        self.fails: dict[str, AgentError] = {}

    def module(self) -> ModuleFacts:
        self._note("module")
        return self.facts

    def look(self) -> list[TokenSeen]:
        self._note("look")
        shown = [replace(token, **self.shows) for token in super().look()]
        return [replace(one, serial=f"{one.serial}{copy or ''}") for copy in range(self.copies) for one in shown]

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        self._note("login")
        return replace(super().login(serial, pin), **self.shows)

    def logout(self) -> None:
        self._note("logout")
        super().logout()

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        code = bytes(pin.take()) if pin else b""  # of a key that asks each time
        self._note("sign")
        if code:
            self.codes.append(code)
            if code != PIN:
                super().logout()
                raise AgentError(Code.PIN_WRONG, pinState="low")
        return super().sign(serial, cka_id, data)

    def kill(self) -> None:
        self._note("kill")
        super().logout()  # as its process ends

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise self.fails.pop(call)


class Insi:
    """INSi's own checks without a network; fails as told, once each."""

    def __init__(self, ca_pem: bytes, clock: Clock) -> None:
        self.service = FakeService(
            authorisations=[SIMULATED_AUTHORISATION], ca=x509.load_pem_x509_certificates(ca_pem), style=None
        )
        self._clock = clock
        self.received: list[bytes] = []
        self.fails: list[Exception] = []
        self.configured = set(AuthMode)

    def check(self, mode: AuthMode) -> None:
        if mode not in self.configured:
            raise AgentError(Code.INSI_NOT_CONFIGURED)

    def post(self, sender: Sender, _action: str, envelope: bytes) -> HttpReply:
        self.received.append(envelope)
        if self.fails:
            raise self.fails.pop(0)
        status, body = self.service.answer(envelope, mode=sender.mode, client_name="INSI-MANU", now=self._clock())
        return HttpReply(status, body, 5)

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """A desk, and hands on everything around it."""

    def __init__(self, folder: Path, pki: Path) -> None:
        """`pki`: a simulator's state folder with its keys."""
        keys = _keys(pki)
        self.folder, self.pki = folder, pki
        self.clock, self.person, self.slot = Clock(), Typist(), Slot(pki)
        self.insi, self.readers = Insi(keys.ca_pem, self.clock), Readers.default()
        self.contract: Callable[[], Contract] = _own_contract
        self.pauses: list[float] = []  # between attempts, in seconds
        self.readers.cards["contactless"] = parse_transcript(f"# CPS3 sans contact\nATR {CONTACTLESS_ATR}")
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by progress step
        self.changes = 0
        self.shown: list[OrganisationCalls] = []  # what the tray was told of them
        self._ids = iter(range(1, 10_000))
        self._loop = asyncio.new_event_loop()
        self.configure()
        self.desk = Desk(
            settings=lambda: self.settings,
            environment=Environment.SIMULATED,
            instance_id="00000000-0000-4000-8000-000000000001",
            readers=self.readers,
            vitale=self._vitale(self.readers),
            tokens=lambda: self.slot,
            teleservice=self.insi,
            contract=lambda: self.contract(),  # noqa: PLW0108  (a test gives another one)
            certificates=CertificateFiles(lambda: [keys.organisation_p12], lambda _file: keys.organisation_passphrase),
            load_identity=lambda: KEY,
            journal=journal(folder / "journal"),
            person=self.person,
            now=self.clock,
            new_id=lambda: f"00000000-0000-4000-8000-1{next(self._ids):011d}",
            changed=self._changed,
            show=lambda: self.shown.append(self.desk.organisation_calls),
            pause=self._pause,
            card_queue_s=0,
        )
        self.desk.seen = self.readers.seen()

    def plug(self, readers: PortReaders) -> None:
        """Work with these readers from now on."""
        self.desk.readers, self.desk.vitale = readers, self._vitale(readers)

    def _vitale(self, readers: PortReaders) -> PcscVitale:
        return PcscVitale(readers, lambda: (self.settings.readers.prefer, self.settings.readers.exclude))

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

    def insert(self, reader: str, card: str | None) -> None:
        """Put a card into a reader, and let the watcher see it."""
        self.readers.insert(reader, card)
        self.desk.seen = self.readers.seen()

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

    def verify(self, origin: str = SITE, **params: Any) -> Coroutine[Any, Any, TracedResult]:
        asked = VerifyParams.model_validate({"ins": TOUSSAINTS_INS, "traits": TOUSSAINT, **params})
        return verify.verify(self.desk, self.asker(origin), asked)

    def stored(self, trace_id: str, origin: str = SITE) -> StoredTrace:
        """What the journal holds of an operation."""
        found = partial(self.desk.journal.trace, trace_id, origin, self.desk.environment)
        stored = self.do(self.desk.lanes.journal.run(found, timeout_s=10))
        assert stored
        return stored

    def attempts_of(self, trace_id: str, origin: str = SITE) -> list[str | None]:
        """The codes that the journal holds; None where there is no outcome."""
        return [attempt.outcome and attempt.outcome["code"] for attempt in self.stored(trace_id, origin).attempts]

    def close(self) -> None:
        if self.desk.exchanges:
            self.do(asyncio.wait(self.desk.exchanges))
        self.do(self.desk.lanes.journal.run(self.desk.journal.close, timeout_s=10))
        self.desk.lanes.close()
        self._loop.close()

    async def _progress(self, step: str, _needs: str | None = None) -> None:
        self.reached[step].set()

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def _changed(self) -> None:
        self.changes += 1
