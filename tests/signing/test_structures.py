"""Several certificates on one workstation: each opened by itself, and which of them a call uses."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.model import Environment
from agent.signing.certificate_files import CertificateFiles, secret_name
from agent.signing.organisation import OrganisationCertificate
from agent.signing.structures import Opened, Purpose, choose
from agent.simulator.pki import Issued, issue_organisation, p12

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HOSPITAL, CLINIC = "10B0990001", "10B0990002"


def certificate(
    structure: str | None = HOSPITAL,
    name: str = "INSI-MANU",
    mark: str = "test",
    *,
    since: datetime = NOW - timedelta(100),
    until: datetime = NOW + timedelta(100),
) -> OrganisationCertificate:
    """An open one; nothing here looks at its key or chain."""
    return OrganisationCertificate(
        common_name=name,
        structure=structure,
        organisation="STRUCTURE FICTIVE",
        environment=mark,  # type: ignore[arg-type]  # one of Mark
        not_before=since,
        not_after=until,
        issuer="AC",
        fingerprint=f"{structure}/{name}/{mark}/{until:%Y%m%d}",
        _chain=(),
        _key=None,  # type: ignore[arg-type]  # never asked for
    )


def of(found: Sequence[OrganisationCertificate | AgentError]) -> list[Opened]:
    return [Opened(Path(f"{number}.p12"), one) for number, one in enumerate(found)]


def chosen(
    *found: OrganisationCertificate | AgentError,
    structure: str | None = None,
    purpose: Purpose = Purpose.PERSON,
    environment: Environment = Environment.TEST,
) -> OrganisationCertificate:
    return choose(of(found), structure=structure, purpose=purpose, environment=environment, now=NOW)


def refused(*found: OrganisationCertificate | AgentError, structure: str | None = None) -> AgentError:
    with pytest.raises(AgentError) as refusal:
        chosen(*found, structure=structure)
    return refusal.value


# ---------------------------------------------------------------- which one


def test_the_softwares_structure_selects_by_the_ou() -> None:
    hospital, clinic = certificate(HOSPITAL), certificate(CLINIC)

    assert chosen(hospital, clinic, structure=CLINIC) is clinic
    assert chosen(hospital, clinic, structure=HOSPITAL) is hospital


def test_without_a_structure_it_is_the_only_one_there_is() -> None:
    manual, automatic = certificate(), certificate(name="INSI-AUTO")

    assert chosen(manual, automatic) is manual
    assert chosen(certificate(None)).structure is None


@pytest.mark.parametrize("structure", [None, "10B0990009"])
def test_several_structures_and_none_named_or_another_one_is_refused_with_those_there_are(
    structure: str | None,
) -> None:
    refusal = refused(certificate(HOSPITAL), certificate(CLINIC), certificate(None), structure=structure)

    assert (refusal.code, refusal.facts) == (Code.CERTIFICATE_STRUCTURE, {"structures": [HOSPITAL, CLINIC]})


@pytest.mark.parametrize(("purpose", "name"), [(Purpose.PERSON, "INSI-MANU"), (Purpose.AUTOMATIC, "INSI-AUTO")])
def test_a_persons_call_uses_the_manual_one_and_what_nobody_makes_the_automatic_one(
    purpose: Purpose, name: str
) -> None:
    manual, automatic = certificate(), certificate(name="INSI-AUTO")

    assert chosen(automatic, manual, purpose=purpose).common_name == name
    assert chosen(manual, automatic, purpose=purpose).common_name == name


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("name", ["INSI-MANU", "INSI-AUTO"])
def test_each_does_for_the_other_that_is_not_there(purpose: Purpose, name: str) -> None:
    assert chosen(certificate(name=name), purpose=purpose).common_name == name


@pytest.mark.parametrize("purpose", Purpose)
def test_another_structures_certificate_never_does(purpose: Purpose) -> None:
    """An INSI-AUTO of the clinic is none for the hospital."""
    hospital, clinic = certificate(HOSPITAL), certificate(CLINIC, "INSI-AUTO")

    assert chosen(hospital, clinic, structure=HOSPITAL, purpose=purpose) is hospital


def test_a_renewal_beside_the_old_one_takes_over_when_its_time_has_come() -> None:
    old = certificate(until=NOW + timedelta(10))
    new, future = certificate(until=NOW + timedelta(1000)), certificate(since=NOW + timedelta(5))

    assert chosen(old, new) is new
    assert chosen(old, future) is old
    assert chosen(certificate(until=NOW - timedelta(1)), certificate(name="INSI-AUTO")).common_name == "INSI-AUTO"


def test_test_and_production_certificates_may_lie_side_by_side() -> None:
    """Each environment finds its own, also where they are of several structures."""
    test, production = certificate(HOSPITAL), certificate(CLINIC, mark="production")

    assert chosen(test, production) is test
    assert chosen(test, production, environment=Environment.PRODUCTION) is production


@pytest.mark.parametrize(
    ("alone", "code"),
    [
        (certificate(mark="production"), Code.CERTIFICATE_ENVIRONMENT),
        (certificate(until=NOW - timedelta(1)), Code.CERTIFICATE_EXPIRED),
        (certificate(since=NOW + timedelta(1)), Code.CERTIFICATE_NOT_YET_VALID),
    ],
)
def test_the_only_one_says_why_it_cannot_be_used(alone: OrganisationCertificate, code: Code) -> None:
    assert refused(alone).code is code
    assert refused(alone, certificate(CLINIC), structure=HOSPITAL).code is code


def test_a_damaged_file_hides_no_structure_that_is_named_but_may_be_the_one_that_is_missing() -> None:
    damaged, hospital = AgentError(Code.CERTIFICATE_UNREADABLE, "ValueError"), certificate(HOSPITAL)

    assert chosen(damaged, hospital, structure=HOSPITAL) is hospital
    assert refused(damaged, hospital, structure=CLINIC).code is Code.CERTIFICATE_UNREADABLE
    assert refused(damaged).code is Code.CERTIFICATE_UNREADABLE
    assert refused().code is Code.CERTIFICATE_MISSING


@pytest.mark.parametrize("why", [Code.CERTIFICATE_UNREADABLE, Code.CERTIFICATE_MISSING, Code.KEYRING_ABSENT])
def test_where_no_structure_is_named_a_file_that_does_not_open_leaves_none_the_only_one(why: Code) -> None:
    """It may be the other structure's, that a call would else go out as."""
    closed, hospital = AgentError(why), certificate(HOSPITAL)

    assert refused(closed, hospital).code is refused(hospital, closed).code is why
    assert refused(closed, hospital, certificate(CLINIC)).code is Code.CERTIFICATE_STRUCTURE


