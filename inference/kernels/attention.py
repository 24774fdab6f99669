"""Attention of one new position per session over its KV ring, and the ring's writing.

A session's keys are read page by page, each by programs of its own, and only those that
hold something: what a row gives depends on its own length alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.fused import load_sum
from inference.kernels.launch import LAUNCH, PDL, begin
from inference.kernels.ring import KV_MAX, MIN_SCALE, Ring

# For rings of up to so many rows: slots of a load, warps, loads under way, programs for
# a page; measured in docs/performance.md.
SHAPES = ((4, (64, 4, 2, 2)), (15, (32, 4, 3, 1)), (2**31, (16, 2, 4, 1)))
LIMIT = tl.constexpr(KV_MAX)
MIN = tl.constexpr(MIN_SCALE)


@triton.jit
def put(store_ptr, scale_ptr, at, scale_at, value, d, EIGHT: tl.constexpr):
    if EIGHT:
        value = value.to(tl.float32)
        most = tl.max(tl.abs(value), axis=0)
        scale = tl.maximum(tl.div_rn(most, LIMIT * 1.0), MIN).to(tl.float16)
        q = tl.floor(tl.div_rn(value, scale.to(tl.float32)) + 0.5)
        q = tl.minimum(tl.maximum(q, -LIMIT), LIMIT).to(tl.int8)
        tl.store(store_ptr + at + d, q)
        tl.store(scale_ptr + scale_at, scale)
    else:
        tl.store(store_ptr + at + d, value)


@triton.jit
def _slot(position, pinned, limit):
    """Where a position lies; see Window."""
    loose = pinned + (position - pinned) % (limit - pinned)
    return tl.where(position < pinned, position, loose)


@triton.jit
def base_of(table_ptr, row, number, head, PAGES, H: tl.constexpr, PAGE: tl.constexpr):
    """Where the keys of a row's page lie, in slots; H * PAGE further its values."""
    page = tl.load(table_ptr + row * PAGES + number).to(tl.int64)
    return (page * (2 * H) + head) * PAGE


