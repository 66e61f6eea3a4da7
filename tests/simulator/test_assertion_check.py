"""The simulated INSi really verifies the assertion, nothing gets around it, and libxmlsec1 agrees where it can."""

import base64
import copy
import hashlib
import hmac
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.insi.fake_service import FakeService
from agent.model import AuthMode
from agent.simulator.pki import PERSONS, Person, Role, issue_ca, issue_card_certificate, make_ca
from tests.parts.assertion import assertion
from tests.simulator.conftest import World
from tests.simulator.editor import BY_CARD, TOUSSAINT, WSSE, Shape, card, message, now, read, security

NOW = datetime.now(UTC)
SAML, DSIG = "urn:oasis:names:tc:SAML:2.0:assertion", "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SECURITY = f"{{{WSSE}}}Security"


def envelope(*assertions: Any) -> Any:
    return etree.fromstring(message(TOUSSAINT, Shape(security=security(*assertions) if assertions else "")))


def answer(world: World, whole: Any) -> str:
    """CodeCR, or the code of the refusal."""
    text = whole if isinstance(whole, bytes) else etree.tostring(whole)
    service = FakeService(authorisations=["SIMULATEUR-0001"], ca=[world.persons.certificate])
    _, body = service.answer(text, mode=AuthMode.CPX, client_name=None, now=now())
    return read(body)


def xmlsec1(world: World, whole: Any, folder: Path) -> bool:
    """Whether libxmlsec1 finds a good signature in this message: all that it is asked."""
    (folder / "ca.pem").write_bytes(world.card.issuers[-1].pem)
    (folder / "persons.pem").write_bytes(world.persons.pem)
    (folder / "message.xml").write_bytes(whole if isinstance(whole, bytes) else etree.tostring(whole))
    command = ["xmlsec1", "--verify", "--id-attr:ID", f"{SAML}:Assertion", "--trusted-pem", str(folder / "ca.pem")]
    command += ["--untrusted-pem", str(folder / "persons.pem")]
    done = subprocess.run([*command, str(folder / "message.xml")], check=False, capture_output=True)
    return done.returncode == 0


def test_a_good_assertion_is_accepted_by_us_and_by_libxmlsec1(world: World, tmp_path: Path) -> None:
    whole = envelope(assertion(world.card))

    assert answer(world, whole) == "00"
    assert xmlsec1(world, whole, tmp_path)


def test_a_card_of_an_authority_under_a_root_is_accepted() -> None:
    root = make_ca("TEST AC RACINE IGC-SANTE FORT", path_length=1)
    persons = issue_ca(root, PERSONS)
    whole = etree.tostring(envelope(assertion(issue_card_certificate(persons, Person()))))

    for anchors, code in (
        ([root, persons], "00"),
        ([persons], "00"),
        ([root], "sim_assertion_chain"),
        ([], "sim_assertion_chain"),
    ):
        service = FakeService(authorisations=["SIMULATEUR-0001"], ca=[one.certificate for one in anchors])
        assert read(service.answer(whole, mode=AuthMode.CPX, client_name=None, now=now())[1]) == code


def test_no_assertion_is_refused(world: World) -> None:
    assert answer(world, envelope()) == "sim_assertion_missing"
    assert answer(world, message(TOUSSAINT, Shape(security=security()))) == "sim_assertion_missing"


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(minutes=59), "00"),
        (timedelta(minutes=61), "sim_assertion_age"),
        (timedelta(minutes=-5), "sim_assertion_age"),
    ],
)
def test_an_assertion_lives_an_hour(world: World, age: timedelta, code: str) -> None:
    assert answer(world, envelope(assertion(world.card, at=datetime.now(UTC) - age))) == code


def test_how_long_an_assertion_lives_is_a_setting(world: World) -> None:
    whole = etree.tostring(envelope(assertion(world.card, at=datetime.now(UTC) - timedelta(seconds=30))))
    codes = []
    for seconds in (20, 60):
        service = FakeService(
            authorisations=["SIMULATEUR-0001"],
            ca=[world.persons.certificate],
            assertion_max_age=timedelta(seconds=seconds),
        )
        codes.append(read(service.answer(whole, mode=AuthMode.CPX, client_name=None, now=now())[1]))

    assert codes == ["sim_assertion_age", "00"]


