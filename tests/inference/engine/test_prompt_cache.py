"""Persona prompts prefilled once: the same conversation, and a bound on memory."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.prompt_cache import PromptCache
from tests.inference.engine.sessions import opened, same, speech, voice_of
from tests.inference.toys import toy_model

MODEL = toy_model(context=120)
ROLE = "You are Ada, who is kind."
SOUND = speech(1, 30)


def engine(width=1, megabytes=64):
    return Engine(MODEL, 4, width=width, prompt_cache_mb=megabytes)


@pytest.fixture(scope="module")
def voices():
    return [voice_of(engine(), speech(seed, 20)) for seed in (5, 6)]


def config(voice=None, role=ROLE, seed=3):
    return SessionConfig("a", role, voice, Sampling(seed=seed))


def conversation(engine, config):
    slot = opened(engine, config)
    steps = [engine.step({slot: frame})[slot] for frame in SOUND]
    engine.close(slot)
    return steps


@pytest.mark.parametrize("width", [1, 4])
def test_a_cached_persona_says_what_a_fresh_one_says(width, voices):
    """Bit for bit, on another slot, after others were there."""
    made = engine(width)
    first = conversation(made, config(voices[0]))
    opened(made, config(voices[1], "Be short."))
    again = conversation(made, config(voices[0]))
    assert all(map(same, first, again))
    stats = made.prompt_stats()
    assert (stats.hits, stats.misses, stats.entries) == (1, 2, 2)


class NoProducts(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert not any(kind in name for kind in ("mm", "linear", "attention")), name
        return func(*args, **(kwargs or {}))


def test_a_cached_persona_is_not_fed_to_the_network(voices):
    made = engine()
    slot = made.open(config(voices[0]))
    with NoProducts(), pytest.raises(AssertionError):
        made.prime(slot)
    made.close(slot)
    made.close(opened(made, config(voices[0])))
    slot = made.open(config(voices[0]))
    with NoProducts():
        assert made.prime(slot) == 1
    assert made.prime(slot) == 0  # the first step
    assert made.context_frames(slot) == 120 - made.prompt_frames(slot)


def test_personas_that_differ_in_one_thing_share_nothing(voices):
    """In the voice, in the role prompt, in having a voice at all."""
    configs = [
        config(voices[0]), config(voices[1]), config(), config(voices[0], "Say no."),
    ]  # fmt: skip
    alone = [conversation(engine(), one) for one in configs]
    made = engine()
    for _ in range(2):
        for one, expected in zip(configs, alone, strict=True):
            assert all(map(same, conversation(made, one), expected))
    assert len({steps[-1].pcm.tobytes() for steps in alone}) == len(configs)
    assert made.prompt_stats().hits == len(configs)


def test_sampling_is_no_part_of_a_persona(voices):
    made = engine()
    conversation(made, config(voices[0], seed=1))
    second = conversation(made, config(voices[0], seed=2))
    assert made.prompt_stats().hits == 1
    assert all(map(same, second, conversation(engine(), config(voices[0], seed=2))))


def test_a_conversation_leaves_the_kept_prompt_as_it_was():
    """It slides over its own copy: 120 frames of context, 160 frames of talk."""
    made = engine()
    slot = opened(made, config())
    for frame in speech(2, 160):
        made.step({slot: frame})
    again = conversation(made, config())
    assert all(map(same, again, conversation(engine(), config())))


def test_an_engine_without_memory_for_it_keeps_nothing():
    made = engine(megabytes=0)
    first = conversation(made, config())
    assert all(map(same, conversation(made, config()), first))
    stats = made.prompt_stats()
    assert (stats.hits, stats.misses, stats.bytes) == (0, 2, 0)


def test_warming_up_is_not_counted_and_leaves_nothing():
    made = engine()
    made.warm_up()
    assert made.prompt_stats().misses == made.prompt_stats().entries == 0


def test_a_prompt_takes_what_its_rows_take():
    """Two layers of keys and values, 64 wide, fp32, for each row but the last."""
    made = engine()
    slot = opened(made, config())
    rows = made.prompt_frames(slot) - 1
    assert made.prompt_stats().bytes == rows * 2 * 2 * 64 * 4


def kept(size):
    return lambda: [torch.zeros(size // 2), torch.zeros(size // 2)]


def test_the_least_recently_used_goes_when_there_is_no_room():
    cache = PromptCache(100 * 4)
    for name in "abc":
        cache.add(name, 40 * 4, kept(40))
        cache.get("a")
    assert cache.get("a") and cache.get("c") and not cache.get("b")
    stats = cache.stats()
    assert (stats.bytes, stats.entries, stats.evicted) == (320, 2, 1)
    cache.add("large", 90 * 4, kept(90))
    assert cache.stats().entries == 1
    assert cache.stats().bytes == 360


def test_what_can_never_fit_evicts_nothing():
    cache = PromptCache(100)
    cache.add("small", 80, kept(20))
    cache.add("huge", 101, lambda: pytest.fail("copied for nothing"))
    cache.add("small", 80, lambda: pytest.fail("copied twice"))
    assert cache.get("small") is not None


def test_room_is_made_before_the_copy_is():
    cache, seen = PromptCache(100), []
    cache.add("one", 80, kept(20))
    cache.add("two", 80, lambda: seen.append(cache.stats().bytes) or kept(20)())
    assert seen == [0]
    assert np.isclose(cache.stats().bytes, 80)
