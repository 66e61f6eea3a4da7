"""What a CPx certificate and its data objects say."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Cpx
from agent.errors import AgentError, Code
from agent.model import CardKind, CpxKind, Environment, PinState
from agent.readers.kinds import kind_of
from agent.signing.cpx import (
    ISSUER_FORMATS,
    CardFacts,
    activities,
    card_facts,
    check_known,
    check_usable,
    signature_certificate,
    speciality_of,
    status,
)
from agent.signing.fake_token import SimulatedCard
from agent.signing.ports import CertificateObject, ModuleFacts, TokenSeen
from agent.simulator.pki import Issued, Person, Practice, Role, issue_card_certificate, make_ca, protected_objects

NOW = datetime.now(UTC)
NURSE = Person(
    family="FICTIVE-INFIRMIERE",
    given="ZOE",
    title="Infirmier",
    national_id="00B6000000",
    profession=60,
    speciality=None,
)
NON_NOMINATIVE = Person(family=None, national_id="3760000000/000000018", speciality=None)


def token(*certificates: CertificateObject, data: dict[str, bytes] | None = None) -> TokenSeen:
    return TokenSeen(
        slot=0,
        reader="Reader 00",
        label="CPS3v3-2600000017",
        serial="99000017",
        model="IAS ECC",
        pin_state=PinState.OK,
        pin_pad=False,
        logged_in=data is not None,
        certificates=certificates,
        data=data or {},
    )


def on_card(card: SimulatedCard) -> list[CertificateObject]:
    return [CertificateObject(pair.label, pair.cka_id, pair.certificate_der) for pair in card.keys]


def refusal(facts: CardFacts, environment: Environment, now: datetime = NOW) -> Code | None:
    try:
        check_usable(facts, environment=environment, now=now)
    except AgentError as error:
        return error.code
    return None


def outcome(certificate_der: bytes, issuer_format: str = "card") -> str:
    try:
        facts = card_facts(certificate_der, issuer_format=issuer_format)
    except AgentError as error:
        return error.code
    return "card" if facts.professional.national_id and facts.issuer_text else "nobody"


def test_the_holder_is_found_by_oid_wherever_the_attributes_stand(ca: Issued, doctor: Issued) -> None:
    """DER sorts a multi-valued name by its bytes: the order differs from holder to holder."""
    nurse = card_facts(issue_card_certificate(ca, NURSE).der)
    physician = card_facts(doctor.der)

    assert nurse.issuer_text == "2.5.4.42=ZOE+CN=00B6000000+SN=FICTIVE-INFIRMIERE,T=Infirmier,C=FR"
    assert physician.issuer_text == "SN=EXEMPLE+2.5.4.42=CAMILLE+CN=899900000017,T=Médecin,C=FR"
    assert (nurse.professional.name, nurse.professional.national_id) == ("ZOE FICTIVE-INFIRMIERE", "00B6000000")
    assert (physician.professional.name, physician.professional.national_id) == ("CAMILLE EXEMPLE", "899900000017")


@pytest.mark.parametrize(
    ("issuer_format", "nurse", "physician"),
    [
        (
            "card",
            "2.5.4.42=ZOE+CN=00B6000000+SN=FICTIVE-INFIRMIERE,T=Infirmier,C=FR",
            "SN=EXEMPLE+2.5.4.42=CAMILLE+CN=899900000017,T=Médecin,C=FR",
        ),
        (
            "rfc4514",
            "2.5.4.42=ZOE+CN=00B6000000+2.5.4.4=FICTIVE-INFIRMIERE,2.5.4.12=Infirmier,C=FR",
            "2.5.4.4=EXEMPLE+2.5.4.42=CAMILLE+CN=899900000017,2.5.4.12=Médecin,C=FR",
        ),
        (
            "dotnet",
            "G=ZOE + CN=00B6000000 + SN=FICTIVE-INFIRMIERE, T=Infirmier, C=FR",
            "SN=EXEMPLE + G=CAMILLE + CN=899900000017, T=Médecin, C=FR",
        ),
    ],
)
def test_the_holders_name_has_several_spellings(
    ca: Issued, doctor: Issued, issuer_format: str, nurse: str, physician: str
) -> None:
    """The sample assertion's is the default; the GIE's kit writes .NET's. Which one INSi compares is not public."""
    card = issue_card_certificate(ca, NURSE)

    assert set(get_args(Cpx.model_fields["issuer_format"].annotation)) == set(ISSUER_FORMATS)
    assert card_facts(card.der, issuer_format=issuer_format).issuer_text == nurse
    assert card_facts(doctor.der, issuer_format=issuer_format).issuer_text == physician


