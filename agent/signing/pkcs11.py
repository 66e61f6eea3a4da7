"""The CPx through its PKCS#11 module. ★ PyKCS11; only the worker process loads this file.

PyKCS11 holds the interpreter's lock during every call and the modules are native code: hence the
worker. Behaviour seen with the Cryptolib CPS 5.2.2 and OpenSC 0.23 on a virtual CPS3; codes are those of
PKCS#11 v2.40 §5.1.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import PyKCS11
from PyKCS11 import PyKCS11Error

from agent.errors import AgentError, Code
from agent.model import PinState
from agent.pin import Pin, wipe
from agent.signing.ports import CertificateObject, TokenSeen

_CODES = {
    PyKCS11.CKR_PIN_INCORRECT: Code.PIN_WRONG,
    PyKCS11.CKR_PIN_LOCKED: Code.PIN_LOCKED,
    PyKCS11.CKR_PIN_LEN_RANGE: Code.PIN_FORMAT,
    PyKCS11.CKR_PIN_INVALID: Code.PIN_FORMAT,
    PyKCS11.CKR_FUNCTION_CANCELED: Code.PIN_CANCELLED,  # on the reader's own pad
    PyKCS11.CKR_USER_NOT_LOGGED_IN: Code.CPX_SESSION_LOST,
    PyKCS11.CKR_SESSION_HANDLE_INVALID: Code.CPX_SESSION_LOST,  # another program reset the card
    PyKCS11.CKR_SESSION_CLOSED: Code.CPX_SESSION_LOST,
    PyKCS11.CKR_DEVICE_REMOVED: Code.CARD_REMOVED,
    PyKCS11.CKR_TOKEN_NOT_PRESENT: Code.CARD_REMOVED,
}
_NOT_OURS = (
    PyKCS11.CKR_TOKEN_NOT_RECOGNIZED,  # a carte Vitale in another reader
    PyKCS11.CKR_TOKEN_NOT_PRESENT,
    PyKCS11.CKR_DEVICE_REMOVED,
)
# FINAL_TRY comes together with COUNT_LOW in the Cryptolib: the first that fits counts
_PIN_STATES = (
    (PyKCS11.CKF_USER_PIN_LOCKED, PinState.LOCKED),
    (PyKCS11.CKF_USER_PIN_FINAL_TRY, PinState.FINAL),
    (PyKCS11.CKF_USER_PIN_COUNT_LOW, PinState.LOW),
)
# "not this mechanism": FUNCTION_NOT_SUPPORTED and MECHANISM_INVALID by OpenSC, KEY_TYPE_INCONSISTENT by the Cryptolib
_OTHER_MECHANISM = (
    PyKCS11.CKR_FUNCTION_NOT_SUPPORTED,
    PyKCS11.CKR_MECHANISM_INVALID,
    PyKCS11.CKR_KEY_TYPE_INCONSISTENT,
    PyKCS11.CKR_KEY_FUNCTION_NOT_PERMITTED,
)
_LOGGED_IN = (PyKCS11.CKS_RO_USER_FUNCTIONS, PyKCS11.CKS_RW_USER_FUNCTIONS)
_SHA256_DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420")  # RFC 8017 §9.2
_READ = ("CPS_INFO_PS", "CPS_ACTIVITY_")  # the data objects we have a use for; the others are not read
_OPENSC_CONF = "app default { card_drivers = iasecc; framework pkcs15 { use_pin_caching = false; } }"


@dataclass(frozen=True)
class _Session:
    """A session in which the person has logged in."""

    slot: int
    serial: str
    session: Any


class Pkcs11Tokens:
    """`Tokens` over one module, in this process. One caller at a time."""

    def __init__(self, module: Path) -> None:
        """Load the module. Raises module.failed."""
        self._lib = PyKCS11.PyKCS11Lib()
        self._ours: _Session | None = None
        with _only_cps_in_opensc(module):
            try:
                self._lib.load(str(module))
            except PyKCS11Error as error:
                raise AgentError(Code.MODULE_FAILED, f"{module.name}: {_name(error)}", ckr=_name(error)) from None

    def look(self) -> list[TokenSeen]:
        seen = [token for slot, info in self._tokens() if (token := self._read(slot, info))]
        if self._ours and self._ours.serial not in [token.serial for token in seen]:
            self.logout()
        return seen

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        code = pin.take() if pin else bytearray()
        try:
            self.logout()
            slot = self._slot(serial)
            try:
                session = self._lib.openSession(slot)
            except PyKCS11Error as error:
                raise our_error(error) from None
            self._ours = _Session(slot, serial, session)
            status = _c_login(session, code)
        finally:
            wipe(code)
        if status != PyKCS11.CKR_OK:
            self.logout()
            raise self._refusal(PyKCS11Error(status), slot)
        try:
            return self._seen(slot, self._lib.getTokenInfo(slot))
        except PyKCS11Error as error:
            raise self._broken(error) from None

    def logout(self) -> None:
        """Both steps: C_Logout alone leaves the module's copy of the code, and handles that are stale."""
        ours, self._ours = self._ours, None
        if ours:
            for step in (ours.session.logout, ours.session.closeSession):
                with suppress(PyKCS11Error):  # the card may be gone
                    step()

    def sign(self, serial: str, cka_id: bytes, data: bytes) -> bytes:
        ours = self._ours
        if ours is None or ours.serial != serial:
            raise AgentError(Code.CPX_SESSION_LOST, "not logged in")
        try:
            # handles do not outlive a logout: find the key each time
            keys = ours.session.findObjects(
                [(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_ID, tuple(cka_id))]
            )
            if not keys:
                lost = not _logged_in(ours.session)
                raise AgentError(Code.CPX_SESSION_LOST if lost else Code.CPX_NO_SIGNATURE, "no such private key")
            return _sign(ours.session, keys[0], data)
        except PyKCS11Error as error:
            raise self._broken(error) from None

    def close(self) -> None:
        self.logout()
        with suppress(PyKCS11Error):
            self._lib.unload()

    def _tokens(self) -> Iterator[tuple[int, Any]]:
        """Every slot with an initialised token that the module recognises. Asking the list also wakes the module up."""
        try:
            slots = self._lib.getSlotList(tokenPresent=True)
        except PyKCS11Error as error:
            raise our_error(error) from None
        for slot in slots:
            try:
                info = self._lib.getTokenInfo(slot)
            except PyKCS11Error as error:
                if error.value in _NOT_OURS:
                    continue
                raise our_error(error) from None
            if info.flags & PyKCS11.CKF_TOKEN_INITIALIZED:
                yield slot, info

    def _slot(self, serial: str) -> int:
        for slot, info in self._tokens():
            if _strip(info.serialNumber) == serial:
                return slot
        raise AgentError(Code.CPX_ABSENT)

    def _read(self, slot: int, info: Any) -> TokenSeen | None:
        """What a token shows; None if it leaves meanwhile. A dead session is opened anew once: no code needed."""
        for _ in range(2):
            try:
                return self._seen(slot, info)
            except PyKCS11Error as error:
                known = self._broken(error)
                if known.code not in (Code.CPX_SESSION_LOST, Code.CARD_REMOVED):
                    raise known from None
        return None

    def _seen(self, slot: int, info: Any) -> TokenSeen:
        ours = (
            self._ours
            if self._ours and (self._ours.slot, self._ours.serial) == (slot, _strip(info.serialNumber))
            else None
        )
        if ours and not _logged_in(ours.session):
            self.logout()
            ours = None
        session = ours.session if ours else self._lib.openSession(slot)
        try:
            return TokenSeen(
                slot=slot,
                reader=_strip(self._lib.getSlotInfo(slot).slotDescription),
                label=_strip(info.label),
                serial=_strip(info.serialNumber),
                model=_strip(info.model),
                pin_state=pin_state(info.flags),
                pin_pad=bool(info.flags & PyKCS11.CKF_PROTECTED_AUTHENTICATION_PATH),
                logged_in=ours is not None,
                certificates=tuple(_certificates(session)),
                data=dict(_data(session)),
            )
        finally:
            if not ours:
                with suppress(PyKCS11Error):
                    session.closeSession()

    def _broken(self, error: PyKCS11Error) -> AgentError:
        """The failure in our words; a session that is lost is closed, never repaired: only the person has the code."""
        known = our_error(error)
        if known.code in (Code.CPX_SESSION_LOST, Code.CARD_REMOVED):
            self.logout()
        return known

    def _refusal(self, error: PyKCS11Error, slot: int) -> AgentError:
        """A refused login, with what the flags now say of the tries left."""
        known = our_error(error)
        if known.code is not Code.PIN_WRONG:
            return known
        try:
            state = pin_state(self._lib.getTokenInfo(slot).flags)
        except PyKCS11Error:
            state = PinState.UNKNOWN
        return AgentError(Code.PIN_LOCKED) if state is PinState.LOCKED else AgentError(Code.PIN_WRONG, pinState=state)


