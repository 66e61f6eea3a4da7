"""No intent row, no send; no outcome row, no result; after the first byte every error says where its trace is."""

import asyncio
import json
import logging
import sqlite3
import threading
from typing import Any

import pytest
from lxml import etree

from agent.errors import AgentError, Code
from agent.insi.fake_style import Style
from agent.insi.ports import HttpReply, Sender
from agent.journal.chain import Entry
from agent.journal.parts import personal_of
from agent.journal.ports import Conclusion, Intent, Link, TracePage
from agent.journal.store import Journal
from agent.model import AuthMode, Environment
from agent.protocol.messages import TraceListParams, TraceListResult
from agent.workflows import trace
from tests.journal.making import KEY, KEYS, found, intent
from tests.workflows.making import LEONARDO, OTHER, SITE, TOUSSAINT, Bench

NOBODY = {"birthName": "HOUILLES", "givenNames": ["PIERRE", "PAUL"], "sex": "M", "birthDate": "1993-01-27"}


def test_a_call_that_fails_after_it_was_sent_says_where_its_trace_is(bench: Bench) -> None:
    bench.insi.fails = [AgentError(Code.INSI_TIMEOUT)]

    refused = bench.refused(bench.by_traits())

    assert refused.code is Code.INSI_TIMEOUT
    assert [attempt.code for attempt in refused.facts["attempts"]] == ["insi.timeout"]
    assert bench.attempts_of(refused.facts["traceId"]) == ["insi.timeout"]


def test_a_failure_nobody_foresaw_leaves_its_outcome_and_an_incident_and_nothing_from_inside(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.insi.fails = [RuntimeError("un secret du dedans")]
    with caplog.at_level(logging.ERROR):
        refused = bench.refused(bench.by_traits())

    assert refused.code is Code.INTERNAL
    assert "secret" not in f"{refused} {refused.facts}"
    assert f"incident {refused.facts['incident']}" in caplog.text
    assert bench.attempts_of(refused.facts["traceId"]) == ["internal"]
    assert bench.do(bench.by_traits()).code == "00"


def test_unavailability_is_repeated_as_often_as_configured_and_each_attempt_is_traced(bench: Bench) -> None:
    bench.configure(insi={"retries": 2})
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE), AgentError(Code.INSI_UNREACHABLE)]

    result = bench.do(bench.by_traits())

    assert bench.attempts_of(result.trace.id) == ["insi.unreachable", "insi.unreachable", "00"]
    assert len({attempt.message_id for attempt in result.trace.attempts}) == 3


# ---------------------------------------------------------------- a journal in trouble


class Stubborn:
    """A journal that refuses one kind of entry with this code; the rest is the real one's."""

    def __init__(self, own: Journal, refuses: str, code: Code) -> None:
        self._own, self._refuses, self._code = own, refuses, code
        self.unfinished, self.trace, self.image, self.close = own.unfinished, own.trace, own.image, own.close
        self.check_key, self.entered, self.switched = own.check_key, own.entered, own.switched

    def intend(self, asked: Intent) -> Link:
        self._check("intend")
        return self._own.intend(asked)

    def conclude(self, intended: Link, conclusion: Conclusion) -> Link:
        self._check("conclude")
        return self._own.conclude(intended, conclusion)

    def finish(self, *arguments: object) -> Link:
        self._check("finish")
        return self._own.finish(*arguments)  # type: ignore[arg-type]  # as they came

    def _check(self, what: str) -> None:
        if what == self._refuses:
            raise AgentError(self._code)


@pytest.mark.parametrize("code", [Code.JOURNAL_FULL, Code.JOURNAL_UNAVAILABLE])
def test_without_its_intent_nothing_is_sent(bench: Bench, code: Code) -> None:
    own = bench.desk.journal
    bench.desk.journal = Stubborn(own, "intend", code)  # type: ignore[arg-type, assignment]  # the same port

    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts) == (code, {})
    assert bench.insi.received == []
    bench.desk.journal = own
    assert bench.do(bench.by_traits()).code == "00"


