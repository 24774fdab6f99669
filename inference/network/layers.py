"""Pieces that both transformers are made of: norm, rotary positions, gated FFN.

Knows tensors only. Every rounding is where the reference rounds (spec section 5):
norms and rotations in fp32, the result in the model's type.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-8


def parameter(*shape: int, dtype: torch.dtype, device: torch.device) -> nn.Parameter:
    """Uninitialised: loading or ``init_weights`` fills it."""
    data = torch.empty(*shape, dtype=dtype, device=device)
    return nn.Parameter(data, requires_grad=False)


def rms_norm(x: Tensor, alpha: Tensor) -> Tensor:
    """alpha is scaled before it meets x; the other order rounds differently."""
    wide = x.float()
    scale = wide.square().mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
    return (wide * (alpha.float() * scale)).to(x.dtype)


def rope_frequencies(head_dim: int, base: float, device: torch.device) -> Tensor:
    """Radians per position of each pair, fp32 [head_dim / 2]."""
    pairs = torch.arange(head_dim // 2, dtype=torch.float32, device=device)
    step = -2 * torch.log(torch.tensor(base, device=device)) / head_dim
    return torch.exp(pairs * step)


def rotation(position: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, fp32 [..., head_dim / 2], of absolute positions [...]."""
    angle = position.float()[..., None] * frequencies
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the interleaved pairs (2i, 2i + 1) of the last dimension, in fp32."""
    real, imaginary = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack(
        (real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1
    )
    return turned.flatten(-2).to(x.dtype)


def gated_ffn(x: Tensor, linear_in: Tensor, linear_out: Tensor) -> Tensor:
    """silu is rounded before the product, as the reference does uncompiled."""
    gate, up = F.linear(x, linear_in).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, linear_out)


def by_columns(*weights: nn.Parameter) -> None:
    """The same values, each matrix column by column in memory: a CPU multiplies a
    single row with it in three quarters of the time. What it adds up it adds in another
    order, so that results may differ in their last bits."""
    for weight in weights:
        weight.data = weight.data.mT.contiguous().mT


def fill_normal(weight: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Variance-preserving; drawn in fp32 where the generator lives, so that the seed
    alone decides."""
    drawn = torch.randn(
        weight.shape, generator=generator, device=generator.device, dtype=torch.float32
    )
    weight.copy_(drawn.mul_(fan_in**-0.5))
