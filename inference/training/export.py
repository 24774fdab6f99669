"""Weights of a training to the directory that ``inference`` loads."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inference.loading.safetensors_file import SCALE, TensorFile, narrowed


@dataclass(frozen=True)
class ExportConfig:
    lm: str  # folder of lm-*.safetensors
    codec: str
    tokenizer: str
    out: str
    decoder: str = ""  # a decoder trained further, in place of the codec's own
    # A model's folder: what is exported is the mean of its weights and these, which
    # must have begun at them or near them.
    mean_with: str = ""
    lm_share: float = 0.5  # of these in the mean
    codec_share: float = 0.5
    # Matrices to store in 8 bits, by a pattern of their names.
    eight_bit: str = ""


def mean(
    own: dict[str, Tensor], other: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    """By name, in ``own``'s types; both hold the same names."""
    if own.keys() != other.keys():
        raise SystemExit("the two models don't hold the same weights")
    return {
        name: torch.lerp(other[name].float(), value.float(), share).to(value.dtype)
        for name, value in own.items()
    }


def in_eight_bits(tensors: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """``tensors`` with those that match ``pattern`` in 8 bits, as
    ``inference.loading.safetensors_file`` reads them."""
    stored = {}
    for name, tensor in tensors.items():
        if fnmatch.fnmatchcase(name, pattern):
            stored[name], stored[name + SCALE] = narrowed(tensor)
        else:
            stored[name] = tensor
    return stored


def export(config: ExportConfig) -> None:
    from safetensors.torch import load_file, save_file

    from inference.network.config import TINY

    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    lm = {
        name: tensor
        for file in sorted(Path(config.lm).glob("lm-*.safetensors"))
        for name, tensor in load_file(str(file)).items()
    }
    codec = load_file(config.codec)
    if config.decoder:
        decoder = load_file(config.decoder)
        unknown = sorted(set(decoder) - set(codec))
        if unknown:
            raise SystemExit(f"{config.decoder}: not of a codec: {', '.join(unknown)}")
        codec.update(decoder)
    if config.mean_with:
        folder = Path(config.mean_with)
        lm = mean(lm, TensorFile(folder / TINY.weights).all(), config.lm_share)
        codec = mean(codec, TensorFile(folder / TINY.codec).all(), config.codec_share)
    save_file(in_eight_bits(lm, config.eight_bit), str(out / TINY.weights))
    save_file(codec, str(out / TINY.codec))
    for name in (TINY.weights, TINY.codec):
        (out / name).chmod(0o644)  # safetensors makes them readable for one only
    (out / TINY.tokenizer).write_bytes(Path(config.tokenizer).read_bytes())
    (out / "config.json").write_text(TINY.to_json())
