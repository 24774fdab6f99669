"""Weight matrices in the number formats that products read: bf16, int8, fp8, int4.

Defines the packed layouts and what they mean in plain PyTorch. Must not depend on a
model.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.loading.safetensors_file import narrowed

FORMATS = ("bf16", "int8", "fp8", "int4")
BLOCK = 64  # columns that lie together; in int4 they share a scale
GROUP_ROWS = 16  # rows that lie together
ROWS_AT_ONCE = 4096  # packed together: what is held in fp32 on the way
FP8_MAX = 448.0
# Which of 4 (bytes) and 8 (nibbles) neighbouring columns stands where in a word, so
# that a mask finds two neighbours 16 bits apart.
BYTE_ORDER = (0, 2, 1, 3)
NIBBLE_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Weight:
    """A matrix [rows, columns] as the tensor cores' left operand wants it.

    16 rows by 64 columns lie together. Of these, lane 4g + t of a warp holds, of rows g
    and g + 8, columns 16t to 16t + 15; step j of the product takes 4j to 4j + 3 of
    those. ``data`` is uint8; [groups of rows, blocks of columns] and then

    bf16: step, lane, pair of columns, row, 2 columns
    int8, fp8: row, lane, 16 columns (4 by 4 in BYTE_ORDER); ``scale`` fp32 [rows]
    int4: lane, row, 16 columns (8 by 8 in NIBBLE_ORDER, each plus 8); ``scale`` fp16
    [groups of rows, blocks, g, row]

    Rows are filled up with zeros to a multiple of 16.
    """

    format: str
    rows: int
    columns: int
    data: Tensor
    scale: Tensor | None = None

    @functools.cached_property
    def unpacked(self) -> Tensor:
        """The matrix it stands for, fp32 [rows, columns], kept once asked for."""
        return unpack(self)

    @property
    def bytes(self) -> int:
        tensors = [self.data] if self.scale is None else [self.data, self.scale]
        return sum(t.numel() * t.element_size() for t in tensors)


def pack(matrix: Tensor, format: str) -> Weight:
    """``matrix`` [rows, columns] of any float type, to the nearest it can be."""
    rows, columns = matrix.shape
    if columns % BLOCK:
        raise ValueError(f"{columns} columns are no multiple of {BLOCK}")
    if format not in FORMATS:
        raise ValueError(f"{format} is none of {', '.join(FORMATS)}")
    parts = [_packed(part, format) for part in matrix.split(ROWS_AT_ONCE)]
    data, scales = zip(*parts, strict=True)
    if format == "bf16":
        return Weight(format, rows, columns, _joined(data))
    return Weight(format, rows, columns, _joined(data), _joined(scales))


def _joined(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _packed(matrix: Tensor, format: str) -> tuple[Tensor, Tensor]:
    """Of some rows ``data`` and ``scale``, which means nothing in bf16."""
    if matrix.shape[0] % GROUP_ROWS:
        matrix = F.pad(matrix, (0, 0, 0, -matrix.shape[0] % GROUP_ROWS))
    if format == "bf16":
        return _laid_out(matrix.to(torch.bfloat16)), matrix
    if format == "int4":
        return _pack_int4(matrix.float())
    if format == "int8":
        data, scale = narrowed(matrix)
    else:
        wide = matrix.float()
        scale = wide.abs().amax(dim=1).clamp_(min=1e-12) / FP8_MAX
        wide = wide / scale[:, None]
        data = wide.clamp_(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return _laid_out(data.view(torch.uint8)), scale


def _tiled(matrix: Tensor) -> Tensor:
    """[rows, columns] to [groups, row (g or g + 8), g, blocks, t, 16]."""
    return matrix.view(-1, 2, 8, matrix.shape[1] // BLOCK, 4, 16)


def _laid_out(matrix: Tensor) -> Tensor:
    """bf16 or bytes [rows, columns] to ``data``."""
    tiles = _tiled(matrix)
    if matrix.dtype == torch.bfloat16:
        steps = tiles.unflatten(-1, (4, 2, 2))  # step, pair, column
        laid = steps.permute(0, 3, 5, 2, 4, 6, 1, 7).contiguous()
    else:
        words = tiles.unflatten(-1, (4, 4))[..., list(BYTE_ORDER)]
        laid = words.permute(0, 3, 1, 2, 4, 5, 6).contiguous()
    return laid.view(-1).view(torch.uint8)


def _pack_int4(wide: Tensor) -> tuple[Tensor, Tensor]:
    groups = wide.view(wide.shape[0], -1, BLOCK)
    # The value furthest from zero becomes -8: that end of the range has a step more.
    index = groups.abs().argmax(dim=-1, keepdim=True)
    scale = (groups.gather(-1, index) / -8).to(torch.float16)
    safe = torch.where(scale == 0, 1, scale.float())
    nibbles = (groups / safe).round_().clamp_(-8, 7).add_(8).to(torch.uint8)
    words = _tiled(nibbles.view_as(wide)).unflatten(-1, (2, 8))
    low, high = words[..., list(NIBBLE_ORDER)].unflatten(-1, (4, 2)).unbind(-1)
    data = (low | (high << 4)).permute(0, 3, 2, 4, 1, 5, 6).contiguous()
    scale = scale.view(-1, 2, 8, groups.shape[1]).permute(0, 3, 2, 1)
    return data.view(-1), scale.contiguous()


def unpack(weight: Weight) -> Tensor:
    """The matrix it stands for, fp32 [rows, columns]."""
    blocks = weight.columns // BLOCK
    if weight.format == "bf16":
        laid = weight.data.view(torch.bfloat16).view(-1, blocks, 4, 8, 4, 2, 2, 2)
        tiles = laid.permute(0, 6, 3, 1, 4, 2, 5, 7).float()
    elif weight.format == "int4":
        tiles = _unpack_int4(weight, blocks)
    else:
        kind = torch.int8 if weight.format == "int8" else torch.float8_e4m3fn
        laid = weight.data.view(kind).view(-1, blocks, 2, 8, 4, 4, 4).float()
        tiles = laid.permute(0, 2, 3, 1, 4, 5, 6)[..., _inverse(BYTE_ORDER)]
    wide = tiles.reshape(-1, weight.columns)
    if weight.scale is not None and weight.format != "int4":
        wide = wide * weight.scale[:, None]
    return wide[: weight.rows]


def _unpack_int4(weight: Weight, blocks: int) -> Tensor:
    assert weight.scale is not None
    laid = weight.data.view(-1, blocks, 8, 4, 2, 2, 4)
    nibbles = torch.stack((laid & 15, laid >> 4), dim=-1).flatten(-2).float() - 8
    tiles = nibbles.permute(0, 4, 2, 1, 3, 5, 6)[..., _inverse(NIBBLE_ORDER)]
    scale = weight.scale.float().permute(0, 3, 2, 1)  # [groups, row, g, blocks]
    return tiles * scale[..., None, None, None]


def _inverse(order: tuple[int, ...]) -> list[int]:
    return [order.index(i) for i in range(len(order))]


def interleave(matrix: Tensor) -> Tensor:
    """Of a gated layer's [gate; up], 8 rows of each by turns, so that one thread holds
    both halves of what it multiplies."""
    gate, up = matrix.unflatten(0, (2, -1, GROUP_ROWS // 2))
    return torch.stack((gate, up), dim=1).flatten(0, 2)


def deinterleave(columns: Tensor) -> tuple[Tensor, Tensor]:
    """The last dimension of a product with such a matrix to its gate and up."""
    gate, up = columns.unflatten(-1, (-1, 2, GROUP_ROWS // 2)).unbind(-2)
    return gate.flatten(-2), up.flatten(-2)