def test_dotnet_puts_what_could_be_misread_between_quotes(ca: Issued) -> None:
    odd = issue_card_certificate(ca, Person(family='D"EXEMPLE <&>', given="Ça, là", title=" Médecin"))

    text = card_facts(odd.der, issuer_format="dotnet").issuer_text

    assert 'SN="D""EXEMPLE <&>"' in text
    assert 'G="Ça, là"' in text
    assert text.endswith(', T=" Médecin", C=FR')


def test_profession_speciality_and_card_number_come_from_the_private_extensions(ca: Issued, doctor: Issued) -> None:
    """Extensions 1.2.250.1.71.1.2.3, .2.7 and .4.2.5; a nurse has no speciality."""
    physician, nurse = card_facts(doctor.der), card_facts(issue_card_certificate(ca, NURSE).der)

    assert (physician.professional.profession, physician.professional.speciality) == ("10", "SM26")
    assert (nurse.professional.profession, nurse.professional.speciality) == ("60", None)
    assert physician.card_serial == "8025000001/2600000017"


def test_a_speciality_missing_in_the_certificate_is_read_on_the_card(ca: Issued) -> None:
    certificate = issue_card_certificate(ca, Person(speciality=None)).der

    assert card_facts(certificate, {"CPS_INFO_PS": b"\xe3\x04....SM54"}).professional.speciality == "SM54"


@pytest.mark.parametrize(
    ("number", "kind", "qualifier"),
    [
        (0, CpxKind.CPS, "CPS"),
        (1, CpxKind.CPF, "CPF"),
        (2, CpxKind.CPE, "CDE-CPE"),
        (3, CpxKind.CPA, "CPA"),
        (9, CpxKind.UNKNOWN, "CPX"),
        (None, CpxKind.UNKNOWN, "CPX"),
    ],
)
def test_the_card_type_gives_the_name_qualifier(ca: Issued, number: int | None, kind: CpxKind, qualifier: str) -> None:
    """GIE kit, extension 1.2.250.1.71.1.2.2."""
    facts = card_facts(issue_card_certificate(ca, Person(), kind=number).der)

    assert (kind, qualifier) == (facts.kind, facts.name_qualifier)


def test_a_named_person_numbered_by_an_establishment_is_nominative(ca: Issued) -> None:
    """Table G08: a CN of an establishment's number, a slash and a register number may be anybody's."""
    named = Person(national_id="3990000017/000000022", speciality=None)

    assert card_facts(issue_card_certificate(ca, named, kind=2).der).nominative


def test_a_non_nominative_card_is_refused(ca: Issued) -> None:
    facts = card_facts(issue_card_certificate(ca, NON_NOMINATIVE, kind=2).der)

    assert not facts.nominative
    assert refusal(facts, Environment.TEST) is Code.CPX_NOT_NOMINATIVE


@pytest.mark.parametrize(
    ("mark", "environment", "expected"),
    [
        (0x80, Environment.TEST, None),
        (0x80, Environment.SIMULATED, None),
        (0x80, Environment.PRODUCTION, Code.CPX_ENVIRONMENT),
        (0x00, Environment.PRODUCTION, None),
        (0x00, Environment.TEST, Code.CPX_ENVIRONMENT),
        (0x00, Environment.SIMULATED, Code.CPX_ENVIRONMENT),
        (0x42, Environment.PRODUCTION, None),
        (None, Environment.PRODUCTION, None),
        (None, Environment.TEST, None),
    ],
)
def test_test_cards_and_production_never_meet(
    ca: Issued, mark: int | None, environment: Environment, expected: Code | None
) -> None:
    """Extension 1.2.250.1.71.1.2.5: 80 test, 00 production. An unknown mark is never a refusal."""
    facts = card_facts(issue_card_certificate(ca, Person(), mark=mark).der)

    assert refusal(facts, environment) is expected


