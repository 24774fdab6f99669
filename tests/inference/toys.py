"""Models small enough to run hundreds of frames in a test, with seeded weights."""

from __future__ import annotations

import functools

import torch

from inference.loading.checkpoint import BUILT_IN, Model
from inference.loading.filler_codes import find_filler_codes
from inference.network.config import (
    TINY,
    DepthConfig,
    ModelConfig,
    TemporalConfig,
)
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi, MimiConfig
from inference.prompts.tokenizer import Tokenizer

TOY_MIMI = MimiConfig(
    n_filters=4,
    dim=32,
    n_layers=1,
    n_heads=2,
    ffn=64,
    bins=32,
    codebook_dim=16,
    n_codebooks=8,
    context=20,
)


def toy_config(context: int = 24, steps_stored: int = 8) -> ModelConfig:
    return ModelConfig(
        name="toy",
        temporal=TemporalConfig(dim=64, layers=2, heads=2, context=context),
        depth=DepthConfig(dim=32, layers=2, heads=2, steps_stored=steps_stored),
        mimi=TOY_MIMI,
        text_cardinality=TINY.text_cardinality,
        audio_cardinality=TOY_MIMI.bins,
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy_lm(
    config: ModelConfig,
    dtype: torch.dtype = torch.float32,
    embedding_dtype: torch.dtype = torch.bfloat16,
) -> LanguageModel:
    lm = LanguageModel(config, dtype, embedding_dtype=embedding_dtype)
    lm.init_weights(seeded(7))
    return lm


@functools.cache
def toy_model(context: int = 200) -> Model:
    config = toy_config(context)
    mimi = Mimi(config.mimi)
    mimi.init_weights(seeded(8))
    mimi.eval().requires_grad_(False)
    return Model(
        config=config,
        lm=toy_lm(config),
        mimi=mimi,
        tokenizer=Tokenizer(
            BUILT_IN / TINY.name / TINY.tokenizer, config.text_cardinality
        ),
        filler=find_filler_codes(config, mimi),
        fingerprint="toy",
        trained=False,
    )
