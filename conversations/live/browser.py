"""What goes to one browser: events, agent frames, the close of its socket.

Depends on nothing but a send function, and under Daphne on its transport.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from conversations.live import wire
from conversations.live.outbox import Outbox, Send
from personaplex_site.daphne_scope import protocol_of

log = logging.getLogger(__name__)

SEND_SECONDS = 3.0


class BrowserSide:
    """Before and after the talk: ``event`` and ``close``, which wait. While it lasts
    everything goes by way of ``outbox``, which does not."""

    def __init__(self, send: Send) -> None:
        self.outbox = Outbox(send)
        self.early = 0  # frames that came before the conversation was live
        self.after = 0  # frames that came after the end
        self._send = send

    def watch_transport(self, scope: Any) -> None:
        """Have Daphne's transport report when the browser does not read.

        Daphne's ``send`` never waits; that of other servers does.
        """
        protocol = protocol_of(scope)
        if protocol is not None:
            protocol.report_fullness(self.outbox)

    def put_event(self, kind: str, **fields: object) -> None:
        self.outbox.put_event(wire.event(kind, **fields))

    async def send_event(self, kind: str, **fields: object) -> None:
        await self._transmit(
            {"type": "websocket.send", "text": wire.event(kind, **fields)}
        )

    async def close(self, code: int) -> None:
        await self._transmit({"type": "websocket.close", "code": code})

    async def _transmit(self, message: dict[str, object]) -> None:
        """Send unless the browser doesn't take it: its absence is no failure here."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            log.info("not sent: %s", error)
