"""How often one signed-in browser may open a WebSocket.

Opening one costs far more than a message does: a session is looked up, a conversation
begun, a slot asked for. A client that is cut off for sending too much and comes back at
once would have all of that for nothing, so being cut off counts as many openings.

Browsers are distinguished by the session cookie; without one the consumers refuse.
It must not depend on consumers. With several processes each has its own count.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from typing import Any

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http import parse_cookie

from conversations.live.wire import MALFORMED, TOO_LARGE
from personaplex_site.front.counted import Counted
from personaplex_site.socket_limits import TOO_FAST

log = logging.getLogger(__name__)
refused = Counted(log, "sockets refused, since a browser opened too many")

# Close codes of what no page of ours sends.
ABUSE = frozenset({MALFORMED, TOO_LARGE, TOO_FAST, 1002, 1007, 1009})
MAX_BROWSERS = 10_000  # remembered at once; the one longest ago is forgotten


class Openings:
    """A bucket of openings for each browser; it fills with the clock."""

    def __init__(self) -> None:
        # Digest of a session → openings left, and when that was reckoned.
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def spend(self, key: bytes, count: float = 1.0) -> bool:
        """False, and nothing is taken, where fewer than ``count`` are left."""
        left = self._left(key)
        if left < count:
            return False
        self._keep(key, left - count)
        return True

    def punish(self, key: bytes) -> None:
        """For the next SOCKET_COOLDOWN_SECONDS nothing is opened; 0: no punishment."""
        if seconds := settings.SOCKET_COOLDOWN_SECONDS:
            self._keep(key, min(self._left(key), 1.0 - seconds * _a_second()))

    def _left(self, key: bytes) -> float:
        now, most = time.monotonic(), float(settings.SOCKET_OPENINGS_BURST)
        left, at = self._buckets.get(key, (most, now))
        return min(most, left + (now - at) * _a_second())

    def _keep(self, key: bytes, left: float) -> None:
        self._buckets[key] = (left, time.monotonic())
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BROWSERS:
            self._buckets.popitem(last=False)


def _a_second() -> float:
    return settings.SOCKET_OPENINGS_PER_MINUTE / 60


class SocketCooldown:
    """Refuses a WebSocket before the handshake, with 403."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._openings = Openings()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        session = session_of(scope)
        if not session:
            await self._application(scope, receive, send)
            return
        if not session.isalnum():  # no session of ours; the database may refuse it
            await WebsocketDenier()(scope, receive, send)
            return
        # A digest, so that no session lies in memory for longer than its socket.
        key = hashlib.sha256(session.encode()).digest()
        if not self._openings.spend(key):
            refused.add(scope["path"])
            await WebsocketDenier()(scope, receive, send)
            return

        async def watch_client() -> Any:
            message = await receive()
            if message.get("code") in ABUSE:  # the server's protocol closed it
                self._openings.punish(key)
            return message

        async def watch_consumer(message: Any) -> None:
            if message.get("code") in ABUSE:
                self._openings.punish(key)
            await send(message)

        await self._application(scope, watch_client, watch_consumer)


def session_of(scope: Any) -> str:
    headers = dict(scope["headers"])
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    return cookies.get(settings.SESSION_COOKIE_NAME, "")
