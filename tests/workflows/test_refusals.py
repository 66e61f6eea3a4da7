"""What is refused, with which code, and above all when: before a card, before a code, before a byte is sent."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import Settings
from agent.desks import real_desk
from agent.errors import AgentError, Code
from agent.insi.ports import HttpReply
from agent.model import AuthMode, Environment, PinState, ReaderSeen
from agent.places import Places
from agent.readers.ports import Card, Watch
from agent.readers.transcript import parse_transcript
from agent.readers.vitale import VitaleContent
from agent.signing.certificate_files import CertificateFiles
from agent.signing.fake_token import card_file, save_card
from agent.signing.ports import TokenSeen
from agent.simulator.pki import Person, issue_card, issue_organisation, make_ca, p12, protected_objects
from agent.workflows.desk import Desk
from tests.journal.making import journal
from tests.workflows.making import CPS, DOCTOR, LEONARDO, OTHER, SITE, VITALE, Bench, Readers, Slot, Typist

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
        person = Typist()

        places = Places.simulated(tmp_path).create()

        @staticmethod
        def session_changed() -> None:
            """Nobody is told."""

        @staticmethod
        def show_state() -> None:
            """There is no tray."""

        @staticmethod
        def appended() -> None:
            """Nothing is shipped."""

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
        organisation={"certificates": ["/organisation.p12"]},
    )

    assert bench.refused(bench.by_traits(authMode="organisation")).code is Code.USER_REQUIRED
    assert bench.do(bench.by_traits(authMode="organisation", user={"id": "accueil-3"})).code == "00"


def test_without_the_agents_key_nothing_is_sent(bench: Bench) -> None:
    def locked() -> None:
        raise AgentError(Code.KEYRING_ABSENT)

    bench.desk.load_identity = locked  # type: ignore[assignment]  # it never gives one

    assert bench.refused(bench.by_traits()).code is Code.KEYRING_ABSENT
    assert nothing_happened(bench)


def test_without_the_journals_key_nothing_is_asked_or_sent(bench: Bench) -> None:
    """A trace whose personal part could not be sealed would be no trace."""
    bench.desk.journal = journal(bench.folder / "other", keys=None)

    assert bench.refused(bench.by_traits()).code is Code.KEYRING_ABSENT
    assert nothing_happened(bench)


@pytest.mark.parametrize("mode", AuthMode)
def test_the_password_of_the_proxy_is_read_before_any_code_and_where_keyrings_are_waited_for(
    bench: Bench, mode: AuthMode
) -> None:
    """A keyring may ask the person: the network lane must not wait for them."""
    where: list[str] = []

    def read() -> None:
        where.append(threading.current_thread().name)
        assert not bench.person.questions
        assert not bench.insi.received

    bench.desk.read_proxy_password = read

    assert bench.do(bench.by_traits(authMode=mode)).code == "00"
    assert where == ["lane-secrets"]


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


class Twice(Slot):
    """Shows its card in two slots, as a module does for a while after a card was moved."""

    def look(self) -> list[TokenSeen]:
        return super().look() * 2


def test_one_card_that_the_module_shows_twice_is_one(bench: Bench) -> None:
    bench.slot = Twice(bench.pki)

    assert bench.do(bench.by_traits()).code == "00"


def test_two_professional_cards_are_one_too_many(bench: Bench) -> None:
    bench.slot.copies = 2

    assert bench.refused(bench.by_traits()).code is Code.CPX_SEVERAL
    assert bench.refused(bench.status()).code is Code.CPX_SEVERAL
    assert nothing_happened(bench)


def test_without_a_professional_card_the_call_says_so(bench: Bench) -> None:
    bench.slot.copies = 0
    bench.insert(CPS, None)

    assert bench.refused(bench.by_traits()).code is Code.CPX_ABSENT
    assert nothing_happened(bench)


def test_a_card_that_is_only_held_above_the_reader_is_asked_into_its_slot(bench: Bench) -> None:
    """A module that does not know the contactless card shows nothing of it."""
    bench.slot.copies = 0
    bench.insert(CPS, "contactless")

    assert bench.refused(bench.by_traits()).code is Code.CPX_CONTACTLESS
    assert bench.do(bench.status()).present is False
    assert nothing_happened(bench)


def test_a_card_that_is_newer_than_its_module_is_said(bench: Bench) -> None:
    """The module shows nothing of it; the reader sees a CPS4."""
    bench.slot.copies, bench.slot.facts = 0, replace(bench.slot.facts, name="Cryptolib CPS", version="2.1")
    bench.readers.cards["cps4"] = parse_transcript("# CPS4\nATR 3B9B188001001225006480040100009044")
    bench.insert(CPS, "cps4")

    assert bench.refused(bench.by_traits()).code is Code.MODULE_TOO_OLD
    assert nothing_happened(bench)


@pytest.mark.parametrize(("card", "code"), [("contactless", Code.CPX_CONTACTLESS), ("cpx", Code.CPX_NO_SIGNATURE)])
def test_a_token_without_signature_certificate_is_refused_for_what_its_reader_sees(
    bench: Bench, card: str, code: Code
) -> None:
    technical = bench.slot.look()[0].certificates[1:]
    bench.slot.shows = {"certificates": technical}
    bench.insert(CPS, card)

    assert bench.refused(bench.by_traits()).code is code
    assert nothing_happened(bench)


def test_a_card_that_lies_on_the_reader_is_not_in_the_way_of_the_one_inside(bench: Bench) -> None:
    class Both(Slot):
        """A reader with two ways in, and a card at each."""

        def look(self) -> list[TokenSeen]:
            (inside,) = super().look()
            return [
                replace(inside, serial="99000099", reader="Sans contact", certificates=inside.certificates[1:]),
                inside,
            ]

    both = Readers({CPS: "cpx", "Sans contact": "contactless"}, bench.readers.cards)
    bench.plug(both)
    bench.desk.seen = both.seen()
    bench.slot = Both(bench.pki)

    assert bench.do(bench.by_traits()).code == "00"


def test_a_module_that_only_reads_is_said_before_the_code_is_asked(bench: Bench) -> None:
    """OpenSC with a CPS3: it shows the card and cannot sign."""
    bench.slot.facts = replace(bench.slot.facts, signs_cps3=False)

    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts) == (Code.MODULE_CANNOT_SIGN, {"module": "Essai"})
    assert nothing_happened(bench)
    assert bench.do(bench.status()).present is True
    assert bench.do(bench.unlock()).activities


def test_a_locked_card_is_not_asked_for_its_code_and_says_where_to_unblock_it(bench: Bench) -> None:
    bench.slot.shows = {"pin_state": PinState.LOCKED}

    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts) == (Code.PIN_LOCKED, {"pinState": "locked"})
    assert "CPS Gestion" in refused.row.action.fr
    assert "login" not in bench.slot.calls
    assert nothing_happened(bench)


@pytest.mark.parametrize("typed", ["", "123", "12345", "12 4", "١٢٣٤"])
def test_what_cannot_be_a_code_costs_no_try(bench: Bench, typed: str) -> None:
    bench.person.answer = typed

    assert bench.refused(bench.by_traits()).code is Code.PIN_FORMAT
    assert "login" not in bench.slot.calls


# ---------------------------------------------------------------- speciality and billing identifier


def with_card(bench: Bench, folder: Path, person: Person) -> None:
    """Put another holder's card in."""
    card_file(folder).parent.mkdir()
    save_card(issue_card(make_ca(), person), card_file(folder))
    bench.slot = Slot(folder)


