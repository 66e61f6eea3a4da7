"""insi.verify: WS_INS3 as the placeholder contract binds it, against the simulated INSi."""

from typing import Any

import pytest
from lxml import etree

from agent.errors import AgentError, Code
from agent.model import Environment, Outcome
from agent.protocol.messages import Client, HelloParams
from agent.workflows import greeting
from tests.workflows.making import LEONARDO, SITE, TOUSSAINT, TOUSSAINTS_INS, Bench

PIERRE_ALAINS_INS = {"matricule": "1010663220754", "key": "60", "oid": "1.2.250.1.213.1.4.8"}
PIERRE_ALAIN = {
    "birthName": "d’Artagnan de l'Hérault",
    "givenNames": ["Pierre-Alain", "Gunther"],
    "sex": "M",
    "birthDate": "2001-06-17",
    "birthPlaceCode": "63220",
}
NIA = {"matricule": "1090763220888", "key": "35", "oid": "1.2.250.1.213.1.4.9"}
MATRICULE = {
    "birthName": "PROVISOIRE",
    "givenNames": ["MATRICULE"],
    "sex": "M",
    "birthDate": "2009-07-01",
    "birthPlaceCode": "63220",
}
HELLO = HelloParams(api_levels=[1], client=Client(name="essai", version="1"))


def texts(message: bytes) -> list[str]:
    """Every text below the SOAP body, in order."""
    return [text for text in etree.fromstring(message).find("{*}Body").itertext() if text.strip()]


def wants_a_real_environment(bench: Bench, **settings: Any) -> None:
    bench.desk.environment = Environment.TEST
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
    bench.configure(software=[row], **settings)


# ---------------------------------------------------------------- what INSi says


def test_an_ins_with_its_traits_is_verified_and_traced(bench: Bench) -> None:
    """S116, S118."""
    traits = TOUSSAINT | {"birthPlaceCode": "2B020"}
    result = bench.do(bench.verify(traits=traits, local={"birthName": "Adrtrois"}))

    assert (result.outcome, result.integrable, result.reasons) == (Outcome.VERIFIED, True, [])
    assert result.identity is None
    assert result.comparison is None  # INSi gives back nothing to compare with
    assert result.trace.operation == "WS_INS3"
    assert result.asked
    assert (result.asked.ins.matricule, result.asked.traits.birth_place_code) == ("160012B020777", "2B020")
    assert result.warnings == ["environment.simulated"]
    assert result.trace.attempts[0].given == [
        *("matricule", "key", "oid", "birthName", "givenNames[0]", "sex", "birthDate", "birthPlaceCode")
    ]
    assert bench.attempts_of(result.trace.id) == [result.code]


def test_an_ins_of_somebody_else_is_not_verified_and_not_to_be_integrated(bench: Bench) -> None:
    """S120."""
    result = bench.do(bench.verify(traits=TOUSSAINT | {"birthDate": "1960-01-02"}))

    assert (result.outcome, result.integrable, result.reasons) == (Outcome.NOT_VERIFIED, False, ["ins.notVerified"])
    assert bench.attempts_of(result.trace.id) == [result.code]


def test_the_whole_list_of_given_names_travels_in_one_element_in_insis_alphabet(bench: Bench) -> None:
    result = bench.do(bench.verify(ins=PIERRE_ALAINS_INS, traits=PIERRE_ALAIN))

    sent = texts(bench.insi.received[-1])
    assert "PIERRE-ALAIN GUNTHER" in sent
    assert "D'ARTAGNAN DE L'HERAULT" in sent
    assert result.outcome is Outcome.VERIFIED


def test_the_birth_place_travels_as_given_in_the_one_attempt_also_when_it_is_unknown(bench: Bench) -> None:
    """S102 is about searches. COG 99999: a place that nobody knows."""
    result = bench.do(bench.verify(traits=TOUSSAINT | {"birthPlaceCode": "99999"}))

    assert "99999" in texts(bench.insi.received[-1])
    assert len(result.trace.attempts) == 1


