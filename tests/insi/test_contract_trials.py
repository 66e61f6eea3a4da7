"""What a binding makes of a message is tried before anybody calls: shapes that XML Schema allows and ours lack."""

from pathlib import Path

import pytest
from lxml import etree

from agent.errors import AgentError, Code
from agent.insi.contract import Contract, open_contract
from agent.insi.contract.bindings import Reason
from agent.insi.envelope import Envelope, build, write_body
from agent.insi.operations import DepositQuery, Operation, Query, VerifyQuery
from tests.insi import official
from tests.insi.official import BINDINGS, FILES, OTHER, SEARCH, VERIFY, V, asking, element, package
from tests.insi.test_envelope import AT, FETCH, IDS, LPS

WHOLE = VerifyQuery(
    *("2501099999999", "27", "1.2.250.1.213.1.4.8", "D'INVENTE", "ANNA LOU", "ANNA LOU ZOE", "F", "1950-00-00"),
    birth_place_code="2A004",
    given=("matricule", "key", "oid", "birthName", "givenNames[0]", "sex", "birthDate", "birthPlaceCode"),
)
LEAST = VerifyQuery(
    *("2501099999999", None, "1.2.250.1.213.1.4.8", "D'INVENTE", "ANNA LOU", "ANNA LOU ZOE", "F", "1950-00-00"),
    birth_place_code=None,
    given=("matricule", "oid", "birthName", "givenNames[0]", "sex", "birthDate"),
)

OPTIONAL = "".join(element(name, least=0) for name in ("Oid", "Nom", "Prenoms", "Sexe", "Date", "Numero"))
TRAITS = '"Oid" = "oid"\n"Nom" = "birthName"\n"Prenoms" = "givenNames"\n"Sexe" = "sex"\n"Date" = "birthDate"\n'
NUMBER = '"Numero" = "matricule"\n'


def first(content: str) -> str:
    """A request that begins with this; all else in it is optional, as far as the schema knows."""
    return f"<x:sequence>{content}{OPTIONAL}</x:sequence>"


def sent(contract: Contract, query: Query) -> Envelope:
    return build(query, contract=contract, lps=LPS, emitter="E", assertion=None, ids=IDS, at=AT)


def body(contract: Contract, query: Query = WHOLE) -> list[tuple[str, str]]:
    """The members of the request: name, text."""
    return [(one.tag, one.text or "") for one in etree.fromstring(sent(contract, query).body)[1][0]]


def holds(contract: Contract) -> Contract:
    contract.check(Operation.VERIFY, simulated=False)
    return contract


def fault(contract: Contract, operation: Operation = Operation.VERIFY) -> tuple[str, str]:
    """Path and reason of what is wrong with a binding."""
    with pytest.raises(AgentError) as caught:
        contract.check(operation, simulated=False)
    assert caught.value.code is Code.CONTRACT_BINDING
    return caught.value.facts["path"], caught.value.facts["reason"]


# ---------------------------------------------------------------- messages held against the schema


CHOICE = f"<x:choice>{element('Nir')}{element('Nia')}</x:choice>"


@pytest.mark.parametrize(
    ("values", "path"),
    [(NUMBER, "Oid"), ('"Nir" = "matricule"\n"Nia" = "key"', "Nia"), (NUMBER + '"Nia" = "key"', "Oid")],
)
def test_a_choice_that_is_not_filled_once_is_refused(tmp_path: Path, values: str, path: str) -> None:
    """Neither branch, both, neither where there is no key: libxml2 names what it did not expect there."""
    assert fault(asking(tmp_path, first(CHOICE), TRAITS + values)) == (path, Reason.SCHEMA)


def test_a_choice_that_is_filled_once_is_sent(tmp_path: Path) -> None:
    contract = holds(asking(tmp_path, first(CHOICE), TRAITS + '"Nir" = "matricule"'))

    assert body(contract)[0] == (f"{{{V}}}Nir", "2501099999999")


def test_an_element_of_two_branches_is_sent_once(tmp_path: Path) -> None:
    branches = "".join(f"<x:sequence>{element(name)}{element('Pays')}</x:sequence>" for name in ("Nir", "Nia"))
    demand, values = first(f"<x:choice>{branches}</x:choice>"), TRAITS + '"Nia" = "matricule"'

    contract = holds(asking(tmp_path, demand, values, constants='"Pays" = "FR"'))

    assert body(contract)[:2] == [(f"{{{V}}}Nia", "2501099999999"), (f"{{{V}}}Pays", "FR")]


