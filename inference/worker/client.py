"""The site's end of a worker's socket: sessions (asyncio) and voices (blocking).

Owns connecting, the bounded queue of user frames, and turning every way a worker can
go wrong into an error of :mod:`inference.errors`. Knows no Django and no Opus.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect as connect_blocking

from inference.engine.api import FrameResult
from inference.errors import (
    NoWorker,
    PersonaplexError,
    ProtocolError,
    VoicePromptError,
    WorkerLost,
)
from inference.worker import protocol
from inference.worker.protocol import (
    EncodeVoice,
    End,
    Failed,
    Open,
    Ready,
    UserFrame,
    VoiceProgress,
    VoiceWanted,
)

log = logging.getLogger(__name__)

# User frames that wait for a socket that does not take them: 2 s. The worker's own
# queue is shorter; this one only fills when the network or the worker stalls.
PUSH_FRAMES = 25
CONNECT_SECONDS = 5
READY_SECONDS = 60
PING_SECONDS = 5  # a silent worker is lost after two of these
MAX_INCOMING = protocol.MAX_VOICE + 1

Voice = bytes | Callable[[], Awaitable[bytes]]


class WorkerSession:
    """One conversation's life on a worker.

    ``push`` never waits: beyond PUSH_FRAMES waiting frames the oldest is dropped and
    counted in ``dropped``. Iterate for the agent's frames; the iteration ends after
    ``close`` and raises what went wrong otherwise. Not reading is allowed for about
    five seconds; then the worker ends the session as too slow a reader.
    """

    ready: Ready

    def __init__(self, socket: ClientConnection) -> None:
        self.dropped = 0
        self._socket = socket
        self._frames: deque[bytes] = deque(maxlen=PUSH_FRAMES)
        self._pushed = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def connect(
        cls,
        url: str,
        secret: str,
        open: Open,
        voice: Voice = b"",
        *,
        timeout: float = READY_SECONDS,
    ) -> Self:
        """Open a session on the worker at ``url`` (ws://host:port) and wait until it
        is primed. ``voice``, the .pt or how to get it, is only used when the worker
        does not have the voice prompt whose digest is ``open.voice``.

        Raises NoWorker (can't be reached, not ready), WorkerBusy, WorkerStopping,
        WorkerLost (went away, or not ready in ``timeout`` seconds), VoicePromptError,
        RolePromptError, ProtocolError.
        """
        try:
            socket = await connect_socket(
                url.rstrip("/") + "/session",
                additional_headers=_authorization(secret),
                compression=None,
                proxy=None,
                open_timeout=CONNECT_SECONDS,
                close_timeout=1,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                max_size=MAX_INCOMING,
            )
        except (OSError, InvalidHandshake, InvalidURI) as error:
            raise NoWorker(f"{url}: {error}") from error
        session = cls(socket)
        try:
            async with asyncio.timeout(timeout):
                await session._open(open, voice)
        except TimeoutError as error:
            socket.transport.abort()
            raise WorkerLost(f"{url}: not ready within {timeout} s") from error
        except BaseException:
            socket.transport.abort()
            raise
        session._sender = asyncio.create_task(session._send())
        return session

    async def _open(self, open: Open, voice: Voice) -> None:
        try:
            await self._socket.send(protocol.dump(open))
            while True:
                match _message(await self._socket.recv()):
                    case Ready() as ready:
                        self.ready = ready
                        return
                    case VoiceWanted():
                        data = voice if isinstance(voice, bytes) else await voice()
                        if len(data) > protocol.MAX_VOICE:
                            raise VoicePromptError(f"{len(data)} bytes of voice prompt")
                        blob = protocol.encode_blob(protocol.VOICE_PROMPT, data)
                        # Closed in mid-send: the reason is among what was received.
                        with suppress(ConnectionClosed):
                            await self._socket.send(blob)
                    case other:
                        raise ProtocolError(f"{other!r:.80} before Ready")
        except ConnectionClosed as error:
            raise _lost(error) from error

    def push(self, seq: int, pcm: NDArray[np.int16]) -> None:
        """Queue one user frame, int16 [1920] at 24 kHz."""
        if len(self._frames) == PUSH_FRAMES:
            self.dropped += 1  # the deque lets go of the oldest
        self._frames.append(UserFrame(seq, pcm).encode())
        self._pushed.set()

    async def _send(self) -> None:
        with suppress(ConnectionClosed):  # the reader reports how it was closed
            while True:
                await self._pushed.wait()
                self._pushed.clear()
                while self._frames:
                    await self._socket.send(self._frames.popleft())

    def __aiter__(self) -> AsyncIterator[FrameResult]:
        return self

    async def __anext__(self) -> FrameResult:
        try:
            data = await self._socket.recv()
        except ConnectionClosed as error:
            if self._closing:
                raise StopAsyncIteration from None
            raise _lost(error) from error
        if isinstance(data, bytes):
            return protocol.decode_agent_frame(data)
        raise ProtocolError(f"{_message(data)!r:.80} in mid-session")

    async def close(self) -> None:
        """Let the worker free the slot. Idempotent, waits at most about a second."""
        if self._closing:
            return
        self._closing = True
        if self._sender is not None:
            self._sender.cancel()
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(1):
                await self._socket.send(protocol.dump(End()))
        await self._socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def encode_voice(
    url: str,
    secret: str,
    pcm: NDArray[np.float32],
    progress: Callable[[float], None] = lambda done: None,
    *,
    fingerprint: str = "",
    timeout: float = 300,
) -> bytes:
    """Have the worker at ``url`` encode 24 kHz mono float32 to a .pt voice prompt.

    Blocks (for Celery tasks). ``progress`` gets 0.0 to 1.0. With a ``fingerprint``
    the worker refuses when it runs another model than that. ``timeout`` is the
    longest silence between two messages. Raises like ``WorkerSession.connect``.
    """
    data = memoryview(np.ascontiguousarray(pcm, "<f4").tobytes())
    piece = protocol.MAX_MESSAGE - 1
    try:
        with connect_blocking(
            url.rstrip("/") + "/voices",
            additional_headers=_authorization(secret),
            compression=None,
            proxy=None,
            open_timeout=CONNECT_SECONDS,
            close_timeout=1,
            max_size=MAX_INCOMING,
        ) as socket:
            socket.send(protocol.dump(EncodeVoice(len(pcm), fingerprint)))
            with suppress(ConnectionClosed):  # its reason is read below
                for start in range(0, len(data), piece):
                    part = data[start : start + piece]
                    socket.send(protocol.encode_blob(protocol.VOICE_PCM, part))
            while True:
                message = socket.recv(timeout)
                if isinstance(message, bytes):
                    return bytes(protocol.decode_blob(protocol.VOICE_PROMPT, message))
                match _message(message):
                    case VoiceProgress(done):
                        progress(done)
                    case other:
                        raise ProtocolError(f"{other!r:.80} while encoding a voice")
    except ConnectionClosed as error:
        raise _lost(error) from error
    except TimeoutError as error:
        raise WorkerLost(f"{url}: silent for {timeout} s") from error
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise NoWorker(f"{url}: {error}") from error


def _authorization(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _message(data: str | bytes) -> protocol.Message:
    """The JSON message, never Failed: that one is raised as the error it describes."""
    if isinstance(data, bytes):
        raise ProtocolError(f"{len(data)} binary bytes where JSON was due")
    message = protocol.parse(data)
    if isinstance(message, Failed):
        raise protocol.rebuild(message)
    return message


def _lost(error: ConnectionClosed) -> PersonaplexError:
    if error.rcvd is not None and error.rcvd.code == 1009:
        return ProtocolError(f"the worker refused a message: {error.rcvd.reason}")
    return WorkerLost(str(error))
