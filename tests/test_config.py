"""Settings: who wins, who may not, and what is said when one is wrong."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.browsers import parts_of
from agent.config import Loaded, Settings, Source, load, system_layers
from agent.consent import Decided, Decision
from agent.errors import AgentError, Code
from agent.model import Environment, Right
from agent.protocol.origins import NATIVE, Doorkeeper

ROW: dict[str, Any] = {
    "name": "Dossier",
    "version": "1",
    "origins": ["https://a.example"],
    "authorisation": {"test": "x"},
}
STRONGEST_FIRST = [
    Source.MACHINE_POLICY,
    Source.USER_POLICY,
    Source.COMMAND_LINE,
    Source.MACHINE,
    Source.CHOICE,
    Source.USER,
    Source.DEFAULT,
]


def refused(*layers: tuple[Source, dict[str, Any]]) -> AgentError:
    with pytest.raises(AgentError) as error:
        load(layers)
    assert Code.CONFIG_INVALID == error.value.code
    return error.value


def test_without_any_layer_every_setting_has_its_default():
    loaded = load([])

    assert Loaded(Settings(), {}) == loaded
    assert Environment.TEST == loaded.settings.environment
    assert [19847, 19848, 19849, 19850] == loaded.settings.ports
    assert (
        Right.ADMIN
        not in load([(Source.MACHINE, {"origins": {"allowed": [{"origin": "https://a.example"}]}})])
        .settings.origins.allowed[0]
        .rights
    )


def test_sources_are_listed_strongest_first():
    assert list(Source) == STRONGEST_FIRST


@pytest.mark.parametrize("strong", range(6))
def test_each_layer_wins_over_all_below_it_and_is_named_as_the_source(strong):
    """An install without policy: only precedence decides. `language` is anybody's to set."""
    layers = [(source, {"language": "fr"}) for source in STRONGEST_FIRST[strong + 1 : 6]]
    layers.append((STRONGEST_FIRST[strong], {"language": "en"}))

    loaded = load(layers)

    assert "en" == loaded.settings.language
    assert {"language": STRONGEST_FIRST[strong]} == loaded.sources


@given(st.permutations([(source, {"vitale": {"max_age_s": 100 + n}}) for n, source in enumerate(STRONGEST_FIRST[:6])]))
def test_the_order_in_which_layers_are_read_does_not_matter(layers):
    loaded = load(layers)

    assert 100 == loaded.settings.vitale.max_age_s
    assert {"vitale.max_age_s": Source.MACHINE_POLICY} == loaded.sources


def test_tables_merge_and_lists_are_replaced():
    loaded = load(
        [
            (Source.USER, {"readers": {"prefer": ["a", "b"], "exclude": ["c"]}}),
            (Source.MACHINE, {"readers": {"prefer": ["d"]}}),
        ]
    )

    assert (["d"], ["c"]) == (loaded.settings.readers.prefer, loaded.settings.readers.exclude)
    assert {"readers.prefer": Source.MACHINE, "readers.exclude": Source.USER} == loaded.sources


@pytest.mark.parametrize("by", [Source.MACHINE_POLICY, Source.MACHINE])
@pytest.mark.parametrize("who", [Source.USER_POLICY, Source.COMMAND_LINE, Source.CHOICE, Source.USER])
def test_on_a_managed_install_nobody_but_an_administrator_sets_what_is_the_machine_s(by, who):
    managed = {"managed": True} if by is Source.MACHINE else {"disabled": False}
    loaded = load(
        [
            (by, managed),
            (who, {"environment": "production", "cpx": {"module": "/opt/mine.so"}, "language": "en"}),
            (who, {"insi": {"endpoints": {"production": {"cpx": "https://mine.example"}}}, "ports": [1]}),
        ]
    )

    assert loaded.settings.managed
    assert Environment.TEST == loaded.settings.environment
    assert loaded.settings.cpx.module is None
    assert {} == loaded.settings.insi.endpoints
    assert "en" == loaded.settings.language
    assert {who} == set(loaded.sources.values()) - {by}
    assert "environment" not in loaded.sources


def test_a_user_cannot_manage_or_unmanage_an_install():
    assert not load([(Source.USER, {"managed": True})]).settings.managed
    assert load([(Source.MACHINE, {"managed": True}), (Source.USER, {"managed": False})]).settings.managed


