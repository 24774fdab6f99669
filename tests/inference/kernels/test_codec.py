"""The codec's kernel against its plain streaming path, past a full ring."""

import pytest
import torch

from inference.network.mimi import Mimi, MimiConfig
from inference.network.mimi.streaming import Step
from tests.inference.kernels.shapes import DEVICE, error
from tests.inference.toys import seeded

CONFIG = MimiConfig(
    n_filters=4,
    dim=64,
    n_layers=2,
    n_heads=2,
    ffn=64,
    bins=32,
    codebook_dim=16,
    n_codebooks=8,
    context=50,
)


def codec():
    mimi = Mimi(CONFIG)
    mimi.init_weights(seeded(8))
    return mimi.eval().requires_grad_(False).to(DEVICE)


@pytest.mark.gpu
def test_streams_agree():
    from inference.kernels.codec import speed_up

    plain, fast = codec(), codec()
    speed_up(fast)
    states = [(mimi.encoder_state(3), mimi.decoder_state(3)) for mimi in (plain, fast)]
    generator = torch.Generator(DEVICE).manual_seed(1)
    worst = 0.0
    with torch.inference_mode():
        for n in range(70):
            active = torch.tensor([True, n % 3 != 1, n > 20], device=DEVICE)
            x = torch.randn(3, 64, 2, device=DEVICE, generator=generator)
            latents = []
            for mimi, (encoder, _) in zip((plain, fast), states, strict=True):
                step = Step(encoder, active)
                latents.append(mimi.encoder_transformer(x, step)[active])
                step.advance(2)
            worst = max(worst, error(latents[1], latents[0]))
    assert worst < 1e-5
    for key in ("keys", "values"):
        name = f"encoder_transformer.transformer.layers.1.self_attn.{key}"
        assert error(states[1][0][name], states[0][0][name]) < 1e-5
