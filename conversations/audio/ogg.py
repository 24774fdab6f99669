"""Ogg Opus from packets that already exist, without encoding again.

Writes RFC 3533 pages, RFC 7845 headers and the stereo stream of both sides. It must not
depend on the database.

PyAV can't do it (tried with 18.1.0): its ``add_mux_stream`` has no way to give the Ogg
muxer the OpusHead, and writing the header fails with "Invalid data".

Both sides in one file need no encoder either: an Opus stream may carry two mono streams
as left and right (RFC 7845 5.1.1.2, mapping family 1 with two uncoupled streams). The
first packet of each pair is then self-delimited (RFC 6716 appendix B).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

from inference.timing import FRAME_MS

CLOCK = 48_000  # Hz: granule positions count at 48 kHz whatever was encoded
PACKET_TICKS = CLOCK * FRAME_MS // 1000
PRE_SKIP = 312  # ticks of codec delay: libopus and the browsers' encoders agree
PAGE_PACKETS = 12  # about one second: a reader seeks to within one page
_FIRST, _LAST = 2, 4  # header types
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def mux(packets: Iterable[bytes], serial: int) -> bytes:
    """An Ogg Opus file of mono packets of one frame each. They are taken one by one,
    so that the caller need not keep those that are in the file."""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, PRE_SKIP, CLOCK, 0, 0)
    return _file(head, packets, serial)


def mux_pair(left: Iterable[bytes], right: Iterable[bytes], serial: int) -> bytes:
    """A stereo file of two mono streams of the same length."""
    head = struct.pack("<8sBBHIhB", b"OpusHead", 1, 2, PRE_SKIP, CLOCK, 0, 1)
    mapping = bytes([2, 0, 0, 1])  # 2 streams, none coupled, left then right
    pairs = (self_delimited(a) + b for a, b in zip(left, right, strict=True))
    return _file(head + mapping, pairs, serial)


def _file(head: bytes, packets: Iterable[bytes], serial: int) -> bytes:
    tags = struct.pack("<8sI11sI", b"OpusTags", 11, b"personaplex", 0)
    file = BytesIO()
    file.write(_page(_FIRST, 0, serial, 0, [head]))
    # A page is written when the next one is there: the last one is marked.
    part, end, number = [tags], 0, 1
    for following in _paged(packets):
        file.write(_page(0, end * PACKET_TICKS, serial, number, part))
        part, end, number = following, end + len(following), number + 1
    file.write(_page(_LAST, end * PACKET_TICKS, serial, number, part))
    return file.getvalue()


def _paged(packets: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole packets for each page: about a second, at most 255 segments."""
    part: list[bytes] = []
    segments = 0
    for packet in packets:
        needed = len(packet) // 255 + 1
        if part and (len(part) == PAGE_PACKETS or segments + needed > 255):
            yield part
            part, segments = [], 0
        part.append(packet)
        segments += needed
    if part:
        yield part


def _page(
    kind: int, granule: int, serial: int, number: int, packets: Sequence[bytes]
) -> bytes:
    lacing = bytearray()
    for packet in packets:
        lacing += b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    header = struct.pack("<4sBBqIII", b"OggS", 0, kind, granule, serial, number, 0)
    page = header + bytes([len(lacing)]) + bytes(lacing) + b"".join(packets)
    return page[:22] + struct.pack("<I", checksum(page)) + page[26:]


def checksum(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial, but most significant bit first and from 0."""
    reflected = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "big").translate(_REVERSED), "little")


def self_delimited(packet: bytes) -> bytes:
    """The packet with the length of its last frame in it (RFC 6716 appendix B)."""
    code = packet[0] & 3
    body = packet[1:]
    if code == 0:
        return packet[:1] + _length(len(body)) + body
    if code == 1:
        return packet[:1] + _length(len(body) // 2) + body
    if code == 2:
        first, size = _read_length(packet, 1)
        rest = packet[1 + size :]
        return packet[: 1 + size] + _length(len(rest) - first) + rest
    return _self_delimited_many(packet)


def _self_delimited_many(packet: bytes) -> bytes:
    count, at, padding = packet[1] & 0x3F, 2, 0
    if packet[1] & 0x40:  # padding lengths: 255 means 254 and one more byte follows
        while packet[at] == 255:
            padding, at = padding + 254, at + 1
        padding, at = padding + packet[at], at + 1
    if not packet[1] & 0x80:  # all frames have the same length
        size = (len(packet) - at - padding) // count
        return packet[:at] + _length(size) + packet[at:]
    taken = 0
    for _ in range(count - 1):
        frame, size = _read_length(packet, at)
        taken, at = taken + frame, at + size
    last = len(packet) - at - padding - taken
    return packet[:at] + _length(last) + packet[at:]


def _length(size: int) -> bytes:
    """RFC 6716 3.2.1: one byte below 252, else two."""
    if size < 252:
        return bytes([size])
    low = 252 + (size & 3)
    return bytes([low, (size - low) >> 2])


def _read_length(packet: bytes, at: int) -> tuple[int, int]:
    """The length coded at that place, and how many bytes coded it."""
    if packet[at] < 252:
        return packet[at], 1
    return 4 * packet[at + 1] + packet[at], 2
