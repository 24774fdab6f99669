"""The choice of a token from logits, and the depth transformer's next input with it.

The same rules and the same random numbers as network.sampling.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.fused import load_sum, norm
from inference.kernels.launch import LAUNCH, PDL, begin

_GAMMA = tl.constexpr(0x9E3779B97F4A7C15)
_MIX1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX2 = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def _mix(x):
    x = (x ^ (x >> 30)) * tl.full([], _MIX1, tl.uint64)
    x = (x ^ (x >> 27)) * tl.full([], _MIX2, tl.uint64)
    return x ^ (x >> 31)


@triton.jit
def _exponential(seed, position, stream, token):
    gamma = tl.full([], _GAMMA, tl.uint64)
    at = position.to(tl.uint64, bitcast=True)
    key = _mix(_mix(seed.to(tl.uint64, bitcast=True) + gamma) + at)
    key = _mix(key + (tl.full([], 1, tl.uint64) + stream.to(tl.uint64)) * gamma)
    bits = _mix(key + (token + 1).to(tl.uint64) * gamma) >> 40
    u = (bits.to(tl.float32) + 0.5) * 5.9604644775390625e-08  # 2^-24
    # -log1p(-u), exact where u is small.
    w = 1.0 - u
    return tl.where(w == 1.0, u, -tl.log(w) * (u / (1.0 - tl.where(w == 1.0, 0.5, w))))


@triton.jit
def _kth(bits, k):
    """The largest number that at least k of these have at least: the k-th largest.
    ``bits`` int32, none negative."""
    least = 0
    for i in range(31):
        tried = least | (1 << (30 - i))
        enough = tl.sum((bits >= tried).to(tl.int32), axis=0) >= k
        least = tl.where(enough, tried, least)
    return least


@triton.jit
def _pick(logits, token, inside, seed, position, stream, temperature, k):
    scaled = tl.where(inside, logits / temperature, -float("inf"))
    p = tl.exp(scaled - tl.max(scaled, axis=0))
    p = p / tl.sum(p, axis=0)
    bits = tl.where(inside, p.to(tl.int32, bitcast=True), -1)
    least = _kth(bits, k)
    kept = bits > least
    ties = bits == least
    room = k - tl.sum(kept.to(tl.int32), axis=0)
    # Of equals the lowest indices.
    kept = kept | (ties & (tl.cumsum(ties.to(tl.int32), axis=0) <= room))
    q = _exponential(seed, position, stream, token)
    return tl.argmax(tl.where(kept, p / q, -1.0), axis=0)


@triton.jit(do_not_specialize=["stream"])
def _choose(
    parts_ptr,
    carry_ptr,
    position_ptr,
    seed_ptr,
    greedy_ptr,
    temperature_ptr,
    top_k_ptr,
    chosen_ptr,
    input_ptr,
    emb_ptr,
    alpha_ptr,
    x_ptr,
    y_ptr,
    stream,
    count,
    stride,
    input_row,
    input_stride,
    STREAMS: tl.constexpr,
    OWN: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
    INPUTS: tl.constexpr,
    NEXT: tl.constexpr,
    DIM_BLOCK: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    forced = tl.load(carry_ptr + row * STREAMS + stream)
    token = tl.arange(0, BLOCK)
    inside = token < count
    logits = load_sum(parts_ptr, row * count + token, inside, stride, PARTS)
    logits = tl.where(inside, logits.to(tl.float32), -float("inf"))
    kind = tl.minimum(stream, 1)
    temperature = tl.load(temperature_ptr + 2 * row + kind)
    if (tl.load(greedy_ptr + row) != 0) | (temperature <= 0):
        chosen = tl.argmax(logits, axis=0)
    else:
        chosen = _pick(
            logits,
            token,
            inside,
            tl.load(seed_ptr + row),
            tl.load(position_ptr + row) + 1,
            stream,
            tl.maximum(temperature, 1e-6),
            tl.load(top_k_ptr + 2 * row + kind).to(tl.int32),
        )
    effective = tl.where(forced >= 0, forced, chosen.to(tl.int64))
    tl.store(chosen_ptr + row * OWN + stream, effective)
    if NEXT:
        d = tl.arange(0, DIM_BLOCK)
        in_dim = d < DIM
        at = row * input_row + stream * DIM + d
        x = load_sum(input_ptr, at, in_dim, input_stride, INPUTS).to(tl.float32)
        e = tl.load(emb_ptr + effective * DIM + d, mask=in_dim, other=0.0)
        x = (x + e.to(tl.float32)).to(tl.bfloat16)
        tl.store(x_ptr + row * DIM + d, x, mask=in_dim)
        y = norm(x.to(tl.float32), alpha_ptr, d, in_dim, DIM)
        tl.store(y_ptr + row * DIM + d, y, mask=in_dim)


def choose(
    parts: Tensor,
    stream: int,
    carry: Tensor,
    position: Tensor,
    settings: tuple[Tensor, Tensor, Tensor, Tensor],
    chosen: Tensor,
    following: tuple[Tensor, Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """Write stream ``stream``'s token of every row into ``chosen`` [B, 9]: what
    ``carry`` [B, 17] forces, else the choice from the logits ``parts`` [parts, B, V]
    at ``position`` + 1. ``settings``: the sampler's seed, greedy, temperature, top_k.

    ``following``: input products of the depth transformer [parts, B, 8 * dim], the
    table of the token's embeddings and the first norm's alpha; returns the next
    depth step's x and norm(x), [B, dim].
    """
    batch, count = parts.shape[1], parts.shape[2]
    seed, greedy, temperature, top_k = settings
    x = y = parts
    inputs = emb = alpha = parts
    dim = 1
    if following is not None:
        inputs, emb, alpha = following
        dim = emb.shape[-1]
        x, y = emb.new_empty(batch, dim), emb.new_empty(batch, dim)
    block = triton.next_power_of_2(count)
    _choose[(batch,)](
        parts,
        carry,
        position,
        seed,
        greedy,
        temperature,
        top_k,
        chosen,
        inputs,
        emb,
        alpha,
        x,
        y,
        stream,
        count,
        batch * count,
        inputs.shape[2],
        batch * inputs.shape[2],
        STREAMS=carry.shape[1],
        OWN=chosen.shape[1],
        DIM=dim,
        BLOCK=block,
        PARTS=parts.shape[0],
        INPUTS=inputs.shape[0],
        NEXT=following is not None,
        DIM_BLOCK=triton.next_power_of_2(dim),
        PDL=PDL,
        num_warps=min(max(block // 512, 1), 32),
        **LAUNCH,
    )
    return x, y
