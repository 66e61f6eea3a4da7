"""The whole journey on real parts: PC/SC, OpenSC's PKCS#11, a real window, a keyring, HTTPS with two doors.

Virtual cards stand in the readers; everything between them and the web application is what a
workstation runs: the agent as a program, not simulated.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.insi.fake_insi import SimulatedInsi
from agent.places import Running, find_running
from agent.signing.fake_token import card_file, save_card
from agent.simulator.pki import Person, issue_card, issue_organisation, issue_server, make_ca, p12
from tests.cards.process import CardProcess
from tests.parts.agent import RefusedError, Site
from tests.parts.desktop import Desktop, until
from tests.parts.pcscd import Pcscd
from tests.parts.session import in_a_session
from tests.parts.workstation import write_config

SITE = "https://dossier.example"
WINDOW = "code de la carte"
TOUSSAINT = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
PASSPHRASE = b"une-phrase-de-test"

# The person enrols the passphrase in the session's keyring, then the agent starts.
START = """
"$PYTHON" -m agent organisation enrol --config "$1" && exec "$PYTHON" -m agent run --no-tray --port 0 --config "$1"
"""


@dataclass
class Workstation:
    """A running agent, what is plugged into it, and who sits in front."""

    port: int
    insi: SimulatedInsi
    desktop: Desktop
    vitale: CardProcess
    cps: CardProcess
    folder: Path

    def site(self) -> Site:
        return Site(self.port, origin=SITE)

    def type_code(self, code: str) -> None:
        """The person types into the window that has come up; Return means nothing in its first half second."""
        window = self.desktop.focused(WINDOW)
        self.desktop.type(code)

        def gone() -> bool:
            self.desktop.key("Return")
            return window not in self.desktop.windows(WINDOW)

        until(gone, "the window took the code")


@pytest.fixture(scope="module")
def workstation(pcscd: Pcscd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workstation]:
    folder = tmp_path_factory.mktemp("workstation")
    ca = make_ca()
    server = issue_server(ca)
    card_file(folder).parent.mkdir()
    save_card(issue_card(ca, Person()), card_file(folder))
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "organisation.p12").write_bytes(p12(issue_organisation(ca), PASSPHRASE))
    modules = sorted(Path("/usr/lib").glob("**/opensc-pkcs11.so"))
    assert modules, "OpenSC is missing: apt-get install opensc opensc-pkcs11"
    insi = SimulatedInsi(server.pem, server.key_pem, ca.pem, record=True)
    with ExitStack() as parts:
        insi.start()
        parts.callback(insi.stop)
        desktop = parts.enter_context(Desktop())
        vitale = parts.enter_context(CardProcess("tests.cards.vitale", pcscd.port_of("Vitale")))
        cps = parts.enter_context(
            CardProcess("tests.cards.cps3", pcscd.port_of("CPS"), "--card", str(card_file(folder)), "--relaxed")
        )
        vitale.insert()
        cps.insert()
        certificate = f'[organisation]\ncertificates = ["{folder / "organisation.p12"}"]\n'
        fast_typist = "[limits]\npin_windows_per_minute = 60\n"
        write_config(
            folder / "config.toml",
            site=SITE,
            module=modules[0],
            insi=insi,
            anchors=folder / "ca.pem",
            more=certificate + fast_typist,
        )
        running = parts.enter_context(_started(folder, {**pcscd.environment, **desktop.environment}))
        yield Workstation(running.port, insi, desktop, vitale, cps, folder)


class _started:  # noqa: N801  (used as a verb: with _started(…))
    """The agent as a program in a session of its own, with a home of its own; killed by its number at the end."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        (folder / "runtime").mkdir(mode=0o700)
        homes = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "runtime"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config-home"),
        }
        self._environment = {**os.environ, **environment, **homes}
        self._environment.pop("DBUS_SESSION_BUS_ADDRESS", None)

    def __enter__(self) -> Running:
        config = str(self._folder / "config.toml")
        passphrase = self._folder / "passphrase"
        passphrase.write_bytes(PASSPHRASE + b"\n")
        with passphrase.open("rb") as given, (self._folder / "agent.log").open("wb") as log:
            self._process = subprocess.Popen(
                in_a_session(["bash", "-c", START, "_", config]),
                env={**self._environment, "PYTHON": sys.executable},
                stdin=given,
                stderr=log,
            )
        runtime = self._folder / "runtime" / "insi-agent"
        until(lambda: find_running(runtime) is not None or self._process.poll() is not None, "the agent listens")
        running = find_running(runtime)
        assert running, (self._folder / "agent.log").read_text()
        self._pid = running.pid
        return running

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGTERM)
        assert self._process.wait(30) == 0, (self._folder / "agent.log").read_text()


