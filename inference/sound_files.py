"""Sound files that the person at the command line names: any format in, WAV out.

Converts files to 24 kHz mono and back. Not for uploads: here every format that FFmpeg
knows is tried.
"""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from inference.errors import PersonaplexError
from inference.timing import SAMPLE_RATE

Sound = NDArray[np.float32]  # [n], 24 kHz mono, full scale ±1
VOICE_LUFS = -24.0  # what voice prompts are made of (spec 9.3)
MAX_SECONDS = 4 * 3600
BLOCK_SECONDS = 0.4  # of the loudness measure; shorter sound has none


class SoundFileError(PersonaplexError):
    code = "sound_file"
    text = "Give a sound file that FFmpeg can read, with at least one sample in it."


def read_sound(path: Path, part: tuple[int, int] | None = None) -> Sound:
    """The first channel, as the reference takes it, at 24 kHz. ``part``: first byte and
    number of bytes of a sound file that lies within ``path``."""
    try:
        source = str(path) if part is None else BytesIO(_part_of(path, *part))
        with av.open(source, "r", metadata_errors="replace") as container:
            if not container.streams.audio:
                raise SoundFileError(f"{path} has no sound track")
            stream = container.streams.audio[0]
            pieces, rate, samples = [], 0, 0
            for frame in container.decode(stream):
                pieces.append(_first_channel(frame))
                rate, samples = rate or frame.sample_rate, samples + frame.samples
                if frame.sample_rate != rate or samples > MAX_SECONDS * rate:
                    raise SoundFileError(f"{path} changes its rate, or has no end")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SoundFileError(f"{path}: {error}") from error
    if not samples:
        raise SoundFileError(f"{path} holds no sound")
    sound = np.concatenate(pieces)
    if rate != SAMPLE_RATE:
        sound = soxr.resample(sound, rate, SAMPLE_RATE)
    return np.nan_to_num(sound, posinf=1.0, neginf=-1.0).astype(np.float32)


def _part_of(path: Path, first: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(first)
        return file.read(count)


def _first_channel(frame: AudioFrame) -> Sound:
    data = frame.to_ndarray()  # planar: [channels, n], packed: [1, n * channels]
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    samples = data[0]
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return samples.astype(np.float32)


def as_int16(sound: Sound) -> NDArray[np.int16]:
    """Rounded and clipped; 16-bit sound comes back as it was."""
    return np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)


def write_wav(path: Path, pcm: NDArray[np.int16]) -> None:
    try:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(pcm.astype("<i2").tobytes())
    except OSError as error:
        raise SoundFileError(
            f"{path}: {error.strerror}", text="Choose another --output."
        ) from error


def at_voice_loudness(sound: Sound) -> Sound:
    """At the loudness of every voice prompt; SoundFileError for silence."""
    import pyloudnorm

    loudness = -np.inf
    if len(sound) > BLOCK_SECONDS * SAMPLE_RATE:
        loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(sound)
    if not np.isfinite(loudness):
        raise SoundFileError(
            "the voice sample is silent or shorter than 0.4 s",
            text="Give 3 to 20 seconds of one person's speech as the voice.",
        )
    gain = 10.0 ** ((VOICE_LUFS - float(loudness)) / 20.0)
    return (sound * np.float32(gain)).astype(np.float32)
