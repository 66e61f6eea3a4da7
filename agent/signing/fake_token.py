"""The simulator's CPx: a real key, a real certificate, a try counter, behind the same port as PKCS#11.

Runs in the worker process. The card is a file of the simulator's folder: while the file is there,
the card is in its reader. Its code is 1234, as on ANS test cards; three wrong codes lock it until
the worker ends, and 12345678 does not exist here.
"""

import json
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from agent import __version__
from agent.errors import AgentError, Code
from agent.model import PinState
from agent.pin import Pin, wipe
from agent.signing.ports import CertificateObject, ModuleFacts, TokenSeen

READER = "Simulateur CPS 0"  # as in readers/transcript.py
PIN = bytes([0x31, 0x32, 0x33, 0x34])
TRIES = 3


@dataclass(frozen=True)
class SimulatedKey:
    """One key pair of a card."""

    label: str  # of the certificate
    cka_id: bytes
    certificate_der: bytes = field(repr=False)
    key: rsa.RSAPrivateKey = field(repr=False)


@dataclass(frozen=True)
class SimulatedCard:
    """Everything that is on a simulated card."""

    label: str
    serial: str
    keys: tuple[SimulatedKey, ...]
    free: dict[str, bytes] = field(repr=False)  # data objects readable without the code
    protected: dict[str, bytes] = field(repr=False)


def card_file(folder: Path) -> Path:
    """The simulated reader: the file that holds the card, in the simulator's state folder."""
    return folder / "pki" / "cps.json"


def save_card(card: SimulatedCard, file: Path) -> None:
    """Put the card in the simulated reader, 0600, whole or not at all."""
    content = {
        "label": card.label,
        "serial": card.serial,
        "keys": [
            {
                "label": pair.label,
                "id": pair.cka_id.hex(),
                "certificate": b64encode(pair.certificate_der).decode(),
                "key": pair.key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ).decode(),
            }
            for pair in card.keys
        ],
        "free": {label: value.hex() for label, value in card.free.items()},
        "protected": {label: value.hex() for label, value in card.protected.items()},
    }
    draft = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(content, out)
    draft.replace(file)


def load_card(file: Path) -> SimulatedCard | None:
    """The card in the simulated reader; None when there is none, or none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return SimulatedCard(
            label=content["label"],
            serial=content["serial"],
            keys=tuple(
                SimulatedKey(
                    label=pair["label"],
                    cka_id=bytes.fromhex(pair["id"]),
                    certificate_der=b64decode(pair["certificate"]),
                    key=_rsa(pair["key"]),
                )
                for pair in content["keys"]
            ),
            free={label: bytes.fromhex(value) for label, value in content["free"].items()},
            protected={label: bytes.fromhex(value) for label, value in content["protected"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _rsa(pem: str) -> rsa.RSAPrivateKey:
    # our own file: to prove again that the primes are primes would cost every look a tenth of a second
    key = serialization.load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key


class FakeTokens:
    """`Tokens` over the simulated reader."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the simulator's state folder."""
        self._file = card_file(folder)
        self._left: dict[str, int] = {}  # tries by serial
        self._session: str | None = None  # serial of the card logged in

    def module(self) -> ModuleFacts:
        return ModuleFacts(path=str(self._file), name="Simulateur", version=__version__, signs_cps3=True)

    def look(self) -> list[TokenSeen]:
        card = load_card(self._file)
        if card is None or card.serial != self._session:
            self._session = None  # pulled or swapped
        return [self._seen(card)] if card else []

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        code = pin.take() if pin else bytearray()
        try:
            card = self._card(serial)
            if self._tries(card) == 0:
                raise AgentError(Code.PIN_LOCKED)
            if not 4 <= len(code) <= 8:
                raise AgentError(Code.PIN_FORMAT)
            if code != PIN:
                self._session = None
                self._left[serial] = self._tries(card) - 1
                if self._left[serial] == 0:
                    raise AgentError(Code.PIN_LOCKED)
                raise AgentError(Code.PIN_WRONG, pinState=self._pin_state(card))
        finally:
            wipe(code)
        self._left[serial], self._session = TRIES, serial
        return self._seen(card)

    def logout(self) -> None:
        self._session = None

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        """No key of a simulated card asks each time: a code is wiped unread."""
        if pin:
            pin.wipe()
        card = load_card(self._file)
        if card is None or card.serial != serial:
            was_ours, self._session = self._session == serial, None
            raise AgentError(Code.CARD_REMOVED if was_ours else Code.CPX_SESSION_LOST)
        if self._session != serial:
            raise AgentError(Code.CPX_SESSION_LOST)
        for pair in card.keys:
            if pair.cka_id == cka_id:
                return pair.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        raise AgentError(Code.CPX_NO_SIGNATURE)

    def close(self) -> None:
        self._session = None

    def _card(self, serial: str) -> SimulatedCard:
        card = load_card(self._file)
        if card is None or card.serial != serial:
            raise AgentError(Code.CPX_ABSENT)
        return card

    def _tries(self, card: SimulatedCard) -> int:
        return self._left.get(card.serial, TRIES)

    def _pin_state(self, card: SimulatedCard) -> PinState:
        return (PinState.LOCKED, PinState.FINAL, PinState.LOW, PinState.OK)[self._tries(card)]

    def _seen(self, card: SimulatedCard) -> TokenSeen:
        unlocked = self._session == card.serial
        return TokenSeen(
            slot=0,
            reader=READER,
            label=card.label,
            serial=card.serial,
            model="SIMULATEUR",
            pin_state=self._pin_state(card),
            pin_pad=False,
            logged_in=unlocked,
            certificates=tuple(CertificateObject(pair.label, pair.cka_id, pair.certificate_der) for pair in card.keys),
            data={**card.free, **(card.protected if unlocked else {})},
        )
