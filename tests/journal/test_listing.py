"""A page of traces: an origin's own, here, newest first; it costs the same however much a journal holds."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.journal.listing import EXAMINED
from agent.journal.ports import Conclusion, ListedTrace, TracePage
from agent.journal.sealing import Keys
from agent.journal.store import Journal
from agent.model import Environment

from .making import NEW_KEY, NOW, OLD_KEY, ORIGIN, found, grown, intent, journal, not_found, tampered, whole

HERE, THERE = Environment.SIMULATED, Environment.TEST
OTHER = "https://autre.example"


def ids(page: TracePage) -> list[str]:
    return [one.trace_id for one in page.traces]


def test_an_operation_is_listed_with_what_tells_it_from_the_others(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent("trace-1", client_ref="venue-1")), not_found())
    own.conclude(own.intend(intent("trace-1", attempt=2, client_ref="venue-1")), found())
    own.finish("trace-1", NOW, lambda _seq, _previous: b"{}")

    (listed,) = own.traces(ORIGIN, HERE).traces

    assert ListedTrace(1, "trace-1", "2025-03-04T05:06:07.089Z", "WS_INS2", "cpx", "venue-1", "00", 2, True) == listed
    assert "venue-1" not in repr(listed)
    own.close()


def test_each_filter_holds_and_all_hold_together(tmp_path):
    own = journal(tmp_path)
    later = NOW + timedelta(hours=1)
    own.conclude(own.intend(intent("a", client_ref="venue-1")), found())
    own.conclude(own.intend(intent("b", client_ref="venue-1", at=later)), not_found())
    own.conclude(own.intend(replace(intent("c", at=later), operation="WS_INS3")), found())
    own.intend(replace(intent("d", client_ref="venue-1", at=later), environment=THERE))
    own.intend(intent("e", client_ref="venue-1", at=later, origin=OTHER))
    own.intend(intent("f", at=later + timedelta(hours=1)))

    def listed(environment: Environment = HERE, **filters: object) -> list[str]:
        return ids(own.traces(ORIGIN, environment, **filters))

    assert ["f", "c", "b", "a"] == listed()
    assert ["d"] == listed(THERE)
    assert ["b", "a"] == listed(client_ref="venue-1")
    assert ["c"] == listed(operation="WS_INS3")
    assert ["c", "a"] == listed(code="00")
    assert ["f"] == listed(code="unknown")  # on its way, or cut short
    assert ["f", "c", "b"] == listed(since=later)
    assert ["a"] == listed(until=later)
    assert ["c", "b"] == listed(since=later, until=later + timedelta(milliseconds=1))
    assert ["a"] == listed(client_ref="venue-1", code="00")
    assert ["b"] == listed(client_ref="venue-1", since=later)
    assert [] == listed(client_ref="venue-1", operation="WS_INS3")
    assert [] == listed(client_ref="venue-2")
    own.close()


def test_a_reference_of_before_the_key_was_renewed_is_found_and_shown(tmp_path):
    own = journal(tmp_path)
    own.intend(intent("trace-1", client_ref="venue-1"))
    own.close()
    own = journal(tmp_path, keys=Keys([NEW_KEY, OLD_KEY]))
    own.intend(intent("trace-2", client_ref="venue-1"))

    page = own.traces(ORIGIN, HERE, client_ref="venue-1")

    assert [("trace-2", "venue-1"), ("trace-1", "venue-1")] == [(one.trace_id, one.client_ref) for one in page.traces]
    assert ["trace-2"] == ids(own.traces(ORIGIN, HERE, client_ref="venue-1", limit=1))
    own.close()


def test_an_operation_whose_reference_was_erased_or_cannot_be_read_is_listed_without(tmp_path):
    own = journal(tmp_path)
    for number in (1, 2, 3):
        own.intend(intent(f"trace-{number}", client_ref=f"venue-{number}"))
    own.close()
    tampered(
        tmp_path,
        "UPDATE entry SET personal = NULL, erased_at = '2035-01-01T00:00:00.000Z' WHERE seq = 1",
        "UPDATE entry SET personal = zeroblob(100) WHERE seq = 2",
    )

    own = journal(tmp_path)
    listed = [(one.trace_id, one.client_ref) for one in own.traces(ORIGIN, HERE).traces]
    assert [("trace-3", "venue-3"), ("trace-2", None), ("trace-1", None)] == listed
    own.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    clear=st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"{}", b"[]", b'{"environment":"simulated"}', b"[" * 5_000, b'{"code":{},"environment":1}']),
    ),
    kind=st.sampled_from(["intent", "outcome", "result"]),
)
def test_whatever_a_clear_part_was_made_into_the_others_are_listed_and_it_is_not_told_as_ours(tmp_path, clear, kind):
    folder = tmp_path / uuid4().hex
    with closing(journal(folder)) as own:
        for number in (1, 2):
            whole(own, f"trace-{number}")
    with closing(sqlite3.connect(folder / "journal.sqlite")) as file, file:
        changed = "UPDATE entry SET clear = ? WHERE trace_id = 'trace-1' AND kind = ? AND clear != ?"
        file.execute(changed, (clear, kind, clear))
        damaged = file.execute("SELECT changes()").fetchone()[0]

    with closing(journal(folder)) as own:
        told: object = "refused"
        with suppress(AgentError):
            told = own.trace("trace-1", ORIGIN, HERE)
        assert (told in (None, "refused")) is bool(damaged)  # None: of no environment
        assert "trace-2" in ids(own.traces(ORIGIN, HERE))


def test_a_trace_that_was_made_to_say_another_environment_is_not_told_as_of_that_one(tmp_path):
    """A test's identity must never pass for a real one."""
    own = journal(tmp_path)
    own.intend(replace(intent("trace-1"), environment=THERE))
    own.close()
    tampered(
        tmp_path, "UPDATE entry SET clear = CAST(replace(CAST(clear AS TEXT), '\"test\"', '\"production\"') AS BLOB)"
    )

    own = journal(tmp_path)
    with pytest.raises(AgentError) as refused:
        own.trace("trace-1", ORIGIN, Environment.PRODUCTION)
    assert (Code.JOURNAL_UNAVAILABLE, {"entry": 1}) == (refused.value.code, refused.value.facts)
    own.close()


