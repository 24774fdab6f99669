"""The socket on which a page follows its voice upload.

One way: the site sends the payloads of personas.progress, the browser sends nothing.
The first message from it closes the socket; what follows is not even looked at.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from personaplex_site import signed_in
from personas.models.upload import VoiceUpload
from personas.progress import Payload, group, payload

log = logging.getLogger(__name__)

DONE, MALFORMED, NOT_SIGNED_IN, NOT_FOUND = 1000, 4400, 4401, 4404


class VoiceUploadConsumer(AsyncJsonWebsocketConsumer):
    """Sends where the upload stands, then every change, then closes with 1000."""

    group_name = ""
    over = False  # it was closed from here
    watched: signed_in.Socket | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.watched is not None:
                signed_in.forget(self.watched)

    async def connect(self) -> None:
        # Accepted first: a browser sees no close code of a refused handshake.
        await self.accept()
        if not self.scope["user"].is_authenticated:
            await self.close(NOT_SIGNED_IN)
            return
        self.watched = signed_in.watch(self.scope, self._sign_out)
        upload_id = self.scope["url_route"]["kwargs"]["upload_id"]
        self.group_name = group(upload_id)
        # Joined before reading, so that no change falls between the two.
        await self.channel_layer.group_add(self.group_name, self.channel_name)
        current = await self._current(upload_id)
        if current is None:
            await self.close(NOT_FOUND)
            return
        await self._tell(current)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Channels would ask for the database before each message."""
        if message["type"] != "websocket.receive":
            await super().dispatch(message)
        elif not self.over:
            size = len(message.get("text") or message.get("bytes") or "")
            log.info("voice upload socket closed: it sent %d, none expected", size)
            await self.close(MALFORMED)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        if not self.over:
            self.over = True
            await super().close(code, reason)

    async def disconnect(self, code: int) -> None:
        self.over = True
        if self.group_name:
            await self.channel_layer.group_discard(self.group_name, self.channel_name)

    async def _sign_out(self, why: signed_in.Why) -> None:
        await self.close(NOT_SIGNED_IN)

    async def upload_changed(self, event: dict[str, Any]) -> None:
        await self._tell(event["payload"])

    async def _tell(self, news: Payload) -> None:
        if self.over:
            return
        await self.send_json(news)
        if news["type"] != "progress":
            await self.close(DONE)

    @database_sync_to_async
    def _current(self, upload_id: UUID) -> Payload | None:
        uploads = VoiceUpload.objects.of(self.scope["user"]).select_related("voice")
        upload = uploads.filter(pk=upload_id).first()
        return payload(upload) if upload else None
