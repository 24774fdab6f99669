"""A model for the fast engine: from a quantised file, or packed while it is loaded."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch
from torch import Tensor

from inference import cards
from inference.engine.gpu.capacity import Sizes
from inference.engine.gpu.engine import without_weights
from inference.kernels.packed import Fetch, PackedModel, held_weights, pack_model
from inference.kernels.ring import PAGE
from inference.loading.checkpoint import (
    CheckpointError,
    Model,
    check_folder,
    fingerprint_of,
    load_codec,
    load_model,
    model_folder,
    read_config,
)
from inference.loading.filler_codes import find_filler_codes
from inference.loading.layouts import pieces_of
from inference.loading.quantized import load_packed, packed_path
from inference.loading.safetensors_file import TensorFile
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.prompts.tokenizer import Tokenizer

log = logging.getLogger(__name__)

WORK_GB = 1.0  # graphs, work space


def load_for_gpu(
    source: Path | str, weights: str, device: torch.device
) -> tuple[Model, PackedModel]:
    """What GpuEngine takes. Without a quantised file the weights are packed on the way,
    one matrix after the other, so that neither side ever holds the model twice."""
    folder = model_folder(source)
    path = packed_path(folder, weights)
    if path.is_file():
        return _from_file(folder, path, device)
    config = read_config(folder)
    stored = folder / config.weights
    if not stored.is_file():  # a built-in model that is not trained, or an error
        model = load_model(folder, "cpu", torch.bfloat16)
        packed = packed_now(model, weights, device)
        mimi = model.mimi.to(device)
        return without_weights(dataclasses.replace(model, mimi=mimi), packed), packed
    check_folder(folder)
    log.info("%s is missing: packing %s now", path, stored)
    packed = pack_model(config, weights, stored_weights(stored), device)
    packed.fingerprint = fingerprint_of(config, [stored, folder / config.codec])
    return _beside(folder, packed, device), packed


def pages_that_fit(packed: PackedModel, slots: int, kv: str, taken: int = 0) -> int:
    """Of memory for conversations, beside the weights that are loaded by now, and
    ``taken`` bytes for other things; no more than whole windows for all slots."""
    sizes = Sizes(packed.config)
    context = packed.config.temporal.context
    page = min(PAGE, context)
    free = cards.memory(packed.device.index or 0)[0]
    free -= taken + int(slots * sizes.codec_state + WORK_GB * 1e9)
    pages = int(free // (page * sizes.kv(kv)))
    whole = -(-context // page)
    if pages < whole:
        raise ValueError(f"no memory for one conversation's {context} frames")
    return min(pages, slots * whole)


def packed_now(model: Model, weights: str, device: torch.device) -> PackedModel:
    packed = pack_model(model.config, weights, held_weights(model.lm), device)
    packed.fingerprint = model.fingerprint
    return packed


def stored_weights(path: Path) -> Fetch:
    """Of a file that was checked, in any layout and type that we load."""
    file = TensorFile(path)

    def fetch(name: str, shape: tuple[int, ...]) -> Tensor:
        pieces = [file.read(piece) for piece in pieces_of(name, file.tensors)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return fetch


def _from_file(
    folder: Path, path: Path, device: torch.device
) -> tuple[Model, PackedModel]:
    packed = load_packed(path, device)
    if packed.config != read_config(folder):
        raise CheckpointError(
            f"{path} was packed from another model",
            text="Write it again with `python -m inference quantize`.",
        )
    return _beside(folder, packed, device), packed


def _beside(folder: Path, packed: PackedModel, device: torch.device) -> Model:
    """All of a model but its weights."""
    config = packed.config
    mimi = Mimi(config.mimi)
    load_codec(folder / config.codec, mimi)
    mimi.to(device).eval().requires_grad_(False)
    tokenizer = Tokenizer(folder / config.tokenizer, config.text_cardinality)
    filler = find_filler_codes(config, mimi)
    shell = LanguageModel(config, torch.bfloat16, "meta")
    model = Model(config, shell, mimi, tokenizer, filler, packed.fingerprint, True)
    return without_weights(model, packed)
