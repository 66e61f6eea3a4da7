"""The message of one attempt, element by element."""

import hashlib
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from lxml import etree

from agent.insi import contract, fake_assertion
from agent.insi.envelope import Envelope, Ids, build
from agent.insi.operations import DepositQuery, FetchQuery, Query, TraitsQuery, VerifyQuery, VitaleQuery
from tests.insi.conftest import CONTRACT, LPS, World, audited
from tests.parts.assertion import assertion

AT = datetime(2026, 1, 31, 8, 0, 0, 7000, tzinfo=UTC)
IDS = Ids(
    "uuid:00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000002",
)
TRAITS = TraitsQuery("D'INVENTE", "ANNA LOU", "F", "1950-00-00", None, ())
PLACED = TraitsQuery("D'INVENTE", "ANNA LOU", "F", "1950-00-00", "2A004", ())
CARD = VitaleQuery("2841276451089", "2015-02-01", 2)
WHOLE_CARD = VitaleQuery(
    "2841276451089", "2015-02-01", 2, birth_name="DURAND", certified_nir="2150276451002", key_of_insured="69"
)
VERIFIED = VerifyQuery(
    "2501099999999", None, "1.2.250.1.213.1.4.8", "D'INVENTE", "ANNA", "ANNA LOU", "F", "1950-00-00", "2A004", ()
)
BATCH = DepositQuery("lot-1", (("a", VERIFIED), ("b", VERIFIED)))
FETCH = FetchQuery("INSI-0007")

INVENTED = (
    b'<v:Assertion xmlns:v="urn:oasis:names:tc:SAML:2.0:assertion" ID="_v"><v:Issuer>carte</v:Issuer></v:Assertion>'
)


def message(query: Query, *, signed: Any | None = None, **settings: Any) -> Envelope:
    return build(
        query, contract=CONTRACT, lps=LPS, emitter="899900000017", assertion=signed, ids=IDS, at=AT, **settings
    )


def lines(written: Envelope) -> list[str]:
    """Every leaf and attribute of the message, as `Parent/Name[@attributes]=text`, in order."""
    root = etree.fromstring(written.body)
    found = []
    for element in root.iter():
        if len(element) == 0 or element.attrib:
            names = [etree.QName(up).localname for up in element.iterancestors()][:2][::-1]
            attributes = "".join(f"[{name}={value}]" for name, value in element.attrib.items())
            text = "" if len(element) else f"={element.text or ''}"
            found.append("/".join([*names, etree.QName(element).localname]) + attributes + text)
    return found


CONTEXT = [
    "Header/ContexteLPS[Nature=CTXLPS][Version=01_00]",
    "Header/ContexteLPS/Id=00000000-0000-4000-8000-000000000003",
    "Header/ContexteLPS/Temps=2026-01-31T08:00:00.007Z",
    "Header/ContexteLPS/Emetteur=899900000017",
    "ContexteLPS/LPS/IDAM[R=4]=SIMULATEUR-0001",
    "ContexteLPS/LPS/Version=1.0",
    "ContexteLPS/LPS/Instance=00000000-0000-4000-8000-000000000004",
    "ContexteLPS/LPS/Nom=urn:lps:Essai:1.0",
]


def headers(action: str) -> list[str]:
    return [
        "Envelope/Header/MessageID=uuid:00000000-0000-4000-8000-000000000001",
        f"Envelope/Header/Action={action if ':' in action else 'urn:ServiceIdentiteCertifiee:1.0.0:' + action}",
        "Envelope/Header/ContexteBAM[Nature=CTXBAM][Version=01_02]",
        "Header/ContexteBAM/Id=00000000-0000-4000-8000-000000000002",
        "Header/ContexteBAM/Temps=2026-01-31T08:00:00.007Z",
        "Header/ContexteBAM/Emetteur=899900000017",
    ]


