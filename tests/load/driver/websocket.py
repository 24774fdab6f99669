"""A browser's end of a WebSocket, as cheap as Python allows.

RFC 6455 from the client's side, without extensions and without sending in
fragments. The load driver shares the machine with what it measures: per message this
costs a quarter of what a general library does.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BROKEN = 1006  # the close code of a connection that was not closed by anyone
MAX_MESSAGE = 1 << 20
OPEN_SECONDS = 15.0
_FINAL, _MASKED = 0x80, 0x80


class HandshakeRefused(ConnectionError):
    pass


def frame(kind: int, payload: bytes) -> bytes:
    """A message as a client sends it. The masking key is zero, which leaves the payload
    as it is: masking protects old proxies, of which a load test has none."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", _FINAL | kind, _MASKED | size)
    elif size < 65_536:
        head = struct.pack(">BBH", _FINAL | kind, _MASKED | 126, size)
    else:
        head = struct.pack(">BBQ", _FINAL | kind, _MASKED | 127, size)
    return head + bytes(4) + payload


class WebSocket(asyncio.Protocol):
    """``heard(kind, payload)`` is called for every text and binary message,
    ``gone(code)`` once, when the connection is no more."""

    def __init__(
        self, heard: Callable[[int, bytes], None], gone: Callable[[int], None]
    ) -> None:
        self.open = False
        self._heard, self._gone = heard, gone
        self._opened: asyncio.Future[None]
        self._opened = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport
        self._waiting = b""
        self._request = b""
        self._code = BROKEN

    @classmethod
    async def connect(
        cls,
        url: str,
        cookie: str,
        heard: Callable[[int, bytes], None],
        gone: Callable[[int], None],
    ) -> WebSocket:
        """``url``: ws:// or wss://. Raises OSError or TimeoutError; ``gone`` is only
        called for a socket that was opened."""
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        socket = cls(heard, gone)
        socket._request = _request(parts.netloc, parts.path, cookie, secure)
        async with asyncio.timeout(OPEN_SECONDS):
            loop = asyncio.get_running_loop()
            await loop.create_connection(
                lambda: socket, host, port, ssl=True if secure else None
            )
            try:
                await socket._opened
            except BaseException:
                socket.abort()
                raise
        return socket

    def send(self, message: bytes) -> None:
        """``message``: as made by ``frame``."""
        self._transport.write(message)

    def unsent(self) -> int:
        """Bytes that wait for the site to read."""
        return self._transport.get_write_buffer_size()

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        if self.open:
            self._transport.resume_reading()

    def close(self, code: int = 1000) -> None:
        self.send(frame(CLOSE, struct.pack(">H", code)))

    def abort(self) -> None:
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._waiting:
            data = self._waiting + data
        if not self.open:
            data = self._handshake(data)
        at = self._messages(data) if self.open else 0
        self._waiting = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if self.open:
            self.open = False
            self._gone(self._code)
        elif not self._opened.done():
            self._opened.set_exception(ConnectionError("closed before the handshake"))

    # what it is made of

    def _handshake(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        status = head.partition(b"\r\n")[0]
        if b" 101 " not in status + b" ":
            refused = HandshakeRefused(status.decode(errors="replace"))
            if not self._opened.done():
                self._opened.set_exception(refused)
            self._transport.abort()
            return b""
        self.open = True
        if not self._opened.done():
            self._opened.set_result(None)
        return rest

    def _messages(self, data: bytes) -> int:
        """Hand over every whole message; where the first unfinished one begins."""
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            begin = at + 2
            if size == 126:
                if end - at < 4:
                    break
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                if end - at < 10:
                    break
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if not first & _FINAL or size > MAX_MESSAGE:
                self.abort()  # no server of ours sends such a thing
                return end
            if end - begin < size:
                break
            at = begin + size
            self._take(first & 0x0F, data[begin:at])
        return at

    def _take(self, kind: int, payload: bytes) -> None:
        if kind in (TEXT, BINARY):
            self._heard(kind, payload)
        elif kind == PING:
            self.send(frame(PONG, payload))
        elif kind == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            if not self._transport.is_closing():
                self.send(frame(CLOSE, payload[:2]))
                self._transport.close()


def _request(netloc: str, path: str, cookie: str, secure: bool) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    origin = f"{'https' if secure else 'http'}://{netloc}"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Version: 13\r\nOrigin: {origin}\r\nCookie: {cookie}\r\n\r\n"
    ).encode()