@pytest.mark.parametrize(("entry", "left"), [("conclude", [None]), ("finish", ["00"])])
def test_without_its_outcome_or_its_result_entry_the_page_gets_no_result_but_the_trace(
    bench: Bench, entry: str, left: list[str | None]
) -> None:
    own = bench.desk.journal
    bench.desk.journal = Stubborn(own, entry, Code.JOURNAL_UNAVAILABLE)  # type: ignore[arg-type, assignment]  # the same port

    refused = bench.refused(bench.by_traits())
    bench.desk.journal = own

    assert refused.code is Code.JOURNAL_UNAVAILABLE
    assert [attempt.code for attempt in refused.facts["attempts"]] == ["00"]
    assert bench.attempts_of(refused.facts["traceId"]) == left


def test_what_the_last_stop_cut_short_gets_its_outcome_before_the_first_new_intent(bench: Bench) -> None:
    def last_run() -> None:
        bench.desk.journal.intend(intent("coupee-1", origin=OTHER))
        bench.desk.journal.conclude(bench.desk.journal.intend(intent("entiere", origin=OTHER)), found())
        bench.desk.journal.intend(intent("coupee-2", origin=OTHER))

    bench.do(bench.desk.lanes.journal.run(last_run, timeout_s=10))
    assert bench.attempts_of("coupee-1", OTHER) == [None]

    first = bench.do(bench.by_traits())

    assert bench.attempts_of("coupee-1", OTHER) == bench.attempts_of("coupee-2", OTHER) == ["unknown"]
    assert bench.attempts_of("entiere", OTHER) == ["00"]
    # three intents and an outcome of the last run, two outcomes now; then intent, outcome and this result
    assert first.trace.seq == 4 + 2 + 3
    bench.do(bench.by_traits())
    assert bench.do(bench.desk.lanes.journal.run(bench.desk.journal.unfinished, timeout_s=10)) == []


# ---------------------------------------------------------------- giving up


class Slow:
    """INSi, in no hurry: answers once it is let go."""

    def __init__(self, bench: Bench) -> None:
        self._insi = bench.insi
        self.sent, self.let_go = threading.Event(), threading.Event()

    def check(self, mode: AuthMode) -> None:
        self._insi.check(mode)

    def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
        self.sent.set()
        self.let_go.wait(20)
        return self._insi.post(sender, action, envelope)

    def close(self) -> None:
        """Nothing is open."""


def test_a_call_given_up_after_it_left_says_where_its_trace_is_and_the_answer_is_kept(bench: Bench) -> None:
    """The protocol contract: an answer that arrives after a cancel is still journalled."""
    bench.desk.teleservice = slow = Slow(bench)

    async def give_up() -> AgentError:
        call = asyncio.create_task(bench.by_traits(clientRef="venue-1"))
        await asyncio.to_thread(slow.sent.wait, 20)
        call.cancel()
        with pytest.raises(AgentError) as refused:
            await call
        with pytest.raises(AgentError) as again:
            await bench.by_traits(clientRef="venue-1")
        assert again.value.code is Code.DEVICE_BUSY
        slow.let_go.set()
        await asyncio.wait(bench.desk.exchanges)
        return refused.value

    refused = bench.do(give_up())

    assert refused.code is Code.OPERATION_CANCELLED
    assert [attempt.code for attempt in refused.facts["attempts"]] == ["unknown"]
    assert bench.attempts_of(refused.facts["traceId"]) == ["00"]
    assert bench.do(bench.by_traits(clientRef="venue-1")).replayed is True


def test_a_call_given_up_while_its_answer_is_written_down_names_that_attempt_once(bench: Bench) -> None:
    own, writing, let_go = bench.desk.journal, threading.Event(), threading.Event()

    class Careful(Stubborn):
        """A disk that takes its time for the outcome."""

        def conclude(self, intended: Link, conclusion: Conclusion) -> Link:
            writing.set()
            let_go.wait(20)
            return super().conclude(intended, conclusion)

    bench.desk.journal = Careful(own, "", Code.INTERNAL)  # type: ignore[assignment]  # refuses nothing

    async def give_up() -> AgentError:
        call = asyncio.create_task(bench.by_traits())
        await asyncio.to_thread(writing.wait, 20)
        call.cancel()
        with pytest.raises(AgentError) as refused:
            await call
        let_go.set()
        await asyncio.wait(bench.desk.exchanges)
        return refused.value

    refused = bench.do(give_up())

    assert [attempt.code for attempt in refused.facts["attempts"]] == ["00"]
    bench.desk.journal = own
    assert bench.attempts_of(refused.facts["traceId"]) == ["00"]


