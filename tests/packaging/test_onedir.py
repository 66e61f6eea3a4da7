"""The frozen program: built by the recipe, run without any Python, on every edge it can meet here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from agent.child import Pipe
from agent.places import Places, find_running
from tests.cards.process import CardProcess
from tests.parts.agent import RefusedError, Site
from tests.parts.desktop import Desktop, until
from tests.parts.pcscd import Pcscd
from tests.parts.program import Program, port_of
from tests.parts.session import in_a_session
from tests.parts.softhsm import PIN, SoftHsm

RECIPE = Path(__file__).parents[2] / "packaging" / "insi-agent.spec"
SITE = "https://dossier.example"
CONFIG = f"""
[[origins.allowed]]
origin = "{SITE}"

[[software]]
name = "Dossier d'essai"
version = "3.2"
origins = ["{SITE}"]
[software.authorisation]
simulated = "SIMULATEUR-0001"
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of a fresh build."""
    folder = tmp_path_factory.mktemp("onedir")
    places = ["--distpath", str(folder / "dist"), "--workpath", str(folder / "work")]
    build = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", *places, str(RECIPE)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return str(folder / "dist" / "insi-agent" / "insi-agent")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One HOME for all: the simulator's keys are made once."""
    return tmp_path_factory.mktemp("home")


def output(command: list[str], home: Path, **environment: str) -> str:
    own = {"HOME": str(home), "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(command, cwd=home, env=own, stdout=subprocess.PIPE, text=True, check=False).stdout


def test_it_says_its_version(frozen: str, home: Path) -> None:
    from agent import __version__

    assert output([frozen, "--version"], home) == f"insi-agent {__version__}\n"


def test_it_asks_a_proxy_script(frozen: str, home: Path) -> None:
    (home / "proxy.pac").write_text('function FindProxyForURL(url, host) { return "PROXY p.example:3128" }')
    (home / "proxy.toml").write_text(f'[proxy]\nuse = "script"\nscript = "{home}/proxy.pac"\nscript_timeout_s = 60\n')

    assert "/lps : http://p.example:3128\n" in output([frozen, "proxy", "show", "--config", "proxy.toml"], home)


def test_it_carries_its_data_and_nothing_that_must_be_the_systems(frozen: str) -> None:
    inside = Path(frozen).parent / "_internal"
    names = {file.relative_to(inside).as_posix() for file in inside.rglob("*") if file.is_file()}

    assert {"LICENSE", "agent/insi/contract/insi.wsdl", "agent/web_demo/index.html"} <= names
    assert not [name for name in names if "libpcsclite" in name]  # it speaks the language of its own pcscd
    assert not [name for name in names if name.startswith(("tests", "pytest", "hypothesis", "mypy"))]


def test_a_retrieval_goes_through_the_frozen_worker(frozen: str, home: Path) -> None:
    with Program([frozen, "demo", "--headless", "--json"], home) as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        read = site.call("vitale.read")
        result = site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, authMode="cpx")
        workers = program.others("pkcs11")
        windows = program.others("pin")
        site.close()
        program.stop()

    assert (result["code"], result["trace"]["authMode"]) == ("00", "cpx")
    assert list(workers.values()) == [[frozen, "_child", "pkcs11"]]
    assert windows == {}


def test_the_window_has_a_frozen_process_of_its_own_which_goes_when_the_page_cancels(frozen: str, home: Path) -> None:
    with Program([frozen, "demo", "--headless", "--json"], home, INSI_AGENT_SIMULATED_PIN="wait") as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        number = site.send("cpx.unlock")
        until(lambda: len(program.others("pin")) == 1, "the window's process")
        window = program.others("pin")
        assert site.call("operation.cancel", id=number) == {"cancelled": True}
        with pytest.raises(RefusedError) as refused:
            site.reply(number)
        until(lambda: program.others("pin") == {}, "the window's process has ended")
        site.close()
        program.stop()

    assert list(window.values()) == [[frozen, "_child", "pin"]]
    assert refused.value.reason == "operation.cancelled"


def test_the_agent_stops_while_a_window_is_open(frozen: str, home: Path) -> None:
    with Program([frozen, "demo", "--headless", "--json"], home, INSI_AGENT_SIMULATED_PIN="wait") as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        site.send("cpx.unlock")
        until(lambda: len(program.others("pin")) == 1, "the window's process")
        program.stop()
        site.close()


