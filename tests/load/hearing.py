"""What a person at the page would have heard: delay and gaps, from the sound itself.

A sound whose delay can be measured anywhere in it, and the reading of recordings of
microphone and loudspeaker on one clock. It needs no browser.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MICROPHONE_RATE = 48_000
LOOP_SECONDS = 30  # then the microphone's sound comes again
GAP_SECONDS = 0.06
SILENT = 10 ** (-50 / 20)  # full scale is 1; the sound itself is at −15 dB
_WINDOW, STEP = 0.5, 0.25  # seconds that a delay is measured on, and how often
_LONGEST = 8.0  # seconds of delay that are looked for
_SURE = 0.5  # normalised correlation: beyond this it is the same sound

Samples = NDArray[np.float32]


def wandering_tone(seconds: int = LOOP_SECONDS, seed: int = 0) -> Samples:
    """A tone that never stops and whose pitch wanders at random between 400 and
    3,000 Hz: Opus carries it, and no half second of it is like another."""
    n = seconds * MICROPHONE_RATE
    knots = np.random.default_rng(seed).uniform(400, 3_000, 10 * seconds)
    knots = np.append(knots, knots[0])  # it ends where it begins
    pitch = np.interp(np.arange(n) / n, np.linspace(0, 1, len(knots)), knots)
    cycles = np.cumsum(pitch) / MICROPHONE_RATE
    phase = 2 * np.pi * cycles * round(cycles[-1]) / cycles[-1]
    return (0.25 * np.sin(phase)).astype(np.float32)


def write_wav(path: Path, sound: Samples, rate: int = MICROPHONE_RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * sound).astype("<i2").tobytes())
    return path


@dataclass(frozen=True)
class Tape:
    """Microphone and loudspeaker, recorded together."""

    rate: float
    mic: Samples
    out: Samples

    @property
    def seconds(self) -> float:
        return len(self.out) / self.rate

    def delays(self) -> list[tuple[float, float]]:
        """(seconds, delay in ms) wherever it can be measured: how much earlier the
        microphone had what is heard at that time."""
        window, step = int(_WINDOW * self.rate), int(STEP * self.rate)
        found = []
        for begin in range(0, len(self.out) - window, step):
            delay = self._delay(begin, window)
            if delay is not None:
                found.append(((begin + window / 2) / self.rate, delay))
        return found

    def _delay(self, begin: int, window: int) -> float | None:
        heard = self.out[begin : begin + window].astype(np.float64)
        first = max(0, begin - int(_LONGEST * self.rate))
        said = self.mic[first : begin + window].astype(np.float64)
        power = float(np.dot(heard, heard))
        if len(said) < window or power < window * SILENT**2:
            return None
        size = 1 << int(np.ceil(np.log2(len(said) + window)))
        spectrum = np.fft.rfft(said, size) * np.conj(np.fft.rfft(heard, size))
        products = np.fft.irfft(spectrum, size)[: len(said) - window + 1]
        sums = np.concatenate([[0.0], np.cumsum(said**2)])
        powers = sums[window:] - sums[:-window]
        likeness = products / np.sqrt(np.maximum(powers, 1e-9) * power)
        best = int(np.argmax(likeness))
        if likeness[best] < _SURE:
            return None
        return 1000 * (begin - first - best) / self.rate

    def gaps(self) -> list[tuple[float, float]]:
        """(seconds, length in s) of every silence longer than GAP_SECONDS, between
        the first sound and the last. Only for a microphone that never is silent."""
        block = max(1, int(0.005 * self.rate))
        n = len(self.out) // block
        loud = np.sqrt((self.out[: n * block].reshape(n, block) ** 2).mean(1)) > SILENT
        edges = np.flatnonzero(loud)
        between = np.diff(edges)
        found = []
        for index in np.flatnonzero(between > 1):
            length = (between[index] - 1) * block / self.rate
            if length > GAP_SECONDS:
                found.append(((edges[index] + 1) * block / self.rate, float(length)))
        return found

    def part(self, begin: float, end: float) -> Tape:
        cut = slice(int(begin * self.rate), int(end * self.rate))
        return Tape(self.rate, self.mic[cut], self.out[cut])


def median_delay(
    delays: list[tuple[float, float]], begin: float, end: float
) -> float | None:
    values = [delay for at, delay in delays if begin <= at < end]
    return round(float(np.median(values)), 1) if values else None
