"""A stand-in for the site, for tests of the live page: docs/protocol.md, echoing.

Answers each user frame with its own payload after `delay` seconds, so that what the
page plays is what its microphone heard.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import secrets
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


SAMPLING = {
    "temperature_text": 0.7,
    "top_k_text": 25,
    "temperature_audio": 0.8,
    "top_k_audio": 250,
    "greedy": False,
    "seed": 7,
}


@dataclass
class StandIn:
    """What it does next is set by the test; what it saw is in `frames`, `events`."""

    pages: dict[str, str]
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    csp: str = CSP  # of the pages
    errors: list[dict] = field(default_factory=list)  # sent first, one a connection
    trained: bool = True
    prime_s: float = 0.1
    delay: float = 0.02
    stall_at: int | None = None  # seq at which nothing is answered for stall_s
    stall_s: float = 0.4
    unanswered: Callable[[int], bool] = lambda seq: False  # dropped by the engine
    cut_at: int | None = None  # seq at which the connection is cut
    silent_at: int | None = None  # seq from which this socket hears nothing any more
    close_at: tuple[int, int] | None = None  # seq, close code
    broken_at: int | None = None  # seq whose answer no decoder understands
    # seq → events to send then, each with its `kind`
    at: dict[int, list[dict]] = field(default_factory=dict)
    pieces: tuple[str, ...] = (" Hel", "lo", " there", ".")
    queue: list[dict] = field(default_factory=list)  # `waiting` events, queue_s apart
    queue_s: float = 0.3
    resume_seconds: float = 30.0  # 0: nothing is kept
    refuse_s: float = 0.0  # so long after a loss every new socket is refused
    rewind_s: float = 0.2
    context_seconds: float = 240.0
    when_full: str = "slide"
    frames: list[Frame] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    stats: list[dict] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    sockets: int = 0
    token: str = ""
    refused_until: float = 0.0
    missing: tuple[str, ...] = ()  # beginnings of paths that are not there
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def starts(self):
        return [event for event in self.events if event["type"] == "start"]

    async def talk(self, socket):
        self.sockets += 1
        if time.monotonic() < self.refused_until:
            socket.transport.abort()
            return
        try:
            start = json.loads(await socket.recv())
            self.events.append(start)
            await self.converse(socket, start)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            self.closes.append(socket.close_code)

    async def converse(self, socket, start):
        async def send(kind, **fields):
            await socket.send(json.dumps({"type": kind, **fields}))

        resume = start.get("resume")
        if resume and resume["token"] != self.token:
            await send("error", code="resume_used", text="It is over.", retryable=True)
            await socket.close(4410)
            return
        await send("state", state="resuming" if resume else "connecting")
        if self.errors:
            await send("error", **self.errors.pop(0))
            await socket.close(4503)
            return
        while self.queue:
            await send("state", state="priming")  # asks for a place: there is none
            await send("state", state="waiting")
            await send("waiting", ticket="ticket", **self.queue[0])
            if not await self.wait_in_queue(socket):
                return
            self.queue.pop(0)
        if not resume:
            await send("state", state="priming")
            await asyncio.sleep(self.prime_s)
        await self.announce_ready(send, resume)
        await send("state", state="live")
        async for message in socket:
            if isinstance(message, bytes):
                await self.answer(socket, send, message)
            elif await self.take_event(send, json.loads(message)):
                await socket.close(1000)
                return

    async def wait_in_queue(self, socket):
        try:
            async with asyncio.timeout(self.queue_s):
                while True:
                    self.events.append(json.loads(await socket.recv()))
                    if self.events[-1]["type"] == "leave":
                        await socket.close(1000)
                        return False
        except TimeoutError:
            return True

    async def announce_ready(self, send, resume):
        self.token = secrets.token_hex(4)
        last = self.frames[-1].seq if resume and self.frames else -1
        kept = {"resume": self.token, "resume_seconds": self.resume_seconds}
        await send(
            "ready",
            conversation="5c1b0c0e-0000-4000-8000-000000000000",
            model="tiny",
            trained=self.trained,
            prime_ms=1000 * self.prime_s,
            context_seconds=self.context_seconds,
            max_seconds=1800,
            seed=7,
            sampling=SAMPLING,
            resumed=bool(resume),
            frame=last + 1,
            next_seq=last + 1,
            when_full=self.when_full,
            rewinds=True,
            **(kept if self.resume_seconds else {}),
        )

    async def take_event(self, send, event):
        """Whether it was the end."""
        if event["type"] == "stats":
            self.stats.append(event)
            return False
        self.events.append(event)
        if event["type"] in ("rewind", "say_again"):
            await send("state", state="recovering", seconds=self.rewind_s)
            await asyncio.sleep(self.rewind_s)
            await send(
                "rewound",
                frame=self.frames[-1].seq,
                seconds=event.get("seconds", 3),
                context_seconds=self.context_seconds,
            )
            await send("state", state="live")
            return False
        await send(
            "ended",
            reason="user_ended",
            text="You ended the conversation",
            url="/conversations/5c1b0c0e-0000-4000-8000-000000000000/",
        )
        return True

    async def answer(self, socket, send, message):
        kind, flags, _, seq = HEADER.unpack_from(message)
        self.frames.append(
            Frame(time.monotonic(), kind, flags, seq, message[HEADER.size :])
        )
        for event in self.at.pop(seq, []):
            await send(**event)
        if self.cut_at is not None and seq >= self.cut_at:
            self.cut_at = None
            self.refused_until = time.monotonic() + self.refuse_s
            socket.transport.abort()
            return
        if self.close_at and seq >= self.close_at[0]:
            code, self.close_at = self.close_at[1], None
            await socket.close(code)
            return
        if self.silent_at is not None and seq >= self.silent_at:
            self.silent_at = None
            async for _ in socket:
                pass
            return
        if self.unanswered(seq):
            return
        await asyncio.sleep(self.stall_s if seq == self.stall_at else self.delay)
        path = HEADER.pack(kind, 0, round(self.delay * 10_000), seq)
        broken = seq == self.broken_at
        await socket.send(path + (b"\xff" if broken else message[HEADER.size :]))
        if seq % 2 == 0:
            await send(
                "text", frame=seq, piece=self.pieces[seq // 2 % len(self.pieces)]
            )

    def serve_file(self, _connection, request):
        path = request.path.split("?")[0]
        if path.startswith("/ws/"):
            return None
        if path in self.pages:
            policy = {"Content-Security-Policy": self.csp}
            return response(200, "text/html", self.pages[path].encode(), policy)
        if path in self.files:
            return ranged(request.headers.get("Range"), *self.files[path])
        file = (REPOSITORY / path.lstrip("/")).resolve()
        gone = path.startswith(self.missing) if self.missing else False
        if gone or not path.startswith("/static/") or not file.is_file():
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