def test_on_an_install_of_one_s_own_everything_may_be_set():
    loaded = load([(Source.USER, {"environment": "production", "cpx": {"keep": "minutes:5"}})])

    assert (Environment.PRODUCTION, "minutes:5") == (loaded.settings.environment, loaded.settings.cpx.keep)


SITE, ALLOWED = "https://dossier.example", "origins.allowed.0"


@pytest.mark.parametrize(
    "origin",
    [
        f"{SITE}:443",
        f"{SITE}:0",
        f"{SITE}:080",
        f"{SITE}:65536",
        f"{SITE}:99999",
        f"{SITE}:٤٤",  # digits, but not a port's
        f"{SITE}.",
        f"{SITE}/",
        f"{SITE}\n",
        "https://Dossier.example",
        "https://-..x.",
        "https://a..example",
        "https://-a.example",
        "https://" + "a" * 64 + ".example",
        "https://*.example",
        "https://santé.example",
        "http://dossier.example",
        "https://",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused_with_the_setting_and_what_is_right(origin):
    error = refused((Source.USER, {"origins": {"allowed": [{"origin": origin}]}}))

    assert (error.code, error.facts["setting"]) == (Code.CONFIG_INVALID, f"{ALLOWED}.origin")
    assert "without :443" in error.detail


@pytest.mark.parametrize(
    "origin",
    [
        SITE,
        f"{SITE}:8443",
        f"{SITE}:1",
        f"{SITE}:65535",
        "https://dossier",
        "https://serveur_2.local",
        "https://10.0.0.7",
        "https://xn--sant-epa.example",
    ],
)
def test_an_origin_as_browsers_write_it_is_taken(origin):
    (site,) = load([(Source.USER, {"origins": {"allowed": [{"origin": origin}]}})]).settings.origins.allowed

    assert site.origin == origin
    assert Doorkeeper({origin: frozenset(site.rights)}, "token").rights_of(origin) == frozenset(site.rights)
    assert Doorkeeper({}, "token", asks=True).may_wait(origin)
    assert parts_of(origin)[0] in origin
    assert Decision(origin=origin, state=Decided.ALLOWED, since=datetime.now(UTC)).origin == origin


@pytest.mark.parametrize(
    ("layer", "setting"),
    [
        ({"environment": "TESTEUSE"}, "environment"),
        ({"vitale": {"max_age_s": 99999}}, "vitale.max_age_s"),
        ({"vitale": "TESTEUSE"}, "vitale"),
        ({"ports": [1, "TESTEUSE"]}, "ports.1"),
        ({"unheard": {"of": "TESTEUSE"}}, "unheard"),
        ({"cpx": {"unheard_of": "TESTEUSE"}}, "cpx.unheard_of"),
        ({"cpx": {"keep": "TESTEUSE"}}, "cpx.keep"),
        ({"origins": {"allowed": [{"origin": "http://TESTEUSE"}]}}, "origins.allowed.0.origin"),
        ({"origins": {"allowed": [{"origin": SITE, "framed_by": ["https://TESTEUSE/"]}]}}, f"{ALLOWED}.framed_by.0"),
        ({"insi": {"endpoints": {"test": {"cpx": "ftp://TESTEUSE"}}}}, "insi.endpoints.test.cpx"),
        ({"software": [{"name": "TESTEUSE"}]}, "software.0.version"),
        ({"software": [{**ROW, "origins": ["https://TESTEUSE/"]}]}, "software.0.origins.0"),
        ({"software": [{**ROW, "origins": ["http://dossier.example"]}]}, "software.0.origins.0"),
        ({"software": [{**ROW, "publisher_id": ""}]}, "software.0.publisher_id"),
        ({"software": [{**ROW, "structure": ""}]}, "software.0.structure"),
        ({"software": [ROW, {**ROW, "name": "TESTEUSE"}]}, "software"),
    ],
)
def test_a_wrong_setting_is_named_with_where_it_came_from_and_never_quoted(layer, setting):
    error = refused((Source.USER, {"language": "en"}), (Source.MACHINE, layer))

    assert (setting, "machine configuration") == (error.facts["setting"], error.facts["source"])
    assert setting in error.detail and "machine configuration" in error.detail
    assert "TESTEUSE" not in str(error)


def test_the_origin_alone_selects_the_software(tmp_path):
    settings = load([(Source.MACHINE, {"software": [ROW]})]).settings

    found = settings.software_of("https://a.example")
    assert found is not None and "Dossier" == found.name
    assert settings.software_of("https://a.example:8443") is None
    assert settings.software_of("https://A.example") is None


def test_a_softwares_origins_are_those_that_may_come_through_the_door():
    """Sites, a demonstration's page on this machine, and the local programs, which have no origin."""
    origins = ["https://a.example", "https://a.example", "http://127.0.0.1:8000", NATIVE]

    (row,) = load([(Source.MACHINE, {"software": [{**ROW, "origins": origins}]})]).settings.software

    assert origins == row.origins


def test_which_two_rows_an_origin_is_in_is_said_and_the_origin_is_not():
    rows = [ROW, {**ROW, "origins": ["https://b.example"]}, {**ROW, "origins": ["https://c.example", *ROW["origins"]]}]

    error = refused((Source.MACHINE, {"software": rows}))

    assert "two rows, 0 and 2" in error.detail
    assert "a.example" not in str(error)


def test_the_user_s_file_is_read_from_where_it_is_said_to_be(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('language = "en"\n[vitale]\nmax_age_s = 60\n', encoding="utf-8")

    assert (Source.USER, {"language": "en", "vitale": {"max_age_s": 60}}) in system_layers(file)


@pytest.mark.parametrize("content", [b"language = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named_and_not_quoted(tmp_path, content):
    file = tmp_path / "config.toml"
    file.write_bytes(content)

    with pytest.raises(AgentError) as error:
        system_layers(file)

    assert (Code.CONFIG_INVALID, str(file)) == (error.value.code, error.value.facts["setting"])


def test_a_file_asked_for_and_not_there_is_said(tmp_path):
    with pytest.raises(AgentError) as error:
        system_layers(tmp_path / "none.toml")

    assert Code.CONFIG_INVALID == error.value.code


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.datetimes(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*Settings.model_fields, "other"])


@given(st.lists(st.tuples(st.sampled_from(list(Source)), st.dictionaries(NAMES, VALUES, max_size=3)), max_size=4))
def test_whatever_the_layers_hold_there_are_settings_or_a_code(layers):
    try:
        loaded = load(layers)
    except AgentError as error:
        code = error.code
    else:
        code = None
        assert {field.name for field in fields(Loaded)} == set(vars(loaded))

    assert code in {None, Code.CONFIG_INVALID}


@pytest.mark.parametrize(
    "printed", ["3B 75 13 00 00 44 09 EA 90 00", "3b751300004409ea9000", " 3b 75 13 00 .. 44 09 ea 90 00\n"]
)
def test_the_atr_of_a_card_is_taken_as_programs_print_it(printed: str) -> None:
    row = {"atr": printed, "kind": "vitale2"}

    (card,) = load([(Source.MACHINE, {"readers": {"cards": [row]}})]).settings.readers.cards

    assert "".join(printed.split()).upper() == card.atr


@pytest.mark.parametrize("atr", ["3B751", "3B7513000", "3B", "", "3G75", 3, ["3B75"]])
def test_an_atr_that_could_never_fit_is_refused_by_name(atr: object) -> None:
    error = refused((Source.MACHINE, {"readers": {"cards": [{"atr": atr, "kind": "vitale2"}]}}))

    assert "readers.cards.0.atr" == error.facts["setting"]


@pytest.mark.parametrize(
    ("setting", "layer"),
    [
        ("organisation.certificates.0", {"organisation": {"certificates": ["structure.p12"]}}),
        ("organisation.certificates.1", {"organisation": {"certificates": ["/a.p12", "~/structure.p12"]}}),
        ("insi.anchors.test.cpx.0", {"insi": {"anchors": {"test": {"cpx": ["./ca.pem"]}}}}),
        ("insi.anchors.test.organisation.0", {"insi": {"anchors": {"test": {"organisation": ["ca.pem"]}}}}),
        ("insi.contract", {"insi": {"contract": "paquet"}}),
        ("insi.bindings", {"insi": {"bindings": "../descriptions"}}),
    ],
)
def test_a_file_whose_place_depends_on_where_the_agent_was_started_is_refused(setting, layer):
    error = refused((Source.MACHINE, layer))

    assert setting == error.facts["setting"]
    assert "not an absolute path" in error.detail