def pin_state(flags: int) -> PinState:
    """What CK_TOKEN_INFO.flags say of the tries left."""
    return next((state for flag, state in _PIN_STATES if flags & flag), PinState.OK)


def our_error(error: PyKCS11Error) -> AgentError:
    """A CKR in our words. One that we do not know is token.unknown (fact ckr) and keeps its number."""
    code, raw = _CODES.get(error.value, Code.TOKEN_UNKNOWN), _name(error)
    return AgentError(code, raw, ckr=raw) if code is Code.TOKEN_UNKNOWN else AgentError(code, raw)


def _c_login(session: Any, code: bytearray) -> int:
    """C_Login, without `Session.login`: it would leave the code in a bytes that nobody can wipe.

    What remains beyond us: the module's own copy until C_Logout (the Cryptolib and OpenSC keep one).
    """
    buffer = PyKCS11.LowLevel.ckbytelist(len(code))
    for index, byte in enumerate(code):
        buffer[index] = byte
    try:
        return int(session.lib.C_Login(session.session, PyKCS11.CKU_USER, buffer))
    finally:
        for index in range(len(code)):
            buffer[index] = 0


def _sign(session: Any, key: Any, data: bytes) -> bytes:
    """The card's own hash first: a CPS3 finishes it inside. Then a bare RSA signature of the DigestInfo."""
    attempts = (
        (PyKCS11.CKM_SHA256_RSA_PKCS, data),
        (PyKCS11.CKM_RSA_PKCS, _SHA256_DIGEST_INFO + sha256(data).digest()),
    )
    refusals = []
    for mechanism, message in attempts:
        try:
            return bytes(session.sign(key, message, PyKCS11.Mechanism(mechanism, None)))
        except PyKCS11Error as error:
            if error.value not in _OTHER_MECHANISM:
                raise
            refusals.append(_name(error))
    raise AgentError(Code.MODULE_CANNOT_SIGN, ckr=refusals)


