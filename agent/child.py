"""Child processes of the agent: the same program started with a hidden subcommand over inherited pipes. ★

Vendor code and windows live in children, so that one that crashes or hangs never takes the agent
with it. A child dies with its parent even when hung: PR_SET_PDEATHSIG on Linux, a Job object on
Windows, end of file on its input everywhere.

A frame is two big-endian 32-bit lengths, a JSON header and a raw payload. A card's code travels as
payload only, from bytearray to bytearray: no pickle, no str, no buffered copy.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from agent.errors import AgentError, Code

_PARENT = "INSI_AGENT_PARENT_PID"
_MAX_HEADER = 4 << 20
_MAX_PAYLOAD = 4 << 20


class Pipe:
    """Frames over a pair of file descriptors."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd

    def send(self, header: dict[str, Any], payload: bytes | bytearray | memoryview = b"") -> None:
        """Write one frame. Raises OSError when the other side is gone."""
        head = json.dumps(header).encode()
        self._write(len(head).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + head)
        self._write(payload)

    def receive(self) -> tuple[dict[str, Any], bytearray] | None:
        """Read one frame; None at end of file. The payload is the only copy on this side.

        Raises ValueError for what is not a frame.
        """
        lengths = self._read(8)
        if lengths is None:
            return None
        head_size, payload_size = int.from_bytes(lengths[:4], "big"), int.from_bytes(lengths[4:], "big")
        if head_size > _MAX_HEADER or payload_size > _MAX_PAYLOAD:
            raise ValueError("frame too large")
        head, payload = self._read(head_size), self._read(payload_size)
        if head is None or payload is None:
            return None
        try:
            header = json.loads(head)
        except RecursionError:
            header = None
        if not isinstance(header, dict):
            raise ValueError("not a frame's header")  # noqa: TRY004  (what was read is a value, whoever wrote it)
        return header, payload

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._write_fd, view) :]

    def _read(self, size: int) -> bytearray | None:
        data = bytearray(size)
        view, got = memoryview(data), 0
        with open(self._read_fd, "rb", buffering=0, closefd=False) as raw:
            while got < size:
                count = raw.readinto(view[got:])
                if not count:
                    return None
                got += count
        return data


class Child:
    """A running child. Start it from a thread that lives as long as the child may (PDEATHSIG watches threads)."""

    def __init__(self, *role: str, environment: dict[str, str] | None = None) -> None:
        program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-P", "-m", "agent"]
        self._process = subprocess.Popen(
            [*program, "_child", *role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {}), _PARENT: str(os.getpid())},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            bufsize=0,
        )
        _die_with_us(self._process)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe = Pipe(self._process.stdout.fileno(), self._process.stdin.fileno())
        self._killing = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, header: dict[str, Any], payload: bytes | bytearray | memoryview = b""
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a frame and wait for the answer. Raises device.crashed when the child ended instead."""
        try:
            self._pipe.send(header, payload)
        except OSError:
            raise self._crashed() from None
        return self.receive()

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Wait for a frame. Raises device.crashed when the child ended instead."""
        try:
            frame = self._pipe.receive()
        except (OSError, ValueError):
            frame = None
        if frame is None:
            raise self._crashed()
        return frame

    def close(self, patience_s: float = 2) -> None:
        """Close its input, wait a little, then kill."""
        with self._killing:
            if self._process.stdin and not self._process.stdin.closed:
                self._process.stdin.close()
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._pipe = Pipe(-1, -1)  # a late caller must not meet these numbers reused for another file

    def kill(self) -> None:
        """End it now, from any thread; whoever waits for it gets device.crashed."""
        self._process.kill()

    def _crashed(self) -> AgentError:
        try:
            status: int | str = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = "output closed"
        return AgentError(Code.DEVICE_CRASHED, f"child ended: {status}")


