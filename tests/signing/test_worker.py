"""The worker process: it may crash, hang or be killed; the agent goes on. It never outlives the agent."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.child import Pipe
from agent.doctor import _loaded
from agent.errors import AgentError, Code
from agent.signing.fake_token import PIN, card_file
from agent.signing.worker import TokenWorker, main
from tests.parts.desktop import until
from tests.parts.killed import killed_agent
from tests.signing.conftest import Fake, typed

SERIAL = "99000001"  # of the token in fake_pkcs11.c
Load = Callable[..., AbstractContextManager[Fake]]
AGENT = """
import sys
from pathlib import Path
from agent.signing.worker import TokenWorker
tokens = TokenWorker(simulated=Path(sys.argv[1]))
tokens.look()
print(tokens.pid, flush=True)
sys.stdin.read()
"""
AGENT_WHOSE_MODULE_HANGS = """
import sys
from pathlib import Path
from agent.signing.worker import TokenWorker
told = {"FAKE_PKCS11": "C_GetSlotList=hang", "FAKE_PKCS11_LOG": sys.argv[2]}
tokens = TokenWorker(Path(sys.argv[1]), environment=told, check=lambda path: path)
tokens.module()
print(tokens.pid, flush=True)
tokens.look()
"""


@pytest.fixture
def tokens(state: Path) -> Iterator[TokenWorker]:
    worker = TokenWorker(simulated=state)
    yield worker
    worker.close()


class Caller(threading.Thread):
    """Somebody who waits for an answer, as the token lane does."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self._call = call
        self.code: Code | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except AgentError as error:
            self.code = error.code


@contextmanager
def in_the_middle_of_a_look(tokens: TokenWorker, state: Path) -> Iterator[Caller]:
    """The reader becomes a pipe that nobody fills: opening it to write returns once the worker reads there."""
    file = card_file(state)
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    caller = Caller(tokens.look)
    writer = os.open(file, os.O_WRONLY)
    file.unlink()
    file.write_bytes(content)
    yield caller
    os.close(writer)
    caller.join()


def test_it_starts_at_the_first_call_and_stays(tokens: TokenWorker) -> None:
    assert tokens.pid is None
    tokens.look()
    first = tokens.pid
    tokens.look()

    assert first is not None
    assert tokens.pid == first


def test_a_worker_that_dies_in_a_call_is_said_and_the_next_call_has_another(tokens: TokenWorker, state: Path) -> None:
    serial = tokens.look()[0].serial
    tokens.login(serial, typed("1234"))
    first = tokens.pid
    assert first is not None
    with in_the_middle_of_a_look(tokens, state) as caller:
        os.kill(first, signal.SIGKILL)

    assert caller.code is Code.DEVICE_CRASHED
    assert [(t.serial, t.logged_in) for t in tokens.look()] == [(serial, False)]
    assert tokens.pid not in (None, first)


def test_a_call_that_hangs_can_be_broken_from_another_thread(tokens: TokenWorker, state: Path) -> None:
    with in_the_middle_of_a_look(tokens, state) as caller:
        tokens.kill()

    assert caller.code is Code.DEVICE_CRASHED
    assert len(tokens.look()) == 1


def test_logging_out_of_a_dead_worker_is_no_error(tokens: TokenWorker) -> None:
    tokens.login(tokens.look()[0].serial, typed("1234"))
    tokens.kill()

    tokens.logout()
    assert not tokens.look()[0].logged_in


def test_it_dies_with_the_agent_even_when_it_hangs(state: Path) -> None:
    with killed_agent(AGENT, state) as (_agent, worker):
        os.kill(worker, signal.SIGSTOP)  # it will not see that its input ended


