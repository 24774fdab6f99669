"""Steps 6 to 9 of the parity plan: whole conversations, every token its own cause.

With random weights many logits lie close together, so a conversation that stays the
same for thousands of frames has met more near ties than a trained one ever will.
"""

import pytest
import torch
import torch.nn.functional as F

from inference.engine.api import Sampling, SessionConfig
from inference.engine.engine import Engine
from inference.engine.voice_encoding import voice_of_codes
from inference.network.config import FREE, USER
from inference.network.depth import DepthLayer
from inference.network.layers import gated_ffn, rms_norm
from inference.network.sampling import Sampler
from inference.network.timeline import rows_of_frames, start_row
from inference.prompts.prompt_text import SPACER_FRAMES, wrapped
from inference.prompts.voice_file import read_voice, write_voice
from tests.inference.engine.sessions import speech, voice_of
from tests.inference.network.test_lm import prompt_frames, reference
from tests.inference.parity.models import (
    Remembers,
    after_prompt,
    converse,
    loaded,
    small,
    ulp,
)
from tests.inference.parity.published import (
    PublishedSession,
    generated,
    only_user,
)
from tests.inference.toys import seeded, toy_model

PUBLISHED, DEVICE = "published", torch.device("cpu")


def answers(session, user):
    return [session.call(only_user(codes))[:9] for codes in user]


def differing(ours, theirs):
    assert len(ours) == len(theirs)
    return sum(a != b for a, b in zip(ours, theirs, strict=True))


def tokens(said):
    return sum(map(len, said))


def test_a_prompt_and_a_conversation_in_three_implementations(report):
    config, tensors = small()
    prompt, codes = prompt_frames(config)
    user = codes(60, 8)
    ours = after_prompt(loaded(config, tensors), prompt, user, chunk=7)
    published, literal = PublishedSession(config, tensors), reference(config, tensors)
    published.feed(prompt)
    for frame in prompt.tolist():
        literal.call(frame)
    what = "prompt and 60 frames at context 24, fp32"
    for name, session in ((PUBLISHED, published), ("literal", literal)):
        differ = differing(ours, answers(session, user))
        report("6", what, name, tokens(ours), differ)
        assert differ == 0


@pytest.mark.timeout(400)
def test_3200_frames_at_a_small_context(report):
    config, tensors = small(depth_layers=1)
    prompt, codes = prompt_frames(config)
    user = codes(3200, 8)
    ours = after_prompt(loaded(config, tensors), prompt, user)
    published = PublishedSession(config, tensors, steps=8)
    published.feed(prompt)
    differ = differing(ours, answers(published, user))
    what = "prompt and 3,200 frames at context 24, fp32"
    report("6", what, PUBLISHED, tokens(ours), differ)
    assert differ == 0
    assert len({tuple(frame) for frame in ours}) > 1600  # it did not get stuck


def test_200_frames_at_the_real_context_across_its_end(report):
    """A prompt of 2,900 rows: frame 100 fills the ring of 3,000."""
    config, tensors = small(context=3000)
    codes = torch.randint(0, 32, (2900, 17), generator=seeded(4))
    user = torch.randint(0, 32, (200, 8), generator=seeded(5))
    ours = after_prompt(loaded(config, tensors), codes, user)
    published = PublishedSession(config, tensors, steps=8)
    published.feed(codes, chunk=100)
    differ = differing(ours, answers(published, user))
    what = "2,900 rows and 200 frames at context 3,000, fp32"
    report("6", what, PUBLISHED, tokens(ours), differ)
    assert differ == 0


def from_the_start(lm, user, sampler):
    """As the published generator begins: no prompt, row 0 all start tokens."""
    row = start_row(lm.config)
    carry = torch.where(lm.delayed, row, FREE)
    nothing = torch.zeros(0, lm.config.temporal.dim)
    return converse(lm, row, carry, 0, nothing, user[1:], sampler)


def both_generators(dtype, sampler=Sampler, context=24, frames=100):
    """Without a prompt; what they say, and the sampler of ours."""
    config, tensors = small(context)
    user = torch.randint(0, 32, (frames, 8), generator=seeded(6))
    theirs = generated(config, tensors, user, dtype)
    lm = loaded(config, tensors, dtype)
    # The first is the frame of start tokens, which the generator does not return.
    mine = sampler(1, config.text_cardinality, config.audio_cardinality, DEVICE)
    ours = from_the_start(lm, user, mine)[1:]
    return ours, theirs[: len(ours)], mine


def test_the_published_generator_says_the_same(report):
    ours, theirs, _ = both_generators(torch.float32)
    differ = differing(ours, theirs)
    report("7", "99 frames of its own generator, fp32", PUBLISHED, tokens(ours), differ)
    assert differ == 0


def over_its_whole_ring(layer, x, at, kv):
    """DepthLayer.step, but attending as the published one does: over all 16 slots,
    with a mask. The same numbers, summed in another order."""
    y = F.linear(rms_norm(x, layer.norm1), layer.in_proj[at])
    q, k, v = y.unflatten(-1, (3, layer.heads, layer.head_dim)).unbind(1)
    kv[0, :, :, at], kv[1, :, :, at] = k, v
    kv[:, :, :, at + 1 :] = 0
    keys, values = F.pad(kv, (0, 0, 0, 16 - kv.shape[3]))
    seen = (torch.arange(16) <= at)[None, None, None]
    attended = F.scaled_dot_product_attention(q[:, :, None], keys, values, seen)
    x = x + F.linear(attended.flatten(1), layer.out_proj[at])
    y = rms_norm(x, layer.norm2)
    return x + gated_ffn(y, layer.linear_in[at], layer.linear_out[at])


