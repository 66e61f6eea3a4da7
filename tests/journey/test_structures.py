"""Two structures on one workstation, for real: keyring, mutual TLS with each one's certificate, a renewal at run time.

INSi trusts the hospital's authority alone: which certificate arrives there is seen by who is let in.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.insi.fake_insi import SimulatedInsi
from agent.model import AuthMode
from agent.places import find_running
from agent.simulator.pki import Issued, issue_organisation, issue_server, make_ca, p12
from tests.parts.agent import Site
from tests.parts.desktop import until
from tests.parts.session import in_a_session

HOSPITAL, CLINIC = "10B0990001", "10B0990002"
OF_HOSPITAL, OF_CLINIC, OF_NOBODY = (f"https://{name}.example" for name in ("hopital", "clinique", "agenda"))
CALL = {
    "traits": {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"},
    "authMode": "organisation",
    "user": {"id": "accueil-2"},
}
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
[insi]
retries = 0
revocation = "off"
[insi.endpoints.test]
organisation = "{url}"
[insi.anchors.test]
organisation = ["{folder}/ca.pem"]
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
    server = issue_server(ours)
    (tmp_path / "ca.pem").write_bytes(ours.pem)
    (tmp_path / "hospital.p12").write_bytes(p12(issue_organisation(ours, structure_id=HOSPITAL), b"un"))
    (tmp_path / "clinic.p12").write_bytes(p12(issue_organisation(theirs, structure_id=CLINIC), b"deux"))
    insi = SimulatedInsi(server.pem, server.key_pem, ours.pem)
    insi.start()
    try:
        (tmp_path / "config.toml").write_text(
            CONFIG.format(
                hospital=OF_HOSPITAL,
                clinic=OF_CLINIC,
                nobody=OF_NOBODY,
                number='{ test = "SIMULATEUR-0001" }',
                folder=tmp_path,
                url=insi.url(AuthMode.ORGANISATION),
            ),
            encoding="utf-8",
        )
        (tmp_path / "runtime").mkdir(mode=0o700)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        }
        with (tmp_path / "log").open("wb") as log:
            session = subprocess.Popen(
                in_a_session(["bash", "-c", START]), cwd=tmp_path, env=environment, stdout=log, stderr=log
            )
        runtime = tmp_path / "runtime" / "insi-agent"
        until(lambda: find_running(runtime) is not None or session.poll() is not None, "the agent listens")
        running = find_running(runtime)
        assert running, (tmp_path / "log").read_text()
        try:
            yield Workstation(running.port, tmp_path, ours)
        finally:
            (tmp_path / "renewed").touch()
            os.kill(running.pid, signal.SIGTERM)
            session.wait(30)
    finally:
        insi.stop()


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