@pytest.mark.parametrize(("query", "place"), [(TRAITS, []), (PLACED, ["Body/RECSANSVITALE/LieuNaissance=2A004"])])
def test_a_search_by_traits_is_written_as_the_contract_says(query: Query, place: list[str]) -> None:
    """Contexts CTXLPS V01_00 and CTXBAM V01_02; COUVERTURE is there, empty."""
    assert lines(message(query)) == [
        *headers("rechercherInsAvecTraitsIdentite"),
        "Header/ContexteBAM/COUVERTURE=",
        *[line.replace("Header/ContexteLPS[", "Envelope/Header/ContexteLPS[") for line in CONTEXT],
        "Body/RECSANSVITALE/NomNaissance=D'INVENTE",
        "Body/RECSANSVITALE/Prenom=ANNA LOU",
        "Body/RECSANSVITALE/Sexe=F",
        "Body/RECSANSVITALE/DateNaissance=1950-00-00",
        *place,
    ]


def test_a_search_with_a_card_fills_the_cover() -> None:
    assert lines(message(CARD)) == [
        *headers("rechercherInsAvecCarteVitale"),
        "ASSURE/Id/Num=2841276451089",
        "COUVERTURE/BENEFICIAIRE/DateNai=2015-02-01",
        "COUVERTURE/BENEFICIAIRE/Rang=2",
        *[line.replace("Header/ContexteLPS[", "Envelope/Header/ContexteLPS[") for line in CONTEXT],
        "RECVITALE/MatriculeOD/NumIdentifiant=2841276451089",
        "Body/RECVITALE/DateNaissance=2015-02-01",
        "Body/RECVITALE/RangNaissance=2",
    ]
    assert CARD.given == ("nir", "birthDate", "rank")


def test_a_certified_number_and_a_birth_name_travel_when_they_are_known() -> None:
    written = lines(message(WHOLE_CARD, rank_format="01"))

    assert "BENEFICIAIRE/Nir/Num=2150276451002" in written
    assert written[-5:] == [
        "RECVITALE/MatriculeIndividu/NumIdentifiant=2150276451002",
        "RECVITALE/MatriculeOD/NumIdentifiant=2841276451089",
        "Body/RECVITALE/NomNaissance=DURAND",
        "Body/RECVITALE/DateNaissance=2015-02-01",
        "Body/RECVITALE/RangNaissance=02",
    ]
    assert WHOLE_CARD.given == ("nir", "birthDate", "rank", "certifiedNir", "birthName")


def test_a_key_travels_only_where_the_settings_say_so_and_never_in_the_cover() -> None:
    """Whether INSi wants it is not public."""
    with_key = lines(message(WHOLE_CARD, send_key=True))

    assert [line for line in with_key if "Cle" in line] == ["RECVITALE/MatriculeOD/Cle=69"]
    assert not any("Cle" in line for line in lines(message(WHOLE_CARD)))


IN_THE_LOT = [
    "INSFourni/IdIndividu/NumIdentifiant=2501099999999",
    "IndividuVerifie/INSFourni/OID=1.2.250.1.213.1.4.8",
    "IndividuVerifie/TraitsIdentiteIndividu/NomNaissance=D'INVENTE",
    "IndividuVerifie/TraitsIdentiteIndividu/ListePrenom=ANNA LOU",
    "IndividuVerifie/TraitsIdentiteIndividu/Sexe=F",
    "IndividuVerifie/TraitsIdentiteIndividu/DateNaissance=1950-00-00",
    "IndividuVerifie/TraitsIdentiteIndividu/LieuNaissance=2A004",
]


@pytest.mark.parametrize(
    ("query", "action", "body"),
    [
        (VERIFIED, "verifierIns", IN_THE_LOT),
        (
            BATCH,
            "deposerLot",
            [
                "Body/Lot/Reference=lot-1",
                "Body/Lot/Nombre=2",
                *["Lot/IndividuVerifie/Reference=a", *IN_THE_LOT],
                *["Lot/IndividuVerifie/Reference=b", *IN_THE_LOT],
            ],
        ),
        (FETCH, "recupererLot", ["Body/LotDemande/IdLot=INSI-0007"]),
    ],
)
def test_the_other_operations_are_written_by_the_same_code_with_the_same_headers(
    query: Query, action: str, body: list[str]
) -> None:
    """S027: the software's context on all five. COUVERTURE is empty but for a card."""
    assert lines(message(query)) == [
        *headers(f"urn:insi-agent:placeholder:1:{action}"),
        "Header/ContexteBAM/COUVERTURE=",
        *[line.replace("Header/ContexteLPS[", "Envelope/Header/ContexteLPS[") for line in CONTEXT],
        *body,
    ]


