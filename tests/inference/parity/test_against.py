"""The published moshi on the bench's clock; small here."""

import torch
from moshi.models import loaders

from inference.bench import moshi
from inference.bench.moshi import Moshi, moshi_row
from inference.commands.bench import ratios

SMALL = {
    "dim": 64,
    "num_heads": 2,
    "num_layers": 1,
    "context": 20,
    "depformer_dim": 32,
    "depformer_dim_feedforward": 64,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
}


def test_it_hears_and_speaks(monkeypatch):
    monkeypatch.setattr(moshi, "WARM_TICKS", 3)
    for name, small in (
        ("_seanet_kwargs", {"n_filters": 4}),
        ("_transformer_kwargs", {"num_layers": 1, "dim_feedforward": 64}),
    ):
        monkeypatch.setattr(loaders, name, getattr(loaders, name) | small)
    shapes = loaders._lm_kwargs | SMALL
    row = moshi_row(2, 4, torch.device("cpu"), shapes)
    assert row["tick_ms"]["p50"] <= row["tick_ms"]["max"]
    theirs = Moshi(2, torch.device("cpu"), shapes)
    silence = torch.zeros(2, 1920, dtype=torch.int16).numpy()
    with torch.inference_mode():
        said = [theirs.tick(silence) for _ in range(4)]
    assert said[0] is None
    assert said[-1].shape == (2, 1920)


def test_rows_of_the_same_sessions_are_compared():
    ours = [
        {"sessions": 1, "weights": "bf16", "kv": "bf16", "tick_ms": {"p50": 8.0}},
        {"sessions": 1, "weights": "int4", "kv": "int8", "tick_ms": {"p50": 4.0}},
        {"sessions": 64, "weights": "int8", "kv": "int8", "tick_ms": {"p50": 30.0}},
    ]
    theirs = [
        {"sessions": 1, "tick_ms": {"p50": 24.0}},
        {"sessions": 64, "error": "does not fit"},
    ]
    assert [found["ratio"] for found in ratios(ours, theirs)] == [3.0, 6.0]
