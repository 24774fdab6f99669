"""Receives the binary messages that follow an Open or More: a voice prompt and a log,
in any order, of bounded size and within a time limit. Runs on the event loop.
"""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection

from inference.engine.api import FrameLog
from inference.errors import ProtocolError, VoicePromptError
from inference.worker import protocol

BLOB_SECONDS = 30  # for all of it


async def receive_blobs(
    connection: ServerConnection, *, voice: bool, frames: int, sound: int
) -> tuple[bytes, FrameLog]:
    """The voice prompt if there is one, and the log of ``frames`` frames."""
    size, prompt, data = protocol.log_bytes(frames, sound), b"", bytearray()
    try:
        async with asyncio.timeout(BLOB_SECONDS):
            while voice or len(data) < size:
                message = await connection.recv()
                if isinstance(message, str):
                    raise ProtocolError(f"JSON where {_due(voice)} was due")
                if voice and message[:1] == bytes([protocol.VOICE_PROMPT]):
                    prompt, voice = _voice(message), False
                else:
                    _add(data, message, size)
    except TimeoutError as error:
        raise ProtocolError(
            f"{_due(voice)} did not come in {BLOB_SECONDS} s"
        ) from error
    return prompt, protocol.decode_log(frames, sound, data)


def _due(voice: bool) -> str:
    return "the voice prompt" if voice else "the log"


def _voice(message: bytes) -> bytes:
    prompt = bytes(protocol.decode_blob(protocol.VOICE_PROMPT, message))
    if len(prompt) > protocol.MAX_VOICE:
        raise VoicePromptError(f"a voice prompt of {len(prompt)} bytes")
    return prompt


def _add(data: bytearray, message: bytes, size: int) -> None:
    piece = protocol.decode_blob(protocol.LOG, message)
    if not piece or len(message) > protocol.MAX_MESSAGE:
        raise ProtocolError(f"a piece of a log of {len(piece)} bytes")
    if len(data) + len(piece) > size:
        raise ProtocolError("the log is longer than announced")
    data += piece
