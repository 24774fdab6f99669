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
MOST_TILES = 8  # of 8 rows, in one pass over the matrix
FEW_TILES = 2  # up to these, x is small beside the matrix
IN_FLIGHT = 8  # 16-byte loads of a thread in registers
UNPACKED = 2**25  # bytes of a matrix that are unpacked at a time
FEW_ROWS = 64  # a prompt's chunk of no more is fed like so many sessions
STAGES = {4: 3, 8: 2}  # by tiles: what fits into shared memory
# Groups that a warp takes at most, and blocks that a large GPU needs to be busy.
MANY_GROUPS = {"bf16": 2, "int8": 4, "fp8": 4, "int4": 2}
BUSY = 128


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


def project(x: Tensor, weight: Weight) -> Tensor:
    """x bf16 [M, columns] to bf16 [M, rows] for many rows: unpacked bit by bit, and
    multiplied by a library. What a row gives depends on M."""
    if x.shape[0] <= FEW_ROWS:
        return linear(x, weight)[0]
    rows, columns = weight.rows, weight.columns
    at_once = max(UNPACKED // (2 * columns) // GROUP_ROWS, 1) * GROUP_ROWS
    wide = torch.empty(
        min(at_once, rows), columns, dtype=torch.bfloat16, device=x.device
    )
    parts = []
    for first in range(0, rows, at_once):
        count = min(at_once, rows - first)
        _unpack(weight, first // GROUP_ROWS, wide[:count])
        parts.append(x @ wide[:count].T)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _unpack(weight: Weight, first: int, out: Tensor) -> None:
    """Rows from group ``first`` on."""
    code, device = CODES[weight.format], torch.cuda.current_device()
    run = kernel("unpack.cu", "unpack", (("FORMAT", code),), 0, device)
    rows, columns = out.shape
    grid = (-(-columns // (BLOCK * WARPS)), -(-rows // GROUP_ROWS))
    scale = weight.data if weight.scale is None else weight.scale
    pointers = weight.data.data_ptr(), scale.data_ptr(), out.data_ptr()
    types = (POINTER,) * 3 + (INT,) * 3
    run.launch(grid, 32 * WARPS, (*pointers, first, weight.rows, columns), types)


def slices_of(weight: Weight) -> int:
    """Into how many parts the columns are cut."""
    blocks = weight.columns // BLOCK
    return next(parts for parts in (8, 4, 2, 1) if blocks % parts == 0)


def shape_of(weight: Weight, count: int) -> dict[str, int]:
    """How a product with so many rows is cut, and what it keeps under way."""
    tiles, vectors = 1, VECTORS[weight.format]
    while 8 * tiles < count and tiles < MOST_TILES:
        tiles *= 2
    if tiles <= FEW_TILES:
        return {"NT": tiles, "R": 1, "DEPTH": IN_FLIGHT // vectors, "STAGES": 0}
    groups = MANY_GROUPS[weight.format]
    while groups > 1 and _blocks(weight, groups) < BUSY:
        groups //= 2
    return {"NT": tiles, "R": groups, "DEPTH": 0, "STAGES": STAGES[tiles]}


def _blocks(weight: Weight, groups: int) -> int:
    """Of 8 warps, each with so many groups of rows, that a matrix makes."""
    return -(-weight.rows // _rows_of(weight, groups))


def _rows_of(weight: Weight, groups: int) -> int:
    return WARPS // slices_of(weight) * groups * GROUP_ROWS


def _shared(shape: dict[str, int], vectors: int) -> int:
    """Bytes: the sums of all warps, which take the place of the stages."""
    columns, groups = 8 * shape["NT"], shape["R"]
    sums = 4 * columns * (GROUP_ROWS * groups + 8)
    stages = shape["STAGES"] * (groups * vectors * 512 + columns * 128)
    return WARPS * max(sums, stages)


def _launch(x: Tensor, weight: Weight, out: Tensor, gated: bool) -> None:
    count = x.shape[0]
    shape = shape_of(weight, count)
    slices = slices_of(weight)
    definitions = shape | {
        "FORMAT": CODES[weight.format],
        "SLICES": slices,
        "GATED": int(gated),
    }
    run = kernel(
        "skinny.cu",
        "skinny",
        tuple(definitions.items()),
        _shared(shape, VECTORS[weight.format]),
        torch.cuda.current_device(),
    )
    rows = _rows_of(weight, shape["R"])
    # Rows of x first: blocks that run together read the same part of the matrix.
    grid = (-(-count // (8 * shape["NT"])), -(-weight.rows // rows))
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
