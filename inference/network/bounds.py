"""What a configuration may ask for at most.

A config.json is read before anything else of a model, and may be broken or hostile:
without bounds it could ask for memory and time without end. Must not depend on tensors.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from inference.network.config import ConfigError, ModelConfig
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE

MOST = {"layers": 256, "n_layers": 256, "n_codebooks": 256, "context": 1_000_000}
MAX_OTHER = 65_536  # of any other size; the largest known is 32,000 text tokens
MAX_ITEMS = 64  # of a list
MAX_ROPE_BASE = 1e9
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


def check_bounds(config: ModelConfig) -> None:
    """ConfigError names what is out of bounds."""
    if not NAME.fullmatch(config.name):
        raise ConfigError("name must be 1 to 64 letters, digits, spaces and . _ + -")
    for file in (config.weights, config.codec, config.tokenizer):
        if not FILE.fullmatch(file):
            raise ConfigError(f"{file!a:.60} is no plain name of a file")
    _check(config, "config")
    mimi = config.mimi
    if (mimi.sample_rate, mimi.frame_samples) != (SAMPLE_RATE, FRAME_SAMPLES):
        raise ConfigError(
            f"mimi: frames must have {FRAME_SAMPLES} samples at {SAMPLE_RATE} Hz"
        )


def _check(part: Any, path: str) -> None:
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), f"{path}.{field.name}"
        if dataclasses.is_dataclass(value):
            _check(value, name)
        elif isinstance(value, tuple):
            if len(value) > MAX_ITEMS:
                raise ConfigError(f"{name} has more than {MAX_ITEMS} items")
            for item in value:
                _check_number(item, 0, MAX_OTHER, name)
        elif isinstance(value, float):
            _check_number(value, 1, MAX_ROPE_BASE, name)
        elif isinstance(value, int):
            _check_number(value, 1, MOST.get(field.name, MAX_OTHER), name)


def _check_number(value: float, least: float, most: float, name: str) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise ConfigError(f"{name} must be {least:g} to {most:g}")
