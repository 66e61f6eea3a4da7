"""Which revocation lists count, for how long, and what they say of a chain."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.insi.revocation import AGAIN, LONGEST, Revocation, Status
from agent.simulator.pki import Issued, issue_ca, issue_server, make_ca, make_crl

NOW = datetime.now(UTC).replace(microsecond=0)
ROOT_LIST, CA_LIST = "http://listes.example/acr-el.crl", "http://listes.example/aci-el-org.crl"
Change = Callable[[x509.CertificateRevocationListBuilder], x509.CertificateRevocationListBuilder]


@cache
def chain() -> tuple[Issued, Issued, Issued]:
    """A server's certificate, its CA and the root, as IGC-Santé has them."""
    root = make_ca("TEST AC RACINE IGC-SANTE ELEMENTAIRE", path_length=1)
    ca = issue_ca(root, "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS", crl=ROOT_LIST)
    return issue_server(ca, crl=CA_LIST), ca, root


class Lists:
    """What can be fetched, and what was."""

    def __init__(self, **at: bytes | None) -> None:
        _, ca, root = chain()
        self.at = {ROOT_LIST: make_crl(root), CA_LIST: make_crl(ca)} | {
            {"root": ROOT_LIST, "ca": CA_LIST}[name]: content for name, content in at.items()
        }
        self.asked: list[str] = []

    def __call__(self, address: str) -> bytes | None:
        self.asked.append(address)
        return self.at[address]


def ders(issued: tuple[Issued, ...]) -> list[bytes]:
    return [one.der for one in issued]


def status(lists: Lists, *, server: Issued | None = None, now: datetime = NOW) -> Status:
    whole = chain() if server is None else (server, *chain()[1:])
    return Revocation().status(ders(whole), lists, now)


def of_ca(change: Change = lambda builder: builder, *, signer: Issued | None = None, **dates: Any) -> bytes:
    """A list of the CA, changed before it is signed."""
    _, ca, _ = chain()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(dates.get("since", NOW - timedelta(hours=1)))
        .next_update(dates.get("until", NOW + timedelta(days=7)))
    )
    return change(builder).sign((signer or ca).key, SHA256()).public_bytes(Encoding.DER)


def with_extension(extension: x509.ExtensionType, *, critical: bool = True) -> Change:
    return lambda builder: builder.add_extension(extension, critical=critical)


def scope(**about: Any) -> Change:
    """The lists' own scope (RFC 5280 section 5.2.5), changed."""
    usual: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return with_extension(x509.IssuingDistributionPoint(**{**usual, **about}))


def names(*addresses: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(address) for address in addresses]


# ---------------------------------------------------------------- what lists say


def test_a_chain_on_no_list_is_good_and_each_of_its_cas_was_asked() -> None:
    lists = Lists()

    assert status(lists) is Status.GOOD
    assert sorted(lists.asked) == [CA_LIST, ROOT_LIST]


def test_a_listed_server_is_revoked() -> None:
    server, ca, _ = chain()

    assert status(Lists(ca=make_crl(ca, [server]))) is Status.REVOKED


def test_a_listed_ca_revokes_what_it_issued_also_where_its_own_list_cannot_be_had() -> None:
    _, ca, root = chain()

    assert status(Lists(root=make_crl(root, [ca]))) is Status.REVOKED
    assert status(Lists(root=make_crl(root, [ca]), ca=None)) is Status.REVOKED


def test_one_missing_list_leaves_the_state_unknown() -> None:
    assert status(Lists(ca=None)) is Status.UNKNOWN
    assert status(Lists(root=None)) is Status.UNKNOWN


def test_a_certificate_on_hold_is_revoked() -> None:
    server, *_ = chain()
    held = (
        x509.RevokedCertificateBuilder()
        .serial_number(server.certificate.serial_number)
        .revocation_date(NOW - timedelta(hours=2))
        .add_extension(x509.CRLReason(x509.ReasonFlags.certificate_hold), critical=False)
        .build()
    )

    assert status(Lists(ca=of_ca(lambda builder: builder.add_revoked_certificate(held)))) is Status.REVOKED


def test_a_list_may_come_as_text() -> None:
    _, ca, _ = chain()
    text = x509.load_der_x509_crl(make_crl(ca)).public_bytes(Encoding.PEM)

    assert status(Lists(ca=b"\n" + text)) is Status.GOOD


def test_of_a_chain_that_nobody_showed_nothing_is_known() -> None:
    assert Revocation().status([], Lists(), NOW) is Status.UNKNOWN


def test_of_the_anchor_itself_nothing_is_asked() -> None:
    lists = Lists()

    assert Revocation().status([chain()[2].der], lists, NOW) is Status.GOOD
    assert lists.asked == []


