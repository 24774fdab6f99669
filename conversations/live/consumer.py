"""The browser's socket of a live conversation, as docs/protocol.md describes it.

Only translates: messages to calls of LiveConversation, its sends to Channels.

Channels awaits a clean-up of database connections, in one thread of the process,
before every message: 0.6 ms a frame when idle, and frames once waited 490 ms behind
another request's query. So what a browser sends bypasses that. It also makes a task for
every message, to wait for a channel layer beside the socket; here there is none.

How much a browser may send is the server's to bound, before a message gets here:
:mod:`personaplex_site.socket_limits`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from conversations.errors import EndReason
from conversations.live import shutdown, wire
from conversations.live.conversation import LiveConversation
from conversations.live.ending import ending_by_close
from conversations.models import Conversation
from conversations.threads import in_thread
from personaplex_site import signed_in
from personas.models import Persona

log = logging.getLogger(__name__)

START_SECONDS = 20.0
# Daphne kills an application 10 s after its socket has gone; the conversation's own
# task continues beyond that.
LEAVE_SECONDS = 8.0
SIGNED_OUT = {
    signed_in.Why.SIGNED_OUT: EndReason.SIGNED_OUT,
    signed_in.Why.PASSWORD_CHANGED: EndReason.PASSWORD_CHANGED,
    signed_in.Why.ACCOUNT_CLOSED: EndReason.ACCOUNT_CLOSED,
}


class ConversationConsumer(AsyncWebsocketConsumer):
    """Has no channel layer: a conversation works without Redis."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._closed = False
        self._persona: Persona | None = None
        self._live: LiveConversation | None = None
        self._talk: asyncio.Task[None] | None = None
        self._start_limit: asyncio.Task[None] | None = None
        self._watched: signed_in.Socket | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        except asyncio.CancelledError:  # the server is stopping
            if self._live is not None and self._talk is not None:
                shutdown.release(self._live)
                await asyncio.wait({self._talk}, timeout=LEAVE_SECONDS)
            raise
        finally:
            if self._start_limit is not None:
                self._start_limit.cancel()
            if self._watched is not None:
                signed_in.forget(self._watched)

    async def dispatch(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.receive":
            await super().dispatch(message)
        elif not self._closed:
            try:
                await self._take(message.get("bytes"), message.get("text"))
            except wire.WireError as error:
                await self._break_off(error)

    async def _take(self, data: bytes | None, text: str | None) -> None:
        if data is not None:
            self._receive_frame(data)
        else:
            await self._take_event(wire.parse_event(text or ""))

    def _receive_frame(self, data: bytes) -> None:
        if self._live is None:
            raise wire.WireError("a frame before start")
        self._live.receive_frame(data)

    async def connect(self) -> None:
        # Accepted even when refused: a browser sees no close code otherwise.
        await self.accept()
        if shutdown.is_stopping():
            await self._close(wire.COME_BACK)
            return
        user = self.scope["user"]
        if not user.is_authenticated:
            await self._close(wire.NOT_SIGNED_IN)
            return
        key = self.scope["url_route"]["kwargs"]["persona"]
        persona = await in_thread(lambda: _persona(user, key))
        if persona is None:
            await self._close(wire.NO_PERSONA)
            return
        self._persona = persona
        self._watched = signed_in.watch(self.scope, self._sign_out)
        self._start_limit = asyncio.create_task(self._expire())

    async def _take_event(self, event: wire.Event) -> None:
        match event:
            case wire.Start():
                await self._begin(event)
            case wire.End() if self._live is not None:
                self._live.end(EndReason.USER_ENDED)
            case wire.End():
                await self._close(wire.ENDED)
            case wire.Leave() if self._live is not None:
                self._live.end(EndReason.USER_LEFT)
            case wire.Rewind(seconds) if self._live is not None:
                self._live.rewind(seconds)
            case wire.Stats(fields) if self._live is not None:
                self._live.keep_client_stats(fields)

    async def _begin(self, start: wire.Start) -> None:
        if self._live is not None or self._persona is None:
            raise wire.WireError("a second start")
        if self._persona.deleted_at and not start.resume:
            await self._close(wire.NO_PERSONA)
            return
        if self._start_limit is not None:
            self._start_limit.cancel()
        self._live = LiveConversation(self.scope["user"], self._persona, self._transmit)
        self._live.watch_transport(self.scope)
        self._talk = asyncio.create_task(self._live.run(start))
        shutdown.keep(self._talk, self._live)

    async def disconnect(self, code: int) -> None:
        self._closed = True
        if self._live is not None and self._talk is not None:
            self._live.leave(ending_by_close(code))
            await asyncio.wait({self._talk}, timeout=LEAVE_SECONDS)

    async def _break_off(self, error: wire.WireError) -> None:
        log.warning("protocol broken, close %d: %s", error.close_code, error)
        if self._live is None:
            await self._close(error.close_code)
        else:
            self._live.end(EndReason.PROTOCOL, error.close_code, str(error))

    async def _sign_out(self, why: signed_in.Why) -> None:
        if self._live is None:
            await self._close(wire.NOT_SIGNED_IN)
        elif self._live.begun:  # it is told why
            self._live.end(SIGNED_OUT[why])
        else:
            self._live.end(SIGNED_OUT[why], wire.NOT_SIGNED_IN)

    async def _expire(self) -> None:
        await asyncio.sleep(START_SECONDS)
        await self._close(wire.NO_START)

    async def _close(self, code: int) -> None:
        await self._transmit({"type": "websocket.close", "code": code})

    async def _transmit(self, message: dict[str, object]) -> None:
        """Nothing is sent on a socket that has closed."""
        if self._closed:
            return
        self._closed = message["type"] == "websocket.close"
        await self.base_send(message)


def _persona(user: Any, key: UUID) -> Persona | None:
    """Blocking. Theirs; a deleted one only while a conversation with it is not over."""
    persona = Persona.objects.filter(owner=user.pk, pk=key).first()
    if persona is None or persona.deleted_at is None:
        return persona
    mine = Conversation.objects.of(user).filter(persona_version__persona=persona)
    return persona if mine.filter(ended_at=None).exists() else None