def test_the_versions_of_the_contexts_are_settings() -> None:
    written = lines(message(TRAITS, bam_version="1.0", lps_version="2.0"))

    assert "Envelope/Header/ContexteBAM[Nature=CTXBAM][Version=1.0]" in written
    assert "Envelope/Header/ContexteLPS[Nature=CTXLPS][Version=2.0]" in written


@pytest.mark.parametrize("query", [TRAITS, PLACED, CARD, WHOLE_CARD, VERIFIED, BATCH, FETCH])
def test_a_signed_assertion_still_verifies_inside_its_message(query: Query, world: World) -> None:
    signed = assertion(world.card)
    before = etree.tostring(signed, encoding="UTF-8")

    body = message(query, signed=signed).body

    root = etree.fromstring(body)
    security = root.find(".//{*}Security")
    fake_assertion.check(
        root,
        security,
        ca=x509.load_pem_x509_certificates(world.ca.pem),
        now=datetime.now(UTC),
        max_age=timedelta(minutes=1),
    )
    assert before in body  # byte for byte
    assert etree.tostring(signed, encoding="UTF-8") == before  # the next attempt uses it again


def test_without_an_assertion_there_is_no_security_header() -> None:
    assert b"Security" not in message(TRAITS).body


def test_a_stored_message_holds_the_digests_of_its_secrets(world: World) -> None:
    signed = assertion(world.card)
    sent = message(TRAITS, signed=signed)

    stored = sent.without_secrets()

    value = signed.findtext(".//{*}SignatureValue")
    certificate = signed.findtext(".//{*}X509Certificate")
    assert value.encode() in sent.body
    assert value.encode() not in stored
    assert certificate.encode() not in stored
    assert f">sha256:{hashlib.sha256(b64decode(value)).hexdigest()}<".encode() in stored
    assert f">sha256:{hashlib.sha256(world.card.der).hexdigest()}<".encode() in stored
    assert message(TRAITS).without_secrets() == message(TRAITS).body


def test_a_vitale_assertion_follows_byte_for_byte_and_changes_nothing_else(world: World) -> None:
    signed = assertion(world.card)

    plain = message(CARD, signed=signed).body
    both = message(CARD, signed=signed, vitale_assertion=etree.fromstring(INVENTED)).body
    alone = message(CARD, vitale_assertion=etree.fromstring(INVENTED)).body

    before, _, after = both.partition(INVENTED)
    assert etree.tostring(signed, encoding="UTF-8") in before
    assert before + after == plain
    assert b"Security>" + INVENTED + b"</" in alone


@pytest.mark.parametrize("with_professionals", [True, False])
def test_of_a_vitale_assertion_only_the_digest_is_stored(world: World, with_professionals: bool) -> None:
    signed = assertion(world.card) if with_professionals else None
    sent = message(CARD, signed=signed, vitale_assertion=etree.fromstring(INVENTED))

    stored = sent.without_secrets()

    assert b">carte<" in sent.body
    assert b">carte<" not in stored
    assert stored.count(b"sha256:" + hashlib.sha256(INVENTED).hexdigest().encode()) == 1
    assert (b"SignatureValue>sha256:" in stored) is with_professionals


def test_the_digest_is_that_of_the_bytes_sent() -> None:
    sent = message(TRAITS)

    assert sent.sha256 == hashlib.sha256(sent.body).hexdigest()
    assert sent.message_id == IDS.message_id


def test_nothing_is_printed_and_nothing_is_pretty() -> None:
    sent = message(TRAITS)

    assert "INVENTE" not in repr(sent)
    assert b">\n<" not in sent.body.partition(b"?>\n")[2]


def test_ids_are_never_used_twice() -> None:
    ids = [Ids.fresh() for _ in range(20)]

    assert len({value for one in ids for value in (one.message_id.removeprefix("uuid:"), one.lps, one.bam)}) == 60
    assert all(one.message_id.startswith("uuid:") for one in ids)


def test_the_contract_is_read_without_the_network() -> None:
    contract.own_package.cache_clear()

    with audited("socket.") as events:
        build(
            TRAITS,
            contract=contract.open_contract(None, None),
            lps=LPS,
            emitter="E",
            assertion=None,
            ids=IDS,
            at=AT,
        )

    assert events == []
