"""The fast engine opens sessions in the middle: its state is the state it had."""

import dataclasses

import numpy as np
import pytest
import torch

from inference.engine.api import FrameLog
from tests.inference.engine.gpu.test_gpu_engine import CONFIG, PLACES, engine
from tests.inference.engine.sessions import opened, speech


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pinned", [False, True])
def test_a_rebuilt_slot_holds_what_the_running_one_holds(place, pinned):
    """Context 60, and 50 frames after the prompt: the ring has wrapped. In bf16 a
    prefill rounds otherwise than steps, so the keys are close and the rest is equal."""
    made, sound = engine(place, slots=2), speech(4, 50)
    config = dataclasses.replace(CONFIG, pin_prompt=pinned)
    slot = opened(made, config)
    steps = [made.step({slot: frame})[slot] for frame in sound]
    log = FrameLog(np.stack([step.tokens for step in steps]), sound)
    again = opened(made, dataclasses.replace(config, log=log))
    assert made.context_frames(again) == made.context_frames(slot) == 0
    (batch,) = made._batches
    lm = batch.lm
    for state in (lm.position, lm.row, lm.carry, lm.ring.pinned):
        assert torch.equal(state[slot], state[again])
    for layer in range(len(lm.ring.layers)):
        both = lm.ring.read(layer, slice(0, 2), lm.ring.context).float()
        was, now = both[:, slot], both[:, again]
        assert (was - now).abs().max() < 0.05 * was.abs().max()
    for state in (batch._encoder, batch._decoder):
        assert state.position[slot] == state.position[again]
        was, now = state.buffer[slot], state.buffer[again]
        assert (was - now).abs().max() < 1e-3 * was.abs().max()
    next_frame = speech(5, 1)[0]
    both = made.step({slot: next_frame, again: next_frame})
    assert both[slot].tokens[9:].tolist() == both[again].tokens[9:].tolist()
    assert both[slot].piece == both[again].piece
