"""Causal convolutions, whole or in chunks, and the two stacks built from them.

Works on [B, channels, time]; must not depend on sessions. Names follow the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.mimi.config import MimiConfig
from inference.network.mimi.streaming import Step, StreamingLayer

# Positions so few that a CPU takes them as rows of a matrix product: its convolutions
# take 4 to 12 times as long for two of them. Beyond these, nothing is gained.
FEW = 4


def few(x: Tensor, positions: int) -> bool:
    return positions <= FEW and x.device.type == "cpu"


class Conv(StreamingLayer):
    """A convolution that looks back only; time must be a multiple of ``stride``."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        stride: int = 1,
        *,
        bias: bool = True,
        replicate: bool = False,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d(n_in, n_out, kernel, stride=stride, bias=bias)
        self.conv = nn.ModuleDict({"conv": conv})
        self.n_in = n_in
        self.overlap = kernel - stride
        # What stands left of the first input: zeros, or the first input again.
        self.replicate = replicate

    @property
    def inner(self) -> nn.Conv1d:
        return cast(nn.Conv1d, self.conv["conv"])

    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {self.key: (self.n_in, self.overlap)} if self.overlap else {}

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        conv = self.inner
        if not self.overlap:
            return conv(x)
        if step is None:
            mode = "replicate" if self.replicate else "constant"
            return conv(F.pad(x, (self.overlap, 0), mode=mode))
        left = step.carry(self.key)
        if self.replicate:
            left = torch.where(step.first, x[..., :1], left)
        x = torch.cat([left, x], dim=-1)
        step.keep(self.key, x[..., -self.overlap :])
        positions = (x.shape[-1] - self.overlap) // conv.stride[0]
        return self._product(x) if few(x, positions) else conv(x)

    def _product(self, x: Tensor) -> Tensor:
        """What the convolution gives, as one product: each row what a kernel sees."""
        conv = self.inner
        rows = x.unfold(-1, conv.kernel_size[0], conv.stride[0]).transpose(1, 2)
        return F.linear(rows.flatten(2), conv.weight.flatten(1), conv.bias).mT


class ConvTranspose(StreamingLayer):
    """A transposed convolution; each input's outputs overlap half with the next's."""

    def __init__(
        self, n_in: int, n_out: int, stride: int, *, bias: bool = True, groups: int = 1
    ) -> None:
        super().__init__()
        convtr = nn.ConvTranspose1d(
            n_in, n_out, 2 * stride, stride=stride, bias=bias, groups=groups
        )
        self.convtr = nn.ModuleDict({"convtr": convtr})
        self.n_out = n_out
        self.overlap = stride

    @property
    def inner(self) -> nn.ConvTranspose1d:
        return cast(nn.ConvTranspose1d, self.convtr["convtr"])

    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {self.key: (self.n_out, self.overlap)}

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        convtr = self.inner
        product = step is not None and convtr.groups == 1 and few(x, x.shape[-1])
        y = self._product(x) if product else convtr(x)
        ready, tail = y[..., : -self.overlap], y[..., -self.overlap :]
        if step is None:
            return ready
        ready[..., : self.overlap] += step.carry(self.key)
        if convtr.bias is not None:
            tail = tail - convtr.bias[:, None]  # the next call brings the bias again
        step.keep(self.key, tail)
        return ready

    def _product(self, x: Tensor) -> Tensor:
        """What the transposed convolution gives, as one product and a sum."""
        convtr, count = self.inner, x.shape[-1]
        both = torch.matmul(x.mT, convtr.weight.flatten(1))
        both = both.unflatten(-1, (self.n_out, 2, self.overlap))
        here, next_one = both.transpose(1, 2).unbind(3)  # [B, n_out, count, stride]
        y = x.new_zeros(len(x), self.n_out, count + 1, self.overlap)
        y[:, :, :count] = here
        y[:, :, 1:] += next_one
        whole = y.flatten(2)
        return whole if convtr.bias is None else whole.add_(convtr.bias[:, None])


class Elu(nn.Module):
    """Takes a step like its neighbours, and needs none."""

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        return F.elu(x)


class Stack(nn.Module):
    """Layers one after the other, all given the same step."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.model = nn.ModuleList(layers)

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        for layer in self.model:
            x = layer(x, step)
        return x


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.block = nn.ModuleList(
            [Elu(), Conv(width, half, 3), Elu(), Conv(half, width, 1)]
        )

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        y = x
        for layer in self.block:
            y = layer(y, step)
        return x + y


def encoder_stack(config: MimiConfig) -> Stack:
    """Samples [B, 1, T] to vectors [B, dim, T / hop]."""
    width = config.n_filters
    layers: list[nn.Module] = [Conv(1, width, 7)]
    for ratio in config.ratios:
        layers += [ResidualBlock(width), Elu()]
        layers += [Conv(width, 2 * width, 2 * ratio, ratio)]
        width *= 2
    return Stack([*layers, Elu(), Conv(width, config.dim, 3)])


def decoder_stack(config: MimiConfig) -> Stack:
    """Vectors [B, dim, N] to samples [B, 1, N * hop]."""
    width = config.n_filters * 2 ** len(config.ratios)
    layers: list[nn.Module] = [Conv(config.dim, width, 7)]
    for ratio in reversed(config.ratios):
        layers += [Elu(), ConvTranspose(width, width // 2, ratio)]
        width //= 2
        layers += [ResidualBlock(width)]
    return Stack([*layers, Elu(), Conv(width, 1, 3)])


class Downsample(nn.Module):
    """Transformer positions to frames, each dimension from all."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = Conv(dim, dim, 2 * stride, stride, bias=False, replicate=True)

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        return self.conv(x, step)


class Upsample(nn.Module):
    """Frames to transformer positions, each dimension by itself."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.convtr = ConvTranspose(dim, dim, stride, bias=False, groups=dim)

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        return self.convtr(x, step)
