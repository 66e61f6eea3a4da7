"""The card service under the conditions of the field: other programs, swaps, kills, readers that come and go.

pcsc-lite 1.9.9 with vpcd; other programs are processes of their own where it matters.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from smartcard import scard

from agent.errors import CATALOGUE, AgentError, Code
from agent.lane import Lane
from agent.model import CardKind
from agent.readers.pcsc import PcscReaders
from tests.cards.process import CardProcess
from tests.cards.vitale import CPS3
from tests.cards.vpcd import Insertion
from tests.parts.desktop import until
from tests.parts.other_program import OtherProgram
from tests.parts.pcscd import Pcscd
from tests.readers.watched import (
    SELECT_MF,
    Desk,
    Passing,
    another_program,
    kind_in,
    mute_card,
    no_counts,
    read,
    refusal,
    send,
)

VERIFY = bytes.fromhex("00200001")
RIGHT_CODE = VERIFY + bytes.fromhex("0431323334")
NEVER_S = 3600.0
SOON_S = 0.3  # the end of a test's patience


def impatient() -> PcscReaders:
    return PcscReaders(patience_s=SOON_S)


def entering() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "enter-pcsc"]


@contextmanager
def inserted(pcscd: Pcscd, reader: str, *options: str, slot: int = 0) -> Iterator[CardProcess]:
    """A card of `tests.cards.vitale` in this slot, seen there; out and noticed at the end."""
    with CardProcess("tests.cards.vitale", pcscd.port_of(reader) + slot, *options) as card:
        card.insert()
        until(lambda: kind_in(PcscReaders().seen(), pcscd.reader(reader, slot)) is not None, f"a card in {reader}")
        yield card
        card.remove()
        until(lambda: kind_in(PcscReaders().seen(), pcscd.reader(reader, slot)) is None, f"{reader} is empty")


# ---------------------------------------------------------------- another program's transaction


def test_a_transaction_that_lasts_ends_our_patience_and_nothing_was_sent(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    """SCardConnect blocks in pcscd and SCardReleaseContext behind it (seen): its thread is left, one for a reader."""
    card, readers = vitale(), impatient()
    assert other.hold(pcscd.reader("Vitale"), NEVER_S)
    errors = [refusal(lambda: read(readers)) for _ in range(3)]

    assert {Code.CARD_IN_USE} == {error.code for error in errors}
    assert CATALOGUE[Code.CARD_IN_USE].retryable
    assert 0 == card.counts()["apdus"]
    assert 1 == len(entering())

    other.let_go()
    assert 2 == len(read(readers).content.holders)
    until(lambda: not entering(), "the thread that was left behind ended by itself")


def test_a_transaction_that_ends_in_time_is_waited_for(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    vitale()
    assert other.hold(pcscd.reader("Vitale"), NEVER_S)
    holders: list[int] = []
    reading = threading.Thread(target=lambda: holders.append(len(read(PcscReaders(patience_s=60)).content.holders)))
    reading.start()
    until(lambda: len(entering()) == 1, "the reading waits")
    other.let_go()
    reading.join(20)

    assert [2] == holders


def test_an_exclusive_lock_that_ends_in_time_is_waited_for_too(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    """A connection is refused meanwhile, it does not block: so it is tried again."""
    vitale()
    assert other.lock(pcscd.reader("Vitale"), NEVER_S)
    holders: list[int] = []
    reading = threading.Thread(target=lambda: holders.append(len(read(PcscReaders(patience_s=60)).content.holders)))
    reading.start()
    until(lambda: len(entering()) == 1, "the reading waits")
    reading.join(SOON_S)
    assert reading.is_alive()
    other.let_go()
    reading.join(20)

    assert [2] == holders


def test_a_lock_that_lasts_ends_our_patience_and_nobody_goes_on_trying(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    card = vitale()
    assert other.lock(pcscd.reader("Vitale"), NEVER_S)

    assert Code.CARD_IN_USE == refusal(lambda: read(impatient())).code
    until(lambda: not entering(), "the thread that tried has ended, the lock has not")
    assert 0 == card.counts()["apdus"]


def test_while_another_program_keeps_one_card_all_else_goes_on(
    pcscd: Pcscd, desk: Desk, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    """Listing, watching and the other readers never wait for the one that is held, nor does the lane."""
    vitale()
    held, readers = pcscd.reader("Vitale"), impatient()
    assert other.hold(held, NEVER_S)

    async def story() -> tuple[Code, CardKind | None, int]:
        lane = Lane("pcsc", leaves_behind=True)
        try:
            with pytest.raises(AgentError) as error:
                await lane.run(lambda: read(readers), timeout_s=NEVER_S)
            with inserted(pcscd, "Bureau"):
                desk.until_card(pcscd.reader("Bureau"), CardKind.VITALE_2)
                seen = await lane.run(readers.seen, timeout_s=NEVER_S)
                second = await lane.run(lambda: _holders_in(readers, pcscd.reader("Bureau")), timeout_s=NEVER_S)
            return error.value.code, kind_in(seen, held), second
        finally:
            lane.close()

    assert (Code.CARD_IN_USE, CardKind.VITALE_2, 2) == asyncio.run(story())


def _holders_in(readers: PcscReaders, reader: str) -> int:
    """How many commands this reader's card answers well, of two."""
    with readers.transaction(reader) as card:
        return [card.transmit(SELECT_MF)[1] for _ in range(2)].count(0x9000)