# ---------------------------------------------------------------- pages


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(
    seconds=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    limit=st.integers(1, 4),
    by_reference=st.booleans(),
)
def test_pages_together_are_the_list_whatever_the_clock_did(tmp_path, seconds, limit, by_reference):
    """Newest first by the moment, then by the place; by reference as they were written."""
    written = []
    with closing(journal(tmp_path / uuid4().hex)) as own:
        for number, second in enumerate(seconds):
            at = NOW + timedelta(seconds=second)
            own.intend(intent(f"trace-{number}", at=at, client_ref="venue-1"))
            written.append((0 if by_reference else second, number))

        listed, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            page = own.traces(ORIGIN, HERE, cursor=cursor, limit=limit, client_ref="venue-1" if by_reference else None)
            listed += ids(page)
            cursor, pages = page.next_cursor, pages + 1

    assert [f"trace-{number}" for _, number in sorted(written, reverse=True)] == listed
    assert -(-len(seconds) // limit) == pages  # and none of them empty


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_a_moment_at_either_end_of_the_calendar_is_before_or_after_everything(tmp_path, year, hours):
    early = year == 1
    day = (year, 1, 1, 0, 0) if early else (year, 12, 31, 23, 59)
    at = datetime(*day, tzinfo=timezone(timedelta(hours=hours)))
    own = journal(tmp_path)
    own.intend(intent("trace-1", client_ref="venue-1"))

    assert ([] if not early else ["trace-1"]) == ids(own.traces(ORIGIN, HERE, since=at))
    assert ([] if early else ["trace-1"]) == ids(own.traces(ORIGIN, HERE, until=at))
    assert (own.by_client_ref(ORIGIN, "venue-1", at, HERE) is not None) is early
    own.close()


def test_a_moment_counts_wherever_its_clock_was(tmp_path):
    own = journal(tmp_path)
    own.intend(intent("trace-1"))
    paris = NOW.astimezone(timezone(timedelta(hours=1)))

    assert ["trace-1"] == ids(own.traces(ORIGIN, HERE, since=paris))
    assert [] == ids(own.traces(ORIGIN, HERE, since=paris + timedelta(milliseconds=1)))
    assert [] == ids(own.traces(ORIGIN, HERE, until=paris))
    own.close()


def test_a_filter_that_fits_little_examines_so_many_and_says_where_to_go_on(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent("the-one", at=NOW - timedelta(days=1))), Conclusion(NOW, "insi.timeout", "", 5))
    own.close()
    own = grown(tmp_path, EXAMINED)

    first = own.traces(ORIGIN, HERE, code="insi.timeout")
    second = own.traces(ORIGIN, HERE, code="insi.timeout", cursor=first.next_cursor)

    assert [] == first.traces
    assert (["the-one"], None) == (ids(second), second.next_cursor)
    own.close()


