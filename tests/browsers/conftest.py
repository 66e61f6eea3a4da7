"""Sites over https that a Chromium without a window takes for pages of this machine: nobody is asked by the browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.parts.chromium import Chromiums, opened
from tests.parts.websites import Websites
from tests.web.doors import free_port

SITE = "dossier.example"


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Websites]:
    with Websites(tmp_path_factory.mktemp("https"), SITE) as sites:
        yield sites


@pytest.fixture(scope="module")
def near(chromiums: Chromiums, https: Websites, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = tmp_path_factory.mktemp("home")
    https.trust_in(home / ".pki" / "nssdb")
    with chromiums.launched("--host-resolver-rules=MAP *.example 127.0.0.1", home=home) as browser:
        yield browser


@pytest.fixture
def page(near: Browser) -> Iterator[Page]:
    with opened(near) as page:
        yield page


@pytest.fixture
def port() -> int:
    return free_port()