@pytest.mark.parametrize("missing", ["identifiantFacturation", "secteurActivite"])
def test_a_required_attribute_is_required(world: World, missing: str) -> None:
    attributes = {"identifiantFacturation": "990000001", "secteurActivite": "SA07"}
    del attributes[missing]

    assert answer(world, envelope(assertion(world.card, attributes=tuple(attributes.items())))) == (
        "sim_assertion_attribute"
    )


def test_the_authentication_key_signs_and_is_refused(world: World) -> None:
    """The trap of the wrong key pair of the card."""
    wrong = issue_card_certificate(world.persons, Person(), Role.AUTHENTICATION)

    assert answer(world, envelope(assertion(wrong))) == "sim_assertion_certificate"


def test_a_card_of_another_authority_is_refused(world: World) -> None:
    assert answer(world, envelope(assertion(issue_card_certificate(make_ca(), Person())))) == "sim_assertion_chain"


def test_an_expired_card_is_refused(world: World) -> None:
    expired = issue_card_certificate(world.persons, Person(), not_after=NOW - timedelta(days=1))

    assert answer(world, envelope(assertion(expired))) == "sim_assertion_chain"


def test_a_card_that_speaks_for_somebody_else_is_refused(world: World) -> None:
    other = issue_card_certificate(world.persons, Person(national_id="899900000025"), key=world.card.key)
    signed = assertion(world.card)
    certificate = signed.find(".//{*}X509Certificate")
    certificate.text = assertion(other).findtext(".//{*}X509Certificate")  # same key, other holder

    assert answer(world, envelope(signed)) == "sim_assertion_subject"


REWRITTEN: list[Callable[[str], str]] = [  # the same document, written otherwise
    lambda text: text.replace("<e:Header>", "<!-- x --><e:Header>\r\n\t"),
    lambda text: text.replace("<e:Envelope ", '<e:Envelope xmlns:zz="urn:zz" xmlns:ds="urn:other" '),
    lambda text: text.replace(">899900000017</NameID", ">&#56;999<![CDATA[00000017]]></NameID", 1),
    lambda text: text.replace('Version="2.0"', "Version='2.0'\n"),
    lambda text: re.sub(r"(SignatureValue>.{20})", r"\1\r\n ", text, count=1),
    lambda text: re.sub(r"(X509Certificate>.{64})", r"\1\n", text, count=1),
    lambda text: re.sub(r"<(DigestMethod [^>]*)/>", r"<\1></DigestMethod>", text, count=1),
    lambda text: text.replace("<e:Body>", "<?x y?><e:Body><!-- y -->"),
]


@settings(max_examples=25)
@given(st.sets(st.sampled_from(range(len(REWRITTEN))), min_size=1))
def test_what_we_accept_written_otherwise_libxmlsec1_accepts_too(
    world: World, tmp_path_factory: pytest.TempPathFactory, chosen: set[int]
) -> None:
    text = plain = etree.tostring(envelope(assertion(world.card)), encoding="unicode")
    for number in chosen:
        text = REWRITTEN[number](text)

    assert text != plain
    assert answer(world, text.encode()) == "00"
    assert xmlsec1(world, text.encode(), tmp_path_factory.mktemp("rewritten"))


# ------------------------------------------------------------ the assertion of the carte Vitale


def vitale(name: str = "8025000001") -> Any:
    return etree.fromstring(
        f'<Assertion xmlns="{SAML}" ID="_vitale" Version="2.0"><Issuer>899900000017</Issuer>'
        f'<Subject><NameID NameQualifier="VITALE">{name}</NameID></Subject></Assertion>'
    )


