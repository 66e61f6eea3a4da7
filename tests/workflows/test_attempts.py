"""The attempts of one operation: what may be sent again, what a fault may mean, what is said of an answer."""

import json
import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from agent.errors import AgentError, Code
from agent.insi.contract import Contract
from agent.insi.fake_style import Style
from agent.insi.operations import Operation
from agent.insi.ports import HttpReply, Sender
from agent.model import AuthMode, Environment, Outcome
from tests.workflows.making import LEONARDO, SITE, TOUSSAINT, Bench

HOUILLES = {"birthName": "HOUILLES", "givenNames": ["PIERRE", "PAUL"], "sex": "M", "birthDate": "1993-01-27"}
CATARINA = {"birthName": "TCHITCHI", "givenNames": ["OLA", "CATARINA"], "sex": "F", "birthDate": "1936-06-21"}
ECETINSI = {"birthName": "ECETINSI", "givenNames": ["PIERRE-ALAIN"], "sex": "M", "birthDate": "2009-07-14"}
AS_NOBODY: dict[str, Any] = {"retries": 2, "unknown_person_faults": {"simulated": "notFound"}}


def codes(result: Any) -> list[str]:
    return [attempt.code for attempt in result.trace.attempts]


# ---------------------------------------------------------------- a fault that hides a person not found


@pytest.mark.parametrize("style", ["insi_102", "desir_1020"])
def test_where_the_settings_say_so_such_a_fault_is_an_answer_marked_as_what_it_was(bench: Bench, style: Any) -> None:
    """Not repeated, although the same fault of a service that is down would be."""
    bench.configure(insi=AS_NOBODY)
    bench.insi.service.style = Style(not_found=style)

    result = bench.do(bench.by_traits(traits=HOUILLES))

    assert (result.outcome, result.code, result.integrable) == (Outcome.NOT_FOUND, style, False)
    assert "temporairement inaccessible" in result.label
    assert codes(result) == bench.attempts_of(result.trace.id) == [style] * 3
    assert [attempt.given[1] for attempt in result.trace.attempts] == [
        "givenNames[0]",
        "givenNames[1]",
        "givenNames[0]",
    ]
    assert result.warnings == ["environment.simulated", "notFound.asFault"]


def test_after_it_the_search_goes_on_to_whom_it_finds(bench: Bench) -> None:
    """CNDA test 2.07-1 on the qualification service of 2023."""
    bench.configure(insi=AS_NOBODY)
    bench.insi.service.style = Style(not_found="insi_102")

    result = bench.do(bench.by_traits(traits=CATARINA))

    assert (codes(result), result.integrable) == (["insi_102", "00"], True)
    assert "notFound.asFault" in result.warnings


def test_a_search_that_ended_with_it_is_continued_with_the_birth_place(bench: Bench) -> None:
    bench.configure(insi=AS_NOBODY)
    bench.insi.service.style = Style(not_found="insi_102")
    nobody = bench.do(bench.by_traits(traits=HOUILLES))

    further = bench.do(bench.by_traits(traits=HOUILLES | {"birthPlaceCode": "63220"}, continues=nobody.trace.id))

    assert [attempt.given for attempt in further.trace.attempts] == [
        ["birthName", "givenNames[0]", "givenNames[1]", "sex", "birthDate", "birthPlaceCode"]
    ]


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"unknown_person_faults": {}}, "insi_102"),
        ({"unknown_person_faults": {"test": "notFound"}}, "insi_102"),  # of another environment
        (AS_NOBODY, "insi_111"),  # a fault that hides nobody
    ],
)
def test_otherwise_it_is_unavailability_repeated_and_said(bench: Bench, settings: dict[str, Any], code: str) -> None:
    bench.configure(insi={"retries": 1, "unknown_person_faults": settings["unknown_person_faults"]})
    fault = {"code": code, "subcode": "siram_40", "severity": "fatal", "reason": "Plus tard.", "detail": ""}
    bench.insi.fails = [AgentError(Code.INSI_FAULT_UNAVAILABLE, insi=fault) for _ in range(2)]

    refused = bench.refused(bench.by_traits(traits=HOUILLES))

    assert (refused.code, refused.facts["insi"]) == (Code.INSI_FAULT_UNAVAILABLE, fault)
    assert bench.attempts_of(refused.facts["traceId"]) == [code, code]


def test_a_search_by_card_may_find_nobody_this_way_too(bench: Bench) -> None:
    bench.configure(insi=AS_NOBODY)
    fault = {"code": "desir_1020", "subcode": "siram_40", "severity": "fatale", "reason": "Plus tard.", "detail": ""}
    bench.insi.fails = [AgentError(Code.INSI_FAULT_UNAVAILABLE, insi=fault)]
    read = bench.do(bench.read())

    result = bench.do(bench.with_vitale(read.read_id))

    assert (result.outcome, result.code, result.label) == (Outcome.NOT_FOUND, "desir_1020", "Plus tard.")
    assert result.warnings == ["rank.assumed", "environment.simulated", "notFound.asFault"]
    assert codes(result) == ["desir_1020"]


