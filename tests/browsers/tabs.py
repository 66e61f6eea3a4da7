"""One tab of a real browser on a real screen, the same for Chromium and Firefox, and the sites it visits.

A site's pages count as pages of the internet (Local Network Access asks the person), or as the machine's own.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Page

from tests.parts.chromium import Chromiums, opened
from tests.parts.desktop import Desktop, until
from tests.parts.firefox import PROTECTED, firefox, gated
from tests.parts.prompts import CHROMIUM, FIREFOX, Prompt
from tests.parts.websites import Websites


class Drives(Protocol):
    """What both drivers can do."""

    def goto(self, address: str) -> None: ...

    def evaluate(self, expression: str, *, frame: int | None = None) -> Any:
        """The JSON value of an expression in the page, or in its frame of this number; a promise is waited for."""
        ...

    def another(self) -> "AbstractContextManager[Drives]":
        """A second tab of the same browser, in front."""
        ...


class _Chromium:
    def __init__(self, page: Page) -> None:
        self._page = page

    def goto(self, address: str) -> None:
        self._page.goto(address)

    def evaluate(self, expression: str, *, frame: int | None = None) -> Any:
        where = self._page if frame is None else self._page.main_frame.child_frames[frame]
        return where.evaluate(f"async () => (await ({expression})) ?? null")

    @contextmanager
    def another(self) -> Iterator[Drives]:
        page = self._page.context.new_page()
        try:
            yield _Chromium(page)
        finally:
            page.close()


class Tab:
    """What a person sees and does, and what the page knows."""

    def __init__(self, drives: Drives, desktop: Desktop, prompt: Prompt) -> None:
        self._drives, self.desktop, self._prompt = drives, desktop, prompt
        self.goto, self.evaluate = drives.goto, drives.evaluate

    @contextmanager
    def another(self) -> "Iterator[Tab]":
        """A second tab of the same browser, in front; the first one is again afterwards."""
        with self._drives.another() as drives:
            yield Tab(drives, self.desktop, self._prompt)

    def wait_for(self, expression: str, *, frame: int | None = None) -> None:
        until(lambda: bool(self.evaluate(expression, frame=frame)), expression)

    # ------------------------------------------------------------ the module in the page

    def connect(self, port: int, *, frame: int | None = None, module: str = "/sdk/insi-agent.js") -> None:
        """Have the page connect to the agent on this port; its states are kept in `seen`."""
        self.evaluate(
            f"import('{module}').then(({{ connect }}) => {{"
            f"window.agent = connect({{client: {{name: 'test', version: '1'}}, ports: [{port}]}});"
            "window.seen = []; agent.on('state', (state) => seen.push([state, agent.error?.reason ?? null])); })",
            frame=frame,
        )

    def wait_for_state(self, state: str, *, frame: int | None = None) -> None:
        self.wait_for(f"window.agent?.state === {json.dumps(state)}", frame=frame)

    def refused(self, *, frame: int | None = None) -> str:
        """The reason, once the page is refused."""
        self.wait_for_state("refused", frame=frame)
        return str(self.evaluate("agent.error.reason", frame=frame))

    # ------------------------------------------------------------ the browser's question

    def is_asked(self) -> bool:
        return self._prompt.shown(self.desktop)

    def click(self, answer: str) -> None:
        """Answer the browser's question, "block" or "allow"."""
        self._prompt.click(self.desktop, answer)


@contextmanager
def chromium_tab(chromiums: Chromiums, sites: Websites, folder: Path, *, public: bool = True) -> Iterator[Tab]:
    """A Chromium on a screen of its own."""
    sites.trust_in(folder / "home" / ".pki" / "nssdb")
    switches = ["--host-resolver-rules=MAP *.example 127.0.0.1"]
    if public:
        spaces = (f"127.0.0.1:{port}=public" for port in (sites.port, sites.plain_port))
        switches.append(f"--ip-address-space-overrides={','.join(spaces)}")
    with (
        Desktop() as desktop,
        chromiums.launched(*switches, screen=desktop.environment, home=folder / "home") as browser,
        opened(browser) as page,
    ):
        yield Tab(_Chromium(page), desktop, CHROMIUM)


@contextmanager
def firefox_tab(sites: Websites, folder: Path, names: Sequence[str], *, public: bool = True) -> Iterator[Tab]:
    """A Firefox on a screen of its own, as it is from version 154 on: it asks before a WebSocket too."""
    sites.trust_in(folder / "profile")
    ports = (sites.port, sites.plain_port) if public else ()
    with (
        Desktop() as desktop,
        firefox(
            folder / "profile",
            screen=desktop.environment,
            **gated(names, *ports),
            **PROTECTED,
            security__notification_enable_delay=0,  # else its buttons do nothing for a moment, against clickjacking
        ) as driver,
    ):
        yield Tab(driver, desktop, FIREFOX)
