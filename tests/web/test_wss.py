"""wss in real browsers: believed after the lines that the agent says, no longer after those that take it back."""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.local_tls import Issued, LocalTls, issue, make_authority, read_authorities, served_on
from agent.local_trust import Store, distrust, instead, trust
from agent.secrets import FileSecrets
from agent.tls_key import load_key
from tests.parts.chromium import Chromiums
from tests.parts.desktop import until
from tests.parts.firefox import firefox
from tests.parts.program import Program
from tests.parts.tls_site import tls_site
from tests.parts.websites import Websites
from tests.web.doors import free_port

ROOT = str(Path(__file__).parents[2])
AGENT = [sys.executable, "-m", "agent"]
SITE, EHR = "dossier.example", "ehr.example"

HELLO = """(port) => new Promise((done) => {
    const socket = new WebSocket(`wss://localhost:${port}/`, "insi-agent.v1");
    const params = {apiLevels: [1], client: {name: "essai", version: "1"}};
    socket.onopen = () => socket.send(JSON.stringify({jsonrpc: "2.0", id: 1, method: "agent.hello", params}));
    socket.onmessage = (message) => done(JSON.parse(message.data).result.originState);
    socket.onerror = () => done("refused");
})"""
DISCOVERY = "(port) => fetch(`https://localhost:${port}/.well-known/insi-agent`).then((found) => found.json())"
MODULE = """([nobody, port]) => import("/sdk/insi-agent.js").then(({ connect }) => new Promise((done) => {
    const agent = connect({client: {name: "essai", version: "1"}, ports: [nobody], secure: true, securePorts: [port]});
    agent.on("state", (state) => done(agent.error?.reason ?? state));
}))"""
REACHES = "(url) => fetch(url, {mode: 'no-cors'}).then(() => true, () => false)"

Ask = Callable[[str, object], object]  # a script of the page, its argument; what it gives
Browsing = Callable[[Chromiums, "Workstation"], AbstractContextManager[Ask]]


@dataclass
class Workstation:
    """A home with its browsers' trust stores, and a web site that both browsers believe."""

    home: Path
    sites: Websites

    @property
    def profile(self) -> Path:
        """Firefox's."""
        return self.home / ".config/mozilla/firefox/essai.default"

    def agent(self, *arguments: str) -> str:
        """What the command line says."""
        return self._run([*AGENT, *arguments])

    def shell(self, line: str) -> None:
        self._run(["sh", "-ec", line])

    def _run(self, command: list[str]) -> str:
        run = subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": ROOT}


@pytest.fixture
def workstation(tmp_path: Path) -> Iterator[Workstation]:
    with Websites(tmp_path, SITE, EHR) as sites:
        found = Workstation(tmp_path / "home", sites)
        sites.trust_in(found.home / ".pki/nssdb")
        sites.trust_in(found.profile)
        yield found


@contextmanager
def in_chromium(chromiums: Chromiums, workstation: Workstation) -> Iterator[Ask]:
    """A page of the site, in a browser that was started now and reads the trust store of this home."""
    hosts = f"--host-resolver-rules=MAP {SITE} 127.0.0.1, MAP {EHR} 127.0.0.1"
    with chromiums.launched("--headless=new", hosts, screen={"HOME": str(workstation.home)}) as browser:
        page = browser.new_page()
        page.goto(f"{workstation.sites.origin(SITE)}/bare.html")
        yield page.evaluate


@contextmanager
def in_firefox(_chromiums: object, workstation: Workstation) -> Iterator[Ask]:
    """The same."""
    (workstation.profile / "WebDriverBiDiServer.json").unlink(missing_ok=True)  # says the last one's port
    with firefox(workstation.profile, network__dns__localDomains=f"{SITE},{EHR}") as browser:
        browser.goto(f"{workstation.sites.origin(SITE)}/bare.html")
        yield lambda script, given: browser.evaluate(f"({script})({given!r})")


BROWSERS = pytest.mark.parametrize(
    ("store", "browsing"), [(Store.CHROMIUM, in_chromium), (Store.FIREFOX, in_firefox)], ids=["chromium", "firefox"]
)


