"""A slow, literal PersonaPlex: the ring form of the specification (section 8.2), one
session, no batching, all 16 depth steps, straight from a checkpoint's tensors.

It shares no code with inference/network, which is held against it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STREAMS, COLUMNS = 17, 4


def norm(x: Tensor, alpha: Tensor) -> Tensor:
    wide = x.float()
    mean = 1e-8 + (wide * wide).mean()
    return (wide * (alpha.reshape(-1).float() * mean.rsqrt())).to(x.dtype)


def rotated(x: Tensor, t: int) -> Tensor:
    """[heads, d] at absolute position t."""
    half = x.shape[-1] // 2
    out = torch.empty_like(x)
    for i in range(half):
        angle = torch.tensor(float(t)) * math.exp(-i * 2 * math.log(10000) / (2 * half))
        real, imaginary = x[:, 2 * i].float(), x[:, 2 * i + 1].float()
        out[:, 2 * i] = (real * angle.cos() - imaginary * angle.sin()).to(x.dtype)
        out[:, 2 * i + 1] = (real * angle.sin() + imaginary * angle.cos()).to(x.dtype)
    return out


def attend(q: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    k, v = torch.stack(keys, 1), torch.stack(values, 1)  # [heads, T, d]
    scores = (q[:, None] * k).sum(-1) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1)[..., None] * v).sum(1).flatten()


class Reference:
    def __init__(self, tensors: dict[str, Tensor], sizes: dict[str, int]) -> None:
        self.w = tensors
        self.sizes = sizes  # heads, layers, context, depth_heads, depth_layers
        self.text_start = tensors["text_linear.weight"].shape[0]
        self.audio_start = tensors["linears.0.weight"].shape[0]
        self.delays = [0, 0, *[1] * 7, 0, *[1] * 7]
        self.cache = torch.full((STREAMS, COLUMNS), -2)
        self.provided = torch.zeros(STREAMS, COLUMNS, dtype=torch.bool)
        self.offset = 0
        self.history: list[tuple[list[Tensor], list[Tensor]]] = [
            ([], []) for _ in range(sizes["layers"])
        ]
        self.embedded: list[Tensor] = []

    def call(self, frame: list[int | None]) -> list[int] | None:
        """One frame, None where nothing is provided; the 17 output tokens or None."""
        n = self.offset
        for k in range(STREAMS):
            if frame[k] is not None:
                self.cache[k, (n + self.delays[k]) % COLUMNS] = frame[k]
                self.provided[k, (n + self.delays[k]) % COLUMNS] = True
        for k in range(STREAMS):
            if n <= self.delays[k]:
                start = self.text_start if k == 0 else self.audio_start
                self.cache[k, n % COLUMNS] = start
                self.provided[k, n % COLUMNS] = True
        self.offset = n + 1
        if n == 0:
            return None
        source, target = (n - 1) % COLUMNS, n % COLUMNS
        hidden, logits = self.temporal(self.embed(self.cache[:, source]), n - 1)
        wanted = torch.where(self.provided[:, target], self.cache[:, target], -1)
        text = int(logits.float().argmax()) if wanted[0] < 0 else int(wanted[0])
        codes = self.depth(hidden, text, wanted[1:].tolist())
        self.provided[:, source] = False
        for k, token in enumerate([text, *codes]):
            if not self.provided[k, target]:
                self.cache[k, target] = token
        if n <= 1:
            return None
        return [
            int(self.cache[k, (n - 1 + self.delays[k]) % COLUMNS])
            for k in range(STREAMS)
        ]

    def embed(self, row: Tensor) -> Tensor:
        total = self.w["emb.0.weight"][row[1]]
        for k in range(1, 16):
            total = total + self.w[f"emb.{k}.weight"][row[1 + k]]
        total = total + self.w["text_emb.weight"][row[0]]
        self.embedded.append(total)
        return total.to(self.w["text_linear.weight"].dtype)

    def temporal(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        w, heads = self.w, self.sizes["heads"]
        context, pinned = self.sizes["context"], self.sizes.get("pinned", 0)
        for i, (keys, values) in enumerate(self.history):
            p = f"transformer.layers.{i}."
            y = w[p + "self_attn.in_proj_weight"] @ norm(x, w[p + "norm1.alpha"])
            q, k, v = (part.view(heads, -1) for part in y.chunk(3))
            keys.append(rotated(k, t))
            values.append(v)
            first = 0 if t <= context - 2 else t - (context - 2)
            # Not in the specification: the first keys stay, in place of the oldest.
            seen = [j for j in range(t + 1) if j < pinned or j >= first + pinned]
            out = attend(
                rotated(q, t), [keys[j] for j in seen], [values[j] for j in seen]
            )
            x = x + w[p + "self_attn.out_proj.weight"] @ out
            x = x + self.gated(norm(x, w[p + "norm2.alpha"]), p + "gating.")
        hidden = norm(x, w["out_norm.alpha"])
        return hidden, w["text_linear.weight"] @ hidden

    def gated(self, y: Tensor, p: str) -> Tensor:
        gate, up = (self.w[p + "linear_in.weight"] @ y).chunk(2)
        return self.w[p + "linear_out.weight"] @ (F.silu(gate) * up)

    def depth(self, hidden: Tensor, text: int, wanted: list[int]) -> list[int]:
        w, heads = self.w, self.sizes["depth_heads"]
        steps = sum(name.startswith("linears.") for name in w)
        history: list[tuple[list[Tensor], list[Tensor]]] = [
            ([], []) for _ in range(self.sizes["depth_layers"])
        ]
        codes: list[int] = []
        for c in range(16):
            if c >= steps:  # an 8-step file says nothing of the user's codes
                codes.append(wanted[c])
                continue
            before = (
                w["depformer_text_emb.weight"][text]
                if c == 0
                else w[f"depformer_emb.{c - 1}.weight"][codes[-1]]
            )
            x = w[f"depformer_in.{c}.weight"] @ hidden + before
            dim = x.shape[0]
            for i, (keys, values) in enumerate(history):
                p = f"depformer.layers.{i}."
                rows = 3 * dim
                block = w[p + "self_attn.in_proj_weight"][rows * c : rows * (c + 1)]
                q, k, v = (
                    part.view(heads, -1)
                    for part in (block @ norm(x, w[p + "norm1.alpha"])).chunk(3)
                )
                keys.append(k)
                values.append(v)
                first = 1 if c == 15 else 0
                out = attend(q, keys[first:], values[first:])
                block = w[p + "self_attn.out_proj.weight"][dim * c : dim * c + dim]
                x = x + block @ out
                x = x + self.gated(norm(x, w[p + "norm2.alpha"]), f"{p}gating.{c}.")
            logits = (w[f"linears.{c}.weight"] @ x).float()
            codes.append(int(logits.argmax()) if wanted[c] < 0 else wanted[c])
        return codes
