"""The browser's permission (Local Network Access), met for real: a page of the internet, the question on screen, a hand
that answers it. Real Chromium and Firefox ESR, the agent's real door, the product's own client module.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.demo import page_folder
from tests.browsers.tabs import Tab, chromium_tab, firefox_tab
from tests.parts.websites import Websites
from tests.web.doors import RIGHTS, Door

# The person thinks longer than the 10 s for which a WebSocket library waits by itself. `make patience` gives them 60.
THINKS_S = float(os.environ.get("INSI_AGENT_PERSON_THINKS_S", "15"))

# The browser remembers answers by site: each test has a site of its own.
NAMES = [
    f"{name}.example"
    for name in (
        "allow",
        "away",
        "tabs",
        "block",
        "closed",
        "portal",
        "bare-frame",
        "frame",
        "blocked-frame",
        "csp",
        "policy",
        "http",
    )
]
ONLY_CHROMIUM = pytest.mark.parametrize("tab", ["chromium"], indirect=True)  # Firefox keeps its question on screen


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Websites]:
    with Websites(tmp_path_factory.mktemp("sites"), *NAMES) as sites:
        yield sites


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def tab(request: pytest.FixtureRequest, sites: Websites, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "firefox":
        with firefox_tab(sites, folder, NAMES) as tab:
            yield tab
    else:
        with chromium_tab(request.getfixturevalue("chromiums"), sites, folder) as tab:
            yield tab


def with_patience(milliseconds: int) -> str:
    """The client module, with this patience for a person."""
    module = (page_folder() / "sdk/insi-agent.js").read_text("utf-8")
    assert module.count("PERSON_MS = 120_000;") == 1
    return module.replace("PERSON_MS = 120_000;", f"PERSON_MS = {milliseconds};")


def held(port: int) -> set[str]:
    """The far ends of the connections that the agent on this port holds now, as the system counts them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {far for _, near, far, state, *_ in rows if near.endswith(f":{port:04X}") and state == "01"}


@contextmanager
def visited(tab: Tab, port: int, origin: str) -> Iterator[Door]:
    """A page of this site looks for the agent, whose door knows the site."""
    with Door(port, {origin: RIGHTS}) as door:
        tab.goto(f"{origin}/bare.html")
        tab.connect(port)
        yield door


# ---------------------------------------------------------------- the question


def test_a_person_who_thinks_for_long_and_allows_ends_connected(tab: Tab, sites: Websites, port: int) -> None:
    origin = sites.origin("allow.example")
    with visited(tab, port, origin) as door:
        tab.wait_for_state("waitingForBrowser")
        assert tab.is_asked()
        silent = held(port)
        assert "browser.pending" == tab.evaluate("agent.call('cards.watch').catch(({ reason }) => reason)")

        time.sleep(THINKS_S)

        assert tab.is_asked()
        assert silent == held(port)  # connections that said nothing yet: none was dropped
        assert [] == door.heard
        tab.click("allow")
        tab.wait_for_state("connected")
        assert [["waitingForBrowser", "browser.pending"], ["connected", None]] == tab.evaluate("seen")
        assert [origin] == door.origins


@ONLY_CHROMIUM
def test_what_the_agent_sees_while_chromium_asks_is_a_silent_connection(tab: Tab, sites: Websites, port: int) -> None:
    origin = sites.origin("closed.example")
    with visited(tab, port, origin) as door:
        tab.wait_for_state("waitingForBrowser")

        assert held(port) != set() and [] == door.heard


def test_a_question_that_outlives_the_modules_patience_is_answered_later_by_one_click(
    tab: Tab, sites: Websites, port: int
) -> None:
    """The module begins anew every two minutes, here every two seconds: the question stays the same."""
    origin = sites.origin("away.example")
    sites.put("/sdk/hurried.js", with_patience(2_000))
    with Door(port, {origin: RIGHTS}) as door:
        tab.goto(f"{origin}/bare.html")
        tab.evaluate("(window.looks = 0, window.ask = fetch, window.fetch = (...to) => (looks++, ask(...to)), true)")
        tab.connect(port, module="/sdk/hurried.js")
        tab.wait_for_state("waitingForBrowser")
        tab.wait_for("looks > 6")  # two requests each time

        assert tab.is_asked()
        assert [] == door.heard
        tab.click("allow")
        tab.wait_for_state("connected")
        assert [["waitingForBrowser", "browser.pending"], ["connected", None]] == tab.evaluate("seen")
        assert [origin] == door.origins
        assert not tab.is_asked()


@ONLY_CHROMIUM
def test_one_click_lets_two_tabs_of_a_site_in(tab: Tab, sites: Websites, port: int) -> None:
    origin = sites.origin("tabs.example")
    with visited(tab, port, origin) as door:
        tab.wait_for_state("waitingForBrowser")
        with tab.another() as second:
            second.goto(f"{origin}/bare.html")
            second.connect(port)
            second.wait_for_state("waitingForBrowser")

            second.click("allow")
            second.wait_for_state("connected")
            tab.wait_for_state("connected")
            assert not second.is_asked()
        assert [origin] * 2 == door.origins
    assert not tab.is_asked()