def test_a_vitale_a_typed_code_and_a_card_signature_give_a_traced_result(workstation: Workstation) -> None:
    site = workstation.site()
    read = site.call("vitale.read")
    assert [(holder["name"], holder["givenNames"]) for holder in read["holders"]] == [
        ("DURAND", "HÉLÈNE"),
        ("DURAND", "LÉO"),
    ]

    number = site.send("insi.retrieveWithVitale", readId=read["readId"], holder=0)
    workstation.type_code("1234")
    result = site.reply(number)

    assert (result["code"], result["trace"]["environment"]) == ("00", "test")
    assert "vitale.environmentUnknown" in result["warnings"]  # no published tag tells a test card from a real one
    assert result["trace"]["professional"]["nationalId"] == Person().national_id
    assert workstation.cps.ask("state")["signed"] == 1
    site.call("cpx.lock")
    site.close()


def test_the_organisations_certificate_from_the_keyring_needs_no_card(workstation: Workstation) -> None:
    site = workstation.site()
    refused = site.refusal("insi.retrieveByTraits", traits=TOUSSAINT, authMode="organisation")
    result = site.call(
        "insi.retrieveByTraits", traits=TOUSSAINT, authMode="organisation", user={"id": "accueil-2", "role": "accueil"}
    )

    assert refused.reason == "user.required"
    assert result["code"] == "00"
    assert result["trace"]["user"] == {"id": "accueil-2", "role": "accueil"}
    site.close()


def test_twenty_answers_reach_another_client_while_the_card_signs(workstation: Workstation) -> None:
    """The card thinks for more than a second; the agent never freezes."""
    slow, other = workstation.site(), workstation.site()
    workstation.cps.ask("hold_at_signature", on=True)
    number = slow.send("insi.retrieveByTraits", traits=TOUSSAINT)
    workstation.type_code("1234")
    assert workstation.cps.ask("asked_to_sign")
    began, answers = time.monotonic(), 0
    while answers < 20 or time.monotonic() - began < 1.2:
        assert other.call("agent.status")["cpxSession"]["open"] is True
        answers += 1
    workstation.cps.ask("hold_at_signature", on=False)

    assert slow.reply(number)["code"] == "00"
    assert answers >= 20
    slow.call("cpx.lock")
    slow.close()
    other.close()


def test_a_wrong_code_is_said_and_costs_one_try(workstation: Workstation) -> None:
    site = workstation.site()
    number = site.send("cpx.unlock", reason="Ouvrir la journée")
    workstation.type_code("0000")
    with pytest.raises(RefusedError) as refused:
        site.reply(number)

    assert refused.value.reason == "pin.wrong"
    assert workstation.cps.ask("state")["left"] == 2
    number = site.send("cpx.unlock")
    workstation.type_code("1234")
    assert site.reply(number)["unlocked"] is True
    assert workstation.cps.ask("state")["left"] == 3
    site.call("cpx.lock")
    site.close()


