"""Whatever INSi sends is an answer, or a code of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.answers import Answer, read_answer
from agent.insi.faults import may_repeat, short_code
from agent.insi.ports import HttpReply
from agent.model import InsKind, Outcome

SOAP = "http://www.w3.org/2003/05/soap-envelope"
RESULT = "http://www.cnamts.fr/INSiResultat"

FOUND = f"""<soap:Envelope xmlns:soap="{SOAP}"><soap:Body><RESULTAT xmlns="{RESULT}">
<CR><CodeCR>00</CodeCR><LibelleCR>OK</LibelleCR></CR>
<INDIVIDU><INSACTIF><IdIndividu><NumIdentifiant>1109999352001</NumIdentifiant><Cle>12</Cle></IdIndividu>
<OID>1.2.250.1.213.1.4.8</OID></INSACTIF>
<TIQ><NomNaissance>INVENTE</NomNaissance><ListePrenom>PAUL ANNE-LOU</ListePrenom><Sexe>M</Sexe>
<DateNaissance>1950-00-00</DateNaissance><LieuNaissance>2A004</LieuNaissance></TIQ></INDIVIDU>
</RESULTAT></soap:Body></soap:Envelope>"""

ODD = f"""

<S:Envelope xmlns:S="{SOAP}"><env:Header xmlns:env="{SOAP}"/>
<!-- a reply file of another edition -->
<env:Body xmlns:env="{SOAP}"><ns2:RESULTAT xmlns:ns2="{RESULT}" xmlns="http://www.cnamts.fr/INSiRecSans">
  <ns2:INDIVIDU>
    <ns2:TIQ><ns2:LieuNaissance/><ns2:Prenom>PAUL</ns2:Prenom><ns2:ListePrenom>PAUL<!-- -->&#160;ANNE</ns2:ListePrenom>
      <ns2:NomNaissance>  INVENTE</ns2:NomNaissance></ns2:TIQ>
    <ns2:INSHISTO><ns2:DateDeb>2019-03-01</ns2:DateDeb><ns2:DateFin>2019-02-28</ns2:DateFin>
      <ns2:IdIndividu><ns2:NumIdentifiant>2109999352001</ns2:NumIdentifiant><ns2:Cle>99</ns2:Cle>
      <ns2:TypeMatricule>NIR</ns2:TypeMatricule></ns2:IdIndividu><ns2:OID>1.2.3</ns2:OID></ns2:INSHISTO>
    <ns2:INSACTIF><ns2:OID> 1.2.250.1.213.1.4.9 </ns2:OID>
      <ns2:IdIndividu><ns2:NumIdentifiant>1109999352001</ns2:NumIdentifiant></ns2:IdIndividu></ns2:INSACTIF>
    <ns2:INSHISTO><ns2:IdIndividu><ns2:NumIdentifiant>3109999352001</ns2:NumIdentifiant></ns2:IdIndividu></ns2:INSHISTO>
  </ns2:INDIVIDU>
  <ns2:CR><ns2:LibelleCR>OK</ns2:LibelleCR><ns2:CodeCR>00</ns2:CodeCR></ns2:CR>
