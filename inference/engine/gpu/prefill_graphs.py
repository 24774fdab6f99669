"""Prefill of prompts by captured passes of a few sizes, into any slot.

Holds the graphs and the tensors they read. Launched one by one, the thousand kernels of
a pass take the host longer than the GPU.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from inference.engine.gpu.cuda_graphs import capture
from inference.engine.gpu.lm import GpuLM

SIZES = (64, 192)  # rows


class PromptGraphs:
    def __init__(self, lm: GpuLM) -> None:
        self._lm = lm
        device, dim = lm.model.device, lm.model.config.temporal.dim
        self._x = torch.zeros(SIZES[-1], dim, dtype=torch.bfloat16, device=device)
        self._where = torch.zeros(3, dtype=torch.int64, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def capture(self) -> None:
        """While it captures no row counts, so nothing is written."""
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(SIZES):
            self._graphs[size] = capture(partial(self._feed, size), pool)

    def size_for(self, slot: int, stop: int, count: int) -> int | None:
        """Of the pass that fits ``count`` rows up to position ``stop``; None where
        something slides out of view."""
        size = next((size for size in SIZES if size >= count), None)
        return size if stop < self._lm.ring.limit_of(slot) else None

    def run(self, size: int, slot: int, start: int, embeddings: Tensor) -> None:
        count = len(embeddings)
        self._lm.ring.reserve(slot, start + count)
        self._x[:count].copy_(embeddings)
        self._where.copy_(torch.tensor((slot, start, count)))
        if self._graphs:
            self._graphs[size].replay()
        else:
            self._feed(size)
        self._lm.position[slot] = start + count

    def _feed(self, size: int) -> None:
        self._lm.feed(self._x[:size], self._attend)

    def _attend(self, i: int, qkv: Tensor) -> Tensor:
        """Of a chunk that lies in view whole, by kernels that read where it lies from
        the device."""
        lm = self._lm
        q = lm.ops.write_chunk(qkv, lm.ring, i, lm.frequencies, self._where)
        seen: Tensor = lm.ops.attend_chunk(q, lm.ring, i, self._where)
        return seen
