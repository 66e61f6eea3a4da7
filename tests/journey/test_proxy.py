"""The whole agent behind a network's proxy, for real: tinyproxy with an account, a script that names it, a keyring."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.insi.fake_insi import SimulatedInsi
from agent.simulator.pki import issue_organisation, make_ca, p12
from tests.parts.agent import Site
from tests.parts.desktop import until
from tests.parts.organisation import CALL, agent_before, insi_of
from tests.parts.tinyproxy import Tinyproxy, tinyproxy

SITE = "https://dossier.example"
USER, PASSWORD = "compte-du-proxy", "mot-de-passe-du-proxy"
CONFIG = """
environment = "test"
origins.allowed = [{{ origin = "{site}" }}]
[[software]]
name = "Dossier d'essai"
version = "1"
origins = ["{site}"]
authorisation = {{ test = "SIMULATEUR-0001" }}
[organisation]
certificates = ["{folder}/organisation.p12"]
[proxy]
use = "script"
script = "{folder}/proxy.pac"
script_timeout_s = 30
user = "{user}"
"""
SCRIPT = 'function FindProxyForURL(url, host) {{ return "PROXY 127.0.0.1:{port}" }}'
# The person enrols the certificate's passphrase, the agent starts; the proxy's password when the file "ready" comes.
START = """
printf 'une-phrase\\n' | "$PYTHON" -m agent organisation enrol --config config.toml || exit 9
"$PYTHON" -m agent run --no-tray --port 0 --config config.toml & agent=$!
trap 'kill $agent' TERM
until [ -e ready ]; do sleep 0.05; kill -0 $agent || exit 8; done
"$PYTHON" -m agent proxy enrol --config config.toml < password && touch enrolled
wait $agent; wait $agent
"""


@dataclass
class Workstation:
    port: int
    folder: Path
    insi: SimulatedInsi
    proxy: Tinyproxy


@pytest.fixture
def workstation(tmp_path: Path) -> Iterator[Workstation]:
    ca = make_ca()
    (tmp_path / "organisation.p12").write_bytes(p12(issue_organisation(ca), b"une-phrase"))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "proxy").mkdir()
    config = CONFIG.format(site=SITE, folder=tmp_path, user=USER)
    nothing_comes_from_here = "http://127.0.0.1:1"
    with insi_of(ca) as insi, tinyproxy(tmp_path / "proxy", (USER, PASSWORD)) as proxy:
        (tmp_path / "proxy.pac").write_text(SCRIPT.format(port=proxy.port))
        with agent_before(insi, ca, tmp_path, config=config, script=START, HTTPS_PROXY=nothing_comes_from_here) as port:
            yield Workstation(port, tmp_path, insi, proxy)


def test_a_call_goes_through_the_scripts_proxy_once_its_password_is_enrolled(workstation: Workstation) -> None:
    site = Site(workstation.port, origin=SITE)

    refused = site.refusal("insi.retrieveByTraits", **CALL)
    assert refused.reason == "proxy.authentication"
    assert workstation.insi.requests == []
    assert workstation.proxy.tunnels() == []

    (workstation.folder / "ready").touch()
    until((workstation.folder / "enrolled").exists, "the proxy's password is enrolled")
    result = site.call("insi.retrieveByTraits", **CALL)
    again = site.call("insi.retrieveByTraits", **CALL)

    assert (result["code"], again["code"]) == ("00", "00")
    assert len(workstation.proxy.tunnels()) == 1
    assert len(workstation.insi.requests) == 2
    written = [
        file.read_bytes() for file in workstation.folder.rglob("*") if file.is_file() and file.name != "password"
    ]
    assert not [1 for text in written if PASSWORD.encode() in text and b"BasicAuth" not in text]
    site.close()