def test_closing_the_window_cancels_and_the_card_is_not_asked(workstation: Workstation) -> None:
    site = workstation.site()
    asked = workstation.cps.ask("state")["asked"]
    number = site.send("cpx.unlock")
    workstation.desktop.focused(WINDOW)
    workstation.desktop.key("Escape")
    with pytest.raises(RefusedError) as refused:
        site.reply(number)

    assert refused.value.reason == "pin.cancelled"
    assert workstation.cps.ask("state")["asked"] == asked
    site.close()


def test_a_card_pulled_while_it_signs_ends_the_operation_and_the_next_one_works(workstation: Workstation) -> None:
    site = workstation.site()
    workstation.cps.ask("pull_at_signature", on=True)
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    workstation.type_code("1234")
    with pytest.raises(RefusedError) as refused:
        site.reply(number)
    workstation.cps.ask("pull_at_signature", on=False)
    workstation.cps.insert()

    assert refused.value.reason == "card.removed"
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    workstation.type_code("1234")
    assert site.reply(number)["code"] == "00"
    site.call("cpx.lock")
    site.close()


def test_pulling_the_vitale_is_told_and_a_new_call_refuses(workstation: Workstation) -> None:
    site = workstation.site()
    site.call("cards.watch")
    read = site.call("vitale.read")
    workstation.vitale.remove()
    assert site.notified("card.removed")["card"]["kind"] == "vitale2"
    who = {"authMode": "organisation", "user": {"id": "accueil-2"}}

    assert site.refusal("insi.retrieveWithVitale", readId=read["readId"], holder=0, **who).reason == "vitale.changed"
    workstation.vitale.insert()
    assert site.notified("card.inserted")["card"]["kind"] == "vitale2"
    assert site.call("insi.retrieveWithVitale", readId=read["readId"], holder=0, **who)["code"] == "00"
    site.close()


def test_a_vitale_pulled_while_it_is_read_is_said_and_the_next_reading_works(
    workstation: Workstation, pcscd: Pcscd
) -> None:
    site = workstation.site()
    workstation.vitale.remove()
    with CardProcess("tests.cards.vitale", pcscd.port_of("Vitale"), "--pull-at", "3") as leaving:
        leaving.insert()
        assert site.refusal("vitale.read").reason == "card.removed"
    workstation.vitale.insert()

    assert len(site.call("vitale.read")["holders"]) == 2
    site.close()


def test_a_card_service_that_dies_and_comes_back_is_survived(workstation: Workstation, pcscd: Pcscd) -> None:
    site = workstation.site()
    site.call("cards.watch")
    pcscd.kill()
    assert {site.notified("reader.removed")["reader"] for _ in range(4)} >= {
        pcscd.reader("Vitale"),
        pcscd.reader("CPS"),
    }
    assert site.refusal("vitale.read").reason == "pcsc.unavailable"
    assert site.call("agent.status")["cardService"] is False
    pcscd.restart()
    workstation.vitale.insert()
    workstation.cps.insert()

    def seen() -> set[str]:
        return {reader["card"]["kind"] for reader in site.call("cards.watch")["readers"] if "card" in reader}

    # The watcher's back-off is 1 to 30 s: a card may be told with its reader, or on its own.
    until(lambda: seen() >= {"vitale2", "cpx"}, "both cards", seconds=60)
    assert len(site.call("vitale.read")["holders"]) == 2
    number = site.send("insi.retrieveByTraits", traits=TOUSSAINT)
    workstation.type_code("1234")
    assert site.reply(number)["code"] == "00"
    site.call("cpx.lock")
    site.close()


def test_the_code_and_the_nir_are_in_no_log(workstation: Workstation) -> None:
    texts = [file.read_bytes() for file in workstation.folder.rglob("*.log*") if file.is_file()]

    assert any(b"insi.retrieveWithVitale" in text for text in texts)
    for text in texts:
        for secret in (b"284127645108993", b"2841276451089", b"1234\n", b"ADRTROIS", "HÉLÈNE".encode(), PASSPHRASE):
            assert secret not in text
