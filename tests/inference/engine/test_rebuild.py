"""Sessions opened in the middle continue as if they had never stopped."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from inference.engine.api import FrameLog, Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.prefill import sound_frames
from inference.errors import ProtocolError
from inference.loading.checkpoint import load_model
from inference.loading.filler_codes import find_filler_codes
from inference.network.config import TINY
from inference.network.mimi import MIMI_7B, MIMI_TINY
from tests.inference.engine.sessions import choose_text, opened, same, speech, voice_of
from tests.inference.network.mimi.examples import SMALL, lively_codec
from tests.inference.toys import toy_model

CONTINUED = 20  # frames compared after the seam
TOY = toy_model(context=64)


def held(engine, config, sound):
    slot = opened(engine, config)
    steps = [engine.step({slot: frame})[slot] for frame in sound]
    engine.close(slot)
    return steps


def log_of(steps, sound, frames, heard=None):
    tokens = np.stack([step.tokens for step in steps[:frames]])
    heard = frames if heard is None else heard
    return FrameLog(tokens, sound[frames - min(frames, heard) : frames])


def resumed(engine, config, log, sound):
    return held(engine, dataclasses.replace(config, log=log), sound)


def assert_continues(engine, config, steps, sound, at, heard=None):
    log = log_of(steps, sound, at, heard)
    again = resumed(engine, config, log, sound[at : at + CONTINUED])
    for n, (got, wanted) in enumerate(zip(again, steps[at:], strict=False)):
        assert got.tokens.tolist() == wanted.tokens.tolist(), f"frame {at} + {n}"
        assert got.piece == wanted.piece
        # The codec rounds otherwise when it says several frames at once.
        assert np.abs(got.pcm.astype(int) - wanted.pcm).max() <= 2
    assert len(again) == min(CONTINUED, len(sound) - at)


@pytest.fixture(scope="module")
def tiny():
    """The language model of the product; a small codec whose attention counts (one that
    forgot its past at once would prove nothing), and which has forgotten its beginning
    after 38 frames."""
    codec = dataclasses.replace(SMALL, bins=TINY.audio_cardinality, context=30)
    mimi = lively_codec(codec, seed=5).requires_grad_(False)
    config = dataclasses.replace(TINY, mimi=codec)
    return dataclasses.replace(
        load_model("tiny"),
        config=config,
        mimi=mimi,
        filler=find_filler_codes(config, mimi),
    )


@pytest.mark.parametrize("conversation", [1, 2])
def test_it_continues_at_tiny_as_the_uninterrupted_run(tiny, conversation):
    """fp32, each conversation rebuilt at ten random frames. What is drawn is drawn by
    frame, so that it is the same again; a less lively agent would be silent here."""
    engine, chance = Engine(tiny, 1), random.Random(conversation)
    assert engine.info.sound_frames == 38
    name = f"You are number {conversation}."
    lively = Sampling(temperature_text=1.2, temperature_audio=1.2, seed=conversation)
    config = SessionConfig("a", name, sampling=lively)
    sound = speech(conversation, 90)
    steps = held(engine, config, sound)
    assert len({step.tokens[:9].tobytes() for step in steps}) > 20
    for _ in range(10):
        at = chance.randrange(1, len(sound) - CONTINUED)
        assert_continues(engine, config, steps, sound, at)


@pytest.mark.parametrize(("width", "pinned"), [(1, False), (3, True)])
def test_a_seeded_conversation_continues_long_after_the_window_slid(width, pinned):
    """Context 64, prompt 27, 130 frames: from before the window slides to its second
    wrap; with a voice, on a slot that others used, beside others."""
    engine = Engine(TOY, 3, width=width)
    voice = voice_of(engine, speech(9, 8))
    config = SessionConfig("a", "Be kind.", voice, Sampling(seed=4), pinned)
    sound = speech(7, 130)
    steps = held(engine, config, sound)
    opened(engine, SessionConfig("in the way"))
    assert engine.info.context_frames == 64
    for at in (1, 35, 60, 105):
        assert_continues(engine, config, steps, sound, at)


@pytest.fixture(scope="module")
def talk():
    """Of the toy: its engine, configuration, the user's sound and what came of it."""
    engine, sound = Engine(TOY, 2), speech(7, 80)
    config = SessionConfig("a", "Be kind.", sampling=Sampling(seed=4))
    return engine, config, sound, held(engine, config, sound)


def test_so_much_sound_is_enough(talk):
    """One layer that sees ten frames, and the convolutions."""
    engine, config, sound, steps = talk
    assert engine.info.sound_frames == 18
    assert_continues(engine, config, steps, sound, 60, heard=18)