def test_two_members_of_one_local_name_are_told_apart_by_their_namespaces(tmp_path: Path) -> None:
    """By no means does a number go into both."""
    demand = first(element("Num") + '<x:element ref="k:Num" minOccurs="0"/>')
    whole = f'"{{{V}}}Num" = "matricule"\n"{{{OTHER}}}Num" = "key"\n'

    assert fault(asking(tmp_path, demand, TRAITS + '"Num" = "matricule"')) == ("Num", Reason.AMBIGUOUS)
    contract = holds(asking(tmp_path, demand, TRAITS + whole))
    assert body(contract)[:2] == [(f"{{{V}}}Num", "2501099999999"), (f"{{{OTHER}}}Num", "27")]
    assert fault(asking(tmp_path, demand, TRAITS + whole.replace(OTHER, "urn:a")))[1] == Reason.UNKNOWN


def test_a_value_in_another_form_than_the_schemas_is_refused(tmp_path: Path) -> None:
    """A binding says where a value goes, not how it is written."""
    coded = '<x:element name="Code"><x:simpleType><x:restriction base="x:string"><x:enumeration value="1"/>'
    demand = first(f"{coded}</x:restriction></x:simpleType></x:element>")

    assert fault(asking(tmp_path, demand, TRAITS + NUMBER + '"Code" = "sex"')) == ("Code", Reason.SCHEMA)


def test_names_of_batches_and_persons_may_have_any_form(tmp_path: Path) -> None:
    """INSi gives the one, and the other is chosen for each batch: neither is known beforehand."""
    digits = '<x:simpleType><x:restriction base="x:string"><x:pattern value="[0-9]{9}"/></x:restriction></x:simpleType>'
    wsdl = FILES[VERIFY]
    for name in ("Rang", "Numero"):
        plain = f'<x:element name="{name}" type="x:string" minOccurs="1" maxOccurs="1"/>'
        assert plain in wsdl
        wsdl = wsdl.replace(plain, f'<x:element name="{name}">{digits}</x:element>')

    contract = open_contract(package(tmp_path, {**FILES, VERIFY: wsdl}), None)

    for operation in Operation:
        contract.check(operation, simulated=False)


def test_a_batch_of_one_person_at_most_is_none(tmp_path: Path) -> None:
    many = '<x:sequence maxOccurs="unbounded">'
    assert many in FILES[VERIFY]
    wsdl = FILES[VERIFY].replace(many, "<x:sequence>")

    contract = open_contract(package(tmp_path, {**FILES, VERIFY: wsdl}), None)

    assert fault(contract, Operation.DEPOSIT) == ("Dossier", Reason.SCHEMA)


# ---------------------------------------------------------------- shapes that a binding can fill


def test_an_attribute_that_is_always_the_same_opens_no_element_of_a_value_that_lacks(tmp_path: Path) -> None:
    key = '<x:complexType><x:simpleContent><x:extension base="x:string"><x:attribute name="R" type="x:string"/>'
    demand = first(
        f'<x:element name="Cle" minOccurs="0">{key}</x:extension></x:simpleContent></x:complexType></x:element>'
    )

    contract = holds(asking(tmp_path, demand, TRAITS + NUMBER + '"Cle" = "key"', constants='"Cle/@R" = "8"'))

    assert b'Cle R="8">27<' in sent(contract, WHOLE).body
    assert b"Cle" not in sent(contract, LEAST).body


def test_an_element_that_must_be_there_may_be_empty(tmp_path: Path) -> None:
    contract = holds(asking(tmp_path, first(element("Vide")), TRAITS + NUMBER, constants='"Vide" = ""'))

    assert body(contract)[0] == (f"{{{V}}}Vide", "")


def test_the_first_given_name_may_stand_beside_the_list(tmp_path: Path) -> None:
    """As the page gave it: what it wrote as one name is one."""
    contract = holds(asking(tmp_path, first(element("Prenom")), TRAITS + NUMBER + '"Prenom" = "givenName"'))

    assert body(contract)[0] == (f"{{{V}}}Prenom", "ANNA LOU")
    assert (f"{{{V}}}Prenoms", "ANNA LOU ZOE") in body(contract)