# ---------------------------------------------------------------- repeats and pauses


@pytest.mark.parametrize("subcode", ["siram_10", "siram_100"])
def test_a_refusal_of_insi_is_never_repeated(bench: Bench, subcode: str) -> None:
    bench.configure(insi={"retries": 3})
    fault = {"code": "sim_fault", "subcode": subcode, "severity": "erreur", "reason": "", "detail": ""}
    bench.insi.fails = [AgentError(Code.INSI_FAULT_INPUT, insi=fault)]

    refused = bench.refused(bench.by_traits())

    assert bench.attempts_of(refused.facts["traceId"]) == ["sim_fault"]
    assert bench.pauses == []


def test_a_repeat_has_all_its_identifiers_and_its_time_anew(bench: Bench) -> None:
    """Section 12: new MessageID, new context ids."""
    bench.configure(insi={"retries": 1})
    bench.insi.fails = [AgentError(Code.INSI_TIMEOUT)]

    bench.do(bench.by_traits())

    first, second = (
        {element.text for element in etree.fromstring(message).iterfind(".//{*}Header//{*}Id")}
        | {etree.fromstring(message).findtext(".//{*}MessageID")}
        for message in bench.insi.received
    )
    assert len(first) == len(second) == 3
    assert not first & second


def test_between_two_attempts_there_is_the_pause_that_the_settings_want_and_none_before_the_first(
    bench: Bench,
) -> None:
    bench.configure(insi={"retries": 1, "pause_s": 0.5, "retry_pause_s": 2})
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE)]

    result = bench.do(bench.by_traits(traits=HOUILLES))

    assert codes(result) == ["insi.unreachable", "01", "01", "01"]
    assert bench.pauses == [2, 0.5, 0.5]


def test_each_repeat_waits_twice_as_long_as_the_one_before(bench: Bench) -> None:
    """Section 12: a service that is down is not helped by more calls."""
    bench.configure(insi={"retries": 3, "retry_pause_s": 1, "pause_s": 1.5})
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE) for _ in range(3)]

    result = bench.do(bench.by_traits())

    assert codes(result)[-1] == "00"
    assert bench.pauses == [1.5, 2, 4]  # never shorter than between any two attempts


class Noting(bytes):
    """A reply that notes who reads it."""

    def __new__(cls, content: bytes) -> "Noting":
        noting = super().__new__(cls, content)
        noting.readers = set()
        return noting

    readers: set[str]

    def lstrip(self, *blanks: Any) -> bytes:
        self.readers.add(threading.current_thread().name)
        return super().lstrip(*blanks)


@pytest.mark.parametrize("damage", [b"", b"<"])
def test_an_answer_is_read_on_the_lane_of_the_network_and_kept_whatever_it_says(bench: Bench, damage: bytes) -> None:
    """A long one would hold up whatever else the agent does."""
    insi, replies = bench.insi, list[HttpReply]()

    class Watched:
        check, close = insi.check, insi.close

        def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
            reply = insi.post(sender, action, envelope)
            replies.append(replace(reply, body=Noting(reply.body + damage)))
            return replies[0]

    bench.desk.teleservice = Watched()
    if damage:
        error = bench.refused(bench.by_traits())
        assert (error.code, bench.attempts_of(error.facts["traceId"])) == (Code.INSI_UNREADABLE, ["insi.unreadable"])
        trace_id = error.facts["traceId"]
    else:
        trace_id = bench.do(bench.by_traits()).trace.id
    stored = bench.stored(trace_id)

    assert isinstance(replies[0].body, Noting)
    assert replies[0].body.readers == {"lane-network"}
    assert stored.attempts[0].outcome
    assert stored.attempts[0].outcome["httpStatus"] == 200


def test_every_attempt_is_counted_by_its_code_faults_and_failures_too(bench: Bench) -> None:
    """S034, S127."""
    bench.configure(insi=AS_NOBODY | {"retries": 1})
    bench.insi.service.style = Style(not_found="insi_102")
    bench.insi.fails = [AgentError(Code.INSI_UNREACHABLE)]

    bench.do(bench.by_traits(traits=CATARINA))
    bench.do(bench.verify())

    counted = bench.desk.counts.operations
    assert counted["WS_INS2"].by_code == {"insi.unreachable": 1, "insi_102": 1, "00": 1}
    assert (counted["WS_INS2"].calls, counted["WS_INS3"].calls) == (3, 1)
    assert (counted["WS_INS2"].faults, counted["WS_INS3"].faults) == (2, 0)  # also the one that means nobody
    assert counted["WS_INS2"].last_ms == counted["WS_INS2"].max_ms == 5


