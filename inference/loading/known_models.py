"""Models whose directories hold no configuration of ours, recognised by their files.

Also the error texts for published layouts that can't be run. Must not open files or
depend on tensors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from inference.network.config import (
    DELAYS,
    PERSONAPLEX_7B,
    ConfigError,
    DepthConfig,
    ModelConfig,
    TemporalConfig,
)
from inference.timing import CODEBOOKS

MOSHI_7B = replace(
    PERSONAPLEX_7B,
    name="moshi-7b",
    depth=replace(PERSONAPLEX_7B.depth, steps_stored=CODEBOOKS),
)
FILES = (PERSONAPLEX_7B.weights, PERSONAPLEX_7B.codec, PERSONAPLEX_7B.tokenizer)

# Kyutai's configuration: what must hold if it is given, and what changes nothing.
FIXED: dict[str, object] = {
    "n_q": 2 * CODEBOOKS,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "existing_text_padding_id": 3,
    "depformer_causal": True,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "model_type": "moshi",
}
SIZES = (
    *("dim", "num_layers", "num_heads", "context", "text_card", "card", "dep_q"),
    *("depformer_dim", "depformer_num_layers", "depformer_num_heads"),
)
READ = {*SIZES, "max_period", "delays", "moshi_name", "mimi_name", "tokenizer_name"}
IGNORED = {
    *("depformer_context", "depformer_max_period", "depformer_dim_feedforward"),
    *("lm_gen_config", "model_id", "existing_text_end_padding_id", "version"),
}

# Names of tensors that only other layouts have, and what those are.
OTHER_LAYOUTS = {
    "depformer.slices.": "Kyutai's MLX layout; take the PyTorch files (-pytorch-bf16)",
    "depformer.0.transformer.": "Kyutai's Candle layout; take the PyTorch files "
    "(-pytorch-bf16)",
    "depformer_norms.": "a newer Kyutai model with norms after its depth transformer",
    "extra_heads.": "a newer Kyutai model with extra heads (speech to text)",
    "condition_provider.": "a newer Kyutai model that is conditioned (Hibiki, TTS)",
    "depformer_text_emb.out1.": "a newer Kyutai model of two text streams",
    "depformer_text_emb.low_rank.": "a newer Kyutai model of low-rank embeddings",
    "lm_head.": "the layout of transformers; take the PyTorch files (-pytorch-bf16)",
    "model.embed_tokens.": "the layout of transformers; take the PyTorch files "
    "(-pytorch-bf16)",
}
QUANTISED = (".scales", ".weight_scb", ".SCB", ".qweight", ".weight_scale")


def recognised(stored: str, names: Collection[str]) -> ModelConfig:
    """The configuration of a directory of published files. ``stored``: what its
    config.json says, "" for none; ``names``: of the tensors in its weights.
    ConfigError for what can't be run."""
    if (other := other_layout(names)) is not None:
        raise ConfigError(f"the weights are of {other}")
    fields = _fields(stored)
    if "temporal" in fields:
        return ModelConfig.from_json(stored)
    if set(SIZES) & set(fields):
        return of_kyutai(fields)
    return PERSONAPLEX_7B if f"linears.{CODEBOOKS}.weight" in names else MOSHI_7B


def other_layout(names: Collection[str]) -> str | None:
    for mark, what in OTHER_LAYOUTS.items():
        if any(name.startswith(mark) for name in names):
            return what
    if any(name.endswith(QUANTISED) for name in names):
        return "a model that others have quantised; take the bf16 files"
    return None


def is_ours(stored: str) -> bool:
    """Whether a config.json is one that we wrote. The one published beside
    PersonaPlex is a counter of downloads and says next to nothing."""
    try:
        return "temporal" in _fields(stored)
    except ConfigError:
        return True  # for the strict reader to refuse


def _fields(stored: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(stored) if stored.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigError("config must be an object")
    return fields


def of_kyutai(fields: Mapping[str, Any]) -> ModelConfig:
    """Kyutai's words to ours, where they describe the same network."""
    for name, value in fields.items():
        if name in FIXED and value != FIXED[name]:
            raise ConfigError(f"{name} {value!r:.60} can't be run, {FIXED[name]!r} can")
        if name not in FIXED and name not in READ | IGNORED and value:
            raise ConfigError(f"a newer Kyutai model: {name!r:.60} can't be run")
    if missing := [name for name in SIZES if type(fields.get(name)) is not int]:
        raise ConfigError(f"{', '.join(missing)} must be whole numbers")
    period = fields.get("max_period", 10_000)
    if type(period) not in (int, float):
        raise ConfigError("max_period must be a number")
    return replace(
        MOSHI_7B,
        temporal=TemporalConfig(
            dim=fields["dim"],
            layers=fields["num_layers"],
            heads=fields["num_heads"],
            context=fields["context"],
            rope_base=float(period),
        ),
        depth=DepthConfig(
            dim=fields["depformer_dim"],
            layers=fields["depformer_num_layers"],
            heads=fields["depformer_num_heads"],
            steps_stored=fields["dep_q"],
        ),
        text_cardinality=fields["text_card"],
        audio_cardinality=fields["card"],
        delays=_delays(fields.get("delays", list(DELAYS))),
        **_files(fields),
    )


def _delays(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise ConfigError("delays must be a list of whole numbers")
    return tuple(value)


def _files(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Which name is ours for which of theirs; ModelConfig checks the names."""
    names = {"weights": "moshi_name", "codec": "mimi_name"}
    names["tokenizer"] = "tokenizer_name"
    found = {ours: fields.get(theirs) for ours, theirs in names.items()}
    for ours, name in found.items():
        if name is not None and type(name) is not str:
            raise ConfigError(f"{names[ours]} must be a name")
    return {ours: name for ours, name in found.items() if name}
