"""The fast engine keeps the engine's promises; on a CPU with the plain path."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.gpu.engine import GpuEngine, without_weights
from inference.kernels import plain
from inference.kernels.packed import held_weights, pack_model
from inference.loading.checkpoint import BUILT_IN, Model
from inference.loading.filler_codes import find_filler_codes
from inference.network.config import TINY
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.prompts.tokenizer import Tokenizer
from tests.inference.engine import sessions
from tests.inference.engine.sessions import opened
from tests.inference.kernels.shapes import DEVICE, small_config
from tests.inference.toys import seeded

FRAMES = 30
PLACES = ["plain", pytest.param("fast", marks=pytest.mark.gpu)]
CONFIG = SessionConfig("a", "You are Ada.", sampling=Sampling(seed=3))


@functools.cache
def parts():
    config = dataclasses.replace(
        small_config(context=60), text_cardinality=TINY.text_cardinality
    )
    lm = LanguageModel(config, torch.bfloat16, DEVICE)
    lm.init_weights(seeded(7))
    mimi = Mimi(config.mimi)
    mimi.init_weights(seeded(8))
    mimi.eval().requires_grad_(False).to(DEVICE)
    path = BUILT_IN / TINY.name / TINY.tokenizer
    tokenizer = Tokenizer(path, config.text_cardinality)
    filler = find_filler_codes(config, mimi)
    whole = Model(config, lm, mimi, tokenizer, filler, "small", False)
    packed = pack_model(config, "bf16", held_weights(lm), DEVICE)
    return whole, packed


def engine(place, slots=3, **options):
    whole, packed = parts()
    ops = plain
    if place == "fast":
        from inference.kernels import fast as ops
    return GpuEngine(without_weights(whole, packed), packed, slots, ops=ops, **options)


def converse(made, config, sound):
    at = opened(made, config)
    said = [made.step({at: frame})[at] for frame in sound]
    made.close(at)  # the next one takes the same slot: on a CPU a row's sums know it
    return said


@pytest.mark.gpu  # the plain path promises nothing here
@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_a_session_says_in_company_what_it_says_alone(kv, place="fast"):
    sound = sessions.speech(1, FRAMES)
    alone = converse(engine(place, kv=kv), CONFIG, sound)
    shared = engine(place, kv=kv)
    first = opened(
        shared, SessionConfig("b", "You are Bob.", sampling=Sampling(seed=9))
    )
    second = opened(shared, CONFIG)
    together = []
    for n, frame in enumerate(sound):
        pcm = {second: frame}
        if n % 3:
            pcm[first] = sessions.speech(2, FRAMES)[n]
        together.append(shared.step(pcm)[second])
    for ours, theirs in zip(together, alone, strict=True):
        assert np.array_equal(ours.tokens, theirs.tokens)
        assert ours.piece == theirs.piece


@pytest.mark.parametrize("place", PLACES)
def test_a_cached_prompt_gives_what_a_fed_one_gives(place):
    sound = sessions.speech(3, 5)
    made = engine(place, kv="int8")
    fed = converse(made, CONFIG, sound)
    cached = converse(made, CONFIG, sound)
    assert made.prompt_stats().hits == 1
    assert [s.tokens.tolist() for s in cached] == [s.tokens.tolist() for s in fed]


@pytest.mark.parametrize("place", PLACES)
def test_a_pinned_prompt_stays_in_view(place):
    sound = sessions.speech(4, 60)  # beyond the context
    pinned = dataclasses.replace(CONFIG, pin_prompt=True)
    made = engine(place)
    kept, lost = converse(made, pinned, sound), converse(made, CONFIG, sound)
    said = [[s.tokens.tolist() for s in steps] for steps in (kept, lost)]
    assert said[0] != said[1]
    assert said[0][:10] == said[1][:10]


def test_it_begins_as_the_plain_engine_does():
    """Same weights, other roundings: the first frame's greedy choices are the same."""
    whole, _ = parts()
    config = dataclasses.replace(CONFIG, sampling=Sampling(greedy=True))
    sound = sessions.speech(5, 1)
    ours = converse(engine("plain"), config, sound)
    theirs = converse(Engine(whole, 3, width=3), config, sound)
    assert np.array_equal(ours[0].tokens, theirs[0].tokens)
