"""The training forward of the language model: whole sequences, the same parameters.

A test holds it to what the streaming step computes. It differs only in speed: causal
flash attention, fused norms, compiled layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.network.config import TEXT
from inference.network.layers import NORM_EPS, rotate, rotation
from inference.network.lm import LanguageModel
from inference.timing import CODEBOOKS


def norm(x: Tensor, alpha: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), alpha, NORM_EPS)


def temporal_layer(
    x: Tensor, cos: Tensor, sin: Tensor, heads: int, weights: tuple[Tensor, ...]
) -> Tensor:
    """[B, T, dim]; weights: norm1, in_proj, out_proj, norm2, linear_in, linear_out."""
    norm1, in_proj, out_proj, norm2, linear_in, linear_out = weights
    y = F.linear(norm(x, norm1), in_proj).unflatten(-1, (3, heads, -1))
    q, k, v = y.permute(2, 0, 3, 1, 4)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + F.linear(attended.transpose(1, 2).flatten(-2), out_proj)
    gate, up = F.linear(norm(x, norm2), linear_in).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, linear_out)


def depth_layer(x: Tensor, heads: int, weights: tuple[Tensor, ...]) -> Tensor:
    """[8, N, dim]; each step has its own weights."""
    norm1, in_proj, out_proj, norm2, linear_in, linear_out = weights
    y = torch.bmm(norm(x, norm1), in_proj.mT).unflatten(-1, (3, heads, -1))
    q, k, v = y.permute(2, 1, 3, 0, 4)
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    attended = attended.permute(2, 0, 1, 3).flatten(-2)
    x = x + torch.bmm(attended, out_proj.mT)
    gate, up = torch.bmm(norm(x, norm2), linear_in.mT).chunk(2, dim=-1)
    return x + torch.bmm(F.silu(gate) * up, linear_out.mT)


NAMES = ("norm1", "in_proj", "out_proj", "norm2", "linear_in", "linear_out")


class Forward:
    """Calls the layers, compiled or not."""

    def __init__(self, model: LanguageModel, compiled: bool) -> None:
        self.model = model
        self.temporal_layer: Callable[..., Tensor] = temporal_layer
        self.depth_layer: Callable[..., Tensor] = depth_layer
        if compiled:
            self.temporal_layer = torch.compile(temporal_layer, dynamic=False)
            self.depth_layer = torch.compile(depth_layer, dynamic=False)

    def embed(self, rows: Tensor) -> Tensor:
        """[B, T, 17] to [B, T, dim]."""
        model = self.model
        index = (rows[..., 1:] + model.get_buffer("offsets")).flatten(0, 1)
        summed = F.embedding_bag(index, model.emb.flatten(0, 1), mode="sum")
        return summed.view(*rows.shape[:2], -1) + F.embedding(
            rows[..., TEXT], model.text_emb
        )

    def temporal(self, rows: Tensor, position: Tensor | None = None) -> Tensor:
        """Hidden states [B, T, dim] after reading rows [B, T, 17], at positions
        [B, T] or else at 0, 1, 2 …"""
        parts = self.model.temporal
        x = self.embed(rows)
        if position is None:
            position = torch.arange(rows.shape[1], device=rows.device)[None]
        cos, sin = rotation(position[:, None], parts.frequencies)  # [B, 1, T, d / 2]
        for layer in parts.layers:
            weights = tuple(getattr(layer, name) for name in NAMES)
            x = self.temporal_layer(x, cos, sin, layer.heads, weights)
        return norm(x, parts.out_norm)

    def depth(self, hidden: Tensor, text: Tensor, codes: Tensor) -> Tensor:
        """Logits [8, N, cardinality] of the codes [N, 8] after the text [N]."""
        parts = self.model.depth
        count = len(text)
        known = [F.embedding(text, parts.text_emb)]
        known += [F.embedding(codes[:, i], parts.emb[i]) for i in range(CODEBOOKS - 1)]
        inputs = hidden.expand(CODEBOOKS, count, -1)
        x = torch.bmm(inputs, parts.inputs.mT) + torch.stack(known)
        for layer in parts.layers:
            weights = tuple(getattr(layer, name) for name in NAMES)
            x = self.depth_layer(x, layer.heads, weights)
        return torch.bmm(x, parts.heads.mT)
