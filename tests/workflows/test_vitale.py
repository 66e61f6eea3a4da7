"""vitale.read and the re-reading before WS_INS1."""

from collections.abc import Callable
from typing import Literal

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind, VitaleCard
from agent.readers.desk import DeskReading
from agent.readers.vitale import VitaleContent
from tests.parts.agent import Simulation, Site
from tests.workflows.making import CPS, VITALE, Bench


class Telling:
    """A source that knows the nature of its cards, as the licensed library does."""

    gives_rank = False
    timeout_s: float = 20

    def __init__(self, environment: Literal["real", "test", "demo", "unknown"], holders: VitaleContent) -> None:
        card = VitaleCard(kind=CardKind.VITALE_2, environment=environment)
        self._content = VitaleContent(card, holders.holders, holders.fingerprint)

    def read(self, _reader: str | None) -> DeskReading:
        return DeskReading(VITALE, b"", self._content)

    def read_again(self, _reading: DeskReading) -> None:
        """It is the same."""

    def kill(self) -> None:
        """Nothing hangs."""


def test_a_card_of_another_environment_is_refused_when_it_is_read(bench: Bench) -> None:
    """Before anybody chooses a holder or types a code."""
    content = bench.desk.vitale.read(None).content
    bench.desk.vitale = Telling("real", content)

    assert bench.refused(bench.read()).code is Code.VITALE_ENVIRONMENT
    assert bench.refused(bench.with_vitale("00000000-0000-4000-8000-100000000001")).code is Code.VITALE_READING_UNKNOWN
    assert bench.slot.calls == []

    bench.desk.vitale = Telling("demo", content)
    assert bench.do(bench.read()).card.environment == "demo"


def test_a_reading_serves_for_twenty_minutes_whoever_is_chosen(bench: Bench) -> None:
    """CNDA test 1.02: search one holder, wait, search the other without pulling the card."""
    read = bench.do(bench.read())
    assert bench.do(bench.with_vitale(read.read_id, 0)).trace
    sent = len(bench.insi.received)

    bench.clock.forward(minutes=20)

    assert bench.refused(bench.with_vitale(read.read_id, 1)).code is Code.VITALE_STALE
    assert len(bench.insi.received) == sent


def test_a_card_swapped_between_choice_and_call_sends_nothing(bench: Bench) -> None:
    """CNDA test 1.03: never card 1's person with card 4."""
    read = bench.do(bench.read())

    bench.readers.insert(VITALE, "twins")

    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_CHANGED
    assert not bench.insi.received


def test_cards_put_into_each_others_reader_after_the_reading_are_still_the_same(bench: Bench) -> None:
    """R4: CPS and Vitale swapped; a reader's name is no part of a card."""
    read = bench.do(bench.read())

    bench.readers.insert(CPS, "adrun-family")
    bench.readers.insert(VITALE, "cpx")

    assert bench.do(bench.with_vitale(read.read_id)).outcome


def test_what_is_odd_on_the_card_reaches_the_page(agent: Simulation, site: Site) -> None:
    agent.readers.insert(VITALE, "lunar-date")

    (holder,) = site.call("vitale.read")["holders"]

    assert holder["warnings"] == ["birthDate.lunar"]
    assert (holder["birthDate"], holder["birthDateRaw"]) == ("1954-00-00", "19540000")


@pytest.mark.parametrize(("card", "reason"), [("protected", "vitale.protected"), ("cpx", "vitale.cpxInstead")])
def test_each_card_in_the_vitales_place_has_its_own_sentence(
    agent: Simulation, site: Site, card: str, reason: str
) -> None:
    agent.readers.insert(VITALE, card)

    refused = site.refusal("vitale.read")

    assert refused.reason == reason
    assert refused.error["data"]["action"]["fr"]


def test_reading_waits_while_a_cpx_is_in_the_vitales_place(agent: Simulation, site: Site) -> None:
    """On a desk with one reader the cards take turns in it."""
    agent.readers.insert(VITALE, "cpx")
    number = site.send("vitale.read", wait=60)
    assert site.notified("operation.progress")["needs"] == "card.vitale"

    agent.readers.insert(VITALE, "adrdeux")

    assert site.reply(number)["holders"][0]["name"] == "ADRDEUX"


def test_a_card_that_the_table_does_not_know_is_a_row_of_the_settings(simulation: Callable[..., Simulation]) -> None:
    """readers.cards: the ATR of a CPS, taken for a Vitale here, is asked and proves to be none."""
    agent = simulation('[[readers.cards]]\natr = "3BAC00402A001225006480000310......"\nkind = "vitale2"\n')
    agent.readers.insert(VITALE, None)

    kinds = [one.card.kind for one in agent.readers.seen() if one.card]
    with pytest.raises(AgentError) as refused:
        agent.running.agent.desk.vitale.read(None)

    assert kinds == [CardKind.VITALE_2]
    assert refused.value.code is Code.CARD_UNKNOWN