def test_a_physician_without_speciality_is_refused_before_the_code_until_it_is_configured(
    bench: Bench, tmp_path: Path
) -> None:
    """SEL-MP-043 3.2 (second hand): mandatory for physicians."""
    with_card(bench, tmp_path, Person(speciality=None))

    assert bench.refused(bench.by_traits()).code is Code.SPECIALITY_MISSING
    assert bench.slot.calls == ["look"]
    assert nothing_happened(bench)
    bench.configure(cpx={"specialities": {DOCTOR: "SM54"}})
    bench.refused(bench.by_traits())  # this card's CA is not the simulated INSi's
    assert b"codeSpecialiteAMO" in bench.insi.received[-1]
    assert b">SM54<" in bench.insi.received[-1]


def test_a_nurse_sends_no_speciality_even_if_the_card_has_one(bench: Bench, tmp_path: Path) -> None:
    with_card(bench, tmp_path, Person(profession=60, title="Infirmier", speciality="SM26"))
    bench.configure(cpx={"specialities": {DOCTOR: "SM54"}})

    bench.refused(bench.by_traits())

    assert b"identifiantFacturation" in bench.insi.received[-1]
    assert b"codeSpecialite" not in bench.insi.received[-1]


def test_a_billing_identifier_that_fits_no_activity_known_is_missing_before_the_code(bench: Bench) -> None:
    """Some modules show the activities before the code, and any does while its session is open."""
    bench.configure(cpx={"billing_ids": [{"professional": DOCTOR, "structure": "1990000017", "value": "990000025"}]})
    bench.slot.shows = {"data": protected_objects(Person())}

    assert bench.refused(bench.by_traits(activity="01")).code is Code.BILLING_ID_MISSING
    assert nothing_happened(bench)
    assert bench.do(bench.by_traits(activity="02")).code == "00"
    bench.configure(cpx={"billing_ids": [{"professional": DOCTOR, "structure": "1999999999", "value": "990000025"}]})
    sent = len(bench.insi.received)
    assert bench.refused(bench.by_traits(activity="02")).code is Code.BILLING_ID_MISSING
    assert len(bench.insi.received) == sent


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
    assert "login" not in bench.slot.calls
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


