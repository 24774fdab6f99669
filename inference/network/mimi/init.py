"""Random weights for a codec that is to be trained, or to stand in for a trained one.

PyTorch's own initialisation shrinks the signal at every layer: what reaches the
output is 1e-5 of what entered and nothing is learnt. Here each layer keeps the
variance: std 1/sqrt(fan in), no bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from inference.network.mimi.conv import Conv
from inference.network.mimi.quantizer import Codebook, ResidualQuantizer
from inference.network.mimi.transformer import Attention, LayerScale

if TYPE_CHECKING:
    from inference.network.mimi.codec import Mimi

LAYER_SCALE = 0.01
SPEECH_RMS = 0.056  # -25 dBFS, a usual level of speech
PROBE_FRAMES = 8


@torch.no_grad()
def init_codec(codec: Mimi, generator: torch.Generator | None) -> None:
    generator = generator or torch.Generator().manual_seed(0)
    for module in codec.modules():
        _init_module(module, generator)
    shape = (1, 1, PROBE_FRAMES * codec.config.frame_samples)
    probe = _normal(shape, SPEECH_RMS, generator).to(_device(codec))
    latent = codec.encode_latent(probe)
    for chain in (codec.quantizer.rvq_first, codec.quantizer.rvq_rest):
        _init_codebooks(chain, latent, generator)
    _level_output(codec, generator)


def _init_module(module: nn.Module, generator: torch.Generator) -> None:
    match module:
        case nn.ConvTranspose1d():
            # Each output sample is touched by kernel / stride inputs.
            touched = module.kernel_size[0] // module.stride[0]
            fan_in = module.in_channels // module.groups * touched
            _fill(module.weight, fan_in, generator)
        case nn.Conv1d():
            fan_in = module.in_channels * module.kernel_size[0]
            _fill(module.weight, fan_in, generator)
        case nn.Linear():
            _fill(module.weight, module.in_features, generator)
        case Attention():
            weight = module.in_proj_weight
            _fill(weight, weight.shape[1], generator)
        case LayerScale():
            module.scale.fill_(LAYER_SCALE)
        case nn.LayerNorm():
            module.weight.fill_(1)
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        bias.zero_()


def _init_codebooks(
    chain: ResidualQuantizer, latent: Tensor, generator: torch.Generator
) -> None:
    """Vectors so long that taking the nearest of them off leaves less, not more."""
    rms = chain.input_proj(latent).pow(2).mean().sqrt().item()
    for module in chain.modules():
        if not isinstance(module, Codebook):
            continue
        bins, dim = module.embedding_sum.shape
        vectors = _normal((bins, dim), rms * 3 / dim**0.5, generator)
        module.embedding_sum.copy_(vectors)
        module.cluster_usage.fill_(1)
        module._initialized.fill_(1)
        module.refresh()


def _level_output(codec: Mimi, generator: torch.Generator) -> None:
    """Scale the last layer so that random codes sound like quiet noise."""
    config = codec.config
    shape = (1, config.n_codebooks_used, PROBE_FRAMES)
    codes = torch.randint(config.bins, shape, generator=generator)
    rms = codec.decode(codes.to(_device(codec))).pow(2).mean().sqrt()
    last = cast(Conv, codec.decoder.model[-1]).inner
    last.weight.mul_(SPEECH_RMS / rms)


def _fill(weight: Tensor, fan_in: int, generator: torch.Generator) -> None:
    weight.copy_(_normal(tuple(weight.shape), fan_in**-0.5, generator))


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    # Drawn where the generator lives, so that the seed alone decides.
    return torch.randn(shape, generator=generator, device=generator.device) * std


def _device(codec: Mimi) -> torch.device:
    return codec.downsample.conv.inner.weight.device
