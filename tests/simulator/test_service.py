"""What the simulated INSi answers: its checks and their order, its people, its styles, what it tolerates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.insi.fake_people import NIA_OID, NIR_OID, PEOPLE, TESTS, Person
from agent.insi.fake_service import FakeService, Remark
from agent.insi.fake_style import FAULT_CODES, Style, WordError, restyled, words
from agent.model import AuthMode
from tests.parts.assertion import assertion
from tests.simulator.conftest import World
from tests.simulator.editor import (
    BY_CARD,
    NOBODY,
    TOUSSAINT,
    WSA,
    WSSE,
    Shape,
    card,
    message,
    now,
    read,
    security,
    traits,
)

RESULT = "{http://www.cnamts.fr/INSiResultat}"
SIRAM = "{urn:siram}"
PIERRE_ALAIN = traits("ECETINSI", "PIERRE-ALAIN", "M", "2009-07-14")


def service(style: Style | None = None) -> FakeService:
    """For organisations; nobody's card is known to it."""
    return FakeService(authorisations=["SIMULATEUR-0001"], ca=[], style=style)


def ask(one: FakeService, body: str, shape: Shape | None = None, **how: Any) -> bytes:
    """As INSI-MANU."""
    said = {"mode": AuthMode.ORGANISATION, "client_name": "INSI-MANU", "now": now(), **how}
    status, reply = one.answer(message(body, shape), **said)
    assert status == (500 if b":Fault" in reply else 200)
    return reply


def code(body: str, shape: Shape | None = None, style: Style | None = None, **how: Any) -> str:
    return read(ask(service(style), body, shape, **how))


# ------------------------------------------------------------ checks, in their order


def test_each_check_comes_before_the_next(world: World) -> None:
    """A message in which everything is wrong, mended in the order in which the gateway complains."""
    good = security(assertion(world.card))
    one = FakeService(authorisations=["SIMULATEUR-0001"], ca=[world.persons.certificate])
    wrong = Shape(idam="INCONNU", action="urn:inconnue", bam="<x/>")
    complaints: list[str] = []
    for body, shape in [
        ("", wrong),
        ("", mended := replace(wrong, idam="SIMULATEUR-0001")),
        ("", mended := replace(mended, security=good)),
        ("", mended := replace(mended, action=Shape().action)),
        ("", mended := replace(mended, bam="")),
        (traits("", "", "", ""), mended),
        (traits("ADRTROIS", "", "", ""), mended),
        (traits("ADRTROIS", "toussaint", "X", "1960"), mended),
        (traits("ADRTROIS", "TOUSSAINT", "X", "1960"), mended),
        (TOUSSAINT, mended),
    ]:
        complaints.append(read(ask(one, body, shape, mode=AuthMode.CPX, client_name=None)))

    assert complaints == [
        "desir_550",
        "sim_assertion_missing",
        "sim_action",
        "sim_header",
        "sim_body",
        "insi_19",
        "sim_field",
        "sim_name",
        "sim_field",
        "00",
    ]


@pytest.mark.parametrize("name", ["DMP-AIR", "insi-manu", "INSI_MANU", None])
def test_an_organisation_certificate_of_another_name_has_no_right(name: str | None) -> None:
    assert code(TOUSSAINT, client_name=name) == "desir_560"
    assert code(TOUSSAINT, Shape(idam="INCONNU"), client_name=name) == "desir_550"
    assert code(TOUSSAINT, client_name="INSI-AUTO") == "00"


