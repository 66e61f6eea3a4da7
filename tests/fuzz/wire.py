"""A WebSocket client that may do everything wrong: frames are made and read here, byte by byte."""

import asyncio
import json
import os
import socket
import struct
from dataclasses import dataclass

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
PATIENCE_S = 60  # a bound for the failure only


class GoneError(Exception):
    """The other side closed, or broke the link; `code` of its close frame, 0 without one."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


def frame(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\0\0\0\0"
) -> bytes:
    """One client frame. The mask of zeroes leaves the bytes as they are; None leaves the mask out."""
    size, masked = len(payload), 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if mask is None:
        return head + payload
    if mask == b"\0\0\0\0":
        return head + mask + payload
    key = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def handshake(port: int, *headers: str) -> bytes:
    """A right request, with these headers in the place of an origin."""
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *headers,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol: insi-agent.v1",
    ]
    return "\r\n".join((*lines, "", "")).encode()


@dataclass(frozen=True)
class Refused:
    """An HTTP status instead of a conversation, 0 without a word."""

    status: int


class Wire:
    """One open conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = b""

    @classmethod
    async def open(cls, port: int, *headers: str, receive_buffer: int | None = None) -> "Wire | Refused":
        """Connect and shake hands."""
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 16)
        writer.write(handshake(port, *headers))
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return Refused(0)
        status = int(head.split(b" ")[1])
        if status != 101:
            writer.close()
            return Refused(status)
        return cls(reader, writer)

    async def send(self, *frames: bytes) -> None:
        """Raises GoneError when the other side has gone."""
        try:
            self._writer.write(b"".join(frames))
            async with asyncio.timeout(PATIENCE_S):
                await self._writer.drain()
        except ConnectionError:
            raise GoneError(0) from None

    def write(self, *frames: bytes) -> None:
        """The same, without waiting for anybody."""
        self._writer.write(b"".join(frames))

    async def receive(self) -> list[bytes]:
        """Texts that arrived, one or more; pings are answered. Raises GoneError at the end, TimeoutError."""
        while True:
            texts = self._parsed()
            if texts:
                return texts
            try:
                async with asyncio.timeout(PATIENCE_S):
                    chunk = await self._reader.read(1 << 16)
            except ConnectionError:
                raise GoneError(0) from None
            if not chunk:
                raise GoneError(0)
            self._buffer += chunk

    def _parsed(self) -> list[bytes]:
        """The texts of whole frames in the buffer. Raises GoneError at a close with none before it."""
        texts: list[bytes] = []
        at, buffer, size = 0, self._buffer, len(self._buffer)
        while size - at >= 2:
            opcode, length, body = buffer[at] & 0xF, buffer[at + 1] & 0x7F, at + 2
            extended = {126: 2, 127: 8}.get(length, 0)
            if extended:
                if size - body < extended:
                    break
                length, body = int.from_bytes(buffer[body : body + extended], "big"), body + extended
            if size - body < length:
                break
            payload = buffer[body : body + length]
            if opcode == CLOSE:
                if texts:  # first what came before it
                    break
                raise GoneError(int.from_bytes(payload[:2], "big"))
            at = body + length
            if opcode == TEXT:
                texts.append(payload)
            elif opcode == PING:
                self._writer.write(frame(payload, PONG))
        self._buffer = buffer[at:]
        return texts

    async def leave(self) -> int:
        """Close politely; the code of the answer. Texts that still come are dropped."""
        await self.send(frame(struct.pack("!H", 1000), CLOSE))
        try:
            while True:
                await self.receive()
        except GoneError as gone:
            return gone.code
        finally:
            self._writer.close()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """RST: nothing is said, nothing is read."""
        if not self._writer.transport.is_closing():
            raw: socket.socket = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def text_frame(message: object) -> bytes:
    """A message, masked as a browser does."""
    return frame(json.dumps(message).encode(), mask=os.urandom(4))