def test_the_thread_that_waits_for_a_card_ends_with_the_service(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    card, readers = vitale(), impatient()
    assert other.hold(pcscd.reader("Vitale"), NEVER_S)
    refusal(lambda: read(readers))
    try:
        pcscd.kill()
        until(lambda: not entering(), "nobody waits for a service that is gone")
    finally:
        pcscd.restart()

    card.insert()
    assert 2 == len(read(readers).content.holders)


# ---------------------------------------------------------------- who may hold the card


@pytest.mark.parametrize("hold", [OtherProgram.hold, OtherProgram.lock])
def test_a_card_in_use_names_the_known_programs_that_run_and_no_other(
    pcscd: Pcscd,
    vitale: Callable[..., CardProcess],
    other: OtherProgram,
    start: Callable[[str], None],
    hold: Callable[[OtherProgram, str, float], bool],
) -> None:
    vitale()
    start("Pyxvital.exe")
    start("agenda-personnel")
    assert hold(other, pcscd.reader("Vitale"), NEVER_S)
    error = refusal(lambda: read(impatient()))

    assert (Code.CARD_IN_USE, ["Pyxvital"]) == (error.code, error.facts["rivals"])
    assert "yxvital" not in error.detail


# ---------------------------------------------------------------- reset


@pytest.fixture
def cps(pcscd: Pcscd) -> Iterator[CardProcess]:
    """A virtual CPS3 in the reader "CPS"."""
    with CardProcess("tests.cards.cps3", pcscd.port_of("CPS")) as card:
        card.insert()
        until(lambda: kind_in(PcscReaders().seen(), pcscd.reader("CPS")) is CardKind.CPX, "the CPS3 is seen")
        yield card
        card.remove()
        until(lambda: kind_in(PcscReaders().seen(), pcscd.reader("CPS")) is None, "the CPS3 is out")


def test_a_reset_makes_the_card_forget_a_verified_code(pcscd: Pcscd, cps: CardProcess) -> None:
    """Seen with two modules: after C_Logout, C_CloseSession and C_Finalize the code stays verified for everybody."""
    reader = pcscd.reader("CPS")
    with another_program(reader) as stranger:
        with PcscReaders().transaction(reader) as card:
            assert (b"", 0x9000) == card.transmit(RIGHT_CODE)
        assert "9000" == send(stranger, VERIFY)  # another program finds the door open

        PcscReaders().reset(reader)

        hresult, _ = scard.SCardTransmit(stranger, scard.SCARD_PCI_T0, list(VERIFY))
        assert scard.SCARD_W_RESET_CARD & 0xFFFFFFFF == hresult & 0xFFFFFFFF  # its session ended
    with PcscReaders().transaction(reader) as card:
        assert (b"", 0x63C3) == card.transmit(VERIFY)
    assert (False, 3) == tuple(cps.ask("state")[key] for key in ("verified", "left"))


def test_a_reset_waits_for_nobody_for_long_and_breaks_no_transaction(
    pcscd: Pcscd, cps: CardProcess, other: OtherProgram
) -> None:
    reader, before = pcscd.reader("CPS"), cps.counts()["reset"]
    assert other.hold(reader, NEVER_S)
    held = refusal(lambda: impatient().reset(reader)).code
    other.let_go()
    until(lambda: not entering(), "the other program's turn is over")
    assert other.lock(reader, NEVER_S)
    locked = refusal(lambda: impatient().reset(reader)).code
    other.let_go()

    assert (Code.CARD_IN_USE, Code.CARD_IN_USE, before) == (held, locked, cps.counts()["reset"])


def test_a_reset_of_nothing_says_what_is_missing(pcscd: Pcscd) -> None:
    assert Code.CARD_ABSENT == refusal(lambda: PcscReaders().reset(pcscd.reader("Bureau"))).code
    assert Code.READER_ABSENT == refusal(lambda: PcscReaders().reset("Lecteur débranché 00 00")).code


# ---------------------------------------------------------------- resets and power cuts by others


def _reconnect(disposition: int) -> Callable[[Any], Any]:
    return lambda handle: scard.SCardReconnect(handle, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0, disposition)


@pytest.mark.parametrize(
    "strike",
    [
        _reconnect(scard.SCARD_RESET_CARD),
        _reconnect(scard.SCARD_UNPOWER_CARD),
        lambda handle: scard.SCardDisconnect(handle, scard.SCARD_RESET_CARD),
        lambda handle: scard.SCardDisconnect(handle, scard.SCARD_UNPOWER_CARD),
    ],
    ids=["reconnect-reset", "reconnect-unpower", "disconnect-reset", "disconnect-unpower"],
)
def test_nobody_resets_or_unpowers_the_card_between_two_commands_of_ours(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], strike: Callable[[Any], Any]
) -> None:
    """Inside our transaction they wait (seen); outside it they do as they like, and we read again."""
    card, order = vitale(), list[str]()
    with another_program(pcscd.reader("Vitale")) as stranger:

        def struck() -> None:
            strike(stranger)
            order.append("stranger")

        thread = threading.Thread(target=struck)
        with PcscReaders().transaction(pcscd.reader("Vitale")) as ours:
            before = card.counts()
            thread.start()
            for _ in range(50):
                assert (b"", 0x9000) == ours.transmit(SELECT_MF)
            assert {**before, "apdus": before["apdus"] + 50} == card.counts()
            order.append("ours")
        thread.join(20)

        assert ["ours", "stranger"] == order
        assert 2 == len(read().content.holders)


