"""Products of a few rows with a large matrix, read once in its packed form.

A row gives the same in any company: how its sum is ordered depends on the matrix'
shape alone. Bound by the matrix's bytes for small numbers of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.kernels.nvrtc import INT, POINTER, kernel
from inference.kernels.weights import BLOCK, GROUP_ROWS, Weight

CODES = {"bf16": 0, "int8": 1, "fp8": 2, "int4": 3}
VECTORS = {"bf16": 4, "int8": 2, "fp8": 2, "int4": 1}  # 16-byte loads of a column block
WARPS = 8
MOST_TILES = 16  # of 8 rows, in one pass over the matrix
IN_FLIGHT = 8  # 16-byte loads of a thread


def linear(x: Tensor, weight: Weight) -> Tensor:
    """x bf16 [M, columns] to bf16 [1, M, rows]."""
    out = x.new_empty(1, x.shape[0], weight.rows)
    _launch(x, weight, out, gated=False)
    return out


def gated(x: Tensor, weight: Weight) -> Tensor:
    """silu(gate) * up of x with an interleaved matrix, bf16 [M, rows / 2]."""
    out = x.new_empty(x.shape[0], weight.rows // 2)
    _launch(x, weight, out, gated=True)
    return out


def slices_of(weight: Weight) -> int:
    """Into how many parts the columns are cut."""
    blocks = weight.columns // BLOCK
    return next(parts for parts in (8, 4, 2, 1) if blocks % parts == 0)


def shape_of(weight: Weight, count: int) -> tuple[int, int, int]:
    """Tiles of x, groups of matrix rows of a warp, column blocks in flight."""
    tiles = 1
    while 8 * tiles < count and tiles < MOST_TILES:
        tiles *= 2
    groups = 1 if tiles <= 2 else 2
    depth = max(IN_FLIGHT // (VECTORS[weight.format] * groups), 1)
    return tiles, groups, depth


def _launch(x: Tensor, weight: Weight, out: Tensor, gated: bool) -> None:
    count = x.shape[0]
    tiles, groups, depth = shape_of(weight, count)
    slices = slices_of(weight)
    definitions = {
        "FORMAT": CODES[weight.format],
        "NT": tiles,
        "R": groups,
        "SLICES": slices,
        "GATED": int(gated),
        "DEPTH": depth,
    }
    shared = 4 * WARPS * 8 * tiles * (GROUP_ROWS * groups + 8)
    run = kernel(
        "skinny.cu",
        "skinny",
        tuple(definitions.items()),
        shared,
        torch.cuda.current_device(),
    )
    rows = WARPS // slices * groups * GROUP_ROWS
    grid = (-(-weight.rows // rows), -(-count // (8 * tiles)))
    scale = weight.data if weight.scale is None else weight.scale
    values = (
        weight.data.data_ptr(),
        scale.data_ptr(),
        x.data_ptr(),
        out.data_ptr(),
        count,
        weight.rows,
        weight.columns,
    )
    run.launch(grid, 32 * WARPS, values, (POINTER,) * 4 + (INT,) * 3)
