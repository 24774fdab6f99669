"""What both transformers are made of: a layer's weights, norm, rotary positions, FFN.

Must not depend on anything but tensors and sizes. Every rounding is where the reference
rounds (spec section 5): norms and rotations in fp32, the result in the model's type.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import DepthConfig, TemporalConfig, ffn_hidden

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


class TransformerLayer(nn.Module):
    """The weights of a layer of either transformer: two norms and four matrices, these
    with the leading dimensions ``stack``."""

    def __init__(
        self,
        config: TemporalConfig | DepthConfig,
        dtype: torch.dtype,
        device: torch.device,
        stack: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        dim, hidden = config.dim, ffn_hidden(config.dim)
        new = partial(parameter, dtype=dtype, device=device)
        self.heads, self.head_dim = config.heads, config.head_dim
        self.norm1, self.norm2 = new(dim), new(dim)
        self.in_proj, self.out_proj = new(*stack, 3 * dim, dim), new(*stack, dim, dim)
        self.linear_in = new(*stack, 2 * hidden, dim)
        self.linear_out = new(*stack, dim, hidden)

    @property
    def matrices(self) -> tuple[nn.Parameter, ...]:
        return self.in_proj, self.out_proj, self.linear_in, self.linear_out

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        self.norm1.fill_(1)
        self.norm2.fill_(1)
        for weight in self.matrices:
            fill_normal(weight, weight.shape[-1], generator)

    def by_columns(self) -> None:
        by_columns(*self.matrices)


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
