"""Binding files: what is wrong in one is named, and costs its own operation alone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.contract import open_contract
from agent.insi.contract.bindings import AnswerShape, Binding, Items, Reason, Request, read_binding
from agent.insi.contract.files import Trouble
from agent.insi.operations import VALUES, Operation, Use
from tests.insi.official import BINDINGS, V, package

OURS = Path(__file__).parent.parent.parent / "agent" / "insi" / "contract"
VERIFICATION, DEPOSIT, FETCHED = (BINDINGS[name] for name in ("verification.toml", "depot.toml", "retrait.toml"))


def wrong(content: str) -> tuple[str, str, str]:
    """Operation, path and reason, of a file that is no binding."""
    with pytest.raises(AgentError) as caught:
        read_binding(content.encode(), "essai.toml")
    facts = caught.value.facts
    assert (Code.CONTRACT_BINDING, "essai.toml") == (caught.value.code, facts["file"])
    return facts["operation"], facts["path"], facts["reason"]


def test_a_binding_is_read_whole() -> None:
    assert read_binding(DEPOSIT.encode(), "depot.toml") == Binding(
        operation=Operation.DEPOSIT,
        action="urn:exemple:deposer",
        request=Request(
            element=f"{{{V}}}Depot",
            values={"@lot": "reference"},
            omits=("count",),
            items=Items(
                element="Dossier",
                omits=("key", "birthPlaceCode"),
                values={
                    "Numero": "matricule",
                    "Numero/@domaine": "oid",
                    "Personne/Nom": "birthName",
                    "Personne/Prenoms": "givenNames",
                    "Personne/Genre": "sex",
                    "Personne/Naissance/Le": "birthDate",
                    "Rang": "reference",
                },
            ),
        ),
        answer=AnswerShape(element=f"{{{V}}}Accuse", code="Code", batch="Recu/Numero", outcomes={"0": "accepted"}),
        file="depot.toml",
    )


@pytest.mark.parametrize(
    ("there", "instead", "path"),
    [
        ('action = "urn:exemple:verifier"', "", "action"),
        ("urn:exemple:verifier", 'urn:a\\" b', "action"),
        ('code = "Code"', "", "answer.code"),
        ('code = "Code"', 'cod = "Code"', "answer.code"),
        ('label = "Motif"', 'libelle = "Motif"', "answer.libelle"),
        ('label = "Motif"', "label = 3", "answer.label"),
        ('label = "Motif"', 'label = "/Motif"', "answer.label"),
        ('label = "Motif"', 'label = "//*"', "answer.label"),
        ('label = "Motif"', 'label = "@a/b"', "answer.label"),
        ('"Identite/Ins"', '"Identite/../Ins"', "request.values.Identite/../Ins"),
        (f'"{{{V}}}Verifier"', '"Verifier"', "request.element"),
        ('"birthName"', '"nomDeNaissance"', "request.values.Personne/Nom = nomDeNaissance"),
        ('"notVerified"', '"accepted"', "answer.outcomes.2 = accepted"),
        ('"notVerified"', '"peut-être"', "answer.outcomes.2"),
        ('outcomes = { "1" = "verified", "2" = "notVerified" }', "", "answer.outcomes"),
        (f'"{{{V}}}Verdict"', '"Verdict"', "answer.element"),
        ('"Identite/@cle" = "key"', '"Identite/@cle/." = "key"', "request.values.Identite/@cle/."),
        ('"Identite/@cle" = "key"', '"{urn: x}cle" = "key"', "request.values.{urn: x}cle"),
        ("[request.values]", 'omits = ["key"]\n[request.values]', "request.omits = key"),
        ("[request.values]", 'omits = ["matricule"]\n[request.values]', "request.omits = matricule"),
        ("[request.values]", 'omits = ["rank"]\n[request.values]', "request.omits = rank"),
        ("[request.constants]", '[request.items]\nelement = "A"\nvalues = {}\n[request.constants]', "request.items"),
    ],
)
def test_a_key_that_is_wrong_is_named(there: str, instead: str, path: str) -> None:
    assert there in VERIFICATION
    assert wrong(VERIFICATION.replace(there, instead)) == ("WS_INS3", path, Reason.KEY)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (DEPOSIT.replace('batch = "Recu/Numero"', ""), "answer.batch"),
        (DEPOSIT.partition("[request.items]")[0] + "[answer]" + DEPOSIT.partition("[answer]")[2], "request.items"),
        (DEPOSIT.replace('"Rang" = "reference"', '"Rang" = "count"'), "request.items.values.Rang = count"),
        (FETCHED.replace('item_reference = "@rang"', ""), "answer.item_reference"),
        (FETCHED.replace('"O" = "verified"', '"O" = "ready"'), "answer.item_outcomes.O"),
    ],
)
def test_a_batch_needs_more_keys(content: str, path: str) -> None:
    assert wrong(content)[1:] == (path, Reason.KEY)


def without(content: str, value: str) -> str:
    """This binding, without the line that sends this value last."""
    lines = content.splitlines()
    del lines[max(at for at, line in enumerate(lines) if line.endswith(f'= "{value}"'))]
    return "\n".join(lines)


@pytest.mark.parametrize("value", ["matricule", "oid", "birthName", "givenNames", "sex", "birthDate"])
def test_a_binding_that_leaves_out_what_is_to_be_verified_is_refused_whatever_the_schema_allows(value: str) -> None:
    """INSi would say that somebody else's INS is verified."""
    assert wrong(without(VERIFICATION, value)) == ("WS_INS3", f"request.values = {value}", Reason.NEEDED)
    assert wrong(without(DEPOSIT, value)) == ("WS_INS4", f"request.items.values = {value}", Reason.NEEDED)


