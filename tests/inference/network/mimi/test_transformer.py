"""Which keys a query sees, position by position."""

import dataclasses

import pytest
import torch

from inference.network.mimi.transformer import (
    Plan,
    Transformer,
    ring_positions,
    rotary,
    rotate,
)
from tests.inference.network.mimi.examples import SMALL


def seen_by(query, length, context=250):
    """The positions whose input moves the output of ``query``, by its gradient."""
    config = dataclasses.replace(SMALL, context=context, n_layers=1)
    transformer = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    with torch.enable_grad():
        x = torch.randn(1, config.dim, length, generator=generator, requires_grad=True)
        transformer(x)[..., query].pow(2).sum().backward()
    return x.grad[0].abs().amax(dim=0).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("query", "oldest", "keys"),
    [
        (0, 0, 1),
        (1, 0, 2),
        (246, 0, 247),  # call 123: the last that sees all
        (247, 0, 248),
        (248, 1, 248),  # call 124 fills the ring
        (249, 1, 249),
        (250, 3, 248),
        (399, 151, 249),
    ],
)
def test_a_full_ring_shows_248_keys_then_249(query, oldest, keys):
    seen = seen_by(query, length=400)
    assert seen == list(range(oldest, query + 1))
    assert len(seen) == keys


def test_ring_slots_hold_the_newest_positions():
    assert ring_positions(torch.tensor([[5]]), 4).tolist() == [[4, 5, 2, 3]]


def test_slots_never_written_have_negative_positions():
    assert ring_positions(torch.tensor([[1]]), 4).tolist() == [[0, 1, -2, -1]]
    assert (ring_positions(torch.tensor([[-1]]), 4) < 0).all()


def test_rotation_turns_neighbouring_pairs():
    cos, sin = rotary(torch.tensor([[3]]), 4)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4)
    angles = torch.tensor([3.0, 3.0 * 10_000 ** (-2 / 4)])
    expected = torch.stack(
        [angles[0].cos(), angles[0].sin(), -angles[1].sin(), angles[1].cos()]
    )
    turned = rotate(x, Plan(cos, sin, None)).flatten()
    assert torch.allclose(turned, expected, atol=1e-6)
