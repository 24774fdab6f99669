"""The KV rings of many sessions, bf16 or 8-bit with a scale per token and head.

Owns their layout. Which slots are in view is the business of attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inference.network.config import TemporalConfig
from inference.network.temporal import KVRing

KV_FORMATS = ("bf16", "int8")
KV_MAX = 127.0
LEAST_SCALE = 2.0**-24  # the smallest number above 0 in fp16


class Ring(KVRing):
    """KVRing's rules over ``layers`` in a format of their own."""

    def __init__(
        self, config: TemporalConfig, batch: int, format: str, device: torch.device
    ) -> None:
        if format not in KV_FORMATS:
            raise ValueError(f"{format} is none of {', '.join(KV_FORMATS)}")
        eight = format == "int8"
        super().__init__(config, batch, torch.int8 if eight else torch.bfloat16, device)
        self.format = format
        self.scales: list[Tensor | None] = [
            layer.new_zeros(layer.shape[:-1], dtype=torch.float16) if eight else None
            for layer in self.layers
        ]

    def reset(self, row: int) -> None:
        super().reset(row)
        for scale in self.scales:
            if scale is not None:
                scale[:, row].zero_()

    def write(self, layer: int, row: int, slots: Tensor, kv: Tensor) -> None:
        """Keys and values [2, heads, T, head_dim] of one session."""
        self.store(layer, row, slots, *quantise(kv, self.format))

    def store(
        self, layer: int, row: int, slots: Tensor, data: Tensor, scale: Tensor | None
    ) -> None:
        """As ``write``, of what ``quantise`` made of them."""
        self.layers[layer][:, row].index_copy_(2, slots, data)
        scales = self.scales[layer]
        if scales is not None and scale is not None:
            scales[:, row].index_copy_(2, slots, scale)

    def read(self, layer: int, rows: slice, count: int) -> Tensor:
        """The first ``count`` slots, bf16 [2, rows, heads, count, head_dim]."""
        data = self.layers[layer][:, rows, :, :count]
        scales = self.scales[layer]
        if scales is None:
            return data
        wide = data.float() * scales[:, rows, :, :count, None].float()
        return wide.to(torch.bfloat16)


def quantise(kv: Tensor, format: str) -> tuple[Tensor, Tensor | None]:
    """[..., head_dim] to what is stored of it, and its scale fp16 [...]."""
    if format == "bf16":
        return kv.to(torch.bfloat16), None
    wide = kv.float()
    scale = (wide.abs().amax(dim=-1) / KV_MAX).clamp_(min=LEAST_SCALE)
    scale = scale.to(torch.float16)
    data = torch.floor(wide / scale.float()[..., None] + 0.5).clamp_(-KV_MAX, KV_MAX)
    return data.to(torch.int8), scale
