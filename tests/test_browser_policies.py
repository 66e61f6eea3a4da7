"""The policies of this machine: found where browsers look, written by `policy export`, believed by browsers."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.browser_coverage import Level, PolicySource, State, coverage
from agent.browser_policies import Installed, on_linux, on_windows
from agent.browsers import BROWSERS, export
from agent.cli import main
from agent.config import Settings
from agent.doctor import _browsers, _probe, examine
from agent.errors import CATALOGUE, Code
from tests.parts.chromium import Chromiums
from tests.parts.firefox import PROTECTED, firefox, gated
from tests.parts.policies import seen_by_browsers
from tests.parts.websites import Websites
from tests.web.doors import RIGHTS, Door, free_port

ALLOWED = "LoopbackNetworkAllowedForUrls"
SITE = "https://dossier.example:8443"
ROOT = Path(__file__).parents[1]


def put(root: Path, name: str, content: object) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


def found(root: Path, name: str) -> Installed:
    [one] = [one for one in on_linux(root, root / "home") if one.browser.name == name]
    return one


# ---------------------------------------------------------------- what a Linux machine has


def test_nothing_installed_is_nothing_found(tmp_path: Path) -> None:
    assert [] == on_linux(tmp_path, tmp_path)


def test_a_browser_is_known_by_its_program_and_says_its_version(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/microsoft-edge", "")
    put(tmp_path, "usr/lib/firefox-esr/application.ini", "[App]\nName=Firefox\nVersion=153.7.0\n")
    put(tmp_path, "home/.config/microsoft-edge/Last Version", "156.0.1.2")

    assert ["Microsoft Edge 156.0.1.2", "Firefox 153.7.0"] == [
        one.title for one in on_linux(tmp_path, tmp_path / "home")
    ]


def test_a_version_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/chromium", "")
    put(tmp_path, "usr/lib/firefox-esr/application.ini", "Version=1")

    assert ["Chromium", "Firefox"] == [one.title for one in on_linux(tmp_path, tmp_path / "home")]


def test_every_file_of_both_folders_is_read_in_the_browsers_order_whatever_its_name(tmp_path: Path) -> None:
    put(tmp_path, "etc/opt/chrome/policies/managed/z.json.bak", {ALLOWED: ["https://ancien.example"]})
    put(tmp_path, "etc/opt/chrome/policies/managed/insi-agent.json", {ALLOWED: [SITE]})
    put(tmp_path, "etc/opt/chrome/policies/recommended/a.json", {"HomepageLocation": SITE})

    chrome = found(tmp_path, "chrome")

    assert [("a.json", Level.RECOMMENDED), ("insi-agent.json", Level.MACHINE), ("z.json.bak", Level.MACHINE)] == [
        (Path(source.place).name, source.level) for source in chrome.sources
    ]
    assert State.ASKED is coverage(chrome.browser, chrome.sources, [SITE])[0].state


def test_firefox_has_one_file_the_systems_before_the_one_beside_its_program(tmp_path: Path) -> None:
    beside = put(tmp_path, "usr/lib/firefox-esr/distribution/policies.json", {"policies": {"a": 1}})
    assert [str(beside)] == [source.place for source in found(tmp_path, "firefox").sources]

    system = put(tmp_path, "etc/firefox/policies/policies.json", "{")
    assert [(str(system), None)] == [(source.place, source.policies) for source in found(tmp_path, "firefox").sources]


def test_a_file_that_cannot_be_opened_is_unreadable_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "etc/firefox/policies/policies.json").mkdir(parents=True)

    assert [None] == [source.policies for source in found(tmp_path, "firefox").sources]


def test_what_was_exported_is_found_where_the_browsers_look(tmp_path: Path) -> None:
    for browser in BROWSERS:
        for name, content in export(browser.name, [SITE]).items():
            put(tmp_path, name, content.decode("utf-16" if name.endswith(".reg") else "utf-8"))

    everywhere = [coverage(one.browser, one.sources, [SITE])[0].state for one in on_linux(tmp_path, tmp_path / "home")]

    assert [State.COVERED] * len(BROWSERS) == everywhere


@given(data=st.binary(max_size=80))
def test_whatever_a_policy_file_holds_the_machine_can_be_described(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    for name in ("etc/chromium/policies/managed/x", "etc/firefox/policies/policies.json"):
        put(root, name, "")
        (root / name).write_bytes(data)

    for one in on_linux(root, root):
        assert 1 == len(coverage(one.browser, one.sources, [SITE]))


# ---------------------------------------------------------------- what a Windows machine has


def registry_of(keys: Mapping[str, Any]) -> Any:
    """A registry as `read_registry` gives it: {} for a key that is not there."""

    def read(hive: str, path: str) -> object:
        value = keys.get(f"{hive}\\{path}", {})
        if isinstance(value, Exception):
            raise value
        return value

    return read


def test_on_windows_the_registry_tells_browsers_versions_and_policies() -> None:
    read = registry_of(
        {
            r"HKEY_CURRENT_USER\SOFTWARE\Google\Chrome\BLBeacon": {"version": "156.0"},
            r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Google\Chrome": {ALLOWED: [SITE]},
            r"HKEY_CURRENT_USER\SOFTWARE\Policies\Google\Chrome": {
                "LoopbackNetworkBlockedForUrls": ["*"],
                "Recommended": {"HomepageLocation": SITE},
            },
            r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Mozilla\Firefox": {"LocalNetworkAccess": {"Enabled": 0}},
        }
    )

    chrome, firefox_found = on_windows(read)

    assert ("Google Chrome 156.0", "Firefox") == (chrome.title, firefox_found.title)
    assert [Level.RECOMMENDED, Level.USER, Level.MACHINE] == [source.level for source in chrome.sources]
    assert State.COVERED is coverage(chrome.browser, chrome.sources, [SITE])[0].state
    assert State.UNGUARDED is coverage(firefox_found.browser, firefox_found.sources, [SITE])[0].state


def test_a_registry_key_that_is_not_for_us_is_unreadable_and_no_failure() -> None:
    [edge] = on_windows(registry_of({r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Edge": PermissionError()}))

    assert [(r"HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Edge", None)] == [
        (source.place, source.policies) for source in edge.sources
    ]


# ---------------------------------------------------------------- the command


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with one site, shown in a frame by another; a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "config.toml"
    file.write_text(
        f'[[origins.allowed]]\norigin = "{SITE}"\nframed_by = ["https://portail.example"]\n', encoding="utf-8"
    )
    return file


def command(config: Path, *words: str) -> int:
    return main(["policy", "export", "--config", str(config), *words])


def test_the_configured_sites_and_the_pages_that_frame_them_are_written(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == command(config, "--for", "chromium", "--output", str(tmp_path / "out"))

    written = tmp_path / "out/etc/chromium/policies/managed/insi-agent.json"
    assert {ALLOWED: [SITE, "https://portail.example:443"]} == json.loads(written.read_text("utf-8"))
    assert [str(tmp_path / "out/insi-agent-LISEZMOI.txt"), str(written)] == capsys.readouterr().out.splitlines()


def test_a_page_that_frames_a_site_gets_no_right_at_the_agent(config: Path) -> None:
    settings = Settings.model_validate({"origins": {"allowed": [{"origin": SITE, "framed_by": ["https://p.example"]}]}})

    assert [SITE] == [site.origin for site in settings.origins.allowed]
    assert [SITE, "https://p.example"] == settings.page_origins


def test_without_a_folder_the_files_are_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == command(config, "--for", "reg", "--start", "3")

    shown = capsys.readouterr().out
    assert "--- windows/insi-agent.reg\n" in shown
    assert f'"3"="{SITE}"\n"4"="https://portail.example:443"\n' in shown


def test_a_file_of_somebody_else_is_replaced_only_by_one_that_keeps_it(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    theirs = put(root, "etc/firefox/policies/policies.json", {"policies": {"DisableTelemetry": True}})
    before = theirs.read_text("utf-8")

    assert 1 == command(config, "--for", "firefox", "--output", str(root))
    assert (before, [theirs]) == (theirs.read_text("utf-8"), [file for file in root.rglob("*") if file.is_file()])
    assert f"Réglage : {theirs}\nRaison : ce fichier existe déjà" in capsys.readouterr().err

    assert 0 == command(config, "--for", "firefox", "--output", str(root), "--merge", str(theirs))
    assert {
        "DisableTelemetry": True,
        "LocalNetworkAccess": {"SkipDomains": ["dossier.example", "portail.example"]},
    } == json.loads(theirs.read_text("utf-8"))["policies"]
    assert 0 == command(config, "--for", "chrome", "--output", str(root))
    assert 0 == command(config, "--for", "chrome", "--output", str(root))  # ours may be written again


# The command in a process of its own: killed at each step that it takes in the folder, and by the kernel in the middle
# of what it writes (getrlimit(2), RLIMIT_FSIZE).
KILLED = """
import json, os, resource, signal, sys
from pathlib import Path
from agent.cli import main
root, config, before = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
steps, last, folder = 0, 0, root

