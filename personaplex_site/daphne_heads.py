"""Requests that Twisted refuses before Daphne sees them, with an answer in words.

Twisted ends them with a bare status line, which browsers show as a broken site, or
without any.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from twisted.web import http

from personaplex_site.front.answers import Refusal

log = logging.getLogger(__name__)

DISCARD_SECONDS = 3  # that a client has to read the answer while it still sends


def answer_bad_heads() -> None:
    """Have Twisted answer them; it has no hook for that."""
    channel: Any = http.HTTPChannel
    channel._respondToBadRequestAndDisconnect = _refuse
    channel.lineLengthExceeded = _refuse


def _refuse(channel: Any, _line: bytes = b"") -> None:
    too_large = channel._receivedHeaderSize > channel.totalHeadersSize
    too_many = channel._receivedHeaderCount > channel.maxHeaders
    status = 431 if _line or too_large or too_many else 400
    log.warning("a request was refused for its head: %d", status)
    channel.dataReceived = channel.lineReceived = channel.rawDataReceived = _discard
    channel.transport.write(Refusal.head(status).whole())
    loop = asyncio.get_event_loop()
    loop.call_later(DISCARD_SECONDS, channel.transport.abortConnection)


def _discard(_data: bytes) -> None:
    """Closed at once, the connection would lose the answer with what was not read."""
