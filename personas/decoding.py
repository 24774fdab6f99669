"""From a hostile file to 24 kHz mono: nothing in it is believed.

Owns what is accepted (containers, codecs, seconds, rates). Knows no models, no
Django, and never sees a file name: the type comes from the content. The demuxer is
named to FFmpeg and reads from an open file, so no playlist, image or network format
is ever tried, and little more than ``limit`` seconds are ever held. FFmpeg itself is
bounded by decoding_apart, through which every upload goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from personas.errors import NoSoundTrack, NotAudio, TooLong

CODECS = frozenset({"flac", "mp3", "mp3float", "vorbis", "opus", "aac", "alac"})
LEAST_RATE, MOST_RATE = 4_000, 384_000  # Hz; a header may claim anything
MOST_CHANNELS = 16
HEAD_BYTES = 16
BAD_PACKETS = 200  # decoding stops after so many in a row
# Seconds. Encoders add silence at both ends, to fill their first and last frames, and
# not every container says how much: 0.05 s with AAC or MP3 at 44.1 kHz, a quarter of a
# second at 8 kHz. So a recording of exactly the limit decodes to a little more.
LENGTH_TOLERANCE = 0.25

Sound = NDArray[np.float32]  # [n], 24 kHz mono


def container_format(file: BinaryIO) -> str:
    """FFmpeg's name of the container by its first bytes; NotAudio if not accepted."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= 10:
        file.seek(10 + _id3_size(head[6:10]))
        head = file.read(HEAD_BYTES)
        found = "flac" if head[:4] == b"fLaC" else "mp3"
    elif head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        found = "wav"
    elif head[:4] == b"fLaC":
        found = "flac"
    elif head[:4] == b"OggS":
        found = "ogg"
    elif head[4:8] == b"ftyp":
        found = "mp4"
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        found = "matroska"
    elif _is_mp3_frame(head):
        found = "mp3"
    else:
        raise NotAudio(f"unknown first bytes {head[:8].hex()}")
    file.seek(0)
    return found


def _id3_size(four: bytes) -> int:
    return sum(
        (byte & 0x7F) << shift
        for byte, shift in zip(four, (21, 14, 7, 0), strict=False)
    )


def _is_mp3_frame(head: bytes) -> bool:
    """MPEG audio layer III: sync, no reserved version, bit rate or sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer == 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def decode(file: BinaryIO, limit: int) -> Sound:
    """The whole sound track, at most ``limit`` seconds of it: what is longer by no
    more than LENGTH_TOLERANCE is cut off there, beyond that it is TooLong. Decoded
    seconds count, whatever the header says; a file that breaks off is taken as far
    as it goes."""
    name = container_format(file)
    try:
        with av.open(file, "r", format=name, metadata_errors="replace") as container:
            return _decode_container(container, limit)
    except MemoryError:  # FFmpeg's is one of its errors, too
        raise
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise NotAudio(f"{name}: {error}") from error


def _decode_container(container: InputContainer, limit: int) -> Sound:
    if not container.streams.audio:
        raise NoSoundTrack(f"{container.format.name} without an audio stream")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name
    if codec not in CODECS and not codec.startswith("pcm_"):
        raise NotAudio(f"codec {codec}")
    stream.codec_context.thread_type = "NONE"
    announced = float(container.duration / av.time_base) if container.duration else 0.0
    mono = _Mono()
    most = limit + LENGTH_TOLERANCE
    for frame in _frames(container, stream):
        mono.add(frame)
        if mono.seconds > most:
            raise TooLong(announced if announced > most else None, limit)
    sound = mono.finish()[: limit * SAMPLE_RATE]
    if not len(sound):
        raise NotAudio(f"{container.format.name}, {codec}: nothing could be decoded")
    return sound


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Every frame that can be decoded; bad packets are skipped, endless ones end."""
    bad = 0
    packets = container.demux(stream)
    while bad < BAD_PACKETS:
        try:
            packet = next(packets)
            frames = packet.decode()
        except (StopIteration, av.error.EOFError):
            return
        except av.error.InvalidDataError:
            bad += 1
            continue
        if frames:
            bad = 0
        for frame in frames:
            if isinstance(frame, AudioFrame):
                yield frame


class _Mono:
    """Mixes frames down and resamples them as they come."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._pieces: list[Sound] = []

    def add(self, frame: AudioFrame) -> None:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not LEAST_RATE <= rate <= MOST_RATE or not 1 <= channels <= MOST_CHANNELS:
            raise NotAudio(f"{channels} channels at {rate} Hz")
        if rate != self._rate:
            self._flush()
            self._rate = rate
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")
        assert self._resampler is not None
        self._pieces.append(self._resampler.resample_chunk(_mix(frame)))
        self.seconds += frame.samples / rate

    def finish(self) -> Sound:
        self._flush()
        whole = np.concatenate(self._pieces) if self._pieces else np.zeros(0, "f4")
        return np.nan_to_num(whole, posinf=1.0, neginf=-1.0).astype(np.float32)

    def _flush(self) -> None:
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(np.zeros(0, "f4"), last=True)
            self._pieces.append(rest)
            self._resampler = None


def _mix(frame: AudioFrame) -> Sound:
    """Mean of the channels, full scale ±1."""
    data = frame.to_ndarray()  # planar: [channels, n], packed: [1, n * channels]
    if data.dtype.kind == "u":
        samples = (data.astype(np.float32) - 128.0) / 128.0
    elif data.dtype.kind == "i":
        samples = data.astype(np.float32) / 2.0 ** (8 * data.dtype.itemsize - 1)
    else:
        samples = data.astype(np.float32)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return np.ascontiguousarray(samples.mean(axis=0))