def test_the_bodys_element_may_itself_hold_the_one_value(tmp_path: Path) -> None:
    plain = FILES[VERIFY].replace(
        official.root("Retrait", official.sequence(element("Numero"))), '<x:element name="Retrait" type="x:string"/>'
    )
    itself = BINDINGS | {"retrait.toml": BINDINGS["retrait.toml"].replace('"Numero" = "batch"', '"." = "batch"')}

    contract = open_contract(package(tmp_path, {**FILES, VERIFY: plain}, itself), None)

    contract.check(Operation.FETCH, simulated=False)
    (retrait,) = etree.fromstring(sent(contract, FETCH).body)[1]
    assert (retrait.tag, retrait.text, len(retrait)) == (f"{{{V}}}Retrait", "INSI-0007", 0)
    unfilled = BINDINGS | {"retrait.toml": BINDINGS["retrait.toml"].replace('"Numero" = "batch"', '"@a" = "batch"')}
    assert fault(open_contract(package(tmp_path, bindings=unfilled), None), Operation.FETCH) == ("@a", Reason.UNKNOWN)


# ---------------------------------------------------------------- what this call lacks


PLACE = first(element("Lieu") + element("Cle"))
PLACED = TRAITS + NUMBER + '"Lieu" = "birthPlaceCode"\n"Cle" = "key"'


@pytest.mark.parametrize(
    ("query", "member"),
    [
        (VerifyQuery(**{**vars(WHOLE), "birth_place_code": None}), "birthPlaceCode"),
        (VerifyQuery(**{**vars(WHOLE), "key": None}), "key"),
    ],
)
def test_what_a_page_need_not_give_and_the_package_wants_is_named_to_the_page(
    tmp_path: Path, query: VerifyQuery, member: str
) -> None:
    contract = holds(asking(tmp_path, PLACE, PLACED))

    with pytest.raises(AgentError) as caught:
        write_body(query, etree.Element("essai"), contract=contract)

    assert (caught.value.code, caught.value.facts) == (Code.TRAITS_REFUSED, {"member": member, "rule": "required"})
    assert body(contract)[:2] == [(f"{{{V}}}Lieu", "2A004"), (f"{{{V}}}Cle", "27")]


def test_so_it_is_for_a_person_of_a_batch(tmp_path: Path) -> None:
    person = official.PERSON.replace('name="A" type="x:string" minOccurs="0"', 'name="A" type="x:string"')
    deposit = BINDINGS["depot.toml"].replace('omits = ["key", "birthPlaceCode"]', 'omits = ["key"]')
    deposit = deposit.replace('"Rang" =', '"Personne/Naissance/A" = "birthPlaceCode"\n"Rang" =')
    files = {**FILES, "schemas/personne.xsd": person}
    contract = open_contract(package(tmp_path, files, BINDINGS | {"depot.toml": deposit}), None)
    contract.check(Operation.DEPOSIT, simulated=False)

    with pytest.raises(AgentError) as caught:
        sent(contract, DepositQuery("lot-1", (("a", WHOLE), ("b", LEAST))))

    assert caught.value.facts["member"] == "birthPlaceCode"


def test_a_search_whose_first_step_the_package_does_not_take_is_refused_whatever_the_page_gives(tmp_path: Path) -> None:
    """S102: the place of birth is never in a first call."""
    wanted = official.TRAITS.replace('name="LieuNaissance" type="x:string" minOccurs="0"', 'name="LieuNaissance"')
    contract = open_contract(package(tmp_path, {**FILES, "autres/sans.xsd": wanted}), None)

    assert fault(contract, Operation.BY_TRAITS) == ("LieuNaissance", Reason.UNFILLED)


def test_what_was_given_is_told_without_what_the_binding_leaves_out(tmp_path: Path) -> None:
    whole = holds(asking(tmp_path / "1", first(""), TRAITS + NUMBER))
    keyed = holds(asking(tmp_path / "2", first(element("Cle", least=0)), TRAITS + NUMBER + '"Cle" = "key"'))

    assert sent(whole, WHOLE).given == ("matricule", "oid", "birthName", "givenNames[0]", "sex", "birthDate")
    assert sent(keyed, WHOLE).given == ("matricule", "key", "oid", "birthName", "givenNames[0]", "sex", "birthDate")


