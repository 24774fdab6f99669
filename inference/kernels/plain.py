"""The same functions as ``fast`` in plain PyTorch, for any device: what the kernels
are held against. Each is documented where the kernel is."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.kernels.ring import Ring, quantise
from inference.kernels.weights import Weight, deinterleave
from inference.network.config import FREE
from inference.network.layers import rms_norm, rotate, rotation
from inference.network.mimi import Mimi, StreamState
from inference.network.sampling import exponentials, keep_top

PCM_SCALE = 32768.0
CAPTURED = False  # it asks the device now and then


def linear(x: Tensor, weight: Weight) -> Tensor:
    return F.linear(x.float(), weight.unpacked)[None]


def project(x: Tensor, weight: Weight) -> Tensor:
    return linear(x, weight)[0].to(x.dtype)


def gated(x: Tensor, weight: Weight) -> Tensor:
    gate, up = deinterleave(linear(x, weight)[0].to(x.dtype))
    return F.silu(gate) * up


def embed(
    rows: Tensor, emb: Tensor, text_emb: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    parts = [emb[k][rows[:, 1 + k]] for k in range(emb.shape[0])]
    x = reduce(torch.add, parts) + text_emb[rows[:, 0]]
    return x, rms_norm(x, alpha)


def add_norm(parts: Tensor, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    total = x + parts.sum(0).to(x.dtype)
    return total, rms_norm(total, alpha)


def write_kv(
    parts: Tensor,
    ring: Ring,
    layer: int,
    frequencies: Tensor,
    position: Tensor,
    active: Tensor,
) -> Tensor:
    store, scales = ring.layers[layer], ring.scales[layer]
    _, _, heads, page, size = store.shape
    batch = parts.shape[1]
    qkv = parts.sum(0).to(torch.bfloat16).view(batch, 3, heads, size)
    cos, sin = rotation(position[:, None], frequencies)
    q, k = (rotate(qkv[:, i], cos, sin) for i in (0, 1))
    data, scale = quantise(torch.stack((k, qkv[:, 2]), dim=1), ring.format)
    rows = torch.arange(batch, device=parts.device)
    slot = ring.next_slot()[:batch]
    # A row that sits out may have no page, and none of it is written.
    rows, slot = rows[active], slot[active]
    pages, inner = ring.table[rows, slot // page].long(), slot % page
    store[pages, :, :, inner] = data[active]
    if scales is not None and scale is not None:
        scales[pages, :, :, inner] = scale[active]
    return q


def attend(
    q: Tensor, ring: Ring, layer: int, position: Tensor, active: Tensor
) -> Tensor:
    batch, _, size = q.shape
    data, scale = ring.raw(layer, slice(0, batch), ring.context)
    kv = data.float() if scale is None else data.float() * scale.float()[..., None]
    keys, values = kv
    seen = ring.view(None)[:batch, 0]
    scores = (q.float()[:, :, None] @ keys.mT)[:, :, 0] * size**-0.5
    scores = scores.masked_fill(~seen, -torch.inf)
    out = (scores.softmax(-1)[:, :, None] @ values)[:, :, 0]
    out = torch.where(active[:, None, None], out, 0)
    return out.to(q.dtype).flatten(1)


def write_chunk(
    qkv: Tensor, ring: Ring, layer: int, frequencies: Tensor, where: Tensor
) -> Tensor:
    slot, start, count = where.tolist()
    heads, positions = ring.layers[layer].shape[2], torch.arange(len(qkv)) + start
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(1, 2, 0, 3)
    turn = rotation(positions.to(qkv.device), frequencies)
    kv = torch.stack((rotate(k, *turn), v))[:, :, :count]
    ring.write(layer, slot, positions[:count].to(qkv.device), kv)
    return rotate(q, *turn).transpose(0, 1)


def attend_chunk(q: Tensor, ring: Ring, layer: int, where: Tensor) -> Tensor:
    slot, start, count = where.tolist()
    kv = ring.read(layer, slice(slot, slot + 1), start + count)[:, 0].float()
    rows = torch.arange(len(q), device=q.device)[:, None] + start
    seen = rows >= torch.arange(start + count, device=q.device)
    scores = q.float().transpose(0, 1) @ kv[0].mT * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return (weights @ kv[1]).transpose(0, 1).flatten(1).to(q.dtype)


def attend_frame(parts: Tensor, store: Tensor, at: int) -> Tensor:
    batch, heads, _, _, size = store.shape
    qkv = parts.sum(0).to(store.dtype).view(batch, 3, heads, size)
    q, k, v = qkv.unbind(1)
    store[:, :, 0, at] = k
    store[:, :, 1, at] = v
    keys, values = store[:, :, 0, : at + 1].float(), store[:, :, 1, : at + 1].float()
    scores = (q.float()[:, :, None] @ keys.mT) * size**-0.5
    return (scores.softmax(-1) @ values)[:, :, 0].to(store.dtype).flatten(1)


def choose(
    parts: Tensor,
    stream: int,
    carry: Tensor,
    position: Tensor,
    settings: tuple[Tensor, Tensor, Tensor, Tensor],
    chosen: Tensor,
    following: tuple[Tensor, Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    logits = parts.sum(0).to(torch.bfloat16).float()
    seed, greedy, temperature, top_k = settings
    kind = min(stream, 1)
    greedy = greedy | (temperature[:, kind] <= 0)
    p = (logits / temperature[:, kind].clamp(min=1e-6)[:, None]).softmax(-1)
    kept = keep_top(p, top_k[:, kind], p.shape[-1])
    q = exponentials(seed, position + 1, stream, p.shape[-1])
    drawn = torch.where(kept, p / q, -1.0).argmax(-1)
    token = torch.where(greedy, logits.argmax(-1), drawn)
    token = torch.where(carry[:, stream] >= 0, carry[:, stream], token)
    chosen[:, stream] = token
    if following is None:
        return parts, parts
    inputs, emb, alpha = following
    dim = emb.shape[-1]
    x = inputs.sum(0)[:, stream * dim : (stream + 1) * dim].to(emb.dtype) + emb[token]
    return x, rms_norm(x, alpha)


def complete(row: Tensor, chosen: Tensor, delayed: Tensor) -> Tensor:
    own = chosen.shape[1]
    return torch.where(delayed[:own], chosen, row[:, :own])


def advance(
    row: Tensor,
    carry: Tensor,
    position: Tensor,
    chosen: Tensor,
    user: Tensor,
    delayed: Tensor,
    active: Tensor,
) -> Tensor:
    record = torch.cat((chosen, user), dim=1)
    frame = torch.cat((torch.full_like(chosen, FREE), user), dim=1)
    own = torch.arange(row.shape[1], device=row.device) < chosen.shape[1]
    new = torch.where(own, record, torch.where(delayed, carry, frame))
    left = torch.where(delayed, frame, FREE)
    goes = active[:, None]
    row.copy_(torch.where(goes, new, row))
    carry.copy_(torch.where(goes, left, carry))
    position += active
    return record


class PlainCodec:
    def __init__(self, mimi: Mimi) -> None:
        self.mimi = mimi

    def encode(
        self, pcm: Tensor, state: StreamState, active: Tensor, codes: Tensor
    ) -> None:
        scaled = pcm.float().div_(PCM_SCALE)[:, None]
        codes.copy_(self.mimi.encode_step(scaled, state, active)[:, :, 0])

    def decode(
        self, codes: Tensor, state: StreamState, active: Tensor, pcm: Tensor
    ) -> None:
        spoken = self.mimi.decode_step(codes[:, :, None], state, active)
        spoken = spoken.mul(PCM_SCALE).round_().clamp_(-PCM_SCALE, PCM_SCALE - 1)
        pcm.copy_(spoken[:, 0])


codec = PlainCodec
