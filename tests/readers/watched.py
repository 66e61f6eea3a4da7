"""What the tests of the card service share: a watcher with a memory, odd cards, a stranger's connection."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from smartcard import scard

from agent.errors import AgentError
from agent.model import CardKind, ReaderSeen
from agent.readers.desk import DeskReading, read_first_vitale
from agent.readers.pcsc import PcscReaders
from agent.readers.ports import Watch
from tests.cards.vitale import VITALE_2
from tests.cards.vpcd import Insertion

SELECT_MF = bytes.fromhex("00A40000023F00")
Seen = list[ReaderSeen] | None


class Passing:
    """A card that is gone before anybody asks it anything."""

    atr = bytes.fromhex(VITALE_2)

    def reset(self) -> None:
        pass

    def apdu(self, _command: bytes) -> bytes:
        return b"\x90\x00"


class Mute(Passing):
    """A card, or a driver, that never answers a command."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def apdu(self, command: bytes) -> bytes:
        self.asked.set()
        self.may_answer.wait()
        return super().apdu(command)


@contextmanager
def mute_card(port: int) -> Iterator[Mute]:
    """One behind this port, out and with its tongue back at the end."""
    card = Mute()
    inside = Insertion(card, port, no_counts())
    try:
        yield card
    finally:
        card.may_answer.set()
        inside.remove()


def no_counts() -> dict[str, int]:
    return {"apdus": 0, "on": 0, "off": 0, "reset": 0}


class Desk:
    """What a watcher of the real card service was told."""

    def __init__(self, readers: PcscReaders | None = None) -> None:
        self._news: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self._watch: Watch = (readers or PcscReaders()).watch(self._news.put)

    def until(self, wanted: Callable[[Seen], bool]) -> list[Seen]:
        """Everything told up to the first that is wanted."""
        told: list[Seen] = []
        while not told or not wanted(told[-1]):
            told.append(self._news.get(timeout=20))
        return told

    def until_card(self, reader: str, kind: CardKind | None) -> list[Seen]:
        return self.until(lambda seen: seen is not None and kind == kind_in(seen, reader))

    def close(self) -> None:
        self._watch.close()


def kind_in(seen: Seen, reader: str) -> CardKind | None:
    """The card in this reader; None without a card, without the reader and without the service."""
    return next((one.card.kind if one.card else None for one in seen or [] if one.reader == reader), None)


@contextmanager
def another_program(reader: str, *, share: int = scard.SCARD_SHARE_SHARED) -> Iterator[Any]:
    """A connection to the card by a context of its own, as another program has."""
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    hresult, handle, _ = scard.SCardConnect(context, reader, share, scard.SCARD_PROTOCOL_T0)
    assert hresult == scard.SCARD_S_SUCCESS
    yield handle
    scard.SCardDisconnect(handle, scard.SCARD_LEAVE_CARD)
    scard.SCardReleaseContext(context)


def send(handle: Any, command: bytes) -> str:
    hresult, answer = scard.SCardTransmit(handle, scard.SCARD_PCI_T0, list(command))
    assert hresult == scard.SCARD_S_SUCCESS
    return bytes(answer).hex().upper()


def read(readers: PcscReaders | None = None) -> DeskReading:
    return read_first_vitale(readers or PcscReaders(), reader=None, prefer=(), exclude=())


def refusal(call: Callable[[], object]) -> AgentError:
    with pytest.raises(AgentError) as error:
        call()
    return error.value