# ---------------------------------------------------------------- what it costs


END_OF_A_PAGE = 3  # steps more or less, as an entry stands at the end of a page of SQLite's tree or within one


class Watched:
    """What SQLite does for a journal: its statements as they are run, and how many steps of its machine they take."""

    def __init__(self, own: Journal) -> None:
        self._database = own._connection()
        self.statements: list[str] = []
        self.steps = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        def step() -> int:
            self.steps += 1
            return 0

        self.statements.clear()
        self.steps = 0
        self._database.set_trace_callback(self.statements.append)
        self._database.set_progress_handler(step, 1)
        try:
            yield
        finally:
            self._database.set_progress_handler(None, 0)
            self._database.set_trace_callback(None)

    def steps_of(self, call: Callable[[], object]) -> int:
        with self():
            call()
        return self.steps

    def plans(self) -> list[str]:
        """How each query is answered, in SQLite's words."""
        asked = [one for one in self.statements if one.lstrip().startswith(("SELECT", "DELETE FROM pending"))]
        return [f"{row[3]} <- {one}" for one in asked for row in self._database.execute(f"EXPLAIN QUERY PLAN {one}")]


def an_operation(own: Journal, trace_id: str, origin: str = ORIGIN, client_ref: str | None = None) -> None:
    own.conclude(own.intend(intent(trace_id, origin=origin, client_ref=client_ref)), not_found())
    own.finish(trace_id, NOW, lambda _seq, _previous: b"{}")


def test_no_query_of_a_call_scans_the_journal_or_sorts(tmp_path):
    own = grown(tmp_path, 20)
    an_operation(own, "trace-1", client_ref="venue-1")
    cut = own.intend(intent("trace-2"))
    watched = Watched(own)
    page = own.traces(ORIGIN, HERE, limit=3)
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: an_operation(own, "trace-3", client_ref="venue-1"),
        "trace.list": lambda: own.traces(ORIGIN, HERE),
        "its filters": lambda: own.traces(ORIGIN, HERE, operation="WS_INS2", code="01", since=NOW, until=NOW),
        "its next page": lambda: own.traces(ORIGIN, HERE, cursor=page.next_cursor, limit=3),
        "its references": lambda: own.traces(ORIGIN, HERE, client_ref="venue-1", since=NOW),
        "trace.get": lambda: (own.trace("trace-1", ORIGIN, HERE), own.image("trace-1", ORIGIN)),
        "by_client_ref": lambda: own.by_client_ref(ORIGIN, "venue-1", NOW, HERE),
        "unfinished": own.unfinished,
        "entered": own.entered,
    }

    for name, call in calls.items():
        with watched():
            call()
        plans = watched.plans()
        assert plans, f"{name} asks nothing"
        for plan in plans:
            assert not any(bad in plan for bad in ("SCAN entry", "TEMP B-TREE")), f"{name}: {plan}"
    assert [cut.seq] == [one.intended.seq for one in own.unfinished()]
    own.close()


