"""The codec's kernels against its plain streaming path, past a full ring."""

import pytest
import torch

from inference.kernels import plain
from inference.network.mimi import Mimi, MimiConfig, fp32_convolutions
from tests.inference.kernels.shapes import DEVICE, error
from tests.inference.toys import TOY_MIMI, seeded

pytestmark = pytest.mark.gpu
FRAMES = 40
# Channels of convolutions from 16 to 256, and a bias that is not zero.
CONFIG = MimiConfig(
    n_filters=16,
    dim=128,
    n_layers=2,
    n_heads=2,
    ffn=256,
    bins=100,
    codebook_dim=32,
    n_codebooks=9,
    context=50,
)


def mimi(config):
    fp32_convolutions()
    made = Mimi(config)
    made.init_weights(seeded(8))
    for parameter in made.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=seeded(9))
    return made.eval().requires_grad_(False).to(DEVICE)


class Streams:
    def __init__(self, ops, config, batch):
        made = mimi(config)
        self.encoder, self.decoder = (
            made.encoder_state(batch),
            made.decoder_state(batch),
        )
        self.codec = ops.codec(made)

    def step(self, pcm, codes, active, n=None):
        """Codes of ``pcm``, and the sound of ``codes``, of the first n rows."""
        n = n or len(pcm)
        heard = torch.full((n, 8), -1, device=DEVICE)
        spoken = torch.full((n, 1920), 77, dtype=torch.int16, device=DEVICE)
        self.codec.encode(pcm[:n], self.encoder.first(n), active[:n], heard)
        self.codec.decode(codes[:n], self.decoder.first(n), active[:n], spoken)
        return heard, spoken


def drawn(config, batch, seed):
    generator = torch.Generator(DEVICE).manual_seed(seed)
    pcm = torch.randn(batch, 1920, device=DEVICE, generator=generator) * 3000
    shape = (batch, 8)
    codes = torch.randint(0, config.bins, shape, device=DEVICE, generator=generator)
    return pcm.to(torch.int16), codes


@pytest.mark.parametrize("config", [CONFIG, TOY_MIMI], ids=["round", "odd"])
def test_streams_agree(config):
    from inference.kernels import fast

    streams = [Streams(ops, config, 3) for ops in (fast, plain)]
    same, worst = [], 0.0
    with torch.inference_mode():
        for n in range(FRAMES):
            active = torch.tensor([True, n % 3 != 1, n > 10], device=DEVICE)
            ours, theirs = (s.step(*drawn(config, 3, n), active) for s in streams)
            same.append((ours[0] == theirs[0])[active].float().mean().item())
            worst = max(worst, error(ours[1][active], theirs[1][active]))
    assert sum(same) / FRAMES > 0.99  # two codes may be almost equally near
    assert worst < 1e-3
    for half in ("encoder", "decoder"):
        ours, theirs = (getattr(stream, half) for stream in streams)
        assert error(ours.buffer, theirs.buffer) < 1e-4
        assert torch.equal(ours.position, theirs.position)


def test_a_stream_gives_the_same_in_any_company():
    from inference.kernels import fast

    said = []
    for counts in ([1], [40], [1, 3, 8, 17, 40]):
        streams, steps = Streams(fast, CONFIG, 40), []
        with torch.inference_mode():
            for n in range(FRAMES):
                count = counts[n % len(counts)]
                active = torch.ones(40, dtype=torch.bool, device=DEVICE)
                given = drawn(CONFIG, 40, n)
                steps.append([t[0] for t in streams.step(*given, active, count)])
        said.append(steps)
    for steps in said[1:]:
        for ours, theirs in zip(steps, said[0], strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
