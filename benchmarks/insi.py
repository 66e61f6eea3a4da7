"""R12, R14: calling INSi."""

import asyncio
import time
from datetime import UTC, datetime

from agent.insi.answers import read_answer
from agent.insi.contract import Contract, open_contract
from agent.insi.envelope import Ids, Lps, build
from agent.insi.http import ClientMaterial, Endpoint, HttpTeleservice
from agent.insi.operations import TraitsQuery
from agent.insi.ports import Sender
from agent.model import AuthMode
from benchmarks.client import call, conversation
from benchmarks.figures import Effort, Measured, spread
from benchmarks.parts import Parts

LPS = Lps("SIMULATEUR-0001", "Banc d'essai", "1", "00000000-0000-4000-8000-000000000001", "urn:lps:banc:1")
QUERY = TraitsQuery("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", None, ())
SENDER = Sender(AuthMode.ORGANISATION)


def kept_session(parts: Parts, effort: Effort) -> Measured:
    """The second call on a connection against the first, which opens it and shows the client certificate."""
    client = ClientMaterial(parts.organisation.pem, parts.organisation.key)
    contract = open_contract(None, None)
    endpoint = Endpoint(parts.insi.url(SENDER.mode), parts.ca.pem, client)

    def ratio() -> float:
        network = HttpTeleservice(lambda _sender: endpoint)
        first, second = _seconds(network, contract), _seconds(network, contract)
        network.close()
        return second / first

    ratio()
    return Measured([ratio() for _ in range(effort.turns)])


def _seconds(network: HttpTeleservice, contract: Contract) -> float:
    message = build(
        QUERY, contract=contract, lps=LPS, emitter="BANC", assertion=None, ids=Ids.fresh(), at=datetime.now(UTC)
    )
    began = time.perf_counter()
    reply = network.post(SENDER, message.action, message.body)
    took = time.perf_counter() - began
    assert read_answer(reply).code == "00"
    return took


def own_time(parts: Parts, effort: Effort) -> Measured:
    """ms of a whole insi.retrieveWithVitale that are neither the cards', nor the signature's, nor INSi's."""
    station = parts.station

    async def calls() -> list[dict[str, float]]:
        async with conversation(station.port) as page:
            read = await call(page, "vitale.read")

            async def once() -> dict[str, float]:
                before, began = station.spent(), time.perf_counter()
                result = await call(page, "insi.retrieveWithVitale", readId=read["readId"], holder=0)
                whole = time.perf_counter() - began
                assert result["code"] == "00"
                took = {edge: 1000 * (seconds - before[edge]) for edge, seconds in station.spent().items()}
                return {**took, "whole": 1000 * whole}

            await once()  # types the code, imports what it needs, opens the connection
            return [await once() for _ in range(effort.turns // 2 + 1)]

    took = asyncio.run(calls())
    ours = [one["whole"] - one["card"] - one["signature"] - one["insi"] for one in took]
    journal, whole = (spread([one[name] for one in took]) for name in ("journal", "whole"))
    return Measured(ours, f"{journal} of it in the journal; {whole} in all")
