"""Steps 1 to 5 of the parity plan: every part by itself, fed what the other was fed."""

import dataclasses

import pytest
import torch

from inference.network.config import PERSONAPLEX_7B
from inference.network.lm import LanguageModel
from inference.network.mimi import MIMI_TINY
from inference.network.stored import stored_tensors
from inference.network.timeline import rows_of_frames
from tests.inference.network.mimi.examples import codes_differ
from tests.inference.network.mimi.test_parity import streamed_by_both
from tests.inference.network.test_lm import prompt_frames
from tests.inference.parity.models import loaded, small, ulps_apart
from tests.inference.parity.published import PublishedSession, published_lm
from tests.inference.toys import seeded

TYPES = [torch.float32, torch.bfloat16]
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def test_all_475_names_and_shapes_are_the_published_models(report):
    ours = {
        stored.name: stored.shape
        for stored in stored_tensors(LanguageModel(PERSONAPLEX_7B, device="meta"))
    }
    theirs = {
        name: tuple(tensor.shape)
        for name, tensor in published_lm(PERSONAPLEX_7B, device="meta")
        .state_dict()
        .items()
    }
    assert ours == theirs
    assert len(ours) == 475
    assert sum(torch.Size(shape).numel() for shape in ours.values()) == 8_371_408_896
    report("1", "names and shapes at 7B sizes", "published", len(ours))


def test_the_codec_past_the_end_of_its_ring(report):
    """320 frames, one a call; the ring is full at call 124."""
    config = dataclasses.replace(
        MIMI_TINY, n_filters=8, dim=64, n_heads=2, ffn=128, n_layers=2
    )
    codec, pcm, codes, expected, errors = streamed_by_both(config, 320)
    differ = (codes != expected).sum()
    report("2", "Mimi codes, 320 frames", "published", codes.numel(), differ)
    report("2", "Mimi sound, 320 frames", "published", pcm.numel(), 0, max(errors))
    assert differ <= codes.numel() // 1000
    assert not codes_differ(codec, codec.encode_latent(pcm), expected, codes).any()
    assert max(errors) < 1e-4


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES.get)
def test_summed_embeddings_bit_for_bit(report, dtype):
    config, tensors = small()
    model = PublishedSession(config, tensors, dtype).model
    seen = []
    model.transformer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    rows, _ = rows_of_frames(config, prompt_frames(config)[0])
    for row in rows:
        model.forward_text(row[None, :, None])
    expected = torch.cat(seen)[:, 0]
    ours = loaded(config, tensors, dtype).embed(rows)
    differ = (ours != expected).sum()
    report("3", f"summed embeddings, {NAMES[dtype]}", "published", ours.numel(), differ)
    assert torch.equal(ours, expected)


def temporal_rows(config, dtype, tensors, count):
    """Hidden [count, dim] and text logits [count, V] of random rows, both ways."""
    lm = loaded(config, tensors, dtype)
    published = PublishedSession(config, tensors, dtype)
    rows = torch.randint(0, config.audio_cardinality, (count, 17), generator=seeded(1))
    ring = lm.temporal.ring(1)
    ours, theirs, logits = [], [], []
    for row in rows:
        hidden, text = published.model.forward_text(row[None, :, None])
        theirs.append(hidden[0, 0])
        logits.append(text[0, 0, 0])
        ours.append(lm.temporal.step(lm.embed(row[None]), ring, None)[0])
    chosen = torch.stack(ours) @ lm.text_linear.T
    return torch.stack(ours), chosen, torch.stack(theirs), torch.stack(logits)


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES.get)
def test_the_temporal_transformer_beyond_its_window(report, dtype):
    """One key less than the context holds is in view from row 23 on."""
    count = 400
    config, tensors = small(context=24)
    hidden, logits, expected, theirs = temporal_rows(config, dtype, tensors, count)
    error = (hidden - expected).abs().max().item()
    differ = (hidden != expected).sum()
    what = f"temporal hidden, {count} rows at context 24, {NAMES[dtype]}"
    report("4", what, "published", hidden.numel(), differ, error)
    clear = ulps_apart(theirs.bfloat16()) > 2
    wrong = (logits.argmax(-1) != theirs.argmax(-1)) & clear
    report(
        "4", f"text argmax of these, {NAMES[dtype]}", "published", count, wrong.sum()
    )
    cosine = torch.cosine_similarity(hidden.float(), expected.float(), dim=-1)
    assert cosine.min() > 0.9999
    assert clear.sum() > count / 2 and not wrong.any()


@pytest.mark.parametrize("dtype", TYPES, ids=NAMES.get)
def test_the_depth_transformer_step_by_step(report, dtype):
    config, tensors = small()
    lm = loaded(config, tensors, dtype)
    published = published_lm(
        config, {n: t.to(dtype) for n, t in tensors.items()}, dtype
    )
    count = 100
    hidden = torch.randn(count, config.temporal.dim, generator=seeded(1)).to(dtype)
    text = torch.randint(0, config.text_cardinality, (count,), generator=seeded(2))
    codes = torch.randint(0, config.audio_cardinality, (count, 8), generator=seeded(3))
    seen = []
    lm.depth.step(
        hidden, text, codes, lambda k, logits: seen.append(logits) or codes[:, k]
    )
    ours, theirs = torch.stack(seen, dim=1), torch.zeros(count, 8, 32, dtype=dtype)
    for n in range(count):
        before = [int(text[n]), *codes[n].tolist()]
        with published.depformer.streaming(1):
            for k in range(8):
                token = torch.tensor([[[before[k]]]])
                logits = published.forward_depformer(k, token, hidden[n][None, None])
                theirs[n, k] = logits.flatten()
    error = (ours - theirs).abs().max().item()
    chosen = ours.argmax(-1) == theirs.argmax(-1)
    clear = ulps_apart(theirs.bfloat16()) > 2
    what = f"depth logits, steps 0 to 7, {NAMES[dtype]}"
    report("5", what, "published", ours.numel(), (ours != theirs).sum(), error)
    what = f"depth argmax where it is clear, {NAMES[dtype]}"
    report("5", what, "published", clear.sum(), (clear & ~chosen).sum())
    assert error < (1e-5 if dtype == torch.float32 else 0.1)
    assert clear.float().mean() > 0.7 and not (clear & ~chosen).any()