@pytest.mark.parametrize("tab", ["firefox"], indirect=True)
def test_in_firefox_each_tab_of_a_site_is_answered_for_itself(tab: Tab, sites: Websites, port: int) -> None:
    """As long as the person does not tick the box that makes Firefox remember."""
    origin = sites.origin("tabs.example")
    with visited(tab, port, origin) as door:
        tab.wait_for_state("waitingForBrowser")
        with tab.another() as second:
            second.goto(f"{origin}/bare.html")
            second.connect(port)
            second.click("allow")
            second.wait_for_state("connected")
        assert [origin] == door.origins

        tab.click("allow")
        tab.wait_for_state("connected")
        assert [origin] * 2 == door.origins


def test_a_person_who_blocks_is_told_where_to_change_that(tab: Tab, sites: Websites, port: int) -> None:
    origin = sites.origin("block.example")
    with visited(tab, port, origin) as door:
        tab.click("block")

        assert "browser.denied" == tab.refused()
        assert "autorisations du site" in tab.evaluate("agent.error.action")
        tab.evaluate("agent.retry()")
        assert "browser.denied" == tab.refused()
        assert not tab.is_asked()
        assert [] == door.heard


@ONLY_CHROMIUM
def test_a_question_closed_without_an_answer_comes_back_only_when_wanted(tab: Tab, sites: Websites, port: int) -> None:
    """Chromium forbids the site for a week after three of those."""
    origin = sites.origin("closed.example")
    with visited(tab, port, origin) as door:
        tab.wait_for_state("waitingForBrowser")
        assert tab.is_asked()

        tab.desktop.key("Escape")
        assert "browser.denied" == tab.refused()
        tab.evaluate("window.dispatchEvent(new Event('online'))")
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert "refused" == tab.evaluate("new Promise((done) => setTimeout(() => done(agent.state), 3000))")
        assert not tab.is_asked()

        tab.evaluate("agent.retry()")
        tab.click("allow")
        tab.wait_for_state("connected")
        assert [origin] == door.origins


# ---------------------------------------------------------------- frames


def framed(sites: Websites, name: str, allow: str) -> str:
    """The address of a page of another site that holds a frame of `name`, with this `allow`."""
    path = f"/{name}.html"
    sites.put(path, f'<!doctype html><title>Portail</title><iframe src="{sites.origin(name)}/bare.html" {allow}>')
    return sites.origin("portal.example") + path


def test_a_frame_of_another_site_without_the_right_is_told_so(tab: Tab, sites: Websites, port: int) -> None:
    name = "bare-frame.example"
    with Door(port, {sites.origin(name): RIGHTS, sites.origin("portal.example"): RIGHTS}) as door:
        tab.goto(framed(sites, name, ""))
        tab.connect(port, frame=0)

        assert "browser.frame" == tab.refused(frame=0)
        assert not tab.is_asked()
        assert [] == door.heard


def test_a_frame_with_the_right_is_asked_for_and_the_agent_sees_the_frames_own_origin(
    tab: Tab, sites: Websites, port: int
) -> None:
    name = "frame.example"
    with Door(port, {sites.origin(name): RIGHTS}) as door:
        tab.goto(framed(sites, name, 'allow="loopback-network; local-network-access"'))
        tab.connect(port, frame=0)
        tab.click("allow")

        tab.wait_for_state("connected", frame=0)
        assert [sites.origin(name)] == door.origins


def test_a_frame_with_the_right_that_the_person_blocks_is_not_called_a_frame_without_it(
    tab: Tab, sites: Websites, port: int
) -> None:
    name = "blocked-frame.example"
    sites.put("/asks.html", f'<!doctype html><iframe src="{sites.origin(name)}/bare.html" allow="loopback-network">')
    with Door(port, {sites.origin(name): RIGHTS}):
        tab.goto(f"{sites.origin('csp.example')}/asks.html")
        tab.connect(port, frame=0)
        tab.wait_for_state("waitingForBrowser", frame=0)
        tab.click("block")

        assert "browser.denied" == tab.refused(frame=0)


# ---------------------------------------------------------------- what no answer would mend


def test_a_content_security_policy_in_the_way_is_named(tab: Tab, sites: Websites, port: int) -> None:
    origin = sites.origin("csp.example")
    sites.put("/csp.html", "<!doctype html>", Content_Security_Policy="connect-src 'self'")
    with Door(port, {origin: RIGHTS}) as door:
        tab.goto(f"{origin}/csp.html")
        tab.connect(port)

        assert "browser.csp" == tab.refused()
        assert [] == door.heard


@ONLY_CHROMIUM  # Firefox has no such header
@pytest.mark.parametrize("name", ["loopback-network", "local-network-access"])
def test_a_header_that_takes_the_right_from_the_page_is_named(tab: Tab, sites: Websites, port: int, name: str) -> None:
    origin = sites.origin("policy.example")
    sites.put("/policy.html", "<!doctype html>", Permissions_Policy=f"{name}=()")
    with Door(port, {origin: RIGHTS}) as door:
        tab.goto(f"{origin}/policy.html")
        tab.connect(port)

        assert "browser.policy" == tab.refused()
        assert "Permissions-Policy" in tab.evaluate("agent.error.message")
        assert not tab.is_asked()
        assert [] == door.heard


def test_a_page_without_https_is_told_so_and_nobody_is_asked(tab: Tab, sites: Websites, port: int) -> None:
    origin = f"http://http.example:{sites.plain_port}"
    with visited(tab, port, origin) as door:
        assert "browser.insecure" == tab.refused()
        assert not tab.is_asked()
        assert [] == door.heard
