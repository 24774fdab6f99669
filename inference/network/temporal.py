"""The temporal transformer: one row of 17 tokens per frame, a sliding KV ring.

Includes the ring and its window rule. Must not depend on tokens or sessions.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.network.config import TemporalConfig
from inference.network.layers import (
    TransformerLayer,
    gated_ffn,
    parameter,
    rms_norm,
    rope_frequencies,
    rotate,
    rotation,
)


class Window:
    """Which of a row's newest ``context`` positions lie where, and are in view.

    Position t lies in slot t mod context. While the newest position t is below
    context - 1 all keys are in view; from then on the newest context - 1 (spec 5.5):
    the slot that the next step will write is never in view. So a row that sits out a
    step may be written there, as long as its ``position`` stands still.

    The first p positions of a row can be pinned: they keep their slots 0 … p - 1 for
    good and stay in view, and the same rules hold for a ring of the other context - p
    slots. A key keeps the rotary position it was written with.

    A row whose memory ends early has a ``limit`` below the context, and the rules of a
    context of that length.
    """

    def __init__(self, context: int, batch: int, device: torch.device) -> None:
        self.context = context
        # Positions written so far = position of the next one, [B].
        self.position = torch.zeros(batch, dtype=torch.int64, device=device)
        self.pinned = torch.zeros_like(self.position)
        self.limit = torch.full_like(self.position, context)
        # The same, where nothing waits for the device.
        self._pins, self._limits = [0] * batch, [context] * batch
        self.rows = torch.arange(batch, device=device)
        self.slots = torch.arange(context, device=device)

    def pin(self, row: int, count: int) -> None:
        """Keep the first ``count`` positions; before any beyond them is written."""
        if not 0 <= count <= self.context - 2:
            raise ValueError(f"{count} of {self.context} slots pinned")
        self.pinned[row] = count
        self._pins[row] = count

    def next_slot(self) -> Tensor:
        """Where each row writes its next position, [B]."""
        loose = (self.position - self.pinned) % (self.limit - self.pinned)
        return torch.where(
            self.position < self.pinned, self.position, self.pinned + loose
        )

    def view(self, span: int | None) -> Tensor:
        """Which of the first ``span`` slots the position being written sees:
        bool [B, 1, 1, span]."""
        slots, pinned = self.slots[:span], self.pinned[:, None]
        period = self.limit[:, None] - pinned
        newest = self.position[:, None] - pinned  # of those that are not pinned
        age = (newest - (slots - pinned)) % period
        seen = age < (newest + 1).minimum(period - 1)
        kept = slots <= self.position[:, None]
        seen = torch.where(slots < pinned, kept, seen) & (slots < self.limit[:, None])
        return seen[:, None, None]

    def held(self, row: int, start: int) -> tuple[Tensor, Tensor]:
        """Of a row that has written ``start`` positions: the slots it has filled, and
        which position lies in each."""
        pinned, limit = self._pins[row], self._limits[row]
        slots = self.slots[: min(start, limit)]
        newest = start - 1 - pinned
        age = (newest - (slots - pinned)) % (limit - pinned)
        return slots, torch.where(slots < pinned, slots, start - 1 - age)

    def lasting(self, row: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Of positions start … stop - 1 those that are still held when all of them
        are written, counted from start; and the slot of each."""
        pinned = self._pins[row]
        period = self._limits[row] - pinned
        device = self.slots.device
        border = min(max(start, pinned), stop)
        kept = torch.arange(start, border, device=device)
        loose = torch.arange(max(border, stop - period), stop, device=device)
        slots = torch.cat((kept, pinned + (loose - pinned) % period))
        return torch.cat((kept, loose)) - start, slots

    def window(self, row: int, queries: Tensor, keys: Tensor) -> Tensor:
        """bool [T, S]: which key positions each query position sees."""
        return in_window(queries, keys, self._limits[row], self._pins[row])


class KVRing(Window):
    """Rotated keys and raw values of the newest ``context`` positions of each row."""

    def __init__(
        self,
        config: TemporalConfig,
        batch: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(config.context, batch, device)
        # [2, B, heads, context, head_dim] per layer, keys first.
        shape = (2, batch, config.heads, config.context, config.head_dim)
        self.layers = [
            torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)
        ]

    def reset(self, row: int) -> None:
        """What is out of view has no weight, but zero times NaN is NaN: what a broken
        session left must not reach the next one."""
        self.position[row] = 0
        self.pin(row, 0)
        for store in self.layers:
            store[:, row].zero_()


