"""Kernels over one row each: embedding, residual sums, norms, and a step's tokens.

Rounded to bf16 wherever the network's plain layers round.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.launch import LAUNCH, PDL, begin
from inference.network.layers import NORM_EPS

EPS = tl.constexpr(NORM_EPS)


@triton.jit
def load_sum(ptr, at, mask, stride, PARTS: tl.constexpr):
    """The parts of a product, added up in their order and rounded."""
    total = tl.load(ptr + at, mask=mask, other=0.0)
    for part in tl.static_range(1, PARTS):
        total += tl.load(ptr + part * stride + at, mask=mask, other=0.0)
    return total.to(tl.bfloat16)


@triton.jit
def norm(x, alpha_ptr, d, inside, dim):
    """fp32 in, bf16 out; alpha is scaled before it meets x."""
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / dim + EPS)
    alpha = tl.load(alpha_ptr + d, mask=inside, other=0.0).to(tl.float32)
    return (x * (alpha * scale)).to(tl.bfloat16)


@triton.jit
def _embed(
    rows_ptr,
    emb_ptr,
    text_emb_ptr,
    alpha_ptr,
    x_ptr,
    y_ptr,
    dim,
    tokens,
    STREAMS: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < dim
    first = tl.load(rows_ptr + row * STREAMS + 1)
    x = tl.load(emb_ptr + first * dim + d, mask=inside, other=0.0)
    for k in tl.static_range(1, STREAMS - 1):
        token = tl.load(rows_ptr + row * STREAMS + 1 + k) + k * tokens
        part = tl.load(emb_ptr + token * dim + d, mask=inside, other=0.0)
        x = (x.to(tl.float32) + part.to(tl.float32)).to(tl.bfloat16)
    text = tl.load(rows_ptr + row * STREAMS)
    part = tl.load(text_emb_ptr + text * dim + d, mask=inside, other=0.0)
    x = (x.to(tl.float32) + part.to(tl.float32)).to(tl.bfloat16)
    tl.store(x_ptr + row * dim + d, x, mask=inside)
    y = norm(x.to(tl.float32), alpha_ptr, d, inside, dim)
    tl.store(y_ptr + row * dim + d, y, mask=inside)


@triton.jit
def _add_norm(
    parts_ptr,
    x_ptr,
    alpha_ptr,
    sum_ptr,
    y_ptr,
    dim,
    stride,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK)
    inside = d < dim
    at = row * dim + d
    added = load_sum(parts_ptr, at, inside, stride, PARTS)
    x = tl.load(x_ptr + at, mask=inside, other=0.0)
    x = (x.to(tl.float32) + added.to(tl.float32)).to(tl.bfloat16)
    tl.store(sum_ptr + at, x, mask=inside)
    y = norm(x.to(tl.float32), alpha_ptr, d, inside, dim)
    tl.store(y_ptr + at, y, mask=inside)


@triton.jit
def _complete(
    row_ptr,
    chosen_ptr,
    delayed_ptr,
    output_ptr,
    STREAMS: tl.constexpr,
    OWN: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, 16)
    inside = k < OWN
    chosen = tl.load(chosen_ptr + row * OWN + k, mask=inside, other=0)
    old = tl.load(row_ptr + row * STREAMS + k, mask=inside, other=0)
    delayed = tl.load(delayed_ptr + k, mask=inside, other=0)
    output = tl.where(delayed != 0, chosen, old)
    tl.store(output_ptr + row * OWN + k, output, mask=inside)


@triton.jit
def _advance(
    row_ptr,
    carry_ptr,
    position_ptr,
    chosen_ptr,
    user_ptr,
    delayed_ptr,
    active_ptr,
    record_ptr,
    STREAMS: tl.constexpr,
    OWN: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, 32)
    inside, own = k < STREAMS, k < OWN
    at = row * STREAMS + k
    chosen = tl.load(chosen_ptr + row * OWN + k, mask=own, other=0)
    user = tl.load(
        user_ptr + row * (STREAMS - OWN) + k - OWN, mask=inside & (k >= OWN), other=0
    )
    delayed = tl.load(delayed_ptr + k, mask=inside, other=0) != 0
    carry = tl.load(carry_ptr + at, mask=inside, other=0)
    new = tl.where(own, chosen, tl.where(delayed, carry, user))
    tl.store(record_ptr + at, tl.where(own, chosen, user), mask=inside)
    goes = tl.load(active_ptr + row) != 0
    tl.store(row_ptr + at, new, mask=inside & goes)
    left = tl.where(delayed & (k >= OWN), user, -1)
    tl.store(carry_ptr + at, left, mask=inside & goes)
    position = tl.load(position_ptr + row)
    tl.debug_barrier()
    tl.store(position_ptr + row, position + goes.to(tl.int64))


def embed(
    rows: Tensor, emb: Tensor, text_emb: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows of tokens [B, 17] to their summed embeddings x and norm(x), bf16 [B, dim].
    ``emb`` [16, tokens, dim]."""
    batch, dim = rows.shape[0], emb.shape[-1]
    x = emb.new_empty(batch, dim)
    y = x.new_empty(batch, dim)
    block = triton.next_power_of_2(dim)
    _embed[(batch,)](
        rows,
        emb,
        text_emb,
        alpha,
        x,
        y,
        dim,
        emb.shape[1],
        STREAMS=rows.shape[1],
        BLOCK=block,
        PDL=PDL,
        num_warps=warps_for(block),
        **LAUNCH,
    )
    return x, y


def add_norm(parts: Tensor, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """x + the product, and the norm of that, bf16 [B, dim]."""
    batch, dim = x.shape
    total, y = x.new_empty(batch, dim), x.new_empty(batch, dim)
    block = triton.next_power_of_2(dim)
    _add_norm[(batch,)](
        parts,
        x,
        alpha,
        total,
        y,
        dim,
        batch * dim,
        PARTS=parts.shape[0],
        BLOCK=block,
        PDL=PDL,
        num_warps=warps_for(block),
        **LAUNCH,
    )
    return total, y


def complete(row: Tensor, chosen: Tensor, delayed: Tensor) -> Tensor:
    """The agent's part [B, 9] of the frame that is complete now: of a delayed stream
    what was ``chosen`` [B, 9], of the others what ``row`` [B, 17] holds."""
    output = chosen.new_empty(chosen.shape)
    _complete[(chosen.shape[0],)](
        row,
        chosen,
        delayed,
        output,
        STREAMS=row.shape[1],
        OWN=chosen.shape[1],
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return output


def advance(
    row: Tensor,
    carry: Tensor,
    position: Tensor,
    chosen: Tensor,
    user: Tensor,
    delayed: Tensor,
    active: Tensor,
) -> Tensor:
    """Take the step: in active rows, ``row``, ``carry`` and ``position`` become the
    next ones. Returns the step's record [B, 17]."""
    record = row.new_empty(row.shape)
    _advance[(row.shape[0],)](
        row,
        carry,
        position,
        chosen,
        user,
        delayed,
        active,
        record,
        STREAMS=row.shape[1],
        OWN=chosen.shape[1],
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return record


def warps_for(block: int) -> int:
    return min(max(block // 512, 1), 16)
