"""The soak, small: the same program with few events, and the rules of its own parts."""

from collections import Counter
from pathlib import Path
from random import Random

from tests.soak.cards import Report, soak
from tests.soak.page import Tally
from tests.soak.storm import Event, Kind, storm

SEED, EVENTS = 20_261, 40
PLACES: dict[str, str | None] = {"cps": "one", "durand": "two", "adrdeux": None}
READERS = ("one", "two", "three")


def sequence(seed: int, count: int) -> list[Event]:
    return list(storm(Random(seed), count, PLACES, READERS, signer="cps", hang_s=6))  # noqa: S311  (repeatable)


def test_a_desk_in_a_storm_answers_every_operation_once_and_is_whole_afterwards(tmp_path: Path) -> None:
    report = soak(tmp_path, EVENTS, SEED)

    print("\n".join(report.lines()))
    assert report.failures == []
    assert report.done.total() + report.in_vain.total() == EVENTS
    assert report.tally.receipts > 0


def test_a_seed_repeats_its_events() -> None:
    assert sequence(1, 300) == sequence(1, 300) != sequence(2, 300)


def test_everything_that_may_happen_happens_and_no_reader_ever_holds_two_cards() -> None:
    where, seen = dict(PLACES), Counter[Kind]()
    for event in sequence(3, 2000):
        seen[event.kind] += 1
        where.update(event.moves)
        inside = [reader for reader in where.values() if reader]
        assert len(inside) == len(set(inside))

    assert set(seen) == set(Kind)


def test_one_failure_fails_the_run() -> None:
    report = Report(SEED, Tally(hung_s=1))
    report.require("nothing leaked", True, "8 threads")
    assert list(report.lines())[-1] == "passed"

    report.require("the journal verifies", False, "entry 3 is missing")

    assert list(report.lines())[-1] == "FAILED"
    assert report.failures == ["the journal verifies: entry 3 is missing"]
