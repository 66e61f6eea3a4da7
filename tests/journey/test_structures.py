"""Two structures on one workstation, for real: keyring, mutual TLS with each one's certificate, a renewal at run time.

INSi trusts the hospital's authority alone: which certificate arrives there is seen by who is let in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.simulator.pki import Issued, issue_organisation, make_ca, p12
from tests.parts.agent import Site
from tests.parts.desktop import until
from tests.parts.organisation import CALL, agent_before, insi_of

HOSPITAL, CLINIC = "10B0990001", "10B0990002"
OF_HOSPITAL, OF_CLINIC, OF_NOBODY = (f"https://{name}.example" for name in ("hopital", "clinique", "agenda"))
CONFIG = """
environment = "test"
origins.allowed = [{{ origin = "{hospital}" }}, {{ origin = "{clinic}" }}, {{ origin = "{nobody}" }}]
software = [
    {{ name = "H", version = "1", origins = ["{hospital}"], structure = "10B0990001", authorisation = {number} }},
    {{ name = "C", version = "1", origins = ["{clinic}"], structure = "10B0990002", authorisation = {number} }},
    {{ name = "A", version = "1", origins = ["{nobody}"], authorisation = {number} }},
]
[organisation]
certificates = ["{folder}/hospital.p12", "{folder}/clinic.p12"]
"""
# The person enrols each passphrase, the agent starts; when the file "renewed" comes, the person enrols once more.
START = """
enrol() { printf '%s\\n' "$1" | "$PYTHON" -m agent organisation enrol "$2" --config config.toml; }
enrol un hospital.p12 && enrol deux clinic.p12 || exit 9
"$PYTHON" -m agent run --no-tray --port 0 --config config.toml & agent=$!
trap 'kill $agent' TERM
until [ -e renewed ]; do sleep 0.05; kill -0 $agent || exit 8; done
enrol trois clinic.p12 && touch enrolled
wait $agent; wait $agent
"""


@dataclass
class Workstation:
    port: int
    folder: Path
    hospital_ca: Issued

    def site(self, origin: str) -> Site:
        return Site(self.port, origin=origin)


@pytest.fixture
def workstation(tmp_path: Path) -> Iterator[Workstation]:
    ours, theirs = make_ca(), make_ca()
    (tmp_path / "hospital.p12").write_bytes(p12(issue_organisation(ours, structure_id=HOSPITAL), b"un"))
    (tmp_path / "clinic.p12").write_bytes(p12(issue_organisation(theirs, structure_id=CLINIC), b"deux"))
    config = CONFIG.format(
        hospital=OF_HOSPITAL,
        clinic=OF_CLINIC,
        nobody=OF_NOBODY,
        number='{ test = "SIMULATEUR-0001" }',
        folder=tmp_path,
    )
    with insi_of(ours) as insi, agent_before(insi, ours, tmp_path, config=config, script=START) as port:
        yield Workstation(port, tmp_path, ours)


def test_each_site_calls_with_its_own_structures_certificate(workstation: Workstation) -> None:
    hospital, clinic, nobody = (workstation.site(one) for one in (OF_HOSPITAL, OF_CLINIC, OF_NOBODY))

    first = hospital.call("insi.retrieveByTraits", **CALL)
    refused = clinic.refusal("insi.retrieveByTraits", **CALL)
    second = hospital.call("insi.retrieveByTraits", **CALL)
    unnamed = nobody.refusal("insi.retrieveByTraits", **CALL)

    assert [result["trace"]["structure"] for result in (first, second)] == [HOSPITAL, HOSPITAL]
    assert first["trace"]["certificate"] == "INSI-MANU"
    assert refused.reason == "insi.certificateRefused"
    assert (unnamed.reason, unnamed.facts) == ("certificate.structure", {"structures": [HOSPITAL, CLINIC]})
    later = [workstation.site(one).hello["authModes"] for one in (OF_HOSPITAL, OF_NOBODY)]
    assert later == [["cpx", "organisation"], ["cpx"]]

    renewed = issue_organisation(workstation.hospital_ca, structure_id=CLINIC)
    (workstation.folder / "clinic.p12").write_bytes(p12(renewed, b"trois"))
    assert clinic.refusal("insi.retrieveByTraits", **CALL).reason == "certificate.unreadable"
    (workstation.folder / "renewed").touch()
    until((workstation.folder / "enrolled").exists, "the new passphrase is enrolled")
    assert clinic.call("insi.retrieveByTraits", **CALL)["trace"]["structure"] == CLINIC
