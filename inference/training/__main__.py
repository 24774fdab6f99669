"""``python -m inference.training STEP CONFIG.toml [key=value ...]``: one step of the
making of the small model. LOG.md says which steps there are and in which order."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
import typing
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Step:
    """Where a step's function and its settings are found; each imports much, so only
    the step that runs is imported."""

    module: str
    run: str
    settings: str
    settings_module: str = ""  # where it is another one

    def function(self) -> Callable[[Any], None]:
        function: Callable[[Any], None] = getattr(_training(self.module), self.run)
        return function

    def config(self) -> type:
        config: type = getattr(
            _training(self.settings_module or self.module), self.settings
        )
        return config


def _training(module: str) -> Any:
    return import_module(f"inference.training.{module}")


STEPS = {
    "voices": Step("voices", "make_voices", "VoicesConfig"),
    "evaluate": Step("evaluation.run", "evaluate", "EvaluateConfig"),
    "tokenizer": Step("lm.tokenizer", "train_tokenizer", "TokenizerConfig"),
    "export": Step("export", "export", "ExportConfig"),
    "quick": Step("tts.fast_tts", "speak_quickly", "QuickConfig"),
    "lm": Step("lm.train", "train_lm", "LMConfig", "lm.config"),
    "speak": Step("tts.speak", "speak_all", "SpeechConfig"),
    "archive": Step("tts.speak", "archive", "SpeechConfig"),
    "codec": Step("codec.train", "train_codec", "CodecConfig", "codec.config"),
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
    if len(words) < 2 or words[0] not in STEPS:
        raise SystemExit(f"{__doc__}\nSteps: {', '.join(STEPS)}")
    step = STEPS[words[0]]
    step.function()(read_config(step.config(), Path(words[1]), words[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
