"""A real PKCS#11 token in software, with the objects and labels of a CPS. It does the card's own mechanism."""

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from agent.signing.fake_token import SimulatedCard
from agent.simulator.pki import CARD_AID, Person, issue_card, make_ca

KEYS = ("CPS_PRIV_SIG", "CPS_PRIV_AUT")
PIN = b"1234"
CPS4_TAILS = (b"\x10", b"\x20")  # of CKA_ID: signature, authentication


@pytest.fixture(scope="session")
def softhsm() -> Iterator["SoftHsm"]:
    """A provisioned token. Nobody changes it."""
    with tempfile.TemporaryDirectory(prefix="softhsm-") as folder:
        yield SoftHsm(Path(folder), issue_card(make_ca(), Person()))


@pytest.fixture(scope="session")
def softhsm_cps4() -> Iterator["SoftHsm"]:
    """The same in the shape of a CPS4: other CKA_IDs, and CPS2TER objects beside ours."""
    card = issue_card(make_ca(), Person(card_serial="2600000041"))
    keys = tuple(replace(pair, cka_id=CARD_AID + tail) for pair, tail in zip(card.keys, CPS4_TAILS, strict=True))
    protected = {**card.protected, "CPS2TER_ACTIVITY_03_PS": b"\xee\x06\x86\x04SA01"}
    with tempfile.TemporaryDirectory(prefix="softhsm-") as folder:
        yield SoftHsm(Path(folder), replace(card, keys=keys, protected=protected))


@pytest.fixture(scope="session")
def softhsm_each_time() -> Iterator["SoftHsm"]:
    """The same with keys that want the code at each signature."""
    with tempfile.TemporaryDirectory(prefix="softhsm-") as folder:
        yield SoftHsm(Path(folder), issue_card(make_ca(), Person(card_serial="2600000042")), each_time=True)


class SoftHsm:
    """SoftHSM2 in a folder of its own. It has no try counter: wrong codes never lock it."""

    def __init__(self, folder: Path, card: SimulatedCard, *, each_time: bool = False, pin: str = PIN.decode()) -> None:
        self.card, self._each_time, self._pin = card, each_time, pin
        modules = sorted(Path("/usr/lib").glob("**/libsofthsm2.so"))
        assert modules, "SoftHSM2 is missing: apt-get install softhsm2 opensc"
        self.module = modules[0]
        self._folder = folder
        (folder / "tokens").mkdir()
        (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(folder / "conf")}
        self._provision()

    def _provision(self) -> None:
        new = ("--init-token", "--free", "--label", self.card.label, "--so-pin", "12345678", "--pin", self._pin)
        self._run("softhsm2-util", *new)
        for label, pair in zip(KEYS, self.card.keys, strict=True):
            key = pair.key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
            number = ("--id", pair.cka_id.hex())
            self._write("privkey", label, key, *number, *(("--always-auth",) if self._each_time else ()))
            self._write("cert", pair.label, pair.certificate_der, *number)
        for label, content in self.card.free.items():
            self._write("data", label, content)
        for label, content in self.card.protected.items():
            self._write("data", label, content, "--private")

    def _write(self, kind: str, label: str, content: bytes, *more: str) -> None:
        login = ("--login", "--pin", self._pin, "--token-label", self.card.label)
        what = ("--write-object", self._file(content), "--type", kind, "--label", label)
        self._run("pkcs11-tool", "--module", str(self.module), *login, *what, *more)

    def _file(self, content: bytes) -> str:
        file = self._folder / "object"
        file.write_bytes(content)
        return str(file)

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, check=False, env={"PATH": "/usr/bin:/bin", **self.environment}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"