def test_the_encoder_is_where_it_was_bit_for_bit(tiny):
    """Long after it forgot the beginning; two layers, each with a window of 15."""
    engine, sound = Engine(tiny, 2), speech(3, 70)
    config = SessionConfig("a", sampling=Sampling(seed=1))
    slot = opened(engine, config)
    steps = [engine.step({slot: frame})[slot] for frame in sound]
    log = log_of(steps, sound, 70, heard=38)
    again = opened(engine, dataclasses.replace(config, log=log))
    before, after = (engine._batches[at] for at in (slot, again))
    assert torch.equal(after._encoder.position, before._encoder.position)
    assert torch.equal(after._encoder.buffer, before._encoder.buffer)
    error = (after._decoder.buffer - before._decoder.buffer).abs().max()
    assert error < 1e-3 * before._decoder.buffer.abs().max()


def test_the_sound_that_is_enough_is_one_window_for_each_layer():
    assert sound_frames(MIMI_TINY) == 2 * 125 + 8
    assert sound_frames(MIMI_7B) == 8 * 125 + 8


def test_without_sound_the_rows_are_right_and_the_encoder_starts_from_nothing(talk):
    engine, config, sound, steps = talk
    log = log_of(steps, sound, 60, heard=0)
    again = resumed(engine, config, log, sound[60:62])
    assert again[0].tokens[:9].tolist() == steps[60].tokens[:9].tolist()
    assert again[0].tokens[9:].tolist() != steps[60].tokens[9:].tolist()


def test_a_log_without_frames_is_a_beginning(talk):
    engine, config, sound, steps = talk
    nothing = FrameLog(np.zeros((0, 17), np.uint16), sound[:0])
    assert all(map(same, steps, resumed(engine, config, nothing, sound)))


def test_the_prompt_of_a_rebuilt_session_comes_from_the_cache(talk):
    engine, config, sound, steps = talk
    before = engine.prompt_stats().hits
    assert_continues(engine, config, steps, sound, 30)
    assert engine.prompt_stats().hits == before + 1
    fresh = Engine(TOY, 1, prompt_cache_mb=0)
    assert_continues(fresh, config, steps, sound, 30)


def test_rebuilding_runs_in_bounded_chunks_and_can_wait(talk):
    engine, config, sound, steps = talk
    log = log_of(steps, sound, 40)
    slot = engine.open(dataclasses.replace(config, log=log))
    rows = engine.prompt_frames(slot) - 1 + 40
    left = [rows + 18 + 18 + 1]
    with pytest.raises(ValueError, match="not primed"):
        engine.step({slot: sound[0]})
    while left[-1]:
        left.append(engine.prime(slot))
    chunks = -np.diff(left)
    assert max(chunks) == 32
    # Heard, then said, then the first step.
    assert chunks[-13:].tolist() == [2] * 9 + [8, 8, 2, 1]
    assert engine.context_frames(slot) == 64 - rows - 1
    engine.close(slot)


@pytest.mark.parametrize("letters", ["é", "日"])
def test_a_character_cut_in_two_by_the_seam_is_still_said(talk, letters):
    """Its bytes come one a frame; the text is what the frames before it began."""
    engine, config, sound, steps = talk
    tokenizer = TOY.tokenizer
    cut = [token for token in tokenizer.encode(letters) if tokenizer.byte(token)]
    log = log_of(steps, sound, 20)
    log.tokens[1 - len(cut) :, 0] = cut[:-1]
    slot = opened(engine, dataclasses.replace(config, log=log))
    choose_text(engine, cut[-1])
    assert engine.step({slot: sound[20]})[slot].piece == letters
    engine.close(slot)


def changed(log, **fields):
    return dataclasses.replace(log, **fields)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: changed(log, tokens=log.tokens.astype(np.int64)),
        lambda log: changed(log, tokens=log.tokens[:, :16]),
        lambda log: changed(log, tokens=log.tokens[:5]),
        lambda log: changed(log, tokens=np.full_like(log.tokens, 32)),
        lambda log: changed(log, tokens=np.full_like(log.tokens, 65_535)),
        lambda log: changed(log, tokens=np.zeros((200_000, 17), np.uint16)),
        lambda log: changed(log, user_pcm=log.user_pcm.astype(np.float32)),
        lambda log: changed(log, user_pcm=log.user_pcm[:, :-1]),
        lambda log: changed(log, user_pcm=log.user_pcm.ravel()),
    ],
)
def test_a_log_that_no_session_left_is_refused_and_takes_no_slot(talk, spoil):
    engine, config, sound, steps = talk
    log = spoil(log_of(steps, sound, 10))
    with pytest.raises(ProtocolError):
        engine.open(dataclasses.replace(config, log=log))
    assert engine.open(config) == 0
    engine.close(0)