def stopping(event, arguments):
    global steps
    if last and (event == "open" or event.startswith("os.")) and arguments and str(folder) in str(arguments[0]):
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(stopping)
for step, room in [(0, 4_096), (0, 50_000), *((step, resource.RLIM_INFINITY) for step in range(1, 100))]:
    folder = root / f"{step}-{room}"
    theirs = folder / "etc/firefox/policies/policies.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(before.read_bytes())
    child = os.fork()
    if not child:
        last = step
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        words = ["--for", "firefox", "--output", str(folder), "--merge", str(theirs), "--config", config]
        os._exit(main(["policy", "export", *words]))
    _, status = os.waitpid(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), theirs.read_text("utf-8")]), flush=True)
    if os.waitstatus_to_exitcode(status) == 0:
        break
"""


def test_who_is_killed_while_merging_leaves_the_rules_in_place_or_the_new_ones(config: Path, tmp_path: Path) -> None:
    before = put(tmp_path, "before.json", {"policies": {"DisableTelemetry": True, "Notes": "x" * 100_000}})
    root = tmp_path / "out"

    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(config), str(before)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    steps = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    assert [-signal.SIGXFSZ] * 2 + [-signal.SIGKILL] * (len(steps) - 3) + [0] == [ended for ended, _ in steps]
    found = list(dict.fromkeys(content for _, content in steps))
    assert 2 == len(found)
    assert before.read_text("utf-8") == found[0]
    assert {"DisableTelemetry", "Notes", "LocalNetworkAccess"} == set(json.loads(found[1])["policies"])
    assert len(steps) > 8


def test_what_is_written_is_for_every_users_browser_and_a_link_stays_one(config: Path, tmp_path: Path) -> None:
    kept = put(tmp_path, "kept.json", {"policies": {}})
    kept.chmod(0o600)
    link = tmp_path / "out/etc/firefox/policies/policies.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(kept)

    umask = os.umask(0o077)
    try:
        assert 0 == command(config, "--for", "firefox", "--output", str(tmp_path / "out"), "--merge", str(link))
    finally:
        os.umask(umask)

    assert link.is_symlink()
    assert "LocalNetworkAccess" in json.loads(kept.read_text("utf-8"))["policies"]
    assert 0o644 == stat.S_IMODE(kept.stat().st_mode)
    assert ["policies.json"] == [file.name for file in link.parent.iterdir()]


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["--for", "chrome", "--merge", "absent.json"], "absent.json"),
        (["--for", "chrome", "--merge", "config.toml"], "config.toml"),
        (["--for", "reg", "--merge", "config.toml"], "--merge"),
        (["--for", "chrome", "--output", "config.toml"], "config.toml"),
    ],
)
def test_a_wrong_file_is_named(
    config: Path,
    words: list[str],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(config.parent)

    assert 1 == command(config, *words)
    said = capsys.readouterr().err
    assert CATALOGUE[Code.CONFIG_INVALID].title.fr in said
    assert f"Réglage : {setting}\n" in said


def test_without_a_site_nothing_is_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("", encoding="utf-8")

    assert 1 == command(config, "--for", "intune", "--output", str(config.parent / "out"))
    assert "Raison : aucun site n'est autorisé" in capsys.readouterr().err
    assert not (config.parent / "out").exists()


@pytest.mark.parametrize("words", [[], ["--for", "safari"], ["--for", "reg", "--start", "0"]])
def test_wrong_words_end_with_2(config: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(config, *words)

    assert 2 == ended.value.code
    assert capsys.readouterr().err.startswith("usage: insi-agent policy")


# ---------------------------------------------------------------- the doctor


def test_the_doctor_says_for_each_browser_of_this_machine_what_becomes_of_each_site(config: Path) -> None:
    """This machine's own Chromium and Firefox, with whatever policies they have."""
    [finding] = [finding for finding in examine(config) if finding.what == "Navigateurs"]

    assert "Chromium" in finding.says
    assert "Firefox" in finding.says
    assert SITE in finding.says


