"""The people whom CNDA and the qualification service publish for tests, through the whole agent, attempt by attempt.

Each row is what was asked there and what came back, second hand (padoa/tlsi-ins, SAPA, CNDA reply files). "Injected"
is an answer that CNDA hands over as a file; the others come from the simulated INSi. What PATB-QUATRE LAURENCE is
answered is not public: no row. Keys are as returned, also the two that are wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from agent.insi.fake_style import Style
from tests.parts.agent import Simulation, Site, simulated_agents

NIR, NIA = "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9"
NOBODY = "nobody"  # the file REP_CR01
Style_ = Literal["01", "insi_102", "desir_1020"]
STYLES: tuple[Style_, ...] = ("01", "insi_102", "desir_1020")
FAULTS = {"insi_102", "desir_1020"}


@dataclass(frozen=True)
class Found:
    """An identity as it comes back."""

    matricule: str
    key: str
    given_names: str
    place: str
    oid: str = NIR
    history: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    name: str = ""  # where it is not the one that was asked


@dataclass(frozen=True)
class Row:
    """One search, and what each of its attempts is answered. 01 from INSi itself depends on its style."""

    test: str
    name: str
    given: str  # names, separated by commas
    sex: str
    born: str
    attempts: tuple[tuple[str, str], ...]  # given names sent by index, +P with the place; and the code
    found: Found | None = None
    place: str | None = None
    injected: tuple[str, ...] = ()  # into the first attempts
    continues: str | None = None  # this row first, then this one with `continues`
    style: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.test} {self.name} {self.given}".replace(",", " ")

    @property
    def traits(self) -> dict[str, Any]:
        traits = {"birthName": self.name, "givenNames": self.given.split(","), "sex": self.sex, "birthDate": self.born}
        return traits | ({"birthPlaceCode": self.place} if self.place else {})


PIERRE_ALAIN = Found("1010663220754", "60", "PIERRE-ALAIN GUNTHER", "63220", name="D'ARTAGNAN DE L'HERAULT")
TOUSSAINT = Found("160012B020777", "13", "TOUSSAINT", "2B020")
ECETINSI = ("1090763220834", "89", "PIERRE-ALAIN MURIEL FLORIANT", "63220")
LEONARDO = Found("1140263220833", "56", "LEONARDO PIERO", "63220")
CATARINA = Found("2360663220836", "56", "CATARINA BELLA", "63220")
ZOE = ("ADRUN", "ZOE", "F", "1975-12-31")
ONE = (("0", "00"),)

ROWS = (
    Row("exemple", "ADRDEUX", "LAURENT", "M", "1981-01-01", ONE, Found("1810163220751", "40", "LAURENT", "63220")),
    Row("2.03-1", "D'ARTAGNAN DE L'HERAULT", "PIERRE-ALAIN", "M", "2001-06-17", ONE, PIERRE_ALAIN),
    Row("2.03-1+", "D'Artagnan de l'Hérault", "Pierre-Alain", "M", "2001-06-17", ONE, PIERRE_ALAIN, place="63220"),
    Row("2.03-2", "ADRTROIS", "TOUSSAINT", "M", "1960-01-01", ONE, TOUSSAINT),
    Row("2.03-2+", "ADRTROIS", "TOUSSAINT", "M", "1960-01-01", ONE, TOUSSAINT, place="2B020"),
    # Written in INSi's alphabet, D'AEION COEUR: the simulated INSi refuses any other letter.
    Row("2.03-3", "D’ÆION", "CŒUR", "M", "1987-01-25", (("0", "01"),)),
    Row(
        "Corse",
        "ADRTROIS",
        "DOMINIQUE",
        "F",
        "1997-02-26",
        ONE,
        Found("297022A020778", "78", "DOMINIQUE", "2A020"),
    ),
    Row(
        "2.04-1",
        "ECETINSI",
        "PIERRE-ALAIN",
        "M",
        "2009-07-14",
        ONE,
        Found(*ECETINSI, history=(("2090763220834", "39"),)),
    ),
    Row(
        "2.04-2",
        "ECETINSI",
        "PIERRE-ALAIN",
        "M",
        "2009-07-14",
        ONE,
        Found(*ECETINSI, history=(("2090763220834", "39"), ("2090663220123", "55"))),
        injected=("2.04-2",),
    ),
    Row(
        "2.05",
        "PROVISOIRE",
        "MATRICULE",
        "M",
        "2009-07-01",
        ONE,
        Found("1090763220888", "35", "MATRICULE", "63220", oid=NIA, warnings=("nia.verifyAgain",)),
        injected=("2.05",),
    ),
    Row("2.06-1", "DE VINCI", "LEONARDO", "M", "2014-02-01", (("0", "02"),)),
    Row("2.06-2", "DE VINCI", "LEONARDO", "M", "2014-02-01", (("0+P", "00"),), LEONARDO, "63220", continues="2.06-1"),
    Row("2.06", "DE VINCI", "LEONARDO", "M", "2014-02-01", (("0", "02"), ("0+P", "00")), LEONARDO, "63220"),
    Row(
        "2.07-1",
        "TCHITCHI",
        "OLA,CATARINA,BELLA",
        "F",
        "1936-06-21",
        (("0", "01"), ("1", "00")),
        CATARINA,
        injected=(NOBODY,),
    ),
    Row("2.07-1 live", "TCHITCHI", "OLA,CATARINA,BELLA", "F", "1936-06-21", (("0", "01"), ("1", "00")), CATARINA),
    Row(
        "2.07-2",
        "HOUILLES",
        "PIERRE,PAUL,JACQUES",
        "M",
        "1993-01-27",
        (("0", "01"), ("1", "01"), ("2", "01"), ("0 1 2", "01")),
        injected=(NOBODY,) * 4,
    ),
    Row(
        "2.07-2 live",
        "HOUILLES",
        "PIERRE,PAUL,JACQUES",
        "M",
        "1993-01-27",
        (("0", "01"), ("1", "01"), ("2", "01"), ("0 1 2", "01")),
    ),
    Row(
        "2.07-2 lieu",
        "HOUILLES",
        "PIERRE,PAUL,JACQUES",
        "M",
        "1993-01-27",
        (("0 1 2+P", "01"),),
        place="63220",
        continues="2.07-2 live",
    ),
    Row(
        "2.08-1",
        "CORSE",
        "ANTHONY",
        "M",
        "1980-03-02",
        ONE,
        Found(
            "180032B020401",
            "23",
            "ANTHONY",
            "2B020",
            history=(("180032B020401", "23"),),
            warnings=("history.repeatsActive",),
        ),
        injected=("2.08-1",),
    ),
    Row(
        "2.08-2",
        "HERMAN",
        "GATIEN",
        "M",
        "1981-03-24",
        ONE,
        Found(
            "1810363220456",
            "76",
            "GATIEN",
            "63220",
            history=(("1810363220456", "76"), ("2810363220456", "10")),
            warnings=("key.mismatch", "history.repeatsActive"),
        ),
        injected=("2.08-2",),
    ),
    Row(
        "2.08-2 older",
        "HERMANN",
        "GATIEN",
        "M",
        "1981-03-24",
        ONE,
        Found(
            "1810363220456",
            "60",
            "GATIEN",
            "63220",
            history=(("1810363220456", "60"), ("2810363220456", "10")),
            warnings=("key.mismatch", "history.repeatsActive"),
        ),
    ),
    Row(
        "3.05-3",
        "NESSI",
        "NATHALIE",
        "F",
        "1977-07-14",
        ONE,
        Found("2770763220829", "10", "NATHALIE", "63220"),
        injected=("3.05-3",),
    ),
    Row("ADRUN", *ZOE, ONE, Found("2751263220749", "74", "ZOE", "63220")),
    Row("ADRUN production", *ZOE, (("0", "01"),), style={"production": True}),
    Row(
        "NESSI",
        "NESSI",
        "MICHELANGELO",
        "M",
        "2010-08-07",
        ONE,
        Found("1100863220830", "60", "MICHELANGELO ANTHONY", "63220"),
    ),
)
BY_TEST = {row.test: row for row in ROWS}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, simulator_pki: Path) -> Iterator[Simulation]:
    """One agent for all rows; a fault that hides a person not found means that here."""
    settings = (
        "[limits]\ninsi_per_minute = 10000\ninsi_per_day = 10000\n"
        '[insi]\nretry_pause_s = 0\n[insi.unknown_person_faults]\nsimulated = "notFound"\n'
    )
    with simulated_agents(tmp_path_factory.mktemp("official"), simulator_pki) as start:
        yield start(settings)


@pytest.fixture(scope="module")
def site(agent: Simulation) -> Site:
    return agent.site()


@pytest.mark.parametrize("mode", ["cpx", "organisation"])
@pytest.mark.parametrize(
    ("row", "style"),
    [(row, style) for row in ROWS for style in (STYLES if any(code == "01" for _, code in row.attempts) else ["01"])],
    ids=str,
)
def test_each_official_search_gives_its_outcome_attempt_by_attempt(
    agent: Simulation, site: Site, row: Row, style: Style_, mode: str
) -> None:
    params: dict[str, Any] = {"authMode": mode}
    if row.continues:
        params["continues"] = search(agent, site, BY_TEST[row.continues], style, params)["trace"]["id"]

    result = search(agent, site, row, style, params)

    expected = [
        (sent(places), code_in(style, code, injected=index < len(row.injected)))
        for index, (places, code) in enumerate(row.attempts)
    ]
    assert [(attempt["given"], attempt["code"]) for attempt in result["trace"]["attempts"]] == expected
    last = row.attempts[-1][1]
    assert result["outcome"] == {"00": "found", "01": "notFound", "02": "several"}[last]
    assert result["code"] == expected[-1][1]
    hidden = ["notFound.asFault"] if FAULTS & {code for _, code in expected} else []
    assert result["warnings"] == [*(row.found.warnings if row.found else ()), "environment.simulated", *hidden]
    assert result["integrable"] is (row.found is not None)
    assert returned(result.get("identity")) == (row.found and known(row, row.found))
    assert result["trace"]["authMode"] == mode


def search(agent: Simulation, site: Site, row: Row, style: Style_, params: dict[str, Any]) -> dict[str, Any]:
    service = agent.insi.service
    service.style = Style(not_found=style, **row.style)
    for test in row.injected:
        service.inject(None if test == NOBODY else test)
    result: dict[str, Any] = site.call("insi.retrieveByTraits", traits=row.traits, **params)
    return result


def sent(places: str) -> list[str]:
    """The members of an attempt: "0 1+P" is the first two given names, and the birth place."""
    indexes, place = places.removesuffix("+P").split(), ["birthPlaceCode"] if places.endswith("+P") else []
    return ["birthName", *(f"givenNames[{index}]" for index in indexes), "sex", "birthDate", *place]


def code_in(style: Style_, code: str, *, injected: bool) -> str:
    return style if code == "01" and not injected else code


def known(row: Row, found: Found) -> tuple[Any, ...]:
    kind = {NIR: "NIR", NIA: "NIA"}[found.oid]
    ins = {"matricule": found.matricule, "key": found.key, "oid": found.oid, "kind": kind}
    return found.name or row.name, found.given_names, row.sex, row.born, found.place, ins, list(found.history)


def returned(identity: dict[str, Any] | None) -> tuple[Any, ...] | None:
    if identity is None:
        return None
    history = [(past["matricule"], past["key"]) for past in identity["history"]]
    members = ("birthName", "givenNamesList", "sex", "birthDate", "birthPlaceCode", "ins")
    return (*(identity[member] for member in members), history)


@pytest.mark.parametrize("mode", ["cpx", "organisation"])
def test_a_carte_vitale_may_give_the_number_of_someone_who_waits_for_one(
    agent: Simulation, site: Site, mode: str
) -> None:
    """CNDA test 1.10, injected: the number of test 2.04 with the OID of an NIA."""
    agent.insi.service.style = Style()
    agent.readers.insert("Simulateur Vitale 0", "adrdeux")
    read = site.call("vitale.read")
    agent.insi.service.inject("1.10")

    result = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, rank=1, authMode=mode)

    assert result["identity"]["ins"] == {"matricule": "1090763220834", "key": "89", "oid": NIA, "kind": "NIA"}
    assert result["identity"]["givenNamesList"] == "PIERRE-ALAIN MURIEL FLORIANT"
    assert (result["integrable"], result["warnings"]) == (True, ["nia.verifyAgain", "environment.simulated"])


@pytest.mark.parametrize("style", sorted(FAULTS))
def test_where_nobody_says_what_such_a_fault_means_it_ends_the_search_after_its_repeat(
    simulation: Callable[..., Simulation], style: str
) -> None:
    """CNDA test 2.07-2 on the qualification service of 2022 to 2025, with the settings as they are shipped."""
    agent = simulation("[insi]\nretry_pause_s = 0\n")
    agent.insi.service.style = Style(not_found=style)  # type: ignore[arg-type]  # one of its names

    refused = agent.site().refusal("insi.retrieveByTraits", traits=BY_TEST["2.07-2 live"].traits)

    assert refused.reason == "insi.fault.unavailable"
    assert [attempt["code"] for attempt in refused.facts["attempts"]] == [style, style]
    assert refused.facts["insi"]["code"] == style
