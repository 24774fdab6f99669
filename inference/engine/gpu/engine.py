"""The fast engine for one GPU: packed weights, kernels and captured steps.

The same sessions, prompts and results as Engine, of which it replaces the bank and the
step. ``inference.kernels.fast`` needs Triton and CUDA; with ``plain`` the same engine
runs anywhere, slowly, which is how it is tested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inference.engine.api import MemoryStats
from inference.engine.batch import Bank
from inference.engine.engine import Engine, Step
from inference.engine.gpu.batch import GpuBank
from inference.kernels.packed import PackedModel
from inference.loading.checkpoint import Model
from inference.network.config import TEXT
from inference.network.lm import LanguageModel


class GpuEngine(Engine):
    """All slots are one bank. ``model``: see ``without_weights``; ``pages`` and
    ``promised``: see GpuBank."""

    def __init__(
        self,
        model: Model,
        packed: PackedModel,
        slots: int,
        *,
        ops: ModuleType,
        kv: str = "bf16",
        pages: int | None = None,
        promised: int | None = None,
        prompt_cache_mb: int = 512,
        pin_prompt: bool = False,
    ) -> None:
        self._packed, self._kv, self._ops = packed, kv, ops
        self._pages, self._promised = pages, promised
        super().__init__(
            model,
            slots,
            width=slots,
            prompt_cache_mb=prompt_cache_mb,
            pin_prompt=pin_prompt,
        )

    def _new_bank(self) -> Bank:
        mimi = self.model.mimi
        memory = self._pages, self._promised
        bank = GpuBank(self._packed, mimi, self._width, self._kv, self._ops, *memory)
        if self._packed.device.type == "cuda":
            bank.capture()
        return bank

    def memory_stats(self) -> MemoryStats:
        (bank,) = self._banks
        assert isinstance(bank, GpuBank)
        return bank.memory_stats()

    def _step_bank(
        self, bank: Bank, slots: list[int], pcm: dict[int, NDArray[np.int16]]
    ) -> dict[int, Step]:
        assert isinstance(bank, GpuBank)
        record, output, sound = bank.tick({slot: pcm[slot] for slot in slots})
        steps = {}
        for slot in slots:
            session = self._session(slot)
            session.steps += 1
            piece = session.text.feed(int(output[slot, TEXT]))
            tokens = record[slot].astype(np.uint16)
            steps[slot] = Step(tokens, piece, sound[slot].copy())
        return steps


def without_weights(model: Model, packed: PackedModel) -> Model:
    """``model`` with a language model that only embeds: all that is asked of it where
    the rest is packed. It shares the packed embeddings."""
    lm = LanguageModel(packed.config, packed.tensors["emb"].dtype, "meta")
    lm.emb = nn.Parameter(packed.tensors["emb"], requires_grad=False)
    lm.text_emb = nn.Parameter(packed.tensors["text_emb"], requires_grad=False)
    tokens = packed.config.audio_cardinality + 1
    lm.offsets = torch.arange(len(lm.emb), device=packed.device) * tokens
    lm.delayed = torch.tensor(packed.config.delays, device=packed.device) > 0
    return dataclasses.replace(model, lm=lm)
