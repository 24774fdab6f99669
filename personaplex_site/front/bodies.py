"""Bodies of requests: how large, how long on their way, how many of them together.

A small body is taken in whole before the request is processed, so that a slow
client has no place yet. A larger one is an upload: its sender must have signed in, it
has a place of its own, and it is passed on as it arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings

from personaplex_site.front.answers import Refusal
from personaplex_site.front.client import ClientGone

PIECE = 65_536  # bytes


class Room:
    """Memory and disk that all bodies on their way may take together."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, size: int) -> None:
        if self.taken + size > settings.MAX_BODIES_MB * 1_000_000:
            raise Refusal.no_room()
        self.taken += size

    def give(self, size: int) -> None:
        self.taken -= size


room = Room()


def announced(scope: Any) -> int | None:
    """Bytes of the body; None if there is one of unknown length."""
    size = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            size = int(value)
    return size


class Arriving:
    """A body on its way. ``deadline``: of the event loop's clock."""

    def __init__(self, receive: Any) -> None:
        loop = asyncio.get_running_loop()
        self.complete = False
        self._receive = receive
        self._deadline = loop.time() + settings.BODY_SECONDS
        self._held: list[bytes] = []
        self._kept = 0

    async def small(self) -> bytes | None:
        """All of it, or None: it is larger than small, and ``pieces`` has the whole."""
        while not self.complete:
            piece = await self._next()
            room.take(len(piece))
            self._kept += len(piece)
            self._held.append(piece)
            if self._kept > settings.SMALL_BODY_BYTES:
                return None
        return b"".join(self._held)

    async def pieces(self) -> AsyncIterator[bytes]:
        held, self._held = self._held, []
        for piece in held:
            yield piece
        while not self.complete:
            if piece := await self._next():
                yield piece

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Refusal.too_slow(settings.BODY_SECONDS) from None
        if message["type"] != "http.request":
            raise ClientGone
        self.complete = not message.get("more_body", False)
        data: bytes = message.get("body", b"")
        return data

    def close(self) -> None:
        room.give(self._kept)
        self._kept = 0


async def of_file(file: Any) -> AsyncIterator[bytes]:
    """A body that Twisted stored. It was just written, so reading it does not wait for
    the disk."""
    file.seek(0)
    while piece := file.read(PIECE):
        yield piece