def test_what_tells_the_persons_and_the_batches_apart_is_needed_too() -> None:
    assert wrong(without(DEPOSIT, "reference"))[1:] == ("request.items.values = reference", Reason.NEEDED)
    assert wrong(without(FETCHED, "batch"))[1:] == ("request.values = batch", Reason.NEEDED)


@pytest.mark.parametrize("operation", [Operation.WITH_VITALE, Operation.BY_TRAITS])
def test_a_search_is_sent_whole_too(operation: Operation) -> None:
    """The birth place of a search is a step of its own: a binding without it would ask the same again."""
    ours = (OURS / f"{operation.lower()}.toml").read_text(encoding="utf-8")
    needed = {name for name, use in VALUES[operation].items() if use is Use.SENT}

    assert needed >= {"birthDate"} | ({"nirOfInsured", "rank"} if "1" in operation else {"birthName", "birthPlaceCode"})
    for value in needed:
        assert wrong(without(ours, value))[1:] == (f"request.values = {value}", Reason.NEEDED)


@pytest.mark.parametrize("value", ["key", "birthPlaceCode"])
def test_what_may_be_left_out_is_left_out_by_its_name(value: str) -> None:
    """A binding does not forget: it says so."""
    assert wrong(without(VERIFICATION, value)) == ("WS_INS3", f"request.values = {value}", Reason.LEFT_OUT)

    said = without(VERIFICATION, value).replace("[request.values]", f'omits = ["{value}"]\n[request.values]')
    assert read_binding(said.encode(), "essai.toml").request.omits == (value,)


def test_a_search_whose_answer_is_not_the_one_we_read_is_refused() -> None:
    ours = (OURS / "ws_ins2.toml").read_text(encoding="utf-8")

    assert wrong(ours.replace("INSiResultat}", "INSiResultat2}"))[1:] == (
        "answer.element = {http://www.cnamts.fr/INSiResultat2}RESULTAT",
        Reason.KEY,
    )


@pytest.mark.parametrize("operation", ["", 'operation = "WS_INS9"', "operation = 3", "operation = []"])
def test_an_operation_that_does_not_exist_is_not_guessed(operation: str) -> None:
    assert wrong(VERIFICATION.replace('operation = "WS_INS3"', operation)) == ("", "operation", Reason.KEY)


@pytest.mark.parametrize("content", ["operation = ", "= 3", "\x00", "[a]\n[a]", "a = " + "[" * 5000])
def test_what_is_no_toml_is_said(content: str) -> None:
    assert wrong(content)[2] == Reason.TOML