class KeptChild:
    """The child of one role, started at the first question, and again when it has ended. One question at a time."""

    def __init__(self, *role: str, environment: dict[str, str] | None = None) -> None:
        self._role, self._environment = role, environment
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        child = self._child
        return child.pid if child and child.alive else None

    def ask(
        self, header: dict[str, Any], payload: bytes | bytearray | memoryview = b""
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a frame and wait for the answer. Raises device.crashed, or what the child answered by `failure`."""
        if self._child and not self._child.alive:
            self.close()
        if self._child is None:
            self._child = Child(*self._role, environment=self._environment)
        answer, content = self._child.ask(header, payload)
        if "error" in answer:
            error = answer["error"]
            raise AgentError(Code(error["code"]), error["detail"], **error["facts"])
        return answer, content

    def close(self) -> None:
        """End it; the next question starts another."""
        child, self._child = self._child, None
        if child:
            child.close()

    def kill(self) -> None:
        """End it now, from any thread; whoever waits for it gets device.crashed."""
        child = self._child
        if child:
            child.kill()


def failure(error: AgentError) -> dict[str, Any]:
    """In a child: the header that answers with this error, see `KeptChild.ask`."""
    return {"error": {"code": error.code, "detail": error.detail, "facts": error.facts}}


def pipe_to_parent() -> Pipe:
    """In a child: the frames from and to the agent. Whatever else prints goes to stderr."""
    read_fd, write_fd = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return Pipe(read_fd, write_fd)


def harden() -> None:
    """In agent and children alike: leave no core dump. In a child: die with the parent, even when hung."""
    if sys.platform == "win32":
        import ctypes

        _no_error_report(ctypes.WinDLL("kernel32"))
        return  # children are in a Job object
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return
    import ctypes
    import signal

    pr_set_pdeathsig, pr_set_dumpable = 1, 4
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(pr_set_dumpable, 0)  # RLIMIT_CORE does not stop a core_pattern that is a pipe
    parent = os.environ.pop(_PARENT, None)
    if parent is not None:
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != int(parent):
            os._exit(1)  # it died before we asked


def _no_error_report(kernel32: Any) -> None:
    """Windows: no report of a crash and, if one is made nevertheless, none of the heap. Untested on Windows.

    Microsoft Learn, "SetErrorMode function": with SEM_NOGPFAULTERRORBOX, Windows Error Reporting is not invoked; with
    SEM_FAILCRITICALERRORS no box holds a child up; children inherit both. "WerSetFlags function": no heap, no window.
    "Collecting User-Mode Dumps": what an administrator switches on there is not ours to refuse.
    """
    sem_failcriticalerrors, sem_nogpfaulterrorbox = 0x1, 0x2
    wer_fault_reporting_flag_noheap, wer_fault_reporting_no_ui = 0x1, 0x20
    kernel32.SetErrorMode(kernel32.GetErrorMode() | sem_failcriticalerrors | sem_nogpfaulterrorbox)
    kernel32.WerSetFlags(wer_fault_reporting_flag_noheap | wer_fault_reporting_no_ui)


_job: Any = None


def _die_with_us(process: "subprocess.Popen[bytes]") -> None:
    """Windows: put the child in a Job object that ends with the agent. Written from the documents, untested here."""
    if sys.platform != "win32":
        return
    import ctypes
    from ctypes import wintypes

    global _job  # noqa: PLW0603  (one Job object for the life of the process)
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    if _job is None:
        kernel32.CreateJobObjectW.restype = wintypes.HANDLE
        _job = kernel32.CreateJobObjectW(None, None)
        # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: LimitFlags is at byte 16; JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        information = ctypes.create_string_buffer(144)
        information[16:20] = (0x2000).to_bytes(4, "little")
        kernel32.SetInformationJobObject(wintypes.HANDLE(_job), 9, information, len(information))
    kernel32.AssignProcessToJobObject(wintypes.HANDLE(_job), wintypes.HANDLE(int(process._handle)))
