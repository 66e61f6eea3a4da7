"""The card reader on real parts: pcscd, the vpcd driver, and virtual cards in processes of their own."""

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from smartcard import scard

from agent.errors import Code
from agent.model import CardKind
from agent.readers.desk import reread
from agent.readers.pcsc import BACK_OFF_S, PcscCard, PcscReaders, _PcscWatch, begin_transaction
from tests.cards.process import CardProcess
from tests.cards.vitale import CPS3
from tests.parts.desktop import until
from tests.parts.pcscd import Pcscd
from tests.readers.watched import SELECT_MF, Desk, Seen, another_program, kind_in, read, refusal, send

READ = bytes.fromhex("00B0820000")


@pytest.mark.parametrize("manners", [(), ("--case4",), ("--exact",), ("--case4", "--exact", "--padding", "71")])
def test_two_holders_are_read_whatever_the_cards_t0_manners(
    pcscd: Pcscd, vitale: Callable[..., CardProcess], manners: tuple[str, ...]
) -> None:
    """61xx, 6Cxx and padding are all met on T=0 cards."""
    vitale(*manners)

    reading = read()

    assert pcscd.reader("Vitale") == reading.reader
    assert bytes.fromhex("3B751300004409EA9000") == reading.atr
    assert [("DURAND", "HÉLÈNE", "1984-12-31"), ("DURAND", "LÉO", "2015-02-01")] == [
        (one.name, one.given_names, one.birth_date) for one in reading.content.holders
    ]
    assert {"2841276451089"} == {one.nir for one in reading.content.holders}


def test_a_card_of_many_holders_is_read_to_its_end(vitale: Callable[..., CardProcess]) -> None:
    vitale("--holders", ";".join(f"EXEMPLE,ENFANT {index},2015020{index}" for index in range(9)))

    assert [f"ENFANT {index}" for index in range(9)] == [one.given_names for one in read().content.holders]


