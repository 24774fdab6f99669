"""Streaming equals whole, beyond the window's wrap; and the window itself."""

import math

import pytest
import torch

from inference.network.config import TemporalConfig
from inference.network.temporal import TemporalTransformer
from tests.inference.toys import seeded

CONFIG = TemporalConfig(dim=64, layers=3, heads=2, context=24)
LENGTH = 100


@pytest.fixture(scope="module")
def transformer():
    transformer = TemporalTransformer(CONFIG, torch.float32, torch.device("cpu"))
    transformer.init_weights(seeded(0))
    return transformer


@pytest.fixture(scope="module")
def inputs():
    return torch.randn(2, LENGTH, CONFIG.dim, generator=seeded(1))


def pinned_ring(transformer, pins):
    ring = transformer.ring(len(pins))
    for row, count in enumerate(pins):
        ring.pin(row, count)
    return ring


@torch.inference_mode()
def stepped(transformer, x, spans=False, pins=None):
    ring = pinned_ring(transformer, pins or [0] * x.shape[0])
    hidden = []
    for t in range(x.shape[1]):
        span = min(t + 1, CONFIG.context) if spans else None
        hidden.append(transformer.step(x[:, t], ring, None, span))
    return torch.stack(hidden, dim=1), ring


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_steps_give_what_one_pass_gives(transformer, inputs):
    close(stepped(transformer, inputs)[0], transformer(inputs))


def test_reading_only_what_is_written_gives_the_same(transformer, inputs):
    close(stepped(transformer, inputs, spans=True)[0], transformer(inputs))
    close(stepped(transformer, inputs[:1], spans=True)[0], transformer(inputs[:1]))


@pytest.mark.parametrize("pins", [(0, 0), (5, 22), (22, 0)])
@pytest.mark.parametrize("chunk", [1, 7, 24, 25, 60, LENGTH])
def test_prefill_gives_what_steps_give(transformer, inputs, chunk, pins):
    whole, ring = stepped(transformer, inputs, pins=pins)
    filled = pinned_ring(transformer, pins)
    with torch.inference_mode():
        for row in (1, 0):
            for start in range(0, LENGTH, chunk):
                part = inputs[row, start : start + chunk]
                hidden = transformer.prefill(part, filled, row, start)
                close(hidden, whole[row, start : start + chunk])
    assert torch.equal(filled.position, ring.position)
    for a, b in zip(filled.layers, ring.layers, strict=True):
        close(a, b)


def test_rows_may_be_at_different_positions(transformer, inputs):
    whole = transformer(inputs)
    ring = transformer.ring(2)
    with torch.inference_mode():
        transformer.prefill(inputs[0, :31], ring, 0, 0)
        for t in range(40):
            x = torch.stack((inputs[0, 31 + t], inputs[1, t]))
            hidden = transformer.step(x, ring, None)
            close(hidden, torch.stack((whole[0, 31 + t], whole[1, t])))


def test_a_row_that_sits_out_is_not_disturbed(transformer, inputs):
    whole, ring = transformer(inputs), transformer.ring(2)
    generator, turn = seeded(3), [0, 0]
    with torch.inference_mode():
        while min(turn) < LENGTH:
            active = torch.rand(2, generator=generator) < 0.5
            active &= torch.tensor(turn) < LENGTH
            at = [min(t, LENGTH - 1) for t in turn]
            # What a row computes while it sits out is thrown away.
            x = torch.stack([inputs[b, at[b]] for b in (0, 1)])
            x[~active] *= 5
            hidden = transformer.step(x, ring, active)
            for b in (0, 1):
                if active[b]:
                    close(hidden[b], whole[b, turn[b]])
                    turn[b] += 1


@pytest.mark.parametrize("pinned", [0, 1, 9, 22])
def test_pinned_positions_and_the_newest_others_are_held(transformer, inputs, pinned):
    """24 slots, of which one is the next to be written: so 23 - pinned others."""
    pins = (pinned, 0)
    ring = pinned_ring(transformer, pins)
    with torch.inference_mode():
        for t in range(60):
            transformer.step(inputs[:, t], ring, None)
            slots, held = ring.held(0, t + 1)
            loose = range(max(pinned, t + 1 - (24 - pinned)), t + 1)
            expected = {*range(min(pinned, t + 1)), *loose}
            assert sorted(held.tolist()) == sorted(expected)
            ring.position -= 1  # as the step saw it
            seen = ring.view(None)[0, 0, 0, : len(slots)]
            ring.position += 1
            oldest = {min(loose)} if t + 1 >= 24 else set()
            assert set(held[seen].tolist()) == expected - oldest


def test_no_more_can_be_pinned_than_leaves_two_to_slide(transformer):
    ring = transformer.ring(1)
    for count in (-1, 23, 1000):
        with pytest.raises(ValueError, match="pinned"):
            ring.pin(0, count)


def test_a_reset_row_is_pinned_no_longer(transformer, inputs):
    ring = pinned_ring(transformer, (9, 9))
    ring.reset(0)
    assert ring.pinned.tolist() == [0, 9]
    with torch.inference_mode():
        hidden = [transformer.step(inputs[:, t], ring, None)[0] for t in range(LENGTH)]
    close(torch.stack(hidden), transformer(inputs[:1])[0])


def test_a_reset_row_starts_again(transformer, inputs):
    _, ring = stepped(transformer, inputs * math.nan)  # a session that broke
    with torch.inference_mode():
        ring.reset(1)
        hidden = transformer.step(inputs[:, 0], ring, None)
    close(hidden[1], transformer(inputs[1:, :1])[0, 0])
    assert hidden[0].isnan().all()


@pytest.mark.parametrize("t", [CONFIG.context - 2, CONFIG.context - 1, 40])
def test_one_key_less_than_the_context_is_in_view(t):
    """Position t sees t - 22 … t at context 24: 23 keys, and not 24."""
    transformer = TemporalTransformer(
        TemporalConfig(dim=64, layers=1, heads=2, context=24),
        torch.float32,
        torch.device("cpu"),
    )
    transformer.init_weights(seeded(4))
    x = torch.randn(1, t + 1, 64, generator=seeded(5))

    def last(changed):
        other = x.clone()
        other[0, changed] += 1
        return stepped(transformer, other)[0][0, t]

    oldest = max(t - 22, 0)
    assert not torch.equal(last(oldest), stepped(transformer, x)[0][0, t])
    if oldest:
        assert torch.equal(last(oldest - 1), stepped(transformer, x)[0][0, t])
