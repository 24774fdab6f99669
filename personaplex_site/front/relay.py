"""From the web process to a page process: one request on a Unix socket of its own.

Speaks HTTP/1.1 on that socket. Each request has a connection, which costs less than to
find out that a kept one has just been closed. Both ways are streamed, with at most
HIGH_WATER bytes of an answer waiting here. Permissions are checked elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httptools

from personaplex_site.front.answers import Refusal
from personaplex_site.front.socket_file import reachable

HIGH_WATER = 65_536
START_SECONDS = 10.0  # that a page process which is being started is waited for
RETRY_SECONDS = 0.1  # between two attempts to reach it
PEER, SCHEME = b"x-personaplex-peer", b"x-personaplex-scheme"
OURS = b"x-personaplex-"
# Of an answer that gunicorn gives instead of a page: the client gets ours.
REFUSED = b"x-personaplex-refused"
# Of one connection, so not to be passed on; and what we say of the body ourselves.
HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"trailers", b"transfer-encoding"),
        *(b"upgrade", b"expect", b"content-length"),
    }
)
NOT_OURS = HOP_BY_HOP - {b"content-length"} | {b"server", b"date"}
Headers = list[tuple[bytes, bytes]]


class NoAnswer(Exception):
    """The page process can't be reached, or ended before its answer did."""


@dataclass
class Body:
    """``size``: None where the length is unknown."""

    size: int | None = 0
    pieces: AsyncIterator[bytes] | None = None
    whole: bytes = field(default=b"", repr=False)


def request_head(scope: Any, size: int | None) -> bytes:
    """Request line and headers as the page process gets them."""
    headers: Headers = scope["headers"]
    named = b",".join(value for name, value in headers if name == b"connection")
    dropped = HOP_BY_HOP | {word.strip().lower() for word in named.split(b",")}
    lines = [b"%s %s HTTP/1.1\r\n" % (scope["method"].encode(), _target(scope))]
    for name, value in headers:
        # With an underscore a header could pass for another one.
        if name not in dropped and not name.startswith(OURS) and b"_" not in name:
            lines.append(b"%s: %s\r\n" % (name, value))
    peer = scope.get("client") or ("", 0)
    lines.append(b"%s: %s\r\n" % (PEER, str(peer[0]).encode()))
    lines.append(b"%s: %s\r\n" % (SCHEME, scope.get("scheme", "http").encode()))
    if size is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif size or scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        lines.append(b"content-length: %d\r\n" % size)
    lines.append(b"connection: close\r\n\r\n")
    return b"".join(lines)


def _target(scope: Any) -> bytes:
    path: bytes = scope["raw_path"]
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path


class Answer(asyncio.Protocol):
    """What comes back. ``headers`` are those for the client."""

    def __init__(self, head_only: bool) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length: int | None = None
        self.complete = False
        self.refused = False  # by gunicorn, before there was a page
        self._head_only = head_only
        self._parser = httptools.HttpResponseParser(self)
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._broken = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: Any = None
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._broken = not self.complete
            self._transport.abort()
        if self._size > HIGH_WATER and not self._transport.is_closing():
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._broken = not self.complete
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == REFUSED:
            self.refused = True
        elif name not in NOT_OURS:
            self.headers.append((name, value))
        if name == b"content-length":
            self.length = int(value)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._head_only:
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def on_message_complete(self) -> None:
        """Hang up at once: the client may take its time, the page process shall not
        wait for that."""
        self.complete = True
        self._transport.close()

    async def send(self, head: bytes, body: Body) -> None:
        """Write the request; a streamed body continues while the answer comes."""
        self._transport.write(head + body.whole)
        if body.pieces is not None:
            self._sending = asyncio.ensure_future(self._send_pieces(body))

    async def _send_pieces(self, body: Body) -> None:
        assert body.pieces is not None
        async for piece in body.pieces:
            if self._transport.is_closing():
                return
            if body.size is None:
                piece = b"%x\r\n%s\r\n" % (len(piece), piece)
            self._transport.write(piece)
            await self._writable.wait()
        if body.size is None:
            self._transport.write(b"0\r\n\r\n")

    async def begun(self) -> None:
        """Wait for status and headers. Raises NoAnswer, and whatever was wrong with
        the body that is being sent."""
        waiting = asyncio.ensure_future(self._until_begun())
        tasks: set[asyncio.Future[None]] = {waiting}
        if self._sending is not None:
            tasks.add(self._sending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() and self._sending is not None:
                self._sending.result()  # raises what the body raised
            await waiting
        finally:
            waiting.cancel()

    async def _until_begun(self) -> None:
        while not self.status or self.status < 200:
            if self._broken:
                raise NoAnswer("it ended before it answered")
            await self._news.wait()
            self._news.clear()

    @property
    def finished(self) -> bool:
        """There is nothing more to read."""
        return self.complete and not self._parts

    async def read(self) -> bytes:
        """The next piece, of HIGH_WATER bytes at most; b"" after the last one."""
        while not self._parts:
            if self.complete:
                return b""
            if self._broken:
                raise NoAnswer("it ended in the middle of its answer")
            self._news.clear()
            await self._news.wait()
        return self._take()

    def _take(self) -> bytes:
        taken: list[bytes] = []
        size = 0
        while self._parts and size < HIGH_WATER:
            part = self._parts.popleft()
            if size + len(part) > HIGH_WATER:
                cut = HIGH_WATER - size
                self._parts.appendleft(part[cut:])
                part = part[:cut]
            taken.append(part)
            size += len(part)
        was_full = self._size > HIGH_WATER
        self._size -= size
        if was_full and self._size <= HIGH_WATER and not self._transport.is_closing():
            self._transport.resume_reading()
        return b"".join(taken)

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._sending
        self._transport.abort()


class Relay:
    def __init__(self, path: str) -> None:
        self._path = reachable(path)

    async def ask(self, scope: Any, body: Body) -> Answer:
        """Raises NoAnswer, and Refusal for a request that gunicorn can't read."""
        head = request_head(scope, body.size)
        answer = await self._connect(scope["method"] == "HEAD")
        try:
            await answer.send(head, body)
            await answer.begun()
            if answer.refused:
                raise Refusal.head(answer.status)
        except BaseException:
            await answer.close()
            raise
        return answer

    async def _connect(self, head_only: bool) -> Answer:
        until = time.monotonic() + START_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, answer = await loop.create_unix_connection(
                    lambda: Answer(head_only), self._path
                )
            except OSError as error:
                if time.monotonic() > until:
                    raise NoAnswer(f"page processes: {error}") from error
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return answer