def test_a_card_that_another_program_powered_off_is_powered_again(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    """R6: readers that lose their link, programs that leave with SCARD_UNPOWER_CARD."""
    card = vitale()
    with another_program(pcscd.reader("Vitale")):  # one that stays: pcscd keeps the reader in use
        before = card.counts()["off"]
        for _ in range(3):
            assert other.unpower(pcscd.reader("Vitale"))
            assert 2 == len(read().content.holders)

        assert 3 == card.counts()["off"] - before


# ---------------------------------------------------------------- the service dies


def test_a_service_killed_in_the_middle_of_a_reading_is_said_and_the_next_one_works(
    pcscd: Pcscd, desk: Desk, vitale: Callable[..., CardProcess]
) -> None:
    card, readers = vitale(), PcscReaders()

    def cut_short() -> None:
        with readers.transaction(pcscd.reader("Vitale")) as ours:
            ours.transmit(SELECT_MF)
            pcscd.kill()
            ours.transmit(SELECT_MF)

    try:
        assert Code.PCSC_UNAVAILABLE == refusal(cut_short).code
        assert Code.PCSC_UNAVAILABLE == refusal(lambda: readers.reset(pcscd.reader("Vitale"))).code
    finally:
        pcscd.restart()

    desk.until(lambda seen: seen is not None and kind_in(seen, pcscd.reader("Vitale")) is None)
    card.insert()
    assert 2 == len(read(readers).content.holders)


def test_the_return_of_the_service_is_noticed_by_its_socket(pcscd: Pcscd) -> None:
    """The pause is an hour here: something else ends it."""
    watched = Desk(PcscReaders(back_off_s=(NEVER_S, NEVER_S)))
    watched.until(lambda seen: seen is not None)
    try:
        pcscd.kill()
        assert [None] == watched.until(lambda seen: seen is None)
    finally:
        pcscd.restart()

    assert 1 == len(watched.until(lambda seen: seen is not None))
    watched.close()


@pytest.mark.parametrize("call", ["seen", "transaction", "reset"])
def test_the_return_of_the_service_is_noticed_by_any_call_that_succeeds(
    pcscd: Pcscd, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Where the folder of the socket cannot be watched (Windows, macOS): the pause is an hour, a call ends it."""
    with inserted(pcscd, "Vitale") as card:
        # Only the watcher reads it again; the library knows its socket since its first call.
        monkeypatch.setenv("PCSCLITE_CSOCK_NAME", "/nowhere/pcscd.comm")
        readers = PcscReaders(back_off_s=(NEVER_S, NEVER_S))
        watched = Desk(readers)
        watched.until(lambda seen: seen is not None)
        try:
            pcscd.kill()
            watched.until(lambda seen: seen is None)
        finally:
            pcscd.restart()
        card.insert()
        with ExitStack() as done:
            if call == "seen":
                readers.seen()
            elif call == "reset":
                readers.reset(pcscd.reader("Vitale"))
            else:
                done.enter_context(readers.transaction(pcscd.reader("Vitale")))
            watched.until(lambda seen: seen is not None)
        watched.close()


# ---------------------------------------------------------------- readers come and go


def test_a_reader_that_is_unplugged_and_plugged_in_again_is_followed(
    pcscd: Pcscd, desk: Desk, vitale: Callable[..., CardProcess]
) -> None:
    """By restarts with fewer readers: see `Pcscd.restart` for why pcscd does not hot-plug these."""
    card, readers, reader = vitale(), PcscReaders(), pcscd.reader("Vitale")
    try:
        pcscd.restart(["CPS", "Bureau"])
        desk.until(lambda seen: seen is not None and reader not in {one.reader for one in seen})
        assert Code.READER_ABSENT == refusal(lambda: readers.reset(reader)).code
        assert Code.VITALE_ABSENT == refusal(read).code

        pcscd.restart([])
        desk.until(lambda seen: seen == [])
        assert [] == readers.seen()
        assert Code.READER_ABSENT == refusal(read).code
    finally:
        pcscd.restart()

    desk.until(lambda seen: seen is not None and reader in {one.reader for one in seen})
    card.insert()
    desk.until_card(reader, CardKind.VITALE_2)
    assert reader == read(readers).reader


def test_the_two_slots_of_a_reader_are_two_readers_and_the_other_slots_cps_is_left_alone(pcscd: Pcscd) -> None:
    """R4, R5: a Vitale in either slot is read; the CPS is powered, asked its ATR, and no more."""
    for slot in (0, 1):
        with (
            inserted(pcscd, "Bureau", "--atr", CPS3, "--foreign", slot=1 - slot) as cps,
            inserted(pcscd, "Bureau", slot=slot),
        ):
            assert pcscd.reader("Bureau", slot) == read().reader
            assert 0 == cps.counts()["apdus"]


# ---------------------------------------------------------------- fast hands


@contextmanager
def two_twins(pcscd: Pcscd) -> Iterator[tuple[CardProcess, CardProcess]]:
    """Two cards of one ATR, of two persons; outside."""
    claude = ("--holders", "EXEMPLE,CLAUDE,19700101", "--nirs", "170017500100152")
    port = pcscd.port_of("Vitale")
    with CardProcess("tests.cards.vitale", port) as one, CardProcess("tests.cards.vitale", port, *claude) as other:
        yield one, other
    until(lambda: not any(one.card for one in PcscReaders().seen()), "every reader is empty")


@pytest.mark.parametrize("reads_at_once", [False, True])
def test_a_card_that_takes_the_place_of_its_twin_within_50_ms_is_never_taken_for_it(
    pcscd: Pcscd, reads_at_once: bool
) -> None:
    """pcscd polls every 400 ms and says "absent" at the first poll after a pull, however short (seen).

    Unless a command comes before that poll: then vpcd takes the new card in silence, and no count of the service
    tells (seen). But the command failed: our watcher says that the card left.
    """
    reader, readers = pcscd.reader("Vitale"), PcscReaders()
    watched = Desk(readers)
    with two_twins(pcscd) as (durand, claude):
        durand.insert()
        watched.until_card(reader, CardKind.VITALE_2)
        durand.remove()
        claude.tell("insert")
        early = _given_name_or_code(readers) if reads_at_once else Code.CARD_REMOVED
        claude.heard()
        watched.until_card(reader, None)
        watched.until_card(reader, CardKind.VITALE_2)

        assert early in (Code.CARD_REMOVED, Code.VITALE_ABSENT, "CLAUDE")
        assert "CLAUDE" == _given_name_or_code(readers)
    watched.close()


def test_a_card_put_in_pulled_and_put_in_within_50_ms_is_read_in_the_end(pcscd: Pcscd, desk: Desk) -> None:
    """Whether pcscd sees the first insertion is its poll's luck; what is there at the end is seen."""
    with two_twins(pcscd) as (durand, _):
        durand.ask("counts")  # its process runs: from here on it goes fast
        Insertion(Passing(), pcscd.port_of("Vitale"), no_counts()).remove()
        durand.insert()
        desk.until_card(pcscd.reader("Vitale"), CardKind.VITALE_2)

        assert "HÉLÈNE" == _given_name_or_code(PcscReaders())


def test_two_cards_that_change_places_within_50_ms_are_both_seen_to_move(pcscd: Pcscd, desk: Desk) -> None:
    vitale, bureau = pcscd.reader("Vitale"), pcscd.reader("Bureau")
    with two_twins(pcscd) as (durand, claude):
        durand.insert()
        assert claude.ask("insert", into=pcscd.port_of("Bureau"))
        desk.until(lambda seen: kind_in(seen, vitale) is kind_in(seen, bureau) is CardKind.VITALE_2)
        durand.tell("remove")
        claude.tell("remove")
        durand.tell("insert", into=pcscd.port_of("Bureau"))
        claude.tell("insert", into=pcscd.port_of("Vitale"))
        left = set[str]()

        def both_left_and_are_back(seen: Any) -> bool:
            left.update(reader for reader in (vitale, bureau) if seen is not None and kind_in(seen, reader) is None)
            back = kind_in(seen, vitale) is kind_in(seen, bureau) is CardKind.VITALE_2
            return back and left == {vitale, bureau}

        desk.until(both_left_and_are_back)
        assert [None, True, None, True] == [card.heard() for card in (durand, durand, claude, claude)]
        assert (vitale, "CLAUDE") == (read().reader, read().content.holders[0].given_names)


def _given_name_or_code(readers: PcscReaders) -> str | None:
    try:
        return read(readers).content.holders[0].given_names
    except AgentError as error:
        return error.code


# ---------------------------------------------------------------- nothing is left behind


def test_a_card_that_never_answers_costs_its_own_call_and_the_lane_goes_on(pcscd: Pcscd, desk: Desk) -> None:
    """Nothing breaks SCardTransmit: the lane leaves its thread to it. The reader itself stays lost until it answers.

    Who asks for that card again hears that it is mute: no other program has it.
    """
    reader = pcscd.reader("Vitale")

    async def story() -> tuple[Code, list[Code], CardKind | None, int]:
        lane, readers = Lane("pcsc", leaves_behind=True), impatient()
        with pytest.raises(AgentError) as hung:
            await lane.run(lambda: read(readers), timeout_s=SOON_S)
        seen = await lane.run(readers.seen, timeout_s=NEVER_S)
        again = [await lane.run(lambda: refusal(lambda: read(readers)).code, timeout_s=NEVER_S) for _ in range(2)]
        with inserted(pcscd, "Bureau"):
            well = await lane.run(lambda: _holders_in(readers, pcscd.reader("Bureau")), timeout_s=NEVER_S)
        lane.close()
        return hung.value.code, again, kind_in(seen, reader), well

    with mute_card(pcscd.port_of("Vitale")) as card:
        desk.until_card(reader, CardKind.VITALE_2)
        assert (Code.DEVICE_TIMEOUT, [Code.CARD_MUTE] * 2, CardKind.VITALE_2, 2) == asyncio.run(story())
        assert card.asked.is_set()
    until(lambda: not entering(), "nobody waits for that reader any more")
    until(lambda: kind_in(PcscReaders().seen(), reader) is None, "the card is out")


def test_two_hundred_transactions_leave_no_file_no_thread_and_no_context_behind(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], other: OtherProgram
) -> None:
    vitale()
    readers, hasty = PcscReaders(), PcscReaders(patience_s=0.01)
    place, locked = pcscd.reader("Vitale"), pcscd.reader("Bureau")
    with inserted(pcscd, "Bureau"):
        assert other.lock(locked, NEVER_S)

        def round_of_four() -> set[Code]:
            with readers.transaction(place) as card:
                card.transmit(SELECT_MF)
            nothing = (pcscd.reader("CPS"), "Lecteur débranché 00 00")
            codes = {refusal(lambda reader=reader: readers.reset(reader)).code for reader in nothing}
            return codes | {refusal(lambda: hasty.reset(locked)).code}

        def held() -> tuple[int, int, int, int]:
            """Our files and threads; pcscd's too: each context of a client is a socket and a thread in it."""
            mine, its = Path("/proc/self"), Path(f"/proc/{pcscd.pid}")
            return tuple(len(list((side / what).iterdir())) for side in (mine, its) for what in ("fd", "task"))

        round_of_four()
        until(lambda: not entering(), "the first round is over")
        before = held()
        codes = [round_of_four() for _ in range(50)]

        assert [{Code.CARD_IN_USE, Code.CARD_ABSENT, Code.READER_ABSENT}] * 50 == codes
        until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), f"no more than {before}")
        other.let_go()