@BROWSERS
def test_a_page_says_hello_over_wss_once_the_authority_is_trusted_and_no_longer_after(
    chromiums: Chromiums,
    workstation: Workstation,
    simulator_pki: Path,
    store: Store,
    browsing: Browsing,
) -> None:
    data = workstation.home / ".local/state/insi-agent/simulator/data"
    shutil.copytree(simulator_pki, data)
    port = free_port()
    config = workstation.home / "config.toml"
    config.write_text(
        f'[wss]\nenabled = true\nports = [{port}]\n[[origins.allowed]]\norigin = "{workstation.sites.origin(SITE)}"\n',
        encoding="utf-8",
    )
    line = workstation.agent("wss", "enable", "--simulated", "--for", store)
    made = LocalTls(data, FileSecrets(data)).pair(datetime.now(UTC))
    start = [*AGENT, "run", "--simulate", "--no-tray", "--port", "0", "--config", str(config)]
    with Program(start, workstation.home, PYTHONPATH=ROOT):
        until(lambda: served_on(made, [port]) == port, "wss is served")
        with browsing(chromiums, workstation) as ask:
            assert ask(HELLO, port) == "refused"

        workstation.shell(line)
        with browsing(chromiums, workstation) as ask:
            assert ask(HELLO, port) == "allowed"
            found = ask(DISCOVERY, port)
            assert isinstance(found, dict)
            assert found["product"] == "insi-agent"
            assert ask(MODULE, [free_port(), port]) == "connected"

        workstation.shell(workstation.agent("wss", "remove", "--simulated", "--for", store))
        with browsing(chromiums, workstation) as ask:
            assert ask(HELLO, port) == "refused"
            assert ask(MODULE, [free_port(), port]) == "agent.absent"


@BROWSERS
def test_a_certificate_of_the_same_authority_for_another_site_is_refused(
    chromiums: Chromiums,
    workstation: Workstation,
    tmp_path: Path,
    store: Store,
    browsing: Browsing,
) -> None:
    """As if its key had been stolen before it ended: here the test keeps it."""
    authority = make_authority(datetime.now(UTC))
    content = authority.certificate.public_bytes(serialization.Encoding.PEM)
    file = tmp_path / "kept-ca.pem"
    file.write_bytes(content)
    workstation.shell(trust(store, read_authorities(content)[0], file))
    own = issue(authority, datetime.now(UTC))
    other = issue(authority, datetime.now(UTC), [x509.DNSName(EHR)])

    with (
        tls_site(context_of(own)) as ours,
        tls_site(context_of(other)) as theirs,
        browsing(chromiums, workstation) as ask,
    ):
        assert ask(REACHES, f"{workstation.sites.origin(EHR)}/bare.html") is True  # the browser finds that name
        assert ask(REACHES, f"https://localhost:{ours}/") is True
        assert ask(REACHES, f"https://{EHR}:{theirs}/") is False


def test_firefox_trusts_what_its_policy_names_until_both_are_taken_back(
    workstation: Workstation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of Firefox with policies of its own: the machine's are not the test's to change."""
    own = firefox_of_its_own(tmp_path / "firefox")
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    tls = LocalTls(tmp_path, FileSecrets(tmp_path))
    made = tls.renew(datetime.now(UTC))
    policies = own / "distribution/policies.json"

    policies.write_text("{" + instead(Store.FIREFOX, tls.authority_file).partition("{")[2], encoding="utf-8")
    with tls_site(tls.load(datetime.now(UTC))[1]) as port:
        with in_firefox(None, workstation) as ask:
            assert ask(REACHES, f"https://localhost:{port}/") is True
        policies.unlink()
        workstation.shell(distrust(Store.FIREFOX, made.authority))
        with in_firefox(None, workstation) as ask:
            assert ask(REACHES, f"https://localhost:{port}/") is False


def firefox_of_its_own(folder: Path) -> Path:
    """The system's Firefox, which looks for policies beside its program: the program is copied, the rest linked."""
    (folder / "distribution").mkdir(parents=True)
    found = shutil.which("firefox-esr") or pytest.fail("no Firefox here: install the package `firefox-esr`")
    system = Path(found).resolve().parent
    for file in system.iterdir():
        if file.name == "firefox-esr":
            shutil.copy(file.resolve(), folder / file.name)
        elif file.name != "distribution":
            (folder / file.name).symlink_to(file)
    return folder


def context_of(issued: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_key(context, issued.certificate.public_bytes(serialization.Encoding.PEM), issued.key)
    return context
