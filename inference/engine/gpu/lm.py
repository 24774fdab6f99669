"""The language model's step for many sessions over packed weights.

Holds the streaming state of all slots and calls the kernels in the order of the
network. Every step of n rows is the same launches on the same memory, so that it can
be captured. Must not depend on sound, prompts or graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from inference.kernels.packed import PackedModel
from inference.kernels.ring import Ring, quantise
from inference.kernels.weights import deinterleave
from inference.network.config import FREE, TEXT
from inference.network.layers import rms_norm, rope_frequencies, rotate, rotation
from inference.network.sampling import Sampler
from inference.timing import CODEBOOKS, STREAMS

OWN = 1 + CODEBOOKS  # streams that the model chooses: text and the agent's codes


@dataclass(frozen=True)
class _Chunk:
    """Of a prefill's positions what all layers share."""

    slot: int
    kept: int  # slots that hold earlier positions
    turn: tuple[Tensor, Tensor]
    visible: Tensor  # bool [T, kept + T]
    lasting: Tensor  # which of them are still in the ring afterwards,
    written: Tensor  # and where


class GpuLM:
    """The first n slots step together. ``ops``: kernels.fast, or kernels.plain."""

    def __init__(
        self,
        model: PackedModel,
        slots: int,
        kv: str,
        ops: ModuleType,
        pages: int | None = None,
    ) -> None:
        config, device = model.config, model.device
        temporal, depth = config.temporal, config.depth
        self.model, self.ops, self.slots = model, ops, slots
        self.ring = Ring(temporal, slots, kv, device, pages)
        self.frequencies = rope_frequencies(
            temporal.head_dim, temporal.rope_base, device
        )
        # As in network.lm.LMState.
        self.row = torch.zeros(slots, STREAMS, dtype=torch.int64, device=device)
        self.carry = torch.full_like(self.row, FREE)
        self.position = self.ring.position
        self.delayed = torch.tensor(config.delays, device=device) > 0
        self.sampler = Sampler(
            slots, config.text_cardinality, config.audio_cardinality, device
        )
        shape = (slots, depth.heads, 2, CODEBOOKS, depth.head_dim)
        self._frames = [
            torch.zeros(shape, dtype=torch.bfloat16, device=device)
            for _ in range(depth.layers)
        ]

    def begin(self, slot: int, row: Tensor, carry: Tensor) -> None:
        self.row[slot] = row.to(self.row.device)
        self.carry[slot] = carry.to(self.row.device)

    def reset(self, slot: int, promised: int | None = None) -> bool:
        """For a new session; see ``Ring.begin``."""
        self.row[slot] = 0
        self.carry[slot] = FREE
        return self.ring.begin(slot, promised)

    def temporal(self, active: Tensor) -> Tensor:
        """Feed the newest row of the first n slots, ``active`` bool [n]: hidden,
        bf16 [n, dim]. Rows that are not active keep their state."""
        ops, weights, tensors = self.ops, self.model.weights, self.model.tensors
        n = active.shape[0]
        position = self.position[:n]
        norms = self.norms()
        x, y = ops.embed(self.row[:n], tensors["emb"], tensors["text_emb"], norms[0])
        for i in range(self.model.config.temporal.layers):
            name = f"layers.{i}."
            parts = ops.linear(y, weights[name + "in_proj"])
            q = ops.write_kv(parts, self.ring, i, self.frequencies, position, active)
            seen = ops.attend(q, self.ring, i, position, active)
            parts = ops.linear(seen, weights[name + "out_proj"])
            x, y = ops.add_norm(parts, x, tensors[name + "norm2"])
            inner = ops.gated(y, weights[name + "linear_in"])
            parts = ops.linear(inner, weights[name + "linear_out"])
            x, y = ops.add_norm(parts, x, norms[i + 1])
        return y

    def choose(self, hidden: Tensor) -> Tensor:
        """The row that hidden [n, dim] completes: text and agent codes, [n, 9]."""
        ops, weights, tensors = self.ops, self.model.weights, self.model.tensors
        config = self.model.config.depth
        chosen = torch.empty(
            hidden.shape[0], OWN, dtype=torch.int64, device=hidden.device
        )
        norm1 = [tensors[f"depth.{j}.norm1"] for j in range(config.layers)]
        inputs = ops.linear(hidden, weights["depth.inputs"])
        logits = ops.linear(hidden, weights["text_linear"])
        following = (inputs, tensors["depth.text_emb"], norm1[0])
        x, y = self._token(logits, TEXT, chosen, following)
        for step in range(CODEBOOKS):
            for j in range(config.layers):
                after = norm1[(j + 1) % config.layers]
                x, y = self._depth_layer(x, y, step, j, after)
            logits = ops.linear(x, weights[f"depth.{step}.head"])
            last = step == CODEBOOKS - 1
            table = tensors["depth.text_emb" if last else f"depth.emb.{step}"]
            following = (inputs, table, norm1[0])
            x, y = self._token(logits, 1 + step, chosen, None if last else following)
        return chosen

    def _depth_layer(
        self, x: Tensor, y: Tensor, step: int, layer: int, after: Tensor
    ) -> tuple[Tensor, Tensor]:
        ops, weights = self.ops, self.model.weights
        name, n = f"depth.{step}.{layer}.", x.shape[0]
        parts = ops.linear(y, weights[name + "in_proj"])
        seen = ops.attend_frame(parts, self._frames[layer][:n], step)
        parts = ops.linear(seen, weights[name + "out_proj"])
        x, y = ops.add_norm(parts, x, self.model.tensors[f"depth.{layer}.norm2"])
        inner = ops.gated(y, weights[name + "linear_in"])
        parts = ops.linear(inner, weights[name + "linear_out"])
        return ops.add_norm(parts, x, after)

    def _token(
        self,
        logits: Tensor,
        stream: int,
        chosen: Tensor,
        following: tuple[Tensor, Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        n, sampler = chosen.shape[0], self.sampler
        settings = (
            sampler.seed[:n],
            sampler.greedy[:n],
            sampler.temperature[:n],
            sampler.top_k[:n],
        )
        return self.ops.choose(
            logits,
            stream,
            self.carry[:n],
            self.position[:n],
            settings,
            chosen,
            following,
        )

    def complete(self, chosen: Tensor) -> Tensor:
        """The agent's part [n, 9] of the frame that ``chosen`` completes."""
        return self.ops.complete(self.row[: chosen.shape[0]], chosen, self.delayed)

    def advance(self, chosen: Tensor, user: Tensor, active: Tensor) -> Tensor:
        """Take the step, with the frame's user codes [n, 8]; its record [n, 17]."""
        n = active.shape[0]
        return self.ops.advance(
            self.row[:n],
            self.carry[:n],
            self.position[:n],
            chosen,
            user,
            self.delayed,
            active,
        )

    def embed(self, rows: Tensor) -> Tensor:
        tensors, norm = self.model.tensors, self.norms()[0]
        return self.ops.embed(rows, tensors["emb"], tensors["text_emb"], norm)[0]

    def prefill(self, slot: int, embeddings: Tensor, start: int) -> None:
        """Feed summed embeddings [T, dim] of one session at positions from start,
        which is how many that session has written so far."""
        count = embeddings.shape[0]
        self.ring.reserve(slot, start + count)
        slots, old = self.ring.held(slot, start)
        new = torch.arange(start, start + count, device=embeddings.device)
        lasting, written = self.ring.lasting(slot, start, start + count)
        chunk = _Chunk(
            slot,
            slots.shape[0],
            rotation(new, self.frequencies),
            self.ring.window(slot, new, torch.cat((old, new))),
            lasting,
            written,
        )
        x = embeddings.to(torch.bfloat16).contiguous()
        self.feed(x, partial(self._attend_eager, chunk))
        self.position[slot] = start + count

    def feed(self, x: Tensor, attend: Callable[[int, Tensor], Tensor]) -> None:
        """All temporal layers over the positions x, bf16 [T, dim], of one session.
        ``attend``: a layer's number and its product with in_proj, bf16 [T, 3 * dim], to
        what the positions see, bf16 [T, dim]; it also writes their keys and values."""
        norms = self.norms()
        y = rms_norm(x, norms[0])
        for i in range(self.model.config.temporal.layers):
            x, y = self._feed_layer(i, x, y, attend, norms[i + 1])

    def _feed_layer(
        self,
        i: int,
        x: Tensor,
        y: Tensor,
        attend: Callable[[int, Tensor], Tensor],
        after: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ops, weights, name = self.ops, self.model.weights, f"layers.{i}."
        seen = attend(i, ops.project(y, weights[name + "in_proj"]))
        added = ops.project(seen, weights[name + "out_proj"])
        x, y = ops.add_norm(added[None], x, self.model.tensors[name + "norm2"])
        gate, up = deinterleave(ops.project(y, weights[name + "linear_in"]))
        inner = F.silu(gate).mul_(up)
        added = ops.project(inner, weights[name + "linear_out"])
        return ops.add_norm(added[None], x, after)

    def _attend_eager(self, chunk: _Chunk, i: int, qkv: Tensor) -> Tensor:
        """Any chunk, also one that slides earlier positions out of the window."""
        ring, heads = self.ring, self.model.config.temporal.heads
        qkv = qkv.unflatten(-1, (3, heads, -1))
        q, k, v = qkv.permute(1, 2, 0, 3)  # [H, T, D] each
        kv = torch.stack((rotate(k, *chunk.turn), v))
        data, scale = quantise(kv, ring.format)
        if scale is not None:  # what a step will read of them, not what they were
            kv = (data.float() * scale.float()[..., None]).to(qkv.dtype)
        row = slice(chunk.slot, chunk.slot + 1)
        before = ring.read(i, row, chunk.kept)[:, 0]
        keys, values = torch.cat((before, kv), dim=2)
        last = chunk.lasting
        lasting_scale = None if scale is None else scale[:, :, last]
        ring.store(i, chunk.slot, chunk.written, data[:, :, last], lasting_scale)
        seen = F.scaled_dot_product_attention(
            rotate(q, *chunk.turn)[None], keys[None], values[None], chunk.visible
        )
        return seen[0].transpose(0, 1).flatten(1)

    def norms(self) -> list[Tensor]:
        """What follows the embedding, and each layer: the last one is out_norm."""
        tensors, layers = self.model.tensors, self.model.config.temporal.layers
        norms = [tensors[f"layers.{i}.norm1"] for i in range(layers)]
        return [*norms, tensors["out_norm"]]
