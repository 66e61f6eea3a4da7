"""The simulated INSi for clients of others, in a world shaped like the IGC-Santé: its keys are made once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from agent.insi.fake_insi import SimulatedInsi
from agent.model import AuthMode
from agent.simulator.pki import (
    ORGANISATIONS,
    PERSONS,
    Issued,
    Person,
    issue_ca,
    issue_card_certificate,
    issue_organisation,
    issue_server,
    make_ca,
)
from tests.simulator.editor import Client


@dataclass(frozen=True)
class World:
    """Who exists. Each has its issuers."""

    server: Issued
    organisation: Issued
    card: Issued

    @property
    def persons(self) -> Issued:
        """The CA of the cards."""
        return self.card.issuers[0]

    @property
    def ca_pem(self) -> bytes:
        """Every CA, as they are trusted."""
        return b"".join(ca.pem for ca in (*self.server.issuers, *self.card.issuers))


@pytest.fixture(scope="session")
def world() -> World:
    organisations = issue_ca(make_ca("TEST AC RACINE IGC-SANTE ELEMENTAIRE", path_length=1), ORGANISATIONS)
    persons = issue_ca(make_ca("TEST AC RACINE IGC-SANTE FORT", path_length=1), PERSONS)
    return World(
        issue_server(organisations), issue_organisation(organisations), issue_card_certificate(persons, Person())
    )


@pytest.fixture
def insi(world: World) -> Iterator[SimulatedInsi]:
    service = SimulatedInsi(world.server.chain_pem, world.server.key_pem, world.ca_pem)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def client(world: World, insi: SimulatedInsi) -> Iterator[Callable[..., Client]]:
    """Opens an editor's client of one door, the organisations' if not said."""
    opened: list[Client] = []

    def open_client(mode: AuthMode = AuthMode.ORGANISATION, own: Issued | None = None) -> Client:
        shown = (own or world.organisation) if mode is AuthMode.ORGANISATION else None
        opened.append(Client(insi.url(mode), world.server.issuers[-1].pem, shown))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()
