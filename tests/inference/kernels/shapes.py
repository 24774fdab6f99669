"""A model small enough to hold against the plain path, in shapes that kernels take."""

import torch

from inference.kernels.packed import pack_model, random_weights
from inference.network.config import DepthConfig, ModelConfig, TemporalConfig
from tests.inference.toys import TOY_MIMI

DEVICE = torch.device("cuda" if torch.cuda.device_count() else "cpu")
# Where sums are cut in eight, and where the plain path is quick.
DIM = 512 if DEVICE.type == "cuda" else 256


def small_config(context=300):
    return ModelConfig(
        name="small",
        temporal=TemporalConfig(dim=DIM, layers=2, heads=DIM // 128, context=context),
        depth=DepthConfig(dim=DIM, layers=2, heads=DIM // 64, steps_stored=8),
        mimi=TOY_MIMI,
        text_cardinality=100,
        audio_cardinality=TOY_MIMI.bins,
    )


def packed(config, format, seed=3):
    fetch = random_weights(DEVICE, seed)
    return pack_model(config, format, fetch, DEVICE)


def drawn(*shape, seed=1, dtype=torch.bfloat16):
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=DEVICE).to(dtype)


def error(out, ref):
    """‖out − ref‖ / ‖ref‖; NaN passes no comparison."""
    out, ref = out.double(), ref.double()
    return ((out - ref).norm() / ref.norm()).item()