toml = st.recursive(
    st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.sampled_from(["WS_INS3", f"{{{V}}}A", "A/@b"])),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from(["element", "values", "items", "code", "outcomes", "constants", "A/B", "file"]), below
        ),
    ),
    max_leaves=8,
)


def written(value: Any) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(one):08x}" if ord(one) < 0xD800 else "x" for one in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)} = {written(one)}" for key, one in value.items()) + "}"
    return str(value)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["operation", "action", "request", "answer", "name", "file", "autre"]), toml))
def test_any_toml_is_a_binding_or_a_code(table: dict[str, Any]) -> None:
    content = "\n".join(f"{key} = {written(value)}" for key, value in table.items())
    with pytest.raises(AgentError) as caught:
        read_binding(content.encode(), "essai.toml")
    assert caught.value.code is Code.CONTRACT_BINDING
    assert caught.value.facts["reason"] == Reason.KEY


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_a_damaged_file_is_a_binding_or_a_code(noise: bytes, at: int) -> None:
    content = VERIFICATION.encode()
    try:
        binding = read_binding(content[:at] + noise + content[at + len(noise) :], "essai.toml")
    except AgentError as error:
        assert error.code is Code.CONTRACT_BINDING
    else:
        assert binding.operation in Operation


# ---------------------------------------------------------------- beside a contract


def refused(folder: Path, operation: Operation, **bindings: str) -> dict[str, Any]:
    """What is said of an operation with these binding files, which leave the others alone."""
    files = {**BINDINGS, **{f"{name}.toml": content for name, content in bindings.items()}}
    contract = open_contract(package(folder, bindings=files), None)
    for other in set(Operation) - {operation}:
        contract.check(other, simulated=False)
    with pytest.raises(AgentError) as caught:
        contract.check(operation, simulated=False)
    assert caught.value.code is Code.CONTRACT_BINDING
    return caught.value.facts


@pytest.mark.parametrize(
    ("there", "instead", "path", "reason"),
    [
        ('"Personne/Nom"', '"Personne/Patronyme"', "Personne/Patronyme", Reason.UNKNOWN),
        ('"Identite/Ins/@domaine"', '"Identite/Ins/@oid"', "Identite/Ins/@oid", Reason.UNKNOWN),
        ('"Personne/Naissance/Le"', '"Personne/Naissance"', "Personne/Naissance", Reason.UNKNOWN),
        ('"Personne/Genre" = "sex"', '"Identite/Provisoire" = "sex"', "Personne/Genre", Reason.UNFILLED),
        ('"Identite/Ins/@domaine"', '"Identite/Provisoire"', "Identite/Ins/@domaine", Reason.UNFILLED),
        ('[request.constants]\n"Service" = "INSI"', "", "Service", Reason.UNFILLED),
        ('"Service" = "INSI"', '"Service" = "INSI"\n"Services" = "1"', "Services", Reason.UNKNOWN),
        ("urn:exemple:verifier", "urn:exemple:verifie", "action = urn:exemple:verifie", Reason.ACTION),
        (
            "urn:exemple:verifier",
            "urn:exemple:deposer",
            f"request.element = {{{V}}}Verifier",
            Reason.ELEMENT,
        ),
        (f"{{{V}}}Verifier", f"{{{V}}}Retrait", f"request.element = {{{V}}}Retrait", Reason.ELEMENT),
        (f"{{{V}}}Verdict", f"{{{V}}}Accuse", f"answer.element = {{{V}}}Accuse", Reason.ELEMENT),
        ('code = "Code"', 'code = "Etat/Code"', "Etat/Code", Reason.UNKNOWN),
        ('label = "Motif"', 'label = "Libelle"', "Libelle", Reason.UNKNOWN),
    ],
)
def test_what_the_contract_does_not_have_is_named_with_file_operation_and_path(
    tmp_path: Path, there: str, instead: str, path: str, reason: Reason
) -> None:
    assert there in VERIFICATION
    changed = VERIFICATION.replace(there, instead)

    assert refused(tmp_path, Operation.VERIFY, verification=changed) == {
        "file": "verification.toml",
        "operation": "WS_INS3",
        "path": path,
        "reason": reason,
    }