def test_every_reader_is_seen_with_its_card(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    vitale()

    seen = PcscReaders().seen()

    assert CardKind.VITALE_2 == kind_in(seen, pcscd.reader("Vitale"))
    assert kind_in(seen, pcscd.reader("CPS")) is None


def test_no_card_in_any_reader_is_said(pcscd: Pcscd) -> None:
    error = refusal(read)

    assert Code.VITALE_ABSENT == error.code
    assert {pcscd.reader("Vitale"), pcscd.reader("CPS")} <= set(error.facts["readers"])


def test_an_empty_reader_and_a_missing_one_are_told_apart(pcscd: Pcscd) -> None:
    def open_reader(name: str) -> None:
        with PcscReaders().transaction(name):
            pass

    assert Code.CARD_ABSENT == refusal(lambda: open_reader(pcscd.reader("CPS"))).code
    assert Code.READER_ABSENT == refusal(lambda: open_reader("Lecteur débranché 00 00")).code


def test_a_cps_in_the_vitales_place_is_said_and_not_touched(vitale: Callable[..., CardProcess]) -> None:
    card = vitale("--atr", CPS3, "--foreign", kind=CardKind.CPX)

    error = refusal(read)

    assert (Code.VITALE_ABSENT, "cpx") == (error.code, error.facts["seen"])
    assert 0 == card.counts()["apdus"]


def test_a_card_with_the_looks_of_a_vitale_and_none_of_its_answers_is_unknown(
    vitale: Callable[..., CardProcess],
) -> None:
    vitale("--foreign")

    assert Code.CARD_UNKNOWN == refusal(read).code


def test_a_protected_card_is_said(vitale: Callable[..., CardProcess]) -> None:
    vitale("--protected")

    assert Code.VITALE_PROTECTED == refusal(read).code


def test_a_card_whose_atr_is_garbled_is_mute(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    vitale("--atr", "00", kind=CardKind.UNKNOWN)

    def connect() -> None:
        with PcscReaders().transaction(pcscd.reader("Vitale")):
            pass

    assert Code.CARD_MUTE == refusal(connect).code


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_card_pulled_at_any_command_was_removed(vitale: Callable[..., CardProcess], at: int) -> None:
    """The driver answers "success" without data, or an error, before it notices (seen with vpcd)."""
    vitale("--pull-at", str(at))

    assert Code.CARD_REMOVED == refusal(read).code


def test_a_card_held_exclusively_by_another_program_is_in_use(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    card = vitale()
    with another_program(pcscd.reader("Vitale"), share=scard.SCARD_SHARE_EXCLUSIVE):
        error = refusal(lambda: read(PcscReaders(patience_s=0.3)))

    assert (Code.CARD_IN_USE, 0) == (error.code, card.counts()["apdus"])
    assert read().content.holders


def test_the_card_is_left_powered_with_the_file_that_was_selected(
    pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    """SCARD_LEAVE_CARD: another program's session on the card survives our reading."""
    card = vitale()
    with another_program(pcscd.reader("Vitale")) as other:
        before = card.counts()
        with PcscReaders().transaction(pcscd.reader("Vitale")) as ours:
            assert (b"", 0x9000) == ours.transmit(SELECT_MF)

        assert send(other, READ).startswith("651A8006")
        after = card.counts()

    assert {**before, "apdus": before["apdus"] + 2} == after


def test_nobody_comes_between_two_commands_of_a_reading(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    vitale()
    order: list[str] = []
    with another_program(pcscd.reader("Vitale")) as other:

        def select() -> None:
            send(other, SELECT_MF)
            order.append("other")

        thread = threading.Thread(target=select)
        with PcscReaders().transaction(pcscd.reader("Vitale")) as ours:
            thread.start()
            for _ in range(50):
                ours.transmit(SELECT_MF)
            order.append("ours")
        thread.join(20)

    assert ["ours", "other"] == order


def test_a_card_that_another_program_reset_before_our_turn_is_connected_again(
    pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    card = vitale()
    with another_program(pcscd.reader("Vitale")) as ours, another_program(pcscd.reader("Vitale")) as other:
        scard.SCardBeginTransaction(other)
        scard.SCardEndTransaction(other, scard.SCARD_RESET_CARD)

        protocol = begin_transaction(ours, scard.SCARD_PROTOCOL_T0)

        assert scard.SCARD_PROTOCOL_T0 == protocol
        assert "9000" == send(ours, SELECT_MF)
        assert 1 == card.counts()["reset"]


def test_a_card_that_another_program_resets_in_the_middle_is_in_use(
    pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    """Windows does it to a transaction that rests for 5 s; here we hold none."""
    vitale()
    with another_program(pcscd.reader("Vitale")) as ours, another_program(pcscd.reader("Vitale")) as other:
        card = PcscCard(ours, scard.SCARD_PROTOCOL_T0, b"")
        card.transmit(SELECT_MF)
        scard.SCardReconnect(other, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T0, scard.SCARD_RESET_CARD)

        error = refusal(lambda: card.transmit(READ))

    assert Code.CARD_IN_USE == error.code


def test_the_same_card_is_found_again_and_another_in_its_place_is_noticed(
    desk: Desk, pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    """Same reader, same ATR, another person (CNDA test 1.03)."""
    card = vitale()
    reading = read()
    reread(PcscReaders(), reading)

    card.remove()
    desk.until_card(pcscd.reader("Vitale"), None)
    assert Code.VITALE_CHANGED == refusal(lambda: reread(PcscReaders(), reading)).code

    card.ask("load", holders="EXEMPLE,CLAUDE,19700101", numbers="184122A00408957")
    card.insert()
    desk.until_card(pcscd.reader("Vitale"), CardKind.VITALE_2)
    assert Code.VITALE_CHANGED == refusal(lambda: reread(PcscReaders(), reading)).code


def test_the_watcher_sees_a_card_come_and_go(desk: Desk, pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    card = vitale()

    card.remove()

    assert [None] == [
        kind_in(seen or [], pcscd.reader("Vitale")) for seen in desk.until_card(pcscd.reader("Vitale"), None)
    ]


def test_the_watcher_says_nothing_of_other_programs_that_use_the_card(
    desk: Desk, pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    card = vitale()
    for _ in range(5):
        read()

    card.remove()

    assert 1 == len(desk.until_card(pcscd.reader("Vitale"), None))


def test_the_watcher_survives_the_kill_and_the_return_of_the_service(
    desk: Desk, pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    """pcscd killed: a blocked wait ends with SCARD_F_COMM_ERROR and its context stays dead."""
    card = vitale()
    try:
        pcscd.kill()

        assert [None] == desk.until(lambda seen: seen is None)
        assert Code.PCSC_UNAVAILABLE == refusal(PcscReaders().seen).code
        assert Code.PCSC_UNAVAILABLE == refusal(read).code
    finally:
        pcscd.restart()

    told = desk.until(lambda seen: seen is not None)
    assert 1 == len(told)  # down was said once
    card.insert()
    desk.until_card(pcscd.reader("Vitale"), CardKind.VITALE_2)
    assert 2 == len(read().content.holders)


def test_a_service_that_is_down_from_the_start_is_said(pcscd: Pcscd) -> None:
    pcscd.kill()
    try:
        desk = Desk()
        assert [None] == desk.until(lambda seen: seen is None)
        desk.close()
    finally:
        pcscd.restart()


def test_without_the_service_the_pause_grows_to_its_longest_and_is_forgotten_when_it_is_back(pcscd: Pcscd) -> None:
    assert (1.0, 30.0) == BACK_OFF_S
    readers, (shortest, longest) = PcscReaders(back_off_s=(0.01, 0.05)), (0.01, 0.05)
    pcscd.kill()
    try:
        watch = readers.watch(lambda _seen: None)
        assert isinstance(watch, _PcscWatch)
        pauses = set[float]()

        def grown() -> bool:
            pauses.add(watch._pause_s)
            return watch._pause_s == longest  # no double of the shortest: the growth was cut

        until(grown, "the longest pause")
    finally:
        pcscd.restart()

    until(lambda: watch._pause_s == 0.0, "the service is back")
    assert pauses <= {0.0, shortest, 2 * shortest, 4 * shortest, longest}
    watch.close()


def test_a_closed_watcher_ends_its_thread_at_once(pcscd: Pcscd) -> None:
    desk = Desk()
    desk.until(lambda seen: seen is not None)

    desk.close()
    desk.close()

    assert "watch-pcsc" not in {thread.name for thread in threading.enumerate()}


def test_a_card_that_left_and_came_back_between_two_looks_is_said_to_have_left(
    pcscd: Pcscd, vitale: Callable[..., CardProcess]
) -> None:
    """Same ATR, perhaps another person's card: the state's count of comings and goings tells."""
    card, reader = vitale(), pcscd.reader("Vitale")
    told: queue.SimpleQueue[CardKind | None] = queue.SimpleQueue()
    looking, came_back = threading.Event(), threading.Event()

    def slow(seen: Seen) -> None:
        told.put(kind_in(seen or [], reader))
        looking.set()
        came_back.wait(20)

    watch = PcscReaders().watch(slow)
    looking.wait(20)
    card.remove()
    card.insert()
    came_back.set()

    assert [CardKind.VITALE_2, None, CardKind.VITALE_2] == [told.get(timeout=20) for _ in range(3)]
    watch.close()


def test_an_idle_watcher_never_wakes(desk: Desk, pcscd: Pcscd) -> None:
    """The kernel's own count of how often the thread went to sleep."""
    desk.until(lambda seen: seen is not None)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "watch-pcsc")
    status = Path(f"/proc/self/task/{thread.native_id}/status")

    def naps() -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith("voluntary")).split()[1])

    while "S (sleeping)" not in status.read_text():
        time.sleep(0.01)
    time.sleep(0.2)  # into its wait
    before = naps()
    time.sleep(1)

    assert before == naps()


def test_a_code_of_no_row_keeps_its_number(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    vitale()
    with PcscReaders().transaction(pcscd.reader("Vitale")) as card:
        error = refusal(lambda: card.transmit(bytes(70_000)))

    assert (Code.CARD_MUTE, "0x80100008") == (error.code, error.facts["scard"])
    assert "unknown 0x80100008" in error.detail


def test_a_card_taken_out_between_two_commands_was_removed(pcscd: Pcscd, vitale: Callable[..., CardProcess]) -> None:
    """The driver says "not transacted" until the service notices that the card left (seen with vpcd)."""
    inserted = vitale()
    with PcscReaders().transaction(pcscd.reader("Vitale")) as card:
        card.transmit(SELECT_MF)
        inserted.remove()

        assert Code.CARD_REMOVED == refusal(lambda: card.transmit(READ)).code
