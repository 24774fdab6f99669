"""Sizes, their JSON form, and the tensors that a checkpoint must hold."""

import dataclasses
import json
import math

import pytest

from inference.loading.checkpoint import BUILT_IN
from inference.network.config import (
    PERSONAPLEX_7B,
    TINY,
    ConfigError,
    ModelConfig,
    ffn_hidden,
)
from inference.network.lm import LanguageModel
from inference.network.stored import stored_tensors


@pytest.mark.parametrize("config", [PERSONAPLEX_7B, TINY])
def test_a_config_survives_json(config):
    assert ModelConfig.from_json(config.to_json()) == config


def test_the_built_in_tiny_model_is_the_preset():
    text = (BUILT_IN / "tiny" / "config.json").read_text()
    config = ModelConfig.from_json(text)
    trained = dataclasses.replace(config, silence_codes=None, sine_codes=None)
    assert trained == TINY


def test_feed_forward_widths_are_the_published_ones():
    assert ffn_hidden(4096) == 11264
    assert ffn_hidden(1024) == 2816


def test_the_real_model_has_the_published_tensors():
    tensors = list(stored_tensors(LanguageModel(PERSONAPLEX_7B, device="meta")))
    assert len(tensors) == len({tensor.name for tensor in tensors}) == 475
    assert sum(math.prod(tensor.shape) for tensor in tensors) == 8_371_408_896
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    assert shapes["transformer.layers.31.gating.linear_in.weight"] == (22528, 4096)
    assert shapes["depformer.layers.5.self_attn.in_proj_weight"] == (49152, 1024)
    assert shapes["depformer_emb.14.weight"] == (2049, 1024)
    assert shapes["out_norm.alpha"] == (1, 1, 4096)


def test_only_eight_depth_steps_of_the_real_model_are_resident():
    lm = LanguageModel(PERSONAPLEX_7B, device="meta")
    resident = sum(p.numel() for p in lm.parameters())
    skipped = 8 * (83_361_792 + 2049 * 1024)
    assert resident == 8_371_408_896 - skipped
    for tensor in stored_tensors(lm):
        if tensor.target is not None:
            values = math.prod(tensor.shape[1:]) * tensor.resident_rows
            assert tensor.target.numel() == values, tensor.name


def changed(path, value):
    fields = json.loads(TINY.to_json())
    where = fields
    *parents, last = path.split(".")
    for parent in parents:
        where = where[parent]
    where[last] = value
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("colour", "red", "unknown field 'colour'"),
        ("temporal.dim", "320", "temporal.dim must be a whole number"),
        ("temporal.dim", True, "temporal.dim must be a whole number"),
        ("temporal.heads", 7, "not a multiple"),
        ("temporal.layers", 0, "temporal.layers must be at least 1"),
        ("temporal.context", 1, "temporal: context must be at least 2"),
        ("depth.steps_stored", 4, "steps_stored"),
        ("mimi.bins", 2048, "audio_cardinality"),
        ("mimi.dim", 255, "heads"),
        ("delays", [0] * 16, "delays"),
        ("delays", [2] * 17, "delays"),
        ("silence_codes", [1, 2], "silence_codes"),
        ("sine_codes", [512] * 8, "sine_codes"),
        ("tokenizer", "../secret", "tokenizer"),
        ("weights", "", "weights"),
        ("temporal.layers", 257, "temporal.layers must be at most 256"),
        ("temporal.context", 10**300, "temporal.context must be at most 1000000"),
        ("temporal.rope_base", 1e300, "temporal.rope_base must be at most 1000000000"),
        ("temporal.rope_base", "10000", "temporal.rope_base must be a number"),
        ("mimi.n_heads", 0, "mimi.n_heads must be at least 1"),
        ("mimi.ratios", [4, 5, 6, 0], "mimi.ratios.3 must be at least 1"),
        ("mimi.ratios", [1] * 65, "mimi.ratios must have at most 64 items"),
        ("mimi.ratios", [4, 5, 6, 9], "mimi: frames must have 1920 samples"),
        ("mimi.sample_rate", 48_000, "mimi: frames must have 1920 samples at 24000 Hz"),
        ("text_cardinality", 65_537, "text_cardinality must be at most 65536"),
        ("name", "", "name must be 1 to 64 letters"),
        ("name", None, "name must be a text"),
        ("weights", "a b", "weights must be the plain name"),
        ("delays", 3, "delays must be a list"),
        ("temporal", [], "temporal is not a JSON object"),
    ],
)
def test_a_wrong_field_is_named(path, value, problem):
    with pytest.raises(ConfigError, match=problem):
        ModelConfig.from_json(changed(path, value))


def test_a_missing_field_is_named():
    fields = json.loads(TINY.to_json())
    del fields["temporal"]["layers"]
    with pytest.raises(ConfigError, match=r"temporal\.layers is missing"):
        ModelConfig.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("9" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_configuration_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem):
        ModelConfig.from_json(text)
