"""A web application that never stops asking, and that counts every answer."""

import json
import logging
import secrets
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from agent.identity import verify_receipt

TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
USER = {"id": "accueil-2", "role": "accueil"}
MODES = ("cpx", "organisation")
OK = "ok"

# The client's library complains of an end of stream when the browser is killed, which is what we want.
_UNHEARD = logging.getLogger("unheard")
_UNHEARD.addHandler(logging.NullHandler())
_UNHEARD.propagate = False


@dataclass
class Tally:
    """What pages asked and what came of it. Shared by all of them."""

    hung_s: float
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (method, outcome)
    longest_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sent: int = 0
    answered: int = 0
    left: int = 0  # with a socket that the page closed
    receipts: int = 0
    event: int = 0  # the number of the last one that happened
    problems: list[str] = field(default_factory=list)

    def problem(self, what: str) -> None:
        self.problems.append(f"[event {self.event}] {what}")


@dataclass
class _Asked:
    method: str
    at: float
    birth_name: str | None  # who the answer must be about
    challenge: str


class Page:
    """One conversation, opened again whenever the page is reloaded."""

    def __init__(self, port: int, origin: str, random: Random, tally: Tally) -> None:
        self._port, self._origin, self._random, self.tally = port, origin, random, tally
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._read: dict[str, str] = {}  # readId → birth name of its first holder
        self._traces: list[str] = []
        self._working = threading.Event()
        self._thread: threading.Thread | None = None
        self.readers: dict[str, str] = {}  # name → kind of the card in it, as `cards.watch` says
        self.key: dict[str, str] | None = None  # of the receipts: the same for ever
        self.open()

    # ------------------------------------------------------------ the conversation

    def open(self) -> None:
        self._opened = ExitStack()
        self._socket: ClientConnection = self._opened.enter_context(
            connect(
                f"ws://127.0.0.1:{self._port}/",
                origin=Origin(self._origin),
                subprotocols=[Subprotocol("insi-agent.v1")],
                compression=None,
                proxy=None,
                logger=_UNHEARD,
            )
        )
        hello = self.call("agent.hello", apiLevels=[1], client={"name": "endurance", "version": "1"})
        if self.key not in (None, hello["receiptKey"]):
            self.tally.problem(f"{self._origin}: another receipt key")
        self.key = hello["receiptKey"]

    def close(self, *, politely: bool) -> None:
        """What is still asked is nobody's any more."""
        if not politely:  # the browser was killed
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._opened.close()
        self.tally.left += len(self._asked)
        self.tally.outcomes.update((asked.method, "left with its socket") for asked in self._asked.values())
        self._asked.clear()

    def send(self, method: str, *, about: str | None = None, **params: Any) -> int:
        """Ask; the id. `about`: the birth name that the answer must carry."""
        self._number += 1
        challenge = ""
        if method.startswith("insi."):
            challenge = params["challenge"] = secrets.token_urlsafe(32)
        self._asked[self._number] = _Asked(method, time.monotonic(), about, challenge)
        self.tally.sent += 1
        self._socket.send(json.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}))
        return self._number

    def call(self, method: str, **params: Any) -> Any:
        """The result. Raises AssertionError for anything else."""
        number = self.send(method, **params)
        while number not in self._answers:
            self.listen(lambda: number in self._answers, 60)
            assert number in self._answers or number in self._asked, "lost"
        message = self._answers[number]
        assert "result" in message, f"{method}: {message['error'].get('data', message['error'])}"
        return message["result"]

    def listen(self, enough: Callable[[], bool], seconds: float) -> None:
        """Take what comes until it is enough, or for so long."""
        end = time.monotonic() + seconds
        while not enough() and (left := end - time.monotonic()) > 0:
            try:
                self._take(json.loads(self._socket.recv(timeout=left)))
            except TimeoutError:
                return

    def _take(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        if number is None:
            if "error" in message:
                self.tally.problem(f"{self._origin}: an error without id: {message['error']}")
            return
        asked = self._asked.pop(number, None)
        if asked is None:
            known = isinstance(number, int) and number <= self._number
            self.tally.problem(f"{self._origin}: {number} was answered {'twice' if known else 'unasked'}")
            return
        self._answers = {number: message}
        self.tally.answered += 1
        took = self.tally.longest_s[asked.method] = max(self.tally.longest_s[asked.method], time.monotonic() - asked.at)
        if took > self.tally.hung_s:
            self.tally.problem(f"{self._origin}: {asked.method} took {took:.0f} s")
        self.tally.outcomes[asked.method, self._outcome(asked, message)] += 1

    def _outcome(self, asked: _Asked, message: dict[str, Any]) -> str:
        if "error" in message:
            reason = str(message["error"].get("data", {}).get("reason", message["error"]["code"]))
            if reason == "internal":
                self.tally.problem(f"{self._origin}: {asked.method} was internal: {message['error']['data']}")
            return reason
        result = message["result"]
        match asked.method:
            case "vitale.read":
                self._read = {result["readId"]: result["holders"][0]["name"]}
            case "cards.watch":
                self.readers = {one["reader"]: one["card"]["kind"] for one in result["readers"] if "card" in one}
            case method if method.startswith("insi."):
                return self._traced(asked, result)
        return OK

    def _traced(self, asked: _Asked, result: dict[str, Any]) -> str:
        """A result is worth its receipt, and is about whom the page asked for."""
        assert self.key is not None
        self._traces.append(result["trace"]["id"])
        try:
            verify_receipt(
                result["receipt"],
                accepted_thumbprints=[self.key["kid"]],
                public_jwks=[self.key],
                challenge=asked.challenge,
                origin=self._origin,
                environment="test",
            )
            self.tally.receipts += 1
        except ValueError as error:
            self.tally.problem(f"{self._origin}: {asked.method}: receipt: {error}")
        if (found := result.get("identity", {}).get("birthName")) != asked.birth_name:
            who = "nobody" if found is None else "another person"
            self.tally.problem(f"{self._origin}: {asked.method} gave {who}")
        return str(result["code"])

    # ------------------------------------------------------------ at work

    def start(self) -> None:
        """Work in a thread of its own until `stop`."""
        self._working.set()
        self._thread = threading.Thread(target=self._work, name=self._origin, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask nothing new, and hear every answer out."""
        self._working.clear()
        if self._thread:
            self._thread.join()
            self._thread = None
        self.listen(lambda: not self._asked, self.tally.hung_s)
        for asked in self._asked.values():
            self.tally.problem(f"{self._origin}: {asked.method} was never answered")

    def _work(self) -> None:
        try:
            while self._working.is_set():
                self._ask_something()
        except ConnectionClosed as closed:
            self.tally.problem(f"{self._origin}: the agent closed the conversation: {closed}")
        except Exception as error:  # noqa: BLE001  (a page that dies unheard would make the soak pass)
            self.tally.problem(f"{self._origin}: the page died: {error!r}")

    def _ask_something(self) -> None:
        random = self._random
        # One INSi call at a time: they wait for one another, also over pages, and a bound must mean something.
        calls = [method for method in _OPERATIONS if not (method.startswith("insi.") and self._calling())]
        method = random.choices(calls, [_OPERATIONS[name] for name in calls])[0]
        number = self._send_with_params(method)
        if random.random() < 0.12:  # changed their mind
            self.listen(lambda: False, random.choice((0, 0.05, 0.3)))
            self.send("operation.cancel", id=number)
        if random.random() < 0.03:  # closed the tab
            self.close(politely=random.random() < 0.5)
            self.open()
        if random.random() < 0.7:
            self.listen(lambda: not self._asked, self.tally.hung_s + 1)
        else:
            self.listen(lambda: len(self._asked) < 3, self.tally.hung_s + 1)
        self.listen(lambda: False, random.choice((0, 0.05, 0.2)))

    def _calling(self) -> bool:
        return any(asked.method.startswith("insi.") for asked in self._asked.values())

    def _send_with_params(self, method: str) -> int:
        random = self._random
        match method:
            case "insi.retrieveWithVitale" if self._read:
                ((read_id, name),) = self._read.items()
                return self.send(method, about=name, readId=read_id, holder=0, **self._who())
            case "insi.retrieveByTraits":
                return self.send(method, about="ADRTROIS", traits=TRAITS, **self._who())
            case "trace.get" if self._traces:
                return self.send(method, traceId=random.choice(self._traces[-20:]), image=random.random() < 0.5)
            case "vitale.read":
                return self.send(method, **random.choice(({}, {"wait": 1})))
            case "cpx.status" | "cpx.unlock" | "cpx.lock" | "agent.status" | "cards.watch" | "cards.unwatch":
                return self.send(method)
            case "trace.list":
                return self.send(method)
        return self.send("vitale.read")

    def _who(self) -> dict[str, Any]:
        return {"authMode": self._random.choice(MODES), "user": USER}

    # ------------------------------------------------------------ on a quiet day

    def work_through(self) -> None:
        """Every operation once, each in both modes: all must succeed. Raises AssertionError."""
        self.call("cards.watch")
        assert self.call("cpx.unlock")["unlocked"]
        assert self.call("cpx.status")["unlocked"]
        for mode in MODES:
            read = self.call("vitale.read")
            name, who = read["holders"][0]["name"], {"authMode": mode, "user": USER}
            by_card = self.call("insi.retrieveWithVitale", about=name, readId=read["readId"], holder=0, **who)
            by_traits = self.call("insi.retrieveByTraits", about="ADRTROIS", traits=TRAITS, **who)
            assert ("00", "00") == (by_card["code"], by_traits["code"])
            assert self.call("trace.get", traceId=by_card["trace"]["id"], image=True)["result"]["code"] == "00"
        assert len(self.call("trace.list", limit=4)["traces"]) == 4
        assert self.call("agent.status")["cardService"]
        assert not self.call("cpx.lock")["unlocked"]


_OPERATIONS = {
    "vitale.read": 6,
    "insi.retrieveWithVitale": 7,
    "insi.retrieveByTraits": 4,
    "cpx.status": 4,
    "cpx.unlock": 2,
    "cpx.lock": 2,
    "trace.get": 2,
    "trace.list": 1,
    "agent.status": 1,
    "cards.watch": 1,
    "cards.unwatch": 1,
}