# ---------------------------------------------------------------- which lists count


def test_a_list_counts_that_somebody_else_signed_for_nobody() -> None:
    _, _, root = chain()

    assert status(Lists(ca=of_ca(signer=root))) is Status.UNKNOWN
    assert status(Lists(ca=make_crl(make_ca("AUTRE")))) is Status.UNKNOWN
    assert status(Lists(ca=make_crl(root))) is Status.UNKNOWN  # good, and not this CA's


def test_a_list_counts_only_from_a_ca_that_may_sign_lists() -> None:
    server, ca, _ = chain()

    def changed(**usage: bool) -> bytes:
        known, wanted = ca.certificate, x509.KeyUsage(**{name: usage.get(name, False) for name in USAGES})
        builder = (
            x509.CertificateBuilder()
            .subject_name(known.subject)
            .issuer_name(known.issuer)
            .public_key(known.public_key())
            .serial_number(known.serial_number)
            .not_valid_before(known.not_valid_before_utc)
            .not_valid_after(known.not_valid_after_utc)
            .add_extension(wanted, critical=True)
        )
        return builder.sign(ca.key, SHA256()).public_bytes(Encoding.DER)

    assert Revocation().status([server.der, changed(key_cert_sign=True)], Lists(), NOW) is Status.UNKNOWN
    assert Revocation().status([server.der, changed(key_cert_sign=True, crl_sign=True)], Lists(), NOW) is Status.GOOD


USAGES = [
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({"until": NOW}, Status.UNKNOWN),
        ({"until": NOW + timedelta(seconds=1)}, Status.GOOD),
        ({"since": NOW + timedelta(minutes=4)}, Status.GOOD),  # two clocks
        ({"since": NOW + timedelta(minutes=6)}, Status.UNKNOWN),
    ],
)
def test_a_list_counts_within_its_dates(dates: dict[str, datetime], expected: Status) -> None:
    assert status(Lists(ca=of_ca(**dates))) is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_extension(x509.DeltaCRLIndicator(1)), Status.UNKNOWN),
        (with_extension(x509.DeltaCRLIndicator(1), critical=False), Status.UNKNOWN),
        (with_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")), Status.UNKNOWN),
        (with_extension(x509.CRLNumber(7), critical=False), Status.GOOD),
        (scope(indirect_crl=True), Status.UNKNOWN),
        (scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise])), Status.UNKNOWN),
        (scope(only_contains_attribute_certs=True), Status.UNKNOWN),
        (scope(only_contains_ca_certs=True), Status.UNKNOWN),
        (scope(only_contains_user_certs=True), Status.GOOD),
        (scope(full_name=names(CA_LIST)), Status.GOOD),
        (scope(full_name=names("ldap://x/", CA_LIST)), Status.GOOD),
        (scope(full_name=names(ROOT_LIST)), Status.UNKNOWN),  # another part of the CA's lists
    ],
)
def test_a_part_of_a_list_proves_nothing(change: Change, expected: Status) -> None:
    assert status(Lists(ca=of_ca(change))) is expected


def test_a_list_of_users_says_nothing_of_a_ca() -> None:
    _, _, root = chain()
    of_users = scope(only_contains_user_certs=True)(
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(NOW - timedelta(hours=1))
        .next_update(NOW + timedelta(days=7))
    ).sign(root.key, SHA256())

    assert status(Lists(root=of_users.public_bytes(Encoding.DER))) is Status.UNKNOWN


def point(*addresses: str, **about: Any) -> x509.DistributionPoint:
    return x509.DistributionPoint(names(*addresses), None, about.get("reasons"), about.get("crl_issuer"))


@cache
def server_with(*points: x509.DistributionPoint) -> Issued:
    """A server whose lists are at these points; it has the key of the other one."""
    server, ca, _ = chain()
    known = server.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(known.subject)
        .issuer_name(known.issuer)
        .public_key(known.public_key())
        .serial_number(known.serial_number + 1)
        .not_valid_before(known.not_valid_before_utc)
        .not_valid_after(known.not_valid_after_utc)
    )
    if points:
        builder = builder.add_extension(x509.CRLDistributionPoints(points), critical=False)
    return Issued(builder.sign(ca.key, SHA256()), server.key)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ((), Status.UNKNOWN),
        ((point("ldap://annuaire.example/cn=x"),), Status.UNKNOWN),
        ((point("https://listes.example/x"),), Status.UNKNOWN),
        ((point("ldap://annuaire.example/cn=x", CA_LIST),), Status.GOOD),
        ((point("ldap://annuaire.example/cn=x"), point(CA_LIST)), Status.GOOD),
        ((point(CA_LIST, reasons=frozenset([x509.ReasonFlags.superseded])),), Status.UNKNOWN),
        ((point(CA_LIST, crl_issuer=[x509.DirectoryName(x509.Name([]))]),), Status.UNKNOWN),
    ],
)
def test_lists_are_asked_for_over_http_where_the_certificate_says(
    points: tuple[x509.DistributionPoint, ...], expected: Status
) -> None:
    assert status(Lists(), server=server_with(*points)) is expected


