"""Free-running conversations against the literal ring form of the specification."""

import pytest
import torch
from safetensors.torch import save_file

from inference.loading.checkpoint import load_language_model
from inference.network.config import FREE, PAD, USER
from inference.network.lm import LanguageModel
from inference.network.stored import stored_tensors
from inference.network.timeline import ring_of_frames, rows_of_frames
from inference.prompts.persona import FillerCodes
from tests.inference.network.reference import Reference
from tests.inference.toys import seeded, toy_config, toy_lm

VOICE_FRAMES, TEXT_TOKENS = 9, 4


def random_checkpoint(config, seed=3):
    """All stored tensors by name, those of depth steps 8..15 too."""
    generator = seeded(seed)
    tensors = {}
    for stored in stored_tensors(LanguageModel(config, device="meta")):
        if "norm" in stored.name:
            tensors[stored.name] = torch.rand(stored.shape, generator=generator) + 0.5
        else:
            scale = stored.shape[-1] ** -0.5 if "emb" not in stored.name else 0.3
            drawn = torch.randn(stored.shape, generator=generator)
            tensors[stored.name] = drawn * scale
    return tensors


def reference(config, tensors, pinned=0):
    sizes = {
        "pinned": pinned,
        "heads": config.temporal.heads,
        "layers": config.temporal.layers,
        "context": config.temporal.context,
        "depth_heads": config.depth.heads,
        "depth_layers": config.depth.layers,
    }
    return Reference(tensors, sizes)


def prompt_frames(config, seed=5):
    generator = seeded(seed)

    def codes(*shape):
        return torch.randint(config.audio_cardinality, shape, generator=generator)

    filler = FillerCodes(codes(8), codes(8))
    ids = torch.randint(4, config.text_cardinality, (TEXT_TOKENS,), generator=generator)
    voice = filler.voice_frames(codes(VOICE_FRAMES, 8))
    rest = [filler.frames(6), filler.frames(TEXT_TOKENS, ids), filler.frames(6)]
    return torch.cat([voice, *rest]), codes


def only_user(codes):
    return [None] * 9 + codes.tolist()


@torch.inference_mode()
def converse(lm, prompt, user, chunk=7, pinned=0):
    """Prefill the prompt in chunks, then step the user's frames: outputs [n, 9]."""
    config = lm.config
    rows, carry = rows_of_frames(config, prompt)
    state = lm.state(1)
    state.ring.pin(0, pinned)
    embeddings = lm.embed(rows[:-1])
    for start in range(0, len(embeddings), chunk):
        lm.prefill(state, 0, embeddings[start : start + chunk], start)
    state.begin(0, rows[-1], carry)
    outputs, greedy = [], lm.sampler(1)
    for n, codes in enumerate(user):
        frame = torch.full((1, 17), FREE)
        frame[0, USER] = codes
        span = min(len(prompt) + n, config.temporal.context)
        outputs.append(lm.step(state, frame, greedy, None, span)[1][0])
    return torch.stack(outputs).tolist()


@pytest.mark.parametrize(
    ("steps_stored", "columns"), [(8, False), (16, False), (8, True)]
)
def test_it_says_what_the_ring_form_says(tmp_path, steps_stored, columns):
    """Dims 64 and 32, context 24, 9 voice frames, 4 text tokens: greedy, exact, long
    after the window has wrapped."""
    config = toy_config(context=24, steps_stored=steps_stored)
    tensors = random_checkpoint(config)
    prompt, codes = prompt_frames(config)
    user = codes(120, 8)

    slow = reference(config, tensors)
    for frame in prompt.tolist():
        slow.call(frame)
    expected = [slow.call(only_user(frame))[:9] for frame in user]

    save_file(tensors, tmp_path / "model.safetensors")
    lm = LanguageModel(config, embedding_dtype=torch.float32)
    load_language_model(tmp_path / "model.safetensors", lm)
    if columns:
        before = [parameter.clone() for parameter in lm.parameters()]
        lm.by_columns()
        for was, now in zip(before, lm.parameters(), strict=True):
            assert torch.equal(was, now)
    said = converse(lm, prompt, user)
    assert said == expected
    assert len({tuple(frame) for frame in said}) > 60  # it did not get stuck


