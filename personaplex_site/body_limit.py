"""Requests too large for this site are refused before they fill memory or disk.

Two places, one rule (MAX_BODY_BYTES). ``BodyLimit`` wraps the ASGI application and
works in any server that streams bodies to it. Daphne does not: Twisted stores the
whole body in a temporary file first, so ``limit_daphne`` refuses there, at the
Content-Length or at the byte that is one too many; and there it asks the front door
who may send a large body at all, for how long, and whether there is room. The answer
goes out at once; what still arrives is discarded for a moment, so that the browser can
read it.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from dataclasses import dataclass
from typing import IO, Any

from daphne import http_protocol
from django.conf import settings

from personaplex_site.front.answers import Refusal, phrase
from personaplex_site.front.application import Front
from personaplex_site.front.bodies import room
from personaplex_site.front.gate import Place
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


def limit_daphne(most: int, voice: int, front: Front) -> None:
    """Have Daphne make limited requests; it has no setting and no hook for that."""

    class Limited(LimitedRequest):
        max_bytes, voice_bytes, pages = most, voice, front

    http_protocol.WebRequest = Limited


@dataclass
class Upload:
    """A large body that was let in; ``place`` is among the uploads."""

    file: IO[bytes]
    size: int
    place: Place


class LimitedRequest(http_protocol.WebRequest):
    """A request that takes a body by the rules of the front door, and stops storing it
    once it breaks one. While its sender is being looked up, nothing more is read."""

    max_bytes = voice_bytes = 0
    pages: Front
    content: Any
    received = 0
    refused = False
    upload: Upload | None = None
    _admission: asyncio.Task[None] | None = None
    _place: Place | None = None
    _deadline: asyncio.TimerHandle | None = None
    _waits: tuple[bytes, bytes, bytes] | None = None  # all in, but not let in yet

    def __init__(self, *about: Any, **more: Any) -> None:
        """Twisted: the first line of a request is in. It would read a form of any size
        into memory later, and parse it on the event loop, though no view needs that."""
        super().__init__(*about, **{**more, "parsePOSTFormSubmission": False})
        loop = asyncio.get_event_loop()
        self._deadline = loop.call_later(settings.HEAD_SECONDS, self._cut)

    def gotLength(self, length: int | None) -> None:
        """Twisted: the headers are in; ``length`` is None for a chunked body."""
        if self._deadline is not None:
            self._deadline.cancel()
        if length is not None and length > self.max_bytes:
            super().gotLength(0)
            self._refuse_size(length)
            return
        super().gotLength(length)
        if length != 0:
            loop, seconds = asyncio.get_event_loop(), settings.BODY_SECONDS
            late = Refusal.too_slow(seconds)
            self._deadline = loop.call_later(seconds, self.refuse, late)
        if length is not None and length > settings.SMALL_BODY_BYTES:
            self._admit()

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        if self.received + len(data) > self.max_bytes:
            self._refuse_size(None)
            return
        try:
            room.take(len(data))
            self.received += len(data)
            super().handleContentChunk(data)
        except Refusal as refusal:
            self.refuse(refusal)
        except OSError as error:
            log.error("a body can't be stored: %s", error)
            self.refuse(Refusal.no_room())
        else:
            if self.received > settings.SMALL_BODY_BYTES and self._admission is None:
                self._admit()  # it had no length

    def _admit(self) -> None:
        self.channel.transport.pauseProducing()
        self._admission = asyncio.ensure_future(self._be_admitted())

    async def _be_admitted(self) -> None:
        cookies = b"; ".join(self.requestHeaders.getRawHeaders(b"cookie") or [])
        try:
            who = await self.pages.who_sends(cookies)
            self._place = await self.pages.gate.uploads.take(who)
        except Refusal as refusal:
            self.refuse(refusal)
            return
        self.channel.transport.resumeProducing()
        if self._waits is not None:
            super().requestReceived(*self._waits)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Twisted: all of the body is in. One that was refused was answered before."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self.refused:
            self.channel.loseConnection()
        elif self._admission is not None and self._place is None:
            self._waits = (command, path, version)
        else:
            super().requestReceived(command, path, version)

    def process(self) -> Any:
        """Daphne would cut the body into messages here, all of them at once."""
        if self._place is not None:
            self.upload = Upload(self.content, self.received, self._place)
            self.content = io.BytesIO()
        return super().process()

    def finish(self) -> None:
        if self.producer:
            self.unregisterProducer()
        super().finish()
        self._release()

    def connectionLost(self, reason: Any) -> None:
        self._release()
        super().connectionLost(reason)

    def _release(self) -> None:
        for later in (self._deadline, self._admission):
            if later is not None:
                later.cancel()
        if self.upload is not None:
            self.upload.file.close()
        if self._place is not None:
            self._place.give()
        room.give(self.received)
        self.received = 0

    def _cut(self) -> None:
        if self.channel is not None:
            self.channel.transport.abortConnection()

    def _refuse_size(self, length: int | None) -> None:
        log.warning("body of %s bytes refused", length or "more than allowed")
        kind, body = answer(length, self.voice_bytes, self._accept)
        self._answer_now(413, [(b"Content-Type", kind)], body)

    def refuse(self, refusal: Refusal) -> None:
        kind, body = refusal.content(self._accept)
        self._answer_now(refusal.status, refusal.headers(kind, len(body)), body)

    @property
    def _accept(self) -> bytes:
        return b",".join(self.requestHeaders.getRawHeaders(b"accept") or [])

    def _answer_now(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Without the application; what still arrives is thrown away for a moment."""
        if self.refused or self.channel is None:
            return
        self.refused = True
        self._release()
        self.content.close()
        super().gotLength(0)
        head = b"HTTP/1.1 %d %s\r\n" % (status, phrase(status))
        lengths = [(b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
        named = [pair for pair in headers if pair[0] != b"content-length"] + lengths
        head += b"".join(b"%s: %s\r\n" % pair for pair in named)
        transport: Any = self.channel.transport
        transport.write(head + b"\r\n" + body)
        transport.resumeProducing()
        loop = asyncio.get_event_loop()
        loop.call_later(DISCARD_SECONDS, transport.abortConnection)
