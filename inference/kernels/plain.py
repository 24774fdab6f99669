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
from inference.network.sampling import exponentials, keep_top


def linear(x: Tensor, weight: Weight) -> Tensor:
    return F.linear(x.float(), weight.unpacked)[None]


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
    _, _, heads, _, size = store.shape
    batch = parts.shape[1]
    qkv = parts.sum(0).to(torch.bfloat16).view(batch, 3, heads, size)
    cos, sin = rotation(position[:, None], frequencies)
    q, k = (rotate(qkv[:, i], cos, sin) for i in (0, 1))
    data, scale = quantise(torch.stack((k, qkv[:, 2])), ring.format)
    rows = torch.arange(batch, device=parts.device)
    slot = ring.next_slot()[:batch]
    old = store[:, rows, :, slot]  # [B, 2, H, D]
    goes = active[:, None, None, None]
    store[:, rows, :, slot] = torch.where(goes, data.transpose(0, 1), old)
    if scales is not None and scale is not None:
        kept = scales[:, rows, :, slot]
        scales[:, rows, :, slot] = torch.where(
            active[:, None, None], scale.transpose(0, 1), kept
        )
    return q


def attend(
    q: Tensor, ring: Ring, layer: int, position: Tensor, active: Tensor
) -> Tensor:
    batch, _, size = q.shape
    store, scales = ring.layers[layer], ring.scales[layer]
    keys, values = store[:, :batch].float()
    if scales is not None:
        k_scale, v_scale = scales[:, :batch].float()[..., None]
        keys, values = keys * k_scale, values * v_scale
    seen = ring.view(None)[:batch, 0]
    scores = (q.float()[:, :, None] @ keys.mT)[:, :, 0] * size**-0.5
    scores = scores.masked_fill(~seen, -torch.inf)
    out = (scores.softmax(-1)[:, :, None] @ values)[:, :, 0]
    out = torch.where(active[:, None, None], out, 0)
    return out.to(q.dtype).flatten(1)


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
