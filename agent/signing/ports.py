"""What the agent needs of a CPx token. Implemented by `worker.py`, which owns a child process.

Every call blocks and belongs on the token lane.
"""

from dataclasses import dataclass, field
from typing import Protocol

from agent.model import PinState
from agent.pin import Pin


@dataclass(frozen=True)
class CertificateObject:
    """A certificate found on the token."""

    label: str
    cka_id: bytes
    der: bytes = field(repr=False)


@dataclass(frozen=True)
class TokenSeen:
    """What a PKCS#11 module shows of one token now. Blanks and NULs are stripped from every text."""

    slot: int
    reader: str  # the slot's description: the PC/SC reader's name with both known modules
    label: str
    serial: str
    model: str
    pin_state: PinState
    pin_pad: bool  # CKF_PROTECTED_AUTHENTICATION_PATH: the code is typed on the reader
    logged_in: bool
    asks_each_time: tuple[bytes, ...] = ()  # CKA_ID of keys with CKA_ALWAYS_AUTHENTICATE; known once logged in
    certificates: tuple[CertificateObject, ...] = ()
    data: dict[str, bytes] = field(default_factory=dict, repr=False)  # CKO_DATA by label, those visible now


@dataclass(frozen=True)
class ModuleFacts:
    """What a PKCS#11 module says of itself (CK_INFO), and what we know of it.

    `signs_cps3` is False for OpenSC, which reads a CPS3 and cannot sign with it when built with OpenSSL 3, unless
    the settings say that this one, or this card, can.
    """

    path: str  # of the real file, links followed
    name: str  # "Cryptolib CPS", "OpenSC", else the library's own description
    version: str  # of the library, not of the package: the Cryptolib CPS 5.2 has "3.1" or later
    signs_cps3: bool


class Tokens(Protocol):
    """The tokens of one PKCS#11 module, in a worker process."""

    def module(self) -> ModuleFacts:
        """The module that is loaded. No card is asked for anything, but modules look at the cards as they start.

        Raises module.missing, module.unsafe, module.bitness, module.tooOld, module.failed, device.crashed.
        """
        ...

    def look(self) -> list[TokenSeen]:
        """Every recognised token, in slot order. Empty without a card.

        Raises module.missing, module.failed, device.crashed, token.unknown.
        """
        ...

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        """Log in on the token with this serial and look again; the Pin is taken and wiped. None: pin-pad.

        Never retries. Raises pin.wrong (fact pinState), pin.locked, pin.format (no try lost), pin.cancelled (on
        the pad, or nobody typed there in time), cpx.absent, cpx.sessionLost, token.unknown, device.crashed.
        """
        ...

    def logout(self) -> None:
        """Log out and close the session. Never raises for a card that is gone."""
        ...

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        """RSA PKCS#1 v1.5 with SHA-256 over `data`, by the private key with this CKA_ID.

        `pin` is the code of a key that asks each time (context-specific login), taken and wiped; a wrong one
        costs a try and ends the session: pin.wrong, pin.locked. None on a pin-pad: it asks by itself. Without
        either such a key is cpx.sessionLost: ask the person.
        CKM_SHA256_RSA_PKCS first, then CKM_RSA_PKCS over the DigestInfo.
        Raises cpx.sessionLost, card.removed, cpx.noSignature, module.cannotSign, token.unknown, device.crashed.
        """
        ...

    def close(self) -> None:
        """End the worker process."""
        ...


class TokenProcess(Tokens, Protocol):
    """The same behind a child process, as the agent holds it."""

    def kill(self) -> None:
        """Kill the process now, from any thread: a call that hangs in it ends with device.crashed."""
        ...