def test_an_assertion_of_the_carte_vitale_may_follow_in_a_search_by_card(world: World) -> None:
    """Whether WS_INS1 wants it is not public; CNDA's test 1.01 asks for it."""
    body = card("1810163220751", "1981-01-01", "1")
    signed = assertion(world.card)
    both = Shape(action=BY_CARD, security=security(signed, vitale()))

    assert answer(world, message(body, both)) == "00"
    assert answer(world, message(TOUSSAINT, Shape(security=security(signed, vitale())))) == "sim_assertion_shape"
    turned = Shape(action=BY_CARD, security=security(vitale(), signed))
    assert answer(world, message(body, turned)) == "sim_assertion_shape"


# ------------------------------------------------------------ tampering: no verifier accepts it


def changed(signed: Any) -> None:
    signed.find(".//{*}AttributeValue").text = "990000002"


def changed_issuer(signed: Any) -> None:
    signed.find("{*}Issuer").text += " "


def instruction_inside(signed: Any) -> None:
    signed.find(".//{*}NameID").append(etree.ProcessingInstruction("x"))


def blank_added(signed: Any) -> None:
    signed.find("{*}Subject").tail = "\n"


def younger(signed: Any) -> None:
    signed.set("IssueInstant", "2026-11-22T08:00:00.000Z")


def sha1_signature(signed: Any) -> None:
    signed.find(".//{*}SignatureMethod").set("Algorithm", DSIG + "rsa-sha1")


def other_value(signed: Any) -> None:
    """The signature of something else by the same card."""
    value = signed.find(".//{*}SignatureValue")
    value.text = base64.b64encode(bytes(reversed(base64.b64decode(value.text)))).decode()


def digest_again(signed: Any) -> None:
    """The digest made right again after a change, without the key."""
    changed(signed)
    redigest(signed)


def no_reference(signed: Any) -> None:
    signed.find(".//{*}SignedInfo").remove(signed.find(".//{*}Reference"))


def no_certificate(signed: Any) -> None:
    data = signed.find(".//{*}X509Data")
    data.remove(data[0])


def redigest(signed: Any) -> None:
    bare = copy.deepcopy(signed)
    bare.remove(bare.find("{*}Signature"))
    digest = hashlib.sha256(etree.tostring(bare, method="c14n", exclusive=True)).digest()
    signed.find(".//{*}DigestValue").text = base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (changed, "sim_assertion_digest"),
        (changed_issuer, "sim_assertion_digest"),
        (instruction_inside, "sim_assertion_shape"),
        (blank_added, "sim_assertion_digest"),
        (younger, "sim_assertion_digest"),
        (sha1_signature, "sim_assertion_algorithm"),
        (other_value, "sim_assertion_signature"),
        (digest_again, "sim_assertion_signature"),
        (no_reference, "sim_assertion_shape"),
        (no_certificate, "sim_assertion_shape"),
    ],
)
def test_what_was_changed_after_signing_is_refused_by_us_and_by_libxmlsec1(
    world: World, tmp_path: Path, tamper: Callable[[Any], None], code: str
) -> None:
    signed = assertion(world.card)
    tamper(signed)
    whole = envelope(signed)

    assert answer(world, whole) == code
    assert not xmlsec1(world, whole, tmp_path)


# ------------------------------------------------------------ wrapping: the signature is good, what is read is not


def evil(world: World, *, identifier: str = "_evil") -> Any:
    """An unsigned assertion of an attacker."""
    forged = assertion(world.card)
    forged.find(".//{*}NameID").text = "899900000099"
    forged.set("ID", identifier)
    forged.remove(forged.find("{*}Signature"))
    return forged


def torn(good: Any) -> tuple[Any, Any]:
    """The signed assertion without its signature, and the signature."""
    bare = copy.deepcopy(good)
    signature = bare.find("{*}Signature")
    bare.remove(signature)
    return bare, signature


Wrap = Callable[[World, Any, Any], None]  # of the whole message, whose Security holds the good assertion


def xsw1(world: World, box: Any, good: Any) -> None:
    """The attacker's, then what was signed, then its signature beside both."""
    bare, signature = torn(good)
    box[:] = [evil(world), bare, signature]