def test_faults_are_said_verbatim_and_repeat_the_message_id() -> None:
    shape = Shape(idam="INCONNU")

    error = etree.fromstring(ask(service(), TOUSSAINT, shape)).find(f".//{SIRAM}Erreur")

    assert dict(error.attrib) == {"code": "desir_550", "messageID": shape.message_id, "severite": "erreur"}
    assert error.text == "Numéro d'autorisation du logiciel inconnu."
    assert b"L'acc\xc3\xa8s par ce progiciel au service n'est pas autoris\xc3\xa9." in ask(service(), TOUSSAINT, shape)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (traits("", "ANNA", "F", "1980-01-01"), "insi_19"),
        (traits("PERSONNE", "", "F", "1980-01-01"), "sim_field"),
        (TOUSSAINT.replace("</Prenom>", "</Prenom><Prenom>PAUL</Prenom>"), "sim_field"),
        (traits("PERSONNE", "ANNA", "I", "1980-01-01"), "sim_field"),
        (traits("PERSONNE", "ANNA", "F", "01/01/1980"), "sim_field"),
        (traits("PÉRSONNE", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits("PERSONNE", "anna", "F", "1980-01-01"), "sim_name"),
        (traits("PERSONNE2", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits("-PERSONNE", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits(" PERSONNE", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits("PERSONNE", "ANNA-", "F", "1980-01-01"), "sim_name"),
        (traits("PERSONNE", "ANNA'", "F", "1980-01-01"), "sim_name"),
        (traits("PERSONNE", "ANNA--LISE", "F", "1980-01-01"), "sim_name"),
        (traits("PER  SONNE", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits("PER' SONNE", "ANNA", "F", "1980-01-01"), "sim_name"),
        (traits("PER--SONNE", "ANNA", "F", "1980-01-01"), "01"),
        (traits("'T HOOFT", "ANNA", "F", "1980-01-01"), "01"),
        (traits("D'ARTAGNAN DE L'HERAULT", "PIERRE-ALAIN", "M", "2001-06-17"), "00"),
        (traits("PERSONNE", "ANNA", "F", "1980-00-00"), "01"),
    ],
)
def test_what_a_search_by_traits_may_hold(body: str, expected: str) -> None:
    assert code(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (card("1810163220751", "1981-01-01", "1"), "00"),
        (card("1810163220751", "1981-01-01", "01"), "00"),
        (card(None, "2015-02-01", "2", own="2150276451002"), "00"),
        (card("2841276451089", "2015-02-01", "2"), "00"),
        (card("2841276451089", "2015-02-01", "3"), "01"),
        (card("2540099999001", "1954-00-00", "1"), "00"),
        (card(None, "1981-01-01", "1"), "sim_field"),
        (card("1810163220751", "", "1"), "sim_field"),
        (card("1810163220751", "1981-01-01", "premier"), "sim_field"),
        (card("18101632207", "1981-01-01", "1"), "sim_field"),
        (TOUSSAINT, "sim_body"),
    ],
)
def test_what_a_search_by_card_may_hold(body: str, expected: str) -> None:
    assert code(body, Shape(action=BY_CARD)) == expected


WITHOUT_COVER = (
    '<c:ContexteBAM xmlns:c="urn:siram:bam:ctxbam" Version="01_02"><c:Id>1</c:Id>'
    "<c:Temps>2026-11-22T08:00:00Z</c:Temps></c:ContexteBAM>"
)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(bam="<x/>"),
        Shape(bam=WITHOUT_COVER),
        Shape(bam_version=""),
        Shape(at="hier"),
        Shape(message_id=""),
        Shape(order="action security bam lps"),
    ],
)
def test_what_every_message_must_hold(shape: Shape) -> None:
    assert code(TOUSSAINT, shape) == "sim_header"


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (b"hello", "sim_message"),
        (b"", "sim_message"),
        (b"<hello/>", "sim_soap"),
        (message(TOUSSAINT, Shape(soap="http://schemas.xmlsoap.org/soap/envelope/")), "sim_soap"),
        (message(TOUSSAINT).replace(b"<e:Body>", b"<e:Body/><e:Body>"), "sim_soap"),
        (message(TOUSSAINT + TOUSSAINT), "sim_body"),
        (b'<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa">]>' + message(TOUSSAINT), "sim_message"),
        (b"<a>" * 1000 + b"</a>" * 1000, "sim_message"),
    ],
)
def test_what_is_no_message_is_a_fault(whole: bytes, expected: str) -> None:
    assert read(service().answer(whole, mode=AuthMode.ORGANISATION, client_name="INSI-MANU", now=now())[1]) == expected


# ------------------------------------------------------------ remarks


def test_a_search_that_begins_with_the_birth_place_is_served_and_remarked() -> None:
    one = service()
    first, again = traits("DE VINCI", "LEONARDO", "M", "2014-02-01"), "63220"
    placed = traits("DE VINCI", "LEONARDO", "M", "2014-02-01", again)

    assert (read(ask(one, placed)), one.remarks) == ("00", [Remark.PLACE_FIRST])
    assert (read(ask(one, first)), one.remarks) == ("02", [])
    assert (read(ask(one, placed)), one.remarks) == ("00", [])
    assert one.places_too_early == 1


