"""Speech is told from noise, and noise is taken with a warning."""

from pathlib import Path

import numpy as np
import pytest

from personas.decoding import decode
from personas.preparation import LEAST_VOICED, NO_VOICE_WARNING, prepare
from personas.voicing import voiced_share
from tests import sounds

RATE = 24_000
ROOT = Path(__file__).parents[2]
SPEECH = sorted(
    [*(ROOT / "static" / "samples").glob("*.flac"), *ROOT.glob("tests/data/*.flac")]
)


def noise(power=0.0, seconds=10):
    """White, and pink with ``power`` 0.5."""
    random = np.random.default_rng(3)
    hertz = np.maximum(np.fft.rfftfreq(seconds * RATE, 1 / RATE), 20)
    spectrum = np.fft.rfft(random.standard_normal(seconds * RATE)) / hertz**power
    sound = np.fft.irfft(spectrum)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.mark.parametrize("file", SPEECH, ids=lambda file: file.stem)
@pytest.mark.parametrize("noise_db", [-60, -10, -3])
def test_speech_has_a_voice_in_it_also_in_noise(file, noise_db):
    with file.open("rb") as opened:
        sound = decode(opened, 60).sound
    hiss = np.random.default_rng(1).standard_normal(len(sound))
    noisy = sound + hiss * sound.std() * 10 ** (noise_db / 20)
    assert voiced_share(noisy.astype(np.float32)) > 4 * LEAST_VOICED


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_noise_has_none_and_is_taken_with_a_warning(power):
    """10 s of pure noise became a voice without a word."""
    sound = noise(power)
    assert voiced_share(sound) < LEAST_VOICED / 2
    assert prepare(sound, 3, 12).warning == NO_VOICE_WARNING


def test_a_good_recording_has_no_warning():
    assert prepare(sounds.speech(), 3, 12).warning == ""
