"""Quantised checkpoints: written once, loaded as they are.

Their file format is one safetensors file of packed matrices, norms and embeddings
by the fast path's names, with version and number format in its metadata.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inference.checked_json import Decoder
from inference.kernels.packed import PackedModel, pack_model
from inference.kernels.weights import FORMATS, Weight
from inference.loading.checkpoint import CheckpointError
from inference.network.config import ConfigError, ModelConfig

VERSION = "1"
# Number format, rows and columns of each matrix.
_SHAPES: Decoder[dict[str, tuple[str, int, int]]] = Decoder(
    dict[str, tuple[str, int, int]], ConfigError
)
SEPARATOR = "::"  # between a matrix' name and "data" or "scale"


def packed_path(folder: Path, format: str) -> Path:
    """Where a model's quantised weights lie, beside the others."""
    return folder / f"packed-{format}.safetensors"


def save_packed(model: PackedModel, path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in model.tensors.items()}
    shapes = {}
    for name, weight in model.weights.items():
        tensors[f"{name}{SEPARATOR}data"] = weight.data
        if weight.scale is not None:
            tensors[f"{name}{SEPARATOR}scale"] = weight.scale
        shapes[name] = [weight.format, weight.rows, weight.columns]
    metadata = {
        "packed_version": VERSION,
        "format": model.format,
        "fingerprint": model.fingerprint,
        "config": model.config.to_json(),
        "weights": json.dumps(shapes),
    }
    # A reader of the file never sees half of it.
    unfinished = path.with_name(path.name + ".part")
    save_file(tensors, unfinished, metadata)
    os.replace(unfinished, path)


def load_packed(path: Path, device: torch.device) -> PackedModel:
    """CheckpointError for anything that ``save_packed`` would not have written."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return _read(path, file)
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read(path: Path, file: Any) -> PackedModel:
    metadata = file.metadata() or {}
    if metadata.get("packed_version") != VERSION or metadata["format"] not in FORMATS:
        raise CheckpointError(f"{path} is no quantised checkpoint of this version")
    try:
        config = ModelConfig.from_json(metadata["config"])
        shapes = _SHAPES.decode(metadata["weights"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    model = PackedModel(config, metadata["format"], metadata.get("fingerprint", ""))
    names = set(file.keys())
    for name in names:
        if SEPARATOR not in name:
            model.tensors[name] = file.get_tensor(name)
    for name, (format, rows, columns) in shapes.items():
        scale = f"{name}{SEPARATOR}scale"
        model.weights[name] = Weight(
            format,
            rows,
            columns,
            file.get_tensor(f"{name}{SEPARATOR}data"),
            file.get_tensor(scale) if scale in names else None,
        )
    _check_whole(path, model)
    return model


def _check_whole(path: Path, model: PackedModel) -> None:
    """All that packing this model in this format makes, and nothing else."""
    meta = torch.device("meta")

    def nothing(name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=torch.bfloat16, device=meta)

    found = _shapes(model)
    wanted = _shapes(pack_model(model.config, model.format, nothing, meta))
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise CheckpointError(f"{path}: unknown {name}")
        if name not in found:
            raise CheckpointError(f"{path}: missing {name}")
        if found[name] != wanted[name]:
            raise CheckpointError(f"{path}: {name} is {found[name]}")


def _shapes(model: PackedModel) -> dict[str, tuple[Any, ...]]:
    shapes: dict[str, tuple[Any, ...]] = {
        name: (tensor.dtype, *tensor.shape) for name, tensor in model.tensors.items()
    }
    for name, weight in model.weights.items():
        kinds = [weight.format, weight.rows, weight.columns]
        for tensor in (weight.data, weight.scale):
            kinds += [] if tensor is None else [tensor.dtype, tensor.numel()]
        shapes[name] = tuple(kinds)
    return shapes
