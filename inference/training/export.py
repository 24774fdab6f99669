"""Weights of a training to the directory that ``inference`` loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


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
        lm = mean(lm, load_file(str(folder / TINY.weights)), config.lm_share)
        codec = mean(codec, load_file(str(folder / TINY.codec)), config.codec_share)
    save_file(lm, str(out / TINY.weights))
    save_file(codec, str(out / TINY.codec))
    for name in (TINY.weights, TINY.codec):
        (out / name).chmod(0o644)  # safetensors makes them readable for one only
    (out / TINY.tokenizer).write_bytes(Path(config.tokenizer).read_bytes())
    (out / "config.json").write_text(TINY.to_json())
