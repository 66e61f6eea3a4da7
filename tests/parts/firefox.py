"""A real Firefox, driven by WebDriver BiDi over its own debugging port; with a window only on a screen of the test's.

A missing browser fails the test with the reason.
"""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.parts.desktop import until

_PATIENCE_S = 60
_QUIET: Mapping[str, object] = {  # nothing but the test's own pages, and no first-run tabs
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class Firefox:
    """One tab of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.command("session.new", capabilities={})
        self.tab: str = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def command(self, method: str, **params: Any) -> Any:
        """The result of a BiDi command; its error fails the test."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if message.get("id") == number:
                break
        assert message["type"] == "success", message
        return message["result"]

    def goto(self, address: str) -> None:
        self.command("browsingContext.navigate", context=self.tab, url=address, wait="complete")

    def evaluate(self, expression: str, *, frame: int | None = None) -> Any:
        """The JSON value of an expression in the page, or in its frame of this number; a promise is waited for."""
        where = self.tab
        if frame is not None:
            where = self.command("browsingContext.getTree", root=self.tab)["contexts"][0]["children"][frame]["context"]
        answer = self.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": where},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    @contextmanager
    def another(self) -> "Iterator[Firefox]":
        """A second tab, in front."""
        second = copy(self)  # the same connection
        second.tab = self.command("browsingContext.create", type="tab")["context"]
        self.command("browsingContext.activate", context=second.tab)
        try:
            yield second
        finally:
            self.command("browsingContext.close", context=second.tab)


def gated(names: Sequence[str], *ports: int) -> dict[str, Any]:
    """Preferences: these names are of this machine, pages of these ports are of the internet, and WebSocket is gated.

    As from version 154 on, once the protection itself is on: `PROTECTED`, or a policy.
    """
    return {
        "network__dns__localDomains": ",".join(names),
        "network__lna__websocket__enabled": True,
        "network__lna__address_space__public__override": ",".join(f"127.0.0.1:{port}" for port in ports),
    }


PROTECTED = {"network__lna__enabled": True, "network__lna__blocking": True}


@contextmanager
def firefox(profile: Path, *, screen: Mapping[str, str] | None = None, **preferences: object) -> Iterator[Firefox]:
    """A browser on this profile folder; preferences with __ for the dot. On `screen` it has a window, else none."""
    executable = shutil.which("firefox-esr") or shutil.which("firefox")
    if executable is None:
        pytest.fail("no Firefox here: install the package `firefox-esr`")
    profile.mkdir(parents=True, exist_ok=True)
    wanted = {**_QUIET, **{name.replace("__", "."): value for name, value in preferences.items()}}
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in wanted.items())
    (profile / "user.js").write_text("".join(lines), "utf-8")
    where = profile / "WebDriverBiDiServer.json"
    where.unlink(missing_ok=True)  # an earlier one's
    process = subprocess.Popen(
        [executable, "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        + ([] if screen else ["--headless"]),
        env={**os.environ, "HOME": str(profile), **(screen or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: process.poll() is not None or where.exists(), "Firefox listens", seconds=_PATIENCE_S)
        assert process.poll() is None, f"Firefox ended with {process.returncode}"
        until(lambda: where.read_text().endswith("}"), "Firefox says on which port")
        port = json.loads(where.read_text())["ws_port"]
        with connect(f"ws://127.0.0.1:{port}/session", proxy=None, compression=None, max_size=1 << 26) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
