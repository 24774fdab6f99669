"""The plain engine's step as one graph; here, without a GPU, as one call."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.gpu.captured import CapturedSlotBatch
from inference.engine.torch_batch import TorchSlotBatch
from inference.network.lm import LanguageModel
from tests.inference.engine.gpu.test_gpu_engine import parts
from tests.inference.engine.sessions import opened, same, speech
from tests.inference.kernels.shapes import DEVICE
from tests.inference.toys import seeded, toy_model

CONFIG = SessionConfig("a", "You are Ada.", sampling=Sampling(seed=3))


@pytest.mark.parametrize("width", [1, 3])
def test_it_says_what_the_plain_engine_says(width):
    sound, others = speech(1, 12), speech(2, 12)
    said = []
    for kind in (TorchSlotBatch, CapturedSlotBatch):
        made = Engine(toy_model(), 3, width=width, new_batch=kind)
        first, second = opened(made, CONFIG), opened(made, CONFIG)
        steps = []
        for n, frame in enumerate(sound):
            pcm = {second: frame} if n % 3 == 0 else {first: others[n], second: frame}
            steps.append(made.step(pcm)[second])
        said.append(steps)
    # One row alone may read less of the ring than a graph does: sums differ.
    for ours, theirs in zip(*said, strict=True):
        assert np.array_equal(ours.tokens, theirs.tokens)
        assert width == 1 or same(ours, theirs)


@pytest.mark.gpu
def test_a_graph_says_what_its_launches_say():
    """In fp32: libraries choose other products under capture, and in bf16 that tips
    the scales between two tokens."""
    whole, _ = parts()
    lm = LanguageModel(whole.config, torch.float32, DEVICE)
    lm.init_weights(seeded(7))
    config = replace(CONFIG, sampling=Sampling(greedy=True))
    said = []
    for captured in (True, False):
        made = Engine(replace(whole, lm=lm), 3, new_batch=CapturedSlotBatch)
        (batch,) = made._batches
        assert isinstance(batch, CapturedSlotBatch) and batch._graph is not None
        if not captured:
            batch._graph = None
        slot = opened(made, config)
        said.append([made.step({slot: frame})[slot] for frame in speech(1, 12)])
    for ours, theirs in zip(*said, strict=True):
        assert np.array_equal(ours.tokens, theirs.tokens)
        difference = ours.pcm.astype(int) - theirs.pcm.astype(int)
        assert abs(difference).max() < 10
