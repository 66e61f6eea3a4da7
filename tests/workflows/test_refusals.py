"""What is refused, with which code, and above all when: before a card, before a code, before a byte is sent."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.app import real_desk
from agent.config import Settings
from agent.errors import AgentError, Code
from agent.insi.ports import HttpReply
from agent.model import AuthMode, Environment, ReaderSeen
from agent.readers.ports import Card, Watch
from agent.readers.vitale import VitaleContent
from agent.signing.fake_token import card_file, save_card
from agent.signing.organisation import open_p12
from agent.simulator.pki import Person, issue_card, issue_organisation, make_ca, p12
from agent.workflows.desk import Desk
from tests.workflows.making import DOCTOR, LEONARDO, OTHER, SITE, VITALE, Bench, Slot

PASSPHRASE = b"une-phrase-de-test"


def nothing_happened(bench: Bench) -> bool:
    """Nobody was asked, nothing was sent, no attempt was traced."""
    unfinished = bench.do(bench.desk.lanes.journal.run(bench.desk.journal.unfinished, timeout_s=10))
    return not bench.person.questions and not bench.insi.received and not unfinished


# ---------------------------------------------------------------- before any card


@pytest.mark.parametrize(
    ("settings", "params", "code"),
    [
        ({"software": []}, {}, Code.SOFTWARE_NOT_AUTHORISED),
        ({"profile": "consumer"}, {}, Code.INSI_NOT_PERMITTED),
        ({}, {"identity": {"status": "VALI", "attributes": ["DOUT"]}}, Code.IDENTITY_DOUBTFUL),
        ({"insi": {"provisional": "forbid"}}, {"identity": {"status": "PROV"}}, Code.IDENTITY_PROVISIONAL),
        ({}, {"traits": {**LEONARDO, "birthName": "R2D2"}}, Code.TRAITS_REFUSED),
        ({}, {"continues": "inconnue"}, Code.CONTINUES_REFUSED),
    ],
)
def test_what_needs_no_card_is_refused_before_the_card_is_even_looked_at(
    bench: Bench, settings: dict[str, object], params: dict[str, object], code: Code
) -> None:
    bench.configure(**settings)

    assert bench.refused(bench.by_traits(**params)).code is code
    assert bench.slot.calls == []
    assert nothing_happened(bench)


def test_an_endpoint_that_nobody_configured_is_said_before_the_code_is_asked(bench: Bench) -> None:
    bench.insi.configured = {AuthMode.ORGANISATION}

    assert bench.refused(bench.by_traits()).code is Code.INSI_NOT_CONFIGURED
    assert bench.slot.calls == []
    assert nothing_happened(bench)
    assert bench.do(bench.by_traits(authMode="organisation")).code == "00"


def test_the_real_desk_has_no_endpoint_without_anchors(tmp_path: Path) -> None:
    class Agent:
        """What the composition root reads of an agent."""

        settings = Settings()
        options = type("Options", (), {"answers_itself": False})

        class places:  # noqa: N801  (an instance in the agent)
            data = state = journal = tmp_path

        @staticmethod
        def session_changed() -> None:
            """Nobody is told."""

    desk = real_desk(Agent)  # type: ignore[arg-type]  # as much of it as is read
    desk.lanes.close()
    for mode in AuthMode:
        with pytest.raises(AgentError) as refused:
            desk.teleservice.check(mode)
        assert (refused.value.code, refused.value.facts) == (Code.INSI_NOT_CONFIGURED, {"mode": mode.value})


def test_a_mode_that_is_not_configured_is_refused_with_those_that_are(bench: Bench) -> None:
    bench.desk.environment = Environment.TEST
    bench.configure(
        software=[{"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}]
    )

    refused = bench.refused(bench.by_traits(authMode="organisation"))

    assert (refused.code, refused.facts) == (Code.AUTH_MODE_UNAVAILABLE, {"available": ["cpx"]})
    assert nothing_happened(bench)


def test_outside_the_simulator_the_organisations_user_must_be_named(bench: Bench) -> None:
    bench.desk.environment = Environment.TEST
    bench.configure(
        software=[{"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}],
        organisation={"certificate": "organisation.p12"},
    )

    assert bench.refused(bench.by_traits(authMode="organisation")).code is Code.USER_REQUIRED
    assert bench.do(bench.by_traits(authMode="organisation", user={"id": "accueil-3"})).code == "00"


def test_without_the_agents_key_nothing_is_sent(bench: Bench) -> None:
    def locked() -> None:
        raise AgentError(Code.KEYRING_ABSENT)

    bench.desk.load_identity = locked  # type: ignore[assignment]  # it never gives one

    assert bench.refused(bench.by_traits()).code is Code.KEYRING_ABSENT
    assert nothing_happened(bench)


def test_a_search_without_a_further_step_is_not_continued_and_asks_for_no_code(bench: Bench) -> None:
    several = bench.do(bench.by_traits(traits=LEONARDO))
    bench.do(bench.lock())
    sent = len(bench.insi.received)

    assert bench.refused(bench.by_traits(traits=LEONARDO, continues=several.trace.id)).code is Code.CONTINUES_REFUSED
    assert len(bench.person.questions) == 1
    assert len(bench.insi.received) == sent


# ---------------------------------------------------------------- before the code


@pytest.mark.parametrize(
    ("person", "made", "code"),
    [
        (Person(family=None, national_id="3760021832/000000018"), {"kind": 2}, Code.CPX_NOT_NOMINATIVE),
        (Person(), {"mark": 0x00}, Code.CPX_ENVIRONMENT),
        (Person(), {"until": datetime(2024, 1, 1, tzinfo=UTC)}, Code.CPX_EXPIRED),
        (Person(national_id="899900000025"), {}, Code.BILLING_ID_MISSING),
    ],
)
def test_a_card_that_insi_would_refuse_is_refused_before_its_code(
    bench: Bench, tmp_path: Path, person: Person, made: dict[str, object], code: Code
) -> None:
    card_file(tmp_path).parent.mkdir()
    save_card(issue_card(make_ca(), person, **made), card_file(tmp_path))  # type: ignore[arg-type]  # by name
    bench.slot = Slot(tmp_path)

    assert bench.refused(bench.by_traits()).code is code
    assert bench.slot.calls == ["look"]
    assert nothing_happened(bench)


def test_two_professional_cards_are_one_too_many(bench: Bench) -> None:
    bench.slot.copies = 2

    assert bench.refused(bench.by_traits()).code is Code.CPX_SEVERAL
    assert bench.refused(bench.status()).code is Code.CPX_SEVERAL
    assert nothing_happened(bench)


@pytest.mark.parametrize("code", [Code.MODULE_MISSING, Code.MODULE_FAILED, Code.TOKEN_UNKNOWN, Code.DEVICE_CRASHED])
def test_what_the_cards_module_says_reaches_the_page_and_the_next_call_works(bench: Bench, code: Code) -> None:
    bench.slot.fails["look"] = AgentError(code)

    assert bench.refused(bench.by_traits()).code is code
    assert nothing_happened(bench)
    assert bench.do(bench.by_traits()).code == "00"


@pytest.mark.parametrize("code", [Code.PIN_CANCELLED, Code.QUESTION_EXPIRED, Code.PROMPT_UNAVAILABLE])
def test_a_question_without_an_answer_sends_nothing(bench: Bench, code: Code) -> None:
    bench.person.answer = code

    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts) == (code, {})
    assert bench.slot.calls == ["look"]
    assert not bench.insi.received


def test_several_activities_need_a_choice_and_come_with_the_list(bench: Bench) -> None:
    bench.configure(cpx={"activities": {}})

    refused = bench.refused(bench.by_traits())

    assert refused.code is Code.ACTIVITY_NEEDED
    assert [(one.id, one.sector) for one in refused.facts["activities"]] == [("01", "SA07"), ("02", "SA05")]
    assert not bench.insi.received
    chosen = bench.do(bench.by_traits(activity="02"))
    assert chosen.trace.structure == "1990000017"
    assert bench.refused(bench.by_traits(activity="07")).code is Code.ACTIVITY_NEEDED


def test_a_billing_identifier_may_be_of_one_structure_alone(bench: Bench) -> None:
    bench.configure(cpx={"billing_ids": [{"professional": DOCTOR, "structure": "1990000017", "value": "990000025"}]})

    assert bench.refused(bench.by_traits(activity="01")).code is Code.BILLING_ID_MISSING
    assert bench.do(bench.by_traits(activity="02")).code == "00"
    assert b"990000025" in bench.insi.received[-1]


# ---------------------------------------------------------------- the organisation's certificate


@pytest.mark.parametrize(
    ("made", "passphrase", "code"),
    [
        (None, PASSPHRASE, Code.CERTIFICATE_MISSING),
        ({}, b"fausse", Code.CERTIFICATE_UNREADABLE),
        ({"common_name": "AUTRE-USAGE"}, PASSPHRASE, Code.CERTIFICATE_NOT_INSI),
        ({"mark": 0x03}, PASSPHRASE, Code.CERTIFICATE_ENVIRONMENT),
        ({"not_after": datetime(2024, 1, 1, tzinfo=UTC)}, PASSPHRASE, Code.CERTIFICATE_EXPIRED),
    ],
)
def test_a_certificate_that_insi_would_refuse_is_said_and_nothing_is_sent(
    bench: Bench, tmp_path: Path, made: dict[str, object] | None, passphrase: bytes, code: Code
) -> None:
    file = tmp_path / "organisation.p12"
    if made is not None:
        file.write_bytes(p12(issue_organisation(make_ca(), **made), PASSPHRASE))  # type: ignore[arg-type]  # by name
    bench.desk.load_organisation = lambda: open_p12(file, passphrase)

    assert bench.refused(bench.by_traits(authMode="organisation")).code is code
    assert nothing_happened(bench)


# ---------------------------------------------------------------- the carte Vitale


class Trouble:
    """Readers in which every card does the same."""

    def __init__(self, seen: list[ReaderSeen], code: Code) -> None:
        self._seen, self._code = seen, code

    def seen(self) -> list[ReaderSeen]:
        return self._seen

    def transaction(self, _reader: str) -> AbstractContextManager[Card]:
        raise AgentError(self._code)

    def watch(self, _changed: Callable[[list[ReaderSeen] | None], None]) -> Watch:
        raise AssertionError


@pytest.mark.parametrize(
    "code",
    [
        Code.CARD_ABSENT,
        Code.CARD_REMOVED,
        Code.CARD_MUTE,
        Code.CARD_IN_USE,
        Code.CARD_UNKNOWN,
        Code.CARD_UNREADABLE,
        Code.PCSC_UNAVAILABLE,
    ],
)
def test_what_the_reader_says_reaches_the_page(bench: Bench, code: Code) -> None:
    bench.desk.readers = Trouble(bench.readers.seen(), code)

    assert bench.refused(bench.read()).code is code
    bench.desk.readers = bench.readers
    assert bench.do(bench.read()).holders[0].name == "ADRUN"


def test_another_origins_reading_is_answered_as_an_unknown_one(bench: Bench) -> None:
    read = bench.do(bench.read())

    stolen, invented = (bench.refused(bench.with_vitale(which, origin=OTHER)) for which in (read.read_id, "x"))

    assert (stolen.code, stolen.facts) == (invented.code, invented.facts) == (Code.VITALE_READING_UNKNOWN, {})


def test_a_reading_too_old_sends_nothing_also_when_it_ages_while_the_person_types(bench: Bench) -> None:
    read = bench.do(bench.read())
    typist = bench.person

    class SlowTypist:
        """Finds the code after twenty minutes."""

        async def ask_pin(self, question: object) -> object:
            bench.clock.forward(minutes=20)
            return await typist.ask_pin(question)  # type: ignore[arg-type]  # the question as it came

    bench.desk.person = SlowTypist()  # type: ignore[assignment]  # the same port

    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_STALE
    assert not bench.insi.received
    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_STALE


def test_a_number_that_is_no_nir_is_refused_before_the_code(bench: Bench) -> None:
    read = bench.do(bench.read())
    kept = bench.desk.readings.find(read.read_id, SITE, bench.clock())
    holder = kept.reading.content.holders[0]
    for nir in ("", "27512632207", "2751263220749X", "2X51263220749"):
        content = VitaleContent(
            kept.reading.content.card, (holder.model_copy(update={"nir": nir}),), kept.reading.content.fingerprint
        )
        bench.desk.readings.keep(read.read_id, replace(kept, reading=replace(kept.reading, content=content)))
        assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_NIR_UNUSABLE

    assert bench.slot.calls == []
    assert nothing_happened(bench)


def test_the_card_is_read_again_before_each_attempt_also_before_a_repeat(bench: Bench) -> None:
    """S040: before every WS_INS1."""
    bench.configure(insi={"retries": 1})
    read = bench.do(bench.read())

    class Down:
        """INSi is down, and somebody puts the next card in meanwhile."""

        check, close = bench.insi.check, bench.insi.close

        def post(self, *_message: object) -> HttpReply:
            bench.readers.insert(VITALE, "corsican")
            raise AgentError(Code.INSI_UNREACHABLE)

    bench.desk.teleservice = Down()

    refused = bench.refused(bench.with_vitale(read.read_id))

    assert refused.code is Code.VITALE_CHANGED
    assert [attempt.code for attempt in refused.facts["attempts"]] == ["insi.unreachable"]


def test_two_sites_that_read_at_once_queue_and_the_one_too_many_learns_who_is_in_the_way(bench: Bench) -> None:
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def two() -> AgentError:
        async def hold() -> None:
            async with bench.desk.vitale_turn.taken_by(SITE, wait_s=0):
                reading.set()
                await go_on.wait()

        holding = asyncio.create_task(hold())
        await reading.wait()
        with pytest.raises(AgentError) as refused:
            await bench.read(OTHER)
        go_on.set()
        await holding
        return refused.value

    refused = bench.do(two())

    assert (refused.code, refused.facts["origin"]) == (Code.DEVICE_BUSY, "other")
    assert bench.do(bench.read(OTHER)).holders


def test_card_operations_queue_for_ten_seconds() -> None:
    """The protocol contract, clientRef and queues."""
    assert Desk.card_queue_s == 10