@pytest.mark.parametrize(("during", "answered"), [("pause", "01"), ("check", "00"), ("result", "00")])
def test_a_call_given_up_after_an_attempt_says_where_its_trace_is(bench: Bench, during: str, answered: str) -> None:
    """Between two attempts, while an answer is compared with its schema, and while the result is written down."""
    reached, let_go, journal, own = threading.Event(), threading.Event(), bench.desk.journal, bench.contract()

    def hold() -> None:
        reached.set()
        let_go.wait(20)

    class Checking:
        """The contract of the bench, which takes its time."""

        def __getattr__(self, name: str) -> Any:
            return getattr(own, name)

        def faults_of_answer(self, _operation: object, _body: object) -> list[str]:
            hold()
            return []

    class Finishing(Stubborn):
        """A disk that takes its time for the result."""

        def finish(self, *arguments: object) -> Link:
            hold()
            return super().finish(*arguments)

    if during == "pause":
        bench.desk.pause = lambda _seconds: asyncio.to_thread(hold)
    elif during == "check":
        bench.contract = Checking  # type: ignore[assignment]  # the same but for one
    else:
        bench.desk.journal = Finishing(journal, "", Code.INTERNAL)  # type: ignore[assignment]  # refuses nothing

    async def give_up() -> AgentError:
        call = asyncio.create_task(bench.by_traits(traits=NOBODY if during == "pause" else TOUSSAINT))
        await asyncio.to_thread(reached.wait, 20)
        call.cancel()
        with pytest.raises(AgentError) as refused:
            await call
        let_go.set()
        return refused.value

    refused = bench.do(give_up())
    bench.desk.journal = journal

    assert refused.code is Code.OPERATION_CANCELLED
    assert [attempt.code for attempt in refused.facts["attempts"]] == [answered]
    assert bench.attempts_of(refused.facts["traceId"]) == [answered]
    assert len(bench.insi.received) == 1


def test_the_next_call_waits_for_one_that_was_given_up_and_is_not_refused(bench: Bench) -> None:
    bench.desk.teleservice = slow = Slow(bench)

    async def two() -> str:
        first = asyncio.create_task(bench.by_traits())
        await asyncio.to_thread(slow.sent.wait, 20)
        first.cancel()
        await asyncio.wait([first])
        bench.reached.clear()
        second = asyncio.create_task(bench.by_traits(traits=LEONARDO))
        await bench.reached["insi.queued"].wait()
        slow.let_go.set()
        return (await second).code

    assert bench.do(two()) == "02"
    assert [b"ADRTROIS" in message for message in bench.insi.received] == [True, False]


def test_a_call_given_up_while_it_queues_was_never_sent(bench: Bench) -> None:
    async def queue() -> bool:
        async with bench.desk.insi_turn.taken_by(OTHER, wait_s=0):
            waiting = asyncio.create_task(bench.by_traits())
            await bench.reached["insi.queued"].wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            return waiting.cancelled()

    assert bench.do(queue()) is True
    assert bench.insi.received == []


# ---------------------------------------------------------------- clientRef


def test_a_replay_needs_neither_the_card_nor_a_fresh_reading(bench: Bench) -> None:
    """The protocol contract: same ref and params within 10 minutes, the stored result and no call."""
    read = bench.do(bench.read())
    bench.clock.forward(minutes=15)
    first = bench.do(bench.with_vitale(read.read_id, clientRef="v1"))
    sent = len(bench.insi.received)
    bench.clock.forward(minutes=9)

    again = bench.do(bench.with_vitale(read.read_id, clientRef="v1"))

    assert again == first.model_copy(update={"replayed": True})
    assert len(bench.insi.received) == sent
    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_STALE


def test_a_replay_does_not_prolong_the_time_to_continue_a_search(bench: Bench) -> None:
    several = bench.do(bench.by_traits(traits=LEONARDO, clientRef="v1"))
    bench.clock.forward(minutes=9)
    bench.do(bench.by_traits(traits=LEONARDO, clientRef="v1"))
    bench.clock.forward(minutes=21)
    located = {**LEONARDO, "birthPlaceCode": "63220"}

    assert bench.refused(bench.by_traits(traits=located, continues=several.trace.id)).code is Code.CONTINUES_REFUSED


