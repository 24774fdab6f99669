"""The codec's transformers: causal attention over a ring of recent positions.

Works on [B, T, dim] with two positions per frame. Must not depend on sessions.

Which keys a query sees is part of the model: the checkpoint was used with a ring
that loses its oldest key as soon as it is full. A call writes the two positions of
a frame first, so counting from the frame's end, ``context - 1`` positions are left:
with 250 slots the frame's first query sees 248 keys and its second 249.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.mimi.config import MimiConfig
from inference.network.mimi.streaming import Step, StreamingLayer

ROPE_BASE = 10_000.0


@dataclass(frozen=True)
class Plan:
    """What all layers of one call share."""

    cos: Tensor  # [B or 1, 1, T, head_dim / 2]
    sin: Tensor
    mask: Tensor | None  # bool [B or 1, 1, T, keys]; None: plainly causal
    slots: Tensor | None = None  # ring slots of the newest positions, [B, 1, W, 1]


class Attention(StreamingLayer):
    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        config = self.config
        shape = (config.n_heads, config.context, config.head_dim)
        return {f"{self.key}.keys": shape, f"{self.key}.values": shape}

    def forward(self, x: Tensor, plan: Plan, step: Step | None) -> Tensor:
        batch, length, dim = x.shape
        heads, head_dim = self.config.n_heads, self.config.head_dim
        qkv = F.linear(x, self.in_proj_weight).view(batch, length, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, D]
        q, k = rotate(q, plan), rotate(k, plan)
        if step is not None:
            k = self._remember("keys", k, plan, step)
            v = self._remember("values", v, plan, step)
        causal = plan.mask is None
        y = F.scaled_dot_product_attention(q, k, v, plan.mask, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, dim))

    def _remember(self, what: str, new: Tensor, plan: Plan, step: Step) -> Tensor:
        """Write the newest into the ring; returns what may be seen."""
        assert plan.slots is not None
        ring = step.carry(f"{self.key}.{what}")
        frame = self.config.resample_stride
        # A single frame finds all it may see in the ring it was written to; of
        # several, the earlier would miss keys that the later have overwritten.
        seen = ring if new.shape[2] == frame else torch.cat([ring, new], dim=2)
        newest = new[:, :, -plan.slots.shape[2] :]
        index = plan.slots.expand_as(newest)
        if step.active is not None:
            newest = step.merge(newest, ring.gather(2, index))
        ring.scatter_(2, index, newest)
        return seen


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        return torch.addcmul(x, self.scale, branch)


class Layer(nn.Module):
    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, eps=1e-5)
        self.self_attn = Attention(config)
        self.layer_scale_1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-5)
        self.linear1 = nn.Linear(dim, config.ffn, bias=False)
        self.linear2 = nn.Linear(config.ffn, dim, bias=False)
        self.layer_scale_2 = LayerScale(dim)

    def forward(self, x: Tensor, plan: Plan, step: Step | None) -> Tensor:
        x = self.layer_scale_1(x, self.self_attn(self.norm1(x), plan, step))
        ffn = self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return self.layer_scale_2(x, ffn)


class Layers(nn.Module):
    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))


class Transformer(nn.Module):
    """[B, dim, T] to [B, dim, T], where T is a whole number of frames."""

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Layers(config)

    def forward(self, x: Tensor, step: Step | None = None) -> Tensor:
        x = x.transpose(1, 2)
        plan = self._plan(x, step)
        for layer in self.transformer.layers:
            x = layer(x, plan, step)
        return x.transpose(1, 2)

    def _plan(self, x: Tensor, step: Step | None) -> Plan:
        length, context = x.shape[1], self.config.context
        offsets = torch.arange(length, device=x.device)
        if step is None:
            queries = offsets[None]
            cos, sin = rotary(queries, self.config.head_dim)
            if length < context:
                return Plan(cos, sin, None)
            return Plan(cos, sin, self._visible(queries, queries))
        queries = step.state.position[:, None] + offsets  # [B, T]
        cos, sin = rotary(queries, self.config.head_dim)
        slots = queries[:, -context:] % context
        if length == self.config.resample_stride:
            keys = ring_positions(queries[:, -1:], context)
        else:
            old = ring_positions(queries[:, :1] - 1, context)
            keys = torch.cat([old, queries], dim=1)
        return Plan(cos, sin, self._visible(queries, keys), slots[:, None, :, None])

    def _visible(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Positions [B, T] and [B, K] to a bool mask [B, 1, T, K]."""
        frame, context = self.config.resample_stride, self.config.context
        q, k = queries[:, :, None], keys[:, None, :]
        frame_end = (q // frame + 1) * frame
        oldest = (frame_end - (context - 1)).clamp(min=0)
        return ((k <= q) & (k >= oldest))[:, None]


def ring_positions(last: Tensor, context: int) -> Tensor:
    """The position each ring slot holds when ``last`` [B, 1] is the newest.

    Slots that were never written come out negative.
    """
    slots = torch.arange(context, device=last.device)
    return last - (last - slots) % context


def rotary(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, [B, 1, T, head_dim / 2], for positions [B, T]."""
    pairs = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    freqs = torch.exp(pairs * (-2 * math.log(ROPE_BASE) / head_dim))
    angles = positions[:, None, :, None].to(torch.float32) * freqs
    return angles.cos(), angles.sin()


def rotate(x: Tensor, plan: Plan) -> Tensor:
    """Turn the neighbouring pairs of the last dimension by their angle."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = [even * plan.cos - odd * plan.sin, even * plan.sin + odd * plan.cos]
    return torch.stack(turned, dim=-1).flatten(-2)
