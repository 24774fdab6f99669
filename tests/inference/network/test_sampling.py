"""Which token is chosen, and what that depends on."""

import pytest
import torch

from inference.network.sampling import Sampler, exponentials, keep_top, signed64
from tests.inference.toys import seeded

CPU = torch.device("cpu")
AUDIO = 3  # any audio stream


def sampler(batch, size=512, **settings):
    made = Sampler(batch, size, size, CPU)
    defaults = {
        "seed": 1,
        "temperatures": (0.7, 0.8),
        "top_k": (25, 250),
        "greedy": False,
    }
    for row in range(batch):
        made.set(row, **{**defaults, **settings})
    return made


def chosen(sampler, stream, logits, at=5):
    """``at``: the position, or one for each row."""
    position = torch.as_tensor(at).expand(len(logits))
    return sampler.choose(stream, logits, sampler.draw(position))


def test_greedy_takes_the_lowest_of_equals():
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0, 2.0]], dtype=torch.bfloat16)
    assert chosen(sampler(1, 5, greedy=True), 0, logits).tolist() == [1]


def test_a_temperature_of_zero_is_greedy():
    logits = torch.randn(4, 30, generator=seeded(0))
    cold = sampler(4, 30, temperatures=(0.0, 0.0))
    assert torch.equal(chosen(cold, 0, logits), logits.argmax(-1))


def test_only_the_k_largest_are_drawn_and_of_equals_the_lowest():
    p = torch.tensor([[0.1, 0.2, 0.1, 0.3, 0.2, 0.1], [1.0, 0, 0, 0, 0, 0]])
    kept = keep_top(p, torch.tensor([4, 2]), widest=5)
    assert kept[0].nonzero().flatten().tolist() == [0, 1, 3, 4]
    assert kept[1].nonzero().flatten().tolist() == [0, 1]


def test_top_k_of_one_is_the_largest():
    logits = torch.randn(8, 40, generator=seeded(1))
    narrow = sampler(8, 40, top_k=(1, 1))
    assert torch.equal(chosen(narrow, AUDIO, logits), logits.argmax(-1))


def test_draws_follow_the_probabilities():
    """20,000 positions of one session: each frequency within 5 standard errors."""
    n, k, temperature = 20_000, 6, 0.8
    logits = torch.randn(1, 12, generator=seeded(2)).expand(n, -1)
    made = sampler(n, 12, temperatures=(0.7, temperature), top_k=(25, k), seed=99)
    taken = chosen(made, AUDIO, logits, torch.arange(n))
    best = (logits[0] / temperature).softmax(-1).topk(k)
    p = torch.zeros(12).index_put((best.indices,), best.values / best.values.sum())
    seen = torch.bincount(taken, minlength=12) / n
    error = (p * (1 - p) / n).sqrt()
    assert ((seen - p).abs() <= 5 * error).all()


def test_exponentials_have_mean_and_variance_one_and_are_never_zero():
    drawn = exponentials(torch.arange(400), torch.arange(400), AUDIO, 1000)
    assert drawn.min() > 0
    assert drawn.mean().item() == pytest.approx(1, abs=0.01)
    assert drawn.var().item() == pytest.approx(1, abs=0.02)


def test_streams_positions_seeds_and_tokens_draw_independently():
    n = 4000
    seed, at = torch.full((n,), 12345), torch.arange(n)
    base = exponentials(seed, at, 1, 2)
    for other in (
        exponentials(seed, at, 2, 2)[:, 0],
        exponentials(seed, at + 1, 1, 2)[:, 0],
        exponentials(seed + 1, at, 1, 2)[:, 0],
        base[:, 1],
    ):
        correlation = torch.corrcoef(torch.stack((base[:, 0], other)))[0, 1]
        assert abs(correlation) < 0.06


def test_company_and_place_do_not_change_a_draw():
    logits = torch.randn(5, 512, generator=seeded(3)).bfloat16()
    alone = sampler(1)
    alone.set(0, seed=77, temperatures=(0.7, 0.8), top_k=(25, 250), greedy=False)
    expected = [chosen(alone, AUDIO, logits[:1], at) for at in range(50)]
    crowd = sampler(5)
    for row, k in enumerate((500, 3, 1, 250, 40)):
        crowd.set(row, seed=row, temperatures=(1, 1), top_k=(k, k), greedy=row == 2)
    crowd.set(3, seed=77, temperatures=(0.7, 0.8), top_k=(25, 250), greedy=False)
    swapped = logits[[3, 1, 2, 0, 4]]
    for at in range(50):
        assert chosen(crowd, AUDIO, swapped, at)[3] == expected[at][0]


def test_a_row_that_was_closed_leaves_nothing_behind():
    """Its wide top-k once indexed beyond what the others had sorted."""
    made = sampler(2, top_k=(5, 5))
    made.set(1, seed=0, temperatures=(1, 1), top_k=(400, 400), greedy=False)
    made.clear(1)
    logits = torch.randn(2, 512, generator=seeded(4))
    chosen(made, AUDIO, logits)


def test_a_top_k_beyond_the_vocabulary_takes_all_of_it():
    logits = torch.randn(3, 40, generator=seeded(5))
    wide, whole = sampler(3, 40, top_k=(999, 999)), sampler(3, 40, top_k=(40, 40))
    assert torch.equal(chosen(wide, AUDIO, logits), chosen(whole, AUDIO, logits))


def test_all_streams_at_once_draw_what_each_draws_alone():
    made, at = sampler(3, 40), torch.tensor([4, 5, 6])
    drawn = made.draw(at)
    assert len(drawn) == 9
    for stream, draws in enumerate(drawn):
        assert torch.equal(draws, exponentials(made.seed, at, stream, 40))


def test_greedy_company_draws_nothing():
    assert sampler(3, greedy=True).draw(torch.arange(3)) == []


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 - 1, -(2**63), 2**80 + 5])
def test_any_integer_is_a_seed(seed):
    value = signed64(seed)
    assert -(2**63) <= value < 2**63
    assert (value - seed) % 2**64 == 0