def test_a_ref_whose_call_failed_may_be_used_for_another_call(bench: Bench) -> None:
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE)]
    bench.refused(bench.by_traits(clientRef="v1"))

    assert bench.do(bench.by_traits(traits=LEONARDO, clientRef="v1")).code == "02"
    assert bench.refused(bench.by_traits(traits=TOUSSAINT, clientRef="v1")).code is Code.CLIENT_REF_REUSED


def test_one_assertion_serves_all_attempts_while_it_is_young_and_is_signed_again_when_it_is_not(bench: Bench) -> None:
    """At most 60 s old, shared by the attempts of an operation."""
    bench.do(bench.by_traits(traits=NOBODY))
    assert bench.slot.calls.count("sign") == 1
    insi = bench.insi

    class HalfAMinute:
        """Takes its time."""

        check, close = insi.check, insi.close

        def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
            bench.clock.forward(seconds=31)
            return insi.post(sender, action, envelope)

    bench.desk.teleservice = HalfAMinute()
    result = bench.do(bench.by_traits(traits=NOBODY))

    assert [attempt.code for attempt in result.trace.attempts] == ["01"] * 3
    assert bench.slot.calls.count("sign") == 3


def test_a_trace_of_another_origin_is_unknown(bench: Bench) -> None:
    result = bench.do(bench.by_traits())
    params = trace.TraceGetParams(trace_id=result.trace.id)

    stored = bench.do(trace.get(bench.desk, bench.asker(), params)).result
    assert stored
    assert stored.model_dump_json() == result.model_dump_json()
    assert bench.refused(trace.get(bench.desk, bench.asker(OTHER), params)).code is Code.TRACE_UNKNOWN


def test_a_page_lists_its_own_operations_here_also_those_that_failed(bench: Bench) -> None:
    bench.do(bench.by_traits(clientRef="venue-1"))
    bench.clock.forward(seconds=1)
    bench.insi.fails = [AgentError(Code.INSI_TIMEOUT)]
    failed = bench.refused(bench.by_traits(traits=LEONARDO))
    bench.do(bench.by_traits(origin=OTHER))

    def listed(origin: str = SITE, **filters: Any) -> TraceListResult:
        params = TraceListParams.model_validate(filters)
        return bench.do(trace.listing(bench.desk, bench.asker(origin), params))

    lines = listed().traces
    assert [(one.code, one.answered, one.client_ref, one.attempts) for one in lines] == [
        ("insi.timeout", False, None, 1),
        ("00", True, "venue-1", 1),
    ]
    assert (lines[0].trace_id, lines[0].operation, lines[0].auth_mode) == (failed.facts["traceId"], "WS_INS2", "cpx")
    assert listed(clientRef="venue-1").traces == listed(endedWith="00").traces == lines[1:]
    first = listed(limit=1)
    assert listed(cursor=first.next_cursor).traces == lines[1:]
    assert listed(since="2020-01-01T00:00:00Z", until=lines[0].at).traces == lines[1:]
    assert len(listed(OTHER).traces) == 1
    bench.desk.environment = Environment.TEST
    assert listed() == TraceListResult(traces=[])


def test_no_call_waits_to_be_traced_behind_the_readings_of_a_page(bench: Bench) -> None:
    """However many lists a page asks for at once: one of them at a time is on the journal's lane."""
    lane, own, let_go, order = bench.desk.lanes.journal, bench.desk.journal, threading.Event(), []

    class Noting(Stubborn):
        def traces(self, *arguments: Any, **filters: Any) -> TracePage:
            order.append("list")
            return own.traces(*arguments, **filters)

    bench.desk.journal = Noting(own, "", Code.INTERNAL)  # type: ignore[assignment]  # refuses nothing

    async def many() -> None:
        busy = asyncio.create_task(lane.run(lambda: let_go.wait(20), timeout_s=30))
        lists = [asyncio.create_task(trace.listing(bench.desk, bench.asker(), TraceListParams())) for _ in range(9)]
        await asyncio.sleep(0)  # each has taken its first step, up to where it waits
        call = asyncio.create_task(lane.run(lambda: order.append("call"), timeout_s=30))
        await asyncio.sleep(0)
        let_go.set()
        await asyncio.gather(busy, call, *lists)

    bench.do(many())
    bench.desk.journal = own

    assert order == ["list", "call"] + ["list"] * 8


