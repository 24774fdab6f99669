"""Sessions whose past still grows elsewhere while they are rebuilt."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from inference.engine.api import FrameLog, Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.errors import ProtocolError
from tests.inference.engine.sessions import choose_text, opened, speech
from tests.inference.toys import toy_model

TOY = toy_model(context=80)
FRAMES, CONTINUED = 100, 15
CONFIG = SessionConfig("a", "Be kind.", sampling=Sampling(greedy=True))


@pytest.fixture(scope="module")
def talk():
    """The unmoved conversation: the user's sound and what came of it."""
    engine, sound = Engine(TOY, 1), speech(7, FRAMES)
    slot = opened(engine, CONFIG)
    return sound, [engine.step({slot: frame})[slot] for frame in sound]


@pytest.fixture
def engine():
    return Engine(TOY, 1)


def log_of(talk, start, stop, heard=None):
    sound, steps = talk
    tokens = [step.tokens for step in steps[start:stop]]
    heard = stop - start if heard is None else heard
    return FrameLog(
        np.array(tokens, np.uint16).reshape(-1, 17), sound[stop - heard : stop]
    )


def primed(engine, slot):
    while engine.prime(slot):
        pass


@pytest.mark.parametrize("seams", [(60, 67, 68, 68), (95, 96, 98), (0, 0, 30), (5,)])
def test_it_continues_as_the_unmoved_session(engine, talk, seams):
    """Rebuilt up to the first seam, then extended to each of the others. The window of
    80 slides; the codec has forgotten its beginning after 18 frames."""
    sound, steps = talk
    log = log_of(talk, 0, seams[0], min(seams[0], 18))
    slot = opened(engine, dataclasses.replace(CONFIG, log=log, more=True))
    for start, stop in pairwise(seams):
        engine.extend(slot, log_of(talk, start, stop), more=True)
        primed(engine, slot)
    at = seams[-1]
    engine.extend(slot, log_of(talk, at, at), more=False)
    primed(engine, slot)
    for wanted, frame in zip(steps[at : at + CONTINUED], sound[at:], strict=False):
        got = engine.step({slot: frame})[slot]
        assert got.tokens.tolist() == wanted.tokens.tolist()
        assert got.piece == wanted.piece
        assert np.abs(got.pcm.astype(int) - wanted.pcm).max() <= 2
    rows = engine.prompt_frames(slot) - 1 + at + min(CONTINUED, FRAMES - at)
    assert engine.context_frames(slot) == max(0, 80 - rows - 1)


@pytest.mark.parametrize("letters", ["é", "日"])
def test_a_character_cut_in_two_by_an_extension_is_said(engine, talk, letters):
    tokenizer = TOY.tokenizer
    cut = [token for token in tokenizer.encode(letters) if tokenizer.byte(token)]
    log, since = log_of(talk, 0, 20), log_of(talk, 20, 30)
    log.tokens[-1, 0] = cut[0]
    since.tokens[: len(cut) - 2, 0] = cut[1:-1]
    slot = opened(engine, dataclasses.replace(CONFIG, log=log, more=True))
    count = len(cut) - 2
    since = FrameLog(since.tokens[:count], since.user_pcm[:count])
    engine.extend(slot, since, more=False)
    primed(engine, slot)
    choose_text(engine, cut[-1])
    step = engine.step({slot: talk[0][20 + count]})
    assert step[slot].piece == letters


def test_the_codec_is_freed_when_the_log_is_complete(engine, talk):
    log = log_of(talk, 0, 20)
    slot = opened(engine, dataclasses.replace(CONFIG, log=log, more=True))
    prefill = engine._slots[slot].prefill
    assert prefill._codec is not None
    engine.extend(slot, log_of(talk, 20, 21), more=False)
    primed(engine, slot)
    assert prefill._codec is None


def test_a_session_that_is_complete_is_not_extended(engine, talk):
    slot = opened(engine, CONFIG)
    with pytest.raises(ProtocolError, match="complete"):
        engine.extend(slot, log_of(talk, 0, 1), more=False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: FrameLog(log.tokens, log.user_pcm[1:]),
        lambda log: FrameLog(np.full_like(log.tokens, 65_535), log.user_pcm),
        lambda log: FrameLog(log.tokens.astype(np.int64), log.user_pcm),
    ],
)
def test_frames_that_no_session_can_have_left_are_refused(engine, talk, spoil):
    slot = opened(engine, dataclasses.replace(CONFIG, more=True))
    with pytest.raises(ProtocolError):
        engine.extend(slot, spoil(log_of(talk, 0, 5)), more=False)