# ---------------------------------------------------------------- headers and answers


def test_a_header_that_the_package_lists_and_we_do_not_send_is_refused(tmp_path: Path) -> None:
    assert fault(asking(tmp_path, first(""), TRAITS + NUMBER, header=True)) == (f"{{{OTHER}}}Num", Reason.HEADER)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('code = "Motif"', ("Motif", Reason.REPEATED)),
        ('code = "Avis/Code"', ("Avis/Code", Reason.REPEATED)),
        ('code = "Sens"', ("Sens", Reason.AMBIGUOUS)),
        ('code = "Code"\nlabel = "Sens"', ("Sens", Reason.AMBIGUOUS)),
        ('code = "Code/Motif"', ("Code/Motif", Reason.UNKNOWN)),
    ],
)
def test_what_decides_is_said_once(tmp_path: Path, answer: str, expected: tuple[str, Reason]) -> None:
    """Two codes would be a question without an answer."""
    assert fault(asking(tmp_path, first(""), TRAITS + NUMBER, answer=answer)) == expected


@pytest.mark.parametrize("answer", ['code = "Code"\nlabel = "Motif"', 'code = "@code"', f'code = "{{{OTHER}}}Sens"'])
def test_a_label_may_be_said_several_times(tmp_path: Path, answer: str) -> None:
    holds(asking(tmp_path, first(""), TRAITS + NUMBER, answer=answer))


@pytest.mark.parametrize(
    ("there", "instead", "path"),
    [
        ('name="Recu" minOccurs="1" maxOccurs="1"', 'name="Recu" maxOccurs="unbounded"', "Recu/Numero"),
        ('<x:element name="Etat" minOccurs="1" maxOccurs="1"', '<x:element name="Etat" maxOccurs="2"', "Etat/Code"),
    ],
)
def test_so_are_the_names_of_batches(tmp_path: Path, there: str, instead: str, path: str) -> None:
    operation = Operation.DEPOSIT if "Recu" in path else Operation.FETCH
    assert there in FILES[VERIFY]

    contract = open_contract(package(tmp_path, {**FILES, VERIFY: FILES[VERIFY].replace(there, instead)}), None)

    assert fault(contract, operation) == (path, Reason.REPEATED)


def test_the_code_of_a_person_may_be_the_text_of_the_line_itself(tmp_path: Path) -> None:
    line = '<x:element name="Ligne" minOccurs="0" maxOccurs="unbounded"><x:complexType>'
    assert line in FILES[VERIFY]
    wsdl = FILES[VERIFY].replace(
        line, line.replace("<x:complexType>", "<x:complexType><x:simpleContent><x:extension base='x:string'>")
    )
    head, _, tail = wsdl.partition("<x:extension base='x:string'>")
    wsdl = (
        head
        + "<x:extension base='x:string'>"
        + tail.replace("</x:complexType>", "</x:extension></x:simpleContent></x:complexType>", 1)
    )
    itself = BINDINGS | {"retrait.toml": BINDINGS["retrait.toml"].replace('item_code = "@avis"', 'item_code = "."')}

    contract = open_contract(package(tmp_path, {**FILES, VERIFY: wsdl}, itself), None)

    contract.check(Operation.FETCH, simulated=False)


@pytest.mark.parametrize(
    ("there", "instead"),
    [("http://www.cnamts.fr/INSiResultat", "http://www.cnamts.fr/INSiResultat2"), ("RESULTAT", "RESULTATS")],
)
def test_a_search_that_answers_another_element_than_the_one_we_read_is_refused(
    tmp_path: Path, there: str, instead: str
) -> None:
    """What it says would be read as nothing."""
    renamed = {name: FILES[name].replace(there, instead) for name in (SEARCH, "schemas/resultat.xsd")}
    contract = open_contract(package(tmp_path, {**FILES, **renamed}), None)

    for operation in (Operation.WITH_VITALE, Operation.BY_TRAITS):
        assert fault(contract, operation)[1] == Reason.ELEMENT
    contract.check(Operation.VERIFY, simulated=False)
