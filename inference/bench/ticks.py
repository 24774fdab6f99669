"""Ticks of made-up sessions with filled windows: what ``bench`` prints.

Fills the windows and times the parts of a tick. Must not depend on a command line.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import torch

from inference.bench.kernels import kernel_times
from inference.bench.profile import kernel_shares
from inference.bench.soak import run_soak
from inference.cards import hold_to_pretended, pretended
from inference.engine.gpu.batch import CudaSlotBatch
from inference.engine.gpu.cuda_graphs import capture
from inference.engine.gpu.loading import stored_weights
from inference.engine.gpu.measure import (
    REPEATS,
    launch_cost,
    percentile,
    read_bandwidth,
    timed,
    wall_times,
)
from inference.engine.prefill import PREFILL_CHUNK_GPU
from inference.kernels.packed import PackedModel, pack_model, random_weights
from inference.loading.checkpoint import check_folder, model_folder
from inference.network.config import PERSONAPLEX_7B, TINY, ModelConfig
from inference.network.mimi import Mimi
from inference.prompts.persona import PersonaPrompt
from inference.timing import FRAME_SAMPLES

log = logging.getLogger(__name__)

CONFIGS = {config.name: config for config in (PERSONAPLEX_7B, TINY)}
WARM_TICKS = 10
SEED = 1


class Bench:
    def __init__(self, config: str, model: str, device: str, plain: bool) -> None:
        self.device = torch.device(device)
        torch.cuda.set_device(self.device)
        self.stored: Path | None = None
        self.config: ModelConfig = CONFIGS[config]
        if model:
            folder = model_folder(model)
            self.config = check_folder(folder)
            self.stored = folder / self.config.weights
        hold_to_pretended(torch.cuda.current_device())
        self.name = torch.cuda.get_device_name(self.device)
        if card := pretended():
            self.name += f", as {card.name}"
        self.bandwidth = read_bandwidth(self.device)
        self.launch_us = launch_cost(self.device)
        self.ops = _ops(plain)
        self.mimi = self._codec()
        self._model: PackedModel | None = None
        self._batch: CudaSlotBatch | None = None
        self._free()

    def row(
        self, sessions: int, weights: str, kv: str, window: str, ticks: int
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {"sessions": sessions, "weights": weights, "kv": kv}
        try:
            return asked | self._row(sessions, weights, kv, window, ticks)
        except torch.OutOfMemoryError:
            return asked | {"error": "does not fit"}

    @torch.inference_mode()
    def _row(
        self, sessions: int, weights: str, kv: str, window: str, ticks: int
    ) -> dict[str, Any]:
        self._free()
        began = time.perf_counter()
        model = self.model(weights)
        batch = self._batch = CudaSlotBatch(model, self.mimi, sessions, kv, self.ops)
        context = self.config.temporal.context
        frames = context + 500 if window == "full" else int(window)
        batch.capture([sessions])
        fill(batch, frames)
        log.info("ready after %.1f s", time.perf_counter() - began)
        generator = np.random.default_rng(SEED)
        sound = generator.normal(0, 1800, (sessions, FRAME_SAMPLES)).astype(np.int16)
        pcm = dict(enumerate(sound))
        wall_times(lambda: batch.step(pcm), WARM_TICKS)
        walls, owns = wall_times(lambda: batch.step(pcm), ticks)
        free, total = torch.cuda.mem_get_info(self.device)
        read = self._bytes(batch, min(frames, context))
        row: dict[str, Any] = {
            "window": min(frames, context),
            "tick_ms": {
                "p50": round(median(walls), 3),
                "p99": round(percentile(walls, 0.99), 3),
                "max": round(max(walls), 3),
            },
        }
        row |= {f"{name}_ms": ms for name, ms in self._parts(batch, sessions).items()}
        return row | {
            "host_ms": round(median(owns), 3),
            "memory_gb": round((total - free) / 1e9, 2),
            "bytes_per_frame_gb": round(read / 1e9, 3),
            "floor_ms": round(1000 * read / self.bandwidth, 3),
        }

    def _parts(self, batch: CudaSlotBatch, n: int) -> dict[str, float]:
        """Each by itself; a tick runs them one after the other."""
        return {
            name: round(median(timed(graph.replay, REPEATS)), 3)
            for name, graph in self._graphs(batch, n).items()
        }

    @torch.inference_mode()
    def profile(self) -> list[dict[str, Any]]:
        """Of the last row's batch: the shares of each part's kernels."""
        batch = self._batch
        assert batch is not None
        return [
            {"part": name} | share
            for name, graph in self._graphs(batch, batch.width).items()
            for share in kernel_shares(graph)
        ]

    def _graphs(self, batch: CudaSlotBatch, n: int) -> dict[str, torch.cuda.CUDAGraph]:
        lm, active = batch.lm, batch._active[:n]
        hidden = lm.temporal(active).clone()
        parts: dict[str, Callable[[], object]] = {
            "encode": lambda: batch.encode(n),
            "temporal": lambda: lm.temporal(active),
            "depth": lambda: lm.choose(hidden),
            "decode": lambda: batch.decode(n),
        }
        return {name: capture(part, None) for name, part in parts.items()}

    @torch.inference_mode()
    def kernels(self, counts: tuple[int, ...]) -> list[dict[str, Any]]:
        """Of the last row's batch: each kernel of a temporal layer by itself."""
        batch = self._batch
        assert batch is not None
        fitting = [n for n in counts if n <= batch.width]
        return [each for n in fitting for each in kernel_times(batch, n)]

    def _bytes(self, batch: CudaSlotBatch, window: int) -> float:
        """What a tick must read once, for as many sessions as the batch has."""
        kv = batch.width * window * batch.lm.ring.slot_bytes
        states = [batch._encoder.buffer, batch._decoder.buffer]
        codec = sum(p.numel() * p.element_size() for p in self.mimi.parameters())
        codec += sum(state.numel() * state.element_size() for state in states)
        return batch.packed.step_bytes + kv + codec

    @torch.inference_mode()
    def prompt(self, rows: int) -> dict[str, Any]:
        """Of the last row's batch: the time to feed a prompt of so many rows."""
        batch = self._batch
        assert batch is not None
        cards = self.config.text_cardinality, self.config.audio_cardinality
        tokens = torch.randint(0, cards[1], (rows, 17), device=self.device)
        embeddings = batch.lm.embed(tokens)

        prompt = PersonaPrompt("", embeddings, tokens[:0], tokens[0], tokens[0])

        def feed() -> None:
            fed = 0
            while fed < rows:
                fed = batch.feed(0, prompt, fed, PREFILL_CHUNK_GPU)
            torch.cuda.synchronize()

        kept: list[torch.Tensor] = []

        def restore() -> None:
            batch.restore(0, prompt, kept)
            torch.cuda.synchronize()

        for _ in range(2):
            feed()
        cold = median(wall_times(feed, 5)[0])
        kept = batch.keep(0, rows)
        cached = median(wall_times(restore, 20)[0])
        return {"rows": rows, "cold_ms": round(cold, 2), "cached_ms": round(cached, 2)}

    def model(self, weights: str) -> PackedModel:
        if self._model is None or self._model.format != weights:
            self._model = None
            self._free()
            fetch = random_weights(self.device, SEED)
            if self.stored:
                fetch = stored_weights(self.stored)
            self._model = pack_model(self.config, weights, fetch, self.device)
            self._free()
        return self._model

    def _codec(self) -> Mimi:
        mimi = Mimi(self.config.mimi).to(self.device)
        mimi.init_weights(torch.Generator().manual_seed(SEED))
        return mimi.eval().requires_grad_(False)

    def soak(
        self, sessions: int, weights: str, kv: str, seconds: int
    ) -> dict[str, Any]:
        model = self.model(weights)
        batch = self._batch = CudaSlotBatch(model, self.mimi, sessions, kv, self.ops)
        with torch.inference_mode():
            batch.capture()
            return run_soak(batch, seconds)

    def release(self) -> None:
        """All that lies on the device."""
        self._model = None
        self._free()

    def _free(self) -> None:
        self._batch = None
        gc.collect()
        torch.cuda.empty_cache()


def fill(batch: CudaSlotBatch, frames: int) -> None:
    """Every session as if it had talked for so long, with random memories."""
    lm = batch.lm
    for store, scale in zip(lm.ring.layers, lm.ring.scales, strict=True):
        if scale is None:
            store.normal_()
        else:
            store.random_(-127, 128)
            scale.uniform_(0.005, 0.02)
    batch.settle(frames)
    cards = batch.packed.config.audio_cardinality
    lm.row.random_(0, cards)
    lm.carry[:, 2:9].random_(0, cards)
    for state in (batch._encoder, batch._decoder):
        state.position.fill_(2 * frames)
        state.buffer.normal_(0, 0.05)
    for slot in range(batch.width):
        lm.sampler.set(
            slot, seed=slot, temperatures=(0.7, 0.8), top_k=(25, 250), greedy=False
        )


def _ops(plain: bool) -> ModuleType:
    if plain:
        from inference.kernels import plain as chosen
    else:
        from inference.kernels import fast as chosen  # type: ignore[no-redef]
    return chosen
