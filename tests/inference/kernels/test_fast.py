"""Each kernel against its plain path, on fresh random inputs."""

import pytest
import torch

from inference.kernels import plain
from inference.kernels.ring import Ring
from inference.kernels.weights import FORMATS, interleave, pack
from inference.network.config import FREE
from inference.network.layers import rope_frequencies
from inference.network.sampling import Sampler
from tests.inference.kernels.shapes import DEVICE, DIM, drawn, error, small_config

pytestmark = pytest.mark.gpu
ROUNDED = 4e-3  # two bf16 roundings of what differs in the last bits of fp32


@pytest.fixture(scope="module")
def fast():
    from inference.kernels import fast

    return fast


@pytest.fixture
def ring():
    """Filled with random keys and values; the last row has pinned 40 positions."""

    def make(kv, position=None):
        config = small_config(300).temporal
        ring = Ring(config, 3, kv, DEVICE)
        for row in (2, 0, 1):  # so that their pages don't lie in order
            ring.reserve(row, 300)
            kv_rows = drawn(2, config.heads, 300, config.head_dim, seed=10 + row)
            ring.write(0, row, torch.arange(300, device=DEVICE), kv_rows)
        ring.pin(2, 40)
        ring.limit[1] = ring._limits[1] = 250  # its memory ended early
        if position is not None:
            ring.position.copy_(position)
        return ring

    return make


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [1, 3, 20, 130])
def test_products_agree(fast, format, count):
    weight = pack(drawn(320, 512, seed=2), format)
    x = drawn(count, 512, seed=count)
    ref = plain.linear(x, weight)[0]
    assert error(fast.linear(x, weight).sum(0), ref) < ROUNDED


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [1, 20])
def test_gated_products_agree(fast, format, count):
    weight = pack(interleave(drawn(384, 256, seed=2) * 0.06), format)
    x = drawn(count, 256, seed=count)
    assert error(fast.gated(x, weight), plain.gated(x, weight)) < ROUNDED


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [3, 130])
def test_products_with_a_prompt_agree(fast, format, count):
    weight = pack(drawn(320, 512, seed=2), format)
    x = drawn(count, 512, seed=count)
    out = fast.project(x, weight)
    assert out.dtype == torch.bfloat16
    assert error(out, plain.project(x, weight)) < 2 * ROUNDED


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_gives_the_same_in_any_company(fast, format):
    weight = pack(drawn(320, 1024, seed=2), format)
    x = drawn(128, 1024)
    alone = fast.linear(x[:1], weight)
    for count in (2, 16, 17, 32, 64, 128):
        assert torch.equal(fast.linear(x[:count], weight)[:, :1], alone)


def test_embeddings_agree(fast):
    tokens = torch.randint(0, 33, (3, 17), device=DEVICE)
    emb, text_emb = drawn(16, 33, 256), drawn(101, 256, seed=2)
    alpha = drawn(256, seed=3)
    x, y = fast.embed(tokens, emb, text_emb, alpha)
    plain_x, plain_y = plain.embed(tokens, emb, text_emb, alpha)
    assert torch.equal(x, plain_x)
    assert error(y, plain_y) < ROUNDED


def test_residual_and_norm_agree(fast):
    parts, x = drawn(3, 5, 256, dtype=torch.float32), drawn(5, 256, seed=2)
    alpha = drawn(256, seed=3)
    for out, ref in zip(
        fast.add_norm(parts, x, alpha), plain.add_norm(parts, x, alpha), strict=True
    ):
        assert error(out, ref) < ROUNDED


@pytest.mark.parametrize("kv", ["bf16", "int8"])
def test_the_ring_is_written_alike(fast, ring, kv):
    parts = drawn(2, 3, 3 * DIM, dtype=torch.float32)
    position = torch.tensor([0, 299, 100_003], device=DEVICE)
    active = torch.tensor([True, False, True], device=DEVICE)
    frequencies = rope_frequencies(128, 10_000.0, DEVICE)
    rings = [ring(kv, position), ring(kv, position)]
    queries = [
        ops.write_kv(parts, each, 0, frequencies, position, active)
        for ops, each in zip((fast, plain), rings, strict=True)
    ]
    assert error(*queries) < ROUNDED
    keys = [each.read(0, slice(0, 3), 300).float() for each in rings]
    assert error(*keys) < ROUNDED
    untouched = ring(kv).read(0, slice(1, 2), 300)
    assert torch.equal(rings[0].read(0, slice(1, 2), 300), untouched)