@pytest.mark.parametrize(
    ("name", "there", "instead", "path"),
    [
        ("depot", 'element = "Dossier"', 'element = "Dossiers"', "Dossiers/Numero"),
        ("depot", '"Rang" = "reference"', '"Personne/Naissance/A" = "reference"', "Dossier/Rang"),
        (
            "depot",
            'omits = ["count"]\n\n[request.values]\n"@lot" = "reference"',
            'omits = ["count", "reference"]\n\n[request.values]',
            "@lot",
        ),
        ("depot", '"Recu/Numero"', '"Numero"', "Numero"),
        ("retrait", 'items = "Ligne"', 'items = "Lignes"', "Lignes"),
        ("retrait", '"@avis"', '"Avis"', "Ligne/Avis"),
    ],
)
def test_the_same_within_a_batch(tmp_path: Path, name: str, there: str, instead: str, path: str) -> None:
    operation = Operation.DEPOSIT if name == "depot" else Operation.FETCH
    assert there in BINDINGS[f"{name}.toml"]
    changed = BINDINGS[f"{name}.toml"].replace(there, instead)

    assert refused(tmp_path, operation, **{name: changed})["path"] == path


def test_a_binding_that_cannot_be_opened_stands_for_each_that_lacks_one_too(tmp_path: Path) -> None:
    folder = package(tmp_path, bindings={name: BINDINGS[name] for name in ("depot.toml", "retrait.toml")})
    (folder / "bindings" / "verification.toml").symlink_to("absent")

    with pytest.raises(AgentError) as caught:
        open_contract(folder, None).check(Operation.VERIFY, simulated=False)

    assert (Code.CONTRACT_UNREADABLE, "verification.toml") == (caught.value.code, caught.value.facts["file"])


def test_two_files_for_one_operation_are_not_chosen_from(tmp_path: Path) -> None:
    facts = refused(tmp_path, Operation.VERIFY, autre=VERIFICATION)

    assert (facts["file"], facts["path"], facts["reason"]) == ("verification.toml", "operation", Reason.TWICE)


def test_a_file_that_does_not_say_its_operation_stands_for_each_that_lacks_one(tmp_path: Path) -> None:
    bindings = {**BINDINGS, "depot.toml": "operation = "}
    contract = open_contract(package(tmp_path, bindings=bindings), None)

    with pytest.raises(AgentError) as caught:
        contract.check(Operation.DEPOSIT, simulated=False)

    assert (Code.CONTRACT_BINDING, "depot.toml") == (caught.value.code, caught.value.facts["file"])
    for other in set(Operation) - {Operation.DEPOSIT}:
        contract.check(other, simulated=False)


def test_each_refusal_has_facts_of_its_own(tmp_path: Path) -> None:
    """Callers add to them."""
    contract = open_contract(package(tmp_path, bindings={"a.toml": "operation ="}), None)

    for _ in range(2):
        with pytest.raises(AgentError) as caught:
            contract.binding(Operation.VERIFY)
        assert "traceId" not in caught.value.facts
        caught.value.facts["traceId"] = "x"


def test_our_placeholder_stays_one_in_any_folder(tmp_path: Path) -> None:
    """A copy of its files makes no contract of it."""
    contract = open_contract(OURS, OURS)

    with pytest.raises(AgentError) as caught:
        contract.check(Operation.VERIFY, simulated=False)

    assert caught.value.code is Code.CONTRACT_MISSING


def test_the_folder_of_bindings_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as caught:
        open_contract(None, tmp_path / "absent")

    assert (Code.CONTRACT_UNREADABLE, Trouble.FOLDER) == (caught.value.code, caught.value.facts["reason"])


def test_bindings_without_a_package_are_held_against_our_own_contract(tmp_path: Path) -> None:
    place = package(tmp_path, files={}) / "bindings"

    with pytest.raises(AgentError) as caught:
        open_contract(None, place).check(Operation.VERIFY, simulated=False)

    assert caught.value.facts["reason"] == Reason.ACTION
