"""A simulated INSi on the loopback, with the keys of its world made once."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.insi.answers import Answer, read_answer
from agent.insi.contract import open_contract
from agent.insi.envelope import Ids, Lps, build
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.http import ClientMaterial, Endpoint, HttpTeleservice, Limits
from agent.insi.operations import Query
from agent.insi.ports import HttpReply, Sender
from agent.insi.search import AfterSeveral, steps
from agent.model import AuthMode, Traits
from agent.simulator.pki import (
    Issued,
    Person,
    issue_card_certificate,
    issue_organisation,
    issue_server,
    make_ca,
)

LPS = Lps("SIMULATEUR-0001", "Essai", "1.0", "00000000-0000-4000-8000-000000000004", "urn:lps:Essai:1.0")

CONTRACT = open_contract(None, None)


@dataclass(frozen=True)
class World:
    """Who exists."""

    ca: Issued
    server: Issued
    organisation: Issued
    card: Issued


@pytest.fixture(scope="session")
def world() -> World:
    ca = make_ca()
    return World(ca, issue_server(ca), issue_organisation(ca), issue_card_certificate(ca, Person()))


@pytest.fixture
def insi(world: World) -> Iterator[SimulatedInsi]:
    service = SimulatedInsi(world.server.pem, world.server.key_pem, world.ca.pem, record=True)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def network(world: World, insi: SimulatedInsi) -> Iterator[HttpTeleservice]:
    """The real client, with both ways to the simulated INSi."""
    teleservice = client(world, insi)
    yield teleservice
    teleservice.close()


def client(
    world: World, insi: SimulatedInsi, *, organisation: Issued | None = None, anchors: bytes = b"", **limits: Any
) -> HttpTeleservice:
    """The real client; `organisation` and `anchors` replace the good ones."""
    own, anchors_pem = organisation or world.organisation, anchors or world.ca.pem

    def endpoint(sender: Sender) -> Endpoint:
        material = ClientMaterial(own.chain_pem, own.key) if sender.mode is AuthMode.ORGANISATION else None
        return Endpoint(insi.url(sender.mode), anchors_pem, material)

    return HttpTeleservice(endpoint, limits=Limits(**limits))


def ask(network: HttpTeleservice, mode: AuthMode, query: Query, *, signed: Any | None = None, lps: Lps = LPS) -> Answer:
    """One attempt, from query to answer."""
    return read_answer(send(network, mode, query, signed=signed, lps=lps))


def send(
    network: HttpTeleservice, mode: AuthMode, query: Query, *, signed: Any | None = None, lps: Lps = LPS
) -> HttpReply:
    """One message of the agent's."""
    envelope = build(
        query,
        contract=CONTRACT,
        lps=lps,
        emitter="EMETTEUR",
        assertion=signed,
        ids=Ids.fresh(),
        at=datetime.now(UTC),
    )
    return network.post(Sender(mode), envelope.action, envelope.body)


def search(
    network: HttpTeleservice,
    mode: AuthMode,
    traits: Traits,
    *,
    signed: Any | None = None,
    after_several: AfterSeveral = "join",
) -> list[Answer]:
    """A whole search by traits: the answers in order."""
    ladder = steps(traits, after_several)
    answers: list[Answer] = []
    query = ladder.next()
    while query:
        answers.append(ask(network, mode, query, signed=signed))
        query = ladder.next(answers[-1].code)
    return answers


def traits(birth_name: str, given_names: str, sex: str, birth_date: str, place: str | None = None) -> Traits:
    """Traits of a page; given names separated by a comma."""
    return Traits.model_validate(
        {
            "birthName": birth_name,
            "givenNames": given_names.split(","),
            "sex": sex,
            "birthDate": birth_date,
            "birthPlaceCode": place,
        }
    )


_watchers: list[Callable[[str, tuple[Any, ...]], None]] = []


def _audit(event: str, details: tuple[Any, ...]) -> None:
    for watcher in _watchers:
        watcher(event, details)


sys.addaudithook(_audit)  # Python has no way to remove one


@contextmanager
def audited(prefix: str, look: Callable[[str, tuple[Any, ...]], Any] = lambda event, _: event) -> Iterator[list[Any]]:
    """What `look` saw of each of the interpreter's events that begin with `prefix`, as they happen."""
    seen: list[Any] = []

    def watcher(event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(prefix):
            seen.append(look(event, details))

    _watchers.append(watcher)
    try:
        yield seen
    finally:
        _watchers.remove(watcher)
