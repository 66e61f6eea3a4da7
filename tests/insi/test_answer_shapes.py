"""Answers of WS_INS3, 4 and 5, where a binding says what stands where. All names here are invented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.answers import (
    Answer,
    BatchAnswer,
    BatchItem,
    Deposited,
    body_of,
    read_answer,
    read_batch,
    read_deposit,
)
from agent.insi.contract.bindings import AnswerShape
from agent.insi.ports import HttpReply
from agent.model import Outcome

SOAP = "http://www.w3.org/2003/05/soap-envelope"

VERIFY = AnswerShape(
    element="{urn:x}VERIFICATION",
    code="Rapport/Code",
    label="Rapport/@libelle",
    outcomes={"OK": "verified", "KO": "notVerified"},
)
DEPOSIT = AnswerShape(
    element="{urn:x}DEPOT", code="@code", label="Libelle", outcomes={"00": "accepted"}, batch="Lot/Numero"
)
BATCH = AnswerShape(
    element="{urn:x}LOT",
    code="Etat",
    outcomes={"00": "ready", "10": "pending"},
    items="Resultats/Personne",
    item_reference="@reference",
    item_code="Code",
    item_label="Libelle",
    item_outcomes={"OK": "verified", "KO": "notVerified"},
)

VERIFIED = """<V:VERIFICATION xmlns:V="urn:x"><Rapport xmlns="urn:y" libelle="Identité exacte">
<Code> OK
</Code></Rapport></V:VERIFICATION>"""
TAKEN = '<DEPOT xmlns="urn:x" code="00"><Libelle>Lot déposé</Libelle><Lot><Numero> L-1 </Numero></Lot></DEPOT>'
READY = """<LOT xmlns="urn:x"><Etat>00</Etat><Resultats>
<Personne reference="un"><Code>OK</Code><Libelle>Exacte</Libelle></Personne>
<Personne reference="deux"><Libelle>Traits différents</Libelle><Code>KO</Code></Personne>
<Personne reference="trois"><Code>2841276451089</Code></Personne>
</Resultats></LOT>"""


def reply(body: str, status: int = 200) -> HttpReply:
    return HttpReply(status, f'<s:Envelope xmlns:s="{SOAP}"><s:Body>{body}</s:Body></s:Envelope>'.encode(), 1)


def refusal(body: str, shape: AnswerShape, status: int = 200) -> AgentError:
    read = {VERIFY.element: read_answer, DEPOSIT.element: read_deposit, BATCH.element: read_batch}[shape.element]
    with pytest.raises(AgentError) as refused:
        read(reply(body, status), shape)
    return refused.value


@pytest.mark.parametrize(("code", "outcome"), [("OK", Outcome.VERIFIED), ("KO", Outcome.NOT_VERIFIED)])
def test_a_verification_is_read_where_the_binding_says(code: str, outcome: Outcome) -> None:
    body = VERIFIED.replace(" OK", f" {code}")

    assert read_answer(reply(body), VERIFY) == Answer(code, "Identité exacte", outcome)


def test_a_batch_taken_has_the_name_that_insi_gave_it() -> None:
    assert read_deposit(reply(TAKEN), DEPOSIT) == Deposited("00", "Lot déposé", "L-1")


def test_a_batch_that_is_ready_has_its_people_in_order_and_codes_verbatim() -> None:
    """A code that the binding does not know takes nobody else's answer along."""
    assert read_batch(reply(READY), BATCH) == BatchAnswer(
        "00",
        "",
        True,
        [
            BatchItem("un", "OK", "Exacte", Outcome.VERIFIED),
            BatchItem("deux", "KO", "Traits différents", Outcome.NOT_VERIFIED),
            BatchItem("trois", "2841276451089", "", None),
        ],
    )


def test_a_batch_that_is_pending_has_nobody_yet() -> None:
    assert read_batch(reply('<LOT xmlns="urn:x"><Etat>10</Etat></LOT>'), BATCH) == BatchAnswer("10", "", False, [])