@pytest.mark.parametrize("date", ["1960-01-00", "1960-00-00"])
def test_a_birth_date_out_of_the_calendar_travels_as_given(bench: Bench, date: str) -> None:
    bench.do(bench.verify(traits=TOUSSAINT | {"birthDate": date}))

    assert date in texts(bench.insi.received[-1])


def test_a_wrong_key_is_a_warning_and_never_a_refusal(bench: Bench) -> None:
    right, wrong, none = (
        bench.do(bench.verify(ins=TOUSSAINTS_INS | {"key": key}, traits=TOUSSAINT | {"birthPlaceCode": "2B020"}))
        for key in ("13", "14", None)
    )

    assert [result.warnings for result in (right, wrong, none)] == [
        ["environment.simulated"],
        ["key.mismatch", "environment.simulated"],
        ["environment.simulated"],
    ]
    assert "key" not in none.trace.attempts[0].given


def test_the_number_of_someone_who_waits_for_one_is_to_be_verified_again(bench: Bench) -> None:
    """S124."""
    result = bench.do(bench.verify(ins=NIA, traits=MATRICULE))

    assert result.outcome is Outcome.VERIFIED
    assert "nia.verifyAgain" in result.warnings


def test_an_oid_that_means_nothing_to_us_is_sent_and_said(bench: Bench) -> None:
    result = bench.do(bench.verify(ins=TOUSSAINTS_INS | {"oid": "1.2.250.1.213.1.4.12"}))

    assert result.outcome is Outcome.NOT_VERIFIED
    assert "oid.unknown" in result.warnings


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "oid",
    [
        "1.2.250.1.213.1.4.13",
        "1.2.250.1.213.1.4.14",
        "1.2.250.1.213.1.4.2",
        "1.2.250.1.213.1.4.1",
        "1.2.250.1.213.1.4.1.3",
    ],
)
def test_a_number_that_is_no_ins_is_refused_before_any_card(bench: Bench, oid: str) -> None:
    refused = bench.refused(bench.verify(ins=TOUSSAINTS_INS | {"oid": oid}))

    assert (refused.code, refused.facts) == (Code.INS_REFUSED, {"oid": oid})
    assert (bench.slot.calls, bench.insi.received) == ([], [])


def test_a_name_that_insi_cannot_write_is_refused_by_its_member(bench: Bench) -> None:
    refused = bench.refused(bench.verify(traits=TOUSSAINT | {"givenNames": ["TOUSSAINT", "R2D2"]}))

    assert (refused.code, refused.facts["member"]) == (Code.TRAITS_REFUSED, "givenNames[1]")
    assert (bench.slot.calls, bench.insi.received) == ([], [])


def test_outside_the_simulator_the_placeholder_contract_sends_nothing(bench: Bench) -> None:
    """WS_INS3 has no public contract."""
    wants_a_real_environment(bench)

    assert bench.refused(bench.verify()).code is Code.CONTRACT_MISSING
    assert (bench.slot.calls, bench.person.questions, bench.insi.received) == ([], [], [])
    assert bench.do(bench.by_traits()).code == "00"


def test_software_that_may_not_search_may_verify(bench: Bench) -> None:
    """S003."""
    bench.configure(profile="consumer")

    assert bench.refused(bench.by_traits()).code is Code.INSI_NOT_PERMITTED
    assert bench.do(bench.verify()).trace.operation == "WS_INS3"


@pytest.mark.parametrize(
    "identity",
    [{"status": "PROV"}, {"status": "PROV", "attributes": ["DOUT"]}, {"status": "PROV", "attributes": ["FICT"]}],
)
def test_what_forbids_a_search_for_an_identity_does_not_forbid_to_verify_it(
    bench: Bench, identity: dict[str, Any]
) -> None:
    bench.configure(insi={"provisional": "forbid"})

    assert bench.refused(bench.by_traits(identity=identity)).code in {
        Code.IDENTITY_DOUBTFUL,
        Code.IDENTITY_PROVISIONAL,
    }
    assert bench.do(bench.verify(identity=identity)).trace.operation == "WS_INS3"


