"""The packed step beside the plain one, at sizes whose feed-forward layers don't end
with a whole block, as the built-in model's don't. On a GPU on_gpu.py does it at 7B."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from inference.engine.gpu.loading import load_for_gpu
from inference.kernels import plain
from inference.kernels.packed import held_weights, pack_model
from inference.loading.checkpoint import state_to_store
from inference.network.config import DepthConfig, TemporalConfig
from inference.network.mimi import Mimi
from tests.inference.loading.test_known_models import cut as later_layout
from tests.inference.models import write_files
from tests.inference.parity.side_by_side import (
    Fast,
    Plain,
    agreement,
    forced_thoughts,
    plain_lm,
    weights_by_name,
)
from tests.inference.toys import TOY_MIMI, seeded, toy_config

CPU = torch.device("cpu")


def config_of(steps_stored=8):
    return replace(
        toy_config(),
        temporal=TemporalConfig(dim=128, layers=2, heads=2, context=24),
        depth=DepthConfig(dim=64, layers=2, heads=2, steps_stored=steps_stored),
    )


def test_the_packed_step_thinks_what_the_plain_one_thinks(report):
    config = config_of()
    lm = plain_lm(config, weights_by_name(CPU), CPU)
    assert lm.temporal.layers[0].linear_out.shape[1] % 64
    mimi = Mimi(TOY_MIMI)
    mimi.init_weights(seeded(8))
    packed = pack_model(config, "bf16", held_weights(lm), CPU)
    rows = torch.randint(0, 32, (61, 17), generator=seeded(1))
    theirs = forced_thoughts(Plain(lm), rows, 20, 40)
    ours = forced_thoughts(Fast(packed, mimi, "bf16", plain, False), rows, 20, 40)
    found = agreement(ours, theirs)
    hidden, codes = found["hidden"], found["codes"]
    what = "packed step, 40 rows at context 24, bf16"
    report("4", what, "ours", hidden["values"], hidden["differ"], hidden["error"])
    assert hidden["cosine_least"] > 0.9999
    what = "packed step: codes of these, bf16"
    report("5", what, "ours", codes["values"], codes["differ"], codes["error"])
    # In units of the last place; the plain path sums in another order.
    assert max(codes["margin_most"], found["text"]["margin_most"]) <= 8
    assert codes["differ"] < 0.05 * codes["values"]


@pytest.mark.parametrize("cut", [False, True])
def test_weights_are_packed_straight_from_their_file(tmp_path, cut):
    """As they are when the whole model is in memory, in Kyutai's later layout too."""
    config = config_of()
    lm = plain_lm(config, weights_by_name(CPU), CPU)
    tensors = state_to_store(lm)
    if cut:
        tensors = later_layout(tensors, config)
    folder = write_files(tmp_path / "model")
    names = {"weights": "lm.safetensors", "codec": "codec.safetensors"}
    config = replace(config, tokenizer="tokenizer_spm_32k_3.model", **names)
    mimi = Mimi(config.mimi)
    mimi.init_weights(seeded(2))
    save_file(tensors, folder / config.weights)
    save_file(mimi.state_dict(), folder / config.codec)
    (folder / "config.json").write_text(config.to_json())
    _, packed = load_for_gpu(folder, "int8", CPU)
    expected = pack_model(config, "int8", held_weights(lm), CPU)
    assert packed.weights.keys() == expected.weights.keys()
    for name, weight in expected.weights.items():
        assert torch.equal(packed.weights[name].data, weight.data)
    for name, tensor in expected.tensors.items():
        assert torch.equal(packed.tensors[name], tensor)
