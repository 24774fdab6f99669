"""Published files without a configuration of ours: known ones and refused ones."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from inference.loading.checkpoint import CheckpointError, check_folder, load_model
from inference.loading.known_models import MOSHI_7B, of_kyutai, recognised
from inference.loading.layouts import as_stored
from inference.network.config import DELAYS, PERSONAPLEX_7B, ConfigError
from inference.network.lm import LanguageModel
from inference.network.stored import stored_tensors
from tests.inference.models import CODEC, LM, TOKENIZER, toy_files, write_files
from tests.inference.network.test_lm import random_checkpoint, reference
from tests.inference.toys import toy_config, toy_lm

KYUTAI = {
    "dim": 4096, "num_layers": 32, "num_heads": 32, "context": 3000,
    "text_card": 32000, "card": 2048, "n_q": 16, "dep_q": 8, "hidden_scale": 4.125,
    "depformer_dim": 1024, "depformer_num_layers": 6, "depformer_num_heads": 16,
    "depformer_multi_linear": True, "depformer_pos_emb": "none", "max_period": 10000,
    "delays": list(DELAYS), "gating": "silu", "norm": "rms_norm_f32",
}  # fmt: skip


@pytest.mark.parametrize("stored", ["", "{}", '{"model_type": "personaplex"}'])
def test_the_number_of_depth_steps_tells_personaplex_from_moshi(stored):
    names = {f"linears.{step}.weight" for step in range(8)}
    assert recognised(stored, names) == MOSHI_7B
    assert recognised(stored, names | {"linears.8.weight"}) == PERSONAPLEX_7B


def test_the_published_shapes_of_personaplex_are_the_specifications():
    lm = LanguageModel(PERSONAPLEX_7B, device="meta")
    shapes = {stored.name: stored.shape for stored in stored_tensors(lm)}
    assert len(shapes) == 475
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 8_371_408_896


def test_a_configuration_of_kyutais_is_read():
    assert of_kyutai(KYUTAI) == MOSHI_7B
    named = of_kyutai({**KYUTAI, "moshi_name": "a.safetensors", "mimi_name": "b"})
    assert (named.weights, named.codec) == ("a.safetensors", "b")
    assert of_kyutai({**KYUTAI, "dep_q": 16}).depth == PERSONAPLEX_7B.depth


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_q": 32}, "n_q 32"),
        ({"norm": "layer_norm"}, "norm 'layer_norm'"),
        ({"depformer_pos_emb": "sin"}, "depformer_pos_emb"),
        ({"demux_second_stream": True}, "demux_second_stream"),
        ({"conditioners": {"speaker": {}}}, "conditioners"),
        ({"depformer_low_rank_embeddings": 128}, "depformer_low_rank"),
        ({"model_type": "hibiki"}, "model_type"),
        ({"dim": "4096"}, "dim must be"),
        ({"dim": None}, "dim must be"),
        ({"dim": 4097}, "multiple"),
        ({"dep_q": 32}, "steps_stored"),
        ({"delays": [0, 2] * 8 + [0]}, "delays"),
        ({"delays": "none"}, "delays"),
        ({"max_period": "long"}, "max_period"),
        ({"moshi_name": "../x"}, "weights"),
        ({"moshi_name": 3}, "moshi_name"),
    ],
)
def test_what_is_another_network_is_said_by_name(change, said):
    with pytest.raises(ConfigError, match=said):
        of_kyutai({**KYUTAI, **change})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("depformer.slices.0.linear_in.weight", "MLX"),
        ("depformer.0.transformer.layers.0.norm1.alpha", "Candle"),
        ("depformer_norms.0.alpha", "norms after its depth"),
        ("extra_heads.0.weight", "speech to text"),
        ("condition_provider.conditioners.x.weight", "conditioned"),
        ("text_linear.weight.scales", "scales"),
        ("model.embed_tokens.weight", "transformers"),
    ],
)
def test_other_layouts_are_named(tmp_path, name, said):
    tensors = load(toy_files()[LM])
    if "scales" in name:
        name, said = "text_linear.scales", "quantised"
    tensors[name] = torch.ones(1)
    folder = write_files(tmp_path, {**toy_files(), LM: save(tensors)})
    with pytest.raises(CheckpointError, match=said) as raised:
        check_folder(folder)
    assert "can't be run" in raised.value.text


def test_published_files_need_no_configuration(tmp_path):
    """As huggingface_hub leaves them; here the sizes then don't fit."""
    files = toy_files()
    folder = write_files(
        tmp_path, {name: files[name] for name in (LM, CODEC, TOKENIZER)}
    )
    with pytest.raises(CheckpointError, match=r"missing transformer\.layers\.2"):
        check_folder(folder)
    (folder / "config.json").write_text('{"version": "1"}')
    with pytest.raises(CheckpointError, match=r"missing transformer\.layers\.2"):
        check_folder(folder)


