"""The captured step against the network's own, and sessions against their company."""

import numpy as np
import pytest
import torch

from inference.engine.api import Sampling
from inference.engine.gpu.batch import CudaSlotBatch
from inference.engine.gpu.prefill_graphs import PromptGraphs
from inference.kernels import plain
from inference.kernels.packed import pack_model
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.network.stored import stored_tensors
from inference.network.timeline import make_frames, rows_of_frames
from inference.timing import FRAME_SAMPLES
from tests.inference.kernels.shapes import DEVICE, error, packed, small_config
from tests.inference.toys import TOY_MIMI, seeded

FRAMES = 40


def codec():
    mimi = Mimi(TOY_MIMI)
    mimi.init_weights(seeded(8))
    return mimi.eval().requires_grad_(False).to(DEVICE)


def begin(batch, row, frames=20, seed=5):
    """Prefill a made-up prompt in two chunks."""
    config = batch.packed.config
    codes = torch.randint(0, config.audio_cardinality, (frames, 8))
    prompt = make_frames(frames, text=3, agent=codes, user=codes.flip(0))
    rows, carry = rows_of_frames(config, prompt)
    batch.begin(row, Sampling(greedy=seed is None, seed=seed or 0))
    embeddings = batch.lm.embed(rows[:-1].to(DEVICE))
    batch.lm.prefill(row, embeddings[:7], 0)
    batch.lm.prefill(row, embeddings[7:], 7)
    batch.lm.begin(row, rows[-1], carry)
    batch.lead(row)


def sound(row, frame):
    generator = np.random.default_rng([row, frame])
    return generator.normal(0, 3000, FRAME_SAMPLES).astype(np.int16)


def records(batch, watched, turns):
    said = []
    with torch.inference_mode():
        for frame, rows in enumerate(turns):
            record, _, spoken = batch.step({row: sound(row, frame) for row in rows})
            if watched in rows:
                said.append((record[watched].tolist(), spoken[watched].copy()))
    return said


def test_the_plain_step_is_the_networks():
    """Same weights, teacher-forced: hidden and logits of both, over a full ring."""
    config = small_config(context=24)
    lm = LanguageModel(config, torch.bfloat16, DEVICE)
    lm.init_weights(torch.Generator().manual_seed(4))
    stored = {t.name: t.target.reshape(t.shape) for t in stored_tensors(lm)}
    model = pack_model(config, "bf16", lambda name, shape: stored[name], DEVICE)
    batch = CudaSlotBatch(model, codec(), 2, "bf16", plain)
    ring = lm.temporal.ring(2)
    for each in (ring, batch.lm.ring):
        each.pin(1, 9)
    for row in range(2):
        batch.lm.ring.reserve(row, 40)
    active = torch.ones(2, dtype=torch.bool, device=DEVICE)
    with torch.inference_mode():
        for n in range(40):
            rows = torch.randint(0, 32, (2, 17), generator=seeded(n)).to(DEVICE)
            batch.lm.row.copy_(rows)
            ours = batch.lm.temporal(active)
            batch.lm.position += 1
            theirs = lm.temporal.step(lm.embed(rows), ring, active)
            assert error(ours, theirs) < 2e-2


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_a_prompt_in_one_pass_is_a_prompt_in_steps(kv):
    torch.manual_seed(0)
    config = small_config(context=24)
    batch = CudaSlotBatch(packed(config, "bf16"), codec(), 2, kv, plain)
    rows = torch.randint(0, 32, (40, 17), generator=seeded(1)).to(DEVICE)
    active = torch.tensor([True, False], device=DEVICE)
    batch.lm.ring.reserve(0, 40)
    with torch.inference_mode():
        for row in rows:
            batch.lm.row[0] = row
            batch.lm.temporal(active)
            batch.lm.position += active
        embeddings = batch.lm.embed(rows)
        for start in range(0, 40, 9):
            batch.lm.prefill(1, embeddings[start : start + 9], start)
        assert batch.lm.position.tolist() == [40, 40]
        for layer in range(config.temporal.layers):
            stepped, fed = batch.lm.ring.read(layer, slice(0, 2), 24).unbind(1)
            assert error(stepped, fed) < 2e-2


@pytest.mark.gpu
@pytest.mark.parametrize("weights", ["bf16", "int4"])
def test_the_captured_step_agrees_with_the_plain_one(weights):
    from inference.kernels import fast

    model = packed(small_config(), weights)
    hidden = []
    for ops in (fast, plain):
        torch.manual_seed(0)
        batch = CudaSlotBatch(model, codec(), 3, "int8", ops)
        with torch.inference_mode():
            for row in range(3):
                begin(batch, row)
            active = torch.ones(3, dtype=torch.bool, device=DEVICE)
            hidden.append(batch.lm.temporal(active))
    assert error(*hidden) < 1e-2


@pytest.mark.gpu
@pytest.mark.parametrize("greedy", [True, False])
def test_a_session_says_the_same_in_any_company(greedy):
    from inference.kernels import fast

    model, mimi = packed(small_config(context=48), "int8"), codec()
    everyone = [[0, 1, 2, 3, 4]] * FRAMES
    comings = [[2, *(row for row in (0, 1, 3, 4) if (n + row) % 3)] for n in range(60)]
    said = []
    for turns in ([[2]] * FRAMES, everyone, comings[:FRAMES]):
        batch = CudaSlotBatch(model, mimi, 5, "int8", fast)
        batch.capture([1, 3, 5])
        with torch.inference_mode():
            for row in range(5):
                torch.manual_seed(row)
                begin(batch, row, seed=None if greedy else 5)
        said.append(records(batch, 2, turns))
    for other in said[1:]:
        assert [tokens for tokens, _ in other] == [tokens for tokens, _ in said[0]]
    assert len({str(tokens) for tokens, _ in said[0]}) > FRAMES // 2


@pytest.mark.parametrize("kv", ["bf16", "int8"])
@pytest.mark.parametrize(
    "place", ["plain", pytest.param("fast", marks=pytest.mark.gpu)]
)
def test_a_pass_of_fixed_size_feeds_what_a_chunk_feeds(kv, place):
    ops = plain
    if place == "fast":
        from inference.kernels import fast as ops
    config = small_config(context=300)
    batch = CudaSlotBatch(packed(config, "int8"), codec(), 3, kv, ops)
    graphs = PromptGraphs(batch.lm)
    rows = torch.randint(0, 32, (220, 17), generator=seeded(1)).to(DEVICE)
    with torch.inference_mode():
        if place == "fast":
            graphs.capture()
        embeddings = batch.lm.embed(rows)
        for start, stop in ((0, 9), (9, 70), (70, 220)):
            chunk = embeddings[start:stop]
            batch.lm.prefill(0, chunk, start)
            batch.lm.ring.reserve(2, stop)
            graphs.run(graphs.size_for(2, stop, len(chunk)), 2, start, chunk)
    assert batch.lm.position.tolist() == [220, 0, 220]
    for layer in range(config.temporal.layers):
        eager, _, fixed = batch.lm.ring.read(layer, slice(0, 3), 220).unbind(1)
        assert error(fixed, eager) < 2e-2
    assert graphs.size_for(2, 300, 80) is None
