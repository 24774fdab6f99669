"""Random weights that can learn and be heard."""

import torch

from inference.network.mimi import MIMI_TINY, Mimi
from tests.inference.network.mimi.examples import noise


def tiny(seed):
    codec = Mimi(MIMI_TINY)
    codec.init_weights(torch.Generator().manual_seed(seed))
    return codec.eval()


def rms(x):
    return x.pow(2).mean().sqrt().item()


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (tiny(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(
        one["encoder.model.0.conv.conv.weight"],
        other["encoder.model.0.conv.conv.weight"],
    )


def test_random_codes_are_audible_but_not_loud():
    for seed in range(3):
        codec = tiny(seed)
        codes = torch.randint(512, (2, 8, 25), generator=torch.Generator())
        level = 20 * torch.tensor(rms(codec.decode(codes))).log10()
        assert -30 < level < -20


def test_what_is_encoded_reaches_what_is_decoded():
    # With PyTorch's own initialisation the answer moves by 1e-5 of itself.
    codec = tiny(0)
    latents = [codec.encode_latent(noise(1, 10, seed)) for seed in (1, 2)]
    said = [codec.decode_latent(latent) for latent in latents]
    assert rms(said[0] - said[1]) > 0.3 * rms(said[0])


def test_different_sounds_get_different_codes():
    codes = tiny(0).encode(noise(1, 100))
    assert all(codes[0, k].unique().numel() > 30 for k in range(8))


def test_gradients_reach_the_first_layer():
    codec = tiny(0)
    with torch.enable_grad():
        codec.decode_latent(codec.encode_latent(noise(1, 4))).pow(2).mean().backward()
    unreached = [
        name
        for name, parameter in codec.named_parameters()
        if not name.startswith("quantizer.")
        and (parameter.grad is None or not parameter.grad.any())
    ]
    assert unreached == []
