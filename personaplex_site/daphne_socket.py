"""Daphne's WebSocket with bounds: on what comes in, on what waits, on what is unread.

Daphne puts every message into a queue without end, Autobahn reads as fast as the client
sends and answers each ping into a buffer without end. Neither has a setting for it.

* What is beyond the budget of :mod:`personaplex_site.socket_limits`, and what is no
  WebSocket at all, closes the socket at once. The application is notified as of any
  close, by its code. Nothing more is read.
* While the application is behind, nothing is read from the connection.
* A client that sends pings and does not read the pongs is dropped.
* A conversation can ask for a call when the transport is full (``report_fullness``):
  Daphne's ``send`` never waits.
"""

from __future__ import annotations

import logging
from typing import Any

from daphne import ws_protocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from personaplex_site.socket_limits import (
    GOODBYE_SECONDS,
    MAX_FRAME,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    TOO_FAST,
    Budget,
)

log = logging.getLogger(__name__)


def limit_sockets() -> None:
    """Have Daphne make limited sockets."""
    ws_protocol.WebSocketFactory.protocol = LimitedSocket


@implementer(IPushProducer)
class Fullness:
    """Whether the transport holds more than it should: Twisted calls at 64 KiB."""

    def __init__(self) -> None:
        self.full = False
        self.listener: Any = None  # has ``pause`` and ``resume``

    def pauseProducing(self) -> None:
        self.full = True
        if self.listener is not None:
            self.listener.pause()

    def resumeProducing(self) -> None:
        self.full = False
        if self.listener is not None:
            self.listener.resume()

    def stopProducing(self) -> None:
        """The connection is gone; the consumer notices by itself."""


class LimitedSocket(ws_protocol.WebSocketProtocol):
    _asked = False  # the request for the socket has come
    _cut_off = False

    # --- the connection

    def connectionMade(self) -> None:
        super().connectionMade()
        self.maxMessagePayloadSize = self.maxFramePayloadSize = MAX_FRAME
        self._budget = Budget()
        self._fullness = Fullness()
        self._waiting = self._waiting_bytes = 0
        self._paused = False
        # What is registered belongs to the HTTP request that is being upgraded.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self._fullness, True)

    def report_fullness(self, listener: Any) -> None:
        """Call ``listener.pause`` and ``resume`` as the client reads too slowly."""
        self._fullness.listener = listener
        if self._fullness.full:
            listener.pause()

    def dataReceived(self, data: bytes) -> None:
        if self._cut_off:
            return
        if self._asked and self.state == self.STATE_CONNECTING:
            # RFC 6455, 4.1: a client waits for the answer. It would be buffered.
            self._drop("it sent before it was answered")
            return
        self._asked = True
        super().dataReceived(data)
        if self.state == self.STATE_CONNECTING and self.data:
            self._drop("its request had a body")

    # --- what comes in

    def processData(self) -> bool:
        return False if self._cut_off else super().processData()

    def onFrameBegin(self) -> None:
        super().onFrameBegin()
        if not self._cut_off and not self._budget.spend(self.current_frame.length):
            self._cut(TOO_FAST, "more than its budget")

    def onPing(self, payload: bytes) -> None:
        if self._fullness.full:
            self._drop("it sends pings and does not read")
        else:
            super().onPing(payload)

    def _fail_connection(self, code: int = 1002, reason: str = "") -> None:
        """Autobahn would drop the connection, which looks like a broken network."""
        if not self._cut_off:
            self._cut(code, reason)

    def _cut(self, code: int, why: str) -> None:
        self._end(code, why)
        if self.state in (self.STATE_OPEN, self.STATE_CLOSING):
            self.transport.pauseProducing()
            self.closeHandshakeTimeout = GOODBYE_SECONDS
            self.sendCloseFrame(code)  # nothing, if the application has done so
            if hasattr(self.transport, "loseWriteConnection"):  # not with TLS
                self.transport.loseWriteConnection()
            from twisted.internet import reactor  # importing it chooses one

            later: Any = reactor
            later.callLater(GOODBYE_SECONDS, self.transport.abortConnection)
        else:
            self.transport.abortConnection()

    def _drop(self, why: str) -> None:
        self._end(1006, why)
        self.transport.abortConnection()

    def _end(self, code: int, why: str) -> None:
        """The application is notified, and sends nothing any more."""
        log.warning("socket of %s cut off, close %d: %s", self.peer, code, why)
        self._cut_off = self.muted = True
        self.data = b""
        if hasattr(self, "application_queue"):
            event = {"type": "websocket.disconnect", "code": code}
            self.application_queue.put_nowait(event)
        if hasattr(self, "server"):  # else the application was not notified
            self.server.protocol_disconnected(self)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        if not self._cut_off:
            super().onClose(wasClean, code, reason)

    # --- what waits for the application

    def applicationCreateWorked(self, application_queue: Any) -> None:
        if application_queue is None:
            return  # the client has gone meanwhile
        super().applicationCreateWorked(application_queue)
        take = application_queue._get  # asyncio.Queue's hook for those who extend it

        def taken() -> Any:
            message = take()
            if message["type"] == "websocket.receive":
                self._taken(message)
            return message

        application_queue._get = taken

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.muted:
            return
        super().onMessage(payload, isBinary)
        self._waiting += 1
        self._waiting_bytes += len(payload)
        if not self._paused and (
            self._waiting > MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES
        ):
            self._paused = True
            self.transport.pauseProducing()

    def _taken(self, message: dict[str, Any]) -> None:
        self._waiting -= 1
        self._waiting_bytes -= len(message.get("bytes") or message.get("text") or "")
        little = self._waiting <= MAX_WAITING // 2
        if self._paused and little and not self._cut_off:
            self._paused = False
            self.transport.resumeProducing()