def test_a_directory_with_other_files_needs_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        check_folder(tmp_path)


def cut(tensors, config):
    """As Kyutai's code of later stores them: a projection per depth step."""
    found = {}
    for name, tensor in tensors.items():
        new = name.replace("in_proj_weight", "in_projs.{}.weight")
        new = new.replace("out_proj.weight", "out_projs.{}.weight")
        steps = config.depth.steps_stored if name.startswith("depformer.") else 1
        pieces = tensor.chunk(steps) if new != name else [tensor]
        found |= {new.format(i): piece.clone() for i, piece in enumerate(pieces)}
    return found


@pytest.mark.parametrize("steps", [8, 16])
def test_projections_cut_by_depth_step_load_to_the_same_model(tmp_path, steps):
    config = replace(
        toy_config(steps_stored=steps), weights=LM, codec=CODEC, tokenizer=TOKENIZER
    )
    tensors = random_checkpoint(config)
    files = {**toy_files(), "config.json": config.to_json().encode()}
    whole = write_files(tmp_path / "a", {**files, LM: save(tensors)})
    pieces = write_files(tmp_path / "b", {**files, LM: save(cut(tensors, config))})
    a, b = load_model(whole).lm, load_model(pieces).lm
    for (name, x), y in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y), name


def test_a_missing_piece_is_named(tmp_path):
    config = replace(toy_config(), weights=LM, codec=CODEC, tokenizer=TOKENIZER)
    tensors = cut(random_checkpoint(config), config)
    del tensors["depformer.layers.1.self_attn.out_projs.7.weight"]
    files = {**toy_files(), "config.json": config.to_json().encode()}
    folder = write_files(tmp_path, {**files, LM: save(tensors)})
    with pytest.raises(CheckpointError, match=r"missing depformer.*out_projs\.7"):
        check_folder(folder)


def test_our_own_layout_is_left_as_it_is():
    stored = list(stored_tensors(toy_lm(toy_config())))
    names = {tensor.name for tensor in stored}
    assert [t.name for t in as_stored(stored, names)] == [t.name for t in stored]


def test_only_the_depth_steps_that_run_are_resident(tmp_path):
    config = toy_config(steps_stored=16)
    lm = LanguageModel(config)
    assert lm.depth.inputs.shape[0] == lm.depth.heads.shape[0] == 8
    stored = {t.name: t for t in stored_tensors(lm)}
    assert stored["linears.7.weight"].target is not None
    assert stored["linears.8.weight"].target is None
    assert reference(config, random_checkpoint(config)) is not None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("temporal", "layers"), 10**9),
        (("temporal", "context"), 10**12),
        (("temporal", "dim"), 2**40),
        (("temporal", "rope_base"), "1e999"),
        (("depth", "layers"), 10**9),
        (("mimi", "n_codebooks"), 10**9),
        (("mimi", "n_filters"), 0),
        (("mimi", "n_filters"), -4),
        (("mimi", "ratios"), [4, 5, 6, 9]),
        (("mimi", "ratios"), [0, 0, 0, 0]),
        (("mimi", "sample_rate"), 8000),
        (("name",), "\u0000"),
        (("name",), "x" * 400),
        (("codec",), "\ud800"),
        (("weights",), "a b"),
        (("tokenizer",), "x" * 400),
    ],
)
def test_sizes_beyond_all_reason_are_refused_at_once(tmp_path, path, value):
    fields = json.loads(toy_files()["config.json"])
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    text = json.dumps(fields).replace('"1e999"', "1e999")
    folder = write_files(tmp_path, {**toy_files(), "config.json": text.encode()})
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder)
