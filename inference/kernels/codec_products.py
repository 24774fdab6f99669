"""The codec's products with its matrices: convolutions and projections of one frame.

Sound and vectors lie time first, [B, T, channels], so a window of a convolution is a
run of memory and every layer is a product with a matrix [outputs, taps * channels].
What one row gives is the same sum in the same order whatever B is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.kernels.nvrtc import INT, POINTER, kernel

UNIT = 16  # columns that a warp takes at a time
WARPS = 8
BUSY = 200  # blocks that keep a large GPU busy
# Groups of 16 outputs and tiles of 8 rows that a warp takes, the largest first; and
# units under way, as many as let two blocks share a multiprocessor.
SHAPES = {(2, 4): 3, (1, 4): 4, (1, 2): 6, (1, 1): 8}

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


@dataclass(frozen=True)
class Shape:
    """Of a product: what a warp takes, and how many warps share the columns."""

    groups: int
    tiles: int
    slices: int
    parts: int

    def grid(self, layer: Layer, rows: int) -> tuple[int, int]:
        of_block = WARPS // self.slices * 8 * self.tiles
        return -(-layer.width // (16 * self.groups)), -(-rows // of_block)


def shape_of(layer: Layer, rows: int) -> Shape:
    """For so many rows. How a sum is cut, in parts, depends on the layer alone."""
    units = layer.weight.shape[1] // UNIT
    parts = 8 if units >= 32 else 4 if units >= 12 else 2 if units >= 4 else 1
    largest, *_ = shapes = [Shape(*shape, parts, parts) for shape in SHAPES]
    for shape in (replace(largest, slices=1), *shapes):
        blocks, of_rows = shape.grid(layer, rows)
        if blocks * of_rows >= BUSY:
            return shape
    return shapes[-1]


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
    shape = shape_of(layer, rows)
    groups, tiles = shape.groups, shape.tiles
    stages = SHAPES[groups, tiles]
    staged = stages * 512 * (2 * groups + tiles)
    shared = WARPS * max(staged, 4 * 8 * tiles * (16 * groups + 8))
    definitions = {"R": groups, "NT": tiles, "STAGES": stages}
    definitions |= {"PARTS": shape.parts, "SLICES": shape.slices}
    definitions["WHOLE"] = int(layer.channels % UNIT == 0)
    run = kernel(
        "codec.cu",
        "product",
        tuple(definitions.items()),
        shared,
        torch.cuda.current_device(),
    )
    numbers = (rows, layer.width, layer.channels, layer.taps, ins, outs, layer.stride)
    row = 0 if state is None else state.stride(0)
    pointers = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
    values = (*pointers, *numbers, times, row, flags, out)
    run.launch(shape.grid(layer, rows), 32 * WARPS, values, _TYPES)