def in_window(queries: Tensor, keys: Tensor, context: int, pinned: int = 0) -> Tensor:
    """bool [T, S]: which key positions each query position sees."""
    age = queries[:, None] - keys
    return (age >= 0) & ((age < context - pinned - 1) | (keys < pinned))


class TemporalLayer(TransformerLayer):
    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, dim] to rotated queries [B, H, T, d] and, stacked, rotated keys and
        values [2, B, H, T, d]."""
        y = F.linear(rms_norm(x, self.norm1), self.in_proj)
        # [B, T, 3, H, d] to [3, B, H, T, d]
        qkv = y.unflatten(-1, (3, self.heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        turned = rotate(qkv[:2], cos, sin)
        return turned[0], torch.stack((turned[1], qkv[2]))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Attention output [B, H, T, d] into the residual stream, then the FFN."""
        x = x + F.linear(attended.transpose(1, 2).flatten(-2), self.out_proj)
        y = rms_norm(x, self.norm2)
        return x + gated_ffn(y, self.linear_in, self.linear_out)


class TemporalTransformer(nn.Module):
    def __init__(
        self, config: TemporalConfig, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.config = config
        layers = [TemporalLayer(config, dtype, device) for _ in range(config.layers)]
        self.layers = cast(list[TemporalLayer], nn.ModuleList(layers))
        self.out_norm = parameter(config.dim, dtype=dtype, device=device)
        self.frequencies = rope_frequencies(config.head_dim, config.rope_base, device)

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        for layer in self.layers:
            layer.init_weights(generator)
        self.out_norm.fill_(1)

    def by_columns(self) -> None:
        for layer in self.layers:
            layer.by_columns()

    def ring(self, batch: int) -> KVRing:
        weight = self.out_norm
        return KVRing(self.config, batch, weight.dtype, weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence from position 0, [B, T, dim] to hidden [B, T, dim]."""
        position = torch.arange(x.shape[1], device=x.device)
        cos, sin = rotation(position, self.frequencies)
        visible = in_window(position, position, self.config.context)
        for layer in self.layers:
            q, kv = layer.project(x, cos, sin)
            attended = F.scaled_dot_product_attention(q, kv[0], kv[1], visible)
            x = layer.finish(x, attended)
        return rms_norm(x, self.out_norm)

    def step(
        self, x: Tensor, ring: KVRing, active: Tensor | None, span: int | None = None
    ) -> Tensor:
        """One position of every row, [B, dim] to hidden [B, dim].

        Rows not ``active`` (bool [B]) compute too, but don't advance. ``span``: how
        many slots to read, for callers who know that no row has written more; None
        reads the whole ring and needs nothing from the host.
        """
        # One row alone that has never wrapped sees all that was written.
        everything = ring.rows.shape[0] == 1 and span is not None
        everything = everything and span < ring.context  # type: ignore[operator]
        visible = None if everything else ring.view(span)
        cos, sin = rotation(ring.position[:, None, None], self.frequencies)
        slot = ring.next_slot()
        x = x[:, None]
        for layer, store in zip(self.layers, ring.layers, strict=True):
            q, kv = layer.project(x, cos, sin)
            store[:, ring.rows, :, slot] = kv[:, :, :, 0].transpose(0, 1)
            keys, values = store[:, :, :, :span]
            attended = F.scaled_dot_product_attention(q, keys, values, visible)
            x = layer.finish(x, attended)
        ring.position += 1 if active is None else active
        return rms_norm(x[:, 0], self.out_norm)

    def prefill(self, x: Tensor, ring: KVRing, row: int, start: int) -> Tensor:
        """Many positions of one row in one pass, [T, dim] to hidden [T, dim].

        ``start``: positions of that row written so far, known to the caller so that
        nothing waits for the device.
        """
        count = x.shape[0]
        slots, old = ring.held(row, start)
        kept = slots.shape[0]
        new = torch.arange(start, start + count, device=x.device)
        visible = ring.window(row, new, torch.cat((old, new)))
        cos, sin = rotation(new, self.frequencies)
        lasting, written = ring.lasting(row, start, start + count)
        x = x[None]
        for layer, store in zip(self.layers, ring.layers, strict=True):
            q, kv = layer.project(x, cos, sin)
            keys, values = torch.cat((store[:, row : row + 1, :, :kept], kv), dim=3)
            attended = F.scaled_dot_product_attention(q, keys, values, visible)
            store[:, row].index_copy_(2, written, kv[:, 0, :, lasting])
            x = layer.finish(x, attended)
        ring.position[row] = start + count
        return rms_norm(x[0], self.out_norm)
