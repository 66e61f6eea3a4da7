"""Our own contract, an official package in its place, and packages that cannot be used."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.errors import AgentError, Code
from agent.insi.contract import Contract, open_contract
from agent.insi.contract.files import Trouble
from agent.insi.operations import ITEM_VALUES, VALUES, Operation, Query
from tests.insi import official
from tests.insi.conftest import CONTRACT, audited
from tests.insi.official import FILES, SEARCH, VERIFY, package
from tests.insi.test_envelope import AT, BATCH, CARD, FETCH, IDS, LPS, PLACED, TRAITS, VERIFIED, WHOLE_CARD, build

PUBLIC = [Operation.WITH_VITALE, Operation.BY_TRAITS]
NOT_PUBLIC = [Operation.VERIFY, Operation.DEPOSIT, Operation.FETCH]
OURS = Path(__file__).parent.parent.parent / "agent" / "insi" / "contract"


def refused(call: Any, *arguments: Any, **named: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call(*arguments, **named)
    return caught.value


def body(contract: Contract, query: Query) -> Any:
    sent = build(query, contract=contract, lps=LPS, emitter="E", assertion=None, ids=IDS, at=AT)
    return etree.fromstring(sent.body)[1][0]


def answer(content: str, namespace: str = "http://www.cnamts.fr/INSiResultat") -> Any:
    """The element in the body of an answer."""
    soap = "http://www.w3.org/2003/05/soap-envelope"
    return etree.fromstring(f'<s:Body xmlns:s="{soap}" xmlns:r="{namespace}">{content}</s:Body>')[0]


# ---------------------------------------------------------------- our own


@pytest.mark.parametrize("operation", PUBLIC)
def test_our_own_contract_knows_the_two_searches(operation: Operation) -> None:
    CONTRACT.check(operation, simulated=False)

    assert not CONTRACT.binding(operation).placeholder


@pytest.mark.parametrize("operation", NOT_PUBLIC)
def test_our_placeholder_is_for_the_simulator_alone(operation: Operation) -> None:
    CONTRACT.check(operation, simulated=True)

    missing = refused(CONTRACT.check, operation, simulated=False)

    assert (Code.CONTRACT_MISSING, {"operation": operation.value}) == (missing.code, missing.facts)
    assert CONTRACT.binding(operation).placeholder
    assert CONTRACT.binding(operation).action.startswith("urn:insi-agent:placeholder:1:")


def test_every_value_that_a_binding_may_name_is_used_by_one_of_ours() -> None:
    for operation in Operation:
        request = CONTRACT.binding(operation).request
        assert set(request.values.values()) == set(VALUES[operation]) - {"givenName"} | {
            *(["givenName"] if operation is Operation.BY_TRAITS else [])
        }
        assert request.items is None or set(request.items.values.values()) == set(ITEM_VALUES) - {"givenName"}


@pytest.mark.parametrize("query", [CARD, WHOLE_CARD, TRAITS, PLACED, VERIFIED, BATCH, FETCH])
def test_what_is_sent_fits_the_contracts_schema(query: Query) -> None:
    """Judged by libxml2, which had no part in the writing."""
    written = body(CONTRACT, query)

    file = "placeholder.wsdl" if "placeholder" in written.tag else "insi.wsdl"
    namespace = etree.QName(written).namespace
    (schema,) = etree.parse(OURS / file).findall(f".//{{*}}schema[@targetNamespace='{namespace}']")
    etree.XMLSchema(etree.fromstring(etree.tostring(schema))).assertValid(written)


# ---------------------------------------------------------------- answers beside their schema


FOUND = """<r:RESULTAT><r:CR><r:CodeCR>00</r:CodeCR><r:LibelleCR>Trouvée</r:LibelleCR></r:CR>
<r:INDIVIDU><r:INSACTIF><r:IdIndividu><r:NumIdentifiant>2501099999999</r:NumIdentifiant><r:Cle>27</r:Cle></r:IdIndividu>
<r:OID>1.2.250.1.213.1.4.8</r:OID></r:INSACTIF>
<r:INSHISTO><r:IdIndividu><r:NumIdentifiant>2501099999999</r:NumIdentifiant></r:IdIndividu>
<r:OID>1.2.250.1.213.1.4.8</r:OID><r:DateDeb>2019-03-01</r:DateDeb><r:DateFin>2019-02-28</r:DateFin></r:INSHISTO>
<r:TIQ><r:NomNaissance>D'INVENTE</r:NomNaissance><r:ListePrenom>ANNA LOU</r:ListePrenom><r:Sexe>F</r:Sexe>
<r:DateNaissance>1950-00-00</r:DateNaissance></r:TIQ></r:INDIVIDU></r:RESULTAT>"""


def test_an_answer_as_the_contract_says_has_no_fault() -> None:
    assert CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer(FOUND)) == []
    assert CONTRACT.faults_of_answer(Operation.WITH_VITALE, answer(FOUND)) == []


@pytest.mark.parametrize(
    ("there", "instead", "path"),
    [
        ("<r:Cle>27</r:Cle>", "<r:Cle>2</r:Cle>", "RESULTAT/INDIVIDU/INSACTIF/IdIndividu/Cle"),
        ("1950-00-00", "1/1/1950", "RESULTAT/INDIVIDU/TIQ/DateNaissance"),
        ("2019-02-28", "2019-02-30", "RESULTAT/INDIVIDU/INSHISTO/DateFin"),
        ("<r:Sexe>F</r:Sexe>", "<r:DUPONT/>", "RESULTAT/INDIVIDU/TIQ/?"),
        ("<r:LibelleCR>Trouvée</r:LibelleCR>", "", "RESULTAT/CR"),
        ("<r:RESULTAT>", '<r:RESULTAT nom="DUPONT">', "RESULTAT"),
    ],
)
def test_where_an_answer_differs_is_told_by_its_path_alone(there: str, instead: str, path: str) -> None:
    """Neither a value nor a name that the schema does not have: either may be a person's."""
    assert CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer(FOUND.replace(there, instead))) == [path]


