"""The policy files for browsers: written from the one list of sites, and judged as the browsers judge them."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.browser_coverage import Coverage, Level, PolicySource, State, coverage, notes, traps
from agent.browsers import BROWSERS, TARGETS, Browser, Engine, export, parse, policy_file
from agent.errors import AgentError, Code

SITES = ["https://dossier.example", "https://dossier.example:8443", "https://xn--sant-fsa.example"]
CHROME, EDGE, CHROMIUM, FIREFOX = BROWSERS
ALLOWED, BLOCKED = "LoopbackNetworkAllowedForUrls", "LoopbackNetworkBlockedForUrls"
LAN_ALLOWED, LAN_BLOCKED = "LocalNetworkAccessAllowedForUrls", "LocalNetworkAccessBlockedForUrls"
SITE = "https://a.example:8443"


def source(policies: Mapping[str, Any] | None, place: str = "one.json", level: Level = Level.MACHINE) -> PolicySource:
    return PolicySource(place, policies, level)


def state(browser: Browser, *policies: Mapping[str, Any], origin: str = SITE) -> State:
    [found] = coverage(browser, [source(one, f"{number}.json") for number, one in enumerate(policies)], [origin])
    return found.state


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("browser", [CHROME, EDGE, CHROMIUM])
def test_the_chromium_family_gets_each_origin_with_its_port_and_this_machine_only(browser: Browser) -> None:
    files = export(browser.name, SITES)

    assert {
        ALLOWED: [
            "https://dossier.example:443",
            "https://dossier.example:8443",
            "https://xn--sant-fsa.example:443",
        ]
    } == json.loads(files[f"{browser.folder}/managed/insi-agent.json"])


def test_firefox_gets_each_host_once() -> None:
    files = export("firefox", SITES)

    assert {
        "policies": {"LocalNetworkAccess": {"SkipDomains": ["dossier.example", "xn--sant-fsa.example"]}}
    } == json.loads(files["etc/firefox/policies/policies.json"])


def test_what_the_file_in_place_says_is_kept() -> None:
    chrome = {"HomepageLocation": "https://portail.example", ALLOWED: ["https://autre.example"]}
    firefox = {
        "Certificates": {"Install": ["ca.pem"]},
        "LocalNetworkAccess": {"Enabled": True, "SkipDomains": ["autre.example", "dossier.example"]},
    }

    kept = json.loads(export("chrome", SITES[:1], existing=chrome)[policy_file(CHROME)])
    kept_too = json.loads(export("firefox", SITES[:1], existing=firefox)[policy_file(FIREFOX)])

    assert {**chrome, ALLOWED: ["https://autre.example", "https://dossier.example:443"]} == kept
    assert {"policies": firefox} == kept_too
    assert ["https://autre.example"] == chrome[ALLOWED]


@pytest.mark.parametrize(
    ("target", "existing"),
    [
        ("chrome", {ALLOWED: "https://autre.example"}),
        ("chrome", {ALLOWED: ["https://autre.example", 5]}),
        ("firefox", {"LocalNetworkAccess": []}),
        ("firefox", {"LocalNetworkAccess": {"SkipDomains": None}}),
    ],
)
def test_a_list_in_place_that_is_none_is_not_built_upon(target: str, existing: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as refused:
        export(target, SITES, existing=existing)

    assert (Code.CONFIG_INVALID, "--merge") == (refused.value.code, refused.value.facts["setting"])


def test_the_registry_file_is_what_regedit_writes() -> None:
    """Version line, UTF-16 with a mark and CRLF, numbered REG_SZ values."""
    data = export("reg", SITES[:2], start=7)["windows/insi-agent.reg"]

    assert b"\xff\xfe" == data[:2]
    text = data.decode("utf-16")
    assert text.startswith("Windows Registry Editor Version 5.00\r\n\r\n")
    assert text.count("\n") == text.count("\r\n")
    keys = dict(re.findall(r"^\[(.*)\]\r\n((?:\".*\r\n)+)", text, re.MULTILINE))
    policies = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Policies\\"
    origins = '"7"="https://dossier.example:443"\r\n"8"="https://dossier.example:8443"\r\n'
    assert {
        policies + "Google\\Chrome\\LoopbackNetworkAllowedForUrls": origins,
        policies + "Microsoft\\Edge\\LoopbackNetworkAllowedForUrls": origins,
        policies + "Mozilla\\Firefox\\LocalNetworkAccess\\SkipDomains": '"7"="dossier.example"\r\n',
    } == keys


def test_the_scripts_for_intune_name_the_same_keys_and_stay_ascii_for_windows_powershell() -> None:
    files = export("intune", SITES[:2])

    scripts = {name: text.decode("ascii") for name, text in files.items() if name.endswith(".ps1")}
    assert ["detect", "remediate", "remove"] == [name.removeprefix("windows/insi-agent-")[:-4] for name in scripts]
    for script in scripts.values():
        assert script.count("\n") == script.count("\r\n")
        assert (
            "  'HKLM:\\SOFTWARE\\Policies\\Microsoft\\Edge\\LoopbackNetworkAllowedForUrls'"
            " = @('https://dossier.example:443', 'https://dossier.example:8443')\r\n"
        ) in script
        assert "Firefox\\LocalNetworkAccess\\SkipDomains' = @('dossier.example')\r\n" in script
        for opening, closing in ("{}", "()"):
            assert script.count(opening) == script.count(closing)


@pytest.mark.parametrize("target", TARGETS)
def test_every_export_says_where_each_file_goes_and_since_which_version(target: str) -> None:
    files = export(target, SITES)
    guide = files["insi-agent-LISEZMOI.txt"].decode()

    assert all(name in guide for name in files if not name.endswith(".txt"))
    assert "règle connue depuis la 146" in guide
    assert "redémarrage" in guide


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "origins", [[], ["http://dossier.example"], ["https://*.example"], ["https://dossier.example/"], ["*"]]
)
def test_without_a_site_or_for_what_is_no_https_origin_nothing_is_written(target: str, origins: list[str]) -> None:
    with pytest.raises(AgentError) as refused:
        export(target, origins)

    assert (Code.CONFIG_INVALID, "origins.allowed") == (refused.value.code, refused.value.facts["setting"])


HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,5}){1,2}", fullmatch=True)
ORIGINS = st.builds(
    lambda host, port: f"https://{host}" + (f":{port}" if port else ""), HOSTS, st.none() | st.integers(1, 65535)
)


@given(st.lists(ORIGINS, min_size=1, max_size=5), ORIGINS)
def test_what_is_written_covers_its_sites_and_in_the_chromium_family_no_other(sites: list[str], other: str) -> None:
    for browser in BROWSERS:
        written = parse(export(browser.name, sites)[policy_file(browser)], browser.engine)

        assert {State.COVERED} == {one.state for one in coverage(browser, [source(written)], sites)}
        if browser.engine is Engine.BLINK:
            ours = {site if site.count(":") == 2 else f"{site}:443" for site in sites}
            asked = (other if other.count(":") == 2 else f"{other}:443") not in ours
            assert (State.ASKED if asked else State.COVERED) == state(browser, written or {}, origin=other)


# ---------------------------------------------------------------- judging, as measured on Chromium 156


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("*", SITE, True),
        ("a.example", SITE, True),
        ("*://a.example", SITE, True),
        ("https://a.example", SITE, True),
        ("https://a.example:*", SITE, True),
        ("https://A.EXAMPLE:8443", SITE, True),
        ("https://a.example:8443/", SITE, True),
        ("https://a.example/chemin", SITE, True),
        ("https://*", SITE, True),
        ("[*.]example", SITE, True),
        ("[*.]a.example", SITE, True),
        ("https://[*.]example/*", SITE, True),
        ("https://a.example:443", "https://a.example", True),
        ("*.example", SITE, False),
        ("http://a.example", SITE, False),
        ("https://a.example:443", SITE, False),
        ("https://example", SITE, False),
        ("[*.]ample", SITE, False),
        ("::bad::", SITE, False),
        ("", SITE, False),
    ],
)
def test_patterns_match_as_chromium_matches_them(pattern: str, origin: str, matches: bool) -> None:
    assert (State.COVERED if matches else State.ASKED) == state(CHROMIUM, {ALLOWED: [pattern]}, origin=origin)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({ALLOWED: [SITE], BLOCKED: [SITE]}, State.BLOCKED),
        ({ALLOWED: ["*"], BLOCKED: ["*"]}, State.BLOCKED),
        ({LAN_ALLOWED: [SITE], LAN_BLOCKED: [SITE]}, State.BLOCKED),
        ({LAN_ALLOWED: ["*"], BLOCKED: ["*"]}, State.BLOCKED),
        ({ALLOWED: [SITE], LAN_BLOCKED: [SITE]}, State.COVERED),
        # the more precise one wins over that order: host, then port, then scheme
        ({ALLOWED: [SITE], BLOCKED: ["[*.]example"]}, State.COVERED),
        ({ALLOWED: ["*"], LAN_BLOCKED: ["https://a.example"]}, State.BLOCKED),
        ({LAN_ALLOWED: ["https://a.example"], BLOCKED: ["*"]}, State.COVERED),
        ({ALLOWED: ["[*.]a.example"], BLOCKED: ["https://[*.]example:8443"]}, State.COVERED),
        ({ALLOWED: ["https://[*.]a.example:8443"], BLOCKED: ["a.example"]}, State.BLOCKED),
        ({ALLOWED: ["*://a.example:8443"], BLOCKED: ["https://a.example"]}, State.COVERED),
        ({ALLOWED: ["a.example"], BLOCKED: ["https://a.example"]}, State.BLOCKED),
        # what does not open this machine
        ({"LocalNetworkAllowedForUrls": [SITE]}, State.ASKED),
        ({"LoopbackNetworkAccessAllowedForUrls": [SITE]}, State.ASKED),
        ({ALLOWED: SITE}, State.ASKED),
        ({"LocalNetworkAccessRestrictionsTemporaryOptOut": True, BLOCKED: [SITE]}, State.UNGUARDED),
        ({"LocalNetworkAccessRestrictionsTemporaryOptOut": False}, State.ASKED),
    ],
)
def test_among_the_lists_the_most_precise_pattern_decides_and_blocking_wins_a_tie(
    policies: dict[str, Any], expected: State
) -> None:
    assert expected == state(CHROMIUM, policies)


def test_of_two_files_with_one_list_only_the_last_counts_and_that_is_said() -> None:
    sources = [source({ALLOWED: [SITE]}, "a.json"), source({ALLOWED: ["https://autre.example"]}, "b.json")]

    assert [Coverage(SITE, State.ASKED)] == coverage(CHROMIUM, sources, [SITE])
    assert [f"{ALLOWED} de a.json est caché par celui de b.json"] == traps(CHROMIUM, sources)


@pytest.mark.parametrize("hiding", [None, "texte"])
def test_even_a_wrong_value_hides_the_one_before(hiding: object) -> None:
    assert State.ASKED == state(CHROMIUM, {ALLOWED: [SITE]}, {ALLOWED: hiding})


@pytest.mark.parametrize("merged", [ALLOWED, "*"])
def test_lists_that_the_merge_policy_names_join(merged: str) -> None:
    sources = [
        source({ALLOWED: [SITE]}, "a.json"),
        source({ALLOWED: ["https://autre.example"], "PolicyListMultipleSourceMergeList": [merged]}, "b.json"),
    ]

    assert [Coverage(SITE, State.COVERED, ALLOWED, "a.json, b.json")] == coverage(CHROMIUM, sources, [SITE])
    assert [] == traps(CHROMIUM, sources)


def test_a_recommended_list_counts_unless_a_mandatory_one_hides_it() -> None:
    recommended = source({ALLOWED: [SITE]}, "r.json", Level.RECOMMENDED)
    other = source({ALLOWED: ["https://autre.example"]}, "m.json")

    assert State.COVERED is coverage(CHROMIUM, [recommended], [SITE])[0].state
    assert State.ASKED is coverage(CHROMIUM, [other, recommended], [SITE])[0].state


def test_the_machines_registry_hides_the_persons_whatever_the_order() -> None:
    machine = source({BLOCKED: [SITE]}, "HKLM")
    person = source({BLOCKED: [], ALLOWED: ["*"]}, "HKCU", Level.USER)

    assert State.BLOCKED is coverage(CHROME, [machine, person], [SITE])[0].state


# ---------------------------------------------------------------- judging, as measured on Firefox ESR 153.7


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"SkipDomains": ["a.example"]}, State.COVERED),
        ({"SkipDomains": ["*.example"]}, State.COVERED),
        ({"SkipDomains": ["*.a.example"]}, State.COVERED),
        ({"SkipDomains": ["a.example", 5]}, State.COVERED),
        ({"SkipDomains": ["A.EXAMPLE"]}, State.ASKED),
        ({"SkipDomains": ["https://a.example"]}, State.ASKED),
        ({"SkipDomains": ["a.example:8443"]}, State.ASKED),
        ({"SkipDomains": ["*.ample"]}, State.ASKED),
        ({"SkipDomains": "a.example"}, State.ASKED),
        ({"Enabled": True}, State.ASKED),
        ({}, State.ASKED),
        ([], State.ASKED),
        ({"SkipDomains": ["*"]}, State.UNGUARDED),
        ({"SkipDomains": ["127.0.0.1"]}, State.UNGUARDED),
        ({"Enabled": False, "SkipDomains": ["a.example"]}, State.UNGUARDED),
        ({"Enabled": 0}, State.UNGUARDED),
        ({"Enabled": False, "EnablePrompting": True}, State.UNGUARDED),
        ({"Enabled": True, "EnablePrompting": False, "SkipDomains": ["a.example"]}, State.UNGUARDED),
        ({"Enabled": 1, "EnablePrompting": 0}, State.UNGUARDED),
        ({"Enabled": True, "EnablePrompting": True}, State.ASKED),
        ({"EnablePrompting": False}, State.ASKED),
    ],
)
def test_firefox_skips_hosts_and_domains_as_written(rule: object, expected: State) -> None:
    assert expected == state(FIREFOX, {"LocalNetworkAccess": rule})


# ---------------------------------------------------------------- what is said


def test_the_worst_is_said_first_and_sites_of_one_fate_together() -> None:
    policies = {ALLOWED: ["[*.]b.example"], BLOCKED: [SITE], "LoopbackNetworkAccessAllowedForUrls": [SITE]}
    sites = ["https://c.example", "https://1.b.example", SITE, "https://2.b.example"]

    assert [
        f"Chromium : {SITE} bloqué par {BLOCKED} (one.json)",
        "Chromium : two.json est illisible pour l'agent",
        f"Chromium : LoopbackNetworkAccessAllowedForUrls est sans effet, son vrai nom est {ALLOWED} (one.json)",
        "Chromium : https://c.example non couvert, le navigateur demandera à la personne",
        f"Chromium : https://1.b.example, https://2.b.example couvert par {ALLOWED} (one.json)",
    ] == [note.says for note in notes(CHROMIUM, "Chromium", [source(policies), source(None, "two.json")], sites)]


def test_a_list_that_chromium_cannot_take_is_said() -> None:
    assert [f"{ALLOWED} n'est pas une liste de textes (one.json)"] == traps(CHROMIUM, [source({ALLOWED: [SITE, 5]})])


@pytest.mark.parametrize(
    ("data", "engine", "read"),
    [
        (b'{"a": 1}', Engine.BLINK, {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', Engine.BLINK, {"a": 1}),
        (b'{"policies": {"a": 1}}', Engine.GECKO, {"a": 1}),
        (b'\xef\xbb\xbf{"policies": {"a": 1}}', Engine.GECKO, None),
        (b'{"a": 1}', Engine.GECKO, None),
        (b"[]", Engine.BLINK, None),
        (b"[" * 100_000, Engine.BLINK, None),
        (b"", Engine.BLINK, None),
    ],
)
def test_a_file_is_read_as_its_browser_reads_it(data: bytes, engine: Engine, read: object) -> None:
    assert read == parse(data, engine)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *(ALLOWED, BLOCKED, LAN_ALLOWED, LAN_BLOCKED, "LocalNetworkAccess", "PolicyListMultipleSourceMergeList"),
    *("LocalNetworkAccessRestrictionsTemporaryOptOut", "LocalNetworkAllowedForUrls"),
]
PATTERNS = st.lists(st.text("*[].:/ahtpse8", max_size=24), max_size=3)
RULES = st.fixed_dictionaries({}, optional={"Enabled": JSON, "EnablePrompting": JSON, "SkipDomains": PATTERNS | JSON})
POLICIES = st.dictionaries(st.sampled_from(KEYS), JSON | PATTERNS | RULES, max_size=5)


@given(st.lists(st.none() | POLICIES, max_size=3), st.sampled_from(BROWSERS))
def test_whatever_a_policy_holds_there_is_an_answer(found: list[dict[str, Any] | None], browser: Browser) -> None:
    sources = [source(one, f"{number}.json", Level(number)) for number, one in enumerate(found)]

    assert [SITE] == [one.origin for one in coverage(browser, sources, [SITE, SITE])]
    assert all(note.says for note in notes(browser, "N", sources, [SITE]))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from(list(Engine)))
def test_any_bytes_are_policies_or_unreadable(data: bytes, engine: Engine) -> None:
    read = parse(data, engine)

    assert read is None or isinstance(read, dict)


@given(POLICIES, st.sampled_from(["chrome", "firefox"]))
def test_any_file_in_place_is_kept_or_refused(existing: dict[str, Any], target: str) -> None:
    try:
        files = export(target, SITES, existing=existing)
    except AgentError as error:
        assert Code.CONFIG_INVALID is error.code
    else:
        browser = next(browser for browser in BROWSERS if browser.name == target)
        written = parse(files[policy_file(browser)], browser.engine)
        assert written is not None
        touched = {ALLOWED, "LocalNetworkAccess"}
        assert {k: v for k, v in existing.items() if k not in touched} == {
            k: v for k, v in written.items() if k not in touched
        }
