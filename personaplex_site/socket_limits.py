"""How much one client may send over a WebSocket, whatever it sends.

One budget for all frames of the WebSocket protocol: text, binary, pings, pongs, pieces
of messages. It is spent in the servers' protocol classes, before a message is put
together, so that a flood costs neither memory nor the event loop's time. It must not
depend on a server or a consumer.
"""

from __future__ import annotations

import time

from django.conf import settings

from conversations.live.wire import MAX_MESSAGE
from conversations.live.wire import TOO_FAST as TOO_FAST

# What is a little too large for a consumer gets the consumer's own close code, what is
# larger than this the standard's 1009.
MAX_FRAME = 2 * MAX_MESSAGE
# Messages, and bytes, that wait for a consumer; beyond it nothing more is read from the
# connection until half of them are taken. A stalled network's frames come in hundreds.
MAX_WAITING = 32
MAX_WAITING_BYTES = 128 * 1024
# How long a client that was cut off has to read why, before its connection is dropped.
# It learns that no more will come; what it still sends is left in the kernel.
GOODBYE_SECONDS = 10.0


class Budget:
    """Two buckets that fill with the clock: one of frames, one of bytes."""

    def __init__(self, now: float | None = None) -> None:
        self._frames = float(settings.SOCKET_BURST_MESSAGES)
        self._bytes = float(settings.SOCKET_BURST_BYTES)
        self._filled_at = time.monotonic() if now is None else now

    def spend(self, size: int, now: float | None = None) -> bool:
        """One frame of ``size`` bytes; False when there is not enough left for it."""
        now = time.monotonic() if now is None else now
        passed, self._filled_at = now - self._filled_at, now
        frames = self._frames + passed * settings.SOCKET_MESSAGES_PER_SECOND
        octets = self._bytes + passed * settings.SOCKET_BYTES_PER_SECOND
        self._frames = min(frames, settings.SOCKET_BURST_MESSAGES) - 1
        self._bytes = min(octets, settings.SOCKET_BURST_BYTES) - size
        return self._frames >= 0 and self._bytes >= 0