def test_an_expired_card_is_refused_from_the_next_second_on(doctor: Issued) -> None:
    facts = card_facts(doctor.der)

    assert refusal(facts, Environment.TEST, facts.not_after) is None
    assert refusal(facts, Environment.TEST, facts.not_after + timedelta(seconds=1)) is Code.CPX_EXPIRED


def test_an_expired_card_of_the_former_authority_is_said_to_be_one() -> None:
    """Issuer "TEST CLASSE-1"; today's is "AC IGC-SANTE FORT PERSONNES"."""
    former = card_facts(issue_card_certificate(make_ca("TEST CLASSE-1"), Person()).der)
    present = card_facts(issue_card_certificate(make_ca("TEST AC IGC-SANTE FORT PERSONNES"), Person()).der)

    for facts, issuer in ((former, "IGC-CPS"), (present, None)):
        with pytest.raises(AgentError) as refused:
            check_usable(facts, environment=Environment.TEST, now=facts.not_after + timedelta(days=1))
        assert refused.value.facts.get("issuer") == issuer


def test_facts_do_not_print(doctor: Issued) -> None:
    facts = card_facts(doctor.der)

    assert "EXEMPLE" not in repr(facts) + str(facts) + repr(facts.professional)


def test_the_signature_certificate_is_found_by_its_label(card: SimulatedCard) -> None:
    signature, authentication = on_card(card)

    assert signature_certificate(token(authentication, signature)) == signature


def test_without_its_label_it_is_the_certificate_for_non_repudiation_alone(card: SimulatedCard) -> None:
    signature, authentication = (CertificateObject("", c.cka_id, c.der) for c in on_card(card))

    assert signature_certificate(token(authentication, signature)) == signature


def test_the_authentication_certificate_never_signs(card: SimulatedCard) -> None:
    """A contactless CPS shows nothing else; the service refuses its signature."""
    authentication = on_card(card)[1]

    with pytest.raises(AgentError) as refused:
        signature_certificate(token(authentication))

    assert refused.value.code is Code.CPX_NO_SIGNATURE


def test_activities_keep_their_numbers_over_gaps() -> None:
    practices = (None, Practice("MAISON FICTIVE", "1990000017", "SA05"), None, Practice("ÉCOLE FICTIVE", "3", "SA07"))

    found = activities(protected_objects(Person(practices=practices)))

    assert [(a.id, a.label, a.structure_id, a.sector) for a in found] == [
        ("02", "MAISON FICTIVE", "1990000017", "SA05"),
        ("04", "ÉCOLE FICTIVE", "3", "SA07"),
    ]


def test_an_activity_of_another_layout_still_gives_its_sector() -> None:
    """The GIE's kit takes the last four characters."""
    found = activities({"CPS_ACTIVITY_03_PS": b"\xc0\x05whatever SA01" + bytes(3), "CPS_ACTIVITY_04_PS": bytes(64)})

    assert [(a.id, a.label, a.structure_id, a.sector) for a in found] == [("03", "03", None, "SA01")]


def test_a_speciality_is_a_code_of_four_characters() -> None:
    assert speciality_of({"CPS_INFO_PS": b"\xe3\x06..SM26"}) == "SM26"
    assert speciality_of({"CPS_INFO_PS": b"\xe3\x06..    "}) is None
    assert speciality_of({}) is None


def test_status_shows_activities_only_once_unlocked(card: SimulatedCard) -> None:
    seen = token(*on_card(card), data={**card.free, **card.protected})

    locked, unlocked = (status(seen, now=NOW, unlocked=state) for state in (False, True))

    assert locked.present and locked.activities is None
    assert [a.sector for a in unlocked.activities or []] == ["SA07", "SA05"]
    assert unlocked.certificate and unlocked.certificate.days_left in (1093, 1094)


