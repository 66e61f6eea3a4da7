"""As whom INSi is called: the mode that a page asks for, its software's certificate, the words of the assertion."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from agent.errors import CATALOGUE, AgentError, Code
from agent.insi.operations import Operation
from agent.model import AuthMode, Environment, TracedResult
from agent.options import SIMULATED_AUTHORISATION
from agent.protocol.messages import HelloParams, Notice, RetrieveByTraitsParams
from agent.signing.certificate_files import CertificateFiles
from agent.signing.structures import Purpose
from agent.simulator.pki import Issued, issue_organisation, make_ca, p12
from agent.workflows import greeting
from agent.workflows.credentials import Credentials, credentials
from tests.workflows.making import DOCTOR, OTHER, SITE, TOUSSAINT, Bench

HOSPITAL, CLINIC = "10B0990001", "10B0990002"
PASSPHRASE = b"une-phrase-de-test"
USER = {"id": "accueil-3"}
ASSERTED = "{urn:oasis:names:tc:SAML:2.0:assertion}Attribute"


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca()


class Files:
    """The certificates of a test's workstation, and how often a passphrase was asked for."""

    def __init__(self, folder: Path, ca: Issued) -> None:
        self._folder, self._ca = folder, ca
        self.files: list[Path] = []
        self.asked = 0

    def add(self, **made: Any) -> Issued:
        file = self._folder / f"{len(self.files)}.p12"
        issued = issue_organisation(self._ca, **made)
        file.write_bytes(p12(issued, PASSPHRASE))
        self.files.append(file)
        return issued

    def add_damaged(self) -> None:
        self.files.append(self._folder / f"{len(self.files)}.p12")
        self.files[-1].write_bytes(b"damaged")

    def opened(self) -> CertificateFiles:
        return CertificateFiles(lambda: self.files, self._passphrase)

    def _passphrase(self, _file: Path) -> bytes:
        self.asked += 1
        return PASSPHRASE


@pytest.fixture
def files(bench: Bench, tmp_path: Path, ca: Issued) -> Files:
    """A workstation outside the simulator, with two sites: one of the hospital, one that names no structure."""
    made = Files(tmp_path, ca)
    bench.desk.certificates = made.opened()
    bench.desk.environment = Environment.TEST
    row = {"version": "1", "authorisation": {"test": SIMULATED_AUTHORISATION}}
    bench.configure(
        software=[
            {**row, "name": "Dossier", "origins": [SITE], "structure": HOSPITAL},
            {**row, "name": "Agenda", "origins": [OTHER]},
        ],
        organisation={"certificates": ["/configured.p12"]},
    )
    return made


def by_certificate(bench: Bench, origin: str = SITE) -> TracedResult:
    return bench.do(bench.by_traits(origin, authMode="organisation", user=USER))


def refused_by_certificate(bench: Bench, origin: str = SITE) -> AgentError:
    return bench.refused(bench.by_traits(origin, authMode="organisation", user=USER))


def modes(bench: Bench, origin: str) -> list[str]:
    params = HelloParams.model_validate({"apiLevels": [1], "client": {"name": "t", "version": "1"}})
    return bench.do(greeting.hello(bench.desk, bench.asker(origin), params)).auth_modes


def emitters(bench: Bench) -> list[str | None]:
    """What both contexts of the last message say of who sends it."""
    root = etree.fromstring(bench.insi.received[-1])
    return [element.text for element in root.iter("{*}Emetteur")]


def nothing_happened(bench: Bench) -> bool:
    return not bench.person.questions and not bench.insi.received and not bench.slot.calls


# ---------------------------------------------------------------- the mode


def test_pro_sante_connect_is_an_open_mode_that_is_refused_by_its_name(bench: Bench) -> None:
    """How INSi trusts its unsigned assertion is not public."""
    assert bench.refused(bench.by_traits(authMode="psc")).code is Code.AUTH_MODE_PSC
    assert nothing_happened(bench)


def test_another_mode_is_refused_with_those_that_hello_told(bench: Bench, files: Files) -> None:
    files.add(structure_id=CLINIC)
    bench.do(bench.desk.organisations())

    refusals = {origin: bench.refused(bench.by_traits(origin, authMode="eidas")) for origin in (SITE, OTHER)}

    assert {one.code for one in refusals.values()} == {Code.AUTH_MODE_UNAVAILABLE}
    for origin, refusal in refusals.items():
        assert refusal.facts == {"available": modes(bench, origin)}
    assert (modes(bench, SITE), modes(bench, OTHER)) == (["cpx"], ["cpx", "organisation"])
    assert nothing_happened(bench)


def test_without_a_mode_the_card_is_used(bench: Bench) -> None:
    assert bench.do(bench.by_traits()).trace.auth_mode is AuthMode.CPX


def test_the_window_says_what_the_code_is_for(bench: Bench) -> None:
    bench.do(bench.by_traits())
    bench.do(bench.lock())
    bench.do(bench.verify())

    told = [question.operation for question in bench.person.questions]
    assert told == ["Rechercher l'INS d'un patient", "Vérifier l'INS d'un patient"]