@pytest.mark.parametrize(("managed", "well"), [(False, True), (True, False)])
def test_a_question_to_the_person_is_a_fault_on_a_managed_machine_only(managed: bool, well: bool) -> None:
    """No policy of this machine knows this site."""
    site = {"origin": "https://sans-regle.insi-politique.test"}
    finding = _probe(
        "Navigateurs", _browsers, Settings.model_validate({"managed": managed, "origins": {"allowed": [site]}})
    )

    assert "https://sans-regle.insi-politique.test non couvert" in finding.says
    assert well is finding.well


def test_without_a_site_there_is_nothing_to_say_of_browsers() -> None:
    finding = _probe("Navigateurs", _browsers, Settings())

    assert (True, "aucun navigateur connu, ou aucun site autorisé") == (finding.well, finding.says)


# ---------------------------------------------------------------- real browsers


@pytest.fixture
def sites(tmp_path: Path) -> Any:
    with Websites(tmp_path, "couvert.insi-politique.test", "autre.insi-politique.test") as serving:
        yield serving


CONNECT = (  # an expression whose value comes with the answer
    "new Promise((told) => { const socket = new WebSocket('ws://127.0.0.1:%d/', 'insi-agent.v1');"
    "socket.onopen = () => told('open'); socket.onerror = () => told('error'); })"
)
ASK = "navigator.permissions.query({name: 'loopback-network'}).then((permission) => permission.state)"


