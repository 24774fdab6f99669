"""The site's end: connecting to a worker, asking for a session, reading the answer.

Everything that can go wrong becomes an error of :mod:`inference.errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from inference.engine.api import FrameLog
from inference.errors import (
    NoWorker,
    PersonaplexError,
    ProtocolError,
    VoicePromptError,
    WorkerLost,
)
from inference.worker import protocol
from inference.worker.bearer import authorization
from inference.worker.protocol import Attach, Failed, More, Open

CONNECT_SECONDS = 5
PING_SECONDS = 5  # a silent worker is lost after two of these
MAX_INCOMING = protocol.MAX_VOICE + 1
LOG_PIECE = 256 * 1024  # bytes; between two of them the loop serves others

Voice = bytes | Callable[[], Awaitable[bytes]]


def socket_options(secret: str) -> dict[str, Any]:
    """Of any socket to a worker, asynchronous or not."""
    return {
        "additional_headers": authorization(secret),
        "compression": None,
        "proxy": None,
        "open_timeout": CONNECT_SECONDS,
        "close_timeout": 1,
        "max_size": MAX_INCOMING,
    }


async def dial(url: str, secret: str) -> ClientConnection:
    try:
        return await connect_socket(
            url.rstrip("/") + "/session",
            **socket_options(secret),
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
        )
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise NoWorker(f"{url}: {error}") from error


async def ask(
    socket: ClientConnection, request: Open | More | Attach, log: FrameLog | None = None
) -> None:
    """A worker that refuses may close meanwhile: its reason is read afterwards."""
    with suppress(ConnectionClosed):
        await socket.send(protocol.dump(request))
        if log is not None:
            for piece in protocol.encode_log(log, LOG_PIECE):
                await socket.send(piece)


async def send_voice(socket: ClientConnection, voice: Voice) -> None:
    data = voice if isinstance(voice, bytes) else await voice()
    if len(data) > protocol.MAX_VOICE:
        raise VoicePromptError(f"{len(data)} bytes of voice prompt")
    with suppress(ConnectionClosed):
        await socket.send(protocol.encode_blob(protocol.VOICE_PROMPT, data))


def message_of(data: str | bytes) -> protocol.Message:
    """The JSON message, never Failed: that one is raised as the error it describes."""
    if isinstance(data, bytes):
        raise ProtocolError(f"{len(data)} binary bytes where JSON was due")
    message = protocol.parse(data)
    if isinstance(message, Failed):
        raise protocol.rebuild(message)
    return message


def lost(error: ConnectionClosed) -> PersonaplexError:
    if error.rcvd is not None and error.rcvd.code == 1009:
        return ProtocolError(f"the worker refused a message: {error.rcvd.reason}")
    return WorkerLost(str(error))
