"""In which order a call is refused: everything is wrong at first, and one thing after the other is put right."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.config import Limits
from agent.errors import AgentError, Code
from agent.insi.contract import Contract
from agent.model import AuthMode, Environment
from agent.signing.certificate_files import CertificateFiles
from agent.simulator.pki import issue_organisation, make_ca, p12
from agent.workflows.rates import Rated
from tests.parts.agent import Simulation
from tests.workflows.making import SITE, TOUSSAINT, TOUSSAINTS_INS, Bench

PASSPHRASE = b"une-phrase-de-test"
ROW = {"name": "Dossier", "version": "1", "origins": [SITE], "authorisation": {"test": "SIMULATEUR-0001"}}
NSS = "1.2.250.1.213.1.4.13"


class Morning:
    """A bench on which nothing is as it should be, outside the simulator, and the hands that put it right."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.settings: dict[str, Any] = {
            "software": [],
            "profile": "consumer",
            "insi": {"provisional": "forbid", "lunar_dates": "refuse"},
            "organisation": {"certificates": ["/organisation.p12"]},
            "limits": {"insi_per_minute": 1},
        }
        self.params: dict[str, Any] = {
            "identity": {"status": "PROV", "attributes": ["DOUT"]},
            "authMode": "psc",
            "traits": {**TOUSSAINT, "birthName": "R2D2"},
            "ins": {**TOUSSAINTS_INS, "oid": NSS},
        }
        ca, self._folder = make_ca(), folder
        for name, made in {"old": {"not_after": datetime(2024, 1, 1, tzinfo=UTC)}, "good": {}}.items():
            (folder / f"{name}.p12").write_bytes(p12(issue_organisation(ca, **made), PASSPHRASE))  # type: ignore[arg-type]  # by name
        bench.desk.environment = Environment.TEST
        bench.insi.configured = set()
        self._own, bench.contract = bench.contract, self._unreadable
        self.certificate("old")
        bench.desk.rates.count(Rated.INSI_CALL, SITE, bench.clock())

    @staticmethod
    def _unreadable() -> Contract:
        raise AgentError(Code.CONTRACT_UNREADABLE)

    def readable(self) -> None:
        self.bench.contract = self._own

    def certificate(self, name: str) -> None:
        file = self._folder / f"{name}.p12"
        self.bench.desk.certificates = CertificateFiles(lambda: [file], lambda _file: PASSPHRASE)

    def refused(self, call: Callable[..., Any], *members: str) -> Code:
        self.bench.configure(**self.settings)
        given = {name: self.params[name] for name in members if name in self.params}
        return self.bench.refused(call(**given)).code


COMMON = ("identity", "authMode", "user", "traits")


def test_a_search_is_refused_for_the_reason_that_costs_the_least_to_know(bench: Bench, tmp_path: Path) -> None:
    morning = Morning(bench, tmp_path)
    settings, params = morning.settings, morning.params
    put_right: list[tuple[Code, Callable[[], object]]] = [
        (Code.INSI_NOT_PERMITTED, lambda: settings.update(profile="repository")),
        (Code.IDENTITY_DOUBTFUL, lambda: params["identity"].update(attributes=[])),
        (Code.IDENTITY_PROVISIONAL, lambda: settings["insi"].update(provisional="allow")),
        (Code.SOFTWARE_NOT_AUTHORISED, lambda: settings.update(software=[ROW])),
        (Code.AUTH_MODE_PSC, lambda: params.update(authMode="carteVitale")),
        (Code.AUTH_MODE_UNAVAILABLE, lambda: params.update(authMode="organisation")),
        (Code.USER_REQUIRED, lambda: params.update(user={"id": "accueil-3"})),
        (Code.TRAITS_REFUSED, lambda: params.update(traits={**TOUSSAINT, "birthDate": "1960-00-00"})),
        (Code.TRAITS_REFUSED, lambda: params.update(traits=TOUSSAINT)),
        (Code.CONTRACT_UNREADABLE, morning.readable),
        (Code.INSI_NOT_CONFIGURED, lambda: bench.insi.configured.add(AuthMode.ORGANISATION)),
        (Code.CERTIFICATE_EXPIRED, lambda: morning.certificate("good")),
        (Code.RATE_LIMITED, lambda: settings["limits"].update(insi_per_minute=2)),
    ]
    for code, mend in put_right:
        assert morning.refused(bench.by_traits, *COMMON) is code
        mend()

    assert (bench.slot.calls, bench.person.questions, bench.insi.received) == ([], [], [])
    bench.configure(**settings)
    assert bench.do(bench.by_traits(**{name: params[name] for name in COMMON})).code == "00"


def test_a_verification_is_refused_in_the_same_order(bench: Bench, tmp_path: Path) -> None:
    """What the profile and the identity forbid is a search. WS_INS3 has no public contract outside the simulator."""
    morning = Morning(bench, tmp_path)
    settings, params = morning.settings, morning.params
    put_right: list[tuple[Code, Callable[[], object]]] = [
        (Code.SOFTWARE_NOT_AUTHORISED, lambda: settings.update(software=[ROW])),
        (Code.AUTH_MODE_PSC, lambda: params.update(authMode="organisation")),
        (Code.USER_REQUIRED, lambda: params.update(user={"id": "accueil-3"})),
        (Code.INS_REFUSED, lambda: params.update(ins=TOUSSAINTS_INS)),
        (Code.TRAITS_REFUSED, lambda: params.update(traits=TOUSSAINT)),
        (Code.CONTRACT_UNREADABLE, morning.readable),
    ]
    for code, mend in put_right:
        assert morning.refused(bench.verify, *COMMON, "ins") is code
        mend()

    assert morning.refused(bench.verify, *COMMON, "ins") is Code.CONTRACT_MISSING
    assert (bench.slot.calls, bench.person.questions, bench.insi.received) == ([], [], [])


def test_a_call_with_the_card_meets_the_limit_before_the_card_is_looked_at(bench: Bench) -> None:
    bench.configure(limits={"insi_per_minute": 1})
    bench.slot.copies = 0
    bench.desk.rates.count(Rated.INSI_CALL, SITE, bench.clock())

    assert bench.refused(bench.by_traits()).code is Code.RATE_LIMITED
    assert bench.slot.calls == []
    bench.desk.rates.check(Rated.INSI_CALL, SITE, Limits(insi_per_minute=2), bench.clock())  # a refusal counts nothing


ALLOWED = "https://permis.example"


@pytest.mark.parametrize("method", ["insi.retrieveByTraits", "insi.verify"])
def test_the_right_comes_first_and_the_persons_consent_is_no_authorisation(
    simulation: Callable[..., Simulation], method: str
) -> None:
    """A site may be allowed without any authorised software behind it."""
    rights = json.dumps(["vitale"])
    agent = simulation(
        f'[[origins.allowed]]\norigin = "{ALLOWED}"\nrights = {rights}\n[[origins.allowed]]\norigin = "{SITE}"\n'
    )
    params = {"traits": TOUSSAINT, "authMode": "psc", **({"ins": TOUSSAINTS_INS} if method == "insi.verify" else {})}

    assert agent.site(origin=ALLOWED).refusal(method, **params).reason == "right.missing"
    assert agent.site(origin=SITE).refusal(method, **params).reason == "software.notAuthorised"
