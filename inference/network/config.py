"""Sizes and special tokens of a model, and their JSON form.

Every number of the language model is named here once. Must not depend on tensors or
open files.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from inference.checked_json import STRICT, Decoder
from inference.network.bounds import FILE, NAME, Context, Layers, RopeBase, Size
from inference.network.mimi.config import MIMI_7B, MIMI_TINY, MimiConfig
from inference.timing import CODEBOOKS, FRAME_SAMPLES, SAMPLE_RATE, STREAMS

# The streams of a frame: agent text, agent codebooks 0..7, user codebooks 0..7.
TEXT = 0
AGENT = slice(1, 1 + CODEBOOKS)
USER = slice(1 + CODEBOOKS, STREAMS)
FREE = -1  # in a frame or row: not provided, the model chooses

# Special text tokens, the same in every model of this family.
EPAD, BOS, EOS, PAD = 0, 1, 2, 3

DELAYS = (0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1)


class ConfigError(ValueError):
    """A configuration that no model can be built from; says which field and why."""


def ffn_hidden(dim: int) -> int:
    """Width of a gated feed-forward layer (spec section 2)."""
    return 2 * int(4.125 * dim) // 3


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ConfigError(problem)


def _require_heads(dim: int, heads: int, layers: int) -> None:
    _require(min(dim, heads, layers) > 0, "sizes must be positive")
    _require(dim % heads == 0, f"dim {dim} is not a multiple of {heads} heads")


@dataclass(frozen=True)
class TemporalConfig:
    dim: Size
    layers: Layers
    heads: Size
    context: Context  # slots of the KV ring; context - 1 keys are in view
    rope_base: RopeBase = 10_000.0

    def __post_init__(self) -> None:
        _require_heads(self.dim, self.heads, self.layers)
        _require(self.head_dim % 2 == 0, "heads must have an even size")
        _require(self.context >= 2, "context must be at least 2")
        _require(self.rope_base > 1, "rope_base must be above 1")

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


@dataclass(frozen=True)
class DepthConfig:
    dim: Size
    layers: Layers
    heads: Size
    steps_stored: Size  # in the checkpoint; only the first 8 are ever loaded

    def __post_init__(self) -> None:
        _require_heads(self.dim, self.heads, self.layers)
        _require(
            CODEBOOKS <= self.steps_stored <= 2 * CODEBOOKS,
            f"steps_stored must be {CODEBOOKS} to {2 * CODEBOOKS}",
        )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


@dataclass(frozen=True)
class ModelConfig:
    __pydantic_config__ = STRICT

    name: str
    temporal: TemporalConfig
    depth: DepthConfig
    mimi: MimiConfig
    text_cardinality: Size
    audio_cardinality: Size
    # Codes of one frame of silence and of a 440 Hz tone; None: asked of the codec.
    silence_codes: tuple[int, ...] | None = None
    sine_codes: tuple[int, ...] | None = None
    delays: tuple[int, ...] = DELAYS
    weights: str = "model.safetensors"
    codec: str = "mimi.safetensors"
    tokenizer: str = "tokenizer.model"

    def __post_init__(self) -> None:
        _require(
            NAME.fullmatch(self.name) is not None,
            "name must be 1 to 64 letters, digits, spaces and . _ + -",
        )
        _require(self.text_cardinality > PAD, "text_cardinality is too small")
        _require(
            self.audio_cardinality == self.mimi.bins,
            f"audio_cardinality {self.audio_cardinality} is not the codec's "
            f"{self.mimi.bins} bins",
        )
        _require(
            self.mimi.n_codebooks_used == CODEBOOKS,
            f"mimi: n_codebooks_used must be {CODEBOOKS}",
        )
        _require(
            self.mimi.sample_rate == SAMPLE_RATE
            and self.mimi.frame_samples == FRAME_SAMPLES,
            f"mimi: frames must have {FRAME_SAMPLES} samples at {SAMPLE_RATE} Hz",
        )
        _require(
            len(self.delays) == STREAMS and set(self.delays) <= {0, 1},
            f"delays must be {STREAMS} numbers, each 0 or 1",
        )
        _require(self.delays[TEXT] == 0, "delays: text can't be delayed")
        for name in ("silence_codes", "sine_codes"):
            codes = getattr(self, name)
            _require(
                codes is None
                or (
                    len(codes) == CODEBOOKS
                    and all(0 <= code < self.audio_cardinality for code in codes)
                ),
                f"{name} must be {CODEBOOKS} codes below {self.audio_cardinality}",
            )
        for name in ("weights", "codec", "tokenizer"):
            _require(
                FILE.fullmatch(getattr(self, name)) is not None,
                f"{name} must be the plain name of a file beside config.json",
            )

    @property
    def text_start(self) -> int:
        return self.text_cardinality

    @property
    def audio_start(self) -> int:
        return self.audio_cardinality

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """ConfigError names a field that is unknown, missing or out of bounds."""
        return _DECODER.decode(text)


_DECODER: Decoder[ModelConfig] = Decoder(ModelConfig, ConfigError)

PERSONAPLEX_7B = ModelConfig(
    name="personaplex-7b",
    temporal=TemporalConfig(dim=4096, layers=32, heads=32, context=3000),
    depth=DepthConfig(dim=1024, layers=6, heads=16, steps_stored=16),
    mimi=MIMI_7B,
    text_cardinality=32_000,
    audio_cardinality=2048,
    silence_codes=(948, 243, 1178, 546, 1736, 1030, 1978, 2008),
    sine_codes=(430, 1268, 381, 1611, 1095, 1495, 56, 472),
    codec="tokenizer-e351c8d8-checkpoint125.safetensors",
    tokenizer="tokenizer_spm_32k_3.model",
)
TINY = ModelConfig(
    name="tiny",
    temporal=TemporalConfig(dim=320, layers=8, heads=5, context=1000),
    depth=DepthConfig(dim=192, layers=2, heads=3, steps_stored=8),
    mimi=MIMI_TINY,
    text_cardinality=1000,
    audio_cardinality=512,
)
