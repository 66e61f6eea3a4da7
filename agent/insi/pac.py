"""What a PAC script says, asked in a process of its own with limits of time and memory. ★ pypac, in a child process

The script is a stranger's program, perhaps fetched without TLS. Its process sees no variable of our environment, reads
no file besides the script, writes none, and is gone after the answer: a script that loops, swallows memory or crashes
costs `timeout_s`. It is told scheme and host of a server, never a whole address, and may look names up (PAC's own
functions), as in a browser. Redirections are not followed. pypac brings PAC's functions and dukpy, the interpreter.

Sources: MDN, "Proxy Auto-Configuration (PAC) file".
"""

import logging
import math
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.child import KeptChild, failure, pipe_to_parent
from agent.errors import AgentError, Code
from agent.lane import run_alone

_MAX_SCRIPT_BYTES = 1 << 20
_MAX_MEMORY_BYTES = 512 << 20  # of the whole process; measured: about 150 MB with the interpreter loaded
_MAX_REASON = 200
_KEPT_VARIABLES = {"TZ", "SYSTEMROOT"}  # the hours of timeRange; what Windows' sockets need


def ask(script: str, scheme: str, host: str, *, timeout_s: float) -> object:
    """What the script at this path or http(s) address answers for a server: a string, if it is a good one. Blocks.

    `timeout_s` is for all of it: start of the process, fetching, evaluation. Raises proxy.script.
    """
    child = KeptChild("pac")
    request = {"script": script, "scheme": scheme, "host": host, "timeoutS": timeout_s}
    try:
        header, _ = run_alone("pac", partial(child.ask, request), timeout_s=timeout_s, abandoned=child.kill)
    except AgentError as error:
        if error.code is Code.PROXY_SCRIPT:
            raise
        raise AgentError(Code.PROXY_SCRIPT, f"its process: {error}") from None  # too long, or too much
    finally:
        child.close()
    return header.get("answer")


def child_main() -> int:
    """The process: `_child pac`. One question, one answer."""
    logging.disable()  # a script's console writes there, as much as it likes
    pipe = pipe_to_parent()
    frame = pipe.receive()
    if frame is None:
        return 0
    request = frame[0]
    for name in set(os.environ) - _KEPT_VARIABLES:
        del os.environ[name]
    try:
        script = _read(request["script"])
        answer = {"answer": _evaluate(script, request["scheme"], request["host"], request["timeoutS"])}
    except AgentError as error:
        answer = failure(error)
    pipe.send(answer)
    return 0


def _limit(timeout_s: float) -> None:
    """Windows has no such limits for a process by itself: there the time alone is limited."""
    if sys.platform == "win32":
        return
    import resource

    seconds = math.ceil(timeout_s) + 1
    for what, limit in (
        (resource.RLIMIT_AS, _MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


def _read(script: str) -> str:
    """Raises proxy.script."""
    try:
        content = _fetch(script) if script.startswith(("http://", "https://")) else _load(Path(script))
    except (OSError, ValueError) as error:
        raise AgentError(Code.PROXY_SCRIPT, f"not read: {type(error).__name__}") from None
    if len(content) > _MAX_SCRIPT_BYTES:
        raise AgentError(Code.PROXY_SCRIPT, f"more than {_MAX_SCRIPT_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _load(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_MAX_SCRIPT_BYTES + 1)


def _fetch(address: str) -> bytes:
    """Directly: who has no proxy yet cannot use one. https is checked against the system's authorities."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    parts = urlsplit(address)
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(parts.hostname or "", parts.port)
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise AgentError(Code.PROXY_SCRIPT, f"not read: HTTP {response.status}")
        return response.read(_MAX_SCRIPT_BYTES + 1)
    except HTTPException as error:
        raise AgentError(Code.PROXY_SCRIPT, f"not read: {type(error).__name__}") from None
    finally:
        connection.close()


def _evaluate(script: str, scheme: str, host: str, timeout_s: float) -> Any:
    """Raises proxy.script."""
    from dukpy import JSInterpreter, JSRuntimeError
    from pypac.parser_functions import function_injections
    from pypac.parser_functions_ex import function_injections as more

    _limit(timeout_s)
    interpreter = JSInterpreter()
    _forbid_files(interpreter)
    for name, function in {**function_injections, **more, "myIpAddress": own_address}.items():
        interpreter.export_function(name, function)
        interpreter.evaljs(_CALLS_PYTHON % (name, name))
    try:
        interpreter.evaljs(script)
        interpreter.evaljs(_NAMED_EX)
        return interpreter.evaljs("FindProxyForURL(dukpy.url, dukpy.host)", url=f"{scheme}://{host}/", host=host)
    except (JSRuntimeError, ValueError, TypeError, ArithmeticError, LookupError, OSError, MemoryError) as error:
        said = "".join(letter if letter.isprintable() else " " for letter in str(error))[:_MAX_REASON]
        raise AgentError(Code.PROXY_SCRIPT, f"{type(error).__name__}: {said}") from None


# A function that a script may call as its own.
_CALLS_PYTHON = """%s = function () {
    return call_python.apply(null, ["%s"].concat(Array.prototype.slice.call(arguments)));
}; void 0"""

# Microsoft's other name of the entry, for scripts that have it alone.
_NAMED_EX = 'if (typeof FindProxyForURL === "undefined") FindProxyForURL = FindProxyForURLEx; void 0'


def _forbid_files(interpreter: Any) -> None:
    """dukpy lets a script import modules by any path of this machine, and read the environment: not a PAC script."""
    nothing_loads: Any = interpreter.loader
    nothing_loads.lookup = lambda _name: (None, None)  # `import()`
    nothing_loads.load = lambda _name: (None, None, None)
    interpreter.export_function("dukpy.load_module", nothing_loads.load)  # `require()`
    interpreter.export_function("dukpy.normalize_module", lambda _base, _name: None)
    interpreter.evaljs("delete globalThis.process; delete globalThis.require; void 0")


def own_address() -> str:
    """Where this machine's packets leave from, as browsers answer `myIpAddress`; nothing is sent.

    pypac asks the machine's own name, which on Debian is 127.0.1.1.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address of nobody
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
