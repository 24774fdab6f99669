"""The chain of 8 codes, step by step against one teacher-forced pass."""

import torch

from inference.network.config import DepthConfig
from inference.network.depth import DepthTransformer
from tests.inference.toys import seeded

CONFIG = DepthConfig(dim=32, layers=3, heads=2, steps_stored=8)
TEXTS, BINS = 50, 40


def make():
    depth = DepthTransformer(
        CONFIG, 64, TEXTS, BINS, torch.float32, torch.device("cpu")
    )
    depth.init_weights(seeded(0))
    return depth


def inputs(batch=6):
    hidden = torch.randn(batch, 64, generator=seeded(1))
    text = torch.randint(TEXTS + 1, (batch,), generator=seeded(2))
    codes = torch.randint(BINS, (batch, 8), generator=seeded(3))
    return hidden, text, codes


def test_steps_give_what_one_pass_gives():
    depth, (hidden, text, codes) = make(), inputs()
    seen = []

    def choose(codebook, logits):
        assert codebook == len(seen)
        seen.append(logits)
        return torch.zeros(len(logits), dtype=torch.int64)

    assert torch.equal(depth.step(hidden, text, codes, choose), codes)
    whole = depth(hidden, text, codes)
    torch.testing.assert_close(torch.stack(seen, 1), whole, rtol=1e-4, atol=1e-5)


def test_chosen_codes_feed_the_chain_like_provided_ones():
    depth, (hidden, text, _) = make(), inputs()
    free = torch.full((6, 8), -1)
    chosen = depth.step(hidden, text, free, lambda _, logits: logits.argmax(-1))
    assert torch.equal(depth(hidden, text, chosen).argmax(-1), chosen)
    half = torch.where(torch.arange(8) < 4, chosen, -1)
    again = depth.step(hidden, text, half, lambda _, logits: logits.argmax(-1))
    assert torch.equal(again, chosen)
