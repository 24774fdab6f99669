"""Weights of a training to the directory that ``inference`` loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportConfig:
    lm: str  # folder of lm-*.safetensors
    codec: str
    tokenizer: str
    out: str
    decoder: str = ""  # a decoder trained further, in place of the codec's own


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
    save_file(lm, str(out / TINY.weights))
    save_file(codec, str(out / TINY.codec))
    for name in (TINY.weights, TINY.codec):
        (out / name).chmod(0o644)  # safetensors makes them readable for one only
    (out / TINY.tokenizer).write_bytes(Path(config.tokenizer).read_bytes())
    (out / "config.json").write_text(TINY.to_json())