def test_a_batch_does_not_print_what_it_says_of_people() -> None:
    assert "2841276451089" not in repr(read_batch(reply(READY), BATCH))


@pytest.mark.parametrize(
    ("body", "shape", "code"),
    [
        (VERIFIED.replace("OK", "PEUT-ETRE"), VERIFY, "PEUT-ETRE"),
        (TAKEN.replace('"00"', '"77"'), DEPOSIT, "77"),
        (READY.replace(">00<", ">99<"), BATCH, "99"),
    ],
)
def test_a_code_of_no_table_is_a_fault_and_no_answer(body: str, shape: AnswerShape, code: str) -> None:
    error = refusal(body, shape)

    assert error.code is Code.INSI_FAULT_UNKNOWN
    assert error.facts["insi"]["code"] == code


def test_a_code_that_means_something_for_another_operation_means_nothing_here() -> None:
    mixed = AnswerShape(element=VERIFY.element, code=VERIFY.code, outcomes={"OK": "accepted"})

    assert refusal(VERIFIED, mixed).code is Code.INSI_FAULT_UNKNOWN


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (VERIFIED.replace("urn:x", "urn:z"), VERIFY),
        (VERIFIED.replace("OK", ""), VERIFY),
        (VERIFIED.replace("<Code>", "<Code>KO</Code><Code>"), VERIFY),
        (VERIFIED + VERIFIED, VERIFY),
        (TAKEN.replace("L-1", ""), DEPOSIT),
        (TAKEN.replace("Numero>", "Nom>"), DEPOSIT),
        (READY.replace("<Etat>00</Etat>", ""), BATCH),
        (READY.replace("<Code>OK</Code>", "<Code>OK</Code><Code>KO</Code>"), BATCH),
        ("", BATCH),
    ],
)
def test_what_is_not_there_or_stands_twice_is_unreadable(body: str, shape: AnswerShape) -> None:
    assert refusal(body, shape).code is Code.INSI_UNREADABLE


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (VERIFIED.replace("OK", "O<x>K</x>"), VERIFY),
        (TAKEN.replace("L-1", "L-<x>1</x>"), DEPOSIT),
        (TAKEN.replace('"00"', '"00" xmlns:y="urn:y" y:code="99"'), DEPOSIT),
        (READY.replace(">00<", "><x/>00<"), BATCH),
        (READY.replace(">OK<", ">O<x>K</x><"), BATCH),
    ],
)
def test_a_code_or_a_name_with_elements_inside_or_told_twice_is_unreadable(body: str, shape: AnswerShape) -> None:
    """What several say together, nobody said."""
    assert refusal(body, shape).code is Code.INSI_UNREADABLE


def test_a_label_never_stops_an_answer() -> None:
    """A refusal with its reasons, one element each, is a clear refusal."""
    shape = AnswerShape(
        element="{urn:x}REPONSE", code="Verdict/@code", label="Motif", outcomes={"NON CONFORME": "notVerified"}
    )
    verdict = '<Verdict code="NON CONFORME"/><Motif>Nom</Motif><Motif/><Motif>Date <b>fausse</b></Motif>'
    refused = read_answer(reply(f'<REPONSE xmlns="urn:x">{verdict}</REPONSE>'), shape)
    batch = read_batch(reply(READY.replace("<Libelle>Exacte", "<Libelle>Oui</Libelle><Libelle>Exacte")), BATCH)

    assert refused == Answer("NON CONFORME", "Nom ; Date fausse", Outcome.NOT_VERIFIED)
    assert batch.items[0].label == "Oui ; Exacte"