def test_status_of_an_empty_reader_and_of_an_unreadable_card() -> None:
    absent, strange = (status(t, now=NOW, unlocked=False) for t in (None, token()))

    assert absent.model_dump(exclude_none=True) == {"present": False, "unlocked": False}
    assert (strange.present, strange.kind, strange.holder) == (True, CpxKind.UNKNOWN, None)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_card_or_a_code(content: bytes) -> None:
    data = {"CPS_ACTIVITY_01_PS": content, "CPS_INFO_PS": content}

    activities(data)
    with pytest.raises(AgentError) as refused:
        card_facts(content, data)

    assert refused.value.code is Code.CPX_NO_SIGNATURE


@given(
    position=st.integers(min_value=0, max_value=1100),
    byte=st.integers(0, 255),
    issuer_format=st.sampled_from(list(ISSUER_FORMATS)),
)
def test_a_damaged_certificate_is_a_card_or_a_code(
    doctor: Issued, position: int, byte: int, issuer_format: str
) -> None:
    damaged = bytearray(doctor.der)
    damaged[position % len(damaged)] = byte

    assert outcome(bytes(damaged), issuer_format) in ("card", Code.CPX_NO_SIGNATURE)


def test_a_card_held_against_the_reader_shows_a_technical_certificate_alone(ca: Issued) -> None:
    technical = issue_card_certificate(ca, NON_NOMINATIVE, Role.AUTHENTICATION).der
    codes = []
    for label in ("Certificat Technique CPS", ""):
        with pytest.raises(AgentError) as refused:
            signature_certificate(token(CertificateObject(label, b"\x03", technical)))
        codes.append(refused.value.code)

    assert codes == [Code.CPX_CONTACTLESS, Code.CPX_NO_SIGNATURE]


CPS3 = "3BAC00402A001225006480000310009000"
CPS4 = (
    "3B9B188001001225006480040100009044",
    "3B9B188001001225006480000401009044",
    "3BDC18FF00001225006480000401009000",
)
CPS2TER = "3BAC00402A001225006480820212009000"


def why(name: str, version: str, atr: str) -> Code | None:
    try:
        check_known(ModuleFacts("/usr/lib/module.so", name, version, signs_cps3=True), atr)
    except AgentError as error:
        return error.code
    return None


@pytest.mark.parametrize("atr", CPS4)
def test_a_cps4_wants_the_cryptolib_5_2(atr: str) -> None:
    """Its cps3pkcs11ver.h: library 3.00 brought the CPS4. OpenSC has no driver for it. Others may know it."""
    assert kind_of(bytes.fromhex(atr)) is CardKind.CPX
    assert why("Cryptolib CPS", "2.13", atr) is why("OpenSC", "0.26", atr) is Code.MODULE_TOO_OLD
    assert why("Cryptolib CPS", "3.0", atr) is why("Cryptolib CPS", "3.4", atr) is None
    assert why("Implementation of PKCS11", "2.6", atr) is None


def test_no_module_is_too_old_for_a_cps3_and_none_signs_with_a_cps2ter() -> None:
    assert {why(name, "1.20", CPS3) for name in ("Cryptolib CPS", "OpenSC")} == {None}
    assert {why(name, "3.4", CPS2TER) for name in ("Cryptolib CPS", "OpenSC")} == {Code.CPX_NO_SIGNATURE}


def test_the_other_key_pair_is_for_authentication(ca: Issued) -> None:
    """A card whose signature certificate lost its label and usages has none."""
    other = issue_card_certificate(ca, Person(), Role.AUTHENTICATION)

    with pytest.raises(AgentError) as refused:
        signature_certificate(
            token(CertificateObject("x", b"\x01", other.der), CertificateObject("y", b"\x02", b"junk"))
        )

    assert refused.value.code is Code.CPX_NO_SIGNATURE
