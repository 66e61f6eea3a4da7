"""`insi-agent contract check`, and which contract the running agent has."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.config import Insi, Settings
from agent.desks import _ReadContract
from agent.errors import CATALOGUE, AgentError, Code
from agent.insi.operations import Operation
from agent.model import Environment
from tests.insi import official
from tests.insi.official import BINDINGS, FILES, SEARCH, package


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Status, what it said, what it complained of."""
    status = main(["contract", "check", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    status, said, complaint = told(capsys, *arguments, "--json")
    assert complaint == ""
    return status, json.loads(said)


def test_a_package_that_can_be_used_is_told_with_all_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, complaint = told(capsys, package(tmp_path))

    assert (status, complaint) == (0, "")
    assert f"{SEARCH} : rechercherInsAvecCarteVitale\n     action   urn:ServiceIdentiteCertifiee:1.0.0:" in said
    assert "     demande  {urn:exemple:verification}Depot\n     réponse  {urn:exemple:verification}Accuse\n" in said
    assert "[ok] WS_INS3 : verifier, décrite par verification.toml\n" in said
    assert said.endswith("Ce paquet peut être utilisé.\n")


def test_what_differs_from_what_the_agent_knows_is_told_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours takes several given names, and has TypeMatricule, which is neither sent nor read."""
    status, whole = report(capsys, package(tmp_path))

    assert (status, whole["well"]) == (0, True)
    differences = {one["path"]: one for one in whole["webServices"]["WS_INS2"]["differences"]}
    assert differences["RECSANSVITALE/Prenom"] == {
        "path": "RECSANSVITALE/Prenom",
        "kind": "number",
        "ours": "0..n",
        "theirs": "1..1",
        "matters": False,
    }
    assert {one["kind"] for one in differences.values()} == {"number", "missing", "order"}
    in_the_card = {one["path"]: one["matters"] for one in whole["webServices"]["WS_INS1"]["differences"]}
    assert in_the_card["RECVITALE/MatriculeOD/TypeMatricule"] is False


BY_TRAITS = "urn:ServiceIdentiteCertifiee:{}.0.0:rechercherInsAvecTraitsIdentite"
OURS = Path(__file__).parent.parent / "agent" / "insi" / "contract"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A package that says what ours says."""
    folder = tmp_path / "connu"
    folder.mkdir()
    (folder / "insi.wsdl").write_bytes((OURS / "insi.wsdl").read_bytes())
    return folder


def test_a_contract_that_says_what_ours_says_is_told_so_and_needs_no_copy_of_ws_addressing(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, _ = told(capsys, known)

    assert status == 0
    assert "[ok] WS_INS1 : rechercherInsAvecCarteVitale, décrite par insi.wsdl, telle que l'agent la connaît\n" in said
    assert "[ok] WS_INS4 : pas décrite : l'agent la refuse\n" in said


@pytest.mark.parametrize(
    ("there", "instead", "status", "line"),
    [
        (
            '<xs:element name="TypeMatricule" type="xs:string" minOccurs="0"/>',
            "",
            0,
            "     sans conséquence : RECVITALE/MatriculeIndividu/TypeMatricule : manque dans ce contrat",
        ),
        (
            '<xs:element name="Cle" type="xs:string" minOccurs="0"/>',
            "",
            1,
            "     RECVITALE/MatriculeOD/Cle : manque dans ce contrat",
        ),
        (
            '<xs:element name="ListePrenom" type="xs:string" minOccurs="0"/>',
            "",
            1,
            "     RESULTAT/INDIVIDU/TIQ/ListePrenom : manque dans ce contrat",
        ),
        (
            '<xs:element name="Sexe" type="xs:string" minOccurs="0"/>',
            '<xs:element name="Sexe" type="xs:string"/><xs:element name="Pays" type="xs:string" minOccurs="0"/>',
            0,
            "     sans conséquence : RECSANSVITALE/Pays : est ajouté, facultatif",
        ),
        (
            '<xs:element name="Sexe" type="xs:string" minOccurs="0"/>',
            '<xs:element name="Sexe" type="xs:date" minOccurs="0"/>',
            1,
            "     RECSANSVITALE/Sexe : est de type date au lieu de string",
        ),
        (
            '<xs:element name="OID" type="xs:string"/>',
            '<xs:element name="OID" type="xs:string"/><xs:element name="Statut" type="xs:string"/>',
            0,
            "     sans conséquence : RESULTAT/INDIVIDU/INSACTIF/Statut : est ajouté, et obligatoire",
        ),
        (
            f'soapAction="{BY_TRAITS.format(1)}"',
            f'soapAction="{BY_TRAITS.format(2)}"',
            0,
            f"     sans conséquence : action : a l'action {BY_TRAITS.format(2)} au lieu de {BY_TRAITS.format(1)}",
        ),
        (
            "http://www.cnamts.fr/INSiResultat",
            "urn:resultat:v2",
            1,
            "     answer : a l'élément {urn:resultat:v2}RESULTAT au lieu de {http://www.cnamts.fr/INSiResultat}RESULTAT",
        ),
        (
            'message="tns:Headers" part="Action"',
            'message="tns:ByTraits" part="body"',
            1,
            "     {http://www.cnamts.fr/INSiRecSans}RECSANSVITALE : en-tête que l'agent n'envoie pas",
        ),
        (
            '<xs:element name="DateRef" type="xs:dateTime" minOccurs="0"/>',
            "",
            0,
            "     sans conséquence : ContexteBAM/DateRef : manque dans ce contrat",
        ),
    ],
)
def test_each_kind_of_difference(
    known: Path, capsys: pytest.CaptureFixture[str], there: str, instead: str, status: int, line: str
) -> None:
    file = known / "insi.wsdl"
    before = file.read_text(encoding="utf-8")
    assert there in before
    file.write_text(before.replace(there, instead), encoding="utf-8")

    ended, said, _ = told(capsys, known)

    assert line in said.splitlines()
    assert ended == status


def test_every_path_of_a_binding_that_does_not_hold_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = BINDINGS["verification.toml"].replace('"Personne/Nom"', '"Personne/Patronyme"')
    elsewhere = package(tmp_path / "ici", files={}, bindings={**BINDINGS, "verification.toml": bad}) / "bindings"
    folder = package(tmp_path / "paquet", bindings={})

    status, said, _ = told(capsys, folder, "--bindings", elsewhere)

    assert status == 1
    assert "[!!] WS_INS3 : verifier, décrite par verification.toml\n" in said
    assert "     Personne/Patronyme : ce chemin n'existe pas dans le contrat\n" in said
    assert "     Personne/Nom : le contrat exige cet élément, et rien ne le remplit\n" in said
    assert "[ok] WS_INS4" in said
    _, whole = report(capsys, folder, "--bindings", elsewhere)
    assert [one["path"] for one in whole["webServices"]["WS_INS3"]["faults"]] == ["Personne/Patronyme", "Personne/Nom"]


def test_a_binding_that_cannot_be_read_is_told_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = BINDINGS["verification.toml"].replace("action =", "actions =")
    folder = package(tmp_path, bindings={"v.toml": bad})

    status, said, _ = told(capsys, folder)

    assert status == 1
    assert "[!!] WS_INS3 : v.toml : action : cette clé manque" in said
    _, whole = report(capsys, folder)
    assert whole["webServices"]["WS_INS3"]["error"]["code"] == "contract.binding"


def test_a_package_without_the_searches_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: content for name, content in FILES.items() if name != SEARCH}

    status, said, _ = told(capsys, package(tmp_path, files))

    assert status == 1
    assert "[!!] WS_INS1 : absente du paquet\n" in said


def test_a_schema_that_libxml2_does_not_take_is_told_and_harms_nobody(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """zeep looks at no pattern; libxml2 does."""
    file = known / "insi.wsdl"
    file.write_text(file.read_text(encoding="utf-8").replace("[A-Z]", "[A-"), encoding="utf-8")

    status, said, _ = told(capsys, known)

    assert status == 0
    assert said.count("     Les réponses ne pourront pas être comparées à leur schéma.\n") == 2
    assert "demandes" not in said


def test_a_request_whose_schema_libxml2_does_not_take_is_told_too(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = known / "insi.wsdl"
    once = '<xs:element name="LieuNaissance" type="'
    spoilt = (
        '<xs:element name="Pays" minOccurs="0"><xs:simpleType><xs:restriction base="xs:string"><xs:pattern value="["/>'
    )
    before = file.read_text(encoding="utf-8")
    assert once in before
    spoilt += "</xs:restriction></xs:simpleType></xs:element>"
    file.write_text(before.replace(once, spoilt + once, 1), encoding="utf-8")

    status, said, _ = told(capsys, known)

    assert (status, said.count("     Les demandes n'ont pas pu être comparées à leur schéma.\n")) == (0, 1)


def test_a_package_that_cannot_be_read_ends_with_the_catalogues_sentence_the_file_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = package(tmp_path)
    (folder / "schemas" / "personne.xsd").unlink()

    status, said, complaint = told(capsys, folder)

    row = CATALOGUE[Code.CONTRACT_UNREADABLE]
    assert (status, said) == (1, "")
    assert complaint.startswith(f"{row.title.fr} {row.action.fr}\nFichier : schemas/personne.xsd\nRaison : un document")


# ---------------------------------------------------------------- the running agent's


def test_the_settings_contract_is_read_once_and_again_after_a_reload(tmp_path: Path) -> None:
    now = [Settings(insi=Insi(contract=package(tmp_path)))]
    contract = _ReadContract(lambda: now[0], Environment.TEST)

    first = contract()
    first.check(Operation.VERIFY, simulated=False)

    assert contract() is first
    now[0] = Settings()
    with pytest.raises(AgentError) as caught:
        contract().check(Operation.VERIFY, simulated=False)
    assert caught.value.code is Code.CONTRACT_MISSING


def test_a_package_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    settings = Settings(insi=Insi(contract=tmp_path / "bientôt"))
    contract = _ReadContract(lambda: settings, Environment.TEST)

    with pytest.raises(AgentError) as caught:
        contract()
    assert caught.value.code is Code.CONTRACT_UNREADABLE
    package(tmp_path / "bientôt")

    contract().check(Operation.VERIFY, simulated=False)


def test_the_simulator_speaks_our_contract_whatever_is_configured(tmp_path: Path) -> None:
    settings = Settings(insi=Insi(contract=package(tmp_path)))

    contract = _ReadContract(lambda: settings, Environment.SIMULATED)()

    assert contract.binding(Operation.VERIFY).placeholder
    assert official.V not in contract.binding(Operation.VERIFY).request.element