@triton.jit
def _write(
    parts_ptr,
    freq_ptr,
    position_ptr,
    pinned_ptr,
    limit_ptr,
    table_ptr,
    active_ptr,
    q_ptr,
    store_ptr,
    scale_ptr,
    stride,
    H: tl.constexpr,
    D: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE: tl.constexpr,
    PARTS: tl.constexpr,
    EIGHT: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    position = tl.load(position_ptr + row)
    d, pair = tl.arange(0, D), tl.arange(0, D // 2)
    angle = position.to(tl.float32) * tl.load(freq_ptr + pair)
    cos, sin = tl.cos(angle), tl.sin(angle)
    base = row * (3 * H * D) + head * D
    everywhere = pair >= 0
    q_real = load_sum(parts_ptr, base + 2 * pair, everywhere, stride, PARTS)
    q_imag = load_sum(parts_ptr, base + 2 * pair + 1, everywhere, stride, PARTS)
    base += H * D
    k_real = load_sum(parts_ptr, base + 2 * pair, everywhere, stride, PARTS)
    k_imag = load_sum(parts_ptr, base + 2 * pair + 1, everywhere, stride, PARTS)
    v = load_sum(parts_ptr, base + H * D + d, d >= 0, stride, PARTS)
    q_real, q_imag = q_real.to(tl.float32), q_imag.to(tl.float32)
    k_real, k_imag = k_real.to(tl.float32), k_imag.to(tl.float32)
    q = tl.interleave(q_real * cos - q_imag * sin, q_real * sin + q_imag * cos)
    k = tl.interleave(k_real * cos - k_imag * sin, k_real * sin + k_imag * cos)
    tl.store(q_ptr + (row * H + head) * D + d, q.to(tl.bfloat16))
    # A row that sits out keeps its ring.
    if tl.load(active_ptr + row) != 0:
        pinned, limit = tl.load(pinned_ptr + row), tl.load(limit_ptr + row)
        slot = _slot(position, pinned, limit)
        at = base_of(table_ptr, row, slot // PAGE, head, PAGES, H, PAGE) + slot % PAGE
        rotated = k.to(tl.bfloat16)
        put(store_ptr, scale_ptr, at * D, at, rotated, d, EIGHT)
        at += H * PAGE
        put(store_ptr, scale_ptr, at * D, at, v, d, EIGHT)


@triton.jit
def _attend(
    q_ptr,
    store_ptr,
    scale_ptr,
    position_ptr,
    pinned_ptr,
    limit_ptr,
    table_ptr,
    active_ptr,
    acc_ptr,
    stat_ptr,
    softmax_scale,
    H: tl.constexpr,
    D: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
    EIGHT: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    chunk, head = tl.program_id(0), tl.program_id(1)
    row = tl.program_id(2).to(tl.int64)
    newest, limit = tl.load(position_ptr + row), tl.load(limit_ptr + row)
    number = chunk * CHUNK // PAGE
    base = base_of(table_ptr, row, number, head, PAGES, H, PAGE) - number * PAGE
    written = tl.minimum(newest + 1, limit)
    if (tl.load(active_ptr + row) != 0) & (chunk * CHUNK < written):
        # The slot that the next step will write is not in view (see Window).
        hidden = _slot(newest + 1, tl.load(pinned_ptr + row), limit)
        hidden = tl.where(newest + 1 < limit, -1, hidden).to(tl.int32)
        d, s = tl.arange(0, D), tl.arange(0, BLOCK)
        q = tl.load(q_ptr + (row * H + head) * D + d).to(tl.float32) * softmax_scale
        best = -float("inf")
        total = 0.0
        acc = tl.zeros([BLOCK, D], dtype=tl.float32)
        stop = tl.minimum(chunk * CHUNK + CHUNK, written).to(tl.int32)
        k_scale = tl.zeros([BLOCK], dtype=tl.float16)
        v_scale = tl.zeros([BLOCK], dtype=tl.float16)
        if EIGHT:
            slot = chunk * CHUNK + s
            at = scale_ptr + base + slot
            k_scale = tl.load(at, mask=slot < stop, other=0.0)
            v_scale = tl.load(at + H * PAGE, mask=slot < stop, other=0.0)
        for start in tl.range(chunk * CHUNK, stop, BLOCK, num_stages=STAGES):
            slot = start + s
            inside = slot < stop
            seen = inside & (slot != hidden)
            here = store_ptr + (base + slot)[:, None] * D + d[None, :]
            k = tl.load(here, mask=inside[:, None], other=0)
            v = tl.load(here + H * PAGE * D, mask=inside[:, None], other=0)
            score = tl.sum(k.to(tl.float32) * q[None, :], axis=1)
            if EIGHT:
                # Those of the next block, so that no thread waits for them there.
                at = scale_ptr + base + slot + BLOCK
                next_k = tl.load(at, mask=slot + BLOCK < stop, other=0.0)
                next_v = tl.load(at + H * PAGE, mask=slot + BLOCK < stop, other=0.0)
                score *= k_scale.to(tl.float32)
            score = tl.where(seen, score, -float("inf"))
            # A block of one slot, the hidden one, leaves nothing to see.
            new_best = tl.maximum(best, tl.max(score, axis=0))
            safe = tl.where(new_best == -float("inf"), 0.0, new_best)
            fade = tl.exp(best - safe)
            p = tl.exp(score - safe)
            total = total * fade + tl.sum(p, axis=0)
            if EIGHT:
                p *= v_scale.to(tl.float32)
            acc = acc * fade + p[:, None] * v.to(tl.float32)
            best = new_best
            if EIGHT:
                k_scale, v_scale = next_k, next_v
        out = (row * H + head) * CHUNKS + chunk
        tl.store(acc_ptr + out * D + d, tl.sum(acc, axis=0))
        tl.store(stat_ptr + 2 * out, best)
        tl.store(stat_ptr + 2 * out + 1, total)


@triton.jit
def _combine(
    acc_ptr,
    stat_ptr,
    position_ptr,
    limit_ptr,
    active_ptr,
    out_ptr,
    H: tl.constexpr,
    D: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c, d = tl.arange(0, WIDTH), tl.arange(0, D)
    written = tl.minimum(tl.load(position_ptr + row) + 1, tl.load(limit_ptr + row))
    filled = c * CHUNK < written
    filled = filled & (tl.load(active_ptr + row) != 0)
    base = (row * H + head) * CHUNKS
    best = tl.load(stat_ptr + 2 * (base + c), mask=filled, other=-float("inf"))
    total = tl.load(stat_ptr + 2 * (base + c) + 1, mask=filled, other=0.0)
    most = tl.max(best, axis=0)
    weight = tl.exp(best - tl.where(most == -float("inf"), 0.0, most))
    at = (base + c)[:, None] * D + d[None, :]
    acc = tl.load(acc_ptr + at, mask=filled[:, None], other=0.0)
    all_of_it = tl.sum(total * weight, axis=0)
    out = tl.sum(acc * weight[:, None], axis=0)
    out = out / tl.where(all_of_it == 0, 1.0, all_of_it)
    tl.store(out_ptr + (row * H + head) * D + d, out.to(tl.bfloat16))


def write_kv(
    parts: Tensor,
    ring: Ring,
    layer: int,
    frequencies: Tensor,
    position: Tensor,
    active: Tensor,
) -> Tensor:
    """From the product with in_proj [parts, B, 3 * dim]: rotate, write keys and values
    of active rows into their rings, return the queries, bf16 [B, H, D]."""
    store, scale = ring.layers[layer], ring.scales[layer]
    _, _, heads, page, size = store.shape
    batch = parts.shape[1]
    q = torch.empty(batch, heads, size, dtype=torch.bfloat16, device=parts.device)
    _write[(batch, heads)](
        parts,
        frequencies,
        position,
        ring.pinned,
        ring.limit,
        ring.table,
        active,
        q,
        store,
        store if scale is None else scale,
        batch * 3 * heads * size,
        H=heads,
        D=size,
        PAGES=ring.pages_of_row,
        PAGE=page,
        PARTS=parts.shape[0],
        EIGHT=scale is not None,
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return q


def attend(
    q: Tensor,
    ring: Ring,
    layer: int,
    position: Tensor,
    active: Tensor,
    shape: tuple[int, int, int, int] | None = None,
) -> Tensor:
    """What rows at ``position`` see of their rings, bf16 [B, H * D]; zeros for rows
    that are not active."""
    store, scale = ring.layers[layer], ring.scales[layer]
    _, _, heads, page, size = store.shape
    if shape is None:  # by the ring, not by who steps: it orders the sums
        shape = next(s for most, s in SHAPES if len(ring.pinned) <= most)
    block, warps, stages, splits = shape
    splits = splits if page % splits == 0 else 1
    batch, chunks, chunk = q.shape[0], ring.pages_of_row * splits, page // splits
    acc = q.new_empty(batch, heads, chunks, size, dtype=torch.float32)
    stat = q.new_empty(batch, heads, chunks, 2, dtype=torch.float32)
    _attend[(chunks, heads, batch)](
        q,
        store,
        store if scale is None else scale,
        position,
        ring.pinned,
        ring.limit,
        ring.table,
        active,
        acc,
        stat,
        size**-0.5,
        H=heads,
        D=size,
        PAGES=ring.pages_of_row,
        PAGE=page,
        CHUNKS=chunks,
        CHUNK=chunk,
        BLOCK=block,
        STAGES=stages,
        EIGHT=scale is not None,
        PDL=PDL,
        num_warps=warps,
        **LAUNCH,
    )
    out = q.new_empty(batch, heads * size)
    _combine[(batch, heads)](
        acc,
        stat,
        position,
        ring.limit,
        active,
        out,
        H=heads,
        D=size,
        CHUNKS=chunks,
        CHUNK=chunk,
        WIDTH=triton.next_power_of_2(chunks),
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return out