def _certificates(session: Any) -> Iterator[CertificateObject]:
    for handle in session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_CERTIFICATE)]):
        label, cka_id, der = _attributes(session, handle, PyKCS11.CKA_LABEL, PyKCS11.CKA_ID, PyKCS11.CKA_VALUE)
        yield CertificateObject(_decode(label), cka_id, der)


def _data(session: Any) -> Iterator[tuple[str, bytes]]:
    for handle in session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_DATA)]):
        label = _decode(_attributes(session, handle, PyKCS11.CKA_LABEL)[0])
        if label.startswith(_READ):
            yield label, _attributes(session, handle, PyKCS11.CKA_VALUE)[0]


def _attributes(session: Any, handle: Any, *names: int) -> list[bytes]:
    """Raw bytes; empty where the object has no such attribute."""
    values = session.getAttributeValue(handle, list(names), allAsBinary=True)
    return [bytes(value) if value is not None else b"" for value in values]


def _logged_in(session: Any) -> bool:
    try:
        return session.getSessionInfo().state in _LOGGED_IN
    except PyKCS11Error:
        return False


def _decode(text: bytes) -> str:
    return _strip(text.decode("utf-8", errors="replace"))


def _strip(text: str) -> str:
    """Blanks by the standard, NULs by habit of some modules."""
    return text.strip(" \0")


def _name(error: PyKCS11Error) -> str:
    """The raw code, "0x000000E1"; PyKCS11's own codes are negative."""
    return f"{'-' if error.value < 0 else ''}0x{abs(error.value):08X}"


@contextmanager
def _only_cps_in_opensc(module: Path) -> Iterator[None]:
    """OpenSC tries every driver on every card: 470 commands to a carte Vitale at each look, none with this file.

    It also keeps the code and sends it again by itself after another program's reset; not with this file.
    """
    if "opensc" not in module.name or "OPENSC_CONF" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="insi-agent-") as folder:
        conf = Path(folder) / "opensc.conf"
        conf.write_text(_OPENSC_CONF)
        os.environ["OPENSC_CONF"] = str(conf)  # read once, at C_Initialize
        try:
            yield
        finally:
            del os.environ["OPENSC_CONF"]
