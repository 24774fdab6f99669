"""The codec frame by frame, by kernels of our own.

Holds Mimi's weights in the order in which the kernels read them, and puts the kernels
in the order of its layers. It works on the same streaming state as ``Mimi`` itself,
which stays the plain path; a frame is two transformer positions. What one stream gives
does not depend on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.kernels import codec_books as books
from inference.kernels import codec_ends as ends
from inference.kernels.codec_attention import MAX_SLOTS, attend
from inference.kernels.codec_books import MAX_BINS
from inference.kernels.codec_products import (
    ADD,
    ELU,
    GELU,
    SCALE,
    Layer,
    packed,
    product,
    transposed,
)
from inference.network.mimi import Mimi, MimiConfig, StreamState
from inference.network.mimi.conv import Conv, ConvTranspose, ResidualBlock
from inference.network.mimi.quantizer import Codebook
from inference.network.mimi.transformer import ROPE_BASE

BOOKS = 8


@dataclass(frozen=True)
class _Block:
    """A residual block: ELU, three taps to half the width, ELU, one tap back."""

    inner: Layer
    outer: Layer


@dataclass(frozen=True)
class _Attention:
    norm1: tuple[Tensor, Tensor]
    in_proj: Layer
    out_proj: Layer
    scale1: Tensor
    norm2: tuple[Tensor, Tensor]
    linear1: Layer
    linear2: Layer
    scale2: Tensor
    key: str


class FrameCodec:
    """``Mimi.encode_step`` and ``decode_step`` for one frame of int16 samples.

    Takes over most of the weights of ``mimi``: its parameters become views of what is
    held here, and codebooks that are not in use are dropped.
    """

    def __init__(self, mimi: Mimi) -> None:
        config = mimi.config
        if not fits(config):
            raise ValueError("a codec of sizes that the kernels don't know")
        self.config = config
        _, *self._down, self._final = _layers(mimi.encoder.model)
        self._first = _conv(mimi.encoder.model[0], whole=False)
        self._encoder = [_attention(e) for e in _transformer(mimi.encoder_transformer)]
        self._frame = _conv(mimi.downsample.conv)
        self._begin, *self._up, _ = _layers(mimi.decoder.model)
        self._last = _conv(mimi.decoder.model[-1], whole=False)
        self._decoder = [_attention(e) for e in _transformer(mimi.decoder_transformer)]
        self._upsample_key = mimi.upsample.convtr.key
        self._upsample_weight = mimi.upsample.convtr.inner.weight
        self._table, self._squares = _codebooks(mimi)
        chains = (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest)
        looked = torch.cat([chain.input_proj.weight[..., 0] for chain in chains])
        self._look_for = _projection(looked)
        found = [chain.output_proj.weight[..., 0] for chain in chains]
        self._found = _projection(torch.cat(found, dim=1))
        pairs = torch.arange(config.head_dim // 2, device=looked.device)
        step = -2 * math.log(ROPE_BASE) / config.head_dim
        self._frequencies = torch.exp(pairs.float() * step)

    def encode(
        self, pcm: Tensor, state: StreamState, active: Tensor, codes: Tensor
    ) -> None:
        """int16 [B, 1920] into ``codes``, int64 [B, 8]. Rows that are not ``active``
        (bool [B]) keep their state; their codes mean nothing."""
        x = ends.encode_input(pcm, self._first, state[self._first.key], active)
        for layer in self._down:
            if isinstance(layer, _Block):
                x = self._residual(layer, x, state, active)
            else:
                x = self._convolve(layer, x, state, active)
        x = self._convolve(self._final, x, state, active)
        x = self._transform(self._encoder, x, state, active)
        kept, layer = state[self._frame.key], self._frame
        latent = product(x, layer, kept, state.position)
        ends.keep(x, kept, active)
        z = product(latent, self._look_for)
        table = self._table, self._squares
        books.nearest(z, *table, state.position, active, codes, 2)

    def decode(
        self, codes: Tensor, state: StreamState, active: Tensor, pcm: Tensor
    ) -> None:
        """Codes int64 [B, 8] into ``pcm``, int16 [B, 1920]; else as ``encode``."""
        x = product(books.look_up(codes, self._table), self._found)
        x = ends.upsample(x, self._upsample_weight, state[self._upsample_key], active)
        x = self._transform(self._decoder, x, state, active)
        x = self._convolve(self._begin, x, state, active, elu_in=False)
        for layer, times in self._up_layers():
            if isinstance(layer, _Block):
                x = self._residual(layer, x, state, active)
            else:
                kept = state[layer.key]
                x, tail = transposed(x, layer, kept, times)
                ends.keep(tail, kept, active)
        last = self._last
        ends.decode_output(x, last, state[last.key], state.position, active, pcm, 2)

    def _up_layers(self) -> list[tuple[_Block | Layer, int]]:
        ratios = [r for ratio in reversed(self.config.ratios) for r in (ratio, 0)]
        return list(zip(self._up, ratios, strict=True))

    def _convolve(
        self,
        layer: Layer,
        x: Tensor,
        state: StreamState,
        active: Tensor,
        elu_in: bool = True,
    ) -> Tensor:
        kept = state[layer.key]
        y = product(x, layer, kept, elu_in=elu_in)
        ends.keep(x, kept, active, elu_in=elu_in)
        return y

    def _residual(
        self, block: _Block, x: Tensor, state: StreamState, active: Tensor
    ) -> Tensor:
        kept = state[block.inner.key]
        y = product(x, block.inner, kept, elu_in=True, out=ELU)
        ends.keep(x, kept, active, elu_in=True)
        return product(y, block.outer, out=ADD, other=x)

    def _transform(
        self, layers: list[_Attention], x: Tensor, state: StreamState, active: Tensor
    ) -> Tensor:
        for layer in layers:
            qkv = product(x, layer.in_proj, norm=layer.norm1)
            rings = state[f"{layer.key}.keys"], state[f"{layer.key}.values"]
            y = attend(qkv, *rings, state.position, active, self._frequencies)
            x = product(y, layer.out_proj, out=SCALE, other=x, gain=layer.scale1)
            y = product(x, layer.linear1, norm=layer.norm2, out=GELU)
            x = product(y, layer.linear2, out=SCALE, other=x, gain=layer.scale2)
        return x


def fits(config: MimiConfig) -> bool:
    """Whether the kernels know a codec of these sizes."""
    powers = all(n & (n - 1) == 0 for n in (config.head_dim, config.codebook_dim))
    frames = config.resample_stride == 2 and config.n_codebooks_used == BOOKS
    return (
        powers
        and frames
        and config.head_dim >= 8
        and config.codebook_dim >= 16
        and config.context <= MAX_SLOTS
        and config.bins <= MAX_BINS
    )


def _layers(model: Any) -> list[Any]:
    """Of a stack: convolutions and blocks; ELUs are part of what follows them."""
    found: list[Any] = []
    for module in model:
        if isinstance(module, Conv):
            found.append(_conv(module))
        elif isinstance(module, ConvTranspose):
            found.append(_convtr(module))
        elif isinstance(module, ResidualBlock):
            inner, outer = (m for m in module.block if isinstance(m, Conv))
            found.append(_Block(_conv(inner), _conv(outer)))
    return found


def _conv(conv: Any, whole: bool = True) -> Layer:
    """``whole``: in whole units, as products want it; the ends don't."""
    weight = conv.inner.weight  # [width, channels, taps]
    _, channels, taps = weight.shape
    ordered = weight.detach().transpose(1, 2).contiguous()
    weight.data = ordered.transpose(1, 2)
    stride, bias = conv.inner.stride[0], conv.inner.bias
    key = conv.key if taps > stride else ""
    matrix = packed(ordered) if whole else ordered.flatten(1)
    return Layer(matrix, channels, bias, taps, stride, key, conv.replicate)


