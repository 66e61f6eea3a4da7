"""The simulated INSi's WS_INS3, 4 and 5, in the placeholder contract."""

from typing import Any

import pytest
from lxml import etree

from agent.insi.fake_batch import BatchRules
from agent.insi.fake_people import NIA_OID, NIR_OID
from agent.insi.fake_service import FakeService
from agent.insi.fake_style import Style
from agent.model import AuthMode
from tests.simulator.editor import PLACEHOLDER, Shape, elements, message, now

NS = f"{{{PLACEHOLDER}}}"
LEONARDO = {
    "NomNaissance": "DE VINCI",
    "ListePrenom": "LEONARDO PIERO",
    "Sexe": "M",
    "DateNaissance": "2014-02-01",
}


def service(**how: Any) -> FakeService:
    return FakeService(authorisations=["SIMULATEUR-0001"], ca=[], **how)


def ask(one: FakeService, operation: str, body: str, shape: dict[str, Any] | None = None) -> Any:
    whole = message(body, Shape(action=f"{PLACEHOLDER}:{operation}", **(shape or {})))
    _, reply = one.answer(whole, mode=AuthMode.ORGANISATION, client_name="INSI-AUTO", now=now())
    return etree.fromstring(reply)


def code(root: Any) -> str:
    error = root.find(".//{urn:siram}Erreur")
    return str(root.findtext(f".//{NS}CR/{NS}CodeCR") if error is None else error.get("code"))


def person(
    reference: str | None = None, matricule: str = "1140263220833", oid: str = NIR_OID, **changes: str | None
) -> str:
    number = f"<IdIndividu>{elements({'NumIdentifiant': matricule, 'Cle': '56'})}</IdIndividu>{elements({'OID': oid})}"
    return (
        f'<IndividuVerifie xmlns="{PLACEHOLDER}">{elements({"Reference": reference})}<INSFourni>{number}</INSFourni>'
        f"<TraitsIdentiteIndividu>{elements({**LEONARDO, **changes})}</TraitsIdentiteIndividu></IndividuVerifie>"
    )


def batch(reference: str, *people: str, number: int | None = None) -> str:
    said = elements({"Reference": reference, "Nombre": str(len(people) if number is None else number)})
    return f'<Lot xmlns="{PLACEHOLDER}">{said}{"".join(people)}</Lot>'


def wanted(name: str) -> str:
    return f'<LotDemande xmlns="{PLACEHOLDER}">{elements({"IdLot": name})}</LotDemande>'


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (person(), "OK"),
        (person(LieuNaissance="63220"), "OK"),
        (person(LieuNaissance="99127"), "KO"),
        (person(oid=NIA_OID), "KO"),
        (person(matricule="1140263220834"), "KO"),
        (person(ListePrenom="LEONARDO"), "KO"),
        (person(NomNaissance="DEVINCI"), "KO"),
        (person(Sexe="F"), "KO"),
        (person(DateNaissance="2014-02-02"), "KO"),
        (person(matricule="12345"), "sim_field"),
        (person(Sexe=None), "sim_field"),
        (person(ListePrenom="Léonardo"), "sim_name"),
    ],
)
def test_one_ins_is_verified_with_all_its_traits(asked: str, expected: str) -> None:
    assert code(ask(service(), "verifierIns", asked)) == expected


def test_a_batch_is_deposited_waited_for_and_fetched_in_another_order() -> None:
    one = service(batches=BatchRules(pending=2))
    deposited = ask(one, "deposerLot", batch("LOT-1", person("a"), person("b", Sexe="F"), person("c")))
    name = deposited.findtext(f".//{NS}IdLot")

    fetched = [ask(one, "recupererLot", wanted(name)) for _ in range(4)]

    assert code(deposited) == "OK"
    assert [code(reply) for reply in fetched] == ["EN_COURS", "EN_COURS", "PRET", "PRET"]
    results = fetched[2].findall(f".//{NS}Resultat")
    assert [(one.findtext(f"{NS}Reference"), one.findtext(f"{NS}CodeCR")) for one in results] == [
        ("c", "OK"),
        ("b", "KO"),
        ("a", "OK"),
    ]
    assert fetched[1].findall(f".//{NS}Resultat") == []


@pytest.mark.parametrize(
    ("lot", "expected"),
    [
        (batch("LOT-1", person("a")), "sim_batch_reference"),  # deposited before
        (batch("LOT-2", person("a"), person("a")), "sim_batch_reference"),
        (batch("LOT-3", *(person(str(number)) for number in range(4))), "sim_batch_size"),
        (batch("LOT-4"), "sim_field"),
        (batch("LOT-5", person("a"), number=2), "sim_field"),
        (batch("LOT-6", person()), "sim_field"),
        (batch("", person("a")), "sim_field"),
        (batch("LOT-7", *(person(str(number)) for number in range(3))), "OK"),
    ],
)
def test_a_batch_has_limits(lot: str, expected: str) -> None:
    one = service(batches=BatchRules(max_items=3))
    assert code(ask(one, "deposerLot", batch("LOT-1", person("a")))) == "OK"

    assert code(ask(one, "deposerLot", lot)) == expected


def test_an_unknown_batch_is_a_fault() -> None:
    assert code(ask(service(), "recupererLot", wanted("LOT-FICTIF-000001"))) == "sim_batch_unknown"


def test_every_answer_says_that_its_contract_is_a_fiction() -> None:
    one = service(batches=BatchRules(pending=0))
    replies = [ask(one, "verifierIns", person()), ask(one, "deposerLot", batch("LOT-1", person("a")))]
    replies.append(ask(one, "recupererLot", wanted(replies[1].findtext(f".//{NS}IdLot"))))

    labels = [element.text for reply in replies for element in reply.iter(f"{NS}LibelleCR")]

    assert len(labels) == 4
    assert all(label.startswith("Contrat fictif du simulateur") for label in labels)
    assert {reply[-1][0].tag.partition("}")[0] + "}" for reply in replies} == {NS}


def test_the_same_checks_come_first_and_the_same_styles_apply() -> None:
    assert code(ask(service(), "verifierIns", person(), {"idam": "INCONNU"})) == "desir_550"
    assert code(ask(service(), "verifierIns", person(), {"bam": "<x/>"})) == "sim_header"
    assert code(ask(service(), "verifierIns", wanted("x"))) == "sim_body"
    assert code(ask(service(style=Style(answer="desir_1020")), "verifierIns", person())) == "desir_1020"
    assert ask(service(style=Style(body_prefix="S", header="empty")), "verifierIns", person())[1].prefix == "S"


def test_without_the_placeholder_contract_nobody_knows_these_operations() -> None:
    assert code(ask(service(batches=None), "verifierIns", person())) == "sim_action"
