"""The layout of the protocol's binary messages: frames of both sides, voices, logs.

The first byte is the kind. All integers and samples are little-endian. The order of
messages is in :mod:`inference.worker.protocol`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engine.api import FrameLog, FrameResult
from inference.errors import ProtocolError
from inference.timing import FRAME_SAMPLES, STREAMS

MAX_MESSAGE = 4 * 1024 * 1024  # bytes of a piece of something longer

USER_FRAME, AGENT_FRAME, VOICE_PROMPT, VOICE_PCM, LOG = 1, 2, 3, 4, 5

_USER_HEADER = struct.Struct("<BBHI")  # kind, flags, reserved, seq
# kind, flags, piece bytes, dropped, frame, seq, queue µs, tick µs
_AGENT_HEADER = struct.Struct("<BBHIIIII")
_PCM_BYTES = 2 * FRAME_SAMPLES
_TOKEN_BYTES = 2 * STREAMS
LATE = 1


def encode_blob(kind: int, data: bytes | memoryview) -> bytes:
    return bytes([kind]) + data


def decode_blob(kind: int, data: bytes) -> memoryview:
    if not data or data[0] != kind:
        raise ProtocolError(
            f"not a message of kind {kind}: {data[:1].hex() or 'empty'}"
        )
    return memoryview(data)[1:]


def log_bytes(frames: int, sound: int) -> int:
    return frames * _TOKEN_BYTES + sound * _PCM_BYTES


def encode_log(log: FrameLog, piece: int = MAX_MESSAGE - 1) -> Iterator[bytes]:
    """The log as messages of at most ``piece`` bytes, and one for the kind."""
    tokens = np.ascontiguousarray(log.tokens, "<u2").tobytes()
    sound = np.ascontiguousarray(log.user_pcm, "<i2").tobytes()
    data = memoryview(tokens + sound)
    for start in range(0, len(data), piece):
        yield encode_blob(LOG, data[start : start + piece])


def decode_log(frames: int, sound: int, data: bytes | bytearray) -> FrameLog:
    """From the joined pieces, ``log_bytes`` long."""
    tokens = np.frombuffer(data, "<u2", frames * STREAMS)
    pcm = np.frombuffer(data, "<i2", sound * FRAME_SAMPLES, frames * _TOKEN_BYTES)
    return FrameLog(
        tokens.reshape(frames, STREAMS).astype(np.uint16, copy=False),
        pcm.reshape(sound, FRAME_SAMPLES).astype(np.int16, copy=False),
    )


@dataclass(frozen=True)
class UserFrame:
    seq: int
    pcm: NDArray[np.int16]  # [1920]

    def encode(self) -> bytes:
        header = _USER_HEADER.pack(USER_FRAME, 0, 0, self.seq)
        return header + self.pcm.astype("<i2", copy=False).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> UserFrame:
        if len(data) != _USER_HEADER.size + _PCM_BYTES or data[0] != USER_FRAME:
            raise ProtocolError(f"not a user frame: {len(data)} bytes")
        _, _, _, seq = _USER_HEADER.unpack_from(data)
        return cls(seq, np.frombuffer(data, "<i2", offset=_USER_HEADER.size))


def encode_agent_frame(result: FrameResult) -> bytes:
    piece = result.piece.encode()
    header = _AGENT_HEADER.pack(
        AGENT_FRAME,
        LATE if result.late else 0,
        len(piece),
        result.dropped,
        result.frame,
        result.seq,
        result.queue_us,
        result.tick_us,
    )
    tokens = result.tokens.astype("<u2", copy=False).tobytes()
    return header + tokens + piece + result.pcm.astype("<i2", copy=False).tobytes()


def decode_agent_frame(data: bytes) -> FrameResult:
    if len(data) < _AGENT_HEADER.size or data[0] != AGENT_FRAME:
        raise ProtocolError(f"not an agent frame: {len(data)} bytes")
    _, flags, piece_bytes, dropped, frame, seq, queue_us, tick_us = (
        _AGENT_HEADER.unpack_from(data)
    )
    piece_at = _AGENT_HEADER.size + _TOKEN_BYTES
    pcm_at = piece_at + piece_bytes
    if len(data) != pcm_at + _PCM_BYTES:
        raise ProtocolError(f"agent frame of {len(data)} bytes")
    return FrameResult(
        frame=frame,
        seq=seq,
        dropped=dropped,
        queue_us=queue_us,
        tick_us=tick_us,
        late=bool(flags & LATE),
        tokens=np.frombuffer(data, "<u2", STREAMS, _AGENT_HEADER.size),
        piece=data[piece_at:pcm_at].decode(errors="replace"),
        pcm=np.frombuffer(data, "<i2", FRAME_SAMPLES, pcm_at),
    )