def _convtr(convtr: ConvTranspose) -> Layer:
    weight = convtr.inner.weight.detach()  # [channels, width, 2 * times]
    parts = weight.unflatten(2, (2, -1)).flip(2)  # the tap of the input before first
    ordered = parts.permute(3, 1, 2, 0).flatten(0, 1).contiguous()
    return Layer(
        packed(ordered), weight.shape[0], convtr.inner.bias, taps=2, key=convtr.key
    )


def _projection(weight: Tensor) -> Layer:
    return Layer(packed(weight.detach()[:, None]), weight.shape[1])


def _transformer(transformer: Any) -> list[Any]:
    return list(transformer.transformer.layers)


def _attention(layer: Any) -> _Attention:
    attention = layer.self_attn
    return _Attention(
        (layer.norm1.weight, layer.norm1.bias),
        _projection(attention.in_proj_weight),
        _projection(attention.out_proj.weight),
        layer.layer_scale_1.scale,
        (layer.norm2.weight, layer.norm2.bias),
        _projection(layer.linear1.weight),
        _projection(layer.linear2.weight),
        layer.layer_scale_2.scale,
        attention.key,
    )


def _codebooks(mimi: Mimi) -> tuple[Tensor, Tensor]:
    """Vectors [8, bins, d] and their squares [8, bins] of the books in use."""
    chains = (mimi.quantizer.rvq_first, mimi.quantizer.rvq_rest)
    books: list[Codebook] = [book for chain in chains for book in chain.codebooks]
    table = torch.stack([book.vectors for book in books])
    squares = torch.stack([book.lookup[:, -1] for book in books])
    for book, vectors in zip(books, table, strict=True):
        book.vectors = vectors
    for chain in chains:
        chain.vq.layers = chain.vq.layers[: chain.used]
    return table, squares.contiguous()
