import io

import numpy as np
import pyloudnorm
import pytest

from personas.decoding import decode
from personas.errors import NotAudio, Silent, TooLittleSpeech, TooShort
from personas.preparation import CEILING, prepare, to_flac
from tests import sounds


def prepared(sound, least=3, used=12):
    return prepare(np.asarray(sound, np.float32), least, used)


def loudness(pcm):
    return pyloudnorm.Meter(24_000).integrated_loudness(pcm.astype(float))


@pytest.mark.parametrize("gain", [0.02, 0.3, 1.0])
def test_any_level_becomes_minus_24_lufs(gain):
    sample = prepared(gain * sounds.speech(8))
    assert loudness(sample.pcm) == pytest.approx(-24, abs=0.1)
    assert sample.warning == ""


def test_peaks_stay_below_full_scale():
    sound = sounds.speech(8)
    sound[::6000] = 1.0  # clicks far above the speech
    sound = np.where(np.arange(len(sound)) % 6000 == 0, 1.0, 0.05 * sound)
    assert np.abs(prepared(sound).pcm).max() <= CEILING + 1 / 32768


def test_it_refuses_a_recording_shorter_than_three_seconds():
    with pytest.raises(TooShort) as caught:
        prepared(sounds.speech(1.2))
    assert "1.2 s long; a voice sample needs at least 3 s" in caught.value.text


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_it_refuses_silence_and_says_its_level(level):
    noise = level * np.random.default_rng(3).standard_normal(24_000 * 6)
    with pytest.raises(Silent) as caught:
        prepared(noise)
    assert "Check the microphone" in caught.value.text


def test_one_click_in_silence_is_silence():
    sound = sounds.silence(8)
    sound[30_000:30_100] = 0.9
    with pytest.raises(Silent):
        prepared(sound)


def test_a_little_less_than_the_least_is_taken():
    """An encoding of exactly three seconds may lose a frame."""
    assert prepared(sounds.speech(2.9)).seconds == pytest.approx(2.9, abs=0.1)
    with pytest.raises(TooShort):
        prepared(sounds.speech(2.7))


def test_it_refuses_a_second_of_voice_in_a_long_pause():
    sound = np.concatenate([sounds.silence(4), sounds.speech(1), sounds.silence(4)])
    with pytest.raises(TooLittleSpeech) as caught:
        prepared(sound)
    assert "of these 9.0 s have a voice in them" in caught.value.text


def test_silence_around_the_voice_is_trimmed():
    sound = np.concatenate([sounds.silence(5), sounds.speech(6), sounds.silence(5)])
    assert prepared(sound).seconds == pytest.approx(6, abs=0.5)


def test_the_fullest_part_of_a_long_recording_is_used():
    sparse = np.concatenate([sounds.speech(1), sounds.silence(1.5)] * 6)
    dense = np.tile(sounds.speech(2.5)[36_000:], 12)  # no pause in this second
    sample = prepared(np.concatenate([sparse, dense, sparse[:120_000]]))
    assert sample.seconds == 12
    assert speaking(sample.pcm) > speaking(prepared(sparse).pcm) + 0.2
    assert speaking(sample.pcm) > speaking(prepared(dense).pcm) - 0.05


def speaking(pcm):
    """Share of tenths of a second with sound in them."""
    return (np.abs(pcm).reshape(-1, 2400).max(axis=1) > 0.01).mean()


def test_clipping_is_reported_and_no_reason_to_refuse():
    clipped = np.clip(30 * sounds.speech(6), -1, 1)
    sample = prepared(clipped)
    assert "overdriven" in sample.warning
    assert prepared(sounds.speech(6)).warning == ""


def test_a_constant_offset_is_no_sound():
    with pytest.raises(Silent):
        prepared(np.full(24_000 * 6, 0.5))


def test_the_kept_flac_is_exactly_what_was_encoded():
    sample = prepared(sounds.speech())
    assert np.array_equal(decode(io.BytesIO(to_flac(sample.pcm)), 60).sound, sample.pcm)


@pytest.mark.parametrize("peak", [1.2, 2.0, 4.0, 32_768.0])
def test_floating_point_above_full_scale_is_no_clipping(peak):
    speech = sounds.speech(6)
    sample = prepared(peak / np.abs(speech).max() * speech)
    assert sample.warning == ""
    assert loudness(sample.pcm) == pytest.approx(-24, abs=0.1)


def test_floating_point_that_was_cut_off_above_full_scale_is_clipping():
    clipped = 4 * np.clip(30 * sounds.speech(6), -1, 1)
    assert "overdriven" in prepared(clipped).warning


@pytest.mark.parametrize("kind", ["mp3", "m4a", "ogg", "flac"])
def test_clipping_is_reported_through_every_codec(kind):
    """They overshoot full scale where the sound was cut off."""
    clipped = np.clip(30 * sounds.speech(6), -1, 1)
    sound = decode(io.BytesIO(sounds.encode(clipped, kind)), 60).sound
    assert "overdriven" in prepared(sound).warning


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_floating_point_that_is_no_number_is_no_voice(value):
    sound = sounds.speech(6)
    sound[1000:1100] = value
    data = sounds.encode(sound, "floating point", source_rate=48_000)
    decoded = decode(io.BytesIO(data), 60).sound
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max() <= 1e9


def test_a_file_of_nothing_but_infinity_is_no_recording():
    data = sounds.encode(
        np.full(6 * 24_000, np.inf, np.float32), "floating point", source_rate=48_000
    )
    with pytest.raises(NotAudio):
        decode(io.BytesIO(data), 60)