@pytest.mark.parametrize(("context", "frames"), [(24, 100), (3000, 201)])
def test_in_bf16_it_says_the_same_when_sums_are_taken_in_its_order(
    report, monkeypatch, context, frames
):
    monkeypatch.setattr(DepthLayer, "step", over_its_whole_ring)
    ours, theirs, _ = both_generators(torch.bfloat16, Sampler, context, frames)
    differ = differing(ours, theirs)
    what = f"{frames - 1} in bf16 at context {context}, depth attention in its order"
    report("7", what, PUBLISHED, tokens(ours), differ)
    assert differ == 0


def test_in_bf16_they_part_at_a_near_tie(report):
    """In bf16 the two best logits are often equal to the last place, and sums taken in
    another order decide: the first token that differs must be one of those."""
    ours, theirs, sampler = both_generators(torch.bfloat16, Remembers)
    first = next(n for n, said in enumerate(ours) if said != theirs[n])
    stream = next(k for k in range(9) if ours[first][k] != theirs[first][k])
    # Frame n's text and first codebook come from step n, its others from the next.
    logits = sampler.seen[first + (stream >= 2)][stream].float()
    mine, other = logits[[ours[first][stream], theirs[first][stream]]]
    apart = float((mine - other) / ulp(logits))
    what = f"frames in bf16, as we are, until a tie of {apart:.0f} ulp"
    report("7", what, PUBLISHED, first)
    assert mine == logits.max() and apart <= 2


def test_a_session_alone_and_in_a_batch_of_64(report):
    """Joins, leaves and pauses of 63 others; seeded sampling; bit for bit."""
    config, tensors = small()
    lm, user = loaded(config, tensors), torch.randint(0, 32, (60, 64, 8))
    prompt, codes = prompt_frames(config)
    rows, carry = rows_of_frames(config, prompt)
    watched = 17
    mine = codes(60, 8)

    def run(company):
        state, sampler, said = lm.state(64), lm.sampler(64), []
        chance = seeded(9)

        def join(row, seed):
            state.reset(row)
            lm.prefill(state, row, lm.embed(rows[:-1]), 0)
            state.begin(row, rows[-1], carry)
            sampler.set(
                row, seed=seed, temperatures=(0.7, 0.8), top_k=(25, 250), greedy=False
            )

        join(watched, 3)
        for n, codes in enumerate(mine):
            active = torch.zeros(64, dtype=torch.bool)
            if company:
                join(n % watched, n)
                active = torch.rand(64, generator=chance) < 0.6
            active[watched] = True
            frame = torch.full((64, 17), FREE)
            frame[:, USER] = user[n]
            frame[watched, USER] = codes
            row, output = lm.step(state, frame, sampler, active)
            said.append(row[watched].tolist() + output[watched].tolist())
        return said, state.ring.layers[-1][:, watched]

    (alone, kv), (together, crowded) = run(False), run(True)
    differ = differing(alone, together)
    report(
        "8", "alone or in a batch of 64, seeded, fp32", "ours", tokens(alone), differ
    )
    assert differ == 0
    assert torch.equal(kv, crowded)


def test_a_voice_from_its_file_and_from_its_recording(report):
    """The .pt path and the path of the codes, whole conversations with sound."""
    model = toy_model(context=120)
    engine, sound = Engine(model, 1), speech(2, 60)
    data = voice_of(engine, speech(8, 25))
    config = SessionConfig("a", "Be kind.", data, Sampling(greedy=True))
    slot = engine.open(config)
    while engine.prime(slot):
        pass
    steps = [engine.step({slot: frame})[slot] for frame in sound]
    from_file = [step.tokens[:9].tolist() for step in steps]

    pcm = torch.from_numpy(speech(8, 25)).float().div(2**15).reshape(1, 1, -1)
    state, codes = model.mimi.encoder_state(1), []
    for chunk in pcm.split(1920, dim=2):
        codes.append(model.mimi.encode_step(chunk, state)[0, :, 0])
    again = write_voice(voice_of_codes(model, torch.stack(codes)))
    one, other = (read_voice(each, model.config) for each in (data, again))
    differ = (one.embeddings != other.embeddings).sum()
    report("3", "a voice file's rows", "its codes", one.embeddings.numel(), differ)
    assert torch.equal(one.ring, other.ring) and not differ

    filler = model.filler
    ids = torch.tensor(model.tokenizer.encode(wrapped("Be kind.")))
    spacer = filler.frames(SPACER_FRAMES)
    voice = filler.voice_frames(torch.stack(codes))
    prompt = torch.cat([voice, spacer, filler.frames(len(ids), ids), spacer])
    rows, carry = rows_of_frames(model.config, prompt)
    user = [torch.from_numpy(step.tokens[9:].astype("int64")) for step in steps]
    lm = model.lm
    state, frame = lm.state(1), torch.full((1, 17), FREE)
    embeddings = lm.embed(rows[:-1])
    for start in range(0, len(embeddings), 32):
        lm.prefill(state, 0, embeddings[start : start + 32], start)
    state.begin(0, rows[-1], carry)
    from_codes = []
    for heard in user:
        frame[0, USER] = heard
        row, _ = lm.step(state, frame, lm.sampler(1))
        from_codes.append(row[0, :9].tolist())
    differ = differing(from_file, from_codes)
    report("9", "voice file or recording, 60 frames", "its codes", 540, differ)
    assert differ == 0
