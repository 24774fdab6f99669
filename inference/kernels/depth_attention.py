"""The depth transformer's attention: over the few steps of one frame."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.fused import load_sum
from inference.kernels.launch import LAUNCH, PDL, begin


@triton.jit(do_not_specialize=["at"])
def _attend_frame(
    parts_ptr,
    store_ptr,
    out_ptr,
    at,
    stride,
    softmax_scale,
    H: tl.constexpr,
    D: tl.constexpr,
    STEPS: tl.constexpr,
    PARTS: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d, s = tl.arange(0, D), tl.arange(0, STEPS)
    base = row * (3 * H * D) + head * D
    everywhere = d >= 0
    q = load_sum(parts_ptr, base + d, everywhere, stride, PARTS)
    k = load_sum(parts_ptr, base + H * D + d, everywhere, stride, PARTS)
    v = load_sum(parts_ptr, base + 2 * H * D + d, everywhere, stride, PARTS)
    # [B, H, 2, STEPS, D]
    keys = store_ptr + (row * H + head) * (2 * STEPS * D)
    values = keys + STEPS * D
    tl.store(keys + at * D + d, k)
    tl.store(values + at * D + d, v)
    old = s[:, None] < at
    where = s[:, None] * D + d[None, :]
    ks = tl.load(keys + where, mask=old, other=0.0)
    vs = tl.load(values + where, mask=old, other=0.0)
    now = s[:, None] == at
    ks = tl.where(now, k[None, :], ks).to(tl.float32)
    vs = tl.where(now, v[None, :], vs).to(tl.float32)
    score = tl.sum(ks * q.to(tl.float32)[None, :], axis=1) * softmax_scale
    score = tl.where(s <= at, score, -float("inf"))
    p = tl.exp(score - tl.max(score, axis=0))
    out = tl.sum(p[:, None] * vs, axis=0) / tl.sum(p, axis=0)
    tl.store(out_ptr + (row * H + head) * D + d, out.to(tl.bfloat16))


def attend_frame(parts: Tensor, store: Tensor, at: int) -> Tensor:
    """The depth transformer's attention at step ``at``: from the product with in_proj
    [parts, B, 3 * dim], over ``store`` [B, H, 2, 8, D], which it adds to."""
    batch, heads, _, steps, size = store.shape
    out = store.new_empty(batch, heads * size)
    _attend_frame[(batch, heads)](
        parts,
        store,
        out,
        at,
        batch * 3 * heads * size,
        size**-0.5,
        H=heads,
        D=size,
        STEPS=steps,
        PARTS=parts.shape[0],
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return out
