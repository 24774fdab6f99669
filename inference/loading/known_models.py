"""Models whose directories hold no configuration of ours, recognised by their files.

Also the error texts for published layouts that can't be run. Must not open files or
depend on tensors.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from inference.checked_json import STRICT, Decoder
from inference.network.config import DELAYS, PERSONAPLEX_7B, ConfigError, ModelConfig
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
IGNORED = {
    *("depformer_context", "depformer_max_period", "depformer_dim_feedforward"),
    *("lm_gen_config", "model_id", "existing_text_end_padding_id", "version"),
}


@dataclass(frozen=True)
class KyutaiConfig:
    """What is read of Kyutai's configuration, by their names."""

    __pydantic_config__ = STRICT

    dim: int
    num_layers: int
    num_heads: int
    context: int
    text_card: int
    card: int
    dep_q: int
    depformer_dim: int
    depformer_num_layers: int
    depformer_num_heads: int
    max_period: float = 10_000.0
    delays: tuple[int, ...] = DELAYS
    moshi_name: str | None = None
    mimi_name: str | None = None
    tokenizer_name: str | None = None


READ = {field.name for field in fields(KyutaiConfig)}
SIZES = {field.name for field in fields(KyutaiConfig) if field.default is MISSING}
_OBJECT: Decoder[dict[str, Any]] = Decoder(dict[str, Any], ConfigError)
_KYUTAI: Decoder[KyutaiConfig] = Decoder(KyutaiConfig, ConfigError)

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
    found = _fields(stored)
    if "temporal" in found:
        return ModelConfig.from_json(stored)
    if SIZES & set(found):
        return of_kyutai(found)
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
    return _OBJECT.decode(stored) if stored.strip() else {}


def of_kyutai(found: Mapping[str, Any]) -> ModelConfig:
    """Kyutai's fields to ours, where they describe the same network."""
    for name, value in found.items():
        if name in FIXED and value != FIXED[name]:
            raise ConfigError(f"{name} {value!r:.60} can't be run, {FIXED[name]!r} can")
        if name not in FIXED and name not in READ | IGNORED and value:
            raise ConfigError(f"a newer Kyutai model: {name!r:.60} can't be run")
    read = {name: value for name, value in found.items() if name in READ}
    theirs = _KYUTAI.decode(json.dumps(read))
    ours = asdict(MOSHI_7B) | {
        "temporal": {
            "dim": theirs.dim,
            "layers": theirs.num_layers,
            "heads": theirs.num_heads,
            "context": theirs.context,
            "rope_base": theirs.max_period,
        },
        "depth": {
            "dim": theirs.depformer_dim,
            "layers": theirs.depformer_num_layers,
            "heads": theirs.depformer_num_heads,
            "steps_stored": theirs.dep_q,
        },
        "text_cardinality": theirs.text_card,
        "audio_cardinality": theirs.card,
        "delays": theirs.delays,
        "weights": theirs.moshi_name or MOSHI_7B.weights,
        "codec": theirs.mimi_name or MOSHI_7B.codec,
        "tokenizer": theirs.tokenizer_name or MOSHI_7B.tokenizer,
    }
    return ModelConfig.from_json(json.dumps(ours))  # with its bounds
