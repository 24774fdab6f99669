"""The Mimi codec: 80 ms of sound to 8 codes and back, whole or frame by frame.

Runs the parts in order and makes their streaming state. Must not depend on sessions,
slots, files or devices. All arithmetic is fp32, where ``fp32_convolutions`` was called.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inference.network.mimi.config import MimiConfig
from inference.network.mimi.conv import (
    Downsample,
    Upsample,
    decoder_stack,
    encoder_stack,
)
from inference.network.mimi.init import init_codec
from inference.network.mimi.quantizer import Quantizer
from inference.network.mimi.streaming import Step, StreamingLayer, StreamState
from inference.network.mimi.transformer import Transformer


def fp32_convolutions() -> None:
    """On CUDA too, where PyTorch's default is TF32. That chose another code in one of
    600, and not the same ones for every number of sessions in a batch."""
    torch.backends.cudnn.allow_tf32 = False


class Mimi(nn.Module):
    """Parameters carry the checkpoint's names.

    The whole-signal methods are differentiable (but for the codes) and give what the
    ``_step`` methods give with a fresh state, however those are cut into calls.
    """

    def __init__(self, config: MimiConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder_stack(config)
        self.encoder_transformer = Transformer(config)
        self.downsample = Downsample(config.dim, config.resample_stride)
        self.quantizer = Quantizer(config)
        self.upsample = Upsample(config.dim, config.resample_stride)
        self.decoder_transformer = Transformer(config)
        self.decoder = decoder_stack(config)
        for name, module in self.named_modules():
            if isinstance(module, StreamingLayer):
                module.key = name

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Random weights that a training can start from; same seed, same weights."""
        init_codec(self, generator)

    # Whole signals

    def encode_latent(self, pcm: Tensor) -> Tensor:
        """[B, 1, T] to [B, dim, F], before quantisation; T in whole frames."""
        return self._encode(pcm, None)

    def encode(self, pcm: Tensor) -> Tensor:
        """[B, 1, T] to codes int64 [B, used, F]."""
        return self.quantizer.encode(self._encode(pcm, None))

    def decode_latent(self, latent: Tensor) -> Tensor:
        """[B, dim, F] to [B, 1, T]."""
        return self._decode(latent, None)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, used, F] to [B, 1, T]."""
        return self._decode(self.quantizer.decode(codes), None)

    # Streams

    def encoder_state(self, batch: int) -> StreamState:
        return self._state(
            batch, "encoder", self.encoder, self.encoder_transformer, self.downsample
        )

    def decoder_state(self, batch: int) -> StreamState:
        return self._state(
            batch, "decoder", self.upsample, self.decoder_transformer, self.decoder
        )

    def encode_step(
        self, pcm: Tensor, state: StreamState, active: Tensor | None = None
    ) -> Tensor:
        """The next [B, 1, frame_samples * n] of each stream to codes [B, used, n].

        Rows that are not ``active`` (bool [B]) keep their state; their codes mean
        nothing.
        """
        step = Step(state, active)
        latent = self._encode(pcm, step)
        step.advance(latent.shape[-1] * self.config.resample_stride)
        return self.quantizer.encode(latent)

    def decode_step(
        self, codes: Tensor, state: StreamState, active: Tensor | None = None
    ) -> Tensor:
        """The next codes [B, used, n] of each stream to [B, 1, frame_samples * n]."""
        step = Step(state, active)
        pcm = self._decode(self.quantizer.decode(codes), step)
        step.advance(codes.shape[-1] * self.config.resample_stride)
        return pcm

    def _encode(self, pcm: Tensor, step: Step | None) -> Tensor:
        frame = self.config.frame_samples
        if pcm.dim() != 3 or pcm.shape[1] != 1 or pcm.shape[2] % frame:
            raise ValueError(
                f"sound must be [batch, 1, a multiple of {frame} samples], "
                f"not {list(pcm.shape)}"
            )
        x = self.encoder(pcm, step)
        x = self.encoder_transformer(x, step)
        return self.downsample(x, step)

    def _decode(self, latent: Tensor, step: Step | None) -> Tensor:
        x = self.upsample(latent, step)
        x = self.decoder_transformer(x, step)
        return self.decoder(x, step)

    def _state(self, batch: int, half: str, *parts: nn.Module) -> StreamState:
        shapes: dict[str, tuple[int, ...]] = {}
        for part in parts:
            for module in part.modules():
                if isinstance(module, StreamingLayer):
                    shapes.update(module.state_shapes())
        return StreamState(shapes, batch, self.downsample.conv.inner.weight.device)