# ---------------------------------------------------------------- the certificate


def test_the_softwares_structure_says_which_certificate_is_used_and_the_trace_says_which_it_was(
    bench: Bench, files: Files
) -> None:
    """S112, S113: Emetteur and structure are the OU of the certificate."""
    files.add(structure_id=CLINIC)
    files.add(structure_id=HOSPITAL)
    files.add(structure_id=HOSPITAL, common_name="INSI-AUTO")

    trace = by_certificate(bench).trace

    assert (trace.structure, trace.certificate, trace.professional) == (HOSPITAL, "INSI-MANU", None)
    assert emitters(bench) == [HOSPITAL, HOSPITAL]
    assert b"Assertion" not in bench.insi.received[-1]


def test_the_one_that_is_there_does_for_the_other(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL, common_name="INSI-AUTO")

    assert by_certificate(bench).trace.certificate == "INSI-AUTO"


@pytest.mark.parametrize(("purpose", "name"), [(Purpose.PERSON, "INSI-MANU"), (Purpose.AUTOMATIC, "INSI-AUTO")])
def test_the_message_goes_as_the_certificate_that_is_made_for_its_purpose(
    bench: Bench, files: Files, purpose: Purpose, name: str
) -> None:
    issued = {name: files.add(structure_id=HOSPITAL, common_name=name) for name in ("INSI-AUTO", "INSI-MANU")}

    async def held() -> Credentials:
        params = RetrieveByTraitsParams.model_validate({"traits": TOUSSAINT, "user": USER})
        asker, mode = bench.asker(), AuthMode.ORGANISATION
        async with credentials(bench.desk, asker, params, mode, Operation.DEPOSIT, purpose=purpose) as who:
            return who

    who = bench.do(held())

    assert (who.mode, who.certificate, who.structure) == (AuthMode.ORGANISATION, name, HOSPITAL)
    assert bench.desk.certificates.of(who.sender.certificate or "").chain_pem == issued[name].pem


@pytest.mark.parametrize("origin", [SITE, OTHER])
def test_a_structure_without_certificate_and_several_without_a_name_are_refused_with_those_there_are(
    bench: Bench, files: Files, origin: str
) -> None:
    files.add(structure_id=CLINIC)
    files.add(structure_id="10B0990003")

    refusal = refused_by_certificate(bench, origin)

    assert (refusal.code, refusal.facts) == (Code.CERTIFICATE_STRUCTURE, {"structures": [CLINIC, "10B0990003"]})
    assert nothing_happened(bench)


def test_a_damaged_file_keeps_no_structure_that_is_named_from_calling_and_is_a_warning(
    bench: Bench, files: Files
) -> None:
    files.add_damaged()
    files.add(structure_id=HOSPITAL)

    assert by_certificate(bench).code == "00"
    assert [notice.reason for notice in greeting.notices(bench.desk)] == ["certificate.unreadable"]


def test_software_that_names_no_structure_does_not_call_as_the_one_that_is_left(bench: Bench, files: Files) -> None:
    files.add_damaged()
    files.add(structure_id=HOSPITAL)

    assert refused_by_certificate(bench, OTHER).code is Code.CERTIFICATE_UNREADABLE
    assert nothing_happened(bench)


def test_a_certificate_of_the_other_environment_is_refused_before_anything_is_sent(bench: Bench, files: Files) -> None:
    """The client's certificate is judged, never the server's chain."""
    files.add(structure_id=HOSPITAL, mark=0x03)

    refusal = refused_by_certificate(bench)

    assert (refusal.code, refusal.facts) == (Code.CERTIFICATE_ENVIRONMENT, {"certificate": "production"})
    assert nothing_happened(bench)


def test_a_certificate_whose_time_has_not_come_is_refused_before_anything_is_sent(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL, not_before=bench.clock() + timedelta(1))

    assert refused_by_certificate(bench).code is Code.CERTIFICATE_NOT_YET_VALID
    assert nothing_happened(bench)


def test_a_certificate_without_structure_names_no_emitter_and_says_so(bench: Bench, files: Files) -> None:
    files.add(structure_id=None)

    result = by_certificate(bench, OTHER)

    assert (result.trace.structure, emitters(bench)) == (None, [])
    assert {"certificate.structureMissing", "certificate.issuerUnknown"} <= set(result.warnings)
    assert refused_by_certificate(bench, SITE).code is Code.CERTIFICATE_STRUCTURE


def test_an_issuer_of_the_settings_is_no_warning(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL)
    (opened,) = bench.do(bench.desk.organisations())
    assert "certificate.issuerUnknown" in by_certificate(bench).warnings

    issuer = opened.found.issuer  # type: ignore[union-attr]  # it opens
    organisation = bench.settings.organisation.model_copy(update={"issuers": [issuer]})
    bench.settings = bench.settings.model_copy(update={"organisation": organisation})

    assert "certificate.issuerUnknown" not in by_certificate(bench).warnings


def test_the_keyring_is_asked_once_for_all_calls(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL)

    by_certificate(bench)
    by_certificate(bench)

    assert files.asked == 1


