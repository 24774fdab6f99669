"""The site's end of a worker's socket: one conversation's session (asyncio).

User frames wait in a bounded queue. Everything that can go wrong with a worker is an
error of :mod:`inference.errors`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from inference.engine.api import FrameLog, FrameResult
from inference.errors import PersonaplexError, ProtocolError, WorkerLost
from inference.worker import protocol
from inference.worker.handshake import (
    Voice,
    ask,
    dial,
    lost,
    message_of,
    send_voice,
)
from inference.worker.protocol import (
    Attach,
    CaughtUp,
    Draining,
    End,
    More,
    Open,
    Park,
    Ready,
    UserFrame,
    VoiceWanted,
)

# Blocking. The site imports client and protocol only.
from inference.worker.voice_client import encode_voice as encode_voice

# User frames that wait for a socket that does not take them: 2 s. The worker's own
# queue is shorter; this one only fills when the network or the worker stalls.
PUSH_FRAMES = 25
READY_SECONDS = 60
ATTACH_SECONDS = 10


class WorkerSession:
    """One conversation's session on a worker.

    ``push`` never waits: beyond PUSH_FRAMES waiting frames the oldest is dropped and
    counted in ``dropped``. Iterate for the agent's frames; the iteration ends after
    ``close`` or ``park`` and raises what went wrong otherwise. Not reading is allowed
    for about five seconds; then the worker cuts the socket off as too slow a reader.
    ``on_draining`` is set once the worker will end in ``drain_seconds``.

    Opening raises NoWorker (can't be reached, not ready), WorkerBusy, WorkerStopping,
    WorkerLost (went away, or did not answer in ``timeout`` seconds), VoicePromptError,
    RolePromptError, ProtocolError. ``voice``, the .pt or how to get it, is only used
    when the worker does not have the voice prompt whose digest is ``open.voice``.
    """

    ready: Ready

    def __init__(self, socket: ClientConnection) -> None:
        self.dropped = 0
        self.on_draining = asyncio.Event()
        self.drain_seconds = 0.0
        self._socket = socket
        self._frames: deque[bytes] = deque(maxlen=PUSH_FRAMES)
        self._pushed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._closing = False
        self._voice: Voice = b""
        self._restarting: asyncio.Future[Ready] | None = None

    @classmethod
    async def connect(
        cls,
        url: str,
        secret: str,
        open: Open,
        voice: Voice = b"",
        *,
        log: FrameLog | None = None,
        timeout: float = READY_SECONDS,
    ) -> Self:
        """Open a session on the worker at ``url`` (ws://host:port) and wait until it
        is primed. With ``log`` it continues after these frames."""
        session = cls(await dial(url, secret))
        async with session._patient(timeout):
            await session._open(open, voice, log)
            session._start(await session._answer())
        return session

    @classmethod
    async def attach(
        cls, url: str, secret: str, attach: Attach, *, timeout: float = ATTACH_SECONDS
    ) -> Self:
        """Resume a session that the worker has kept, or take it over from another
        socket. Frames from ``attach.have`` on come again, as far as the worker has
        them. Raises NoSession when it has not kept the session."""
        session = cls(await dial(url, secret))
        async with session._patient(timeout, kept=True):
            await ask(session._socket, attach)
            session._start(await session._answer())
        return session

    @classmethod
    async def prepare(
        cls,
        url: str,
        secret: str,
        open: Open,
        voice: Voice = b"",
        *,
        log: FrameLog | None = None,
        timeout: float = READY_SECONDS,
    ) -> Prepared[Self]:
        """Have a worker rebuild a session that still runs on another one. It waits
        for the rest of the log, see :class:`Prepared`."""
        session = cls(await dial(url, secret))
        async with session._patient(timeout):
            await session._open(dataclasses.replace(open, more=True), voice, log)
            caught_up = _expect(CaughtUp, await session._answer())
        return Prepared(session, caught_up.frame)

    async def restart(
        self,
        open: Open,
        voice: Voice = b"",
        *,
        log: FrameLog | None = None,
        timeout: float = READY_SECONDS,
    ) -> None:
        """Start again in the same slot, which stays reserved meanwhile. A task has
        to be iterating. Frames that come before this returns belong to the old
        session. User frames that wait are dropped and counted; those pushed meanwhile
        wait.

        If it is cancelled the session still has to be closed or parked."""
        self.dropped += len(self._frames)
        self._frames.clear()
        answer = self._restarting = asyncio.get_running_loop().create_future()
        try:
            async with self._patient(timeout):
                await self._open(open, voice, log)
                self.ready = await answer
        finally:
            answer.cancel()  # or asyncio would report an error of ``close`` as unread
        self._restarting = None
        self._pushed.set()

    def push(self, seq: int, pcm: NDArray[np.int16]) -> None:
        """Queue one user frame, int16 [1920] at 24 kHz."""
        if len(self._frames) == PUSH_FRAMES:
            self.dropped += 1  # the deque drops the oldest
        self._frames.append(UserFrame(seq, pcm).encode())
        self._pushed.set()

    def __aiter__(self) -> AsyncIterator[FrameResult]:
        return self

    async def __anext__(self) -> FrameResult:
        try:
            while True:
                data = await self._socket.recv()
                if isinstance(data, bytes):
                    return protocol.decode_agent_frame(data)
                await self._take(message_of(data))
        except ConnectionClosed as error:
            if self._closing:
                raise StopAsyncIteration from None
            raise self._broken(lost(error)) from error
        except PersonaplexError as error:
            self._broken(error)
            raise

    async def park(self) -> None:
        """Let the worker keep the slot for the ``keep_s`` that was asked for; frames
        that were pushed are still stepped. Idempotent, waits about a second."""
        frames = self._frames if self._restarting is None else ()
        await self._leave([*frames, protocol.dump(Park())])

    async def close(self) -> None:
        """Let the worker free the slot. Idempotent, waits at most about a second."""
        await self._leave([protocol.dump(End())])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def _patient(self, seconds: float, kept: bool = False) -> AsyncIterator[None]:
        """Free the slot if anything goes wrong inside: after a socket that merely
        breaks the worker keeps the session. Cancelling a resumption only breaks the
        socket, as the worker had ``kept`` the session before; cancelling a restart
        does nothing, as the caller still has the session."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            await self._give_up()
            raise WorkerLost(f"not ready within {seconds} s") from error
        except ConnectionClosed as error:
            raise lost(error) from error
        except asyncio.CancelledError:
            if kept:
                self._socket.transport.abort()
            elif self._sender is None:
                await self._give_up()
            raise
        except BaseException:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        try:
            await self._say([protocol.dump(End())])
        finally:
            self._socket.transport.abort()

    async def _open(self, open: Open, voice: Voice, log: FrameLog | None) -> None:
        self._voice = voice
        if log is not None:
            frames, sound = len(log.tokens), len(log.user_pcm)
            open = dataclasses.replace(open, log_frames=frames, log_sound=sound)
        await ask(self._socket, open, log)

    async def _answer(self) -> Ready | CaughtUp:
        while True:
            message = message_of(await self._socket.recv())
            if isinstance(message, Ready | CaughtUp):
                return message
            await self._take(message)

    async def _take(self, message: protocol.Message) -> None:
        match message:
            case VoiceWanted():
                await send_voice(self._socket, self._voice)
            case Draining(seconds):
                self.drain_seconds = seconds
                self.on_draining.set()
            case Ready() if self._restarting is not None:
                if not self._restarting.done():
                    self._restarting.set_result(message)
            case other:
                raise ProtocolError(f"{other!r:.80} was not due")

    def _broken(self, error: PersonaplexError) -> PersonaplexError:
        """Pass the error on to a waiting restart, too."""
        if self._restarting is not None and not self._restarting.done():
            self._restarting.set_exception(error)
        return error

    def _start(self, answer: Ready | CaughtUp) -> None:
        self.ready = _expect(Ready, answer)
        self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        with suppress(ConnectionClosed):  # the reader reports how it was closed
            while True:
                await self._pushed.wait()
                self._pushed.clear()
                while self._frames and self._restarting is None:
                    await self._socket.send(self._frames.popleft())

    async def _leave(self, last: list[str | bytes]) -> None:
        if self._closing:
            return
        self._closing = True
        self._broken(WorkerLost("closed"))
        if self._sender is not None:
            self._sender.cancel()
        await self._say(last)

    async def _say(self, last: list[str | bytes]) -> None:
        """As far as the worker takes it in a second; then the socket is closed."""
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(1):
                for message in last:
                    await self._socket.send(message)
        await self._socket.close()


S = TypeVar("S", bound=WorkerSession)
A = TypeVar("A", Ready, CaughtUp)


class Prepared(Generic[S]):
    """A rebuilt session that waits for the frames that were made elsewhere meanwhile.
    The worker ends it when nothing comes for half a minute. Its methods raise as
    opening does; the session has ended then."""

    def __init__(self, session: S, frame: int) -> None:
        self.frame = frame  # the first one that is missing in it
        self._session = session

    async def catch_up(self, log: FrameLog, *, timeout: float = READY_SECONDS) -> int:
        """``log``: from ``frame`` on, with the sound of all its frames. Returns the
        new ``frame``."""
        self.frame = _expect(CaughtUp, await self._more(log, timeout, more=True)).frame
        return self.frame

    async def go(self, log: FrameLog, *, timeout: float = READY_SECONDS) -> S:
        """The last of it, which may be nothing; then frames may come."""
        answer = await self._more(log, timeout, more=False)
        self._session._start(answer)
        return self._session

    async def close(self) -> None:
        await self._session.close()

    async def _more(
        self, log: FrameLog, timeout: float, *, more: bool
    ) -> Ready | CaughtUp:
        session, frames = self._session, len(log.tokens)
        async with session._patient(timeout):
            await ask(session._socket, More(frames, len(log.user_pcm), more), log)
            return await session._answer()


def _expect(kind: type[A], answer: Ready | CaughtUp) -> A:
    if not isinstance(answer, kind):
        raise ProtocolError(f"{answer!r:.80} was not due")
    return answer