def test_what_another_client_searched_excuses_nobody() -> None:
    """The search of one installation is no first attempt of another's."""
    one, who = service(), ("DE VINCI", "LEONARDO", "M", "2014-02-01")
    other = Shape(instance="00000000-0000-4000-8000-000000000002")

    ask(one, traits(*who))
    assert (read(ask(one, traits(*who, "63220"), other)), one.remarks) == ("00", [Remark.PLACE_FIRST])
    assert (read(ask(one, traits(*who, "63220"))), one.remarks) == ("00", [])


@pytest.mark.parametrize(
    "body",
    [
        TOUSSAINT.replace("<Prenom>TOUSSAINT</Prenom><Sexe>M</Sexe>", "<Sexe>M</Sexe><Prenom>TOUSSAINT</Prenom>"),
        TOUSSAINT.replace("<Sexe>", "<Civilite>M</Civilite><Sexe>"),
        TOUSSAINT.replace("<Sexe>", "<x xmlns='urn:x'/><Sexe>"),
        TOUSSAINT.replace("<Sexe>M</Sexe>", "<Sexe>M</Sexe><Sexe>M</Sexe>"),
        TOUSSAINT.replace("<Sexe>", "<Sexe code='1'>"),
    ],
)
def test_a_body_that_the_public_schema_refuses_is_served_and_remarked(body: str) -> None:
    """How strict the real service is, nobody said."""
    one = service()

    assert (read(ask(one, body)), one.remarks) == ("00", [Remark.SCHEMA])


def test_a_number_of_another_shape_than_the_schemas_is_remarked_too() -> None:
    one, body = service(), card("1810163220751", "1981-01-01", "1")
    other = body.replace("<NumIdentifiant>", "<Cle>40</Cle><NumIdentifiant>")

    assert (read(ask(one, body, Shape(action=BY_CARD))), one.remarks) == ("00", [])
    assert (read(ask(one, other, Shape(action=BY_CARD))), one.remarks) == ("00", [Remark.SCHEMA])


@pytest.mark.parametrize(
    ("date", "remarks"),
    [
        ("1960-13-45", [Remark.DATE]),
        ("1961-02-29", [Remark.DATE]),
        ("0000-01-01", [Remark.DATE]),
        ("1960-13-00", [Remark.DATE]),
        ("1960-00-00", []),
        ("1960-05-00", []),
        ("1960-00-31", []),
        ("1960-02-29", []),
    ],
)
def test_a_date_of_no_calendar_is_served_and_remarked(date: str, remarks: list[Remark]) -> None:
    """A month or a day that nobody knows is 00."""
    one = service()

    assert (read(ask(one, traits("ADRTROIS", "TOUSSAINT", "M", date))), one.remarks) == ("01", remarks)
    assert (read(ask(one, card("1810163220751", date, "1"), Shape(action=BY_CARD))), one.remarks) == ("01", remarks)


def test_a_message_id_used_twice_is_served_and_remarked() -> None:
    one, shape = service(), Shape()

    assert [(read(ask(one, TOUSSAINT, shape)), one.remarks) for _ in range(2)] == [
        ("00", []),
        ("00", [Remark.MESSAGE_ID_AGAIN]),
    ]


def test_an_assertion_in_mutual_tls_is_served_and_remarked(world: World) -> None:
    one = service()

    assert read(ask(one, TOUSSAINT, Shape(security=security(assertion(world.card))))) == "00"
    assert one.remarks == [Remark.ASSERTION_UNWANTED]


# ------------------------------------------------------------ tolerance, as the real service


@pytest.mark.parametrize(
    "shape",
    [
        Shape(order="lps bam security action id"),
        Shape(order="security lps id bam action", between="\r\n\t <!-- en-tête --> "),
        Shape(bam_version="1.0"),
        Shape(at="2023-07-27T11:39:29.448+02:00"),
        Shape(emitter="quelqu.un@exemple.invalid"),
        Shape(emitter=""),
        Shape(security=f'<w:Security xmlns:w="{WSSE}"/>'),
        Shape(
            more=f'<To xmlns="{WSA}">https://exemple.invalid/lps</To><ReplyTo xmlns="{WSA}"><Address>'
            f'{WSA}/anonymous</Address></ReplyTo><FaultTo xmlns="{WSA}"><Address>{WSA}/anonymous</Address></FaultTo>'
        ),
        Shape(message_id="d8febd6f-08e1-427a-8052-756630c2d4ec"),
    ],
)
def test_a_message_may_be_written_in_many_ways(shape: Shape) -> None:
    assert code(TOUSSAINT, shape) == "00"


