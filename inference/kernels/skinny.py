"""Products of a few rows with a large matrix, read once in its packed form.

A row's result does not depend on the other rows: the order of its sum depends on the
matrix's shape alone. Bound by the matrix's bytes for small numbers of rows. How a
product is cut for the card at hand: see ``shapes``.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from inference.cards import this_card
from inference.kernels.nvrtc import INT, POINTER, kernel
from inference.kernels.shapes import (
    WARPS,
    Matrix,
    ProductShape,
    Program,
    product_program,
    product_shape,
    unpack_program,
)
from inference.kernels.weights import BLOCK, GROUP_ROWS, Weight

UNPACKED = 2**25  # bytes of a matrix that are unpacked at a time
FEW_ROWS = 64  # a prompt's chunk of no more is fed like so many sessions


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
    run = kernel(unpack_program(weight.format), torch.cuda.current_device())
    rows, columns = out.shape
    grid = (-(-columns // (BLOCK * WARPS)), -(-rows // GROUP_ROWS))
    scale = weight.data if weight.scale is None else weight.scale
    pointers = weight.data.data_ptr(), scale.data_ptr(), out.data_ptr()
    types = (POINTER,) * 3 + (INT,) * 3
    run.launch(grid, 32 * WARPS, (*pointers, first, weight.rows, columns), types)


@functools.cache
def _cut(
    matrix: Matrix, count: int, gated: bool, device: int
) -> tuple[ProductShape, Program]:
    shape = product_shape(matrix, count, this_card(device))
    return shape, product_program(matrix, shape, gated)


def _launch(x: Tensor, weight: Weight, out: Tensor, gated: bool) -> None:
    count, device = x.shape[0], torch.cuda.current_device()
    matrix = Matrix(weight.format, weight.rows, weight.columns)
    shape, program = _cut(matrix, count, gated, device)
    run = kernel(program, device)
    # Rows of x first: blocks that run together read the same part of the matrix.
    grid = (-(-count // (8 * shape.tiles)), matrix.blocks(shape.groups))
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
