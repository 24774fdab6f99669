"""Pages made inside the web process, in threads: where no page processes run.

Runs those threads and passes requests between them and the event loop, with the same
interface as the relay.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.db import connections

from personaplex_site.front.answers import Refusal
from personaplex_site.front.client import ClientGone
from personaplex_site.front.relay import (
    HIGH_WATER,
    NOT_OURS,
    OURS,
    Body,
    Headers,
    NoAnswer,
)

log = logging.getLogger(__name__)

PIECES = 2  # of an answer that may wait for the client
T = TypeVar("T")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Gone(OSError):
    """The client has left; in the thread, to end its work. To Django it is a body that
    can't be read."""


class InsideAnswer:
    """What a thread answers. ``headers`` are those for the client."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length: int | None = None
        self._loop = asyncio.get_running_loop()
        self._head = self._loop.create_future()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)
        self._taken = 0
        self._closed = self._broken = self._ended = False
        self._pending: asyncio.Task[Any] | None = None

    # What the thread calls.

    def start_response(
        self, status: str, headers: list[tuple[str, str]], error: Any = None
    ) -> Callable[[bytes], None]:
        self.status = int(status[:3])
        self.headers = []
        for name, value in headers:
            key = name.lower().encode("latin-1")
            if key == b"content-length":
                self.length = int(value)
            if key not in NOT_OURS:
                self.headers.append((key, value.encode("latin-1")))
        return self.put

    def put(self, data: bytes) -> None:
        for begin in range(0, len(data), HIGH_WATER):
            self._wait_for(self._put(data[begin : begin + HIGH_WATER]))

    def end(self, broken: bool) -> None:
        self._broken = broken
        self._loop.call_soon_threadsafe(self._note_end)

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return self._wait_for(work)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise _Gone
        return asyncio.run_coroutine_threadsafe(
            self._guarded(work), self._loop
        ).result()

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise _Gone
        self._pending = asyncio.ensure_future(work)
        try:
            return await self._pending
        except asyncio.CancelledError:
            raise _Gone from None
        except (ClientGone, Refusal) as error:  # of the body
            self._closed = True
            if not self._head.done():
                self._head.set_exception(error)
            raise _Gone from None
        finally:
            self._pending = None

    # What happens on the event loop.

    async def _put(self, piece: bytes) -> None:
        self._begin()
        await self._pieces.put(piece)

    def _begin(self) -> None:
        if not self._head.done():
            self._head.set_result(None)

    def _note_end(self) -> None:
        self._ended = True
        self._begin()
        if self._pieces.empty():
            self._pieces.put_nowait(None)

    async def begun(self) -> None:
        await asyncio.shield(self._head)
        if not self.status:
            raise NoAnswer("the thread failed")

    @property
    def finished(self) -> bool:
        """There is nothing more to read."""
        return self.length is not None and self._taken >= self.length

    async def read(self) -> bytes:
        if self._ended and self._pieces.empty():
            piece = None
        else:
            piece = await self._pieces.get()
            self._taken += len(piece or b"")
        if piece is None and self._broken:
            raise NoAnswer("the thread failed in the middle of its answer")
        return piece or b""

    async def close(self) -> None:
        self._closed = True
        if self._pending is not None:
            self._pending.cancel()


class Inside:
    def __init__(self, application: Application, threads: int) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="page")

    async def ask(self, scope: Any, body: Body) -> InsideAnswer:
        answer = InsideAnswer()
        environ = _environ(scope, body, answer)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._threads, self._work, environ, answer)
        try:
            await answer.begun()
        except BaseException:
            await answer.close()
            raise
        return answer

    def _work(self, environ: dict[str, Any], answer: InsideAnswer) -> None:
        broken = True
        try:
            made = self._application(environ, answer.start_response)
            try:
                for piece in made:
                    answer.put(piece)
            finally:
                if hasattr(made, "close"):
                    made.close()
            broken = False
        except _Gone:
            pass
        except Exception:  # a thread's border: the client gets a 500, the log has it
            log.exception("a page failed")
        finally:
            connections.close_all()
            answer.end(broken)


def _environ(scope: Any, body: Body, answer: InsideAnswer) -> dict[str, Any]:
    peer = scope.get("client") or ("", 0)
    server = scope.get("server") or ("localhost", 80)
    found: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": str(peer[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": _input(body, answer),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body.size is not None:
        found["CONTENT_LENGTH"] = str(body.size)
    for name, value in scope["headers"]:
        framing = name in (b"content-length", b"transfer-encoding")
        if framing or b"_" in name or name.startswith(OURS):
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        text = value.decode("latin-1")
        joint = ";" if key == "HTTP_COOKIE" else ","
        found[key] = f"{found[key]}{joint}{text}" if key in found else text
    return found


def _input(body: Body, answer: InsideAnswer) -> io.BufferedIOBase:
    if body.pieces is None:
        return io.BytesIO(body.whole)
    return io.BufferedReader(_Pieces(body.pieces, answer), HIGH_WATER)


class _Pieces(io.RawIOBase):
    """A body that arrives on the event loop, read in a thread."""

    def __init__(self, pieces: AsyncIterator[bytes], answer: InsideAnswer) -> None:
        self._pieces, self._answer = pieces, answer
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._rest:
            self._rest = self._answer.wait_for(_next_of(self._pieces))
        size = min(len(into), len(self._rest))
        into[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


async def _next_of(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")
