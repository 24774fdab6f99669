"""Small random checkpoints under the real names, and ours loaded with them."""

import dataclasses

import torch

from inference.network.config import FREE, USER
from inference.network.lm import LanguageModel
from inference.network.sampling import Sampler
from inference.network.stored import stored_tensors
from inference.network.timeline import rows_of_frames
from tests.inference.network.test_lm import random_checkpoint
from tests.inference.toys import toy_config


def small(context=24, depth_layers=2):
    """Dims 64 and 32, all 16 depth steps in the file: its configuration and tensors."""
    config = toy_config(context, steps_stored=16)
    depth = dataclasses.replace(config.depth, layers=depth_layers)
    config = dataclasses.replace(config, depth=depth)
    return config, random_checkpoint(config)


def loaded(config, tensors, dtype=torch.float32):
    lm = LanguageModel(config, dtype, embedding_dtype=dtype)
    for stored in stored_tensors(lm):
        if stored.target is not None:
            rows = tensors[stored.name][: stored.resident_rows]
            stored.target.copy_(rows.reshape(stored.target.shape))
    return lm


class Remembers(Sampler):
    """Greedy, and keeps the logits it chose from: [frame][stream]."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.seen = []

    def choose(self, stream, logits, draws):
        if stream == 0:
            self.seen.append([])
        self.seen[-1].append(logits[0].clone())
        return super().choose(stream, logits, draws)


def converse(lm, row, carry, start, embeddings, user, sampler=None, chunk=100):
    """Feed summed embeddings, then step the user's codes [n, 8] over the whole ring:
    text and agent codes [n, 9] of the frames that come out."""
    state = lm.state(1)
    for at in range(0, len(embeddings), chunk):
        lm.prefill(state, 0, embeddings[at : at + chunk], start + at)
    state.begin(0, row, carry)
    frame, said = torch.full((1, 17), FREE), []
    sampler = sampler or lm.sampler(1)
    for codes in user:
        frame[0, USER] = codes
        said.append(lm.step(state, frame, sampler)[1][0].tolist())
    return said


def after_prompt(lm, prompt, user, sampler=None, chunk=100):
    rows, carry = rows_of_frames(lm.config, prompt)
    return converse(lm, rows[-1], carry, 0, lm.embed(rows[:-1]), user, sampler, chunk)


def ulp(logits):
    """Of the largest of bf16 logits [..., V]: the unit in its last place, [..., 1]."""
    best = logits.float().amax(-1, keepdim=True)
    return torch.exp2(torch.floor(torch.log2(best.abs().clamp(min=2**-100))) - 7)


def ulps_apart(logits):
    """Between the best and the second best of bf16 logits [..., V]."""
    best, second = logits.float().topk(2).values.unbind(-1)
    return (best - second) / ulp(logits)[..., 0]
