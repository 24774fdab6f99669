"""A model for the fast engine: quantised weights as they lie there, or packed now.

Owns the choice between the two.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch

from inference.checkpoints import (
    CheckpointError,
    Model,
    load_codec,
    load_model,
    model_folder,
    read_config,
)
from inference.engine.gpu import without_weights
from inference.kernels.packed import PackedModel, held_weights, pack_model
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.quantize import load_packed, packed_path
from inference.quiet import quiet_codes
from inference.text import Tokenizer

log = logging.getLogger(__name__)


def load_for_gpu(
    source: Path | str, weights: str, device: torch.device
) -> tuple[Model, PackedModel]:
    """What GpuEngine takes. Without a quantised file the host must hold the model in
    bf16 while it is packed."""
    folder = model_folder(source)
    path = packed_path(folder, weights)
    if path.is_file():
        return _from_file(folder, path, device)
    model = load_model(folder, "cpu", torch.bfloat16)
    log.info("%s is missing: packing %s now", path, folder)
    packed = packed_now(model, weights, device)
    mimi = model.mimi.to(device)
    return without_weights(dataclasses.replace(model, mimi=mimi), packed), packed


def packed_now(model: Model, weights: str, device: torch.device) -> PackedModel:
    packed = pack_model(model.config, weights, held_weights(model.lm), device)
    packed.fingerprint = model.fingerprint
    return packed


def _from_file(
    folder: Path, path: Path, device: torch.device
) -> tuple[Model, PackedModel]:
    config = read_config(folder)
    packed = load_packed(path, device)
    if packed.config != config:
        raise CheckpointError(
            f"{path} was packed from another model",
            text="Write it anew with `python -m inference quantize`.",
        )
    mimi = Mimi(config.mimi)
    load_codec(folder / config.codec, mimi)
    mimi.to(device).eval().requires_grad_(False)
    tokenizer = Tokenizer(folder / config.tokenizer, config.text_cardinality)
    quiet = quiet_codes(config, mimi)
    shell = LanguageModel(config, torch.bfloat16, "meta")
    model = Model(config, shell, mimi, tokenizer, quiet, packed.fingerprint, True)
    return without_weights(model, packed), packed