def test_what_is_raised_again_is_not_what_was_kept() -> None:
    """Whoever catches it may add facts to it."""
    damaged = AgentError(Code.CERTIFICATE_UNREADABLE, "ValueError")

    refused(damaged).facts["traceId"] = "1"

    assert (damaged.facts, damaged.__traceback__) == ({}, None)


_ANY = st.builds(
    certificate,
    st.sampled_from([HOSPITAL, CLINIC, None]),
    st.sampled_from(["INSI-MANU", "INSI-AUTO"]),
    st.sampled_from(["test", "production", "unknown"]),
    since=st.sampled_from([NOW - timedelta(10), NOW + timedelta(10)]),
    until=st.sampled_from([NOW - timedelta(1), NOW + timedelta(20)]),
)


@given(
    whole=st.lists(_ANY, max_size=5),
    closed=st.sets(st.integers(0, 4), max_size=2),
    structure=st.sampled_from([None, HOSPITAL, CLINIC]),
    purpose=st.sampled_from(Purpose),
    environment=st.sampled_from(Environment),
)
def test_no_call_ever_goes_out_under_another_structure_environment_or_date(
    whole: list[OrganisationCertificate],
    closed: set[int],
    structure: str | None,
    purpose: Purpose,
    environment: Environment,
) -> None:
    """Whatever the files hold that do not open."""

    def serves(one: OrganisationCertificate) -> bool:
        return one.environment == "unknown" or (one.environment == "production") == (environment == "production")

    found = [AgentError(Code.KEYRING_ABSENT) if at in closed else one for at, one in enumerate(whole)]
    try:
        chosen_one = chosen(*found, structure=structure, purpose=purpose, environment=environment)
    except AgentError:
        return
    meant = {structure} if structure else {one.structure for one in whole if serves(one)}
    assert meant == {chosen_one.structure}
    assert chosen_one.not_before <= NOW <= chosen_one.not_after
    assert serves(chosen_one)


# ---------------------------------------------------------------- the files


class Keyring:
    """Passphrases by file, and how often each was asked for."""

    def __init__(self, **passphrases: bytes) -> None:
        self.passphrases, self.asked = passphrases, list[str]()
        self.locked = False

    def __call__(self, file: Path) -> bytes | None:
        self.asked.append(file.stem)
        if self.locked:
            raise AgentError(Code.KEYRING_ABSENT)
        return self.passphrases.get(file.stem)