def test_unavailability_is_repeated_and_never_taken_for_an_answer(bench: Bench) -> None:
    """A search may hide nobody behind such a fault; a verification has nobody to hide."""
    bench.configure(insi={"retries": 1, "unknown_person_faults": {"simulated": "notFound"}})
    bench.insi.fails = [AgentError(Code.INSI_FAULT_UNAVAILABLE, insi=INSI_102), AgentError(Code.INSI_UNREACHABLE)]

    refused = bench.refused(bench.verify())

    assert refused.code is Code.INSI_UNREACHABLE
    assert bench.attempts_of(refused.facts["traceId"]) == ["insi_102", "insi.unreachable"]


INSI_102 = {"code": "insi_102", "subcode": "siram_40", "severity": "fatal", "reason": "Plus tard.", "detail": ""}


def test_a_client_ref_is_of_one_operation(bench: Bench) -> None:
    first = bench.do(bench.verify(clientRef="venue-1"))

    assert bench.do(bench.verify(clientRef="venue-1")) == first.model_copy(update={"replayed": True})
    assert bench.refused(bench.verify(traits=LEONARDO, clientRef="venue-1")).code is Code.CLIENT_REF_REUSED
    assert len(bench.insi.received) == 1


# ---------------------------------------------------------------- what hello says


def capabilities(bench: Bench) -> list[str]:
    return bench.do(greeting.hello(bench.desk, bench.asker(), HELLO)).capabilities


def test_the_simulator_announces_it_to_a_repository_and_to_a_consumer(bench: Bench) -> None:
    assert "insi.verify" in capabilities(bench)
    bench.configure(profile="consumer")
    announced = capabilities(bench)

    assert {"insi.verify", "insi.verify:clientRef"} <= set(announced)
    assert "insi.retrieveByTraits" not in announced


def test_it_is_not_announced_without_a_contract_that_knows_it_and_none_is_read_to_know_that(bench: Bench) -> None:
    def never() -> Any:
        raise AssertionError

    bench.contract = never
    wants_a_real_environment(bench)

    announced = capabilities(bench)

    assert "insi.retrieveByTraits" in announced
    assert not [one for one in announced if one.startswith("insi.verify")]


class Known:
    """A contract whose package binds WS_INS3, or does not."""

    def __init__(self, *, binds: bool) -> None:
        self._binds = binds

    def check(self, _operation: object, *, simulated: bool) -> None:
        if not self._binds and not simulated:
            raise AgentError(Code.CONTRACT_MISSING)


@pytest.mark.parametrize("binds", [True, False])
def test_it_is_announced_where_the_official_package_binds_it(bench: Bench, binds: bool) -> None:
    bench.contract = lambda: Known(binds=binds)  # type: ignore[assignment, return-value]  # as much of it as is asked
    wants_a_real_environment(bench, insi={"contract": "/paquet-officiel"})

    assert ("insi.verify" in capabilities(bench)) is binds


def test_while_insi_is_being_called_what_was_known_of_the_contract_counts(bench: Bench) -> None:
    bench.contract = lambda: Known(binds=True)  # type: ignore[assignment, return-value]  # the same
    wants_a_real_environment(bench, insi={"contract": "/paquet-officiel"})
    capabilities(bench)

    async def meanwhile() -> list[str]:
        import asyncio
        import threading

        let_go = threading.Event()
        call = asyncio.create_task(bench.desk.lanes.network.run(lambda: let_go.wait(20), timeout_s=30))
        hello = await greeting.hello(bench.desk, bench.asker(), HELLO)
        let_go.set()
        await call
        return hello.capabilities

    assert "insi.verify" in bench.do(meanwhile())


@pytest.mark.parametrize("numbers", [{"test": "1234"}, {"simulated": ""}, None])
def test_who_has_no_authorisation_here_is_announced_no_call_of_insi(
    bench: Bench, numbers: dict[str, str] | None
) -> None:
    row = {"name": "D", "version": "1", "origins": [SITE], "authorisation": numbers}
    bench.configure(software=[row] if numbers else [])

    announced = capabilities(bench)

    assert bench.refused(bench.by_traits()).code is Code.SOFTWARE_NOT_AUTHORISED
    assert [one for one in announced if one.startswith("insi.")] == []
    assert {"vitale.read", "cpx.unlock", "trace.get"} <= set(announced)
