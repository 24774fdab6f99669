"""The codec's codebooks: the nearest of their vectors, and the sum of those chosen."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.launch import LAUNCH, PDL, begin

MAX_BINS = 2048  # 64 programs' worth
CODES = 32  # of a program that looks for the nearest
# Three products of parts of the operands make one that is as good as fp32.
PRECISION = "tf32x3"
LARGEST = tl.constexpr(2**63 - 1)
ROWS = tl.constexpr(16)  # of such a program


@triton.jit(do_not_specialize=["step"])
def _nearest(
    z_ptr,
    table_ptr,
    squares_ptr,
    keys_ptr,
    rows,
    step,
    bins,
    parts,
    BOOKS: tl.constexpr,
    DIM: tl.constexpr,
    BN: tl.constexpr,
    PRECISION: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    part, b = tl.program_id(0), tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    # The first launch looks in the first books of both chains.
    book = step + tl.program_id(2)
    in_b = b < rows
    d, n, p = tl.arange(0, DIM), part * BN + tl.arange(0, BN), tl.arange(0, 64)
    z = z_ptr + (b * (2 * DIM))[:, None] + d[None, :] + tl.minimum(book, 1) * DIM
    x = tl.load(z, mask=in_b[:, None], other=0.0)
    for k in range(1, book):
        at = keys_ptr + ((b * BOOKS + k) * parts)[:, None] + p[None, :]
        found = tl.load(at, mask=in_b[:, None] & (p < parts)[None, :], other=LARGEST)
        code = tl.min(found, axis=1) & 0xFFFFFFFF
        code = tl.where(in_b, code, 0)
        at = table_ptr + ((k * bins + code) * DIM)[:, None] + d[None, :]
        x -= tl.load(at, mask=in_b[:, None], other=0.0)
    in_n = n < bins
    at = table_ptr + ((book * bins + n) * DIM)[:, None] + d[None, :]
    table = tl.load(at, mask=in_n[:, None], other=0.0)
    both = tl.dot(x, tl.trans(table), input_precision=PRECISION)
    squares = tl.load(squares_ptr + book * bins + n, mask=in_n, other=float("inf"))
    far = tl.sum(x * x, axis=1)[:, None] + squares[None, :] - 2.0 * both
    far = tl.sqrt(tl.maximum(far, 0.0))
    key = (far.to(tl.int32, bitcast=True).to(tl.int64) << 32) | n.to(tl.int64)[None, :]
    at = keys_ptr + (b * BOOKS + book) * parts + part
    tl.store(at, tl.min(key, axis=1), mask=in_b)


@triton.jit
def _codes(
    keys_ptr,
    position_ptr,
    active_ptr,
    codes_ptr,
    parts,
    advance,
    BOOKS: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, k, p = tl.program_id(0), tl.arange(0, BOOKS), tl.arange(0, 64)
    at = ((row * BOOKS + k) * parts)[:, None] + p[None, :]
    found = tl.load(keys_ptr + at, mask=(p < parts)[None, :], other=LARGEST)
    tl.store(codes_ptr + row * BOOKS + k, tl.min(found, axis=1) & 0xFFFFFFFF)
    if tl.load(active_ptr + row) != 0:
        position = tl.load(position_ptr + row)
        tl.store(position_ptr + row, position + advance)


@triton.jit
def _look_up(
    codes_ptr,
    table_ptr,
    out_ptr,
    row_stride,
    bins,
    BOOKS: tl.constexpr,
    DIM: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, d = tl.program_id(0), tl.arange(0, DIM)
    codes = codes_ptr + row * row_stride
    first = tl.load(table_ptr + tl.load(codes) * DIM + d)
    rest = tl.load(table_ptr + (bins + tl.load(codes + 1)) * DIM + d)
    for k in tl.static_range(2, BOOKS):
        rest += tl.load(table_ptr + (k * bins + tl.load(codes + k)) * DIM + d)
    tl.store(out_ptr + row * 2 * DIM + d, first)
    tl.store(out_ptr + row * 2 * DIM + DIM + d, rest)


def nearest(
    z: Tensor,
    table: Tensor,
    squares: Tensor,
    position: Tensor,
    active: Tensor,
    codes: Tensor,
    advance: int,
) -> None:
    """z [B, 1, 2 * d], what both chains of codebooks look for, to ``codes`` int64 [B,
    books]. ``table`` [books, bins, d], ``squares`` [books, bins]. It ends the frame, so
    it moves ``position`` as ``decode_output`` does."""
    batch, (books, bins, size) = z.shape[0], table.shape
    parts = triton.cdiv(bins, CODES)
    keys = torch.empty(batch, books, parts, dtype=torch.int64, device=z.device)
    for step in (0, *range(2, books)):
        chains = 2 if step == 0 else 1
        _nearest[(parts, triton.cdiv(batch, ROWS.value), chains)](
            z,
            table,
            squares,
            keys,
            batch,
            step,
            bins,
            parts,
            BOOKS=books,
            DIM=size,
            BN=CODES,
            PRECISION=PRECISION,
            PDL=PDL,
            num_warps=4,
            **LAUNCH,
        )
    _codes[(batch,)](
        keys,
        position,
        active,
        codes,
        parts,
        advance,
        BOOKS=books,
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )


def look_up(codes: Tensor, table: Tensor) -> Tensor:
    """Codes [B, books] to what the first book and the sum of the others give, [B, 1,
    2 * d]."""
    batch, (books, bins, size) = codes.shape[0], table.shape
    out = table.new_empty(batch, 1, 2 * size)
    _look_up[(batch,)](
        codes,
        table,
        out,
        codes.stride(0),
        bins,
        BOOKS=books,
        DIM=size,
        PDL=PDL,
        num_warps=2,
        **LAUNCH,
    )
    return out
