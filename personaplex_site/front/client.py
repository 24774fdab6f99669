"""The client at the other end of one request, under Daphne and under uvicorn.

Sends an answer no faster than it is read, and gives up clients that do not read.
uvicorn's ``send`` waits by itself. Daphne's never does: Twisted tells a producer that
is registered with the request, so one is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any

from django.conf import settings

from personaplex_site.daphne_scope import protocol_of
from personaplex_site.front.answers import Refusal
from personaplex_site.front.counted import Counted

log = logging.getLogger(__name__)

unread = Counted(log, "answers cut off, as their clients did not read them")

DISCARD_SECONDS = 3.0  # that a browser has to read an answer while it still sends
Headers = list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client reads no more of the answer."""


class Client:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.started = self.finished = False
        self._receive, self._send = receive, send
        self.daphne_request = protocol_of(scope)
        self._writable = asyncio.Event()
        self._writable.set()
        self._gone = False
        self._attend()

    # Twisted's IPushProducer.

    def pauseProducing(self) -> None:
        self._writable.clear()

    def resumeProducing(self) -> None:
        self._writable.set()

    def stopProducing(self) -> None:
        self._gone = True
        self._writable.set()

    def _attend(self) -> None:
        """The kernel itself drops a connection of which nothing is acknowledged for so
        long: also one whose answer is complete and waits to be taken."""
        transport = self._transport
        with suppress(AttributeError, OSError, TypeError):
            sock = transport.get_extra_info("socket")
            wait_ms = 1000 * settings.SEND_SECONDS
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, wait_ms)
        if self.daphne_request is not None and self.daphne_request.producer is None:
            self.daphne_request.registerProducer(self, True)

    def upload(self) -> Any:
        """Under Daphne, a large body: it was let in and stored before the application
        was asked. See personaplex_site.body_limit."""
        return getattr(self.daphne_request, "upload", None)

    def check_there(self) -> None:
        """ClientGone if it has left."""
        asked = self.daphne_request or getattr(self._send, "__self__", None)
        lost = getattr(asked, "_disconnected", getattr(asked, "disconnected", False))
        if self._gone or lost is True:
            raise ClientGone

    @property
    def _transport(self) -> Any:
        """uvicorn's ``send`` is a method of the request, Daphne's a partial of it."""
        if self.daphne_request is not None:
            return getattr(self.daphne_request.channel, "transport", None)
        return getattr(getattr(self._send, "__self__", None), "transport", None)

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        message = {"type": "http.response.start", "status": status, "headers": headers}
        await self._within(self._send(message), settings.SEND_SECONDS)

    async def body(self, data: bytes, more: bool, seconds: float = 0.0) -> None:
        """Waits until earlier data was taken. TimeoutError after ``seconds``: it was
        not sent and may be tried again. Beyond SEND_SECONDS the client is let go."""
        message = {"type": "http.response.body", "body": data, "more_body": more}
        if seconds:
            async with asyncio.timeout(seconds):
                await self._until_writable()
        await self._within(self._until_writable(), settings.SEND_SECONDS)
        self.check_there()  # both servers silently accept data for a closed connection
        await self._within(self._send(message), settings.SEND_SECONDS)
        self.finished = not more

    async def _until_writable(self) -> None:
        flow = getattr(getattr(self._send, "__self__", None), "flow", None)
        if flow is not None and flow.write_paused:
            await flow.drain()
        await self._writable.wait()
        if self._gone:
            raise ClientGone

    async def _within(self, work: Any, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            unread.add(f"{self.scope['path']}, nothing taken for {seconds:.0f} s")
            self.cut()
            raise ClientGone from None

    def cut(self) -> None:
        """Drop the connection with all that was not yet sent."""
        self._gone = True
        transport = self._transport
        drop = getattr(transport, "abortConnection", None)
        drop = drop or getattr(transport, "abort", None)
        if drop is not None:
            drop()

    async def refuse(self, refusal: Refusal, unread: bool = False) -> None:
        """``unread``: parts of the body are still to come. They are thrown away for a
        moment, since a browser that is cut off while it sends shows no answer."""
        accept = next((v for k, v in self.scope["headers"] if k == b"accept"), b"")
        kind, content = refusal.content(accept)
        headers = refusal.headers(kind, len(content))
        if unread:
            headers.append((b"connection", b"close"))
        await self.start(refusal.status, headers)
        if self.scope["method"] == "HEAD":
            content = b""
        if unread:
            await self.body(content, more=True)
            content = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS):
                    await self._discard()
        await self.body(content, more=False)

    async def _discard(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "http.request" or not message.get("more_body"):
                return
