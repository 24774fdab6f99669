"""Sessions on slots: alone as in company, again as before, and what is refused."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.torch_batch import TorchSlotBatch
from inference.errors import (
    ProtocolError,
    RolePromptError,
    VoicePromptError,
    WorkerBusy,
)
from inference.prompts.persona import persona_prompt
from tests.inference.engine import sessions
from tests.inference.engine.sessions import opened, same, voice_of
from tests.inference.toys import toy_model

WIDTHS = [1, 4]  # a batch for each slot, as on CPUs; one batch for all, as on GPUs
CONTEXT = 64
FRAMES = 80  # with a prompt of 24: beyond the context, and over all of the prompt
MODEL = toy_model(CONTEXT)


def speech(seed, frames=FRAMES):
    return sessions.speech(seed, frames)


def engine(width=1, slots=4):
    return Engine(MODEL, slots, width=width)


def alone(width, config, sound, slot=0):
    made = engine(width)
    for _ in range(slot):
        made.open(SessionConfig("in the way"))
    at = opened(made, config)
    assert at == slot
    return [made.step({at: frame})[at] for frame in sound]


def voice(seed=5):
    return voice_of(engine(), speech(seed, 8))


CONFIGS = [
    SessionConfig("a", "You are Ada.", sampling=Sampling(greedy=True)),
    SessionConfig(
        "b", "You are Bob, a cook.", sampling=Sampling(seed=2, top_k_text=999)
    ),
    SessionConfig("c", "", sampling=Sampling(temperature_text=0, top_k_audio=5)),
]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_session_says_in_company_what_it_says_alone(width):
    """Three conversations of 80 frames, past the window's wrap; each joins, pauses and
    ends at random times while strangers come and go. Bit for bit."""
    sounds = [speech(i) for i in range(len(CONFIGS))]
    expected = [alone(width, c, s) for c, s in zip(CONFIGS, sounds, strict=True)]
    chance = random.Random(1)
    made = engine(width)
    said = [[] for _ in CONFIGS]
    slots = {}  # conversation → slot
    strangers = []
    waiting = list(range(len(CONFIGS)))
    while waiting or slots:
        if waiting and chance.random() < 0.05 and made._slots.count(None):
            joining = waiting.pop(0)
            slots[joining] = opened(made, CONFIGS[joining])
        if chance.random() < 0.05 and made._slots.count(None) > bool(waiting):
            strangers.append(made.open(SessionConfig("x", "Who?", sampling=Sampling())))
        if strangers and chance.random() < 0.1:
            made.prime(chance.choice(strangers))
        if strangers and chance.random() < 0.05:
            made.close(strangers.pop(chance.randrange(len(strangers))))
        active = [i for i in slots if chance.random() < 0.7]
        pcm = {slots[i]: sounds[i][len(said[i])] for i in active}
        steps = made.step(pcm)
        for i in active:
            said[i].append(steps[slots[i]])
            if len(said[i]) == FRAMES:
                made.close(slots.pop(i))
    for got, wanted in zip(said, expected, strict=True):
        assert all(map(same, got, wanted))
        assert len({step.tokens.tobytes() for step in got}) > FRAMES / 2


@pytest.mark.parametrize("width", WIDTHS)
def test_the_same_seed_gives_the_same_conversation_on_any_slot(width):
    config = SessionConfig("b", "You are Bob.", sampling=Sampling(seed=11))
    sound = speech(1, 20)
    first = alone(width, config, sound)
    assert all(map(same, alone(width, config, sound, slot=2), first))
    other = SessionConfig("b", "You are Bob.", sampling=Sampling(seed=12))
    assert not all(map(same, alone(width, other, sound), first))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_slot_keeps_nothing_of_its_last_session(width):
    made = engine(width, slots=width)
    for config in (CONFIGS[1], CONFIGS[2]):
        slot = opened(made, config)
        for frame in speech(9, 20):
            made.step({slot: frame})
        made.close(slot)
    slot = opened(made, CONFIGS[0])
    sound = speech(0, 30)
    again = [made.step({slot: frame})[slot] for frame in sound]
    fresh = Engine(MODEL, width, width=width)
    slot = opened(fresh, CONFIGS[0])
    assert all(map(same, again, [fresh.step({slot: f})[slot] for f in sound]))


def test_a_wide_batch_says_what_a_narrow_one_says():
    """The tokens; the sums behind them are taken in another order."""
    config, sound = CONFIGS[0], speech(0, 40)
    for a, b in zip(alone(1, config, sound), alone(4, config, sound), strict=True):
        assert np.array_equal(a.tokens, b.tokens)


def test_a_step_records_the_users_codes_and_the_row_it_completed():
    sound = speech(3, 30)
    steps = alone(1, CONFIGS[0], sound)
    with torch.inference_mode():
        pcm = torch.from_numpy(sound.astype(np.float32).ravel() / 2**15)
        codes = MODEL.mimi.encode(pcm[None, None])[0].T.numpy()
    for step, user in zip(steps, codes, strict=True):
        assert step.tokens.dtype == np.uint16
        assert step.tokens[9:].tolist() == user.tolist()
        assert (step.tokens[1:9] < MODEL.config.audio_cardinality).all()
        assert step.pcm.dtype == np.int16


def test_the_sound_is_that_of_the_recorded_codes():
    """The answer to a frame: codebook 0 of its own record, 1..7 of the next one. Before
    the first answer the end of the prompt was decoded."""
    steps = alone(1, CONFIGS[1], speech(3, 30))
    rows = np.stack([step.tokens[1:9] for step in steps]).astype(np.int64)
    codes = rows.copy()
    codes[1:, 0] = rows[:-1, 0]
    codes[0, 0] = MODEL.filler.silence[0]
    with torch.inference_mode():
        pcm = MODEL.mimi.decode(torch.from_numpy(codes.T)[None])[0, 0].numpy()
    heard = np.concatenate([step.pcm for step in steps[:-1]]) / 2**15
    assert np.abs(np.clip(pcm[1920:], -1, 1) - heard).max() < 1e-3


def test_the_first_frame_begins_with_the_end_of_the_prompt():
    filler = MODEL.filler.silence.tolist()
    first = alone(1, CONFIGS[0], speech(0, 1))[0]
    assert first.tokens[2:9].tolist() == filler[1:]  # still forced by their delay


def test_priming_runs_in_bounded_chunks_and_can_wait():
    made = Engine(toy_model(context=120), 1)
    slot = made.open(SessionConfig("a", "You are kind. " * 8))
    left = [made.prime(slot) for _ in range(4)]
    assert left[0] == made.prompt_frames(slot) - 32  # with the first step
    assert left[-1] == 0
    assert made.prime(slot) == 0


def test_frames_before_the_prompt_is_in_are_refused():
    made = engine()
    slot = made.open(SessionConfig("a"))
    with pytest.raises(ValueError, match="not primed"):
        made.step({slot: speech(0, 1)[0]})
    with pytest.raises(ValueError, match="free"):
        made.step({slot + 1: speech(0, 1)[0]})


def test_the_context_that_is_left_is_counted():
    made = engine()
    slot = opened(made, CONFIGS[0])
    before = made.context_frames(slot)
    assert before == CONTEXT - made.prompt_frames(slot)
    left = []
    for frame in speech(0, before + 2):
        made.step({slot: frame})
        left.append(made.context_frames(slot))
    assert left == [*reversed(range(before)), 0, 0]


def test_a_pinned_prompt_tells_when_the_window_has_slid():
    """By the engine's word or by the session's, which wins; not a frame earlier."""
    sound, said = speech(0, 60), {}
    for engines, sessions_ in (
        (False, None),
        (True, None),
        (False, True),
        (True, False),
    ):
        made = Engine(MODEL, 1, pin_prompt=engines)
        config = dataclasses.replace(CONFIGS[1], pin_prompt=sessions_)
        slot = opened(made, config)
        full = made.context_frames(slot)
        said[engines, sessions_] = [made.step({slot: f})[slot] for f in sound]
    sliding, pinned = said[False, None], said[True, None]
    assert all(map(same, said[False, True], pinned))
    assert all(map(same, said[True, False], sliding))
    assert all(map(same, sliding[: full - 1], pinned[: full - 1]))
    assert not any(map(same, sliding[full + 2 :], pinned[full + 2 :]))


def test_a_full_engine_is_busy_at_once_and_free_again_after_a_close():
    made = engine(slots=2)
    slots = [made.open(SessionConfig(str(i))) for i in range(2)]
    with pytest.raises(WorkerBusy):
        made.open(SessionConfig("one too many"))
    made.close(slots[0])
    made.close(slots[0])
    assert made.open(SessionConfig("now")) == slots[0]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (SessionConfig("a", "word " * 500), RolePromptError),
        (SessionConfig("a", voice=b"not a voice"), VoicePromptError),
        (SessionConfig("a", sampling=Sampling(temperature_text=-1)), ProtocolError),
        (SessionConfig("a", sampling=Sampling(temperature_audio=1e9)), ProtocolError),
        (
            SessionConfig("a", sampling=Sampling(temperature_text=float("nan"))),
            ProtocolError,
        ),
        (SessionConfig("a", sampling=Sampling(top_k_text=0)), ProtocolError),
    ],
)
def test_a_bad_session_is_refused_and_takes_no_slot(config, error):
    made = engine(slots=1)
    with pytest.raises(error):
        made.open(config)
    opened(made, SessionConfig("good"))


def test_a_voice_changes_what_is_said():
    config = SessionConfig("a", "You are Ada.", voice(), Sampling(greedy=True))
    sound = speech(0, 30)
    spoken = alone(1, config, sound)
    assert not all(map(same, spoken, alone(1, CONFIGS[0], sound)))
    assert all(map(same, spoken, alone(1, config, sound)))


def test_warming_up_leaves_all_slots_free_and_tells_the_tick():
    made = engine(slots=1)
    tick = made.warm_up()
    assert made.info.tick_ms_at_start == tick > 0
    assert (made.info.model, made.info.device, made.info.slots) == ("toy", "cpu", 1)
    opened(made, SessionConfig("first"))


class NothingWaits(TorchDispatchMode):
    """Refuses what would make the host wait for a device, and so could not be
    captured: values read back, shapes that depend on values, uploads."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")
    UPLOADING = ("lift_fresh",)  # torch.tensor(…)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.WAITING + self.UPLOADING, name
        if name in ("index", "index_put", "index_put_"):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "waiting",
    [torch.Tensor.item, bool, lambda x: x[x > 0], lambda _: torch.tensor([1, 2])],
)
def test_the_watcher_sees_what_waits(waiting):
    x = torch.ones(1)
    with NothingWaits(), pytest.raises(AssertionError):
        waiting(x)


@pytest.mark.parametrize("sampling", [Sampling(greedy=True), Sampling(seed=1)])
def test_a_step_of_a_wide_batch_never_waits_for_the_device(sampling):
    prompt = persona_prompt(MODEL, "You are Ada.")
    pcm = torch.from_numpy(speech(1, 3))
    active = torch.tensor([True, False, True])
    with torch.no_grad():  # inference mode would hide the reads from the watcher
        batch = TorchSlotBatch(MODEL, 3)
        for row in (0, 2):
            batch.begin(row, sampling)
            batch.feed(row, prompt, 0, prompt.fed)
        batch.compute(pcm, active, prompt.fed + 1)
        with NothingWaits():
            batch.compute(pcm, active, prompt.fed + 2)


def test_batches_have_to_fill_the_slots():
    with pytest.raises(ValueError, match="batches of 3"):
        Engine(MODEL, 4, width=3)
