"""Holding conversations with an engine in tests."""

import numpy as np
import torch

from inference.network.config import TEXT


def speech(seed, frames):
    """A user's frames, int16 [frames, 1920]."""
    noise = np.random.default_rng(seed).standard_normal((frames, 1920))
    return (noise * 3000).astype(np.int16)


def opened(engine, config):
    slot = engine.open(config)
    while engine.prime(slot):
        pass
    return slot


def choose_text(engine, token):
    """As if the newest step of the first slot had chosen this text token."""
    with torch.inference_mode():
        engine._batches[0]._chosen[0, TEXT] = token


def same(a, b):
    return (
        np.array_equal(a.tokens, b.tokens)
        and a.piece == b.piece
        and np.array_equal(a.pcm, b.pcm)
    )


def voice_of(engine, sound):
    """The .pt of a recording, int16 frames."""
    encoder = engine.voice_encoder(sound.ravel().astype(np.float32) / 2**15)
    while encoder.step() < 1:
        pass
    return encoder.result()
