"""A codec small enough to run past its ring's end, sound to feed it, a judgement."""

import dataclasses

import torch

from inference.network.mimi import MIMI_TINY, Mimi

SMALL = dataclasses.replace(
    MIMI_TINY, n_filters=8, dim=64, n_heads=2, ffn=128, bins=64, codebook_dim=32
)


def lively_codec(config, seed=0):
    """As initialised, except that the transformers' part is not scaled to nothing."""
    codec = Mimi(config)
    codec.init_weights(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, parameter in codec.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.7)
    return codec.eval()


def noise(batch, frames, seed=1):
    """Noise that swells and fades, [batch, 1, frames * 1920]."""
    generator = torch.Generator().manual_seed(seed)
    pcm = torch.randn(batch, 1, frames * 1920, generator=generator) * 0.05
    return pcm * (1 + torch.linspace(0, frames, frames * 1920).sin())


def codes_differ(codec, latent, ours, theirs):
    """Where codes differ though no near tie explains it, bool [B, K, F].

    Once two distances tie within 1e-4, the rest of that residual chain is excused.
    """
    wrong = ours != theirs
    start = 0
    for chain in (codec.quantizer.rvq_first, codec.quantizer.rvq_rest):
        residual = chain.input_proj(latent).transpose(1, 2)
        excused = torch.zeros_like(residual[..., 0], dtype=torch.bool)
        for k, codebook in enumerate(chain.codebooks, start):
            distances = torch.cdist(residual, codebook.vectors)
            best, second = distances.topk(2, largest=False).values.unbind(-1)
            excused = excused | (second - best <= 1e-4 * second)
            wrong[:, k] &= ~excused
            residual = residual - codebook.decode(ours[:, k])
        start += len(chain.codebooks)
    return wrong