def written(file: Path, issued: Issued, passphrase: bytes) -> Path:
    file.write_bytes(p12(issued, passphrase))
    return file


def shown(opened: Sequence[Opened]) -> list[str]:
    return [
        one.found.code.value if isinstance(one.found, AgentError) else f"{one.found.common_name} {one.found.structure}"
        for one in opened
    ]


def test_each_file_opens_with_its_own_passphrase_and_one_that_does_not_hides_no_other(
    ca: Issued, tmp_path: Path
) -> None:
    files = [
        written(tmp_path / "first.p12", issue_organisation(ca, structure_id=HOSPITAL), b"un"),
        tmp_path / "absent.p12",
        written(tmp_path / "forgotten.p12", issue_organisation(ca), b"?"),
        written(tmp_path / "wrong.p12", issue_organisation(ca), b"autre"),
        written(tmp_path / "other.p12", issue_organisation(ca, common_name="DMP-MANU"), b"trois"),
        written(tmp_path / "last.p12", issue_organisation(ca, structure_id=CLINIC, common_name="INSI-AUTO"), b"deux"),
    ]
    keyring = Keyring(first=b"un", last=b"deux", wrong=b"faux", other=b"trois")

    opened = CertificateFiles(lambda: files, keyring).open()

    assert [one.file for one in opened] == files
    assert shown(opened) == [
        f"INSI-MANU {HOSPITAL}",
        "certificate.missing",
        "certificate.unreadable",
        "certificate.unreadable",
        "certificate.notInsi",
        f"INSI-AUTO {CLINIC}",
    ]


def test_a_file_is_opened_once_and_what_failed_is_tried_again(ca: Issued, tmp_path: Path) -> None:
    files = [written(tmp_path / f"{name}.p12", issue_organisation(ca), b"un") for name in ("good", "late")]
    keyring = Keyring(good=b"un")
    certificates = CertificateFiles(lambda: files, keyring)

    assert shown(certificates.open()) == ["INSI-MANU 10B0999999", "certificate.unreadable"]
    keyring.passphrases["late"] = b"un"
    assert shown(certificates.open()) == ["INSI-MANU 10B0999999"] * 2
    keyring.locked = True
    assert shown(certificates.open()) == ["INSI-MANU 10B0999999"] * 2
    assert keyring.asked == ["good", "late", "late"]


def test_a_renewed_file_under_the_same_path_is_opened_with_the_passphrase_enrolled_for_it(
    ca: Issued, tmp_path: Path
) -> None:
    """ANS delivers the renewal with a passphrase of its own."""
    file = written(tmp_path / "structure.p12", issue_organisation(ca), b"ancienne")
    keyring = Keyring(structure=b"ancienne")
    certificates = CertificateFiles(lambda: [file], keyring)
    (before,) = certificates.open()

    written(file, issue_organisation(ca, common_name="INSI-AUTO"), b"une plus longue")
    assert shown(certificates.open()) == ["certificate.unreadable"]
    keyring.passphrases["structure"] = b"une plus longue"
    (after,) = certificates.open()

    assert isinstance(before.found, OrganisationCertificate) and isinstance(after.found, OrganisationCertificate)
    assert (before.found.common_name, after.found.common_name) == ("INSI-MANU", "INSI-AUTO")
    assert certificates.of(after.found.fingerprint) is after.found
    with pytest.raises(AgentError) as gone:
        certificates.of(before.found.fingerprint)
    assert gone.value.code is Code.CERTIFICATE_MISSING


def test_a_keyring_that_is_not_there_is_said_of_each_file(ca: Issued, tmp_path: Path) -> None:
    files = [written(tmp_path / f"{name}.p12", issue_organisation(ca), b"un") for name in ("a", "b")]
    keyring = Keyring()
    keyring.locked = True

    assert shown(CertificateFiles(lambda: files, keyring).open()) == ["keyring.absent"] * 2


def test_the_secrets_name_is_the_places_alone_and_tells_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "camille.exemple" / "structure.p12"

    name = secret_name(place)

    assert name == secret_name(Path("camille.exemple/./structure.p12")) == secret_name(place)
    assert name != secret_name(place.with_name("autre.p12"))
    assert name.startswith("organisation-")
    assert "camille" not in name
    assert "structure" not in name
