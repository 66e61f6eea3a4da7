"""Real PAC scripts in their real process: what they are told, what they may do, and what a bad one costs."""

import os
import socket
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest

from agent.config import Proxy
from agent.errors import AgentError, Code
from agent.insi import pac
from agent.insi.proxy import Route, Routes
from tests.parts.lists import HANGS, list_host

PATIENT_S = 60  # the tests' own machine may be slow; nothing here takes so long
LONG = "// " + "x" * (1 << 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def script(folder: Path, body: str, before: str = "") -> str:
    """The path of a script whose function has this body."""
    file = folder / "proxy.pac"
    file.write_text(f"{before}\nfunction FindProxyForURL(url, host) {{ {body} }}", encoding="utf-8")
    return str(file)


def said(where: str, host: str = "insi.example", *, timeout_s: float = PATIENT_S) -> object:
    return pac.ask(where, "https", host, timeout_s=timeout_s)


def refusal(where: str, *, timeout_s: float = PATIENT_S) -> AgentError:
    with pytest.raises(AgentError) as refused:
        said(where, timeout_s=timeout_s)
    assert refused.value.code is Code.PROXY_SCRIPT
    return refused.value


def children() -> set[str]:
    """Of this process, by any thread; those that have ended and were waited for are gone."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def test_a_script_chooses_by_host_and_its_ways_are_taken_in_order(folder: Path) -> None:
    body = 'return dnsDomainIs(host, ".example") ? "PROXY a.example:3128; DIRECT" : "DIRECT"'
    settings = Proxy(use="script", script=script(folder, body), script_timeout_s=PATIENT_S)
    routes = Routes(settings, lambda: None)

    assert routes.to("https://insi.example/lps") == [Route("http://a.example:3128"), Route(None)]
    assert routes.to("https://insi.elsewhere/lps") == [Route(None)]


def test_a_script_is_told_scheme_and_host_alone_and_its_process_ends(folder: Path) -> None:
    before = children()

    assert said(script(folder, 'return "PROXY " + [url, host].join(" ")')) == "PROXY https://insi.example/ insi.example"
    assert children() == before


def test_a_script_that_says_nothing_leads_directly_and_one_that_says_no_words_nowhere(folder: Path) -> None:
    def ways(body: str) -> list[Route]:
        settings = Proxy(use="script", script=script(folder, body), script_timeout_s=PATIENT_S)
        return Routes(settings, lambda: None).to("https://insi.example/lps")

    assert ways("return null") == ways("") == [Route(None)]
    with pytest.raises(AgentError) as refused:
        ways("return 42")
    assert (refused.value.code, refused.value.facts) == (Code.PROXY_SCRIPT, {"answer": "int"})


def test_names_and_networks_are_looked_up_for_it(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        own = probe.getsockname()[0]
    body = """return [dnsResolve("localhost"), isInNet("localhost", "127.0.0.0", "255.0.0.0"),
        isInNet("10.9.8.7", "10.0.0.0", "255.0.0.0"), isInNet("10.9.8.7", "192.168.0.0", "255.255.0.0"),
        isResolvable("nobody.invalid"), isPlainHostName(host), shExpMatch(host, "*.example"),
        weekdayRange("SUN", "SAT"), myIpAddress()].join(" ")"""

    assert said(script(folder, body)) == f"127.0.0.1 true true false false false true true {own}"


def test_a_script_with_microsofts_entry_alone_is_asked_by_it(folder: Path) -> None:
    (folder / "ex.pac").write_text('function FindProxyForURLEx(url, host) { return "PROXY ex:1" }')

    assert said(str(folder / "ex.pac")) == "PROXY ex:1"


def test_a_script_reads_no_file_and_sees_no_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's own ways to modules and to the environment are shut."""
    monkeypatch.setenv("PROXY_SECRET", "du-voisin")
    (folder / "neighbour.js").write_text('exports.said = "du-voisin"')
    before = f"""
        var found = [], file = "{folder / "neighbour.js"}";
        function attempt(read) {{ try {{ found.push(read() || "no") }} catch (error) {{ found.push("no") }} }}
        import(file).then(function (it) {{ found.push(JSON.stringify(it)) }}, function () {{ found.push("no") }});
        attempt(function () {{ return require(file).said }});
        attempt(function () {{ return call_python("dukpy.load_module", file)[1] }});
        attempt(function () {{ return process.env.PROXY_SECRET }});
    """

    assert said(script(folder, 'return found.sort().join(" ") + JSON.stringify(dukpy)', before)) == (
        'no no no no{"url":"https://insi.example/","host":"insi.example"}'
    )


def test_a_script_that_talks_is_heard_by_nobody(folder: Path) -> None:
    """It might else fill the log of the session; the pipe is one, a file its process cannot write."""
    body = """for (var line = 0; line < 100; line++) { console.error("bruit"); console.warn("bruit"); alert("bruit") }
        console.log("bruit"); call_python("dukpy.log.error", "bruit"); return "DIRECT" """
    asks = "import sys; from agent.insi.pac import ask; print(ask(sys.argv[1], 'https', 'insi.example', timeout_s=60))"

    done = subprocess.run(
        [sys.executable, "-c", asks, script(folder, body)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("DIRECT\n", "")


@pytest.mark.parametrize(
    "body",
    [
        "return FindProxyForURL(url, host) + 1",  # deep
        "var all = []; while (true) all.push(new Array(100000).join('x' + all.length))",  # large
        "throw new Error('non')",
        "return nothing.of.this.name",
        "return isInNet()",
        "return dnsResolve(new Array(100000).join('x'))",
        "var loop = {}; loop.loop = loop; return loop",
    ],
)
def test_a_script_that_fails_is_one_error_and_the_next_one_works(folder: Path, body: str) -> None:
    before = children()

    refusal(script(folder, body))

    assert said(script(folder, 'return "DIRECT"')) == "DIRECT"
    assert children() == before


@pytest.mark.parametrize("content", [b"function (", b"", b"\xff\xfe\x00", b"var x = 1"])
def test_what_is_no_script_is_the_same_error(folder: Path, content: bytes) -> None:
    (folder / "proxy.pac").write_bytes(content)

    refusal(str(folder / "proxy.pac"))


def test_a_script_that_never_ends_is_ended(folder: Path) -> None:
    before = children()

    assert "device.timeout" in refusal(script(folder, "while (true) {}"), timeout_s=3).detail
    assert children() == before


def test_a_script_comes_from_an_http_address_also_in_latin_1() -> None:
    with list_host() as host:
        host.at["/proxy.pac?site=1"] = 'function FindProxyForURL() { return "PROXY p:1" } // é'.encode("latin-1")

        assert said(host.url("/proxy.pac?site=1")) == "PROXY p:1"
        assert host.asked == ["/proxy.pac?site=1"]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (HTTPStatus.NOT_FOUND, "HTTP 404"),
        ("/elsewhere", "HTTP 302"),  # not followed
        (LONG.encode(), "bytes"),
    ],
)
def test_an_address_that_gives_no_script_is_the_same_error(found: HTTPStatus | str | bytes, why: str) -> None:
    with list_host() as host:
        host.at = {"/proxy.pac": found, "/elsewhere": b'function FindProxyForURL() { return "DIRECT" }'}

        assert why in refusal(host.url("/proxy.pac")).detail
        assert host.asked == ["/proxy.pac"]


def test_a_web_server_that_hangs_costs_the_time_limit() -> None:
    with list_host() as host:
        host.at["/proxy.pac"] = HANGS

        assert "device.timeout" in refusal(host.url("/proxy.pac"), timeout_s=3).detail


def test_a_script_that_is_not_there_is_the_same_error(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    assert "FileNotFoundError" in refusal(str(folder / "none.pac")).detail
    assert "ConnectionRefusedError" in refusal(f"http://127.0.0.1:{port}/proxy.pac").detail
