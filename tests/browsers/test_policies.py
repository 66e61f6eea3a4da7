"""What an administrator's policy answers in the person's place, as a page sees it in real browsers with a window."""

import json
from pathlib import Path

import pytest

from agent.browsers import export
from tests.browsers.tabs import Tab, chromium_tab, firefox_tab
from tests.parts.chromium import Chromiums
from tests.parts.policies import seen_by_browsers
from tests.parts.websites import Websites
from tests.web.doors import RIGHTS, Door

NAMES = ["allowed.example", "blocked.example"]
PORTAL, RECORD = FRAMES = ["portal.example", "record.example"]


def connects_unasked(tab: Tab, origin: str, port: int) -> None:
    with Door(port, {origin: RIGHTS}) as door:
        tab.goto(f"{origin}/bare.html")
        tab.connect(port)
        tab.wait_for_state("connected")
        assert [["connected", None]] == tab.evaluate("seen")
        assert [origin] == door.origins
    assert not tab.is_asked()


def test_in_chromium_a_policy_opens_one_site_and_closes_another_and_nobody_is_asked(
    chromiums: Chromiums, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    with Websites(tmp_path, *NAMES) as sites:
        allowed, blocked = map(sites.origin, NAMES)
        closing = json.dumps({"LoopbackNetworkBlockedForUrls": [blocked]}).encode()
        files = {**export("chromium", [allowed]), "etc/chromium/policies/managed/closing.json": closing}
        seen_by_browsers(files, tmp_path, monkeypatch)
        with chromium_tab(chromiums, sites, tmp_path) as tab:
            connects_unasked(tab, allowed, port)
            with Door(port, {blocked: RIGHTS}) as door:
                tab.goto(f"{blocked}/bare.html")
                tab.connect(port)

                assert "browser.denied" == tab.refused()
                assert not tab.is_asked()
                assert [] == door.heard


def test_in_firefox_a_policy_opens_one_site_and_the_person_is_asked_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    """Firefox ESR 153 has no policy that closes one site."""
    with Websites(tmp_path, *NAMES) as sites:
        allowed, other = map(sites.origin, NAMES)
        seen_by_browsers(export("firefox", [allowed]), tmp_path, monkeypatch)
        with firefox_tab(sites, tmp_path, NAMES) as tab:
            connects_unasked(tab, allowed, port)
            with Door(port, {other: RIGHTS}) as door:
                tab.goto(f"{other}/bare.html")
                tab.connect(port)
                tab.click("block")

                assert "browser.denied" == tab.refused()
                assert [] == door.heard


# ---------------------------------------------------------------- frames: for which of the two pages a browser asks


def frame_connects_unasked(tab: Tab, sites: Websites, port: int) -> None:
    frame = f'<!doctype html><iframe src="{sites.origin(RECORD)}/bare.html" allow="loopback-network">'
    sites.put("/portal.html", frame)
    with Door(port, {sites.origin(RECORD): RIGHTS}) as door:
        tab.goto(f"{sites.origin(PORTAL)}/portal.html")
        tab.connect(port, frame=0)
        tab.wait_for_state("connected", frame=0)
        assert [["connected", None]] == tab.evaluate("seen", frame=0)
        assert [sites.origin(RECORD)] == door.origins
    assert not tab.is_asked()


def test_for_a_frame_chromium_wants_the_page_in_the_address_bar_named(
    chromiums: Chromiums, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    with Websites(tmp_path, *FRAMES) as sites:
        seen_by_browsers(export("chromium", [sites.origin(PORTAL)]), tmp_path, monkeypatch)
        with chromium_tab(chromiums, sites, tmp_path) as tab:
            frame_connects_unasked(tab, sites, port)


def test_for_a_frame_firefox_wants_the_frame_itself_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    with Websites(tmp_path, *FRAMES) as sites:
        seen_by_browsers(export("firefox", [sites.origin(RECORD)]), tmp_path, monkeypatch)
        with firefox_tab(sites, tmp_path, FRAMES) as tab:
            frame_connects_unasked(tab, sites, port)