# ---------------------------------------------------------------- beside the schema


class Judging:
    """The bench's contract, with its own opinion of answers."""

    def __init__(self, own: Contract, faults: list[str] | Exception) -> None:
        self._faults = faults
        self.check, self.binding, self._own = own.check, own.binding, own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def faults_of_answer(self, _operation: Operation, _body: object) -> list[str]:
        if isinstance(self._faults, Exception):
            raise self._faults
        return self._faults


def judged(bench: Bench, faults: list[str] | Exception) -> None:
    own = bench.contract()
    bench.contract = lambda: Judging(own, faults)  # type: ignore[assignment, return-value]  # the same but for one


def test_an_answer_that_differs_from_the_schema_is_kept_and_said(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A CNDA reply file of an older edition: the dates of a former number before the number."""
    bench.insi.service.style = Style(dates_first=True)
    with caplog.at_level(logging.WARNING):
        result = bench.do(bench.by_traits(traits=ECETINSI))

    assert result.identity
    assert result.identity.history[0].matricule == "2090763220834"
    assert "answer.schema" in result.warnings
    assert "2090763220834" not in caplog.text
    assert "answer.schema" not in bench.do(bench.by_traits()).warnings


def test_who_does_not_want_answers_checked_is_told_nothing_of_them(bench: Bench) -> None:
    judged(bench, ["RESULTAT/CR"])
    bench.configure(insi={"check_answers": False})

    assert bench.do(bench.by_traits()).warnings == ["environment.simulated"]


@pytest.mark.parametrize("failure", [AgentError(Code.CONTRACT_UNREADABLE), ValueError("TOUSSAINT")])
def test_a_check_that_fails_loses_no_answer_and_tells_nobody_what_it_saw(
    bench: Bench, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    judged(bench, failure)
    with caplog.at_level(logging.DEBUG):
        result = bench.do(bench.by_traits())

    assert (result.code, result.warnings) == ("00", ["environment.simulated"])
    assert type(failure).__name__ in caplog.text
    assert "TOUSSAINT" not in caplog.text


def test_what_the_transport_could_not_check_is_said_with_the_answer(bench: Bench) -> None:
    insi = bench.insi

    class Unchecked:
        """A server whose CA publishes no list that can be read now."""

        check, close = insi.check, insi.close

        def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
            return replace(insi.post(sender, action, envelope), warnings=("revocation.unchecked",))

    bench.desk.teleservice = Unchecked()

    assert bench.do(bench.by_traits()).warnings == ["environment.simulated", "revocation.unchecked"]


def test_each_warning_is_said_once_whatever_the_attempts(bench: Bench) -> None:
    judged(bench, ["RESULTAT/CR"])

    result = bench.do(bench.by_traits(traits=HOUILLES))

    assert len(result.trace.attempts) == 3
    assert result.warnings.count("answer.schema") == 1


# ---------------------------------------------------------------- what travels


def test_every_operation_names_the_software_that_the_origin_selects(bench: Bench) -> None:
    """S027, S035: ContexteLPS, and its UUID of this installation."""
    read = bench.do(bench.read())
    for call in (bench.with_vitale(read.read_id), bench.by_traits(), bench.verify()):
        bench.do(call)

    for message in bench.insi.received:
        lps = etree.fromstring(message).find(".//{*}ContexteLPS/{*}LPS")
        assert [element.text for element in lps] == [
            "SIMULATEUR-0001",
            "1",
            "00000000-0000-4000-8000-000000000001",
            "urn:lps:Dossier:1",
        ]
        assert lps[0].get("R") == "4"


def test_the_organisations_certificate_is_named_in_the_trace(bench: Bench) -> None:
    by_certificate = bench.do(bench.by_traits(authMode="organisation")).trace
    by_card = bench.do(bench.by_traits()).trace

    assert by_certificate.certificate == "INSI-MANU"
    assert by_certificate.structure
    assert by_certificate.professional is None
    assert by_card.certificate is None
    assert by_card.professional


def test_the_sender_is_the_one_that_authenticated(bench: Bench) -> None:
    senders: list[Sender] = []
    insi = bench.insi

    class Noting:
        check, close = insi.check, insi.close

        def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
            senders.append(sender)
            return insi.post(sender, action, envelope)

    bench.desk.teleservice = Noting()
    bench.do(bench.by_traits(authMode="organisation"))
    bench.do(bench.by_traits())
    (opened,) = bench.do(bench.desk.organisations())

    assert senders == [
        Sender(AuthMode.ORGANISATION, getattr(opened.found, "fingerprint", "")),
        Sender(AuthMode.CPX),
    ]


@pytest.mark.parametrize("wanted", [False, True])
def test_the_key_on_the_card_travels_where_the_settings_say_so(bench: Bench, wanted: bool) -> None:
    bench.configure(insi={"send_key": wanted})
    read = bench.do(bench.read())

    bench.do(bench.with_vitale(read.read_id))

    key = etree.fromstring(bench.insi.received[-1]).findtext(".//{*}MatriculeOD/{*}Cle")
    assert key == (read.holders[0].nir_key if wanted else None)


def test_a_label_that_is_no_fixed_text_reaches_the_page_and_not_the_journals_clear_part(bench: Bench) -> None:
    bench.insi.service.inject_reply(
        b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>'
        b'<RESULTAT xmlns="http://www.cnamts.fr/INSiResultat"><CR><CodeCR>01</CodeCR>'
        b"<LibelleCR>TOUSSAINT inconnu</LibelleCR></CR></RESULTAT></s:Body></s:Envelope>"
    )
    result = bench.do(bench.by_traits())
    trace_id = result.trace.id
    stored = bench.stored(trace_id)

    assert (result.outcome, result.label) == (Outcome.NOT_FOUND, "TOUSSAINT inconnu")
    assert [attempt.outcome and attempt.outcome["label"] for attempt in stored.attempts] == ["?"]


def test_a_birth_place_is_never_in_a_first_attempt_wherever_the_search_goes(bench: Bench) -> None:
    """S102."""
    for traits in (TOUSSAINT | {"birthPlaceCode": "2B020"}, HOUILLES | {"birthPlaceCode": "63220"}, LEONARDO):
        result = bench.do(bench.by_traits(traits=traits))
        assert "birthPlaceCode" not in result.trace.attempts[0].given
    assert bench.insi.service.places_too_early == 0


def test_a_birth_date_out_of_the_calendar_travels_unless_the_settings_refuse_it(bench: Bench) -> None:
    traits = {"birthName": "INVENTEE", "givenNames": ["LUNE"], "sex": "F", "birthDate": "1950-00-00"}
    found = bench.do(bench.by_traits(traits=traits))
    bench.configure(insi={"lunar_dates": "refuse"})
    refused = bench.refused(bench.by_traits(traits=traits))

    assert found.identity
    assert found.identity.birth_date == "1950-00-00"
    assert (refused.code, refused.facts["member"]) == (Code.TRAITS_REFUSED, "birthDate")


# ---------------------------------------------------------------- what is traced of the page's own words

COMMON: dict[str, Any] = {
    "activity": "01",
    "challenge": "Y2hhbGxlbmdlLXF1aS1uZS1zZS1kZXZpbmUtcGFzLWR1LXRvdXQ",
    "user": {"id": "accueil-3", "name": "DOMINIQUE EXEMPLE", "role": "secrétariat"},
    "context": "ahead",
    "identity": {"status": "VALI", "attributes": ["HOMA"]},
    "local": {"birthName": "Adrtrois", "sex": "I"},
}


@pytest.mark.parametrize("operation", ["retrieveByTraits", "retrieveWithVitale", "verify"])
def test_all_that_a_page_says_of_a_call_is_traced_and_what_is_personal_is_sealed(bench: Bench, operation: str) -> None:
    """S077, S106, S108, S118."""
    read = bench.do(bench.read())
    calls = {
        "retrieveByTraits": lambda: bench.by_traits(**COMMON),
        "retrieveWithVitale": lambda: bench.with_vitale(read.read_id, **COMMON),
        "verify": lambda: bench.verify(**COMMON),
    }
    result = bench.do(calls[operation]())
    trace_id = result.trace.id
    stored = bench.stored(trace_id)

    assert stored.params
    kept = json.loads(stored.params)
    assert {name: kept[name] for name in COMMON} == COMMON
    assert result.trace.user
    assert (result.trace.user.id, result.trace.context) == ("accueil-3", "ahead")
    assert json.loads(stored.result or b"")["trace"]["user"] == COMMON["user"]
    written = b"".join(file.read_bytes() for file in (bench.folder / "journal").rglob("*") if file.is_file())
    for secret in (b"accueil-3", b"DOMINIQUE EXEMPLE", b"Adrtrois", b"HOMA"):
        assert secret not in written


def test_a_user_is_wanted_where_no_card_says_who_calls_and_only_outside_the_simulator(bench: Bench) -> None:
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
    bench.desk.environment = Environment.TEST
    bench.configure(software=[row], organisation={"certificates": ["/organisation.p12"]})

    assert bench.refused(bench.by_traits(authMode="organisation")).code is Code.USER_REQUIRED
    assert bench.do(bench.by_traits(authMode="organisation", user={"id": "u"})).trace.user
