"""The wheel: what is in it, and the demonstration served by an installation of it."""

import http.client
import re
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from tests.packaging.conftest import ROOT
from tests.parts.program import Program, port_of

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
NEEDED = {
    "agent/insi/contract/insi.wsdl",
    "agent/insi/contract/placeholder.wsdl",
    "agent/insi/contract/ws-addr.xsd",
    "agent/insi/contract/ws_ins1.toml",
    "agent/protocol/PROTOCOL.md",
    "agent/protocol/schema.json",
    "agent/simulator/cards/adrun-family.txt",
    "agent/web_demo/LICENSE",
    "agent/web_demo/index.html",
    "agent/web_demo/sdk/insi-agent.js",
}


def files(folder: str, named: str) -> set[str]:
    """The files of a folder of the checkout, as the wheel names them."""
    found = (file.relative_to(ROOT / folder) for file in (ROOT / folder).rglob("*") if file.is_file())
    return {f"{named}/{file.as_posix()}" for file in found if "__pycache__" not in file.parts}


def get(url: str, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    """Status, headers and text of a page."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=20)
    connection.request("GET", where.path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


def test_the_wheel_holds_the_agent_its_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}

    assert NEEDED <= names
    assert names - about == files("agent", "agent") | files("web-demo", "agent/web_demo")
    kinds = {".py", ".wsdl", ".xsd", ".toml", ".txt", ".md", ".json", ".mjs", "", *KINDS}
    assert {Path(name).suffix for name in names - about} == kinds
    assert {name.split("/licenses/")[-1] for name in about if "/licenses/" in name} == {"LICENSE", "web-demo/LICENSE"}


def test_what_runs_is_what_was_installed(installed: Path, tmp_path: Path) -> None:
    script = "import agent, sys; print(agent.__file__)"
    said = subprocess.run(
        [installed / "python", "-c", script], cwd=tmp_path, env={}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout

    assert Path(said.strip()).is_relative_to(installed.parent)


def test_the_installed_demonstration_serves_its_page_and_every_file_it_names(installed: Path, tmp_path: Path) -> None:
    with Program([str(installed / "insi-agent"), "demo", "--headless", "--json"], tmp_path) as program:
        address = program.address()
        seen: dict[str, str] = {}
        wanted = [address["page"]]
        while wanted:
            url = wanted.pop()
            status, headers, text = get(url)
            seen[url] = text
            assert status == 200, url
            assert headers.get_content_type() == KINDS[Path(urlsplit(url).path).suffix or ".html"], url
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            names = re.findall(r"""(?:href=|src=|from |import\()["']([^"']+)["']""", text)
            found = {urljoin(url, name) for name in names if not name.startswith(("data:", "#"))}
            wanted += found - seen.keys() - set(wanted)
        status, _, settings = get(urljoin(address["page"], "config.json"))

        assert {urljoin(address["page"], name) for name in ("demo.js", "demo.css", "sdk/insi-agent.js")} <= seen.keys()
        assert (status, settings) == (200, f'{{"ports": [{port_of(address)}]}}')
        program.stop()


def test_the_installed_agent_is_found_from_its_page_and_from_no_other(installed: Path, tmp_path: Path) -> None:
    with Program([str(installed / "insi-agent"), "demo", "--headless", "--json"], tmp_path) as program:
        address = program.address()
        discovery = address["ws"].replace("ws://", "http://") + "/.well-known/insi-agent"
        status, headers, text = get(discovery, Origin=address["origin"])
        _, elsewhere, _ = get(discovery, Origin="https://ailleurs.example")
        program.stop()

    assert (status, headers["Access-Control-Allow-Origin"]) == (200, address["origin"])
    assert '"product": "insi-agent"' in text
    assert elsewhere["Access-Control-Allow-Origin"] is None
