"""Packed formats and the files they are kept in."""

import dataclasses
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inference.__main__ import main
from inference.engine.gpu.loading import load_for_gpu
from inference.kernels.packed import held_weights, pack_model
from inference.kernels.weights import (
    FORMATS,
    deinterleave,
    interleave,
    pack,
    unpack,
)
from inference.loading.checkpoint import (
    BUILT_IN,
    CheckpointError,
    load_model,
    state_to_store,
)
from inference.loading.quantized import load_packed, packed_path, save_packed
from inference.network.config import TINY
from inference.network.lm import LanguageModel
from inference.network.mimi import Mimi
from inference.training.export import in_eight_bits
from tests.inference.kernels.shapes import error, packed, small_config
from tests.inference.toys import seeded

CPU = torch.device("cpu")
LARGEST_ERROR = {"bf16": 2e-3, "int8": 9e-3, "fp8": 3e-2, "int4": 0.12}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(16, 64), (100, 192), (320, 1408)])
def test_a_packed_matrix_is_nearly_the_matrix(format, shape):
    matrix = torch.randn(shape, generator=seeded(1))
    assert error(unpack(pack(matrix, format)), matrix) < LARGEST_ERROR[format]


@pytest.mark.parametrize("format", FORMATS)
def test_small_whole_numbers_survive_exactly(format):
    matrix = torch.randint(-7, 8, (32, 128), generator=seeded(2)).float()
    matrix[:, ::64] = -8
    if format in ("int8", "fp8"):
        matrix *= 1 / 8  # a scale that is a power of two needs its largest at the end
        matrix[:, 0] = 127 / 8 if format == "int8" else 448 / 8
    assert torch.equal(unpack(pack(matrix, format)), matrix)


def test_a_matrix_of_zeros_stays_one():
    for format in FORMATS:
        assert not unpack(pack(torch.zeros(16, 64), format)).any()


def test_interleaving_is_undone():
    both = torch.randn(64, 4)
    gate, up = deinterleave(interleave(both).T)
    assert torch.equal(torch.cat((gate, up), dim=1).T, both)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_holds_what_was_packed(tmp_path, format):
    model = packed(small_config(), format)
    path = packed_path(tmp_path, format)
    save_packed(model, path)
    loaded = load_packed(path, CPU)
    assert (loaded.config, loaded.format) == (model.config, format)
    assert loaded.step_bytes == model.step_bytes
    for name, weight in model.weights.items():
        assert torch.equal(loaded.weights[name].data.cpu(), weight.data.cpu())
    for name, tensor in model.tensors.items():
        assert torch.equal(loaded.tensors[name].cpu(), tensor.cpu())


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "packed-int8.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no quantised checkpoint"):
        load_packed(path, CPU)
    path.write_bytes(b"not one")
    with pytest.raises(CheckpointError):
        load_packed(path, CPU)


@pytest.mark.parametrize(
    ("entry", "text", "problem"),
    [
        ("weights", "[]", "not a JSON object"),
        ("weights", '{"depth.heads": ["int8", 4]}', r"depth\.heads\.2 is missing"),
        ("weights", '{"depth.heads": 3}', r"depth\.heads must be a list"),
        ("weights", "{", "not JSON"),
        ("config", "{}", "name is missing"),
    ],
)
def test_broken_metadata_is_refused_and_named(tmp_path, entry, text, problem):
    path = packed_path(tmp_path, "int8")
    save_packed(packed(small_config(), "int8"), path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {**metadata, entry: text})
    with pytest.raises(CheckpointError, match=problem):
        load_packed(path, CPU)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda model: model.tensors.pop("depth.emb.3"), "missing depth.emb.3"),
        (lambda model: model.weights.pop("layers.1.out_proj"), "missing layers.1"),
        (lambda model: model.tensors.update(more=torch.zeros(1)), "unknown more"),
        (
            lambda model: model.tensors.update(out_norm=torch.zeros(3)),
            r"out_norm is \(torch.float32, 3\)",
        ),
    ],
)
def test_half_a_model_is_refused(tmp_path, spoil, said):
    model, path = packed(small_config(), "int8"), packed_path(tmp_path, "int8")
    spoil(model)
    save_packed(model, path)
    with pytest.raises(CheckpointError, match=said):
        load_packed(path, CPU)


@pytest.fixture
def folder(tmp_path):
    config = dataclasses.replace(small_config(), text_cardinality=TINY.text_cardinality)
    lm, mimi = LanguageModel(config, torch.bfloat16), Mimi(config.mimi)
    lm.init_weights(seeded(1))
    mimi.init_weights(seeded(2))
    save_file(state_to_store(lm), tmp_path / config.weights)
    save_file(mimi.state_dict(), tmp_path / config.codec)
    shutil.copy(BUILT_IN / TINY.name / TINY.tokenizer, tmp_path / config.tokenizer)
    (tmp_path / "config.json").write_text(config.to_json())
    return tmp_path


def test_quantize_writes_what_a_gpu_loads(folder, capsys):
    assert main(["quantize", "--model", str(folder), "--weights", "int4"]) == 0
    assert "packed-int4.safetensors" in capsys.readouterr().out
    fresh, now = load_for_gpu(folder, "int8", CPU)
    model, read = load_for_gpu(folder, "int4", CPU)
    assert (read.format, now.format) == ("int4", "int8")
    assert model.fingerprint == fresh.fingerprint
    rows = torch.randint(0, 30, (3, 17))
    assert torch.equal(model.lm.embed(rows), fresh.lm.embed(rows))
    assert model.device == CPU


def test_matrices_in_8_bits_are_packed_as_what_the_plain_path_reads(folder):
    path = folder / "model.safetensors"
    save_file(in_eight_bits(load_file(path), "*linear_in.weight"), path)
    model = load_model(folder)
    plain = pack_model(model.config, "bf16", held_weights(model.lm), CPU)
    _, packed = load_for_gpu(folder, "bf16", CPU)
    assert packed.weights.keys() == plain.weights.keys()
    for name, weight in packed.weights.items():
        assert torch.equal(weight.data, plain.weights[name].data), name


def test_weights_of_another_model_are_refused(folder):
    main(["quantize", "--model", str(folder), "--weights", "int8"])
    path = packed_path(folder, "int8")
    tensors = load_file(path)
    assert tensors
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("300", "301"))
    with pytest.raises(CheckpointError, match="another model"):
        load_for_gpu(folder, "int8", CPU)
