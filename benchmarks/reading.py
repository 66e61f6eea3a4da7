"""R13: a command to a card through the agent's readers, against SCardTransmit itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from smartcard import scard

from agent.readers.pcsc import PcscReaders
from benchmarks.figures import Effort, Measured
from benchmarks.parts import Parts

SELECT_MF, READ = bytes.fromhex("00A40000023F00"), bytes.fromhex("00B0820000")


def command(parts: Parts, effort: Effort) -> Measured:
    """READ BINARY of a virtual carte Vitale, turn by turn on two connections."""
    reader, readers = parts.pcscd.reader("Vitale"), PcscReaders()

    def ours() -> float:
        with readers.transaction(reader) as card:
            return _seconds(card.transmit, effort.requests)

    def raw() -> float:
        with _raw(reader) as transmit:
            return _seconds(transmit, effort.requests)

    ours(), raw()
    return Measured([ours() / raw() for _ in range(effort.turns)])


def _seconds(transmit: Callable[[bytes], object], times: int) -> float:
    transmit(SELECT_MF)
    began = time.perf_counter()
    for _ in range(times):
        transmit(READ)
    return time.perf_counter() - began


@contextmanager
def _raw(reader: str) -> Iterator[Callable[[bytes], object]]:
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    hresult, card, protocol = scard.SCardConnect(
        context, reader, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    )
    assert not hresult, scard.SCardGetErrorMessage(hresult)
    pci = scard.SCARD_PCI_T0 if protocol == scard.SCARD_PROTOCOL_T0 else scard.SCARD_PCI_T1
    scard.SCardBeginTransaction(card)
    commands = {data: list(data) for data in (SELECT_MF, READ)}

    def transmit(data: bytes) -> object:
        return scard.SCardTransmit(card, pci, commands[data])

    try:
        yield transmit
    finally:
        scard.SCardEndTransaction(card, scard.SCARD_LEAVE_CARD)
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(context)
