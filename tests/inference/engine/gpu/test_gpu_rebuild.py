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
    (batch,) = made._batches
    lm, decoder = batch.lm, batch._decoder
    steps = [made.step({slot: frame})[slot] for frame in sound[:-1]]
    spoken = decoder.position[slot].clone(), decoder.buffer[slot].clone()
    steps.append(made.step({slot: sound[-1]})[slot])
    log = FrameLog(np.stack([step.tokens for step in steps]), sound)
    again = made.open(dataclasses.replace(config, log=log))
    while made.prime(again) > 1:
        pass
    # The first step, which is left, decodes what answered the log's last frame.
    assert decoder.position[again] == spoken[0]
    assert close(decoder.buffer[again], spoken[1], 1e-3)
    assert made.prime(again) == 0
    assert made.context_frames(again) == made.context_frames(slot) == 0
    for state in (lm.position, lm.row, lm.carry, lm.ring.pinned):
        assert torch.equal(state[slot], state[again])
    for layer in range(len(lm.ring.layers)):
        both = lm.ring.read(layer, slice(0, 2), lm.ring.context).float()
        assert close(both[:, again], both[:, slot], 0.05)
    encoder = batch._encoder
    assert encoder.position[slot] == encoder.position[again]
    assert close(encoder.buffer[again], encoder.buffer[slot], 1e-3)
    next_frame = speech(5, 1)[0]
    both = made.step({slot: next_frame, again: next_frame})
    assert both[slot].tokens[9:].tolist() == both[again].tokens[9:].tolist()


def close(found, wanted, share):
    return (found - wanted).abs().max() < share * wanted.abs().max()
