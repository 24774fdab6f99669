"""From a decoded sound to the sample that a voice is made of.

Whether a recording is silent, too short or clipped, which part of it is the best, and
its loudness. Arrays in, arrays out; imports no Django.

A sample is taken in this order: judge the whole, trim silence, choose the best
window, normalise to −24 LUFS (what the model was trained with), limit peaks.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
import pyloudnorm
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from personas.decoding import LENGTH_TOLERANCE
from personas.errors import Damaged, Silent, TooLittleSpeech, TooShort
from personas.levels import LEVEL_SAMPLES, levels_db
from personas.voicing import voiced_share

LOUDNESS = -24.0  # LUFS, spec 9.3
CEILING = 10 ** (-1 / 20)  # −1 dBFS
NOTHING_SECONDS = 0.1  # a header with hardly anything behind it
SILENT_DB = -55.0  # a recording whose loudest parts stay below has no voice in it
ACTIVE_BELOW_LOUD_DB = 24.0  # quieter than the loud parts by more: a pause, room noise
ACTIVE_MIN_DB = -60.0
MARGIN = 5  # level steps (100 ms) kept before and after the first and last sound
CLIPPED_AT = 0.985
CLIPPED_SHARE = 0.002
# Resampling and lossy codecs overshoot a little where a file was cut off; where much is
# above, nothing was cut off at full scale: floating point has no ceiling there.
OVERSHOOT, OVERSHOOT_SHARE = 1.2, 0.15  # of what is above the limit
CLIPPED_WARNING = (
    "This recording is overdriven: {share:.1%} of it is cut off at full level, and "
    "the voice will sound harsh. Speak a little farther from the microphone."
)
LEAST_VOICED = 0.05  # see personas.voicing for what speech and noise have
NO_VOICE_WARNING = (
    "No voice was found in this recording, which sounds like noise or a whisper. "
    "Listen to it before you use it."
)

Sound = NDArray[np.float32]  # [n], 24 kHz mono


@dataclass(frozen=True)
class Sample:
    pcm: Sound  # exactly what is in the FLAC: 16-bit steps
    warning: str

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


def prepare(sound: Sound, least: int, used: int) -> Sample:
    """Judge, trim, choose and normalise. ``least`` and ``used`` are seconds; what is
    shorter than ``least`` by no more than LENGTH_TOLERANCE is taken."""
    seconds = len(sound) / SAMPLE_RATE
    enough = least - LENGTH_TOLERANCE
    if seconds < NOTHING_SECONDS:
        raise Damaged(f"{len(sound)} samples")
    if seconds < enough:
        raise TooShort(seconds, least)
    sound = sound - np.float32(sound.mean())
    levels = levels_db(sound)
    loud = float(np.percentile(levels, 95))
    if loud < SILENT_DB:
        raise Silent(loud)
    active = levels > max(loud - ACTIVE_BELOW_LOUD_DB, ACTIVE_MIN_DB)
    speech = active.sum() * LEVEL_SAMPLES / SAMPLE_RATE
    if speech < least * 0.6:  # speech of 3 s has pauses in it
        raise TooLittleSpeech(seconds, speech, least)
    start, stop = _trimmed(active)
    if (stop - start) * LEVEL_SAMPLES < enough * SAMPLE_RATE:
        raise TooLittleSpeech(seconds, speech, least)
    start, stop = _best_window(active, levels, start, stop, used)
    chosen = sound[start * LEVEL_SAMPLES : stop * LEVEL_SAMPLES]
    chosen = chosen[: used * SAMPLE_RATE // FRAME_SAMPLES * FRAME_SAMPLES]
    warnings = filter(None, (_clipping(chosen), _voicelessness(chosen)))
    return Sample(_as_16_bit(normalise(_faded(chosen))), " ".join(warnings))


def normalise(sound: Sound) -> Sound:
    loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(
        sound.astype(np.float64)
    )
    if not np.isfinite(loudness):
        raise Silent(-120.0)
    return limit_peaks(sound * np.float32(10 ** ((LOUDNESS - loudness) / 20)))


def limit_peaks(sound: Sound) -> Sound:
    """No sample above the ceiling: gain dips 5 ms around a peak, smoothly."""
    if float(np.abs(sound).max()) <= CEILING:
        return sound
    width = SAMPLE_RATE // 200  # 5 ms
    gain = np.minimum(1.0, CEILING / np.maximum(np.abs(sound), 1e-9))
    padded = np.pad(gain, width, constant_values=1.0)
    lowest = sliding_window_view(padded, width + 1).min(axis=1)  # [n + width]
    window = np.hanning(width + 3)[1:-1]
    smooth = np.convolve(lowest, window / window.sum(), mode="valid")
    return (sound * smooth).astype(np.float32)


def to_flac(pcm: Sound) -> bytes:
    """FLAC, 24 kHz mono, 16 bit."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        steps = np.clip(np.rint(pcm * 32768), -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(steps[np.newaxis], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        fifo = av.AudioFifo()
        fifo.write(frame)
        for piece in fifo.read_many(4608, partial=True):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _trimmed(active: NDArray[np.bool_]) -> tuple[int, int]:
    sounding = np.flatnonzero(active)
    start, stop = int(sounding[0]) - MARGIN, int(sounding[-1]) + 1 + MARGIN
    return max(start, 0), min(stop, len(active))


def _best_window(
    active: NDArray[np.bool_],
    levels: NDArray[np.float64],
    start: int,
    stop: int,
    used: int,
) -> tuple[int, int]:
    """The ``used`` seconds with the most speech; among windows nearly as full, the
    one that begins and ends in the quietest places."""
    width = used * SAMPLE_RATE // LEVEL_SAMPLES
    if stop - start <= width:
        return start, stop
    sums = np.concatenate([[0], np.cumsum(active[start:stop])])
    fullness = sums[width:] - sums[:-width]  # of the window that begins at i
    begins = np.flatnonzero(fullness >= fullness.max() * 0.97)
    edges = levels[start + begins] + levels[start + begins + width - 1]
    begin = start + int(begins[np.argmin(edges)])
    return begin, begin + width


def _faded(sound: Sound) -> Sound:
    ramp = np.linspace(0, 1, SAMPLE_RATE // 100, dtype=np.float32)  # 10 ms
    sound = sound.copy()
    sound[: len(ramp)] *= ramp
    sound[-len(ramp) :] *= ramp[::-1]
    return sound


def _voicelessness(sound: Sound) -> str:
    """No refusal: a whisper has no pitch either."""
    return NO_VOICE_WARNING if voiced_share(sound) < LEAST_VOICED else ""


def _clipping(sound: Sound) -> str:
    """Flat tops: neighbouring samples both at the level where this file is cut."""
    size = np.abs(sound)
    top = float(size.max())
    if top < 0.5:
        return ""
    limit = min(CLIPPED_AT, top * CLIPPED_AT)
    above = float((size > OVERSHOOT).mean())
    if above > OVERSHOOT_SHARE * float((size > limit).mean()):
        limit = top * CLIPPED_AT
    at_top = size > limit
    share = float((at_top[1:] & at_top[:-1]).mean())
    return CLIPPED_WARNING.format(share=share) if share > CLIPPED_SHARE else ""


def _as_16_bit(sound: Sound) -> Sound:
    return (np.clip(np.rint(sound * 32768), -32768, 32767) / 32768).astype(np.float32)