def test_chromium_lets_the_exported_site_in_without_a_question_and_no_other(
    sites: Websites, chromiums: Chromiums, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    covered, other = (sites.origin(f"{name}.insi-politique.test") for name in ("couvert", "autre"))
    seen_by_browsers(export("chromium", [covered]), tmp_path, monkeypatch)
    port = free_port()
    switches = [
        "--ignore-certificate-errors",
        "--host-resolver-rules=MAP *.insi-politique.test 127.0.0.1",
        f"--ip-address-space-overrides=127.0.0.1:{sites.port}=public",
    ]
    with Door(port, {covered: RIGHTS, other: RIGHTS}), chromiums.launched(*switches) as browser:
        page = browser.new_page()
        page.goto(f"{other}/bare.html")
        elsewhere = page.evaluate(ASK)
        page.goto(f"{covered}/bare.html")
        here = page.evaluate(ASK)
        connected = page.evaluate(CONNECT % port)

    assert ("prompt", "granted", "open") == (elsewhere, here, connected)


def test_firefox_lets_the_exported_site_in_without_a_question_and_no_other(
    sites: Websites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the gate on WebSocket that Firefox 154 closes and ESR 153 leaves open."""
    covered, other = (sites.origin(f"{name}.insi-politique.test") for name in ("couvert", "autre"))
    seen_by_browsers(export("firefox", [covered]), tmp_path, monkeypatch)
    profile = tmp_path / "profile"
    sites.trust_in(profile)
    port = free_port()
    gate = {
        **gated(["couvert.insi-politique.test", "autre.insi-politique.test"], sites.port),
        **PROTECTED,
        "network__websocket__timeout__open": 5,  # how long an unanswered question may hold a connection; else 20 s
    }
    with Door(port, {covered: RIGHTS, other: RIGHTS}), firefox(profile, **gate) as browser:
        browser.goto(f"{covered}/bare.html")
        here = browser.evaluate(CONNECT % port)
        browser.goto(f"{other}/bare.html")
        elsewhere = browser.evaluate(CONNECT % port)

    assert ("open", "error") == (here, elsewhere)


@pytest.mark.parametrize(("enabled", "came"), [({}, "error"), ({"Enabled": True}, "open")])
def test_firefox_without_its_question_lets_every_site_in_where_the_protection_is_set_and_only_there(
    sites: Websites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: dict[str, bool], came: str
) -> None:
    """What `coverage` says of EnablePrompting: measured, as its name says the contrary."""
    other = sites.origin("autre.insi-politique.test")
    rule = {**enabled, "EnablePrompting": False}
    policies = {"LocalNetworkAccess": rule}
    place = "etc/firefox/policies/policies.json"
    seen_by_browsers({place: json.dumps({"policies": policies}).encode()}, tmp_path, monkeypatch)
    profile = tmp_path / "profile"
    sites.trust_in(profile)
    port = free_port()
    gate = {**gated(["autre.insi-politique.test"], sites.port), "network__websocket__timeout__open": 5}
    with Door(port, {other: RIGHTS}), firefox(profile, **gate) as browser:
        browser.goto(f"{other}/bare.html")
        connected = browser.evaluate(CONNECT % port)

    [firefox_found] = [one for one in BROWSERS if one.name == "firefox"]
    [judged] = coverage(firefox_found, [PolicySource(place, policies)], [other])
    assert came == connected
    assert (State.UNGUARDED if came == "open" else State.ASKED) is judged.state
