"""Children: frames come through whole, a crash is a code, and nobody outlives the agent."""

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agent
from agent.child import Child, Pipe, _no_error_report
from agent.errors import AgentError, Code
from tests.parts.agent import RefusedError, Site
from tests.parts.desktop import until
from tests.parts.program import Program, port_of

ROOT = Path(__file__).parents[1]

# An `agent` whose hidden subcommand has the roles below; all else is the real package.
PACKAGE = "__path__.append({real!r})\n"
ROLES = """
import os, sys, time
from agent.child import harden, pipe_to_parent
assert sys.argv[1] == "_child", sys.argv
harden()
pipe = pipe_to_parent()
role = sys.argv[2]
if role == "noisy":
    print("a driver that prints on the standard output")
    os.write(1, b"and so does its C code")
if role == "silent":
    pipe.receive()
    os._exit(3)
if role == "garbage":
    pipe.receive()
    os.write(pipe._write_fd, bytes.fromhex(sys.argv[3]))
    os._exit(0)
if role == "deaf":
    pipe.send({"deaf": True})
    time.sleep(3600)
if role == "limits":
    import resource, ctypes
    pipe.receive()
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    pipe.send({"core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": dumpable})
while (frame := pipe.receive()) is not None:
    header, payload = frame
    pipe.send({**header, "type": type(payload).__name__, "role": sys.argv[2:]}, payload)
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    package = tmp_path / "agent"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE.format(real=str(Path(agent.__file__).parent)))
    (package / "__main__.py").write_text(ROLES)
    return {"PYTHONPATH": str(tmp_path)}


@pytest.fixture
def start(environment) -> Iterator:
    """Start a child of a role; all are ended."""
    children: list[Child] = []

    def started(*role: str) -> Child:
        children.append(Child(*role, environment=environment))
        return children[-1]

    yield started
    for child in children:
        child.close(0)


def ended(child: Child) -> AgentError:
    with pytest.raises(AgentError) as error:
        child.ask({"do": "it"})
    return error.value


def test_a_frame_goes_and_comes_back_whole(start):
    payload = bytes(range(256)) * 1000

    header, answer = start("echo", "two").ask({"name": "é", "n": [1, None]}, payload)

    assert {"name": "é", "n": [1, None], "type": "bytearray", "role": ["echo", "two"]} == header
    assert payload == answer and isinstance(answer, bytearray)


def test_a_code_travels_as_a_payload_that_can_be_wiped(start):
    code = bytearray(b"1234")

    _, answer = start("echo").ask({}, memoryview(code))
    code[:] = bytes(4)

    assert bytearray(b"1234") == answer


def test_many_frames_keep_their_order(start):
    child = start("echo")

    assert list(range(200)) == [child.ask({"n": n}, bytes(n))[0]["n"] for n in range(200)]


def test_what_a_driver_prints_does_not_disturb_the_frames(start):
    assert {"n": 1} == {"n": start("noisy").ask({"n": 1})[0]["n"]}


def test_a_child_that_ends_instead_of_answering_is_a_crash_with_its_status(start):
    child = start("silent")

    error = ended(child)

    assert Code.DEVICE_CRASHED == error.code
    assert "3" in error.detail
    assert not child.alive
    assert Code.DEVICE_CRASHED == ended(child).code  # and stays one


def test_a_child_killed_by_its_driver_is_a_crash(start):
    child = start("echo")
    os.kill(child.pid, signal.SIGSEGV)

    assert f"child ended: {-signal.SIGSEGV}" == ended(child).detail


def test_who_waits_for_a_child_that_is_killed_gets_a_crash(start):
    child = start("deaf")
    child.receive()
    codes: list[Code] = []
    waiting = threading.Thread(target=lambda: codes.append(ended(child).code))
    waiting.start()

    child.kill()
    waiting.join(30)

    assert [Code.DEVICE_CRASHED] == codes


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0\0\0",
        b"\xff" * 8,  # a frame of 4 GB
        b"\0\0\0\x02\0\0\0\x05{}abc",  # cut short
        b"\0\0\0\x02\0\0\0\0[]",  # no header
        b"\0\0\0\x03\0\0\0\0{]}",
        b"\0\0\0\x01\0\0\0\0\xff",
    ],
)
def test_a_child_that_does_not_speak_frames_is_a_crash(start, sent):
    assert Code.DEVICE_CRASHED == ended(start("garbage", sent.hex())).code


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=40) | st.builds(lambda n: n.to_bytes(4, "big") + bytes(4) + b"[" * n, st.integers(0, 60_000)))
def test_whatever_is_read_is_a_frame_an_end_or_a_value_error(data):
    read_fd, write_fd = os.pipe()
    os.write(write_fd, data[:60_000])
    os.close(write_fd)
    try:
        frame = Pipe(read_fd, -1).receive()
    except ValueError:
        frame = None
    finally:
        os.close(read_fd)

    assert frame is None or isinstance(frame[0], dict)


def test_closing_ends_the_child_at_the_end_of_its_input(start):
    child = start("echo")
    child.ask({})

    child.close()

    assert not child.alive


def test_a_child_that_hangs_is_killed_when_patience_ends(start):
    child = start("deaf")
    child.receive()

    child.close(patience_s=0)

    assert not child.alive


def test_a_closed_child_never_writes_to_what_took_its_file_s_number(start, tmp_path):
    child = start("echo")
    child.close()
    with (tmp_path / "other").open("wb", buffering=0) as first, (tmp_path / "more").open("wb", buffering=0) as second:
        error = ended(child)
        assert Code.DEVICE_CRASHED == error.code
        assert 0 == first.tell() == second.tell()


def test_a_child_leaves_no_core_dump(start):
    header, _ = start("limits").ask({})

    assert {"core": [0, 0], "dumpable": 0} == header


class Kernel32:
    """The three functions of Windows that are asked for, with the flags that they were given."""

    def __init__(self) -> None:
        self.error_mode, self.report_flags = 0x8004, 0

    def GetErrorMode(self) -> int:  # noqa: N802  (Windows' own name, as the next two)
        return self.error_mode

    def SetErrorMode(self, mode: int) -> None:  # noqa: N802
        self.error_mode = mode

    def WerSetFlags(self, flags: int) -> None:  # noqa: N802
        self.report_flags = flags


def test_windows_is_asked_for_no_error_report_and_for_none_with_memory():
    """That Windows then obeys is not shown here."""
    kernel32 = Kernel32()

    _no_error_report(kernel32)

    assert (0x8004 | 0x1 | 0x2) == kernel32.error_mode
    assert 0x1 | 0x20 == kernel32.report_flags


# Around the program all is done for a core file: no limit, a folder where it may write. And nobody with root's rights.
ALLOWED = ["bash", "-c", 'ulimit -c unlimited && exec "$@"', "_"]
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def has_a_closed_memory(pid: int) -> bool:
    """Whether a process of the same user may not look into it: proc(5), dumpable is 0."""
    looked = subprocess.run([*WITHOUT_RIGHTS, "cat", f"/proc/{pid}/environ"], capture_output=True, check=False)
    return looked.returncode != 0 and b"Permission denied" in looked.stderr


def core_limit(pid: int) -> list[str]:
    (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
    return line.split()[4:6]


def test_a_program_that_is_not_hardened_leaves_a_core_here(tmp_path):
    """Else the next test would prove nothing."""
    waits = [sys.executable, "-c", "print(flush=True); import time; time.sleep(3600)"]
    process = subprocess.Popen([*WITHOUT_RIGHTS, *ALLOWED, *waits], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    open_to_its_user, limit = not has_a_closed_memory(process.pid), core_limit(process.pid)
    os.kill(process.pid, signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.stdout.close()

    assert (open_to_its_user, limit) == (True, ["unlimited", "unlimited"])
    assert (os.WTERMSIG(status), os.WCOREDUMP(status)) == (signal.SIGABRT, True)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    assert pattern.startswith(("|", "/")) or [file for file in tmp_path.iterdir() if file.stat().st_size]


def test_agent_worker_and_window_abort_in_the_middle_of_their_work_and_leave_no_core(tmp_path, simulator_pki):
    shutil.copytree(simulator_pki, tmp_path / ".local/state/insi-agent/simulator/data")
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    demo = [*WITHOUT_RIGHTS, *ALLOWED, sys.executable, "-m", "agent", "demo", "--headless", "--json"]
    with Program(demo, tmp_path, PYTHONPATH=str(ROOT), INSI_AGENT_SIMULATED_PIN="wait") as program:
        address = program.address()
        site = Site(port_of(address), origin=address["origin"])
        asked = site.send("cpx.unlock")
        until(lambda: len(program.others("pin")) == 1, "the window asks for the code")
        (window,), (worker,) = program.others("pin"), program.others("pkcs11")
        for pid in (program.pid, worker, window):
            until(partial(has_a_closed_memory, pid), f"{pid} has begun")  # Python starts before it hardens itself
            assert core_limit(pid) == ["0", "0"]
        os.kill(window, signal.SIGABRT)
        with pytest.raises(RefusedError) as refused:
            site.reply(asked)
        os.kill(worker, signal.SIGABRT)
        assert gone(worker)
        assert site.call("cpx.status")["present"]  # another worker
        os.kill(program.pid, signal.SIGABRT)
        _, status = os.waitpid(program.pid, 0)
        site.close()

    assert refused.value.reason == "device.crashed"
    assert (os.WTERMSIG(status), os.WCOREDUMP(status)) == (signal.SIGABRT, False)
    written = {file for file in tmp_path.rglob("*") if file.is_file()} - before
    assert [file for file in written if "core" in file.name] == []


def test_a_child_that_hangs_dies_with_a_killed_agent(environment):
    """PR_SET_PDEATHSIG: nothing closes in good order, and the child does not read its input."""
    script = f"""
import time
from agent.child import Child
child = Child("deaf", environment={environment!r})
child.receive()
print(child.pid, flush=True)
time.sleep(3600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout
    child_pid = int(parent.stdout.readline())

    parent.kill()
    parent.wait()

    assert gone(child_pid)
    parent.stdout.close()


def gone(pid: int) -> bool:
    """Wait for the end of a process that is not ours; False after 30 s."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([handle], [], [], 30)
    os.close(handle)
    return bool(ready)
