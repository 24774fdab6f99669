"""Recordings of several channels: which one a voice is made of, and what is said."""

import io

import numpy as np
import pytest

from personas.channels import LEFT, MIXED, RIGHT, one_channel
from personas.decoding import decode
from tests import sounds

SECOND = 24_000


@pytest.fixture(scope="module")
def speech():
    return sounds.speech(8).astype(np.float32)


def turns(speech, bleed=0.0):
    """Two people in turns of two seconds, a microphone each [2, n]."""
    first = np.arange(len(speech)) // (2 * SECOND) % 2 == 0
    left, right = np.where(first, speech, 0), np.where(first, 0, speech)
    return np.stack([left + bleed * right, right + bleed * left]).astype(np.float32)


def test_opposite_polarity_is_noticed_and_one_channel_taken(speech):
    one = one_channel(np.stack([speech, -0.8 * speech]))
    assert np.array_equal(one.sound, speech)
    assert "opposite polarity" in one.note
    assert "left channel alone" in one.note


def test_opposite_polarity_is_noticed_in_every_part_of_a_file(speech):
    pair = np.stack([speech, -speech])
    data = sounds.encode(pair, "flac", layout="stereo")
    one = decode(io.BytesIO(data), 60)
    assert np.std(one.sound) == pytest.approx(np.std(speech), rel=0.05)
    assert "opposite polarity" in one.note


@pytest.mark.parametrize("wanted", ["", MIXED])
def test_what_would_cancel_is_never_mixed(speech, wanted):
    assert np.std(one_channel(np.stack([-speech, speech]), wanted).sound) > 0.01


def test_ordinary_stereo_is_mixed_without_a_word(speech):
    room = 0.3 * np.random.default_rng(1).standard_normal((2, len(speech)))
    for pair in (
        [speech, speech],
        [speech, 0.4 * speech],  # nearer to one microphone
        [speech, np.zeros_like(speech)],  # one cable
        [speech, np.roll(speech, 20)],  # 0.8 ms apart
        speech + np.std(speech) * room,
    ):
        one = one_channel(np.asarray(pair, np.float32))
        assert one.note == ""
        assert np.allclose(one.sound, np.mean(pair, axis=0), atol=1e-6)


def test_two_people_who_are_not_alike_but_speak_at_once_are_mixed(speech):
    other = np.roll(speech, 3 * SECOND)
    assert one_channel(np.stack([speech, other])).note == ""


@pytest.mark.parametrize("bleed", [0.0, 0.1, 0.2])
def test_one_speaker_per_channel_is_said_and_one_is_taken(speech, bleed):
    pair = turns(speech, bleed)
    pair[1, 6 * SECOND :] = 0  # the right one speaks less
    one = one_channel(pair)
    assert np.array_equal(one.sound, pair[0])
    assert "Each channel of this recording holds another speaker" in one.note
    assert "left: " in one.note


def test_the_channel_that_was_asked_for_is_taken(speech):
    pair = turns(speech)
    assert np.array_equal(one_channel(pair, LEFT).sound, pair[0])
    assert np.array_equal(one_channel(pair, RIGHT).sound, pair[1])
    mixed = one_channel(pair, MIXED)
    assert np.allclose(mixed.sound, pair.mean(axis=0))
    assert mixed.note == ""


def test_one_channel_is_what_it_is_whatever_was_asked_for(speech):
    for wanted in ("", MIXED, LEFT, RIGHT):
        assert np.array_equal(one_channel(speech[None], wanted).sound, speech)


def test_four_microphones_of_four_people_are_named(speech):
    quarter = len(speech) // 4
    four = np.zeros((4, len(speech)), np.float32)
    for c in range(4):
        four[c, c * quarter : (c + 1) * quarter] = speech[:quarter]
    note = one_channel(four).note
    assert "first: 2 s" in note
    assert "4th: 2 s" in note


def test_unrelated_channels_are_no_cancellation():
    noise = np.random.default_rng(1).standard_normal((8, 5 * SECOND))
    assert one_channel(noise.astype(np.float32)).note == ""
