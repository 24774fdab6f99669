"""Both ends of the codec, samples in and out, and what its streams keep."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from inference.kernels.codec_products import Layer
from inference.kernels.launch import LAUNCH, PDL, begin

ENCODE_SAMPLES, DECODE_SAMPLES = 64, 32  # samples of a program
PCM_SCALE = tl.constexpr(32768.0)


@triton.jit
def elu(x):
    return tl.where(x > 0, x, tl.exp(tl.minimum(x, 0.0)) - 1.0)


@triton.jit
def _keep(
    x_ptr,
    state_ptr,
    active_ptr,
    channels,
    ins,
    overlap,
    state_row,
    ELU_IN: tl.constexpr,
    BC: tl.constexpr,
    BO: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    b = tl.program_id(1)
    if tl.load(active_ptr + b) != 0:
        c, j = tl.program_id(0) * BC + tl.arange(0, BC), tl.arange(0, BO)
        inside = (c < channels)[:, None] & (j < overlap)[None, :]
        r = ins - overlap + j
        at = ((b * ins + r) * channels)[None, :] + c[:, None]
        x = tl.load(x_ptr + at, mask=inside & (r >= 0)[None, :], other=0.0)
        if ELU_IN:
            x = elu(x)
        at = b * state_row + c[:, None] * overlap + j[None, :]
        # What is old enough to have been here before, moves up.
        x += tl.load(state_ptr + at + ins, mask=inside & (r < 0)[None, :], other=0.0)
        tl.debug_barrier()
        tl.store(state_ptr + at, x, mask=inside)


@triton.jit
def _encode_input(
    pcm_ptr,
    w_ptr,
    bias_ptr,
    state_ptr,
    active_ptr,
    out_ptr,
    length,
    width,
    state_row,
    TAPS: tl.constexpr,
    BT: tl.constexpr,
    BN: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    part, row = tl.program_id(0), tl.program_id(1)
    t, n = part * BT + tl.arange(0, BT), tl.arange(0, BN)
    in_t, in_n = t < length, n < width
    pcm, state = pcm_ptr + row * length, state_ptr + row * state_row
    acc = tl.zeros([BT, BN], dtype=tl.float32)
    for j in tl.static_range(TAPS):
        at = t + j - (TAPS - 1)
        x = tl.load(pcm + at, mask=in_t & (at >= 0), other=0).to(tl.float32)
        x = x / PCM_SCALE
        x += tl.load(state + at + TAPS - 1, mask=in_t & (at < 0), other=0.0)
        acc += x[:, None] * tl.load(w_ptr + n * TAPS + j, mask=in_n)[None, :]
    acc += tl.load(bias_ptr + n, mask=in_n)[None, :]
    at = (row * length + t)[:, None] * width + n[None, :]
    tl.store(out_ptr + at, acc, mask=in_t[:, None] & in_n[None, :])
    # Only the first program reads what was kept, so it may replace it.
    if (part == 0) & (tl.load(active_ptr + row) != 0):
        old = tl.arange(0, 16)
        kept = old < TAPS - 1
        newest = tl.load(pcm + length - (TAPS - 1) + old, mask=kept, other=0)
        tl.debug_barrier()
        tl.store(state + old, newest.to(tl.float32) / PCM_SCALE, mask=kept)


@triton.jit
def _decode_output(
    x_ptr,
    w_ptr,
    bias_ptr,
    state_ptr,
    position_ptr,
    active_ptr,
    pcm_ptr,
    length,
    channels,
    state_row,
    advance,
    TAPS: tl.constexpr,
    BT: tl.constexpr,
    BC: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    part, row = tl.program_id(0), tl.program_id(1)
    t, c = part * BT + tl.arange(0, BT), tl.arange(0, BC)
    in_t, in_c = t < length, c < channels
    x_ptr += row * length * channels
    state = state_ptr + row * state_row
    acc = tl.zeros([BT], dtype=tl.float32)
    for j in tl.static_range(TAPS):
        at = t + j - (TAPS - 1)
        here = (in_t & (at >= 0))[:, None] & in_c[None, :]
        x = elu(tl.load(x_ptr + at[:, None] * channels + c[None, :], here, other=0.0))
        kept = (in_t & (at < 0))[:, None] & in_c[None, :]
        old = c[None, :] * (TAPS - 1) + (at + TAPS - 1)[:, None]
        x += tl.load(state + old, mask=kept, other=0.0)
        w = tl.load(w_ptr + j * channels + c, mask=in_c, other=0.0)
        acc += tl.sum(x * w[None, :], axis=1)
    acc = (acc + tl.load(bias_ptr)) * PCM_SCALE
    acc = tl.minimum(tl.maximum(acc, -PCM_SCALE), PCM_SCALE - 1)
    # To the nearest, of two the even one.
    acc = (acc + 12582912.0) - 12582912.0
    tl.store(pcm_ptr + row * length + t, acc.to(tl.int16), mask=in_t)
    if (part == 0) & (tl.load(active_ptr + row) != 0):
        # Only this program reads what was kept, so it may replace it.
        tl.debug_barrier()
        for last in tl.static_range(TAPS - 1):
            from_ptr = x_ptr + (length - (TAPS - 1) + last) * channels + c
            newest = elu(tl.load(from_ptr, mask=in_c, other=0.0))
            tl.store(state + c * (TAPS - 1) + last, newest, mask=in_c)
        position = tl.load(position_ptr + row)
        tl.store(position_ptr + row, position + advance)


@triton.jit
def _upsample(
    x_ptr,
    w_ptr,
    state_ptr,
    active_ptr,
    out_ptr,
    channels,
    state_row,
    BC: tl.constexpr,
    PDL: tl.constexpr,
):
    begin(PDL)
    row, c = tl.program_id(1), tl.program_id(0) * BC + tl.arange(0, BC)
    inside = c < channels
    goes = tl.load(active_ptr + row) != 0
    x = tl.load(x_ptr + row * channels + c, mask=inside, other=0.0)
    for j in tl.static_range(2):
        at = state_ptr + row * state_row + c * 2 + j
        w = tl.load(w_ptr + c * 4 + j, mask=inside, other=0.0)
        y = x * w + tl.load(at, mask=inside, other=0.0)
        tl.store(out_ptr + (row * 2 + j) * channels + c, y, mask=inside)
        w = tl.load(w_ptr + c * 4 + 2 + j, mask=inside, other=0.0)
        tl.store(at, x * w, mask=inside & goes)


def keep(x: Tensor, state: Tensor, active: Tensor, *, elu_in: bool = False) -> None:
    """The end of x [B, T, channels] is what ``state`` [B, channels, overlap] of active
    rows holds from now on."""
    batch, ins, channels = x.shape
    overlap = state.shape[2]
    block = min(triton.next_power_of_2(channels), 128)
    _keep[(triton.cdiv(channels, block), batch)](
        x,
        state,
        active,
        channels,
        ins,
        overlap,
        state.stride(0),
        ELU_IN=elu_in,
        BC=block,
        BO=triton.next_power_of_2(overlap),
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )


def encode_input(pcm: Tensor, layer: Layer, state: Tensor, active: Tensor) -> Tensor:
    """int16 [B, T] through the first convolution, fp32 [B, T, width]."""
    batch, length = pcm.shape
    out = torch.empty(batch, length, layer.width, device=pcm.device)
    _encode_input[(triton.cdiv(length, ENCODE_SAMPLES), batch)](
        pcm,
        layer.weight,
        layer.bias,
        state,
        active,
        out,
        length,
        layer.width,
        state.stride(0),
        TAPS=layer.taps,
        BT=ENCODE_SAMPLES,
        BN=triton.next_power_of_2(layer.width),
        PDL=PDL,
        num_warps=4,
        **LAUNCH,
    )
    return out


def decode_output(
    x: Tensor,
    layer: Layer,
    state: Tensor,
    position: Tensor,
    active: Tensor,
    out: Tensor,
    advance: int,
) -> None:
    """ELU of x [B, T, channels] through the last convolution, into int16 [B, T]; the
    frame is done, so ``position`` [B] of active rows moves by ``advance``."""
    batch, length, channels = x.shape
    _decode_output[(triton.cdiv(length, DECODE_SAMPLES), batch)](
        x,
        layer.weight,
        layer.bias,
        state,
        position,
        active,
        out,
        length,
        channels,
        state.stride(0),
        advance,
        TAPS=layer.taps,
        BT=DECODE_SAMPLES,
        BC=triton.next_power_of_2(channels),
        PDL=PDL,
        num_warps=4,
        **LAUNCH,
    )


def upsample(x: Tensor, weight: Tensor, state: Tensor, active: Tensor) -> Tensor:
    """A frame [B, 1, channels] to two positions [B, 2, channels], each channel by
    itself; weight [channels, 1, 4]."""
    batch, _, channels = x.shape
    out = x.new_empty(batch, 2, channels)
    block = min(triton.next_power_of_2(channels), 128)
    _upsample[(triton.cdiv(channels, block), batch)](
        x,
        weight,
        state,
        active,
        out,
        channels,
        state.stride(0),
        BC=block,
        PDL=PDL,
        num_warps=1,
        **LAUNCH,
    )
    return out
