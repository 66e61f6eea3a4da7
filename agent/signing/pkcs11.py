"""The CPx through its PKCS#11 module. ★ PyKCS11; only the worker process loads this file.

PyKCS11 holds the interpreter's lock during every call and the modules are native code: hence the
worker. Behaviour seen with the Cryptolib CPS 5.2.2 and OpenSC 0.23 on a virtual CPS3; codes are those of
PKCS#11 v2.40 §5.1.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
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
from agent.signing.modules import module_facts
from agent.signing.ports import CertificateObject, ModuleFacts, TokenSeen

_CODES = {
    PyKCS11.CKR_PIN_INCORRECT: Code.PIN_WRONG,
    PyKCS11.CKR_PIN_LOCKED: Code.PIN_LOCKED,
    PyKCS11.CKR_PIN_LEN_RANGE: Code.PIN_FORMAT,
    PyKCS11.CKR_PIN_INVALID: Code.PIN_FORMAT,
    PyKCS11.CKR_FUNCTION_CANCELED: Code.PIN_CANCELLED,  # on the reader's own pad, or nobody typed there in time
    PyKCS11.CKR_FUNCTION_REJECTED: Code.PIN_CANCELLED,
    PyKCS11.CKR_USER_NOT_LOGGED_IN: Code.CPX_SESSION_LOST,
    PyKCS11.CKR_SESSION_HANDLE_INVALID: Code.CPX_SESSION_LOST,  # another program reset the card
    PyKCS11.CKR_SESSION_CLOSED: Code.CPX_SESSION_LOST,
    PyKCS11.CKR_DEVICE_REMOVED: Code.CARD_REMOVED,
    PyKCS11.CKR_TOKEN_NOT_PRESENT: Code.CARD_REMOVED,
}
# a module's own codes, whose meaning is worth a word to support
_MEANINGS = {
    PyKCS11.CKR_VENDOR_DEFINED + 1: "EF_ACTUA",  # Cryptolib: the card's update file is invalid
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
_SLOT_LIST_TRIES = 3
_LOGGED_IN = (PyKCS11.CKS_RO_USER_FUNCTIONS, PyKCS11.CKS_RW_USER_FUNCTIONS)
_SHA256_DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420")  # RFC 8017 §9.2
_READ = ("CPS_INFO_PS", "CPS_ACTIVITY_")  # the data objects we have a use for; the others are not read
# OpenSC gives each reader four slots of sixteen in all: a card in a fifth reader would never be seen.
_OPENSC_CONF = """
app default { card_drivers = iasecc; framework pkcs15 { use_pin_caching = false; } }
app opensc-pkcs11 { pkcs11 { max_virtual_slots = 64; } }
"""


@dataclass(frozen=True)
class _Session:
    """A session in which the person has logged in."""

    slot: int
    serial: str
    session: Any


class Pkcs11Tokens:
    """`Tokens` over one module, in this process. One caller at a time."""

    def __init__(self, module: Path, *, opensc_signs: bool = False) -> None:
        """Load the module; `opensc_signs`: an OpenSC is tried for signatures too. Raises module.failed."""
        self._module, self._opensc_signs = module, opensc_signs
        self._lib = PyKCS11.PyKCS11Lib()
        self._ours: _Session | None = None
        with _only_cps_in_opensc(module):
            try:
                self._lib.load(str(module))
            except PyKCS11Error as error:
                raise AgentError(Code.MODULE_FAILED, f"{module.name}: {_name(error)}", ckr=_name(error)) from None

    def module(self) -> ModuleFacts:
        try:
            info = self._lib.getInfo()
        except PyKCS11Error as error:
            raise our_error(error) from None
        return module_facts(
            self._module,
            description=_strip(info.libraryDescription),
            version=info.libraryVersion,
            opensc_signs=self._opensc_signs,
        )

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
            status = _c_login(session, PyKCS11.CKU_USER, code)
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

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        code = pin.take() if pin else bytearray()
        try:
            ours = self._ours
            if ours is None or ours.serial != serial:
                raise AgentError(Code.CPX_SESSION_LOST, "not logged in")
            try:
                key = self._key(ours, cka_id)
                asks = self._asks(ours, key, code)
                return _sign(ours.session, key, data, lambda: self._allow(ours, code) if asks else None)
            except PyKCS11Error as error:
                raise self._broken(error) from None
        finally:
            wipe(code)

    def _allow(self, ours: _Session, code: bytearray) -> None:
        """The code of a key that asks each time. A wrong one ends the session: OpenSC closes it by itself."""
        status = _c_login(ours.session, PyKCS11.CKU_CONTEXT_SPECIFIC, code)
        if status != PyKCS11.CKR_OK:
            self.logout()
            raise self._refusal(PyKCS11Error(status), ours.slot)

    def _key(self, ours: _Session, cka_id: bytes) -> Any:
        """The handle of a private key, looked for each time: handles do not outlive a logout."""
        keys = ours.session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_ID, tuple(cka_id))])
        if not keys:
            lost = not _logged_in(ours.session)
            raise AgentError(Code.CPX_SESSION_LOST if lost else Code.CPX_NO_SIGNATURE, "no such private key")
        return keys[0]

    def _asks(self, ours: _Session, key: Any, code: bytearray) -> bool:
        """Whether this key wants the code now. Without code and pin-pad, the person must be asked first."""
        if not _always_authenticates(ours.session, key):
            return False
        if not code and not self._lib.getTokenInfo(ours.slot).flags & PyKCS11.CKF_PROTECTED_AUTHENTICATION_PATH:
            raise AgentError(Code.CPX_SESSION_LOST, "this key asks for the code at each signature")
        return True

    def close(self) -> None:
        self.logout()
        with suppress(PyKCS11Error):
            self._lib.unload()

    def _tokens(self) -> Iterator[tuple[int, Any]]:
        """Every slot with an initialised token that the module recognises. Asking the list also wakes the module up.

        A slot that fails hides no other: its failure is said if our session is in it, or nothing else is seen.
        """
        failure: AgentError | None = None
        shown = 0
        for slot in self._slots():
            try:
                info = self._lib.getTokenInfo(slot)
            except PyKCS11Error as error:
                if error.value in _NOT_OURS:
                    continue
                if self._is_ours(slot):
                    raise our_error(error) from None
                failure = failure or our_error(error)
                continue
            if info.flags & PyKCS11.CKF_TOKEN_INITIALIZED:
                shown += 1
                yield slot, info
        if failure and not shown:
            raise failure

    def _is_ours(self, slot: int) -> bool:
        return self._ours is not None and self._ours.slot == slot

    def _slots(self) -> list[int]:
        """The slots with a token. PyKCS11 asks for their number first; a card may come meanwhile."""
        for left in range(_SLOT_LIST_TRIES, -1, -1):
            try:
                return list(self._lib.getSlotList(tokenPresent=True))
            except PyKCS11Error as error:
                if error.value != PyKCS11.CKR_BUFFER_TOO_SMALL or not left:
                    raise our_error(error) from None
        raise AssertionError("unreachable: the last try returns or raises")

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
                known = self._broken(error) if self._is_ours(slot) else our_error(error)
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
                asks_each_time=tuple(_asking_keys(session)) if ours else (),
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
    if code is not Code.TOKEN_UNKNOWN:
        return AgentError(code, raw)
    meaning = _MEANINGS.get(error.value)
    return AgentError(code, raw, ckr=raw, **({"meaning": meaning} if meaning else {}))


def _c_login(session: Any, user: int, code: bytearray) -> int:
    """C_Login, without `Session.login`: it would leave the code in a bytes that nobody can wipe.

    No code is a NULL pointer: the reader's own pad asks for it. What remains beyond us: the module's own copy
    until C_Logout (the Cryptolib and OpenSC keep one).
    """
    buffer = PyKCS11.LowLevel.ckbytelist(len(code))
    for index, byte in enumerate(code):
        buffer[index] = byte
    try:
        return int(session.lib.C_Login(session.session, user, buffer))
    finally:
        for index in range(len(code)):
            buffer[index] = 0


def _sign(session: Any, key: Any, data: bytes, allow: Callable[[], None]) -> bytes:
    """The card's own hash first: a CPS3 finishes it inside. Then a bare RSA signature of the DigestInfo.

    `allow` gives the code of a key that asks each time; for a second mechanism again, accepted a moment ago.
    """
    attempts = (
        (PyKCS11.CKM_SHA256_RSA_PKCS, data),
        (PyKCS11.CKM_RSA_PKCS, _SHA256_DIGEST_INFO + sha256(data).digest()),
    )
    refusals = []
    for mechanism, message in attempts:
        try:
            return _sign_once(session, key, mechanism, message, allow)
        except PyKCS11Error as error:
            if error.value not in _OTHER_MECHANISM:
                raise
            refusals.append(_name(error))
    raise AgentError(Code.MODULE_CANNOT_SIGN, ckr=refusals)


def _sign_once(session: Any, key: Any, mechanism: int, message: bytes, allow: Callable[[], None]) -> bytes:
    """`Session.sign` in steps: PKCS#11 v2.40 §5.6 wants the context-specific login between two of them."""
    out = PyKCS11.LowLevel.ckbytelist()
    native = PyKCS11.Mechanism(mechanism, None).to_native()
    _ok(session.lib.C_SignInit(session.session, native, key))
    allow()
    for _ in ("size", "signature"):
        _ok(session.lib.C_Sign(session.session, PyKCS11.LowLevel.ckbytelist(message), out))
    return bytes(out)


def _ok(status: int) -> None:
    if status != PyKCS11.CKR_OK:
        raise PyKCS11Error(status)


def _asking_keys(session: Any) -> Iterator[bytes]:
    for key in session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY)]):
        if _always_authenticates(session, key):
            yield _attributes(session, key, PyKCS11.CKA_ID)[0]


def _always_authenticates(session: Any, key: Any) -> bool:
    """The Cryptolib does not know the attribute: absent is no."""
    return any(_attributes(session, key, PyKCS11.CKA_ALWAYS_AUTHENTICATE)[0])


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

    It also keeps the code and sends it again by itself after another program's reset; not with this file. So a
    file of the session's own counts for nothing here.
    """
    if "opensc" not in module.name:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="insi-agent-") as folder:
        conf = Path(folder) / "opensc.conf"
        conf.write_text(_OPENSC_CONF)
        os.environ["OPENSC_CONF"] = str(conf)  # read once, at C_Initialize, in this process of the module's own
        try:
            yield
        finally:
            del os.environ["OPENSC_CONF"]
