"""The agent's own messages and reader before the simulated INSi, over HTTPS, with the official fictitious people."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.answers import body_of, read_answer, read_batch, read_deposit
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.fake_people import NIR_OID, PEOPLE, Person
from agent.insi.fake_style import FAULT_CODES, Style
from agent.insi.http import HttpTeleservice
from agent.insi.operations import (
    DepositQuery,
    FetchQuery,
    Operation,
    Query,
    TraitsQuery,
    VerifyQuery,
    VitaleQuery,
)
from agent.insi.ports import HttpReply
from agent.insi.rules import judge
from agent.model import AuthMode, InsKind, Outcome, Traits
from tests.insi.conftest import CONTRACT, World, ask, search, send, traits
from tests.parts.assertion import assertion

CPX, ORGANISATION = AuthMode.CPX, AuthMode.ORGANISATION
MODES = [CPX, ORGANISATION]
TOUSSAINT = TraitsQuery("ADRTROIS", "TOUSSAINT", "M", "1960-01-01", None, ())


def codes(network: HttpTeleservice, world: World, mode: AuthMode, person: Traits) -> list[str]:
    signed = assertion(world.card) if mode is CPX else None  # one assertion for the whole operation
    return [answer.code for answer in search(network, mode, person, signed=signed)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (traits("D'Artagnan de l'Hérault", "Pierre-Alain", "M", "2001-06-17"), ["00"]),  # CNDA 2.03-1
        (traits("D’ÆION", "CŒUR", "M", "1987-01-25"), ["01"]),  # CNDA 2.03-3
        (traits("DE VINCI", "LEONARDO", "M", "2014-02-01"), ["02"]),  # CNDA 2.06-1
        (traits("DE VINCI", "LEONARDO", "M", "2014-02-01", "63220"), ["02", "00"]),  # CNDA 2.06-2
        (traits("TCHITCHI", "OLA,CATARINA,BELLA", "F", "1936-06-21"), ["01", "00"]),  # CNDA 2.07-1
        (traits("HOUILLES", "PIERRE,PAUL,JACQUES", "M", "1993-01-27"), ["01"] * 4),  # CNDA 2.07-2
        (traits("HOUILLES", "PIERRE", "M", "1993-01-27", "63220"), ["01", "01"]),
    ],
)
def test_a_search_takes_the_attempts_that_cnda_expects(
    network: HttpTeleservice, world: World, insi: SimulatedInsi, mode: AuthMode, person: Traits, expected: list[str]
) -> None:
    assert codes(network, world, mode, person) == expected
    assert len({request.body for request in insi.requests}) == len(expected)
    assert [request.mode for request in insi.requests] == [mode] * len(expected)
    assert insi.service.places_too_early == 0


@pytest.mark.parametrize("person", [person for person in PEOPLE if person.only in (None, "traits")])
def test_everyone_is_found_by_their_traits_as_written(
    insi: SimulatedInsi, network: HttpTeleservice, person: Person
) -> None:
    first = person.given_names.split()[0]
    query = TraitsQuery(person.birth_name, first, person.sex, person.birth_date, None, ())

    answer = ask(network, ORGANISATION, query)
    if answer.code == "02":
        answer = ask(network, ORGANISATION, replace(query, birth_place_code=person.birth_place))

    found = answer.identity
    assert found is not None
    assert (found.ins.matricule, found.ins.key, found.ins.oid) == (person.matricule, person.key, person.oid)
    assert [(past.matricule, past.key, past.from_, past.to) for past in found.history] == [
        (past.matricule, past.key, past.start, past.end) for past in person.history
    ]
    assert judge(answer.outcome, found).integrable is (person.left_empty is None)


@pytest.mark.parametrize(
    ("query", "matricule"),
    [
        (VitaleQuery("1810163220751", "1981-01-01", 1), "1810163220751"),
        (VitaleQuery("2841276451089", "1984-12-31", 1), "2841276451089"),
        (VitaleQuery("2841276451089", "2015-02-01", 1), "1150276451001"),  # a twin, by the parent's number
        (VitaleQuery("2841276451089", "2015-02-01", 2), "2150276451002"),
        (VitaleQuery("2841276451089", "2015-02-01", 2, certified_nir="2150276451002"), "2150276451002"),
        (VitaleQuery("2540099999001", "1954-00-00", 1), "2540099999001"),
        (VitaleQuery("2841276451089", "2015-02-02", 1), None),
        (VitaleQuery("2841276451089", "2015-02-01", 3), None),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_a_card_finds_the_person_and_not_the_insured(
    network: HttpTeleservice, world: World, mode: AuthMode, query: VitaleQuery, matricule: str | None
) -> None:
    answer = ask(network, mode, query, signed=assertion(world.card) if mode is CPX else None)

    assert answer.code == ("01" if matricule is None else "00")
    assert (answer.identity and answer.identity.ins.matricule) == matricule


def test_a_card_may_give_a_waiting_number(network: HttpTeleservice) -> None:
    """CNDA 1.10: with the OID of a NIA, the number that 2.04 gives with that of a NIR."""
    by_card = ask(network, ORGANISATION, VitaleQuery("1090763220834", "2009-07-14", 1)).identity
    by_traits = search(network, ORGANISATION, traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14"))[-1].identity

    assert by_card is not None
    assert by_traits is not None
    assert by_card.ins.matricule == by_traits.ins.matricule
    assert (by_card.ins.kind, by_traits.ins.kind) == (InsKind.NIA, InsKind.NIR)


def test_a_reply_file_answers_once(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    """CNDA 2.04-2 and REP_CR01: injected per attempt."""
    person = traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14")
    insi.service.inject(None)
    insi.service.inject("2.04-2")

    answers = [search(network, ORGANISATION, person)[-1] for _ in range(3)]

    assert [answer.code for answer in answers] == ["01", "00", "00"]
    assert [answer.identity and len(answer.identity.history) for answer in answers] == [None, 2, 1]


@given(
    st.builds(
        Style,
        result_prefix=st.sampled_from(["", "ns2"]),
        body_prefix=st.sampled_from(["env", "S", "soap"]),
        header=st.sampled_from(["absent", "empty"]),
        old_given_name=st.booleans(),
        dates_first=st.booleans(),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_every_style_of_answer_is_read_alike(network: HttpTeleservice, insi: SimulatedInsi, style: Style) -> None:
    person = traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14")
    insi.service.style = Style()
    plain = search(network, ORGANISATION, person)

    insi.service.style = style

    assert search(network, ORGANISATION, person) == plain
    assert plain[0].code == "00"


@pytest.mark.parametrize("year", ["2022", "2026"])
@pytest.mark.parametrize(("not_found", "code"), [("01", "01"), ("insi_102", "insi_102"), ("desir_1020", "desir_1020")])
def test_not_found_may_hide_behind_a_fault(
    network: HttpTeleservice, insi: SimulatedInsi, year: str, not_found: str, code: str
) -> None:
    """Qualification did so for years; such a fault looks like unavailability and ends the search."""
    insi.service.style = Style(not_found=not_found, fault=year)  # type: ignore[arg-type]  # parametrize
    unknown = TraitsQuery("HOUILLES", "PIERRE", "M", "1993-01-27", None, ())

    if code == "01":
        assert ask(network, ORGANISATION, unknown).code == "01"
        return
    with pytest.raises(AgentError) as error:
        ask(network, ORGANISATION, unknown)

    assert error.value.code is Code.INSI_FAULT_UNAVAILABLE
    assert error.value.facts["insi"]["code"] == code
    assert error.value.facts["insi"]["subcode"] == "siram_40"


def test_every_known_fault_is_read_as_its_family(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    families = {}
    for fault in FAULT_CODES:
        insi.service.style = Style(answer=fault)
        with pytest.raises(AgentError) as error:
            ask(network, ORGANISATION, TOUSSAINT)
        assert error.value.facts["insi"]["code"] == fault
        families[fault] = error.value.code

    assert families == {
        "desir_550": Code.INSI_FAULT_ACCESS,
        "desir_560": Code.INSI_FAULT_ACCESS,
        "desir_1020": Code.INSI_FAULT_UNAVAILABLE,
        "insi_19": Code.INSI_FAULT_INPUT,
        "insi_102": Code.INSI_FAULT_UNAVAILABLE,
        "insi_111": Code.INSI_FAULT_UNAVAILABLE,
    }


# ------------------------------------------------------------ the placeholder contract

LEONARDO = VerifyQuery(
    "1140263220833", "56", NIR_OID, "DE VINCI", "LEONARDO", "LEONARDO PIERO", "M", "2014-02-01", "63220", ("matricule",)
)


def exchange(network: HttpTeleservice, query: Query, mode: AuthMode = ORGANISATION, signed: Any = None) -> HttpReply:
    """One message of the agent's, and an answer as the contract says."""
    reply = send(network, mode, query, signed=signed)
    assert CONTRACT.faults_of_answer(query.operation, body_of(reply)) == []
    return reply