</ns2:RESULTAT></env:Body></S:Envelope>"""

FAULT = f"""<soap:Envelope xmlns:soap="{SOAP}"><env:Body xmlns:env="{SOAP}" xmlns:S="{SOAP}">
<S:Fault xmlns:ns4="http://schemas.xmlsoap.org/soap/envelope/"><S:Code><S:Value>S:Sender</S:Value>
<S:Subcode><S:Value>S:siram_40</S:Value></S:Subcode></S:Code>
<S:Reason><S:Text xml:lang="en">Réessayez.</S:Text></S:Reason>
<S:Detail><siram:Erreur xmlns:siram="urn:siram" severite="fatal" code="insi_102">Erreur &amp; technique.</siram:Erreur>
</S:Detail></S:Fault></env:Body></soap:Envelope>"""


def read(text: str, status: int = 200) -> Answer:
    return read_answer(HttpReply(status, text.encode(), 1))


def refused(content: bytes | str, status: int = 200) -> AgentError:
    body = content.encode() if isinstance(content, str) else content
    with pytest.raises(AgentError) as error:
        read_answer(HttpReply(status, body, 1))
    return error.value


def test_an_identity_is_read_to_the_letter() -> None:
    answer = read(FOUND)

    assert (answer.code, answer.label, answer.outcome) == ("00", "OK", Outcome.FOUND)
    assert answer.identity is not None
    assert answer.identity.model_dump(exclude_none=True, by_alias=True) == {
        "ins": {"matricule": "1109999352001", "key": "12", "oid": "1.2.250.1.213.1.4.8", "kind": InsKind.NIR},
        "birthName": "INVENTE",
        "givenNamesList": "PAUL ANNE-LOU",
        "sex": "M",
        "birthDate": "1950-00-00",
        "birthPlaceCode": "2A004",
        "history": [],
    }


def test_prefixes_order_comments_and_leading_blank_lines_do_not_matter() -> None:
    """CNDA reply files differ by edition; some break their own schema."""
    answer = read(ODD)

    assert answer.identity is not None
    assert answer.identity.model_dump(exclude_none=True, by_alias=True) == {
        "ins": {"matricule": "1109999352001", "oid": "1.2.250.1.213.1.4.9", "kind": InsKind.NIA},
        "birthName": "  INVENTE",
        "givenNamesList": "PAUL\u00a0ANNE",
        "birthPlaceCode": "",
        "history": [
            {"matricule": "2109999352001", "key": "99", "oid": "1.2.3", "from": "2019-03-01", "to": "2019-02-28"},
            {"matricule": "3109999352001", "oid": ""},
        ],
    }


def test_an_xml_declaration_after_blank_lines_is_read_too() -> None:
    assert read('\n\n<?xml version="1.0" encoding="UTF-8"?>' + FOUND).code == "00"


@pytest.mark.parametrize(
    ("code", "label", "outcome"),
    [
        ("01", "Aucune identite trouvee", Outcome.NOT_FOUND),
        ("02", "Plusieurs identites trouvees", Outcome.SEVERAL),
    ],
)
def test_nobody_and_several_disclose_nobody(code: str, label: str, outcome: Outcome) -> None:
    text = FOUND.replace(">00<", f">{code}<").replace(">OK<", f">{label}<")

    assert read(text) == Answer(code, label, outcome, None)


def test_a_code_of_no_table_is_shown_and_neither_found_nor_not_found() -> None:
    error = refused(FOUND.replace(">00<", ">07<").replace(">OK<", ">Nouveau cas<"))

    assert error.code is Code.INSI_FAULT_UNKNOWN
    assert error.facts["insi"] == {"code": "07", "subcode": "", "severity": "", "reason": "Nouveau cas", "detail": ""}
    assert not may_repeat(error)


@pytest.mark.parametrize(
    ("subcode", "code", "repeat"),
    [
        ("S:siram_10", Code.INSI_FAULT_INPUT, False),
        ("S:siram_40", Code.INSI_FAULT_UNAVAILABLE, True),
        ("soap:siram_100", Code.INSI_FAULT_ACCESS, False),
        ("siram_100", Code.INSI_FAULT_ACCESS, False),
        ("S:siram_1000", Code.INSI_FAULT_UNKNOWN, False),
        ("S:siram_4", Code.INSI_FAULT_UNKNOWN, False),
        ("", Code.INSI_FAULT_UNKNOWN, False),
    ],
)
def test_a_fault_is_known_by_its_subcode_alone(subcode: str, code: Code, repeat: bool) -> None:
    """The gateway says Sender even when it is down."""
    error = refused(FAULT.replace("S:siram_40", subcode), 500)

    assert error.code is code
    assert may_repeat(error) is repeat


def test_a_fault_travels_verbatim() -> None:
    error = refused(FAULT, 500)

    assert error.facts == {
        "insi": {
            "code": "insi_102",
            "subcode": "siram_40",
            "severity": "fatal",
            "reason": "Réessayez.",
            "detail": "Erreur & technique.",
        }
    }
    assert error.detail == "siram_40 insi_102"


def test_a_fault_without_detail_is_still_a_fault() -> None:
    bare = f'<e:Envelope xmlns:e="{SOAP}"><e:Body><e:Fault/></e:Body></e:Envelope>'

    error = refused(bare, 500)

    assert error.code is Code.INSI_FAULT_UNKNOWN
    assert set(error.facts["insi"].values()) == {""}


@pytest.mark.parametrize("said", ["JEAN DUPONT 1 23", "2841276451089", "DUPONT"])
def test_what_a_fault_says_does_not_reach_the_log(said: str) -> None:
    error = refused(FAULT.replace("insi_102", said), 500)

    assert said not in str(error)
    assert error.facts["insi"]["code"] == said
    assert short_code(said) == "?"


@pytest.mark.parametrize("code", ["desir_550", "insi_102", "siram_40", "desir_1020", "sim_message"])
def test_a_code_of_insi_is_told_as_it_is(code: str) -> None:
    assert short_code(code) == code


@pytest.mark.parametrize(("status", "repeat"), [(503, True), (500, True), (404, False), (302, False)])
def test_an_error_that_is_not_soap_is_said_with_its_status(status: int, repeat: bool) -> None:
    error = refused("<html><body>Service Unavailable</body></html>", status)

    assert error.code is Code.INSI_HTTP
    assert error.facts == {"status": status}
    assert may_repeat(error) is repeat


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        FOUND[:200],
        "<html/>",
        f'<e:Envelope xmlns:e="{SOAP}"/>',
        f'<e:Envelope xmlns:e="{SOAP}"><e:Body/></e:Envelope>',
        FOUND.replace("http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"),
        FOUND.replace("INSiResultat", "Autre"),
        FOUND.replace("CodeCR>", "Code>"),
        FOUND.replace("INSACTIF>", "INSPASSIF>"),
        FOUND.replace("<OID>1.2.250.1.213.1.4.8</OID>", ""),
        FOUND.replace("1109999352001", "110999935200112"),  # never with its key
    ],
)
def test_a_reply_without_a_whole_answer_is_unreadable(text: str) -> None:
    error = refused(text)

    assert error.code is Code.INSI_UNREADABLE
    assert not may_repeat(error)


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        '<!DOCTYPE x [<!ENTITY a "INVENTE">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
        "<!DOCTYPE x [<!ENTITY a '"
        + "A" * 1000
        + "'>"
        + "".join(f"<!ENTITY {new} '{f'&{old};' * 50}'>" for old, new in zip("abcdef", "bcdefg", strict=True))
        + "]>",
    ],
)
@pytest.mark.parametrize("place", ["<NomNaissance>", '<NomNaissance x="'])
def test_a_dtd_is_refused_and_no_entity_is_followed(doctype: str, place: str) -> None:
    entity = "&g;" if "ENTITY g" in doctype else "&a;" if "ENTITY a" in doctype else ""
    text = FOUND.replace("<NomNaissance>", place + entity + ('">' if place.endswith('"') else ""))

    assert refused(doctype + text).code is Code.INSI_UNREADABLE


def test_a_very_deep_reply_is_unreadable() -> None:
    assert refused(FOUND.replace("INVENTE", "<a>" * 5000 + "</a>" * 5000)).code is Code.INSI_UNREADABLE


def outcome_of(reply: HttpReply) -> Answer | Code:
    """The answer, or our code; any other exception is a bug."""
    try:
        return read_answer(reply)
    except AgentError as error:
        return error.code


@given(st.binary(max_size=300), st.sampled_from([200, 302, 500, 503]))
def test_any_bytes_give_a_code(content: bytes, status: int) -> None:
    expected = Code.INSI_UNREADABLE if status == 200 else Code.INSI_HTTP

    assert outcome_of(HttpReply(status, content, 1)) is expected


@given(
    st.sampled_from([FOUND, ODD, FAULT]),
    st.integers(0, 1200),
    st.integers(0, 60),
    st.one_of(
        st.binary(max_size=20), st.sampled_from([b"<", b"\x00", b"</ns2:CR>", b'<?xml version="1.0" encoding="x"?>'])
    ),
)
def test_any_damage_to_a_reply_gives_an_answer_or_a_code(text: str, at: int, cut: int, put: bytes) -> None:
    whole = text.encode()

    outcome = outcome_of(HttpReply(200, whole[:at] + put + whole[at + cut :], 1))

    assert isinstance(outcome, Answer) or outcome.startswith("insi.")


def test_an_answer_does_not_print_its_identity() -> None:
    assert "INVENTE" not in repr(read(FOUND))
