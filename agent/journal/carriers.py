"""Take entries to a folder or to a syslog server. ★

Plain syslog has no acknowledgement: what was written to a connection that then breaks may be lost. So each batch has a
connection of its own. When all is written we say that no more comes, and the batch counts as taken once the receiver
has closed its side and its system has confirmed every byte: a receiver that closes without having read all of them
resets the connection (RFC 1122 section 4.2.2.13). Whatever else happens, the whole batch is sent again, twice perhaps.
Believed all the same is a receiver that ends its own side first and goes later, with bytes unread, and whatever is in
between and ends a connection itself (a proxy, a load balancer), for a receiver that gets nothing. What a receiver does
with what it has read, it does not say. A local socket (unix:) says nothing at all: there, what is queued counts as
taken.
"""

import errno
import logging
import os
import socket
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from agent.errors import AgentError, Code
from agent.journal.chain import Entry
from agent.journal.shipping import file_name, framed, line_of, syslog_message, without_personal
from agent.places import keep_names

log = logging.getLogger(__name__)

SEND_S = 30  # for one batch, to connect and to be confirmed included [choice]
_CHUNK_BYTES = 1 << 14
_LOOK_AGAIN_S = 0.01
_PREFIX, _SUFFIX = "entries-", ".new"  # of a file that is half written


class FolderCarrier:
    """A file for each batch, in this installation's own folder below `folder`, which may be on a network."""

    def __init__(self, folder: Path, instance_id: str) -> None:
        self._folder, self._instance_id = folder, instance_id
        self._cleaned = False

    def send(self, entries: Sequence[Entry], *, beginning: bool) -> None:
        """As `Carrier`. On the disk, or with the server, when it returns.

        Our folder is made at the beginning only: where it is gone later, a share is perhaps not mounted, and what lies
        under its name is another disk. Others may come before us in a shared folder: ours is one of its own, and of the
        same owner as the files that we make in it, who need not be our account where a share shows them as it likes.
        """
        own = self._folder / self._instance_id
        with _ours():
            if beginning and not own.exists():
                own.mkdir(mode=0o700)
            found = own.lstat()
            _require(stat.S_ISDIR(found.st_mode), "a link or a file is in our folder's place")
            if not self._cleaned:  # what a kill left half written
                for left in own.glob(f"{_PREFIX}*{_SUFFIX}"):
                    left.unlink(missing_ok=True)
                self._cleaned = True
            content = b"".join(line_of(entry) + b"\n" for entry in entries)
            self._write(own / file_name(entries), content, owner=found.st_uid)

    @staticmethod
    def _write(file: Path, content: bytes, *, owner: int) -> None:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=_PREFIX, suffix=_SUFFIX)
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                _require(os.fstat(descriptor).st_uid == owner, "our folder is another account's")
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(file)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        keep_names(file.parent)


class SyslogCarrier:
    """A message for each entry, over TLS, over TCP, or to a socket of this machine."""

    def __init__(
        self,
        address: str,
        *,
        anchors: Callable[[], bytes],
        instance_id: str,
        simulated: bool,
        max_message_bytes: int,
        send_s: float = SEND_S,
    ) -> None:
        """`anchors`: PEM, asked for each batch of a server by TLS; it may raise journal.notShipped."""
        self._address, self._anchors = address, anchors
        self._instance_id, self._simulated = instance_id, simulated
        self._max_bytes, self._send_s = max_message_bytes, send_s

    def send(self, entries: Sequence[Entry], *, beginning: bool) -> None:  # noqa: ARG002  (a server knows no beginning)
        """As `Carrier`."""
        host = socket.gethostname()
        messages = [
            syslog_message(
                entry,
                host=host,
                instance_id=self._instance_id,
                simulated=self._simulated,
                max_bytes=self._max_bytes,
            )
            for entry in entries
        ]
        until = time.monotonic() + self._send_s
        with _ours():
            if self._address.startswith("unix:"):
                _to_local(self._address.removeprefix("unix:"), messages, until)
            else:
                self._to_server(b"".join(map(framed, messages)), until)
        if here := sum(map(without_personal, messages)):
            limit = self._max_bytes
            log.info("journal: %s personal parts stayed here: journal.ship.max_message_bytes is %s", here, limit)

    def _to_server(self, frames: bytes, until: float) -> None:
        parts = urlsplit(self._address)
        with socket.create_connection((parts.hostname, parts.port), timeout=_left(until)) as plain:
            if parts.scheme == "tcp":
                _write(plain, frames, until)
                plain.shutdown(socket.SHUT_WR)
                _await_end(plain, until)
                _await_confirmation(plain, until)
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a chain to our anchors, and the name, are required
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(cadata=self._anchors().decode("ascii"))
            plain.settimeout(_left(until))
            with context.wrap_socket(plain, server_hostname=parts.hostname) as secured:
                _write(secured, frames, until)
                secured.settimeout(_left(until))
                # RFC 5425 section 4.4: we close with close_notify; not every receiver answers with its own
                with suppress(ssl.SSLEOFError):
                    secured.unwrap()
                _await_confirmation(secured, until)


def _to_local(path: str, messages: Sequence[bytes], until: float) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.connect(path)
        for message in messages:
            local.settimeout(_left(until))
            local.send(message)


def _write(to: socket.socket, content: bytes, until: float) -> None:
    """In pieces, because for TLS a socket's own timeout begins anew with each of its writes."""
    rest = memoryview(content)
    while rest:
        to.settimeout(_left(until))
        rest = rest[to.send(rest[:_CHUNK_BYTES]) :]


def _await_end(of: socket.socket, until: float) -> None:
    """Until the other side has closed, whatever it says before."""
    of.settimeout(_left(until))
    while of.recv(_CHUNK_BYTES):
        of.settimeout(_left(until))


def _await_confirmation(of: socket.socket, until: float) -> None:
    """Until the other side's system has confirmed every byte: its program may have closed before they came.

    tcp(7), SIOCOUTQ. Where the system does not tell (Windows), a receiver that closes by itself in the instant in
    which a batch arrives passes for one that has taken it.
    """
    if sys.platform != "linux":
        return
    import fcntl
    import struct
    import termios

    while True:
        failure = of.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        if struct.unpack("i", fcntl.ioctl(of, termios.TIOCOUTQ, b"\0" * 4)) == (0,):
            return
        time.sleep(min(_LOOK_AGAIN_S, _left(until)))


def _left(until: float) -> float:
    """Seconds. Raises TimeoutError."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AgentError(Code.JOURNAL_NOT_SHIPPED, otherwise)


@contextmanager
def _ours() -> Iterator[None]:
    """What goes wrong on the way becomes journal.notShipped."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise AgentError(Code.JOURNAL_NOT_SHIPPED, f"TLS: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise AgentError(Code.JOURNAL_NOT_SHIPPED, f"TLS: {error.reason or type(error).__name__}") from None
    except OSError as error:
        number = errno.errorcode.get(error.errno or 0, str(error.errno))
        raise AgentError(Code.JOURNAL_NOT_SHIPPED, f"{type(error).__name__}: {number}") from None
    except ValueError as error:  # anchors that are none, a name that cannot be one
        raise AgentError(Code.JOURNAL_NOT_SHIPPED, type(error).__name__) from None
