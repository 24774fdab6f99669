"""The published checkpoint's tensors, name by name."""

import dataclasses

import pytest
import torch

from inference.network.mimi import MIMI_7B, MIMI_TINY, Mimi, MimiConfig
from tests.inference.network.mimi.examples import SMALL

VALUES_IN_THE_CHECKPOINT = 96_151_393


def conv(name, n_out, n_in, kernel):
    return {f"{name}.conv.conv.weight": (n_out, n_in, kernel)} | {
        f"{name}.conv.conv.bias": (n_out,)
    }


def residual_block(name, width):
    return conv(f"{name}.block.1", width // 2, width, 3) | conv(
        f"{name}.block.3", width, width // 2, 1
    )


def encoder_tensors():
    tensors = conv("encoder.model.0", 64, 1, 7) | conv("encoder.model.14", 512, 1024, 3)
    for index, stride, width in ((1, 4, 64), (4, 5, 128), (7, 6, 256), (10, 8, 512)):
        tensors |= residual_block(f"encoder.model.{index}", width)
        name = f"encoder.model.{index + 2}"
        tensors |= conv(name, 2 * width, width, 2 * stride)
    return tensors


def decoder_tensors():
    tensors = conv("decoder.model.0", 1024, 512, 7) | conv("decoder.model.14", 1, 64, 3)
    for index, stride, width in ((2, 8, 1024), (5, 6, 512), (8, 5, 256), (11, 4, 128)):
        name = f"decoder.model.{index}.convtr.convtr"
        tensors[f"{name}.weight"] = (width, width // 2, 2 * stride)
        tensors[f"{name}.bias"] = (width // 2,)
        tensors |= residual_block(f"decoder.model.{index + 1}", width // 2)
    return tensors


def transformer_tensors(half):
    tensors = {}
    for layer in range(8):
        name = f"{half}_transformer.transformer.layers.{layer}"
        tensors |= {
            f"{name}.self_attn.in_proj_weight": (1536, 512),
            f"{name}.self_attn.out_proj.weight": (512, 512),
            f"{name}.linear1.weight": (2048, 512),
            f"{name}.linear2.weight": (512, 2048),
        }
        for part in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            tensors[f"{name}.{part}"] = (512,)
        for part in ("layer_scale_1.scale", "layer_scale_2.scale"):
            tensors[f"{name}.{part}"] = (512,)
    return tensors


def quantizer_tensors():
    tensors = {
        "downsample.conv.conv.conv.weight": (512, 512, 4),
        "upsample.convtr.convtr.convtr.weight": (512, 1, 4),
    }
    for chain, count in (("rvq_first", 1), ("rvq_rest", 31)):
        name = f"quantizer.{chain}"
        tensors[f"{name}.input_proj.weight"] = (256, 512, 1)
        tensors[f"{name}.output_proj.weight"] = (512, 256, 1)
        for layer in range(count):
            codebook = f"{name}.vq.layers.{layer}._codebook"
            tensors |= {
                f"{codebook}.embedding_sum": (2048, 256),
                f"{codebook}.cluster_usage": (2048,),
                f"{codebook}._initialized": (1,),
            }
    return tensors


def test_the_real_sizes_have_the_checkpoints_names_and_shapes():
    with torch.device("meta"):
        state_dict = Mimi(MIMI_7B).state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    assert ours == (
        encoder_tensors()
        | decoder_tensors()
        | transformer_tensors("encoder")
        | transformer_tensors("decoder")
        | quantizer_tensors()
    )
    assert sum(t.numel() for t in state_dict.values()) == VALUES_IN_THE_CHECKPOINT


def test_a_checkpoint_loads_strictly_without_the_codebooks_not_stored():
    full = Mimi(dataclasses.replace(SMALL, n_codebooks=32))
    full.init_weights()
    state_dict = {
        name: tensor
        for name, tensor in full.state_dict().items()
        if not is_beyond(name, stored=8)
    }
    codec = Mimi(dataclasses.replace(SMALL, n_codebooks=8))
    codec.load_state_dict(state_dict, strict=True)
    pcm = torch.randn(1, 1, 1920 * 4, generator=torch.Generator()) * 0.05
    assert torch.equal(codec.encode(pcm), full.encode(pcm))


def is_beyond(name, stored):
    prefix = "quantizer.rvq_rest.vq.layers."
    if not name.startswith(prefix):
        return False
    return int(name.removeprefix(prefix).split(".")[0]) >= stored - 1


def test_a_frame_is_80_ms_at_both_sizes():
    for config in (MIMI_7B, MIMI_TINY):
        assert config.frame_samples == 1920
        assert config.head_dim == 64


@pytest.mark.parametrize(
    "change", [{"n_heads": 3}, {"n_codebooks_used": 9}, {"context": 2}]
)
def test_sizes_that_do_not_fit_together_are_refused(change):
    with pytest.raises(ValueError):
        MimiConfig(**dataclasses.asdict(MIMI_TINY) | change)
