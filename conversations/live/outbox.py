"""Messages on their way to the browser.

What waits there is bounded, with a drop rule. Depends on nothing but a send function.

Audio is worthless when late: beyond FRAMES waiting frames the oldest goes, counted.
Events are few (one per spoken piece). Beyond EVENTS the browser does not read: what
comes then is dropped, and the next ``check`` says so.

A browser that does not read is noticed by ``send`` waiting (uvicorn), or by Daphne's
transport saying so (``BrowserSide.watch_transport``). The queue then fills, and
STALLED_SECONDS later the conversation ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

Send = Callable[[dict[str, object]], Awaitable[None]]
FRAMES = 25  # 2 s
EVENTS = 200
STALLED_SECONDS = 10.0


class NotReading(Exception):
    """The browser has not taken anything for too long."""


class Outbox:
    def __init__(self, send: Send) -> None:
        self.dropped = 0
        self.events_dropped = 0  # events for which there was no room
        self._send = send
        self._events: deque[str] = deque()
        self._frames: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending_since: float | None = None

    def put_event(self, text: str) -> None:
        """Never raises: what the browser sent may be what is answered here."""
        if len(self._events) == EVENTS:
            self.events_dropped += 1
            return
        self._events.append(text)
        self._filled.set()

    def put_frame(self, data: bytes) -> None:
        if len(self._frames) == FRAMES:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(data)
        self._filled.set()

    def pause(self) -> None:
        """The transport's buffer is full: hold back until ``resume``."""
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._events or self._frames:
                self._sending_since = time.monotonic()
                await self._writable.wait()
                if self._events:
                    text = self._events.popleft()
                    await self._send({"type": "websocket.send", "text": text})
                else:
                    frame = self._frames.popleft()
                    await self._send({"type": "websocket.send", "bytes": frame})
            self._sending_since = None

    def check(self, now: float) -> None:
        """Raise NotReading once it is certain."""
        if self.events_dropped:
            raise NotReading(f"{EVENTS} events wait")
        since = self._sending_since
        if since is not None and now - since > STALLED_SECONDS:
            raise NotReading(f"nothing taken for {now - since:.0f} s")
