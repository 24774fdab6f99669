"""uvicorn's WebSocket, with bounds and with an end for those who do not read.

uvicorn reads nothing while a message waits for the application, and its ``send`` waits
for a client that does not read. What it lacks is ours: a budget, an answer to a client
that reads nothing, and telling a connection that broke from one that was closed.
"""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from personaplex_site.socket_limits import GOODBYE_SECONDS, TOO_FAST, Budget

log = logging.getLogger(__name__)

BROKEN, NO_TEXT = 1006, 1007
# Bytes that are taken apart at once: at most some seven hundred frames, 10 ms.
PIECE = 4096


class Socket(WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._budget = Budget()
        self._cut_off = False

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if self._cut_off:
                return
            if hasattr(self, "scope") and not self.handshake_complete:
                # RFC 6455, 4.1: a client waits for the answer.
                self._drop("it sent before it was answered")
                return
            super().data_received(data[start : start + PIECE])

    def handle_events(self) -> None:
        for event in self.conn.events:
            if isinstance(event, Frame) and not self._budget.spend(len(event.data)):
                self._cut(TOO_FAST, "more than its budget")
                return
        super().handle_events()

    def handle_ping(self) -> None:
        if self._cut_off:
            return
        if self.writable.is_set():
            super().handle_ping()
        else:
            self._drop("it sends pings and does not read")

    def send_receive_event_to_app(self) -> None:
        """uvicorn logs a traceback for text that is none."""
        if self._cut_off:
            return
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._cut(NO_TEXT, "text that is no UTF-8")
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        if not self._cut_off:
            sent = self.conn.close_sent
            self._cut(sent.code if sent else BROKEN, str(self.conn.parser_exc))

    def _cut(self, code: int, why: str) -> None:
        if not self.handshake_complete:
            self._drop(why)
            return
        self._end(code, why)
        if self.close_timer is not None:
            self.close_timer.cancel()
        if self.conn.close_sent is None:  # else the application has done so
            self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.pause_reading()
        if self.transport.can_write_eof():  # not with TLS
            self.transport.write_eof()
        # While there is a timer uvicorn leaves the connection to it.
        abort = self.transport.abort
        self.close_timer = self.loop.call_later(GOODBYE_SECONDS, abort)

    def _drop(self, why: str) -> None:
        self._end(BROKEN, why)
        self.transport.abort()

    def _end(self, code: int, why: str) -> None:
        """The application is notified; what it still sends is dropped."""
        log.warning("socket of %s cut off, close %d: %s", self.client, code, why)
        self._cut_off = self.close_sent = True
        self.read_paused = False  # what is paused now stays so
        self.frames = []
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})

    # --- what goes out

    async def send(self, message: Any) -> None:
        """A client that does not read would not read the closing either: uvicorn would
        wait for that without end, and keep the socket."""
        if self._cut_off:
            return
        if message["type"] == "websocket.close" and not self.writable.is_set():
            self.transport.abort()
            return
        try:
            await super().send(message)
        except ClientDisconnected:
            pass  # the application is about to be notified
        except RuntimeError:
            if not self._cut_off:  # else it was, while this waited
                raise

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn 0.54 says 1005 here, which is what a page sends that closes. The
        first code that the application gets is the one that counts."""
        if self.handshake_complete and self.conn.close_rcvd is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": BROKEN})
        super().connection_lost(exc)