@pytest.mark.parametrize(
    ("configured", "params", "source"), [({DOCTOR: "07"}, {}, "configuration"), ({}, {"activity": "07"}, "call")]
)
def test_an_activity_that_the_card_does_not_have_is_named_with_those_it_has(
    bench: Bench, configured: dict[str, str], params: dict[str, str], source: str
) -> None:
    bench.configure(cpx={"activities": configured})

    refused = bench.refused(bench.by_traits(**params))

    assert refused.code is Code.ACTIVITY_NEEDED
    assert refused.facts["unknown"] == {"id": "07", "from": source}
    assert [one.id for one in refused.facts["activities"]] == ["01", "02"]
    assert not bench.insi.received


def test_where_the_settings_say_so_a_window_asks_which_activity_once_for_the_session(bench: Bench) -> None:
    bench.configure(cpx={"activities": {}, "activity_question": "window"})

    structures = [bench.do(bench.by_traits()).trace.structure for _ in range(2)]
    named = bench.do(bench.by_traits(activity="01")).trace.structure
    bench.do(bench.lock())
    bench.person.chooses = "01"
    structures.append(bench.do(bench.by_traits()).trace.structure)

    assert structures == ["1990000017", "1990000017", "499900000017001"]
    assert named == "499900000017001"
    assert len(bench.person.choices) == 2
    asked = bench.person.choices[0]
    assert (asked.origin, asked.software, asked.holder) == (SITE, "Dossier", "CAMILLE EXEMPLE")
    assert [one.id for one in asked.activities] == ["01", "02"]


def test_an_activity_chosen_for_one_origin_is_not_the_other_ones(bench: Bench) -> None:
    bench.configure(cpx={"activities": {}, "activity_question": "window"})

    bench.do(bench.by_traits())
    bench.do(bench.by_traits(OTHER))

    assert [question.origin for question in bench.person.choices] == [SITE, OTHER]


def test_the_window_says_that_the_configured_activity_is_not_on_the_card(bench: Bench) -> None:
    bench.configure(cpx={"activities": {DOCTOR: "07"}, "activity_question": "window"})

    bench.do(bench.by_traits())

    assert [question.unknown for question in bench.person.choices] == ["07"]


@pytest.mark.parametrize("code", [Code.ACTIVITY_NEEDED, Code.QUESTION_EXPIRED, Code.PROMPT_UNAVAILABLE])
def test_an_activity_that_nobody_chooses_sends_nothing(bench: Bench, code: Code) -> None:
    bench.configure(cpx={"activities": {}, "activity_question": "window"})
    bench.person.chooses = code

    refused = bench.refused(bench.by_traits())

    assert refused.code is code
    assert ("activities" in refused.facts) is (code is Code.ACTIVITY_NEEDED)
    assert not bench.insi.received


def test_a_single_activity_and_a_card_without_any_need_no_window(bench: Bench, tmp_path: Path) -> None:
    bench.configure(cpx={"activities": {}, "activity_question": "window"})
    with_card(bench, tmp_path, Person(practices=(None, None, Person().practices[0])))
    bench.refused(bench.by_traits())
    assert b"SA07" in bench.insi.received[-1]

    save_card(issue_card(make_ca(), Person(practices=())), card_file(tmp_path))
    bench.do(bench.lock())
    refused = bench.refused(bench.by_traits())

    assert (refused.code, refused.facts) == (Code.ACTIVITY_NEEDED, {"activities": []})
    assert bench.person.choices == []


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
    bench.desk.certificates = CertificateFiles(lambda: [file], lambda _file: passphrase)

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

    def reset(self, _reader: str) -> None:
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
    bench.plug(Trouble(bench.readers.seen(), code))

    assert bench.refused(bench.read()).code is code
    bench.plug(bench.readers)
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


def test_a_birth_date_out_of_the_calendar_is_sent_as_it_is_unless_the_settings_refuse_it(bench: Bench) -> None:
    bench.insert(VITALE, "lunar-date")
    bench.configure(vitale={"lunar_dates": "refuse"})
    read = bench.do(bench.read())

    assert bench.refused(bench.with_vitale(read.read_id)).code is Code.VITALE_NIR_UNUSABLE
    assert bench.slot.calls == []
    assert nothing_happened(bench)

    bench.configure()
    bench.do(bench.with_vitale(read.read_id))
    (envelope,) = bench.insi.received
    assert b"1954-00-00" in envelope


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
