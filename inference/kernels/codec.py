"""The codec's attention over its ring, one frame at a time, in one kernel.

Takes the place of some twenty-five small ones per layer; the plain path is
network.mimi's. An experiment: not yet run on a device (``bench --try codec``).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.launch import LAUNCH, PDL, begin
from inference.network.mimi import Mimi
from inference.network.mimi.streaming import Step
from inference.network.mimi.transformer import ROPE_BASE, Attention, Plan

BLOCK = 32  # slots of one load


@triton.jit
def _turned(ptr, position, pair, step):
    """A vector of a new position, its neighbouring pairs rotated."""
    angle = position.to(tl.float32) * tl.exp(pair.to(tl.float32) * step)
    cos, sin = tl.cos(angle), tl.sin(angle)
    real, imaginary = tl.load(ptr + 2 * pair), tl.load(ptr + 2 * pair + 1)
    return tl.interleave(real * cos - imaginary * sin, real * sin + imaginary * cos)


@triton.jit
def _attend(
    qkv_ptr,
    keys_ptr,
    values_ptr,
    position_ptr,
    active_ptr,
    out_ptr,
    row_stride,
    context,
    rope_step,
    softmax_scale,
    H: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    if tl.load(active_ptr + row) != 0:
        d, pair, s = tl.arange(0, D), tl.arange(0, D // 2), tl.arange(0, BLOCK)
        p = tl.load(position_ptr + row)
        # Two new positions, p and p + 1.
        here = qkv_ptr + row * (6 * H * D) + head * D
        after = here + 3 * H * D
        q0 = _turned(here, p, pair, rope_step) * softmax_scale
        q1 = _turned(after, p + 1, pair, rope_step) * softmax_scale
        k0 = _turned(here + H * D, p, pair, rope_step)
        k1 = _turned(after + H * D, p + 1, pair, rope_step)
        v0 = tl.load(here + 2 * H * D + d)
        v1 = tl.load(after + 2 * H * D + d)
        keys = keys_ptr + row * row_stride + head * context * D
        values = values_ptr + row * row_stride + head * context * D
        last = (p - 1).to(tl.int32)
        oldest = tl.maximum(last + 4 - context, 0)
        # The first new key is seen by both, the second by the second alone.
        best0 = tl.sum(q0 * k0, axis=0)
        own10, own11 = tl.sum(q1 * k0, axis=0), tl.sum(q1 * k1, axis=0)
        best1 = tl.maximum(own10, own11)
        total0 = 1.0
        w10, w11 = tl.exp(own10 - best1), tl.exp(own11 - best1)
        total1 = w10 + w11
        acc0 = tl.zeros([BLOCK, D], dtype=tl.float32)
        acc1 = tl.zeros([BLOCK, D], dtype=tl.float32)
        new0, new1 = v0, w10 * v0 + w11 * v1
        stop = tl.minimum(last + 1, context)
        for start in tl.range(0, stop, BLOCK, num_stages=3):
            slot = start + s
            inside = slot < stop
            at = slot[:, None] * D + d[None, :]
            k = tl.load(keys + at, mask=inside[:, None], other=0.0)
            v = tl.load(values + at, mask=inside[:, None], other=0.0)
            held = last - (last + context - slot) % context
            seen = inside & (held >= oldest)
            score0 = tl.where(seen, tl.sum(k * q0[None, :], axis=1), -float("inf"))
            score1 = tl.where(seen, tl.sum(k * q1[None, :], axis=1), -float("inf"))
            top0 = tl.maximum(best0, tl.max(score0, axis=0))
            top1 = tl.maximum(best1, tl.max(score1, axis=0))
            fade0, fade1 = tl.exp(best0 - top0), tl.exp(best1 - top1)
            w0, w1 = tl.exp(score0 - top0), tl.exp(score1 - top1)
            total0 = total0 * fade0 + tl.sum(w0, axis=0)
            total1 = total1 * fade1 + tl.sum(w1, axis=0)
            acc0 = acc0 * fade0 + w0[:, None] * v
            acc1 = acc1 * fade1 + w1[:, None] * v
            new0, new1 = new0 * fade0, new1 * fade1
            best0, best1 = top0, top1
        out = out_ptr + row * (2 * H * D) + head * D + d
        tl.store(out, (tl.sum(acc0, axis=0) + new0) / total0)
        tl.store(out + H * D, (tl.sum(acc1, axis=0) + new1) / total1)
        # Every key was read; what is written here was out of view.
        tl.debug_barrier()
        slot0, slot1 = p % context * D + d, (p + 1) % context * D + d
        tl.store(keys + slot0, k0)
        tl.store(keys + slot1, k1)
        tl.store(values + slot0, v0)
        tl.store(values + slot1, v1)


def attend(
    qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, active: Tensor
) -> Tensor:
    """Products with in_proj [B, 2, 3 * dim] of the positions ``position`` [B] and the
    next to what they see, [B, 2, dim]; their keys and values enter the rings [B, H,
    context, D]. Rows that are not active are left alone, in the result too."""
    batch, heads, context, size = keys.shape
    out = qkv.new_empty(batch, 2, heads * size)
    _attend[(batch, heads)](
        qkv,
        keys,
        values,
        position,
        active,
        out,
        keys.stride(0),
        context,
        -2 * math.log(ROPE_BASE) / size,
        size**-0.5,
        H=heads,
        D=size,
        BLOCK=BLOCK,
        PDL=PDL,
        num_warps=4,
        **LAUNCH,
    )
    return out


class FrameAttention(Attention):
    def forward(self, x: Tensor, plan: Plan, step: Step | None) -> Tensor:
        length = x.shape[1]
        if step is None or step.active is None or length != 2:
            return super().forward(x, plan, step)
        qkv = F.linear(x, self.in_proj_weight)
        rings = step.carry(f"{self.key}.keys"), step.carry(f"{self.key}.values")
        y = attend(qkv, *rings, step.state.position, step.active)
        return self.out_proj(y)


def speed_up(mimi: Mimi) -> None:
    """Streams of ``mimi`` take the kernel from now on."""
    for module in mimi.modules():
        if type(module) is Attention:
            module.__class__ = FrameAttention
