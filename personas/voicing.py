"""How much of a sound repeats itself as a voice does. Arrays only; imports no Django.

A vowel repeats 75 to 400 times a second, noise does not. Measured by the
autocorrelation of what lies between 80 and 2,000 Hz, as the share of the loud moments.
Speech has 0.5 to 0.8, in noise as loud as itself still 0.2 and more; white and pink
noise less than 0.01, and a whisper 0.02. A hum or music repeats as well: this finds no
voice, only its absence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.timing import SAMPLE_RATE
from personas.levels import LEVEL_SAMPLES

WINDOW = 1024  # 43 ms: three periods of a low voice
PERIODS = slice(SAMPLE_RATE // 400, SAMPLE_RATE // 75)  # in samples
BAND = (80.0, 2_000.0)  # Hz: without mains hum and hiss
REPEATS = 0.6  # of the power, for a moment that counts as voiced
LOUD_BELOW_DB = 24.0  # the loud moments, below the loudest


def voiced_share(sound: NDArray[np.float32]) -> float:
    """0 to 1; of at least WINDOW samples."""
    pieces = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::LEVEL_SAMPLES]
    taper = np.hanning(WINDOW)
    frames = pieces * taper  # [n, WINDOW]
    power = np.square(frames).sum(axis=1)
    loud = power > np.percentile(power, 95) * 10 ** (-LOUD_BELOW_DB / 10)
    spectrum = np.fft.rfft(frames[loud], 2 * WINDOW, axis=1)
    hertz = np.fft.rfftfreq(2 * WINDOW, 1 / SAMPLE_RATE)
    spectrum[:, (hertz < BAND[0]) | (hertz > BAND[1])] = 0
    of_taper = np.maximum(_autocorrelation(np.fft.rfft(taper, 2 * WINDOW)), 1e-3)
    repeated = _autocorrelation(spectrum) / of_taper
    candidates = repeated[:, PERIODS]
    best = candidates.argmax(axis=1)
    # At the shortest period there may be no peak, but the slope of a slow movement.
    voiced = (candidates.max(axis=1) > REPEATS) & (best > 0)
    return float(voiced.mean()) if voiced.size else 0.0


def _autocorrelation(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    """1 at lag 0; [..., WINDOW]."""
    found = np.fft.irfft(np.abs(spectrum) ** 2, axis=-1)[..., :WINDOW]
    return found / np.maximum(found[..., :1], 1e-20)