def test_prefixes_mean_nothing_and_comments_are_not_read() -> None:
    body = traits("ADR<!-- x -->TROIS", "TOUS<?x y?>SAINT", "M", "1960-01-01")
    body = body.replace("<", "<p:").replace("<p:/", "</p:").replace("<p:!", "<!").replace("<p:?", "<?")

    assert code(body.replace("xmlns=", "xmlns:p=")) == "00"


def test_the_action_of_the_header_goes_before_that_of_the_content_type() -> None:
    silent = Shape(action=None)

    assert code(TOUSSAINT, silent, action=Shape().action) == "00"
    assert code(TOUSSAINT, silent) == "sim_action"
    assert code(TOUSSAINT, Shape(), action="urn:autre") == "00"
    assert code(TOUSSAINT, Shape(action="urn:autre"), action=Shape().action) == "sim_action"


# ------------------------------------------------------------ people


def individual(reply: bytes) -> Any:
    return etree.fromstring(reply).find(f".//{RESULT}INDIVIDU")


def number(element: Any) -> tuple[str | None, ...]:
    identifier = f"{RESULT}IdIndividu/{RESULT}"
    paths = (f"{identifier}NumIdentifiant", f"{identifier}Cle", f"{RESULT}OID", f"{RESULT}DateDeb", f"{RESULT}DateFin")
    return tuple(element.findtext(path) for path in paths)


def found(body: str, shape: Shape | None = None, one: FakeService | None = None) -> dict[str, Any]:
    """What an answer says of the one person it found."""
    person = individual(ask(one or service(), body, shape))
    assert person is not None
    traits_of = {element.tag.removeprefix(RESULT): element.text or "" for element in person.find(f"{RESULT}TIQ")}
    return {
        "active": number(person.find(f"{RESULT}INSACTIF"))[:3],
        "history": [number(past) for past in person.findall(f"{RESULT}INSHISTO")],
        **traits_of,
    }


def as_answered(person: Person) -> dict[str, Any]:
    listed = {
        "NomNaissance": person.birth_name,
        "ListePrenom": person.given_names,
        "Sexe": person.sex,
        "DateNaissance": person.birth_date,
        "LieuNaissance": person.birth_place,
    }
    return {
        "active": (person.matricule, person.key, person.oid),
        "history": [(past.matricule, past.key, past.oid, past.start, past.end) for past in person.history],
        **listed,
        **({person.left_empty: ""} if person.left_empty else {}),
    }


@pytest.mark.parametrize(
    "person",
    [person for person in PEOPLE if person.only in (None, "traits")],
    ids=lambda person: f"{person.birth_name} {person.given_names}",
)
def test_everyone_is_found_by_their_traits_as_they_are_listed(person: Person) -> None:
    one, first = service(), person.given_names.split()[0]
    body = traits(person.birth_name, first, person.sex, person.birth_date)
    if read(ask(one, body)) == "02":
        body = traits(person.birth_name, first, person.sex, person.birth_date, person.birth_place)

    assert found(body, one=one) == as_answered(person)


def test_the_shapes_that_a_client_must_survive_are_all_there() -> None:
    """Empty traits each, ten former numbers, no key, both OIDs of one number, lunar dates, wrong keys, Corsica."""
    assert {person.left_empty for person in PEOPLE} >= {"NomNaissance", "ListePrenom", "Sexe"}
    assert max(len(person.history) for person in PEOPLE) == 10
    assert any(person.key is None for person in PEOPLE)
    assert {person.oid for person in PEOPLE if person.matricule == "1090763220834"} == {NIR_OID, NIA_OID}
    assert any(person.birth_date.endswith("-00-00") for person in PEOPLE)
    assert {person.key for person in PEOPLE if person.matricule == "1810363220456"} == {"76", "60"}
    assert {person.birth_place[:2] for person in PEOPLE} >= {"2A", "2B", "99"}
    assert any(past.start and past.end and past.end < past.start for person in PEOPLE for past in person.history)
    assert any(past.matricule == person.matricule for person in PEOPLE for past in person.history)
    assert any(past.matricule[0] != person.matricule[0] for person in PEOPLE for past in person.history)


