"""The agent's own use of its transport: what the settings say of INSi, and what a reload does to kept sessions."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.config import Settings
from agent.desks import ProxyPassword, insi_endpoint
from agent.doctor import Finding, _insi
from agent.errors import AgentError, Code
from agent.insi.ports import HttpReply, Sender, Teleservice
from agent.model import AuthMode, Environment
from agent.simulator.pki import issue_ca, make_ca
from tests.insi.conftest import audited
from tests.parts.agent import RefusedError, Simulation, Site
from tests.test_app import TOUSSAINT, reconfigure

TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION
QUALIFICATION = "https://qualiflps.services-ps.ameli.fr/lps"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("anchors")
    root, ca = make_ca("AC RACINE"), make_ca("AC ORGANISATIONS")
    old, above = make_ca("AC ANCIENNE", now=datetime(2000, 1, 1, tzinfo=UTC)), make_ca("AC AU-DESSUS", path_length=1)
    contents = {
        "both.pem": root.pem + b"\n" + ca.pem,
        "ca.cer": ca.der,
        "garbage": b"\x30\x80",
        "version.cer": ca.der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
        "empty.pem": b"",
        "old.pem": old.pem,
        "below.pem": issue_ca(above, "AC DESSOUS").pem,
    }
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


@pytest.mark.parametrize(
    "named", [[], ["absent.pem"], ["garbage"], ["ca.cer", "garbage"], ["empty.pem"], ["version.cer"]]
)
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
    card, _, others = found.says.partition(" ; organisation : ")
    assert card.startswith(f"cpx : {QUALIFICATION}, 2 autorité(s) jusqu'au 20")
    assert card.endswith("nom dans SAN")
    assert "insi.notConfigured" in others
    assert others.endswith(" ; serveur révoqué refusé, révocation inconnue signalée")


def test_the_doctor_is_not_alarmed_by_an_expired_authority_beside_a_good_one(files: dict[str, Path]) -> None:
    def found(*names: str) -> Finding:
        return _insi(settings(anchors={"test": {"cpx": [files[name] for name in names]}}))

    beside, alone = found("both.pem", "old.pem"), found("old.pem")

    assert beside.well
    assert ", 2 autorité(s) jusqu'au 20" in beside.says
    assert ", 1 hors dates, nom" in beside.says
    assert not alone.well
    assert ", 0 autorité(s) jusqu'au 20" in alone.says


def test_the_doctor_names_the_authority_that_is_missing_above_another(files: dict[str, Path]) -> None:
    found = _insi(settings(anchors={"test": {"cpx": [files["both.pem"], files["below.pem"]]}}))

    assert not found.well
    assert " ; AC DESSOUS : il manque l'autorité qui l'a émise : AC AU-DESSUS ; organisation : " in found.says


@pytest.mark.parametrize("rule", ["off", "soft", "hard"])
def test_the_doctor_says_each_rule_of_revocation(rule: str) -> None:
    found = _insi(settings(revocation=rule))

    assert not found.well
    assert {"off": "non vérifiée", "soft": "inconnue signalée", "hard": "inconnue refusé"}[rule] in found.says


# ---------------------------------------------------------------- kept sessions


def test_after_a_reload_nothing_goes_over_the_sessions_that_were_open(agent: Simulation, site: Site) -> None:
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


class Held:
    """The way to INSi, held before the next message until the test lets it go."""

    def __init__(self, whole: Teleservice) -> None:
        self._whole = whole
        self.reached, self.opened = threading.Event(), threading.Event()

    def check(self, mode: AuthMode) -> None:
        self._whole.check(mode)

    def post(self, sender: Sender, action: str, envelope: bytes) -> HttpReply:
        self.reached.set()
        assert self.opened.wait(60)
        return self._whole.post(sender, action, envelope)

    def close(self) -> None:
        self._whole.close()


def test_a_reload_while_a_call_is_under_way_counts_for_the_next_message(agent: Simulation, site: Site) -> None:
    """Whom we believe, by which way and for how long: withdrawn is withdrawn, whatever the network lane is at."""
    reconfigure(agent, "[insi]\nretries = 0\n")
    assert site.call("insi.retrieveByTraits", traits=TOUSSAINT)["code"] == "00"  # its session is kept
    desk = agent.running.agent.desk
    desk.teleservice = held = Held(desk.teleservice)
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    assert held.reached.wait(60)

    reconfigure(agent, "[insi]\nretries = 0\ntotal_timeout_s = 0.000001\n")
    held.opened.set()

    with pytest.raises(RefusedError) as refused:
        site.reply(number)
    assert refused.value.reason == "insi.timeout"
    assert agent.insi.received == 1


# ---------------------------------------------------------------- the password of the account on a proxy


class Keyring:
    """One that may be locked."""

    def __init__(self) -> None:
        self.kept: bytes | None = b"mot-de-passe"
        self.locked = False
        self.asked: list[str] = []

    def get(self, name: str) -> bytes | None:
        self.asked.append(name)
        if self.locked:
            raise AgentError(Code.KEYRING_ABSENT)
        return self.kept

    def set(self, _name: str, value: bytes) -> None:
        self.kept = value

    def forget(self, _name: str) -> None:
        self.kept = None


def behind(**proxy: str) -> Settings:
    return Settings.model_validate({"proxy": {"use": "explicit", "address": "http://proxy.example", **proxy}})


def test_the_password_of_the_proxy_is_read_from_the_keyring_beforehand_alone() -> None:
    keyring = Keyring()
    password = ProxyPassword(lambda: behind(user="compte"), keyring)
    assert password() is None
    assert keyring.asked == []

    password.read()

    assert [password(), password()] == ["mot-de-passe"] * 2
    assert keyring.asked == ["proxy-password"]
    keyring.kept = None
    password.read()
    assert password() is None


def test_a_locked_keyring_costs_only_who_goes_by_the_proxy() -> None:
    keyring = Keyring()
    password = ProxyPassword(lambda: behind(user="compte"), keyring)
    password.read()
    keyring.locked = True
    password.read()

    with pytest.raises(AgentError) as refused:
        password()
    assert refused.value.code is Code.KEYRING_ABSENT
    keyring.locked = False
    password.read()
    assert password() == "mot-de-passe"


@pytest.mark.parametrize("proxy", [{}, {"user": "compte", "use": "none"}])
def test_without_an_account_on_a_proxy_no_keyring_is_asked(proxy: dict[str, str]) -> None:
    keyring = Keyring()
    password = ProxyPassword(lambda: behind(**proxy), keyring)

    password.read()

    assert (password(), keyring.asked) == (None, [])
