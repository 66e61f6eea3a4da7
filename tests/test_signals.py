"""Signals are heard whichever thread they meet, and however often."""

import ctypes
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.signals import hearing
from tests.parts.program import Program

PATIENCE_S = 60


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Whatever a test leaves in the place of these signals."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def send_from_another_thread(number: int) -> None:
    """Until it has met that thread, and that thread alone."""
    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), number))
    thread.start()
    thread.join()


def test_a_signal_that_meets_another_thread_is_heard_while_the_main_one_waits() -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    waits = threading.Event()

    def send() -> None:
        waits.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    with hearing({"SIGUSR1": heard.put, "SIGUSR2": heard.put}):
        waits.set()
        assert heard.get(timeout=PATIENCE_S) == "SIGUSR1"
    thread.join()


def test_a_signal_is_heard_where_another_loop_has_taken_the_wake_up_descriptor() -> None:
    """As GTK's does while it runs."""
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    with hearing({"SIGUSR1": heard.put}):
        ours = signal.set_wakeup_fd(-1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard.get(timeout=PATIENCE_S) == "SIGUSR1"
        signal.set_wakeup_fd(ours)


@pytest.mark.parametrize("takes", [False, True], ids=["ours", "another loop's"])
def test_each_signal_is_heard_once(takes: bool) -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    with hearing({"SIGUSR1": heard.put, "SIGUSR2": heard.put}):
        ours = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(-1 if takes else ours)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        signal.set_wakeup_fd(ours)

    assert [heard.get_nowait() for _ in range(heard.qsize())] == ["SIGUSR1", "SIGUSR2", "SIGUSR1"]


def test_afterwards_the_signals_do_nothing_and_the_descriptor_is_whose_it_was() -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    files = len(list(Path("/proc/self/fd").iterdir()))
    with hearing({"SIGUSR1": heard.put, "SIGNONE": heard.put}):
        pass
    os.kill(os.getpid(), signal.SIGUSR1)
    send_from_another_thread(signal.SIGUSR1)

    assert heard.empty()
    assert signal.set_wakeup_fd(-1) == -1
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert "signals" not in [thread.name for thread in threading.enumerate()]


def test_more_signals_than_anybody_reads_hold_nobody_up() -> None:
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    goes_on = threading.Event()

    def slow(name: str) -> None:
        heard.put(name)
        goes_on.wait()

    with hearing({"SIGUSR1": slow, "SIGUSR2": heard.put}):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard.get(timeout=PATIENCE_S) == "SIGUSR1"
        for _ in range(5000):
            os.kill(os.getpid(), signal.SIGUSR1)
        goes_on.set()
        os.kill(os.getpid(), signal.SIGUSR2)  # lost only if there is no room, and then one of the others is heard
        assert heard.get(timeout=PATIENCE_S) in ("SIGUSR1", "SIGUSR2")


@pytest.mark.parametrize(
    "command", [["demo", "--headless", "--json"], ["simulator", "--json"]], ids=["agent", "simulator"]
)
def test_sigterm_ends_a_program_whichever_of_its_threads_it_meets(tmp_path: Path, command: list[str]) -> None:
    libc = ctypes.CDLL(None)
    with Program([sys.executable, "-P", "-m", "agent", *command], tmp_path) as program:
        program.address()
        threads = sorted(int(thread.name) for thread in Path(f"/proc/{program.pid}/task").iterdir())
        assert libc.tgkill(program.pid, threads[1], signal.SIGTERM) == 0
        program.ended()
