"""The time of each kernel of a temporal layer, and the bytes a second it reads.

Each runs over all layers in one graph, so that nothing is found in a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from inference.engine.gpu.batch import CudaSlotBatch
from inference.engine.gpu.cuda_graphs import capture
from inference.engine.gpu.measure import REPEATS, timed

# Of attention: slots of a load, warps, loads under way, programs for a page.
ATTENTION_SHAPES = (
    (64, 4, 2, 2),
    (32, 4, 3, 2),
    (32, 4, 3, 1),
    (16, 2, 4, 1),
    (16, 1, 4, 1),
    (8, 1, 6, 1),
    (16, 2, 5, 1),
)


def kernel_times(batch: CudaSlotBatch, n: int) -> list[dict[str, Any]]:
    batch._active[:n].fill_(True)
    times = [*_products(batch, n), *_attention(batch, n), *_others(batch, n)]
    return [{"rows": n} | each for each in times]


def _products(batch: CudaSlotBatch, n: int) -> list[dict[str, Any]]:
    ops, weights = batch.lm.ops, batch.packed.weights
    found = []
    for name in ("in_proj", "out_proj", "linear_in", "linear_out"):
        matrices = [weights[f"layers.{i}.{name}"] for i in range(_layers(batch))]
        x = torch.randn(n, matrices[0].columns, device=batch.device).bfloat16()
        product = ops.gated if name == "linear_in" else ops.linear
        work = partial(product, x)
        found.append(_timed(name, work, matrices, matrices[0].bytes))
    return found


def _attention(batch: CudaSlotBatch, n: int) -> list[dict[str, Any]]:
    lm = batch.lm
    ring, heads = lm.ring, batch.packed.config.temporal
    q = torch.randn(n, heads.heads, heads.head_dim, device=batch.device).bfloat16()
    read = ring.slot_bytes * ring.context * n // _layers(batch)

    def work(shape: tuple[int, int, int, int], layer: int) -> object:
        return lm.ops.attend(q, ring, layer, lm.position[:n], batch._active[:n], shape)

    layers = list(range(_layers(batch)))
    return [
        _timed(
            "attend " + "/".join(map(str, shape)), partial(work, shape), layers, read
        )
        for shape in ATTENTION_SHAPES
    ]


def _others(batch: CudaSlotBatch, n: int) -> list[dict[str, Any]]:
    lm = batch.lm
    dim = batch.packed.config.temporal.dim
    x = torch.randn(n, dim, device=batch.device).bfloat16()
    weights, norm = batch.packed.weights, batch.packed.tensors["out_norm"]
    parts = lm.ops.linear(x, weights["layers.0.out_proj"])
    qkv = lm.ops.linear(x, weights["layers.0.in_proj"])
    layers = list(range(_layers(batch)))

    def write(layer: int) -> object:
        state = lm.position[:n], batch._active[:n]
        return lm.ops.write_kv(qkv, lm.ring, layer, lm.frequencies, *state)

    def add_norm(layer: int) -> object:
        return lm.ops.add_norm(parts, x, norm)

    return [
        _timed("write_kv", write, layers, 0),
        _timed("add_norm", add_norm, layers, 0),
    ]


def _timed(
    name: str, work: Callable[[Any], object], arguments: list[Any], read: int
) -> dict[str, Any]:
    def over_all() -> None:
        for argument in arguments:
            work(argument)

    graph = capture(over_all, None)
    each = median(timed(graph.replay, REPEATS)) / len(arguments)
    return {
        "kernel": name,
        "us": round(1000 * each, 2),
        "tb_s": round(read / each / 1e9, 3),
    }


def _layers(batch: CudaSlotBatch) -> int:
    return batch.packed.config.temporal.layers