@pytest.mark.parametrize("kv", ["bf16", "int8"])
@pytest.mark.parametrize(
    "positions", [[0, 1, 255], [256, 297, 298], [299, 300, 599], [555, 556, 10_000]]
)
def test_attention_agrees(fast, ring, kv, positions):
    position, q = torch.tensor(positions, device=DEVICE), drawn(3, DIM // 128, 128)
    full = ring(kv, position)
    active = torch.ones(3, dtype=torch.bool, device=DEVICE)
    out = fast.attend(q, full, 0, position, active)
    assert error(out, plain.attend(q, full, 0, position, active)) < ROUNDED


def test_a_row_that_sits_out_sees_nothing(fast, ring):
    position = torch.tensor([9, 9, 9], device=DEVICE)
    active = torch.tensor([True, False, True], device=DEVICE)
    out = fast.attend(drawn(3, DIM // 128, 128), ring("bf16"), 0, position, active)
    assert not out[1].any()
    assert out[0].any()


def test_attention_within_a_frame_agrees(fast):
    stores = [torch.zeros(3, 2, 2, 8, 64, device=DEVICE).bfloat16() for _ in range(2)]
    for at in range(8):
        parts = drawn(2, 3, 3 * 128, seed=at, dtype=torch.float32)
        out = fast.attend_frame(parts, stores[0], at)
        assert error(out, plain.attend_frame(parts, stores[1], at)) < ROUNDED


@pytest.mark.parametrize("stream", [0, 4])
@pytest.mark.parametrize("parts", [1, 3])
def test_the_same_tokens_are_chosen(fast, stream, parts):
    batch, count = 40, 100
    sampler = Sampler(batch, count, count, DEVICE)
    for row in range(batch - 8):
        sampler.set(
            row,
            seed=row - 3,
            temperatures=(0.7, 0.0 if row == 5 else 0.8),
            top_k=(25, 1 + 3 * row),
            greedy=row % 7 == 3,
        )
    settings = (sampler.seed, sampler.greedy, sampler.temperature, sampler.top_k)
    # Coarse logits: many ties.
    logits = drawn(parts, batch, count, dtype=torch.float32).mul(4).round().div(4)
    carry = torch.full((batch, 17), FREE, device=DEVICE)
    carry[2] = 7
    position = torch.arange(batch, device=DEVICE) * 1000
    emb, alpha = drawn(count, 128, seed=5), drawn(128, seed=6)
    inputs = drawn(2, batch, 8 * 128, dtype=torch.float32, seed=7)
    tokens, following = [], []
    for ops in (fast, plain):
        chosen = torch.full((batch, 9), -5, device=DEVICE)
        following.append(
            ops.choose(
                logits,
                stream,
                carry,
                position,
                settings,
                chosen,
                (inputs, emb, alpha),
            )
        )
        tokens.append(chosen)
    assert torch.equal(*tokens)
    assert tokens[0][2, stream] == 7
    assert len(tokens[0][:, stream].unique()) > 8
    for out, ref in zip(*following, strict=True):
        assert error(out, ref) < ROUNDED


def test_a_step_is_completed_and_taken_alike(fast):
    generator = torch.Generator(DEVICE).manual_seed(1)

    def tokens(*shape):
        return torch.randint(0, 32, shape, generator=generator, device=DEVICE)

    row, carry = tokens(4, 17), tokens(4, 17)
    position, chosen, user = tokens(4), tokens(4, 9), tokens(4, 8)
    active = torch.tensor([True, False, True, True], device=DEVICE)
    delayed = torch.tensor(small_config().delays, device=DEVICE) > 0
    states = [[t.clone() for t in (row, carry, position)] for _ in range(2)]
    results = [
        (
            ops.complete(state[0], chosen, delayed),
            ops.advance(*state, chosen, user, delayed, active),
        )
        for ops, state in zip((fast, plain), states, strict=True)
    ]
    for out, ref in zip(
        (*results[0], *states[0]), (*results[1], *states[1]), strict=True
    ):
        assert torch.equal(out, ref)