def test_it_dies_with_the_agent_even_when_it_hangs_inside_the_module(fake_module: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    with killed_agent(AGENT_WHOSE_MODULE_HANGS, fake_module, log) as (agent, _worker):
        until(lambda: "C_GetSlotList" in log.read_text(), "the call that hangs")
        assert agent.poll() is None


def test_a_module_that_crashes_is_said_and_the_next_call_has_another_worker(fake: Load) -> None:
    with fake("C_Sign=abort") as made:
        made.tokens.login(SERIAL, typed("1234"))
        first = made.tokens.pid

        with pytest.raises(AgentError) as crashed:
            made.tokens.sign(SERIAL, b"\x01", b"x")

        assert crashed.value.code is Code.DEVICE_CRASHED
        assert not made.tokens.look()[0].logged_in
        assert made.tokens.pid not in (None, first)


@pytest.mark.parametrize("function", ["C_Login", "C_Sign", "C_Logout"])
def test_a_module_that_hangs_is_killed_and_the_next_call_works(fake: Load, function: str) -> None:
    """As the token lane does when a call is past its deadline."""
    with fake(f"{function}=hang") as made:

        def use() -> None:
            made.tokens.login(SERIAL, typed("1234"))
            made.tokens.sign(SERIAL, b"\x01", b"x")
            made.tokens.logout()

        made.tokens.look()
        first = made.tokens.pid
        caller = Caller(use)
        until(lambda: bool(made.calls(function)), f"{function} in the module")
        made.tokens.kill()
        caller.join()

        # a logout from a worker that died has done what it wanted
        assert caller.code is (None if function == "C_Logout" else Code.DEVICE_CRASHED)
        assert not made.tokens.look()[0].logged_in
        assert made.tokens.pid not in (None, first)
        assert len(made.calls(function)) == 1, "nothing is tried again"


@pytest.mark.parametrize("plan", ["C_Initialize=0x5", "C_Initialize=0x30"])
def test_a_module_that_does_not_start_is_said_each_time(fake: Load, plan: str) -> None:
    with fake(plan) as made:
        codes = set()
        for _ in range(2):
            with pytest.raises(AgentError) as refused:
                made.tokens.look()
            codes.add((refused.value.code, refused.value.facts["ckr"]))

        assert codes == {(Code.MODULE_FAILED, f"0x{int(plan.partition('=')[2], 16):08X}")}


def test_the_doctor_never_waits_for_a_module_that_hangs(fake: Load) -> None:
    """Diagnostics must not block, and never touch the code: certutil does both (field reports)."""
    with fake("C_Initialize=hang") as made:
        with pytest.raises(AgentError) as refused:
            _loaded(made.tokens, timeout_s=1)

        assert refused.value.code is Code.DEVICE_TIMEOUT
        assert made.tokens.pid is None
        assert not made.calls("C_Login")


def test_a_module_that_is_none_says_so(tmp_path: Path) -> None:
    module = tmp_path / "libcps3_pkcs11_lux.so"
    module.write_bytes(b"not a library")
    tokens = TokenWorker(module, check=lambda path: path)

    with pytest.raises(AgentError) as refused:
        tokens.look()
    tokens.close()

    assert refused.value.code is Code.MODULE_FAILED


def test_a_module_installed_meanwhile_is_used_from_the_next_call_on(fake_module: Path, opensc: Path) -> None:
    """Whoever reads "install the Cryptolib" does it, and need not start the agent again."""
    present = [opensc]
    tokens = TokenWorker(fake_module, check=lambda _path: present[0])
    before = tokens.module().name
    present[0] = fake_module
    after = tokens.module().name
    tokens.close()

    assert (before, after) == ("OpenSC", "fake")


def test_it_ends_when_it_is_closed(state: Path) -> None:
    tokens = TokenWorker(simulated=state)
    tokens.look()
    assert tokens.pid is not None
    watch = os.pidfd_open(tokens.pid)

    tokens.close()
    ended, _, _ = select.select([watch], [], [], 0)
    os.close(watch)

    assert ended
    assert tokens.pid is None


def test_no_module_starts_no_process(tmp_path: Path) -> None:
    tokens = TokenWorker(tmp_path / "none.so")

    with pytest.raises(AgentError) as refused:
        tokens.look()

    assert refused.value.code is Code.MODULE_MISSING
    assert tokens.pid is None


class Request(Pipe):
    """The worker's end of the pipe, holding one request whose payload the test keeps in hand."""

    def __init__(self, header: dict[str, Any], payload: bytearray) -> None:
        self._frames = [(header, payload)]
        self.answers: list[dict[str, Any]] = []

    def receive(self) -> tuple[dict[str, Any], bytearray] | None:
        return self._frames.pop() if self._frames else None

    def send(self, header: dict[str, Any], payload: bytes | bytearray | memoryview = b"") -> None:
        self.answers.append({**header, **({"payload": bytes(payload)} if payload else {})})


@pytest.mark.parametrize(
    ("source", "code", "serial", "answer"),
    [
        ("simulated", PIN, "99000017", "token"),
        ("simulated", b"0000", "99000017", "error"),
        ("simulated", PIN, "no such card", "error"),
        ("module", PIN, "99000017", "error"),  # the folder is no library: nobody took the code
    ],
)
def test_the_worker_wipes_the_code_whatever_happens(
    state: Path, source: str, code: bytes, serial: str, answer: str
) -> None:
    payload = bytearray(code)
    on = {source: str(state), "openscSigns": False}
    request = Request({"do": "login", "on": on, "serial": serial, "pad": False}, payload)

    main(request)

    assert payload == bytearray(4)
    assert list(request.answers[0]) == [answer]


def test_the_code_is_in_no_answer_and_no_header(state: Path) -> None:
    """Only payloads carry it: what the agent logs of a frame, if it ever does, is the header."""
    request = Request(
        {"do": "login", "on": {"simulated": str(state)}, "serial": "99000017", "pad": False}, bytearray(b"7391")
    )

    main(request)

    assert request.answers[0]["error"]["code"] == Code.PIN_WRONG
    assert "7391" not in str(request.answers)
