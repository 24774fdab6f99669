"""The bounded queue of messages to one socket.

A peer that falls SEND_MESSAGES behind is cut off at once: agent frames that come
seconds late are worth nothing, and a site that doesn't read for that long has lost its
conversation anyway.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

log = logging.getLogger(__name__)

SEND_MESSAGES = 32  # about 2.5 s of frames, besides those in the kernel
SEND_BUFFER = 64 * 1024  # bytes in the kernel: without it, minutes would fit there


def bound_kernel_buffer(connection: ServerConnection) -> None:
    raw = connection.transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


class Outbox:
    def __init__(self, connection: ServerConnection) -> None:
        self.overflowed = False
        self._connection = connection
        self._messages: asyncio.Queue[str | bytes | list[bytes]] = asyncio.Queue(
            SEND_MESSAGES
        )
        self._sender = asyncio.create_task(self._send())

    def put(self, message: str | bytes | list[bytes]) -> None:
        """Never waits. Aborts the socket when the peer does not read. A list is sent
        as one message after the other, and counts as one."""
        if self.overflowed:
            return
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.overflowed = True
            self._connection.transport.abort()

    async def close(self, last: str | None = None, patience: float = 2) -> None:
        """Send what waits, then ``last``, as far as the peer reads it in time."""
        if last is not None and not self._messages.full():
            self._messages.put_nowait(last)
        waiting = asyncio.create_task(self._messages.join())
        await asyncio.wait(
            {waiting, self._sender},
            timeout=patience,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in (waiting, self._sender):
            task.cancel()
        await asyncio.gather(waiting, self._sender, return_exceptions=True)

    async def _send(self) -> None:
        try:
            while True:
                message = await self._messages.get()
                for part in message if isinstance(message, list) else [message]:
                    await self._connection.send(part)
                self._messages.task_done()
        except ConnectionClosed:
            pass  # reported where the socket is read
