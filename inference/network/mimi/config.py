"""The codec's sizes. Must not depend on tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference.network.bounds import Codebooks, Context, Layers, Ratios, Size


@dataclass(frozen=True)
class MimiConfig:
    """Sizes of one codec; frames are always two transformer positions long."""

    n_filters: Size
    dim: Size
    n_layers: Layers  # of each transformer, the encoder's and the decoder's
    n_heads: Size
    ffn: Size
    bins: Size
    codebook_dim: Size
    n_codebooks: Codebooks  # stored in the checkpoint, the first of them semantic
    n_codebooks_used: Codebooks = 8
    context: Context = 250  # ring slots of each attention layer
    ratios: Ratios = (4, 5, 6, 8)  # encoder order; the decoder reverses it
    sample_rate: Size = 24_000
    resample_stride: Size = 2  # transformer positions per frame

    def __post_init__(self) -> None:
        if self.dim % self.n_heads or (self.dim // self.n_heads) % 2:
            raise ValueError("dim must split into heads of an even size")
        if not 2 <= self.n_codebooks_used <= self.n_codebooks:
            raise ValueError("use at least 2 codebooks and no more than are stored")
        if self.context <= self.resample_stride:
            raise ValueError("context must be longer than one frame")

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def hop(self) -> int:
        """Samples per transformer position."""
        return math.prod(self.ratios)

    @property
    def frame_samples(self) -> int:
        return self.hop * self.resample_stride


MIMI_7B = MimiConfig(
    n_filters=64,
    dim=512,
    n_layers=8,
    n_heads=8,
    ffn=2048,
    bins=2048,
    codebook_dim=256,
    n_codebooks=32,
)
MIMI_TINY = MimiConfig(
    n_filters=24,
    dim=256,
    n_layers=2,
    n_heads=4,
    ffn=1024,
    bins=512,
    codebook_dim=128,
    n_codebooks=8,
)