@pytest.mark.parametrize("pinned", [25, 3])
def test_a_pinned_prompt_stays_in_view(pinned):
    """Context 40, a prompt of 25 rows: all of it, or its first rows, and what was said
    last. Greedy against the literal form, exact; and it makes a difference."""
    config = toy_config(context=40, steps_stored=16)
    tensors = random_checkpoint(config)
    prompt, codes = prompt_frames(config)
    assert len(prompt) == 25
    user = codes(120, 8)
    slow = reference(config, tensors, pinned)
    for frame in prompt.tolist():
        slow.call(frame)
    expected = [slow.call(only_user(frame))[:9] for frame in user]
    lm = LanguageModel(config, embedding_dtype=torch.float32)
    for stored in stored_tensors(lm):
        if stored.target is not None:
            rows = tensors[stored.name][: stored.resident_rows]
            stored.target.copy_(rows.reshape(stored.target.shape))
    said = converse(lm, prompt, user, pinned=pinned)
    assert said == expected
    sliding = converse(lm, prompt, user)
    full = 40 - len(prompt)  # frames until the window slides
    assert said[:full] == sliding[:full] and said[full:] != sliding[full:]


def test_the_first_output_is_the_prompts_last_frame():
    config = toy_config()
    prompt, codes = prompt_frames(config)
    first = converse(toy_lm(config), prompt, codes(1, 8))[0]
    assert first == [PAD, *prompt[-1, 1:9].tolist()]


def test_stepping_the_prompt_gives_what_prefilling_it_gives():
    config = toy_config()
    lm = toy_lm(config)
    prompt, codes = prompt_frames(config)
    user = codes(60, 8)
    state = lm.state(1)
    stepped = []
    with torch.inference_mode():
        # Row 0 is all start tokens, and forces the delayed streams of row 1.
        rows, carry = rows_of_frames(config, prompt[:1])
        state.begin(0, rows[0], carry)
        for frame in prompt[1:]:
            lm.step(state, frame[None], lm.sampler(1))
        for frame in user:
            provided = torch.cat((torch.full((9,), FREE), frame))[None]
            output = lm.step(state, provided, lm.sampler(1))[1]
            stepped.append(output[0].tolist())
    for chunk in (1, 5, len(prompt)):
        assert converse(lm, prompt, user, chunk) == stepped


def test_a_voice_file_holds_what_the_reference_would_have_stored():
    """Embeddings in bf16, summed left to right; the ring after the last frame."""
    config = toy_config()
    tensors = {
        name: tensor.bfloat16() for name, tensor in random_checkpoint(config).items()
    }
    for count in (2, 3, 4, 5, 9, 10, 11):
        voice = prompt_frames(config, seed=count)[0][:count]
        slow = reference(config, tensors)
        for frame in voice.tolist():
            slow.call(frame)
        assert torch.equal(ring_of_frames(config, voice), slow.cache)
        lm = LanguageModel(config)
        for stored in stored_tensors(lm):
            stored.target.copy_(tensors[stored.name].reshape(stored.target.shape))
        rows, _ = rows_of_frames(config, voice)
        assert torch.equal(lm.embed(rows[:-1]), torch.stack(slow.embedded))


def test_a_row_that_sits_out_continues_as_if_nothing_had_happened():
    config = toy_config()
    lm = toy_lm(config)
    user = torch.randint(config.audio_cardinality, (80, 3, 8), generator=seeded(1))

    @torch.inference_mode()
    def run(rests):
        state, sampler = lm.state(3), lm.sampler(3)
        said, turn = [[], [], []], [0, 0, 0]
        generator = seeded(2)
        while min(turn) < 80:
            active = torch.ones(3, dtype=torch.bool)
            if rests:
                active = torch.rand(3, generator=generator) < 0.6
            active &= torch.tensor(turn) < 80
            frame = torch.full((3, 17), FREE)
            frame[:, USER] = torch.stack([user[min(turn[b], 79), b] for b in range(3)])
            _, output = lm.step(state, frame, sampler, active)
            for b in range(3):
                if active[b]:
                    said[b].append(output[b].tolist())
                    turn[b] += 1
        return said

    assert run(rests=True) == run(rests=False)
