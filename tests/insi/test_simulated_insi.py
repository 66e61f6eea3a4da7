"""Whole exchanges with the simulated INSi over HTTPS, with the official fictitious people."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.errors import AgentError, Code
from agent.insi.envelope import Ids, build
from agent.insi.fake_insi import SimulatedInsi
from agent.insi.fake_people import PEOPLE, Person
from agent.insi.fake_service import Style
from agent.insi.http import HttpTeleservice
from agent.insi.operations import TraitsQuery, VitaleQuery
from agent.insi.rules import judge
from agent.model import AuthMode, InsKind, Traits
from agent.simulator.pki import issue_organisation
from tests.insi.conftest import LPS, World, ask, assertion, client, search, traits

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


@pytest.mark.parametrize("body_prefix", ["soap", "env", "S"])
@pytest.mark.parametrize("result_prefix", ["", "ns2"])
@pytest.mark.parametrize("header", ["absent", "empty"])
@pytest.mark.parametrize("older", [False, True])
def test_every_style_of_answer_says_the_same(
    network: HttpTeleservice, insi: SimulatedInsi, body_prefix: str, result_prefix: str, header: str, older: bool
) -> None:
    person = traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14")
    plain = search(network, ORGANISATION, person)

    insi.service.style = Style(
        body_prefix=body_prefix,  # type: ignore[arg-type]  # parametrize knows strings only
        result_prefix=result_prefix,  # type: ignore[arg-type]
        header=header,  # type: ignore[arg-type]
        old_given_name=older,
        dates_first=older,
    )

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


def fault_of(network: HttpTeleservice, mode: AuthMode, query: TraitsQuery, **how: object) -> tuple[Code, str]:
    with pytest.raises(AgentError) as error:
        ask(network, mode, query, **how)  # type: ignore[arg-type]  # passed through
    return error.value.code, error.value.facts["insi"]["code"]


def test_an_unknown_software_is_refused_first_and_verbatim(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    unknown = replace(LPS, authorisation="INCONNU")

    with pytest.raises(AgentError) as error:
        ask(network, CPX, TOUSSAINT, lps=unknown)  # without an assertion: that would be the next refusal

    assert error.value.code is Code.INSI_FAULT_ACCESS
    assert error.value.facts["insi"] == {
        "code": "desir_550",
        "subcode": "siram_100",
        "severity": "erreur",
        "reason": "L'accès par ce progiciel au service n'est pas autorisé. "
        "Contactez l'éditeur du progiciel ou votre responsable informatique.",
        "detail": "Numéro d'autorisation du logiciel inconnu.",
    }


def test_a_fault_of_the_gateway_repeats_the_message_id(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    insi.service.style = Style(not_found="desir_1020")
    ids = Ids.fresh()
    query = TraitsQuery("PERSONNE", "ANNA", "F", "1980-01-01", None, ())
    sent = build(query, lps=LPS, emitter="E", assertion=None, ids=ids, at=datetime.now(UTC))

    reply = network.post(ORGANISATION, sent.action, sent.body)

    assert f'messageID="{ids.message_id}"'.encode() in reply.body


def test_an_organisation_certificate_of_another_use_has_no_right(world: World, insi: SimulatedInsi) -> None:
    network = client(world, insi, organisation=issue_organisation(world.ca, common_name="DMP-AIR"))

    assert fault_of(network, ORGANISATION, TOUSSAINT) == (Code.INSI_FAULT_ACCESS, "desir_560")


def test_the_door_of_the_cards_wants_an_assertion(network: HttpTeleservice) -> None:
    assert fault_of(network, CPX, TOUSSAINT) == (Code.INSI_FAULT_ACCESS, "sim_assertion_missing")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"birth_name": ""}, "insi_19"),
        ({"given_name": ""}, "sim_field"),
        ({"sex": "I"}, "sim_field"),
        ({"birth_date": "1960"}, "sim_field"),
        ({"birth_name": "É"}, "sim_name"),
        ({"given_name": "anna"}, "sim_name"),
    ],
)
def test_a_bad_field_is_an_input_fault(network: HttpTeleservice, change: dict[str, str], code: str) -> None:
    assert fault_of(network, ORGANISATION, replace(TOUSSAINT, **change)) == (Code.INSI_FAULT_INPUT, code)


def test_a_search_that_begins_with_the_birth_place_is_answered_and_counted(
    network: HttpTeleservice, insi: SimulatedInsi
) -> None:
    """S102 binds the client; the service lets it pass."""
    answer = ask(network, ORGANISATION, replace(TOUSSAINT, birth_place_code="2B020"))

    assert answer.code == "00"
    assert insi.service.places_too_early == 1


def test_production_does_not_know_the_test_people(network: HttpTeleservice, insi: SimulatedInsi) -> None:
    zoe = traits("ADRUN", "ZOE", "F", "1975-12-31")
    assert [answer.code for answer in search(network, ORGANISATION, zoe)] == ["00"]

    insi.service.style = Style(production=True)

    assert [answer.code for answer in search(network, ORGANISATION, zoe)] == ["01"]


def test_what_is_no_message_is_a_fault_and_other_paths_have_nothing(
    network: HttpTeleservice, world: World, insi: SimulatedInsi
) -> None:
    assert b"sim_message" in network.post(ORGANISATION, "urn:x", b"hello").body
    assert b"desir_550" in network.post(ORGANISATION, "urn:x", b"<hello/>").body


def test_nothing_runs_after_stop(world: World) -> None:
    before = set(threading.enumerate())
    insi = SimulatedInsi(world.server.pem, world.server.key_pem, world.ca.pem)
    insi.start()
    network = client(world, insi)
    assert ask(network, ORGANISATION, TOUSSAINT).code == "00"
    assert len(set(threading.enumerate()) - before) > 2  # two doors and a kept connection

    insi.stop()

    assert set(threading.enumerate()) - before == set()
