"""Many positions of one session in one pass: a prompt's chunk, before its ring is full.

Everything that differs between chunks, ``where``, lies on the device, so that a pass of
one size can be captured once: int64 [slot, positions written before, rows that count].
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.attention import base_of, put
from inference.kernels.launch import LAUNCH, PDL, begin
from inference.kernels.ring import Ring

BM, BN = 64, 64  # queries and keys of a program's products


@triton.jit
def _write_chunk(
    qkv_ptr,
    freq_ptr,
    where_ptr,
    table_ptr,
    q_ptr,
    store_ptr,
    scale_ptr,
    H: tl.constexpr,
    D: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE: tl.constexpr,
    EIGHT: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    t, head = tl.program_id(0), tl.program_id(1)
    slot, count = tl.load(where_ptr), tl.load(where_ptr + 2)
    position = tl.load(where_ptr + 1) + t
    d, pair = tl.arange(0, D), tl.arange(0, D // 2)
    angle = position.to(tl.float32) * tl.load(freq_ptr + pair)
    cos, sin = tl.cos(angle), tl.sin(angle)
    at = qkv_ptr + t * (3 * H * D) + head * D
    real = tl.load(at + 2 * pair).to(tl.float32)
    imaginary = tl.load(at + 2 * pair + 1).to(tl.float32)
    q = tl.interleave(real * cos - imaginary * sin, real * sin + imaginary * cos)
    tl.store(q_ptr + (t * H + head) * D + d, q.to(tl.bfloat16))
    if t < count:
        at += H * D
        k_real = tl.load(at + 2 * pair).to(tl.float32)
        k_imaginary = tl.load(at + 2 * pair + 1).to(tl.float32)
        k = tl.interleave(
            k_real * cos - k_imaginary * sin, k_real * sin + k_imaginary * cos
        )
        v = tl.load(at + H * D + d)
        to = base_of(table_ptr, slot, position // PAGE, head, PAGES, H, PAGE)
        to += position % PAGE
        put(store_ptr, scale_ptr, to * D, to, k.to(tl.bfloat16), d, EIGHT)
        to += H * PAGE
        put(store_ptr, scale_ptr, to * D, to, v, d, EIGHT)


@triton.jit
def _attend_chunk(
    q_ptr,
    store_ptr,
    scale_ptr,
    where_ptr,
    table_ptr,
    out_ptr,
    softmax_scale,
    H: tl.constexpr,
    D: tl.constexpr,
    PAGES: tl.constexpr,
    PAGE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    EIGHT: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    m, head = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1)
    slot, start = tl.load(where_ptr), tl.load(where_ptr + 1).to(tl.int32)
    count = tl.load(where_ptr + 2).to(tl.int32)
    d, n = tl.arange(0, D), tl.arange(0, BN)
    q = tl.load(q_ptr + (m[:, None] * H + head) * D + d[None, :])
    best = tl.full([BM], -float("inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, D], tl.float32)
    stop = start + tl.minimum(tl.program_id(0) * BM + BM, count)
    for first in tl.range(0, stop, BN, num_stages=2):
        key = first + n
        inside = key < stop
        number = tl.where(inside, key // PAGE, 0)
        at = base_of(table_ptr, slot, number, head, PAGES, H, PAGE) + key % PAGE
        here = store_ptr + at[:, None] * D + d[None, :]
        k = tl.load(here, mask=inside[:, None], other=0).to(tl.bfloat16)
        here += H * PAGE * D
        v = tl.load(here, mask=inside[:, None], other=0).to(tl.bfloat16)
        score = tl.dot(q, tl.trans(k)) * softmax_scale
        if EIGHT:
            k_scale = tl.load(scale_ptr + at, mask=inside, other=0.0)
            score *= k_scale.to(tl.float32)[None, :]
        score = tl.where(key[None, :] <= start + m[:, None], score, -float("inf"))
        new_best = tl.maximum(best, tl.max(score, axis=1))
        fade, p = tl.exp(best - new_best), tl.exp(score - new_best[:, None])
        total = total * fade + tl.sum(p, axis=1)
        if EIGHT:
            v_scale = tl.load(scale_ptr + at + H * PAGE, mask=inside, other=0.0)
            p *= v_scale.to(tl.float32)[None, :]
        acc = tl.dot(p.to(tl.bfloat16), v, acc * fade[:, None])
        best = new_best
    # A row that doesn't count may have seen nothing.
    out = acc / tl.where(total == 0, 1.0, total)[:, None]
    at = (m[:, None] * H + head) * D + d[None, :]
    tl.store(out_ptr + at, out.to(tl.bfloat16))


def write_chunk(
    qkv: Tensor, ring: Ring, layer: int, frequencies: Tensor, where: Tensor
) -> Tensor:
    """From the product with in_proj, bf16 [T, 3 * dim]: rotate, write keys and values
    of the rows that count, return the queries, bf16 [T, H, D]."""
    store, scale = ring.layers[layer], ring.scales[layer]
    _, _, heads, page, size = store.shape
    q = torch.empty(qkv.shape[0], heads, size, dtype=qkv.dtype, device=qkv.device)
    _write_chunk[(qkv.shape[0], heads)](
        qkv,
        frequencies,
        where,
        ring.table,
        q,
        store,
        store if scale is None else scale,
        H=heads,
        D=size,
        PAGES=ring.pages_of_row,
        PAGE=page,
        EIGHT=scale is not None,
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return q


def attend_chunk(q: Tensor, ring: Ring, layer: int, where: Tensor) -> Tensor:
    """What the rows see of all that their session wrote, bf16 [T, H * D]; T in whole
    blocks of 64. Nothing may have slid out of view."""
    store, scale = ring.layers[layer], ring.scales[layer]
    _, _, heads, page, size = store.shape
    out = q.new_empty(q.shape[0], heads * size)
    _attend_chunk[(q.shape[0] // BM, heads)](
        q,
        store,
        store if scale is None else scale,
        where,
        ring.table,
        out,
        size**-0.5,
        H=heads,
        D=size,
        PAGES=ring.pages_of_row,
        PAGE=page,
        BM=BM,
        BN=BN,
        EIGHT=scale is not None,
        PDL=PDL,
        num_warps=4,
        **LAUNCH,
    )
    return out
