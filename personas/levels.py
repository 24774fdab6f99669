"""How loud a recording is from moment to moment, of samples alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL_SAMPLES = 480  # 20 ms at 24 kHz


def levels_db(sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS of every whole 20 ms of the last axis, in dB of full scale."""
    whole = sound.shape[-1] // LEVEL_SAMPLES * LEVEL_SAMPLES
    pieces = sound[..., :whole].reshape(*sound.shape[:-1], -1, LEVEL_SAMPLES)
    power = np.square(pieces, dtype=np.float64).mean(axis=-1)
    return 10 * np.log10(power + 1e-13)
