"""Who is at the other end of a loopback connection: whose account, which process. ★ psutil, sock_diag, /proc

Source: defence list D16. Another account of this machine (a shared workstation, a terminal server, a service
that was taken over) reaches our loopback port as easily as the person's own browser.

Linux asks the kernel for the one socket (netlink sock_diag, man 7 sock_diag): 0.02 ms whatever the machine, where
/proc/net/tcp walks the whole table of connections (measured: 4 ms with the 262,144 buckets of a 24 GB machine).
That file is for where sock_diag is switched off. Both say the account that made the socket. Only an established
connection counts: of a socket that its program has closed, the kernel forgets the account and says 0, root.
Windows and macOS are written from psutil's documents and untested here. On macOS an ordinary user sees the
connections of his own programs only: what is not found among them is another account's.
"""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agent.config import LocalProxy

Address = tuple[str, int]


@dataclass(frozen=True)
class Link:
    """A connection that we accepted."""

    theirs: Address
    ours: Address


@dataclass(frozen=True)
class Peer:
    """The program at the other end."""

    mine: bool  # of our account, on Windows in our session too
    account: Callable[[], str | None]
    program: Callable[[], Path | None]  # None where the system does not let us see it


def is_welcome(link: Link, proxies: Sequence[LocalProxy]) -> bool:
    """Whether the peer is of our account, or one of the accepted programs of others; False when it is not found.

    The program of a row counts where the system lets us see it. An ordinary user of Linux does not see another
    account's: the account alone decides then.
    """
    peer = _FIND.get(sys.platform, _find_nobody)(link)
    if peer is None or peer.mine or not proxies:
        return peer is not None and peer.mine
    account = peer.account()
    return any(
        _same_account(row.account, account) and (row.program is None or peer.program() in (row.program, None))
        for row in proxies
    )


def is_foreign(link: Link, proxies: Sequence[LocalProxy]) -> bool:
    """Whether the peer's account alone says already that it is not welcome.

    Asked of every connection, so only where the answer costs next to nothing: Linux with sock_diag. Elsewhere False,
    and `is_welcome` decides when it asks for something.
    """
    if sys.platform != "linux" or not kernel_answers():
        return False
    peer = _find_on_linux(link)
    if peer is None or peer.mine or not proxies:
        return peer is None or not peer.mine
    account = peer.account()
    return not any(_same_account(row.account, account) for row in proxies)


def processes(links: Iterable[Link]) -> dict[Link, int]:
    """The process at the other end of each, as far as it can be seen. Slow: it looks at every process."""
    return _PROCESSES.get(sys.platform, _no_processes)(set(links))


def _same_account(wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    return wanted.casefold() == found.casefold() if sys.platform == "win32" else wanted == found


def _find_nobody(_link: Link) -> Peer | None:
    """A system we know nothing of: `door.same_user = false` is the administrator's way to say that it is safe."""
    return None


def _no_processes(_links: set[Link]) -> dict[Link, int]:
    return {}


# ---------------------------------------------------------------- Linux


@dataclass(frozen=True)
class SocketRow:
    """What the kernel says of an established socket."""

    uid: int
    inode: int


def ask_kernel(link: Link) -> SocketRow | None:
    """The peer's socket, by sock_diag; None when there is none, or no sock_diag."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.sendto(_question(link), (0, 0))
            return parse_answer(kernel.recv(4096), link)
    except OSError:
        return None


def read_table(link: Link) -> SocketRow | None:
    """The peer's socket, by /proc/net/tcp and tcp6; None when there is none."""
    for name, mapped in (("tcp", False), ("tcp6", True)):
        with suppress(OSError):
            row = parse_table(Path("/proc/net", name).read_bytes(), link, mapped=mapped)
            if row is not None:
                return row
    return None


# linux/inet_diag.h and linux/sock_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ESTABLISHED = 1
_ANY_COOKIE = 0xFFFFFFFF


def _question(link: Link) -> bytes:
    """inet_diag_req_v2 for exactly this socket; the peer's end is the local one of its own socket."""
    family = socket.AF_INET6 if ":" in link.theirs[0] else socket.AF_INET
    ends = struct.pack("!HH", link.theirs[1], link.ours[1])
    addresses = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (link.theirs, link.ours))
    request = (
        struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 1 << _ESTABLISHED)
        + ends
        + addresses
        + struct.pack("=III", 0, _ANY_COOKIE, _ANY_COOKIE)
    )
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    return header + request


def parse_answer(answer: bytes, link: Link) -> SocketRow | None:
    """inet_diag_msg: the row of this link when it is established; None for anything else, an error too."""
    if len(answer) < 16 + 72 or int.from_bytes(answer[4:6], sys.byteorder) != _SOCK_DIAG_BY_FAMILY:
        return None
    ports = struct.unpack_from("!HH", answer, 20)
    uid, inode = struct.unpack_from("=II", answer, 80)
    if answer[17] != _ESTABLISHED or ports != (link.theirs[1], link.ours[1]) or not inode:
        return None
    return SocketRow(uid, inode)