def test_paths_do_not_depend_on_prefixes() -> None:
    plain = FOUND.replace("r:", "").replace("<RESULTAT>", '<RESULTAT xmlns="http://www.cnamts.fr/INSiResultat">')

    faults = CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer(plain.replace("2019-03-01", "mars")))

    assert faults == ["RESULTAT/INDIVIDU/INSHISTO/DateDeb"]


def test_dates_before_the_number_as_an_old_official_file_has_them_are_one_fault() -> None:
    moved = FOUND.replace("<r:DateDeb>2019-03-01</r:DateDeb>", "").replace(
        "<r:INSHISTO>", "<r:INSHISTO><r:DateDeb>2019-03-01</r:DateDeb>"
    )

    assert CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer(moved)) == ["RESULTAT/INDIVIDU/INSHISTO/DateDeb"]


def test_another_element_than_the_answers_is_one_fault_without_a_name() -> None:
    assert CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer("<r:DUPONT/>")) == ["?"]


names = st.sampled_from(["RESULTAT", "CR", "CodeCR", "INDIVIDU", "INSACTIF", "TIQ", "Sexe", "DUPONT"])
trees = st.recursive(
    st.builds(lambda name, text: (name, [text]), names, st.text("0AZé -", max_size=6)),
    lambda below: st.builds(lambda name, each: (name, each), names, st.lists(below, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(trees, st.sampled_from(['xmlns="http://www.cnamts.fr/INSiResultat"', 'xmlns=""', 'xmlns:a="b" a:c="d"']))
def test_no_answer_makes_the_comparison_fail(tree: Any, declared: str) -> None:
    def written(one: Any) -> str:
        if isinstance(one, str):
            return one
        name, each = one
        return f"<{name} {declared if each == tree[1] else ''}>{''.join(map(written, each))}</{name}>"

    for path in CONTRACT.faults_of_answer(Operation.BY_TRAITS, answer(written(tree))):
        assert "DUPONT" not in path


# ---------------------------------------------------------------- an official package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return package(tmp_path / "Paquet officiel")


@pytest.mark.parametrize("operation", Operation)
def test_a_package_and_its_bindings_are_all_that_the_five_operations_need(folder: Path, operation: Operation) -> None:
    contract = open_contract(folder, None)

    contract.check(operation, simulated=False)

    assert not contract.binding(operation).placeholder


def test_messages_are_written_as_the_package_says(folder: Path) -> None:
    contract = open_contract(folder, None)

    verify = body(contract, VERIFIED)
    assert etree.tostring(verify).decode().partition(" xmlns")[0] == "<insi:Verifier"
    assert [(one.tag, one.text or "", dict(one.attrib)) for one in verify.iter()] == [
        ("{urn:exemple:verification}Verifier", "", {}),
        ("Identite", "", {}),
        ("Ins", "2501099999999", {"domaine": "1.2.250.1.213.1.4.8"}),
        ("Service", "INSI", {}),
        ("Personne", "", {}),
        ("Naissance", "", {}),
        ("Le", "1950-00-00", {}),
        ("A", "2A004", {}),
        ("Nom", "D'INVENTE", {}),
        ("Prenoms", "ANNA LOU", {}),
        ("Genre", "F", {}),
    ]
    batch = body(contract, BATCH)
    assert (batch.get("lot"), [one.findtext("Rang") for one in batch]) == ("lot-1", ["a", "b"])
    assert body(contract, FETCH).findtext("Numero") == "INSI-0007"


@pytest.mark.parametrize("query", [CARD, WHOLE_CARD, TRAITS, PLACED, VERIFIED, BATCH, FETCH])
def test_what_is_sent_fits_the_packages_schema(folder: Path, query: Query, tmp_path: Path) -> None:
    written = body(open_contract(folder, None), query)

    asked = tmp_path / "Paquet officiel" / "schemas" / "ici.xsd"
    namespace = etree.QName(written).namespace
    asked.write_text(
        next(one for one in (official.CARD, official.TRAITS, official.ASKED) if f'targetNamespace="{namespace}"' in one)
    )
    etree.XMLSchema(etree.parse(asked)).assertValid(written)


def test_answers_are_held_against_the_packages_schema(folder: Path) -> None:
    contract = open_contract(folder, None)

    def faults(content: str) -> list[str]:
        return contract.faults_of_answer(Operation.VERIFY, answer(content, official.V))

    assert faults("<r:Verdict><Code>1</Code></r:Verdict>") == []
    assert faults("<r:Verdict><Motif>1</Motif></r:Verdict>") == ["Verdict/Motif"]


def test_a_package_is_read_without_the_network_and_one_read_serves(folder: Path) -> None:
    with audited("socket.") as calls, audited("urllib.") as fetched:
        contract = open_contract(folder, None)
        contract.faults_of_answer(Operation.VERIFY, answer("<r:Verdict/>", official.V))
    with audited("open") as opened:
        body(contract, TRAITS)
        contract.binding(Operation.FETCH)

    assert (calls, fetched, opened) == ([], [], [])


def test_bindings_may_lie_elsewhere(tmp_path: Path) -> None:
    folder = package(tmp_path / "paquet", bindings={})
    elsewhere = package(tmp_path / "ailleurs", files={}) / "bindings"

    assert refused(open_contract(folder, None).check, Operation.VERIFY, simulated=False).code is Code.CONTRACT_MISSING
    open_contract(folder, elsewhere).check(Operation.VERIFY, simulated=False)


def test_an_operation_of_the_package_is_found_by_its_action_or_by_its_name(tmp_path: Path) -> None:
    """And then called by the action that the package gives."""
    renamed = FILES[SEARCH].replace('soapAction="urn:ServiceIdentiteCertifiee:1.0.0:', 'soapAction="urn:v9:')
    renamed = renamed.replace("http://www.cnamts.fr/INSiRecSans", "urn:sans:v9")
    moved = FILES["autres/sans.xsd"].replace("http://www.cnamts.fr/INSiRecSans", "urn:sans:v9")
    folder = package(tmp_path, {**FILES, SEARCH: renamed, "autres/sans.xsd": moved})

    contract = open_contract(folder, None)

    assert contract.binding(Operation.BY_TRAITS).action == "urn:v9:rechercherInsAvecTraitsIdentite"
    assert body(contract, TRAITS).tag == "{urn:sans:v9}RECSANSVITALE"


def test_a_search_that_the_package_lacks_is_missing_also_though_ours_knows_it(tmp_path: Path) -> None:
    contract = open_contract(package(tmp_path, {VERIFY: FILES[VERIFY], "p/personne.xsd": official.PERSON}), None)

    assert refused(contract.check, Operation.BY_TRAITS, simulated=True).code is Code.CONTRACT_MISSING
    contract.check(Operation.VERIFY, simulated=False)


@pytest.mark.parametrize(
    ("there", "instead", "path"),
    [
        ('name="Prenom"', 'name="Prenoms"', "Prenom"),
        ('<x:element name="Sexe"', '<x:element name="Pays" type="x:string"/><x:element name="Sexe"', "Pays"),
    ],
)
def test_an_official_search_that_our_binding_does_not_fit_names_the_element(
    tmp_path: Path, there: str, instead: str, path: str
) -> None:
    changed = official.TRAITS.replace(there, instead)
    contract = open_contract(package(tmp_path, {**FILES, "autres/sans.xsd": changed}), None)

    error = refused(contract.check, Operation.BY_TRAITS, simulated=False)

    assert (Code.CONTRACT_BINDING, SEARCH, "WS_INS2", path) == (
        error.code,
        *(error.facts[fact] for fact in ("file", "operation", "path")),
    )
    contract.check(Operation.WITH_VITALE, simulated=False)  # the others do not suffer


def test_an_action_that_does_not_go_into_an_http_header_is_refused(tmp_path: Path) -> None:
    wsdl = FILES[SEARCH].replace(f"{official.URN}rechercherInsAvecTraitsIdentite", "urn:a&#34;&#13;&#10;X-Autre: 1")

    error = refused(open_contract(package(tmp_path, {**FILES, SEARCH: wsdl}), None).binding, Operation.BY_TRAITS)

    assert (error.code, error.facts["path"].partition(" =")[0]) == (Code.CONTRACT_BINDING, "action")


def test_headers_are_written_as_the_package_describes_them(tmp_path: Path) -> None:
    """Its own ContexteLPS, with a member more and ours in another order."""
    software = official.sequence(
        *[official.element(name) for name in ("Nom", "Version", "Instance")],
        '<x:element name="IDAM"><x:complexType><x:simpleContent><x:extension base="x:string">'
        '<x:attribute name="R" type="x:string"/></x:extension></x:simpleContent></x:complexType></x:element>',
        official.element("Region", least=0),
    )
    context = official.root(
        "ContexteLPS",
        official.sequence(*map(official.element, ("Temps", "Id", "Emetteur")), official.element("LPS", software))
        + '<x:attribute name="Version" type="x:string"/><x:attribute name="Nature" type="x:string"/>',
    )
    wsdl = FILES[SEARCH].replace(
        "<w:types><x:schema>",
        '<w:types><x:schema><x:import namespace="urn:siram:lps:ctxlps" schemaLocation="lps.xsd"/>',
    )
    files = {**FILES, SEARCH: wsdl, "lps.xsd": official.schema("urn:siram:lps:ctxlps", context)}

    contract = open_contract(package(tmp_path, files), None)

    header = body(contract, TRAITS).getroottree().getroot()[0]
    assert [etree.QName(one).localname for one in header[-1].iter()] == [
        *("ContexteLPS", "Temps", "Id", "Emetteur", "LPS", "Nom", "Version", "Instance", "IDAM")
    ]
    bad = files | {"lps.xsd": files["lps.xsd"].replace('"IDAM"', '"Agrement"')}
    error = refused(open_contract(package(tmp_path, bad), None).check, Operation.BY_TRAITS, simulated=False)
    assert (error.code, error.facts["path"]) == (Code.CONTRACT_BINDING, "ContexteLPS/LPS/IDAM")


def test_a_constant_opens_no_element_that_no_value_is_in(tmp_path: Path) -> None:
    ours = (OURS / "ws_ins1.toml").read_text(encoding="utf-8")
    constants = '[request.constants]\n"MatriculeIndividu/TypeMatricule" = "NIR"\n\n[answer]'
    (tmp_path / "carte.toml").write_text(ours.replace("[answer]", constants), encoding="utf-8")

    contract = open_contract(None, tmp_path)

    assert body(contract, CARD).find("{*}MatriculeIndividu") is None
    assert body(contract, WHOLE_CARD).findtext("{*}MatriculeIndividu/{*}TypeMatricule") == "NIR"


# ---------------------------------------------------------------- packages that cannot be used


def unusable(folder: Path) -> tuple[str, str]:
    """The file and the reason, as whoever installs it is told."""
    error = refused(open_contract, folder, None)
    assert error.code is Code.CONTRACT_UNREADABLE
    return error.facts["file"], error.facts["reason"]


def test_a_folder_that_is_not_there_or_holds_no_contract(tmp_path: Path) -> None:
    (tmp_path / "vide").mkdir()
    (tmp_path / "fichier").write_text("x")

    assert unusable(tmp_path / "absent") == ("absent", Trouble.FOLDER)
    assert unusable(tmp_path / "fichier") == ("fichier", Trouble.FOLDER)
    assert unusable(tmp_path / "vide") == ("vide", Trouble.NO_WSDL)


def test_a_folder_of_everything_is_no_package(folder: Path) -> None:
    for number in range(501):
        (folder / f"{number}.xsd").touch()

    assert unusable(folder) == (folder.name, Trouble.TOO_MANY)


@pytest.mark.parametrize("name", ["schemas/resultat.xsd", "schemas/personne.xsd", "autres/sans.xsd"])
def test_a_missing_document_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    file, reason = unusable(folder)

    assert (Path(file).name, reason) == (Path(name).name, Trouble.MISSING)


def test_an_import_from_the_web_is_not_fetched(tmp_path: Path) -> None:
    elsewhere = FILES[SEARCH].replace("../schemas/resultat.xsd", "http://127.0.0.1:9/autre/distant.xsd")

    with audited("socket.") as calls:
        told = unusable(package(tmp_path, {**FILES, SEARCH: elsewhere}))

    assert (told, calls) == (("http://127.0.0.1:9/autre/distant.xsd", Trouble.MISSING), [])


def test_an_import_never_leaves_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xsd"
    secret.write_text(official.RESULT)
    for place in ("../../secret.xsd", str(secret), secret.as_uri()):
        wsdl = FILES[SEARCH].replace("../schemas/resultat.xsd", place)
        folder = package(tmp_path / "paquet", {**FILES, SEARCH: wsdl})
        assert unusable(folder)[1] == Trouble.MISSING


def test_two_files_of_the_imported_name_are_a_question_unless_they_are_the_same(folder: Path) -> None:
    (folder / "encore").mkdir()
    twin = folder / "encore" / "sans.xsd"

    twin.write_text(official.TRAITS)
    open_contract(folder, None).check(Operation.BY_TRAITS, simulated=False)
    twin.write_text(official.TRAITS + "\n")

    assert unusable(folder) == ("1 Contrat/sans.xsd", Trouble.AMBIGUOUS)


def test_imports_in_a_circle_are_read_once(tmp_path: Path) -> None:
    circle = official.RESULT.replace(
        "<x:element", '<x:import namespace="http://www.cnamts.fr/INSiRecVit" schemaLocation="carte.xsd"/><x:element', 1
    )
    back = official.CARD.replace(
        "<x:element",
        '<x:import namespace="http://www.cnamts.fr/INSiResultat" schemaLocation="resultat.xsd"/><x:element',
        1,
    )
    itself = official.PERSON.replace("<x:complexType", '<x:include schemaLocation="personne.xsd"/><x:complexType', 1)
    files = {"schemas/resultat.xsd": circle, "schemas/carte.xsd": back, "schemas/personne.xsd": itself}

    contract = open_contract(package(tmp_path, {**FILES, **files}), None)

    for operation in Operation:
        contract.check(operation, simulated=False)
    assert contract.faults_of_answer(Operation.BY_TRAITS, answer("<r:RESULTAT/>")) == ["RESULTAT"]


def test_wsdl_documents_that_import_one_another_are_read_once_each(tmp_path: Path) -> None:
    def importing(namespace: str, place: str, wsdl: str) -> str:
        return wsdl.replace("<w:types>", f'<w:import namespace="{namespace}" location="{place}"/><w:types>', 1)

    one = importing(official.V, "Verif.WSDL", FILES[SEARCH])
    other = importing("urn:t", "Recherche v9.wsdl", FILES[VERIFY])
    lying = importing("urn:autre", "Recherche v9.wsdl", FILES[SEARCH])

    contract = open_contract(package(tmp_path, {**FILES, SEARCH: one, VERIFY: other}), None)

    for operation in Operation:
        contract.check(operation, simulated=False)
    assert unusable(package(tmp_path, {**FILES, SEARCH: lying})) == (SEARCH, Trouble.LOOP)


def test_imports_under_ever_longer_names_come_to_an_end(tmp_path: Path) -> None:
    """Each is found by its name alone, in a place that is not there."""
    spiral = official.RESULT.replace(
        "<x:element", '<x:import namespace="urn:b" schemaLocation="plus/loin/b.xsd"/><x:element', 1
    )
    back = official.schema(
        "urn:b",
        '<x:import namespace="http://www.cnamts.fr/INSiResultat" schemaLocation="encore/resultat.xsd"/>',
    )
    folder = package(tmp_path, {**FILES, "schemas/resultat.xsd": spiral, "b/b.xsd": back})

    assert unusable(folder)[1] == Trouble.LOOP


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        ('<!DOCTYPE w [<!ENTITY a "b">]>{}', Trouble.DTD),
        ('<!DOCTYPE w SYSTEM "http://127.0.0.1:9/w.dtd">{}', Trouble.DTD),
        ("{}<reste/>", Trouble.NOT_XML),
        ("", Trouble.NOT_XML),
        ("PK\x03\x04", Trouble.NOT_XML),
        ("<w:definitions xmlns:w='http://schemas.xmlsoap.org/wsdl/'/>", Trouble.NO_OPERATION),
        ("<html/>", Trouble.NO_OPERATION),
    ],
)
def test_a_wsdl_that_is_none(tmp_path: Path, content: str, trouble: Trouble) -> None:
    whole = FILES[SEARCH].removeprefix('<?xml version="1.0" encoding="UTF-8"?>\n')
    folder = package(tmp_path, {**FILES, SEARCH: content.replace("{}", whole)}, {})
    (folder / VERIFY).unlink()

    with audited("socket.") as calls:
        assert unusable(folder) == (SEARCH, trouble)
    assert calls == []


_W3C = """<!DOCTYPE x:schema PUBLIC "-//W3C//DTD XMLSchema 200102//EN" "http://127.0.0.1:9/XMLSchema.dtd" [
  <!ATTLIST x:schema xmlns:ds CDATA #FIXED "http://www.w3.org/2000/09/xmldsig#">
  <!ENTITY dsig 'http://www.w3.org/2000/09/xmldsig#'>
  <!ENTITY ici SYSTEM "file:///etc/hostname">
  <!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;
]>"""


def test_a_dtd_in_a_schema_is_dropped_and_nothing_of_it_is_fetched(folder: Path) -> None:
    """W3C's own schema of XML signatures has one."""
    (folder / "schemas" / "resultat.xsd").write_text(_W3C + official.RESULT)

    with audited("socket.") as calls, audited("open", lambda _, details: str(details[0])) as opened:
        contract = open_contract(folder, None)
        faults = contract.faults_of_answer(Operation.BY_TRAITS, answer("<r:RESULTAT/>"))

    assert (faults, calls) == (["RESULTAT"], [])
    assert "/etc/hostname" not in opened


@pytest.mark.parametrize("place", ["<x:documentation>&dsig;</x:documentation>", '<x:documentation source="&dsig;"/>'])
def test_a_schema_that_uses_an_entity_of_its_dtd_is_refused(folder: Path, place: str) -> None:
    used = official.RESULT.replace("<x:element", f"<x:annotation>{place}</x:annotation><x:element", 1)
    (folder / "schemas" / "resultat.xsd").write_text(_W3C + used)

    assert unusable(folder) == ("schemas/resultat.xsd", Trouble.DTD)


def test_a_huge_file_is_not_read(folder: Path) -> None:
    with (folder / "schemas" / "carte.xsd").open("wb") as file:
        file.truncate(1 << 40)

    assert unusable(folder) == ("schemas/carte.xsd", Trouble.TOO_LARGE)


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    place = folder / "schemas" / "carte.xsd"
    place.unlink()

    os.mkfifo(place)
    assert unusable(folder) == ("schemas/carte.xsd", Trouble.UNREADABLE)
    place.unlink()
    place.symlink_to("absent")
    assert unusable(folder) == ("schemas/carte.xsd", Trouble.UNREADABLE)


def test_a_wsdl_that_speaks_only_soap_1_1_has_no_operation_for_us(tmp_path: Path) -> None:
    old = FILES[VERIFY].replace("http://schemas.xmlsoap.org/wsdl/soap12/", "http://schemas.xmlsoap.org/wsdl/soap/")

    assert unusable(package(tmp_path, {VERIFY: old, "personne.xsd": official.PERSON})) == (VERIFY, Trouble.NO_OPERATION)


_pieces = st.sampled_from(
    [
        '"t:Verifier"',
        "t:",
        'name="',
        "x:element",
        "x:complexType",
        "w:message",
        "s:body",
        'type="x:string"',
        "<x:sequence>",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _pieces,
    st.sampled_from(["", "x:", '"t:Rien"', "x:any", "w:part", 'ref="t:Verdict" ', 'type="t:Rien"']),
    st.integers(0, 30),
)
def test_a_spoilt_wsdl_is_a_contract_or_a_code(tmp_path: Path, there: str, instead: str, skip: int) -> None:
    head, *rest = FILES[VERIFY].split(there)
    at = skip % max(len(rest), 1)
    spoilt = there.join([head, *rest[:at]]) + instead + there.join(rest[at:])
    folder = package(tmp_path, {VERIFY: spoilt, "personne.xsd": official.PERSON})

    try:
        contract = open_contract(folder, None)
        for operation, query in ((Operation.VERIFY, VERIFIED), (Operation.DEPOSIT, BATCH), (Operation.FETCH, FETCH)):
            contract.faults_of_answer(operation, answer("<r:Verdict/>", official.V))
            assert body(contract, query) is not None
    except AgentError as error:
        assert error.code in {Code.CONTRACT_UNREADABLE, Code.CONTRACT_BINDING}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=30), st.integers(0, 4000))
def test_a_damaged_document_is_a_contract_or_a_code(tmp_path: Path, noise: bytes, at: int) -> None:
    folder = package(tmp_path)
    whole = FILES[VERIFY].encode()
    (folder / VERIFY).write_bytes(whole[:at] + noise + whole[at + len(noise) :])

    try:
        assert body(open_contract(folder, None), VERIFIED) is not None
    except AgentError as error:
        assert error.code in {Code.CONTRACT_UNREADABLE, Code.CONTRACT_BINDING}
