"""A stand-in for the site, for tests of the live page: docs/protocol.md, echoing.

Answers each user frame with its own payload after `delay` seconds, so that what the
page plays is what its microphone heard.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

REPOSITORY = Path(__file__).resolve().parents[2]
HEADER = struct.Struct("<BBHI")
CSP = "default-src 'self'; connect-src 'self'; media-src 'self' blob:"


@dataclass
class Frame:
    at: float
    kind: int
    flags: int
    seq: int
    payload: bytes


@dataclass
class StandIn:
    """What it does next is set by the test; what it saw is in `frames`, `events`."""

    pages: dict[str, str]
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    errors: list[dict] = field(default_factory=list)  # sent first, one a connection
    trained: bool = True
    prime_s: float = 0.1
    delay: float = 0.02
    stall_at: int | None = None  # seq at which nothing is answered for stall_s
    stall_s: float = 0.4
    unanswered: Callable[[int], bool] = lambda seq: False  # dropped by the engine
    cut_at: int | None = None  # seq at which the connection is cut
    pieces: tuple[str, ...] = (" Hel", "lo", " there", ".")
    frames: list[Frame] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def talk(self, socket):
        try:
            start = json.loads(await socket.recv())
            self.events.append(start)
            await self.converse(socket)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            self.closes.append(socket.close_code)

    async def converse(self, socket):
        async def send(kind, **fields):
            await socket.send(json.dumps({"type": kind, **fields}))

        await send("state", state="connecting")
        if self.errors:
            await send("error", **self.errors.pop(0))
            await socket.close(4503)
            return
        await send("state", state="priming")
        await asyncio.sleep(self.prime_s)
        await send(
            "ready",
            conversation="5c1b0c0e-0000-4000-8000-000000000000",
            model="tiny",
            trained=self.trained,
            prime_ms=1000 * self.prime_s,
            context_seconds=240,
            max_seconds=1800,
            seed=7,
        )
        await send("state", state="live")
        async for message in socket:
            if isinstance(message, str):
                self.events.append(json.loads(message))
                await send(
                    "ended",
                    reason="user_ended",
                    text="You ended the conversation",
                    url="/conversations/5c1b0c0e-0000-4000-8000-000000000000/",
                )
                await socket.close(1000)
                return
            await self.answer(socket, send, message)

    async def answer(self, socket, send, message):
        kind, flags, _, seq = HEADER.unpack_from(message)
        self.frames.append(
            Frame(time.monotonic(), kind, flags, seq, message[HEADER.size :])
        )
        if seq == self.cut_at:
            socket.transport.abort()
            return
        if self.unanswered(seq):
            return
        await asyncio.sleep(self.stall_s if seq == self.stall_at else self.delay)
        path = HEADER.pack(kind, 0, round(self.delay * 10_000), seq)
        await socket.send(path + message[HEADER.size :])
        if seq % 2 == 0:
            await send(
                "text", frame=seq, piece=self.pieces[seq // 2 % len(self.pieces)]
            )

    def serve_file(self, _connection, request):
        path = request.path.split("?")[0]
        if path.startswith("/ws/"):
            return None
        if path in self.pages:
            return response(200, "text/html", self.pages[path].encode())
        if path in self.files:
            return ranged(request.headers.get("Range"), *self.files[path])
        file = (REPOSITORY / path.lstrip("/")).resolve()
        if not path.startswith("/static/") or not file.is_file():
            return response(404, "text/plain", b"not found")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return response(200, kind, file.read_bytes())

    def run_in_thread(self):
        started = threading.Event()
        loop = asyncio.new_event_loop()

        async def main():
            options = {"process_request": self.serve_file, "compression": None}
            async with serve(self.talk, "127.0.0.1", 0, **options) as server:
                self.port = server.sockets[0].getsockname()[1]
                self.stopped = asyncio.Event()
                started.set()
                await self.stopped.wait()

        thread = threading.Thread(
            target=lambda: loop.run_until_complete(main()), daemon=True
        )
        thread.start()
        assert started.wait(10)

        def stop():
            loop.call_soon_threadsafe(self.stopped.set)
            thread.join(10)

        return stop


def ranged(wanted, kind, body):
    """`bytes=FROM-` or `bytes=FROM-TO`, as browsers ask for sound."""
    if not wanted:
        return response(200, kind, body, {"Accept-Ranges": "bytes"})
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), int(last or len(body) - 1)
    span = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return response(206, kind, body[start : end + 1], span)


def response(status, kind, body, more=None):
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": CSP,
            "Cache-Control": "no-store",
            "Connection": "close",
            **(more or {}),
        }
    )
    return Response(status, "", headers, body)