def parse_table(table: bytes, link: Link, *, mapped: bool) -> SocketRow | None:
    """The established row of this link in a /proc/net table; `mapped` for tcp6, where IPv4 addresses are mapped."""
    try:
        ends = " ".join(_hex(address, mapped=mapped) for address in (link.theirs, link.ours))
        start = table.find(f": {ends} {_ESTABLISHED:02X} ".encode())
        fields = table[start + 1 : table.find(b"\n", start)].split() if start >= 0 else []
        uid, inode = int(fields[6]), int(fields[8])
    except (OSError, ValueError, IndexError):
        return None
    return SocketRow(uid, inode) if uid >= 0 and inode > 0 else None


def _hex(address: Address, *, mapped: bool) -> str:
    """As the kernel prints it: words of four bytes in the machine's own order."""
    host, port = address
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
    else:
        packed = (b"\0" * 10 + b"\xff\xff" if mapped else b"") + socket.inet_pton(socket.AF_INET, host)
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _row(link: Link) -> SocketRow | None:
    return ask_kernel(link) if kernel_answers() else read_table(link)


@cache
def kernel_answers() -> bool:
    """Whether sock_diag is there: asked once, for a connection of our own.

    Its "no such socket" sounds the same as "no sock_diag"; who closes early must not make us read the table.
    """
    with (
        suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as one,
    ):
        one.connect(listener.getsockname())
        return ask_kernel(Link(one.getsockname(), one.getpeername())) is not None
    return False


def _find_on_linux(link: Link) -> Peer | None:
    row = _row(link)
    if row is None:
        return None

    def account() -> str | None:
        import pwd

        try:
            return pwd.getpwuid(row.uid).pw_name
        except KeyError:
            return None

    def program() -> Path | None:
        for pid in _holders({row.inode}).values():
            with suppress(OSError):
                return Path(f"/proc/{pid}/exe").readlink()
        return None

    return Peer(row.uid == os.geteuid(), account, program)


def _processes_on_linux(links: set[Link]) -> dict[Link, int]:
    inodes = {link: row.inode for link in links if (row := _row(link)) is not None}
    holders = _holders(set(inodes.values()))
    return {link: holders[inode] for link, inode in inodes.items() if inode in holders}


def _holders(inodes: set[int]) -> dict[int, int]:
    """The process that holds each socket; none for another account's, unless we are root."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        if len(found) == len(wanted):
            break
        for target in _open_files(process):
            if target in wanted:
                found.setdefault(wanted[target], int(process.name))
    return found


def _open_files(process: Path) -> Iterator[str]:
    with suppress(OSError), os.scandir(process / "fd") as numbers:  # not ours to see, or gone
        for number in numbers:
            with suppress(OSError):
                yield os.readlink(number.path)  # noqa: PTH115  (thousands of them: a Path each triples the time)


# ---------------------------------------------------------------- Windows and macOS, untested here


def _link_of(row: Any) -> Link | None:
    """Of a row of psutil, seen from the peer's end."""
    if row.status != "ESTABLISHED" or not row.raddr:
        return None
    return Link((row.laddr.ip, row.laddr.port), (row.raddr.ip, row.raddr.port))


def _processes_on_windows(links: set[Link]) -> dict[Link, int]:
    import psutil

    try:
        rows = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return {}
    return {link: int(row.pid) for row in rows if row.pid and (link := _link_of(row)) in links and link is not None}


def _processes_on_macos(links: set[Link]) -> dict[Link, int]:
    import psutil

    found: dict[Link, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # another account's
            for row in process.net_connections("tcp"):
                if (link := _link_of(row)) is not None and link in links:
                    found[link] = int(process.pid)
    return found


def _session_of(pid: int) -> int | None:
    """The Windows session of a process; None elsewhere, and when Windows does not tell."""
    if sys.platform != "win32":
        return None
    session = ctypes.c_uint32()
    told = ctypes.WinDLL("kernel32").ProcessIdToSessionId(ctypes.c_uint32(pid), ctypes.byref(session))
    return session.value if told else None


def _find_by_process(link: Link) -> Peer | None:
    """By the owning process: its account, and its session where there are sessions."""
    import psutil

    pid = processes([link]).get(link)
    if pid is None:
        return None

    def told(what: str) -> str | None:
        try:
            return str(getattr(psutil.Process(pid), what)())
        except (psutil.Error, OSError):
            return None

    def program() -> Path | None:
        path = told("exe")
        return Path(path) if path else None

    account = told("username")
    same_session = _session_of(pid) == _session_of(os.getpid())
    return Peer(same_session and account == psutil.Process().username(), lambda: account, program)


_FIND: Mapping[str, Callable[[Link], Peer | None]] = {
    "linux": _find_on_linux,
    "win32": _find_by_process,
    "darwin": _find_by_process,
}
_PROCESSES: Mapping[str, Callable[[set[Link]], dict[Link, int]]] = {
    "linux": _processes_on_linux,
    "win32": _processes_on_windows,
    "darwin": _processes_on_macos,
}
