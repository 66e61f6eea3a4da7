"""A real Chromium driven by playwright, with a window only if a test gives it a screen.

A missing browser fails the test with the reason.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

_SWITCHES = [
    "--no-sandbox",  # a container's root has no other way
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE_MS = 20_000


class Chromiums:
    """Starts browsers."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright

    @contextmanager
    def launched(
        self, *switches: str, screen: Mapping[str, str] | None = None, home: Path | None = None
    ) -> Iterator[Browser]:
        """A browser of its own, with more switches; on `screen` (its environment) it has a window, else none.

        `home` holds the certificates it trusts, in .pki/nssdb.
        """
        executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if executable is None:
            pytest.fail("no Chromium here: install the package `chromium`")
        browser = self._playwright.chromium.launch(
            executable_path=executable,
            args=[*_SWITCHES, *switches],
            headless=screen is None,
            env={**os.environ, **(screen or {}), **({"HOME": str(home)} if home else {})},
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")  # not longer: playwright holds this thread's event loop, which other tests want
def chromiums() -> Iterator[Chromiums]:
    """The way to browsers with switches of their own."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        yield Chromiums(playwright)


@pytest.fixture(scope="module")
def chromium(chromiums: Chromiums) -> Iterator[Browser]:
    """The browser of this module's tests."""
    with chromiums.launched() as browser:
        yield browser


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    """A fresh profile with one empty tab of 1280 × 720. A script's uncaught error fails the test."""
    with opened(chromium) as page:
        yield page


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 720}, locale="fr-FR")
    try:
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert [] == errors
    finally:
        context.close()
