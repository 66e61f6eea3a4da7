"""What is masked tells its shape and nobody: an allowlist, so that what nobody knows yet is masked too."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.insi.fake_people import PEOPLE
from agent.masking import Pseudonyms, masked_json, masked_xml

ANSWERS = sorted((Path(__file__).parent / "insi" / "answers").glob("*.xml"))
UUID = "0b6f7c1e-5a2d-4b8e-9c3f-1d2e3f4a5b6c"
REQUEST = f"""<?xml version="1.0" encoding="UTF-8"?>
<soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope" xmlns:wsa="http://www.w3.org/2005/08/addressing">
<soap:Header><wsa:MessageID>uuid:{UUID}</wsa:MessageID>
<wsa:Action>urn:ServiceIdentiteCertifiee:1.0.0:rechercherInsAvecTraitsIdentite</wsa:Action>
<Security><Assertion ID="_{UUID}" IssueInstant="2025-03-04T05:06:07.089Z" Version="2.0"><Issuer>CN=TEST AC</Issuer>
<Signature><SignatureValue>sha256:{"ab" * 32}</SignatureValue><X509Certificate>sha256:{"cd" * 32}</X509Certificate>
</Signature><Subject><NameID>899700000001</NameID></Subject>
<AttributeValue>990000017</AttributeValue></Assertion></Security>
<ContexteBAM Version="01_02" Nature="CTXBAM"><Id>{UUID}</Id><Temps>2025-03-04T05:06:07.089Z</Temps>
<Emetteur>899700000001</Emetteur><COUVERTURE><ASSURE><Id><Num>2841276451089</Num></Id></ASSURE></COUVERTURE>
</ContexteBAM><ContexteLPS><LPS><IDAM R="4">IDAM-77</IDAM><Version>1.2</Version><Instance>{UUID}</Instance>
<Nom>urn:lps:Dossier:1.2</Nom></LPS></ContexteLPS></soap:Header><soap:Body><RECSANSVITALE><NomNaissance>TESTEUSE</NomNaissance><Prenom>JEANNE</Prenom>
<Sexe>F</Sexe><DateNaissance>1984-12-31</DateNaissance><LieuNaissance>75056</LieuNaissance></RECSANSVITALE></soap:Body>
</soap:Envelope>""".encode()
RESULT = {
    "outcome": "found", "code": "00", "label": "OK", "integrable": True, "reasons": [], "warnings": ["rank.assumed"],
    "identity": {
        "ins": {"matricule": "2841276451089", "key": "93", "oid": "1.2.250.1.213.1.4.8", "kind": "NIR"},
        "birthName": "TESTEUSE", "givenNamesList": "JEANNE ANNE", "sex": "F", "birthDate": "1984-12-31",
        "birthPlaceCode": "75056",
        "history": [{"matricule": "1841276451089", "oid": "1.2.250.1.213.1.4.9", "from": "2020-01-01"}],
    },
    "comparison": {"sex": {"local": "F", "insi": "F", "same": True, "sameAfterNormalisation": True}},
    "trace": {
        "id": UUID, "operation": "WS_INS2", "at": "2025-03-04T05:06:07.089Z", "durationMs": 140, "seq": 12,
        "attempts": [{"code": "00", "messageId": f"uuid:{UUID}", "durationMs": 120, "given": ["Prenom[0]"]}],
        "requestSha256": "ab" * 32, "responseSha256": "cd" * 32, "origin": "https://dossier.example",
        "user": {"id": "accueil-3", "name": "Paule Invente", "role": "secrétaire"}, "structure": "1invente",
        "professional": {"nationalId": "899700000001"}, "certificate": "INSI-MANU",
        "software": {"name": "Dossier", "version": "1.2"}, "previous": "ef" * 32,
    },
    "receipt": "eyJhbGciOiJFZERTQSJ9.eyJub20iOiJURVNURVVTRSJ9.c2lnbmF0dXJl",
}  # fmt: skip
PRIVATE = (
    "TESTEUSE", "JEANNE", "Jeanne", "ANNE", "2841276451089", "1841276451089", "93", "1984-12-31", "75056", "2020-01-01",
    "899700000001", "990000017", "accueil-3", "Invente", "secrétaire", "1invente", "INSI-MANU", "IDAM-77", "TEST AC",
    "eyJ", "cd" * 32,
)  # fmt: skip


def test_a_request_keeps_its_shape_and_its_technical_identifiers_and_nobody() -> None:
    told = masked_xml(REQUEST).decode()

    kept = (
        f"uuid:{UUID}",
        "rechercherInsAvecTraitsIdentite",
        'IssueInstant="2025-03-04T05:06:07.089Z"',
        "<Version>1.2<",
    )
    assert [] == [text for text in PRIVATE if text in told]
    assert [] == [text for text in kept if text not in told]
    assert "<NomNaissance>[8]</NomNaissance>" in told
    assert names_in(REQUEST) == names_in(told.encode())


@pytest.mark.parametrize("file", ANSWERS, ids=lambda file: file.stem)
def test_an_answer_keeps_its_codes_and_oids_and_nobody(file: Path) -> None:
    """Each answer as somebody has seen it: what comes out of these elements is a length."""
    said, told = etree.fromstring(file.read_bytes()), etree.fromstring(masked_xml(file.read_bytes()))

    of_people = (
        "NumIdentifiant",
        "Cle",
        "NomNaissance",
        "Prenom",
        "ListePrenom",
        "Sexe",
        "DateNaissance",
        "LieuNaissance",
    )
    for name in of_people:
        for before, after in zip(said.iter(f"{{*}}{name}"), told.iter(f"{{*}}{name}"), strict=True):
            assert after.text == (f"[{len(before.text.strip())}]" if before.text else None)
    for name in ("CodeCR", "OID"):
        assert [one.text for one in said.iter(f"{{*}}{name}")] == [one.text for one in told.iter(f"{{*}}{name}")]
    assert names_in(file.read_bytes()) == names_in(masked_xml(file.read_bytes()))


def test_the_service_keeps_its_own_sentences_and_no_others() -> None:
    fault = "<Text>{}</Text>"

    known = fault.format("Le champ nom de naissance est obligatoire")
    quoting = fault.format("Le champ nom de naissance TESTEUSE est trop long")
    assert known in masked_xml(known.encode()).decode()
    assert "<Text>[48]</Text>" in masked_xml(quoting.encode()).decode()


@pytest.mark.parametrize(
    "data",
    [b"", b"no XML", b"<a>", b"\xff\xfe", b"<!DOCTYPE a [<!ENTITY b 'TESTEUSE'>]><a>&b;</a>", b"<a>&b;</a>"],
    ids=["empty", "text", "cut short", "bytes", "a DTD", "an entity"],
)
def test_what_is_no_xml_becomes_its_size(data: bytes) -> None:
    assert f"[{len(data)} octets]".encode() == masked_xml(data)


def test_what_stands_beside_elements_goes() -> None:
    told = masked_xml(b"<a><!-- TESTEUSE --><?p JEANNE?>1984-12-31<b/>75056</a>").decode()

    assert told.endswith("<a>[10]<b/>[5]</a>")


def test_a_result_keeps_what_is_technical_and_names_each_caller_the_same() -> None:
    names = Pseudonyms()
    told = masked_json(json.dumps(RESULT).encode(), names.called)

    assert [] == [text for text in PRIVATE if text in json.dumps(told, ensure_ascii=False)]
    assert {"matricule": "[13]", "key": "[2]", "oid": "1.2.250.1.213.1.4.8", "kind": "NIR"} == told["identity"]["ins"]
    assert ("00", "OK", ["rank.assumed"], UUID) == (told["code"], told["label"], told["warnings"], told["trace"]["id"])
    assert (
        "[professionnel 1]"
        == told["trace"]["professional"]["nationalId"]
        == names.called("professionnel", "899700000001")
    )
    assert "[professionnel 2]" == names.called("professionnel", "899700000002")
    assert RESULT["comparison"]["sex"]["same"] is told["comparison"]["sex"]["same"]
    assert "[64]" == told["trace"]["responseSha256"]  # an answer can be guessed
    assert "ab" * 32 == told["trace"]["requestSha256"]


def test_who_called_can_be_shown_without_whom_they_asked_for() -> None:
    told = json.dumps(masked_json(json.dumps(RESULT).encode(), lambda _kind, value: value), ensure_ascii=False)

    assert "899700000001" in told
    assert "Paule Invente" in told
    assert [] == [text for text in ("TESTEUSE", "2841276451089", "eyJ") if text in told]


PEOPLES = st.sampled_from(sorted({person.birth_name for person in PEOPLE} | {"1984-12-31", "2841276451089", "F4"}))


@given(
    name=st.from_regex(r"[A-Z][A-Za-z]{0,12}", fullmatch=True)
    | st.sampled_from(["Id", "Nom", "Version", "CodeCR", "Text"]),
    attribute=st.from_regex(r"[a-z]{1,8}", fullmatch=True) | st.sampled_from(["ID", "URI", "Name", "code", "lang"]),
    text=PEOPLES,
    other=PEOPLES,
)
def test_a_person_is_masked_wherever_they_stand(name: str, attribute: str, text: str, other: str) -> None:
    data = f"<m><{name} {attribute}={quoteattr(other)}>{escape(text)}</{name}>{escape(other)}</m>".encode()

    told = masked_xml(data).decode()
    assert [f"[{len(other)}]", f"[{len(text)}]", f"[{len(other)}]"] == re.findall(r"\[\d+\]", told)


TECHNICAL = {
    "Value": ["soap:Sender", "S:Receiver", "s:siram_40", "env:MustUnderstand", "desir_550", "S:insi_102"],
    "Action": [
        "urn:ServiceIdentiteCertifiee:1.0.0:rechercherInsAvecCarteVitale",
        "urn:insi-agent:placeholder:1:verifierIns",
    ],
    "Version": ["2.0", "01_02", "12.3"],
    "Temps": ["2025-03-04T05:06:07.089Z", "2026-11-22T12:35:16+01:00"],
    "OID": ["1.2.250.1.213.1.4.8"],
    "CodeCR": ["00"],
    "Text": ["Le champ nom de naissance est obligatoire"],
    "MessageID": [f"uuid:{UUID}"],
    "TypeMatricule": ["NIR"],
}
TECHNICAL_ATTRIBUTES = {
    "Format": ["urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"],
    "Algorithm": [
        "http://www.w3.org/2001/10/xml-exc-c14n#",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
        "http://www.w3.org/2001/04/xmlenc#sha256",
    ],
    "URI": [f"#_{UUID}"],
    "IssueInstant": ["2025-03-04T05:06:07.089Z"],
    "lang": ["fr", "fr-FR"],
    "code": ["desir_550", "sim_batch_size"],
    "Name": ["identifiantFacturation"],
}
PLACES = [(f"<{name}>{{}}</{name}>", value) for name, values in TECHNICAL.items() for value in values] + [
    (f'<m {name}="{{}}"/>', value) for name, values in TECHNICAL_ATTRIBUTES.items() for value in values
]


@pytest.mark.parametrize(("place", "value"), PLACES)
def test_what_is_technical_stays_where_it_is_known_to_stand(place: str, value: str) -> None:
    assert place.format(value) in masked_xml(place.format(value).encode()).decode()


@given(
    st.sampled_from(PLACES),
    st.sampled_from([person.birth_name for person in PEOPLE]),
    st.sampled_from([str.upper, str.lower, str.title]),
    st.data(),
)
def test_a_name_passes_nowhere_in_what_may_stand(
    at: tuple[str, str], name: str, cased: Callable[[str], str], data: st.DataObject
) -> None:
    """Put before, behind or in the middle, or in the place of any of its words."""
    place, value = at
    words = [word.span() for word in re.finditer(r"\w+", value)]
    spots = [(spot, spot) for spot in range(len(value) + 1)] + words
    start, end = data.draw(st.sampled_from(spots))
    told = masked_xml(place.format(said := value[:start] + cased(name) + value[end:]).encode()).decode()

    assert place.format(f"[{len(said)}]") in told


@pytest.mark.parametrize(
    "message",
    [
        "<Value>TESTEUSE:Sender</Value>",
        "<Value>dupont_75056</Value>",
        "<Value>sim_testeuse</Value>",
        "<Action>urn:ServiceIdentiteCertifiee:TESTEUSE</Action>",
        "<Nom>urn:lps:TESTEUSE</Nom>",
        "<Version>31.12.84</Version>",
        "<Temps>1984-12-31T00:00:00</Temps>",
        "<Temps>2021-12-31T00:00:00Z</Temps>",
        "<Temps>2021-12-30T23:00:00.000Z</Temps>",
        "<OID>1.2.250.28412.76451.089</OID>",
        '<m IssueInstant="1984-12-31T00:00:00Z"/>',
        '<m Format="urn:oasis:names:tc:SAML:1.1:nameid-format:TESTEUSE"/>',
        '<m Algorithm="http://www.w3.org/TR/1984/TESTEUSE-JEANNE"/>',
        '<m Algorithm="http://www.w3.org/1984/12/testeuse"/>',
        '<m xml:lang="te-ST"/>',
        '<m code="dupont_75056"/>',
    ],
)
def test_what_has_the_form_of_a_technical_value_and_says_a_person_is_masked(message: str) -> None:
    assert re.search(r"\[\d+\]", masked_xml(message.encode()).decode())


def test_the_codes_of_the_simulator_are_known() -> None:
    """Each that it writes into a fault stays; a new one must be put on the list."""
    sources = (Path(__file__).parents[1] / "agent" / "insi").glob("fake_*.py")
    written = {code for file in sources for code in re.findall(r'"(sim_[a-z_]+[a-z])"', file.read_text("utf-8"))}

    assert written
    assert [] == [
        code for code in sorted(written) if f'"{code}"' not in masked_xml(f'<m code="{code}"/>'.encode()).decode()
    ]


def test_names_stay_and_are_the_messages_shape() -> None:
    told = masked_xml(b'<p:Inconnu xmlns:p="urn:inconnue"><Autre valeur="TESTEUSE"/></p:Inconnu>').decode()

    assert '<p:Inconnu xmlns:p="urn:inconnue"><Autre valeur="[8]"/></p:Inconnu>' in told


@given(st.binary(max_size=300) | st.text(alphabet="<>&;![]CDATAx='\"/ ?-", max_size=60).map(str.encode))
def test_any_bytes_are_masked_and_nothing_is_raised(data: bytes) -> None:
    assert isinstance(masked_xml(data), bytes)
    masked_json(data, Pseudonyms().called)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(min_size=1),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=12,
    )
)
def test_no_text_of_an_unknown_message_is_told(value: object) -> None:
    """What is told of it: names as messages have them, yes and no, and how long the rest is."""

    def leaves(told: object) -> list[object]:
        if isinstance(told, dict):
            return [leaf for member in told.values() for leaf in leaves(member)]
        return [leaf for row in told for leaf in leaves(row)] if isinstance(told, list) else [told]

    told = masked_json(json.dumps({"unknown": value}).encode(), Pseudonyms().called)
    for leaf in leaves(told):
        assert leaf is None or isinstance(leaf, bool) or not leaf.strip() or re.fullmatch(r"\[\d+\]", leaf)


def names_in(data: bytes) -> list[str]:
    return [str(element.tag) for element in etree.fromstring(data).iter() if isinstance(element.tag, str)]