@pytest.mark.parametrize("mode", MODES)
def test_an_ins_is_verified(network: HttpTeleservice, world: World, mode: AuthMode) -> None:
    shape = CONTRACT.binding(Operation.VERIFY).answer
    signed = assertion(world.card) if mode is CPX else None

    answers = [
        read_answer(exchange(network, query, mode, signed), shape)
        for query in (LEONARDO, replace(LEONARDO, given_names="LEONARDO"))
    ]

    assert [(answer.code, answer.outcome) for answer in answers] == [
        ("OK", Outcome.VERIFIED),
        ("KO", Outcome.NOT_VERIFIED),
    ]


def test_a_batch_goes_and_comes_back(network: HttpTeleservice) -> None:
    shapes = {operation: CONTRACT.binding(operation).answer for operation in (Operation.DEPOSIT, Operation.FETCH)}
    items = (("un", LEONARDO), ("deux", replace(LEONARDO, sex="F")))
    deposited = read_deposit(exchange(network, DepositQuery("LOT-1", items)), shapes[Operation.DEPOSIT])

    fetched = [read_batch(exchange(network, FetchQuery(deposited.batch)), shapes[Operation.FETCH]) for _ in range(2)]

    assert [batch.ready for batch in fetched] == [False, True]
    assert [(item.reference, item.outcome) for item in fetched[1].items] == [
        ("deux", Outcome.NOT_VERIFIED),
        ("un", Outcome.VERIFIED),
    ]
