"""``python -m inference.training STEP CONFIG.toml [key=value ...]``: one step of the
making of the small model. LOG.md says which steps there are and in which order."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _speak(config: Any) -> None:
    from inference.training.speech import speak_all

    speak_all(config)


def _archive(config: Any) -> None:
    from inference.training.speech import archive

    archive(config)


def _codec(config: Any) -> None:
    from inference.training.codec_train import train_codec

    train_codec(config)


def _quick(config: Any) -> None:
    from inference.training.quick_voices import speak_quickly

    speak_quickly(config)


def _lm(config: Any) -> None:
    from inference.training.lm_train import train_lm

    train_lm(config)


def _tokenizer(config: Any) -> None:
    from inference.training.tokens import train_tokenizer

    train_tokenizer(Path(config.out), config.seed, config.pieces)


def _export(config: Any) -> None:
    from inference.training.export import export

    export(config)


def _voices(config: Any) -> None:
    from inference.training.voices import make_voices

    make_voices(config)


def _evaluate(config: Any) -> None:
    from inference.training.evaluation.run import evaluate

    evaluate(config)


def _steps() -> dict[str, tuple[Callable[[Any], None], Callable[[], type]]]:
    def codec() -> type:
        from inference.training.codec_config import CodecConfig

        return CodecConfig

    def speech() -> type:
        from inference.training.speech import SpeechConfig

        return SpeechConfig

    def quick() -> type:
        from inference.training.quick_voices import QuickConfig

        return QuickConfig

    def lm() -> type:
        from inference.training.lm_config import LMConfig

        return LMConfig

    def tokenizer() -> type:
        from inference.training.tokens import TokenizerConfig

        return TokenizerConfig

    def exporting() -> type:
        from inference.training.export import ExportConfig

        return ExportConfig

    def voices() -> type:
        from inference.training.voices import VoicesConfig

        return VoicesConfig

    def evaluating() -> type:
        from inference.training.evaluation.run import EvaluateConfig

        return EvaluateConfig

    return {
        "voices": (_voices, voices),
        "evaluate": (_evaluate, evaluating),
        "tokenizer": (_tokenizer, tokenizer),
        "export": (_export, exporting),
        "quick": (_quick, quick),
        "lm": (_lm, lm),
        "speak": (_speak, speech),
        "archive": (_archive, speech),
        "codec": (_codec, codec),
    }


def read_config(kind: type, path: Path, overrides: list[str]) -> Any:
    """A dataclass from TOML and ``key=value`` words; unknown keys are refused."""
    values: dict[str, Any] = tomllib.loads(path.read_text())
    types = typing.get_type_hints(kind)
    for word in overrides:
        key, _, text = word.partition("=")
        if key not in types:
            raise SystemExit(f"{path}: there is no setting {key!r}")
        values[key] = (
            tomllib.loads(f"v = {text}")["v"] if types[key] is not str else text
        )
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise SystemExit(f"{path}: there is no setting {', '.join(unknown)}")
    return kind(**values)


def main(words: list[str]) -> None:
    steps = _steps()
    if len(words) < 2 or words[0] not in steps:
        raise SystemExit(f"{__doc__}\nSteps: {', '.join(steps)}")
    run, kind = steps[words[0]]
    run(read_config(kind(), Path(words[1]), words[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