def test_an_empty_trait_may_be_absent() -> None:
    who = traits("INVENTEE", "VIDESEXE", "F", "1980-05-07")

    assert found(who)["Sexe"] == ""
    assert "Sexe" not in found(who, one=service(restyled(Style(), "empty-trait=absent")))


def test_several_are_told_apart_by_the_birth_place_alone() -> None:
    who = ("DE VINCI", "LEONARDO", "M", "2014-02-01")

    assert [code(traits(*who)), code(traits(*who, "63220")), code(traits(*who, "99999"))] == ["02", "00", "01"]


def test_production_does_not_know_the_test_people() -> None:
    zoe = traits("ADRUN", "ZOE", "F", "1975-12-31")

    assert [code(zoe), code(zoe, style=Style(production=True))] == ["00", "01"]


def test_the_environment_is_not_told_by_the_oid() -> None:
    assert {person.oid for person in PEOPLE} - {"1.2.250.1.213.1.4.12"} == {NIR_OID, NIA_OID}


# ------------------------------------------------------------ reply files


def test_what_is_injected_answers_attempt_by_attempt() -> None:
    """CNDA 2.07-1: REP_CR01 for the first, the service's own answer for the second; and a whole file as it is."""
    one, file = service(), b"\n\n<anything><at all>"
    one.inject(None)
    one.inject_nothing()
    one.inject("2.04-2")
    one.inject_person(TESTS["2.05"])
    one.inject_reply(file)
    one.inject_reply(b"<x:Fault/>", 500)

    replies = [ask(one, PIERRE_ALAIN) for _ in range(7)]

    assert [read(reply) for reply in replies[:4]] == ["01", "00", "00", "00"]
    assert [len(individual(replies[at]).findall(f"{RESULT}INSHISTO")) for at in (1, 2, 3, 6)] == [1, 2, 0, 1]
    assert replies[4:6] == [file, b"<x:Fault/>"]


def test_what_is_refused_uses_up_no_reply_file() -> None:
    one = service()
    one.inject(None)

    codes = [read(ask(one, PIERRE_ALAIN, Shape(idam=idam))) for idam in ("INCONNU", "SIMULATEUR-0001")]

    assert codes == ["desir_550", "01"]


@pytest.mark.parametrize("not_found", ["01", "insi_102", "desir_1020"])
def test_an_injected_nobody_is_01_however_the_service_hides_its_own(not_found: Any) -> None:
    one = service(Style(not_found=not_found))
    one.inject(None)

    assert [read(ask(one, NOBODY)), read(ask(one, NOBODY))] == ["01", not_found]


@pytest.mark.parametrize("test", sorted(TESTS))
def test_each_reply_file_may_be_asked_for_by_word(test: str) -> None:
    assert found(NOBODY, one=service(restyled(Style(), f"answer={test}"))) == as_answered(TESTS[test])


@pytest.mark.parametrize("fault", FAULT_CODES)
def test_each_known_fault_may_be_asked_for_by_word(fault: str) -> None:
    assert code(TOUSSAINT, style=restyled(Style(), f"answer={fault}")) == fault


# ------------------------------------------------------------ styles

VALUES: dict[str, Sequence[Any]] = {
    "not_found": ("01", "insi_102", "desir_1020"),
    "fault": ("2022", "2026"),
    "lang": ("auto", "fr", "en"),
    "severity": ("fatal", "fatale"),
    "first_attribute": ("code", "messageID", "severite"),
    "body_prefix": ("env", "S", "soap"),
    "result_prefix": ("", "ns2"),
    "header": ("absent", "empty"),
    "old_given_name": (False, True),
    "dates_first": (False, True),
    "empty_absent": (False, True),
}
STYLES = st.builds(Style, **{name: st.sampled_from(values) for name, values in VALUES.items()})


@given(STYLES)
def test_every_style_says_the_same(style: Style) -> None:
    plain, styled = found(PIERRE_ALAIN), found(PIERRE_ALAIN, one=service(style))

    assert styled.pop("Prenom", "PIERRE-ALAIN") == "PIERRE-ALAIN"
    assert styled == plain
    assert code(NOBODY, style=style) == style.not_found


