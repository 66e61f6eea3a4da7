"""The worker process: it may crash, hang or be killed; the agent goes on. It never outlives the agent."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.child import Pipe
from agent.errors import AgentError, Code
from agent.signing.fake_token import PIN, card_file
from agent.signing.worker import TokenWorker, main
from tests.signing.conftest import typed

ENDS_WITHIN_S = 20  # a bound for the failure only
AGENT = """
import sys
from pathlib import Path
from agent.signing.worker import TokenWorker
tokens = TokenWorker(simulated=Path(sys.argv[1]))
tokens.look()
print(tokens.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tokens(state: Path) -> Iterator[TokenWorker]:
    worker = TokenWorker(simulated=state)
    yield worker
    worker.close()


class Caller(threading.Thread):
    """Somebody who waits for a look, as the token lane does."""

    def __init__(self, tokens: TokenWorker) -> None:
        super().__init__()
        self._tokens = tokens
        self.code: Code | None = None
        self.start()

    def run(self) -> None:
        try:
            self._tokens.look()
        except AgentError as error:
            self.code = error.code


@contextmanager
def in_the_middle_of_a_look(tokens: TokenWorker, state: Path) -> Iterator[Caller]:
    """The reader becomes a pipe that nobody fills: opening it to write returns once the worker reads there."""
    file = card_file(state)
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    caller = Caller(tokens)
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
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout and agent.stdin
    worker = int(agent.stdout.readline())
    watch = os.pidfd_open(worker)
    os.kill(worker, signal.SIGSTOP)  # it will not see that its input ended

    agent.kill()
    agent.wait()
    ended, _, _ = select.select([watch], [], [], ENDS_WITHIN_S)
    for used in (agent.stdin, agent.stdout):
        used.close()
    os.close(watch)

    assert ended, "the worker outlived the agent"


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
    request = Request({"do": "login", "on": {source: str(state)}, "serial": serial, "pad": False}, payload)

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
