"""The CPx in a process of its own: the agent's side, and the child's. ★ (a pipe to a child process)

A vendor's module that crashes or hangs takes only the worker along; the next call starts another.
A code crosses as raw bytes, from bytearray to bytearray, and both are wiped right after use.
"""

import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.child import KeptChild, Pipe, failure, harden, pipe_to_parent
from agent.errors import AgentError, Code
from agent.model import PinState
from agent.native import check_library
from agent.pin import Pin, wipe
from agent.signing.modules import Check, find_module
from agent.signing.ports import CertificateObject, ModuleFacts, Tokens, TokenSeen

_FINDS_MODULE = ("module", "look")


class TokenWorker:
    """`Tokens` in a child process, started at the first call. Blocks: call it on the token lane."""

    def __init__(
        self,
        module: Path | None = None,
        *,
        simulated: Path | None = None,
        environment: dict[str, str] | None = None,
        check: Check = check_library,
        opensc_signs: bool = False,
    ) -> None:
        """`module`: PKCS#11 module, None for the known places. `simulated`: instead, the simulator's state folder.

        `check` decides what may be loaded; `opensc_signs`, whether an OpenSC is said to sign.
        """
        self._module = module
        self._simulated = simulated
        self._check, self._opensc_signs = check, opensc_signs
        self._child = KeptChild("pkcs11", environment=environment)
        self._loaded: dict[str, Any] = {}  # the source of the child
        self._turn = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The worker's process, if it runs."""
        return self._child.pid

    def module(self) -> ModuleFacts:
        return ModuleFacts(**self._ask("module")[0]["module"])

    def look(self) -> list[TokenSeen]:
        return [_token(fields) for fields in self._ask("look")[0]["tokens"]]

    def login(self, serial: str, pin: Pin | None) -> TokenSeen:
        code = pin.take() if pin else bytearray()
        try:
            return _token(self._ask("login", code, serial=serial, pad=pin is None)[0]["token"])
        finally:
            wipe(code)

    def logout(self) -> None:
        try:
            if self.pid:
                self._ask("logout")
        except AgentError as error:
            if error.code is not Code.DEVICE_CRASHED:  # its session ended with it
                raise

    def sign(self, serial: str, cka_id: bytes, data: bytes, pin: Pin | None = None) -> bytes:
        code = pin.take() if pin else bytearray()
        payload = code + data  # extended in place, it could leave a copy of the code behind
        try:
            return bytes(self._ask("sign", payload, serial=serial, id=cka_id.hex(), code=len(code))[1])
        finally:
            wipe(code)
            wipe(payload)

    def close(self) -> None:
        self._child.close()

    def kill(self) -> None:
        """Break a call that hangs, from any thread: it ends with device.crashed."""
        self._child.kill()

    def _ask(
        self, operation: str, payload: bytes | bytearray = b"", **arguments: Any
    ) -> tuple[dict[str, Any], bytearray]:
        # a look may find another module than the last one; what follows a look stays with the process it looked in
        followed = operation not in _FINDS_MODULE and self.pid is not None
        source = self._loaded if followed else self._source()  # no module, no process
        with self._turn:
            if self._loaded != source:  # somebody has installed or moved a module meanwhile
                self._child.close()
                self._loaded = source
            return self._child.ask({"do": operation, "on": source, **arguments}, payload)

    def _source(self) -> dict[str, Any]:
        if self._simulated:
            return {"simulated": str(self._simulated)}
        module = find_module(self._module, check=self._check)
        return {"module": str(module), "openscSigns": self._opensc_signs}


def child_main() -> int:
    """The worker process: `_child pkcs11`."""
    harden()
    main(pipe_to_parent())
    return 0


def main(pipe: Pipe) -> None:
    """Answer requests until the agent closes the pipe. The module is loaded by the first one."""
    tokens: Tokens | None = None
    while (frame := pipe.receive()) is not None:
        request, payload = frame
        try:
            tokens = tokens or _open(request["on"])
            header, answer = _OPERATIONS[request["do"]](tokens, request, payload)
        except AgentError as error:
            header, answer = failure(error), b""
        finally:
            wipe(payload)
        pipe.send(header, answer)
    if tokens:
        tokens.close()


def _open(source: dict[str, Any]) -> Tokens:
    if "simulated" in source:
        from agent.signing.fake_token import FakeTokens

        return FakeTokens(Path(source["simulated"]))
    from agent.signing.pkcs11 import Pkcs11Tokens

    return Pkcs11Tokens(Path(source["module"]), opensc_signs=source["openscSigns"])


Answer = tuple[dict[str, Any], bytes]


def _module(tokens: Tokens, _request: dict[str, Any], _payload: bytearray) -> Answer:
    return {"module": asdict(tokens.module())}, b""


def _look(tokens: Tokens, _request: dict[str, Any], _payload: bytearray) -> Answer:
    return {"tokens": [_fields(token) for token in tokens.look()]}, b""


def _login(tokens: Tokens, request: dict[str, Any], payload: bytearray) -> Answer:
    return {"token": _fields(tokens.login(request["serial"], None if request["pad"] else Pin(payload)))}, b""


def _logout(tokens: Tokens, _request: dict[str, Any], _payload: bytearray) -> Answer:
    tokens.logout()
    return {}, b""


def _sign(tokens: Tokens, request: dict[str, Any], payload: bytearray) -> Answer:
    """The payload is the code, if this key asks for it, then the data."""
    size = request["code"]
    pin = Pin(payload[:size]) if size else None
    try:
        return {}, tokens.sign(request["serial"], bytes.fromhex(request["id"]), bytes(memoryview(payload)[size:]), pin)
    finally:
        if pin:
            pin.wipe()


_OPERATIONS: dict[str, Callable[[Tokens, dict[str, Any], bytearray], Answer]] = {
    "module": _module,
    "look": _look,
    "login": _login,
    "logout": _logout,
    "sign": _sign,
}


def _fields(token: TokenSeen) -> dict[str, Any]:
    """A token as JSON: bytes in base64."""
    return {
        **{name: getattr(token, name) for name in _PLAIN},
        "asks_each_time": [_text(cka_id) for cka_id in token.asks_each_time],
        "certificates": [[c.label, _text(c.cka_id), _text(c.der)] for c in token.certificates],
        "data": {label: _text(value) for label, value in token.data.items()},
    }


def _token(fields: dict[str, Any]) -> TokenSeen:
    return TokenSeen(
        **{name: fields[name] for name in _PLAIN if name != "pin_state"},
        pin_state=PinState(fields["pin_state"]),
        asks_each_time=tuple(b64decode(cka_id) for cka_id in fields["asks_each_time"]),
        certificates=tuple(
            CertificateObject(label, b64decode(cka_id), b64decode(der)) for label, cka_id, der in fields["certificates"]
        ),
        data={label: b64decode(value) for label, value in fields["data"].items()},
    )


_PLAIN = ("slot", "reader", "label", "serial", "model", "pin_state", "pin_pad", "logged_in")


def _text(value: bytes) -> str:
    return b64encode(value).decode()
