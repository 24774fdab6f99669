"""The fast engine for one GPU: packed weights, kernels and captured steps.

It holds the same sessions as Engine and differs in its batch alone.
``inference.kernels.fast`` needs Triton and CUDA; with ``kernels.plain`` the same engine
runs anywhere, slowly, which is how it is tested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
from types import ModuleType

import torch
from torch import nn

from inference.engine.batch import SlotBatch
from inference.engine.engine import Engine
from inference.engine.gpu.batch import CudaSlotBatch
from inference.kernels.packed import PackedModel
from inference.loading.checkpoint import Model
from inference.network.lm import LanguageModel


class GpuEngine(Engine):
    """All slots are one batch. ``model``: see ``without_weights``; ``ops``, ``pages``
    and ``promised``: see CudaSlotBatch."""

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
        def new_batch(model: Model, width: int) -> SlotBatch:
            memory = pages, promised
            batch = CudaSlotBatch(packed, model.mimi, width, kv, ops, *memory)
            if packed.device.type == "cuda":
                batch.capture()
            return batch

        super().__init__(
            model,
            slots,
            width=slots,
            new_batch=new_batch,
            prompt_cache_mb=prompt_cache_mb,
            pin_prompt=pin_prompt,
        )


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