def xsw2(world: World, box: Any, good: Any) -> None:
    """The signature first, then what was signed, then the attacker's."""
    bare, signature = torn(good)
    box[:] = [signature, bare, evil(world)]


def xsw3(world: World, box: Any, good: Any) -> None:
    """The attacker's before the good one."""
    box.insert(0, evil(world))


def xsw4(world: World, box: Any, good: Any) -> None:
    """The good one inside the attacker's."""
    forged = evil(world)
    box[:] = [forged]
    forged.append(good)


def xsw5(world: World, box: Any, good: Any) -> None:
    """The attacker's has the signature; what was signed stands at the end of the header."""
    bare, signature = torn(good)
    forged = evil(world)
    forged.insert(1, signature)
    box[:] = [forged]
    etree.SubElement(box.getparent(), "{urn:elsewhere}Bag").append(bare)


def xsw6(world: World, box: Any, good: Any) -> None:
    """What was signed is in the signature that the attacker's has."""
    bare, signature = torn(good)
    forged = evil(world)
    forged.insert(1, signature)
    signature.append(bare)
    box[:] = [forged]


def xsw7(world: World, box: Any, good: Any) -> None:
    """The attacker's in an element that nobody knows, before the good one."""
    extensions = etree.Element(f"{{{SAML}}}Extensions")
    extensions.append(evil(world))
    box.insert(0, extensions)


def xsw8(world: World, box: Any, good: Any) -> None:
    """What was signed is in an Object of the signature that the attacker's has."""
    bare, signature = torn(good)
    forged = evil(world)
    forged.insert(1, signature)
    etree.SubElement(signature, f"{{{DSIG}}}Object").append(bare)
    box[:] = [forged]


def same_id(world: World, box: Any, good: Any) -> None:
    """Two of one name, the attacker's with the signature."""
    bare, signature = torn(good)
    forged = evil(world, identifier=good.get("ID"))
    forged.insert(1, signature)
    box[:] = [forged]
    etree.SubElement(box.getparent(), "{urn:elsewhere}Bag").append(bare)


def second_security(world: World, box: Any, good: Any) -> None:
    """The attacker's in a Security of its own."""
    other = etree.Element(SECURITY)
    other.append(evil(world))
    box.addprevious(other)


def in_the_body(world: World, box: Any, good: Any) -> None:
    """The attacker's where the request is."""
    box.getroottree().getroot()[1].append(evil(world))


def named_in_the_body(attribute: str) -> Wrap:
    """Another element has the ID too, by another attribute."""

    def wrap(_world: World, box: Any, good: Any) -> None:
        box.getroottree().getroot()[1][0].set(attribute, good.get("ID"))

    return wrap


def two_signatures(world: World, box: Any, good: Any) -> None:
    good.append(copy.deepcopy(good.find("{*}Signature")))


def comment_in_the_name(world: World, box: Any, good: Any) -> None:
    """The kind of CVE-2017-11427: canonical XML leaves it out, and some readers stop there."""
    name = good.find(".//{*}NameID")
    comment = etree.Comment("x")
    name.text, comment.tail = name.text[:4], name.text[4:]
    name.append(comment)


def comment_in_the_digest(world: World, box: Any, good: Any) -> None:
    good.find(".//{*}DigestValue").append(etree.Comment("AAAA"))


def other_certificate_first(world: World, box: Any, good: Any) -> None:
    data = good.find(".//{*}X509Data")
    other = copy.deepcopy(data[0])
    other.text = base64.b64encode(world.organisation.der).decode()
    data.insert(0, other)


def bare_key_beside(world: World, box: Any, good: Any) -> None:
    """A key in clear where a verifier may look before the certificate."""
    good.find(".//{*}KeyInfo").append(etree.fromstring(f'<KeyName xmlns="{DSIG}">mine</KeyName>'))