def test_the_second_address_serves_where_the_first_does_not() -> None:
    lists = Lists()
    lists.at["http://listes.example/perdue"] = None

    assert status(lists, server=server_with(point("http://listes.example/perdue", CA_LIST))) is Status.GOOD


# ---------------------------------------------------------------- for how long


def test_a_list_is_asked_for_once_until_it_ends_and_at_least_once_a_day() -> None:
    _, _, root = chain()
    short, lists, known = NOW + timedelta(hours=2), Lists(), Revocation()
    lists.at = {CA_LIST: of_ca(until=short), ROOT_LIST: make_crl(root)}

    def asked(now: datetime) -> list[str]:
        lists.asked.clear()
        known.status(ders(chain()), lists, now)
        return lists.asked

    assert sorted(asked(NOW)) == [CA_LIST, ROOT_LIST]
    assert asked(NOW + timedelta(hours=1)) == []
    assert asked(short) == [CA_LIST]
    assert ROOT_LIST not in asked(NOW + LONGEST - timedelta(seconds=1))
    assert ROOT_LIST in asked(NOW + LONGEST)


def test_a_list_that_could_not_be_had_is_not_asked_for_at_each_call() -> None:
    server, ca, _ = chain()
    lists, known = Lists(ca=None), Revocation()

    assert known.status(ders(chain()), lists, NOW) is Status.UNKNOWN
    lists.at[CA_LIST] = make_crl(ca, [server])
    assert known.status(ders(chain()), lists, NOW + AGAIN - timedelta(seconds=1)) is Status.UNKNOWN
    assert lists.asked.count(CA_LIST) == 1
    assert known.status(ders(chain()), lists, NOW + AGAIN) is Status.REVOKED


def test_a_clock_that_was_set_back_makes_no_list_last_longer() -> None:
    lists, known = Lists(ca=of_ca(since=NOW - timedelta(days=9), until=NOW + timedelta(days=9))), Revocation()

    known.status(ders(chain()), lists, NOW)
    known.status(ders(chain()), lists, NOW - timedelta(days=2))

    assert lists.asked.count(CA_LIST) == 2


# ---------------------------------------------------------------- whatever comes


def of_no_version(whole: bytes, version: str) -> bytes:
    """The same list or certificate, of a version that there is not: one byte is another one."""
    known = bytes.fromhex(version)
    assert whole.find(known) in range(4, 12)
    return whole.replace(known, known[:-1] + b"\x09", 1)


def test_a_list_of_an_unknown_version_proves_nothing() -> None:
    """It comes over plain http: who changes one byte must not end the call."""
    whole = of_ca()

    assert status(Lists(ca=whole)) is Status.GOOD
    assert status(Lists(ca=of_no_version(whole, "020101"))) is Status.UNKNOWN


def test_a_certificate_of_an_unknown_version_proves_nothing() -> None:
    server, ca, _ = (of_no_version(one.der, "a003020102") for one in chain())

    assert Revocation().status([server, chain()[1].der], Lists(), NOW) is Status.UNKNOWN
    assert Revocation().status([chain()[0].der, ca], Lists(), NOW) is Status.UNKNOWN


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_list_proves_nothing(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([of_ca(), of_ca(scope(only_contains_user_certs=True))]))
    start = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:start] + data.draw(st.binary(max_size=8)) + whole[start + data.draw(st.integers(0, 8)) :]

    assert status(Lists(ca=damaged)) is (Status.GOOD if damaged == whole else Status.UNKNOWN)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_whatever_comes_in_the_place_of_a_list_or_a_certificate_is_unknown(content: bytes) -> None:
    assert status(Lists(ca=content)) is Status.UNKNOWN
    assert status(Lists(ca=b"-----BEGIN X509 CRL-----\n" + content)) is Status.UNKNOWN
    assert Revocation().status([content, chain()[1].der], Lists(), NOW) is Status.UNKNOWN


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_certificate_never_raises(data: st.DataObject) -> None:
    whole = chain()[0].der
    start = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:start] + data.draw(st.binary(min_size=1, max_size=4)) + whole[start + 1 :]

    lists = Lists()
    fetched: list[str] = []

    def fetch(address: str) -> bytes | None:
        fetched.append(address)
        return lists.at.get(address)

    assert Revocation().status([damaged, chain()[1].der], fetch, NOW) in Status