# ---------------------------------------------------------------- what hello tells


def test_hello_offers_the_certificate_to_those_whose_structure_has_one(bench: Bench, files: Files) -> None:
    """Before they are opened nobody knows of which structures they are."""
    files.add(structure_id=CLINIC)
    both = ["cpx", "organisation"]

    before = modes(bench, SITE), modes(bench, OTHER)
    bench.do(bench.desk.organisations())
    one = modes(bench, SITE), modes(bench, OTHER)
    files.add(structure_id=HOSPITAL)
    bench.do(bench.desk.organisations())
    two = modes(bench, SITE), modes(bench, OTHER)

    assert (before, one, two) == ((both, both), (["cpx"], both), (both, ["cpx"]))


def test_a_certificate_that_ended_is_still_offered_so_that_a_call_can_say_so(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL, not_after=bench.clock() - timedelta(1))
    bench.do(bench.desk.organisations())

    assert modes(bench, SITE) == ["cpx", "organisation"]
    assert refused_by_certificate(bench).code is Code.CERTIFICATE_EXPIRED


# ---------------------------------------------------------------- what ends soon


def warned(bench: Bench) -> list[Notice]:
    bench.do(bench.desk.organisations())
    return greeting.notices(bench.desk)


@pytest.mark.parametrize(("days", "told"), [(91, False), (90, True), (30, True), (7, True), (0, True)])
def test_the_end_of_a_certificate_is_told_ninety_days_before(bench: Bench, files: Files, days: int, told: bool) -> None:
    """S015."""
    ends = bench.clock() + timedelta(days=days, minutes=1)
    files.add(structure_id=HOSPITAL, not_after=ends)
    bench.desk.card_not_after = ends

    notices = warned(bench)

    assert [notice.reason for notice in notices] == (["cpx.expires", "certificate.expires"] if told else [])
    assert all(notice.facts["daysLeft"] == days for notice in notices)


def test_each_certificate_has_its_own_warning_which_names_no_structure(bench: Bench, files: Files) -> None:
    soon: list[datetime] = [bench.clock() + timedelta(days=days, hours=1) for days in (5, 20, 80)]
    files.add(structure_id=HOSPITAL, not_after=soon[0])
    files.add(structure_id=HOSPITAL, not_after=soon[1], common_name="INSI-AUTO")
    files.add(structure_id=CLINIC, not_after=soon[2])
    files.add(structure_id=CLINIC, common_name="INSI-AUTO")

    notices = warned(bench)

    assert [(notice.facts["certificate"], notice.facts["daysLeft"]) for notice in notices] == [
        ("INSI-MANU", 5),
        ("INSI-AUTO", 20),
        ("INSI-MANU", 80),
    ]
    assert notices[1].message["fr"].startswith("Le certificat INSI-AUTO de la structure expire dans 20 jours : ")
    assert not [number for number in (HOSPITAL, CLINIC) for notice in notices if number in str(notice)]


def test_what_has_ended_is_said_to_have_ended(bench: Bench, files: Files) -> None:
    files.add(structure_id=HOSPITAL, not_after=bench.clock() - timedelta(hours=1))
    files.add(structure_id=CLINIC, not_before=bench.clock() + timedelta(1))
    bench.desk.card_not_after = bench.clock() - timedelta(hours=1)

    notices = warned(bench)

    codes = [Code.CPX_EXPIRED, Code.CERTIFICATE_EXPIRED, Code.CERTIFICATE_NOT_YET_VALID]
    assert [notice.reason for notice in notices] == codes
    assert [notice.message["fr"] for notice in notices] == [CATALOGUE[code].title.fr for code in codes]


# ---------------------------------------------------------------- the assertion


def test_the_assertion_has_the_names_and_the_issuer_of_the_settings(bench: Bench) -> None:
    """Unchanged by default; an editor who learns better changes a setting."""
    bench.do(bench.by_traits())
    usual = etree.fromstring(bench.insi.received[-1])
    bench.configure(
        cpx={
            "billing_attribute": "IdFacturation",
            "sector_attribute": "Secteur",
            "speciality_attribute": "codeSpecialite",
            "issuer_format": "dotnet",
            "billing_ids": [{"professional": DOCTOR, "value": "990000017"}],
        }
    )
    bench.clock.forward(minutes=5)
    bench.refused(bench.by_traits())  # the simulator misses the names that it knows
    changed = etree.fromstring(bench.insi.received[-1])

    names = [[one.get("Name") for one in root.iter(ASSERTED)] for root in (usual, changed)]
    issuers = [root.find(".//{*}Assertion/{*}Issuer").text for root in (usual, changed)]
    assert names == [
        ["identifiantFacturation", "codeSpecialiteAMO", "secteurActivite"],
        ["IdFacturation", "codeSpecialite", "Secteur"],
    ]
    assert issuers == [
        "SN=EXEMPLE+2.5.4.42=CAMILLE+CN=899900000017,T=Médecin,C=FR",
        "SN=EXEMPLE + G=CAMILLE + CN=899900000017, T=Médecin, C=FR",
    ]
