"""The agent's own use of its transport: what the settings say of INSi, and what a reload does to kept sessions."""

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.app import insi_endpoint
from agent.config import Settings
from agent.doctor import _insi
from agent.errors import AgentError, Code
from agent.model import AuthMode, Environment
from agent.simulator.pki import make_ca
from tests.insi.conftest import audited
from tests.parts.agent import Simulation, Site
from tests.test_app import TOUSSAINT, reconfigure

TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION
QUALIFICATION = "https://qualiflps.services-ps.ameli.fr/lps"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("anchors")
    root, ca = make_ca("AC RACINE"), make_ca("AC ORGANISATIONS")
    contents = {"both.pem": root.pem + b"\n" + ca.pem, "ca.cer": ca.der, "garbage": b"\x30\x80", "empty.pem": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def settings(**insi: Any) -> Settings:
    return Settings.model_validate({"insi": insi})


def test_an_endpoint_is_public_with_anchors_of_its_own(files: dict[str, Path]) -> None:
    given = settings(anchors={"test": {"cpx": [files["both.pem"]], "organisation": [files["ca.cer"]]}})

    card, organisation = (insi_endpoint(given, TEST, mode) for mode in (AuthMode.CPX, AuthMode.ORGANISATION))

    assert (card.url, card.names, card.client) == (QUALIFICATION, "san", None)
    assert len(x509.load_pem_x509_certificates(card.anchors_pem)) == 2
    assert x509.load_pem_x509_certificate(organisation.anchors_pem).public_bytes(Encoding.DER) == (
        files["ca.cer"].read_bytes()
    )


def test_address_and_name_rule_are_replaced_for_one_endpoint_alone(files: dict[str, Path]) -> None:
    given = settings(
        anchors={"test": {"cpx": [files["ca.cer"]], "organisation": [files["ca.cer"]]}},
        endpoints={"test": {"cpx": "https://essai.example/lps"}},
        server_names={"test": {"organisation": "sanOrCn"}},
    )

    card, organisation = (insi_endpoint(given, TEST, mode) for mode in (AuthMode.CPX, AuthMode.ORGANISATION))

    assert (card.url, card.names) == ("https://essai.example/lps", "san")
    assert (organisation.url, organisation.names) == (
        "https://qualiflps-services-ps-tlsm.ameli.fr/lps",
        "sanOrCn",
    )


@pytest.mark.parametrize("named", [[], ["absent.pem"], ["garbage"], ["ca.cer", "garbage"], ["empty.pem"]])
def test_an_endpoint_without_readable_anchors_is_not_configured(files: dict[str, Path], named: list[str]) -> None:
    paths = [files.get(name, Path("/absent.pem")) for name in named]
    given = settings(anchors={"test": {"cpx": paths}, "production": {"cpx": [files["ca.cer"]]}})

    with pytest.raises(AgentError) as error:
        insi_endpoint(given, TEST, AuthMode.CPX)

    assert error.value.code is Code.INSI_NOT_CONFIGURED
    assert insi_endpoint(given, PRODUCTION, AuthMode.CPX).url == "https://services-ps.ameli.fr/lps"


# ---------------------------------------------------------------- what the doctor says of it


def test_the_doctor_says_where_insi_is_whom_we_believe_and_what_is_done_about_revocation(
    files: dict[str, Path],
) -> None:
    with audited("socket.connect") as calls:
        found = _insi(settings(anchors={"test": {"cpx": [files["both.pem"]]}}))

    assert calls == []
    assert found.well
    card, organisation, revocation = found.says.split(" ; ")
    assert card.startswith(f"cpx : {QUALIFICATION}, 2 autorité(s) jusqu'au 20")
    assert card.endswith("nom dans SAN")
    assert "insi.notConfigured" in organisation
    assert revocation == "serveur révoqué refusé, révocation inconnue signalée"


@pytest.mark.parametrize("rule", ["off", "soft", "hard"])
def test_the_doctor_says_each_rule_of_revocation(rule: str) -> None:
    found = _insi(settings(revocation=rule))

    assert not found.well
    assert {"off": "non vérifiée", "soft": "inconnue signalée", "hard": "inconnue refusé"}[rule] in found.says


# ---------------------------------------------------------------- kept sessions


def test_a_reload_closes_the_kept_sessions_and_the_next_call_opens_its_own(agent: Simulation, site: Site) -> None:
    def calls(mode: str) -> None:
        assert site.call("insi.retrieveByTraits", traits=TOUSSAINT, authMode=mode, user={"id": "essai"})["code"] == "00"

    doors = {int(agent.insi.url(mode).split(":")[2].split("/")[0]) for mode in AuthMode}
    with audited("socket.connect", lambda _, details: details[1][1]) as ports:
        for mode in ("cpx", "organisation", "cpx", "organisation"):
            calls(mode)
        before = [port for port in ports if port in doors]
        reconfigure(agent, "[insi]\ntotal_timeout_s = 20\n")
        for mode in ("cpx", "organisation"):
            calls(mode)
        after = [port for port in ports if port in doors]

    assert sorted(before) == sorted(doors)
    assert sorted(after) == sorted([*doors, *doors])
