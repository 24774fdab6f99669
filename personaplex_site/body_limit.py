"""Requests too large for this site are refused before they fill memory or disk.

Two places, one rule (MAX_BODY_BYTES). ``BodyLimit`` wraps the ASGI application and
works in any server that streams bodies to it. Daphne does not: Twisted stores the
whole body in a temporary file first, so ``limit_daphne`` refuses there, at the
Content-Length or at the byte that is one too many. The answer goes out at once; what
still arrives is discarded for a moment, so that the browser can read the answer.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from daphne import http_protocol

from personas.errors import TooLarge

log = logging.getLogger(__name__)

DISCARD_SECONDS = 3


def answer(size: int | None, most: int, accept: bytes) -> tuple[bytes, bytes]:
    """Content type and body of the 413, as JSON for our own pages."""
    error = TooLarge(size, most)
    if b"application/json" in accept:
        return b"application/json", json.dumps(error.as_event()).encode()
    return b"text/plain; charset=utf-8", error.text.encode()


class BodyLimit:
    """``most``: bytes of a body; ``voice``: the limit that the answer names."""

    def __init__(self, application: Any, most: int, voice: int) -> None:
        self._application = application
        self._most, self._voice = most, voice

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        announced = int(headers.get(b"content-length") or 0)
        body = _Counted(receive, self._most)
        if announced > self._most:
            body.too_large = True
        else:
            await self._application(scope, body, send)
        if body.too_large:
            log.warning("%s: body of %s bytes refused", scope["path"], announced or "?")
            accept = headers.get(b"accept", b"")
            kind, content = answer(announced or None, self._voice, accept)
            start = {"type": "http.response.start", "status": 413}
            names = [(b"content-type", kind), (b"connection", b"close")]
            await send({**start, "headers": names})
            await send({"type": "http.response.body", "body": content})


class _Counted:
    """Receives for the application. Beyond the limit the client is said to have
    gone, on which Django drops what it has and answers nothing."""

    def __init__(self, receive: Any, most: int) -> None:
        self.too_large = False
        self._receive, self._left = receive, most

    async def __call__(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.too_large = True
                return {"type": "http.disconnect"}
        return message


def limit_daphne(most: int, voice: int) -> None:
    """Have Daphne make limited requests; it has no setting and no hook for that."""

    class Limited(LimitedRequest):
        most_bytes, voice_bytes = most, voice

    http_protocol.WebRequest = Limited


class LimitedRequest(http_protocol.WebRequest):
    """A request that stops storing its body once it is too large."""

    most_bytes = voice_bytes = 0
    received = 0
    refused = False

    def gotLength(self, length: int | None) -> None:
        """Twisted: the headers are in; ``length`` is None for a chunked body."""
        if length is not None and length > self.most_bytes:
            super().gotLength(0)
            self.refuse(length)
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        self.received += len(data)
        if self.received > self.most_bytes:
            self.content.close()
            super().gotLength(0)
            self.refuse(None)
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted: all of the body is in. Ours was answered long ago."""
        if self.refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def refuse(self, length: int | None) -> None:
        self.refused = True
        log.warning("body of %s bytes refused", length or "more than allowed")
        accept = b",".join(self.requestHeaders.getRawHeaders(b"accept") or [])
        kind, body = answer(length, self.voice_bytes, accept)
        head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: %s\r\n" % kind
        close = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        transport: Any = self.channel.transport
        transport.write(head + close + body)
        from twisted.internet import reactor  # importing it chooses one: not earlier

        later: Any = reactor  # declared by interfaces, not by types
        later.callLater(DISCARD_SECONDS, transport.abortConnection)