def test_an_entry_and_a_page_cost_the_same_with_ten_and_with_twenty_thousand_entries(tmp_path):
    costs = []
    for operations in (4, 6_700):  # of three entries each
        own = grown(tmp_path / str(operations), operations)
        an_operation(own, "before")  # takes the room for the largest reply, as the first call of each run
        watched = Watched(own)
        costs.append(
            {
                "append": watched.steps_of(lambda own=own: an_operation(own, "trace-1", client_ref="venue-1")),
                "list": watched.steps_of(lambda own=own: own.traces(ORIGIN, HERE, limit=3)),
                "list by code": watched.steps_of(lambda own=own: own.traces(ORIGIN, HERE, code="01", limit=3)),
                "reference": watched.steps_of(lambda own=own: own.traces(ORIGIN, HERE, client_ref="venue-1")),
                "get": watched.steps_of(lambda own=own: own.trace("trace-1", ORIGIN, HERE)),
                "before": watched.steps_of(lambda own=own: own.by_client_ref(ORIGIN, "venue-1", NOW, HERE)),
            }
        )
        own.close()

    small, large = costs
    assert small == pytest.approx(large, abs=END_OF_A_PAGE)


def test_what_another_origin_has_is_neither_seen_nor_felt(tmp_path):
    """Steps of SQLite's machine, not time."""
    felt = []
    for others in (1, 500):
        own = grown(tmp_path / str(others), others, origin=OTHER)
        an_operation(own, "mine", client_ref="venue-1")
        watched = Watched(own)
        calls = (
            lambda own=own: own.traces(ORIGIN, HERE),
            lambda own=own: own.traces(ORIGIN, HERE, code="00"),
            lambda own=own: own.traces(ORIGIN, HERE, client_ref="venue-2"),
            lambda own=own: own.trace(f"{OTHER}-0", ORIGIN, HERE),
            lambda own=own: own.trace("of-nobody", ORIGIN, HERE),
        )
        felt.append([watched.steps_of(call) for call in calls])
        assert ["mine"] == ids(own.traces(ORIGIN, HERE))
        own.close()

    assert felt[0] == pytest.approx(felt[1], abs=END_OF_A_PAGE)


# ---------------------------------------------------------------- exact frames


def test_a_frame_that_is_kept_as_it_travelled_is_marked_and_any_reply_with_it(tmp_path):
    own = journal(tmp_path)
    asked = replace(intent("trace-1", request=b"<as-it-was-sent/>"), exact=True)
    own.conclude(own.intend(asked), replace(not_found(), exact=True))
    own.conclude(own.intend(intent("trace-2")), not_found())

    exact, other = (own.trace(trace_id, ORIGIN, HERE).attempts[0] for trace_id in ("trace-1", "trace-2"))

    assert (True, True) == (exact.clear["exact"], exact.outcome["exact"])
    assert "exact" not in other.clear and "exact" not in other.outcome
    assert exact.outcome["responseSha256"] == other.outcome["responseSha256"]
    assert own.image("trace-1", ORIGIN) is None  # the image is of a 00
    assert own.verify().fault is None
    own.close()


# ---------------------------------------------------------------- room


def full_from_here(own: Journal) -> sqlite3.Connection:
    """No new page any more, as on a disk without a block."""
    database = own._connection()
    database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
    return database


@pytest.mark.parametrize("asked_bytes", [10, 700_000])
def test_whatever_an_intent_takes_its_largest_reply_and_a_result_as_large_have_their_room(tmp_path, asked_bytes):
    own = journal(tmp_path, max_reply_bytes=1 << 18)
    for number in range(3):  # from the first one on, and from a file that has been used
        intended = own.intend(intent(f"trace-{number}", request=b"x" * asked_bytes))
        database = full_from_here(own)
        largest = bytes([number]) * (1 << 18)
        own.conclude(intended, replace(found(largest), exact=True))
        own.finish(f"trace-{number}", NOW, lambda _seq, _previous, large=largest: large)
        assert largest == own.image(f"trace-{number}", ORIGIN)
        database.execute("PRAGMA max_page_count = 1000000")
    own.close()


def test_a_result_for_which_there_is_no_room_is_not_handed_over_and_the_reply_stays(tmp_path):
    own = journal(tmp_path)
    own.conclude(own.intend(intent("trace-1")), found())
    full_from_here(own)

    with pytest.raises(AgentError) as refused:
        own.finish("trace-1", NOW, lambda _seq, _previous: b"x" * (8 << 20))

    assert Code.JOURNAL_FULL == refused.value.code
    assert own.image("trace-1", ORIGIN)
    assert own.traces(ORIGIN, HERE).traces[0].answered is False
    assert own.verify().fault is None
    own.close()
