"""vitale.read and the re-reading before WS_INS1."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from agent.errors import AgentError, Code
from agent.model import CardKind, VitaleCard
from agent.protocol.messages import VitaleReadParams
from agent.readers.desk import DeskReading, PcscVitale, VitaleSource
from agent.readers.pcsc import PcscReaders
from agent.readers.vitale import VitaleContent
from agent.workflows import vitale
from tests.cards.process import CardProcess
from tests.parts.agent import Simulation, Site
from tests.parts.desktop import until
from tests.parts.pcscd import Pcscd
from tests.readers.watched import Mute, mute_card
from tests.workflows.making import CPS, VITALE, Bench


class Telling:
    """A source that knows the nature of its cards, as the licensed library does."""

    lane = None
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


class Passing:
    """A source that is out of reach so often, then again."""

    lane = None
    gives_rank = False
    timeout_s: float = 20

    def __init__(self, code: Code, source: VitaleSource, times: int = 1) -> None:
        self._code, self._source, self.times = code, source, times

    def read(self, reader: str | None) -> DeskReading:
        if self.times:
            self.times -= 1
            raise AgentError(self._code)
        return self._source.read(reader)

    def read_again(self, reading: DeskReading) -> None:
        self._source.read_again(reading)

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


@pytest.mark.parametrize("passing", [Code.CARD_IN_USE, Code.PCSC_UNAVAILABLE])
def test_reading_waits_for_what_passes_without_a_sign(bench: Bench, passing: Code) -> None:
    """A lock that ends is no event; the watcher is told nothing here."""
    source = bench.desk.vitale

    bench.desk.vitale = Passing(passing, source)
    assert bench.refused(bench.read()).code is passing  # without `wait`

    steps: list[tuple[str, str | None]] = []

    async def hear(step: str, needs: str | None = None) -> None:
        steps.append((step, needs))

    bench.desk.vitale = Passing(passing, source, times=2)
    asker = replace(bench.asker(), progress=hear)
    assert bench.do(vitale.read(bench.desk, asker, VitaleReadParams(wait=60))).holders
    assert steps == [("vitale.waiting", None)]  # said once, and nobody is to insert a card


def test_what_does_not_pass_is_said_when_the_wait_is_over(bench: Bench) -> None:
    bench.desk.vitale = held = Passing(Code.CARD_IN_USE, bench.desk.vitale, times=1000)

    assert bench.refused(vitale.read(bench.desk, bench.asker(), VitaleReadParams(wait=1))).code is Code.CARD_IN_USE
    assert held.times > 990  # looked at once a second, not all the time


def test_a_reading_that_hangs_is_a_card_that_does_not_answer_and_costs_no_later_one(bench: Bench, pcscd: Pcscd) -> None:
    """Whoever goes away meanwhile: another reader's card is read. Nothing was done, so it may be repeated."""
    readers = PcscReaders(patience_s=0.3)
    bench.plug(readers)
    assert isinstance(bench.desk.vitale, PcscVitale)
    bench.desk.vitale.timeout_s, bench.desk.card_queue_s = 2, 60
    params = VitaleReadParams(reader=pcscd.reader("Bureau"))

    async def cancelled(card: Mute) -> None:
        reading = asyncio.create_task(bench.read())
        await asyncio.to_thread(card.asked.wait, 20)
        reading.cancel()
        await asyncio.wait((reading,))
        assert reading.cancelled()

    with mute_card(pcscd.port_of("Vitale")) as card, CardProcess("tests.cards.vitale", pcscd.port_of("Bureau")) as good:
        until(lambda: any(one.card for one in readers.seen()), "the mute card is seen")
        bench.do(cancelled(card))
        assert bench.refused(bench.read()).code is Code.CARD_MUTE
        good.insert()
        until(lambda: sum(bool(one.card) for one in readers.seen()) == 2, "both cards are seen")

        assert len(bench.do(vitale.read(bench.desk, bench.asker(), params)).holders) == 2
        good.remove()
    until(lambda: not any(one.card for one in readers.seen()), "the cards are out")
    with mute_card(pcscd.port_of("Vitale")):
        until(lambda: any(one.card for one in readers.seen()), "the next mute card is seen")
        hung = bench.refused(bench.read())
    until(lambda: not any(one.card for one in readers.seen()), "it is out")

    assert (hung.code, hung.row.retryable) == (Code.CARD_MUTE, True)
    assert hung.detail == "lane pcsc after 2 s"


def test_a_card_that_the_table_does_not_know_is_a_row_of_the_settings(simulation: Callable[..., Simulation]) -> None:
    """readers.cards: the ATR of a CPS, taken for a Vitale here, is asked and proves to be none."""
    agent = simulation('[[readers.cards]]\natr = "3BAC00402A001225006480000310......"\nkind = "vitale2"\n')
    agent.readers.insert(VITALE, None)

    kinds = [one.card.kind for one in agent.readers.seen() if one.card]
    with pytest.raises(AgentError) as refused:
        agent.running.agent.desk.vitale.read(None)

    assert kinds == [CardKind.VITALE_2]
    assert refused.value.code is Code.CARD_UNKNOWN
