"""What the agent remembers between two calls: readings, references, searches, counts. All by origin."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import AgentError, Code
from agent.insi.rules import judge
from agent.model import CardKind, CardSeen, ReaderSeen, Traits, VitaleCard
from agent.readers.desk import DeskReading, read_first_vitale
from agent.readers.transcript import SimulatedReaders
from agent.readers.vitale import VitaleContent
from agent.workflows import readings, references, searches
from agent.workflows.counts import RECENT, Counts
from agent.workflows.readings import Kept, Readings
from agent.workflows.references import References
from agent.workflows.searches import Search, Searches
from agent.workflows.vitale import rank_of
from agent.workflows.watching import changes
from tests.workflows.making import CPS, OTHER, SITE, VITALE, Bench

NOW = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
READING = DeskReading("Lecteur", b"\x3b", VitaleContent(VitaleCard(kind=CardKind.VITALE_2), (), "empreinte"))
TRAITS = Traits(birth_name="ADRTROIS", given_names=["TOUSSAINT"], sex="M", birth_date="1960-01-01")


def kept(owner: str = SITE) -> Kept:
    return Kept(owner, READING, NOW + timedelta(minutes=20))


@pytest.mark.parametrize(
    ("minutes", "code"),
    [(19.9, None), (20, Code.VITALE_STALE), (80, Code.VITALE_STALE), (81, Code.VITALE_READING_UNKNOWN)],
)
def test_a_reading_serves_twenty_minutes_and_is_said_to_be_stale_for_an_hour(minutes: float, code: Code | None) -> None:
    """CNDA 1.02."""
    known = Readings()
    known.keep("r1", kept())

    if code is None:
        assert known.find("r1", SITE, NOW + timedelta(minutes=minutes)).reading is READING
        return
    with pytest.raises(AgentError) as refused:
        known.find("r1", SITE, NOW + timedelta(minutes=minutes))
    assert refused.value.code is code


def test_another_origins_reading_is_as_unknown_as_none_also_when_stale() -> None:
    known = Readings()
    known.keep("r1", kept())

    for read_id, moment in (("r1", NOW), ("r1", NOW + timedelta(minutes=30)), ("r2", NOW)):
        with pytest.raises(AgentError) as refused:
            known.find(read_id, OTHER, moment)
        assert (refused.value.code, refused.value.facts) == (Code.VITALE_READING_UNKNOWN, {})


def test_the_oldest_reading_leaves_first() -> None:
    known = Readings()
    for number in range(readings.KEPT + 1):
        known.keep(f"r{number}", kept())

    assert known.find("r1", SITE, NOW)
    with pytest.raises(AgentError):
        known.find("r0", SITE, NOW)


def test_a_reference_is_running_then_replayed_then_used(bench: Bench) -> None:
    result = bench.do(bench.by_traits())
    uses = References()

    assert uses.begin(SITE, "v1", "same", NOW) is None
    with pytest.raises(AgentError) as running:
        uses.begin(SITE, "v1", "same", NOW + timedelta(seconds=3))
    uses.end(SITE, "v1", result, NOW + timedelta(minutes=1))
    replayed = uses.begin(SITE, "v1", "same", NOW + timedelta(minutes=11))
    with pytest.raises(AgentError) as too_late:
        uses.begin(SITE, "v1", "same", NOW + timedelta(minutes=11, seconds=1))
    with pytest.raises(AgentError) as other_params:
        uses.begin(SITE, "v1", "other", NOW + timedelta(minutes=2))

    assert (running.value.code, running.value.facts) == (
        Code.DEVICE_BUSY,
        {"origin": "own", "since": "2025-03-04T05:06:07.000Z"},
    )
    assert replayed is result
    assert too_late.value.code is other_params.value.code is Code.CLIENT_REF_REUSED
    assert uses.begin(OTHER, "v1", "same", NOW) is None


def test_a_reference_whose_call_failed_is_free_again() -> None:
    uses = References()
    uses.begin(SITE, "v1", "first", NOW)
    uses.end(SITE, "v1", None, NOW)

    assert uses.begin(SITE, "v1", "other", NOW) is None


def test_the_oldest_reference_is_forgotten_and_its_end_harms_nobody() -> None:
    uses = References()
    for number in range(references.KEPT + 1):
        uses.begin(SITE, f"v{number}", "d", NOW)
    uses.end(SITE, "v0", None, NOW)

    assert uses.begin(SITE, "v0", "other", NOW) is None
    with pytest.raises(AgentError):
        uses.begin(SITE, "v2", "d", NOW)


@pytest.mark.parametrize(
    ("origin", "traits", "minutes", "found"),
    [
        (SITE, TRAITS.model_copy(update={"birth_place_code": "63220"}), 29.9, True),
        (SITE, TRAITS, 30, False),
        (OTHER, TRAITS, 1, False),
        (SITE, TRAITS.model_copy(update={"birth_name": "ADRDEUX"}), 1, False),
    ],
)
def test_a_search_goes_on_for_its_origin_and_traits_for_half_an_hour(
    origin: str, traits: Traits, minutes: float, found: bool
) -> None:
    """S102: only the birth place may be added."""
    known = Searches()
    known.keep("t1", Search(SITE, TRAITS, ("birthName",), "02", NOW))
    codes = []
    try:
        known.find("t1", origin, traits, NOW + timedelta(minutes=minutes))
    except AgentError as error:
        codes.append(error.code)

    assert codes == ([] if found else [Code.CONTINUES_REFUSED])


def test_the_oldest_search_leaves_first() -> None:
    known = Searches()
    for number in range(searches.KEPT + 1):
        known.keep(f"t{number}", Search(SITE, TRAITS, ("birthName",), "02", NOW))

    assert known.find("t1", SITE, TRAITS, NOW)
    with pytest.raises(AgentError):
        known.find("t0", SITE, TRAITS, NOW)


def test_counts_are_by_operation_and_code_with_the_last_reachability() -> None:
    counts = Counts()
    counts.attempt("WS_INS1", "00", 100, NOW, answered=True, failed=None)
    counts.attempt("WS_INS2", "01", 90, NOW, answered=True, failed=None)
    counts.attempt("WS_INS2", "insi.timeout", 60, NOW + timedelta(seconds=1), answered=False, failed="insi.timeout")

    searched = counts.operations["WS_INS2"]
    assert (searched.calls, searched.faults) == (2, 1)
    assert (searched.mean_ms, searched.median_ms, searched.last_ms, searched.max_ms) == (75, 60, 60, 90)
    assert searched.by_code == {"01": 1, "insi.timeout": 1}
    assert (counts.last_at, counts.last_reason) == (NOW + timedelta(seconds=1), "insi.timeout")


def test_a_median_is_of_the_latest_attempts_and_takes_no_more_room_than_they() -> None:
    counts = Counts()
    for number in range(10_000):
        counts.attempt("WS_INS1", "00", number, NOW, answered=True, failed=None)

    count = counts.operations["WS_INS1"]
    assert (len(count.recent_ms), count.median_ms, count.max_ms) == (RECENT, 10_000 - RECENT // 2 - 1, 9_999)


A, B = CardSeen(kind=CardKind.CPX, atr="3B01"), CardSeen(kind=CardKind.VITALE_2, atr="3B02")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, {"r": None}, ["reader.added r"]),
        ({}, {"r": A}, ["reader.added r"]),  # with the card in it
        ({"r": None}, {"r": A}, ["card.inserted r"]),
        ({"r": A}, {"r": None}, ["card.removed r"]),
        ({"r": A}, {"r": B}, ["card.removed r", "card.inserted r"]),
        ({"r": A}, {}, ["card.removed r", "reader.removed r"]),
        ({"r": A, "s": None}, None, ["card.removed r", "reader.removed r", "reader.removed s"]),
        ({"r": A}, {"r": A}, []),
        (
            {"r": A, "s": None},
            {"s": B, "t": A},
            ["card.removed r", "reader.removed r", "reader.added t", "card.inserted s"],
        ),
    ],
)
def test_what_changed_between_two_looks_is_told_leavers_first(
    before: dict[str, CardSeen | None] | None, after: dict[str, CardSeen | None] | None, told: list[str]
) -> None:
    def look(places: dict[str, CardSeen | None] | None) -> list[ReaderSeen] | None:
        return None if places is None else [ReaderSeen(reader=name, card=card) for name, card in places.items()]

    assert [f"{method} {seen.reader}" for method, seen in changes(look(before), look(after))] == told


def test_a_rank_is_assumed_unless_it_is_given_or_twins_need_one() -> None:
    """S044: two holders of one birth date differ by their rank alone."""

    def read(card: str) -> Kept:
        reading = read_first_vitale(
            SimulatedReaders({VITALE: card, CPS: None}, SimulatedReaders.default().cards),
            reader=None,
            prefer=[],
            exclude=[],
        )
        return Kept(SITE, reading, NOW)

    twins = read("twins")
    twin = next(holder.index for holder in twins.reading.content.holders if _has_twin(twins, holder.index))
    with pytest.raises(AgentError) as refused:
        rank_of(twins, twin, None)

    assert refused.value.code is Code.VITALE_RANK_NEEDED
    assert twin in refused.value.facts["candidates"]
    assert rank_of(twins, twin, 2) == (2, False)
    assert rank_of(read("adrun-family"), 0, None) == (1, True)


def _has_twin(kept_reading: Kept, index: int) -> bool:
    holders = kept_reading.reading.content.holders
    return [holder.birth_date_raw for holder in holders].count(holders[index].birth_date_raw) > 1


def test_an_assumed_rank_whose_given_name_is_not_in_the_answer_is_not_integrable(bench: Bench) -> None:
    answer = bench.do(bench.by_traits())
    assert answer.identity

    judged = [
        judge(answer.outcome, answer.identity, rank_assumed=True, card_given_names=name).reasons
        for name in ("TOUSSAINT", "AUTRE", None)
    ]

    assert judged == [[], ["rank.assumed"], ["rank.assumed"]]
