"""The codec's products with its matrices: convolutions and projections of one frame.

Sound and vectors lie time first, [B, T, channels], so a window of a convolution is a
run of memory and every layer is a product with a matrix [outputs, taps * channels].
What one row gives is the same sum in the same order whatever B is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.cards import this_card
from inference.kernels.nvrtc import INT, POINTER, kernel
from inference.kernels.shapes import (
    UNIT,
    WARPS,
    CodecMatrix,
    CodecShape,
    Program,
    codec_program,
    codec_shape,
)

# What becomes of a sum: itself, ELU or GELU of it, other + it, other + gain * it.
SUM, ELU, GELU, ADD, SCALE = range(5)
_ELU_IN, _STATE, _REPLICATE, _NORM, _TRANSPOSED = 1, 2, 4, 8, 16
_TYPES = (POINTER,) * 10 + (INT,) * 11


@dataclass(frozen=True)
class Layer:
    """A convolution, or with one tap a projection. ``key`` names what it carries in
    the stream's state, [channels, overlap]."""

    weight: Tensor  # fp32 [width, taps * channels in whole units], the oldest tap first
    channels: int
    bias: Tensor | None = None
    taps: int = 1
    stride: int = 1
    key: str = ""
    replicate: bool = False

    @property
    def width(self) -> int:
        return self.weight.shape[0]


def packed(weight: Tensor) -> Tensor:
    """[width, taps, channels] as a layer wants it; itself if its units are whole."""
    short = -weight.shape[2] % UNIT
    return F.pad(weight, (0, short)).flatten(1) if short else weight.flatten(1)


def product(
    x: Tensor,
    layer: Layer,
    state: Tensor | None = None,
    position: Tensor | None = None,
    *,
    norm: tuple[Tensor, Tensor] | None = None,
    elu_in: bool = False,
    out: int = SUM,
    other: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """x [B, T, channels] to [B, T / stride, width]. ``norm``: gain and offset of a
    layer norm before a projection; ``other`` [B, T / stride, width] for ADD and
    SCALE."""
    batch, ins, _ = x.shape
    outs = ins // layer.stride
    result = x.new_empty(batch, outs, layer.width)
    flags = elu_in * _ELU_IN | (norm is not None) * _NORM
    flags |= (state is not None) * _STATE | layer.replicate * _REPLICATE
    gains, offsets = norm or (gain, None)
    tensors = [x, layer.weight, layer.bias, other, gains, offsets, state, position]
    _launch(layer, [*tensors, result, None], (batch, ins, outs), 1, flags, out)
    return result


def transposed(
    x: Tensor, layer: Layer, state: Tensor, times: int
) -> tuple[Tensor, Tensor]:
    """ELU of x [B, T, channels] through a transposed convolution to [B, T * times,
    width / times], and what it leaves to the next frame, [B, times, width / times].
    ``layer``: outputs in order of time, then channel."""
    batch, ins, _ = x.shape
    each = layer.width // times
    out = x.new_empty(batch, ins * times, each)
    tail = x.new_empty(batch, times, each)
    tensors = [x, layer.weight, layer.bias, *[None] * 3, state, None, out, tail]
    flags = _ELU_IN | _TRANSPOSED
    _launch(layer, tensors, (batch, ins, ins + 1), times, flags, SUM)
    return out, tail


@functools.cache
def _cut(matrix: CodecMatrix, rows: int, device: int) -> tuple[CodecShape, Program]:
    card = this_card(device)
    shape = codec_shape(matrix, rows, card)
    return shape, codec_program(matrix, shape, card)


def _launch(
    layer: Layer,
    tensors: list[Tensor | None],
    frame: tuple[int, int, int],
    times: int,
    flags: int,
    out: int,
) -> None:
    batch, ins, outs = frame
    rows, state = batch * outs, tensors[6]
    device = torch.cuda.current_device()
    whole = layer.channels % UNIT == 0
    matrix = CodecMatrix(layer.width, layer.weight.shape[1], whole)
    shape, program = _cut(matrix, rows, device)
    run = kernel(program, device)
    numbers = (rows, layer.width, layer.channels, layer.taps, ins, outs, layer.stride)
    row = 0 if state is None else state.stride(0)
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    values = (*pointers, *numbers, times, row, flags, out)
    run.launch(shape.grid(layer.width, rows), 32 * WARPS, values, _TYPES)
