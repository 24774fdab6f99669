"""Encoding a voice: progress, content, and what is refused."""

import numpy as np
import pytest
import torch

from inference.engine.voice_encoding import VoiceEncoder
from inference.errors import VoicePromptError
from inference.network.timeline import rows_of_frames
from inference.prompts.voice_file import read_voice
from tests.inference.toys import toy_model

MODEL = toy_model()


def recording(samples, seed=1):
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (noise * 0.1).astype(np.float32)


def encoded(pcm):
    encoder, done = VoiceEncoder(MODEL, pcm), []
    while not done or done[-1] < 1:
        done.append(encoder.step())
    return encoder.result(), done


def test_the_prompt_is_made_of_the_recordings_codes_frame_by_frame():
    """The last frame is filled up with silence."""
    data, _ = encoded(recording(10 * 1920 + 100))
    voice = read_voice(data, MODEL.config)
    assert voice.frames == 11
    pcm = np.zeros(11 * 1920, dtype=np.float32)
    pcm[: 10 * 1920 + 100] = recording(10 * 1920 + 100)
    state, codes = MODEL.mimi.encoder_state(1), []
    with torch.inference_mode():
        for chunk in torch.from_numpy(pcm).view(11, 1, 1, 1920):
            codes.append(MODEL.mimi.encode_step(chunk, state)[0, :, 0])
        frames = MODEL.filler.voice_frames(torch.stack(codes))
        rows, _ = rows_of_frames(MODEL.config, frames)
        assert torch.equal(voice.embeddings, MODEL.lm.embed(rows[:-1]))


def test_progress_grows_to_one():
    _, done = encoded(recording(21 * 1920))
    assert done == sorted(done)
    assert len(done) == 11
    assert done[-1] == 1.0


def test_the_same_recording_gives_the_same_bytes():
    assert encoded(recording(9600))[0] == encoded(recording(9600))[0]


def test_no_result_before_the_end():
    encoder = VoiceEncoder(MODEL, recording(9600))
    with pytest.raises(RuntimeError):
        encoder.result()


@pytest.mark.parametrize(
    "pcm",
    [
        recording(0),
        recording(1920),
        recording(89 * 1920),
        recording(9600).reshape(2, -1),
        recording(9600) * np.nan,
    ],
    ids=["empty", "one frame", "too long", "stereo", "not numbers"],
)
def test_what_is_no_voice_is_refused(pcm):
    with pytest.raises(VoicePromptError) as error:
        VoiceEncoder(MODEL, pcm)
    assert "voice sample" in error.value.text
