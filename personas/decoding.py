"""From a hostile file to 24 kHz mono: nothing in it is believed.

Length, sample rate and channels are checked here; imports no models and no Django. The
type comes from the content (personas.formats), never from a file name. The demuxer is
named to FFmpeg and reads from an open file, so no playlist, image or network format is
ever tried, and little more than ``limit`` seconds are kept in memory. FFmpeg itself is
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
from personas.channels import AUTO, OneChannel, one_channel
from personas.errors import Damaged, NoSoundTrack, NotAudio, TooLong, UnknownFormat
from personas.formats import CODECS, container_format

MIN_RATE, MAX_RATE = 4_000, 384_000  # Hz; a header may claim anything
MAX_CHANNELS = 16
MAX_KEPT_CHANNELS = 8  # of more than that only the mean is kept
MAX_NOT_FINITE = 0.01  # of the samples: some recorders write a few such
LOUDEST = 1e9  # beyond it a sample in floating point is no sound; 16-bit steps are 3e4
BAD_PACKETS = 200  # decoding stops after so many in a row
# Seconds. Encoders add silence at both ends, to fill their first and last frames, and
# not every container says how much: 0.05 s with AAC or MP3 at 44.1 kHz, a quarter of a
# second at 8 kHz. So a recording of exactly the limit decodes to a little more.
LENGTH_TOLERANCE = 0.25

Channels = NDArray[np.float32]  # [c, n]


def decode(file: BinaryIO, limit: int, channel: str = AUTO) -> OneChannel:
    """One channel of the sound track, at most ``limit`` seconds of it: what is longer
    by no more than LENGTH_TOLERANCE is cut off there, beyond that it is TooLong.
    Decoded seconds count, whatever the header says; a file that breaks off is taken
    as far as it goes."""
    name = container_format(file)
    try:
        with av.open(file, "r", format=name, metadata_errors="replace") as container:
            return one_channel(_decode_container(container, limit), channel)
    except MemoryError:  # FFmpeg's is one of its errors, too
        raise
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise NotAudio(f"{name}: {error}") from error


def _decode_container(container: InputContainer, limit: int) -> Channels:
    if not container.streams.audio:
        raise NoSoundTrack(f"{container.format.name} without an audio stream")
    stream = container.streams.audio[0]
    codec = _codec_of(stream)
    stream.codec_context.thread_type = "NONE"
    announced = float(container.duration / av.time_base) if container.duration else 0.0
    kept = _Kept()
    most = limit + LENGTH_TOLERANCE
    for frame in _frames(container, stream):
        kept.add(frame)
        if kept.seconds > most:
            raise TooLong(announced if announced > most else None, limit)
    sound = kept.finish()[:, : limit * SAMPLE_RATE]
    if not sound.size:
        raise Damaged(f"{container.format.name}, {codec}: nothing could be decoded")
    return sound


def _codec_of(stream: AudioStream) -> str:
    """FFmpeg's name of it; UnknownFormat if it isn't taken."""
    context = stream.codec_context
    if context is None:
        raise UnknownFormat("a file whose sound has a codec that is not known here")
    if context.name in CODECS or context.name.startswith("pcm_"):
        return context.name
    name = context.codec.long_name or context.name
    raise UnknownFormat(f"a file whose sound has the codec {name}", context.name)


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


class _Kept:
    """Resamples frames as they come, each channel by itself."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._source = (0, 0)  # rate, channels
        self._channels = 0  # that are kept: those of the first frame
        self._resampler: soxr.ResampleStream | None = None
        self._pieces: list[Channels] = []
        self._samples = self._not_finite = 0

    def add(self, frame: AudioFrame) -> None:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if not MIN_RATE <= rate <= MAX_RATE or not 1 <= channels <= MAX_CHANNELS:
            raise NotAudio(f"{channels} channels at {rate} Hz")
        if not self._channels:
            self._channels = channels if channels <= MAX_KEPT_CHANNELS else 1
        if self._source != (rate, channels):
            self._flush()
            self._source = rate, channels
            kept = self._channels
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, kept, "float32")
        assert self._resampler is not None
        samples = _samples(frame)
        if channels != self._channels:  # changed within the file, or too many
            samples = np.tile(samples.mean(axis=0), (self._channels, 1))
        # Before resampling, which spreads each over its neighbours.
        self._samples += samples.size
        self._not_finite += int(np.count_nonzero(~np.isfinite(samples)))
        self._resample(samples)
        self.seconds += frame.samples / rate

    def finish(self) -> Channels:
        self._flush()
        if not self._pieces:
            return np.zeros((1, 0), np.float32)
        whole = np.concatenate(self._pieces, axis=1)
        self._pieces.clear()
        if self._not_finite > MAX_NOT_FINITE * self._samples:
            raise NotAudio("samples that are no numbers")
        np.nan_to_num(whole, copy=False, posinf=LOUDEST, neginf=-LOUDEST)
        return np.clip(whole, -LOUDEST, LOUDEST, out=whole)

    def _resample(self, samples: Channels, last: bool = False) -> None:
        assert self._resampler is not None
        given = np.ascontiguousarray(samples.T)  # [n, c]; of one channel [n]
        given = given[:, 0] if self._channels == 1 else given
        made = self._resampler.resample_chunk(given, last=last)
        self._pieces.append(made.reshape(-1, self._channels).T)

    def _flush(self) -> None:
        if self._resampler is not None:
            self._resample(np.zeros((self._channels, 0), np.float32), last=True)
            self._resampler = None


def _samples(frame: AudioFrame) -> Channels:
    """Full scale is ±1; only floating point may go beyond."""
    data = frame.to_ndarray()  # planar: [channels, n], packed: [1, n * channels]
    if data.dtype.kind == "u":
        samples = (data.astype(np.float32) - 128.0) / 128.0
    elif data.dtype.kind == "i":
        samples = data.astype(np.float32) / 2.0 ** (8 * data.dtype.itemsize - 1)
    else:
        samples = data.astype(np.float32)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return samples
