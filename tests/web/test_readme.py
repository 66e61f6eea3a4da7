"""The README's recipe for the author of a web application, run as it is written."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

CHECKOUT = Path(__file__).parents[2]
AUTHORS = (CHECKOUT / "README.md").read_text("utf-8").partition("## For the author")[2].partition("\n## ")[0]
(RECIPE,) = (block.partition("```")[0] for block in AUTHORS.split("```sh\n")[1:])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """The line that the demonstration prints; the recipe was run in a folder that has what a checkout has."""
    (tmp_path / "web-demo").symlink_to(CHECKOUT / "web-demo")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "INSI_"))}
    with (tmp_path / "errors").open("wb") as errors:
        shell = subprocess.Popen(
            ["sh", "-ec", RECIPE],
            cwd=tmp_path,
            env={**environment, "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        assert shell.stdout
        line = next(
            (line for line in shell.stdout if line.startswith("{")), None
        )  # the page's server says something too
        yield line or pytest.fail((tmp_path / "errors").read_text())
    finally:
        os.killpg(shell.pid, signal.SIGTERM)  # the page's server and the demonstration too: the session is ours
        shell.communicate(timeout=40)


def test_the_recipe_ends_with_an_identity_on_the_authors_own_page(running: str, tab: Page) -> None:
    assert running.startswith('{"ws": "ws://127.0.0.1:19847"')

    tab.goto("http://localhost:8017")

    expect(tab.locator("pre")).to_have_text("connected \nfound ADRUN 2751263220749\n", use_inner_text=True)
