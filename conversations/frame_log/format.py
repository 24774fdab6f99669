"""The stored format of the frame log: the columns of a FrameChunk, packed and unpacked.

Nothing but bytes and arrays: no database and no sockets. Every column of ``n`` frames
is little-endian:

==============  ===================================================================
tokens          uint16 [n, 17]
user_packets    every user packet *received*, answered or not: u32 seq, u8 flags,
                u16 length, Opus. A chunk holds those up to its last frame; those that
                were not answered when a process let go of the conversation are in a
                chunk of no frames.
agent_packets   one per frame: u16 length, Opus
timings         TIMING [n]
pieces          [[frame, piece], …] (JSON, only the frames that spoke text)
client_stats    [[frame, {name: value}], …] (JSON, what the browser measured)
==============  ===================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.timing import STREAMS

TIMING = np.dtype(
    [
        ("seq", "<u4"),  # of the user frame that this frame answers
        ("received_ms", "<u4"),  # its packet's arrival, since ready
        ("dropped", "<u2"),  # user frames the worker dropped just before
        ("flags", "u1"),  # MUTED | LATE | DROPPED | GAP
        ("reserved", "u1"),
        ("decode_us", "<u2"),
        ("encode_us", "<u2"),
        ("queue_us", "<u4"),  # in the worker: from push to the start of the tick
        ("tick_us", "<u4"),
        ("worker_us", "<u4"),  # site → worker → site
        ("path_us", "<u4"),  # packet in → packet out
    ]
)
MUTED = 1  # the browser said that this user frame is silence
LATE = 2  # the worker took longer than one frame
DROPPED = 4  # the worker dropped user frames just before this one
GAP = 8  # microphone frames are missing just before this one
# The user frame was pushed by an earlier process of the conversation: its way was not
# measured, and if that process was killed its packet is not in the log.
RESENT = 16

_USER = struct.Struct("<IBH")
_LENGTH = struct.Struct("<H")


class FrameLogError(ValueError):
    """A stored column that can't be what was written."""


class FrameLogTooLong(FrameLogError):
    """Beyond what is read at once: see conversations.frame_log.reader."""


@dataclass(frozen=True, slots=True)
class UserPacket:
    seq: int
    flags: int
    packet: bytes


def pack_tokens(rows: Sequence[NDArray[np.uint16]]) -> bytes:
    return b"".join(row.astype("<u2", copy=False).tobytes() for row in rows)


def unpack_tokens(data: bytes) -> NDArray[np.uint16]:
    """uint16 [n, 17]."""
    if len(data) % (2 * STREAMS):
        raise FrameLogError(f"{len(data)} bytes are no whole number of token rows")
    return np.frombuffer(data, "<u2").reshape(-1, STREAMS)


def pack_timings(rows: Sequence[tuple[int, ...]]) -> bytes:
    return np.array(rows, TIMING).tobytes()


def unpack_timings(data: bytes) -> NDArray[np.void]:
    if len(data) % TIMING.itemsize:
        raise FrameLogError(f"{len(data)} bytes are no whole number of timings")
    return np.frombuffer(data, TIMING)


def pack_agent_packets(packets: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(packet)) + packet for packet in packets)


def unpack_agent_packets(data: bytes) -> list[bytes]:
    packets, at = [], 0
    while at < len(data):
        length, at = _header(_LENGTH, data, at)
        packets.append(_payload(data, at, length))
        at += length
    return packets


def pack_user_packets(packets: Sequence[UserPacket]) -> bytes:
    return b"".join(
        _USER.pack(user.seq, user.flags, len(user.packet)) + user.packet
        for user in packets
    )


def unpack_user_packets(data: bytes) -> list[UserPacket]:
    packets, at = [], 0
    while at < len(data):
        seq, flags, length, at = _header(_USER, data, at)
        packets.append(UserPacket(seq, flags, _payload(data, at, length)))
        at += length
    return packets


def _header(layout: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if at + layout.size > len(data):
        raise FrameLogError(f"the packets break off inside a header at byte {at}")
    return *layout.unpack_from(data, at), at + layout.size


def _payload(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise FrameLogError(f"the packets break off inside a packet at byte {at}")
    return bytes(data[at : at + length])


def saturate(value: float, bits: int) -> int:
    """A measured time as an unsigned field of that many bits."""
    return max(0, min(int(value), (1 << bits) - 1))