def test_a_person_types_the_code_into_the_frozen_window_under_the_frozen_icon(
    frozen: str, home: Path, desktop_with_tray: Desktop
) -> None:
    desktop = desktop_with_tray
    config = home / "site.toml"
    config.write_text(CONFIG, encoding="utf-8")
    before = desktop.colours()
    with Program(
        [frozen, "run", "--simulate", "--port", "0", "--config", str(config)], home, **desktop.environment
    ) as program:
        runtime = Places.simulated(home / ".local" / "state" / "insi-agent").runtime
        until(lambda: find_running(runtime) is not None, "the agent listens")
        until(lambda: bool(desktop.colours() - before), "the icon")
        running = find_running(runtime)
        assert running is not None
        site = Site(running.port, origin=SITE)
        read = site.call("vitale.read")
        number = site.send("insi.retrieveWithVitale", readId=read["readId"], holder=0)
        window = desktop.focused("code de la carte")
        desktop.type("1234")

        def taken() -> bool:
            desktop.key("Return")
            return window not in desktop.windows("code de la carte")

        until(taken, "the window took the code")
        assert site.reply(number)["code"] == "00"
        site.close()
        program.stop()


def test_the_browser_gets_the_systems_libraries(frozen: str, home: Path, desktop: Desktop) -> None:
    """The start of a frozen program sets LD_LIBRARY_PATH to its own libraries."""
    browser = home / "browser"
    browser.write_text('#!/bin/sh\nprintf "%s %s" "$LD_LIBRARY_PATH" "$1" >"$HOME/opened"\n')
    browser.chmod(0o700)
    opened = home / "opened"
    no_bus = {"DBUS_SESSION_BUS_ADDRESS": "disabled:"}  # xdg-settings would leave one behind on a bare screen
    own = {"BROWSER": f"{browser} %s", "LD_LIBRARY_PATH": "/the/persons", **no_bus, **desktop.environment}
    with Program([frozen, "demo", "--json"], home, **own) as program:
        address = program.address()
        until(lambda: opened.exists() and opened.read_text() != "", "the browser was opened")
        program.stop()

    assert opened.read_text() == f"/the/persons {address['page']}"


def test_the_frozen_worker_signs_through_a_pkcs11_module_of_the_system(
    frozen: str, home: Path, softhsm: SoftHsm
) -> None:
    """SoftHSM2 brings the system's OpenSSL and C++ libraries beside those of the build."""
    worker = subprocess.Popen(
        [frozen, "_child", "pkcs11"],
        env={"HOME": str(home), **softhsm.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert worker.stdin and worker.stdout
    with worker, worker.stdin, worker.stdout:
        pipe = Pipe(worker.stdout.fileno(), worker.stdin.fileno())

        def ask(what: str, payload: bytes = b"", **arguments: object) -> tuple[dict[str, Any], bytes]:
            pipe.send({"do": what, "on": {"module": str(softhsm.module), "openscSigns": False}, **arguments}, payload)
            answer = pipe.receive()
            assert answer is not None, worker.wait()
            return answer[0], bytes(answer[1])

        (token,) = (seen for seen in ask("look")[0]["tokens"] if seen["label"] == softhsm.card.label)
        ask("login", PIN, serial=token["serial"], pad=False)
        key = softhsm.card.keys[0]
        _, signature = ask("sign", b"ce qui est signe", serial=token["serial"], id=key.cka_id.hex(), code=0)

    public = x509.load_der_x509_certificate(key.certificate_der).public_key()
    assert isinstance(public, RSAPublicKey)
    public.verify(signature, b"ce qui est signe", PKCS1v15(), SHA256())
    assert worker.returncode == 0


def test_every_edge_answers_inside_the_frozen_program(
    frozen: str, home: Path, pcscd: Pcscd, softhsm: SoftHsm, desktop: Desktop
) -> None:
    """Readers by pyscard, the keyring by its back-end, Tk and the tray by the screen."""
    config = home / "module.toml"
    config.write_text(f'[cpx]\nmodule = "{softhsm.module}"\n', encoding="utf-8")
    (home / "runtime").mkdir(mode=0o700)
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")) as vitale:
        vitale.insert()
        said = output(
            in_a_session([frozen, "doctor", "--json", "--config", str(config)]),
            home,
            XDG_RUNTIME_DIR=str(home / "runtime"),
            **pcscd.environment,
            **desktop.environment,
        )
    findings = {finding["what"]: finding for finding in json.loads(said)}

    assert [what for what, finding in findings.items() if not finding["well"]] == ["INSi"]  # no authority was imported
    assert f"{pcscd.reader('Vitale')} (vitale2)" in findings["Lecteurs"]["says"]
    assert findings["Icône"]["says"] == "possible"