@pytest.mark.parametrize(
    ("wrap", "code", "fools"),
    [
        (xsw1, "sim_assertion_shape", True),
        (xsw2, "sim_assertion_shape", True),
        (xsw3, "sim_assertion_shape", True),
        (xsw4, "sim_assertion_shape", True),
        (xsw5, "sim_assertion_shape", True),
        (xsw6, "sim_assertion_shape", False),
        (xsw7, "sim_assertion_shape", True),
        (xsw8, "sim_assertion_shape", False),
        (same_id, "sim_assertion_shape", False),
        (second_security, "sim_assertion_shape", True),
        (in_the_body, "sim_assertion_shape", True),
        (named_in_the_body("ID"), "sim_assertion_shape", True),
        (named_in_the_body("Id"), "sim_assertion_shape", True),
        (named_in_the_body("id"), "sim_assertion_shape", True),
        (named_in_the_body("{http://www.w3.org/XML/1998/namespace}id"), "sim_assertion_shape", False),
        (named_in_the_body("{urn:elsewhere}Id"), "sim_assertion_shape", True),
        (two_signatures, "sim_assertion_shape", False),
        (comment_in_the_name, "sim_assertion_shape", True),
        (comment_in_the_digest, "sim_assertion_shape", True),
        (other_certificate_first, "sim_assertion_shape", True),
        (bare_key_beside, "sim_assertion_shape", True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrapped_signature_is_refused_where_a_bare_verifier_is_fooled(
    world: World, tmp_path: Path, wrap: Wrap, code: str, fools: bool
) -> None:
    """`fools`: libxmlsec1 finds a good signature, as it is asked; which element it covers is the reader's business."""
    whole = envelope(assertion(world.card))
    box = whole.find(f".//{SECURITY}")

    wrap(world, box, box[0])

    assert answer(world, whole) == code
    assert xmlsec1(world, whole, tmp_path) is fools


# ------------------------------------------------------------ signed so by a genuine card


def signed_again(world: World, change: Callable[[Any], None]) -> Any:
    """A good assertion whose SignedInfo was changed before the card signed it; digest and value are right."""
    signed = assertion(world.card)
    change(signed)
    redigest(signed)
    info = signed.find(".//{*}SignedInfo")
    commented = info.find("{*}CanonicalizationMethod").get("Algorithm").endswith("WithComments")
    octets = etree.tostring(info, method="c14n", exclusive=True, with_comments=commented)
    method = info.find("{*}SignatureMethod").get("Algorithm").rpartition("#")[2]
    digest = SHA1() if method == "rsa-sha1" else SHA256()  # noqa: S303  (an attack)
    value = world.card.key.sign(octets, padding.PKCS1v15(), digest)
    if method == "hmac-sha256":
        public = world.card.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        value = hmac.digest(public, octets, "sha256")
    signed.find(".//{*}SignatureValue").text = base64.b64encode(value).decode()
    return signed


def algorithm(element: str, name: str) -> Callable[[Any], None]:
    return lambda signed: signed.find(f".//{{*}}{element}").set("Algorithm", name)


def transform(name: str, inside: str = "") -> Callable[[Any], None]:
    def change(signed: Any) -> None:
        text = f'<Transform xmlns="{DSIG}" Algorithm="{name}">{inside}</Transform>'
        signed.find(".//{*}Transforms").append(etree.fromstring(text))

    return change


def inclusive_namespaces(where: str) -> Callable[[Any], None]:
    prefixes = f'<InclusiveNamespaces xmlns="{EXCLUSIVE}" PrefixList="e w"/>'
    return lambda signed: signed.find(f".//{{*}}{where}").append(etree.fromstring(prefixes))


def uri(to: str) -> Callable[[Any], None]:
    return lambda signed: signed.find(".//{*}Reference").set("URI", to)


def without_uri(signed: Any) -> None:
    del signed.find(".//{*}Reference").attrib["URI"]


def xpointer(signed: Any) -> None:
    """An ID that a reference reads as the whole document."""
    signed.set("ID", "xpointer(/)")
    uri("#xpointer(/)")(signed)


def two_references(signed: Any) -> None:
    signed.find(".//{*}SignedInfo").append(copy.deepcopy(signed.find(".//{*}Reference")))


def same_transform_twice(signed: Any) -> None:
    transforms = signed.find(".//{*}Transforms")
    transforms.append(copy.deepcopy(transforms[1]))


def no_transforms(signed: Any) -> None:
    signed.find(".//{*}Transforms")[:] = []


def an_object(signed: Any) -> None:
    etree.SubElement(signed.find("{*}Signature"), f"{{{DSIG}}}Object").text = "x"


def short_hmac(signed: Any) -> None:
    method = signed.find(".//{*}SignatureMethod")
    method.set("Algorithm", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")
    etree.SubElement(method, f"{{{DSIG}}}HMACOutputLength").text = "8"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (algorithm("SignatureMethod", DSIG + "rsa-sha1"), "sim_assertion_algorithm"),
        (
            algorithm("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
            "sim_assertion_algorithm",
        ),
        (short_hmac, "sim_assertion_shape"),
        (algorithm("DigestMethod", DSIG + "sha1"), "sim_assertion_algorithm"),
        (algorithm("CanonicalizationMethod", EXCLUSIVE + "WithComments"), "sim_assertion_algorithm"),
        (
            algorithm("CanonicalizationMethod", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
            "sim_assertion_algorithm",
        ),
        (inclusive_namespaces("CanonicalizationMethod"), "sim_assertion_shape"),
        (inclusive_namespaces("Transform[2]"), "sim_assertion_shape"),
        (transform("http://www.w3.org/TR/1999/REC-xslt-19991116"), "sim_assertion_shape"),
        (transform("http://www.w3.org/TR/1999/REC-xpath-19991116", "<XPath>1</XPath>"), "sim_assertion_shape"),
        (same_transform_twice, "sim_assertion_shape"),
        (no_transforms, "sim_assertion_shape"),
        (uri(""), "sim_assertion_shape"),
        (without_uri, "sim_assertion_shape"),
        (uri("http://127.0.0.1:9/elsewhere.xml"), "sim_assertion_shape"),
        (uri("#_00000000-0000-4000-8000-000000000099"), "sim_assertion_shape"),
        (xpointer, "sim_assertion_shape"),
        (two_references, "sim_assertion_shape"),
        (an_object, "sim_assertion_shape"),
    ],
)
def test_another_way_of_signing_is_not_interpreted(world: World, change: Callable[[Any], None], code: str) -> None:
    assert answer(world, envelope(signed_again(world, lambda _: None))) == "00"

    assert answer(world, envelope(signed_again(world, change))) == code


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE e [<!ENTITY who "899900000017">]>',
        '<!DOCTYPE e SYSTEM "file:///etc/hostname">',
        f'<!DOCTYPE e [<!ATTLIST RECSANSVITALE x ID "_00000000-0000-4000-8000-000000000005">]><!-- {"x" * 50} -->',
    ],
)
def test_a_message_with_a_dtd_is_refused(world: World, dtd: str) -> None:
    whole = etree.tostring(envelope(assertion(world.card)))

    assert answer(world, whole) == "00"
    assert answer(world, dtd.encode() + whole) == "sim_message"
    assert answer(world, dtd.encode() + whole.replace(b">899900000017<", b">&who;<")) == "sim_message"


@given(at=st.integers(0, 6500), cut=st.integers(0, 200), put=st.binary(max_size=20))
def test_any_damage_to_a_message_is_answered(world: World, at: int, cut: int, put: bytes) -> None:
    whole = etree.tostring(envelope(assertion(world.card)))
    service = FakeService(authorisations=["SIMULATEUR-0001"], ca=[world.persons.certificate])

    status, body = service.answer(
        whole[:at] + put + whole[at + cut :], mode=AuthMode.CPX, client_name=None, now=datetime.now(UTC)
    )

    assert status in (200, 500)
    assert etree.fromstring(body) is not None
