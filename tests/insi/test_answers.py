"""Whatever INSi sends is an answer, or a code of ours."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.insi.answers import Answer, read_answer
from agent.insi.faults import may_repeat
from agent.insi.operations import Operation
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

RESULTAT = FOUND[FOUND.index("<RESULTAT") : FOUND.index("</soap:Body>")]
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"

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
    assert not may_repeat(error, Operation.BY_TRAITS)


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


def test_a_fault_counts_before_an_answer_beside_it() -> None:
    both = FOUND.replace("</soap:Body>", "<soap:Fault/></soap:Body>")

    assert refused(both).code is Code.INSI_FAULT_UNKNOWN


@pytest.mark.parametrize(
    ("subcodes", "read_as"),
    [
        (["\n soap:siram_40\n"], "siram_40"),
        (["siram_40"], "siram_40"),
        (["S:siram_40", "S:x"], "siram_40"),
        (["S:x", "S:siram_40"], "siram_40"),
        (["S:x", "S:y"], "y"),  # none is known: the innermost
        ([], ""),
    ],
)
def test_a_subcode_is_known_at_any_depth_and_with_any_prefix(subcodes: list[str], read_as: str) -> None:
    nested = ""
    for subcode in reversed(subcodes):
        nested = f"<S:Subcode><S:Value>{subcode}</S:Value>{nested}</S:Subcode>"
    text = FAULT.replace("<S:Subcode><S:Value>S:siram_40</S:Value></S:Subcode>", nested)

    assert refused(text, 500).facts["insi"]["subcode"] == read_as


def test_of_reasons_in_several_languages_the_french_one_is_kept() -> None:
    text = FAULT.replace("<S:Reason>", '<S:Reason><S:Text xml:lang="de">Später.</S:Text>')

    assert refused(text, 500).facts["insi"]["reason"] == "Später."  # none is French: the first
    assert refused(text.replace('"en"', '"fr-FR"'), 500).facts["insi"]["reason"] == "Réessayez."


def test_a_detail_of_another_shape_is_kept_as_its_text() -> None:
    text = FAULT.replace("siram:Erreur", "siram:Probleme")

    insi = refused(text, 500).facts["insi"]

    assert (insi["code"], insi["detail"].strip()) == ("", "Erreur & technique.")


@pytest.mark.parametrize(
    "error",
    [
        '<Erreur xmlns="" code="insi_102" severite="fatal">Technique.</Erreur>',
        '<e:Erreur xmlns:e="urn:siram:2" code="insi_102" severite="fatal">Technique.</e:Erreur>',
        '<e:Erreur xmlns:e="urn:siram" e:severite="fatal" e:code=" insi_102 ">Technique.</e:Erreur>',
        '<Erreur xmlns=""/><e:Erreur xmlns:e="urn:siram" code="insi_102" severite="fatal">Technique.</e:Erreur>',
    ],
)
def test_the_code_of_a_fault_is_read_in_whatever_namespace_it_is_said(error: str) -> None:
    before, _, after = FAULT.partition("<siram:Erreur")
    text = f"{before}{error}{after.partition('</siram:Erreur>')[2]}"

    insi = refused(text, 500).facts["insi"]

    assert (insi["code"], insi["severity"], insi["detail"]) == ("insi_102", "fatal", "Technique.")


def test_of_two_errors_in_a_fault_none_is_lost() -> None:
    other = '<siram:Erreur xmlns:siram="urn:siram" code="insi_7" severite="erreur">Autre cas.</siram:Erreur>'

    insi = refused(FAULT.replace("</siram:Erreur>", "</siram:Erreur>" + other), 500).facts["insi"]

    assert (insi["code"], insi["severity"]) == ("insi_102", "fatal")
    assert insi["detail"] == "Erreur & technique. ; insi_7 Autre cas."


def test_a_fault_of_soap_1_1_is_read_as_far_as_it_goes() -> None:
    text = f"""<e:Envelope xmlns:e="{SOAP_11}"><e:Body><e:Fault><faultcode>e:siram_100</faultcode>
        <faultstring>Refus.</faultstring><detail><s:Erreur xmlns:s="urn:siram" code=" desir_550 ">Inconnu.</s:Erreur>
        </detail></e:Fault></e:Body></e:Envelope>"""

    error = refused(text, 500)

    assert error.code is Code.INSI_FAULT_ACCESS
    assert error.facts["insi"] == {
        "code": "desir_550",
        "subcode": "siram_100",
        "severity": "",
        "reason": "Refus.",
        "detail": "Inconnu.",
    }


def test_a_fault_without_detail_is_still_a_fault() -> None:
    bare = f'<e:Envelope xmlns:e="{SOAP}"><e:Body><e:Fault/></e:Body></e:Envelope>'

    error = refused(bare, 500)

    assert error.code is Code.INSI_FAULT_UNKNOWN
    assert set(error.facts["insi"].values()) == {""}


@pytest.mark.parametrize(("status", "repeat"), [(503, True), (500, True), (404, False), (302, False)])
def test_an_error_that_is_not_soap_is_said_with_its_status(status: int, repeat: bool) -> None:
    error = refused("<html><body>Service Unavailable</body></html>", status)

    assert error.code is Code.INSI_HTTP
    assert error.facts == {"status": status}
    assert may_repeat(error, Operation.BY_TRAITS) is repeat


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        FOUND[:200],
        "<html/>",
        f'<e:Envelope xmlns:e="{SOAP}"/>',
        f'<e:Envelope xmlns:e="{SOAP}"><e:Body/></e:Envelope>',
        FOUND.replace("INSiResultat", "Autre"),
        FOUND.replace("CodeCR>", "Code>"),
        FOUND.replace(">00<", "> <"),
        FOUND.replace("INDIVIDU>", "PERSONNE>"),
        FOUND.replace("INSACTIF>", "INSPASSIF>"),
        FOUND.replace("<OID>1.2.250.1.213.1.4.8</OID>", ""),
        FOUND.replace("1.2.250.1.213.1.4.8", " "),
        FOUND.replace("1109999352001", "110999935200112"),  # never with its key
        f'<e:Envelope xmlns:e="{SOAP}"><e:Header>{RESULTAT}</e:Header><e:Body/></e:Envelope>',
        f"<journal>{RESULTAT}</journal>",
    ],
)
def test_a_reply_without_a_whole_answer_is_unreadable(text: str) -> None:
    error = refused(text)

    assert error.code is Code.INSI_UNREADABLE
    assert not may_repeat(error, Operation.BY_TRAITS)


@pytest.mark.parametrize("status", [200, 202, 500])
@pytest.mark.parametrize(
    "text",
    [
        FOUND.replace(SOAP, SOAP_11),
        FOUND.replace("<RESULTAT", '<reponse xmlns="urn:x"><RESULTAT').replace("</RESULTAT>", "</RESULTAT></reponse>"),
        FOUND.replace("<soap:Body>", "<soap:Body><avant xmlns='urn:x'/>"),
        FOUND.replace("<soap:Body>", "<soap:Body/><soap:Body>"),
        RESULTAT,
    ],
)
def test_an_answer_is_known_by_its_name_wherever_it_stands_and_whatever_the_status(text: str, status: int) -> None:
    """The HTTP status only names what is no answer."""
    assert read(text, status) == read(FOUND)


@pytest.mark.parametrize(
    "name", ["RESULTAT", "CR", "CodeCR", "INDIVIDU", "INSACTIF", "IdIndividu", "NumIdentifiant", "Cle"]
)
def test_what_stands_twice_and_tells_who_it_is_is_unreadable(name: str) -> None:
    """To choose one would be to invent."""
    first, last = FOUND.index(f"<{name}"), FOUND.index(f"</{name}>") + len(f"</{name}>")
    again = FOUND[first:last]

    error = refused(FOUND[:last] + again + FOUND[last:])

    assert error.code is Code.INSI_UNREADABLE
    assert "1109999352001" not in str(error)


@pytest.mark.parametrize("name", ["OID", "TIQ", "NomNaissance", "ListePrenom", "Sexe", "DateNaissance"])
def test_a_trait_that_stands_twice_is_unreadable_too(name: str) -> None:
    other = FOUND.index(f"<{name}>")

    assert refused(FOUND[:other] + f"<{name}/>" + FOUND[other:]).code is Code.INSI_UNREADABLE


@pytest.mark.parametrize(
    "inside",
    [
        ("<OID>1.2.250.1.213.1.4.8", "<OID>1.2.250.1.213.1.4.<x>8</x>"),
        ("<NumIdentifiant>1109999352001", "<NumIdentifiant>110999<x>9352001</x>"),
        ("<NumIdentifiant>1109999352001", "<NumIdentifiant>1109999352001<x/>"),
        ("<Cle>12", "<Cle>1<x>2</x>"),
        ("<CodeCR>00", "<CodeCR>0<x>0</x>"),
        ("<NomNaissance>INVENTE", "<NomNaissance>INV<x>ENTE</x>"),
        ("<ListePrenom>PAUL", "<ListePrenom><Prenom>PAUL</Prenom>"),
        ("<Sexe>M", "<Sexe><x>M</x>"),
    ],
)
def test_a_value_with_elements_inside_is_unreadable(inside: tuple[str, str]) -> None:
    """Their texts put together would be an INS, or a person, that nobody gave."""
    assert refused(FOUND.replace(*inside)).code is Code.INSI_UNREADABLE


def test_a_label_never_stops_an_answer() -> None:
    """It identifies nobody: twice, or written with elements, it is told whole."""
    twice = read(FOUND.replace("<LibelleCR>", "<LibelleCR>Trouvé</LibelleCR><LibelleCR/><LibelleCR>"))
    marked = read(FOUND.replace("<LibelleCR>OK", "<LibelleCR>O<b>K</b>"))

    assert [(answer.outcome, answer.label) for answer in (twice, marked)] == [
        (Outcome.FOUND, "Trouvé ; OK"),
        (Outcome.FOUND, "OK"),
    ]


def test_a_first_given_name_beside_the_list_or_alone_is_not_the_list() -> None:
    """The list is not derived from it; the exact reply is kept."""
    both = read(FOUND.replace("<ListePrenom>", "<Prenom>PAUL</Prenom><Prenom>ANNE</Prenom><ListePrenom>")).identity
    alone = read(FOUND.replace("ListePrenom>", "Prenom>")).identity

    assert both is not None
    assert both.given_names_list == "PAUL ANNE-LOU"
    assert alone is not None
    assert alone.given_names_list is None


def test_an_identity_without_traits_is_an_identity() -> None:
    """Every trait is optional; whether it may be integrated is another question."""
    bare = read(FOUND[: FOUND.index("<TIQ>")] + FOUND[FOUND.index("</INDIVIDU>") :]).identity

    assert bare is not None
    assert bare.model_dump(exclude_none=True).keys() == {"ins", "history"}


@pytest.mark.parametrize("key", ["", "<Cle/>", "<Cle> </Cle>"])
def test_a_key_that_is_not_there_is_none(key: str) -> None:
    identity = read(FOUND.replace("<Cle>12</Cle>", key)).identity

    assert identity is not None
    assert identity.ins.key is None


def test_an_element_of_another_namespace_is_another_element() -> None:
    other = "<x:OID xmlns:x='urn:x'>1.2.3</x:OID>"

    assert read(FOUND.replace("<OID>", other + "<OID>")) == read(FOUND)


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


@pytest.mark.parametrize("depth", [300, 5000])
def test_a_very_deep_reply_is_unreadable(depth: int) -> None:
    assert refused(FOUND.replace("INVENTE", "<a>" * depth + "</a>" * depth)).code is Code.INSI_UNREADABLE


def test_an_inclusion_is_not_followed() -> None:
    asked = '<x:include xmlns:x="http://www.w3.org/2001/XInclude" parse="text" href="file:///etc/hostname"/>'

    assert refused(FOUND.replace("INVENTE", asked)).code is Code.INSI_UNREADABLE
    assert read(FOUND.replace("<LibelleCR>OK", f"<LibelleCR>{asked}")).label == ""


def test_a_compressed_reply_is_unreadable() -> None:
    """None was asked for."""
    assert refused(gzip.compress(FOUND.encode())).code is Code.INSI_UNREADABLE


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


ACCENTED = FOUND.replace(">INVENTE<", ">DUMÈ<")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/soap+xml; charset=ISO-8859-1",
        'application/soap+xml; action="x" ; Charset="iso-8859-1"',
        "text/xml;charset=windows-1252",
    ],
)
def test_the_content_type_tells_the_encoding_of_a_reply_that_does_not(content_type: str) -> None:
    answer = read_answer(HttpReply(200, ACCENTED.encode("iso-8859-1"), 1, content_type=content_type))

    assert answer.identity is not None
    assert answer.identity.birth_name == "DUMÈ"


def test_a_reply_that_tells_its_own_encoding_is_believed_before_the_content_type() -> None:
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' + ACCENTED

    for body, said in ((ACCENTED.encode(), "iso-8859-1"), (declared.encode("iso-8859-1"), "utf-8")):
        answer = read_answer(HttpReply(200, body, 1, content_type=f"application/soap+xml; charset={said}"))
        assert answer.identity is not None
        assert answer.identity.birth_name == "DUMÈ"


@pytest.mark.parametrize("charset", ["", "x-inconnu", "base64", "\x00", "é"])
def test_an_encoding_that_nobody_knows_tells_nothing(charset: str) -> None:
    reply = HttpReply(200, ACCENTED.encode("iso-8859-1"), 1, content_type=f"text/xml; charset={charset}")

    assert outcome_of(reply) is Code.INSI_UNREADABLE


@given(st.text(max_size=60), st.binary(max_size=40))
def test_any_content_type_gives_an_answer_or_a_code(said: str, put: bytes) -> None:
    for content_type in (said, f"text/xml; charset={said}"):
        outcome = outcome_of(HttpReply(200, ACCENTED.encode("iso-8859-1") + put, 1, content_type=content_type))
        assert isinstance(outcome, Answer) or outcome.startswith("insi.")


def test_an_answer_does_not_print_its_identity() -> None:
    assert "INVENTE" not in repr(read(FOUND))