def test_a_code_may_be_the_text_of_the_element_itself() -> None:
    """`.` is the element itself: the body's, or a person's in a batch."""
    verdict = AnswerShape(element="{urn:x}V", code=".", label="@motif", outcomes={"OK": "verified"})
    taken = AnswerShape(element="{urn:x}D", code="@code", outcomes={"00": "accepted"}, batch=".")
    batch = AnswerShape(
        element="{urn:x}L",
        code="@etat",
        outcomes={"00": "ready"},
        items="P",
        item_reference="@ref",
        item_code=".",
        item_label=".",
        item_outcomes={"OK": "verified"},
    )

    assert read_answer(reply('<V xmlns="urn:x" motif="Exact"> OK </V>'), verdict) == Answer(
        "OK", "Exact", Outcome.VERIFIED
    )
    assert read_deposit(reply('<D xmlns="urn:x" code="00">L-1</D>'), taken).batch == "L-1"
    assert read_batch(reply('<L xmlns="urn:x" etat="00"><P ref="un">OK</P></L>'), batch).items == [
        BatchItem("un", "OK", "OK", Outcome.VERIFIED)
    ]
    with pytest.raises(AgentError) as refused:
        read_answer(reply('<V xmlns="urn:x"><x>OK</x></V>'), verdict)
    assert refused.value.code is Code.INSI_UNREADABLE


def test_a_step_may_name_its_namespace_where_two_have_the_same_local_name() -> None:
    said = '<V xmlns="urn:x" xmlns:a="urn:a/b"><R a:c="KO" c="OK"/><a:R c="x" a:c="y">KO</a:R></V>'

    def outcome(code: str) -> Outcome:
        shape = AnswerShape(element="{urn:x}V", code=code, outcomes={"OK": "verified", "KO": "notVerified"})
        return read_answer(reply(said), shape).outcome

    assert outcome("{urn:a/b}R") is Outcome.NOT_VERIFIED
    assert outcome("{urn:x}R/@{urn:a/b}c") is Outcome.NOT_VERIFIED
    for unclear in ("R", "{urn:x}R/@c"):
        with pytest.raises(AgentError) as refused:
            outcome(unclear)
        assert refused.value.code is Code.INSI_UNREADABLE


@pytest.mark.parametrize("shape", [VERIFY, DEPOSIT, BATCH])
def test_a_fault_is_a_fault_for_every_operation(shape: AnswerShape) -> None:
    body = f"""<s:Fault xmlns:s="{SOAP}"><s:Code><s:Value>s:Sender</s:Value>
        <s:Subcode><s:Value>s:siram_100</s:Value></s:Subcode></s:Code></s:Fault>"""

    assert refusal(body, shape, 500).code is Code.INSI_FAULT_ACCESS


@pytest.mark.parametrize("shape", [VERIFY, DEPOSIT, BATCH])
def test_an_error_that_is_no_answer_is_said_with_its_status(shape: AnswerShape) -> None:
    error = refusal("<html/>", shape, 503)

    assert (error.code, error.facts) == (Code.INSI_HTTP, {"status": 503})


def test_what_the_body_holds_is_handed_to_whoever_checks_it() -> None:
    assert body_of(reply(f"<!-- x --><?x y?>\n{TAKEN}")).tag == "{urn:x}DEPOT"
    assert body_of(HttpReply(200, TAKEN.encode(), 1)).tag == "{urn:x}DEPOT"
    with pytest.raises(AgentError) as refused:
        body_of(HttpReply(200, b"<", 1))
    assert refused.value.code is Code.INSI_UNREADABLE


@given(
    st.sampled_from([(VERIFIED, VERIFY), (TAKEN, DEPOSIT), (READY, BATCH)]),
    st.integers(0, 400),
    st.integers(0, 80),
    st.one_of(st.text(max_size=10), st.sampled_from(["<", "</Code>", "<Code/>", '"', "xmlns=''", "<Personne/>"])),
)
def test_any_damage_gives_an_answer_or_a_code(pair: tuple[str, AnswerShape], at: int, cut: int, put: str) -> None:
    body, shape = pair
    damaged = HttpReply(200, reply(body).body.replace(body.encode(), (body[:at] + put + body[at + cut :]).encode()), 1)
    reader = {VERIFY.element: read_answer, DEPOSIT.element: read_deposit, BATCH.element: read_batch}[shape.element]

    try:
        assert reader(damaged, shape).code in shape.outcomes
    except AgentError as error:
        assert error.code.startswith("insi.")
