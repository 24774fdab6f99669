"""The depth transformer: the 8 agent codes of one frame, codebook by codebook.

Each of its 8 steps has weights of its own, stacked along the first dimension. Its keys
and values live for one frame; it must not depend on anything beyond that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import DepthConfig
from inference.network.layers import (
    TransformerLayer,
    by_columns,
    fill_normal,
    gated_ffn,
    parameter,
    rms_norm,
)
from inference.timing import CODEBOOKS

# Codebook and its logits [B, audio cardinality] to the chosen codes [B].
Choose = Callable[[int, Tensor], Tensor]


class DepthLayer(TransformerLayer):
    """Each step has matrices of its own; the norms are shared by all steps."""

    def __init__(
        self, config: DepthConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(config, dtype, device, stack=(CODEBOOKS,))

    def step(self, x: Tensor, at: int, kv: Tensor) -> Tensor:
        """[B, dim] at step ``at``; ``kv`` [2, B, H, 8, d] holds the earlier steps'."""
        y = F.linear(rms_norm(x, self.norm1), self.in_proj[at])
        q, k, v = y.unflatten(-1, (3, self.heads, self.head_dim)).unbind(1)
        kv[0, :, :, at] = k
        kv[1, :, :, at] = v
        keys, values = kv[:, :, :, : at + 1]
        attended = F.scaled_dot_product_attention(q[:, :, None], keys, values)
        x = x + F.linear(attended.flatten(1), self.out_proj[at])
        y = rms_norm(x, self.norm2)
        return x + gated_ffn(y, self.linear_in[at], self.linear_out[at])

    def forward(self, x: Tensor) -> Tensor:
        """All steps in one pass, [8, N, dim]: step s with the weights of step s."""
        y = torch.bmm(rms_norm(x, self.norm1), self.in_proj.mT)
        qkv = y.unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = qkv.permute(2, 1, 3, 0, 4)  # [N, H, 8, d] each
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        attended = attended.permute(2, 0, 1, 3).flatten(-2)  # [8, N, dim]
        x = x + torch.bmm(attended, self.out_proj.mT)
        inner = torch.bmm(rms_norm(x, self.norm2), self.linear_in.mT)
        gate, up = inner.chunk(2, dim=-1)
        return x + torch.bmm(F.silu(gate) * up, self.linear_out.mT)


class DepthTransformer(nn.Module):
    def __init__(
        self,
        config: DepthConfig,
        temporal_dim: int,
        text_cardinality: int,
        audio_cardinality: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()

        new = partial(parameter, dtype=dtype, device=device)
        self.config = config
        self.inputs = new(CODEBOOKS, config.dim, temporal_dim)
        self.text_emb = new(text_cardinality + 1, config.dim)
        self.emb = new(CODEBOOKS - 1, audio_cardinality + 1, config.dim)
        self.heads = new(CODEBOOKS, audio_cardinality, config.dim)
        layers = [DepthLayer(config, dtype, device) for _ in range(config.layers)]
        self.layers = cast(list[DepthLayer], nn.ModuleList(layers))

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        for layer in self.layers:
            layer.init_weights(generator)
        for weight in (self.inputs, self.heads):
            fill_normal(weight, weight.shape[-1], generator)
        for weight in (self.text_emb, self.emb):
            fill_normal(weight, 1, generator)

    def by_columns(self) -> None:
        """All matrices; the inputs' as the one that they are in ``step``."""
        for layer in self.layers:
            layer.by_columns()
        by_columns(self.heads)
        joined = self.inputs.data.flatten(0, 1).t().contiguous().t()
        self.inputs.data = joined.unflatten(0, self.inputs.shape[:2])

    def step(
        self, hidden: Tensor, text: Tensor, forced: Tensor, choose: Choose
    ) -> Tensor:
        """The codes [B, 8] of one frame. ``hidden`` [B, temporal dim], ``text`` [B],
        ``forced`` [B, 8]: provided codes, negative where the model chooses."""
        batch = hidden.shape[0]
        # All input projections in one product, before the chain.
        inputs = F.linear(hidden, self.inputs.flatten(0, 1))
        inputs = inputs.unflatten(-1, (CODEBOOKS, -1))
        first = self.layers[0]
        kv = hidden.new_empty(
            len(self.layers), 2, batch, first.heads, CODEBOOKS, first.head_dim
        )
        provided = forced >= 0
        codes = torch.empty_like(forced)
        previous: Tensor = text
        table: Tensor = self.text_emb
        for at in range(CODEBOOKS):
            x = inputs[:, at] + F.embedding(previous, table)
            for layer, cache in zip(self.layers, kv, strict=True):
                x = layer.step(x, at, cache)
            chosen = choose(at, F.linear(x, self.heads[at]))
            previous = torch.where(provided[:, at], forced[:, at], chosen)
            codes[:, at] = previous
            table = self.emb[min(at, CODEBOOKS - 2)]
        return codes

    def forward(self, hidden: Tensor, text: Tensor, codes: Tensor) -> Tensor:
        """Logits [N, 8, audio cardinality] of N frames whose codes [N, 8] are known,
        in one pass."""
        x = torch.matmul(hidden, self.inputs.mT)  # [8, N, dim]
        known = [F.embedding(text, self.text_emb)]
        known += [F.embedding(codes[:, i], self.emb[i]) for i in range(CODEBOOKS - 1)]
        x = x + torch.stack(known)
        for layer in self.layers:
            x = layer(x)
        return torch.bmm(x, self.heads.mT).transpose(0, 1)
