"""Rounds with the whole agent, killed while a page asks: keyring, HTTPS and journal as on a workstation without cards.

INSi and the page are in this process. What INSi received must have its intent, what the page got its place in the
chain, and a question that was asked again must not be answered twice.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from websockets.exceptions import ConnectionClosed

from agent.identity import Identity, verify_receipt
from agent.insi.fake_insi import SimulatedInsi
from agent.journal.chain import Kind
from agent.journal.parts import clear_of, personal_of
from agent.journal.sealing import Keys
from agent.journal.store import Journal
from agent.model import AuthMode
from agent.places import find_running
from agent.secrets import KeyringSecrets, load_identity, load_journal_keys
from agent.simulator.pki import issue_organisation, make_ca, p12
from tests.parts.agent import RefusedError, Site
from tests.parts.desktop import until
from tests.parts.organisation import INSI, insi_of
from tests.parts.session import session

from .held import Held, copied
from .kills import INSTANT, SAID, WAIT_S, Kill, aim
from .rounds import ROOT, Tally

QUESTIONS, AGAIN = 4, 2  # asked at once, and of them once more
WAYS = {
    "pwrite64": (5, 4000),
    "fdatasync": (3, 40),
    "fsync": (3, 25),
    SAID: (5, QUESTIONS + AGAIN - 1),
    INSTANT: (4, 1500),
}
SITE = "https://dossier.example"
_FOUND = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
_NOBODY = {**_FOUND, "birthName": "PERSONNE", "givenNames": ["ANNE", "MARIE"]}  # several attempts
_PASSPHRASE = b"une-phrase-de-test"
_CONFIG = """
environment = "test"
origins.allowed = [{{ origin = "{site}" }}]
[[software]]
name = "Dossier d'essai"
version = "3.2"
origins = ["{site}"]
authorisation = {{ test = "SIMULATEUR-0001" }}
[organisation]
certificates = ["{folder}/organisation.p12"]
[limits]
insi_per_minute = 100000
insi_per_day = 100000
"""


@dataclass
class Question:
    """What the page asks under one reference, until it has the answer."""

    reference: str
    traits: dict[str, Any]
    challenge: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def params(self) -> dict[str, Any]:
        return {
            "traits": self.traits,
            "authMode": "organisation",
            "user": {"id": "accueil-2"},
            "clientRef": self.reference,
            "challenge": self.challenge,
        }


class AgentRounds:
    """One installation that is killed again and again. Use as a context manager."""

    def __init__(self, folder: Path, seed: int, tally: Tally) -> None:
        self._folder, self._tally = folder / "agent", tally
        self._chance = Random(f"{seed} agent")  # noqa: S311  (to repeat, no secret)
        self._parts = ExitStack()
        self._open: list[Question] = []  # not answered yet
        self._closed: list[Question] = []
        self._got: dict[str, list[dict[str, Any]]] = {}  # reference → results, as the page got them

    def __enter__(self) -> "AgentRounds":
        self._home, self._runtime = self._folder / "home", self._folder / "runtime"
        for made in (self._folder, self._home, self._runtime):
            made.mkdir(mode=0o700)
        ca = make_ca()
        (self._folder / "ca.pem").write_bytes(ca.pem)
        (self._folder / "organisation.p12").write_bytes(p12(issue_organisation(ca), _PASSPHRASE))
        with ExitStack() as parts:
            self._insi: SimulatedInsi = parts.enter_context(insi_of(ca))
            config = _CONFIG.format(site=SITE, folder=self._folder)
            where = INSI.format(url=self._insi.url(AuthMode.ORGANISATION), ca=self._folder / "ca.pem")
            (self._folder / "config.toml").write_text(config + where, encoding="utf-8")
            bus = parts.enter_context(session(self._home))
            os.environ["DBUS_SESSION_BUS_ADDRESS"] = bus  # of this process too: it opens the journal with the key
            parts.callback(os.environ.pop, "DBUS_SESSION_BUS_ADDRESS")
            self._environment = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "HOME": str(self._home),
                "XDG_RUNTIME_DIR": str(self._runtime),
                "DBUS_SESSION_BUS_ADDRESS": bus,
            }
            enrol = self._command("organisation", "enrol")
            subprocess.run(enrol, cwd=self._folder, env=self._environment, input=_PASSPHRASE + b"\n", check=True)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def round(self, number: int) -> None:
        """Start the agent, ask, kill it, and judge what it left."""
        kill = Kill.at_random(self._chance, WAYS)
        with (self._folder / "log").open("wb") as log:
            agent = subprocess.Popen(
                self._command("run", "--no-tray", "--port", "0"),
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        tracer = None
        try:
            site = Site(self._port(agent), origin=SITE)
            self._key = site.hello["receiptKey"]
            tracer = aim(agent.pid, kill) if kill.exact else None
            asked = self._ask(site, number)
            if kill.how == INSTANT:
                time.sleep(kill.number / 1000)
            else:
                self._hear(site, asked, most=kill.number if kill.how == SAID else len(asked))
        finally:
            agent.kill()
            agent.wait(WAIT_S)
            if tracer:
                tracer.communicate(timeout=WAIT_S)
        self._hear(site, asked)
        site.close()
        self._tally.kills[f"agent, {kill.how}"] += 1
        for problem in self._judge():
            self._tally.problems.append(f"round {number}, the agent killed at {kill}: {problem}")

    def _port(self, agent: "subprocess.Popen[bytes]") -> int:
        """Of this agent: the one before left its file behind."""

        def listens() -> bool:
            running = find_running(self._runtime / "insi-agent")
            return agent.poll() is not None or (running is not None and running.pid == agent.pid)

        until(listens, "the agent listens")
        running = find_running(self._runtime / "insi-agent")
        assert running, (self._folder / "log").read_text()
        return running.port

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "agent", *words, "--config", str(self._folder / "config.toml")]

    # ------------------------------------------------------------ the page

    def _ask(self, site: Site, number: int) -> dict[int, Question]:
        """Everything that has no answer yet, something new, and once more what has been answered."""
        while len(self._open) < QUESTIONS:
            traits = self._chance.choice((_FOUND, _NOBODY))
            self._open.append(Question(f"dossier-{number}-{len(self._open)}", traits))
        asked = [*self._open, *self._chance.sample(self._closed, min(AGAIN, len(self._closed)))]
        self._chance.shuffle(asked)
        return {site.send("insi.retrieveByTraits", **question.params()): question for question in asked}

    def _hear(self, site: Site, asked: dict[int, Question], *, most: int = QUESTIONS + AGAIN) -> None:
        """Replies until so many have come, or the agent is gone: what it was is not known then, and asked again."""
        for number, question in list(asked.items())[:most]:
            try:
                result = site.reply(number)
            except RefusedError as error:
                self._tally.problems.append(f"refused: {error.reason}")
                continue
            except ConnectionClosed:
                return
            finally:
                asked.pop(number)
            if question in self._open:
                self._open.remove(question)
                self._closed.append(question)
            self._got.setdefault(question.reference, []).append(result)
            self._tally.answered += 1
            self._tally.replayed += result.get("replayed", False)
            if not result.get("replayed"):
                self._check_receipt(question, result)

    def _check_receipt(self, question: Question, result: dict[str, Any]) -> None:
        try:
            verify_receipt(
                result["receipt"],
                accepted_thumbprints=[self._key["kid"]],
                public_jwks=[self._key],
                challenge=question.challenge,
                origin=SITE,
                environment="test",
            )
        except ValueError as error:
            self._tally.problems.append(f"the receipt of {question.reference}: {error}")

    # ------------------------------------------------------------ the judgement

    def _judge(self) -> Iterator[str]:
        data, copy = self._home / ".local/share/insi-agent", self._folder / "copy"
        received = [_message_id(request.body) for request in self._insi.requests]
        if not copied(data / "journal", copy):
            if received:
                yield "the journal is gone"
            return
        identity, keys = load_identity(KeyringSecrets(), data), load_journal_keys(KeyringSecrets(), data)
        own = Journal(
            copy, sign=identity.sign_bytes, verify=identity.verify_bytes, keys=lambda: keys, max_reply_bytes=1 << 20
        )
        held = Held.of(own, copy)
        yield from held.problems()
        intended = Counter(clear_of(entry)["messageId"] for entry in held.of_kind(Kind.INTENT))
        if without := [one for one in received if one not in intended]:
            yield f"{len(without)} messages that INSi received have no intent"
        if len(set(received)) != len(received):
            yield "a message was sent twice"
        yield from self._results(held, identity, keys)

    def _results(self, held: Held, identity: Identity, keys: Keys) -> Iterator[str]:
        """What the page got is in the journal, in its place; no reference has two results."""
        stored: dict[str, dict[str, Any]] = {}
        for entry in held.of_kind(Kind.RESULT):
            part = personal_of(entry, lambda: keys, identity.verify_bytes)
            assert part is not None
            result = json.loads(part)
            intent = held.entries[min(one.seq for one in held.entries.values() if one.trace_id == entry.trace_id)]
            asked = personal_of(intent, lambda: keys, identity.verify_bytes)
            assert asked is not None
            reference = json.loads(asked)["clientRef"]
            if reference in stored:
                yield f"{reference} has two results"
            stored[reference] = result
            if (result["trace"]["seq"], result["trace"]["previous"]) != (entry.seq, entry.previous):
                yield f"the result of {reference} names another place in the chain"
        for reference, got in self._got.items():
            if any({**result, "replayed": False} != {**stored.get(reference, {}), "replayed": False} for result in got):
                yield f"the page's result of {reference} is not the journal's"
            if sum(not result.get("replayed") for result in got) > 1:
                yield f"{reference} was answered twice, and not as a replay"


def _message_id(body: bytes) -> str:
    found = re.search(rb"MessageID[^>]*>([^<]+)<", body)
    assert found
    return found[1].decode()