def test_a_result_is_written_as_it_was_in_each_year() -> None:
    old = Style(result_prefix="ns2", body_prefix="S", header="empty", old_given_name=True, dates_first=True)

    first, last = (ask(service(style), PIERRE_ALAIN) for style in (old, Style()))

    assert b"<S:Body" in first
    assert b":Header" in first
    assert b"<ns2:CodeCR>00</ns2:CodeCR>" in first
    assert b"<ns2:Prenom>PIERRE-ALAIN</ns2:Prenom><ns2:ListePrenom>" in first
    assert b"<ns2:INSHISTO><ns2:DateDeb>2019-03-01</ns2:DateDeb>" in first
    assert b"<env:Body" in last
    assert b":Header" not in last
    assert b"<CodeCR>00</CodeCR>" in last
    assert b"<Prenom>" not in last


def shape_of_fault(style: Style) -> dict[str, Any]:
    reply = ask(service(style), NOBODY)
    fault = etree.fromstring(reply).find(".//{*}Fault")
    error = fault.find(f".//{SIRAM}Erreur")
    return {
        "prefix": fault.prefix,
        "value": fault.findtext("{*}Code/{*}Value"),
        "subcode": fault.findtext(".//{*}Subcode/{*}Value"),
        "lang": fault.find(".//{*}Text").get("{http://www.w3.org/XML/1998/namespace}lang"),
        "names": list(error.attrib),
        "severity": error.get("severite"),
        "noise": b"schemas.xmlsoap.org/soap/envelope" in reply,
        "header": b":Header" in reply,
    }


def test_a_fault_of_the_gateway_is_written_as_in_its_year() -> None:
    of_2026 = Style(not_found="desir_1020")

    assert shape_of_fault(of_2026) == {
        "prefix": "soap",
        "value": "soap:Sender",
        "subcode": "soap:siram_40",
        "lang": "fr",
        "names": ["code", "messageID", "severite"],
        "severity": "fatale",
        "noise": False,
        "header": False,
    }
    assert shape_of_fault(replace(of_2026, fault="2022")) == {
        **shape_of_fault(of_2026),
        "prefix": "S",
        "value": "S:Sender",
        "subcode": "S:siram_40",
        "lang": "en",
        "noise": True,
    }


def test_a_fault_of_the_back_end_repeats_no_message_id_and_breaks_the_schema() -> None:
    back_end = Style(not_found="insi_102")

    assert shape_of_fault(back_end) == {
        "prefix": "S",
        "value": "S:Receiver",
        "subcode": "S:siram_40",
        "lang": "en",
        "names": ["code", "severite"],
        "severity": "fatal",
        "noise": False,
        "header": True,
    }
    assert shape_of_fault(replace(back_end, severity="fatale"))["severity"] == "fatale"
    assert shape_of_fault(replace(back_end, lang="fr"))["lang"] == "fr"


@pytest.mark.parametrize("first", ["code", "messageID", "severite"])
def test_the_attributes_of_a_fault_come_in_any_order(first: Any) -> None:
    names = shape_of_fault(Style(not_found="desir_1020", first_attribute=first))["names"]

    assert names[0] == first
    assert sorted(names) == ["code", "messageID", "severite"]


# ------------------------------------------------------------ words


def test_words_change_what_they_name_and_nothing_else() -> None:
    style = restyled(
        Style(fault="2022"),
        " not-found=insi_102; result-prefix=ns2;given-name=both ; dates=first;profile=production; latency=150-850;"
        "misbehave=reset;",
    )

    assert style == Style(
        fault="2022",
        not_found="insi_102",
        result_prefix="ns2",
        old_given_name=True,
        dates_first=True,
        production=True,
        latency_ms=(150, 850),
        misbehave=style.misbehave,
    )
    assert style.misbehave == "reset"
    assert restyled(style, "result-prefix=none; misbehave=none; latency=20; answer=live") == replace(
        style, result_prefix="", misbehave=None, latency_ms=(20, 20)
    )
    assert restyled(style, "") == style


@pytest.mark.parametrize(
    "text", ["not-found", "not-found=02", "unknown=1", "=", "latency=", "latency=9-2", "latency=-1", "latency=9999999"]
)
def test_an_unknown_word_is_answered_by_the_list(text: str) -> None:
    with pytest.raises(WordError) as error:
        restyled(Style(), text)

    assert str(error.value) == words()
    assert "not-found=01|insi_102|desir_1020" in words().splitlines()


@given(st.text())
def test_any_text_is_a_style_or_refused(text: str) -> None:
    try:
        assert isinstance(restyled(Style(), text), Style)
    except WordError as error:
        assert "misbehave=" in str(error)
