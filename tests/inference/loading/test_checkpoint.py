"""Models from directories; what is wrong with one is said by name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.loading.checkpoint import (
    BUILT_IN,
    CheckpointError,
    load_model,
    state_to_store,
)
from inference.loading.safetensors_file import SCALE, narrowed
from inference.network.config import TINY
from inference.network.mimi import Mimi
from tests.inference.toys import seeded, toy_config, toy_lm


@pytest.fixture
def folder(tmp_path):
    """A whole small model as files."""
    config = toy_config()
    lm, mimi = toy_lm(config), Mimi(config.mimi)
    mimi.init_weights(seeded(8))
    (tmp_path / "config.json").write_text(config.to_json())
    save_file(state_to_store(lm), tmp_path / config.weights)
    save_file(
        {name: tensor.clone() for name, tensor in mimi.state_dict().items()},
        tmp_path / config.codec,
    )
    shutil.copy(BUILT_IN / "tiny" / TINY.tokenizer, tmp_path / config.tokenizer)
    return tmp_path


def rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder, *parts):
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    for part in parts:
        assert part in str(error.value)


def test_a_directory_loads_as_it_was_saved(folder):
    model = load_model(folder)
    assert model.trained
    assert model.config == toy_config()
    saved, loaded = toy_lm(toy_config()), model.lm
    for (name, a), b in zip(saved.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b), name
    x = torch.randn(1, 1, 1920, generator=seeded(1))
    mimi = Mimi(model.config.mimi)
    mimi.init_weights(seeded(8))
    assert torch.equal(model.mimi.encode(x), mimi.encode(x))


def test_it_loads_in_bf16(folder):
    model = load_model(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in model.lm.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.mimi.parameters()} == {torch.float32}


def test_missing_extra_and_misshapen_tensors_are_all_named(folder):
    def change(tensors):
        del tensors["emb.3.weight"]
        del tensors["depformer.layers.1.gating.7.linear_in.weight"]
        tensors["depformer_norm.alpha"] = torch.ones(1)
        tensors["linears.2.weight"] = torch.ones(32, 31)
        tensors["linears.4.weight"] = torch.ones(32, 32, dtype=torch.int64)

    rewrite(folder / "model.safetensors", change)
    refused(
        folder,
        "missing emb.3.weight",
        "missing depformer.layers.1.gating.7.linear_in.weight",
        "extra depformer_norm.alpha",
        "linears.2.weight is [32, 31], not [32, 32]",
        "linears.4.weight is I64",
    )


def in_eight_bits(tensors):
    for name in ["depformer.layers.0.gating.3.linear_in.weight", "emb.2.weight"]:
        tensors[name], tensors[name + SCALE] = narrowed(tensors[name])


def test_matrices_in_8_bits_are_read_as_the_nearest_bf16(folder):
    before = load_model(folder).lm
    rewrite(folder / "model.safetensors", in_eight_bits)
    after = load_model(folder).lm
    read = {"depth.layers.0.linear_in": 3, "emb": 2}
    for (name, was), now in zip(
        before.named_parameters(), after.parameters(), strict=True
    ):
        differs = (was != now).view(len(was), -1).any(dim=1)
        changed = differs.nonzero().flatten().tolist()
        if name not in read:
            assert not changed, name
            continue
        assert changed == [read[name]], name
        was, now = was[read[name]], now[read[name]]
        assert torch.equal(now, now.bfloat16().float())
        # Half a step, and what bf16 rounds.
        step = was.abs().amax(dim=1, keepdim=True) / 127
        assert ((was - now).abs() <= 0.51 * step + was.abs() / 256).all()
    halved = load_model(folder, dtype=torch.bfloat16).lm
    for name, parameter in halved.named_parameters():
        if name in read:
            exact = after.get_parameter(name)[read[name]]
            assert torch.equal(parameter[read[name]].float(), exact)


@pytest.mark.parametrize(
    "scale", [None, torch.ones(7), torch.ones(()), torch.ones(301).half()]
)
def test_8_bits_without_their_scale_are_refused(folder, scale):
    def change(tensors):
        tensors["emb.2.weight"] = narrowed(tensors["emb.2.weight"])[0]
        if scale is not None:
            tensors["emb.2.weight" + SCALE] = scale

    rewrite(folder / "model.safetensors", change)
    rows = toy_config().audio_cardinality + 1
    refused(folder, f"emb.2.weight is I8 without emb.2.weight_scale, F32 [{rows}]")


def test_a_scale_without_its_matrix_is_refused(folder):
    def change(tensors):
        tensors["emb.2.weight" + SCALE] = torch.ones(3)

    rewrite(folder / "model.safetensors", change)
    refused(folder, "others have quantised")


def test_the_codec_is_checked_too(folder):
    def change(tensors):
        del tensors["downsample.conv.conv.conv.weight"]
        tensors["unknown"] = torch.ones(1)

    rewrite(folder / "mimi.safetensors", change)
    refused(folder, "missing downsample.conv.conv.conv.weight", "extra unknown")


@pytest.mark.parametrize("name", ["model.safetensors", "mimi.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b'{"a":1}' * 9])
def test_a_file_that_holds_no_tensors_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors")


def test_a_truncated_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(folder, "model.safetensors")


def test_a_wrong_configuration_is_named(folder):
    fields = json.loads(toy_config().to_json())
    fields["temporal"]["speed"] = 3
    (folder / "config.json").write_text(json.dumps(fields))
    refused(folder, "config.json", "temporal.speed")


def test_a_wrong_tokenizer_is_named(folder):
    (folder / "tokenizer.model").write_bytes(b"junk")
    refused(folder, "tokenizer.model")


def test_no_model_is_said_so(tmp_path):
    refused(tmp_path / "absent", "absent", "tiny")
    refused(tmp_path, "config.json")


def test_a_directory_without_weights_is_never_random(folder):
    (folder / "model.safetensors").unlink()
    (folder / "mimi.safetensors").unlink()
    refused(folder, "model.safetensors")


def test_the_fingerprint_tells_models_apart(folder):
    first = load_model(folder).fingerprint
    assert load_model(folder).fingerprint == first

    def change(tensors):
        tensors["out_norm.alpha"][0, 0, 5] += 0.25

    rewrite(folder / "model.safetensors", change)
    second = load_model(folder).fingerprint
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"toy"', '"other"'))
    assert len({first, second, load_model(folder).fingerprint}) == 3


def test_the_built_in_model_loads_by_name():
    a, b = load_model("tiny"), load_model("tiny")
    assert a.fingerprint == b.fingerprint
    assert a.config.name == "tiny"
    for x, y in zip(a.lm.parameters(), b.lm.parameters(), strict=True):
        assert torch.equal(x, y)