def test_a_trace_says_of_a_call_that_failed_what_it_was(bench: Bench) -> None:
    bench.insi.fails = [AgentError(Code.INSI_TIMEOUT)]
    failed = bench.refused(bench.by_traits(authMode="organisation"))

    params = trace.TraceGetParams(trace_id=failed.facts["traceId"])
    kept = bench.do(trace.get(bench.desk, bench.asker(), params))

    assert (kept.operation, kept.auth_mode, kept.result) == ("WS_INS2", "organisation", None)
    assert [attempt.code for attempt in kept.attempts] == ["insi.timeout"]


# ---------------------------------------------------------------- frames


def parts_of(bench: Bench) -> list[bytes]:
    """Every personal part of the journal, opened with the key, and every clear one."""
    bench.do(bench.desk.lanes.journal.run(bench.desk.journal.close, timeout_s=10))
    database = sqlite3.connect(bench.folder / "journal" / "journal.sqlite")
    entries = [Entry(*row) for row in database.execute("SELECT * FROM entry ORDER BY seq")]
    database.close()
    return [part for one in entries for part in (one.clear, personal_of(one, lambda: KEYS, KEY.verify_bytes)) if part]


def secrets_in(messages: list[bytes]) -> list[str]:
    """What makes an assertion worth stealing: signature and certificate, base64."""
    names = "{*}SignatureValue", "{*}X509Certificate"
    return [element.text or "" for one in messages for element in etree.fromstring(one).iter(*names)]


def secrets_found(bench: Bench) -> list[str]:
    """Those of the messages sent that are in the journal, whole or in lines, whoever opens it with its key."""
    parts = [json.loads(part) if part.startswith(b"{") else part.decode() for part in parts_of(bench)]
    kept = "".join(json.dumps(part) for part in parts)
    lines = {line for secret in secrets_in(bench.insi.received) for line in secret.split()}
    return [line for line in lines if len(line) > 30 and line in kept]


def test_in_simulation_the_frames_are_kept_as_they_travelled(bench: Bench) -> None:
    bench.insi.service.style = Style(not_found="insi_102")
    bench.refused(bench.by_traits(traits=NOBODY))

    kept = [json.loads(part)["request"].encode() for part in parts_of(bench) if b'"request"' in part]

    assert kept == bench.insi.received
    assert secrets_found(bench)
    assert any(b"insi_102" in part and b"Fault" in part for part in parts_of(bench))


@pytest.mark.parametrize("mode", ["cpx", "organisation"])
def test_outside_simulation_no_part_of_the_journal_holds_what_an_assertion_is_worth(bench: Bench, mode: str) -> None:
    """A signed assertion is a bearer secret: whoever opens the journal with its key must not find one."""
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
    certificates = {"certificates": ["/organisation.p12"]}
    bench.configure(software=[row], organisation=certificates)
    bench.desk.environment = Environment.TEST
    bench.insi.service.style = Style(not_found="insi_102")

    found = bench.do(bench.by_traits(authMode=mode, user={"id": "u"}))
    bench.refused(bench.by_traits(traits=NOBODY, authMode=mode, user={"id": "u"}))

    assert found.code == "00"
    assert len(secrets_in(bench.insi.received)) == (4 if mode == "cpx" else 0)  # two of each attempt
    assert secrets_found(bench) == []
    assert not any(b"insi_102" in part and b"Fault" in part for part in parts_of(bench))  # a reply that is no 00


def test_a_trace_of_another_environment_is_unknown(bench: Bench) -> None:
    """Test and production are in one journal: a test's identity is not to be taken for a real one."""
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
    bench.configure(software=[row])
    bench.desk.environment = Environment.TEST
    params = trace.TraceGetParams(trace_id=bench.do(bench.by_traits()).trace.id, image=True)
    assert bench.do(trace.get(bench.desk, bench.asker(), params)).image

    bench.desk.environment = Environment.PRODUCTION

    assert bench.refused(trace.get(bench.desk, bench.asker(), params)).code is Code.TRACE_UNKNOWN
